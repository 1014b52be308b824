"""A curve on the page: where its points, its ticks and their words lie in the picture's own units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

__all__ = ["Curve", "draw_curve"]

WIDTH, HEIGHT = 720, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 14, 26, 42
N_TICKS = 6  # on an axis, about


@dataclass(frozen=True)
class Curve:
    """A drawn curve.

    Attributes
    ----------
    points : list of (float, float, int, float)
        Of each point its place in the picture, left and top, and the number and the value that it stands for.
    best : tuple (float, float, int, float)
        The point that is marked.
    columns : list of (float, int)
        Ticks of the numbers: place from the left, number.
    lines : list of (float, str)
        Ticks of the values: place from the top, value.
    """

    # for the template: the picture's size, and where the field of the curve ends in it
    width: ClassVar = WIDTH
    height: ClassVar = HEIGHT
    left: ClassVar = LEFT
    right: ClassVar = WIDTH - RIGHT
    bottom: ClassVar = HEIGHT - BOTTOM
    points: list[tuple[float, float, int, float]]
    best: tuple[float, float, int, float]
    columns: list[tuple[float, int]]
    lines: list[tuple[float, str]]


def _ticks(low: float, high: float, least: float) -> list[float]:
    """Round values, about `N_TICKS` of them, that lie from `low` to `high`; they are `least` apart at least."""
    rough = max((high - low) / N_TICKS, least)
    power = 10.0 ** np.floor(np.log10(rough))
    step = power * min((f for f in (1, 2, 5, 10) if f * power >= rough * 0.999), default=10)
    return [float(n * step) for n in range(int(np.ceil(low / step - 1e-9)), int(np.floor(high / step + 1e-9)) + 1)]


def draw_curve(tried: Sequence[tuple[int, float]], marked: int) -> Curve | None:
    """Lay out a curve over whole numbers.

    Parameters
    ----------
    tried : sequence of (int, float)
        Rising numbers, and a value for each.
    marked : int
        The number whose point is marked.

    Returns
    -------
    Curve or None
        None where there is no point to mark.
    """
    values = dict(tried)
    if marked not in values:
        return None
    first, last = min(values), max(max(values), min(values) + 1)
    low, high = min(0.0, *values.values()), max(0.01, *values.values())

    def across(number: float) -> float:
        return round(LEFT + (WIDTH - LEFT - RIGHT) * (number - first) / (last - first), 2)

    def down(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 2)

    points = [(across(number), down(value), number, value) for number, value in sorted(values.items())]
    return Curve(
        points,
        next(point for point in points if point[2] == marked),
        [(across(number), int(number)) for number in _ticks(first, last, 1)],
        [(down(value), f"{value:.2f}") for value in _ticks(low, high, 0.01)],
    )
