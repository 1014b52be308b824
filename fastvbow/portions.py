"""Small tasks handed over together.

What an executor does for a task takes time of its own, whatever the task does: some 5 ms with Dask, and its scheduler
is one process, which does a thousand a second. A task that is done in less has to have company. How many go together
depends on who works, so it MUST NOT decide any byte of a result: tasks are done one after another, each as if it were
alone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from itertools import islice, pairwise
from typing import Any, Generic, TypeVar

from fastvbow.executors import client_of, run_tasks
from fastvbow.reducing import FAN, FEW, ResultTree, reduce_results, reduce_tasks, tasks_ahead, threads_of

__all__ = ["reduce_by_nodes", "reduce_portions", "run_portions"]

_SHARE = 2
"""A portion is one of so many for each thread of what is left, so portions get smaller and all threads end together."""
_LEAST = 4
"""But none is smaller than this part of what may go together, where there is enough for all: to hand over smaller ones
takes longer than the last threads wait for the others."""
_IDLE = 9 / 8
"""Nodes of a tree are handed over whole where the thread that has most to do takes no longer than this, as against an
equal share."""
_GRAINS = 4
"""Shares of so many lowest nodes or more begin with a whole one, so fewer results come back."""

Task = TypeVar("Task")
Result = TypeVar("Result")


class _Portion(Generic[Task]):
    """Does tasks one after another, under their function's name, which Dask shows."""

    def __init__(self, function: Callable[[Task], Any]) -> None:
        self._function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def __call__(self, tasks: Sequence[Task]) -> Any:
        """All results."""
        return [self._function(task) for task in tasks]


class _Node(_Portion[Task]):
    """Puts the results together, in the tree of as many tasks."""

    def __init__(self, function: Callable[[Task], Any], combine: Callable[[Sequence[Any]], Any], fan: int) -> None:
        super().__init__(function)
        self._combine, self._fan = combine, fan

    def __call__(self, tasks: Sequence[Task]) -> Any:
        """One result."""
        return reduce_results(map(self._function, tasks), self._combine, fan=self._fan)


def run_portions(
    executor: Executor,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    n_tasks: int,
    jobs: int,
    most: int,
) -> Generator[Result, None, None]:
    """Results in the order of the tasks, as `fastvbow.executors.run_tasks` yields them; neighbours are handed over
    together, fewer and fewer towards the end.

    Where one of them fails, all of its portion are tried again, or have failed.

    Parameters
    ----------
    executor : Executor
    function : callable (task) -> result
    tasks : iterable
    n_tasks : int
        How many there are.
    jobs : int
        Threads or processes of the executor, where it is not Dask's.
    most : int
        The most that are handed over together; 1: each by itself.

    Raises
    ------
    Cancelled, ClusterError
        As `fastvbow.executors.run_tasks`.
    """
    ahead = tasks_ahead(executor, jobs)
    if most <= 1:
        yield from run_tasks(executor, function, tasks, ahead=ahead)
        return
    portions = _portions(tasks, n_tasks, _SHARE * threads_of(executor, jobs), most)
    with closing(run_tasks(executor, _Portion(function), portions, ahead=ahead)) as done:
        for results in done:
            yield from results


def _portions(tasks: Iterable[Task], n_tasks: int, share: int, most: int) -> Iterator[tuple[Task, ...]]:
    left, rest = n_tasks, iter(tasks)
    least = max(1, min(most // _LEAST, n_tasks // share))
    while portion := tuple(islice(rest, max(least, min(most, left // share)))):
        left -= len(portion)
        yield portion


def reduce_portions(
    executor: Executor,
    function: Callable[[Task], Result],
    combine: Callable[[Sequence[Result]], Result],
    tasks: Iterable[Task],
    *,
    n_tasks: int,
    jobs: int,
    most: int,
) -> Result:
    """``combine`` of the results of all tasks, in a tree that depends on who works: `combine` has to be exact, as sums
    of whole numbers are. Neighbours are handed over together and combined where they are made.

    Parameters
    ----------
    executor : Executor
    function : callable (task) -> result
    combine : callable (sequence of results) -> result
        See `fastvbow.reducing.reduce_tasks`.
    tasks : iterable
        At least one.
    n_tasks : int
        How many there are.
    jobs : int
        Threads or processes of the executor, where it is not Dask's.
    most : int
        The most that are handed over together.

    Raises
    ------
    ValueError
        There is no task.
    Cancelled, ClusterError
        As `fastvbow.executors.run_tasks`.
    """
    size = max(1, min(most, -(-n_tasks // threads_of(executor, jobs))))
    return _reduce_runs(executor, function, combine, tasks, size, jobs, FAN)


def reduce_by_nodes(
    executor: Executor,
    function: Callable[[Task], Result],
    combine: Callable[[Sequence[Result]], Result],
    tasks: Iterable[Task],
    *,
    n_tasks: int,
    jobs: int,
    most: int,
    fan: int,
) -> Result:
    """What `fastvbow.reducing.reduce_tasks` returns, to the byte, for any `combine`, such as sums of floating-point
    numbers. The lowest nodes of its tree are one task each, with what they are made of, where all threads then have
    about as much to do: what neighbours share, such as centres, is sent once for all of them. Where Dask is given few
    tasks in this way, each is a thread's share, and the whole nodes in it come back.

    Parameters
    ----------
    executor : Executor
    function : callable (task) -> result
    combine : callable (sequence of results) -> result
        See `fastvbow.reducing.reduce_tasks`.
    tasks : iterable
        At least one.
    n_tasks : int
        How many there are.
    jobs : int
        Threads or processes of the executor, where it is not Dask's.
    most : int
        The most that are one task, if Dask does it, about: clusters that grow as they are asked to see no more to do
        than tasks.
    fan : int
        Results that are put together at a time.

    Raises
    ------
    ValueError
        There is no task.
    Cancelled, ClusterError
        As `fastvbow.executors.run_tasks`.
    """
    threads = threads_of(executor, jobs)
    n_shares = threads * -(-n_tasks // (threads * most))
    if client_of(executor) is None or n_shares > FEW:
        size = fan if _busy(n_tasks, threads, fan) else 1
        return _reduce_runs(executor, function, combine, tasks, size, jobs, fan)
    rest, tree = iter(tasks), ResultTree(combine, fan)
    shares = list(_shares(n_tasks, n_shares, fan))
    given = (tuple(tuple(islice(rest, fan**level)) for level in levels) for levels in shares)
    with closing(run_tasks(executor, _Portion(_Node(function, combine, fan)), given, ahead=FEW)) as done:
        for levels, results in zip(shares, done, strict=True):
            for level, result in zip(levels, results, strict=True):
                tree.add(result, level)
    return tree.end()


def _busy(n_tasks: int, threads: int, size: int) -> bool:
    """Whether nodes of `size` tasks leave no thread idle for long."""
    whole, rest = divmod(n_tasks, size)
    turns, over = divmod(whole, threads)
    longest = size * (turns + 1) if over else size * turns + rest
    return longest * threads <= _IDLE * n_tasks


def _shares(n_tasks: int, n_shares: int, fan: int) -> Iterator[list[int]]:
    """Levels of the whole nodes of the tree in each share, one after another; a task is a node of level 0."""
    grain = fan if n_tasks >= _GRAINS * fan * n_shares else 1
    bounds = [round(k * n_tasks / n_shares / grain) * grain for k in range(n_shares)] + [n_tasks]
    return (list(_levels(start, end, fan)) for start, end in pairwise(bounds) if start < end)


def _levels(start: int, end: int, fan: int) -> Iterator[int]:
    """Of the largest whole nodes that tasks from `start` on to before `end` make."""
    while start < end:
        level = 0
        while start % fan ** (level + 1) == 0 and start + fan ** (level + 1) <= end:
            level += 1
        yield level
        start += fan**level


def _runs(tasks: Iterable[Task], size: int) -> Iterator[tuple[Task, ...]]:
    rest = iter(tasks)
    return iter(lambda: tuple(islice(rest, size)), ())


def _reduce_runs(
    executor: Executor,
    function: Callable[[Task], Result],
    combine: Callable[[Sequence[Result]], Result],
    tasks: Iterable[Task],
    size: int,
    jobs: int,
    fan: int,
) -> Result:
    """`size` neighbours are one task, which puts their results together."""
    ahead = tasks_ahead(executor, jobs)
    return reduce_tasks(executor, _Node(function, combine, fan), combine, _runs(tasks, size), ahead=ahead, fan=fan)
