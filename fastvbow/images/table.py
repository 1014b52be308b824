"""The image table: which photographs there are, under names that stay.

Columns of ``images.parquet``: ``image_id`` (string), ``path`` (string, relative, fit for reading), ``raw_path``
(binary, the file system's own bytes), ``size`` (int64, bytes; -1 where it is no regular file or may not be read),
``mtime_ns`` (int64).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError
from fastvbow.images.decode import read_bytes

__all__ = ["ImageTable", "image_id_of", "readable"]

_SCHEMA = pa.schema(
    {
        "image_id": pa.string(),
        "path": pa.string(),
        "raw_path": pa.binary(),
        "size": pa.int64(),
        "mtime_ns": pa.int64(),
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
class ImageTable:
    """The photographs of one source, in the order of their paths' bytes.

    Attributes
    ----------
    root : bytes
        The folder that the paths are relative to.
    raw_paths : list of bytes
        Relative paths as the file system has them.
    names : list of str
        The same, fit for reading.
    image_ids : list of str
        See `image_id_of`.
    sizes, mtimes : ndarray of shape (n_images,), int64
        Bytes (-1: no regular file, or one that may not be read) and nanoseconds.
    n_others : int
        Files that were passed over since they are no images by their names.
    unlisted : list of str
        Folders that could not be listed, with the reason.
    """

    root: bytes
    raw_paths: list[bytes]
    names: list[str]
    image_ids: list[str]
    sizes: NDArray[np.int64]
    mtimes: NDArray[np.int64]
    n_others: int = 0
    unlisted: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.raw_paths)

    @classmethod
    def from_paths(
        cls,
        root: bytes,
        raw_paths: Sequence[bytes],
        sizes: Sequence[int],
        mtimes: Sequence[int],
        *,
        n_others: int = 0,
        unlisted: Sequence[str] = (),
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
        )

    def path(self, index: int) -> Path:
        """Where an image lies."""
        return Path(os.fsdecode(os.path.join(self.root, self.raw_paths[index])))

    def read(self, index: int) -> bytes:
        """The bytes of an image file; see `fastvbow.images.decode.read_bytes`."""
        return read_bytes(self.path(index))

    def part(self, start: int, stop: int) -> ImageTable:
        """A run of the images."""
        rows = {name: getattr(self, name)[start:stop] for name in _PER_IMAGE}
        return replace(self, **rows, n_others=0, unlisted=[])

    def identity(self, index: int) -> bytes:
        """16 bytes that stay while the file's path, size and time do."""
        return bytes.fromhex(self.fingerprint(index, index + 1)[:32])

    def fingerprint(self, start: int = 0, stop: int | None = None) -> str:
        """SHA-256 over the paths, sizes and times of a run of images: it changes when any of these does."""
        digest = hashlib.sha256()
        for raw, size, mtime in zip(
            self.raw_paths[start:stop], self.sizes[start:stop], self.mtimes[start:stop], strict=True
        ):
            digest.update(b"%d %d %d " % (len(raw), size, mtime) + raw)
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write ``images.parquet``."""
        table = pa.table(
            {
                "image_id": self.image_ids,
                "path": self.names,
                "raw_path": self.raw_paths,
                "size": self.sizes,
                "mtime_ns": self.mtimes,
            },
            schema=_SCHEMA,
        )
        pq.write_table(table, path, compression="zstd")

    @classmethod
    def load(cls, path: Path, root: Path) -> ImageTable:
        """Read ``images.parquet`` of a project whose images lie under `root`."""
        try:
            table = pq.read_table(path).select(_SCHEMA.names)
            if not table.schema.equals(_SCHEMA) or any(column.null_count for column in table.columns):
                raise pa.ArrowTypeError(f"its columns are {table.schema.types}, some perhaps with gaps")
            return cls.from_paths(
                os.fsencode(root),
                table["raw_path"].to_pylist(),
                table["size"].to_numpy(),
                table["mtime_ns"].to_numpy(),
            )
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise StoreCorruptError(
                f"cannot read the image table {path}: {error}: delete it and run 'fastvbow extract' again"
            ) from None
