"""What the estimators share that cluster by k-means of directions."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.semantic._estimator import SemanticEstimator
from fastvbow.semantic._rows import block_rows, workers
from fastvbow.semantic.spherical import SphericalClusters, spherical_kmeans

__all__ = ["DirectionEstimator"]


class DirectionEstimator(SemanticEstimator):
    """Base of the estimators whose scores are cosines of an embedding with centres."""

    n_init: int
    max_iter: int
    tol: float
    n_jobs: int | None
    cluster_centers_: NDArray[np.float32]

    def _scores(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        out = np.empty((len(embedded), len(self.cluster_centers_)), np.float32)

        def one(part: slice) -> None:
            np.matmul(embedded[part], self.cluster_centers_.T, out=out[part])

        with workers(self.n_jobs) as team:
            deque(team.each_block(one, len(embedded), self._width()), maxlen=0)
        return out

    def _rows_at_once(self) -> int:
        """Whole blocks of those in which k-means found the labels, so that the products are the same to the bit."""
        step = block_rows(self._width())
        return step * max(1, super()._rows_at_once() // step)

    def _width(self) -> int:
        return max(self.cluster_centers_.shape)

    def _find_clusters(self, images: NDArray[np.float32], rng: np.random.RandomState) -> SphericalClusters:
        """Set the clusters of the embedding, and how sharp the probabilities are."""
        found = self._kmeans(rng)(self.embedding_, self.n_clusters, n_init=self.n_init)
        self.cluster_centers_, self.labels_, self.n_iter_ = found.centers, found.labels, found.n_iter
        self._settle_probabilities(images)
        return found

    def _kmeans(self, rng: np.random.RandomState) -> Any:
        return partial(spherical_kmeans, max_iter=self.max_iter, tol=self.tol, random_state=rng, n_jobs=self.n_jobs)
