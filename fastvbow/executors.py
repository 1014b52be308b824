"""Where work runs: the standard ``concurrent.futures`` interface, on threads or processes.

OpenCV, ONNX Runtime and the kernels release the GIL, one model serves all threads, and nothing has to be pickled or
sent: threads are the rule. One job is the calling thread itself. Results come in the order of the tasks, so they do not
depend on how many threads there are.
"""

from __future__ import annotations

import itertools
import multiprocessing
import operator
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from fastvbow.cancelling import check_cancelled, may_be_cancelled
from fastvbow.errors import ClusterError, UsageError
from fastvbow.memory import keep_freed_memory

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

__all__ = [
    "Team",
    "client_of",
    "cluster_errors",
    "effective_jobs",
    "make_executor",
    "make_process_executor",
    "one_thread_each",
    "result_of",
    "run_tasks",
    "submit_options",
]

_LOOK = 0.1  # seconds between two looks at whether to stop

Task = TypeVar("Task")
Result = TypeVar("Result")


def effective_jobs(jobs: int | None, *, default: int = -1) -> int:
    """The number of workers that `jobs` asks for.

    Parameters
    ----------
    jobs : int or None
        Workers, or negative: -1 is every processor that this process may use, -2 all but one, and so on, but at least
        1.
    default : int, default=-1
        What None means.

    Raises
    ------
    UsageError
        `jobs` is 0 or not a whole number.
    """
    try:
        wanted = operator.index(default if jobs is None else jobs)
    except TypeError:
        wanted = 0
    if wanted == 0:
        raise UsageError(
            f"--jobs is at least 1, or -1 for all processors, not {jobs!r} (in Python n_jobs; -2 is all but one)"
        )
    if wanted > 0:
        return wanted
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, processors + 1 + wanted)


class _SerialExecutor(Executor):
    """Runs a task in the calling thread, at once; what is no `Exception`, such as Ctrl-C, goes straight through."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Threads(ThreadPoolExecutor):
    """Threads that see the context variables of the one that hands them work: whether it may be cancelled."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(copy_context().run, fn, *args, **kwargs)


def make_executor(jobs: int) -> Executor:
    """An executor of `jobs` threads, the calling one if `jobs` is 1; use it in a ``with`` statement."""
    return _SerialExecutor() if jobs == 1 else _Threads(max_workers=jobs, thread_name_prefix="fastvbow")


def make_process_executor(jobs: int, start: Callable[..., None], *how: Any) -> Executor:
    """An executor of `jobs` processes, each of which calls ``start(*how)`` first; use it in a ``with`` statement."""
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), start, how)


_found: tuple[int, ThreadpoolController] | None = None


def _libraries() -> ThreadpoolController:
    """The libraries with threads of their own. Looking through all that is loaded takes milliseconds, a tenth of a
    photograph's time, so it is done again only after an import, which may have loaded more."""
    global _found
    from threadpoolctl import ThreadpoolController

    n_modules = len(sys.modules)
    if _found is None or _found[0] != n_modules:
        _found = n_modules, ThreadpoolController()
    return _found[1]


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

        before = cv2.getNumThreads()
        try:
            with _libraries().limit(limits=1, user_api="blas"):
                cv2.setNumThreads(1)
                self._set.set()
                self._lift.wait()
        finally:
            cv2.setNumThreads(before)
            self._set.set()


_limits: dict[int, _Limit] = {}
"""That of each process: in a fork's child the parent's may be held by a thread that is not there."""


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Keep BLAS, OpenMP and OpenCV to one thread for each of ours.

    Theirs would fight ours for the processors, and sums, and so results, would depend on how many there are. The limit
    is the process's: what stood before comes back when the last of several overlapping calls ends.

    It stands around everything that computes, so here, too, memory that is freed is kept for what comes next
    (`fastvbow.memory.keep_freed_memory`): without it passes of K-Means over all rows took a quarter longer on Dask.
    """
    keep_freed_memory()
    limit = _limits.setdefault(os.getpid(), _Limit())
    limit.enter()
    try:
        with _libraries().limit(limits=1):  # OpenMP's is a setting of the calling thread alone
            yield
    finally:
        limit.leave()


def client_of(executor: Executor) -> Any:
    """The ``distributed.Client`` behind Dask's ``Client.get_executor()``; None for any other executor."""
    client = getattr(executor, "_client", None)
    return client if type(client).__module__.partition(".")[0] == "distributed" else None


def submit_options(executor: Any) -> dict[str, Any]:
    """What every task is submitted with. Dask would take one for done whose like is still held by somebody, but ours
    write files: so they are not pure, unless the executor was made so."""
    return {} if client_of(executor) is None else {"pure": False, **executor._kwargs}


def run_tasks(
    executor: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], *, ahead: int
) -> Generator[Result, None, None]:
    """Results in the order of the tasks, which are drawn as they are needed.

    When the caller stops, or a task fails, what has not begun is cancelled; what runs is waited for by the executor's
    exit.

    Parameters
    ----------
    executor : Executor
    function : callable (task) -> result
    tasks : iterable
    ahead : int
        The most tasks that are submitted and not yet yielded, at least 1.

    Raises
    ------
    UsageError
        `ahead` is below 1.
    Cancelled
        The caller stands inside `fastvbow.cancelling.cancelling`, and has to end.
    ClusterError
        The executor is Dask's, and its scheduler or too many workers are gone.
    """
    if ahead < 1:
        raise UsageError(f"ahead is the number of tasks under way, at least 1, not {ahead}")
    return _run_tasks(executor, function, tasks, ahead)


def _run_tasks(
    executor: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], ahead: int
) -> Generator[Result, None, None]:
    pending: deque[Future[Result]] = deque()
    options = submit_options(executor)
    try:
        for task in tasks:
            check_cancelled()
            with cluster_errors():  # a scheduler that has gone takes no task
                pending.append(executor.submit(function, task, **options))
            while pending and (len(pending) == ahead or pending[0].done()):
                yield result_of(pending.popleft())
        while pending:
            yield result_of(pending.popleft())
    finally:
        for future in pending:
            future.cancel()


def result_of(future: Future[Result]) -> Result:
    """The result of a task; waits for it, but no longer than the caller wants to.

    Parameters
    ----------
    future : concurrent.futures.Future

    Raises
    ------
    Cancelled
        The caller stands inside `fastvbow.cancelling.cancelling`, and has to end.
    ClusterError
        The task was Dask's, whose scheduler or workers are gone.
    Exception
        Whatever the task has raised.
    """
    try:
        while not future.done() and may_be_cancelled():  # another process does not hear of it by itself
            check_cancelled()
            wait([future], timeout=_LOOK)
        with cluster_errors():
            return future.result()
    except BaseException:
        future.cancel()
        raise


@contextmanager
def cluster_errors() -> Iterator[None]:
    """Raise a ClusterError where Dask says, in its own words, that its scheduler or workers are gone."""
    try:
        yield
    except CancelledError:
        raise ClusterError(
            "a task was cancelled, so Dask's scheduler has gone, or was restarted: the same call goes on from what is "
            "finished"
        ) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] == "distributed":
            raise ClusterError(f"{_plainly(error)}: the same call goes on from what is finished") from error
        raise


def _plainly(error: Exception) -> str:
    """What Dask says of itself, in one line."""
    if type(error).__name__ == "KilledWorker":
        return (
            "the workers that took a task have died one after another, killed perhaps for want of memory (their logs "
            "say why)"
        )
    return f"Dask: {type(error).__name__}: {error}"


class Team:
    """Threads for work that comes again and again, some milliseconds of it each time: they wait in between.

    Parameters
    ----------
    n_threads : int
        The calling thread is one of them.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self._others = _Threads(n_threads - 1, "fastvbow") if n_threads > 1 else None

    def run(self, function: Callable[[int], object], n_tasks: int, stop: threading.Event) -> None:
        """Call `function` with 0 to n_tasks - 1, in any order; return when all calls have ended.

        An exception sets `stop`, which tasks should look at from time to time, and comes through when all have ended.
        """
        numbers = itertools.count()

        def work() -> None:
            try:
                while not stop.is_set() and (i := next(numbers)) < n_tasks:
                    check_cancelled()
                    function(i)
            except BaseException:
                stop.set()
                raise

        futures: list[Future[None]] = []
        if self._others is not None:
            futures = [self._others.submit(work) for _ in range(min(self.n_threads, n_tasks) - 1)]
        try:
            work()
            wait(futures)
        except BaseException:  # here, or while the others are waited for: they have to end first all the same
            stop.set()
            wait(futures)
            raise
        for future in futures:
            future.result()
