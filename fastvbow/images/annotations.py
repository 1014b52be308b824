"""What stands in words beside ADE20K's masks: names of classes, and scenes.

The full data set of 2021 has ``ADE_train_00000001.json``: ``annotation.object`` is a list (a single object may stand
there by itself), each with ``name`` ("car, auto, automobile") and ``name_ndx``, the number that the masks hold;
``annotation.scene`` a list, ``annotation.folder`` the folder of the release. Most files are UTF-8, some Latin-1. Scene
parsing has ``objectInfo150.csv`` (or ``.txt``, with tabs) with the columns ``Idx`` and ``Name``, and
``sceneCategories.txt`` with a photograph's name and scene a line.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastvbow.errors import ImageError, UsageError
from fastvbow.images.decode import read_bytes

__all__ = ["Annotation", "class_names", "display_names", "object_info", "read_annotation", "scene_of"]

_ADE = re.compile(rb"ADE_[a-z]+_\d{8}")
_PARTS = ("training", "validation")
_UP = 4
"""How many folders above a mask are looked into."""


@dataclass(frozen=True)
class Annotation:
    """A photograph's JSON file.

    Attributes
    ----------
    folder : str
        In the release, with "/"; empty where it does not say.
    scene : tuple of str
        From the general to the special: ("outdoor", "urban", "street").
    names : dict of int to str
        Classes by their numbers.
    """

    folder: str
    scene: tuple[str, ...]
    names: dict[int, str]


def read_annotation(path: bytes) -> Annotation:
    """Read the JSON file of a photograph.

    Parameters
    ----------
    path : bytes

    Raises
    ------
    ImageError
        It cannot be read, or is no such file.
    OSError
        The machine has run out of memory or open files.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    try:
        found = json.loads(text)["annotation"]
        objects = _listed(found.get("object"))
        names = {int(one["name_ndx"]): str(one["name"]) for one in objects if one.get("name_ndx") and one.get("name")}
        scene = tuple(str(step) for step in _listed(found.get("scene")) if step)
        return Annotation(str(found.get("folder") or "").replace("\\", "/"), scene, names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ImageError(f"not a JSON file as of ADE20K: {reason}") from None


def _listed(value: Any) -> list[Any]:
    """A list, though MATLAB wrote a single element without its brackets, and nothing as null."""
    return value if isinstance(value, list) else [] if value is None or value == "" else [value]


def class_names(path: Path) -> dict[int, str]:
    """Names of classes from a table with commas or tabs.

    Parameters
    ----------
    path : Path
        Its columns are ``Idx``, ``index`` or ``id``, and ``Name`` or ``name``; others do not count.

    Raises
    ------
    UsageError
        It cannot be read, lacks a column, or a number is none.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            head = handle.readline()
            handle.seek(0)
            reader = csv.DictReader(handle, delimiter="\t" if "\t" in head else ",")
            columns = list(reader.fieldnames or [])
            number = next((name for name in ("Idx", "index", "id") if name in columns), None)
            name = next((name for name in ("Name", "name") if name in columns), None)
            if number is None or name is None:
                raise UsageError(f"{path} has the columns {columns}; wanted: Idx, index or id, and Name or name")
            return {int(row[number]): row[name].strip() for row in reader if row[number] and row[name]}
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        if isinstance(error, UsageError):
            raise
        raise UsageError(f"cannot read names of classes from {path}: {error}") from None


def object_info(mask: bytes) -> Path | None:
    """The table of names that belongs to a mask of scene parsing: in a folder above it. None: there is none.

    Parameters
    ----------
    mask : bytes
        Its absolute path.
    """
    return _above(mask, ("objectInfo150.csv", "objectInfo150.txt"))


def _above(path: bytes, names: tuple[str, ...]) -> Path | None:
    folders = Path(os.fsdecode(path)).parents[:_UP]
    return next((file for folder in folders for name in names if (file := folder / name).is_file()), None)


def display_names(names: Mapping[int, str], classes: list[int]) -> list[str]:
    """A short name for each class: the first of its synonyms, with the number where two would be the same or it has
    none.

    Parameters
    ----------
    names : mapping of int to str
        Names as the files have them: "car, auto, automobile" or "building;edifice".
    classes : list of int
    """
    short = [re.split("[,;]", names.get(number, ""))[0].strip() for number in classes]
    often = Counter(short)
    return [
        f"class {number}" if not name else f"{name} ({number})" if often[name] > 1 else name
        for name, number in zip(short, classes, strict=True)
    ]


def scene_of(path: bytes, known: dict[Path, dict[str, str]]) -> str | None:
    """The scene of a photograph of ADE20K.

    It is the folder's path below ``training`` or ``validation``: ``urban/street`` of
    ``ADE/training/urban/street`` (2021), ``bedroom`` of ``training/b/bedroom`` (2016). Where the photographs lie
    elsewhere: what ``sceneCategories.txt`` says, in a folder above, then the folder that its JSON file names, then
    its JSON file's scene, whose first step is indoor or outdoor: ``outdoor/urban/street``.

    Parameters
    ----------
    path : bytes
        The absolute path of the photograph.
    known : dict
        What was read of ``sceneCategories.txt``; it is filled here.

    Returns
    -------
    str or None
        None for a photograph that is not named as those of ADE20K, or of which nothing tells the scene.
    """
    place, name = os.path.split(path)
    stem = os.path.splitext(name)[0]
    if not _ADE.fullmatch(stem):
        return None
    if scene := _below(os.fsdecode(place)):
        return scene
    if file := _above(path, ("sceneCategories.txt",)):
        if file not in known:
            lines = file.read_bytes().decode("utf-8", "replace").splitlines()
            known[file] = dict(line.split(None, 1) for line in lines if len(line.split(None, 1)) == 2)
        if scene := known[file].get(os.fsdecode(stem), "").strip():
            return scene
    try:
        found = read_annotation(os.path.join(place, stem + b".json"))
    except ImageError:
        return None
    return _below(found.folder) or "/".join(found.scene) or None


def _below(folder: str) -> str | None:
    """The steps below the last ``training`` or ``validation``, without the letter that sorts them."""
    steps = [step for step in folder.split("/") if step]
    at = max((i for i, step in enumerate(steps) if step in _PARTS), default=len(steps))
    rest = steps[at + 1 :]
    return "/".join(rest[1:] if len(rest) > 1 and len(rest[0]) == 1 else rest) or None
