"""How large a corpus is, whether the counts can hold it, and where it is cut for the walks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.topics.checks import WEIGHT_STEPS
from fastvbow.topics.stream import TokenStream

__all__ = ["Measured", "Units", "check_measured", "join_measured", "measure", "units_of", "walk_edges"]

BLOCK = 1_000_000  # tokens looked at together
MOST_UNITS = 2**31 - 1  # of one word, in int32
MOST_DOCUMENT = 2**24  # units of one document, exact in float32


class Units(NamedTuple):
    """The whole numbers that words are counted in.

    Attributes
    ----------
    counts : ndarray of shape (V,), int32
        Units that one token of each word counts for.
    unit : float
        Tokens that a unit stands for.
    """

    counts: NDArray[np.int32]
    unit: float


def units_of(weights: NDArray[np.float64]) -> Units:
    """The greatest unit of which every weight is a multiple.

    Parameters
    ----------
    weights : ndarray of shape (V,), float64
        Multiples of 1/64.
    """
    steps = np.round(weights * WEIGHT_STEPS).astype(np.int64)
    divisor = int(np.gcd.reduce(steps))
    return Units((steps // divisor).astype(np.int32), divisor / WEIGHT_STEPS)


class Measured(NamedTuple):
    """A run of partitions.

    Attributes
    ----------
    sizes : ndarray of shape (n_partitions, 2), int64
        Documents and tokens of each.
    tokens : ndarray of shape (V,), int64
        Tokens of every word.
    heavy : tuple of (int, int) or None
        The first document that is too heavy for a float32, counted from the first of the run, and its units.
    """

    sizes: NDArray[np.int64]
    tokens: NDArray[np.int64]
    heavy: tuple[int, int] | None


def measure(stream: TokenStream, counts: NDArray[np.int32]) -> Measured:
    """Measure one partition.

    Parameters
    ----------
    stream : TokenStream
    counts : ndarray of shape (V,), int32
        Units that one token of each word counts for.
    """
    tokens = np.zeros(len(counts), np.int64)
    for begin, end in stream.blocks(BLOCK):
        words = stream.words[stream.offsets[begin] : stream.offsets[end]]
        tokens += np.bincount(words, minlength=len(tokens))
    sizes = np.array([[stream.n_docs, stream.n_tokens]], np.int64)
    for d in np.flatnonzero(np.diff(stream.offsets) * int(counts.max()) >= MOST_DOCUMENT):
        words = stream.words[stream.offsets[d] : stream.offsets[d + 1]]
        mass = int(np.bincount(words, minlength=len(tokens)) @ counts)
        if mass >= MOST_DOCUMENT:
            return Measured(sizes, tokens, (int(d), mass))
    return Measured(sizes, tokens, None)


def join_measured(runs: Sequence[Measured]) -> Measured:
    """Measures of runs that follow one another as those of one run."""
    heavy, first = None, 0
    for run in runs:
        if heavy is None and run.heavy is not None:
            heavy = first + run.heavy[0], run.heavy[1]
        first += int(run.sizes[:, 0].sum())
    return Measured(np.concatenate([run.sizes for run in runs]), np.sum([run.tokens for run in runs], axis=0), heavy)


def check_measured(measured: Measured, units: Units, others: Any = 0) -> None:
    """Raise where the counts cannot hold a corpus.

    A word may have 2^31 units. With weights of 1 a unit is a token, so 10^8 photographs of 300 tokens, 10^8 a word of
    300, leave room for words that are 20 times as frequent as the mean. Weights whose greatest common divisor is 1/64
    take 64 units a token.

    Parameters
    ----------
    measured : Measured
    units : Units
    others : ndarray of shape (V,), int64, default=0
        Units of documents that are counted with these.

    Raises
    ------
    UsageError
        One word, or one document, has more tokens than the counts can hold.
    """
    if measured.heavy is not None:
        document, mass = measured.heavy
        raise UsageError(
            f"document {document} has a mass of {mass * units.unit:g} tokens, but with these weights "
            f"{MOST_DOCUMENT * units.unit:g} is the most: cut it in pieces, or round the weights"
        )
    mass_of = measured.tokens * units.counts + others
    if mass_of.max(initial=0) > MOST_UNITS:
        raise UsageError(
            f"word {int(mass_of.argmax())} has a mass of {mass_of.max() * units.unit:g} tokens, but with these weights "
            f"{MOST_UNITS * units.unit:g} is the most: train on a part of the corpus, or round the weights"
        )


def walk_edges(
    sizes: NDArray[np.int64], offsets: Callable[[int], NDArray[np.int64]], n_walks: int
) -> NDArray[np.int64]:
    """Cut a corpus into runs of documents with about as many tokens each.

    Parameters
    ----------
    sizes : ndarray of shape (n_partitions, 2), int64
        Documents and tokens of each partition.
    offsets : callable (int) -> ndarray of shape (n_docs + 1,), int64
        Where the documents of a partition begin; asked for those alone that hold an edge.
    n_walks : int

    Returns
    -------
    ndarray of shape (n_walks + 1,), int64
        The first document of each run, by its number in the whole corpus, and the number of documents.
    """
    n_docs = np.concatenate([[0], np.cumsum(sizes[:, 0])])
    n_tokens = np.concatenate([[0], np.cumsum(sizes[:, 1])])
    edges, known = [0], (-1, np.zeros(1, np.int64))
    for target in np.linspace(0, n_tokens[-1], n_walks + 1)[1:-1]:
        i = int(np.searchsorted(n_tokens, target, side="right") - 1)
        if known[0] != i:
            known = i, offsets(i)
        edges.append(int(n_docs[i] + np.searchsorted(known[1], target - n_tokens[i])))
    return np.array([*edges, int(n_docs[-1])], np.int64)
