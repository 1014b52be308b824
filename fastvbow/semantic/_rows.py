"""Embeddings as directions, and work on them block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks

__all__ = ["Workers", "block_rows", "blocks", "normalised", "unit_rows", "workers"]

Found = TypeVar("Found")
Part = TypeVar("Part")

CELLS = 1 << 21
"""Numbers in a block of rows, or in what is made of it: 8 MB in float32."""
LEAST_ROWS = 64
"""Rows of a block at least: products of fewer rows are slower."""
UNIT = 1e-5
"""Lengths that differ from 1 by no more count as 1."""


def block_rows(width: int) -> int:
    """The rows of a block of about `CELLS` numbers."""
    return max(LEAST_ROWS, CELLS // max(1, width))


def blocks(n: int, width: int) -> list[slice]:
    """Cut n rows into blocks of about `CELLS` numbers; where they lie depends on n and the width alone."""
    step = block_rows(width)
    return [slice(start, min(n, start + step)) for start in range(0, n, step)]


class Workers:
    """Threads that work on blocks of rows; see `workers`."""

    def __init__(self, executor: Executor, n_threads: int) -> None:
        self._executor, self._n_threads = executor, n_threads

    def each_block(self, function: Callable[[slice], Found], n: int, width: int) -> Iterator[Found]:
        """Results of `function` for each block of `blocks(n, width)`, in their order."""
        return self.each_part(function, blocks(n, width))

    def each_part(self, function: Callable[[Part], Found], parts: Iterable[Part]) -> Iterator[Found]:
        """Results of `function` for each of `parts`, in their order."""
        return run_tasks(self._executor, function, parts, ahead=2 * self._n_threads)


@contextmanager
def workers(n_jobs: int | None) -> Iterator[Workers]:
    """Lend threads.

    BLAS runs on one thread for each of ours, and the blocks do not depend on how many those are: neither do the bytes
    of the results.

    Parameters
    ----------
    n_jobs : int or None
        Threads; None is 1, -1 all processors.
    """
    n_threads = effective_jobs(n_jobs, default=1)
    with one_thread_each(), make_executor(n_threads) as executor:
        yield Workers(executor, n_threads)


def normalised(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows at unit length, in their own floating type; zero rows stay zero."""
    norm = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))[:, None]
    return np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0, casting="same_kind")


def unit_rows(rows: Any, name: str, width: int | None = None) -> NDArray[np.float32]:
    """Embeddings at unit length.

    Parameters
    ----------
    rows : array-like of shape (n, d), numbers
        Rows that are at unit length in float32 already, memory maps too, are not copied.
    name : str
        What they are, for messages.
    width : int, optional
        The number of columns that is wanted.

    Returns
    -------
    ndarray of shape (n, d), float32, C-contiguous

    Raises
    ------
    UsageError
        There are no rows, another width than wanted, or a row without a direction: zero, NaN or infinite.
    """
    given = rows if isinstance(rows, np.ndarray) else np.asarray(rows)
    if given.ndim != 2 or given.dtype.kind not in "fiu" or not given.size:
        raise UsageError(
            f"{name} has shape {given.shape} and type {given.dtype}; wanted: embeddings, numbers of shape (rows, width)"
        )
    if width is not None and given.shape[1] != width:
        raise UsageError(
            f"{name} has {given.shape[1]} columns, the images have {width}: all embeddings have to be of one space"
        )
    as_is = given.dtype == np.float32 and given.flags.c_contiguous
    parts = blocks(*given.shape)
    if as_is:
        as_is = all(np.abs(_lengths(given[part], name, part) - 1).max() <= UNIT for part in parts)
        if as_is:
            return given
    out = np.empty(given.shape, np.float32)
    for part in parts:
        block = given[part].astype(np.float64)
        out[part] = block / _lengths(block, name, part)[:, None]
    return out


def _lengths(block: NDArray[Any], name: str, part: slice) -> NDArray[np.float64]:
    wide = block.astype(np.float64, copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    unusable = ~np.isfinite(found) | (found == 0)
    if unusable.any():
        row = int(unusable.argmax())
        raise UsageError(
            f"row {part.start + row} of {name} has no direction: it is all zeros, or holds NaN or infinity; "
            "leave it out or make it anew"
        )
    return np.asarray(found)
