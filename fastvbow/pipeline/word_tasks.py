"""What a worker does for the vocabulary: take a sample from some shards, or bring their features to the words' space.

Tasks carry a place and names; what they make they leave in the project (see `fastvbow.pipeline.learning_words`). One
that is done again finds its file there. On the wire a task is below 2 kB and 8 bytes a shard, with 4 bytes for each
row that it takes (at most `SAMPLED_ROWS`, 32 kB, or those of one shard); its result is a number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import EXHAUSTED, StoreCorruptError
from fastvbow.executors import one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.encoding import located
from fastvbow.pipeline.shards import feature_shard
from fastvbow.places import Place, new_file
from fastvbow.words.joint import JointFeatures, joint_rows, joint_sample
from fastvbow.words.vocabulary import Codebook, Vocabulary

__all__ = [
    "Projecting",
    "Sampling",
    "StoredRows",
    "array_at",
    "in_runs",
    "is_there",
    "project_rows",
    "take_sample",
]


def in_runs(sizes: Sequence[int], enough: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut things into runs of neighbours: each ends when its sizes sum to `enough`, or it has `most` things.

    Parameters
    ----------
    sizes : sequence of int
    enough, most : int

    Yields
    ------
    start, stop : int
    """
    start, held = 0, 0
    for i, size in enumerate(sizes):
        held += size
        if held >= enough or i + 1 - start == most or i + 1 == len(sizes):
            yield start, i + 1
            start, held = i + 1, 0


def is_there(place: Place, name: str) -> bool:
    """Whether a project has a file."""
    try:
        place.fetch(name)
    except FileNotFoundError:
        return False
    return True


def array_at(place: Place, name: str, n_rows: int) -> NDArray[Any]:
    """A file's array as a read-only memory map, (n_rows, d).

    Parameters
    ----------
    place : Place
    name : str
    n_rows : int
        Another number is refused.

    Raises
    ------
    StoreCorruptError
        It is no such array.
    """
    path = place.fetch(name)
    again = "that shard and run 'fastvbow extract' again"
    if not name.startswith("features/"):
        again = f"{name.partition('/')[0]}/ of that project and run the same command again"
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # what a damaged header raises is not NumPy's to promise
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise
        raise StoreCorruptError(f"{path}: {error}: delete {again}") from None
    if array.ndim != 2 or len(array) != n_rows:
        raise StoreCorruptError(f"{path}: the array has shape {array.shape}, not {n_rows} rows: delete {again}")
    return array


@dataclass(frozen=True)
class Sampling:
    """Rows of some shards that belong to the sample.

    Attributes
    ----------
    place : Place
    modality : str
        ``joint``: the rows are those of SIFT, and the map at their places is taken beside them.
    first : int
        The first shard; the others follow it.
    sizes, counts : ndarray of shape (n_shards,), uint32
        How many rows each shard has, and how many are taken.
    rows : ndarray of shape (n,), uint32
        Their places in their shards.
    into : tuple of str
        Names of the files that get them: one, for joint words two.
    """

    place: Place
    modality: str
    first: int
    sizes: NDArray[np.uint32]
    counts: NDArray[np.uint32]
    rows: NDArray[np.uint32]
    into: tuple[str, ...]


def take_sample(task: Sampling) -> int:
    """Copy the rows into the project; return how many there are."""
    if all(is_there(task.place, name) for name in task.into):
        return len(task.rows)
    parts: list[tuple[NDArray[Any], ...]] = []
    with one_thread_each():
        cuts = np.cumsum(task.counts[:-1], dtype=np.int64)
        for offset, rows in enumerate(np.split(task.rows.astype(np.int64), cuts)):
            if not len(rows):
                continue
            if task.modality == "joint":
                parts.append(joint_sample([(_joint(task.place, task.first + offset), rows)]))
            else:
                name = f"{feature_shard(task.first + offset)}/{task.modality}.descriptors.npy"
                parts.append((array_at(task.place, name, int(task.sizes[offset]))[rows],))
    for number, name in enumerate(task.into):
        _leave(task.place, name, [part[number] for part in parts])
    return len(task.rows)


def _joint(place: Place, index: int) -> JointFeatures:
    shard = FeatureShard(place.fetch(feature_shard(index)))
    return JointFeatures(located(shard, "sift"), located(shard, "conv"))


@dataclass(frozen=True)
class Projecting:
    """Features of some shards that are brought to the space in which words are learned.

    Attributes
    ----------
    place : Place
    modality : str
    first : int
        The first shard; the others follow it.
    sizes : ndarray of shape (n_shards,), uint32
        How many rows each has.
    projection : str
        The folder with the projection: a vocabulary of this modality, without words.
    into : str
        Name of the file that gets the rows, (n_rows, p) float32.
    """

    place: Place
    modality: str
    first: int
    sizes: NDArray[np.uint32]
    projection: str
    into: str


def project_rows(task: Projecting) -> int:
    """Write the rows into the project; return how many there are."""
    n_rows = int(task.sizes.sum(dtype=np.int64))
    if is_there(task.place, task.into):
        return n_rows
    book = Vocabulary.load(task.place.fetch(task.projection)).codebooks[task.modality]
    with one_thread_each():
        _leave(task.place, task.into, _projected(task, book), n_rows)
    return n_rows


def _projected(task: Projecting, book: Codebook) -> Iterator[NDArray[np.float32]]:
    """The rows of the shards, block by block: one beginning with each shard, for the same bytes in any run."""
    for index, size in enumerate(task.sizes.tolist(), start=task.first):
        if task.modality == "joint":
            yield from joint_rows(book, _joint(task.place, index))
        elif size:
            found = array_at(task.place, f"{feature_shard(index)}/{task.modality}.descriptors.npy", size)
            yield from map(partial(_project, book, found), range(0, len(found), _BLOCK))


_BLOCK = 8192


def _project(book: Codebook, descriptors: NDArray[Any], start: int) -> NDArray[np.float32]:
    return book.project(descriptors[start : start + _BLOCK])


def _leave(place: Place, name: str, blocks: Any, n_rows: int | None = None) -> None:
    """Put an array into the project, block by block."""
    n_rows = sum(map(len, blocks)) if n_rows is None else n_rows
    with new_file(place, name) as path, path.open("wb") as file:
        written = 0
        for block in filter(len, blocks):  # not into a memory map: on a full disk that would end without a word
            if not written:
                descr = np.lib.format.dtype_to_descr(block.dtype)
                head = {"descr": descr, "fortran_order": False, "shape": (n_rows, block.shape[1])}
                np.lib.format.write_array_header_1_0(file, head)
            file.write(np.ascontiguousarray(block).data)
            written += len(block)
        if written != n_rows:
            raise StoreCorruptError(f"the shards hold {written} rows for {name}, their cards say {n_rows}")


@dataclass(frozen=True)
class StoredRows:
    """Rows in files of a project: a source of `fastvbow.words.sharded`.

    Attributes
    ----------
    place : Place
    names : tuple of str
    counts : tuple of int
        How many rows each file has.
    """

    place: Place
    names: tuple[str, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def rows(self) -> list[NDArray[Any]]:
        """The files' arrays, as read-only memory maps."""
        pairs = zip(self.names, self.counts, strict=True)
        return [array_at(self.place, name, count) for name, count in pairs if count]
