"""How sharp probabilities are: against the twin, at the edges, and on photographs with labels."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import naive_concentration, softmax, unit

from fastvbow.semantic import concentration
from fastvbow.semantic.concentration import fit_concentration, shares_of_scores
from fastvbow.semantic.spherical import spherical_kmeans


def blobs(n, K=4, width=8, noise=0.5, seed=0):
    rng = np.random.default_rng(seed)
    centers = unit(rng.normal(size=(K, width)))
    return unit(centers[np.arange(n) % K] + noise * rng.normal(size=(n, width))).astype(np.float32)


def clusters(X, K=4):
    found = spherical_kmeans(X, K, n_init=3, random_state=0)
    return found.labels, X @ found.centers.T


@pytest.mark.parametrize(("noise", "n"), [(0.3, 90), (0.6, 120), (0.6, 11)])
def test_against_the_twin(noise, n):
    X = blobs(n, noise=noise)
    labels, scores = clusters(X)
    found = fit_concentration(X, labels, lambda which: scores[which])
    assert found == pytest.approx(naive_concentration(X, labels, scores), rel=1e-4)
    assert 1 < found < 200


def test_other_vectors_count():
    X = blobs(120)
    labels, scores = clusters(X)
    other = blobs(120, noise=1.0, seed=3)
    found = fit_concentration(other, labels, lambda which: scores[which])
    assert found == pytest.approx(naive_concentration(other, labels, scores), rel=1e-4, abs=1e-4)


def test_blurred_clusters_are_less_sharp():
    found = []
    for noise in (0.2, 0.5, 1.0):
        X = blobs(400, noise=noise)
        labels, scores = clusters(X)
        share = shares_of_scores(scores, fit_concentration(X, labels, lambda which, s=scores: s[which]))
        found.append(share.max(axis=1).mean())
    assert found == sorted(found, reverse=True) and found[0] > 0.99 > 0.9 > found[-1]


def test_a_large_set_is_sampled(monkeypatch):
    """Neither the images looked at nor those asked are more than was said, and the number hardly changes."""
    X = blobs(6000)
    labels, scores = clusters(X)
    seen = []

    def some(which):
        seen.append(which)
        return scores[which]

    sampled = fit_concentration(X, labels, some)
    assert max(len(which) for which in seen) == 400 and seen[-1].max() > 5900
    monkeypatch.setattr(concentration, "ASKED", 100)
    assert fit_concentration(X, labels, some) == pytest.approx(sampled, rel=0.4)
    assert len(seen[-1]) == 100


def test_blocks_give_the_same(monkeypatch):
    X = blobs(390)
    labels, scores = clusters(X)
    whole = fit_concentration(X, labels, lambda which: scores[which])
    monkeypatch.setattr("fastvbow.semantic._rows.CELLS", 1)
    assert fit_concentration(X, labels, lambda which: scores[which]) == pytest.approx(whole, rel=1e-9)


def test_edges():
    X = blobs(40)
    one = np.ones((40, 1), np.float32)
    assert fit_concentration(X, np.zeros(40, np.int32), lambda which: one[which]) == 0
    assert fit_concentration(X[:1], np.zeros(1, np.int32), lambda which: one[which]) == 0
    apart = np.repeat(np.eye(2, dtype=np.float32), 20, axis=0)
    found = fit_concentration(apart, np.repeat([0, 1], 20).astype(np.int32), lambda which: apart[which])
    assert 1 < found < 50, "all neighbours agree, and it is finite"
    wrong = fit_concentration(apart, np.repeat([1, 0], 20).astype(np.int32), lambda which: apart[which])
    assert wrong == 0, "neighbours are where the scores are least"
    near = np.full((40, 2), 0.5, np.float32) + np.float32(1e-6) * apart
    assert fit_concentration(apart, np.repeat([0, 1], 20).astype(np.int32), lambda which: near[which]) == 1e4


def test_shares():
    scores = np.random.default_rng(0).normal(size=(50, 7)).astype(np.float32)
    found = shares_of_scores(scores, 3.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, softmax(3.0 * scores.astype(float)), atol=1e-7)


@pytest.mark.parametrize("kappa", [0.0, 1e-3, 1.0, 1e4])
def test_the_greatest_share_is_that_of_the_greatest_score(kappa):
    """Ties of scores go to the first; scores that differ in the last bit do not become ties."""
    scores = np.full((3, 5), 0.25, np.float32)
    scores[1, 3] = np.nextafter(scores[1, 3], np.float32(1))
    scores[2, [1, 4]] = 0.5
    found = shares_of_scores(scores, kappa)
    assert found.argmax(axis=1).tolist() == scores.argmax(axis=1).tolist() == [0, 3, 1]
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
