"""``map.html``: all photographs on one map, and its data.

``data/map.js`` has, of each photograph that is drawn by itself, in the order of `fastvbow.report.rows.Rows`: ``rows``
(its row less the one before), ``x`` and ``y`` (in `SIDE` steps, y downwards), ``slot`` (its cell in the sprite sheets,
-1: none), ``sizes`` (width and height of those with a cell) and, where any is labelled, ``label`` (a number in
``labels``, -1: none, -2: another one). ``topics`` has the colour and the middle of each topic of ``data/index.js``, in
that order, ``labels`` name, colour, middle and number of the most frequent labels. Where photographs are placed that
are not drawn by themselves, ``density`` counts all of them on a grid: ``cells`` (each less the one before), ``counts``
and ``topics`` (the most frequent). At most `MOST_DRAWN` photographs are drawn by themselves: 0.7 MB.

Neighbours must be told apart, not all groups from one another: there are `COLOURS` colours, and of a group beyond these
the one whose nearest bearer is farthest away. Names on the map tell the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.report import wording
from fastvbow.report.choice import scattered
from fastvbow.report.layout import Layout
from fastvbow.report.positions import MapInput, Positions, lay_out
from fastvbow.report.rows import Rows
from fastvbow.report.site import Site
from fastvbow.report.sprites import Sprites

__all__ = ["COLOURS", "GRID", "MOST_DRAWN", "SIDE", "choose_colours", "count_cells", "write_map"]

MOST_DRAWN = 20_000
"""Photographs that are drawn one by one."""
SIDE = 10_000
GRID = 128
"""Cells along each side of the grid of the density."""
COLOURS = 9
"""Colours in ``map.css``, those of Wong (2011, Nature Methods 8) and of Tol first."""
_MOST_LABELS = 60


def write_map(site: Site, layout: Layout, rows: Rows, sprites: Sprites, given: MapInput) -> Positions:
    """Write ``map.html`` and ``data/map.js``.

    Parameters
    ----------
    site : Site
    layout : Layout
    rows : Rows
    sprites : Sprites
        The sheets, written.
    given : MapInput
        What the photographs are laid out by. Those without a topic have no place.

    Returns
    -------
    Positions
    """
    content = site.content
    n_placed = next((start for topic, start, _ in rows.topics if topic < 0), len(rows.order))
    drawn = _drawn(rows, list(sprites.slot_of), n_placed)
    others = np.setdiff1d(rows.order[:n_placed], rows.order[drawn])
    positions = lay_out(given, rows.order[drawn], others)
    starts = np.array([start for topic, start, _ in rows.topics if topic >= 0], dtype=np.intp)
    of_topic = np.searchsorted(starts, drawn, side="right") - 1
    middles = _middles(positions.drawn, of_topic, len(starts))
    steps = np.clip(np.rint(positions.drawn * (SIDE - 1)), 0, SIDE - 1).astype(int)
    indices = rows.order[drawn].tolist()
    slots = [sprites.slot_of.get(index, -1) if index in sprites.sizes else -1 for index in indices]
    data: dict[str, Any] = {
        "method": positions.method,
        "rows": np.diff(drawn, prepend=0).tolist(),
        "x": steps[:, 0].tolist(),
        "y": (SIDE - 1 - steps[:, 1]).tolist(),
        "slot": slots,
        "sizes": [
            side for index, slot in zip(indices, slots, strict=True) if slot >= 0 for side in sprites.sizes[index]
        ],
        "topics": _groups(middles),
        "density": None,
    }
    if content.labels is not None:
        data |= _labels(content.labels, indices, positions.drawn)
    if len(positions.others):
        topics = {topic: number for number, (topic, _, _) in enumerate(rows.topics)}
        everything = np.array([topics[int(t)] for t in np.asarray(content.topic)[others]], dtype=np.intp)
        data["density"] = count_cells(
            np.concatenate([positions.drawn, positions.others]), np.concatenate([of_topic, everything])
        )
    site.data("map", data)
    site.page(
        "map.html",
        "map.html.j2",
        method=positions.method,
        n_drawn=len(drawn),
        n_placed=len(drawn) + len(positions.others),
        n_all=len(rows.order),
        n_without=len(rows.order) - n_placed,
    )
    return positions


def _drawn(rows: Rows, pictured: Sequence[int], n_placed: int) -> NDArray[np.intp]:
    """The rows that are drawn one by one: all, or else those with a thumbnail and some more, as good as at random."""
    if n_placed <= MOST_DRAWN:
        return np.arange(n_placed)
    first = rows.row_of[np.asarray(pictured, dtype=np.intp)]
    first = first[first < n_placed][:MOST_DRAWN]
    rest = np.setdiff1d(np.arange(n_placed), first)
    more = scattered(rows.keys[rows.order], rest, MOST_DRAWN - len(first))
    return np.sort(np.concatenate([first, np.asarray(more, dtype=np.intp)]))


def _middles(positions: NDArray[np.float64], group: NDArray[np.intp], n: int) -> NDArray[np.float64]:
    """The median place of each group, (n, 2); NaN where it has none."""
    found = np.full((n, 2), np.nan)
    for number in np.unique(group[group >= 0]):
        found[number] = np.median(positions[group == number], axis=0)
    return found


def _groups(middles: NDArray[np.float64]) -> list[list[int] | None]:
    """Colour and middle of each group, in steps; none of one that is not on the map."""
    colours = choose_colours(middles)
    steps = np.nan_to_num(np.rint(middles * (SIDE - 1))).astype(int)
    return [
        None if np.isnan(middle[0]) else [colour, int(x), int(SIDE - 1 - y)]
        for middle, colour, (x, y) in zip(middles, colours, steps, strict=True)
    ]


def choose_colours(middles: NDArray[np.float64]) -> list[int]:
    """A colour for each of some groups: another one as long as there are any, then that of the farthest.

    Parameters
    ----------
    middles : ndarray of shape (n, 2), float64
        Where each group lies; NaN: nowhere.

    Returns
    -------
    list of int, from 0 to `COLOURS` - 1
    """
    colours: list[int] = []
    for number, middle in enumerate(middles):
        if number < COLOURS or np.isnan(middle[0]):
            colours.append(number % COLOURS)
            continue
        before = np.asarray(colours)
        distance = np.nan_to_num(np.linalg.norm(middles[:number] - middle, axis=1), nan=np.inf)
        nearest = [float(distance[before == colour].min()) for colour in range(COLOURS)]
        colours.append(int(np.argmax(nearest)))
    return colours


def _labels(labels: Sequence[str | None], indices: list[int], positions: NDArray[np.float64]) -> dict[str, Any]:
    """The labels of the photographs that are drawn, the most frequent of them with names."""
    own = [labels[index] for index in indices]
    counts = Counter(label for label in own if label is not None)
    names = sorted(counts, key=lambda label: (-counts[label], label))[:_MOST_LABELS]
    number = {label: i for i, label in enumerate(names)}
    group = np.array([-1 if label is None else number.get(label, -2) for label in own], dtype=np.intp)
    places = _groups(_middles(positions, group, len(names)))
    return {
        "label": group.tolist(),
        "labels": [[wording.printable(name), counts[name], place] for name, place in zip(names, places, strict=True)],
    }


def count_cells(positions: NDArray[np.float64], group: NDArray[np.intp]) -> dict[str, Any]:
    """Count photographs on a grid of `GRID` x `GRID` cells, row by row from the top.

    Parameters
    ----------
    positions : ndarray of shape (n, 2), float64
        In the unit square, y upwards.
    group : ndarray of shape (n,), int

    Returns
    -------
    dict
        ``side``, and of the cells that are not empty: ``cells`` (number less the one before), ``counts``, ``topics``
        (the most frequent group; of equal ones the first).
    """
    column, row = np.clip((positions * GRID).astype(np.int64), 0, GRID - 1).T
    cell = (GRID - 1 - row) * GRID + column
    n_groups = int(group.max(initial=0)) + 1
    code, count = np.unique(cell * n_groups + group, return_counts=True)
    cells, first = np.unique(code // n_groups, return_index=True)
    total = np.add.reduceat(count, first)
    order = np.lexsort((code, -count, code // n_groups))  # in each cell the most frequent one comes first
    return {
        "side": GRID,
        "cells": np.diff(cells, prepend=0).tolist(),
        "counts": total.tolist(),
        "topics": (code[order][first] % n_groups).tolist(),
    }
