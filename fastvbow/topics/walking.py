"""What a walk does, in whatever process: a sampler over counts, and its way through documents."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastvbow.topics._gibbs as _gibbs
import fastvbow.topics._samplers as _samplers
from fastvbow.cancelling import check_cancelled
from fastvbow.memory import aligned
from fastvbow.topics.measuring import Units
from fastvbow.topics.stream import TokenStream

__all__ = ["ALGORITHMS", "Stretch", "make_sampler", "padded_topics", "topic_dtype", "walk"]

ALGORITHMS = {"exact": 8, "lockstep": 16, "sparse": 1}
"""Samplers, and how many documents each advances together; see ``src_ext/sampler_kernels.h``, ``sparse_kernels.h``."""
MANY_TOPICS = 512
"""Beyond so many topics lockstep advances 2 documents: what it keeps of each must stay in the first cache."""
BLOCK = 1_000_000  # tokens a kernel call takes, some 10 ms


class Stretch(NamedTuple):
    """Documents of one partition that a walk visits."""

    stream: TokenStream
    z: NDArray[Any]  # of the whole partition
    begin: int
    end: int
    first_document: int  # number of the partition's first document in the whole corpus


def padded_topics(n_topics: int) -> int:
    """Columns of the counts: K rounded up to whole vectors."""
    return -(-n_topics // _samplers.VECTOR_TOPICS) * _samplers.VECTOR_TOPICS


def topic_dtype(n_topics: int) -> type[np.uint8 | np.uint16]:
    """Of the topics of tokens."""
    return np.uint8 if n_topics <= 256 else np.uint16


def make_sampler(
    algorithm: str,
    nzw: NDArray[np.int32],
    nz: NDArray[np.int64],
    room: NDArray[np.int64],
    alpha: NDArray[np.float64],
    eta: float,
    units: Units,
    word_bytes: int,
    *,
    instructions: str = "",
) -> Any:
    """A sampler over counts.

    Parameters
    ----------
    algorithm : {"exact", "lockstep", "sparse"}
    nzw : ndarray of shape (V, padded), int32
        Counts of words in topics, changed in place; "sparse" has its own (``load``, ``store``).
    nz : ndarray of shape (padded,), int64
        Their sums, changed in place.
    room : ndarray of shape (V,), int64
        Topics that a word can have tokens in at once. "sparse" alone looks at it; no byte depends on it.
    alpha : ndarray of shape (K,), float64
    eta : float
    units : Units
    word_bytes : int
        Of a token, 2 or 4.
    instructions : str, default=""
        "avx512", "avx2", "baseline"; "" is the best there is. Changes no byte.
    """
    padded, n_topics = len(nz), len(alpha)
    prior = aligned((padded,), np.float32)
    prior[:n_topics] = alpha / units.unit
    kind = (instructions or _gibbs.instructions()).encode()
    same = nz, prior, units.counts, eta / units.unit, n_topics, word_bytes, np.dtype(topic_dtype(n_topics)).itemsize
    if algorithm == "sparse":
        lanes = _samplers.VECTOR_TOPICS
        longest = (int(room.max(initial=0)) // lanes + 1) * lanes
        sums = aligned((3, padded), np.float32), aligned((max(padded, longest),), np.float32)
        return _samplers.SparseSampler(room, *same, *sums, kind)
    width = 2 if algorithm == "lockstep" and n_topics > MANY_TOPICS else ALGORITHMS[algorithm]
    return _samplers.Sampler(
        nzw,
        *same,
        aligned((3 * width + 2, padded), np.float32),
        aligned((width, padded), np.float32),
        np.zeros(len(nzw), np.uint32),
        aligned((2, _samplers.MOST_DOCUMENTS), np.uint32),
        algorithm == "exact",
        kind,
    )


def walk(sampler: Any, seed: int, sweep: int, stretches: Iterable[Stretch], stop: threading.Event) -> None:
    """Sample the topic of every token of some documents once.

    Parameters
    ----------
    sampler : Sampler or SparseSampler
        Of `make_sampler`.
    seed, sweep : int
        What the random numbers depend on, with the document's number and the token's position.
    stretches : iterable of Stretch
        Their arrays have to stay where they are until the end: documents are in flight from one to the next.
    stop : threading.Event
        Ends the walk where it is; `sampler.abandon` then makes topics and counts agree.
    """
    sampler.begin(seed, sweep)
    for part in stretches:
        stream, begin = part.stream, part.begin
        while begin < part.end:
            if stop.is_set():
                return
            check_cancelled()
            begin = sampler.feed(stream.words, stream.offsets, part.z, begin, part.end, part.first_document, BLOCK)
    while sampler.drain(BLOCK) and not stop.is_set():
        pass
