"""K-Means by full passes (Lloyd 1982)."""

from __future__ import annotations

from typing import Any

from sklearn.utils import check_random_state

from fastvbow.words._kmeans_base import BaseKMeans
from fastvbow.words._lloyd import finish, lloyd
from fastvbow.words._rows import checked_weights, mean_variance
from fastvbow.words._sweep import pool_of
from fastvbow.words.seeding import affordable_rows

__all__ = ["KMeans"]

SEEDING = 3e8
"""Distances that k-means++ may take."""


class KMeans(BaseKMeans):
    """K-Means by Lloyd's algorithm: full passes until no label changes.

    uint8, float16 and float32 rows are worked on in float32, anything else in float64.

    Parameters
    ----------
    n_clusters : int, default=8
        K, the number of centres.
    init : {"k-means++", "random"}, ndarray of shape (n_clusters, n_features) or callable, default="k-means++"
        Starting centres; a callable gets X, n_clusters and random_state.
    n_init : "auto" or int, default="auto"
        Runs from different starts, the one of least inertia is kept. "auto" is 1 for k-means++ and given centres, else
        10.
    max_iter : int, default=300
        Passes over X at most.
    tol : float, default=1e-4
        Stop when the summed squared movement of the centres is at most tol times the mean variance of a column.
    verbose : int, default=0
        Above 0, a line for each run.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes, for any `n_jobs`.
    init_size : int or None, default=None
        Rows to find k-means++ centres on; None is 3 to 100 a centre, as many as 3e8 distances allow.
    precision : {"exact", "fast"}, default="exact"
        For uint8 rows on CPUs with dot products of bytes: "exact" labels are those of float32 arithmetic, "fast" ones
        those of centres rounded to 8 bits (see `fastvbow.words.assignment`).
    n_jobs : int, default=None
        Threads; None is 1, -1 all cores.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), float32, or float64 if the training data are float64
    labels_ : ndarray of shape (n_samples,), int32
        Nearest centre of every training row.
    inertia_ : float
        Weighted sum of the squared distances of the training rows to their centres.
    n_iter_ : int
        Passes over X.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Where X has string column names.

    Raises
    ------
    ValueError
        From `fit` and the like: NaN or infinity in X, a wrong number of columns, or (as UsageError, a ValueError too) a
        parameter that cannot be used, weights that are negative or all zero, values too large for the arithmetic.

    Warns
    -----
    ConvergenceWarning
        If fewer than `n_clusters` centres have rows, which happens where X has fewer distinct rows.

    Notes
    -----
    X may be a list of matrices (shards), and memory maps are read block by block: nothing is held but labels, distances
    and a block of 8 MB a thread. A centre without rows moves to the row farthest from its centre, the first of equals.

    References
    ----------
    S. P. Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28, 1982.
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvbow import KMeans
    >>> X = np.array([[0, 0], [1, 0], [100, 100], [101, 100]], dtype=np.uint8)
    >>> KMeans(n_clusters=2, random_state=0).fit(X).inertia_
    1.0
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        n_init: Any = "auto",
        max_iter: int = 300,
        tol: float = 1e-4,
        verbose: int = 0,
        random_state: Any = None,
        init_size: int | None = None,
        precision: str = "exact",
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.verbose = verbose
        self.random_state = random_state
        self.init_size = init_size
        self.precision = precision
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> KMeans:
        """Learn the centres; `sample_weight` of shape (n_samples,) makes a row count that many times."""
        X = self._validated(X, reset=True)
        self._check_parameters(integers={"init_size": (1, True)}, numbers=("tol",))
        weights = checked_weights(sample_weight, len(X))
        random_state = check_random_state(self.random_state)
        tol = self.tol * mean_variance(X) if self.tol > 0 else 0.0
        size = self.init_size or affordable_rows(int(self.n_clusters), SEEDING)
        best: Any = None
        with pool_of(self.n_jobs) as pool:
            for run in range(self._starts(auto_random=10)):
                start = self._start(X, weights, random_state, size)
                centers, _, n_iter = lloyd(
                    X, weights, start, pool, max_iter=int(self.max_iter), tol=tol, precision=self.precision
                )
                centers, found, distinct = finish(X, weights, centers, pool, self.precision)
                if self.verbose:
                    self._say(f"run {run + 1}: {n_iter} passes, inertia {found.inertia:.6g}")
                if best is None or found.inertia < best[1].inertia * (1 - 1e-6):
                    best = centers, found, n_iter, distinct
        self.cluster_centers_, found, self.n_iter_, distinct = best
        self.labels_, self.inertia_ = found.labels, found.inertia
        self._n_features_out = len(self.cluster_centers_)
        self._warn_if_empty(distinct)
        return self
