"""Topics against segments: cases worked out by hand, and a twin that looks at every pixel by itself."""

from __future__ import annotations

import numpy as np
import pytest

from fastvbow.evaluation.overlap import overlap
from fastvbow.evaluation.segments import (
    GRID,
    SMOOTHING,
    CellMass,
    PointMass,
    SegmentCounts,
    TopicMap,
    count_photograph,
    token_posterior,
    topic_map,
)


def test_token_posterior():
    """phi (word-major) times theta, by hand: (.2 * .5, .6 * .25, 0) -> 2/5, 3/5; the other word (.8, .4, 1)."""
    phi, theta = np.array([[0.2, 0.6, 0.0], [0.8, 0.4, 1.0]]), np.array([0.5, 0.25, 0.25])
    found = token_posterior(np.array([0, 1, 0], np.uint16), theta, phi)
    np.testing.assert_allclose(found, [[0.4, 0.6, 0], [0.4 / 0.75, 0.1 / 0.75, 0.25 / 0.75], [0.4, 0.6, 0]])


def points(places, mass):
    x, y = np.array(places, np.float32).reshape(-1, 2).T
    return PointMass(x, y, np.array(mass, float))


def test_by_hand():
    """2 x 4 pixels, classes 3 and 5 and one pixel without; two keypoints; a map of 1 x 2 cells."""
    mask = np.array([[3, 3, 5, 5], [3, -1, 5, 5]], np.int32)
    theta = np.array([0.75, 0.25])
    # On (1, 0): class 3. On (1.4, 0.6), nearest to (1, 1): no class.
    keypoints = points([(1, 0), (1.4, 0.6)], [[2, 1], [4, 0]])
    cells = CellMass(1, 2, np.array([[8.0, 4.0], [1.0, 3.0]]))
    found = count_photograph(mask, theta, [keypoints], [cells])
    assert found.classes.tolist() == [3, 5]
    np.testing.assert_allclose(found.token_mass, [[2 + 8 * 3 / 4, 1], [1 + 4 * 3 / 4, 3]])
    assert found.unlabelled_mass == 4 + (8 + 4) / 4
    assert found.unlabelled_pixels == 1
    np.testing.assert_allclose(found.image_mass, [[0.75 * 3 / 8, 0.75 * 4 / 8], [0.25 * 3 / 8, 0.25 * 4 / 8]])
    assert found.image_pixels.tolist() == [[3, 4], [0, 0]]
    assert found.shuffled_pixels.tolist() == [[0, 0], [0, 0]]
    other = TopicMap(np.array([[0, 1]]))
    assert count_photograph(mask, theta, [], [], other).shuffled_pixels.tolist() == [[3, 0], [0, 4]]


def naive_cell(at, n, cells):
    return min(max(int(np.floor((at + 0.5) * cells / n)), 0), cells - 1)


def naive_map(height, width, theta, point_parts, cell_parts):
    """The smoothed mass of every cell of the grid, token by token, then the topic of every pixel."""
    longer = max(height, width)
    rows, columns = (min(max(1, round(GRID * side / longer)), side) for side in (height, width))
    kernel = {d: np.exp(-0.5 * (d / SMOOTHING) ** 2) for d in range(-int(4 * SMOOTHING), int(4 * SMOOTHING) + 1)}
    norm = sum(kernel.values())
    density = np.zeros((rows, columns, len(theta)))
    for part in point_parts:
        for x, y, mass in zip(part.x, part.y, part.mass, strict=True):
            density[naive_cell(y, height, rows), naive_cell(x, width, columns)] += mass
    for part in cell_parts:
        for row in range(rows):
            for column in range(columns):
                cell = naive_cell(row, rows, part.rows) * part.columns + naive_cell(column, columns, part.columns)
                density[row, column] += part.mass[cell] * part.rows * part.columns / (rows * columns)
    smooth = np.zeros_like(density)
    for row in range(rows):
        for column in range(columns):
            for down, a in kernel.items():
                for right, b in kernel.items():
                    if 0 <= row + down < rows and 0 <= column + right < columns:
                        smooth[row, column] += density[row + down, column + right] * a * b / norm**2
    return np.array(
        [
            [
                np.argmax(smooth[naive_cell(y, height, rows), naive_cell(x, width, columns)] + 1e-9 * theta)
                for x in range(width)
            ]
            for y in range(height)
        ]
    )


def naive_counts(mask, theta, point_parts, cell_parts, drawn, shuffled):
    """Dictionaries by (topic, class), pixel by pixel; class -1 is none."""
    height, width = mask.shape
    found = {name: {} for name in ("token_mass", "image_mass", "pixels", "image_pixels", "shuffled_pixels")}

    def put(name, topic, value, amount):
        found[name][topic, int(value)] = found[name].get((topic, int(value)), 0) + amount

    for part in point_parts:
        for x, y, mass in zip(part.x, part.y, part.mass, strict=True):
            value = mask[naive_cell(y, height, height), naive_cell(x, width, width)]
            for topic in range(len(theta)):
                put("token_mass", topic, value, mass[topic])
    for part in cell_parts:
        inside = {cell: [] for cell in range(part.rows * part.columns)}
        for y in range(height):
            for x in range(width):
                inside[naive_cell(y, height, part.rows) * part.columns + naive_cell(x, width, part.columns)].append(
                    mask[y, x]
                )
        for cell, values in inside.items():
            for value in values:
                for topic in range(len(theta)):
                    put("token_mass", topic, value, part.mass[cell, topic] / len(values))
    for y in range(height):
        for x in range(width):
            put("pixels", drawn[y, x], mask[y, x], 1)
            put("shuffled_pixels", shuffled[y, x], mask[y, x], 1)
            put("image_pixels", int(np.argmax(theta)), mask[y, x], 1)
            for topic in range(len(theta)):
                put("image_mass", topic, mask[y, x], theta[topic] / mask.size)
    return found


def made(seed, height, width, n_topics=4, n_classes=6):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.integers(-1, n_classes, (4, 4)), np.ones((64, 64)))[:height, :width].astype(np.int32) * 7
    mask[mask < 0] = -1
    theta = rng.dirichlet(np.ones(n_topics))
    places = rng.uniform([-0.6, -0.6], [width - 0.4, height - 0.4], (9, 2))
    some = PointMass(places[:, 0].astype(np.float32), places[:, 1].astype(np.float32), rng.random((9, n_topics)))
    return mask, theta, [some], [CellMass(3, 2, rng.random((6, n_topics))), CellMass(7, 7, rng.random((49, n_topics)))]


@pytest.mark.parametrize(("height", "width"), [(70, 95), (130, 33), (20, 20)])
def test_against_the_twin(height, width):
    mask, theta, some, cells = made(height, height, width)
    drawn = topic_map(height, width, theta, some, cells)
    np.testing.assert_array_equal(drawn.pixels(height, width), naive_map(height, width, theta, some, cells))
    other = TopicMap(np.random.default_rng(1).integers(0, 4, (9, 5)))
    found = count_photograph(mask, theta, some, cells, other)
    wanted = naive_counts(mask, theta, some, cells, drawn.pixels(height, width), other.pixels(height, width))
    for name, table in wanted.items():
        dense = getattr(found, name)
        for topic in range(4):
            for column, value in enumerate(found.classes.tolist()):
                assert dense[topic, column] == pytest.approx(table.get((topic, value), 0)), (name, topic, value)
    nothing = [table for (_, value), table in wanted["token_mass"].items() if value == -1]
    assert found.unlabelled_mass == pytest.approx(sum(nothing))
    whole = sum(part.mass.sum() for part in (*some, *cells))
    assert found.token_mass.sum() + found.unlabelled_mass == pytest.approx(whole), "no mass is lost"


def test_a_map_finer_than_its_photograph():
    """7 x 7 cells on 3 x 2 pixels: those without a pixel take the one at their centre, and all mass stays."""
    mask = np.array([[0, 1], [2, 3], [4, 5]], np.int32)
    cells = CellMass(7, 7, np.ones((49, 1)))
    found = count_photograph(mask, np.ones(1), [], [cells])
    assert found.token_mass.sum() == pytest.approx(49)
    assert found.token_mass.min() > 0


def test_where_no_token_is_near():
    """The photograph's own mixture decides, but outvotes no token."""
    theta = np.array([0.1, 0.9])
    found = topic_map(640, 640, theta, [points([(30, 30)], [[1, 0]])], []).pixels(640, 640)
    assert found[30, 30] == 0 and found[100, 30] == 0, "up to four standard deviations, 80 pixels"
    assert found[130, 30] == found[600, 600] == 1
    assert (topic_map(5, 5, theta, [], []).pixels(5, 5) == 1).all()


def test_adding_up():
    counts, total = SegmentCounts(4), 0
    parts = [count_photograph(*made(seed, 40, 50, n_classes=2 + seed)) for seed in range(4)]
    for part in parts:
        counts.add(part)
    assert counts.n_images == 4
    assert counts.classes.tolist() == sorted({c for part in parts for c in part.classes.tolist()})
    for part in parts:
        total += part.pixels.sum() + part.unlabelled_pixels
    assert counts.pixels.sum() + counts.unlabelled_pixels == total == 4 * 40 * 50
    np.testing.assert_array_equal(counts.pixels.sum(axis=0), counts.image_pixels.sum(axis=0))
    for c in counts.classes:
        wanted = sum(part.token_mass[:, part.classes.tolist().index(c)] for part in parts if c in part.classes)
        np.testing.assert_allclose(counts.token_mass[:, c], wanted)


def planted(tied, n_images=12):
    """Photographs of two segments, left and right, of three classes; topics follow them, or places at random."""
    rng = np.random.default_rng(0)
    counts = SegmentCounts(3)
    for _ in range(n_images):
        left, right = rng.permutation(3)[:2]
        mask = np.repeat([[left] * 48 + [right] * 48], 64, axis=0).astype(np.int32)
        x, y = rng.uniform(0, 95, 300), rng.uniform(0, 63, 300)
        topic = (mask[y.round().astype(int), x.round().astype(int)] + 1) % 3 if tied else rng.integers(0, 3, 300)
        theta = np.bincount(topic, minlength=3) / 300
        counts.add(count_photograph(mask, theta, [PointMass(x, y, np.eye(3)[topic])], []))
    return counts


def test_topics_that_are_the_segments():
    counts = planted(True)
    found = overlap(counts.pixels)
    assert found.label.tolist() == [2, 0, 1]
    assert found.mean_iou > 0.93, "but for the pixels along the edges"
    np.testing.assert_allclose(counts.token_mass / counts.token_mass.sum(axis=1, keepdims=True), np.eye(3)[[2, 0, 1]])
    assert overlap(counts.image_pixels).mean_iou < 0.6, "whole-image mixtures do not know which half is which"


def test_topics_that_have_nothing_to_do_with_the_segments():
    counts = planted(False)
    assert overlap(counts.pixels).mean_iou < 0.35
    shares = counts.token_mass / counts.token_mass.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(shares, np.broadcast_to(shares.mean(axis=0), (3, 3)), atol=0.05)
