"""Numba functions kept on disk: compiled once for all processes that share a cache."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from numba import njit

__all__ = ["cache_path", "entry", "inner"]

_one_at_a_time = threading.RLock()


def inner(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """njit without the GIL, cached on disk, or uncached where neither the package nor the user's cache is writable.

    For functions that other compiled ones call; they are compiled while these are.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # "cannot cache function ...: no locator available"
            return njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


def entry(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """`inner` for functions that Python calls: whoever comes first for new types compiles under a lock on the cache.

    Numba replaces each file of its cache atomically, but numbers the files by what it finds there: two processes that
    compile other types at once choose one name, and the index of one then points at the code of the other.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = inner(**options)(function)
        seen: set[Any] = set()

        def call(*args: Any) -> Any:
            types = tuple([getattr(a, "dtype", None) for a in args])
            if types in seen:
                return compiled(*args)
            with _one_at_a_time, _file_lock(compiled):
                result = compiled(*args)
                seen.add(types)
            return result

        call.__doc__, call.__name__ = function.__doc__, function.__name__
        call.compiled = compiled  # type: ignore[attr-defined]
        return call

    return decorate


def cache_path(compiled: Any) -> str | None:
    """The folder in which a compiled function is kept; None where it is not."""
    return getattr(getattr(compiled, "_cache", None), "cache_path", None)


@contextlib.contextmanager
def _file_lock(compiled: Any) -> Iterator[None]:
    folder = cache_path(compiled)
    with contextlib.ExitStack() as stack:
        # No cache, no right to write it, no locks on this file system: then there is nothing to protect, or no way to.
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            if folder is not None:
                Path(folder).mkdir(parents=True, exist_ok=True)
                file = stack.enter_context((Path(folder) / "fastvbow.lock").open("a"))
                fcntl.flock(file, fcntl.LOCK_EX)
                # Closing is not enough: a process that was forked meanwhile has the file open too.
                stack.callback(fcntl.flock, file, fcntl.LOCK_UN)
        yield
