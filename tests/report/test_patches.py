"""Patches are the pixels of their places, whatever the size that the photograph was decoded at."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from fastvbow.features.sift import SiftExtractor
from fastvbow.report.patches import MARGIN, SIDE, WINDOW, Place, cell_place, cut_patch, encode_sheet, keypoint_place


def ramp(height: int = 200, width: int = 300) -> np.ndarray:
    """The red channel tells x, the green one y."""
    made = np.zeros((height, width, 3), np.uint8)
    made[..., 0] = np.arange(width) * 255 // (width - 1)
    made[..., 1] = (np.arange(height) * 255 // (height - 1))[:, None]
    return made


@pytest.mark.parametrize("side", [40.0, 80.0, 160.0])
def test_a_patch_shows_its_square(side):
    patch = cut_patch(ramp(), Place(140, 100, side, 0, 300, 200))
    assert patch.shape == (SIDE, SIDE, 3) and patch.dtype == np.uint8
    for across, down in ((0, 0), (SIDE - 1, 0), (SIDE // 2, SIDE - 1)):
        x, y = (at + ((i + 0.5) / SIDE - 0.5) * side for at, i in ((140, across), (100, down)))
        wanted = x * 255 / 299, y * 255 / 199
        assert np.abs(patch[down, across, :2].astype(float) - wanted).max() <= 2.5


def test_a_reduced_decode_gives_the_same_patch():
    coarse = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    whole = cv2.resize(coarse, (600, 400), interpolation=cv2.INTER_CUBIC)
    half = cv2.resize(whole, (300, 200), interpolation=cv2.INTER_AREA)
    place = Place(350, 180, 130, 25, 600, 400)
    difference = cut_patch(whole, place).astype(int) - cut_patch(half, place)
    assert np.abs(difference).max() <= 3
    moved = cut_patch(whole, Place(352, 180, 130, 25, 600, 400)).astype(int) - cut_patch(whole, place)
    assert np.abs(moved).max() > 3, "two pixels would be noticed"


def test_many_pixels_are_averaged():
    fine = np.zeros((800, 800, 3), np.uint8)
    fine[:, ::2] = 200  # without averaging it would be all stripes, or one of the two
    patch = cut_patch(fine, Place(400, 400, 640, 0, 800, 800))
    assert np.abs(patch.astype(int) - 100).max() <= 4


def test_what_hangs_over_is_grey():
    patch = cut_patch(np.full((100, 100, 3), 250, np.uint8), Place(0, 50, 40, 0, 100, 100))
    assert (patch[:, : SIDE // 2 - 2] == 128).all() and (patch[:, SIDE // 2 + 2 :] == 250).all()
    assert not Place(0, 50, 40, 0, 100, 100).inside
    assert Place(50, 50, 99, 0, 100, 100).inside and not Place(50, 50, 99, 45, 100, 100).inside


def test_a_keypoint_points_to_the_right():
    """The angle is the one of OpenCV's SIFT: from dark to light, clockwise as y goes down."""
    made = np.full((200, 200, 3), 30, np.uint8)
    cv2.circle(made, (100, 100), 22, (220, 220, 220), -1)
    turn = np.deg2rad(35)
    line = (np.arange(200) - 100) * np.cos(turn) + (np.arange(200)[:, None] - 100) * np.sin(turn)
    made = np.clip(made + line[..., None] * 0.5, 0, 255).astype(np.uint8)  # lighter towards 35 degrees
    keypoints = SiftExtractor(keypoints=5).extract(made)["sift"].keypoints
    (near,) = [k for k in keypoints if np.hypot(*(k[:2] - 100)) < 4 and abs(k[3] - 35) < 12][:1]
    place = keypoint_place(near, 200, 200)
    assert place.side == pytest.approx(WINDOW * near[2])
    small = Place(place.x, place.y, 60, place.angle, 200, 200)
    patch = cut_patch(made, small).astype(float)
    centre = patch[SIDE // 2 - 8 : SIDE // 2 + 8, SIDE // 2 - 8 : SIDE // 2 + 8, 0]
    down, across = (gradient.mean() for gradient in np.gradient(centre))
    assert across > 0.2 and abs(down) < across / 3
    assert keypoint_place(np.array([5, 5, 2, -1], np.float32), 200, 200).angle == 0


def test_a_cell_lies_within():
    place = cell_place(np.array([24.5, 24.5, 50, -1], np.float32), 350, 350)
    assert place.side == MARGIN * 50 and (place.x, place.y) == (37, 37) and place.inside
    middle = cell_place(np.array([174.5, 174.5, 50, -1], np.float32), 350, 350)
    assert (middle.x, middle.y) == (174.5, 174.5)
    assert cell_place(np.array([15, 100, 60, -1], np.float32), 30, 400).side == 30


def test_sheets_keep_their_colours():
    sheet = np.zeros((SIDE, 2 * SIDE, 3), np.uint8)
    sheet[:, :SIDE], sheet[:, SIDE:] = (220, 30, 30), (30, 30, 220)
    data = encode_sheet(sheet)
    assert data == encode_sheet(sheet.copy())
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    difference = np.abs(shown.astype(int) - sheet).max(axis=(0, 2))
    assert difference[: SIDE - 1].max() <= 4 and difference[SIDE + 1 :].max() <= 4, "no block holds parts of two"
