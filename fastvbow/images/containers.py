"""Bytes of one image inside a larger file: a slice of a tar, a row of a Parquet file.

Nothing is unpacked to disk. Of a Parquet file each thread keeps one open, with the batch of rows around the last one
that was read, so that reading row after row decodes every row once; going back starts its row group again.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastvbow.errors import EXHAUSTED, ImageError
from fastvbow.images.decode import MOST_BYTES, open_regular

__all__ = ["image_column", "open_parquet", "read_row", "read_slice"]

BATCH = 16  # rows: a few megabytes of photographs
BUFFER = 1 << 20  # bytes that are read ahead in a Parquet column, instead of the whole column of a row group
BYTES_COLUMNS = ("image", "img", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes", "content", "data")
_here = threading.local()  # .cursor: the Parquet file that this thread has open


def open_parquet(handle: IO[bytes]) -> pq.ParquetFile:
    """A Parquet file that is read a page at a time, not a row group."""
    # From a Python file, for a path need not be UTF-8. No memory map: a shortened file would kill us.
    return pq.ParquetFile(pa.PythonFile(handle, mode="r"), buffer_size=BUFFER, pre_buffer=False)


def image_column(schema: pa.Schema) -> tuple[str, bool] | None:
    """The column of a Parquet file that holds images' bytes, and whether it is a struct with the field ``bytes``.

    The struct {bytes, path} of Hugging Face's data sets comes first (of several the one named ``image``, else the
    first), then a binary column with a usual name (`BYTES_COLUMNS`), then the only binary column where no column holds
    text. None: there is no such column.
    """
    structs = [f.name for f in schema if pa.types.is_struct(f.type) and _is_bytes(f.type)]
    if structs:
        return ("image" if "image" in structs else structs[0]), True
    plain = [f.name for f in schema if _is_binary(f.type)]
    named = [name for name in BYTES_COLUMNS if name in plain]
    if named:
        return named[0], False
    text = any(pa.types.is_string(f.type) or pa.types.is_large_string(f.type) for f in schema)
    return (plain[0], False) if len(plain) == 1 and not text else None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_bytes(kind: pa.StructType) -> bool:
    index = kind.get_field_index("bytes")
    return index >= 0 and _is_binary(kind.field(index).type)


def read_slice(path: bytes, offset: int, size: int, container_size: int) -> bytes:
    """The bytes of a tar's member.

    Parameters
    ----------
    path : bytes
        The tar file.
    offset, size : int
        Where the member's bytes begin, and how many they are; -1: more than the file has.
    container_size : int
        The tar's own size when it was scanned.

    Raises
    ------
    ImageError
        It cannot be read, is empty or larger than `MOST_BYTES`, or the tar has another size now.
    OSError
        The machine has run out of memory or open files.
    """
    if size < 0:
        raise ImageError("its tar file is cut short: it ends before this image does")
    if size > MOST_BYTES:
        raise ImageError(f"{size} bytes: more than {MOST_BYTES} are refused")
    with _as_image_error():
        descriptor = open_regular(path)
        try:
            _check_size(os.fstat(descriptor), container_size)
            data = os.pread(descriptor, size, offset)
        finally:
            os.close(descriptor)
    if not data:
        raise ImageError("empty file")
    if len(data) != size:
        raise ImageError("its tar file could be read only in part")
    return data


def read_row(path: bytes, row: int, container_size: int) -> bytes:
    """The bytes of the image in a Parquet file's row.

    Parameters
    ----------
    path : bytes
        The Parquet file.
    row : int
        Counted from 0 through all row groups.
    container_size : int
        The file's size when it was scanned.

    Raises
    ------
    ImageError
        It cannot be read, the row holds no bytes, or the file has another size now.
    OSError
        The machine has run out of memory or open files.
    """
    data = None
    with _as_image_error():
        status = os.stat(path)
        _check_size(status, container_size)
        cursor: _Cursor | None = getattr(_here, "cursor", None)
        key = (path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        if cursor is None or cursor.key != key:
            _forget()
            cursor = _here.cursor = _Cursor(key)
        try:
            data = cursor.read(row)
        except BaseException:
            _forget()  # its position is no longer known
            raise
    if not data:
        raise ImageError("its Parquet row holds no image" if data is None else "empty file")
    return data


def _forget() -> None:
    cursor: _Cursor | None = _here.__dict__.pop("cursor", None)
    if cursor is not None:
        cursor.close()


def _check_size(status: os.stat_result, wanted: int) -> None:
    if status.st_size != wanted:
        raise ImageError("the file that holds it has changed since it was scanned")


@contextlib.contextmanager
def _as_image_error() -> Iterator[None]:
    """Turn what reading may raise into an ImageError of one line, but for what is the machine's fault."""
    try:
        yield
    except ImageError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise
        lines = str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__]
        raise ImageError(f"cannot be read: {lines[0]}") from None


class _Cursor:
    """An open Parquet file, read forwards a few rows at a time."""

    def __init__(self, key: tuple[bytes, int, int, int, int]) -> None:
        self.key = key
        self._handle = os.fdopen(open_regular(key[0]), "rb", buffering=0)
        try:
            self._file = open_parquet(self._handle)
            column = image_column(self._file.schema_arrow)
            if column is None:
                raise ImageError("its Parquet file has no column of images")
            self._name, self._nested = column
            groups = [self._file.metadata.row_group(i).num_rows for i in range(self._file.num_row_groups)]
        except BaseException:
            self._handle.close()
            raise
        self._ends = np.cumsum(groups, dtype=np.int64)
        self._group = -1
        self._start = self._stop = 0  # rows of the batch at hand
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._values: pa.Array | None = None

    def close(self) -> None:
        self._handle.close()

    def read(self, row: int) -> bytes | None:
        if row >= (self._ends[-1] if len(self._ends) else 0):
            raise ImageError("its Parquet file has fewer rows than when it was scanned")
        group = int(np.searchsorted(self._ends, row, side="right"))
        if group != self._group or row < self._start:
            self._batches, self._values = iter(()), None  # first, so that two are never held at once
            self._group = group
            self._start = self._stop = int(self._ends[group - 1]) if group else 0
            name = f"{self._name}.bytes" if self._nested else self._name
            self._batches = self._file.iter_batches(BATCH, row_groups=[group], columns=[name], use_threads=False)
        while row >= self._stop:
            batch = next(self._batches, None)
            if batch is None:
                raise ImageError("its Parquet file has fewer rows than it says")
            self._start, self._stop = self._stop, self._stop + batch.num_rows
            self._values = batch.column(0).flatten()[0] if self._nested else batch.column(0)
        value: bytes | None = self._values[row - self._start].as_py() if self._values is not None else None
        return value
