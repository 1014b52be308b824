"""Which words mark a topic, and how much each kind of word has to do with it.

A topic's most frequent words are often those of every topic. So words are ranked by their *relevance* to it (Sievert &
Shirley 2014, LDAvis: a method for visualizing and interpreting topics, section 3.1),

    r(w, k) = lambda log p(w | k) + (1 - lambda) log (p(w | k) / p(w)),

with their lambda of 0.6, the value by which people named topics best there. The ratio p(w | k) / p(w) is the word's
*lift*: so many times as frequent in the topic as in all photographs.

What tells a topic's tokens from those of all photographs is the divergence KL(p(. | k) || p) = sum_w p(w | k) log lift,
and the terms of one kind of words are the part that this kind has in it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["RELEVANCE", "kind_parts", "lifts", "ranked_words"]

RELEVANCE = 0.6
"""The weight lambda of a word's probability in its relevance; the rest is that of its lift."""


def lifts(counts: NDArray[np.float64], topic: int) -> NDArray[np.float64]:
    """How many times as frequent each word is in a topic as in all: p(w | k) / p(w).

    Parameters
    ----------
    counts : ndarray of shape (n_topics, n_words), float64
        Weighted tokens of each word in each topic; positive where they count.
    topic : int

    Returns
    -------
    ndarray of shape (n_words,), float64
    """
    overall = counts.sum(axis=0)
    return (counts[topic] / counts[topic].sum()) / (overall / overall.sum())


def ranked_words(
    counts: NDArray[np.float64], topic: int, words: tuple[int, int], relevance: float = RELEVANCE
) -> NDArray[np.int64]:
    """The words of one kind by their relevance to a topic.

    Parameters
    ----------
    counts : ndarray of shape (n_topics, n_words), float64
        See `lifts`.
    topic : int
    words : (int, int)
        The first word of the kind, and the one behind its last.
    relevance : float, default=RELEVANCE
        Lambda, from 0 (rare words that are the topic's alone) to 1 (its most frequent ones).

    Returns
    -------
    ndarray of shape (n,), int64
        All of them, the most relevant first; equal ones by number.
    """
    start, stop = words
    probability = counts[topic, start:stop] / counts[topic].sum()
    score = relevance * np.log(probability) + (1 - relevance) * np.log(lifts(counts, topic)[start:stop])
    return start + np.argsort(-np.round(score, 9), kind="stable")


def kind_parts(counts: NDArray[np.float64], topic: int, kinds: Mapping[str, tuple[int, int]]) -> dict[str, float]:
    """How much of what tells a topic from the others lies in each kind of words.

    Parameters
    ----------
    counts : ndarray of shape (n_topics, n_words), float64
        See `lifts`.
    topic : int
    kinds : mapping of str to (int, int)
        The words of each kind: the first, and the one behind the last.

    Returns
    -------
    dict of str to float
        Parts of the divergence, which sum to 1; a kind whose own part is below zero (the topic has fewer of its tokens
        than others have, and they tell nothing) has none. All are 0 where nothing tells the topic from the others.
    """
    terms = counts[topic] / counts[topic].sum() * np.log(lifts(counts, topic))
    sums = {kind: max(0.0, float(terms[start:stop].sum())) for kind, (start, stop) in kinds.items()}
    total = sum(sums.values())
    return {kind: value / total if total > 1e-9 else 0.0 for kind, value in sums.items()}
