"""The curve of the number of topics."""

from __future__ import annotations

from pathlib import Path

import pytest
from report.sample import content, report_of

from fastvbow.report.curve import HEIGHT, WIDTH, draw_curve

TRIED = [(k, 0.05 + 0.3 / (1 + abs(k - 9))) for k in range(2, 31)]


def test_points_lie_in_the_picture_in_order():
    curve = draw_curve(TRIED, 9)
    assert curve is not None
    assert [(number, value) for _, _, number, value in curve.points] == TRIED
    lefts = [left for left, _, _, _ in curve.points]
    assert lefts == sorted(set(lefts))
    assert lefts[0] > 0 and lefts[-1] < WIDTH
    assert all(0 < top < HEIGHT for _, top, _, _ in curve.points)
    assert curve.best[2:] == (9, 0.35)
    assert curve.best[1] == min(top for _, top, _, _ in curve.points), "the highest"


def test_ticks_are_round_and_stand_where_their_points_do():
    curve = draw_curve(TRIED, 9)
    assert curve is not None
    assert [number for _, number in curve.columns] == [5, 10, 15, 20, 25, 30]
    places = {number: left for left, _, number, _ in curve.points}
    assert all(places[number] == left for left, number in curve.columns)
    assert [word for _, word in curve.lines] == ["0.00", "0.10", "0.20", "0.30"]
    tops = [top for top, _ in curve.lines]
    assert tops == sorted(tops, reverse=True)


@pytest.mark.parametrize("tried", [[(2, 0.4)], [(2, 0.0), (3, 0.0)], [(2, -0.3), (3, -0.1)], [(2, 1.0), (3, -1.0)]])
def test_odd_curves(tried):
    marked = max(tried, key=lambda point: point[1])[0]
    curve = draw_curve(tried, marked)
    assert curve is not None
    assert curve.columns and curve.lines
    for left, top, _, _ in curve.points:
        assert 0 < left < WIDTH and 0 < top < HEIGHT


def test_many_numbers_have_few_ticks():
    curve = draw_curve([(k, 0.2) for k in range(2, 1000, 7)], 9)
    assert curve is not None
    assert 3 <= len(curve.columns) <= 8
    assert 3 <= len(curve.lines) <= 25


def test_no_curve():
    assert draw_curve([], 1) is None
    assert draw_curve([(2, 0.1)], 1) is None


def test_the_page(tmp_path: Path) -> None:
    """The curve stands on the page of the run; a report without one has none."""
    report = report_of(content(silhouettes=[(2, 0.1), (3, 0.2), (4, 0.3), (5, 0.25)]), tmp_path / "report")
    assert [svg["aria-label"] for svg in report.all("svg")] == [
        "Mean silhouette over the number of topics, highest at 4"
    ]
    assert "Number of topics: 4 proposed, the highest point of 4." in report.words
    assert "<svg" in report.pages["run.html"].source
    assert "5 topics: 0.250" in report.words
    assert not report_of(content(), tmp_path / "other").all("svg")
