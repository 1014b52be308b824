"""Hints: planted groups that photographs hold together, and planted groups of two kinds."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from fastvbow.cancelling import cancelling
from fastvbow.errors import Cancelled
from fastvbow.groups.hints import FEWEST, OVERLAP, mergings, partings


def test_overlap_is_the_cosine_of_two_columns():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.full(6, 0.3), 500)
    found = {pair.groups: pair.overlap for pair in mergings(shares, least=-1.0)}
    assert len(found) == 15
    for (a, b), overlap in found.items():
        x, y = shares[:, a], shares[:, b]
        np.testing.assert_allclose(overlap, x @ y / np.linalg.norm(x) / np.linalg.norm(y))
    ranked = mergings(shares)
    assert all(pair.overlap > OVERLAP for pair in ranked)
    assert [pair.overlap for pair in ranked] == sorted((v for v in found.values() if v > OVERLAP), reverse=True)


def test_topics_that_share_photographs_are_found():
    shares = np.zeros((90, 5))
    shares[:30, 0], shares[30:60, 1] = 1, 1
    shares[60:, 2:4] = np.random.default_rng(0).dirichlet([3, 3], 30)  # these two only ever come together
    assert [pair.groups for pair in mergings(shares)] == [(2, 3)], "an empty group overlaps with none"


def test_long_columns_are_read_in_blocks(monkeypatch):
    shares = np.random.default_rng(1).dirichlet(np.full(4, 0.5), 1000)
    whole = mergings(shares, least=0.0)
    monkeypatch.setattr("fastvbow.groups.hints._BLOCK", 64)
    again = mergings(shares, least=0.0)
    assert [pair.groups for pair in again] == [pair.groups for pair in whole]
    np.testing.assert_allclose([pair.overlap for pair in again], [pair.overlap for pair in whole])


def planted():
    """Group 0: one kind; group 1: two kinds, 60 and 30; group 2: one kind, too few to look at."""
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9.0]])
    kind = np.repeat([0, 1, 2, 3], [90, 60, 30, FEWEST - 1])
    vectors = centres[kind] + rng.normal(size=(len(kind), 3))
    order = rng.permutation(len(kind))
    return np.array([0, 1, 1, 2])[kind][order], vectors[order], kind[order]


def test_a_group_of_two_kinds_is_found():
    groups, vectors, kind = planted()
    (found,) = partings(groups, vectors)
    assert found.group == 1
    np.testing.assert_allclose(found.share, 2 / 3)
    assert kind[list(found.examples)].tolist() == [1, 2], "the larger part's first"
    means = [vectors[kind == k].mean(axis=0) for k in (1, 2)]
    whole = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).mean()
    np.testing.assert_allclose(found.explained, 2 / 9 * ((means[0] - means[1]) ** 2).sum() / whole)
    larger = partings(groups, vectors * 1000)[0].explained
    np.testing.assert_allclose(larger, found.explained, err_msg="the scale of the vectors does not matter")
    assert {parting.group for parting in partings(groups, vectors, least=0.0)} == {0, 1}


def test_unknown_and_equal_photographs():
    groups, vectors, _ = planted()
    known = partings(groups, vectors)
    padded = np.vstack([np.full((20, 3), np.nan), vectors])
    (found,) = partings(np.concatenate([np.ones(20, int), groups]), padded)
    np.testing.assert_allclose(found.explained, known[0].explained)
    assert found.examples == tuple(row + 20 for row in known[0].examples)
    assert partings(np.zeros(50, int), np.ones((50, 3))) == []
    assert partings(np.repeat([0, 1], 20), np.repeat([[0.0], [1.0]], 20, axis=0)) == [], "equal within each group"
    assert partings(np.zeros(0, int), np.zeros((0, 3))) == []


def test_hints_can_be_stopped():
    stop = threading.Event()
    stop.set()
    groups, vectors, _ = planted()
    for work in (lambda: mergings(np.full((9, 3), 1 / 3)), lambda: partings(groups, vectors)):
        with pytest.raises(Cancelled), cancelling(stop):
            work()
