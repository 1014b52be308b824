"""What a source's folder holds by the names of its files: the material that the kinds of sources choose from."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError

__all__ = ["SUFFIXES", "Listing", "is_image_name", "list_source", "stat_files"]

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
_RAW_SUFFIXES = frozenset(suffix.encode() for suffix in SUFFIXES)


@dataclass(frozen=True)
class Listing:
    """The files of a source.

    Attributes
    ----------
    source : Path or str
        As it was given; a str is the URL of a bucket.
    root : bytes
        The folder, resolved; of a single file the one that it lies in; the URL of a bucket.
    file : bytes or None
        The name of the file, where the source is a single one; `images` and `packed` are empty then.
    images : list of bytes
        Relative paths of files with an image's suffix, in the order of their bytes.
    packed : list of bytes
        Relative paths of files that may hold images, in the order of their bytes.
    n_others : int
        How many other files there are.
    unlisted : list of str
        Folders that could not be listed, with the reason.
    stated : mapping of bytes to (int, int), optional
        Bytes and modification time in nanoseconds of each image, where the listing has told them.
    """

    source: Path | str
    root: bytes
    file: bytes | None
    images: list[bytes]
    packed: list[bytes]
    n_others: int
    unlisted: list[str]
    stated: Mapping[bytes, tuple[int, int]] | None = None

    def stat(self, images: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sizes and modification times of images, as `stat_files` gives them."""
        if self.stated is None:
            return stat_files(self.root, images)
        found = np.array([self.stated[raw] for raw in images], np.int64).reshape(-1, 2)
        return found[:, 0].copy(), found[:, 1].copy()

    def with_suffix(self, suffixes: tuple[bytes, ...]) -> list[bytes]:
        """The single file, or the packed ones, where the name ends so (either case)."""
        files = self.packed if self.file is None else [self.file]
        return [raw for raw in files if raw.lower().endswith(suffixes)]


def is_image_name(raw: bytes) -> bool:
    """Whether a file's name has an image's suffix (`SUFFIXES`, either case)."""
    return os.path.splitext(raw)[1].lower() in _RAW_SUFFIXES


def list_source(source: Path, packed: tuple[bytes, ...]) -> Listing:
    """List a folder and its subfolders, or a single file.

    Hidden files and folders are left out; links to folders are not followed, but named in ``unlisted``.

    Parameters
    ----------
    source : Path
        The folder or file.
    packed : tuple of bytes
        Endings (lower case) of the names of files that may hold images.

    Raises
    ------
    UsageError
        `source` does not exist or cannot be listed.
    """
    try:
        source.stat()
    except FileNotFoundError:
        raise UsageError(f"there is no folder or file {source}") from None
    except (OSError, ValueError) as error:  # no permission, too long a name, a NUL in it
        raise UsageError(f"cannot list {source}: {getattr(error, 'strerror', None) or error}") from None
    root = os.fsencode(source.resolve())
    if source.is_file():
        root, name = os.path.split(root)
        return Listing(source, root, name, [], [], 0, [])
    listing = Listing(source, root, None, *_walk(root, packed))
    if listing.unlisted and not listing.images and not listing.packed:
        raise UsageError(f"cannot list {source}: {listing.unlisted[0]}")
    return listing


def _walk(root: bytes, suffixes: tuple[bytes, ...]) -> tuple[list[bytes], list[bytes], int, list[str]]:
    """Relative paths of images and packed files, how many others there are, and folders that can't be listed."""
    images: list[bytes] = []
    packed: list[bytes] = []
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
            if is_image_name(name):
                images.append(os.path.relpath(os.path.join(folder, name), root))
            elif name.lower().endswith(suffixes):
                packed.append(os.path.relpath(os.path.join(folder, name), root))
            else:
                others += 1
    return sorted(images), sorted(packed), others, unlisted


def stat_files(root: bytes, raw_paths: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sizes and modification times of files.

    Returns
    -------
    sizes, mtimes : ndarray of shape (n_files,), int64
        Bytes (-1: no regular file, or one that may not be read) and nanoseconds (-1: there is no such file).
    """
    sizes, mtimes = np.full((2, len(raw_paths)), -1, dtype=np.int64)
    for i, raw in enumerate(raw_paths):
        path = raw if raw.startswith(b"/") else root + b"/" + raw
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            continue  # a dangling link or a missing file: the extraction reports it
        mtimes[i] = status.st_mtime_ns
        if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):  # so that a new permission is a change
            sizes[i] = status.st_size
    return sizes, mtimes
