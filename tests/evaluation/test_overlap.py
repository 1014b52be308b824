"""mIoU and accuracy of topics that stand for classes, against sets of pixels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastvbow.evaluation.overlap import independent, overlap, rows_to_one


def test_by_hand():
    """Topics 0 and 2 stand for class 0, topic 1 for class 1; class 2 has none."""
    found = overlap([[6, 1, 1], [1, 4, 1], [3, 2, 0]])
    assert found.label.tolist() == [0, 1, 0]
    np.testing.assert_allclose(found.iou, [9 / (10 + 13 - 9), 4 / (7 + 6 - 4), 0])
    assert found.mean_iou == pytest.approx((9 / 14 + 4 / 9) / 3)
    assert found.accuracy == pytest.approx(13 / 19)
    one = overlap([[6, 1, 1], [1, 4, 1], [3, 2, 0]], one_to_one=True)
    assert one.label.tolist() == [0, 1, 2], "6 + 4 + 0 = 10, as much as any: 3 + 4 + 1 is 8"
    assert one.accuracy == pytest.approx(10 / 19)
    np.testing.assert_allclose(one.iou, [6 / 12, 4 / 9, 0])


def by_sets(table, label):
    """IoU of every class and accuracy, with each pixel written out."""
    pixels = [(k, c) for (k, c), n in np.ndenumerate(table) for _ in range(n)]
    ious = []
    for value in range(table.shape[1]):
        truth = {i for i, (_, c) in enumerate(pixels) if c == value}
        said = {i for i, (k, _) in enumerate(pixels) if label[k] == value}
        if truth:
            ious.append(len(truth & said) / len(truth | said))
    return np.mean(ious), np.mean([label[k] == c for k, c in pixels])


@pytest.mark.parametrize("shape", [(4, 4), (2, 5), (5, 3), (1, 3), (3, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_against_brute_force(shape, seed):
    table = np.random.default_rng(seed).integers(0, 9, shape) * np.random.default_rng(seed + 9).integers(0, 2, shape)
    if not table.any():
        table[0, 0] = 1
    found = overlap(table)
    assert found.label.tolist() == [int(np.argmax(row)) if row.any() else -1 for row in table]
    assert (found.mean_iou, found.accuracy) == pytest.approx(by_sets(table, found.label))
    one = overlap(table, one_to_one=True)
    assert (one.mean_iou, one.accuracy) == pytest.approx(by_sets(table, one.label))
    (k, c), flipped = table.shape, table.shape[0] > table.shape[1]
    wide = table.T if flipped else table
    best = max(sum(wide[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(max(k, c)), min(k, c)))
    assert one.accuracy == pytest.approx(best / table.sum())
    matched = one.label[one.label >= 0]
    assert len(set(matched.tolist())) == len(matched) == min(k, c)


def test_nothing():
    for table in np.zeros((3, 0)), np.zeros((3, 2)):
        found = overlap(table)
        assert np.isnan([found.mean_iou, found.accuracy]).all()
        assert found.label.tolist() == [-1] * 3
    assert np.isnan(overlap(np.zeros((3, 2)), one_to_one=True).mean_iou)
    assert rows_to_one(np.zeros((2, 3))).tolist() == [[0] * 3] * 2
    assert independent(np.zeros((2, 3))).tolist() == [[0] * 3] * 2


def test_a_class_without_pixels_is_left_out():
    found = overlap([[5, 0, 0], [0, 0, 5]])
    assert found.mean_iou == found.accuracy == 1
    np.testing.assert_array_equal(found.iou, [1, np.nan, 1])


def test_independent():
    table = np.array([[6, 2], [1, 1]])
    np.testing.assert_allclose(independent(table), [[8 * 0.7, 8 * 0.3], [2 * 0.7, 2 * 0.3]])
    found = overlap(independent(table))
    assert found.label.tolist() == [0, 0]
    assert found.mean_iou == pytest.approx(0.7 / 2), "all is taken for the most frequent class"
    assert found.accuracy == pytest.approx(0.7)


def test_rows_to_one():
    np.testing.assert_allclose(rows_to_one([[1, 3], [0, 0]]), [[0.25, 0.75], [0, 0]])
