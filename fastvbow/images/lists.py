"""A list of paths: a text file with one a line, or a column of a CSV file.

Paths are absolute or relative to the list's folder. Only line ends are taken away, so a name may begin or end with a
space.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from fastvbow.errors import NoImagesError, UsageError
from fastvbow.images.listing import Listing, stat_files
from fastvbow.images.table import ImageTable

__all__ = ["PATH_COLUMNS", "SUFFIXES", "find", "paths_table"]

SUFFIXES: tuple[bytes, ...] = ()  # in a folder a text file is no list: it may be anything
PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image_path", "image")
_BOM = b"\xef\xbb\xbf"


def find(listing: Listing) -> ImageTable | None:
    """The images that a ``.txt`` or ``.csv`` file names. None: the source is no such file.

    Raises
    ------
    UsageError
        It cannot be read, is no text in UTF-8, has no column of paths, or nothing that it names exists.
    NoImagesError
        It names nothing.
    """
    if not (listing.file and listing.with_suffix((b".txt", b".csv"))):
        return None
    try:
        if listing.with_suffix((b".csv",)):
            return paths_table(listing, _read_csv(Path(listing.source)))
        lines = Path(listing.source).read_bytes().removeprefix(_BOM).splitlines()
    except (OSError, csv.Error) as error:
        raise UsageError(f"cannot read the list {listing.source}: {error}") from None
    return paths_table(listing, lines)


def paths_table(listing: Listing, paths: Iterable[bytes]) -> ImageTable:
    """The table of the image files that a list names.

    Parameters
    ----------
    listing : Listing
        Of the list's own file.
    paths : iterable of bytes
        The entries; empty ones do not count, repeated ones count once. A file that is missing is kept: the extraction
        reports it.

    Raises
    ------
    UsageError
        An entry holds a NUL (the list is in another encoding), or none of the files exists.
    NoImagesError
        There is no entry.
    """
    folders = {listing.root + b"/", os.fsencode(Path(listing.source).parent.absolute()) + b"/"}
    found: set[bytes] = set()
    n_given = 0
    for entry in paths:
        if not entry:
            continue
        if b"\0" in entry:
            raise UsageError(f"{listing.source} is no list of paths in UTF-8: an entry holds a NUL byte")
        n_given += 1
        found.add(_plain(entry, folders))
    if not found:
        raise NoImagesError(f"no images in {listing.source}: it names no file")
    names = sorted(found)
    sizes, mtimes = stat_files(listing.root, names)
    if (mtimes == -1).all():
        raise UsageError(
            f"none of the {len(names)} files that {listing.source} names exists (the first: "
            f"{os.fsdecode(os.path.join(listing.root, names[0]))!r}); relative paths count from the list's folder"
        )
    twice = [f"{n_given - len(names)} of its entries name a file again: each counts once"]
    return ImageTable.from_paths(listing.root, names, sizes, mtimes, warnings=twice if n_given > len(names) else ())


def _plain(entry: bytes, folders: Iterable[bytes]) -> bytes:
    """The entry without empty and ``.`` steps, relative where it lies below the list's folder.

    ``..`` stays: across a link it leads elsewhere than the text suggests.
    """
    if b"//" in entry or b"/./" in entry or entry.startswith(b"./") or entry.endswith((b"/", b"/.")):
        steps = [step for step in entry.split(b"/") if step not in (b"", b".")]
        entry = (b"/" if entry.startswith(b"/") else b"") + b"/".join(steps)
    for folder in folders:
        if entry.startswith(folder):
            return entry[len(folder) :]
    return entry or b"."


def _read_csv(path: Path) -> Iterable[bytes]:
    """The column of paths, row by row."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as handle:
        reader = csv.reader(handle)
        header = next(reader, [])
        name = next((name for name in PATH_COLUMNS if name in header), None)
        if name is None:
            raise UsageError(
                f"{path} has the columns {header}; wanted: one of {', '.join(PATH_COLUMNS)} (or a .txt file with a "
                "path a line)"
            )
        column = header.index(name)
        for row in reader:
            if len(row) > column:
                yield row[column].encode("utf-8", "surrogateescape")
