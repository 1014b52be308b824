"""Labels of rows that had a centre before it moved: the search goes through that centre's neighbours alone.

Once a row has been held against all centres, the next passes hardly ever move it beyond the `NEIGHBOURS` nearest of the
centre it has (k^2-means, Agustsson, Timofte & Van Gool 2017). On a million SIFT descriptors and 1000 centres such a
pass takes a fifth of the time of a full one.
"""

from __future__ import annotations

import numpy as np
from threadpoolctl import threadpool_limits

from fastvbow.executors import run_tasks
from fastvbow.memory import aligned
from fastvbow.words import _neighbour_kernels as kernels
from fastvbow.words._assign_kernels import SPAN
from fastvbow.words._kmeans_kernels import order_by_label
from fastvbow.words._simd import LANES
from fastvbow.words._sweep import Pool
from fastvbow.words.assignment import PackedCenters

__all__ = ["NEIGHBOURS", "neighbours", "relabel", "worthwhile"]

NEIGHBOURS = 48
"""Three vectors of the widest registers."""
_PART_ROWS = 8192
_PART_CENTERS = 128


def worthwhile(n_clusters: int) -> bool:
    """Whether a pass over neighbours is so much cheaper than a full one, and their table not dearer than both."""
    return 4 * NEIGHBOURS <= n_clusters <= 8192


def neighbours(centers: np.ndarray, pool: Pool) -> np.ndarray:
    """The `NEIGHBOURS` nearest of every centre, itself among them, by number.

    Parameters
    ----------
    centers : ndarray of shape (K, d), K > NEIGHBOURS
    pool : Pool

    Returns
    -------
    ndarray of shape (K, NEIGHBOURS), int32
    """
    C = centers - centers.mean(axis=0)
    norms = np.einsum("kd,kd->k", C, C)
    near = np.empty((len(C), NEIGHBOURS), np.int32)

    def one(start: int) -> None:
        some = C[start : start + _PART_CENTERS]
        distance = some @ C.T
        distance *= -2
        distance += norms
        distance[np.arange(len(some)), start + np.arange(len(some))] = -np.inf
        nearest = np.argpartition(distance, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
        near[start : start + _PART_CENTERS] = np.sort(nearest, axis=1)

    with threadpool_limits(limits=1, user_api="blas"):  # the pool's threads are those that were asked for
        for _ in run_tasks(pool.executor, one, range(0, len(C), _PART_CENTERS), ahead=2 * pool.n_threads):
            pass
    return near


def relabel(X: np.ndarray, labels: np.ndarray, near: np.ndarray, packed: PackedCenters, pool: Pool) -> None:
    """Move every row to the nearest of the neighbours of the centre that it has.

    Parameters
    ----------
    X : ndarray of shape (n, d), uint8, float32 or float64, C-contiguous
    labels : ndarray of shape (n,), int32
        Changed in place.
    near : ndarray of shape (K, m), int32
        Neighbours of every centre, see `neighbours`.
    packed : PackedCenters
    pool : Pool
    """
    K, d = packed.centers.shape
    order, starts = np.empty(len(labels), np.int64), np.empty(K + 1, np.int64)
    order_by_label(labels, starts, order)
    # Parts of about equal numbers of rows.
    n_parts = max(2, min(32, len(X) // _PART_ROWS))
    cuts = np.searchsorted(starts, np.linspace(0, starts[-1], n_parts + 1)[1:-1])
    parts = [0, *(int(c) for c in cuts), K]
    rounded = packed.bytes_for(X.dtype)

    def one(part: int) -> None:
        where = (X, order, starts, parts[part], parts[part + 1], near)
        if rounded is not None:
            d_padded = rounded.rounded.shape[1]
            n_vectors = near.shape[1] // LANES
            table = aligned((n_vectors, d_padded // 4, LANES), np.int32)
            norms, tile = aligned((n_vectors, LANES), np.int32), aligned((SPAN, d_padded), np.uint8)
            best, index = aligned((SPAN, LANES), np.int32), aligned((SPAN, LANES), np.int32)
            halves = rounded.norms.reshape(-1)[:K]
            kernels.relabel_int8(
                *where, rounded.rounded.view(np.int32), halves, table, norms, tile, best, index, labels
            )
            return
        t, dtype = packed.floats(X.dtype), packed.centers.dtype
        lanes, stride = t.norms.shape[1], d + 16
        # With fewer lanes the neighbours fill more vectors, with float64 too: always a multiple of VECTORS of them.
        n_vectors = near.shape[1] // lanes
        table, norms = aligned((n_vectors, d, lanes), dtype), aligned((n_vectors, lanes), dtype)
        tile, best = aligned((SPAN, stride), dtype), aligned((SPAN, lanes), dtype)
        index = aligned((SPAN, lanes), f"i{dtype.itemsize}")
        kernels.relabel_float(*where, t.moved, t.halves, t.shift, stride, table, norms, tile, best, index, labels)

    for _ in run_tasks(pool.executor, one, range(n_parts), ahead=2 * pool.n_threads):
        pass
