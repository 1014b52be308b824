"""From descriptors to tokens: the word of each local feature, in the features' own order.

``tokens/shard-NNNNN/words.npy`` holds one run of words an image: first those of the first modality, then of the next.
``counts.npy`` (n_images, n_modalities) int32 says how many each has. A modality with one word a feature stays **aligned
with its keypoints**: its j-th token of an image belongs to the image's j-th keypoint, so every token has a place in the
photograph. The words of ``joint`` belong to the keypoints of SIFT.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.words.joint import JointFeatures, joint_words
from fastvbow.words.vocabulary import Codebook, Vocabulary

__all__ = ["encode", "soft_words"]


def soft_words(
    codebook: Codebook, descriptors: NDArray[Any], *, tokens: int, neighbours: int, temperature: float
) -> NDArray[np.int32]:
    """Spread whole-image vectors over their nearest words.

    One word for a whole photograph would be all or nothing; so each of its tokens falls on one of the nearest words, in
    proportion to softmax(-d^2 / temperature), rounded by largest remainders.

    Parameters
    ----------
    codebook : Codebook
    descriptors : ndarray of shape (n, d)
    tokens, neighbours : int
        Tokens for each vector, and over how many words.
    temperature : float
        In units of squared distance between unit vectors.

    Returns
    -------
    ndarray of shape (n, tokens), int32
        Words, the nearest first.
    """
    vectors = _project_each(codebook, descriptors, np.arange(len(descriptors) + 1)).astype(np.float64)
    centers = codebook.centers.astype(np.float64)
    words = np.empty((len(vectors), tokens), dtype=np.int32)
    neighbours = min(neighbours, codebook.n_words)
    for i, vector in enumerate(vectors):
        squared = ((centers - vector) ** 2).sum(axis=1)
        near = np.argsort(squared, kind="stable")[:neighbours]
        share = np.exp((squared[near[0]] - squared[near]) / temperature)
        share *= tokens / share.sum()
        count = np.floor(share).astype(np.int64)
        short = tokens - int(count.sum())
        count[np.argsort(count - share, kind="stable")[:short]] += 1
        words[i] = np.repeat(near, count)
    return words


def encode(
    vocabulary: Vocabulary,
    features: Mapping[str, tuple[NDArray[Any], NDArray[np.int64]] | JointFeatures],
    *,
    pooled_tokens: int,
    pooled_neighbours: int,
    pooled_temperature: float,
    n_jobs: int | None = None,
) -> tuple[NDArray[Any], NDArray[np.int32]]:
    """Encode a run of images.

    Parameters
    ----------
    vocabulary : Vocabulary
    features : dict of str to (descriptors, offsets) or JointFeatures
        For each modality of the vocabulary: (n, d) and (n_images + 1,); JointFeatures for ``joint``.
    pooled_tokens, pooled_neighbours, pooled_temperature : int, int, float
        See `soft_words`.
    n_jobs : int, optional

    Returns
    -------
    words : ndarray of shape (n_tokens,), uint16 or uint32
    counts : ndarray of shape (n_images, n_modalities), int32
    """
    runs: list[tuple[NDArray[Any], NDArray[np.int64]]] = []
    for name, first in vocabulary.first_word.items():
        book, found = vocabulary.codebooks[name], features[name]
        if isinstance(found, JointFeatures):
            runs.append((joint_words(book, found, n_jobs=n_jobs) + first, np.asarray(found.sift.offsets)))
            continue
        descriptors, offsets = found
        if name == "pooled":
            soft = soft_words(
                book,
                descriptors,
                tokens=pooled_tokens,
                neighbours=pooled_neighbours,
                temperature=pooled_temperature,
            )
            runs.append((soft.ravel() + first, np.asarray(offsets) * pooled_tokens))
        else:
            projected = _project_each(book, descriptors, offsets)
            runs.append((book.nearest(projected, n_jobs=n_jobs) + first, np.asarray(offsets)))
    counts = np.column_stack([np.diff(offsets) for _, offsets in runs]).astype(np.int32)
    # Token j of image i, modality m goes to start[i, m] + j.
    start = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])[:-1].reshape(counts.shape)
    words = np.empty(int(counts.sum(dtype=np.int64)), dtype=vocabulary.dtype)
    for m, (run, offsets) in enumerate(runs):
        n_tokens = counts[:, m]
        words[np.repeat(start[:, m] - offsets[:-1], n_tokens) + np.arange(len(run))] = run
    return words, counts


def _project_each(codebook: Codebook, descriptors: NDArray[Any], offsets: NDArray[np.int64]) -> NDArray[Any]:
    """Project image by image: the bits of a matrix product may depend on how many rows it has, and an image's words
    must not depend on the images that come with it."""
    if codebook.components is None:
        return descriptors
    out = np.empty((len(descriptors), len(codebook.components)), dtype=np.float32)
    for start, stop in pairwise(offsets):
        out[start:stop] = codebook.project(descriptors[start:stop])
    return out
