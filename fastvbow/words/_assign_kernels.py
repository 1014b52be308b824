"""The nearest-centre search over blocks of rows: Numba around the register tiles of ``_simd``.

Nothing is checked in here: callers hand over C-contiguous, writable arrays of the documented dtypes. Rows are taken
`SPAN` at a time, so that they and the tables of `VECTORS` vectors of centres stay in the second and first cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvbow.compiling import entry, inner
from fastvbow.words import _simd
from fastvbow.words._simd import LANES, POINTS, VECTORS

__all__ = ["SPAN", "assign_float", "assign_int8", "assign_int8_exact", "score_pairs", "squared_distances"]

SPAN = 240  # rows; a multiple of POINTS
CHAINS = _simd.CHAINS

_float1, _float2, _float3 = (_simd.float_tile(POINTS, v) for v in range(1, VECTORS + 1))
_fast1, _fast2, _fast3 = (_simd.int8_tile(POINTS, v, False) for v in range(1, VECTORS + 1))
_near1, _near2, _near3 = (_simd.int8_tile(POINTS, v, True) for v in range(1, VECTORS + 1))
_copy_bytes: Any = _simd.copy_bytes
_lowest_float: Any = _simd.lowest_float
_lowest_int: Any = _simd.lowest_int
_lanes_within: Any = _simd.lanes_within
_score_chains: Any = _simd.score_chains


@entry()
def assign_float(X, packed, norms, shift, in_place, stride, tile, best, index, labels):  # type: ignore[no-untyped-def]
    """Nearest centre of every row in floating point.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64                                               # IN
    packed : (n_vectors, d, lanes), norms : (n_vectors, lanes) of the arithmetic's type, 64-byte aligned   # IN
    shift : (d,) of that type: taken off every row                                     # IN
    in_place : whether X is of that type and shift is zero, so that rows need no copy  # IN
    stride : elements between rows of `tile`
    tile : (SPAN, stride), best : (SPAN, lanes), index : (SPAN, lanes) integers of the same size, aligned   # scratch
    labels : (n,) int32                                                                # OUT

    Returns
    -------
    int, how many rows have no finite score: they hold NaN, infinity, or values too large for the arithmetic
    """
    n, d = X.shape
    unscored = 0
    n_vectors, lanes = norms.shape
    zero = packed.dtype.type(0)
    size = packed.itemsize
    width = lanes * size
    t_at, b_at, i_at, p_at, n_at = (
        tile.ctypes.data,
        best.ctypes.data,
        index.ctypes.data,
        packed.ctypes.data,
        norms.ctypes.data,
    )
    for start in range(0, n, SPAN):
        rows = min(SPAN, n - start)
        tiled = -(-rows // POINTS) * POINTS
        x_at, x_stride = t_at, stride
        if in_place and tiled == rows:
            x_at, x_stride = X.ctypes.data + start * d * size, d
        else:
            for p in range(rows):
                x, row = X[start + p], tile[p]
                for k in range(d):
                    row[k] = packed.dtype.type(x[k]) - shift[k]
        best[:tiled] = np.inf
        index[:tiled] = 0
        for v in range(0, n_vectors, VECTORS):
            c_at, m_at, many = p_at + v * d * width, n_at + v * width, n_vectors - v
            for p in range(0, tiled, POINTS):
                x, b, i = x_at + p * x_stride * size, b_at + p * width, i_at + p * width
                if many >= 3:
                    _float3(x, x_stride, c_at, m_at, b, i, d, v, zero)
                elif many == 2:
                    _float2(x, x_stride, c_at, m_at, b, i, d, v, zero)
                else:
                    _float1(x, x_stride, c_at, m_at, b, i, d, v, zero)
        for p in range(rows):
            c = _lowest_float(b_at + p * width, i_at + p * width, zero)
            labels[start + p] = c
            if not np.isfinite(best[p, c % lanes]):
                unscored += 1
    return unscored


@inner()
def _bytes_of(X, start, rows, stride, tile):  # type: ignore[no-untyped-def]
    """Address of rows of `stride` bytes: those of X where they fit, else a copy in `tile`."""
    if rows % POINTS == 0 and X.shape[1] == stride:
        return X.ctypes.data + start * stride
    d = X.shape[1]
    for p in range(rows):
        _copy_bytes(tile.ctypes.data + p * stride, X.ctypes.data + (start + p) * d, d)
    return tile.ctypes.data


@entry()
def assign_int8(X, table, norms, tile, best, index, labels):  # type: ignore[no-untyped-def]
    """Nearest centre of every row by the rounded scores.

    Parameters
    ----------
    X : (n, d) uint8                                                                    # IN
    table : (n_vectors, d_padded // 4, LANES, 4) int8, norms : (n_vectors, LANES) int32, aligned   # IN
    tile : (SPAN, d_padded) uint8 zeros, best, index : (SPAN, LANES) int32, aligned     # scratch
    labels : (n,) int32                                                                 # OUT
    """
    n, n_vectors, stride = X.shape[0], norms.shape[0], tile.shape[1]
    width = 4 * LANES
    b_at, i_at, c_all, n_all = best.ctypes.data, index.ctypes.data, table.ctypes.data, norms.ctypes.data
    for start in range(0, n, SPAN):
        rows = min(SPAN, n - start)
        x_at = _bytes_of(X, start, rows, stride, tile)
        best[:] = 0x7FFFFFFF
        index[:] = 0
        for v in range(0, n_vectors, VECTORS):
            c_at, m_at, many = c_all + v * stride * LANES, n_all + v * width, n_vectors - v
            for p in range(0, rows, POINTS):
                x, b, i = x_at + p * stride, b_at + p * width, i_at + p * width
                if many >= 3:
                    _fast3(x, stride, c_at, m_at, b, b, i, stride >> 2, v)
                elif many == 2:
                    _fast2(x, stride, c_at, m_at, b, b, i, stride >> 2, v)
                else:
                    _fast1(x, stride, c_at, m_at, b, b, i, stride >> 2, v)
        for p in range(rows):
            labels[start + p] = _lowest_int(b_at + p * width, i_at + p * width)


@inner(fastmath={"contract", "reassoc"})
def _squares(x, middle):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for k in range(middle.shape[0]):
        diff = np.float32(x[k]) - middle[k]
        total += diff * diff
    return total


@entry()
def assign_int8_exact(  # type: ignore[no-untyped-def]
    X, table, norms, middle, radius, largest, slack, centers, error, tile, best, runner_up, index, labels, pairs, whole
):
    """`assign_int8`, and what it cannot decide.

    A score errs by at most ||x - middle|| * radius[c] + 1/2 (Cauchy-Schwarz on the rounding of the centre), so only
    centres within the sum of two such bounds of the lowest score can be the nearest. Where that is one centre, it is
    the label. Where they are a few, their distances in float32 decide, unless these differ by less than rounding may
    move them: such rows go to `pairs`. Where a lane may hold more than the one that it remembers, a row goes to
    `whole`.

    Parameters
    ----------
    X, table, norms, tile, best, index : as for `assign_int8`; runner_up : as best
    middle : (d,) float32, radius : (n_vectors * LANES,) float32 in units of the scores, largest : their maximum   # IN
    slack : float32, what rounding elsewhere may add to a difference of scores          # IN
    centers : (K, d) float32                                                            # IN
    error : float32, bound on the error of a difference between two scores of `assign_float`   # IN
    labels : (n,) int32; -1 where undecided                                             # OUT
    pairs : (m, 2) int32: row, centre; rows come in order. A row without room goes to `whole`.   # OUT
    whole : (n,) int32: rows that need all centres                                      # OUT

    Returns
    -------
    n_pairs, n_whole, int
    """
    n, n_vectors, stride = X.shape[0], norms.shape[0], tile.shape[1]
    width = 4 * LANES
    b_at, r_at, i_at = best.ctypes.data, runner_up.ctypes.data, index.ctypes.data
    c_all, n_all = table.ctypes.data, norms.ctypes.data
    rounding = np.float32((X.shape[1] + 4) * 6e-8)  # of a sum of d squares, relative
    n_pairs = n_whole = 0
    for start in range(0, n, SPAN):
        rows = min(SPAN, n - start)
        x_at = _bytes_of(X, start, rows, stride, tile)
        best[:] = 0x7FFFFFFF
        runner_up[:] = 0x7FFFFFFF
        index[:] = 0
        for v in range(0, n_vectors, VECTORS):
            c_at, m_at, many = c_all + v * stride * LANES, n_all + v * width, n_vectors - v
            for p in range(0, rows, POINTS):
                x, b, r, i = x_at + p * stride, b_at + p * width, r_at + p * width, i_at + p * width
                if many >= 3:
                    _near3(x, stride, c_at, m_at, b, r, i, stride >> 2, v)
                elif many == 2:
                    _near2(x, stride, c_at, m_at, b, r, i, stride >> 2, v)
                else:
                    _near1(x, stride, c_at, m_at, b, r, i, stride >> 2, v)
        for p in range(rows):
            c = _lowest_int(b_at + p * width, i_at + p * width)
            distance = np.sqrt(_squares(X[start + p], middle)) * np.float32(1.001)
            limit = best[p, c % LANES] + np.int64(distance * (radius[c] + largest) + slack)
            near = _lanes_within(b_at + p * width, limit)
            alike = _lanes_within(r_at + p * width, limit)
            labels[start + p] = c
            if near & (near - 1) == 0 and alike == 0:
                continue
            if alike != 0 or n_pairs + LANES > pairs.shape[0]:
                labels[start + p] = -1
                whole[n_whole] = start + p
                n_whole += 1
                continue
            first = second = np.float32(np.inf)
            at = n_pairs
            for lane in range(LANES):
                if near >> lane & 1:
                    c = index[p, lane] * LANES + lane
                    pairs[at, 0], pairs[at, 1] = start + p, c
                    at += 1
                    square = _squares(X[start + p], centers[c])
                    second = min(second, max(first, square))
                    if square < first:
                        first, labels[start + p] = square, c
            if second - first <= 2 * error + rounding * (first + second):
                n_pairs = at
                labels[start + p] = -1
    return n_pairs, n_whole


@entry()
def score_pairs(X, negated, norms, pairs, tile, scores, centers, labels):  # type: ignore[no-untyped-def]
    """Decide rows among their candidates, by the very scores of `assign_float`.

    Parameters
    ----------
    X : (n, d) uint8; negated : (K, d) float32, norms : (K,) float32                    # IN
    pairs : (m, 2) int32: row, centre; the candidates of a row follow one another       # IN
    tile : (CHAINS, d) float32 zeros, scores : (CHAINS,) float32, centers : (CHAINS,) int64   # scratch
    labels : (n,) int32                                                                 # INOUT
    """
    m, d = pairs.shape[0], X.shape[1]
    last, lowest = -1, np.float32(0)
    for start in range(0, m, CHAINS):
        many = min(CHAINS, m - start)
        for j in range(many):
            i, c = pairs[start + j, 0], pairs[start + j, 1]
            x, row = X[i], tile[j]
            for k in range(d):
                row[k] = x[k]
            centers[j] = negated.ctypes.data + np.int64(c) * d * 4
            scores[j] = norms[c]
        for j in range(many, CHAINS):
            centers[j] = negated.ctypes.data
        _score_chains(tile.ctypes.data, d, centers.ctypes.data, scores.ctypes.data, d)
        for j in range(many):
            i, c = pairs[start + j, 0], pairs[start + j, 1]
            if i != last or scores[j] < lowest or (scores[j] == lowest and c < labels[i]):
                last, lowest, labels[i] = i, scores[j], c


@entry(fastmath={"contract", "reassoc"})
def squared_distances(X, centers, labels, out):  # type: ignore[no-untyped-def]
    """out[i] = ||X[i] - centers[labels[i]]||^2, summed from the differences.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64; centers : (K, d) float32 or float64           # IN
    labels : (n,) int32                                                                 # IN
    out : (n,) of the dtype of centers                                                  # OUT
    """
    for i in range(X.shape[0]):
        x, c = X[i], centers[labels[i]]
        total = out.dtype.type(0)
        for k in range(x.shape[0]):
            diff = out.dtype.type(x[k]) - c[k]
            total += diff * diff
        out[i] = total
