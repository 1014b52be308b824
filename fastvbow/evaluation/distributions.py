"""How far apart mixtures or word histograms are: within a label, over all images, and the ratio of the two.

A measure falls when mixtures are merely smoother, within labels as over all images; the ratio does not, so it is what
to compare. Where the labels say nothing of the rows it is 1, however smooth they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike, NDArray

from fastvbow.errors import UsageError
from fastvbow.evaluation.pair_means import ADDITIVE, Mean, additive_means, mean_js

__all__ = ["MEASURES", "PairScores", "pair_scores", "scores_of"]

MEASURES = ("symkl", "kl", "js", "l1", "l2")
"""What `pair_scores` can measure."""


@dataclass(frozen=True, eq=False)
class PairScores:
    """Mean distances between two rows: of each label, over labels, over all rows.

    Attributes
    ----------
    measure : str
        One of `MEASURES`.
    labels : ndarray of shape (n_labels,)
        The labels of two rows or more, ascending.
    counts : ndarray of shape (n_labels,), int64
        Their rows.
    within : ndarray of shape (n_labels,), float64
        The mean over all pairs of different rows of the label.
    within_error : ndarray of shape (n_labels,), float64
        Half the width of its 95 % confidence interval; 0 where every pair was looked at.
    mean_within, mean_within_error : float
        The mean of `within`, each label counting once, and its half width. NaN where no label has two rows.
    overall, overall_error : float
        The mean over all pairs of different rows, whatever their labels ("Global" in the paper), and its half width.
        NaN where there are fewer than two rows.
    ratio, ratio_error : float
        `mean_within` / `overall`, and its half width (by the delta method). NaN where either is unknown or `overall`
        is 0.
    n_single : int
        Labels of a single row: they have no pair and are left out of `within`, not of `overall`.
    """

    measure: str
    labels: NDArray[Any]
    counts: NDArray[np.int64]
    within: NDArray[np.float64]
    within_error: NDArray[np.float64]
    mean_within: float
    mean_within_error: float
    overall: float
    overall_error: float
    ratio: float
    ratio_error: float
    n_single: int

    @property
    def exact(self) -> bool:
        """Whether every pair was looked at."""
        return not (self.within_error.any() or self.overall_error > 0)


def pair_scores(
    rows: Any,
    labels: Sequence[object] | ArrayLike,
    measure: str,
    *,
    smoothing: float | None = None,
    max_pairs: int = 500_000,
    seed: int = 0,
    which: NDArray[np.integer] | None = None,
    drawn: bool = False,
) -> PairScores:
    """Mean distance of two different rows, within each label and over all rows.

    The mean is that over ordered pairs (i, j), i != j, for the symmetric measures the same as over unordered ones:

    - ``symkl``: (KL(i || j) + KL(j || i)) / 2 in nats, which is what the spatial_LDA paper reports of mixtures;
    - ``kl``: KL(i || j) in nats. Over ordered pairs its mean is that of ``symkl``;
    - ``js``: the Jensen-Shannon divergence H((i + j) / 2) - (H(i) + H(j)) / 2 in nats (Lin 1991), at most log 2;
    - ``l1``: the sum of absolute differences;
    - ``l2``: the sum of squared differences: squared L2, which the paper calls L2.

    All but ``js`` are exact at any size, for their sums over pairs split into sums over columns: ``symkl``, ``kl`` and
    ``l2`` in O(n V), ``l1`` by sorting each column in O(n log n V). ``js`` is exact up to `max_pairs` pairs of a mean;
    of more, so many are drawn at random with replacement, and the mean has a confidence interval.

    Parameters
    ----------
    rows : {array-like, sparse matrix} of shape (n, V)
        Mixtures or word histograms, one an image. Not negative and finite.
    labels : sequence of length n
        One a row.
    measure : {"symkl", "kl", "js", "l1", "l2"}
    smoothing : float, default=None
        Added to every cell, after which each row is divided by its sum: counts become frequencies without a 0, at which
        KL divergence is infinite. 0 only divides. None takes the rows as they are: mixtures; or raw counts, whose
        ``l1`` and ``l2`` are those of the paper.
    max_pairs : int, default=500_000
        Pairs of a label, and of all rows, that ``js`` looks at, 1 or more.
    seed : int, default=0
        Of the pairs drawn.
    which : ndarray of shape (n,), integer, default=None
        The rows that the labels are of, where `rows` has more: none is copied. None: each in turn.
    drawn : bool, default=False
        Whether the rows were drawn from more, by ``l1`` alone: the means have a confidence interval for it.

    Returns
    -------
    PairScores

    Raises
    ------
    UsageError
        `rows` has another number of rows than `labels`, is negative, not finite, or (for ``symkl`` and ``kl``) 0
        somewhere; for the divergences without `smoothing`, a row does not sum to 1; with a `smoothing` of 0, a row is
        all 0; `measure` is unknown; `smoothing` is negative; `max_pairs` is below 1.

    References
    ----------
    J. Lin (1991), Divergence measures based on the Shannon entropy, IEEE Transactions on Information Theory 37.
    """
    if measure not in MEASURES:
        raise UsageError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if max_pairs < 1:
        raise UsageError(f"max_pairs must be 1 or more, got {max_pairs}")
    names, places = np.unique(np.asarray(labels), return_inverse=True)
    if drawn and measure != "l1":
        raise UsageError(f"an interval for rows that were drawn is known of l1 alone, not of {measure}")
    rows = _checked_rows(rows, len(places) if which is None else rows.shape[0], measure, smoothing)
    order = np.argsort(places, kind="stable")  # each label's rows side by side
    edges = np.searchsorted(places[order], np.arange(len(names) + 1))
    counts = np.diff(edges)
    paired = counts > 1
    spans = [(int(a), int(b)) for a, b in zip(edges[:-1][paired], edges[1:][paired], strict=True)]
    spans.append((0, len(places)))
    if which is not None:
        order = np.asarray(which)[order]
    totals = None if smoothing is None else _row_sums(rows) + smoothing * rows.shape[1]
    if measure in ADDITIVE:
        means = additive_means(rows, order, spans, measure, smoothing or 0.0, totals, drawn=drawn)
    else:
        means = mean_js(rows, order, spans, smoothing or 0.0, totals, max_pairs, seed)
    return scores_of(measure, names[paired], counts[paired], means, int((counts == 1).sum()))


def scores_of(
    measure: str, names: NDArray[Any], counts: NDArray[np.int64], means: Sequence[Mean], single: int
) -> PairScores:
    """The means of labels, and the last over all rows, as one.

    Parameters
    ----------
    measure : str
    names : ndarray of shape (n_labels,)
        Those of two rows or more.
    counts : ndarray of shape (n_labels,), int64
        Their rows.
    means : sequence of Mean
        One a label, and one over all rows.
    single : int
        Labels of a single row.
    """
    within = np.array([mean.value for mean in means[:-1]], np.float64)
    errors = np.array([mean.error for mean in means[:-1]], np.float64)
    overall, n = means[-1], len(within)
    mean_within = float(within.mean()) if n else float("nan")
    mean_error = float(np.sqrt((errors**2).sum()) / n) if n else float("nan")
    ratio = ratio_error = float("nan")
    if n and overall.value > 0:
        ratio = mean_within / overall.value
        ratio_error = float(np.hypot(mean_error, ratio * overall.error) / overall.value)
    return PairScores(
        measure=measure,
        labels=names,
        counts=counts.astype(np.int64),
        within=within,
        within_error=errors,
        mean_within=mean_within,
        mean_within_error=mean_error,
        overall=overall.value,
        overall_error=overall.error,
        ratio=ratio,
        ratio_error=ratio_error,
        n_single=single,
    )


def _row_sums(rows: Any) -> NDArray[np.float64]:
    return np.asarray(rows.sum(axis=1, dtype=np.float64)).ravel()


def _checked_rows(rows: Any, n: int, measure: str, smoothing: float | None) -> Any:
    """The rows as an array or a CSR matrix that `measure` can be taken of."""
    rows = sp.csr_array(rows) if sp.issparse(rows) else np.asarray(rows)
    if rows.ndim != 2 or rows.shape[0] != n or rows.shape[1] < 1:
        raise UsageError(f"rows must be of shape (n, V), one for each of the {n} labels, got {rows.shape}")
    values = rows.data if sp.issparse(rows) else rows
    if values.size and not (np.isfinite(values.min()) and np.isfinite(values.max()) and values.min() >= 0):
        raise UsageError("rows must be finite and not negative")
    if smoothing is not None and not 0 <= smoothing < np.inf:
        raise UsageError(f"smoothing must be 0 or a positive number, got {smoothing}")
    has_zero = (rows.count_nonzero() if sp.issparse(rows) else np.count_nonzero(rows)) < rows.shape[0] * rows.shape[1]
    if measure in {"symkl", "kl"} and has_zero and not smoothing:
        raise UsageError("rows have to be positive: KL divergence is infinite at 0; give a smoothing above 0")
    if measure in {"symkl", "kl", "js"} and smoothing is None and not np.allclose(_row_sums(rows), 1, atol=1e-6):
        raise UsageError("rows have to sum to 1; give a smoothing, if only 0, to have them divided by their sums")
    if smoothing == 0 and n and not (_row_sums(rows) > 0).all():
        raise UsageError("a row of zeros cannot be divided by its sum; give a smoothing above 0")
    return rows
