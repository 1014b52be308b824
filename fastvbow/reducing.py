"""Many results put together in a tree whose shape depends on their number alone.

So sums of floating-point numbers are the same to the bit for any number of workers, and where the executor is Dask's
they are made on the workers: only the last few travel to the caller.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from itertools import chain, islice
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import ClusterError
from fastvbow.executors import client_of, cluster_errors, result_of, run_tasks, submit_options

__all__ = ["FAN", "FEW", "ResultTree", "reduce_results", "reduce_tasks", "tasks_ahead", "threads_of"]

FAN = 16
"""Results that are put together at a time."""
FEW = 16
"""So many results the caller puts together itself: each further level of the tree is a round by the scheduler, which
takes longer than they travel."""
_LEAST_AHEAD = 64
_LOOK = 0.05  # seconds between two looks
_ASK = 1.0  # seconds between two questions
_threads: WeakKeyDictionary[Any, tuple[float, int]] = WeakKeyDictionary()

Task = TypeVar("Task")
Result = TypeVar("Result")


def tasks_ahead(executor: Executor, jobs: int) -> int:
    """How many tasks to hand over before the first is done: two for each thread that works on them.

    Parameters
    ----------
    executor : Executor
    jobs : int
        Threads or processes, where the executor is not Dask's.
    """
    return 2 * jobs if client_of(executor) is None else max(_LEAST_AHEAD, 2 * threads_of(executor, jobs))


def threads_of(executor: Executor, jobs: int) -> int:
    """How many tasks can be worked on at the same time; 1 where Dask has no workers yet, which is asked once a second.

    Parameters
    ----------
    executor : Executor
    jobs : int
        Threads or processes, where the executor is not Dask's.

    Raises
    ------
    ClusterError
        Dask's scheduler is gone, or the client closed.
    """
    client = client_of(executor)
    if client is None:
        return jobs
    asked, threads = _threads.get(client, (-math.inf, 1))
    if time.monotonic() - asked > _ASK:  # the scheduler takes milliseconds to answer, as much as a small sweep
        threads = _threads_now(client)
        _threads[client] = time.monotonic(), threads
    return threads


def _threads_now(client: Any) -> int:
    try:
        with cluster_errors():
            return max(1, sum(client.nthreads().values()))
    except AttributeError:
        if client.scheduler is not None:
            raise
        raise ClusterError(  # a closed client has nothing to ask, and says so in no words of its own
            "Dask's client is closed, as its cluster is: the same call goes on from what is finished"
        ) from None


def reduce_tasks(
    executor: Executor,
    function: Callable[[Task], Result],
    combine: Callable[[Sequence[Result]], Result],
    tasks: Iterable[Task],
    *,
    ahead: int,
    fan: int = FAN,
) -> Result:
    """``combine`` of the results of all tasks: of `fan` neighbours at a time, then of these, until one is left.

    Parameters
    ----------
    executor : Executor
    function : callable (task) -> result
        As `combine`, found by name where it is called in another process.
    combine : callable (sequence of results) -> result
        Is given 2 to `fan` of them, in the order of the tasks.
    tasks : iterable
        At least one; they are drawn as they are needed.
    ahead : int
        The most tasks that are submitted and not yet put together, about.
    fan : int, default=FAN

    Returns
    -------
    result
        Of the same kind as that of a task.

    Raises
    ------
    ValueError
        There is no task.
    Cancelled, ClusterError
        As `fastvbow.executors.run_tasks`.
    """
    if client_of(executor) is not None:
        rest = iter(tasks)
        tasks = list(islice(rest, FEW + 1))
        if len(tasks) > FEW:
            return _in_dask(executor, function, combine, chain(tasks, rest), ahead, fan)
    return reduce_results(run_tasks(executor, function, tasks, ahead=ahead), combine, fan=fan)


def reduce_results(
    results: Iterable[Result], combine: Callable[[Sequence[Result]], Result], *, fan: int = FAN
) -> Result:
    """What `reduce_tasks` returns, to the byte, of results that are here.

    Parameters
    ----------
    results : iterable
        At least one; some `fan` of them for each level of the tree are held at a time.
    combine : callable (sequence of results) -> result
        Is given 2 to `fan` of them, in their order.
    fan : int, default=FAN

    Raises
    ------
    ValueError
        There is no result.
    """
    tree = ResultTree(combine, fan)
    for result in results:
        tree.add(result)
    return tree.end()


class ResultTree:
    """Puts together what comes in order, and holds `fan` results a level at most.

    Parameters
    ----------
    combine : callable (sequence of results) -> result
        Is given 2 to `fan` of them.
    fan : int
    """

    def __init__(self, combine: Callable[[Sequence[Any]], Any], fan: int) -> None:
        self._combine, self._fan = combine, fan
        self._levels: list[list[Any]] = []

    def add(self, result: Any, level: int = 0) -> None:
        """The next result, or what a whole node of ``fan ** level`` has been put together to.

        Parameters
        ----------
        result : result
        level : int, default=0
        """
        while level >= len(self._levels):
            self._levels.append([])
        held = self._levels[level]
        held.append(result)
        if len(held) == self._fan:
            self._levels[level] = []
            self.add(self._combine(held), level + 1)

    def end(self) -> Any:
        """The last one; what is left at each level joins the next one as its last.

        Raises
        ------
        ValueError
            Nothing was added.
        """
        last: list[Any] = []
        for held in self._levels:
            held = held + last
            last = held if len(held) < 2 else [self._combine(held)]
        if not last:
            raise ValueError("there is nothing to reduce: give at least one task")
        return last[0]


def _in_dask(
    executor: Any,
    function: Callable[[Any], Any],
    combine: Callable[[Sequence[Any]], Any],
    tasks: Iterable[Any],
    ahead: int,
    fan: int,
) -> Any:
    """The same tree, of Dask's futures: results stay on the workers, all but the last."""
    client, options = client_of(executor), submit_options(executor)
    begun: deque[Any] = deque()

    def submit(function: Callable[..., Any], given: Any) -> Any:
        with cluster_errors():  # a scheduler that has gone takes no task
            return client.submit(function, given, **options)

    tree = ResultTree(lambda futures: submit(combine, list(futures)), fan)
    for task in tasks:
        check_cancelled()
        future = submit(function, task)
        tree.add(future)
        begun.append(future)
        if len(begun) > ahead:
            _wait_for(begun.popleft())
    return result_of(executor._wrap_future(tree.end()))


def _wait_for(future: Any) -> None:
    """Until a task has ended, wherever its result is and whatever it is: an error comes with the last result."""
    while not future.done():
        check_cancelled()
        time.sleep(_LOOK)
