"""What TAC and CAE share: semantic centres that texts are chosen for, and clusters of what images and texts make."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastvbow.semantic._estimator import SemanticEstimator
from fastvbow.semantic.selection import center_count
from fastvbow.semantic.spherical import nearest_directions, spherical_kmeans

__all__ = ["GuidedEstimator"]


class GuidedEstimator(SemanticEstimator):
    """Base of the estimators that cluster images by k-means once texts have changed them (`_embedded`)."""

    n_centers: int | None
    center_n_init: int
    n_init: int
    max_iter: int
    tol: float
    n_jobs: int | None
    embedding_: NDArray[np.float32]

    def predict(self, X: Any) -> NDArray[np.int32]:
        """The cluster of images: ndarray of shape (n,), int32; see `transform`."""
        return nearest_directions(self.transform(X), self.cluster_centers_, self.n_jobs)

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Images as the clusters are found in them: ndarray of shape (n, width of embedding_), float32."""
        check_is_fitted(self)
        return self._embedded(self._images(X, reset=False))

    def _embedded(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images with what the texts make of them."""
        raise NotImplementedError

    def _find_centers(self, seen: NDArray[np.float32], rng: np.random.RandomState) -> None:
        """Set the semantic centres of the images that texts are chosen for."""
        n_centers = center_count(len(seen), self.n_clusters) if self.n_centers is None else self.n_centers
        self.semantic_centers_ = self._kmeans(rng)(seen, n_centers, n_init=self.center_n_init).centers

    def _find_clusters(self, rng: np.random.RandomState) -> None:
        """Set the clusters of the embedding."""
        found = self._kmeans(rng)(self.embedding_, self.n_clusters, n_init=self.n_init)
        self.cluster_centers_, self.labels_, self.n_iter_ = found.centers, found.labels, found.n_iter

    def _kmeans(self, rng: np.random.RandomState) -> Any:
        return partial(spherical_kmeans, max_iter=self.max_iter, tol=self.tol, random_state=rng, n_jobs=self.n_jobs)

    def _check_counts(self, *names: str) -> None:
        """Raise UsageError where a count of k-means, or one of `names`, is no integer above 0."""
        least = dict.fromkeys(("n_clusters", *names, "center_n_init", "n_init", "max_iter"), 1)
        if self.n_centers is not None:
            least["n_centers"] = 1
        self._check_integers(**least)
