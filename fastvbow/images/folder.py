"""A folder of image files, or a single one: what a source is when it is nothing else."""

from __future__ import annotations

from fastvbow.images.listing import Listing
from fastvbow.images.table import ImageTable

__all__ = ["SUFFIXES", "find"]

SUFFIXES: tuple[bytes, ...] = ()


def find(listing: Listing) -> ImageTable | None:
    """The images of a folder; a single file counts whatever its name is. None: there is no image."""
    images = listing.images if listing.file is None else [listing.file]
    return files_table(listing, images, listing.n_others) if images else None


def files_table(listing: Listing, images: list[bytes], n_others: int) -> ImageTable:
    """A table of image files, in the order given. Files that hold images beside them are passed over, with a
    warning."""
    warnings = []
    if listing.packed:
        warnings.append(
            f"{len(listing.packed)} files were passed over that may hold images ({listing.packed[0]!r} is one), for "
            f"{listing.source} holds image files too: to read them, name one, or a folder of them alone, as the source"
        )
    sizes, mtimes = listing.stat(images)
    return ImageTable.from_paths(
        listing.root, images, sizes, mtimes, n_others=n_others, unlisted=listing.unlisted, warnings=warnings
    )
