"""Small pictures: sizes, padding and grey values by hand."""

import numpy as np
import pytest

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.pixels import padded_grey, squeezed


def grey(values):
    """An RGB photograph of grey values, each a block of 2 x 2 pixels."""
    return np.repeat(np.repeat(np.repeat(np.array(values, np.uint8)[:, :, None], 3, 2), 2, 0), 2, 1)


def test_a_landscape_photograph_is_padded_below():
    small = padded_grey(grey([[10, 20, 30, 40], [50, 60, 70, 80]]), 4)
    assert small[:, :, 0].tolist() == [[10, 20, 30, 40], [50, 60, 70, 80], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert small.dtype == np.uint8
    assert small.shape == (4, 4, 1)
    # as if the picture were flattened first, and zeros put at its end
    assert small.ravel().tolist() == [10, 20, 30, 40, 50, 60, 70, 80] + [0] * 8


def test_a_portrait_photograph_is_padded_at_the_right():
    small = padded_grey(grey([[10, 20], [30, 40], [50, 60]]), 3)
    assert small[:, :, 0].tolist() == [[10, 20, 0], [30, 40, 0], [50, 60, 0]]


def test_shrinking_takes_the_mean_of_what_a_pixel_covers():
    one_white_in_four = np.zeros((4, 4, 3), np.uint8)
    one_white_in_four[::2, ::2] = 200
    assert padded_grey(one_white_in_four, 2)[:, :, 0].tolist() == [[50, 50], [50, 50]]
    assert squeezed(one_white_in_four, 2, grey=False).tolist() == [[[50] * 3] * 2] * 2


def test_small_photographs_are_enlarged_and_slivers_keep_a_row():
    assert padded_grey(grey([[7]]), 6)[:, :, 0].tolist() == [[7] * 6] * 6
    sliver = padded_grey(np.full((2, 1000, 3), 9, np.uint8), 10)
    assert sliver[0, :, 0].tolist() == [9] * 10
    assert not sliver[1:].any()


def test_grey_is_weighted_as_the_eye_sees():
    """ITU-R 601: .299 R + .587 G + .114 B."""
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)
    assert padded_grey(colours, 3)[0, :, 0].tolist() == [76, 150, 29]


def test_squeezed_has_no_padding():
    photograph = grey([[10, 20, 30, 40]])
    assert squeezed(photograph, 4, grey=True)[:, :, 0].tolist() == [[10, 20, 30, 40]] * 4
    assert squeezed(photograph, 4, grey=False).shape == (4, 4, 3)


@pytest.mark.parametrize("make", [padded_grey, lambda p, side: squeezed(p, side, grey=True)])
@pytest.mark.parametrize(
    ("photograph", "side"),
    [
        (np.zeros((4, 4), np.uint8), 4),
        (np.zeros((4, 4, 4), np.uint8), 4),
        (np.zeros((4, 4, 3), np.float32), 4),
        (np.zeros((0, 4, 3), np.uint8), 4),
        (np.zeros((4, 4, 3), np.uint8), 0),
    ],
)
def test_what_is_no_photograph(make, photograph, side):
    with pytest.raises(UsageError, match=r"RGB|side"):
        make(photograph, side)
