"""The image table: which photographs there are, under names that stay, and how each is read.

Columns of ``images.parquet``: ``image_id`` (string), ``path`` (string, relative, fit for reading), ``raw_path``
(binary, the file system's own bytes; of an image inside a container: the container's path, ``/``, its name in it),
``size`` (int64, bytes; -1 where it is no regular file, may not be read, or is not known before it is read, as of a
Parquet row), ``mtime_ns`` (int64, of the file or the container). A writer MUST write these five without nulls.

Of an image inside a container (a tar or Parquet file) the following are set; of a file by itself they MUST be null:
``container`` (binary, its relative path), ``container_size`` (int64, bytes) and one of ``offset`` (int64, where the
image's bytes begin) and ``row`` (int64, counted from 0 through all row groups). A table MAY lack these four columns
together, as those written before there were containers: a reader MUST then take every image for a file by itself.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError
from fastvbow.images.bucket import read_object
from fastvbow.images.containers import read_row, read_slice
from fastvbow.images.decode import read_bytes
from fastvbow.stores import url_of

__all__ = ["ImageTable", "Places", "image_id_of", "readable"]

_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "path": pa.string(),
        "raw_path": pa.binary(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
    }
)
_NAMES = pa.schema([_SCHEMA.field("image_id"), _SCHEMA.field("path")])
_PLACES = pa.schema(
    {
        "container": pa.binary(),
        "container_size": pa.int64(),
        "offset": pa.int64(),
        "row": pa.int64(),
    }
)


_PER_IMAGE = ("raw_paths", "names", "image_ids", "sizes", "mtimes")


def image_id_of(raw_path: bytes) -> str:
    """The id of an image: 80 bits of the BLAKE2b hash of its relative path, in hex.

    It depends on the path alone: moving the whole folder, or adding files to it, leaves every id as it was.
    """
    return hashlib.blake2b(raw_path, digest_size=10).hexdigest()


def readable(raw: bytes) -> str:
    """A path's bytes as text; bytes that are not UTF-8 are written as ``\\xNN``."""
    return raw.decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Places:
    """Where images lie that are no files of their own.

    Attributes
    ----------
    containers : list of bytes
        Relative paths of the tar and Parquet files.
    container_sizes : list of int
        Their bytes.
    which : ndarray of shape (n_images,), int32
        The container of each image; -1: it is a file by itself.
    offsets, rows : ndarray of shape (n_images,), int64
        Where its bytes begin in a tar, or its row in a Parquet file; the other is -1.
    """

    containers: list[bytes]
    container_sizes: list[int]
    which: NDArray[np.int32]
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]

    def part(self, start: int, stop: int) -> Places:
        """The places of a run of the images, and of the containers only those that they lie in."""
        run = slice(start, stop)
        used, which = np.unique(self.which[run], return_inverse=True)
        if shift := int(len(used) > 0 and used[0] < 0):  # files by themselves
            used = used[1:]
        return Places(
            [self.containers[i] for i in used],
            [self.container_sizes[i] for i in used],
            (which.reshape(-1) - shift).astype(np.int32),
            self.offsets[run],
            self.rows[run],
        )

    def to_columns(self) -> dict[str, pa.Array]:
        """The columns of ``images.parquet``."""
        which = pa.array(self.which, mask=self.which < 0)
        return {
            "container": pa.array(self.containers, pa.binary()).take(which),
            "container_size": pa.array(self.container_sizes, pa.int64()).take(which),
            "offset": pa.array(self.offsets, mask=self.offsets < 0),
            "row": pa.array(self.rows, mask=self.rows < 0),
        }

    @classmethod
    def from_columns(cls, table: pa.Table) -> Places | None:
        """What `to_columns` gave; None where no image lies in a container.

        Raises
        ------
        ValueError
            The columns contradict one another.
        """
        container = table["container"].combine_chunks()
        if container.null_count == len(container):
            return None
        packed = container.dictionary_encode()
        which = packed.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)
        sizes, offsets, rows = (
            table[name].combine_chunks().fill_null(-1).to_numpy(zero_copy_only=False)
            for name in ("container_size", "offset", "row")
        )
        if (((offsets >= 0).astype(int) + (rows >= 0)) != (which >= 0)).any() or (sizes[which >= 0] < 0).any():
            raise ValueError("its columns container, container_size, offset and row contradict one another")
        first = np.unique(which[which >= 0], return_index=True)[1]
        known = sizes[which >= 0][first].tolist()
        return cls(packed.dictionary.to_pylist(), known, which, offsets, rows)


@dataclass(frozen=True)
class ImageTable:
    """The photographs of one source: files in the order of their paths' bytes, images inside containers in the order of
    the containers' paths and, within one, as they lie there.

    Attributes
    ----------
    root : bytes
        The folder that the paths are relative to, or the URL of a bucket (see `fastvbow.images.bucket`).
    raw_paths : list of bytes
        Relative paths as the file system has them; of an image inside a container: ``CONTAINER/NAME``.
    names : list of str
        The same, fit for reading.
    image_ids : list of str
        See `image_id_of`.
    sizes, mtimes : ndarray of shape (n_images,), int64
        Bytes (-1: no regular file, one that may not be read, or not known before it is read) and nanoseconds (of an
        image inside a container: the container's).
    n_others : int
        Files that were passed over since they are no images by their names.
    unlisted : list of str
        Folders that could not be listed, with the reason.
    warnings : list of str
        What else was left out, and why: each a sentence.
    places : Places or None
        Where the images inside containers lie; None: all are files by themselves.
    """

    root: bytes
    raw_paths: list[bytes]
    names: list[str]
    image_ids: list[str]
    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64]
    n_others: int = 0
    unlisted: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    places: Places | None = None

    def __len__(self) -> int:
        return len(self.raw_paths)

    @classmethod
    def from_paths(
        cls,
        root: bytes,
        raw_paths: Sequence[bytes],
        sizes: Sequence[int] | NDArray[np.int64],
        mtimes: Sequence[int] | NDArray[np.int64],
        *,
        n_others: int = 0,
        unlisted: Sequence[str] = (),
        warnings: Sequence[str] = (),
        places: Places | None = None,
    ) -> ImageTable:
        """Build the table from relative paths."""
        return cls(
            root=root,
            raw_paths=list(raw_paths),
            names=[readable(raw) for raw in raw_paths],
            image_ids=[image_id_of(raw) for raw in raw_paths],
            sizes=np.asarray(sizes, dtype=np.int64),
            mtimes=np.asarray(mtimes, dtype=np.int64),
            n_others=n_others,
            unlisted=list(unlisted),
            warnings=list(warnings),
            places=places,
        )

    @cached_property
    def url(self) -> str | None:
        """`root` as a URL, where the images lie in a bucket."""
        return url_of(self.root)

    def path(self, index: int) -> Path:
        """Where an image lies; inside a container or a bucket it is no path to open, but tells a person where to
        look."""
        return Path(os.fsdecode(os.path.join(self.root, self.raw_paths[index])))

    def is_file(self, index: int) -> bool:
        """Whether an image is a file by itself, which `path` leads to."""
        return self.url is None and (self.places is None or bool(self.places.which[index] < 0))

    def read(self, index: int) -> bytes:
        """The bytes of an image, from its file, container or bucket. Threads may call it at once.

        Raises
        ------
        ImageError
            It cannot be read, is empty, or its container is no longer the one that was scanned.
        OSError
            The machine has run out of memory or open files.
        StoreError
            The bucket cannot be reached: that tells nothing of the image.
        """
        if self.url is not None:
            return read_object(self.url, self.raw_paths[index])
        places = self.places
        if places is None or places.which[index] < 0:
            return read_bytes(os.path.join(self.root, self.raw_paths[index]))
        container = places.which[index]
        path = os.path.join(self.root, places.containers[container])
        if places.rows[index] >= 0:
            return read_row(path, int(places.rows[index]), places.container_sizes[container])
        return read_slice(path, int(places.offsets[index]), int(self.sizes[index]), places.container_sizes[container])

    def part(self, start: int, stop: int) -> ImageTable:
        """A run of the images."""
        rows = {name: getattr(self, name)[start:stop] for name in _PER_IMAGE}
        places = None if self.places is None else self.places.part(start, stop)
        return replace(self, **rows, n_others=0, unlisted=[], warnings=[], places=places)

    def to_read(self, start: int, stop: int) -> ImageTable:
        """A run of the images with all that it takes to read them, but without names and ids: what travels to whoever
        reads them, some 60 bytes an image."""
        return replace(self.part(start, stop), names=[], image_ids=[])

    def identity(self, index: int) -> bytes:
        """16 bytes that stay while the file's path, size and time do, and its place in a container."""
        return bytes.fromhex(self.fingerprint(index, index + 1)[:32])

    def fingerprint(self, start: int = 0, stop: int | None = None) -> str:
        """SHA-256 over the paths, sizes and times of a run of images, and their places in containers: it changes when
        any of these does."""
        digest = hashlib.sha256()
        for raw, size, mtime in zip(
            self.raw_paths[start:stop], self.sizes[start:stop], self.mtimes[start:stop], strict=True
        ):
            digest.update(b"%d %d %d " % (len(raw), size, mtime) + raw)
        places, run = self.places, slice(start, stop)
        if places is not None and (places.which[run] >= 0).any():
            digest.update(b" in ")  # here a path's length, a number, would begin
            for container, offset, row in zip(places.which[run], places.offsets[run], places.rows[run], strict=True):
                size = places.container_sizes[container] if container >= 0 else -1
                digest.update(b"%d %d %d " % (size, offset, row))
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write ``images.parquet``."""
        nothing = {name: pa.nulls(len(self), type_) for name, type_ in zip(_PLACES.names, _PLACES.types, strict=True)}
        table = pa.table(
            {
                "image_id": self.image_ids,
                "path": self.names,
                "raw_path": self.raw_paths,
                "size": self.sizes,
                "mtime_ns": self.mtimes,
                **(nothing if self.places is None else self.places.to_columns()),
            },
            schema=pa.schema([*_SCHEMA, *_PLACES]),
        )
        pq.write_table(table, path, compression="zstd")

    @staticmethod
    def load_names(path: Path) -> pa.Table:
        """The columns ``image_id`` and ``path`` of ``images.parquet``, without an object for each image: 80 bytes
        each.

        Raises
        ------
        StoreCorruptError
            It cannot be read.
        """
        try:
            table = pq.read_table(path, columns=["image_id", "path"])
            if not table.schema.equals(_NAMES) or any(column.null_count for column in table.columns):
                raise pa.ArrowTypeError(f"its columns are {table.schema.types}, some perhaps with gaps")
            return table
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise _unreadable(path, error) from None

    @classmethod
    def load(cls, path: Path, root: Path | str) -> ImageTable:
        """Read ``images.parquet`` of a project whose images lie under `root`, a folder or a URL."""
        try:
            table = pq.read_table(path)
            older = not set(_PLACES.names) & set(table.column_names)
            wanted = _SCHEMA if older else pa.schema([*_SCHEMA, *_PLACES])
            table = table.select(wanted.names)
            if not table.schema.equals(wanted) or any(table[name].null_count for name in _SCHEMA.names):
                raise pa.ArrowTypeError(f"its columns are {table.schema.types}, some perhaps with gaps")
            return cls.from_paths(
                os.fsencode(root),
                table["raw_path"].to_pylist(),
                table["size"].to_numpy(),
                table["mtime_ns"].to_numpy(),
                places=None if older else Places.from_columns(table),
            )
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> StoreCorruptError:
    return StoreCorruptError(f"cannot read the image table {path}: {error}: delete it and run 'fastvbow extract' again")
