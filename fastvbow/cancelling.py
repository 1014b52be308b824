"""Stopping work from outside: from another thread, at a deadline, or when a scheduler says so.

What may be stopped is what the calling thread does inside `cancelling`, and the threads and processes that work for it.
It ends at the next point between two pieces of work (a photograph, a block of rows or of tokens, a shard, a figure), by
raising `fastvbow.errors.Cancelled`. What a stage was writing is removed, finished stages and shards stay, and the same
call goes on from there.

::

    stop = threading.Event()  # set by another thread
    with cancelling(stop, seconds=600):
        pipeline.run(source, project)

The wish is kept in a context variable: two threads that work at the same time are cancelled independently.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from fastvbow.errors import Cancelled, UsageError

__all__ = ["StopFlag", "cancelling", "check_cancelled", "may_be_cancelled"]


class StopFlag(Protocol):
    """What tells whether to stop, such as `threading.Event` or `multiprocessing.Event`."""

    def is_set(self) -> bool:
        """Whether to stop."""


_checks: ContextVar[tuple[Callable[[], str], ...]] = ContextVar("fastvbow_checks", default=())


@contextmanager
def cancelling(stop: StopFlag | Callable[[], bool] | None = None, *, seconds: float | None = None) -> Iterator[None]:
    """Let what is called inside end early.

    Parameters
    ----------
    stop : object with ``is_set()``, or callable () -> bool, optional
        Is asked often, from any of the threads that work, so it has to be quick and thread-safe.
    seconds : float, optional
        A deadline, from now.

    Raises
    ------
    Cancelled
        `stop` said so, or the time is over, before the work was done.
    UsageError
        `stop` can be neither called nor asked; `seconds` is negative or NaN; or neither is given.
    """
    checks: list[Callable[[], str]] = []
    if seconds is not None:
        if not seconds >= 0:
            raise UsageError(f"seconds is the time that the work may take, at least 0, not {seconds}")
        end = time.monotonic() + seconds
        checks.append(lambda: f"the {seconds:g} s it may take are over" if time.monotonic() >= end else "")
    if stop is not None:
        asked = getattr(stop, "is_set", stop)
        if not callable(asked):
            raise UsageError(f"stop is a threading.Event or a function that returns true to stop, not {stop!r}")
        checks.append(lambda: "its caller asked for it" if asked() else "")
    if not checks:
        raise UsageError("cancelling wants something to end the work: stop, seconds, or both")
    token = _checks.set((*_checks.get(), *checks))
    try:
        yield
    finally:
        _checks.reset(token)


def may_be_cancelled() -> bool:
    """Whether the caller stands inside `cancelling`."""
    return bool(_checks.get())


def check_cancelled() -> None:
    """Raise `Cancelled` if the caller stands inside `cancelling` and has to end.

    Raises
    ------
    Cancelled
    """
    for check in _checks.get():
        if why := check():
            raise Cancelled(f"stopped, as {why}: the same call goes on from what is finished")
