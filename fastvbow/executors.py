"""Where work runs: the standard ``concurrent.futures`` executors, and nothing of our own.

A task is a shard. Threads are the default: OpenCV, ONNX Runtime and the kernels release the GIL, one model serves all
threads, and nothing has to be started, pickled or sent.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

from fastvbow.errors import UsageError

__all__ = ["effective_jobs", "make_executor", "one_thread_each", "run_tasks"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def effective_jobs(jobs: int | None) -> int:
    """The number of workers: None or -1 means every processor that this process may use.

    Raises
    ------
    UsageError
        `jobs` is 0 or less than -1.
    """
    if jobs is None or jobs == -1:
        if hasattr(os, "sched_getaffinity"):
            return max(1, len(os.sched_getaffinity(0)))
        return os.cpu_count() or 1
    if jobs < 1:
        raise UsageError(f"--jobs is at least 1, or -1 for all processors, not {jobs}")
    return jobs


def make_executor(jobs: int) -> Executor:
    """An executor of `jobs` threads; use it in a ``with`` statement."""
    return ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="fastvbow")


class _Limit:
    """One BLAS and one OpenCV thread in the whole process for as long as anyone wants it.

    A thread of its own holds the limit: threadpoolctl lets only the thread that set it lift it, and the first user may
    leave before the last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._set, self._lift = threading.Event(), threading.Event()
        self._holder = threading.Thread()

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._set.clear()
                self._lift.clear()
                self._holder = threading.Thread(target=self._hold, name="fastvbow-limit", daemon=True)
                self._holder.start()
                self._set.wait()
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                self._lift.set()
                self._holder.join()

    def _hold(self) -> None:
        import cv2
        from threadpoolctl import threadpool_limits

        before = cv2.getNumThreads()
        try:
            with threadpool_limits(1, user_api="blas"):
                cv2.setNumThreads(1)
                self._set.set()
                self._lift.wait()
        finally:
            cv2.setNumThreads(before)
            self._set.set()


_limit = _Limit()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep BLAS, OpenMP and OpenCV to one thread for each of ours.

    Theirs would fight ours for the processors, and sums, and so results, would depend on how many there are. The limit
    is the process's: what stood before comes back when the last of several overlapping calls ends.
    """
    from threadpoolctl import threadpool_limits

    _limit.enter()
    try:
        with threadpool_limits(1):  # OpenMP's is a setting of the calling thread alone
            yield
    finally:
        _limit.leave()


def run_tasks(
    executor: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], *, ahead: int
) -> Iterator[Result]:
    """Results as they are ready, with at most `ahead` tasks under way; what is not begun is cancelled when the caller
    stops."""
    rest = iter(tasks)
    pending: set[Future[Result]] = {executor.submit(function, task) for task in islice(rest, ahead)}
    try:
        while pending:
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            pending |= {executor.submit(function, task) for task in islice(rest, len(done))}
            for future in done:
                yield future.result()
    finally:
        for future in pending:
            future.cancel()
