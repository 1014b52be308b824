"""Nearest rows: against a full sort, with and without the row itself, among duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from fastvbow.errors import UsageError
from fastvbow.semantic import neighbours
from fastvbow.semantic.neighbours import nearest_rows


def some(n, seed=0, d=6):
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("n", [2, 60, 700])
@pytest.mark.parametrize("itself", [False, True])
def test_against_a_full_sort(n, itself):
    rows = some(n)
    cosines = rows.astype(float) @ rows.T.astype(float)
    np.fill_diagonal(cosines, 2 if itself else -2)
    wanted = np.argsort(-cosines, axis=1)[:, : min(5, n if itself else n - 1)]
    np.testing.assert_array_equal(nearest_rows(rows, 5, itself=itself), wanted)


def test_tiles_and_threads_change_nothing(monkeypatch):
    rows = some(700)
    wanted = nearest_rows(rows, 9)
    assert nearest_rows(rows, 9, n_jobs=2).tobytes() == wanted.tobytes()
    monkeypatch.setattr(neighbours, "TILE", (33, 50))
    np.testing.assert_array_equal(nearest_rows(rows, 9, n_jobs=3), wanted)


def test_all_buckets_find_what_all_rows_give(monkeypatch):
    rows = some(700)
    monkeypatch.setattr(neighbours, "PROBED", 1000)
    for itself in (False, True):
        np.testing.assert_array_equal(
            nearest_rows(rows, 6, itself=itself, exact=False), nearest_rows(rows, 6, itself=itself)
        )


def test_some_buckets_find_nearly_all(monkeypatch):
    rows = some(3000)
    monkeypatch.setattr(neighbours, "PROBED", 8)
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 2999)
    exact, found = nearest_rows(rows, 10, exact=True), nearest_rows(rows, 10)
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert 0.9 < recall < 1
    assert nearest_rows(rows, 10, n_jobs=2).tobytes() == found.tobytes()
    assert (found != np.arange(3000)[:, None]).all() and all(len(set(row)) == 10 for row in found)
    monkeypatch.setattr(neighbours, "PROBED", 1)
    assert nearest_rows(rows, 2000).shape == (3000, 2000)
    monkeypatch.setattr(neighbours, "EXACT_ROWS", 3000)
    assert nearest_rows(rows, 10).tobytes() == exact.tobytes()


def test_buckets_with_too_few_rows(monkeypatch):
    """One row in a hundred is far from all others, alone in its bucket."""
    monkeypatch.setattr(neighbours, "PROBED", 1)
    crowd = np.repeat(some(1, d=40), 900, axis=0) + some(900, seed=1, d=40) * np.float32(1e-3)
    rows = np.concatenate([crowd, some(10, seed=2, d=40)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = nearest_rows(rows, 1, exact=False)
    assert found.min() >= 0 and found.max() < 910
    np.testing.assert_array_equal(found[900:], nearest_rows(rows, 1)[900:])


def test_all_others_where_more_are_wanted():
    found = nearest_rows(some(4), 50)
    assert [sorted(row) for row in found] == [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
    assert nearest_rows(some(1), 50, itself=True).tolist() == [[0]]


@pytest.mark.parametrize("itself", [False, True])
def test_equal_rows_are_neighbours_of_one_another(itself):
    """Each of ten equal rows has three of the others, never itself among them."""
    rows = np.concatenate([np.repeat(some(1), 10, axis=0), some(20, seed=1)])
    found = nearest_rows(rows, 3 + itself, itself=itself)
    assert found.shape == (30, 3 + itself)
    others = found[:, 1:] if itself else found
    assert (others[:10] < 10).all()
    assert (others != np.arange(30)[:, None]).all()
    assert all(len(set(row)) == 3 for row in others)
    if itself:
        np.testing.assert_array_equal(found[:, 0], np.arange(30))


def test_what_has_no_neighbours():
    with pytest.raises(UsageError, match="1 rows have no 3 neighbours"):
        nearest_rows(some(1), 3)
    with pytest.raises(UsageError, match="number of 1 or more"):
        nearest_rows(some(5), 0)
