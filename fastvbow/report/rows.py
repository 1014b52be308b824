"""The order in which all photographs can be browsed, and which of them have a small thumbnail there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastvbow.report.choice import Choice, checksums
from fastvbow.report.content import ReportContent

__all__ = ["Rows", "choose_sample", "order_rows"]

HEAD = 60  # photographs on a page of the browser


@dataclass(frozen=True, eq=False)
class Rows:
    """All photographs, topic by topic, the most probable of each first.

    Attributes
    ----------
    order : ndarray of shape (n_images,), int
        The photograph that stands in each row.
    row_of : ndarray of shape (n_images,), int
        The row of each photograph.
    topics : list of (int, int, int)
        Topic id, first row and number of rows, in the order of `Choice.topics`; those without a topic, -1, come last.
    keys : ndarray of shape (n_images,), uint32
        `checksums` of the photographs' ids.
    """

    order: NDArray[np.intp]
    row_of: NDArray[np.intp]
    topics: list[tuple[int, int, int]]
    keys: NDArray[np.uint32]


def order_rows(content: ReportContent, choice: Choice) -> Rows:
    """Put all photographs into the order in which they are browsed.

    Topics stand as in the overview, largest first; within one the probability, rounded to three decimals, falls, and
    ties are scattered as in `choice`.

    Parameters
    ----------
    content : ReportContent
        The columns.
    choice : Choice
        The order of the topics.

    Returns
    -------
    Rows
    """
    place = np.full(content.n_topics + 1, len(choice.topics), dtype=np.intp)  # the last one is that of -1
    place[[t.topic for t in choice.topics]] = np.arange(len(choice.topics))
    group = place[np.asarray(content.topic)]
    falling = -np.round(np.nan_to_num(np.asarray(content.probability, dtype=np.float64), nan=-1.0), 3)
    falling[group == len(choice.topics)] = 0.0
    keys = checksums(content.ids)
    order = np.lexsort((keys, falling, group))
    row_of = np.empty(len(order), dtype=np.intp)
    row_of[order] = np.arange(len(order))
    sizes = np.bincount(group, minlength=len(choice.topics) + 1)
    starts = np.cumsum(sizes) - sizes
    topics = [(t.topic, int(starts[i]), int(sizes[i])) for i, t in enumerate(choice.topics)]
    if sizes[-1]:
        topics.append((-1, int(starts[-1]), int(sizes[-1])))
    return Rows(order, row_of, topics, keys)


def choose_sample(rows: Rows, shown: Sequence[int], n: int) -> list[int]:
    """Choose the photographs that have a small thumbnail.

    All of them where there are at most `n`. Else, as far as `n` reaches, those that the pages show anyway, then the
    first `HEAD` of each topic, with at most half of what is left, and then some of all others, as good as at random.

    Parameters
    ----------
    rows : Rows
        All photographs.
    shown : sequence of int
        Those that are decoded anyway.
    n : int
        How many, at most.

    Returns
    -------
    list of int
        In the order of the rows.
    """
    if n >= len(rows.order):
        return [int(i) for i in rows.order]
    chosen = dict.fromkeys(int(i) for i in shown[:n])
    head = min(HEAD, (n - len(chosen)) // (2 * max(1, len(rows.topics))))
    for _, start, size in rows.topics:
        chosen |= dict.fromkeys(rows.order[start : start + min(head, size)].tolist())
    left = n - len(chosen)
    if left > 0:
        free = np.ones(len(rows.order), dtype=bool)
        free[list(chosen)] = False
        others = np.flatnonzero(free)
        chosen |= dict.fromkeys(others[np.argsort(rows.keys[others], kind="stable")[:left]].tolist())
    return sorted(chosen, key=lambda i: int(rows.row_of[i]))
