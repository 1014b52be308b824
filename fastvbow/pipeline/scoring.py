"""What `evaluate` learns from a project's shards, by any executor, and from some photographs drawn of all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.evaluation.distributions import PairScores, pair_scores, scores_of
from fastvbow.evaluation.moments import PairMoments, moment_scores
from fastvbow.evaluation.pair_means import Mean
from fastvbow.executors import run_tasks
from fastvbow.pipeline.encoding import are_encoded
from fastvbow.pipeline.mixtures import grouped_by
from fastvbow.pipeline.shard_scores import (
    SMOOTHING,
    CountTask,
    RowsTask,
    ScoreTask,
    ShardScores,
    count_shard,
    rows_of_shard,
    score_shard,
    sum_counts,
    sum_scores,
)
from fastvbow.pipeline.shards import ranges_of
from fastvbow.project import ProjectFolder
from fastvbow.reducing import reduce_tasks, tasks_ahead
from fastvbow.topics.shards import ShardTokens

__all__ = ["MOST_DRAWN", "UNREAD", "Found", "Histograms", "ShardWork", "word_distances"]

UNREAD = -2
"""The label of a photograph that could not be read; -1 is that of one without a label."""
MOST_DRAWN = 50_000
"""Photographs whose histograms are held here: some 100 MB, where each has 250 words."""
_MOST_CELLS = 2**20  # labels times words in the result of a task: 16 MB


@dataclass(frozen=True, eq=False)
class Found:
    """What all shards together have given.

    Attributes
    ----------
    names : ndarray of str
        The labels.
    scores : ShardScores
    words : list of PairMoments
        A block of words each.
    """

    names: NDArray[np.str_]
    scores: ShardScores
    words: list[PairMoments]

    def distances(self, name: str) -> PairScores:
        """``symkl`` and ``l2`` of mixtures, ``words_kl`` and ``words_l2`` of smoothed word frequencies."""
        of_words, measure = name.startswith("words_"), name.removeprefix("words_")
        if of_words:
            return moment_scores(self.words, self.names, measure)
        return moment_scores([self.scores.mixtures] if self.scores.mixtures else [], self.names, measure)


class ShardWork:
    """The shards of a project, and who works on them.

    Parameters
    ----------
    project : ProjectFolder
        Its topics or clusters have to be finished.
    labels : ndarray of shape (n_images,), int32
        The number of each photograph's label; -1: it has none, `UNREAD`: it could not be read.
    executor : Executor
    jobs : int
        See `fastvbow.reducing.tasks_ahead`.

    Attributes
    ----------
    n_words : int
        Of the vocabulary; 0: the photographs have no words.
    labels : ndarray of shape (n_images,), int32
    """

    def __init__(self, project: ProjectFolder, labels: NDArray[np.int32], executor: Executor, jobs: int) -> None:
        self._executor = executor
        self._ahead = tasks_ahead(executor, jobs)
        self._ranges = ranges_of(project.require("extract").outputs)
        self._by = "topics" if grouped_by(project) == "topics" else "clusters"
        self.n_words = int(project.require("vocabulary").outputs["words"]) if are_encoded(project) else 0
        self._tokens = ShardTokens(project.place, len(self._ranges), self.n_words)
        self.labels = labels

    def score(self, names: NDArray[np.str_]) -> Found:
        """Go through all shards.

        Parameters
        ----------
        names : ndarray of str
            The labels.
        """
        step = max(1, _MOST_CELLS // max(1, len(names)))
        starts = range(0, max(1, self.n_words), step)
        blocks = [
            reduce_tasks(
                self._executor,
                score_shard,
                sum_scores,
                self._score_tasks((start, min(start + step, self.n_words))),
                ahead=self._ahead,
            )
            for start in starts
        ]
        return Found(names, blocks[0], [block.words for block in blocks if block.words is not None])

    def _score_tasks(self, columns: tuple[int, int]) -> Iterator[ScoreTask]:
        complete = self._by == "topics"
        for shard, (start, stop) in enumerate(self._ranges):
            labels = self.labels[start:stop]
            yield ScoreTask(self._tokens, self._by, shard, start, labels, columns, complete)

    def count_together(self, top: NDArray[np.intp], totals: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
        """In how many photographs each two top words of a topic are more often than chance expects.

        Parameters
        ----------
        top : ndarray of shape (K, n_top), intp
        totals : ndarray of shape (n_words,), int64
            Tokens of each word.

        Returns
        -------
        together : ndarray of shape (K, n_top, n_top), float64
        n_images : int
            Photographs that could be read.
        """
        share = totals[np.unique(top)] / max(float(totals.sum()), 1.0)
        tasks = (CountTask(self._tokens, shard, top.astype(np.int32), share) for shard in range(len(self._ranges)))
        counts = reduce_tasks(self._executor, count_shard, sum_counts, tasks, ahead=self._ahead)
        return counts.astype(np.float64), int(np.count_nonzero(self.labels != UNREAD))

    def histograms(self, rows: NDArray[np.intp]) -> sp.csr_array:
        """How often each of some photographs has each word, (n_rows, n_words) int32.

        Parameters
        ----------
        rows : ndarray of shape (n_rows,), intp
            Of the image table, rising.
        """
        edges = np.searchsorted(rows, [start for start, _ in self._ranges] + [len(self.labels)])
        tasks = [
            RowsTask(self._tokens, shard, (rows[first:last] - start).astype(np.int32))
            for shard, ((start, _), first, last) in enumerate(zip(self._ranges, edges, edges[1:], strict=False))
            if last > first
        ]
        with closing(run_tasks(self._executor, rows_of_shard, tasks, ahead=self._ahead)) as parts:
            return sp.csr_array(sp.vstack(list(parts), format="csr"))


@dataclass(frozen=True, eq=False)
class Histograms:
    """Word histograms of some of the labelled photographs.

    Attributes
    ----------
    counts : csr_array of shape (n, n_words), int32
    which : ndarray of shape (n,), intp
        Which of the labelled photographs, rising.
    """

    counts: sp.csr_array
    which: NDArray[np.intp]


def word_distances(
    work: ShardWork, labels: NDArray[np.int32], names: NDArray[np.str_]
) -> tuple[Histograms, PairScores]:
    """Histograms of photographs drawn of all labelled ones, and the L1 distances of smoothed word frequencies.

    Up to `MOST_DRAWN` labelled photographs all are looked at. Of more, so many of all are drawn, and for the distances
    within labels others, as many of each label as would be `MOST_DRAWN` in all; the means have a confidence interval
    then.

    Parameters
    ----------
    work : ShardWork
    labels : ndarray of shape (n,), int32
        Of the labelled photographs.
    names : ndarray of str

    Returns
    -------
    Histograms, PairScores
    """
    rows, n = np.flatnonzero(work.labels >= 0), len(labels)
    if n <= MOST_DRAWN:
        counts = work.histograms(rows)
        found = pair_scores(counts, labels, "l1", smoothing=SMOOTHING)
        named = scores_of("l1", names[found.labels], found.counts, _means(found), found.n_single)
        return Histograms(counts, np.arange(n)), named
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(n, MOST_DRAWN, replace=False))
    quota = max(2, MOST_DRAWN // len(names))
    within = np.sort(np.concatenate([_some(np.flatnonzero(labels == i), quota, rng) for i in range(len(names))]))
    both = np.union1d(drawn, within)
    counts = work.histograms(rows[both])
    of_all, of_labels = counts[np.searchsorted(both, drawn)], counts[np.searchsorted(both, within)]
    overall = pair_scores(of_all, np.arange(len(drawn)), "l1", smoothing=SMOOTHING, drawn=True)
    each = pair_scores(of_labels, labels[within], "l1", smoothing=SMOOTHING, drawn=True)
    sizes = np.bincount(labels, minlength=len(names))
    means = [
        Mean(mean.value, mean.error if sizes[label] > quota else 0.0)
        for label, mean in zip(each.labels.tolist(), _means(each), strict=False)
    ]
    means.append(_means(overall)[-1])
    found = scores_of("l1", names[each.labels], sizes[each.labels], means, int((sizes == 1).sum()))
    return Histograms(of_all, drawn), found


def _some(rows: NDArray[np.intp], n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    return rows if len(rows) <= n else rng.choice(rows, n, replace=False)


def _means(found: PairScores) -> Sequence[Mean]:
    within = [Mean(*pair) for pair in zip(found.within.tolist(), found.within_error.tolist(), strict=True)]
    return [*within, Mean(found.overall, found.overall_error)]
