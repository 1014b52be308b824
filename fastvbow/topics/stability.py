"""Whether another seed finds the same topics."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fastvbow.errors import UsageError
from fastvbow.topics import checks

__all__ = ["MatchedTopics", "match_topics", "topic_stability"]


class MatchedTopics(NamedTuple):
    """Topics of two runs, one to one.

    Attributes
    ----------
    first, other : ndarray of shape (n_pairs,), int64
        The topics of each pair in the one run and in the other, those of `first` ascending.
    similarity : ndarray of shape (n_pairs,), float64
        Their cosine, 0 (no word in common) to 1 (the same).
    """

    first: NDArray[np.int64]
    other: NDArray[np.int64]
    similarity: NDArray[np.float64]


def match_topics(topic_word: Any, other: Any) -> MatchedTopics:
    """Match the topics of two runs one to one, so that the sum of their cosines is greatest (Hungarian).

    Parameters
    ----------
    topic_word : array-like of shape (K, n_words), float
        p(word | topic) of the one run. The length of a row does not matter.
    other : array-like of shape (L, n_words), float
        Of the other, with the same words. Where K and L differ, the topics too many stay alone.

    Returns
    -------
    MatchedTopics
        min(K, L) pairs.

    Raises
    ------
    UsageError
        One of the two is not two-dimensional, not finite, negative, or has a row that is all 0; they have different
        numbers of words.
    """
    first, second = _unit(topic_word), _unit(other)
    if first.shape[1] != second.shape[1]:
        raise UsageError(f"the runs have different words: {first.shape[1]} and {second.shape[1]}")
    cosine = np.clip(first @ second.T, 0, 1)
    rows, columns = linear_sum_assignment(cosine, maximize=True)
    return MatchedTopics(rows.astype(np.int64), columns.astype(np.int64), cosine[rows, columns])


def topic_stability(runs: Sequence[Any]) -> NDArray[np.float64]:
    """Mean similarity of the matched topics of each two runs that differ in their seed alone.

    Parameters
    ----------
    runs : sequence of array-like of shape (K, n_words), float
        p(word | topic) of each run, all of one vocabulary.

    Returns
    -------
    ndarray of shape (n_runs * (n_runs - 1) / 2,), float64
        Runs 0 and 1, 0 and 2, ..., 1 and 2, ...: the mean of `MatchedTopics.similarity`. Higher is more stable; topics
        that share their frequent words are alike by that alone, so compare only runs on the same words. None for
        one run.

    Raises
    ------
    UsageError
        As `match_topics`.
    """
    return np.array([match_topics(a, b).similarity.mean() for a, b in combinations(runs, 2)], np.float64)


def _unit(topic_word: Any) -> NDArray[np.float64]:
    topics = checks.topic_word(topic_word)
    topics = topics / topics.max(axis=1, keepdims=True)  # squares of small probabilities would vanish
    return topics / np.linalg.norm(topics, axis=1, keepdims=True)
