"""Label Studio: tasks with the groups as predictions, its labelling configuration, and the annotations that come back.

Tasks are JSON lists of at most `SPLIT` each: a greater file is where imports begin to fail. The labelling
configuration ``config.xml`` goes with them into the project's settings, before the import. An image is addressed as
Label Studio serves local files, ``/data/local-files/?d=PATH`` with paths relative to LOCAL_FILES_DOCUMENT_ROOT.

Schema of a task: https://labelstud.io/guide/tasks and https://labelstud.io/guide/predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import msgspec

from fastvbow.errors import UsageError
from fastvbow.exports.columns import Correction, GroupedImages, Written, address_of, xml_text

__all__ = ["PREFIX", "SPLIT", "read", "write"]

PREFIX = "/data/local-files/?d="
SPLIT = 10_000
FIELD = "group"
"""The name of the choice, which must not be that of a field of the tasks' data."""


def write(
    images: GroupedImages, folder: Path, *, prefix: str = PREFIX, split: int = SPLIT, version: str = ""
) -> Written:
    """Write tasks and ``config.xml``.

    Parameters
    ----------
    images : GroupedImages
    folder : Path
        Exists.
    prefix : str, default=`PREFIX`
        Before each path.
    split : int, default=`SPLIT`
        Tasks a file, at most.
    version : str, default=""
        What the predictions are known by there.
    """
    files = ["config.xml"]
    (folder / files[0]).write_text(_config(images.classes()), encoding="utf-8")
    for number, start in enumerate(range(0, len(images), split), 1):
        files.append(f"tasks-{number:05d}.json")
        with (folder / files[-1]).open("wb") as handle:
            for index in range(start, min(start + split, len(images))):
                handle.write(b"[\n" if index == start else b",\n")
                handle.write(msgspec.json.encode(_task(images, index, prefix, version)))
            handle.write(b"\n]\n")
    return Written(files, len(images), int(images.certain.sum()), [])


def _task(images: GroupedImages, index: int, prefix: str, version: str) -> dict[str, Any]:
    probability = round(float(images.probability[index]), 6)
    data = {
        "image": address_of(images.raw_paths[index], images.names[index], prefix),
        "image_id": images.image_ids[index],
        "path": images.names[index],
        "topic": int(images.topic[index]),
        "probability": probability,
        "entropy": round(float(images.entropy[index]), 6),
    }
    label = images.label(index)
    if label is None:
        return {"data": data}
    result = {"from_name": FIELD, "to_name": "image", "type": "choices", "value": {"choices": [xml_text(label)]}}
    return {"data": data, "predictions": [{"model_version": version, "score": probability, "result": [result]}]}


def _config(classes: list[str]) -> str:
    choices = "".join(f"    <Choice value={quoteattr(xml_text(label))}/>\n" for label in classes)
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <Choices name="{FIELD}" toName="image" choice="single">\n{choices}  </Choices>\n</View>\n'
    )


class _Value(msgspec.Struct):
    choices: list[str] = []


class _Result(msgspec.Struct):
    from_name: str = ""
    type: str = ""
    value: _Value = msgspec.field(default_factory=_Value)


class _Annotation(msgspec.Struct):
    result: list[_Result] | None = []
    was_cancelled: bool = False


class _Task(msgspec.Struct):
    data: dict[str, Any]
    annotations: list[_Annotation] | None = []


def read(path: Path) -> Iterator[Correction]:
    """The annotations of a JSON export of Label Studio (that which is called JSON there, not JSON-MIN).

    Predictions are no annotations: a task that nobody has submitted has no label. Cancelled annotations do not count;
    several that differ are all told.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Correction
        One a task.

    Raises
    ------
    UsageError
        The file cannot be read or holds something else; or its choices have several names, none of which is the
        export's.
    """
    try:
        tasks = msgspec.json.decode(path.read_bytes(), type=list[_Task])
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is no JSON export of Label Studio ({error}): choose the format JSON there, not JSON-MIN"
        ) from None
    names = {result.from_name for task in tasks for result in _choices(task)}
    if FIELD not in names and len(names) > 1:
        raise UsageError(f"{path} has choices by several names ({', '.join(sorted(names))}), and none is {FIELD!r}")
    field = FIELD if FIELD in names else next(iter(names), FIELD)
    for task in tasks:
        chosen = (choice for result in _choices(task) if result.from_name == field for choice in result.value.choices)
        image_id = task.data.get("image_id")
        address = task.data.get("path") or task.data.get("image") or ""
        yield Correction(image_id if isinstance(image_id, str) else None, str(address), tuple(dict.fromkeys(chosen)))


def _choices(task: _Task) -> Iterator[_Result]:
    for annotation in task.annotations or ():
        if not annotation.was_cancelled:
            yield from (result for result in annotation.result or () if result.type == "choices")
