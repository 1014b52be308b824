"""A collapsed Gibbs chain: the topics of all tokens, and the counts of words in topics that they share.

Documents are visited in order across the partitions that the corpus is stored in, so the chain is the same however it
is cut. Kernels are called for about a million tokens at a time, between which Ctrl-C gets through.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastvbow.topics._gibbs as _gibbs
from fastvbow.executors import Team
from fastvbow.memory import aligned
from fastvbow.topics.joint_likelihood import count_topics, document_terms, joint_likelihood
from fastvbow.topics.measuring import check_measured, join_measured, measure, units_of, walk_edges
from fastvbow.topics.stream import TokenStream
from fastvbow.topics.walking import ALGORITHMS, Stretch, make_sampler, padded_topics, topic_dtype, walk

__all__ = ["ALGORITHMS", "Chain", "other_seed"]


def other_seed(seed: int, number: int) -> int:
    """The seed of chain `number` of several; that of 0 is the seed itself."""
    return (seed + number * 0x9E3779B97F4A7C15) % 2**64


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
        after every sweep that says so (AD-LDA, Newman et al. 2009). 1 is one chain over all documents.
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
        self._units = units_of(weights)
        self.unit = self._units.unit
        self._base = np.zeros((1, 1)) if base is None else np.rint(base / self.unit)
        measured = join_measured([measure(stream, self._units.counts) for stream in streams])
        check_measured(measured, self._units, self._base.sum(axis=1).astype(np.int64))
        n_topics, padded = len(alpha), padded_topics(len(alpha))
        self._nzw, self.nz = aligned((len(weights), padded), np.int32), np.zeros(padded, np.int64)
        self._algorithm, self._instructions = algorithm, instructions
        self._room = np.minimum(n_topics, measured.tokens + np.count_nonzero(self._base, axis=1)).astype(np.int64)
        edges = walk_edges(measured.sizes, lambda i: streams[i].offsets, n_walks)
        self._walks = [list(self._stretches(int(begin), int(end))) for begin, end in pairwise(edges)]
        self.n_threads, self._team = n_threads, Team(min(n_threads, n_walks))
        self._copies = [(self._copy(), np.zeros_like(self.nz)) for _ in self._walks[1:]]
        self._copies.append((self._nzw, self.nz))
        self._samplers = [self._sampler(*copy) for copy in self._copies]
        self._listed = False  # whether the counts stand in the lists of the sparse sampler alone
        self._before: tuple[NDArray[np.int32], NDArray[np.int64]] | None = None  # the counts that the walks began with
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
        z = [np.empty(stream.n_tokens, topic_dtype(len(alpha))) for stream in streams]
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
        """Counts of words in topics, of all walks."""
        self.merge()
        if self._listed:
            self._samplers[0].store(self._nzw)
            self._listed = False
        return self._nzw

    def count(self) -> None:
        """Count words in topics anew, from `z`."""
        self._listed, self._before = False, None
        self._nzw[:, : self.n_topics] = self._base
        self.nz[:] = self._nzw.sum(axis=0, dtype=np.int64)
        for stream, z in zip(self.streams, self.z, strict=True):
            _gibbs.count_words(stream.words, z, self._units.counts, self._nzw, self.nz)
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

    @property
    def merged(self) -> bool:
        """Whether the counts are those of all walks."""
        return self._before is None

    def sweep(self, number: int, *, merge: bool = True, look: bool = False) -> None:
        """Sample the topic of every token once; an interruption leaves topics and counts that agree.

        Parameters
        ----------
        number : int
            Of the sweep, from 1.
        merge : bool, default=True
            Put the walks' counts together at the end. Otherwise each walk goes on from its own ones at the next sweep,
            or until somebody asks for `nzw`.
        look : bool, default=False
            Whether `log_likelihood` is asked for next, which is always ready here.
        """
        dense, several = self._algorithm != "sparse", len(self._walks) > 1
        if several and self._before is None:
            self._before = (self._nzw.copy() if dense else self._nzw), self.nz.copy()
            for nzw, nz in self._copies[:-1]:
                nz[:] = self.nz
                if dense:
                    nzw[:] = self._nzw
        stop = threading.Event()

        def one(i: int) -> None:
            walk(self._samplers[i], self.seed, number, self._walks[i], stop)

        whole = False
        try:
            self._team.run(one, len(self._walks), stop)
            whole = True
        finally:
            for sampler in self._samplers:
                sampler.abandon()  # nothing is in flight unless this was interrupted
            self._listed = not dense
            if merge or not whole:
                self.merge()
            if _gibbs.DEBUG and self.merged:
                self._check_counts()

    def merge(self) -> None:
        """Put the walks' counts together, where they are not."""
        if self._before is None:
            return
        before, total = self._before
        self._before = None
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
        first = 0
        for stream, z in zip(self.streams, self.z, strict=True):
            for begin, end, ndz in count_topics(stream, z, self.weights, self.n_topics):
                yield slice(first + begin, first + end), ndz
            first += stream.n_docs

    def log_likelihood(self) -> float:
        """Collapsed joint log p(w, z) per token, tokens counted by weight (`fastvbow.topics.joint_likelihood`)."""
        documents = sum(document_terms(ndz, self.alpha) for _, ndz in self.document_topics())
        nzw = self.word_topics()
        return joint_likelihood(nzw, self.nz[: self.n_topics] * self.unit, self.eta, documents)

    def _copy(self) -> NDArray[np.int32]:
        """Room for the counts of another walk; the sparse sampler has its own."""
        return self._nzw if self._algorithm == "sparse" else aligned(self._nzw.shape, np.int32)

    def _sampler(self, nzw: NDArray[np.int32], nz: NDArray[np.int64]) -> Any:
        given = nzw, nz, self._room, self.alpha, self.eta, self._units, self.streams[0].words.itemsize
        return make_sampler(self._algorithm, *given, instructions=self._instructions)

    def _stretches(self, begin: int, end: int) -> Iterator[Stretch]:
        """The documents `begin` to `end` of the corpus, partition by partition."""
        first = 0
        for stream, z in zip(self.streams, self.z, strict=True):
            low, high = max(begin - first, 0), min(end - first, stream.n_docs)
            if low < high:
                yield Stretch(stream, z, low, high, first)
            first += stream.n_docs
