"""Figures of a topic model's quality: coherence and diversity of its topics, and the likelihood of documents.

`npmi_coherence`, `umass_coherence` and `topic_diversity` look at each topic's most probable words: in the order of
falling probability, words of equal probability in that of their numbers. The two coherences ask of the documents of a
reference corpus only which of these words occur in each, not how often. With few words and long documents nearly every
word occurs in nearly every document, and they say little; counts above what chance expects say more: give
``counts > expected`` as the corpus.

`left_to_right` estimates log p(w | phi, alpha) of whole documents, their topics summed out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, check_random_state

from fastvbow.errors import UsageError
from fastvbow.topics import checks
from fastvbow.topics.stream import TokenStream

__all__ = ["left_to_right", "npmi_coherence", "topic_diversity", "umass_coherence"]

_INDICATORS = 2**21  # (word, document) cells of the coherences looked at together: 16 MB
_TOKENS = 2**20  # tokens of the coherences looked at together
_CELLS = 2**15  # (topic, document, particle) cells of `left_to_right` looked at together: what the second cache holds
_HISTORY = 2**21  # (token, document, particle) cells held meanwhile


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
    together, n_docs = _document_counts(topic_word, X, n_top)
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
    together, n_docs = _document_counts(topic_word, X, n_top)
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
    top = _top_words(_checked_topics(topic_word), n_top, 1)
    return len(np.unique(top)) / top.size


def left_to_right(
    streams: Any,
    topic_word: Any,
    alpha: Any,
    *,
    n_particles: int = 20,
    resample: bool = True,
    random_state: Any = None,
) -> NDArray[np.float64]:
    """Left-to-right estimates of log p(w | phi, alpha), one a document (Wallach et al. 2009, algorithm 3).

    Word by word, each particle draws the topics of the words before once more (a Gibbs sweep under frozen phi), gives
    the word's probability under them, p(w_n | z_<n) = sum_k phi_kw (n_k + alpha_k) / (n + sum alpha), and draws its
    topic; log p(w) is the sum over words of the log of the particles' mean probability.

    The algorithm as published never weighs a particle by how well it foretold the words before: for one particle the
    product of probabilities is an unbiased estimate of p(w), but for several the product of their means is not, nor
    does it tend to p(w) for many (by enumeration, up to .15 nats off in documents of seven words). `resample` draws the
    particles anew in proportion to the probability that they gave (a fully adapted particle filter with systematic
    resampling), which makes the estimate of p(w) unbiased for any number of particles, and consistent. The log of an
    unbiased estimate lies below log p(w) on average; more particles bring it nearer.

    A document costs n_tokens² * n_particles * K / 2 steps of some nanoseconds.

    Parameters
    ----------
    streams : TokenStream, sequence of TokenStream, or {array-like, sparse matrix} of shape (n_docs, n_words)
        The documents; counts are whole and non-negative.
    topic_word : array-like of shape (K, n_words), float
        p(word | topic); rows are made to sum to 1.
    alpha : float or array-like of shape (K,)
        Dirichlet prior of a document's topics, one for all or one a topic. None is ``1 / K``.
    n_particles : int, default=20
    resample : bool, default=True
        False is algorithm 3 to the letter, to compare with published figures.
    random_state : int, RandomState instance or None, default=None
        Seed. A document's figure depends on it and on the document's own words, neither on their order nor on its
        neighbours: the words are taken in an order drawn at random, and alike documents have the same figure.

    Returns
    -------
    ndarray of shape (n_docs,), float64
        In nats. 0 for an empty document, -inf for one with a word that no topic has.

    Raises
    ------
    ValueError
        `topic_word` is not two-dimensional, not finite, negative, or a row of it is all 0; `streams` is not such a
        corpus, holds no document, or has another number of words; `alpha` is not positive and finite or of another
        length; `n_particles` is not a whole number of at least 1.

    References
    ----------
    H. M. Wallach, I. Murray, R. Salakhutdinov and D. Mimno (2009), Evaluation methods for topic models, ICML.
    W. Buntine (2009), Estimating likelihoods for topic models, ACML.
    M. K. Pitt and N. Shephard (1999), Filtering via simulation: auxiliary particle filters, JASA 94: `resample`.
    """
    phi = _checked_topics(topic_word)
    prior = checks.positive_vector("alpha", alpha, len(phi), 1 / len(phi))
    n_particles = checks.whole("n_particles", n_particles, 1)
    corpus = _checked_corpus(streams, phi.shape[1])
    parts = corpus if isinstance(corpus, list) else [TokenStream.from_checked_counts(corpus)]
    seed = int(check_random_state(random_state).randint(0, 2**64, dtype=np.uint64))

    phi = phi / phi.max(axis=1, keepdims=True)
    phi /= phi.sum(axis=1, keepdims=True)
    # a word's probabilities relative to the greatest: those of a rare word may be too small to multiply
    peak = phi.max(axis=0)
    phi /= np.where(peak > 0, peak, 1)
    with np.errstate(divide="ignore"):
        log_peak = np.log(peak)

    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    firsts = np.cumsum([0] + [part.n_docs for part in parts])
    log_p = np.zeros(len(lengths))
    order = np.argsort(-lengths, kind="stable")  # alike lengths together
    order = order[: np.count_nonzero(lengths)]
    start = 0
    while start < len(order):
        n = int(lengths[order[start]])
        stop = start + max(1, min(_CELLS // (len(phi) * n_particles), _HISTORY // (n * n_particles)))
        documents, possible = [], []
        for d in order[start:stop]:
            part = int(np.searchsorted(firsts, d, side="right")) - 1
            bounds = parts[part].offsets[d - firsts[part] : d - firsts[part] + 2]
            words = np.sort(parts[part].words[bounds[0] : bounds[1]])
            log_p[d] = log_peak[words].sum()
            if np.isfinite(log_p[d]):
                documents.append(words)
                possible.append(d)
        if documents:
            generators = [_generator(seed, words) for words in documents]
            log_p[possible] += _run_particles(documents, generators, phi, prior, n_particles, resample)
        start = stop
    return log_p


def _run_particles(
    documents: Sequence[NDArray[Any]],
    generators: Sequence[np.random.Generator],
    phi: NDArray[np.float64],
    alpha: NDArray[np.float64],
    n_particles: int,
    resample: bool,
) -> NDArray[np.float64]:
    """`left_to_right` of documents in the order of falling length, none of them empty, side by side.

    All that is summed over topics or particles is summed one after another, so that the documents beside it change no
    byte of a document's figure. Axes are topic k, document d, particle r; n is the present word, i one before it.
    """
    n_topics, n_docs = len(phi), len(documents)
    lengths = np.array([len(words) for words in documents])
    text = np.zeros((n_docs, lengths[0]), np.intp)
    for row, words, generator in zip(text, documents, generators, strict=True):
        row[: len(words)] = generator.permutation(words)
    z = np.zeros((lengths[0], n_docs, n_particles), np.intp)
    ndz = np.zeros((n_topics, n_docs, n_particles))
    tally = ndz.reshape(-1)
    cells = np.arange(n_docs * n_particles).reshape(n_docs, n_particles)
    scratch = np.empty_like(ndz)
    log_p = np.zeros(n_docs)

    def cumulate(i: int, active: int) -> NDArray[np.float64]:
        """Sums over topics up to each of phi_kw (n_k + alpha_k), w being the i-th word."""
        p = scratch[:, :active]
        np.add(ndz[:, :active], alpha[:, None, None], out=p)
        p *= phi[:, text[:active, i]][:, :, None]
        for before, row in pairwise(p):  # np.cumsum takes ten times as long along the first axis
            np.add(before, row, out=row)
        return p

    def draw(p: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.intp]:
        below = (p[:-1] <= u * p[-1]).view(np.uint8)
        return below.sum(axis=0, dtype=np.uint8 if n_topics <= 256 else np.intp).astype(np.intp)

    for n in range(lengths[0]):
        active = int(np.count_nonzero(lengths > n))
        where = cells[:active]
        u = np.stack([generator.random((n + 2, n_particles)) for generator in generators[:active]], axis=1)
        for i in range(n):
            tally[z[i, :active] * cells.size + where] -= 1
            z[i, :active] = draw(cumulate(i, active), u[i])
            tally[z[i, :active] * cells.size + where] += 1
        p = cumulate(n, active)
        total = np.cumsum(p[-1], axis=1)
        log_p[:active] += np.log(total[:, -1] / (n_particles * (n + alpha.sum())))
        if resample and n_particles > 1:
            chosen = _systematic(total, u[-1, :, 0])
            z[:n, :active] = np.take_along_axis(z[:n, :active], chosen[None], axis=2)
            ndz[:, :active] = np.take_along_axis(ndz[:, :active], chosen[None], axis=2)
            p = np.take_along_axis(p, chosen[None], axis=2)
        z[n, :active] = draw(p, u[n])
        tally[z[n, :active] * cells.size + where] += 1
    return log_p


def _systematic(cumulated: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.intp]:
    """For each row of cumulated weights as many columns, each chosen in proportion to its weight: one draw a row."""
    n = cumulated.shape[1]
    points = (u[:, None] + np.arange(n)) / n * cumulated[:, -1:]
    rows = [np.searchsorted(row, at, side="right") for row, at in zip(cumulated, points, strict=True)]
    return np.minimum(np.stack(rows), n - 1)


def _generator(seed: int, words: NDArray[Any]) -> np.random.Generator:
    """Random numbers that depend on the seed and on the sorted words of a document."""
    digest = hashlib.blake2b(words.astype("<u4").tobytes(), digest_size=16, key=seed.to_bytes(8, "little"))
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "little")))


def _document_counts(topic_word: Any, X: Any, n_top: int) -> tuple[NDArray[np.float64], int]:
    """How many documents hold each two top words of a topic, (K, n_top, n_top), and how many there are."""
    topics = _checked_topics(topic_word)
    top = _top_words(topics, n_top, 2)
    corpus = _checked_corpus(X, topics.shape[1])
    words, places = np.unique(top, return_inverse=True)
    together = np.zeros((len(top), top.shape[1], top.shape[1]))
    n_docs = 0
    for present in _indicators(corpus, words, topics.shape[1]):
        n_docs += present.shape[1]
        for k, rows in enumerate(places.reshape(top.shape)):
            chosen = present[rows]
            together[k] += chosen @ chosen.T
    return together, n_docs


def _indicators(corpus: Any, words: NDArray[np.intp], n_words: int) -> Iterator[NDArray[np.float64]]:
    """Which of `words` each document holds, as 0 and 1: (len(words), some documents), block by block."""
    step = max(1, _INDICATORS // len(words))
    if not isinstance(corpus, list):
        for begin in range(0, corpus.shape[0], step):
            block = corpus[begin : begin + step][:, words]
            block = block if isinstance(block, np.ndarray) else block.toarray()
            yield np.ascontiguousarray((block > 0).T, dtype=np.float64)
        return
    place = np.full(n_words, -1, np.intp)
    place[words] = np.arange(len(words))
    for stream in corpus:
        for first, last in stream.blocks(_TOKENS):
            for begin in range(first, last, step):
                bounds = stream.offsets[begin : min(begin + step, last) + 1]
                rows = place[stream.words[bounds[0] : bounds[-1]]]
                wanted = np.flatnonzero(rows >= 0)
                present = np.zeros((len(words), len(bounds) - 1))
                present[rows[wanted], np.searchsorted(bounds, wanted + bounds[0], side="right") - 1] = 1
                yield present


def _top_words(topics: NDArray[np.float64], n_top: Any, least: int) -> NDArray[np.intp]:
    """The most probable words of each topic, (K, n_top), the most probable first; equals by their numbers."""
    n_top = checks.whole("n_top", n_top, least, topics.shape[1])
    return np.argsort(-topics, axis=1, kind="stable")[:, :n_top]


def _checked_topics(topic_word: Any) -> NDArray[np.float64]:
    topics = np.asarray(topic_word, dtype=np.float64)
    if topics.ndim != 2 or 0 in topics.shape:
        raise UsageError(f"topic_word must be of shape (n_topics, n_words), got shape {topics.shape}")
    bad = ~(np.isfinite(topics) & (topics >= 0))
    if bad.any():
        k, word = np.argwhere(bad)[0]
        raise UsageError(f"topic_word must be finite and not negative, got {topics[k, word]} at [{k}, {word}]")
    empty = ~topics.any(axis=1)
    if empty.any():
        raise UsageError(f"topic_word gives topic {np.argmax(empty)} no word: leave such topics out")
    return topics


def _checked_corpus(X: Any, n_words: int) -> Any:
    """A list of streams, a dense array or a CSR matrix: not empty, and of `n_words` words."""
    parts = [X] if isinstance(X, TokenStream) else X
    if isinstance(parts, (list, tuple)) and (not parts or any(isinstance(part, TokenStream) for part in parts)):
        kinds = sorted({type(part).__name__ for part in parts} - {"TokenStream"})
        if kinds:
            raise UsageError(f"a corpus in partitions is a list of TokenStream, got {', '.join(kinds)} among them")
        widths, n_docs = {part.n_words for part in parts}, sum(part.n_docs for part in parts)
    else:
        parts = check_array(X, accept_sparse="csr", ensure_min_samples=0, input_name="X")
        widths, n_docs = {parts.shape[1]}, parts.shape[0]
    if n_docs == 0:
        raise UsageError("the corpus has no documents: give at least one")
    if widths != {n_words}:
        found = " and ".join(str(width) for width in sorted(widths))
        raise UsageError(f"the corpus has {found} words, but topic_word has {n_words}")
    if not isinstance(parts, (list, tuple)) and (least := parts.min()) < 0:
        raise UsageError(f"counts must not be negative, got {least}")
    return list(parts) if isinstance(parts, (list, tuple)) else parts
