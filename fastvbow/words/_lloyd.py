"""How centres are improved: full passes, and passes over nested batches that grow."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastvbow.executors import run_tasks
from fastvbow.words._assign_kernels import squared_distances
from fastvbow.words._neighbours import neighbours, relabel, worthwhile
from fastvbow.words._rows import BLOCK_ROWS, as_block, float_dtype, release
from fastvbow.words._sweep import Pool, Sweep, center_sums, fill_empty, label_distances, sweep
from fastvbow.words.assignment import PackedCenters, bytes_will_do, writable
from fastvbow.words.seeding import sampled_rows

__all__ = ["finish", "lloyd", "nested", "nested_plan"]

FIRST = 64
"""Rows for each centre in the first batch."""
LARGEST = 512
"""Rows for each centre that are enough: all rows would lower the inertia by 1/512 at most."""
ENOUGH = 1 << 18
"""Rows that are taken in any case."""
LEAST = 1024
PASSES = 6
"""Passes over a batch."""
BATCH_BYTES = 1 << 28
"""The batches are a copy in memory of at most so many bytes; beyond them rows are read from where they are."""
SETTLED = 1e-4
"""A stage ends when a step gains no more than this part of the inertia. Of 10,000 SIFT descriptors 1e-6 takes half as
many passes again to an inertia that is lower by 5e-6."""
LONGER = 1.7
"""A step to the mean of the rows goes on by .7 of its length: fewer passes to the same inertia; 1.5 and 2.0 gain
less."""


def lloyd(
    X: Any,
    weights: np.ndarray | None,
    centers: np.ndarray,
    pool: Pool,
    *,
    max_iter: int,
    tol: float,
    precision: str,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Lloyd's iterations: assign all rows, move every centre to the mean of its rows; an empty one to the farthest row.

    Parameters
    ----------
    X : ndarray or Shards of shape (n, d)
    weights : ndarray of shape (n,) or None
    centers : ndarray of shape (K, d), float32 or float64
    pool : Pool
    max_iter : int
    tol : float
        Stop when the summed squared movement of the centres is at most this.
    precision : {"exact", "fast"}

    Returns
    -------
    centers : ndarray of shape (K, d)
    labels : ndarray of shape (n,), int32
        Of the returned centres where no label changed in the last pass; one pass old otherwise.
    n_iter : int
    """
    before = np.empty(0, np.int32)
    for i in range(max_iter):
        found = sweep(X, centers, pool, precision=precision, weights=weights, sums=True)
        moved = _means(X, weights, centers, found, pool)
        if len(before) and np.array_equal(before, found.labels):
            return moved, found.labels, i + 1
        before = found.labels
        movement = float(np.sum((moved.astype(np.float64) - centers) ** 2))
        centers = moved
        if movement <= tol:
            break
    return centers, before, i + 1


def _means(X: Any, weights: np.ndarray | None, centers: np.ndarray, found: Sweep, pool: Pool) -> np.ndarray:
    """The means of the rows of every centre; where a centre has none, a row far from its own."""
    full = found.counts > 0
    if full.all():
        return (found.sums / found.counts[:, None]).astype(centers.dtype, copy=False)
    moved = centers.copy()
    moved[full] = found.sums[full] / found.counts[full, None]
    fill_empty(X, weights, moved, np.flatnonzero(~full), label_distances(X, found.labels, centers, pool))
    return moved


class Stage(NamedTuple):
    """Rows of a nested batch, and passes over it."""

    rows: int
    passes: int


def nested_plan(n: int, width: int, n_clusters: int, max_iter: int, all_rows: bool) -> list[Stage]:
    """Batches that double, from `FIRST` rows a centre to `LARGEST`, or to all rows where there are no more.

    Parameters
    ----------
    n, width, n_clusters : int
        Rows, bytes in a row, centres.
    max_iter : int
        Passes over one batch at most.
    all_rows : bool
        Go on to all rows however many there are.

    Returns
    -------
    list of Stage
        Only the last may have n rows; all others fit into `BATCH_BYTES`.
    """
    rows = max(FIRST * n_clusters, LEAST)
    wanted = max(LARGEST * n_clusters, ENOUGH)
    largest = min(wanted, max(n_clusters, BATCH_BYTES // max(1, width)))
    plan = []
    while rows <= largest and rows * 1.5 < n:
        plan.append(Stage(rows, min(PASSES, max_iter)))
        rows *= 2
    if not plan:
        return [Stage(n, max_iter)]
    if all_rows or n <= wanted or plan[-1].rows * 8 < wanted:
        plan.append(Stage(n, min(PASSES, max_iter)))
    return plan


def nested(
    X: Any,
    weights: np.ndarray | None,
    centers: np.ndarray,
    pool: Pool,
    random_state: Any,
    *,
    max_iter: int,
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Lloyd's iterations on random batches of which each holds the one before (after Newling & Fleuret 2016).

    They double the batch when its noise outweighs the movement of the centres; here sizes and numbers of passes are
    fixed (`nested_plan`), steps are longer than Lloyd's (`LONGER`), and of the passes over a batch only the first looks
    at all centres, the others at neighbours (`_neighbours`). Labels are thrown away, so they need not be exact.

    Parameters
    ----------
    X, weights, centers, pool : as for `lloyd`
    random_state : RandomState
    max_iter : int

    Returns
    -------
    centers : ndarray of shape (K, d)
    counts : ndarray of shape (K,), float64
        Rows of each centre in the last batch, or their weight.
    n_passes : int
        Passes over batches.
    n_rows : int
        Rows in all passes.
    """
    n = len(X) if weights is None else int(np.count_nonzero(weights))
    plan = nested_plan(n, X.shape[1] * X.dtype.itemsize, len(centers), max_iter, weights is not None)
    batch, batch_weights = _drawn(X, weights, [stage.rows for stage in plan if stage.rows < n], random_state, pool)
    counts = np.zeros(len(centers))
    n_passes = n_rows = 0
    for stage in plan:
        rows, w = X, weights
        if stage.rows < n:
            rows, w = batch[: stage.rows], None if batch_weights is None else batch_weights[: stage.rows]
        # After a pass over all centres, passes over neighbours visit the rows in an order that only memory bears.
        small = rows.shape[0] * rows.shape[1] * rows.dtype.itemsize <= BATCH_BYTES
        near = neighbours(centers, pool) if worthwhile(len(centers)) and stage.passes > 1 and small else None
        if near is not None:
            rows = writable(as_block(rows, slice(0, len(rows))))
        precision = "fast" if bytes_will_do(centers) else "exact"
        labels, inertia = np.empty(0, np.int32), 0.0
        for i in range(stage.passes):
            packed = PackedCenters(centers, precision)
            if near is not None and i > 0:
                relabel(rows, labels, near, packed, pool)
                found = center_sums(rows, labels, len(centers), pool, w)
            else:
                found = sweep(rows, packed, pool, weights=w, sums=True)
                labels = found.labels
            moved, counts = _means(rows, w, centers, found, pool), found.counts
            n_passes, n_rows = n_passes + 1, n_rows + stage.rows
            step = moved.astype(np.float64) - centers
            # The inertia falls by at least this in a step to the means.
            gain = float(counts @ np.einsum("kd,kd->k", step, step))
            inertia = _estimated(rows, w, labels, centers) if i == 0 else inertia
            settled = gain <= SETTLED * inertia
            if i + 1 < stage.passes and not settled and (counts > 0).all():
                moved = (centers + LONGER * step).astype(centers.dtype)
            centers = moved
            if settled:
                break
    return centers, counts, n_passes, n_rows


def _estimated(X: Any, weights: np.ndarray | None, labels: np.ndarray, centers: np.ndarray) -> float:
    """The inertia, from a thousand rows."""
    some = slice(0, len(X), max(1, len(X) // 1024))
    block = writable(as_block(X, some))
    sqdist = np.empty(len(block), centers.dtype)
    squared_distances(block, centers, labels[some].copy(), sqdist)
    if weights is None:
        return float(sqdist.mean(dtype=np.float64)) * len(X)
    w = weights[some]
    return float(w @ sqdist) * float(weights.sum()) / float(w.sum()) if w.any() else 0.0


def _drawn(
    X: Any, weights: np.ndarray | None, sizes: list[int], random_state: Any, pool: Pool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Copies of random rows, read from X forwards; the first sizes[i] of them are a random sample for every i.

    `sizes` double, and so do the samples: the first half of the rows is every other of those drawn, the first quarter
    every fourth and so on. So nothing need be shuffled through memory. Weights are those of `sampled_rows`.
    """
    rows, found_weights = (
        sampled_rows(len(X), weights, sizes[-1], random_state) if sizes else (np.empty(0, int), weights)
    )
    place, end, stride = np.empty(len(rows), np.int64), len(rows), 1
    for _ in sizes[1:]:
        odd = place[stride - 1 :: 2 * stride]
        odd[:] = np.arange(end - len(odd), end)
        end, stride = end - len(odd), 2 * stride
    place[stride - 1 :: stride] = np.arange(end)
    dtype = X.dtype if X.dtype in (np.uint8, np.float32) else float_dtype(X) if X.dtype == np.float16 else np.float64
    out = np.empty((len(rows), X.shape[1]), dtype)

    def copy(start: int) -> None:
        out[place[start : start + BLOCK_ROWS]] = X[rows[start : start + BLOCK_ROWS]]

    for _ in run_tasks(pool.executor, copy, range(0, len(rows), BLOCK_ROWS), ahead=2 * pool.n_threads):
        release(X)
    if found_weights is None:
        return out, None
    w = np.empty(len(rows))
    w[place] = found_weights if sizes else 0
    return out, w


def finish(
    X: Any, weights: np.ndarray | None, centers: np.ndarray, pool: Pool, precision: str
) -> tuple[np.ndarray, Sweep, int]:
    """Give centres without rows the rows farthest from theirs; return centres, labels and distances, centres with rows.

    Parameters
    ----------
    X, weights, centers, pool, precision : as for `lloyd`
    """
    for attempt in range(11):  # a centre moved to a far row may in turn leave another one empty
        found = sweep(X, centers, pool, precision=precision, weights=weights, distances=True)
        used = np.bincount(found.labels if weights is None else found.labels[weights > 0], minlength=len(centers))
        empty = np.flatnonzero(used == 0)
        if attempt == 10 or not fill_empty(X, weights, centers, empty, found.sqdist):
            break
    return centers, found, int(np.count_nonzero(used))
