"""Which texts of a bank say something about the images: centres of images, and the best texts of each."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.semantic._rows import workers

__all__ = ["IMAGES_A_CENTER", "best_by_posterior", "best_by_similarity", "center_count"]

IMAGES_A_CENTER = 300
CENTERS_A_CLUSTER = 3


def center_count(n_images: int, n_clusters: int) -> int:
    """The number of semantic centres: one for 300 images, or three a cluster where clusters have fewer images.

    round(N / 300) if N / K >= 300, else 3 K, and at most N. The numbers that TAC's code gives for its eight data sets
    are 167, 167, 17, 43, 65, 141, 303 and 4271; the rule was inferred from them and gives all eight, but is written
    nowhere. That there are at most N is added here.

    Parameters
    ----------
    n_images, n_clusters : int
        N and K.
    """
    if n_images >= IMAGES_A_CENTER * n_clusters:
        return min(n_images, round(n_images / IMAGES_A_CENTER))
    return min(n_images, CENTERS_A_CLUSTER * n_clusters)


def best_by_posterior(
    texts: NDArray[np.float32],
    centers: NDArray[np.float32],
    *,
    per_center: int = 5,
    temperature: float = 1.0,
    n_jobs: int | None = None,
) -> NDArray[np.int64]:
    """TAC's nouns: each noun goes to the centre it is likeliest of, and every centre keeps the likeliest of its own.

    P(k | u) = softmax over the centres of c_k · u / temperature, so a noun that is near to many centres counts less
    than one that is near to one alone.

    Parameters
    ----------
    texts : ndarray of shape (M, d), float32
        At unit length.
    centers : ndarray of shape (n_centers, d), float32
        At unit length.
    per_center : int, default=5
        A centre that fewer texts go to keeps fewer.
    temperature : float, default=1.0
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (at most per_center * n_centers,), int64
        Indexes of texts, ascending. Of equals the first is kept.
    """
    _check_per_center(per_center)
    n, n_centers = len(texts), len(centers)
    home, posterior = np.empty(n, np.int32), np.empty(n, np.float64)

    def one(part: slice) -> None:
        logits = (texts[part] @ centers.T).astype(np.float64) / temperature
        home[part] = logits.argmax(axis=1)
        greatest = logits.max(axis=1)
        posterior[part] = 1 / np.exp(logits - greatest[:, None]).sum(axis=1)

    with workers(n_jobs) as team:
        deque(team.each_block(one, n, max(texts.shape[1], 2 * n_centers)), maxlen=0)
    order = np.lexsort((np.arange(n), -posterior, home))
    first = np.searchsorted(home[order], np.arange(n_centers))
    rank = np.arange(n) - first[home[order]]
    return np.sort(order[rank < per_center])


def best_by_similarity(
    texts: NDArray[np.float32], centers: NDArray[np.float32], *, per_center: int = 5, n_jobs: int | None = None
) -> NDArray[np.int64]:
    """The texts nearest to each centre, those of all centres together.

    Parameters
    ----------
    texts : ndarray of shape (M, d), float32
        At unit length.
    centers : ndarray of shape (n_centers, d), float32
        At unit length.
    per_center : int, default=5
        At most M.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (at most per_center * n_centers,), int64
        Indexes of texts, ascending, each once. Of equals the first is kept.
    """
    _check_per_center(per_center)
    kept = min(per_center, len(texts))

    def one(part: slice) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        cosines = centers @ texts[part].T
        few = min(kept, cosines.shape[1])
        order = np.argsort(-cosines, axis=1, kind="stable")[:, :few]
        return order + part.start, np.take_along_axis(cosines, order, axis=1)

    with workers(n_jobs) as team:
        found = list(team.each_block(one, len(texts), max(texts.shape[1], 2 * len(centers))))
    indices = np.concatenate([where for where, _ in found], axis=1)
    cosines = np.concatenate([value for _, value in found], axis=1)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :kept]  # blocks come in the order of the texts
    return np.unique(np.take_along_axis(indices, order, axis=1)).astype(np.int64)


def _check_per_center(per_center: int) -> None:
    if per_center < 1:
        raise UsageError(f"{per_center} texts a centre cannot be chosen: give 1 or more")
