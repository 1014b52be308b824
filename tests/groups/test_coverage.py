"""Facility location and k-center against their twins, and where there is little to choose."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from naive_coverage import naive_facility_location, naive_k_center

from fastvbow.groups import coverage
from fastvbow.groups.coverage import facility_location, k_center

BOTH = pytest.mark.parametrize(
    ("choose", "naive"), [(facility_location, naive_facility_location), (k_center, naive_k_center)]
)
AXES = np.eye(4)


def mask(n, rows):
    found = np.zeros(n, bool)
    found[list(rows)] = True
    return found


@BOTH
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_against_the_twin(choose, naive, seed, dtype):
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(3, 5))[rng.integers(0, 3, 40)] + 0.5 * rng.normal(size=(40, 5))).astype(dtype)
    groups, known = rng.integers(0, 3, 40), sorted(rng.choice(40, seed, replace=False).tolist())
    assert choose(rows, 9, known=mask(40, known)).tolist() == naive(rows, 9, known)
    assert choose(rows, 4).tolist() == choose(rows, 9).tolist()[:4] == naive(rows, 4)
    quotas = np.array([2, 0, 4])
    found = choose(rows, 9, known=mask(40, known), groups=groups, quotas=quotas)
    assert found.tolist() == naive(rows, 9, known, groups, quotas)
    assert len(found) <= 6 and not (groups[found] == 1).any()


@BOTH
def test_scales_mean_nothing_and_memory_maps_are_read(choose, naive, tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(50, 6)).astype(np.float32)
    np.save(tmp_path / "rows.npy", rows * 2.0 ** rng.integers(-3, 3, (50, 1)))
    mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert choose(mapped, 8).tolist() == choose(rows, 8).tolist() == naive(rows, 8)


@BOTH
def test_small_blocks(choose, naive, monkeypatch):
    rows = np.random.default_rng(1).normal(size=(60, 4))
    monkeypatch.setattr(coverage, "_CELLS", 64)
    monkeypatch.setattr(coverage, "_BATCH", 3)
    assert choose(rows, 12).tolist() == naive(rows, 12)
    assert choose(rows, 12, known=mask(60, [3, 5, 59])).tolist() == naive(rows, 12, [3, 5, 59])


def test_close_to_the_best_of_all_sets():
    """The greedy sum is (1 - 1/e) of the best at least, counted from nothing chosen (-1 a row); the greedy radius
    twice the least at most."""
    rng = np.random.default_rng(2)
    for _ in range(5):
        rows = rng.normal(size=(14, 3))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = rows @ rows.T
        sets = [list(chosen) for chosen in itertools.combinations(range(14), 3)]
        gain = [(cosines[:, chosen].max(axis=1) + 1).sum() for chosen in sets]
        found = (cosines[:, facility_location(rows, 3)].max(axis=1) + 1).sum()
        assert (1 - 1 / np.e) * max(gain) <= found <= max(gain) + 1e-6
        radius = [np.sqrt(2 - 2 * cosines[:, chosen].max(axis=1).min()) for chosen in sets]
        far = np.sqrt(2 - 2 * cosines[:, k_center(rows, 3)].max(axis=1).min())
        assert min(radius) - 1e-6 <= far <= 2 * min(radius) + 1e-6


def test_by_hand():
    rows = np.array([AXES[0], AXES[0], AXES[0], AXES[1], AXES[1], AXES[2], -AXES[0]])
    assert facility_location(rows, 4).tolist() == [0, 3, 5, 6], (
        "gains 3 after the first (2 and the opposite's 1), then two of 1"
    )
    known = mask(7, [0])
    assert k_center(rows, 4, known=known).tolist() == [6, 3, 5, 1], "opposite first, then what is at right angles"


def test_ties_go_to_the_first():
    for choose in (facility_location, k_center):
        assert choose(AXES, 4).tolist() == [0, 1, 2, 3]
        assert choose(np.ones((5, 3)), 3).tolist() == [0, 1, 2]
        assert choose(np.zeros((5, 3)), 3).tolist() == [0, 1, 2]


@BOTH
def test_few_and_none(choose, naive):
    assert choose(np.zeros((0, 3)), 2).tolist() == []
    assert choose(np.ones((1, 3)), 2).tolist() == [0]
    assert choose(AXES, 9, known=mask(4, range(4))).tolist() == []
    assert sorted(choose(AXES, 9, known=mask(4, [2])).tolist()) == [0, 1, 3]
    assert choose(AXES, 9, groups=np.zeros(4, int), quotas=np.array([0])).tolist() == []


def test_more_rows_than_are_looked_at(monkeypatch):
    """Candidates and landmarks are the first rows; when all of these are taken, the others follow as they stand."""
    monkeypatch.setattr(coverage, "CANDIDATES", 10)
    monkeypatch.setattr(coverage, "LANDMARKS", 6)
    rows = np.random.default_rng(3).normal(size=(40, 5))
    few = facility_location(rows, 4)
    assert max(few) < 10
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    assert few[0] == (unit[:10] @ unit[:6].T).sum(axis=1).argmax()
    every = facility_location(rows, 40)
    assert every[:4].tolist() == few.tolist()
    assert sorted(every.tolist()) == list(range(40))
    assert every[10:].tolist() == list(range(10, 40))
    capped = facility_location(rows, 40, groups=np.arange(40) % 2, quotas=np.array([12, 3]))
    assert len(capped) == 15 and (capped % 2).sum() == 3 and set(capped[capped % 2 == 0]) >= {10, 12}


def test_only_among_some():
    rows = np.random.default_rng(4).normal(size=(30, 5))
    some = np.array([2, 7, 8, 20, 29])
    found = facility_location(rows, 5, among=some)
    assert sorted(found.tolist()) == some.tolist()
    groups = np.ones(30, int)
    groups[some] = 0
    assert found.tolist() == naive_facility_location(rows, 5, (), groups, [5, 0])
