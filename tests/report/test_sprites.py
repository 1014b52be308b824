"""Sprite sheets hold each photograph where they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fastvbow.report.sprites import CELL, COLUMNS, MARGIN, PER_SHEET, Sprites


def photograph(i):
    colour = (i * 97 % 256, i * 53 % 256, i * 151 % 256)
    return np.full((300, 200 + i, 3), colour, dtype=np.uint8)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("n", [1, 10, 11, 100, 130])
def test_every_photograph_is_in_its_cell(tmp_path, n, mixed):
    (tmp_path / "sheets").mkdir()
    sample = [3 * i for i in range(n)]
    sprites = Sprites(sample, tmp_path)
    for index in np.random.default_rng(0).permutation(sample).tolist() if mixed else sample:
        sprites.keep(index, None if index == 9 else sprites.cutter(index)(photograph(index)))
    sheets = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in sorted((tmp_path / "sheets").iterdir())]
    assert len(sheets) == -(-n // PER_SHEET)
    last = n - (len(sheets) - 1) * PER_SHEET
    assert sheets[-1].shape == (-(-last // COLUMNS) * CELL[1], COLUMNS * CELL[0], 3)
    assert sprites.n_bytes == sum(path.stat().st_size for path in (tmp_path / "sheets").iterdir())
    assert set(sprites.sizes) == set(sample) - {9}
    for index, (width, height) in sprites.sizes.items():
        sheet, cell = divmod(sprites.slot_of[index], PER_SHEET)
        top, left = cell // COLUMNS * CELL[1] + MARGIN, cell % COLUMNS * CELL[0] + MARGIN
        part = sheets[sheet][top : top + height, left : left + width]
        assert np.abs(part.astype(int) - photograph(index)[0, 0]).max() <= 12, "and no neighbour shines in"
        assert abs(width / height - (200 + index) / 300) < 0.02
        assert width <= CELL[0] - 2 * MARGIN and height <= CELL[1] - 2 * MARGIN
