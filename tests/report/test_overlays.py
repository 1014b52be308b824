"""Drawings over photographs: places, colours and shares of a synthetic one."""

from __future__ import annotations

import re

import numpy as np
import pytest
from report.planted import GRID, HEIGHT, WIDTH, certain, evidence, planted

from fastvbow.report.build import build_report
from fastvbow.report.evidence import PhotographTokens, Tokens
from fastvbow.report.overlays import MOST_COLOURS, MOST_POINTS, draw_overlay


def drawn(*kinds: Tokens, weights: np.ndarray | None = None, size: tuple[int, int] = (160, 120)):
    made = evidence(
        tokens=lambda index: PhotographTokens(WIDTH, HEIGHT, kinds),
        weights=np.ones(16) if weights is None else weights,
    )
    return draw_overlay(made, 7, *size)


def squares(path: str) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of each square."""
    found = re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-(\d+)z", path)
    assert "".join(f"M{a} {b}h{c}v{d}h-{e}z" for a, b, c, d, e in found) == path
    return [(int(a), int(b), int(c), int(d)) for a, b, c, d, _ in found]


def test_places_and_sizes():
    """The thumbnail is half as large as the photograph."""
    points = np.array([(99.5, 59.5, 40, 0), (19.5, 199.5, 8, -1)], np.float32)
    overlay = drawn(Tokens("sift", np.array([0, 2]), certain([3, 1]), points))
    assert (overlay.index, overlay.width, overlay.height, overlay.n_points, overlay.n_drawn) == (7, 160, 120, 2, 2)
    circles = {layer.topics[0]: layer.circles for layer in overlay.layers if layer.circles}
    assert circles == {3: [(50, 30, 10)], 1: [(10, 100, 2)]}
    assert overlay.whole == 0 and overlay.n_cells == 0


def test_cells_cover_the_photograph():
    topics = [0, 1, 1, 2] * 3
    overlay = drawn(Tokens("conv", np.full(12, 8), certain(topics), np.zeros((12, 4), np.float32), GRID))
    found = {layer.topics[0]: squares(layer.cells) for layer in overlay.layers}
    assert found[0] == [(0, 0, 39, 39), (0, 40, 39, 39), (0, 80, 39, 39)]
    assert found[2] == [(120, 0, 39, 39), (120, 40, 39, 39), (120, 80, 39, 39)]
    assert sorted(found[1])[-1] == (80, 80, 39, 39) and len(found[1]) == 6
    assert overlay.n_cells == 12
    assert overlay.layers[0].topics == [1], "the largest first"


def test_shares_are_weighted_and_tell_of_what_has_no_place():
    weights = np.ones(16)
    weights[12:] = 3
    places = np.array([(10, 10, 4, 0)] * 4, np.float32)
    overlay = drawn(
        Tokens("sift", np.array([0, 1, 2, 3]), np.eye(4)[[0, 0, 0, 1]], places),
        Tokens("pooled", np.array([12, 13]), np.eye(4)[[1, 1]]),
        weights=weights,
    )
    shares = {layer.topics[0]: layer.share for layer in overlay.layers}
    assert shares == {1: pytest.approx(0.7), 0: pytest.approx(0.3)}
    kinds = {layer.topics[0]: layer.kinds for layer in overlay.layers}
    assert kinds == {1: {"sift": 0.25, "pooled": 1.0}, 0: {"sift": 0.75, "pooled": 0.0}}
    assert overlay.whole == pytest.approx(0.6)
    assert sum(layer.share for layer in overlay.layers) == pytest.approx(1)


def test_many_keypoints_are_thinned_evenly():
    rng = np.random.default_rng(0)
    places = np.column_stack([rng.uniform(0, 300, (1000, 2)), rng.uniform(2, 60, 1000), np.zeros(1000)])
    overlay = drawn(Tokens("sift", np.zeros(1000, int), certain([0, 1] * 500), places.astype(np.float32)))
    radii = sorted(r for layer in overlay.layers for _, _, r in layer.circles)
    assert (overlay.n_points, overlay.n_drawn, len(radii)) == (1000, MOST_POINTS, MOST_POINTS)
    assert abs(np.mean(radii) - places[:, 2].mean() / 4) < 0.5, "all sizes are there"


def test_small_topics_share_a_grey():
    n = 20
    rows = np.full((200, n), 1e-6)
    topics = np.concatenate([np.repeat(np.arange(8), 24), np.repeat(np.arange(8, 16), 1)])
    rows[np.arange(200), topics] = 1
    made = evidence(
        tokens=lambda index: PhotographTokens(
            WIDTH, HEIGHT, [Tokens("sift", np.zeros(200, int), rows, np.ones((200, 4), np.float32))]
        ),
    )
    overlay = draw_overlay(made, 0, 160, 120)
    assert [layer.slot for layer in overlay.layers] == [*range(MOST_COLOURS), MOST_COLOURS]
    assert [layer.topics for layer in overlay.layers[:-1]] == [[t] for t in range(MOST_COLOURS)]
    assert set(overlay.layers[-1].topics) >= set(range(6, 16))


def test_a_photograph_without_tokens_has_none():
    assert drawn() is None
    assert drawn(Tokens("sift", np.zeros(0, int), np.zeros((0, 4)), np.zeros((0, 4), np.float32))) is None


def test_the_page_draws_them(tmp_path):
    build_report(planted(topic_names={1: "<i>Küche</i>"}), tmp_path / "report", per_topic=3)
    source = (tmp_path / "report" / "topic-000.html").read_text(encoding="utf-8")
    figures = source.split('<li class="overlay">')[1:]
    assert len(figures) == 5, "two typical photographs, and the three least certain ones that there are"
    assert figures[0].count("<circle") == 3 and figures[0].count("z") >= 12
    assert figures[0].count('type="radio"') == 2 + 3, "two topics, the rest, all and none"
    assert "&lt;i&gt;Küche&lt;/i&gt;" in figures[0] and "<i>Küche" not in source
    assert "whole photograph 97&nbsp;%" in figures[0]
    assert "has no place" in source
    names = [re.search(r'name="(overlay-\d+)"', figure)[1] for figure in figures]
    assert len(set(names)) == 5, "each photograph has a group of buttons of its own"


def test_pixels_have_a_width():
    """The middle of pixel 10 is 10.5 pixels from the edge; both sides have a scale of their own."""
    points = np.array([(10, 20, 4, 0)], np.float32)
    overlay = drawn(Tokens("sift", np.array([0]), certain([0]), points), size=(640, 720))
    assert overlay.layers[0].circles == [(21, 62, 5)], "and a circle the mean of both"
