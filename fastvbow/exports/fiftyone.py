"""FiftyOne: ``labels.json`` of a ``FiftyOneImageClassificationDataset``.

It is read by ``fiftyone.Dataset.from_dir(dataset_type=fiftyone.types.FiftyOneImageClassificationDataset,
labels_path=...)``. Photographs go by their absolute paths, so that they stay where they are; without a label they have
null. Format: https://docs.voxel51.com/user_guide/import_datasets.html
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.exports.columns import GroupedImages, Written, address_of

__all__ = ["write"]

FILE = "labels.json"


def write(images: GroupedImages, folder: Path, *, prefix: str | None = None) -> Written:
    """Write ``labels.json``.

    Parameters
    ----------
    images : GroupedImages
    folder : Path
        Exists.
    prefix : str, optional
        Before each path; None: the folder of the photographs.
    """
    classes = {label: number for number, label in enumerate(images.classes())}
    if prefix is None:
        prefix = os.path.join(images.root, b"").decode("utf-8", "backslashreplace")  # noqa: PTH118
    with (folder / FILE).open("wb") as handle:
        handle.write(b'{"classes":' + msgspec.json.encode(list(classes)) + b',\n"labels":{')
        for index in range(len(images)):
            handle.write(b",\n" if index else b"\n")
            name = address_of(images.raw_paths[index], images.names[index], prefix)
            handle.write(msgspec.json.encode(name) + b":" + msgspec.json.encode(_label(images, index, classes)))
        handle.write(b"\n}}\n")
    return Written([FILE], len(images), int(images.certain.sum()), [])


def _label(images: GroupedImages, index: int, classes: dict[str, int]) -> dict[str, Any] | None:
    label = images.label(index)
    if label is None:
        return None
    return {
        "label": classes[label],
        "confidence": round(float(images.probability[index]), 6),
        "attributes": {
            "image_id": images.image_ids[index],
            "topic": int(images.topic[index]),
            "entropy": round(float(images.entropy[index]), 6),
        },
    }
