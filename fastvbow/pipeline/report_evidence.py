"""What a report shows topics or clusters by: their words, and the tokens of single photographs, from memory maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.config import TopicsConfig
from fastvbow.evaluation.segments import token_posterior
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.mixtures import grouped_by, load_shares
from fastvbow.pipeline.placed_tokens import PlacedTokens
from fastvbow.pipeline.topic_modelling import token_streams
from fastvbow.project import ProjectFolder
from fastvbow.report.evidence import Evidence, PhotographTokens, Tokens
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["report_evidence"]

_SMOOTHING = 0.01  # tokens of each word that any cluster has beforehand: none is impossible
_FAINT = 1e-300  # of a topic that was merged into another: its logarithm is never looked at


def report_evidence(
    project: ProjectFolder,
    placed: PlacedTokens,
    rows: NDArray[np.integer],
    merged: Mapping[int, Sequence[int]] | None = None,
) -> Evidence:
    """The words and tokens of a project's photographs.

    A token's topic is not the one sampled last but its posterior (`fastvbow.evaluation.segments.token_posterior`),
    which is what the samples average to. A cluster's words are those of its photographs, each counted by its share of
    them.

    Parameters
    ----------
    project : ProjectFolder
        Its topics or clusters have to be finished, and its photographs encoded.
    placed : PlacedTokens
        The project's.
    rows : ndarray of shape (n,), integer
        The row in the image table of each of the report's photographs.
    merged : mapping of int to sequence of int, optional
        Topics that a person made one group: the number of the group to all of them.

    Returns
    -------
    Evidence

    Raises
    ------
    StageMissingError, StoreCorruptError
    """
    vocabulary = Vocabulary.load(project.vocabulary)
    theta = load_shares(project)
    known, weights = (
        _of_topics(project) if grouped_by(project) == "topics" else _of_clusters(project, vocabulary, theta)
    )
    embedded = "embeddings" in project.require("extract").parameters
    names = {name: "embeddings" if name == "pooled" and embedded else name for name in vocabulary.codebooks}
    kinds = {
        names[name]: (first, first + vocabulary.codebooks[name].n_words)
        for name, first in vocabulary.first_word.items()
    }
    group = np.arange(len(known))
    for target, members in (merged or {}).items():
        group[list(members)] = target
    counts = np.full(known.shape, _FAINT)
    np.add.at(counts, group, known)
    absorbed = np.flatnonzero(group != np.arange(len(group)))
    word_topics = np.ascontiguousarray((known / known.sum(axis=1, keepdims=True)).T)

    def tokens(index: int) -> PhotographTokens:
        row = int(rows[index])
        parts = []
        for run in placed.of(row):
            posterior = token_posterior(run.words, theta[row], word_topics)
            for topic in absorbed:
                posterior[:, group[topic]] += posterior[:, topic]
            posterior[:, absorbed] = 0
            parts.append(Tokens(names[run.modality], run.words, posterior, run.keypoints, run.grid))
        return PhotographTokens(int(placed.widths[row]), int(placed.heights[row]), parts)

    return Evidence(kinds, counts, weights, tokens)


def _of_topics(project: ProjectFolder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weighted tokens of each word in each topic, and what a token of each word counts."""
    model = GibbsLDA.load(project.topics / "model")
    return model.components_, model.word_weights_


def _of_clusters(
    project: ProjectFolder, vocabulary: Vocabulary, theta: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The same of clusters: the words of their photographs."""
    weights = vocabulary.per_word(TopicsConfig().weights)
    counts = np.full((theta.shape[1], vocabulary.n_words), _SMOOTHING)
    at = 0
    for tokens in open_tokens(project):
        check_cancelled()
        (stream,) = token_streams(project, [tokens], vocabulary.n_words)
        counts += (stream.to_counts().T @ theta[at : at + stream.n_docs]).T
        at += stream.n_docs
    return counts * weights, weights
