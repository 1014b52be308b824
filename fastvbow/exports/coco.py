"""COCO with labels of whole images, in ``annotations/labels_all.json``.

COCO itself knows boxes and masks alone. This is Datumaro's ``coco_labels``: an annotation without a box, with an
image's and a category's number, both from 1. ``score`` is the probability; readers that do not know it pass it over.
Datumaro wants the photographs, or a link to their folder, as ``images/`` beside ``annotations/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fastvbow.exports.columns import GroupedImages, Written, address_of

__all__ = ["write"]

FILE = "annotations/labels_all.json"


def write(images: GroupedImages, folder: Path, *, prefix: str = "") -> Written:
    """Write ``annotations/labels_all.json``.

    Parameters
    ----------
    images : GroupedImages
    folder : Path
        Exists.
    prefix : str, default=""
        Before each path.
    """
    numbers = {label: number for number, label in enumerate(images.classes(), 1)}
    path = folder / FILE
    path.parent.mkdir()
    with path.open("wb") as handle:
        handle.write(b'{"info":{"description":"groups of fastvbow"},"licenses":[],\n"categories":')
        handle.write(
            msgspec.json.encode([{"id": n, "name": label, "supercategory": ""} for label, n in numbers.items()])
        )
        for key, entries in (("images", _images(images, prefix)), ("annotations", _annotations(images, numbers))):
            handle.write(f',\n"{key}":['.encode())
            for number, entry in enumerate(entries):
                handle.write(b",\n" if number else b"\n")
                handle.write(msgspec.json.encode(entry))
            handle.write(b"\n]")
        handle.write(b"}\n")
    return Written([FILE], len(images), int(images.certain.sum()), [])


def _images(images: GroupedImages, prefix: str) -> Iterator[dict[str, Any]]:
    for index in range(len(images)):
        yield {
            "id": index + 1,
            "file_name": address_of(images.raw_paths[index], images.names[index], prefix),
            "width": int(images.widths[index]),
            "height": int(images.heights[index]),
            "image_id": images.image_ids[index],
        }


def _annotations(images: GroupedImages, numbers: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for index in range(len(images)):
        label = images.label(index)
        if label is not None:
            number += 1
            yield {
                "id": number,
                "image_id": index + 1,
                "category_id": numbers[label],
                "score": round(float(images.probability[index]), 6),
                "attributes": {
                    "topic": int(images.topic[index]),
                    "entropy": round(float(images.entropy[index]), 6),
                },
            }
