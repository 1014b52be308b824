"""What the two estimators of ICBPL share: evenly distributed centres, and clusters by the nearest of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastvbow.semantic._estimator import SemanticEstimator
from fastvbow.semantic.pedcc import pedcc

__all__ = ["CenterEstimator"]


class CenterEstimator(SemanticEstimator):
    """Base of the estimators that bring images into a latent space (`transform`) which has its centres beforehand."""

    n_components: int
    batch_size: int
    losses_: NDArray[np.float64]
    cluster_centers_: NDArray[np.float32]

    def _points(self, rng: np.random.RandomState) -> NDArray[np.float32]:
        """The centres."""
        return pedcc(self.n_clusters, self.n_components, random_state=rng).astype(np.float32)

    def _batch(self, n_images: int) -> int:
        """Images a step: the discrepancy needs several a cluster."""
        return min(n_images, max(self.batch_size, 4 * self.n_clusters))

    def _settle(self, points: NDArray[np.float32], vectors: NDArray[np.float32]) -> None:
        """Set what follows from the latent images, once they are known, and from vectors by which images are near."""
        self.n_iter_ = len(self.losses_)
        self.cluster_centers_ = points
        self.labels_ = self._scores(self.embedding_).argmax(axis=1).astype(np.int32)
        self._settle_probabilities(vectors)

    def _scores(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        return embedded @ self.cluster_centers_.T
