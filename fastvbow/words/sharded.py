"""K-Means over shards that nobody holds together: seeding and passes by tasks on threads, processes or a cluster.

Seeding is k-means|| (Bahmani et al. 2012): a few rounds draw many candidates, by their squared distances to those drawn
before; each counts for the rows nearest to it, and K-Means on them gives the start. Then come Lloyd's passes over all
rows. A pass sends the centres to every shard and brings back sums, counts and the inertia, put together in a tree whose
shape the number of shards decides (`fastvbow.reducing`). So the centres are the same bytes for any executor and number
of workers, and for uint8 rows, whose sums are whole numbers, also however the rows are cut into shards.

What travels, with K centres of d dimensions: in a pass 4 K d bytes to a task (300 SIFT words: 154 kB), and up to 4 K d
from it where rows are uint8, 8 K d otherwise (where 16 tasks of Dask are enough, they are shares of all shards, and it
is so much for each whole node of the tree in a share: one to some ten); in a round of the seeding the candidates so
far, 1 + f K for each round before, as the rows have them (f: `oversampling_factor`), and some f K rows with 8 bytes
each back. No row but these leaves its shard.

How good it is (sun8, Corel-1k and Scene-15, three seeds each): the start, which K-Means on the candidates has improved,
has 0.64 to 0.75 of the inertia of k-means++ on all rows, and 10 to 16 passes over SIFT and maps end within 0.6 % of
what `KMeans` takes 66 to 288 passes to. A sample of 200,000 descriptors is enough for corpora of this size: words of
all descriptors have the same inertia to 0.4 % (SIFT, maps) and 1.2 % (pooled vectors), and groups are as often right.

What it costs: a round measures all rows against all candidates so far, and the last one against some 1 + 5 f K, so
seeding takes as long as 30 passes with the defaults; a pass as long as one of `fastvbow.words.kmeans.KMeans`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.portions import reduce_by_nodes
from fastvbow.words import _shard_passes as passes
from fastvbow.words._lloyd import LONGER, SETTLED
from fastvbow.words._shard_passes import RowSource
from fastvbow.words.minibatch import MiniBatchKMeans

__all__ = ["RowSource", "ShardedKMeans", "ShardedState"]

FAN = 4
"""Results that are put together at a time, and shards that one task passes over at least where threads then have as
much to do. It decides the last bits of sums of rows that are no whole numbers."""

ROWS_A_TASK = 1 << 21
"""Rows that a task of Dask passes over, about, where shards are smaller: a second's work or some."""


@dataclass(frozen=True)
class ShardedState:
    """How far a training has come: with it another call goes on.

    Attributes
    ----------
    centers : ndarray of shape (n, d)
        The candidates, as the rows have them, while there are rounds to come; then the centres, (K, d) float32 or
        float64.
    counts : ndarray of shape (K,), int64
        Rows nearest to the centres that the last pass began with; empty before the first.
    n_rounds : int
        Rounds of seeding that are finished; the one that chooses the start among the candidates is the last.
    n_iter : int
        Lloyd's passes that are finished.
    inertia : float
        Of the centres that the last pass began with; infinity before the first.
    settled : bool
        Whether there is nothing left to do.
    """

    centers: np.ndarray
    counts: np.ndarray
    n_rounds: int = 0
    n_iter: int = 0
    inertia: float = np.inf
    settled: bool = False


class ShardedKMeans:
    """K-Means over all rows of many shards, wherever an executor works on them.

    Parameters
    ----------
    n_clusters : int, default=8
        K, the number of centres.
    oversampling_factor : float, default=2
        A round of seeding draws some ``oversampling_factor * n_clusters`` candidates.
    init_max_iter : int, default=5
        Rounds of seeding.
    max_iter : int, default=50
        Lloyd's passes over all rows at most.
    tol : float, default=1e-4
        Stop when a pass lowers the inertia by no more than this part of it.
    random_state : int, default=0
        The same number gives the same bytes.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, d), float32, or float64 if the rows are float64
    counts_ : ndarray of shape (n_clusters,), int64
        Rows of each centre in the last pass.
    inertia_ : float
        Sum of squared distances of all rows to the centres that the last pass began with. These then moved to the means
        of their rows, so `cluster_centers_` have no greater one (`score` tells it, by a further pass).
    n_iter_ : int
        Lloyd's passes.

    Raises
    ------
    UsageError
        From `fit`: a parameter that cannot be used, or fewer rows than centres.
    ValueError
        From `fit`: NaN or infinity among the rows.

    Notes
    -----
    A step to the means goes on by .7 of its length until the last one, which takes fewer passes. A centre without rows
    moves to the row that is farthest from its centre, the first of equals.

    References
    ----------
    B. Bahmani et al., "Scalable k-means++", PVLDB 5(7), 2012 (algorithm 2).
    S. P. Lloyd, "Least squares quantization in PCM", IEEE Trans. Information Theory 28, 1982.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        oversampling_factor: float = 2.0,
        init_max_iter: int = 5,
        max_iter: int = 50,
        tol: float = SETTLED,
        random_state: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.oversampling_factor = oversampling_factor
        self.init_max_iter = init_max_iter
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    @property
    def most_passes(self) -> int:
        """Passes over all rows at most, those of the seeding included."""
        return self.init_max_iter + 1 + self.max_iter

    def fit(
        self,
        shards: Sequence[RowSource],
        *,
        executor: Executor | None = None,
        n_jobs: int | None = None,
        state: ShardedState | None = None,
        passed: Callable[[ShardedState], object] = lambda state: None,
    ) -> ShardedKMeans:
        """Learn the centres.

        Parameters
        ----------
        shards : sequence of RowSource
            Sources without rows are passed over.
        executor : Executor, optional
            Where shards are worked on, such as Dask's ``client.get_executor()``; None: `n_jobs` threads. The centres do
            not depend on it.
        n_jobs : int, optional
            Threads or processes of it, where it is not Dask's; None is 1, -1 all processors.
        state : ShardedState, optional
            That of an earlier call with the same parameters and rows, to go on from.
        passed : callable, optional
            Is given the state after every pass.

        Raises
        ------
        Cancelled, ClusterError
            As `fastvbow.executors.run_tasks`.
        """
        self._check()
        shards = [shard for shard in shards if len(shard)]
        n_rows = sum(map(len, shards))
        if n_rows < self.n_clusters:
            raise UsageError(
                f"the shards hold {n_rows} rows for {self.n_clusters} centres: give more rows or ask for fewer centres"
            )
        jobs = effective_jobs(n_jobs, default=1)
        with make_executor(jobs) if executor is None else nullcontext(executor) as workers:
            work = _Work(self, shards, workers, jobs)
            if state is None:
                state = work.begun()
            while not state.settled:
                state = work.step(state)
                passed(state)
        self.cluster_centers_, self.counts_ = state.centers, state.counts
        self.inertia_, self.n_iter_ = state.inertia, state.n_iter
        return self

    def score(
        self, shards: Sequence[RowSource], *, executor: Executor | None = None, n_jobs: int | None = None
    ) -> float:
        """Minus the sum of squared distances of all rows to the nearest centres; `shards` and the rest as for `fit`."""
        jobs = effective_jobs(n_jobs, default=1)
        with make_executor(jobs) if executor is None else nullcontext(executor) as workers:
            work = _Work(self, [shard for shard in shards if len(shard)], workers, jobs)
            return -work.sums(self.cluster_centers_, sums=False).inertia

    def _check(self) -> None:
        for name, least in {"n_clusters": 1, "init_max_iter": 1, "max_iter": 1, "random_state": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < least:
                raise UsageError(f"{name}={value!r} cannot be used; give an integer >= {least}")
        if not 0 < self.oversampling_factor < np.inf:
            raise UsageError(f"oversampling_factor={self.oversampling_factor!r} cannot be used; give a number > 0")
        if not 0 <= self.tol < np.inf:
            raise UsageError(f"tol={self.tol!r} cannot be used; give a number >= 0")


class _Work:
    """The passes of one training."""

    def __init__(self, model: ShardedKMeans, shards: Sequence[RowSource], executor: Executor, jobs: int) -> None:
        self._model, self._shards, self._executor = model, shards, executor
        self._jobs = jobs
        self._starts = list(accumulate(map(len, shards), initial=0))

    def begun(self) -> ShardedState:
        """The first candidate: a row at random."""
        place = int(np.random.default_rng([self._model.random_state, 0]).integers(self._starts[-1]))
        shard = int(np.searchsorted(self._starts, place, side="right")) - 1
        task = passes.Picking(self._shards[shard], np.array([place - self._starts[shard]]))
        (row,) = run_tasks(self._executor, passes.pick, [task], ahead=1)
        return ShardedState(row, np.empty(0, np.int64))

    def step(self, state: ShardedState) -> ShardedState:
        """The state after one more pass."""
        if state.n_rounds < self._model.init_max_iter:
            return self._round(state)
        return self._start(state) if state.n_rounds == self._model.init_max_iter else self._improved(state)

    def sums(self, centers: np.ndarray, *, sums: bool = True) -> passes.Sums:
        """Sums, if they are wanted, counts and inertia of all rows."""
        return self._reduced(passes.sum_up, passes.add_up, (passes.Summing(s, centers, sums) for s in self._shards))

    def _reduced(self, function: Any, combine: Any, tasks: Iterable[Any]) -> Any:
        most = max(1, ROWS_A_TASK * len(self._shards) // max(1, self._starts[-1]))
        how = {"n_tasks": len(self._shards), "jobs": self._jobs, "most": most, "fan": FAN}
        return reduce_by_nodes(self._executor, function, combine, tasks, **how)

    def _round(self, state: ShardedState) -> ShardedState:
        """Steps 4 to 6 of algorithm 2: a round that draws more candidates."""
        wanted = self._model.oversampling_factor * self._model.n_clusters
        key = (self._model.random_state, state.n_rounds + 1)
        tasks = (
            passes.Drawing(shard, first, state.centers, key, wanted)
            for shard, first in zip(self._shards, self._starts, strict=False)
        )
        # One shard alone is put together with nothing.
        drawn = passes.keep_drawn([self._reduced(passes.draw, passes.keep_drawn, tasks)])
        return replace(state, centers=np.concatenate([state.centers, drawn.rows]), n_rounds=state.n_rounds + 1)

    def _start(self, state: ShardedState) -> ShardedState:
        """Steps 7 and 8: candidates count for the rows nearest to them, and K-Means on them gives the start."""
        weights, K = self.sums(state.centers, sums=False).counts, self._model.n_clusters
        candidates = state.centers.astype(np.float64 if state.centers.dtype == np.float64 else np.float32)
        if len(candidates) > K:
            how: dict[str, Any] = {"init_size": len(candidates), "compute_labels": False, "n_jobs": self._jobs}
            model = MiniBatchKMeans(K, random_state=self._model.random_state, **how)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # of equal candidates: the passes look after that
                candidates = model.fit(candidates, sample_weight=weights).cluster_centers_
        # Too few, of rows of which hardly any two differ: the repeated ones have no rows and move away, if they can.
        return replace(state, centers=np.resize(candidates, (K, candidates.shape[1])), n_rounds=state.n_rounds + 1)

    def _improved(self, state: ShardedState) -> ShardedState:
        """A pass of Lloyd's."""
        centers, n_iter = state.centers, state.n_iter + 1
        found = self.sums(centers)
        counts, full = found.counts.astype(np.int64), found.counts > 0
        moved = centers.copy()
        moved[full] = found.sums[full] / counts[full, None]
        step = moved.astype(np.float64) - centers
        # The inertia falls by at least this in a step to the means.
        gain = float(counts @ np.einsum("kd,kd->k", step, step))
        settled = gain <= self._model.tol * found.inertia
        if not full.all():
            empty = np.flatnonzero(~full)
            tasks = (passes.Farthest(shard, centers, len(empty)) for shard in self._shards)
            rows = self._reduced(passes.find_farthest, passes.keep_farthest, tasks).rows
            moved[empty[: len(rows)]] = rows
            settled = settled and not len(rows)
        elif not settled and n_iter < self._model.max_iter:
            moved = (centers + LONGER * step).astype(centers.dtype)
        settled = settled or n_iter == self._model.max_iter
        return replace(state, centers=moved, counts=counts, n_iter=n_iter, inertia=found.inertia, settled=settled)
