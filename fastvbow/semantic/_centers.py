"""What the two estimators of ICBPL share: evenly distributed centres, and clusters by the nearest of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.semantic._estimator import SemanticEstimator
from fastvbow.semantic.latent import shares_of_points
from fastvbow.semantic.pedcc import pedcc

__all__ = ["CenterEstimator"]


class CenterEstimator(SemanticEstimator):
    """Base of the estimators that bring images into a latent space (`transform`) which has its centres beforehand."""

    n_components: int
    batch_size: int
    embedding_: NDArray[np.float32]
    losses_: NDArray[np.float64]
    cluster_centers_: NDArray[np.float32]

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Images in the latent space, at unit length: ndarray of shape (n, n_components), float32."""
        raise NotImplementedError

    def predict(self, X: Any) -> NDArray[np.int32]:
        """The nearest centre of images: ndarray of shape (n,), int32."""
        return self._nearest(self.transform(X))

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """What images belong to: ndarray of shape (n, n_clusters), float32, rows sum to 1.

        The softmax of 10 times the cosines with the centres; an addition, as the method itself gives no probabilities.
        """
        return shares_of_points(self.transform(X), self.cluster_centers_)

    def _points(self, rng: np.random.RandomState) -> NDArray[np.float32]:
        """The centres."""
        return pedcc(self.n_clusters, self.n_components, random_state=rng).astype(np.float32)

    def _batch(self, n_images: int) -> int:
        """Images a step: the discrepancy needs several a cluster."""
        return min(n_images, max(self.batch_size, 4 * self.n_clusters))

    def _settle(self, points: NDArray[np.float32]) -> None:
        """Set what follows from the latent images, once they are known."""
        self.n_iter_ = len(self.losses_)
        self.cluster_centers_ = points
        self.probabilities_ = shares_of_points(self.embedding_, points)
        self.labels_ = self._nearest(self.embedding_)

    def _nearest(self, latent: NDArray[np.float32]) -> NDArray[np.int32]:
        return (latent @ self.cluster_centers_.T).argmax(axis=1).astype(np.int32)
