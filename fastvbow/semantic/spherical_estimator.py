"""K-Means of directions as an estimator: what the other methods are held against, and need no texts to beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastvbow.semantic._directions import DirectionEstimator
from fastvbow.semantic._stored import StoredArrays

__all__ = ["SphericalKMeans"]


class SphericalKMeans(DirectionEstimator):
    """Spherical k-means of images, by `fastvbow.semantic.spherical.spherical_kmeans`; no texts.

    Parameters
    ----------
    n_clusters : int, default=8
        K.
    n_init : int, default=20
        Starts; that of the greatest sum of cosines is kept.
    max_iter : int, default=300
        Passes of a start at most.
    tol : float, default=1e-4
        See `fastvbow.semantic.spherical.spherical_kmeans`.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes, for any `n_jobs`.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        The cluster of every image.
    embedding_ : ndarray of shape (n, d), float32
        The images at unit length; `X` itself where it is so already.
    cluster_centers_ : ndarray of shape (n_clusters, d), float32
        At unit length.
    concentration_ : float
        How sharp `predict_proba` is; see `fastvbow.semantic.concentration`.
    probabilities_ : ndarray of shape (n, n_clusters), float32
        Of the images of `fit`.
    inertia_ : float
        The sum of 1 - cosine of the images with their centres: half of the sum of squared distances.
    n_iter_ : int
        Passes of the start that was kept.
    n_features_in_ : int

    Raises
    ------
    UsageError
        A parameter cannot be used, there are fewer images than clusters, or an embedding has no direction.

    References
    ----------
    I. S. Dhillon and D. S. Modha, "Concept decompositions for large sparse text data using clustering", Machine
    Learning 42, 2001.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvbow.semantic import SphericalKMeans
    >>> X = np.array([[1, 0, 0.1], [1, 0.1, 0], [0, 1, 0.1], [0.1, 1, 0]])
    >>> model = SphericalKMeans(n_clusters=2, random_state=0).fit(X)
    >>> bool(model.labels_[0] == model.labels_[1] != model.labels_[2])
    True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_init: int = 20,
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, nouns: Any = None, captions: Any = None) -> SphericalKMeans:
        """Cluster images.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings of images; they count at unit length.
        y : ignored
        nouns : ignored
            K-Means has no texts.
        captions : ignored
        """
        self._check()
        self.embedding_ = self._images(X, reset=True)
        found = self._find_clusters(self.embedding_, check_random_state(self.random_state))
        self.inertia_ = max(0.0, len(self.labels_) - found.score)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Images at unit length, in which the clusters are found: ndarray of shape (n, d), float32."""
        return super().transform(X)

    def _embedded(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return images

    def _check(self) -> None:
        self._check_integers(n_clusters=1, n_init=1, max_iter=1)
        self._check_not_negative("tol")

    def _state(self) -> dict[str, NDArray[Any]]:
        return {"cluster_centers": self.cluster_centers_, "inertia": np.array([self.inertia_])}

    def _restore(self, stored: StoredArrays) -> None:
        self.cluster_centers_ = stored.take("cluster_centers", np.float32, self.n_clusters, self.n_features_in_)
        self.inertia_ = float(stored.take("inertia", np.float64, 1)[0])
