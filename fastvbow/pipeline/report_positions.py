"""What a report's map is laid out by: the mixtures and vectors of a project's photographs, from memory maps."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from fastvbow.pipeline.encoding import are_encoded, open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.mixtures import grouped_by, load_shares, seed_of
from fastvbow.pipeline.spaces import own_vectors
from fastvbow.project import ProjectFolder
from fastvbow.report.positions import MapInput, map_method
from fastvbow.topics.initial import hellinger_embedding
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["MIXTURE", "report_positions"]

MIXTURE = 0.5
"""Scale of the square roots of the mixtures beside vectors of unit length."""


def report_positions(project: ProjectFolder, rows: NDArray[np.integer], wanted: str) -> MapInput:
    """What the photographs of a project are laid out by.

    The vectors are the pooled ones in the space of their words; where there are none, square roots of word frequencies
    in 64 principal components; where there are no words, the pooled vectors themselves.

    Parameters
    ----------
    project : ProjectFolder
        Its topics or clusters have to be finished.
    rows : ndarray of shape (n,), integer
        The row in the image table of each of the report's photographs.
    wanted : {"auto", "umap", "pca"}
        See `fastvbow.report.positions.map_method`.

    Returns
    -------
    MapInput

    Raises
    ------
    StageMissingError, StoreCorruptError, UsageError, MissingExtraError
    """
    theta, vocabulary = load_shares(project), Vocabulary.load(project.vocabulary) if are_encoded(project) else None
    seed = seed_of(project.require(grouped_by(project)))

    def mixtures(indices: NDArray[np.intp]) -> NDArray[np.float64]:
        return np.asarray(theta[rows[indices]])

    def vectors(indices: NDArray[np.intp]) -> NDArray[np.float32]:
        own = rows[indices]
        if vocabulary is None:
            made = own_vectors(project)[own]
        elif "pooled" in vocabulary.codebooks:
            made = _pooled(project, vocabulary, own)
        else:
            made = _of_words(project, vocabulary, own)
        return np.concatenate([made, MIXTURE * np.sqrt(mixtures(indices))], axis=1, dtype=np.float32)

    return MapInput(map_method(wanted, len(rows)), mixtures, vectors, seed)


def _pooled(project: ProjectFolder, vocabulary: Vocabulary, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """The pooled vectors of some photographs, projected."""
    book, shards = vocabulary.codebooks["pooled"], open_shards(project)
    out = np.empty((len(rows), book.centers.shape[1]), np.float32)
    for shard, own, at in _by_shard([shard.card.n_images for shard in shards], rows):
        first = shards[shard].offsets("pooled")[at]
        out[own] = book.project(shards[shard].descriptors("pooled")[first])
    return out


def _of_words(project: ProjectFolder, vocabulary: Vocabulary, rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Word frequencies of some photographs; all of them have a word."""
    tokens = open_tokens(project)
    found: list[NDArray[np.integer]] = [np.zeros(0, vocabulary.dtype)] * len(rows)
    for shard, own, at in _by_shard([len(part.counts) for part in tokens], rows):
        offsets = tokens[shard].offsets
        for place, row in zip(own.tolist(), at.tolist(), strict=True):
            found[place] = tokens[shard].words[offsets[row] : offsets[row + 1]]
    offsets = np.concatenate([[0], np.cumsum([len(words) for words in found])]).astype(np.int64)
    return hellinger_embedding([np.concatenate(found)], [offsets], vocabulary.n_words)


def _by_shard(sizes: list[int], rows: NDArray[np.integer]) -> list[tuple[int, NDArray[np.intp], NDArray[np.intp]]]:
    """Shards that hold some of the rows, which of them these are, and their places in the shard."""
    starts = np.array([0, *accumulate(sizes)])
    shard = np.searchsorted(starts, rows, side="right") - 1
    return [
        (int(number), own := np.flatnonzero(shard == number), np.asarray(rows[own] - starts[number], np.intp))
        for number in np.unique(shard)
    ]
