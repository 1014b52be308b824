"""K-Means of vectors into groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.alignment import by_id, given_order

__all__ = ["kmeans_groups", "unit_length"]

_LANDMARKS = 50_000
"""So many images decide the centres; all are assigned to them. The route's own start is as careful."""


def kmeans_groups(
    image_ids: Sequence[str], vectors: NDArray[np.floating], n_groups: int, *, seed: int, starts: int
) -> NDArray[np.int32]:
    """Cluster images by scikit-learn's K-Means, of several k-means++ starts the best by inertia.

    Parameters
    ----------
    image_ids : sequence of str
        One each a vector.
    vectors : ndarray of shape (n, d), floating
    n_groups : int
    seed : int
    starts : int

    Returns
    -------
    ndarray of shape (n,), int32
        In the order of the images that were given.

    Raises
    ------
    UsageError
        There are fewer images than groups, a vector is not finite, or the ids do not fit the vectors.
    """
    order = by_id(image_ids, len(vectors))
    if not 1 <= n_groups <= len(vectors):
        raise UsageError(f"{len(vectors)} images cannot be put into {n_groups} groups: pass 1 to {len(vectors)}")
    sorted_vectors = vectors[order]
    unusable = ~np.isfinite(sorted_vectors).all(axis=1)
    if unusable.any():
        raise UsageError(f"the vector of image {image_ids[order[int(unusable.argmax())]]} holds NaN or infinity")
    landmarks = sorted_vectors
    if len(landmarks) > _LANDMARKS:
        chosen = np.random.default_rng(seed).choice(len(landmarks), _LANDMARKS, replace=False)
        landmarks = landmarks[np.sort(chosen)]
    model = KMeans(n_groups, n_init=starts, random_state=seed).fit(landmarks)
    groups = model.labels_ if landmarks is sorted_vectors else model.predict(sorted_vectors)
    return np.asarray(given_order(order, groups.astype(np.int32)), np.int32)


def unit_length(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Vectors at unit length, so that their distances are those of their directions; a zero vector stays zero.

    Parameters
    ----------
    vectors : ndarray of shape (n, d), floating
    """
    vectors = np.asarray(vectors, np.float32)
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, norm, out=np.zeros_like(vectors), where=norm > 0)
