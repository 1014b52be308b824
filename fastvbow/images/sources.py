"""Scan a folder for photographs.

A later kind of source (tar shards, Parquet, ADE20K) is one more function that returns an `ImageTable`.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from fastvbow.errors import NoImagesError, UsageError
from fastvbow.images.table import ImageTable

__all__ = ["SUFFIXES", "scan"]

SUFFIXES = frozenset(
    [
        ".avif",
        ".bmp",
        ".dib",
        ".gif",
        ".heic",
        ".heif",
        ".jfif",
        ".jp2",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".pbm",
        ".pgm",
        ".png",
        ".pnm",
        ".ppm",
        ".ras",
        ".tif",
        ".tiff",
        ".webp",
    ]
)


def scan(source: Path) -> ImageTable:
    """List the photographs of a folder and its subfolders, or a single file.

    A file counts by its suffix (`SUFFIXES`, either case). Hidden files and folders are left out; links to folders are
    not followed, but named in the table's ``unlisted``. The order is that of the path's bytes, so it depends on neither
    file system nor locale.

    Parameters
    ----------
    source : Path
        The folder, or one image file.

    Returns
    -------
    ImageTable
        What was found; nothing has been opened yet.

    Raises
    ------
    UsageError
        `source` does not exist or cannot be listed.
    NoImagesError
        It holds no file with an image's suffix.
    """
    try:
        source.stat()
    except FileNotFoundError:
        raise UsageError(f"there is no folder {source}") from None
    except (OSError, ValueError) as error:  # no permission, too long a name, a NUL in it
        raise UsageError(f"cannot list {source}: {getattr(error, 'strerror', None) or error}") from None
    root = os.fsencode(source.resolve())
    unlisted: list[str] = []
    if source.is_file():
        root, name = os.path.split(root)
        found, others = [name], 0
    else:
        found, others, unlisted = _walk(root)
    if unlisted and not found:
        raise UsageError(f"cannot list {source}: {unlisted[0]}")
    if not found:
        raise NoImagesError(
            f"no images in {source}: {others} other files were found; images end in {' '.join(sorted(SUFFIXES))}"
        )
    found.sort()
    size, changed = [], []
    for raw in found:
        try:
            status = os.stat(os.path.join(root, raw))
        except OSError:
            size.append(-1)  # a dangling link: the extraction reports it
            changed.append(-1)
            continue
        readable = stat.S_ISREG(status.st_mode) and os.access(os.path.join(root, raw), os.R_OK)
        size.append(status.st_size if readable else -1)  # so that a new permission is a change
        changed.append(status.st_mtime_ns)
    return ImageTable.from_paths(root, found, size, changed, n_others=others, unlisted=unlisted)


def _walk(root: bytes) -> tuple[list[bytes], int, list[str]]:
    """Relative paths of the images under a folder, how many other files there are, and folders that can't be listed."""
    found: list[bytes] = []
    others = 0
    unlisted: list[str] = []

    def note(error: OSError) -> None:
        unlisted.append(f"{os.fsdecode(error.filename or root)!r}: {error.strerror}")

    for folder, folders, names in os.walk(root, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith(b"."))
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                unlisted.append(f"{os.fsdecode(os.path.join(folder, name))!r}: links to folders are not followed")
        for name in names:
            if name.startswith(b"."):
                continue
            suffix = os.path.splitext(name)[1]
            if suffix.lower().decode("ascii", "replace") in SUFFIXES:
                found.append(os.path.relpath(os.path.join(folder, name), root))
            else:
                others += 1
    return found, others, unlisted
