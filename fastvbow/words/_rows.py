"""Rows to cluster: arrays, memory maps and lists of shards, read block by block.

A matrix of any size, dtype, stride and writability goes through the kernels in blocks; only a block is ever converted
or copied, and pages of read-only memory maps are given back after use, so the memory in use does not grow with the
corpus.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.utils import assert_all_finite

from fastvbow.errors import UsageError

__all__ = [
    "BLOCK_BYTES",
    "BLOCK_ROWS",
    "DTYPES",
    "Shards",
    "as_block",
    "check_finite",
    "checked_weights",
    "float_dtype",
    "is_shards",
    "mean_variance",
    "release",
    "row_blocks",
]

DTYPES = [np.float64, np.float32, np.float16, np.uint8]  # what rows may be; anything else becomes the first
BLOCK_ROWS = 32768
BLOCK_BYTES = 1 << 23
"""A block holds at most so many bytes, as the rows are stored, and at most `BLOCK_ROWS` rows."""


class Shards:
    """Several matrices of one dtype and width, one after another, as one: enough of an array for this package.

    Parameters
    ----------
    shards : sequence of ndarray of shape (n_i, d)
        Memory maps stay on disk.

    Raises
    ------
    UsageError
        There are none, or they differ in dtype or width.
    """

    def __init__(self, shards: Sequence[np.ndarray]) -> None:
        if not shards:
            raise UsageError("the list of shards is empty: give at least one array of rows")
        first = shards[0]
        for i, shard in enumerate(shards):
            if shard.ndim != 2 or shard.dtype != first.dtype or shard.shape[1] != first.shape[1]:
                raise UsageError(
                    f"shard {i} has shape {shard.shape} and dtype {shard.dtype}, shard 0 {first.shape} and "
                    f"{first.dtype}: shards must agree in width and dtype"
                )
        self.shards = list(shards)
        self.starts = np.concatenate([[0], np.cumsum([len(s) for s in shards], dtype=np.int64)])
        self.shape = (int(self.starts[-1]), first.shape[1])
        self.dtype, self.ndim = first.dtype, 2

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                first, last = (int(i) for i in np.searchsorted(self.starts, [start, stop], side="right") - 1)
                parts = [
                    self.shards[i][max(0, start - self.starts[i]) : max(0, stop - self.starts[i])]
                    for i in range(first, min(last + 1, len(self.shards)))
                ]
                parts = [part for part in parts if len(part)] or [self.shards[0][:0]]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows, np.int64)
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        home = np.searchsorted(self.starts, rows, side="right") - 1
        for i in np.unique(home):
            here = home == i
            out[here] = self.shards[i][rows[here] - self.starts[i]]
        return out


def is_shards(X: Any) -> bool:
    """Whether X is a list or tuple of matrices, not one matrix."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and all(isinstance(s, np.ndarray) and s.ndim == 2 for s in X)


def row_blocks(X: Any) -> Iterator[slice]:
    """Cut the rows of X into blocks; where they lie depends on shape and dtype alone."""
    n, width = len(X), max(1, X.shape[1] * X.dtype.itemsize)
    # Eight blocks at least, for the threads, of 1024 rows at least, for the kernels.
    rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // width, max(1024, -(-n // 8))))
    return (slice(start, min(n, start + rows)) for start in range(0, n, rows))


def float_dtype(*arrays: Any) -> np.dtype:
    """Dtype of the arithmetic: float64 where one of the arrays is float64, else float32."""
    return np.dtype(np.float64 if any(a.dtype == np.float64 for a in arrays) else np.float32)


def as_block(X: Any, rows: Any) -> np.ndarray:
    """X[rows] as a C-contiguous uint8, float32 or float64 array; a view where X allows it."""
    block = np.asarray(X[rows])
    if block.dtype not in (np.uint8, np.float32, np.float64):
        block = block.astype(np.float32 if block.dtype == np.float16 else np.float64)
    return np.require(block, requirements=["C", "A"])


def release(X: Any, rows: slice | None = None) -> None:
    """Give the pages of X[rows] back to the system, where X is a read-only memory map: they can be read again."""
    if isinstance(X, Shards):
        start, stop = (0, len(X)) if rows is None else (rows.start, rows.stop)
        first, last = (int(i) for i in np.searchsorted(X.starts, [start, max(start, stop - 1)], side="right") - 1)
        for i in range(first, min(last + 1, len(X.shards))):
            at = int(X.starts[i])
            release(X.shards[i], slice(max(0, start - at), min(len(X.shards[i]), stop - at)))
        return
    if not isinstance(X, np.ndarray) or not X.flags.c_contiguous or not hasattr(mmap, "MADV_DONTNEED"):
        return
    base: Any = X
    read_only = False
    while isinstance(base, np.ndarray):
        # Only what a file holds can be read again: not what was written over a private map, nor memory without a file.
        read_only = read_only or (isinstance(base, np.memmap) and base.mode == "r")
        base = base.base
    if not read_only or not isinstance(base, mmap.mmap):
        return
    map_start = np.frombuffer(base, np.uint8, 1).ctypes.data
    width = X.strides[0] if len(X) > 1 else X.nbytes
    start, stop = (0, len(X)) if rows is None else (rows.start, rows.stop)
    first = X.ctypes.data - map_start + start * width
    first = -(-first // mmap.PAGESIZE) * mmap.PAGESIZE if rows is not None else first // mmap.PAGESIZE * mmap.PAGESIZE
    length = X.ctypes.data - map_start + stop * width - first
    if length >= mmap.PAGESIZE:
        with contextlib.suppress(OSError, ValueError):  # a hint: nothing is lost where it is not taken
            base.madvise(mmap.MADV_DONTNEED, first, length // mmap.PAGESIZE * mmap.PAGESIZE)


def check_finite(X: Any, name: str = "X") -> None:
    """Raise ValueError for NaN or infinity, UsageError for values whose squares overflow the arithmetic."""
    if X.dtype.kind != "f":
        return
    limit = float(np.sqrt(np.finfo(float_dtype(X)).max / (16.0 * max(1, X.shape[1]))))
    for rows in row_blocks(X):
        block = as_block(X, rows)
        flat = block.reshape(-1)
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(np.dot(flat, flat))
        if not squares <= limit * limit:  # rarely; NaN comes here too
            low, high = float(block.min()), float(block.max())
            if not (np.isfinite(low) and np.isfinite(high)):
                assert_all_finite(np.asarray(X[rows]), input_name=name)
            if max(-low, high) > limit:
                raise UsageError(
                    f"{name} holds {max(-low, high):.3g}; {float_dtype(X)} arithmetic needs values up to {limit:.3g}: "
                    "scale the data down or pass float64"
                )
        release(X, rows)


def mean_variance(X: Any) -> float:
    """Mean over the columns of their variance."""
    dtype = float_dtype(X)
    first, total, squares = as_block(X, slice(0, 1)).astype(dtype), np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for rows in row_blocks(X):
        block = as_block(X, rows) - first  # about the first row: keeps the digits of data far from the origin
        total += block.sum(axis=0, dtype=np.float64)
        squares += np.einsum("ik,ik->k", block, block)
        release(X, rows)
    return float(np.mean(squares / len(X) - (total / len(X)) ** 2))


def checked_weights(sample_weight: Any, n: int) -> np.ndarray | None:
    """Return the weights as float64 of shape (n,), or None if none were given; raise UsageError if unusable."""
    if sample_weight is None:
        return None
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.ndim == 0:
        weights = np.full(n, float(weights))
    if weights.shape != (n,):
        raise UsageError(f"sample_weight has shape {weights.shape}; one weight for each of {n} rows is needed")
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise UsageError("sample_weight must be finite, not negative and not all zero")
    with np.errstate(over="ignore"):
        total = weights.sum()
    if not total < 1e150:  # its products with squared distances have to stay finite
        raise UsageError(f"sample_weight sums to {total:.3g}: scale the weights down")
    return np.ascontiguousarray(weights)
