"""K-Means learned from samples: nested batches that grow, or mini-batches with scikit-learn's semantics."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastvbow.words._kmeans_base import BaseKMeans
from fastvbow.words._lloyd import finish, nested
from fastvbow.words._rows import checked_weights, float_dtype, mean_variance
from fastvbow.words._sculley import Run
from fastvbow.words._sweep import pool_of, sweep
from fastvbow.words.seeding import affordable_rows

__all__ = ["MiniBatchKMeans"]

SEEDING_OF_BYTES, SEEDING_OF_FLOATS = 3e7, 9e7
"""Distances that k-means++ may take: a tenth of the time of the passes that follow."""


class MiniBatchKMeans(BaseKMeans):
    """K-Means learned from samples of the rows: Lloyd's quality at a cost that hardly grows with their number.

    With ``batch_size=None``, the default, Lloyd's iterations run on nested random batches that double, from 64 rows a
    centre to 512 or more (a quarter of a million rows in any case, or all). With a batch size, or through
    `partial_fit`, mini-batches have scikit-learn's semantics (Sculley 2010): every step assigns a random batch to the
    current centres and moves each towards the mean of its rows, at a rate of one over the number of rows it has seen
    so far.

    uint8, float16 and float32 rows are worked on in float32, anything else in float64. Rows are gathered batch by
    batch: X may be a read-only memory map, or a list of them (shards), larger than the memory.

    Parameters
    ----------
    n_clusters : int, default=8
        K, the number of centres.
    init : {"k-means++", "random"}, ndarray of shape (n_clusters, n_features) or callable, default="k-means++"
        Starting centres; the first two are found on `init_size` random rows, a callable gets X, n_clusters and
        random_state.
    max_iter : int, default=100
        Passes over one nested batch at most; with a batch size passes over X, ``max_iter * n // batch_size`` steps.
    batch_size : int or None, default=None
        Rows in a step; None is nested batches.
    verbose : int, default=0
        Above 0, a line when the centres are found.
    compute_labels : bool, default=True
        Whether `fit` ends with a pass over X for `labels_` and `inertia_`, and for rows that centres without any get.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes, for any `n_jobs`.
    tol : float, default=0.0
        With a batch size: stop when the summed squared movement of the centres in a step is at most tol times the mean
        variance of a column. 0 switches the test off.
    max_no_improvement : int or None, default=10
        With a batch size: stop after this many steps without a new minimum of the smoothed inertia of the batches. None
        switches it off.
    init_size : int or None, default=None
        Rows to find the starting centres on; None is ``3 * batch_size``, or ``3 * n_clusters`` if that is larger;
        without batch size 3 to 100 rows a centre, as many as take k-means++ a tenth of the time of the rest.
    n_init : "auto" or int, default="auto"
        Starts to try; the one with the least inertia on `init_size` rows is refined. "auto" is 3 for "random" and
        callables, else 1.
    reassignment_ratio : float, default=0.01
        With a batch size and in `partial_fit`: centres that have seen fewer rows than this share of the most frequent
        one move to random rows of the batch.
    precision : {"exact", "fast"}, default="exact"
        How labels of uint8 rows are found on CPUs with dot products of bytes: "exact" ones are those of float32
        arithmetic, "fast" ones those of centres rounded to 8 bits (see `fastvbow.words.assignment`). Nested batches
        always use the second.
    n_jobs : int, default=None
        Threads; None is 1, -1 all cores.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features), float32, or float64 if the training data are float64
    labels_ : ndarray of shape (n_samples,), int32
        Nearest centre of every training row (after `partial_fit`: of the rows of the last batch).
    inertia_ : float
        Weighted sum of the squared distances of those rows to their centres.
    n_iter_ : int
        Passes over X, begun ones included.
    n_steps_ : int
        Mini-batches used, or passes over nested batches.
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
    A centre without any training row moves to the row farthest from its centre, the first of equals, so empty words are
    left only where there are too few distinct rows. Memory beyond labels and distances: the nested batches, at most
    256 MB (twice while they are drawn), and a block of 8 MB a thread.

    References
    ----------
    D. Sculley, "Web-scale k-means clustering", WWW 2010 (algorithm 1).
    J. Newling and F. Fleuret, "Nested mini-batch k-means", NIPS 2016.
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvbow import MiniBatchKMeans
    >>> X = np.array([[0, 0], [1, 0], [100, 100], [101, 100]], dtype=np.uint8)
    >>> MiniBatchKMeans(n_clusters=2, random_state=0).fit(X).inertia_
    1.0
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int | None = None,
        verbose: int = 0,
        compute_labels: bool = True,
        random_state: Any = None,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
        precision: str = "exact",
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.verbose = verbose
        self.compute_labels = compute_labels
        self.random_state = random_state
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.precision = precision
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Learn the centres; `sample_weight` of shape (n_samples,) makes a row count that many times."""
        X = self._validated(X, reset=True)
        self._check()
        n = len(X)
        weights = checked_weights(sample_weight, n)
        self._random_state = random_state = check_random_state(self.random_state)
        with pool_of(self.n_jobs) as pool:
            centers = self._best_start(
                X, weights, random_state, pool, self._init_size(n, X.dtype), self._starts(auto_random=3)
            )
            self._run = Run(len(centers), self.reassignment_ratio)
            if self.batch_size is None:
                centers, self._run.counts, self.n_steps_, n_rows = nested(
                    X, weights, centers, pool, random_state, max_iter=int(self.max_iter)
                )
            else:
                tol = self.tol * mean_variance(X) if self.tol > 0 else 0.0
                batch_size = min(int(self.batch_size), n)
                wide = centers.astype(np.float64)
                self.n_steps_ = self._run.fit(
                    X,
                    weights,
                    wide,
                    pool,
                    random_state,
                    batch_size=batch_size,
                    max_iter=int(self.max_iter),
                    tol=tol,
                    max_no_improvement=self.max_no_improvement,
                    precision=self.precision,
                )
                centers, n_rows = wide.astype(centers.dtype), self.n_steps_ * batch_size
            self.n_iter_ = -(-n_rows // n)
            self.cluster_centers_ = centers
            self._n_features_out = len(centers)
            distinct = self.n_clusters
            if self.compute_labels:
                self.cluster_centers_, found, distinct = finish(X, weights, centers, pool, self.precision)
                self.labels_, self.inertia_ = found.labels, found.inertia
        if self.verbose:
            self._say(f"{self.n_steps_} batches" + (f", inertia {self.inertia_:.6g}" if self.compute_labels else ""))
        self._warn_if_empty(distinct)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Do one step with X as the batch; the first call finds the starting centres on X, so it needs K rows."""
        first = not hasattr(self, "cluster_centers_")
        X = self._validated(X, reset=first)
        self._check()
        weights = checked_weights(sample_weight, len(X))
        with pool_of(self.n_jobs) as pool:
            if first:
                self._random_state = check_random_state(self.random_state)
                size, n_init = self._init_size(len(X), X.dtype), self._starts(auto_random=3)
                self.cluster_centers_ = self._best_start(X, weights, self._random_state, pool, size, n_init)
                self._run = Run(len(self.cluster_centers_), self.reassignment_ratio)
                self._n_features_out, self.n_steps_ = len(self.cluster_centers_), 0
            centers = self.cluster_centers_.astype(np.float64)
            block = X[:] if not isinstance(X, np.ndarray) else X
            self._run.reassignment_ratio = self.reassignment_ratio  # it may have been set anew
            self._run.step(block, weights, centers, pool, self._random_state, self.precision)
            self.cluster_centers_ = centers.astype(self.cluster_centers_.dtype)
            wide = self.cluster_centers_.astype(float_dtype(X, self.cluster_centers_))
            found = sweep(X, wide, pool, precision=self.precision, weights=weights, distances=True)
        self.labels_, self.inertia_ = found.labels, found.inertia
        self.n_steps_ += 1
        return self

    def _check(self) -> None:
        self._check_parameters(
            integers={
                "batch_size": (1, True),
                "max_no_improvement": (0, True),
                "init_size": (1, True),
            },
            numbers=("tol", "reassignment_ratio"),
        )

    def _init_size(self, n: int, dtype: Any) -> int:
        K = int(self.n_clusters)
        if self.init_size is not None:
            if self.init_size < K:
                message = f"init_size={self.init_size} should be larger than n_clusters={K}; 3 * n_clusters is used"
                warnings.warn(message, RuntimeWarning, stacklevel=3)
                return 3 * K
            return int(self.init_size)
        if self.batch_size is None:
            return affordable_rows(K, SEEDING_OF_BYTES if dtype == np.uint8 else SEEDING_OF_FLOATS)
        return max(3 * min(int(self.batch_size), n), 3 * K)
