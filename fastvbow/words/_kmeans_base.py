"""What both K-Means estimators share: input, checks, the methods of a fitted model."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import euclidean_distances
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import threadpool_limits

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs
from fastvbow.words import persistence
from fastvbow.words._rows import (
    DTYPES,
    Shards,
    as_block,
    check_finite,
    checked_weights,
    float_dtype,
    is_shards,
    row_blocks,
)
from fastvbow.words._sweep import Pool, Sweep, check_precision, pool_of, sweep
from fastvbow.words.seeding import sampled_rows, starting_centers

__all__ = ["BaseKMeans"]


class BaseKMeans(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """The part of K-Means that does not depend on how the centres are found."""

    n_clusters: int
    init: Any
    n_init: Any
    max_iter: int
    tol: float
    precision: str
    random_state: Any
    n_jobs: int | None
    cluster_centers_: np.ndarray

    def predict(self, X: Any) -> np.ndarray:
        """Return the nearest centre of every row: ndarray of shape (n_samples,), int32; ties go to the lower index."""
        check_is_fitted(self)
        return self._assigned(self._validated(X, reset=False, check=False)).labels

    def transform(self, X: Any) -> np.ndarray:
        """Return Euclidean distances to all centres: ndarray of shape (n_samples, n_clusters), float32 or float64."""
        check_is_fitted(self)
        X = self._validated(X, reset=False)
        dtype = float_dtype(X)
        out = np.empty((len(X), len(self.cluster_centers_)), dtype)
        centers = self.cluster_centers_.astype(dtype)
        with threadpool_limits(limits=effective_jobs(self.n_jobs, default=1), user_api="blas"):
            for rows in row_blocks(X):
                out[rows] = euclidean_distances(as_block(X, rows).astype(dtype, copy=False), centers)
        return out

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return minus the inertia of X: minus the weighted sum of squared distances to the nearest centres."""
        check_is_fitted(self)
        X = self._validated(X, reset=False, check=False)
        return -self._assigned(X, checked_weights(sample_weight, len(X)), distances=True).inertia

    def fit_predict(self, X: Any, y: Any = None, sample_weight: Any = None) -> np.ndarray:
        """Fit, and return the nearest centre of every training row: ndarray of shape (n_samples,), int32."""
        return self.fit(X, sample_weight=sample_weight).labels_

    def save(self, folder: str | Path) -> None:
        """Write the model to a folder, as `fastvbow.words.persistence` specifies; a model there is replaced as a whole.

        Raises
        ------
        ProjectError
            The folder cannot be written, or holds something that is not a model.
        """
        check_is_fitted(self)
        persistence.save(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read a model that `save` wrote. Executes no code.

        Raises
        ------
        ProjectError
            The folder is not such a model, or was written by a newer fastvbow.
        StoreCorruptError
            A file does not hold what the manifest says.
        """
        return persistence.load(cls(), Path(folder))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _assigned(self, X: Any, weights: np.ndarray | None = None, distances: bool = False) -> Sweep:
        check_precision(self.precision)
        centers = self.cluster_centers_.astype(float_dtype(X, self.cluster_centers_), copy=False)
        with pool_of(self.n_jobs) as pool:
            return sweep(X, centers, pool, precision=self.precision, weights=weights, distances=distances, check=True)

    def _validated(self, X: Any, *, reset: bool, check: bool = True) -> Any:
        # Finiteness is tested block by block: the test of validate_data may need a copy of a large array.
        if is_shards(X):
            X = Shards([s if s.dtype in DTYPES else s.astype(np.float64) for s in X])
            validate_data(self, np.zeros((1, X.shape[1])), reset=reset)  # the width, and the names it had before
            if len(X) == 0:
                raise UsageError("Found array with 0 sample(s): the shards hold no rows")
        else:
            X = validate_data(self, X, reset=reset, dtype=DTYPES, ensure_all_finite=False)
        if check:
            check_finite(X)
        return X

    def _check_parameters(self, *, integers: dict[str, tuple[int, bool]], numbers: tuple[str, ...]) -> None:
        """Raise UsageError for what cannot be used; `integers` gives the least value and whether None is allowed."""

        def integer(name: str, least: int, optional: bool = False) -> None:
            value = getattr(self, name)
            if (optional and value is None) or (isinstance(value, (int, np.integer)) and value >= least):
                return
            raise UsageError(f"{name}={value!r} cannot be used; give an integer >= {least}{' or None' * optional}")

        for name, (least, optional) in {"n_clusters": (1, False), "max_iter": (1, False), **integers}.items():
            integer(name, least, optional)
        if not (isinstance(self.n_init, str) and self.n_init == "auto"):
            integer("n_init", 1)
        for name in numbers:
            value = getattr(self, name)
            if not isinstance(value, (int, float, np.number)) or not 0 <= value < np.inf:
                raise UsageError(f"{name}={value!r} cannot be used; give a number >= 0")
        if isinstance(self.init, str) and self.init not in ("k-means++", "random"):
            raise UsageError(
                f"init={self.init!r} cannot be used; give 'k-means++', 'random', an array of centres or a function"
            )
        check_precision(self.precision)

    def _starts(self, auto_random: int) -> int:
        """How many starts to try: n_init, `auto_random` for random ones if that is "auto", 1 for given centres."""
        if not isinstance(self.init, str) and not callable(self.init):
            return 1
        if isinstance(self.n_init, str):
            return 1 if isinstance(self.init, str) and self.init == "k-means++" else auto_random
        return int(self.n_init)

    def _best_start(
        self, X: Any, weights: np.ndarray | None, random_state: Any, pool: Pool, size: int, n_init: int
    ) -> np.ndarray:
        """The start, of `n_init`, with the least inertia on `size` random rows."""
        if n_init == 1:
            return self._start(X, weights, random_state, size)
        self._enough_rows(X)
        rows, w = sampled_rows(len(X), weights, min(size, len(X)), random_state)
        test = as_block(X, rows)
        best, least = np.empty(0), np.inf
        for start in range(n_init):
            centers = self._start(X, weights, random_state, size)
            inertia = sweep(test, centers, pool, weights=w, distances=True).inertia
            if start == 0 or inertia < least:
                best, least = centers, inertia
        return best

    def _start(self, X: Any, weights: np.ndarray | None, random_state: Any, size: int) -> np.ndarray:
        """Starting centres, found on `size` random rows."""
        n, K = len(X), int(self.n_clusters)
        self._enough_rows(X)
        if isinstance(self.init, str):
            return starting_centers(
                X, K, random_state, method=self.init, sample_weight=weights, size=max(K, min(size, n))
            )
        found = self.init(X, K, random_state=random_state) if callable(self.init) else self.init
        centers = np.array(found, dtype=float_dtype(X), order="C")
        if centers.shape != (K, X.shape[1]):
            wanted = (K, X.shape[1])
            raise UsageError(f"init has shape {centers.shape}; n_clusters and the columns of X ask for {wanted}")
        check_finite(centers, "init")
        return centers

    def _enough_rows(self, X: Any) -> None:
        n, K = len(X), int(self.n_clusters)
        if n < K:
            raise UsageError(f"n_samples={n} should be >= n_clusters={K}: give more rows or ask for fewer centres")

    @staticmethod
    def _say(line: str) -> None:
        sys.stderr.write(line + "\n")

    def _warn_if_empty(self, distinct: int) -> None:
        if distinct < self.n_clusters:
            message = (
                f"Number of distinct clusters ({distinct}) found smaller than n_clusters ({self.n_clusters}). "
                "Possibly due to duplicate points in X."
            )
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
