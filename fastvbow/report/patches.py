"""Small square pictures cut from photographs: what a visual word looks like.

A patch around a keypoint shows the window that SIFT's descriptor looks at (Lowe 2004: 4 x 4 histograms, each 3 sigma
wide, where OpenCV's size of a keypoint is 2 sigma, so 6 sizes) and half as much again, turned so that the
keypoint's direction points to the right, as the descriptor has it: patches of one word look alike only then. A patch
of a map's cell shows the cell and half as much again, upright, and is moved where it would hang over the edge. Where a
turned one hangs over, it is grey.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "Place", "cell_place", "cut_patch", "cut_patches", "encode_sheet", "keypoint_place"]

SIDE = 80
"""Of a patch in a sheet, in pixels: a multiple of 16, so that no block of the JPEG file holds parts of two patches."""
WINDOW = 9.0
"""Side of a keypoint's patch, in sizes of the keypoint."""
MARGIN = 1.5
"""Side of a cell's patch, in sides of the cell."""
_GREY = 128
_QUALITY = 82
_MOST = 16  # times the patch's side: a window of more pixels is looked at with gaps


@dataclass(frozen=True)
class Place:
    """A square in a photograph.

    Parameters
    ----------
    x, y : float
        Its centre in pixels of the photograph's full size; pixel centres lie at whole numbers.
    side : float
        In pixels.
    angle : float
        Degrees, clockwise: by so much the square is turned.
    width, height : int
        The photograph's full size in pixels.
    """

    x: float
    y: float
    side: float
    angle: float
    width: int
    height: int

    @property
    def inside(self) -> bool:
        """Whether all of it lies in the photograph."""
        turn = math.radians(self.angle)
        reach = self.side / 2 * (abs(math.cos(turn)) + abs(math.sin(turn)))
        return (
            reach <= min(self.x + 0.5, self.y + 0.5)
            and self.x + reach <= self.width - 0.5
            and self.y + reach <= self.height - 0.5
        )


def keypoint_place(keypoint: NDArray[np.float32], width: int, height: int) -> Place:
    """The window around a keypoint.

    Parameters
    ----------
    keypoint : ndarray of shape (4,), float32
        x, y and size in pixels of the photograph's full size, angle in degrees, clockwise (-1: none).
    width, height : int
        The photograph's full size in pixels.
    """
    x, y, size, angle = map(float, keypoint)
    return Place(x, y, WINDOW * size, max(0.0, angle), width, height)


def cell_place(cell: NDArray[np.float32], width: int, height: int) -> Place:
    """The square around a cell of a map, within the photograph.

    Parameters
    ----------
    cell : ndarray of shape (4,), float32
        x and y of its centre, and the side of a square as large, in pixels of the photograph's full size; the angle
        does not matter.
    width, height : int
        The photograph's full size in pixels.
    """
    x, y, size, _ = map(float, cell)
    side = min(MARGIN * size, float(width), float(height))
    x, y = (
        min(max(at, side / 2 - 0.5), length - side / 2 - 0.5) for at, length in ((x, float(width)), (y, float(height)))
    )
    return Place(x, y, side, 0.0, width, height)


def cut_patch(pixels: NDArray[np.uint8], place: Place, side: int = SIDE) -> NDArray[np.uint8]:
    """Cut a patch from a photograph.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        The photograph, perhaps at a part of its full size.
    place : Place
        In the photograph at its full size.
    side : int, default=SIDE
        Pixels of the patch.

    Returns
    -------
    ndarray of shape (side, side, 3), uint8
    """
    across, down = pixels.shape[1] / place.width, pixels.shape[0] / place.height
    # Where the window has more pixels than the patch, it is cut with whole multiples of them, which are then averaged.
    finer = min(_MOST, max(1, math.ceil(place.side * max(across, down) / side)))
    n = side * finer
    step = place.side / n
    turn = math.radians(place.angle)
    right = np.array([math.cos(turn), math.sin(turn)]) * step
    below = np.array([-math.sin(turn), math.cos(turn)]) * step
    corner = np.array([place.x + 0.5, place.y + 0.5]) - (right + below) * ((n - 1) / 2)
    # From places in the patch to places in the pixels: their edges, not their centres, are what scales.
    scale = np.array([across, down])
    matrix = np.column_stack([right * scale, below * scale, corner * scale - 0.5])
    cut = cv2.warpAffine(
        pixels,
        matrix,
        (n, n),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(_GREY, _GREY, _GREY),
    )
    return np.asarray(cut if finer == 1 else cv2.resize(cut, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def cut_patches(places: Sequence[Place], pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Cut several patches from one photograph.

    Parameters
    ----------
    places : sequence of Place
    pixels : ndarray of shape (height, width, 3), uint8
        See `cut_patch`.

    Returns
    -------
    list of ndarray of shape (SIDE, SIDE, 3), uint8
    """
    return [cut_patch(pixels, place) for place in places]


def encode_sheet(sheet: NDArray[np.uint8]) -> bytes:
    """A sheet of patches as a JPEG file; equal pixels give equal bytes.

    Parameters
    ----------
    sheet : ndarray of shape (height, width, 3), uint8
        RGB.
    """
    how = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return bytes(cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), how)[1].tobytes())
