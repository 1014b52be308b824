"""SIC's way from nouns to clusters (Cai et al. 2023): which nouns count, and three mappings of images to them.

Certain (read in the authors' code): the two filters of the semantic space and the adjusted centre-based mapping.
Reconstruction, as only the paper describes them: the direct and the centre-based mapping.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.semantic._rows import blocks, normalised
from fastvbow.semantic.selection import best_by_similarity
from fastvbow.semantic.spherical import nearest_directions, spherical_kmeans

__all__ = ["adjusted_centers", "direct_labels", "noun_centers", "semantic_space"]


def semantic_space(
    nouns: NDArray[np.float32],
    centers: NDArray[np.float32],
    *,
    nearest: int = 500,
    uniqueness: float = 0.05,
    n_jobs: int | None = None,
) -> NDArray[np.int64]:
    """The nouns that are near to a centre of images, without those that are near to the mean noun.

    Parameters
    ----------
    nouns : ndarray of shape (M, d), float32
        At unit length.
    centers : ndarray of shape (K, d), float32
        Of the images, at unit length.
    nearest : int, default=500
        gamma_r: so many nouns of each centre.
    uniqueness : float, default=0.05
        gamma_u: a noun whose cosine with the mean noun is 1 - gamma_u or more says too little.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (m,), int64
        Indexes of nouns, ascending.

    Raises
    ------
    UsageError
        No noun is left.
    """
    near = best_by_similarity(nouns, centers, per_center=nearest, n_jobs=n_jobs)
    mean = normalised(sum(nouns[part].sum(axis=0, dtype=np.float64) for part in blocks(*nouns.shape))[None])[0]
    found = near[nouns[near].astype(np.float64) @ mean < 1 - uniqueness]
    if not len(found):
        raise UsageError(
            f"all {len(near)} nouns that are near to the images are about the mean noun of the bank: lower gamma_u "
            f"(now {uniqueness:g}), raise gamma_r (now {nearest}), or pass a bank of other nouns"
        )
    return found


def adjusted_centers(
    images: NDArray[np.float32],
    logits: NDArray[np.floating],
    nouns: NDArray[np.float32],
    *,
    share: float = 0.9,
    n_nouns: int = 30,
) -> NDArray[np.float32]:
    """Adjusted centre-based mapping: the nouns at the centre of what the head is surest of.

    The images of the greatest logits of a cluster, a share of N / K of them, have a mean direction; the nouns nearest
    to it have one in turn, and that stands for the cluster. An image may count for several clusters.

    Parameters
    ----------
    images : ndarray of shape (N, d), float32
        At unit length.
    logits : ndarray of shape (N, K), floating
        The head's.
    nouns : ndarray of shape (m, d), float32
        The semantic space, at unit length.
    share : float, default=0.9
        xi_c: int(xi_c * (N // K)) images a cluster, and one at least.
    n_nouns : int, default=30
        xi_a: nouns a cluster, or all there are.

    Returns
    -------
    ndarray of shape (K, d), float32
        At unit length.
    """
    n_clusters = logits.shape[1]
    top = max(1, int(share * (len(images) // n_clusters)))
    surest = np.argsort(-logits, axis=0, kind="stable")[:top]
    centers = normalised(images[surest].mean(axis=0, dtype=np.float64))
    return normalised(_mean_of_nearest(centers, nouns, n_nouns)).astype(np.float32)


def noun_centers(nouns: NDArray[np.float32], centers: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centre-based mapping: every noun goes to the nearest centre of images, and their mean stands for the cluster.

    A reconstruction. A centre that no noun goes to takes the noun nearest to it.

    Parameters
    ----------
    nouns : ndarray of shape (m, d), float32
        The semantic space, at unit length.
    centers : ndarray of shape (K, d), float32
        Of the images, at unit length.

    Returns
    -------
    ndarray of shape (K, d), float32
        At unit length.
    """
    home = nearest_directions(nouns, centers, None)
    out = nouns[nearest_directions(centers, nouns, None)].astype(np.float64)
    for k in np.unique(home):
        out[k] = nouns[home == k].mean(axis=0, dtype=np.float64)
    return normalised(out).astype(np.float32)


def direct_labels(
    images: NDArray[np.float32],
    nouns: NDArray[np.float32],
    n_clusters: int,
    *,
    n_nouns: int = 30,
    n_init: int = 20,
    random_state: Any = None,
    n_jobs: int | None = None,
) -> NDArray[np.int32]:
    """Direct mapping: the nouns are clustered, and an image goes where the mean of its nearest nouns belongs.

    A reconstruction.

    Parameters
    ----------
    images : ndarray of shape (N, d), float32
        At unit length.
    nouns : ndarray of shape (m, d), float32
        The semantic space, at unit length.
    n_clusters : int
        At most m.
    n_nouns : int, default=30
        xi_a: nouns an image, or all there are.
    n_init : int, default=20
        Starts of spherical k-means.
    random_state : int, RandomState or None, default=None
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (N,), int32

    Raises
    ------
    UsageError
        There are fewer nouns than clusters.
    """
    clusters = spherical_kmeans(nouns, n_clusters, n_init=n_init, random_state=random_state, n_jobs=n_jobs)
    out = np.empty(len(images), np.int32)
    for part in blocks(len(images), max(images.shape[1], 2 * len(nouns))):
        means = _mean_of_nearest(images[part], nouns, n_nouns)
        out[part] = (means @ clusters.centers.T).argmax(axis=1)
    return out


def _mean_of_nearest(rows: NDArray[np.floating], nouns: NDArray[np.float32], n_nouns: int) -> NDArray[np.float64]:
    """The mean of the nouns nearest to each row, the first of equals."""
    nearest = np.argsort(-(rows.astype(np.float32) @ nouns.T), axis=1, kind="stable")[:, :n_nouns]
    return np.asarray(nouns[nearest].mean(axis=1, dtype=np.float64))
