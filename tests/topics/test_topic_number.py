"""The number of topics, where it is known."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from fastvbow.topics import topic_number
from fastvbow.topics.initial import initial_groups
from fastvbow.topics.topic_number import numbers_to_try, propose_number


def clusters(sizes: list[int], spread: float = 0.3, seed: int = 0) -> np.ndarray:
    """Documents about as many corners of a simplex, in random order."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return (np.eye(len(sizes), 16)[kind] + rng.normal(0, spread / 4, (len(kind), 16))).astype(np.float32)


@pytest.mark.parametrize("sizes", [[30, 30], [20] * 3, [25] * 7, [90, 40, 25, 12, 8], [9] * 12])
def test_planted_clusters_are_counted(sizes):
    for seed in (0, 1):
        found = propose_number(clusters(sizes, seed=seed), 20, seed=seed)
        assert found.n_topics == len(sizes)
        assert dict(found.curve)[len(sizes)] == max(value for _, value in found.curve) > 0.5


def test_the_curve_is_the_silhouette_of_the_start():
    """With as many seedings as the start has, the groups that are judged are those that the sampler starts from."""
    documents = clusters([20] * 4)
    found = propose_number(documents, 6, seed=3)
    assert [number for number, _ in found.curve] == [2, 3, 4, 5, 6]
    wanted = silhouette_score(documents, initial_groups(documents, 4, seed=3))
    assert dict(found.curve)[4] == pytest.approx(wanted, abs=1e-4)


def test_the_same_seed_gives_the_same_curve():
    documents = clusters([12] * 5, spread=2)
    assert propose_number(documents, 15, seed=4) == propose_number(documents, 15, seed=4)


def test_unknown_documents_do_not_count():
    documents = clusters([15] * 4)
    holes = np.insert(documents, [0, 7, 60], np.nan, axis=0)
    assert propose_number(holes, 12, seed=0) == propose_number(documents, 12, seed=0)


def test_of_many_documents_some_are_looked_at(monkeypatch):
    documents = clusters([60] * 5)
    monkeypatch.setattr(topic_number, "SAMPLE", 100)
    found = propose_number(documents, 50, seed=0)
    assert found.n_topics == 5
    assert found.curve[-1][0] == 100 // topic_number.LEAST_IN_GROUP
    assert found == propose_number(documents, 50, seed=0)
    assert found != propose_number(documents, 50, seed=1), "others are drawn"


def test_progress_is_told():
    told: list[tuple[int, int]] = []
    propose_number(clusters([20] * 3), 8, seed=0, progress=lambda *step: told.append(step))
    assert told == [(i, 7) for i in range(1, 8)]


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_documents_are_one_topic(n):
    found = propose_number(clusters([5])[:n], 50, seed=0)
    assert (found.n_topics, found.curve) == (1, [])
    assert propose_number(np.full((9, 4), np.nan, np.float32), 50, seed=0) == found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_documents_that_do_not_differ_are_one_topic():
    assert propose_number(np.ones((40, 3), np.float32), 10, seed=0).n_topics == 1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_no_more_topics_than_documents_that_differ():
    found = propose_number(np.repeat(np.eye(4, dtype=np.float32), 10, axis=0), 10, seed=0)
    assert found.n_topics == 4
    assert [number for number, _ in found.curve] == [2, 3, 4]


def test_three_documents():
    found = propose_number(np.array([[0, 0], [0, 0.1], [5, 5]], np.float32), 50, seed=0)
    assert found.n_topics == 2


def test_numbers():
    assert numbers_to_try(1600, 50) == list(range(2, 51))
    assert numbers_to_try(60, 50) == list(range(2, 13))
    assert numbers_to_try(3, 50) == numbers_to_try(100, 2) == [2]
    assert numbers_to_try(2, 50) == []
    many = numbers_to_try(100_000, 1000)
    assert many[:49] == list(range(2, 51))
    assert 950 < many[-1] <= 1000
    assert len(many) < 120
    steps = np.diff(many)
    assert steps.min() == 1
    assert (steps <= np.maximum(1, 0.05 * np.array(many[:-1]))).all()
