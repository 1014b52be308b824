"""What is cut from photographs in another process, and how it comes back: in files of the project, not in results.

``NAME/NNNNN.safetensors``, with a temporary name of the project folder, holds the pieces of a run of photographs: the
j-th array of the piece for use u of the run's i-th photograph is ``i.u.j``. Photographs that can no longer be read have
none. Whoever hands the task out removes the file when it has been read.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import ImageError
from fastvbow.executors import one_thread_each, run_tasks
from fastvbow.places import Place, new_file
from fastvbow.reducing import tasks_ahead

__all__ = ["Cut", "CutTask", "Elsewhere", "Piece", "Reader", "cut_elsewhere", "cut_photographs", "read_pixels"]

Piece = Sequence[NDArray[Any]]
Cut = Callable[[NDArray[np.uint8]], Piece]
Reader = Callable[[int], NDArray[np.uint8] | None]

_MOST, _FEWEST = 64, 8  # photographs of a task: half a second's work, and some tasks for each worker of a small report
_TASKS = 64


@dataclass(frozen=True)
class Elsewhere:
    """Who else may decode a report's photographs.

    Attributes
    ----------
    executor : Executor
    place : Place
        The project, for whoever works on it.
    reader_of : callable (sequence of int) -> Reader
        What decodes some of the report's photographs by their places among these; it can be pickled, and holds no more
        than what leads to their files.
    """

    executor: Executor
    place: Place
    reader_of: Callable[[Sequence[int]], Reader]


@dataclass(frozen=True)
class CutTask:
    """A run of photographs; some 250 bytes each, and 50 for every patch of a word.

    Attributes
    ----------
    place : Place
    name : str
        Of the file that the pieces go to.
    read : Reader
        Decodes the i-th photograph of the run.
    cuts : tuple of tuple of (int, Cut)
        Of each photograph, for which uses it is cut, and what cuts it.
    """

    place: Place
    name: str
    read: Reader
    cuts: tuple[tuple[tuple[int, Cut], ...], ...]


def read_pixels(read: Reader, index: int) -> NDArray[np.uint8] | None:
    """The pixels of a photograph; None if it can no longer be read.

    Parameters
    ----------
    read : Reader
    index : int
        What `read` is given.
    """
    try:
        pixels = read(index)
    except (ImageError, OSError):
        return None
    return pixels if pixels is not None and pixels.size else None


def cut_photographs(task: CutTask) -> tuple[int, ...]:
    """Decode a run of photographs, each once, and write what is cut from them; the same file each time.

    Parameters
    ----------
    task : CutTask

    Returns
    -------
    tuple of int
        The places in the run of those that can no longer be read.
    """
    arrays: dict[str, NDArray[Any]] = {}
    lost: list[int] = []
    with one_thread_each():
        for i, cuts in enumerate(task.cuts):
            check_cancelled()
            pixels = read_pixels(task.read, i)
            if pixels is None:
                lost.append(i)
                continue
            for use, cut in cuts:
                for j, array in enumerate(cut(pixels)):
                    arrays[f"{i}.{use}.{j}"] = np.ascontiguousarray(array)
    with new_file(task.place, task.name) as temporary:
        save_file(arrays, temporary)
    return tuple(lost)


def cut_elsewhere(
    elsewhere: Elsewhere,
    order: Sequence[int],
    cuts_of: Callable[[int], tuple[tuple[int, Cut], ...]],
    *,
    jobs: int,
) -> Generator[tuple[int, dict[int, Piece] | None], None, None]:
    """Have photographs cut, and read the pieces.

    Parameters
    ----------
    elsewhere : Elsewhere
    order : sequence of int
    cuts_of : callable (int) -> tuple of (int, Cut)
        For which uses a photograph is cut, and what cuts it.
    jobs : int
        See `fastvbow.reducing.tasks_ahead`.

    Yields
    ------
    index : int
        In the order of `order`.
    pieces : dict of int to Piece, or None
        By use; None: the photograph can no longer be read.
    """
    place, scratch = elsewhere.place, f".pieces.{uuid.uuid4().hex[:12]}.tmp"
    size = min(_MOST, max(_FEWEST, -(-len(order) // _TASKS)))
    runs = [order[start : start + size] for start in range(0, len(order), size)]
    names = [f"{scratch}/{number:05d}.safetensors" for number in range(len(runs))]
    tasks = (
        CutTask(place, name, elsewhere.reader_of(run), tuple(cuts_of(index) for index in run))
        for name, run in zip(names, runs, strict=True)
    )
    try:
        ahead = tasks_ahead(elsewhere.executor, jobs)
        with closing(run_tasks(elsewhere.executor, cut_photographs, tasks, ahead=ahead)) as results:
            for name, run, lost in zip(names, runs, results, strict=True):
                found = _read(place, name)
                place.remove(name)
                for i, index in enumerate(run):
                    check_cancelled()  # what is done is not waited for, and so not looked at
                    yield index, None if i in lost else found.get(i, {})
    finally:
        place.remove(scratch)


def _read(place: Place, name: str) -> dict[int, dict[int, Piece]]:
    """The pieces of a run: by photograph, and by use."""
    found: dict[int, dict[int, list[NDArray[Any]]]] = {}
    with safe_open(place.fetch(name), "numpy") as file:
        for key in sorted(file.keys(), key=lambda key: [int(part) for part in key.split(".")]):
            i, use, _ = map(int, key.split("."))
            found.setdefault(i, {}).setdefault(use, []).append(file.get_tensor(key))
    return {i: dict(uses) for i, uses in found.items()}
