"""Kernels of the semantic engines: the scalings of a transport plan, and the best of many cosines.

They work on tiles of cosines that BLAS has just made, so that these are read from the cache. Nothing is checked here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastvbow.compiling import entry, inner

__all__ = ["keep_best", "plan_rows", "scale_rows"]

SHIFTER = 6755399441055744.0
"""1.5 * 2 ** 52: a number of up to 2 ** 31 added to it is rounded, and stands in its last bits."""
LOG2E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
LOWEST = -708.0  # exp of less is no normal number


@intrinsic
def _power_of_two(context: Any, shifted: Any) -> Any:
    """2 ** n of SHIFTER + n: its last bits become the exponent."""

    def make(context: Any, b: Any, signature: Any, args: Any) -> Any:
        wide = ir.IntType(64)
        bits = b.bitcast(args[0], wide)
        exponent = b.add(b.shl(bits, wide(52)), wide(1023 << 52))
        return b.bitcast(exponent, ir.DoubleType())

    return types.float64(types.float64), make


@inner(fastmath={"contract"})
def _exp(x):  # type: ignore[no-untyped-def]
    """exp(x) of x <= 0 to about 2e-16 of it, without a branch, so that loops over it become vectors."""
    x = x if x > LOWEST else LOWEST
    shifted = x * LOG2E + SHIFTER
    n = shifted - SHIFTER
    r = (x - n * LN2_HIGH) - n * LN2_LOW  # |r| <= ln(2) / 2: the Taylor series to r ** 13
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 0.5
    p = p * r + 1
    p = p * r + 1
    return p * _power_of_two(shifted)  # type: ignore[call-arg]


@inner(fastmath={"contract"})
def _logits(cosines, shift, scale, out):  # type: ignore[no-untyped-def]
    for j in range(len(shift)):
        out[j] = cosines[j] * scale + shift[j]


@inner(fastmath={"contract"})
def _exponentials(values, top):  # type: ignore[no-untyped-def]
    for j in range(len(values)):
        values[j] = _exp(values[j] - top)


@inner(fastmath={"nnan", "nsz", "reassoc"})
def _greatest(values):  # type: ignore[no-untyped-def]
    top = values[0]
    for j in range(1, len(values)):
        top = values[j] if values[j] > top else top
    return top


@inner(fastmath={"reassoc"})
def _sum(values):  # type: ignore[no-untyped-def]
    total = 0.0
    for j in range(len(values)):
        total += values[j]
    return total


@entry(fastmath={"contract"})
def scale_rows(cosines, shift, scale, row, tops, sums, columns):  # type: ignore[no-untyped-def]
    """Row by row e_j = exp(scale s_j + shift_j - top); columns_j += e_j / sum(e).

    Parameters
    ----------
    cosines : IN, (n, m) float32, rows contiguous
    shift : IN, (m,) float64
    scale : float
    row : OUT, (m,) float64
        Room to work in.
    tops, sums : OUT, (n,) float64
        The greatest of scale s_j + shift_j, and sum(e).
    columns : INOUT, (m,) float64
    """
    for i in range(len(cosines)):
        _logits(cosines[i], shift, scale, row)
        top = _greatest(row)
        _exponentials(row, top)
        total = _sum(row)
        tops[i], sums[i] = top, total
        inverse = 1 / total
        for j in range(len(row)):
            columns[j] += row[j] * inverse


@entry(fastmath={"contract"})
def plan_rows(cosines, shift, scale, row):  # type: ignore[no-untyped-def]
    """Row by row s_j becomes s_j exp(scale s_j + shift_j - top) / sum of the exponentials.

    Parameters
    ----------
    cosines : INOUT, (n, m) float32, rows contiguous
    shift : IN, (m,) float64
    scale : float
    row : OUT, (m,) float64
        Room to work in.
    """
    for i in range(len(cosines)):
        _logits(cosines[i], shift, scale, row)
        _exponentials(row, _greatest(row))
        inverse = 1 / _sum(row)
        for j in range(len(row)):
            cosines[i, j] = np.float32(cosines[i, j] * (row[j] * inverse))


@entry()
def keep_best(cosines, first, columns, own, best, where):  # type: ignore[no-untyped-def]
    """Put the greatest cosines of every row into its heap, of equal ones those of the lowest columns.

    The root of a heap is its worst, and what is kept does not depend on the order of the tiles.

    Parameters
    ----------
    cosines : IN, (n, m) float32
    first : IN, (n,) int64
        The heap of each row.
    columns : IN, (m,) int64
        What each column is called.
    own : IN, (n,) int64
        The column that does not count for each row; -1 where all do.
    best, where : INOUT, (any, k) float32 and int64
        Cosines and columns that are kept. What is empty has a cosine of -inf, and the greatest int64 as column.
    """
    k = best.shape[1]
    for i in range(cosines.shape[0]):
        heap, names, self = best[first[i]], where[first[i]], own[i]
        worst = heap[0]
        for j in range(cosines.shape[1]):
            value = cosines[i, j]
            if value < worst:
                continue
            name = columns[j]
            if name == self or (value == worst and name > names[0]):
                continue
            at = 0
            while True:
                child = 2 * at + 1
                if child >= k:
                    break
                if child + 1 < k and _is_worse(heap, names, child + 1, child):
                    child += 1
                if value < heap[child] or (value == heap[child] and name > names[child]):
                    break
                heap[at], names[at] = heap[child], names[child]
                at = child
            heap[at], names[at] = value, name
            worst = heap[0]


@inner()
def _is_worse(heap, names, a, b):  # type: ignore[no-untyped-def]
    return heap[a] < heap[b] or (heap[a] == heap[b] and names[a] > names[b])
