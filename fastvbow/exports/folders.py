"""A folder a group, with a symbolic link to each photograph: nothing is copied, and the source is not touched.

A folder has its group's name with what no file system takes, or what could lead elsewhere, replaced; a link has its
photograph's name. Where two would be alike (also on file systems that do not tell cases apart), the later folder gets a
number and the later link its photograph's id. Photographs without a label lie in ``_without_label``.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from fastvbow.exports.columns import GroupedImages, Written

__all__ = ["MARKER", "NO_LABEL", "safe_names", "write"]

NO_LABEL = "_without_label"
MARKER = "fastvbow-export.json"
"""The file beside the folders that says what they are."""
LONGEST = 200
"""Bytes of a folder's name; file systems take 255."""


def write(images: GroupedImages, folder: Path) -> Written:
    """Write the folders and links.

    Photographs inside tar or Parquet files have no file to link to and are left out, with a warning.

    Parameters
    ----------
    images : GroupedImages
    folder : Path
        Exists, and is empty.
    """
    classes = images.classes()
    places = dict(zip(classes, safe_names(classes), strict=True))
    taken: dict[str, set[str]] = {}
    linked = labelled = 0
    for index in range(len(images)):
        if images.containers[index] is not None:
            continue
        label = images.label(index)
        place = NO_LABEL if label is None else places[label]
        if place not in taken:
            taken[place] = set()
            (folder / place).mkdir()
        raw = images.raw_paths[index]
        name = _free_name(os.path.basename(raw), images.image_ids[index], taken[place])  # noqa: PTH119
        os.symlink(  # noqa: PTH211 (bytes: a name need not be UTF-8)
            os.path.join(images.root, raw),  # noqa: PTH118
            os.path.join(os.fsencode(folder / place), name),  # noqa: PTH118
        )
        linked, labelled = linked + 1, labelled + (label is not None)
    left = len(images) - linked
    warnings = (
        [f"{left} photographs lie inside tar or Parquet files, to which no link can lead: left out"] if left else []
    )
    return Written([f"{place}/" for place in sorted(taken)], linked, labelled, warnings)


def safe_names(labels: Iterable[str]) -> list[str]:
    """A folder's name for each label.

    Parameters
    ----------
    labels : iterable of str
        Different ones.

    Returns
    -------
    list of str
        All different, also without regard to case and Unicode's forms; each a single component of a path, visible, at
        most `LONGEST` bytes and a number long.
    """
    taken = {_folded(NO_LABEL), _folded(MARKER)}
    found = []
    for label in labels:
        clean = "".join("_" if c in '/\\:*?"<>|' or unicodedata.category(c) in {"Cc", "Cs"} else c for c in label)
        clean = clean.encode("utf-8")[:LONGEST].decode("utf-8", "ignore").strip(" ")
        clean = "_" + clean[1:] if clean.startswith((".", "~", "-")) else clean
        clean = clean.rstrip(". ") or "_"
        name, number = clean, 2
        while _folded(name) in taken:
            name, number = f"{clean} ({number})", number + 1
        taken.add(_folded(name))
        found.append(name)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFD", name.casefold())


def _free_name(raw: bytes, image_id: str, taken: set[str]) -> bytes:
    """The photograph's own name, with its id where another one in the folder has it."""
    if _folded(os.fsdecode(raw)) in taken:
        stem, suffix = os.path.splitext(raw)  # noqa: PTH122
        mark = b"~" + image_id.encode("ascii", "replace")
        suffix = suffix[:20]  # so that there is room for the id whatever the name is
        raw = stem[: 255 - len(mark) - len(suffix)] + mark + suffix
    taken.add(_folded(os.fsdecode(raw)))
    return raw
