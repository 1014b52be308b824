"""Find the photographs of a source.

A kind of source is a module with ``SUFFIXES`` (endings of the names of files that hold its images, for folders) and
``find(listing)``, which returns an `ImageTable`, or None where the source is not of its kind. Another one is another
module and its place in `KINDS`; one whose images do not lie in files by themselves, in slices of files or in Parquet
rows also needs a way to read them in `fastvbow.images.containers`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from fastvbow.errors import NoImagesError
from fastvbow.images import ade20k, folder, lists, parallel, parquet, tar
from fastvbow.images.bucket import list_bucket
from fastvbow.images.listing import SUFFIXES, Listing, list_source
from fastvbow.images.table import ImageTable
from fastvbow.stores import url_of

__all__ = ["KINDS", "SUFFIXES", "scan"]


class Kind(Protocol):
    """What a module of this folder has to offer to be a kind of source."""

    SUFFIXES: tuple[bytes, ...]

    def find(self, listing: Listing) -> ImageTable | None:
        """The images of the source, None where it is of another kind."""


KINDS: tuple[Kind, ...] = (lists, tar, parquet, ade20k, parallel, folder)
"""The kinds of sources, in the order in which they are tried."""


def scan(source: Path | str) -> ImageTable:
    """List the photographs of a source.

    It may be a folder (its subfolders included) of image files, one in a layout of ADE20K or with parallel folders of
    masks, one without image files that holds ``.tar`` files or Parquet files with images' bytes; or a single file:
    ``.tar``, ``.parquet`` (of images or of paths), ``.txt`` (a path a line), ``.csv`` (with a column of paths), or one
    image. The URL of a bucket, or of a folder in one, is listed as a folder of image files is. The order depends on
    neither file system nor locale.

    Parameters
    ----------
    source : Path or str
        The folder or file, or a URL (see `fastvbow.stores`); it is only read.

    Returns
    -------
    ImageTable
        What was found; no image has been opened yet.

    Raises
    ------
    UsageError
        `source` does not exist, cannot be listed, or is damaged or compressed.
    NoImagesError
        It holds no image.
    StoreError
        The bucket cannot be reached.
    """
    suffixes, url = tuple(suffix for kind in KINDS for suffix in kind.SUFFIXES), url_of(source)
    listing = list_source(Path(source), suffixes) if url is None else list_bucket(url, suffixes)
    for kind in KINDS:
        table = kind.find(listing)
        if table is not None:
            return table
    raise NoImagesError(
        f"no images in {source}: {listing.n_others + len(listing.packed)} other files were found; images end in "
        f"{' '.join(sorted(SUFFIXES))}"
    )
