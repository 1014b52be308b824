"""K-Means groups, unit vectors and variational topics on cases with a known answer."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.cluster import KMeans
from sklearn.decomposition import LatentDirichletAllocation

from fastvbow.errors import UsageError
from fastvbow.groups.baselines import clusters
from fastvbow.groups.baselines.clusters import kmeans_groups, unit_length
from fastvbow.groups.baselines.variational import variational_topics

IDS = [f"{i:03d}" for i in range(60)]


def test_equal_to_scikit_learn():
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    found = kmeans_groups(IDS, vectors, 5, seed=3, starts=4)
    np.testing.assert_array_equal(found, KMeans(5, n_init=4, random_state=3).fit_predict(vectors))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, kmeans_groups(IDS, vectors, 5, seed=3, starts=4))
    seeds = [kmeans_groups(IDS, vectors, 5, seed=seed, starts=1) for seed in range(5)]
    assert any(not np.array_equal(seeds[0], other) for other in seeds), "the seed counts"


def test_landmarks(monkeypatch):
    """Beyond so many images a sample decides the centres, and all get the nearest."""
    kind = np.arange(60) % 3
    vectors = np.eye(3)[kind] * 10 + np.random.default_rng(0).normal(size=(60, 3)) / 10
    monkeypatch.setattr(clusters, "_LANDMARKS", 30)
    found = kmeans_groups(IDS, vectors, 3, seed=0, starts=5)
    assert all(len(set(found[kind == k])) == 1 for k in range(3))
    assert len(set(found)) == 3


@pytest.mark.parametrize("n_groups", [0, -1, 61])
def test_numbers_of_groups(n_groups):
    with pytest.raises(UsageError, match="60 images"):
        kmeans_groups(IDS, np.zeros((60, 2), np.float32), n_groups, seed=0, starts=1)
    with pytest.raises(UsageError, match="60 images"):
        variational_topics(IDS, sp.csr_matrix(np.ones((60, 2))), n_groups, seed=0, max_iter=1)


def test_what_is_not_finite_is_named():
    vectors = np.zeros((60, 2), np.float32)
    vectors[17, 1] = np.nan
    with pytest.raises(UsageError, match="017"):
        kmeans_groups(IDS, vectors, 2, seed=0, starts=1)


def test_unit_length():
    found = unit_length(np.array([[3, 4], [0, 0], [0, -2]], np.float16))
    np.testing.assert_allclose(found, [[0.6, 0.8], [0, 0], [0, -1]], rtol=1e-6)
    assert found.dtype == np.float32


def test_variational_topics_are_scikit_learns():
    """The reference system's defaults: batch, both priors 1 / K, ten passes."""
    counts = sp.csr_matrix(np.random.default_rng(0).poisson(1.0, (60, 30)), dtype=float)
    found = variational_topics(IDS, counts, 4, seed=7, max_iter=10)
    peer = LatentDirichletAllocation(4, random_state=7)
    np.testing.assert_array_equal(found.theta, peer.fit_transform(counts))
    assert (peer.doc_topic_prior_, peer.topic_word_prior_, peer.learning_method) == (0.25, 0.25, "batch")
    np.testing.assert_array_equal(found.groups, found.theta.argmax(axis=1))
    assert found.groups.dtype == np.int32
    np.testing.assert_allclose(found.theta.sum(axis=1), 1)


def test_variational_topics_find_planted_ones_and_take_empty_images():
    kind = np.arange(60) % 2
    counts = np.zeros((60, 10))
    counts[kind == 0, :5] = counts[kind == 1, 5:] = 8
    counts[59] = 0
    found = variational_topics(IDS, sp.csr_matrix(counts), 2, seed=0, max_iter=20)
    assert len(set(found.groups[:59][kind[:59] == 0])) == len(set(found.groups[:59][kind[:59] == 1])) == 1
    assert found.groups[0] != found.groups[1]
    assert found.theta[59].tolist() == [0.5, 0.5]
