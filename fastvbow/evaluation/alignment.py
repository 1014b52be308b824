"""Whether groups have anything to do with labels: the first thing to ask of an evaluated table.

Where an array of groups stands in another order than the array of labels, every score is that of random groups, and
nothing else shows it. The test of independence does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi2
from scipy.stats.contingency import expected_freq
from sklearn.metrics.cluster import contingency_matrix

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError
from fastvbow.evaluation.pairing import paired

__all__ = ["Independence", "independence_of", "independence_test"]

_ROUNDING = 1e-12  # by which equal statistics may differ, relatively


@dataclass(frozen=True)
class Independence:
    """Pearson's test that the rows of a table tell nothing of its columns.

    Attributes
    ----------
    statistic : float
        Sum over cells of (observed - expected)² / expected; 0 where nothing can be tested.
    degrees : int
        (rows - 1) (columns - 1), without empty rows and columns.
    p_value : float
        How probable so large a statistic is under independence. NaN where nothing can be tested.
    cramers_v : float
        Strength of the association, sqrt(statistic / (n min(rows - 1, columns - 1))): 0 none, 1 the one follows from
        the other. NaN where nothing can be tested.
    method : {"chi-square", "permutation", "none"}
        Where `p_value` comes from: the chi-square distribution; shuffled tables of the same margins; or nothing, as
        there is one row or one column only.
    least_expected : float
        The smallest expected count.
    """

    statistic: float
    degrees: int
    p_value: float
    cramers_v: float
    method: str
    least_expected: float

    @property
    def rejected(self) -> bool:
        """Whether independence is rejected at the level of 5 %."""
        return self.p_value < 0.05


def independence_test(
    labels: Sequence[object] | ArrayLike, groups: ArrayLike, *, n_tables: int = 999, seed: int = 0
) -> Independence:
    """Test that groups do not depend on labels, as if the rows of one had been shuffled.

    Parameters
    ----------
    labels, groups : sequence of length n
    n_tables, seed
        See `independence_of`.

    Returns
    -------
    Independence
        Rows that are aligned have it rejected, unless they are few.

    Raises
    ------
    UsageError
        There are not as many groups as labels, or none.
    """
    labels, groups = paired(labels, groups)
    return independence_of(contingency_matrix(labels, groups), n_tables=n_tables, seed=seed)


def independence_of(table: ArrayLike, *, n_tables: int = 999, seed: int = 0) -> Independence:
    """Pearson's chi-square test of a table of counts, without Yates' correction.

    The chi-square distribution is taken where Cochran's rule allows: every expected count is 1 or more and at most a
    fifth of them below 5. Elsewhere one side of the images is shuffled `n_tables` times, which keeps the margins and
    takes O(n) each. The p-value is (1 + tables with a statistic as large) / (1 + n_tables) then, so never below
    1 / (1 + n_tables).

    Parameters
    ----------
    table : array-like of shape (rows, columns), int
        Counts, not negative; empty rows and columns are left out.
    n_tables : int, default=999
        1 or more.
    seed : int, default=0
        Of the shuffling.

    Returns
    -------
    Independence

    Raises
    ------
    UsageError
        `table` is not two-dimensional, negative, not whole or all 0; `n_tables` is below 1.

    References
    ----------
    W. G. Cochran (1954), Some methods for strengthening the common chi-square tests, Biometrics 10.
    A. Agresti (1992), A survey of exact inference for contingency tables, Statistical Science 7.
    """
    counts = np.asarray(table)
    if counts.ndim != 2 or not np.isfinite(counts).all() or (counts < 0).any() or (counts != counts.round()).any():
        raise UsageError(f"a table of whole counts, not negative, is wanted, got one of shape {counts.shape}")
    if n_tables < 1:
        raise UsageError(f"n_tables must be 1 or more, got {n_tables}")
    counts = counts[counts.any(axis=1)][:, counts.any(axis=0)].astype(np.int64)
    n = int(counts.sum())
    if not n:
        raise UsageError("the table is empty")
    expected = expected_freq(counts)
    degrees = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    if not degrees:
        return Independence(0.0, 0, float("nan"), float("nan"), "none", float(expected.min()))
    statistic = float(((counts - expected) ** 2 / expected).sum())
    if expected.min() >= 1 and (expected < 5).mean() <= 0.2:
        method, p_value = "chi-square", float(chi2.sf(statistic, degrees))
    else:
        method, p_value = "permutation", _shuffled(counts, n_tables, seed)
    strength = float(np.sqrt(statistic / (n * (min(counts.shape) - 1))))
    return Independence(statistic, degrees, p_value, min(strength, 1.0), method, float(expected.min()))


def _shuffled(counts: NDArray[np.int64], n_tables: int, seed: int) -> float:
    """The p-value from shuffling the columns' side of the images: of each table only sum n_ij² / (n_i. n_.j) matters,
    of which Pearson's statistic is n times that less n."""
    rng, width = np.random.default_rng(seed), counts.shape[1]
    cell = np.repeat(np.arange(counts.size), counts.ravel())
    row, column = cell // width * width, cell % width
    inverse = (1 / np.outer(counts.sum(axis=1), counts.sum(axis=0))).ravel()

    def extent(cell: NDArray[np.intp]) -> float:
        held = np.bincount(cell, minlength=counts.size).astype(np.float64)
        return float((held * held) @ inverse)

    least, as_large = extent(cell) * (1 - _ROUNDING), 0
    for _ in range(n_tables):
        check_cancelled()
        rng.shuffle(column)
        as_large += extent(row + column) >= least
    return (1 + as_large) / (1 + n_tables)
