"""What ``--topics auto`` proposes for a project's photographs, told to whoever listens."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastvbow.config import TopicsConfig
from fastvbow.events import Event, Listener
from fastvbow.topics.topic_number import Proposal, propose_number

__all__ = ["proposed_topics"]

FAINT = 0.12
"""Photographs of one kind had mean silhouettes of at most .10 (CNN), mixtures of kinds of at least .157."""


def proposed_topics(
    embedding: NDArray[np.float32], config: TopicsConfig, listener: Listener, *, of_words: bool = False
) -> Proposal:
    """Propose a number of topics, and say which.

    Parameters
    ----------
    embedding : ndarray of shape (n_images, d), float32
        A row of NaN is a photograph that was skipped.
    config : TopicsConfig
        Of which `most_topics` and `seed` count.
    listener : Listener
    of_words : bool, default=False
        The rows are the photographs' words, not their CNN vectors.
    """

    def tell(done: int, total: int) -> None:
        listener(Event("topics", "step", done=done, total=total, unit="numbers"))

    proposal = propose_number(embedding, config.most_topics, seed=config.seed, progress=tell)
    listener(Event("topics", "note", _sentence(proposal)))
    if of_words and proposal.curve:
        told = "of keypoints alone the proposal is too low (2 where there were 8 to 15 kinds): add --features sift,cnn"
        listener(Event("topics", "warning", told))
    return proposal


def _sentence(proposal: Proposal) -> str:
    if not proposal.curve:
        return "one topic: there are too few photographs that differ to try more"
    tried, best = [number for number, _ in proposal.curve], max(value for _, value in proposal.curve)
    faint = "; no number stands out: perhaps they are all of one kind" if best < FAINT else ""
    return f"{proposal.n_topics} topics proposed (mean silhouette {best:.3f}; tried {tried[0]} to {tried[-1]}{faint})"
