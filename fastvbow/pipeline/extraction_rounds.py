"""How shards of features are made: in threads, in processes of this machine, or by an executor of the caller's."""

from __future__ import annotations

import ctypes
import multiprocessing
import threading
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Executor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec

from fastvbow.errors import ProjectError, TooManySkippedError
from fastvbow.events import Event, Listener
from fastvbow.executors import client_of, make_executor, make_process_executor, one_thread_each, run_tasks
from fastvbow.features.earlier import EarlierFeatures
from fastvbow.pipeline.crew import Crew, with_gpu
from fastvbow.pipeline.extraction_tasks import Making, RemoteShard, Tally, extract_shard, start_process
from fastvbow.pipeline.shard_work import Done, ShardTask, Worker
from fastvbow.project import fingerprint_of
from fastvbow.reducing import tasks_ahead

__all__ = ["STALE", "Progress", "elsewhere", "in_processes", "in_threads"]

STALE = "stale-"
"""Begins the names of shards that no longer stand, or do not yet: what is known of photographs, to be taken over."""
RATE_FROM = 100  # images that are done before their error rate counts


class Progress:
    """Counts images from several threads and tells the listener.

    Parameters
    ----------
    listener : Listener
    total, done : int
        Images, and how many of them were there before.
    reasons : Counter of str
        Why how many of these are skipped.
    max_error_rate : float
        See `fastvbow.config.ExtractOptions`.
    """

    def __init__(self, listener: Listener, total: int, done: int, reasons: Counter[str], max_error_rate: float) -> None:
        self._listener, self._total, self._max_error_rate = listener, total, max_error_rate
        self._done, self._n_bytes, self._reasons = done, 0, reasons
        self._lock = threading.Lock()
        self.taken = 0

    def step(self, image: Done) -> None:
        """An image is done."""
        tally = Tally()
        tally.add(image)
        self.add(tally)

    def add(self, tally: Tally) -> None:
        """Several are.

        Raises
        ------
        TooManySkippedError
        """
        with self._lock:
            self._done += tally.n_images
            self._n_bytes += tally.n_bytes
            self._reasons.update(tally.reasons)
            self.taken += tally.taken
            skipped = self._reasons.total()
            self._listener(
                Event(
                    "extract",
                    "step",
                    done=self._done,
                    total=self._total,
                    skipped=skipped,
                    n_bytes=self._n_bytes,
                    reasons=dict(self._reasons),
                )
            )
            enough = self._done >= min(RATE_FROM, self._total)
            if enough and skipped > self._max_error_rate * self._done:
                often = self._reasons.most_common(1)[0][0]
                raise TooManySkippedError(
                    f"{skipped} of {self._done} photographs cannot be read (most often: {often}), which is more than "
                    f"--max-error-rate {self._max_error_rate:g} allows: mend them, or allow more"
                )


def in_threads(tasks: Iterator[ShardTask], progress: Progress, worker: Worker, jobs: int) -> None:
    """Make shards in threads of this process, which share one worker.

    Parameters
    ----------
    tasks : iterator of ShardTask
    progress : Progress
        Hears of every image.
    worker : Worker
    jobs : int
    """
    stop = threading.Event()
    with one_thread_each(), closing(worker), make_executor(jobs) as executor:
        try:
            for _ in run_tasks(
                executor, lambda task: worker.work(task, progress.step, stop.is_set), tasks, ahead=2 * jobs
            ):
                pass
            worker.finish()
        except BaseException:
            stop.set()
            raise


def in_processes(
    tasks: Iterator[ShardTask], progress: Progress, how: Making, earlier: Sequence[Path], jobs: int
) -> None:
    """Make shards in processes of this machine that are started for it.

    Parameters
    ----------
    tasks, progress, how, earlier
        As `elsewhere` takes them.
    jobs : int

    Raises
    ------
    ProjectError
        A process has died.
    """
    # no Event: a worker that is killed amid asking it would keep its lock for ever
    stop = multiprocessing.get_context("spawn").RawValue(ctypes.c_bool, False)
    with make_process_executor(jobs, start_process, stop) as executor:
        try:
            elsewhere(executor, tasks, progress, how, earlier, Crew(jobs, how.device), jobs)
        except BaseException:
            stop.value = True
            raise


def elsewhere(
    executor: Executor,
    tasks: Iterator[ShardTask],
    progress: Progress,
    how: Making,
    earlier: Sequence[Path],
    crew: Crew,
    jobs: int,
) -> None:
    """Make shards in other processes.

    With Dask, shards with a CNN on a GPU go to workers that have one. Where SIFT is wanted, too, any worker first makes
    a shard of SIFT alone, from which they take it over: a GPU does not wait for it.

    Parameters
    ----------
    executor : Executor
    tasks : iterator of ShardTask
    progress : Progress
        Hears of every shard.
    how : Making
    earlier : sequence of Path
        Shards whose features may be taken over.
    crew : Crew
    jobs : int
        Where `executor` is not Dask's.

    Raises
    ------
    ProjectError
        A process of a pool has died.
    ClusterError
        Dask's scheduler or workers are gone.
    """
    how = replace(how, device=crew.device, sharing=crew.sharing)
    ahead, known = tasks_ahead(executor, jobs), _Known(earlier)
    if client_of(executor) is None or crew.device != "cuda" or "cnn" not in how.config.features:
        remote = (RemoteShard(task, how, known.of(task)) for task in tasks)
    elif "sift" not in how.config.features:
        remote, executor = (RemoteShard(task, how, known.of(task)) for task in tasks), with_gpu(executor)
    else:
        remote, executor = _sift_first(executor, tasks, how, known, ahead), with_gpu(executor)
    try:
        with closing(remote), closing(run_tasks(executor, extract_shard, remote, ahead=ahead)) as done:
            for tally in done:
                progress.add(tally)
    except BrokenProcessPool:
        raise ProjectError(
            "a worker process has died, killed perhaps for want of memory: the same command goes on where it "
            "stopped; fewer --jobs or a smaller --max-memory need less"
        ) from None


def _sift_first(
    executor: Executor, tasks: Iterator[ShardTask], how: Making, known: _Known, ahead: int
) -> Generator[RemoteShard, None, None]:
    """The shards, each when one of its SIFT alone stands, under a name that is cleared away with the earlier ones."""
    config = msgspec.structs.replace(how.config, features=("sift",))
    first = replace(how, config=config, parameters={"sift": how.parameters["sift"]}, device="cpu")
    waiting: deque[RemoteShard] = deque()

    def alone() -> Iterator[RemoteShard]:
        for task in tasks:
            key, names = fingerprint_of([task.key, "sift"]), known.of(task)
            name = f"features/{STALE}sift-{key[:12]}"
            waiting.append(RemoteShard(task, how, (name, *names)))
            yield RemoteShard(replace(task, name=name, key=key), first, names)

    with closing(run_tasks(executor, extract_shard, alone(), ahead=ahead)) as done:
        for _ in done:
            yield waiting.popleft()


class _Known:
    """Which earlier shards may know something of a shard's images."""

    def __init__(self, earlier: Sequence[Path]) -> None:
        self._earlier = EarlierFeatures(earlier)

    def of(self, task: ShardTask) -> tuple[str, ...]:
        if not len(self._earlier):
            return ()
        identities = [task.table.identity(i) for i in range(len(task.table))]
        return tuple(f"features/{folder.name}" for folder in self._earlier.holding(identities))
