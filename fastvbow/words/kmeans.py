"""Mini-batch K-Means: visual words from local descriptors."""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs
from fastvbow.words._kmeans_blocks import (
    DTYPES,
    Sweep,
    as_block,
    check_finite,
    checked_weights,
    fill_empty,
    float_dtype,
    mean_variance,
    nearest_centers,
    row_blocks,
    sweep,
    threads,
)
from fastvbow.words.seeding import starting_centers

__all__ = ["MiniBatchKMeans", "nearest_centers"]


class MiniBatchKMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """K-Means learned from random mini-batches (Sculley 2010), with scikit-learn's semantics.

    Every step assigns a random batch to the current centres and moves each centre towards the mean of its rows, at a
    rate of one over the number of rows it has seen so far. uint8, float16 and float32 rows are worked on in float32,
    anything else in float64. Rows are gathered batch by batch: X may be a read-only memory map larger than the memory.

    Parameters
    ----------
    n_clusters : int, default=8
        K, the number of centres.
    init : {"k-means++", "random"} or ndarray of shape (n_clusters, n_features), default="k-means++"
        Starting centres; the first two are found on `init_size` random rows.
    max_iter : int, default=100
        Passes over X at most: ``max_iter * n // batch_size`` steps.
    batch_size : int, default=4096
        Rows in a step.
    tol : float, default=0.0
        Stop when the summed squared movement of the centres in a step is at most tol times the mean variance of a
        column. 0 switches the test off.
    max_no_improvement : int or None, default=10
        Stop after this many steps without a new minimum of the smoothed inertia of the batches. None switches it off.
    init_size : int or None, default=None
        Rows to find the starting centres on; None is ``3 * batch_size``, or ``3 * n_clusters`` if that is larger.
    n_init : "auto" or int, default="auto"
        Starts to try; the one with the least inertia on `init_size` rows is refined. "auto" is 3 for "random", else 1.
    reassignment_ratio : float, default=0.01
        Centres that have seen fewer rows than this share of the most frequent one move to random rows of the batch.
    lloyd_iter : int, default=0
        Full Lloyd passes over X after the mini-batches, at most; ends when no label changes. `fit` only.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes, for any `n_jobs`.
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
        Mini-batches used.
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
    left only where there are too few distinct rows.

    References
    ----------
    D. Sculley, "Web-scale k-means clustering", WWW 2010 (algorithm 1).
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvbow.words.kmeans import MiniBatchKMeans
    >>> X = np.array([[0, 0], [1, 0], [100, 100], [101, 100]], dtype=np.uint8)
    >>> MiniBatchKMeans(n_clusters=2, random_state=0).fit(X).inertia_ < 2
    True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        init: Any = "k-means++",
        max_iter: int = 100,
        batch_size: int = 4096,
        tol: float = 0.0,
        max_no_improvement: int | None = 10,
        init_size: int | None = None,
        n_init: Any = "auto",
        reassignment_ratio: float = 0.01,
        lloyd_iter: int = 0,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.init = init
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.tol = tol
        self.max_no_improvement = max_no_improvement
        self.init_size = init_size
        self.n_init = n_init
        self.reassignment_ratio = reassignment_ratio
        self.lloyd_iter = lloyd_iter
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Learn the centres; `sample_weight` of shape (n_samples,) makes a row count that many times."""
        X = self._validated(X, reset=True)
        self._check_parameters()
        n = len(X)
        weights = checked_weights(sample_weight, n)
        random_state = check_random_state(self.random_state)
        batch_size = min(int(self.batch_size), n)
        with threads(self.n_jobs) as (pool, n_threads):
            centers = self._start(X, weights, random_state, pool, n_threads).astype(np.float64)
            self._counts, self._seen_since_reassignment = np.zeros(len(centers)), 0
            cumulative = None if weights is None else np.cumsum(weights)
            tol = self.tol * mean_variance(X) if self.tol > 0 else 0.0
            smoothed, smallest, no_improvement = None, np.inf, 0
            for step in range((int(self.max_iter) * n) // batch_size):
                if cumulative is None:
                    rows = random_state.randint(0, n, batch_size)
                else:  # drawn by weight, hence of weight one from here on
                    draws = random_state.uniform(size=batch_size) * cumulative[-1]
                    last = int(np.searchsorted(cumulative, cumulative[-1]))
                    rows = np.minimum(np.searchsorted(cumulative, draws, side="right"), last)
                before = centers.copy()
                batch = as_block(X, np.sort(rows))  # sorted: a memory map is read forwards
                inertia = self._step(batch, None, centers, random_state, pool, n_threads).inertia / batch_size
                if step == 0:
                    continue  # measured before any centre had moved
                alpha = min(1.0, batch_size * 2.0 / (n + 1))
                smoothed = inertia if smoothed is None else smoothed * (1 - alpha) + inertia * alpha
                if tol > 0 and np.sum((centers - before) ** 2) <= tol:
                    break
                no_improvement = 0 if smoothed < smallest else no_improvement + 1
                smallest = min(smallest, smoothed)
                if self.max_no_improvement is not None and no_improvement >= self.max_no_improvement:
                    break
            self.n_steps_ = step + 1
            self.n_iter_ = int(np.ceil(self.n_steps_ * batch_size / n))
            centers, found = self._finish(X, weights, centers.astype(float_dtype(X)), pool, n_threads)
        self.cluster_centers_ = centers
        self.labels_, self.inertia_ = found.labels, found.inertia
        self._random_state = random_state
        self._n_features_out = len(centers)
        self._warn_if_empty(found.labels)
        return self

    def partial_fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> MiniBatchKMeans:
        """Do one step with X as the batch; the first call finds the starting centres on X, so it needs K rows."""
        first = not hasattr(self, "cluster_centers_")
        X = self._validated(X, reset=first)
        self._check_parameters()
        weights = checked_weights(sample_weight, len(X))
        if first:
            self._random_state = check_random_state(self.random_state)
            self.n_steps_ = 0
        with threads(self.n_jobs) as (pool, n_threads):
            if first:
                self.cluster_centers_ = self._start(X, weights, self._random_state, pool, n_threads)
                self._counts, self._seen_since_reassignment = np.zeros(len(self.cluster_centers_)), 0
                self._n_features_out = len(self.cluster_centers_)
            centers = self.cluster_centers_.astype(np.float64)
            self._step(X, weights, centers, self._random_state, pool, n_threads)
            self.cluster_centers_ = centers.astype(self.cluster_centers_.dtype)
            found = sweep(X, self.cluster_centers_.astype(self._dtype(X)), pool, n_threads, weights)
        self.labels_, self.inertia_ = found.labels, found.inertia
        self.n_steps_ += 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Return the nearest centre of every row: ndarray of shape (n_samples,), int32; ties go to the lower index."""
        return self._assigned(X).labels

    def transform(self, X: Any) -> np.ndarray:
        """Return Euclidean distances to all centres: ndarray of shape (n_samples, n_clusters), float32 or float64."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        dtype = float_dtype(X)
        out = np.empty((len(X), len(self.cluster_centers_)), dtype)
        centers = self.cluster_centers_.astype(dtype)
        with threadpool_limits(limits=effective_jobs(self.n_jobs, default=1), user_api="blas"):
            for rows in row_blocks(len(X)):
                out[rows] = euclidean_distances(as_block(X, rows).astype(dtype, copy=False), centers)
        return out

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the inertia of X: minus the weighted sum of squared distances to the nearest centres."""
        return -self._assigned(X, sample_weight).inertia

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _assigned(self, X: Any, sample_weight: Any = None) -> Sweep:
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        weights = checked_weights(sample_weight, len(X))
        with threads(self.n_jobs) as (pool, n_threads):
            return sweep(X, self.cluster_centers_.astype(self._dtype(X)), pool, n_threads, weights)

    def _dtype(self, X: np.ndarray) -> np.dtype:
        return float_dtype(X, self.cluster_centers_)

    def _validated(self, X: Any, *, reset: bool) -> np.ndarray:
        # Finiteness is tested block by block: the test of validate_data may need a copy of a large array.
        X = validate_data(self, X, reset=reset, dtype=DTYPES, ensure_all_finite=False)
        check_finite(X)
        return X

    def _check_parameters(self) -> None:
        def integer(name: str, least: int, optional: bool = False) -> None:
            value = getattr(self, name)
            if (optional and value is None) or (isinstance(value, (int, np.integer)) and value >= least):
                return
            raise UsageError(f"{name}={value!r} cannot be used; give an integer >= {least}{' or None' * optional}")

        integer("n_clusters", 1)
        integer("max_iter", 1)
        integer("batch_size", 1)
        integer("lloyd_iter", 0)
        integer("max_no_improvement", 0, optional=True)
        integer("init_size", 1, optional=True)
        if not (isinstance(self.n_init, str) and self.n_init == "auto"):
            integer("n_init", 1)
        for name in ("tol", "reassignment_ratio"):
            value = getattr(self, name)
            if not isinstance(value, (int, float, np.number)) or not 0 <= value < np.inf:
                raise UsageError(f"{name}={value!r} cannot be used; give a number >= 0")
        if isinstance(self.init, str) and self.init not in ("k-means++", "random"):
            raise UsageError(f"init={self.init!r} cannot be used; give 'k-means++', 'random' or an array of centres")

    def _start(
        self, X: np.ndarray, weights: np.ndarray | None, random_state: Any, pool: Executor, n_threads: int
    ) -> np.ndarray:
        n, K = len(X), int(self.n_clusters)
        if n < K:
            raise UsageError(f"n_samples={n} should be >= n_clusters={K}: give more rows or ask for fewer centres")
        if not isinstance(self.init, str):
            centers = np.array(self.init, dtype=float_dtype(X), order="C")
            if centers.shape != (K, X.shape[1]):
                wanted = (K, X.shape[1])
                raise UsageError(f"init has shape {centers.shape}; n_clusters and the columns of X ask for {wanted}")
            check_finite(centers, "init")
            return centers
        size = self.init_size or 3 * min(int(self.batch_size), n)
        if size < K:
            if self.init_size is not None:
                message = f"init_size={size} should be larger than n_clusters={K}; min(3*n_clusters, n_samples) is used"
                warnings.warn(message, RuntimeWarning, stacklevel=3)
            size = 3 * K
        auto = 3 if self.init == "random" else 1
        return starting_centers(
            X,
            K,
            random_state,
            method=self.init,
            sample_weight=weights,
            size=min(size, n),
            n_init=auto if self.n_init == "auto" else int(self.n_init),
            pool=pool,
            n_threads=n_threads,
        )

    def _step(
        self,
        batch: np.ndarray,
        weights: np.ndarray | None,
        centers: np.ndarray,
        random_state: Any,
        pool: Executor,
        n_threads: int,
    ) -> Sweep:
        """Move `centers` (float64, in place) by one batch; return what was found before the move."""
        K = len(centers)
        found = sweep(batch, centers.astype(float_dtype(batch)), pool, n_threads, weights, with_sums=True)
        old, counts = self._counts.copy(), self._counts
        counts += found.counts
        moved = found.counts > 0
        # c <- (c * old + sum of the batch) / (old + weight of the batch): the rate 1 / count of Sculley's algorithm 1
        centers[moved] = (centers[moved] * old[moved, None] + found.sums[moved]) / counts[moved, None]
        self._seen_since_reassignment += len(batch)
        if self.reassignment_ratio > 0 and ((old == 0).any() or self._seen_since_reassignment >= 10 * K):
            self._seen_since_reassignment = 0
            rare = counts < min(1.0, self.reassignment_ratio) * counts.max()
            if rare.sum() > 0.5 * len(batch):
                rare[np.argsort(counts, kind="stable")[int(0.5 * len(batch)) :]] = False
            if rare.any():
                centers[rare] = as_block(batch, random_state.choice(len(batch), int(rare.sum()), replace=False))
                counts[rare] = counts[~rare].min()
        return found

    def _finish(
        self, X: np.ndarray, weights: np.ndarray | None, centers: np.ndarray, pool: Executor, n_threads: int
    ) -> tuple[np.ndarray, Sweep]:
        """Lloyd passes if asked for, then rows for empty centres and the final labels."""
        before = None
        for _ in range(int(self.lloyd_iter)):
            found = sweep(X, centers, pool, n_threads, weights, with_sums=True)
            if before is not None and np.array_equal(before, found.labels):
                break
            before = found.labels
            full = found.counts > 0
            centers[full] = found.sums[full] / found.counts[full, None]
            fill_empty(X, weights, centers, np.flatnonzero(~full), found.sqdist)
            self.n_iter_ += 1
        for _ in range(10):  # a centre moved to a far row may in turn leave another one empty
            found = sweep(X, centers, pool, n_threads, weights)
            used = np.bincount(found.labels, minlength=len(centers))
            if not fill_empty(X, weights, centers, np.flatnonzero(used == 0), found.sqdist):
                return centers, found
        return centers, sweep(X, centers, pool, n_threads, weights)

    def _warn_if_empty(self, labels: np.ndarray) -> None:
        distinct = len(np.unique(labels))
        if distinct < self.n_clusters:
            message = (
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). "
                "Possibly due to duplicate points in X."
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
