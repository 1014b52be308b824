from __future__ import annotations

import pytest

from fastvbow.report import wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.42 s"),
        (8.34, "8.3 s"),
        (59.97, "1 min 00 s"),
        (134, "2 min 14 s"),
        (3599.9, "1 h 00 min"),
        (37_800, "10 h 30 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_numbers() -> None:
    assert wording.ranges([3, 7, 8, 9, 40, 41]) == "3, 7–9, 40, 41"
    assert wording.count(1, "photograph") == "1 photograph" and wording.count(1600) == "1,600"
    assert wording.percent(1e-6) == "< 0.1\u00a0%" and wording.percent(0) == "0.0\u00a0%"
    assert wording.megabytes(6_240) == "6 kB" and wording.megabytes(12_345_678) == "12.3 MB"
    assert wording.printable("plain ñ 👩‍🌾") == "plain ñ 👩‍🌾"
