"""The nearest centre among the neighbours of the centre that a row had: kernels.

Nothing is checked in here: callers hand over C-contiguous, writable arrays of the documented dtypes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvbow.compiling import entry
from fastvbow.words import _simd
from fastvbow.words._assign_kernels import SPAN
from fastvbow.words._simd import LANES, POINTS, VECTORS

__all__ = ["relabel_float", "relabel_int8"]

_float = _simd.float_tile(POINTS, VECTORS)
_fast = _simd.int8_tile(POINTS, VECTORS, False)
_copy_bytes: Any = _simd.copy_bytes
_lowest_float: Any = _simd.lowest_float
_lowest_int: Any = _simd.lowest_int


@entry()
def relabel_float(  # type: ignore[no-untyped-def]
    X, order, starts, first, last, near, moved, halves, shift, stride, table, norms, tile, best, index, labels
):
    """Give the rows of the centres first .. last - 1 the nearest of these centres' neighbours.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64                                                # IN
    order : (n,) int64: rows by the centre that they had; starts : (K + 1,) int64       # IN
    near : (K, m) int32: neighbours of every centre, itself among them, ascending; m is a multiple of VECTORS * lanes
    moved : (K, d) shift - centres, halves : (K,) their half squared norms, shift : (d,) of the arithmetic's type   # IN
    stride : elements between rows of `tile`
    table : (m // lanes, d, lanes), norms : (m // lanes, lanes), tile : (SPAN, stride), best, index : as for
        `assign_float`                                                                  # scratch
    labels : (n,) int32                                                                 # OUT
    """
    d = X.shape[1]
    n_vectors, lanes = norms.shape
    zero = table.dtype.type(0)
    size = table.itemsize
    width = lanes * size
    t_at, b_at, i_at, c_at, n_at = (
        tile.ctypes.data,
        best.ctypes.data,
        index.ctypes.data,
        table.ctypes.data,
        norms.ctypes.data,
    )
    for c in range(first, last):
        if starts[c] == starts[c + 1]:
            continue
        for j in range(near.shape[1]):
            v, lane, center = j // lanes, j % lanes, near[c, j]
            norms[v, lane] = halves[center]
            for k in range(d):
                table[v, k, lane] = moved[center, k]
        for start in range(starts[c], starts[c + 1], SPAN):
            rows = min(SPAN, starts[c + 1] - start)
            tiled = -(-rows // POINTS) * POINTS
            for p in range(rows):
                x, row = X[order[start + p]], tile[p]
                for k in range(d):
                    row[k] = table.dtype.type(x[k]) - shift[k]
            best[:tiled] = np.inf
            index[:tiled] = 0
            for v in range(0, n_vectors, VECTORS):
                for p in range(0, tiled, POINTS):
                    x_at, b, i = t_at + p * stride * size, b_at + p * width, i_at + p * width
                    _float(x_at, stride, c_at + v * d * width, n_at + v * width, b, i, d, v, zero)
            for p in range(rows):
                labels[order[start + p]] = near[c, _lowest_float(b_at + p * width, i_at + p * width, zero)]


@entry()
def relabel_int8(  # type: ignore[no-untyped-def]
    X, order, starts, first, last, near, rounded, halves, table, norms, tile, best, index, labels
):
    """`relabel_float` on bytes.

    Parameters
    ----------
    X : (n, d) uint8                                                                    # IN
    order, starts, first, last, near : as for `relabel_float`
    rounded : (K, d_padded // 4) int32, four bytes in each, halves : (K,) int32: negated centres and norms as
        `assign_int8` has them                                                          # IN
    table : (m // LANES, d_padded // 4, LANES) int32, norms : (m // LANES, LANES) int32, tile : (SPAN, d_padded) uint8
        zeros, best, index : as for `assign_int8`                                       # scratch
    labels : (n,) int32                                                                 # OUT
    """
    d, stride = X.shape[1], tile.shape[1]
    n_vectors = norms.shape[0]
    width = 4 * LANES
    t_at, b_at, i_at, c_at, n_at = (
        tile.ctypes.data,
        best.ctypes.data,
        index.ctypes.data,
        table.ctypes.data,
        norms.ctypes.data,
    )
    x_at = X.ctypes.data
    for c in range(first, last):
        if starts[c] == starts[c + 1]:
            continue
        for j in range(near.shape[1]):
            v, lane, center = j // LANES, j % LANES, near[c, j]
            norms[v, lane] = halves[center]
            for q in range(stride >> 2):
                table[v, q, lane] = rounded[center, q]
        for start in range(starts[c], starts[c + 1], SPAN):
            rows = min(SPAN, starts[c + 1] - start)
            tiled = -(-rows // POINTS) * POINTS
            for p in range(rows):
                _copy_bytes(t_at + p * stride, x_at + order[start + p] * d, d)
            best[:tiled] = 0x7FFFFFFF
            index[:tiled] = 0
            for v in range(0, n_vectors, VECTORS):
                for p in range(0, rows, POINTS):
                    b, i = b_at + p * width, i_at + p * width
                    _fast(
                        t_at + p * stride, stride, c_at + v * stride * LANES, n_at + v * width, b, b, i, stride >> 2, v
                    )
            for p in range(rows):
                labels[order[start + p]] = near[c, _lowest_int(b_at + p * width, i_at + p * width)]
