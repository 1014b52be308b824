"""ADE20K's two layouts: the photographs without their masks.

The full data set (2016, 2021) has ``ADE_train_00000001_seg.png`` and ``..._parts_1.png`` beside
``ADE_train_00000001.jpg``, and in the folder ``ADE_train_00000001`` the masks ``instance_000_ADE_train_00000001.png``.
The scene parsing benchmark has ``annotations/R.png`` (or ``annotations_instance/R.png``) for ``images/R.jpg``. A folder
counts as the one where a photograph lies beside its ``_seg.png``, as the other where ``annotations`` holds PNG files
alone, at least one of them for a photograph; any other folder is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastvbow.images.folder import files_table
from fastvbow.images.listing import Listing
from fastvbow.images.table import ImageTable

__all__ = ["SUFFIXES", "find"]

SUFFIXES: tuple[bytes, ...] = ()
_SEGMENTS = re.compile(rb"((?:.*/)?ADE_[a-z]+_\d{8})_(seg|parts_\d+)\.png", re.DOTALL)
_INSTANCE = re.compile(rb"(?:.*/)?(ADE_[a-z]+_\d{8})/instance_\d+_\1\.png", re.DOTALL)
_ANNOTATION = re.compile(rb"((?:.*/)?)annotations(?:_instance)?/(.+)", re.DOTALL)


def find(listing: Listing) -> ImageTable | None:
    """The photographs of a folder in one of the two layouts. None: it is in neither."""
    masks = {*_full(listing.images), *_scene_parsing(listing.images)}
    if not masks:
        return None
    photographs = [raw for raw in listing.images if raw not in masks]
    return files_table(listing, photographs, listing.n_others + len(masks))


def _full(images: list[bytes]) -> Iterator[bytes]:
    """Masks of the full data set."""
    masks = [(raw, match) for raw in images if (match := _SEGMENTS.fullmatch(raw))]
    segmented = {match[1] + b".jpg" for _, match in masks if match[2] == b"seg"}
    if segmented and not segmented.isdisjoint(images):
        yield from (raw for raw, _ in masks)
        yield from (raw for raw in images if _INSTANCE.fullmatch(raw))


def _scene_parsing(images: list[bytes]) -> Iterator[bytes]:
    """Masks of the scene parsing benchmark, which may lie in several folders below the source."""
    by_place: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for raw in images:
        if match := _ANNOTATION.fullmatch(raw):
            by_place.setdefault(match[1], []).append((raw, match[2]))
    known = set(images) if by_place else set()
    for place, found in by_place.items():
        if all(rest.endswith(b".png") for _, rest in found) and any(
            place + b"images/" + rest[:-4] + b".jpg" in known for _, rest in found
        ):
            yield from (raw for raw, _ in found)
