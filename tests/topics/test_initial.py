"""The sampler's start: a clustering of the documents that are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from fastvbow.topics import initial
from fastvbow.topics.initial import hellinger_embedding, initial_groups


@pytest.fixture
def planted():
    """90 documents in three clusters; every tenth is unknown."""
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 90)
    embedding = (4 * np.eye(3)[kind] @ np.eye(3, 8) + rng.normal(0, 0.3, (90, 8))).astype(np.float32)
    embedding[::10] = np.nan
    return embedding, kind


def test_clusters_are_found(planted):
    embedding, kind = planted
    groups = initial_groups(embedding, 3, seed=0)
    assert groups.dtype == np.int32
    assert (groups[::10] == -1).all()
    known = groups >= 0
    assert known.sum() == 81
    assert adjusted_rand_score(kind[known], groups[known]) == 1.0
    np.testing.assert_array_equal(groups, initial_groups(embedding, 3, seed=0))


def test_a_row_that_is_partly_unknown(planted):
    embedding, _ = planted
    embedding[1, 3], embedding[2, 0] = np.inf, np.nan
    assert (initial_groups(embedding, 3, seed=0)[[1, 2]] == -1).all()


def test_more_groups_than_documents(planted):
    embedding, _ = planted
    groups = initial_groups(embedding[1:4], 20, seed=0)
    assert sorted(groups) == [0, 1, 2]


def test_nothing_known():
    np.testing.assert_array_equal(initial_groups(np.full((4, 8), np.nan, np.float32), 3, seed=0), [-1] * 4)
    assert initial_groups(np.zeros((0, 8), np.float32), 3, seed=0).shape == (0,)


def test_landmarks_decide_and_all_are_assigned(planted, monkeypatch):
    embedding, kind = planted
    monkeypatch.setattr(initial, "LANDMARKS", 30)
    groups = initial_groups(embedding, 3, seed=0)
    assert adjusted_rand_score(kind[groups >= 0], groups[groups >= 0]) == 1.0
    np.testing.assert_array_equal(groups, initial_groups(embedding, 3, seed=0))


def test_hellinger_distances():
    """The embedding keeps the Hellinger distances between word frequencies, where there is room for all dimensions."""
    rng = np.random.default_rng(0)
    lengths = [5, 40, 0, 7, 300, 1]
    words = rng.integers(0, 12, sum(lengths)).astype(np.uint16)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    embedding = hellinger_embedding([words], [offsets], 12)
    assert embedding.dtype == np.float32
    assert np.isnan(embedding[2]).all(), "an empty document is unknown"
    frequency = [np.bincount(words[a:b], minlength=12) / max(1, b - a) for a, b in pairwise(offsets)]
    for i in (0, 1, 3, 4, 5):
        for j in (0, 1, 3, 4, 5):
            wanted = np.linalg.norm(np.sqrt(frequency[i]) - np.sqrt(frequency[j]))
            assert np.linalg.norm(embedding[i] - embedding[j]) == pytest.approx(wanted, abs=1e-5)


def test_parts_are_one_corpus():
    rng = np.random.default_rng(1)
    words, offsets = rng.integers(0, 30, 500).astype(np.uint16), np.arange(0, 501, 5)
    whole = hellinger_embedding([words], [offsets], 30)
    parts = hellinger_embedding([words[:200], words[200:]], [offsets[:41], offsets[40:] - 200], 30)
    np.testing.assert_allclose(whole, parts, atol=1e-6)  # a matrix product rounds by its number of rows
    assert whole.shape == (100, 30)
    assert hellinger_embedding([words], [offsets], 500).shape == (100, 64), "at most 64 dimensions"


def test_documents_without_any_word():
    embedding = hellinger_embedding([np.zeros(0, np.uint16)], [np.zeros(4, np.int64)], 10)
    assert len(embedding) == 3
    np.testing.assert_array_equal(initial_groups(embedding, 2, seed=0), [-1, -1, -1])
