"""Rows in blocks, on threads: the part of K-Means that stands between an estimator and its kernels.

A matrix of any size, dtype, stride and writability goes through the kernels in blocks of `ROWS` rows; only a block is
ever converted or copied. The blocks do not depend on the number of threads and their results are consumed in order, so
the same bytes come out for any `n_jobs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import assert_all_finite

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.words import _kmeans_kernels as kernels

__all__ = [
    "DTYPES",
    "ROWS",
    "Sweep",
    "as_block",
    "check_finite",
    "checked_weights",
    "fill_empty",
    "float_dtype",
    "mean_variance",
    "nearest_centers",
    "row_blocks",
    "sweep",
    "threads",
]

DTYPES = [np.float64, np.float32, np.float16, np.uint8]  # what rows may be; anything else becomes the first
ROWS = 2048


class Sweep(NamedTuple):
    """What one pass over the rows finds; sums and counts are zero unless asked for."""

    labels: np.ndarray
    sqdist: np.ndarray
    inertia: float
    sums: np.ndarray
    counts: np.ndarray


@contextmanager
def threads(n_jobs: int | None) -> Iterator[tuple[Executor, int]]:
    """Lend an executor for `n_jobs` threads (None is 1) and their number."""
    n_threads = effective_jobs(n_jobs, default=1)
    with make_executor(n_threads) as pool:
        yield pool, n_threads


def row_blocks(n: int, rows: int = ROWS) -> Iterator[slice]:
    """Cut range(n) into slices of `rows`."""
    return (slice(start, min(n, start + rows)) for start in range(0, n, rows))


def float_dtype(*arrays: np.ndarray) -> np.dtype:
    """Dtype of the arithmetic: float64 where one of the arrays is float64, else float32."""
    return np.dtype(np.float64 if any(a.dtype == np.float64 for a in arrays) else np.float32)


def as_block(X: np.ndarray, rows: Any) -> np.ndarray:
    """X[rows] as a C-contiguous, writable uint8, float32 or float64 array; a view where X allows it."""
    block = np.asarray(X[rows])
    if block.dtype not in (np.uint8, np.float32, np.float64):
        block = block.astype(np.float32 if block.dtype == np.float16 else np.float64)
    return np.require(block, requirements=["C", "W", "A"])


def check_finite(X: np.ndarray, name: str = "X") -> None:
    """Raise ValueError for NaN or infinity, UsageError for values whose squares overflow the arithmetic."""
    if X.dtype.kind != "f":
        return
    limit = float(np.sqrt(np.finfo(float_dtype(X)).max / (16.0 * max(1, X.shape[1]))))
    for part in row_blocks(len(X), ROWS):
        block = X[part]
        low, high = float(block.min(initial=0)), float(block.max(initial=0))
        if not (np.isfinite(low) and np.isfinite(high)):
            assert_all_finite(block, input_name=name)
        if max(-low, high) > limit:
            raise UsageError(
                f"{name} holds {max(-low, high):.3g}; {float_dtype(X)} arithmetic needs values up to {limit:.3g}: "
                "scale the data down or pass float64"
            )


def sweep(
    X: np.ndarray,
    centers: np.ndarray,
    pool: Executor,
    n_threads: int,
    weights: np.ndarray | None = None,
    with_sums: bool = False,
) -> Sweep:
    """Assign every row to its nearest centre and, on request, sum the rows of every centre.

    Parameters
    ----------
    X : ndarray of shape (n, d), uint8, float16, float32 or float64, any stride
    centers : ndarray of shape (K, d), float32 or float64; its dtype is that of the arithmetic
    pool : Executor
        Runs the blocks.
    n_threads : int
        How many of them it runs at once.
    weights : ndarray of shape (n,), float64, or None for ones; multiplies inertia, sums and counts
    with_sums : bool, default=False
    """
    n, d = X.shape
    K = len(centers)
    centers = np.ascontiguousarray(centers)
    if not centers.flags.writeable:
        centers = centers.copy()
    packed, norms, shift, d_padded, columns = kernels.pack_centers(centers)
    labels = np.empty(n, np.int32)
    sqdist = np.empty(n, centers.dtype)

    def one(part: slice) -> tuple[float, np.ndarray, np.ndarray]:
        inertia = 0.0
        sums, counts = np.zeros((K if with_sums else 0, d)), np.zeros(K if with_sums else 0)
        for start in range(part.start, part.stop, ROWS):
            rows = slice(start, min(part.stop, start + ROWS))
            block = as_block(X, rows)
            tile = kernels.aligned(kernels.POINTS * d_padded, centers.dtype)
            acc = kernels.aligned(kernels.POINTS * kernels.STRIDE, centers.dtype)
            kernels.assign(
                block, centers, packed, norms, shift, d_padded, columns, tile, acc, labels[rows], sqdist[rows]
            )
            w = np.ones(len(block)) if weights is None else weights[rows]
            inertia += float(np.sum(w * sqdist[rows], dtype=np.float64))
            if with_sums:
                kernels.accumulate(block, labels[rows], w, sums, counts)
        return inertia, sums, counts

    # With sums, a part has at least K rows: adding up the (K, d) partial sums stays cheaper than making them.
    rows = ROWS if not with_sums else ROWS * max(1, -(-K // ROWS))
    inertia, sums, counts = 0.0, np.zeros((K, d)), np.zeros(K)
    for part_inertia, part_sums, part_counts in run_tasks(pool, one, row_blocks(n, rows), ahead=2 * n_threads):
        inertia += part_inertia
        if with_sums:
            sums += part_sums
            counts += part_counts
    return Sweep(labels, sqdist, inertia, sums, counts)


def fill_empty(
    X: np.ndarray, weights: np.ndarray | None, centers: np.ndarray, empty: np.ndarray, sqdist: np.ndarray
) -> bool:
    """Put the centres numbered `empty` on the rows farthest from theirs; False if there is nothing to do."""
    if len(empty) == 0:
        return False
    distance = sqdist if weights is None else np.where(weights > 0, sqdist, 0)
    rows = np.argsort(-distance, kind="stable")[: len(empty)]
    rows = rows[distance[rows] > 0]
    centers[empty[: len(rows)]] = as_block(X, rows)
    return len(rows) > 0


def mean_variance(X: np.ndarray) -> float:
    """Mean over the columns of their variance."""
    first, total, squares = as_block(X, slice(0, 1)).astype(np.float64), np.zeros(X.shape[1]), np.zeros(X.shape[1])
    for rows in row_blocks(len(X)):
        block = as_block(X, rows) - first  # about the first row: keeps the digits of data far from the origin
        total += block.sum(axis=0)
        squares += np.einsum("ik,ik->k", block, block)
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
    return np.ascontiguousarray(weights)


def nearest_centers(X: Any, centers: Any, *, n_jobs: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of every row and the squared distance to it.

    Parameters
    ----------
    X : ndarray of shape (n, d), uint8, float16, float32 or float64
        Any stride; read-only memory maps included. Read in blocks, never copied as a whole. n may be 0. Not checked for
        NaN, so that a map is read once.
    centers : ndarray of shape (K, d), float32 or float64
    n_jobs : int, default=None
        Threads; None is 1, -1 all cores. The result does not depend on it.

    Returns
    -------
    labels : ndarray of shape (n,), int32
        Equal distances go to the lower index.
    squared_distances : ndarray of shape (n,), float32
        Summed from the differences, hence >= 0 and exact where row and centre are equal.

    Raises
    ------
    UsageError
        If X or centers is not two-dimensional, their widths differ, there is no centre, or a centre is not finite.
    """
    X, centers = np.asarray(X), np.asarray(centers)
    for name, array in (("X", X), ("centers", centers)):
        if array.ndim != 2 or array.dtype.kind not in "fiub":
            raise UsageError(
                f"{name} has shape {array.shape} and dtype {array.dtype}; a numeric (rows, d) array is needed"
            )
    if X.shape[1] != centers.shape[1]:
        raise UsageError(
            f"X has {X.shape[1]} columns, centers has {centers.shape[1]}: both must come from one kind of data"
        )
    if len(centers) == 0 or not np.isfinite(centers).all():
        raise UsageError("centers must hold at least one row and only finite numbers")
    dtype = float_dtype(X, centers) if X.dtype in DTYPES else np.dtype(np.float64)
    with threads(n_jobs) as (pool, n_threads):
        found = sweep(X, centers.astype(dtype), pool, n_threads)
    return found.labels, found.sqdist.astype(np.float32, copy=False)
