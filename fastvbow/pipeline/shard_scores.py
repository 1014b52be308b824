"""What `evaluate` asks of each shard, as tasks: mixtures and tokens are read where the shard is, sums come back.

Two rounds: `score_shard` needs nothing but the shard, `count_shard` the share of each word in all tokens. What is put
together, is so by `fastvbow.reducing`, in an order that depends on the shards alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import StoreCorruptError
from fastvbow.evaluation.moments import PairMoments, merged_moments, pair_moments
from fastvbow.executors import one_thread_each
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.quality import count_together
from fastvbow.topics.shards import ShardTokens
from fastvbow.topics.stream import TokenStream

__all__ = [
    "SMOOTHING",
    "CountTask",
    "RowsTask",
    "ScoreTask",
    "ShardScores",
    "above_chance",
    "count_shard",
    "rows_of_shard",
    "score_shard",
    "sum_counts",
    "sum_scores",
]

SMOOTHING = 0.5
"""Added to every cell of a word histogram before distances are taken (Krichevsky & Trofimov 1981)."""

_CELLS = 2**21  # numbers of dense histograms looked at together: 16 MB


@dataclass(frozen=True, eq=False)
class ScoreTask:
    """A shard, and what is known of its photographs: 4 bytes each and 300.

    Attributes
    ----------
    tokens : ShardTokens
        Of the project; with 0 words, the photographs have none.
    by : {"topics", "clusters"}
        The folder that has ``theta.npy``.
    shard, first : int
        Its number, and its first row in the image table.
    labels : ndarray of shape (n,), int32
        The number of each photograph's label; -1: it has none, -2: it could not be read.
    columns : (int, int)
        The words whose distances are asked for; beyond the first block of them nothing else is.
    complete : bool
        Whether documents are completed, by the model of ``topics``.
    """

    tokens: ShardTokens
    by: str
    shard: int
    first: int
    labels: NDArray[np.int32]
    columns: tuple[int, int]
    complete: bool


@dataclass(frozen=True, eq=False)
class ShardScores:
    """Sums over the photographs of some shards.

    Attributes
    ----------
    mixtures, words : PairMoments or None
        Of the labelled ones' mixtures and smoothed word frequencies: with L labels, K groups and C words asked for,
        16 L (K + C) bytes. None: no photograph has a label.
    totals : ndarray of shape (n_words,), int64
        Tokens of each word.
    log_likelihood : float
        Of the tokens that are held out (`fastvbow.topics.lda.GibbsLDA.perplexity`).
    n_held_out : int
        How many these are.
    """

    mixtures: PairMoments | None
    words: PairMoments | None
    totals: NDArray[np.int64]
    log_likelihood: float
    n_held_out: int


def score_shard(task: ScoreTask) -> ShardScores:
    """Look at one shard.

    Parameters
    ----------
    task : ScoreTask

    Raises
    ------
    StoreCorruptError
        Its mixtures or tokens are damaged.
    """
    known = np.flatnonzero(task.labels >= 0)
    labels, mixtures, words = task.labels[known], None, None
    n_words, place = task.tokens.n_words, task.tokens.place
    totals, completed = np.zeros(n_words, np.int64), (0.0, 0)
    with one_thread_each():
        if task.columns[0] == 0:
            mixtures = _mixtures(task, known)
        if n_words:
            stream = task.tokens.open(task.shard)
            counts = stream.to_counts()
            if len(known):
                words = _frequencies(counts[known], labels, task.columns)
            if task.columns[0] == 0:
                totals += np.bincount(stream.words, minlength=n_words)
                if task.complete:
                    completed = _completed(GibbsLDA.load(place.fetch("topics/model")), stream)
    return ShardScores(mixtures, words, totals, *completed)


def _mixtures(task: ScoreTask, known: NDArray[np.intp]) -> PairMoments | None:
    name = f"{task.by}/theta.npy"
    theta = np.load(task.tokens.place.fetch(name), mmap_mode="r")[task.first : task.first + len(task.labels)]
    read = np.asarray(theta[task.labels >= -1])
    if not (read > 0).all() or not np.allclose(read.sum(axis=1), 1, atol=1e-6):
        command = "topics" if task.by == "topics" else "cluster"
        raise StoreCorruptError(
            f"{name} holds rows that are no mixtures (positive, with the sum 1): delete {task.by} and run 'fastvbow "
            f"{command}' again"
        )
    return pair_moments(np.array(theta[known]), task.labels[known]) if len(known) else None


def _completed(model: GibbsLDA, stream: TokenStream) -> tuple[float, int]:
    """The log-likelihood of all tokens that are held out, and how many these are."""
    n_held_out = int((np.diff(stream.offsets) // 2).sum())
    return (model.score([stream]) * n_held_out, n_held_out) if n_held_out else (0.0, 0)


def _frequencies(counts: sp.csr_array, labels: NDArray[np.int32], columns: tuple[int, int]) -> PairMoments:
    """Of smoothed word frequencies, some words of them, a block of rows at a time."""
    first, last = columns
    sums = np.asarray(counts.sum(axis=1, dtype=np.float64)).ravel() + SMOOTHING * counts.shape[1]
    step = max(1, _CELLS // (last - first))
    parts = []
    for start in range(0, counts.shape[0], step):
        check_cancelled()
        block = np.asarray(counts[start : start + step][:, first:last].toarray(), np.float64) + SMOOTHING
        block /= sums[start : start + step, None]
        parts.append(pair_moments(block, labels[start : start + step]))
    return merged_moments(parts)


def sum_scores(parts: Sequence[ShardScores]) -> ShardScores:
    """Those of several shards as one; of the same parts in the same order the same bits."""
    likelihood = 0.0
    for part in parts:
        likelihood += part.log_likelihood
    mixtures = [part.mixtures for part in parts if part.mixtures is not None]
    words = [part.words for part in parts if part.words is not None]
    return ShardScores(
        merged_moments(mixtures) if mixtures else None,
        merged_moments(words) if words else None,
        np.sum([part.totals for part in parts], axis=0, dtype=np.int64),
        likelihood,
        sum(part.n_held_out for part in parts),
    )


@dataclass(frozen=True, eq=False)
class CountTask:
    """A shard, and the top words of topics: 16 bytes for each of these.

    Attributes
    ----------
    tokens : ShardTokens
    shard : int
    top : ndarray of shape (K, n_top), int32
        Each topic's words.
    share : ndarray, float64
        Of each of ``np.unique(top)`` in all tokens.
    """

    tokens: ShardTokens
    shard: int
    top: NDArray[np.int32]
    share: NDArray[np.float64]


def count_shard(task: CountTask) -> NDArray[np.int64]:
    """In how many photographs each two top words of a topic are more often than chance expects.

    Parameters
    ----------
    task : CountTask

    Returns
    -------
    ndarray of shape (K, n_top, n_top), int64
    """
    with one_thread_each():
        share = np.zeros(task.tokens.n_words)
        share[np.unique(task.top)] = task.share
        corpus = above_chance(task.tokens.open(task.shard).to_counts(), share)
        return count_together(task.top, corpus)[0].astype(np.int64)


def sum_counts(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The counts of several shards."""
    return np.sum(parts, axis=0, dtype=np.int64)


def above_chance(counts: sp.csr_array, share: NDArray[np.float64] | None = None) -> sp.csr_array:
    """Where a photograph has a word more often than chance expects: its tokens times the word's share of all tokens.

    Nearly every photograph holds nearly every one of a few hundred words, so that mere presence says little.

    Parameters
    ----------
    counts : csr_array of shape (n_images, n_words), int
    share : ndarray of shape (n_words,), float64, optional
        Of each word in all tokens; None: in those counted.

    Returns
    -------
    csr_array of shape (n_images, n_words), bool
    """
    tokens = np.asarray(counts.sum(axis=1), np.float64).ravel()
    if share is None:
        share = np.asarray(counts.sum(axis=0), np.float64).ravel() / max(tokens.sum(), 1.0)
    expected = np.repeat(tokens, np.diff(counts.indptr)) * share[counts.indices]
    # a copy: what follows writes to the indices, which are the caller's
    found = sp.csr_array((counts.data > expected, counts.indices, counts.indptr), shape=counts.shape, copy=True)
    found.eliminate_zeros()
    return found


@dataclass(frozen=True, eq=False)
class RowsTask:
    """A shard, and photographs whose words are wanted: 4 bytes each and 200.

    Attributes
    ----------
    tokens : ShardTokens
    shard : int
    rows : ndarray, int32
        In the shard, rising.
    """

    tokens: ShardTokens
    shard: int
    rows: NDArray[np.int32]


def rows_of_shard(task: RowsTask) -> sp.csr_array:
    """How often each of some photographs has each word.

    Parameters
    ----------
    task : RowsTask

    Returns
    -------
    csr_array of shape (n_rows, n_words), int32
        8 bytes for each word that a photograph has.
    """
    return task.tokens.open(task.shard).to_counts()[task.rows]
