"""What is done with the rows of one shard in a pass over all shards, and how the results of several are put together.

Every function stands for itself: a task is some numbers, the centres, and a source that opens its rows where the task
is done; nothing is read or written but these rows. Results are put together in the order of the shards.

Sums of uint8 rows are whole numbers and travel in the smallest type that holds them: they are the same however the rows
are cut into shards. Those of other rows are float64, and depend on the cut in their last bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastvbow.executors import one_thread_each
from fastvbow.words._rows import Shards, as_block, float_dtype, release
from fastvbow.words._sweep import pool_of, sweep

__all__ = [
    "Drawing",
    "Drawn",
    "Farthest",
    "Found",
    "Picking",
    "RowSource",
    "Summing",
    "Sums",
    "add_up",
    "draw",
    "find_farthest",
    "keep_drawn",
    "keep_farthest",
    "pick",
    "sum_up",
    "uniforms",
]

_UNIFORMS = 1 << 14  # random numbers of one generator


class RowSource(Protocol):
    """Rows that are opened where they are worked on. It is sent to workers: some hundred bytes, no open file."""

    def __len__(self) -> int:
        """How many rows there are."""

    def rows(self) -> np.ndarray | Sequence[np.ndarray]:
        """The rows, or parts of them one after another: (n, d) uint8, float16, float32 or float64, of one dtype and
        width in all sources. Read-only memory maps are as good, and never held in memory as a whole."""


@dataclass(frozen=True)
class Drawing:
    """A round of k-means|| over one shard; see `draw`."""

    source: RowSource
    first: int
    candidates: np.ndarray
    key: tuple[int, int]
    wanted: float


class Drawn(NamedTuple):
    """Rows that may be drawn in a round, and what decides: the potential so far."""

    potential: float
    scores: np.ndarray  # (m,) float64, above potential / wanted
    rows: np.ndarray  # (m, d)
    wanted: float


def draw(task: Drawing) -> Drawn:
    """The rows of a shard that k-means|| may draw in a round.

    It draws every row by itself, with probability wanted d^2 / potential, d the distance to the nearest candidate so
    far, the potential the sum of all d^2. So a row with the uniform number u is drawn where d^2 / u is above
    potential / wanted. The potential of all rows is known only in the end, but that of some is no greater: the rows
    above that of the shard are kept, of these the ones above that of some shards, and so on. Each time some `wanted`
    are left, and one pass is enough for potential and draw.
    """
    with one_thread_each(), pool_of(1) as pool:
        X = _opened(task.source)
        centers = task.candidates.astype(float_dtype(X, task.candidates))
        found = sweep(X, centers, pool, distances=True, check=True)
        scores = found.sqdist.astype(np.float64) / (1 - uniforms(task.key, task.first, len(X)))
        kept = np.flatnonzero(scores > found.inertia / task.wanted)
        rows = _taken(X, kept)
    return Drawn(found.inertia, scores[kept], rows, task.wanted)


def keep_drawn(parts: Sequence[Drawn]) -> Drawn:
    """Of the rows of some shards those that are above the potential of all of these."""
    potential, wanted = sum(part.potential for part in parts), parts[0].wanted
    scores, rows = np.concatenate([part.scores for part in parts]), np.concatenate([part.rows for part in parts])
    kept = scores > potential / wanted
    return Drawn(potential, scores[kept], rows[kept], wanted)


def uniforms(key: tuple[int, int], first: int, n: int) -> np.ndarray:
    """A random number in [0, 1) for each of `n` rows, which depends on the key and the row's place among all rows.

    Parameters
    ----------
    key : tuple of int
    first : int
        Place of the first of them.
    n : int
    """
    blocks = range(first // _UNIFORMS, -(-(first + n) // _UNIFORMS))
    drawn = [np.random.default_rng([*key, block]).random(_UNIFORMS) for block in blocks]
    start = first - blocks.start * _UNIFORMS
    return np.concatenate([np.empty(0), *drawn])[start : start + n]


@dataclass(frozen=True)
class Summing:
    """A pass of Lloyd's over one shard."""

    source: RowSource
    centers: np.ndarray
    sums: bool = True  # whether they are wanted


class Sums(NamedTuple):
    """Of the rows nearest to each centre."""

    sums: np.ndarray  # (K, d) whole numbers of the smallest type, or float64; (0,) where they are not wanted
    counts: np.ndarray  # (K,) whole numbers of the smallest type
    inertia: float


def sum_up(task: Summing) -> Sums:
    """Sums and numbers of the rows of a shard that are nearest to each centre, and the sum of squared distances."""
    with one_thread_each(), pool_of(1) as pool:
        X = _opened(task.source)
        centers = task.centers.astype(float_dtype(X, task.centers), copy=False)
        found = sweep(X, centers, pool, labels=not task.sums, distances=True, sums=task.sums, check=True)
    if not task.sums:
        return Sums(np.empty(0), _smallest(np.bincount(found.labels, minlength=len(centers))), found.inertia)
    sums = _smallest(found.sums) if X.dtype == np.uint8 else found.sums
    return Sums(sums, _smallest(found.counts), found.inertia)


def add_up(parts: Sequence[Sums]) -> Sums:
    """The same of several shards."""
    sums, counts, inertia = _wide(parts[0].sums), _wide(parts[0].counts), parts[0].inertia
    for part in parts[1:]:
        sums = sums + part.sums
        counts = counts + part.counts
        inertia += part.inertia
    return Sums(_smallest(sums) if sums.dtype == np.uint64 else sums, _smallest(counts), inertia)


def _wide(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float64 if numbers.dtype.kind == "f" else np.uint64)


def _smallest(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers in the smallest type that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


@dataclass(frozen=True)
class Farthest:
    """The search for rows far from their centres in one shard."""

    source: RowSource
    centers: np.ndarray
    wanted: int


class Found(NamedTuple):
    """Distinct rows, the farthest first, the first of equals first."""

    sqdist: np.ndarray  # (m,), m <= wanted
    rows: np.ndarray  # (m, d)
    wanted: int


def find_farthest(task: Farthest) -> Found:
    """The rows of a shard that are farthest from their nearest centres."""
    with one_thread_each(), pool_of(1) as pool:
        X = _opened(task.source)
        centers = task.centers.astype(float_dtype(X, task.centers), copy=False)
        sqdist = sweep(X, centers, pool, labels=False, distances=True).sqdist
        order = np.argsort(-sqdist, kind="stable")[: np.count_nonzero(sqdist > 0)]
        distinct: dict[bytes, int] = {}
        for start in range(0, len(order), 4 * task.wanted):
            some = order[start : start + 4 * task.wanted]
            for place, row in zip(some.tolist(), _taken(X, some), strict=True):
                distinct.setdefault(row.tobytes(), place)
            if len(distinct) >= task.wanted:
                break
        places = np.array(list(distinct.values())[: task.wanted], np.int64)
        return Found(sqdist[places], _taken(X, places), task.wanted)


def keep_farthest(parts: Sequence[Found]) -> Found:
    """Of the rows of some shards the farthest."""
    sqdist, rows = np.concatenate([part.sqdist for part in parts]), np.concatenate([part.rows for part in parts])
    distinct: dict[bytes, int] = {}
    for place in np.argsort(-sqdist, kind="stable").tolist():
        distinct.setdefault(rows[place].tobytes(), place)
    places = np.array(list(distinct.values())[: parts[0].wanted], np.int64)
    return Found(sqdist[places], rows[places], parts[0].wanted)


@dataclass(frozen=True)
class Picking:
    """Some rows of a shard, by their places in it."""

    source: RowSource
    places: np.ndarray


def pick(task: Picking) -> np.ndarray:
    """The rows."""
    return _taken(_opened(task.source), task.places)


def _opened(source: RowSource) -> Any:
    found = source.rows()
    return found if isinstance(found, np.ndarray) else found[0] if len(found) == 1 else Shards(found)


def _taken(X: Any, places: np.ndarray) -> np.ndarray:
    """A copy of some rows; the pages that they stand on are given back."""
    rows = np.array(as_block(X, places))
    release(X)
    return rows
