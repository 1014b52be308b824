"""Sprite sheets: many small thumbnails in one JPEG, so that a browser opens few files.

A sheet holds 100 cells of 160 x 128 pixels, ten in a row. A photograph stands two pixels from the upper left of its
cell, 156 x 124 pixels at most, with its own proportions; its outermost pixels fill the rest, so that no neighbour
shines in where colours are stored at half the size, or where it is drawn scaled. About 4 kB a photograph.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.report.pieces import Cut, Piece
from fastvbow.report.thumbnails import encode_jpeg, shrink

__all__ = ["CELL", "COLUMNS", "MARGIN", "PER_SHEET", "Sprites", "cut_sprite"]

CELL = 160, 128
"""Width and height in pixels: multiples of 16, the blocks of JPEG with halved colours."""

MARGIN = 2
COLUMNS = 10
PER_SHEET = COLUMNS * COLUMNS
QUALITY = 74


def cut_sprite(pixels: NDArray[np.uint8]) -> Piece:
    """Shrink a photograph to a cell.

    Parameters
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        RGB.

    Returns
    -------
    list of ndarray
        One, of shape (height, width, 3), uint8, at most 58 kB.
    """
    small = shrink(pixels, CELL[0] - 2 * MARGIN, CELL[1] - 2 * MARGIN)
    return [small.copy() if small is pixels else small]


class Sprites:
    """Writes the sheets of a sample of the photographs; a `PhotographUse`.

    Parameters
    ----------
    sample : sequence of int
        The photographs; the i-th has the i-th cell, counted through all sheets. A sheet is in memory (6 MB) from its
        first photograph to its last one: where `hand_out` takes them in this order, one at a time.
    folder : pathlib.Path
        Folder of the pages; ``sheets`` in it must exist. Sheet 3 is ``sheets/0003.jpg``.

    Attributes
    ----------
    slot_of : dict of int to int
        The cell of each photograph.
    sizes : dict of int to (int, int)
        Width and height in pixels of each photograph in its cell; those that can no longer be read are missing here.
    n_bytes : int
        Bytes of all sheets.
    """

    def __init__(self, sample: Sequence[int], folder: Path) -> None:
        self.wanted = sample
        self.folder = folder
        self.slot_of = {index: slot for slot, index in enumerate(sample)}
        self.sizes: dict[int, tuple[int, int]] = {}
        self.n_bytes = 0
        self._sheets: dict[int, NDArray[np.uint8]] = {}
        self._left = [len(sample[start : start + PER_SHEET]) for start in range(0, len(sample), PER_SHEET)]

    def cutter(self, index: int) -> Cut:
        """What shrinks one photograph to its cell."""
        return cut_sprite

    def keep(self, index: int, piece: Piece | None) -> None:
        """Put one photograph into its cell, and write the sheet when it is whole."""
        sheet, cell = divmod(self.slot_of[index], PER_SHEET)
        pixels = self._sheets.get(sheet)
        if pixels is None:
            n_rows = -(-self._left[sheet] // COLUMNS)
            pixels = np.full((n_rows * CELL[1], COLUMNS * CELL[0], 3), 128, dtype=np.uint8)
            self._sheets[sheet] = pixels
        if piece is not None:
            (small,) = piece
            height, width = small.shape[:2]
            top, left = cell // COLUMNS * CELL[1], cell % COLUMNS * CELL[0]
            below, beside = CELL[1] - MARGIN - height, CELL[0] - MARGIN - width
            filled = cv2.copyMakeBorder(small, MARGIN, below, MARGIN, beside, cv2.BORDER_REPLICATE)
            pixels[top : top + CELL[1], left : left + CELL[0]] = filled
            self.sizes[index] = width, height
        self._left[sheet] -= 1
        if not self._left[sheet]:
            data = encode_jpeg(self._sheets.pop(sheet), QUALITY)
            (self.folder / "sheets" / f"{sheet:04d}.jpg").write_bytes(data)
            self.n_bytes += len(data)
