"""The test of independence, against SciPy and exact enumeration, and on a published table whose rows were shuffled."""

import itertools

import naive_metrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from fastvbow.errors import UsageError
from fastvbow.evaluation.alignment import independence_of, independence_test

PUBLISHED = {
    "street": (0.222, 0.292, 0.109, 0.189, 0.188),
    "bathroom": (0.207, 0.280, 0.124, 0.213, 0.176),
    "bedroom": (0.209, 0.271, 0.125, 0.222, 0.173),
    "living room": (0.231, 0.292, 0.124, 0.173, 0.180),
    "skyscraper": (0.209, 0.295, 0.137, 0.206, 0.154),
}
"""Shares of each label (671 images) in the clusters of the spatial_LDA paper's PCA baseline, its table 1."""


def test_the_published_table_says_nothing():
    table = np.rint(671 * np.array(list(PUBLISHED.values()))).astype(int)
    found = independence_of(table)
    assert found.method == "chi-square"
    assert found.degrees == 16
    assert found.p_value == pytest.approx(chi2_contingency(table).pvalue)
    assert found.p_value > 0.1
    assert not found.rejected
    assert found.cramers_v < 0.05


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 5), st.integers(2, 5), st.integers(0, 99))
def test_against_scipy(n_rows, n_columns, seed):
    table = np.random.default_rng(seed).integers(5, 60, (n_rows, n_columns))
    found, wanted = independence_of(table), chi2_contingency(table, correction=False)
    assert (found.method, found.degrees) == ("chi-square", wanted.dof)
    assert found.statistic == pytest.approx(wanted.statistic)
    assert found.statistic == pytest.approx(naive_metrics.chi_square(table.tolist()))
    assert found.p_value == pytest.approx(wanted.pvalue)
    assert found.least_expected == pytest.approx(wanted.expected_freq.min())


@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 1, 1], [0, 0, 1, 1, 2, 2, 2]])
def test_few_images_against_every_permutation(groups):
    labels = list("aaabbbb")

    def statistic(order):
        table = [[0] * (max(groups) + 1) for _ in "ab"]
        for label, group in zip(labels, order, strict=True):
            table["ab".index(label)][group] += 1
        return naive_metrics.chi_square(table)

    observed = statistic(groups)
    every = [statistic(order) >= observed - 1e-9 for order in itertools.permutations(groups)]
    found = independence_test(labels, groups, n_tables=20_000)
    assert found.method == "permutation"
    assert found.statistic == pytest.approx(observed)
    assert found.p_value == pytest.approx(np.mean(every), abs=0.012)
    assert found.p_value == independence_test(labels, groups, n_tables=20_000).p_value, "the seed's"


def test_when_the_distribution_is_not_trusted():
    assert independence_of([[50, 50], [50, 50]]).method == "chi-square"
    assert independence_of([[1, 200], [1, 200]]).method == "permutation", "half of the expected counts are 1"
    assert independence_of([[4] * 9 + [300], [4] * 9 + [300]]).method == "permutation"
    assert independence_of([[4] + [300] * 9, [4] + [300] * 9]).method == "chi-square", "a tenth below 5"


def test_aligned_rows_and_the_same_rows_shuffled():
    rng = np.random.default_rng(0)
    labels = np.repeat(list("abcd"), 50)
    groups = np.where(rng.random(200) < 0.6, np.repeat(np.arange(4), 50), rng.integers(0, 4, 200))
    aligned = independence_test(labels, groups)
    assert aligned.rejected
    assert aligned.p_value < 1e-10
    p_values = [independence_test(labels, rng.permutation(groups)).p_value for _ in range(200)]
    assert 0.01 < np.mean(np.array(p_values) < 0.05) < 0.1, "about one in twenty by chance"


def test_shuffled_tables_reject_in_one_of_twenty():
    rng = np.random.default_rng(0)
    labels, groups = np.repeat(np.arange(6), 5), rng.integers(0, 6, 30)
    p_values = [independence_test(labels, rng.permutation(groups), n_tables=400).p_value for _ in range(150)]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.045)


def test_the_strength_is_from_0_to_1():
    assert independence_of([[20, 0], [0, 30]]).cramers_v == pytest.approx(1)
    assert independence_of([[20, 20], [30, 30]]).cramers_v == 0


@pytest.mark.parametrize("table", [[[3, 4]], [[3], [4]], [[3]], [[3, 4], [0, 0]]])
def test_where_nothing_can_be_tested(table):
    found = independence_of(table)
    assert found.method == "none"
    assert np.isnan(found.p_value)
    assert not found.rejected


def test_all_singletons_prove_nothing():
    found = independence_test(list("aabb"), [0, 1, 2, 3])
    assert found.method == "permutation"
    assert found.p_value == 1


@pytest.mark.parametrize("table", [[1, 2], [[0, 0]], [[1.5, 2]], [[-1, 2]], [[np.nan, 2]]])
def test_what_is_not_a_table(table):
    with pytest.raises(UsageError, match="table"):
        independence_of(table)


def test_what_does_not_fit():
    with pytest.raises(UsageError, match="as many groups"):
        independence_test(["a"], [0, 1])
    with pytest.raises(UsageError, match="n_tables"):
        independence_of([[5, 1], [1, 4]], n_tables=0)
