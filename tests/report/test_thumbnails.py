from __future__ import annotations

import cv2
import numpy as np
import pytest

from fastvbow.report.thumbnails import MAX_HEIGHT, MAX_WIDTH, encode_jpeg, shrink


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((300, 400), (267, 200)),
        ((1000, 9000), (320, 36)),
        ((9000, 3), (1, 200)),
        ((32, 32), (32, 32)),
        ((1, 1), (1, 1)),
    ],
)
def test_thumbnail_sizes(shape: tuple[int, int], size: tuple[int, int]) -> None:
    small = shrink(np.full((*shape, 3), (200, 30, 90), dtype=np.uint8), MAX_WIDTH, MAX_HEIGHT)
    data, (height, width) = encode_jpeg(small), small.shape[:2]
    assert (width, height) == size
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded.shape == (height, width, 3)
    assert np.abs(decoded.astype(int) - (200, 30, 90)).max() <= 12  # red stays red


def test_thumbnails_are_small_even_of_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 320, 3), dtype=np.uint8)
    assert len(encode_jpeg(noise)) < 50_000
