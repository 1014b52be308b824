"""A start for the sampler: a clustering of the documents.

A random start lets the sampler merge groups that belong apart (accuracy spreads by .08 over seeds); one that begins at
a clustering of the photographs does not. It is a start only: each later sweep may move every token.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

__all__ = [
    "drawn_landmarks",
    "group_centres",
    "hellinger_embedding",
    "initial_groups",
    "known_rows",
    "nearest_groups",
    "root_axes",
    "root_embedding",
    "root_landmarks",
]

STARTS = 20
"""K-Means from so many seedings: with 5, one run in eight merged two classes (accuracy .82, not .97); with 20, none."""
LANDMARKS = 50_000
"""So many documents decide the centres; all are assigned to them."""
_ROWS = 4096  # of an embedding looked at together


def initial_groups(
    embedding: NDArray[np.float32], n_groups: int, *, seed: int, n_init: int = STARTS
) -> NDArray[np.int32]:
    """Cluster documents by K-Means, of several seedings the best by inertia.

    Parameters
    ----------
    embedding : ndarray of shape (n_docs, d), float32
        A row of NaN stands for a document of which nothing is known.
    n_groups : int
    seed : int
    n_init : int, default=20
        Seedings.

    Returns
    -------
    ndarray of shape (n_docs,), int32
        -1 for an unknown document.
    """
    known = np.flatnonzero(known_rows(embedding))
    if not len(known):
        return np.full(len(embedding), -1, np.int32)
    landmarks = embedding[known[drawn_landmarks(len(known), seed=seed)]]
    return nearest_groups(embedding, group_centres(landmarks, n_groups, seed=seed, n_init=n_init))


def known_rows(embedding: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Of which documents something is known: (n_docs,)."""
    return np.asarray(np.isfinite(embedding).all(axis=1))


def drawn_landmarks(n_known: int, *, seed: int, most: int | None = None) -> NDArray[np.int64]:
    """Which of the documents that something is known of decide the centres: numbers below `n_known`, in order.

    Parameters
    ----------
    n_known : int
    seed : int
    most : int, default=None
        All of them, where there are no more than so many; None is 50,000.
    """
    most = LANDMARKS if most is None else most
    if n_known <= most:
        return np.arange(n_known)
    return np.sort(np.random.default_rng(seed).choice(n_known, most, replace=False))


def group_centres(
    landmarks: NDArray[np.float32], n_groups: int, *, seed: int, n_init: int = STARTS
) -> NDArray[np.float32]:
    """Centres of documents' groups.

    Parameters
    ----------
    landmarks : ndarray of shape (n, d), float32
        Rows of which something is known, at least one.
    n_groups : int
    seed : int
    n_init : int, default=20
        Seedings, of which the best by inertia counts.

    Returns
    -------
    ndarray of shape (min(n_groups, n), d), float32
    """
    model = KMeans(min(n_groups, len(landmarks)), n_init=n_init, random_state=seed).fit(landmarks)
    centres: NDArray[np.float32] = model.cluster_centers_
    return centres


def nearest_groups(embedding: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.int32]:
    """The nearest centre of each document, found from its row alone: cutting a corpus changes nothing.

    Parameters
    ----------
    embedding : ndarray of shape (n_docs, d), float32
    centres : ndarray of shape (n_groups, d), float32

    Returns
    -------
    ndarray of shape (n_docs,), int32
        The first of equals; -1 for an unknown document.
    """
    groups = np.full(len(embedding), -1, np.int32)
    for begin in range(0, len(embedding), _ROWS):
        rows = embedding[begin : begin + _ROWS].astype(np.float64)
        # a matrix product would be quicker, but its bits may depend on how many rows it has
        squared = np.stack([((rows - centre) ** 2).sum(axis=1) for centre in centres.astype(np.float64)])
        groups[begin : begin + _ROWS] = np.where(np.isfinite(rows).all(axis=1), squared.argmin(axis=0), -1)
    return groups


def hellinger_embedding(
    words: list[NDArray[Any]], offsets: list[NDArray[np.int64]], n_words: int
) -> NDArray[np.float32]:
    """Documents as square roots of their word frequencies, in at most 64 principal components.

    Parameters
    ----------
    words, offsets : list of ndarray
        The token stream in parts.
    n_words : int

    Returns
    -------
    ndarray of shape (n_docs, d), float32
        NaN where a document is empty.
    """
    n_docs = [len(bounds) - 1 for bounds in offsets]
    chosen, first = [], 0
    for part, bounds, n in zip(words, offsets, n_docs, strict=True):
        chosen.append(root_landmarks(part, bounds, n_words, first, sum(n_docs)))
        first += n
    axes = root_axes(np.concatenate(chosen))
    parts = zip(words, offsets, strict=True)
    return np.concatenate([root_embedding(part, bounds, n_words, axes) for part, bounds in parts])


def root_landmarks(
    words: NDArray[Any], offsets: NDArray[np.int64], n_words: int, first: int, n_docs: int
) -> NDArray[np.float32]:
    """Square roots of the word frequencies of the documents of a partition that decide the principal components.

    Parameters
    ----------
    words, offsets : ndarray
        The partition.
    n_words : int
    first : int
        Number of its first document in the whole corpus.
    n_docs : int
        Documents of the whole corpus, of which one in so many is taken that there are 50,000 at most.

    Returns
    -------
    ndarray of shape (n, n_words), float32
        Without the empty ones.
    """
    step = -(-n_docs // LANDMARKS)
    rows = _root_frequencies(words, offsets, n_words)[-first % step :: step]
    return rows[np.isfinite(rows[:, 0])]


def root_axes(landmarks: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Mean (n_words,) and principal components (d, n_words) of landmarks, of all partitions in order; None of none."""
    if not len(landmarks):
        return None
    pca = PCA(min(64, *landmarks.shape), svd_solver="full" if len(landmarks) < 2000 else "covariance_eigh")
    pca.fit(landmarks)
    return pca.mean_, pca.components_


def root_embedding(
    words: NDArray[Any],
    offsets: NDArray[np.int64],
    n_words: int,
    axes: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
) -> NDArray[np.float32]:
    """The documents of a partition in the components of `root_axes`: (n_docs, d), or (n_docs, 1) of NaN for None."""
    if axes is None:
        return np.full((len(offsets) - 1, 1), np.nan, np.float32)
    mean, components = axes
    projected: NDArray[np.float32] = ((_root_frequencies(words, offsets, n_words) - mean) @ components.T).astype(
        np.float32
    )
    return projected


def _root_frequencies(words: NDArray[Any], offsets: NDArray[np.int64], n_words: int) -> NDArray[np.float32]:
    """Square roots of the word frequencies of a few documents, (n_docs, n_words); NaN where a document is empty."""
    counts = np.zeros((len(offsets) - 1, n_words), np.float32)
    np.add.at(counts, (np.repeat(np.arange(len(counts)), np.diff(offsets)), words), 1)
    mass = counts.sum(axis=1, keepdims=True)
    return np.sqrt(np.divide(counts, mass, out=np.full_like(counts, np.nan), where=mass > 0))
