"""Photographs as rows of pixels, all of one length."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError

__all__ = ["padded_grey", "squeezed"]


def padded_grey(photograph: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """A photograph in grey, its longer edge resized to `side`, at the top left of a square of zeros.

    The reference system resizes so to 300 to 480 pixels and pads the flattened row with zeros at its end. Of a
    landscape photograph that is the same row; of a portrait one the square keeps the picture's columns in place.

    Parameters
    ----------
    photograph : ndarray of shape (height, width, 3), uint8
        RGB.
    side : int
        In pixels, at least 1.

    Returns
    -------
    ndarray of shape (side, side, 1), uint8

    Raises
    ------
    UsageError
        The photograph is no such array, or the side is below 1.
    """
    _check(photograph, side)
    height, width = photograph.shape[:2]
    longer = max(height, width)
    rows, columns = (max(1, round(edge * side / longer)) for edge in (height, width))
    square = np.zeros((side, side, 1), np.uint8)
    square[:rows, :columns, 0] = _resized(cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY), columns, rows)
    return square


def squeezed(photograph: NDArray[np.uint8], side: int, *, grey: bool) -> NDArray[np.uint8]:
    """A photograph squeezed into a square: all of it is seen, its proportions are lost.

    Parameters
    ----------
    photograph : ndarray of shape (height, width, 3), uint8
        RGB.
    side : int
        In pixels, at least 1.
    grey : bool

    Returns
    -------
    ndarray of shape (side, side, 1 if grey else 3), uint8

    Raises
    ------
    UsageError
        The photograph is no such array, or the side is below 1.
    """
    _check(photograph, side)
    pixels = cv2.cvtColor(photograph, cv2.COLOR_RGB2GRAY) if grey else photograph
    return _resized(pixels, side, side).reshape(side, side, -1)


def _resized(pixels: NDArray[np.uint8], columns: int, rows: int) -> NDArray[np.uint8]:
    if pixels.shape[:2] == (rows, columns):
        return pixels
    shrinks = rows <= pixels.shape[0] and columns <= pixels.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR  # the mean of what a pixel covers, or a line between pixels
    return np.asarray(cv2.resize(pixels, (columns, rows), interpolation=how), np.uint8)


def _check(photograph: NDArray[np.uint8], side: int) -> None:
    if photograph.dtype != np.uint8 or photograph.ndim != 3 or photograph.shape[2] != 3 or not photograph.size:
        raise UsageError(f"a photograph is uint8 RGB (height, width, 3), not {photograph.dtype} {photograph.shape}")
    if side < 1:
        raise UsageError(f"side is in pixels, at least 1, not {side}")
