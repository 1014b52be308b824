"""Few rows that stand for many: facility location and k-center, greedy, in bounded memory.

Both compare directions: rows count at unit length, and the similarity of two is their cosine. Nothing here is random.
Of equals the first row is taken, and where not all rows can be looked at the first ones are; so rows come in an order
that means nothing (shuffled, or sorted by a hash), in which the first ones are a fair sample.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled

__all__ = ["CANDIDATES", "LANDMARKS", "facility_location", "k_center", "unit_rows"]

CANDIDATES = 10_000
"""Rows among which `facility_location` chooses."""
LANDMARKS = 4_000
"""Rows that `facility_location` sees to be near a chosen one, unless others are named."""

_CELLS = 1 << 20  # of a block of rows, or of similarities: 4 MB in float32, which caches hold
_HELD = 1 << 28  # cells up to which k_center holds all rows in float32: 1 GB
_BATCH = 64  # candidates whose gains are computed at a time
_GAIN_DIGITS = 4  # a pair that covers only itself gains as much by either row, but for rounding
_COSINE_DIGITS = 6


def facility_location(
    rows: NDArray[np.floating],
    n: int,
    *,
    known: NDArray[np.bool_] | None = None,
    groups: NDArray[np.integer] | None = None,
    quotas: NDArray[np.integer] | None = None,
    among: NDArray[np.integer] | None = None,
    landmarks: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Choose rows so that all rows are near a chosen one, by the greatest gain first.

    Maximises sum_i max_{j chosen} cos(x_i, x_j), which is half the sum of squared distances to the nearest chosen row,
    negated: k-medoids, whose first phase this is (BUILD of Kaufman & Rousseeuw 1990). The function is submodular, so
    the greedy choice has 1 - 1/e of the best gain at least (Nemhauser et al. 1978), and a gain computed earlier bounds
    the present one, so that few are computed again (Minoux 1978). A smaller `n` gives the beginning of a larger one's
    rows.

    Time: O(`CANDIDATES` `LANDMARKS` d) at most, and a small part of it for each chosen row. Memory: O((`CANDIDATES` +
    `LANDMARKS`) d), whatever the number of rows.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, d), floating
        Zero rows are at cosine 0 to all.
    n : int
        Fewer come back where there are fewer.
    known : ndarray of shape (n_rows,), bool, optional
        Rows that count as chosen already: they are near others, and are not returned.
    groups : ndarray of shape (n_rows,), integer, optional
        The group of each row, from 0.
    quotas : ndarray of shape (n_groups,), integer, optional
        At most so many rows of each group are returned. Both or neither of the two.
    among : ndarray of shape (m,), integer, optional
        Indexes, ascending, of the rows that may be chosen; all by default.
    landmarks : ndarray of shape (m,), integer, optional
        Indexes of the rows that are to be near a chosen one; the first `LANDMARKS` by default.

    Returns
    -------
    ndarray of shape (at most n,), int64
        Indexes of rows, in the order in which they were chosen. Where all landmarks have been reached, the rows that
        are left follow as they stand.
    """
    taken = _mask(known, len(rows))
    free = np.flatnonzero(~taken) if among is None else among[~taken[among]]
    candidates = free[:CANDIDATES]
    if not len(candidates):
        return np.zeros(0, np.int64)
    marks, held = unit_rows(rows[:LANDMARKS] if landmarks is None else rows[landmarks]), unit_rows(rows[candidates])
    cover = _nearest_known(rows, known, marks)
    bounds = np.concatenate([_gains(held[at], marks, cover) for at in _blocks(len(held), len(marks))])
    room = _Room(groups, quotas)
    chosen, wanted = list[int](), min(n, len(candidates))
    for row in np.flatnonzero(room.full[room.of(candidates)]):
        bounds[row] = -np.inf
    while len(chosen) < wanted:
        best = _greatest(bounds, held, marks, cover)
        if bounds[best] <= 0:
            break
        chosen.append(int(candidates[best]))
        np.maximum(cover, marks @ held[best], out=cover)
        bounds[best] = -np.inf
        if room.take(chosen[-1]):
            bounds[room.of(candidates) == room.of(candidates[best])] = -np.inf
    left = np.setdiff1d(free, chosen) if len(chosen) < n else free[:0]
    for row in left:
        if len(chosen) >= n:
            break
        if not room.full[room.of(row)]:
            chosen.append(int(row))
            room.take(row)
    return np.array(chosen, np.int64)


def k_center(
    rows: NDArray[np.floating],
    n: int,
    *,
    known: NDArray[np.bool_] | None = None,
    groups: NDArray[np.integer] | None = None,
    quotas: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Choose the row that is farthest from all chosen ones, again and again (Gonzalez 1985; Sener & Savarese 2018).

    The greatest distance of a row to the nearest chosen one is at most twice the least that is possible. So the choice
    finds what is rare, and what is odd. The first row is the one nearest to the mean direction where none is known.

    Every row is looked at for every chosen one: time O(n_rows (n + known) d). Memory: O(n_rows) and one block, and up
    to 1 GB for rows that are not in float32.

    Parameters
    ----------
    rows, n, known, groups, quotas
        See `facility_location`, which takes the same.

    Returns
    -------
    ndarray of shape (at most n,), int64
        Indexes of rows, in the order in which they were chosen.
    """
    taken, room = _mask(known, len(rows)).copy(), _Room(groups, quotas)
    if not len(rows):
        return np.zeros(0, np.int64)
    if rows.size <= _HELD:
        rows = np.asarray(rows, np.float32)  # else each step converts them
    scale = _scales(rows)
    if taken.any():
        nearest = np.full(len(rows), -1.0, np.float32)
        for at in _blocks(len(rows), rows.shape[1]):
            nearest[at] = _nearest_known(rows, known, unit_rows(rows[at]))
    else:
        nearest = -_cosines(rows, scale, _mean_direction(rows, scale))  # the nearest to it counts as the farthest
    every = np.arange(len(rows))
    barred = taken | room.full[room.of(every)]
    chosen = list[int]()
    while len(chosen) < n and not barred.all():
        best = int(np.where(barred, np.inf, nearest).argmin())
        cosines = _cosines(rows, scale, unit_rows(rows[best : best + 1])[0])
        nearest = cosines if not chosen and not taken.any() else np.maximum(nearest, cosines)
        chosen.append(best)
        barred[best] = True
        if room.take(best):
            barred |= room.of(every) == room.of(best)
    return np.array(chosen, np.int64)


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows at unit length in float32; a zero row stays zero.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, d), floating
    """
    rows = np.asarray(rows, np.float32)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)


class _Room:
    """How many rows of each group may still be taken; without quotas all rows are one group without a bound."""

    def __init__(self, groups: NDArray[np.integer] | None, quotas: NDArray[np.integer] | None) -> None:
        self._groups = groups if quotas is not None else None
        self._left = np.array([-1]) if quotas is None else np.array(quotas, np.int64)
        self.full = self._left == 0

    def of(self, rows: NDArray[np.integer] | int) -> NDArray[np.integer]:
        """The group of each of some rows."""
        return np.zeros(np.shape(rows), np.int64) if self._groups is None else self._groups[rows]

    def take(self, row: int) -> bool:
        """Take one; whether its group is full now."""
        group = self.of(row)
        self._left[group] -= 1
        self.full[group] = self._left[group] == 0
        return bool(self.full[group])


def _greatest(
    bounds: NDArray[np.float64],
    held: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    cover: NDArray[np.float32],
) -> int:
    """The candidate of the greatest gain, the first of equals; the bounds that were in question become gains."""
    fresh = np.zeros(len(bounds), bool)
    while True:
        best = int(bounds.argmax())
        if fresh[best] or bounds[best] <= 0:
            return best
        stale = np.where(fresh, -np.inf, bounds)
        batch = np.argpartition(-stale, min(_BATCH, len(stale)) - 1)[:_BATCH]
        batch = np.union1d(batch[stale[batch] > 0], [best])
        bounds[batch], fresh[batch] = _gains(held[batch], landmarks, cover), True


def _gains(
    candidates: NDArray[np.float32], landmarks: NDArray[np.float32], cover: NDArray[np.float32]
) -> NDArray[np.float64]:
    """By how much the sum of the landmarks' similarities would rise with each candidate, (n_candidates,)."""
    gains = np.maximum(candidates @ landmarks.T - cover, 0).sum(axis=1, dtype=np.float64)
    return np.round(gains, _GAIN_DIGITS)


def _nearest_known(
    rows: NDArray[np.floating], known: NDArray[np.bool_] | None, some: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The greatest cosine of each of some unit rows to a known one; -1 where none is known."""
    cover = np.full(len(some), -1.0, np.float32)
    places = np.flatnonzero(_mask(known, len(rows)))
    for at in _blocks(len(places), max(len(some), rows.shape[1])):
        np.maximum(cover, (some @ unit_rows(rows[places[at]]).T).max(axis=1), out=cover)
    return cover


def _mask(known: NDArray[np.bool_] | None, n_rows: int) -> NDArray[np.bool_]:
    return np.zeros(n_rows, bool) if known is None else known


def _blocks(n_rows: int, width: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(1, width))
    for start in range(0, n_rows, step):
        check_cancelled()
        yield slice(start, min(start + step, n_rows))


def _scales(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """One over the length of each row; 0 for a zero row."""
    scale = np.zeros(len(rows), np.float32)
    for at in _blocks(len(rows), rows.shape[1]):
        norm = np.linalg.norm(np.asarray(rows[at], np.float32), axis=1)
        np.divide(1, norm, out=scale[at], where=norm > 0)
    return scale


def _mean_direction(rows: NDArray[np.floating], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    total = np.zeros(rows.shape[1], np.float64)
    for at in _blocks(len(rows), rows.shape[1]):
        total += scale[at] @ np.asarray(rows[at], np.float32)
    return unit_rows(total[None])[0]


def _cosines(
    rows: NDArray[np.floating], scale: NDArray[np.float32], direction: NDArray[np.float32]
) -> NDArray[np.float32]:
    out = np.empty(len(rows), np.float32)
    for at in _blocks(len(rows), rows.shape[1]):
        np.multiply(np.asarray(rows[at], np.float32) @ direction, scale[at], out=out[at])
    return np.round(out, _COSINE_DIGITS, out=out)
