"""The left-to-right estimate of log p(w | phi, alpha) of whole documents, their topics summed out."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

import fastvbow.topics._gibbs as _gibbs
import fastvbow.topics._particles as _particles
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.memory import aligned
from fastvbow.topics import checks
from fastvbow.topics.stream import TokenStream

__all__ = ["left_to_right"]

BUDGET = 2**26  # steps of a kernel's call: some 20 ms, on a slow CPU 100 ms
BLOCK = 2**25  # steps of a task's documents


def left_to_right(
    streams: Any,
    topic_word: Any,
    alpha: Any,
    *,
    n_particles: int = 20,
    resample: bool = True,
    random_state: Any = None,
    n_jobs: int | None = None,
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

    A document costs n_tokens² * n_particles * K / 2 steps of .1 to .3 ns (.3 to .7 on a CPU without AVX2).

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
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors. No byte of the result depends on it.

    Returns
    -------
    ndarray of shape (n_docs,), float64
        In nats. 0 for an empty document, -inf for one with a word that no topic has.

    Raises
    ------
    ValueError
        `topic_word` is not two-dimensional, not finite, negative, or a row of it is all 0; `streams` is not such a
        corpus, holds no document, or has another number of words; `alpha` is not positive and finite or of another
        length; `n_particles` is not a whole number of at least 1; `n_jobs` is 0.

    References
    ----------
    H. M. Wallach, I. Murray, R. Salakhutdinov and D. Mimno (2009), Evaluation methods for topic models, ICML.
    W. Buntine (2009), Estimating likelihoods for topic models, ACML.
    M. K. Pitt and N. Shephard (1999), Filtering via simulation: auxiliary particle filters, JASA 94: `resample`.
    """
    phi = checks.topic_word(topic_word)
    prior = checks.positive_vector("alpha", alpha, len(phi), 1 / len(phi))
    n_particles = checks.whole("n_particles", n_particles, 1)
    corpus = checks.corpus(streams, phi.shape[1])
    n_threads = effective_jobs(n_jobs, default=1)
    parts = corpus if isinstance(corpus, list) else [TokenStream.from_checked_counts(corpus)]
    seed = int(check_random_state(random_state).randint(0, 2**64, dtype=np.uint64))

    phi = phi / phi.max(axis=1, keepdims=True)
    phi /= phi.sum(axis=1, keepdims=True)
    # a word's probabilities relative to the greatest: those of a rare word may be too small to multiply
    peak = phi.max(axis=0)
    by_word = np.ascontiguousarray((phi / np.where(peak > 0, peak, 1)).T)
    with np.errstate(divide="ignore"):
        log_peak = np.log(peak)

    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    firsts = np.cumsum([0] + [part.n_docs for part in parts])
    log_p = np.zeros(len(lengths))
    stop = threading.Event()

    def run(documents: NDArray[np.intp]) -> None:
        try:
            for d in documents:
                if stop.is_set():
                    return
                p = int(np.searchsorted(firsts, d, side="right")) - 1
                begin, end = parts[p].offsets[d - firsts[p] : d - firsts[p] + 2]
                words = np.sort(parts[p].words[begin:end])
                log_p[d] = log_peak[words].sum()
                if np.isfinite(log_p[d]):
                    log_p[d] += _estimate(words, by_word, prior, n_particles, resample, seed, stop)
        except BaseException:  # the documents before this one's are waited for: they must not go on for minutes
            stop.set()
            raise

    order = np.argsort(-lengths, kind="stable")  # the longest first: no thread is left alone with one of them
    order = order[: np.count_nonzero(lengths)]
    steps = np.cumsum(lengths[order].astype(float) ** 2 * (n_particles * len(phi) / 2))
    tasks = np.split(order, np.flatnonzero(np.diff(steps // BLOCK)) + 1)
    with make_executor(n_threads) as executor:
        try:
            for _ in run_tasks(executor, run, tasks, ahead=2 * n_threads):
                pass
        finally:
            stop.set()
    return log_p


def _estimate(
    words: NDArray[Any],
    phi: NDArray[np.float64],
    alpha: NDArray[np.float64],
    n_particles: int,
    resample: bool,
    seed: int,
    stop: threading.Event,
) -> float:
    """`left_to_right` of one document's sorted words, of phi (V, K) as a share of a word's greatest.

    What is summed over topics or particles is summed one after another, whatever the vectors of this CPU. After `stop`
    the figure means nothing.
    """
    generator = _generator(seed, words)
    text = generator.permutation(words).astype(np.uint32)
    key = int(generator.integers(0, 2**64, dtype=np.uint64))
    lanes = (-(-n_particles // _particles.PARTICLES), _particles.PARTICLES)
    totals = np.empty(len(text))
    particles = _particles.Particles(
        text,
        phi,
        alpha,
        n_particles,
        resample,
        key,
        np.empty((lanes[0], len(text), lanes[1]), np.int32),
        aligned((lanes[0], len(alpha), lanes[1]), np.float64),
        totals,
        aligned((len(alpha), _particles.SCRATCH), np.float64),
        aligned(lanes, np.float64),
        np.empty(lanes, np.int64),
        _gibbs.instructions().encode(),
    )
    while not stop.is_set():
        if not particles.advance(BUDGET):
            return float(np.log(totals / (n_particles * (np.arange(len(text)) + alpha.sum()))).sum())
    return np.nan


def _generator(seed: int, words: NDArray[Any]) -> np.random.Generator:
    """Random numbers that depend on the seed and on the sorted words of a document."""
    digest = hashlib.blake2b(words.astype("<u4").tobytes(), digest_size=16, key=seed.to_bytes(8, "little"))
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest(), "little")))
