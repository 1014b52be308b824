"""Numba kernels of K-Means: assignment, centre sums and seeding distances.

Nothing is checked in here: callers hand over C-contiguous, writable arrays of the documented dtypes (``_kmeans_blocks``
prepares them). All functions release the GIL and are compiled lazily, once per combination of dtypes.

The assignment never builds the (n, K) distance matrix. argmin_c ||x - c||^2 is found as argmin_c ||c||^2 / 2 - x.c
over runs of at most `STRIDE` centres. These are stored dimension-major, so the inner loop runs over centres and becomes
vector instructions without reordering any sum: a score is the same number wherever the point or the centre stands, and
equal centres tie exactly.

Two properties of the layout are worth a factor of two: `STRIDE` is a constant, so that the compiler needs one aliasing
test instead of one per pair of rows, and it is no power of two, so that rows do not fall into the same cache sets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

__all__ = ["STRIDE", "accumulate", "aligned", "assign", "candidate_distances", "pack_centers", "warmup"]

STRIDE = 528  # centres per run: 33 vectors of 16 float32
POINTS = 8  # points per tile; a multiple of the 4 that `_dots` unrolls
LANES = 16
SEED_ROWS = 512

_u = np.uint64  # unsigned indices: no test for negative ones in the inner loop
_STRIDE = _u(STRIDE)
_POINTS = _u(POINTS)


def _njit(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """njit with the compiled code kept on disk, or without where neither the package nor the user's cache is writable.

    Numba writes a cache file under a temporary name and renames it, so that processes may compile at the same time.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # "cannot cache function ...: no locator available"
            return njit(**options)(function)

    return decorate


def aligned(size: int, dtype: Any) -> np.ndarray:
    """Zeros of shape (size,) that start on a 64-byte cache line."""
    itemsize = np.dtype(dtype).itemsize
    buffer = np.zeros(size + 64 // itemsize, dtype)
    start = (-buffer.ctypes.data % 64) // itemsize
    return buffer[start : start + size]


def pack_centers(centers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Lay out centres for `assign`.

    Parameters
    ----------
    centers : ndarray of shape (K, d), float32 or float64

    Returns
    -------
    packed : ndarray of shape (n_runs * d_padded * STRIDE,), 64-byte aligned
        centers - shift, indexed by run, dimension, centre.
    norms : ndarray of shape (n_runs * STRIDE,); ||c - shift||^2 / 2, +inf where there is no centre
    shift : ndarray of shape (d,); close to the mean centre, so that data far from the origin keep their digits
    d_padded : int; d rounded up to a multiple of 4
    columns : int; centres per run, a multiple of 16, at most STRIDE
    """
    K, d = centers.shape
    dtype = centers.dtype
    mean = centers.mean(axis=0, dtype=np.float64)
    spread = float(np.abs(centers - mean).max(initial=0.0))
    # A shift on a grid no finer than the spread keeps integer data integer: exact ties remain exact ties.
    grid = 2.0 ** np.floor(np.log2(spread)) if spread > 0 else 0.0
    shift = (np.rint(mean / grid) * grid if grid > 0 else mean).astype(dtype)
    n_runs = -(-K // STRIDE)
    columns = -(-K // (n_runs * LANES)) * LANES
    d_padded = -(-d // 4) * 4
    packed = aligned(n_runs * d_padded * STRIDE, dtype)
    norms = np.full(n_runs * STRIDE, np.inf, dtype)
    cube = packed.reshape(n_runs, d_padded, STRIDE)
    for run in range(n_runs):
        part = centers[run * columns : (run + 1) * columns] - shift
        cube[run, :d, : len(part)] = part.T
        norms[run * STRIDE : run * STRIDE + len(part)] = 0.5 * np.einsum("kd,kd->k", part, part, dtype=np.float64)
    return packed, norms, shift, d_padded, columns


@_njit(nogil=True, fastmath={"contract"}, error_model="numpy")
def _dots(tile, packed, acc, run, d_padded, columns):  # type: ignore[no-untyped-def]
    """acc[p, c] = sum_k tile[p, k] * packed[run, k, c]."""
    dp = _u(d_padded)
    n_columns = _u(columns)
    for i in range(acc.shape[0]):
        acc[i] = 0
    for k in range(_u(0), dp, _u(4)):
        v = (_u(run) * dp + k) * _STRIDE
        for p in range(_u(0), _POINTS, _u(4)):
            a = p * _STRIDE
            t = p * dp + k
            x00, x01, x02, x03 = tile[t], tile[t + _u(1)], tile[t + _u(2)], tile[t + _u(3)]
            t += dp
            x10, x11, x12, x13 = tile[t], tile[t + _u(1)], tile[t + _u(2)], tile[t + _u(3)]
            t += dp
            x20, x21, x22, x23 = tile[t], tile[t + _u(1)], tile[t + _u(2)], tile[t + _u(3)]
            t += dp
            x30, x31, x32, x33 = tile[t], tile[t + _u(1)], tile[t + _u(2)], tile[t + _u(3)]
            for j in range(n_columns):
                v0 = packed[v + j]
                v1 = packed[v + _STRIDE + j]
                v2 = packed[v + _u(2) * _STRIDE + j]
                v3 = packed[v + _u(3) * _STRIDE + j]
                a0 = a + j
                a1 = a + _STRIDE + j
                a2 = a + _u(2) * _STRIDE + j
                a3 = a + _u(3) * _STRIDE + j
                acc[a0] = (((acc[a0] + x00 * v0) + x01 * v1) + x02 * v2) + x03 * v3
                acc[a1] = (((acc[a1] + x10 * v0) + x11 * v1) + x12 * v2) + x13 * v3
                acc[a2] = (((acc[a2] + x20 * v0) + x21 * v1) + x22 * v2) + x23 * v3
                acc[a3] = (((acc[a3] + x30 * v0) + x31 * v1) + x32 * v2) + x33 * v3


@_njit(nogil=True, error_model="numpy")
def _argmin_scores(norms, scores):  # type: ignore[no-untyped-def]
    """Turn dot products into scores norms - dots and return the index of the smallest, the lowest of equals."""
    for c in range(scores.shape[0]):
        scores[c] = norms[c] - scores[c]
    if scores.itemsize == 4:
        # Float bits, made to sort as integers, above the index: one integer minimum gives both, and vectorises.
        bits = scores.view(np.int32)
        smallest = np.int64(0x7FFFFFFFFFFFFFFF)
        for c in range(scores.shape[0]):
            b = bits[c]
            b = b ^ ((b >> 31) & np.int32(0x7FFFFFFF))
            smallest = min(smallest, (np.int64(b) << 32) | np.int64(c))
        return smallest & np.int64(0xFFFFFFFF)
    arg = np.int64(0)
    for c in range(scores.shape[0]):
        if scores[c] < scores[arg]:
            arg = np.int64(c)
    return arg


@_njit(nogil=True, fastmath={"contract", "reassoc"}, error_model="numpy")
def _squared_distance(x, center):  # type: ignore[no-untyped-def]
    total = center.dtype.type(0)
    for k in range(center.shape[0]):
        diff = center.dtype.type(x[k]) - center[k]
        total += diff * diff
    return total


@_njit(nogil=True, error_model="numpy")
def assign(X, centers, packed, norms, shift, d_padded, columns, tile, acc, labels, sqdist):  # type: ignore[no-untyped-def]
    """Nearest centre of every row.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous                                # IN
    centers : (K, d) float32 or float64, the dtype of the arithmetic                   # IN
    packed, norms, shift, d_padded, columns : as `pack_centers` returns them           # IN
    tile : (POINTS * d_padded,) zeros, acc : (POINTS * STRIDE,), both aligned          # scratch
    labels : (n,) int32                                                                # OUT
    sqdist : (n,) the dtype of centers; sum (x - c)^2, computed from the differences   # OUT
    """
    n, d = X.shape
    n_runs = norms.shape[0] // STRIDE
    best = np.empty(POINTS, centers.dtype)
    for i0 in range(0, n, POINTS):
        m = min(POINTS, n - i0)
        for p in range(m):
            for k in range(d):
                tile[p * d_padded + k] = centers.dtype.type(X[i0 + p, k]) - shift[k]
        for run in range(n_runs):
            _dots(tile, packed, acc, run, d_padded, columns)
            for p in range(m):
                scores = acc[p * STRIDE : p * STRIDE + columns]
                c = _argmin_scores(norms[run * STRIDE : run * STRIDE + columns], scores)
                if run == 0 or scores[c] < best[p]:
                    best[p] = scores[c]
                    labels[i0 + p] = run * columns + c
        for p in range(m):
            sqdist[i0 + p] = _squared_distance(X[i0 + p], centers[labels[i0 + p]])


@_njit(nogil=True, error_model="numpy")
def accumulate(X, labels, weights, sums, counts):  # type: ignore[no-untyped-def]
    """sums[labels[i]] += weights[i] * X[i], counts[labels[i]] += weights[i], in row order.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous    # IN
    labels : (n,) int32, weights : (n,) float64           # IN
    sums : (K, d) float64, counts : (K,) float64          # INOUT
    """
    for i in range(X.shape[0]):
        c = labels[i]
        w = weights[i]
        counts[c] += w
        for k in range(X.shape[1]):
            sums[c, k] += w * np.float64(X[i, k])


@_njit(nogil=True, fastmath={"contract"}, error_model="numpy")
def candidate_distances(Xt, candidates, closest, out):  # type: ignore[no-untyped-def]
    """out[t, i] = min(closest[i], ||x_i - candidate_t||^2).

    Parameters
    ----------
    Xt : (d, n) float32 or float64, C-contiguous: the rows, transposed    # IN
    candidates : (T, d), closest : (n,), of the same dtype                # IN
    out : (T, n) of the same dtype                                        # OUT
    """
    d, n = Xt.shape
    for i0 in range(0, n, SEED_ROWS):
        i1 = min(n, i0 + SEED_ROWS)
        for t in range(candidates.shape[0]):
            row = out[t, i0:i1]
            row[:] = 0
            whole = d - d % 4
            for k in range(0, whole, 4):
                c0, c1, c2, c3 = candidates[t, k], candidates[t, k + 1], candidates[t, k + 2], candidates[t, k + 3]
                x0, x1, x2, x3 = Xt[k, i0:i1], Xt[k + 1, i0:i1], Xt[k + 2, i0:i1], Xt[k + 3, i0:i1]
                for i in range(i1 - i0):
                    d0, d1, d2, d3 = x0[i] - c0, x1[i] - c1, x2[i] - c2, x3[i] - c3
                    row[i] = (((row[i] + d0 * d0) + d1 * d1) + d2 * d2) + d3 * d3
            for k in range(whole, d):
                c0, x0 = candidates[t, k], Xt[k, i0:i1]
                for i in range(i1 - i0):
                    row[i] += (x0[i] - c0) * (x0[i] - c0)
            near = closest[i0:i1]
            for i in range(i1 - i0):
                row[i] = min(row[i], near[i])


def warmup() -> None:
    """Compile the kernels for the usual dtypes: uint8 and float32 rows (float16 rows arrive as float32)."""
    centers = np.zeros((2, 2), np.float32)
    packed, norms, shift, d_padded, columns = pack_centers(centers)
    tile, acc = aligned(POINTS * d_padded, np.float32), aligned(POINTS * STRIDE, np.float32)
    labels, sqdist = np.zeros(2, np.int32), np.zeros(2, np.float32)
    for dtype in (np.uint8, np.float32):
        X = np.zeros((2, 2), dtype)
        assign(X, centers, packed, norms, shift, d_padded, columns, tile, acc, labels, sqdist)
        accumulate(X, labels, np.ones(2), np.zeros((2, 2)), np.zeros(2))
    candidate_distances(centers, centers, sqdist, np.zeros((2, 2), np.float32))
