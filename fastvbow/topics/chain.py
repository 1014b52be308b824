"""A collapsed Gibbs chain: the topics of all tokens, and the counts of words in topics that they share.

Documents are visited in order across the partitions that the corpus is stored in, so the chain is the same however it
is cut. Kernels are called for about a million tokens at a time, between which Ctrl-C gets through.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

import fastvbow.topics._gibbs as _gibbs
import fastvbow.topics._samplers as _samplers
from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError
from fastvbow.executors import Team
from fastvbow.memory import aligned
from fastvbow.topics.checks import WEIGHT_STEPS
from fastvbow.topics.stream import TokenStream

__all__ = ["ALGORITHMS", "Chain", "other_seed"]

ALGORITHMS = {"exact": 8, "lockstep": 16, "sparse": 1}
"""Samplers, and how many documents each advances together; see ``src_ext/sampler_kernels.h``, ``sparse_kernels.h``."""
MANY_TOPICS = 512
"""Beyond so many topics lockstep advances 2 documents: what it keeps of each must stay in the first cache."""
BLOCK = 1_000_000  # tokens a kernel call takes, some 10 ms
NDZ_CELLS = 4_000_000  # document-topic counts held at once
MOST_UNITS = 2**31 - 1  # of one word, in int32
MOST_DOCUMENT = 2**24  # units of one document, exact in float32


def other_seed(seed: int, number: int) -> int:
    """The seed of chain `number` of several; that of 0 is the seed itself."""
    return (seed + number * 0x9E3779B97F4A7C15) % 2**64


class Part(NamedTuple):
    """Documents of one partition that a walk visits."""

    stream: int
    begin: int
    end: int
    first_document: int  # number of the partition's first document in the whole corpus


class Chain:
    """State of a collapsed Gibbs chain (Griffiths & Steyvers 2004).

    Parameters
    ----------
    streams : sequence of TokenStream
        The partitions of the corpus.
    alpha : ndarray of shape (K,), float64
    eta : float
    weights : ndarray of shape (V,), float64
        Tokens that one token of each word counts for; multiples of 1/64.
    seed : int
    z : list of ndarray, uint8 (K <= 256) or uint16
        The topic of every token, one array a partition; changed in place.
    algorithm : {"exact", "lockstep", "sparse"}, default="exact"
    n_walks : int, default=1
        Parts of the corpus that are sampled side by side, each from its own copy of the counts, which are put together
        after every sweep (AD-LDA, Newman et al. 2009). 1 is one chain over all documents.
    n_threads : int, default=1
        Threads for the walks. Changes no byte.
    instructions : str, default=""
        "avx512", "avx2", "baseline"; "" is the best there is. Changes no byte.
    base : ndarray of shape (V, K), float64, default=None
        Tokens of documents that are not sampled, but counted with the others.

    Attributes
    ----------
    nzw : ndarray of shape (V, padded), int32
        Counts of words in topics, in units of `unit` tokens; `padded` is K rounded up to 16, zeros behind K.
    nz : ndarray of shape (padded,), int64
    unit : float

    Raises
    ------
    UsageError
        One word, or one document, has more tokens than the counts can hold.
    """

    def __init__(
        self,
        streams: Sequence[TokenStream],
        alpha: NDArray[np.float64],
        eta: float,
        weights: NDArray[np.float64],
        seed: int,
        z: list[NDArray[Any]],
        *,
        algorithm: str = "exact",
        n_walks: int = 1,
        n_threads: int = 1,
        instructions: str = "",
        base: NDArray[np.float64] | None = None,
    ) -> None:
        dtypes = {stream.words.dtype for stream in streams}
        if len(dtypes) > 1:  # documents in flight from one partition to the next are of one kind
            wide = max(dtypes, key=lambda dtype: dtype.itemsize)
            streams = [TokenStream(s.words.astype(wide), s.offsets, s.n_words) for s in streams]
        self.streams, self.seed, self.z = streams, seed, z
        self.alpha, self.eta, self.weights = alpha, eta, weights
        steps = np.round(weights * WEIGHT_STEPS).astype(np.int64)
        divisor = int(np.gcd.reduce(steps))
        self.counts = (steps // divisor).astype(np.int32)
        self.unit = divisor / WEIGHT_STEPS
        self._base = np.zeros((1, 1)) if base is None else np.rint(base / self.unit)
        tokens = self._check_sizes()
        n_topics, n_words = len(alpha), len(weights)
        padded = -(-n_topics // _samplers.VECTOR_TOPICS) * _samplers.VECTOR_TOPICS
        self._nzw, self.nz = aligned((n_words, padded), np.int32), np.zeros(padded, np.int64)
        self._width = 2 if algorithm == "lockstep" and n_topics > MANY_TOPICS else ALGORITHMS[algorithm]
        self._algorithm, self._instructions = algorithm, (instructions or _gibbs.instructions()).encode()
        self._room = np.minimum(n_topics, tokens + np.count_nonzero(self._base, axis=1)).astype(np.int64)
        self._walks = list(self._cut(n_walks))
        self.n_threads, self._team = n_threads, Team(min(n_threads, n_walks))
        self._copies = [(self._copy(), np.zeros_like(self.nz)) for _ in self._walks[1:]]
        self._copies.append((self._nzw, self.nz))
        self._samplers = [self._sampler(*copy) for copy in self._copies]
        self._listed = False  # whether the counts stand in the lists of the sparse sampler alone
        self.count()

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
        **options: Any,
    ) -> Chain:
        """Draw the initial topics: a document's group with the chance `fraction`, else any."""
        z = [np.empty(stream.n_tokens, np.uint8 if len(alpha) <= 256 else np.uint16) for stream in streams]
        first = 0
        for stream, topics in zip(streams, z, strict=True):
            known = np.full(stream.n_docs, -1, np.int64) if groups is None else groups[first : first + stream.n_docs]
            _gibbs.initialise(stream.offsets, known, fraction, len(alpha), seed, first, topics)
            first += stream.n_docs
        return cls(streams, alpha, eta, weights, seed, z, **options)

    @property
    def n_topics(self) -> int:
        """K."""
        return len(self.alpha)

    @property
    def nzw(self) -> NDArray[np.int32]:
        """Counts of words in topics."""
        if self._listed:
            self._samplers[0].store(self._nzw)
            self._listed = False
        return self._nzw

    def count(self) -> None:
        """Count words in topics anew, from `z`."""
        self._listed = False
        self._nzw[:, : self.n_topics] = self._base
        self.nz[:] = self._nzw.sum(axis=0, dtype=np.int64)
        for stream, z in zip(self.streams, self.z, strict=True):
            _gibbs.count_words(stream.words, z, self.counts, self._nzw, self.nz)
        if self._algorithm == "sparse":
            for sampler in self._samplers:
                sampler.load(self._nzw)

    def word_topics(self) -> NDArray[np.float64]:
        """Tokens of every word in every topic, by weight: ndarray of shape (V, K), float64."""
        return self.nzw[:, : self.n_topics].astype(np.float64) * self.unit

    def set_priors(self, alpha: NDArray[np.float64], eta: float) -> None:
        """Go on with other priors."""
        nzw, self.alpha, self.eta = self.nzw, alpha, eta
        self._samplers = [self._sampler(*copy) for copy in self._copies]
        if self._algorithm == "sparse":
            for sampler in self._samplers:
                sampler.load(nzw)

    def sweep(self, number: int) -> None:
        """Sample the topic of every token once; an interruption leaves topics and counts that agree."""
        dense = self._algorithm != "sparse"
        before, total = self._nzw.copy() if dense and len(self._walks) > 1 else self._nzw, self.nz.copy()
        for nzw, nz in self._copies[:-1]:
            nz[:] = self.nz
            if dense:
                nzw[:] = self._nzw
        stop = threading.Event()

        def walk(i: int) -> None:
            sampler = self._samplers[i]
            sampler.begin(self.seed, number)
            for part in self._walks[i]:
                stream, z, begin = self.streams[part.stream], self.z[part.stream], part.begin
                while begin < part.end:
                    if stop.is_set():
                        return
                    check_cancelled()
                    begin = sampler.feed(stream.words, stream.offsets, z, begin, part.end, part.first_document, BLOCK)
            while sampler.drain(BLOCK) and not stop.is_set():
                pass

        try:
            self._team.run(walk, len(self._walks), stop)
        finally:
            for sampler in self._samplers:
                sampler.abandon()  # nothing is in flight unless this was interrupted
            self._listed = not dense
            if len(self._walks) > 1:
                self._merge(before, total)
            if _gibbs.DEBUG:
                self._check_counts()

    def _merge(self, before: NDArray[np.int32], total: NDArray[np.int64]) -> None:
        """Put the walks' counts together."""
        if self._algorithm == "sparse":
            self.count()
            return
        for nzw, nz in self._copies[:-1]:
            self._nzw += nzw - before
            self.nz += nz - total

    def _check_counts(self) -> None:
        nzw, nz = self.nzw.copy(), self.nz.copy()
        self.count()
        if not (np.array_equal(nzw, self.nzw) and np.array_equal(nz, self.nz) and self.nzw.min() >= 0):
            raise RuntimeError("the counts do not agree with the topics of the tokens")

    def document_topics(self) -> Iterator[tuple[slice, NDArray[np.float64]]]:
        """Tokens of some documents in every topic, by weight: (which documents of all, (n, K) float64) in order."""
        first, step = 0, max(1, NDZ_CELLS // self.n_topics)
        for stream, z in zip(self.streams, self.z, strict=True):
            for begin in range(0, stream.n_docs, step):
                end = min(begin + step, stream.n_docs)
                ndz = np.empty((end - begin, self.n_topics))
                _gibbs.count_documents(stream.words, stream.offsets, z, self.weights, begin, end, ndz)
                yield slice(first + begin, first + end), ndz
            first += stream.n_docs

    def log_likelihood(self) -> float:
        """Collapsed joint log p(w, z) per token (Griffiths & Steyvers 2004, eq. 2 and 3), tokens counted by weight."""
        nzw, nz = self.word_topics(), self.nz[: self.n_topics] * self.unit
        n_words, alpha, eta = len(nzw), self.alpha, self.eta
        # cells that count nothing contribute exactly nothing
        log_w = np.sum(gammaln(nzw[nzw > 0] + eta) - gammaln(eta))
        log_w += np.sum(gammaln(n_words * eta) - gammaln(nz + n_words * eta))
        # one figure a document, summed at the end: the sum must not depend on where the corpus is cut
        log_z = np.empty(sum(stream.n_docs for stream in self.streams))
        for documents, ndz in self.document_topics():
            terms = np.zeros_like(ndz)
            d, k = np.nonzero(ndz)
            terms[d, k] = gammaln(ndz[d, k] + alpha[k]) - gammaln(alpha[k])
            lengths = gammaln(alpha.sum()) - gammaln(ndz.sum(axis=1) + alpha.sum())
            log_z[documents] = terms.sum(axis=1) + lengths
        return float((log_w + log_z.sum()) / nz.sum())

    def _copy(self) -> NDArray[np.int32]:
        """Room for the counts of another walk; the sparse sampler has its own."""
        return self._nzw if self._algorithm == "sparse" else aligned(self._nzw.shape, np.int32)

    def _sampler(self, nzw: NDArray[np.int32], nz: NDArray[np.int64]) -> Any:
        padded = len(nz)
        alpha = aligned((padded,), np.float32)
        alpha[: self.n_topics] = self.alpha / self.unit
        same = (
            nz,
            alpha,
            self.counts,
            self.eta / self.unit,
            self.n_topics,
            self.streams[0].words.itemsize,
            self.z[0].itemsize,
        )
        if self._algorithm == "sparse":
            lanes = _samplers.VECTOR_TOPICS
            longest = (int(self._room.max(initial=0)) // lanes + 1) * lanes
            sums = aligned((3, padded), np.float32), aligned((max(padded, longest),), np.float32)
            return _samplers.SparseSampler(self._room, *same, *sums, self._instructions)
        return _samplers.Sampler(
            nzw,
            *same,
            aligned((3 * self._width + 2, padded), np.float32),
            aligned((self._width, padded), np.float32),
            np.zeros(len(nzw), np.uint32),
            aligned((2, _samplers.MOST_DOCUMENTS), np.uint32),
            self._algorithm == "exact",
            self._instructions,
        )

    def _check_sizes(self) -> NDArray[np.int64]:
        """Tokens of every word, (V,); raises where there are too many."""
        tokens = np.zeros(len(self.counts), np.int64)
        units = np.zeros(len(self.counts), np.int64) + self._base.sum(axis=1).astype(np.int64)
        first = 0
        for stream in self.streams:
            for begin, end in stream.blocks(BLOCK):
                words = stream.words[stream.offsets[begin] : stream.offsets[end]]
                tokens += np.bincount(words, minlength=len(units))
            longest = int(np.diff(stream.offsets).max(initial=0))
            if longest * int(self.counts.max()) >= MOST_DOCUMENT:
                for d in np.flatnonzero(np.diff(stream.offsets) * int(self.counts.max()) >= MOST_DOCUMENT):
                    words = stream.words[stream.offsets[d] : stream.offsets[d + 1]]
                    mass = int(np.bincount(words, minlength=len(units)) @ self.counts)
                    if mass >= MOST_DOCUMENT:
                        raise UsageError(
                            f"document {first + d} has a mass of {mass * self.unit:g} tokens, but with these weights "
                            f"{MOST_DOCUMENT * self.unit:g} is the most: cut it in pieces, or round the weights"
                        )
            first += stream.n_docs
        units += tokens * self.counts
        if units.max(initial=0) > MOST_UNITS:
            raise UsageError(
                f"word {int(units.argmax())} has a mass of {units.max() * self.unit:g} tokens, but with these weights "
                f"{MOST_UNITS * self.unit:g} is the most: train on a part of the corpus, or round the weights"
            )
        return tokens

    def _cut(self, n_walks: int) -> Iterator[list[Part]]:
        """The corpus in `n_walks` runs of documents with about as many tokens each."""
        n_docs = np.concatenate([[0], np.cumsum([stream.n_docs for stream in self.streams])])
        n_tokens = np.concatenate([[0], np.cumsum([stream.n_tokens for stream in self.streams])])
        edges = [0]
        for target in np.linspace(0, n_tokens[-1], n_walks + 1)[1:-1]:
            i = int(np.searchsorted(n_tokens, target, side="right") - 1)
            edges.append(int(n_docs[i] + np.searchsorted(self.streams[i].offsets, target - n_tokens[i])))
        for begin, end in pairwise([*edges, int(n_docs[-1])]):
            parts = []
            for i, stream in enumerate(self.streams):
                low, high = max(begin - n_docs[i], 0), min(end - n_docs[i], stream.n_docs)
                if low < high:
                    parts.append(Part(i, int(low), int(high), int(n_docs[i])))
            yield parts
