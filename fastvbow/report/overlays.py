"""Which token of a photograph belongs to which topic, and where: drawings that lie over its thumbnail.

A token is drawn in the colour of its most probable topic: a keypoint as a circle of its size, a cell of the CNN's map
as a square. Topics with less than `LEAST` of a photograph's tokens, by weight, and those beyond the `MOST_COLOURS`
largest share one grey. Of more than `MOST_POINTS` keypoints as many are drawn, evenly over their sizes: a drawing is at
most 9 kB of SVG. Tokens of the photograph as a whole have no place; their share stands in the legend.

The colours are those of Wong (2011, Points of view: color blindness, Nature Methods 8), which people with any common
form of colour blindness can tell apart, black and the darker blue left out: they are lost on dark photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastvbow.report.evidence import Evidence, PhotographTokens

__all__ = ["MOST_COLOURS", "MOST_POINTS", "Layer", "Overlay", "draw_overlay"]

MOST_COLOURS = 6
"""Topics of a photograph that have a colour of their own."""
MOST_POINTS = 150
"""Keypoints that are drawn of a photograph."""
LEAST = 0.03
"""The least share of a topic that has a colour of its own."""


@dataclass(frozen=True)
class Layer:
    """What one topic has in a photograph.

    Attributes
    ----------
    slot : int
        Number of its colour, 0 for the largest; `MOST_COLOURS` for all the rest together.
    topics : list of int
        The topic; of the rest all of them, the largest first.
    share : float
        Of all tokens of the photograph, by weight.
    kinds : dict of str to float
        Of the tokens of each kind, by weight.
    circles : list of (int, int, int)
        Centre and radius of its keypoints, in pixels of the drawing.
    cells : str
        SVG path of its cells.
    """

    slot: int
    topics: list[int]
    share: float
    kinds: dict[str, float]
    circles: list[tuple[int, int, int]]
    cells: str


@dataclass(frozen=True)
class Overlay:
    """The drawing over one photograph.

    Attributes
    ----------
    index : int
        Position of the photograph in the columns of the report.
    width, height : int
        Of the drawing, in its pixels.
    layers : list of Layer
        The topic with the greatest share first.
    n_points, n_drawn : int
        Keypoints of the photograph, and those that are drawn.
    n_cells : int
        Cells of the CNN's map.
    whole : float
        Share of the tokens of the photograph as a whole, which have no place, in all tokens, by weight.
    """

    index: int
    width: int
    height: int
    layers: list[Layer]
    n_points: int
    n_drawn: int
    n_cells: int
    whole: float


def draw_overlay(evidence: Evidence, index: int, width: int, height: int) -> Overlay | None:
    """Draw the tokens of a photograph.

    Parameters
    ----------
    evidence : Evidence
    index : int
        Which photograph.
    width, height : int
        Of the drawing: the thumbnail's size in pixels.

    Returns
    -------
    Overlay or None
        None for a photograph without a token.
    """
    photograph = evidence.tokens(index)
    kinds = [part for part in photograph.kinds if len(part.words)]
    if not kinds:
        return None
    weights = [evidence.weights[part.words] for part in kinds]
    mass = np.array([w @ part.topics for w, part in zip(weights, kinds, strict=True)])
    shares = mass.sum(axis=0) / mass.sum()
    order = np.argsort(-np.round(shares, 9), kind="stable")
    own = [int(t) for t in order[:MOST_COLOURS] if shares[t] >= LEAST] or [int(order[0])]
    slot = np.full(len(shares), MOST_COLOURS)
    slot[own] = np.arange(len(own))
    circles, n_points = _circles(photograph, slot, width, height)
    cells, n_cells = _cells(photograph, slot, width, height)
    totals = mass.sum(axis=1)
    layers = []
    rest = {MOST_COLOURS} if np.delete(shares, own).sum() >= 0.0005 else set()
    for number in sorted({*range(len(own)), *rest, *circles, *cells}):
        topics = [int(t) for t in order if slot[t] == number and shares[t] > 0]
        of_kinds = {
            part.kind: float(row[topics].sum() / total) for part, row, total in zip(kinds, mass, totals, strict=True)
        }
        layers.append(
            Layer(number, topics, float(shares[topics].sum()), of_kinds, circles.get(number, []), cells.get(number, ""))
        )
    n_drawn = sum(map(len, circles.values()))
    whole = sum(float(total) for part, total in zip(kinds, totals, strict=True) if part.places is None)
    return Overlay(index, width, height, layers, n_points, n_drawn, n_cells, whole / float(totals.sum()))


def _circles(
    photograph: PhotographTokens, slot: NDArray[np.intp], width: int, height: int
) -> tuple[dict[int, list[tuple[int, int, int]]], int]:
    """Keypoints of each colour, the largest first, and how many there are in all."""
    parts = [part for part in photograph.kinds if part.places is not None and part.grid is None]
    if not parts:
        return {}, 0
    places = np.concatenate([part.places for part in parts if part.places is not None]).astype(np.float64)
    slots = slot[np.concatenate([part.topics.argmax(axis=1) for part in parts])]
    across, down = width / photograph.width, height / photograph.height
    order = np.argsort(-places[:, 2], kind="stable")
    if len(order) > MOST_POINTS:
        order = order[np.arange(MOST_POINTS) * len(order) // MOST_POINTS]
    x, y = (places[order, 0] + 0.5) * across, (places[order, 1] + 0.5) * down
    radius = np.maximum(1, places[order, 2] / 2 * np.sqrt(across * down))
    found: dict[int, list[tuple[int, int, int]]] = {}
    drawn = np.rint(np.column_stack([x, y, radius])).astype(int).tolist()
    for number, (left, top, reach) in zip(slots[order].tolist(), drawn, strict=True):
        found.setdefault(number, []).append((left, top, reach))
    return found, len(places)


def _cells(photograph: PhotographTokens, slot: NDArray[np.intp], width: int, height: int) -> tuple[dict[int, str], int]:
    """Cells of each colour as one path, a gap of a pixel between neighbours, and how many there are in all."""
    paths: dict[int, str] = {}
    n_cells = 0
    for part in photograph.kinds:
        if part.grid is None:
            continue
        rows, columns = part.grid
        n_cells += rows * columns
        left, top = _edges(columns, width), _edges(rows, height)
        for cell, number in enumerate(slot[part.topics.argmax(axis=1)].tolist()):
            row, column = divmod(cell, columns)
            wide, high = left[column + 1] - left[column] - 1, top[row + 1] - top[row] - 1
            if wide > 0 and high > 0:
                square = f"M{left[column]} {top[row]}h{wide}v{high}h-{wide}z"
                paths[number] = paths.get(number, "") + square
    return paths, n_cells


def _edges(n: int, length: int) -> Sequence[int]:
    return [round(i * length / n) for i in range(n + 1)]
