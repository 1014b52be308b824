"""Which photographs to label next: the uncertain ones, or few that stand for all.

With few labels a choice has to cover what there is; what a model is uncertain of pays only later, when it knows the
kinds (Hacohen et al. 2022). The default shares the labels among the topics and covers each topic.

As in `fastvbow.groups.coverage` nothing is random, and of equals the first row is taken.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.groups.coverage import LANDMARKS, facility_location, k_center, unit_rows
from fastvbow.groups.uncertainty import entropies, margins

__all__ = ["STRATEGIES", "select_rows", "turns"]

STRATEGIES = ("balanced", "diverse", "farthest", "typical", "entropy", "margin")
"""Ways to choose; the first is the default."""

_BLOCK = 1 << 14
_DIGITS = 6  # beyond these two mixtures are equally uncertain: what differs is rounding


def select_rows(
    theta: NDArray[np.floating],
    vectors: NDArray[np.floating],
    n: int,
    *,
    by: str = STRATEGIES[0],
    known: NDArray[np.bool_] | None = None,
    quotas: NDArray[np.integer] | None = None,
) -> NDArray[np.int64]:
    """Choose rows to be labelled.

    - ``balanced``: the topics in turn, those with the fewest known and chosen rows first; of each topic by
      `facility_location`, which also ranks topics of which equally many are held, by the rows that they give first.
    - ``diverse``: `facility_location` of all rows.
    - ``farthest``: `k_center`: what is least like all that is known.
    - ``typical``: the topics in turn as above; of each topic those nearest to its mean direction, however alike.
    - ``entropy``: the highest entropy of the mixture.
    - ``margin``: the smallest difference between the two most probable topics.

    Parameters
    ----------
    theta : ndarray of shape (n_rows, n_topics), floating
        Mixtures; a row belongs to its most probable topic, the lowest where two tie.
    vectors : ndarray of shape (n_rows, d), floating
        In which rows are compared by their directions. For mixtures: their square roots (Hellinger distance).
    n : int
        How many are wanted; fewer come back where the rows or the quotas have no more.
    by : str, default="balanced"
        One of `STRATEGIES`.
    known : ndarray of shape (n_rows,), bool, optional
        Rows that have a label already: never chosen.
    quotas : ndarray of shape (n_topics,), integer, optional
        At most so many rows of each topic.

    Returns
    -------
    ndarray of shape (at most n,), int64
        Indexes of rows, the first to be labelled first; a smaller `n` gives the beginning of a larger one's.

    Raises
    ------
    UsageError
        There is no such strategy, `n` is below 1, or a quota below 0.
    """
    if by not in STRATEGIES:
        raise UsageError(f"photographs are selected by one of {', '.join(STRATEGIES)}, not {by!r}")
    if n < 1:
        raise UsageError(f"the number of photographs to select is at least 1, not {n}")
    if quotas is not None and (np.asarray(quotas) < 0).any():
        raise UsageError(f"at most so many photographs of a topic: 0 or more, not {int(np.min(quotas))}")
    known = np.zeros(len(theta), bool) if known is None else known
    topic = theta.argmax(axis=1) if len(theta) else np.zeros(0, np.int64)
    if by == "diverse":
        return facility_location(vectors, n, known=known, groups=topic, quotas=quotas)
    if by == "farthest":
        return k_center(vectors, n, known=known, groups=topic, quotas=quotas)
    if by in ("entropy", "margin"):
        score = -entropies(theta) if by == "entropy" else margins(theta)
        return _first(np.argsort(np.round(score, _DIGITS), kind="stable"), n, known, topic, quotas)
    return _in_turn(vectors, topic, theta.shape[1], n, known, quotas, typical=by == "typical")


def turns(n: int, held: NDArray[np.integer], room: NDArray[np.integer], rank: NDArray[np.integer]) -> NDArray[np.int64]:
    """Which topic gives the next row, again and again: the one of which the fewest are held, of equals the first.

    Parameters
    ----------
    n : int
        Turns.
    held : ndarray of shape (n_topics,), integer
        How many rows of each topic have been taken before.
    room : ndarray of shape (n_topics,), integer
        How many more each can give.
    rank : ndarray of shape (n_topics,), integer
        Each topic's place among equals; all differ.

    Returns
    -------
    ndarray of shape (min(n, sum of room),), int64
        Topics.
    """
    queue = [(int(held[k]), int(rank[k]), k, int(room[k])) for k in range(len(room)) if room[k] > 0]
    heapq.heapify(queue)
    out = list[int]()
    while queue and len(out) < n:
        taken, place, topic, left = queue[0]
        out.append(topic)
        if left > 1:
            heapq.heapreplace(queue, (taken + 1, place, topic, left - 1))
        else:
            heapq.heappop(queue)
    return np.array(out, np.int64)


def _in_turn(
    vectors: NDArray[np.floating],
    topic: NDArray[np.integer],
    n_topics: int,
    n: int,
    known: NDArray[np.bool_],
    quotas: NDArray[np.integer] | None,
    *,
    typical: bool,
) -> NDArray[np.int64]:
    held = np.bincount(topic[known], minlength=n_topics)
    room = np.bincount(topic[~known], minlength=n_topics)
    room = room if quotas is None else np.minimum(room, quotas)
    # so many turns end the round in which the n-th falls: no topic gives more, whichever comes first in it
    most = np.bincount(turns(n + n_topics, held, room, np.arange(n_topics)), minlength=n_topics)
    picked = [np.zeros(0, np.int64)] * n_topics
    for k in np.flatnonzero(most):
        of_topic = topic == k
        members = np.flatnonzero(of_topic)
        if typical:
            ranked = members[_typical_first(vectors, members)]
            picked[k] = ranked[~known[ranked]][: most[k]]
        else:
            picked[k] = facility_location(
                vectors, int(most[k]), known=known & of_topic, among=members, landmarks=members[:LANDMARKS]
            )
    firsts = np.array([picked[k][0] for k in np.flatnonzero(most)], np.int64)
    in_order = facility_location(vectors, len(firsts), known=known, among=np.sort(firsts))
    rank = np.full(n_topics, n_topics)
    rank[topic[in_order]] = np.arange(len(in_order))
    order = turns(n, held, room, rank)
    out = np.empty(len(order), np.int64)
    for k in np.unique(order):
        places = np.flatnonzero(order == k)
        out[places] = picked[k][: len(places)]
    return out


def _typical_first(vectors: NDArray[np.floating], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places in `members`, those nearest to their mean direction first."""
    blocks = [members[start : start + _BLOCK] for start in range(0, len(members), _BLOCK)]
    centre = sum(unit_rows(vectors[block]).sum(axis=0, dtype=np.float64) for block in blocks) / len(members)
    cosines = np.concatenate([unit_rows(vectors[block]) @ centre for block in blocks])
    return np.argsort(-np.round(cosines, _DIGITS), kind="stable")


def _first(
    ranked: NDArray[np.int64],
    n: int,
    known: NDArray[np.bool_],
    topic: NDArray[np.integer],
    quotas: NDArray[np.integer] | None,
) -> NDArray[np.int64]:
    """The first n rows that are not known, at most so many of each topic."""
    ranked = ranked[~known[ranked]]
    if quotas is None:
        return ranked[:n]
    of_row = topic[ranked]
    kept = np.zeros(len(ranked), bool)
    for k, quota in enumerate(quotas):
        kept[np.flatnonzero(of_row == k)[:quota]] = True
    return ranked[kept][:n]
