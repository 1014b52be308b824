"""Means over all pairs of rows without looking at the pairs, and over some of them where that cannot be.

The mean over pairs of a sum over columns is the sum over columns of the mean over pairs, and one column's is, with the
n values x of the column, sorted for the last::

    l2     mean (x_i - x_j)^2                     = 2 var(x)
    symkl  mean (x_i - x_j)(log x_i - log x_j) / 2 = cov(x, log x)
    l1     mean |x_i - x_j|                       = 2 sum_r (2 r - n + 1) x_r / (n (n - 1)),  r = 0 ... n - 1

(variance and covariance with n - 1). Each sum is of differences from one row, so that nearly equal rows do not
cancel, and equal ones are exactly 0 apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled

__all__ = ["ADDITIVE", "Mean", "additive_means", "mean_js"]

_CELLS = 2**22  # numbers looked at together: 32 MB
_TOGETHER = 2**16  # numbers of divergences looked at together: they stay in a core's cache
_LEAST = 1e-300
_HALF_WIDTH = 1.959963984540054  # of a 95 % interval, in standard errors


class Mean(NamedTuple):
    """A mean over pairs: `value`, and `error`, half the width of its 95 % confidence interval (0 if exact)."""

    value: float
    error: float = 0.0


def _from_first(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The columns less their first value: exactly 0 where all rows are equal."""
    return x - x[:, :1]


def _squared(x: NDArray[np.float64]) -> float:
    return 2 * float(_from_first(x).var(axis=1, ddof=1).sum())


def _symmetric_kl(x: NDArray[np.float64]) -> float:
    off, log = _from_first(x), _from_first(np.log(x))
    off -= off.mean(axis=1, keepdims=True)
    log -= log.mean(axis=1, keepdims=True)
    return float(np.einsum("vn,vn->", off, log)) / (x.shape[1] - 1)


def _absolute(x: NDArray[np.float64]) -> float:
    n = x.shape[1]
    rank = np.sort(_from_first(x), axis=1)
    return 2 * float((rank @ (2.0 * np.arange(n) - n + 1)).sum()) / (n * (n - 1))


def _own_absolute(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's mean distance to the others."""
    n = x.shape[1]
    order = np.argsort(x, axis=1, kind="stable")
    rank = np.take_along_axis(_from_first(x), order, axis=1)
    before = np.cumsum(rank, axis=1) - rank
    distance = rank * (2.0 * np.arange(n) - n) + rank.sum(axis=1, keepdims=True) - 2 * before
    found = np.empty_like(distance)
    np.put_along_axis(found, order, distance, axis=1)
    return found.sum(axis=0) / (n - 1)


# The mean over ordered pairs of KL(i || j) is that of the symmetric divergence.
ADDITIVE: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "symkl": _symmetric_kl,
    "kl": _symmetric_kl,
    "l1": _absolute,
    "l2": _squared,
}
"""The measures that are sums over columns: each takes columns (some of them, n) and returns their share of the mean."""


def additive_means(
    rows: Any,
    order: NDArray[np.intp],
    spans: Sequence[tuple[int, int]],
    measure: str,
    smoothing: float,
    totals: NDArray[np.float64] | None,
    *,
    drawn: bool = False,
) -> list[Mean]:
    """The exact mean over all pairs of each span of rows, a block of columns at a time.

    Parameters
    ----------
    rows : ndarray or CSR array of shape (n, V)
    order : ndarray of shape (n,), int
        The rows in the order that `spans` are of.
    spans : sequence of (begin, end)
        Of one row or none the mean is NaN.
    measure : str
        A key of `ADDITIVE`.
    smoothing : float
        Added to every cell.
    totals : ndarray of shape (n,), float64
        What each row is divided by then; None is 1.
    drawn : bool, default=False
        Whether the rows were drawn from more: the mean is off by as much as the rows differ in their own mean distances
        to the others then (Hoeffding 1948). Of ``l1`` alone.

    Returns
    -------
    list of Mean
        One a span.

    References
    ----------
    W. Hoeffding (1948), A class of statistics with asymptotically normal distribution.
    """
    share = ADDITIVE[measure]
    own = [np.zeros(last - first if drawn else 0) for first, last in spans]
    columns = rows.tocsc() if sp.issparse(rows) else rows
    sums = np.zeros(len(spans))
    step = max(1, _CELLS // max(1, len(order)))
    for begin in range(0, rows.shape[1], step):
        check_cancelled()
        block = columns[:, begin : begin + step]
        block = block.toarray() if sp.issparse(block) else block
        x = np.array(block[order].T, np.float64, order="C")
        x += smoothing
        if totals is not None:
            x /= totals[order]
        for i, (first, last) in enumerate(spans):
            sums[i] += share(x[:, first:last]) if last - first > 1 else np.nan
            if drawn and last - first > 1:
                own[i] += _own_absolute(x[:, first:last])
    errors = [2 * _HALF_WIDTH * float(d.std(ddof=1)) / np.sqrt(len(d)) if len(d) > 1 else 0.0 for d in own]
    return [
        Mean(max(total, 0.0) if total == total else total, float(error))
        for total, error in zip(sums.tolist(), errors, strict=True)
    ]


def mean_js(
    rows: Any,
    order: NDArray[np.intp],
    spans: Sequence[tuple[int, int]],
    smoothing: float,
    totals: NDArray[np.float64] | None,
    max_pairs: int,
    seed: int,
) -> list[Mean]:
    """The mean Jensen-Shannon divergence of each span of rows: of all pairs, or of `max_pairs` drawn ones.

    Pairs are drawn independently with replacement, each of a span as likely as any other, so that the standard error is
    the standard deviation over the root of their number.

    Parameters
    ----------
    rows, order, spans, smoothing, totals
        See `additive_means`; rows sum to 1 after both.
    max_pairs : int
    seed : int
        A span's pairs depend on it and on the span's place among `spans`.

    Returns
    -------
    list of Mean
        One a span.
    """

    entropy = np.empty(len(order))
    step = max(1, _TOGETHER // rows.shape[1])
    for begin in range(0, len(order), step):
        check_cancelled()
        entropy[begin : begin + step] = _entropies(_dense(rows, order[begin : begin + step], smoothing, totals))

    def divergence(i: NDArray[np.intp], j: NDArray[np.intp]) -> NDArray[np.float64]:
        check_cancelled()
        middle = _dense(rows, order[i], smoothing, totals)
        middle += _dense(rows, order[j], smoothing, totals)
        middle /= 2
        return np.maximum(_entropies(middle) - (entropy[i] + entropy[j]) / 2, 0)

    return [
        _span_mean(divergence, first, last, rows.shape[1], max_pairs, np.random.default_rng([seed, number]))
        for number, (first, last) in enumerate(spans)
    ]


def _span_mean(
    divergence: Callable[[NDArray[np.intp], NDArray[np.intp]], NDArray[np.float64]],
    first: int,
    last: int,
    width: int,
    max_pairs: int,
    rng: np.random.Generator,
) -> Mean:
    n = last - first
    n_pairs = n * (n - 1) // 2
    if n < 2:
        return Mean(float("nan"))
    if n_pairs <= max_pairs:
        i, j = np.triu_indices(n, 1)
    else:
        i, j = rng.integers(0, n, max_pairs), rng.integers(0, n - 1, max_pairs)
        j += j >= i  # any row but the first
    step = max(1, _TOGETHER // width)
    values = np.concatenate(
        [divergence(first + i[a : a + step], first + j[a : a + step]) for a in range(0, len(i), step)]
    )
    error = 0.0
    if n_pairs > max_pairs:  # of a single drawn pair nothing is known of the spread
        error = _HALF_WIDTH * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else float("inf")
    return Mean(float(values.mean()), float(error))


def _entropies(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """In nats; 0 log 0 is 0, as is what is below `_LEAST`."""
    return -np.einsum("nv,nv->n", rows, np.log(np.maximum(rows, _LEAST)))


def _dense(
    rows: Any, chosen: NDArray[np.intp], smoothing: float, totals: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Some of the rows, smoothed and divided."""
    some = rows[chosen]
    dense = np.asarray(some.toarray() if sp.issparse(some) else some, np.float64) + smoothing
    return dense if totals is None else dense / totals[chosen, None]
