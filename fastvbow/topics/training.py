"""The training chain: initial topics, sweeps, and averages over samples.

The counts that all tokens share (nzw, nz) live here; partitions are visited in order, so the chain is the same however
the corpus is cut. Kernels are called for about a million tokens at a time, between which Ctrl-C gets through.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

import fastvbow.topics._gibbs as _gibbs
from fastvbow.topics.stream import TokenStream

__all__ = ["Chain", "train"]

BLOCK = 1_000_000  # tokens a kernel call takes, .05-.1 s
NDZ_CELLS = 4_000_000  # document-topic counts held at once for the likelihood


@dataclass
class Chain:
    """State of a collapsed Gibbs chain (Griffiths & Steyvers 2004).

    Attributes
    ----------
    streams : sequence of TokenStream
        The partitions of the corpus.
    alpha : ndarray of shape (K,), float64
    eta : float
    weights : ndarray of shape (V,), float64
        Tokens that one token of each word counts for; multiples of 1/64.
    seed : int
    z : list of ndarray, uint8 or uint16
        The topic of every token, one array a partition.
    nzw : ndarray of shape (V, K), float64
    nz : ndarray of shape (K,), float64
    """

    streams: Sequence[TokenStream]
    alpha: NDArray[np.float64]
    eta: float
    weights: NDArray[np.float64]
    seed: int
    z: list[NDArray[Any]]
    nzw: NDArray[np.float64]
    nz: NDArray[np.float64]

    @classmethod
    def start(
        cls,
        streams: Sequence[TokenStream],
        alpha: NDArray[np.float64],
        eta: float,
        weights: NDArray[np.float64],
        seed: int,
        groups: NDArray[np.int64] | None,
        fraction: float,
    ) -> Chain:
        """Draw the initial topics and count them."""
        n_topics, n_words = len(alpha), len(weights)
        dtype = np.uint8 if n_topics <= 256 else np.uint16
        z = [np.empty(stream.n_tokens, dtype) for stream in streams]
        chain = cls(streams, alpha, eta, weights, seed, z, np.zeros((n_words, n_topics)), np.zeros(n_topics))
        first = 0
        for stream, topics in zip(streams, z, strict=True):
            known = np.full(stream.n_docs, -1, np.int64) if groups is None else groups[first : first + stream.n_docs]
            _gibbs.initialise(stream.offsets, known, fraction, n_topics, seed, first, topics)
            _gibbs.count_words(stream.words, topics, weights, chain.nzw, chain.nz)
            first += stream.n_docs
        return chain

    def sweep(self, number: int) -> None:
        """Sample the topic of every token once."""
        scratch = np.empty((3, len(self.alpha)))
        first = 0
        for stream, z in zip(self.streams, self.z, strict=True):
            fixed = (stream.words, stream.offsets, self.weights, self.alpha, self.eta, self.seed, number, first)
            for begin, end in stream.blocks(BLOCK):
                _gibbs.sweep(*fixed, begin, end, z, self.nzw, self.nz, scratch)
            first += stream.n_docs

    def log_likelihood(self) -> float:
        """Collapsed joint log p(w, z) per token (Griffiths & Steyvers 2004, eq. 2 and 3), tokens counted by weight."""
        n_words, n_topics = self.nzw.shape
        alpha, eta = self.alpha, self.eta
        # cells that count nothing contribute exactly nothing
        log_w = np.sum(gammaln(self.nzw[self.nzw > 0] + eta) - gammaln(eta))
        log_w += np.sum(gammaln(n_words * eta) - gammaln(self.nz + n_words * eta))
        # one figure a document, summed at the end: the sum must not depend on where the corpus is cut
        log_z = np.empty(sum(stream.n_docs for stream in self.streams))
        first, step = 0, max(1, NDZ_CELLS // n_topics)
        for stream, z in zip(self.streams, self.z, strict=True):
            for begin in range(0, stream.n_docs, step):
                end = min(begin + step, stream.n_docs)
                ndz = np.empty((end - begin, n_topics))
                _gibbs.count_documents(stream.words, stream.offsets, z, self.weights, begin, end, ndz)
                terms = np.zeros_like(ndz)
                d, k = np.nonzero(ndz)
                terms[d, k] = gammaln(ndz[d, k] + alpha[k]) - gammaln(alpha[k])
                lengths = gammaln(alpha.sum()) - gammaln(ndz.sum(axis=1) + alpha.sum())
                log_z[first + begin : first + end] = terms.sum(axis=1) + lengths
            first += stream.n_docs
        return float((log_w + log_z.sum()) / self.nz.sum())


def train(
    chain: Chain, max_iter: int, burn_in: int, thin: int, callback: Callable[[int, int], object] | None
) -> tuple[NDArray[np.float64], list[int], list[float]]:
    """Run `max_iter` sweeps.

    Every `thin`-th sweep, counted backwards from the last, is looked at; those after `burn_in` are averaged.

    Returns
    -------
    components : ndarray of shape (K, V), float64
        Mean of nzw + eta over the samples.
    sweeps : list of int
        The sweeps looked at, burn-in included.
    log_likelihood : list of float
        The joint log-likelihood per token after each of them.
    """
    total = np.zeros_like(chain.nzw)
    n_samples = 0
    sweeps, history = [], []
    for number in range(1, max_iter + 1):
        chain.sweep(number)
        if (max_iter - number) % thin == 0:
            sweeps.append(number)
            history.append(chain.log_likelihood())
            if number > burn_in:
                total += chain.nzw
                n_samples += 1
        if callback is not None:
            callback(number, max_iter)
    return np.ascontiguousarray(total.T) / n_samples + chain.eta, sweeps, history
