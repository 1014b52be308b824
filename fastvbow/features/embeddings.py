"""Vectors of photographs that another program has made: they stand where a CNN's pooled vectors would.

What a file of them holds
-------------------------
- ``.parquet``: a column ``embedding`` (a list of numbers, of fixed size or not) and a column ``path``, relative to the
  source as in ``groups.parquet``, or ``image_id``. Rows are found by these; their order means nothing. Where both are
  there, ``path`` counts.
- ``.npy``: an array (n, dimension) of numbers. With ``NAME.txt`` beside ``NAME.npy`` line i is the path of row i, and
  rows are found by it. Without, n MUST be the number of images of the source, and row i belongs to the i-th image in
  the order of the image table (see `fastvbow.images.table.ImageTable`): nothing can tell whether it does.

Memory is taken for a block of rows at a time, and for their paths.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastvbow.errors import EXHAUSTED, UsageError
from fastvbow.features.aligned import AlignedVectors, aligned

__all__ = ["EmbeddingFile", "Embeddings"]

KEYS = ("path", "image_id")
COLUMN = "embedding"
BLOCK = 1 << 20  # numbers that are read at a time
BUFFER = 1 << 20  # bytes that are read ahead in a Parquet column, instead of the whole column of a row group
_BOM = b"\xef\xbb\xbf"


class _Rows(Protocol):
    """What a kind of file offers."""

    n_rows: int
    dimension: int
    key: str | None

    @property
    def files(self) -> list[Path]:
        """All that it is read from."""

    def names(self) -> Iterator[str | None]:
        """What each row goes by, where there is a `key`."""

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        """Runs of rows: the vectors of those that have one, (m, dimension), and which have."""


class _Array:
    """A ``.npy`` file."""

    def __init__(self, path: Path) -> None:
        self._path, self._list = path, path.with_suffix(".txt")
        array = self._map()
        if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
            raise UsageError(
                f"{path} holds an array of shape {array.shape} and type {array.dtype}; wanted: (photographs, numbers), "
                "floating-point"
            )
        self.n_rows, self.dimension = array.shape
        self.key = "path" if self._list.exists() else None

    def _map(self) -> NDArray[Any]:
        found: NDArray[Any] = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return found

    @property
    def files(self) -> list[Path]:
        return [self._path, self._list] if self.key else [self._path]

    def names(self) -> Iterator[str | None]:
        lines = self._list.read_bytes().removeprefix(_BOM).splitlines()
        if len(lines) != self.n_rows:
            raise UsageError(f"{self._list} has {len(lines)} lines, {self._path} {self.n_rows} rows: wanted: as many")
        return (line.decode("utf-8", "backslashreplace") for line in lines)  # as image tables name what is no UTF-8

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        step = max(1, BLOCK // self.dimension)
        for start in range(0, self.n_rows, step):
            rows = np.array(self._map()[start : start + step])  # a map each: pages of one that stays would add up
            yield rows, np.ones(len(rows), np.bool_)


class _Table:
    """A Parquet file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as handle:
            file = self._open(handle)
            schema, self.n_rows = file.schema_arrow, file.metadata.num_rows
            self.key = next((name for name in KEYS if name in schema.names), None)
            if self.key is None or COLUMN not in schema.names:
                raise UsageError(f"{path} has the columns {schema.names}; wanted: path or image_id, and {COLUMN}")
            if not _is_text(schema.field(self.key).type):
                raise UsageError(f"{path}: the column {self.key} is {schema.field(self.key).type}; wanted: strings")
            kind = _storage(schema.field(COLUMN).type)
            if not _is_list(kind) or not _is_number(kind.value_type):
                raise UsageError(f"{path}: the column {COLUMN} is {kind}; wanted: a list of floating-point numbers")
            fixed = pa.types.is_fixed_size_list(kind)
            self.dimension = int(kind.list_size) if fixed else self._first_length(file)
        if not self.n_rows or not self.dimension:
            raise UsageError(f"{path} holds no vector: wanted: a row for each photograph")

    @staticmethod
    def _open(handle: Any) -> pq.ParquetFile:
        # From a Python file, for a path need not be UTF-8.
        return pq.ParquetFile(pa.PythonFile(handle, mode="r"), buffer_size=BUFFER, pre_buffer=False)

    @staticmethod
    def _first_length(file: pq.ParquetFile) -> int:
        for batch in file.iter_batches(64, columns=[COLUMN], use_threads=False):
            lengths = pc.list_value_length(batch.column(0)).drop_null()
            if len(lengths):
                return int(lengths[0].as_py())
        return 0

    @property
    def files(self) -> list[Path]:
        return [self._path]

    def names(self) -> Iterator[str | None]:
        with self._path.open("rb") as handle:
            for batch in self._open(handle).iter_batches(columns=[self.key], use_threads=False):
                yield from batch.column(0).to_pylist()

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        step, row = max(1, BLOCK // self.dimension), 0
        with self._path.open("rb") as handle:
            for batch in self._open(handle).iter_batches(step, columns=[COLUMN], use_threads=False):
                column = batch.column(0)
                column = column.storage if isinstance(column, pa.ExtensionArray) else column
                lengths = pc.list_value_length(column).fill_null(self.dimension).to_numpy(zero_copy_only=False)
                wrong = np.flatnonzero(lengths != self.dimension)
                if len(wrong):
                    raise UsageError(
                        f"{self._path}: the vector of row {row + wrong[0]} (from 0) has {lengths[wrong[0]]} numbers, "
                        f"the first one {self.dimension}: all of one network have as many"
                    )
                numbers = pc.list_flatten(column).to_numpy(zero_copy_only=False)  # NaN for a null
                yield numbers.reshape(-1, self.dimension), column.is_valid().to_numpy(zero_copy_only=False)
                row += len(column)


class EmbeddingFile:
    """A file of vectors, of which only the head has been read.

    Parameters
    ----------
    path : Path or str
        See the module.

    Raises
    ------
    UsageError
        It cannot be read, or holds something else.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = path = Path(path)
        kinds: dict[str, Callable[[Path], _Rows]] = {".npy": _Array, ".parquet": _Table}
        kind = kinds.get(path.suffix.lower())
        if kind is None:
            raise UsageError(f"--embeddings takes a file {' or '.join(kinds)}, not {path}")
        with _told(path):
            self._rows: _Rows = kind(path)
            self._state = self._look()

    def _look(self) -> list[tuple[int, int]]:
        return [(status.st_size, status.st_mtime_ns) for status in map(os.stat, self._rows.files)]

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._rows.dimension

    @property
    def n_rows(self) -> int:
        """How many vectors there are."""
        return self._rows.n_rows

    @property
    def has_paths(self) -> bool:
        """Whether it tells which photograph a row belongs to; otherwise their order does."""
        return self._rows.key is not None

    def blocks(self) -> Iterator[tuple[NDArray[Any], NDArray[np.bool_]]]:
        """Runs of rows: the vectors of those that have one, (m, dimension), and which have.

        Raises
        ------
        UsageError
            Vectors have different lengths, or the file is another one than when it was opened.
        """
        with _told(self.path):  # of what is done with a block it hears nothing
            yield from self._rows.blocks()
            if self._look() != self._state:
                raise UsageError(f"{self.path} has changed while it was read: run the same command again")

    @cached_property
    def sha256(self) -> str:
        """Of the file, in hex; of the sums of both where paths lie beside it."""
        with _told(self.path):
            sums = []
            for path in self._rows.files:
                with path.open("rb") as file:
                    sums.append(hashlib.file_digest(file, "sha256").hexdigest())
        return sums[0] if len(sums) == 1 else hashlib.sha256(" ".join(sums).encode()).hexdigest()

    def match(self, names: Sequence[str], image_ids: Sequence[str], root: str) -> Embeddings:
        """Find the row of each photograph.

        Parameters
        ----------
        names, image_ids : sequence of str
            Of all the images of a source, in the order of its table.
        root : str
            The folder that the names are relative to: absolute paths below it are understood.

        Raises
        ------
        UsageError
            A photograph is named twice, none is named, or there are no paths and the numbers differ.
        """
        with _told(self.path):
            if self._rows.key is None:
                return self._by_order(names)
            return self._by_name(names, image_ids, root)

    def _by_order(self, names: Sequence[str]) -> Embeddings:
        n_rows = self._rows.n_rows
        if n_rows != len(names):
            raise UsageError(
                f"{self.path} has {n_rows} rows, the source {len(names)} images: without paths there has to be a row "
                f"for each, in the order of the paths' bytes; write the path of each row into "
                f"{self.path.with_suffix('.txt').name} beside it, or both into a Parquet file"
            )
        order = hashlib.sha256("\0".join(names).encode()).hexdigest()
        note = f"{self.path.name} has no paths: its first row is taken for {names[0]}, its last one for {names[-1]}"
        return Embeddings(self, np.arange(n_rows), order, [note], [])

    def _by_name(self, names: Sequence[str], image_ids: Sequence[str], root: str) -> Embeddings:
        key = self._rows.key
        keys = names if key == "path" else image_ids
        places: dict[str | None, int] = {name: i for i, name in enumerate(keys)}
        alike = {name for name, n in Counter(keys).items() if n > 1} if len(places) < len(keys) else set()
        rows = np.full(len(keys), -1, np.int64)
        unknown: list[str | None] = []
        n_unknown = 0
        for row, given in enumerate(self._rows.names()):
            place = places.get(given)
            if place is None and given and key == "path":
                place = places.get(_plain(given, root))
            if place is None:
                n_unknown += 1
                unknown = unknown or [given]
                continue
            if keys[place] in alike:
                raise UsageError(f"{self.path}: several photographs read {given!r}: name them by image_id, not by path")
            if rows[place] >= 0:
                raise UsageError(f"{self.path} has two vectors of {given!r}, in rows {rows[place]} and {row} (from 0)")
            rows[place] = row
        if (rows < 0).all():
            raise UsageError(
                f"{self.path}: none of its {n_unknown} rows names a photograph of the source: the first has the {key} "
                f"{unknown[0]!r}, the source's first photograph {keys[0]!r}"
            )
        warnings = []
        if n_unknown:
            warnings.append(
                f"{n_unknown} of {self._rows.n_rows} rows of {self.path.name} name no photograph of the source, the "
                f"first of them {unknown[0]!r}"
            )
        return Embeddings(self, rows, "", [], warnings)


@dataclass(frozen=True)
class Embeddings:
    """The vectors of a source's photographs.

    Attributes
    ----------
    file : EmbeddingFile
    rows : ndarray of shape (n_images,), int64
        The row of each photograph in the file; -1: it has none.
    order : str
        Where rows are found by their places alone, the SHA-256 of the photographs' names in their order.
    notes, warnings : list of str
        What a person should know: each a sentence.
    """

    file: EmbeddingFile
    rows: NDArray[np.int64]
    order: str
    notes: list[str]
    warnings: list[str]

    @property
    def parameters(self) -> dict[str, Any]:
        """All that the vectors of a photograph depend on, as plain values."""
        known = {"sha256": self.file.sha256, "dimension": self.file.dimension}
        return {**known, "order": self.order} if self.order else known

    def of(self, images: Sequence[int] | NDArray[np.int64]) -> Embeddings:
        """Those of some of the photographs, in this order; -1: a photograph that has none."""
        rows = np.append(self.rows, -1)[np.asarray(images, np.int64)]
        return replace(self, rows=rows)

    def align(self, out: AlignedVectors, images: Sequence[int] | None = None) -> None:
        """Read the file once, and write each photograph's vector to its place.

        Parameters
        ----------
        out : AlignedVectors
            Place i gets that of the i-th photograph.
        images : sequence of int, optional
            The photographs that are wanted, in the order of their places; None: as many of the first as `out` has.

        Raises
        ------
        UsageError
            Vectors have different lengths, or the file is another one than when it was opened.
        """
        wanted = self.rows[: len(out)] if images is None else self.rows[np.asarray(images)]
        place_of = np.full(self.file.n_rows, -1, np.int64)
        place_of[wanted[wanted >= 0]] = np.flatnonzero(wanted >= 0)
        row = 0
        for vectors, present in self.file.blocks():
            places = place_of[row : row + len(present)]
            out.write(places[places >= 0], aligned(vectors, present)[places >= 0])
            row += len(present)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn errors of reading a file into a UsageError that names it."""
    try:
        yield
    except UsageError:
        raise
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise
        what = (str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__])[0]
        raise UsageError(f"cannot read embeddings from {path}: {what}") from None


def _plain(path: str, root: str) -> str:
    """A path without empty and ``.`` steps, relative where it lies below the root."""
    found = posixpath.normpath(path)
    return posixpath.relpath(found, root) if found.startswith(f"{root}/") else found


def _storage(kind: pa.DataType) -> pa.DataType:
    """What a type is stored as: Arrow's tensors are lists."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
