"""Distances within labels and over all rows, against the sum over all pairs."""

import naive_metrics
import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvbow.evaluation.distributions import MEASURES, pair_scores

DIVERGENCES = ["symkl", "kl", "js"]


def mixtures(n, n_topics, seed=0, concentration=0.3):
    theta = np.random.default_rng(seed).dirichlet([concentration] * n_topics, n) + 1e-4
    return theta / theta.sum(axis=1, keepdims=True)


def told_apart(n=60, n_labels=4, seed=0):
    """Mixtures whose label is their main topic."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_labels), n // n_labels)
    theta = np.array([rng.dirichlet(np.where(np.arange(n_labels) == k, 20, 0.5)) for k in labels]) + 1e-4
    return theta / theta.sum(axis=1, keepdims=True), labels


def compare(found, wanted, **near):
    within, mean, overall, ratio = wanted
    assert dict(zip(found.labels.tolist(), found.within.tolist(), strict=True)) == pytest.approx(within, **near)
    assert found.mean_within == pytest.approx(mean, nan_ok=True, **near)
    assert found.overall == pytest.approx(overall, nan_ok=True, **near)
    assert found.ratio == pytest.approx(ratio, nan_ok=True, rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 14), st.integers(1, 7), st.integers(0, 99), st.sampled_from(MEASURES))
def test_mixtures_against_all_pairs(n, n_topics, seed, measure):
    theta = mixtures(n, n_topics, seed)
    labels = np.random.default_rng(seed).choice(list("abcd"), n).tolist()
    found = pair_scores(theta, labels, measure)
    compare(found, naive_metrics.pair_scores(theta, labels, measure), rel=1e-9, abs=1e-12)
    assert found.exact
    assert found.n_single == sum(labels.count(label) == 1 for label in set(labels))
    assert found.counts.tolist() == [labels.count(label) for label in found.labels.tolist()]


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 10),
    st.integers(1, 9),
    st.integers(0, 99),
    st.sampled_from(MEASURES),
    st.sampled_from([0.01, 0.5, 1.0]),
    st.sampled_from([np.asarray, np.asfortranarray, sp.csr_array, sp.csc_matrix]),
)
def test_histograms_against_all_pairs(n, n_words, seed, measure, smoothing, form):
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.5, 4, n_words), (n, n_words)).astype(np.uint16)
    labels = rng.choice(list("ab"), n).tolist()
    found = pair_scores(form(counts), labels, measure, smoothing=smoothing)
    compare(found, naive_metrics.pair_scores(counts, labels, measure, smoothing), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("measure", ["l1", "l2"])
def test_raw_counts_as_the_paper_has_them(measure):
    counts = np.random.default_rng(0).integers(0, 9, (12, 5)).astype(np.uint8)
    found = pair_scores(counts, list("aaaabbbbcccc"), measure)
    compare(found, naive_metrics.pair_scores(counts, list("aaaabbbbcccc"), measure))


def test_columns_in_blocks(monkeypatch):
    monkeypatch.setattr("fastvbow.evaluation.pair_means._CELLS", 20)
    monkeypatch.setattr("fastvbow.evaluation.pair_means._TOGETHER", 20)
    counts = np.random.default_rng(0).integers(0, 5, (9, 7))
    for measure in MEASURES:
        found = pair_scores(counts, list("aaabbbccc"), measure, smoothing=1)
        compare(found, naive_metrics.pair_scores(counts, list("aaabbbccc"), measure, 1))


def test_by_hand():
    theta, labels = np.array([[0.5, 0.5], [0.9, 0.1]]), ["a", "a"]
    # KL(p||q) = 0.5 ln(0.5/0.9) + 0.5 ln(0.5/0.1), KL(q||p) = 0.9 ln(0.9/0.5) + 0.1 ln(0.1/0.5)
    symkl = (0.5 * np.log(5 / 9) + 0.5 * np.log(5) + 0.9 * np.log(9 / 5) + 0.1 * np.log(1 / 5)) / 2
    assert pair_scores(theta, labels, "symkl").overall == pytest.approx(symkl)
    assert pair_scores(theta, labels, "kl").overall == pytest.approx(symkl)
    assert pair_scores(theta, labels, "l1").overall == pytest.approx(0.8)
    assert pair_scores(theta, labels, "l2").overall == pytest.approx(0.32), "squared"
    middle = -(0.7 * np.log(0.7) + 0.3 * np.log(0.3))
    ends = -(np.log(0.5) + 0.9 * np.log(0.9) + 0.1 * np.log(0.1)) / 2
    assert pair_scores(theta, labels, "js").overall == pytest.approx(middle - ends)
    assert pair_scores(np.eye(2), labels, "js").overall == pytest.approx(np.log(2)), "the greatest"


def test_within_is_the_mean_over_labels_and_global_over_all_pairs():
    # a: 0 and 2, one pair 2 apart; b: 0, 0 and 3, pairs 0, 3 and 3; all ten pairs: 2 0 0 3 2 2 1 0 3 3
    found = pair_scores([[0], [2], [0], [0], [3]], list("aabbb"), "l1")
    assert found.within.tolist() == [2, 2]
    assert found.mean_within == 2
    assert found.overall == pytest.approx(1.6)
    assert found.ratio == pytest.approx(1.25)


@pytest.mark.parametrize("measure", MEASURES)
def test_equal_rows_are_no_distance_apart(measure):
    found = pair_scores(np.tile([0.7, 0.2, 0.1], (1000, 1)), ["a", "b"] * 500, measure)
    assert found.overall == pytest.approx(0, abs=1e-12)
    assert found.overall >= 0
    assert (found.within >= 0).all()


@pytest.mark.parametrize("measure", ["symkl", "l1", "l2"])
def test_nearly_equal_rows_do_not_cancel(measure):
    theta = np.full((20, 2), 0.5) + np.outer(np.arange(20) * 1e-9, [1, -1])
    wanted = naive_metrics.pair_scores(theta, ["a"] * 20, measure)[2]
    assert pair_scores(theta, ["a"] * 20, measure).overall == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_order_of_rows_columns_and_names_does_not_matter(measure):
    theta, rng = mixtures(40, 6), np.random.default_rng(1)
    labels, order = np.repeat(np.arange(4), 10), rng.permutation(40)
    one, other = pair_scores(theta, labels, measure), pair_scores(theta[order][:, ::-1], labels[order], measure)
    assert other.within == pytest.approx(one.within)
    assert other.overall == pytest.approx(one.overall)


def test_labels_of_one_image_are_left_out_and_counted():
    theta = mixtures(5, 4)
    found = pair_scores(theta, list("aaaxy"), "symkl")
    assert found.labels.tolist() == ["a"]
    assert found.counts.tolist() == [3]
    assert found.n_single == 2
    assert found.mean_within == pytest.approx(naive_metrics.pair_scores(theta[:3], "aaa", "symkl")[2])
    assert found.overall == pytest.approx(naive_metrics.pair_scores(theta, "aaaxy", "symkl")[2])


@pytest.mark.parametrize("measure", MEASURES)
def test_where_there_is_no_pair(measure):
    alone = pair_scores(mixtures(3, 4), list("abc"), measure)
    assert np.isnan([alone.mean_within, alone.ratio]).all()
    assert alone.overall > 0
    assert alone.exact
    for n in (0, 1):
        found = pair_scores(mixtures(n, 3), ["a"] * n, measure)
        assert np.isnan([found.mean_within, found.overall, found.ratio]).all()


def test_where_all_mixtures_are_equal():
    # One topic: every mixture is (1,), the divergence 0, the ratio undefined.
    found = pair_scores(np.ones((4, 1)), list("aabb"), "symkl")
    assert found.mean_within == found.overall == 0
    assert np.isnan(found.ratio)


@pytest.mark.parametrize("measure", MEASURES)
def test_smoother_mixtures_lower_every_distance_but_cannot_lower_the_ratio(measure):
    """Mixing with the uniform mixture makes all distances small, and no label better told apart."""
    theta, labels = told_apart()
    shuffled = np.random.default_rng(1).permutation(labels)
    found = {}
    for share in (0.0, 0.5, 0.9):
        smoother = (1 - share) * theta + share / theta.shape[1]
        found[share] = pair_scores(smoother, labels, measure)
        assert pair_scores(smoother, shuffled, measure).ratio == pytest.approx(1, abs=0.1)
    plain, half, flat = found.values()
    assert flat.mean_within < half.mean_within < plain.mean_within, "the distance alone rewards smoothness"
    assert flat.mean_within < 0.2 * plain.mean_within
    assert flat.overall < 0.2 * plain.overall
    if measure in {"l1", "l2"}:
        assert [half.ratio, flat.ratio] == pytest.approx([plain.ratio] * 2), "it does not change at all"
    else:
        # no longer dominated by the logarithm of small shares, the ratio tends to that of l2 and stays there
        limit = pair_scores(theta, labels, "l2").ratio
        assert flat.ratio == pytest.approx(limit, rel=0.2)


def test_a_smoother_model_that_tells_nothing_apart_looks_better_by_distance_alone():
    theta, labels = told_apart()
    blind = 0.95 / 4 + 0.05 * theta[np.random.default_rng(0).permutation(len(theta))]
    good, bad = pair_scores(theta, labels, "symkl"), pair_scores(blind, labels, "symkl")
    assert bad.mean_within < good.mean_within
    assert bad.ratio > 0.9 > 0.3 > good.ratio


@pytest.mark.parametrize("n_words", [4, 30])
def test_drawn_pairs_come_near_and_say_how_near(n_words):
    theta, labels = mixtures(300, n_words), np.arange(300) % 3
    exact = pair_scores(theta, labels, "js")
    assert exact.exact
    misses = []
    for seed in range(60):
        drawn = pair_scores(theta, labels, "js", max_pairs=400, seed=seed)
        assert not drawn.exact
        for name in ("mean_within", "overall", "ratio"):
            misses.append((getattr(drawn, name) - getattr(exact, name)) / getattr(drawn, f"{name}_error"))
        misses += ((drawn.within - exact.within) / drawn.within_error).tolist()
    inside = np.mean(np.abs(misses) <= 1)
    assert 0.9 < inside < 0.99, "of 95 % intervals"
    assert np.mean(misses) == pytest.approx(0, abs=0.1)


def test_drawn_pairs_are_those_of_the_seed():
    theta, labels = mixtures(100, 5), np.arange(100) % 2
    first, again, other = (pair_scores(theta, labels, "js", max_pairs=50, seed=s) for s in (0, 0, 1))
    assert first.overall == again.overall
    assert first.within.tolist() == again.within.tolist()
    assert first.overall != other.overall


def test_small_labels_stay_exact_where_large_ones_are_drawn():
    theta, labels = mixtures(60, 5), ["few"] * 5 + ["many"] * 55
    found = pair_scores(theta, labels, "js", max_pairs=100)
    assert found.within_error[0] == 0
    assert found.within_error[1] > 0
    assert found.within[0] == pytest.approx(naive_metrics.pair_scores(theta[:5], ["few"] * 5, "js")[2])


def test_a_single_drawn_pair_knows_nothing_of_the_spread():
    assert pair_scores(mixtures(9, 3), ["a"] * 9, "js", max_pairs=1).overall_error == np.inf


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([[0.0, 1.0], [0.5, 0.5]], {"measure": "symkl"}, "positive"),
        ([[0.0, 1.0], [0.5, 0.5]], {"measure": "kl", "smoothing": 0}, "positive"),
        ([[-0.1, 1.1], [0.5, 0.5]], {"measure": "l1"}, "not negative"),
        ([[np.nan, 1.0], [0.5, 0.5]], {"measure": "l2"}, "finite"),
        ([[np.inf, 1.0], [0.5, 0.5]], {"measure": "l2"}, "finite"),
        ([[3.0, 1.0], [0.5, 0.5]], {"measure": "js"}, "sum to 1"),
        ([[3.0, 1.0], [0.5, 0.5]], {"measure": "symkl"}, "sum to 1"),
        ([[0, 0], [1, 2]], {"measure": "l1", "smoothing": 0}, "row of zeros"),
        ([[1, 0], [1, 2]], {"measure": "l1", "smoothing": -1}, "smoothing"),
        ([[1, 0], [1, 2]], {"measure": "cosine"}, "symkl, kl, js, l1, l2, got 'cosine'"),
        ([[1, 0], [1, 2]], {"measure": "l1", "max_pairs": 0}, "max_pairs"),
        ([[1, 0]], {"measure": "l1"}, r"each of the 2 labels, got \(1, 2\)"),
        ([1, 0], {"measure": "l1"}, "shape"),
    ],
)
def test_what_cannot_be_measured(rows, options, message):
    with pytest.raises(ValueError, match=message):
        pair_scores(np.array(rows), ["a", "a"], **options)
