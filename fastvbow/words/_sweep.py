"""One pass over the rows, on threads: labels, distances, sums.

The blocks do not depend on the number of threads and their results are consumed in order, so the same bytes come out
for any `n_jobs`.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.words import _assign_kernels, _kmeans_kernels
from fastvbow.words._rows import DTYPES, Shards, as_block, check_finite, float_dtype, is_shards, release, row_blocks
from fastvbow.words.assignment import PackedCenters, writable

__all__ = [
    "Pool",
    "Sweep",
    "center_sums",
    "check_precision",
    "fill_empty",
    "label_distances",
    "nearest_centers",
    "pool_of",
    "sweep",
]

NOTHING = np.empty(0)


class Pool(NamedTuple):
    """An executor and how many tasks it runs at once."""

    executor: Executor
    n_threads: int


@contextmanager
def pool_of(n_jobs: int | None) -> Iterator[Pool]:
    """Lend a pool of `n_jobs` threads (None is 1)."""
    n_threads = effective_jobs(n_jobs, default=1)
    with make_executor(n_threads) as executor:
        yield Pool(executor, n_threads)


class Sweep(NamedTuple):
    """What a pass over the rows finds; what was not asked for is empty."""

    labels: np.ndarray  # (n,) int32
    sqdist: np.ndarray  # (n,), the dtype of the centres
    inertia: float  # weighted sum of sqdist
    sums: np.ndarray  # (K, d) float64
    counts: np.ndarray  # (K,) float64


def sweep(
    X: Any,
    centers: np.ndarray | PackedCenters,
    pool: Pool,
    *,
    precision: str = "exact",
    weights: np.ndarray | None = None,
    labels: bool = True,
    distances: bool = False,
    sums: bool = False,
    check: bool = False,
) -> Sweep:
    """Assign every row to its nearest centre.

    Parameters
    ----------
    X : ndarray or Shards of shape (n, d), uint8, float16, float32 or float64, any stride
    centers : ndarray of shape (K, d), float32 or float64, or PackedCenters
        Their dtype is that of the arithmetic.
    pool : Pool
    precision : {"exact", "fast"}, default="exact"
        Of centres that are not packed yet; see `fastvbow.words.assignment`.
    weights : ndarray of shape (n,), float64, or None for ones; multiplies inertia, sums and counts
    labels, distances, sums : bool, default=True, False, False
        What to return: labels, squared distances and inertia, sums and counts of the rows of every centre.
    check : bool, default=False
        Refuse NaN, infinity and values too large, noticed by their scores: rows are not read twice for it.

    Raises
    ------
    ValueError, UsageError
        See `check`, and `check_finite` for the errors.
    """
    n, d = X.shape
    packed = centers if isinstance(centers, PackedCenters) else PackedCenters(centers, precision)
    K = len(packed.centers)
    all_labels = np.empty(n if labels else 0, np.int32)
    all_sqdist = np.empty(n if distances else 0, packed.centers.dtype)
    groups, zeros, add = _summing(X, K, weights, sums)

    def one(group: list[slice]) -> tuple[slice, float, np.ndarray, np.ndarray]:
        inertia = 0.0
        s, c = zeros()
        for rows in group:
            block = writable(as_block(X, rows))
            found = all_labels[rows] if labels else np.empty(len(block), np.int32)
            if packed.assign(block, found) and check:
                check_finite(X)
            if distances:
                _assign_kernels.squared_distances(block, packed.centers, found, all_sqdist[rows])
                near = all_sqdist[rows].astype(np.float64, copy=False)
                inertia += float(np.sum(near) if weights is None else np.dot(weights[rows], near))
            if sums:
                add(block, found, rows, s, c)
        return slice(group[0].start, group[-1].stop), inertia, s, c

    inertia, total, counts = 0.0, np.zeros((K, d) if sums else 0), np.zeros(K if sums else 0)
    for rows, part_inertia, s, c in run_tasks(pool.executor, one, groups, ahead=2 * pool.n_threads):
        inertia += part_inertia
        total += s
        counts += c
        release(X, rows)
    if check and not inertia < np.finfo(packed.centers.dtype).max / 16:
        check_finite(X)
    return Sweep(all_labels, all_sqdist, inertia, total, counts)


def center_sums(X: Any, labels: np.ndarray, n_clusters: int, pool: Pool, weights: np.ndarray | None = None) -> Sweep:
    """Sums and counts of the rows of every centre, for labels that are known.

    Parameters
    ----------
    X : ndarray or Shards of shape (n, d)
    labels : ndarray of shape (n,), int32
    n_clusters : int
    pool : Pool
    weights : ndarray of shape (n,), float64, or None for ones
    """
    groups, zeros, add = _summing(X, n_clusters, weights, True)

    def one(group: list[slice]) -> tuple[slice, np.ndarray, np.ndarray]:
        s, c = zeros()
        for rows in group:
            add(writable(as_block(X, rows)), labels[rows], rows, s, c)
        return slice(group[0].start, group[-1].stop), s, c

    total, counts = np.zeros((n_clusters, X.shape[1])), np.zeros(n_clusters)
    for rows, s, c in run_tasks(pool.executor, one, groups, ahead=2 * pool.n_threads):
        total += s
        counts += c
        release(X, rows)
    return Sweep(labels, NOTHING, 0.0, total, counts)


def label_distances(X: Any, labels: np.ndarray, centers: np.ndarray, pool: Pool) -> np.ndarray:
    """Squared distances of the rows to centres that are known: ndarray of shape (n,), the dtype of the centres.

    Parameters
    ----------
    X : ndarray or Shards of shape (n, d)
    labels : ndarray of shape (n,), int32
    centers : ndarray of shape (K, d), float32 or float64, C-contiguous
    pool : Pool
    """
    out = np.empty(len(X), centers.dtype)

    def one(rows: slice) -> slice:
        _assign_kernels.squared_distances(writable(as_block(X, rows)), centers, labels[rows], out[rows])
        return rows

    for rows in run_tasks(pool.executor, one, row_blocks(X), ahead=2 * pool.n_threads):
        release(X, rows)
    return out


def _summing(X: Any, K: int, weights: np.ndarray | None, sums: bool) -> tuple[Iterator[list[slice]], Any, Any]:
    """Blocks in groups, zeros for the sums of a group, and how a block is added to them."""
    # Whole numbers are added as such.
    integers = X.dtype == np.uint8 and weights is None
    dtype = np.uint32 if integers else np.float64  # no block has the 2^24 rows that would overflow
    blocks = list(row_blocks(X))
    # Adding up the sums of a group must not cost more than making them.
    together = -(-16 * K // blocks[0].stop) if sums and blocks else 1

    def zeros() -> tuple[np.ndarray, np.ndarray]:
        return np.zeros((K, X.shape[1]) if sums else 0, dtype), np.zeros(K if sums else 0, dtype)

    def add(block: np.ndarray, labels: np.ndarray, rows: slice, s: np.ndarray, c: np.ndarray) -> None:
        if integers:
            _kmeans_kernels.count_sums(block, labels, s, c)
        else:
            w = np.ones(len(block)) if weights is None else weights[rows]
            _kmeans_kernels.weighted_sums(block, labels, w, s, c)

    return (blocks[i : i + together] for i in range(0, len(blocks), together)), zeros, add


def fill_empty(X: Any, weights: np.ndarray | None, centers: np.ndarray, empty: np.ndarray, sqdist: np.ndarray) -> bool:
    """Put the centres numbered `empty` on distinct rows, the farthest from theirs; False if there is nothing to do."""
    if len(empty) == 0:
        return False
    distance = sqdist if weights is None else np.where(weights > 0, sqdist, 0)
    order = np.argsort(-distance, kind="stable")[: np.count_nonzero(distance > 0)]
    seen: dict[bytes, np.ndarray] = {}  # equal rows would leave all but one of the centres empty again
    for start in range(0, len(order), 4 * len(empty)):
        for row in as_block(X, order[start : start + 4 * len(empty)]):
            if len(seen) < len(empty):
                seen.setdefault(row.tobytes(), row)
        if len(seen) == len(empty):
            break
    for center, row in zip(empty, seen.values(), strict=False):
        centers[center] = row
    return len(seen) > 0


def check_precision(precision: Any) -> None:
    """Raise UsageError for an unknown precision."""
    if precision not in ("exact", "fast"):
        raise UsageError(f"precision={precision!r} cannot be used; give 'exact' or 'fast'")


def nearest_centers(
    X: Any, centers: Any, *, precision: str = "exact", n_jobs: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of every row and the squared distance to it.

    Parameters
    ----------
    X : ndarray of shape (n, d), uint8, float16, float32 or float64, or list of such (shards)
        Any stride; read-only memory maps included. Read in blocks, never copied as a whole. n may be 0. Not checked for
        NaN, so that a map is read once.
    centers : ndarray of shape (K, d), float32 or float64
    precision : {"exact", "fast"}, default="exact"
        For uint8 rows on a CPU with dot products of bytes: "exact" gives the labels of float32 arithmetic at 2 to 3
        times its speed, "fast" those of centres rounded to 8 bits (on SIFT, 99 % are the same) at 3 to 4 times.
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
    check_precision(precision)
    X, centers = Shards(X) if is_shards(X) else np.asarray(X), np.asarray(centers)
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
    with pool_of(n_jobs) as pool:
        found = sweep(X, centers.astype(dtype), pool, precision=precision, distances=True)
    return found.labels, found.sqdist.astype(np.float32, copy=False)
