"""A folder of photographs with a parallel folder of masks: the photographs without their masks.

``val_label/R.png`` or ``val_inst/R.png`` for ``val_img/R.jpg``, where R is any path: the names differ in one word (see
`fastvbow.images.mask_files`). A folder counts as one of masks where all its images are PNG files and each has its
photograph; any other folder is left as it is.
"""

from __future__ import annotations

import os

from fastvbow.images.folder import files_table
from fastvbow.images.listing import Listing
from fastvbow.images.mask_files import MASK_WORDS, parallel_folders
from fastvbow.images.table import ImageTable

__all__ = ["SUFFIXES", "find"]

SUFFIXES: tuple[bytes, ...] = ()
_WORDS = (*MASK_WORDS, b"SegmentationObject", b"instances", b"instance", b"inst")


def find(listing: Listing) -> ImageTable | None:
    """The photographs of a folder with parallel folders of masks. None: there is none."""
    by_folder: dict[bytes, list[bytes]] = {}
    for raw in listing.images:
        by_folder.setdefault(os.path.dirname(raw), []).append(raw)
    masks = {raw for folder in by_folder for raw in _masks_of(folder, by_folder)}
    if not masks:
        return None
    photographs = [raw for raw in listing.images if raw not in masks]
    return files_table(listing, photographs, listing.n_others + len(masks))


def _masks_of(folder: bytes, by_folder: dict[bytes, list[bytes]]) -> list[bytes]:
    """The files of folders that hold the masks of a folder's photographs, and nothing else."""
    stems = {os.path.splitext(os.path.basename(raw))[0] for raw in by_folder[folder]}
    found: list[bytes] = []
    for other in parallel_folders(folder, _WORDS):
        names = [os.path.basename(raw) for raw in by_folder.get(other, ())]
        if names and all(name.endswith(b".png") and name[:-4] in stems for name in names):
            found += by_folder[other]
    return found
