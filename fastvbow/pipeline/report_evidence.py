"""What a report shows a project's topics by: its words, and the tokens of single photographs, from memory maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastvbow.evaluation.segments import token_posterior
from fastvbow.pipeline.placed_tokens import PlacedTokens
from fastvbow.pipeline.topic_modelling import load_theta
from fastvbow.project import ProjectFolder
from fastvbow.report.evidence import Evidence, PhotographTokens, Tokens
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["report_evidence"]

_FAINT = 1e-300  # of a topic that was merged into another: its logarithm is never looked at


def report_evidence(
    project: ProjectFolder,
    placed: PlacedTokens,
    rows: NDArray[np.integer],
    merged: Mapping[int, Sequence[int]] | None = None,
) -> Evidence:
    """The words and tokens of a project's photographs.

    A token's topic is not the one sampled last but its posterior (`fastvbow.evaluation.segments.token_posterior`),
    which is what the samples average to.

    Parameters
    ----------
    project : ProjectFolder
        Its topics have to be finished.
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
    model = GibbsLDA.load(project.topics / "model")
    theta = load_theta(project)
    embedded = "embeddings" in project.require("extract").parameters
    names = {name: "embeddings" if name == "pooled" and embedded else name for name in vocabulary.codebooks}
    kinds = {
        names[name]: (first, first + vocabulary.codebooks[name].n_words)
        for name, first in vocabulary.first_word.items()
    }
    group = np.arange(len(model.components_))
    for target, members in (merged or {}).items():
        group[list(members)] = target
    counts = np.full(model.components_.shape, _FAINT)
    np.add.at(counts, group, model.components_)
    absorbed = np.flatnonzero(group != np.arange(len(group)))
    word_topics = np.ascontiguousarray(model.topic_word_.T)

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

    return Evidence(kinds, counts, model.word_weights_, tokens)
