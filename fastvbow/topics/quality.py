"""Figures of a topic model's quality: coherence and diversity of its topics.

`npmi_coherence`, `umass_coherence` and `topic_diversity` look at each topic's most probable words: in the order of
falling probability, words of equal probability in that of their numbers. The two coherences ask of the documents of a
reference corpus only which of these words occur in each, not how often. With few words and long documents nearly every
word occurs in nearly every document, and they say little; counts above what chance expects say more: give
``counts > expected`` as the corpus.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.topics import checks

__all__ = [
    "count_together",
    "npmi_coherence",
    "npmi_of_counts",
    "top_words",
    "topic_diversity",
    "umass_coherence",
    "umass_of_counts",
]

_INDICATORS = 2**21  # (word, document) cells of the coherences looked at together: 16 MB
_TOKENS = 2**20  # tokens of the coherences looked at together


def npmi_coherence(topic_word: Any, X: Any, *, n_top: int = 10) -> NDArray[np.float64]:
    """Normalised pointwise mutual information of each topic's top words: the mean over pairs of two different ones.

    For words i and j, of which D_i, D_j and D_ij of D documents hold the one, the other and both (Bouma 2009;
    the mean over pairs as by Lau et al. 2014)::

        npmi_ij = log(p_ij / (p_i p_j)) / -log p_ij,    p_i = D_i / D,  p_ij = D_ij / D

    A pair that no document holds together has -1, the limit; so has each pair with a word that no document holds. A
    pair that every document holds has 0: the one word foretells nothing of the other (the formula gives 0 / 0).

    Parameters
    ----------
    topic_word : array-like of shape (K, n_words), float
        p(word | topic). Only the order within a row matters.
    X : {array-like, sparse matrix} of shape (n_docs, n_words), TokenStream, or list of TokenStream
        The reference corpus: non-negative counts of any dtype, bool included, of which only ``> 0`` matters. Empty
        documents count. Memory is bounded: no more than the top words' columns of a block of documents are dense.
    n_top : int, default=10
        Words of a topic, 2 to n_words.

    Returns
    -------
    ndarray of shape (K,), float64
        From -1 (never together) over 0 (independent) to 1 (only together).

    Raises
    ------
    ValueError
        `topic_word` is not two-dimensional, not finite, negative, or a row of it is all 0; `X` is not such a corpus,
        holds no document, or has another number of words; `n_top` is out of its range.

    References
    ----------
    G. Bouma (2009), Normalized (pointwise) mutual information in collocation extraction.
    J. H. Lau, D. Newman and T. Baldwin (2014), Machine reading tea leaves.
    """
    topics = checks.topic_word(topic_word)
    return npmi_of_counts(*count_together(top_words(topics, n_top), checks.corpus(X, topics.shape[1])))


def npmi_of_counts(together: NDArray[np.float64], n_docs: int) -> NDArray[np.float64]:
    """`npmi_coherence` from counts.

    Parameters
    ----------
    together : ndarray of shape (K, n_top, n_top), float64
        See `count_together`; those of the parts of a corpus added up.
    n_docs : int
        Documents of the corpus.
    """
    earlier, later = np.triu_indices(together.shape[1], 1)
    single = np.diagonal(together, axis1=1, axis2=2)
    joint = together[:, earlier, later]
    npmi = np.full_like(joint, -1.0)
    npmi[joint == n_docs] = 0.0
    some = (joint > 0) & (joint < n_docs)
    expected = single[:, earlier][some] / n_docs * single[:, later][some]
    npmi[some] = np.clip(np.log(joint[some] / expected) / -np.log(joint[some] / n_docs), -1, 1)
    return npmi.mean(axis=1)


def umass_coherence(topic_word: Any, X: Any, *, n_top: int = 10) -> NDArray[np.float64]:
    """UMass coherence of each topic's top words (Mimno et al. 2011, eq. 1).

    With the words v_1, v_2, ... in the order of falling probability (equals: the lower number first), D(v) documents
    that hold v and D(v, v') that hold both::

        sum_{m=2}^{n_top} sum_{l=1}^{m-1} log((D(v_m, v_l) + 1) / D(v_l))

    A sum, not a mean: it falls with `n_top`. Where no document holds v_l, which the paper's reference corpus, that of
    the training, excludes, the term is log(1 / n_docs), below which no other can be.

    Parameters
    ----------
    topic_word : array-like of shape (K, n_words), float
        p(word | topic). Only the order within a row matters.
    X : {array-like, sparse matrix} of shape (n_docs, n_words), TokenStream, or list of TokenStream
        The reference corpus, as for `npmi_coherence`.
    n_top : int, default=10
        Words of a topic, 2 to n_words.

    Returns
    -------
    ndarray of shape (K,), float64
        Higher is better.

    Raises
    ------
    ValueError
        As `npmi_coherence`.

    References
    ----------
    D. Mimno et al. (2011), Optimizing semantic coherence in topic models, EMNLP.
    """
    topics = checks.topic_word(topic_word)
    return umass_of_counts(*count_together(top_words(topics, n_top), checks.corpus(X, topics.shape[1])))


def umass_of_counts(together: NDArray[np.float64], n_docs: int) -> NDArray[np.float64]:
    """`umass_coherence` from counts.

    Parameters
    ----------
    together, n_docs
        See `npmi_of_counts`.
    """
    earlier, later = np.triu_indices(together.shape[1], 1)
    single = np.diagonal(together, axis1=1, axis2=2)[:, earlier]
    return np.log((together[:, earlier, later] + 1) / np.where(single > 0, single, n_docs)).sum(axis=1)


def topic_diversity(topic_word: Any, *, n_top: int = 25) -> float:
    """Share of distinct words among the top words of all topics (Dieng et al. 2020).

    Parameters
    ----------
    topic_word : array-like of shape (K, n_words), float
        p(word | topic). Only the order within a row matters.
    n_top : int, default=25
        Words of a topic, 1 to n_words.

    Returns
    -------
    float
        From 1 / K, all topics have the same top words, to 1, no two share one.

    Raises
    ------
    ValueError
        `topic_word` is not two-dimensional, not finite, negative, or a row of it is all 0; `n_top` is out of its range.

    References
    ----------
    A. B. Dieng, F. J. R. Ruiz and D. M. Blei (2020), Topic modeling in embedding spaces, TACL 8.
    """
    top = top_words(checks.topic_word(topic_word), n_top, least=1)
    return len(np.unique(top)) / top.size


def count_together(top: NDArray[np.integer], corpus: Any) -> tuple[NDArray[np.float64], int]:
    """How many documents hold each two top words of a topic, and how many there are.

    Parameters
    ----------
    top : ndarray of shape (K, n_top), integer
        See `top_words`.
    corpus : {ndarray, sparse matrix} of shape (n_docs, n_words), or list of TokenStream

    Returns
    -------
    together : ndarray of shape (K, n_top, n_top), float64
        Whole numbers; on the diagonal the documents of each word.
    n_docs : int
    """
    words, places = np.unique(top, return_inverse=True)
    together = np.zeros((len(top), top.shape[1], top.shape[1]))
    n_docs = 0
    for present in _indicators(corpus, words):
        n_docs += present.shape[1]
        for k, rows in enumerate(places.reshape(top.shape)):
            chosen = present[rows]
            together[k] += chosen @ chosen.T
    return together, n_docs


def _indicators(corpus: Any, words: NDArray[np.integer]) -> Iterator[NDArray[np.float64]]:
    """Which of `words` each document holds, as 0 and 1: (len(words), some documents), block by block."""
    step = max(1, _INDICATORS // len(words))
    if not isinstance(corpus, list):
        for begin in range(0, corpus.shape[0], step):
            block = corpus[begin : begin + step][:, words]
            block = block if isinstance(block, np.ndarray) else block.toarray()
            yield np.ascontiguousarray((block > 0).T, dtype=np.float64)
        return
    for stream in corpus:
        place = np.full(stream.n_words, -1, np.intp)
        place[words] = np.arange(len(words))
        for first, last in stream.blocks(_TOKENS):
            for begin in range(first, last, step):
                bounds = stream.offsets[begin : min(begin + step, last) + 1]
                rows = place[stream.words[bounds[0] : bounds[-1]]]
                wanted = np.flatnonzero(rows >= 0)
                present = np.zeros((len(words), len(bounds) - 1))
                present[rows[wanted], np.searchsorted(bounds, wanted + bounds[0], side="right") - 1] = 1
                yield present


def top_words(topic_word: NDArray[np.float64], n_top: Any, *, least: int = 2) -> NDArray[np.intp]:
    """The most probable words of each topic, the most probable first; equals by their numbers.

    Parameters
    ----------
    topic_word : ndarray of shape (K, n_words), float64
    n_top : int
        From `least` to n_words.
    least : int, default=2

    Returns
    -------
    ndarray of shape (K, n_top), intp

    Raises
    ------
    ValueError
        `n_top` is out of its range.
    """
    n_top = checks.whole("n_top", n_top, least, topic_word.shape[1])
    return np.argsort(-topic_word, axis=1, kind="stable")[:, :n_top]
