"""Nearest rows: against a full sort, with and without the row itself, among duplicates."""

from __future__ import annotations

import numpy as np
import pytest

from fastvbow.errors import UsageError
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
