"""Where the mask of a photograph lies.

A mask is a PNG file as large as its photograph that gives each pixel the number of a class. Four layouts are known:

- ``ade20k``, the full data set (2016, 2021): ``ADE_train_00000001_seg.png`` beside ``ADE_train_00000001.jpg``, and
  ``..._parts_1.png``, ``..._parts_2.png`` for the parts of the objects and the parts of these, where there are any;
- ``sceneparsing``, the benchmark made of it: ``annotations/R.png`` for ``images/R.jpg``, R any path whose last step
  begins like the photographs of ADE20K;
- ``parallel``: two folders whose names differ in one word, as ``val_img/R.jpg`` and ``val_label/R.png``
  (`PHOTOGRAPH_WORDS`, `MASK_WORDS`), or a folder of masks that the caller names;
- ``beside``: ``a.png``, or ``a_mask.png``, ``a_label.png``, ``a_labels.png`` or ``a_seg.png``, beside ``a.jpg``.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastvbow.errors import UsageError
from fastvbow.images.table import ImageTable, readable

__all__ = ["LAYOUTS", "MASK_WORDS", "PHOTOGRAPH_WORDS", "MaskFiles", "find_masks", "parallel_folders"]

LAYOUTS = ("ade20k", "sceneparsing", "parallel", "beside")
"""In the order in which they are tried."""
PHOTOGRAPH_WORDS = (b"JPEGImages", b"images", b"image", b"imgs", b"img", b"photos", b"photographs")
MASK_WORDS = (b"SegmentationClass", b"labels", b"label", b"masks", b"mask", b"annotations", b"annotation")
_BESIDE = (b".png", b"_mask.png", b"_label.png", b"_labels.png", b"_seg.png")
_STEM = re.compile(rb"ADE_[a-z]+_\d{8}")
_WORD = re.compile(rb"(?<![A-Za-z])(" + b"|".join(PHOTOGRAPH_WORDS) + rb")(?![A-Za-z])")


@dataclass(frozen=True)
class MaskFiles:
    """The masks of a source's photographs.

    Attributes
    ----------
    layout : str
        One of `LAYOUTS`.
    paths : list of bytes or None
        The file of each image of the table, absolute; None where there is none.
    reasons : list of str or None
        Why there is none.
    """

    layout: str
    paths: list[bytes | None]
    reasons: list[str | None]


def find_masks(table: ImageTable, masks: str = "auto", *, part_level: int = 0) -> MaskFiles:
    """The mask of each photograph, by the names of files; none is opened.

    Parameters
    ----------
    table : ImageTable
    masks : str, default="auto"
        One of `LAYOUTS`; ``auto``: the one in which masks are found; or the path of a folder, in which the mask of the
        photograph ``R.jpg`` is ``R.png``, R its path in the source or else its mere name.
    part_level : int, default=0
        Of ``ade20k``: 0 for the objects, 1 for their parts, 2 for the parts of these.

    Raises
    ------
    UsageError
        There is no mask, there are masks in several layouts, or `masks` or `part_level` is neither.
    """
    folder = None if masks in LAYOUTS or masks == "auto" else _folder(masks)
    if part_level < 0 or (part_level and masks not in ("auto", "ade20k")):
        raise UsageError(f"part_level is 0 or more, and only the layout ade20k has parts, not {part_level} of {masks}")
    asked = (masks,) if masks in LAYOUTS else ("parallel",) if folder else ("ade20k",) if part_level else LAYOUTS
    search = _Search(asked, folder, part_level)
    found = [search.of(table, index) for index in range(len(table))]
    counted = Counter(layout for layout, path in found if layout and path)
    if not counted:
        example = search.expected(table, 0) if len(table) else None
        wanted = f"; wanted is for instance {example}" if example else ""
        raise UsageError(
            f"no photograph of {os.fsdecode(table.root)} has a mask (looked for: {', '.join(asked)}){wanted}: say "
            f"where they are, by a layout ({', '.join(LAYOUTS)}) or a folder"
        )
    if len(counted) > 1:
        shown = " and ".join(f"{n} in the layout {layout}" for layout, n in counted.items())
        raise UsageError(
            f"{shown} cannot be counted together, for their classes have other numbers: name one layout, or "
            "take a part of the source"
        )
    layout = next(iter(counted))
    used = {path for _, path in found if path}
    paths: list[bytes | None] = []
    reasons: list[str | None] = []
    for index, (_, path) in enumerate(found):
        own = os.path.join(table.root, table.raw_paths[index])
        path = None if own in used else path
        reason = None if path else "it is a mask itself" if own in used else search.absence(table, index, layout)
        paths.append(path)
        reasons.append(reason)
    return MaskFiles(layout, paths, reasons)


def parallel_folders(folder: bytes, words: tuple[bytes, ...] = MASK_WORDS) -> Iterator[bytes]:
    """The names that folders of masks would have beside a path's: with one word replaced, the last step's first.

    Parameters
    ----------
    folder : bytes
        The path of a folder of photographs.
    words : tuple of bytes, default=MASK_WORDS
        What stands in the place of one of `PHOTOGRAPH_WORDS`.
    """
    steps = folder.split(b"/")
    for at in reversed(range(len(steps))):
        if match := _WORD.search(steps[at]):
            for word in words:
                step = steps[at][: match.start()] + word + steps[at][match.end() :]
                yield b"/".join([*steps[:at], step, *steps[at + 1 :]])


def _folder(masks: str) -> bytes:
    if not Path(masks).is_dir():
        raise UsageError(f"masks are auto, {', '.join(LAYOUTS)} or a folder, and there is no folder {masks}")
    return os.fsencode(Path(masks).resolve())


class _Search:
    """Candidates for masks; which folders there are is asked once."""

    def __init__(self, layouts: tuple[str, ...], folder: bytes | None, part_level: int) -> None:
        self._layouts, self._folder = layouts, folder
        self._end = b"_seg.png" if not part_level else b"_parts_%d.png" % part_level
        self._folders: dict[bytes, list[bytes]] = {}

    def of(self, table: ImageTable, index: int) -> tuple[str | None, bytes | None]:
        """The layout and the mask of an image; None where there is none."""
        for layout, path in self._candidates(table, index):
            if os.path.lexists(path):
                return layout, path
        return None, None

    def expected(self, table: ImageTable, index: int, layout: str | None = None) -> str | None:
        """Where the mask of an image could have been, in a layout or any."""
        candidates = self._candidates(table, index)
        return next((readable(path) for name, path in candidates if layout in (None, name)), None)

    def absence(self, table: ImageTable, index: int, layout: str) -> str:
        """Why an image has no mask in a layout."""
        if not table.is_file(index):
            return "it lies inside a container, where masks are not looked for"
        expected = self.expected(table, index, layout)
        return f"there is no mask {expected}" if expected else f"it is not named as in the layout {layout}"

    def _candidates(self, table: ImageTable, index: int) -> Iterator[tuple[str, bytes]]:
        if not table.is_file(index):
            return
        own = os.path.join(table.root, table.raw_paths[index])
        place, name = os.path.split(own)
        stem = os.path.splitext(name)[0]
        if self._folder is not None:
            relative = os.path.splitext(table.raw_paths[index])[0]
            if not relative.startswith(b"/"):
                yield "parallel", os.path.join(self._folder, relative + b".png")
            yield "parallel", os.path.join(self._folder, stem + b".png")
            return
        for layout in self._layouts:
            if layout == "ade20k" and _STEM.fullmatch(stem):
                yield layout, os.path.join(place, stem + self._end)
            elif layout == "sceneparsing" and b"/images" in place and (_STEM.fullmatch(stem) or len(self._layouts) < 2):
                steps = place.split(b"/")
                at = len(steps) - 1 - steps[::-1].index(b"images") if b"images" in steps else -1
                if at >= 0:
                    yield layout, b"/".join([*steps[:at], b"annotations", *steps[at + 1 :], stem + b".png"])
            elif layout == "parallel":
                yield from ((layout, os.path.join(folder, stem + b".png")) for folder in self._parallel(place))
            elif layout == "beside":
                yield from ((layout, path) for end in _BESIDE if (path := os.path.join(place, stem + end)) != own)

    def _parallel(self, place: bytes) -> list[bytes]:
        if place not in self._folders:
            self._folders[place] = [folder for folder in parallel_folders(place) if os.path.isdir(folder)]
        return self._folders[place]
