"""Symmetric KL divergence against the sum over all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvbow.evaluation.distributions import mean_symmetric_kl, symmetric_kl_scores


def mixtures(n, n_topics, seed=0, concentration=0.3):
    theta = np.random.default_rng(seed).dirichlet([concentration] * n_topics, n) + 1e-4
    return theta / theta.sum(axis=1, keepdims=True)


def by_all_pairs(theta):
    values = [
        ((p * np.log(p / q)).sum() + (q * np.log(q / p)).sum()) / 2
        for i, p in enumerate(theta)
        for j, q in enumerate(theta)
        if i != j
    ]
    return float(np.mean(values))


@settings(deadline=None, max_examples=50)
@given(st.integers(2, 15), st.integers(1, 8), st.integers(0, 99))
def test_against_all_pairs(n, n_topics, seed):
    theta = mixtures(n, n_topics, seed)
    assert mean_symmetric_kl(theta) == pytest.approx(by_all_pairs(theta), rel=1e-9, abs=1e-12)


def test_by_hand():
    # KL(p||q) = 0.5 ln(0.5/0.9) + 0.5 ln(0.5/0.1), KL(q||p) = 0.9 ln(0.9/0.5) + 0.1 ln(0.1/0.5)
    theta = np.array([[0.5, 0.5], [0.9, 0.1]])
    wanted = (0.5 * np.log(5 / 9) + 0.5 * np.log(5) + 0.9 * np.log(9 / 5) + 0.1 * np.log(1 / 5)) / 2
    assert mean_symmetric_kl(theta) == pytest.approx(wanted)


def test_equal_mixtures_are_no_distance_apart():
    assert mean_symmetric_kl(np.tile([0.7, 0.2, 0.1], (1000, 1))) == pytest.approx(0, abs=1e-12)
    assert mean_symmetric_kl(np.tile([0.7, 0.2, 0.1], (1000, 1))) >= 0


def test_order_of_images_and_topics_does_not_matter():
    theta, rng = mixtures(40, 6), np.random.default_rng(1)
    other = theta[rng.permutation(40)][:, rng.permutation(6)]
    assert mean_symmetric_kl(other) == pytest.approx(mean_symmetric_kl(theta))


def test_one_image_has_no_pairs():
    assert np.isnan(mean_symmetric_kl(mixtures(1, 3)))
    assert np.isnan(mean_symmetric_kl(mixtures(0, 3)))


@pytest.mark.parametrize("row", [[0.0, 1.0], [-0.1, 1.1], [np.nan, 1.0]])
def test_mixtures_have_to_be_positive(row):
    with pytest.raises(ValueError, match="positive"):
        mean_symmetric_kl(np.array([[0.5, 0.5], row]))


def test_within_is_the_mean_over_labels():
    theta = mixtures(12, 5)
    labels = list("aaabbbbbbbcc")
    found = symmetric_kl_scores(theta, labels)
    within = np.mean([by_all_pairs(theta[:3]), by_all_pairs(theta[3:10]), by_all_pairs(theta[10:])])
    assert found["symkl_within"] == pytest.approx(within)
    assert found["symkl_global"] == pytest.approx(by_all_pairs(theta))
    assert found["symkl_ratio"] == pytest.approx(within / by_all_pairs(theta))


def test_labels_of_one_image_are_left_out():
    theta = mixtures(5, 4)
    found = symmetric_kl_scores(theta, list("aaaxy"))
    assert found["symkl_within"] == pytest.approx(by_all_pairs(theta[:3]))


def test_where_there_is_no_pair_within_a_label():
    found = symmetric_kl_scores(mixtures(3, 4), list("abc"))
    assert np.isnan(found["symkl_within"])
    assert np.isnan(found["symkl_ratio"])
    assert found["symkl_global"] > 0


def test_where_all_mixtures_are_equal():
    # One topic: every mixture is (1,), the divergence 0, the ratio undefined.
    found = symmetric_kl_scores(np.ones((4, 1)), list("aabb"))
    assert found["symkl_within"] == found["symkl_global"] == 0
    assert np.isnan(found["symkl_ratio"])


def test_groups_that_fit_have_a_small_ratio_and_random_ones_about_one():
    rng = np.random.default_rng(0)
    theta = np.vstack([rng.dirichlet(np.where(np.arange(4) == k, 20, 0.5), 50) for k in range(4)]) + 1e-6
    theta /= theta.sum(axis=1, keepdims=True)
    labels = np.repeat(np.arange(4), 50)
    assert symmetric_kl_scores(theta, labels)["symkl_ratio"] < 0.3
    assert symmetric_kl_scores(theta, rng.permutation(labels))["symkl_ratio"] == pytest.approx(1, abs=0.1)
