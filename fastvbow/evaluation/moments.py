"""Means over all pairs of rows from sums that parts of the rows have by themselves: one corpus, many shards.

The mean of the squared L2 distance over all pairs of n rows is 2 / (n - 1) times their squares about the mean, that of
the symmetric KL divergence 1 / (n - 1) times the products of x and log x about their means (see
`fastvbow.evaluation.pair_means`). Squares and products about the means of two parts together are

    S = S_1 + S_2 + n_1 n_2 / (n_1 + n_2) (mean_1 - mean_2) . (mean_1' - mean_2')

(Chan, Golub & LeVeque 1979), so that nearly equal rows do not cancel, and equal ones are exactly 0 apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.evaluation.distributions import PairScores, scores_of
from fastvbow.evaluation.pair_means import Mean

__all__ = ["PairMoments", "merged_moments", "moment_scores", "pair_moments"]

_DIVISORS = {"l2": 0.5, "symkl": 1.0, "kl": 1.0}


@dataclass(frozen=True, eq=False)
class PairMoments:
    """What some rows tell of the distances of all pairs, label by label.

    Attributes
    ----------
    labels : ndarray of shape (L,), int32
        Those of the rows, rising.
    counts : ndarray of shape (L,), int64
        Rows of each.
    means, log_means : ndarray of shape (L, V), float64
        Of the rows, and of their logarithms.
    squares, products : ndarray of shape (L,), float64
        Sums over rows and columns of (x - mean)^2, and of (x - mean) (log x - mean of log x).
    """

    labels: NDArray[np.int32]
    counts: NDArray[np.int64]
    means: NDArray[np.float64]
    log_means: NDArray[np.float64]
    squares: NDArray[np.float64]
    products: NDArray[np.float64]


def pair_moments(rows: NDArray[np.float64], labels: NDArray[np.int32]) -> PairMoments:
    """The moments of some rows.

    Parameters
    ----------
    rows : ndarray of shape (n, V), float64
        Positive.
    labels : ndarray of shape (n,), int32

    Returns
    -------
    PairMoments
        16 L (V + 2) bytes, and some.
    """
    names, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means, log_means = np.zeros((len(names), rows.shape[1])), np.zeros((len(names), rows.shape[1]))
    squares, products = np.zeros(len(names)), np.zeros(len(names))
    for i in range(len(names)):
        x = rows[places == i]
        log = np.log(x)
        first, first_log = x[0].copy(), log[0].copy()
        x -= first  # exactly 0 where all rows are equal
        log -= first_log
        mean, log_mean = x.mean(axis=0), log.mean(axis=0)
        x -= mean
        log -= log_mean
        means[i], log_means[i] = first + mean, first_log + log_mean
        squares[i], products[i] = np.einsum("nv,nv->", x, x), np.einsum("nv,nv->", x, log)
    return PairMoments(names.astype(np.int32), counts.astype(np.int64), means, log_means, squares, products)


def merged_moments(parts: Sequence[PairMoments]) -> PairMoments:
    """The moments of all rows of some parts; to the bit the same for the same parts in the same order.

    Parameters
    ----------
    parts : sequence of PairMoments
        One or more, of the same number of columns.

    Returns
    -------
    PairMoments
    """
    labels = reduce(np.union1d, [part.labels for part in parts])
    shape = len(labels), parts[0].means.shape[1]
    counts, squares, products = np.zeros(len(labels), np.int64), np.zeros(len(labels)), np.zeros(len(labels))
    means, log_means = np.zeros(shape), np.zeros(shape)
    for part in parts:
        at = np.searchsorted(labels, part.labels)
        before, total = counts[at], counts[at] + part.counts
        off, log_off = part.means - means[at], part.log_means - log_means[at]
        weight = before * part.counts / total
        squares[at] += part.squares + weight * np.einsum("lv,lv->l", off, off)
        products[at] += part.products + weight * np.einsum("lv,lv->l", off, log_off)
        share = (part.counts / total)[:, None]  # 1 for the first rows of a label: their mean as it is
        means[at] += off * share
        log_means[at] += log_off * share
        counts[at] = total
    return PairMoments(labels.astype(np.int32), counts, means, log_means, squares, products)


def moment_scores(blocks: Sequence[PairMoments], names: NDArray[Any], measure: str) -> PairScores:
    """What `fastvbow.evaluation.distributions.pair_scores` gives of these rows, but for rounding.

    Parameters
    ----------
    blocks : sequence of PairMoments
        Of all rows; one for each block of columns, whose labels and counts are the same.
    names : ndarray of shape (n_labels,)
        What each number among the labels stands for, rising.
    measure : {"l2", "symkl", "kl"}

    Returns
    -------
    PairScores
    """
    labels, counts = blocks[0].labels, blocks[0].counts
    sums, overall, n = np.zeros(len(labels)), 0.0, int(counts.sum())
    for block in blocks:
        sums += block.squares if measure == "l2" else block.products
        whole = merged_moments([_one(block, i) for i in range(len(labels))])
        overall += float((whole.squares if measure == "l2" else whole.products)[0])
    paired, divisor = counts > 1, _DIVISORS[measure]
    within = np.maximum(sums[paired] / (divisor * (counts[paired] - 1)), 0)
    means = [Mean(value) for value in within.tolist()]
    means.append(Mean(max(overall / (divisor * (n - 1)), 0.0) if n > 1 else float("nan")))
    return scores_of(measure, names[labels[paired]], counts[paired], means, int((counts == 1).sum()))


def _one(block: PairMoments, i: int) -> PairMoments:
    """The rows of one label, as if all had the same."""
    part = slice(i, i + 1)
    return PairMoments(
        np.zeros(1, np.int32),
        block.counts[part],
        block.means[part],
        block.log_means[part],
        block.squares[part],
        block.products[part],
    )
