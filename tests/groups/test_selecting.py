"""Which rows are selected: hand-made cases, shares of topics, what is known, ties and degenerate mixtures."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from fastvbow.errors import UsageError
from fastvbow.groups.coverage import facility_location
from fastvbow.groups.selecting import STRATEGIES, select_rows, turns
from fastvbow.groups.uncertainty import entropies, margins

THETA = np.array([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25], [0.5, 0.5, 0.0], [0.2, 0.7, 0.1], [1.0, 0.0, 0.0]])


def made(n=120, n_topics=5, seed=0):
    """Mixtures and vectors around a centre a topic; topics are of uneven size."""
    rng = np.random.default_rng(seed)
    topic = rng.choice(n_topics, n, p=np.arange(n_topics, 0, -1) / np.arange(1, n_topics + 1).sum())
    theta = rng.dirichlet(np.full(n_topics, 0.2), n) * 0.4
    theta[np.arange(n), topic] += 0.6
    return theta, rng.normal(size=(n_topics, 8))[topic] * 2 + rng.normal(size=(n, 8)), topic


def test_uncertain_by_hand():
    vectors = np.ones((5, 2))
    assert select_rows(THETA, vectors, 5, by="entropy").tolist() == [1, 3, 2, 0, 4]
    assert select_rows(THETA, vectors, 5, by="margin").tolist() == [2, 1, 3, 0, 4]
    np.testing.assert_allclose(entropies(THETA)[[2, 4]], [np.log(2), 0])
    np.testing.assert_allclose(margins(THETA), [0.85, 0.05, 0, 0.5, 1])
    assert margins(np.ones((3, 1))).tolist() == [1, 1, 1]
    assert select_rows(THETA, vectors, 2, by="entropy", quotas=np.array([1, 5, 5])).tolist() == [1, 3]


def test_turns():
    even = np.arange(3)
    assert turns(7, np.zeros(3, int), np.array([9, 9, 2]), even).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert turns(9, np.zeros(3, int), np.array([2, 0, 4]), even).tolist() == [0, 2, 0, 2, 2, 2], (
        "no more than there are"
    )
    assert turns(5, np.array([3, 0, 1]), np.array([9, 9, 9]), even).tolist() == [1, 1, 2, 1, 2]
    assert turns(3, np.zeros(3, int), np.array([1, 1, 1]), np.array([2, 0, 1])).tolist() == [1, 2, 0]


@pytest.mark.parametrize("by", STRATEGIES)
def test_what_holds_for_all(by):
    theta, vectors, topic = made()
    known = np.zeros(len(theta), bool)
    known[::7] = True
    every = select_rows(theta, vectors, 1000, by=by, known=known)
    assert sorted(every.tolist()) == np.flatnonzero(~known).tolist(), "all that are left, each once"
    for n in (1, 4, 13, 50):
        assert select_rows(theta, vectors, n, by=by, known=known).tolist() == every[:n].tolist()
    quotas = np.array([3, 0, 2, 10**9, 1])
    some = select_rows(theta, vectors, 40, by=by, known=known, quotas=quotas)
    counts = np.bincount(topic[some], minlength=5)
    room = np.bincount(topic[~known], minlength=5)
    assert counts.tolist() == np.minimum(quotas, room).tolist()
    assert not known[some].any()


@pytest.mark.parametrize("by", STRATEGIES)
def test_order_of_rows_without_ties(by):
    theta, vectors, _ = made()
    order = np.random.default_rng(1).permutation(len(theta))
    assert order[select_rows(theta[order], vectors[order], 20, by=by)].tolist() == (
        select_rows(theta, vectors, 20, by=by).tolist()
    )


def test_balanced_shares_and_covers():
    theta, vectors, topic = made(300)
    known = np.zeros(300, bool)
    known[np.flatnonzero(topic == 0)[:8]] = True
    known[np.flatnonzero(topic == 3)[:2]] = True
    found = select_rows(theta, vectors, 25, known=known)
    total = np.bincount(topic[known], minlength=5) + np.bincount(topic[found], minlength=5)
    assert total.tolist() == [8, 7, 7, 7, 6] or sorted(total.tolist()) == [6, 7, 7, 7, 8]
    for k in (1, 2, 4):
        members = np.flatnonzero(topic == k)
        mine = found[topic[found] == k]
        assert mine.tolist() == members[facility_location(vectors[members], len(mine))].tolist()


def test_fewer_than_topics_are_those_that_cover_most():
    """One row of each large kind, though both kinds are split among topics."""
    theta = np.repeat(np.eye(4) * 0.97 + 0.0075, [30, 29, 20, 5], axis=0)
    kinds = np.repeat([0, 0, 1, 2], [30, 29, 20, 5])
    vectors = np.eye(3)[kinds] + 0.05 * np.random.default_rng(0).normal(size=(84, 3))
    for by in ("balanced", "typical"):
        assert kinds[select_rows(theta, vectors, 3, by=by)].tolist() == [0, 1, 2]


def test_typical_is_nearest_to_the_centre():
    theta, vectors, topic = made(200, 3)
    found = select_rows(theta, vectors, 12, by="typical")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for k in range(3):
        cosine = unit @ unit[topic == k].mean(axis=0)
        mine = found[topic[found] == k]
        assert len(mine) == 4
        assert mine.tolist() == sorted(np.flatnonzero(topic == k), key=lambda i: -cosine[i])[:4]


@pytest.mark.parametrize("by", STRATEGIES)
def test_degenerate_mixtures(by):
    vectors = np.ones((6, 2), np.float16)
    for theta in (np.full((6, 4), 0.25), np.full((6, 1), 1.0), np.eye(6)[:, ::-1]):
        found = select_rows(theta, vectors, 9, by=by)
        assert sorted(found.tolist()) == list(range(6))
    almost = np.full((6, 4), 0.25) + 1e-12 * np.random.default_rng(0).normal(size=(6, 4))
    if by in ("entropy", "margin"):
        assert select_rows(almost, vectors, 3, by=by).tolist() == [0, 1, 2], "rounding is no difference"
    assert select_rows(np.zeros((0, 4)), np.zeros((0, 2)), 3, by=by).tolist() == []


def test_what_cannot_be():
    theta, vectors, _ = made(10)
    for wanted, message in [
        ({"by": "best"}, "one of balanced, diverse, .*, not 'best'"),
        ({"n": 0}, "at least 1, not 0"),
        ({"quotas": np.array([1, 1, 1, 1, -2])}, "0 or more, not -2"),
    ]:
        with pytest.raises(UsageError, match=message):
            select_rows(theta, vectors, **{"n": 3} | wanted)


@pytest.mark.parametrize("by", STRATEGIES)
def test_memory_is_bounded(by):
    """Beside its input, a tenth of a matrix of all pairs at most."""
    rng = np.random.default_rng(0)
    theta, vectors = rng.dirichlet(np.ones(8), 20_000), rng.normal(size=(20_000, 8)).astype(np.float32)
    tracemalloc.start()
    select_rows(theta, vectors, 40, by=by)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * 20_000**2 / 5
