"""Distances of all pairs from sums of parts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from fastvbow.evaluation.distributions import pair_scores
from fastvbow.evaluation.moments import merged_moments, moment_scores, pair_moments

NAMES = np.array(["a", "b", "c", "d"])


def corpus(n=70, width=12, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(width, 0.4), n) + 1e-3
    labels = rng.integers(0, 3, n).astype(np.int32)
    labels[5:6] = 3  # alone
    return rows / rows.sum(axis=1, keepdims=True), labels


def parts_of(rows, labels, cuts):
    edges = [0, *cuts, len(rows)]
    return [pair_moments(rows[a:b], labels[a:b]) for a, b in pairwise(edges)]


@pytest.mark.parametrize("measure", ["l2", "symkl", "kl"])
@pytest.mark.parametrize("cuts", [(), (1,), (6, 7, 40), range(1, 70)])
def test_parts_tell_what_the_whole_does(measure, cuts):
    rows, labels = corpus()
    found = moment_scores([merged_moments(parts_of(rows, labels, cuts))], NAMES, measure)
    wanted = pair_scores(rows, NAMES[labels], measure)
    assert found.labels.tolist() == wanted.labels.tolist() == ["a", "b", "c"]
    assert found.counts.tolist() == wanted.counts.tolist()
    np.testing.assert_allclose(found.within, wanted.within, rtol=1e-12)
    assert (found.n_single, found.exact) == (1, True)
    for name in ("mean_within", "overall", "ratio"):
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-12)


@pytest.mark.parametrize("measure", ["l2", "kl"])
def test_blocks_of_columns(measure):
    rows, labels = corpus()
    blocks = [merged_moments(parts_of(rows[:, a:b], labels, (9, 30))) for a, b in ((0, 5), (5, 6), (6, 12))]
    wanted = pair_scores(rows, NAMES[labels], measure)
    found = moment_scores(blocks, NAMES, measure)
    np.testing.assert_allclose([*found.within, found.overall], [*wanted.within, wanted.overall], rtol=1e-12)


def test_equal_rows_are_exactly_nothing_apart():
    rows = np.tile(np.random.default_rng(1).dirichlet(np.ones(7)), (30, 1))
    labels = (np.arange(30) % 3).astype(np.int32)
    for measure in ("l2", "symkl"):
        found = moment_scores([merged_moments(parts_of(rows, labels, (3, 4, 11)))], NAMES, measure)
        assert found.within.tolist() == [0, 0, 0] and found.overall == 0


def test_nearly_equal_rows_do_not_cancel():
    rng = np.random.default_rng(2)
    rows = 0.1 + 1e-9 * rng.random((40, 10))
    labels = np.zeros(40, np.int32)
    found = moment_scores([merged_moments(parts_of(rows, labels, (7, 20)))], NAMES, "l2")
    off = (rows[:, None] - rows[None]) ** 2
    assert found.overall == pytest.approx(off.sum() / (40 * 39), rel=1e-5)


def test_one_row_has_no_pair():
    rows, _ = corpus(1)
    found = moment_scores([pair_moments(rows, np.zeros(1, np.int32))], NAMES, "l2")
    assert len(found.labels) == 0 and np.isnan(found.overall) and found.n_single == 1


def test_drawn_rows_have_an_interval_that_holds():
    """Of 300 samples of 80 rows, about 95 % of the intervals hold the mean of all rows."""
    rng = np.random.default_rng(3)
    rows = rng.dirichlet(np.full(6, 0.5), 4000)
    whole = pair_scores(rows, np.zeros(len(rows)), "l1").overall
    held = 0
    for _ in range(300):
        drawn = rows[rng.choice(len(rows), 80, replace=False)]
        found = pair_scores(drawn, np.arange(80), "l1", drawn=True)
        held += abs(found.overall - whole) <= found.overall_error
        assert found.overall == pair_scores(drawn, np.arange(80), "l1").overall
    assert 270 <= held <= 297


def test_an_interval_by_hand():
    rows = np.random.default_rng(4).random((9, 3))
    own = np.abs(rows[:, None] - rows[None]).sum(axis=(1, 2)) / 8
    found = pair_scores(rows, np.zeros(9), "l1", drawn=True)
    assert found.overall == pytest.approx(own.mean())
    assert found.overall_error == pytest.approx(2 * 1.959963984540054 * own.std(ddof=1) / 3)
    with pytest.raises(ValueError, match="l1 alone, not of l2"):
        pair_scores(rows, np.zeros(9), "l2", drawn=True)


def test_some_rows_of_a_greater_array():
    rows, labels = corpus()
    which = np.flatnonzero(np.arange(70) % 3 > 0)
    for measure in ("js", "l2", "symkl"):
        found = pair_scores(rows, labels[which], measure, which=which)
        wanted = pair_scores(rows[which], labels[which], measure)
        assert found.within.tolist() == wanted.within.tolist() and found.overall == wanted.overall
