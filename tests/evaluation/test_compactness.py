"""Inertia and silhouette, against scikit-learn and the sum over all pairs."""

import naive_metrics
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score

from fastvbow.errors import UsageError
from fastvbow.evaluation.compactness import inertia, silhouette


def blobs(n=90, d=3, k=3, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.arange(n) % k
    return rng.normal(size=(n, d)) + 6 * rng.normal(size=(k, d))[groups], groups


def test_by_hand():
    X = np.array([[0, 0], [2, 0], [9, 9], [10, 5]], np.uint8)
    assert inertia(X, [7, 7, 1, 1]) == 1 + 1 + 0.25 + 4 + 0.25 + 4
    assert inertia(X, [0, 0, 1, 1], [[0, 0], [10, 9]]) == 4 + 1 + 16, "no byte below 0 wraps around"
    # silhouettes: (9 - 1) / 9, (8 - 1) / 8, (8.5 - 1) / 8.5 and (9.5 - 1) / 9.5
    line = np.array([[0.0], [1], [9], [9 + 1]])
    wanted = [(9.5 - 1) / 9.5, (8.5 - 1) / 8.5, (8.5 - 1) / 8.5, (9.5 - 1) / 9.5]
    assert silhouette(line, [0, 0, 1, 1]) == pytest.approx(np.mean(wanted))


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 20), st.integers(1, 4), st.integers(0, 99))
def test_against_all_pairs(n, k, seed):
    rng = np.random.default_rng(seed)
    X, groups = rng.normal(size=(n, 2)), rng.integers(0, k, n)
    assert inertia(X, groups) == pytest.approx(naive_metrics.inertia(X, groups.tolist()), abs=1e-12)
    if 1 < len(set(groups.tolist())) < n:
        assert silhouette(X, groups) == pytest.approx(naive_metrics.silhouette(X, groups.tolist()))


def test_k_means_has_the_same_inertia(monkeypatch):
    X, _ = blobs()
    model = KMeans(4, n_init=1, random_state=0).fit(X)
    assert inertia(X, model.labels_, model.cluster_centers_) == pytest.approx(model.inertia_)
    monkeypatch.setattr("fastvbow.evaluation.compactness._ROWS", 10)
    assert inertia(X, model.labels_, model.cluster_centers_) == pytest.approx(model.inertia_)


def test_the_mean_is_the_best_centre():
    X, groups = blobs()
    shifted = np.array([X[groups == g].mean(axis=0) + 0.1 for g in range(3)])
    assert inertia(X, groups, shifted) == pytest.approx(inertia(X, groups) + 90 * 3 * 0.01)


def test_a_sample_is_near_the_whole_and_that_of_the_seed():
    X, groups = blobs(900)
    whole = silhouette_score(X, groups)
    assert silhouette(X, groups) == pytest.approx(whole)
    some = [silhouette(X, groups, max_rows=300, seed=seed) for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2]
    assert some == pytest.approx([whole] * 3, abs=0.05)
    assert silhouette(sp.csr_array(X), groups, max_rows=300) == pytest.approx(some[0])
    assert silhouette(X, groups, metric="cosine") == pytest.approx(silhouette_score(X, groups, metric="cosine"))


@pytest.mark.parametrize("groups", [[0, 0, 0], [0, 1, 2]])
def test_partitions_without_a_silhouette(groups):
    assert np.isnan(silhouette(np.arange(6.0).reshape(3, 2), groups))


def test_nothing_at_all():
    assert inertia(np.empty((0, 2)), []) == 0
    assert np.isnan(silhouette(np.empty((0, 2)), []))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: inertia([[1.0]], [0, 1]), "of shape"),
        (lambda: inertia([[1.0]], [1], [[0.0]]), "from 0 to 0"),
        (lambda: inertia([[1.0]], [0], [[0.0, 1.0]]), "centers"),
        (lambda: silhouette([[1.0]], [0, 1]), "one for each row"),
        (lambda: silhouette([[1.0]], [0], max_rows=1), "max_rows"),
    ],
)
def test_what_does_not_fit(call, message):
    with pytest.raises(UsageError, match=message):
        call()
