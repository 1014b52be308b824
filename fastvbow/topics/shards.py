"""The tokens of a corpus in the shards of a project, for tasks that may be done elsewhere.

``tokens/shard-NNNNN/words.npy`` and ``counts.npy`` are those of the stage ``encode``: a task opens the shards that it
needs, and no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError
from fastvbow.places import Place, new_file
from fastvbow.portions import reduce_portions
from fastvbow.topics.measuring import Measured, join_measured, measure, walk_edges
from fastvbow.topics.stream import TokenStream

__all__ = ["Run", "ShardTokens", "cut_runs", "load_array", "measure_shards", "open_run", "save_array"]


MEASURED_TOGETHER = 16
"""Shards that a task measures at most: a few milliseconds each."""


@dataclass(frozen=True)
class ShardTokens:
    """A corpus of which no token is in memory; it can be pickled and has some hundred bytes.

    Attributes
    ----------
    place : Place
        Where the project is.
    n_shards, n_words : int
    """

    place: Place
    n_shards: int
    n_words: int

    def open(self, shard: int) -> TokenStream:
        """The tokens of a shard, memory-mapped.

        Raises
        ------
        StoreCorruptError
            They are not what the stage ``encode`` writes.
        """
        name = f"tokens/shard-{shard:05d}"
        try:
            folder = self.place.fetch(name)
            words = np.load(folder / "words.npy", mmap_mode="r")
            counts = np.load(folder / "counts.npy")
            offsets = np.concatenate([[0], np.cumsum(counts.sum(axis=1, dtype=np.int64))])
            return TokenStream(words, offsets, self.n_words)
        except (OSError, ValueError) as error:
            raise StoreCorruptError(f"{name}: {error}: delete tokens and run 'fastvbow encode' again") from None


class Run(NamedTuple):
    """Documents that follow one another, across shards.

    Attributes
    ----------
    first, begin : int
        A shard, and the first document of it that belongs here.
    last, end : int
        A shard, and the first document of it that does not.
    first_document : int
        Number of the first document in the whole corpus.
    """

    first: int
    begin: int
    last: int
    end: int
    first_document: int


@dataclass(frozen=True)
class _Measuring:
    tokens: ShardTokens
    shard: int
    counts: NDArray[np.int32]


def _measure(task: _Measuring) -> Measured:
    return measure(task.tokens.open(task.shard), task.counts)


def measure_shards(executor: Executor, jobs: int, tokens: ShardTokens, counts: NDArray[np.int32]) -> Measured:
    """How large a corpus is, shard by shard.

    A task carries 4 bytes a word and returns 8.

    Parameters
    ----------
    executor : Executor
    jobs : int
        Its threads or processes, where it is not Dask's.
    tokens : ShardTokens
    counts : ndarray of shape (V,), int32
        Units that one token of each word counts for.
    """
    tasks = (_Measuring(tokens, shard, counts) for shard in range(tokens.n_shards))
    return reduce_portions(
        executor, _measure, join_measured, tasks, n_tasks=tokens.n_shards, jobs=jobs, most=MEASURED_TOGETHER
    )


def cut_runs(tokens: ShardTokens, sizes: NDArray[np.int64], n_walks: int) -> list[Run]:
    """The corpus in runs of documents with about as many tokens each, those of `GibbsLDA`'s walks.

    Parameters
    ----------
    tokens : ShardTokens
    sizes : ndarray of shape (n_shards, 2), int64
        Documents and tokens of each shard.
    n_walks : int

    Returns
    -------
    list of Run
        `n_walks` of them, some perhaps without a document.
    """
    edges = walk_edges(sizes, lambda shard: tokens.open(shard).offsets, n_walks)
    firsts = np.concatenate([[0], np.cumsum(sizes[:, 0])])
    runs = []
    for begin, end in pairwise(edges):
        first = int(np.searchsorted(firsts, begin, side="right")) - 1
        last = max(first, int(np.searchsorted(firsts, end, side="left")) - 1)
        runs.append(Run(first, int(begin - firsts[first]), last, int(end - firsts[last]), int(begin)))
    return runs


def _parts(run: Run, tokens: ShardTokens) -> Iterator[tuple[int, int, int, TokenStream]]:
    """The shards of a run: (number, first document, end, tokens of the whole shard)."""
    for shard in range(run.first, run.last + 1) if run.last < tokens.n_shards else ():
        stream = tokens.open(shard)
        yield shard, run.begin if shard == run.first else 0, run.end if shard == run.last else stream.n_docs, stream


def open_run(run: Run, tokens: ShardTokens, groups: str = "") -> tuple[TokenStream, NDArray[np.int64] | None]:
    """The tokens of a run in memory, 2 to 4 bytes each, as one stream.

    Parameters
    ----------
    run : Run
    tokens : ShardTokens
    groups : str, default=""
        A folder of the project with ``shard-NNNNN.npy``, a number for each document of that shard.

    Returns
    -------
    stream : TokenStream
    groups : ndarray of shape (n_docs,), int64, or None
        What that folder says of these documents.
    """
    words, lengths, known = [np.zeros(0, np.uint16)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for shard, begin, end, stream in _parts(run, tokens):
        part = stream.part(begin, end)
        words.append(np.array(part.words))
        lengths.append(np.diff(part.offsets))
        if groups:
            known.append(load_array(tokens.place, f"{groups}/shard-{shard:05d}.npy")[begin:end].astype(np.int64))
    offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return TokenStream(np.concatenate(words), offsets, tokens.n_words), np.concatenate(known) if groups else None


def load_array(place: Place, name: str, *, mapped: bool = False) -> NDArray[Any]:
    """An array that `save_array` has written.

    Raises
    ------
    StoreCorruptError
        It is no array.
    """
    path = place.fetch(name)
    try:
        found: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except ValueError as error:
        raise StoreCorruptError(f"{path}: {error}: delete {path.parent} and run again") from None
    return found


def save_array(place: Place, name: str, array: NDArray[Any], *, lasting: bool = True) -> None:
    """Write an array to a project: whoever reads it finds all of it or nothing; `lasting` as in `new_file`."""
    with new_file(place, name, lasting=lasting) as path, path.open("wb") as file:
        np.save(file, array)
