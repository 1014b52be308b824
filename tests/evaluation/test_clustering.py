"""Scores of groups against labels: by hand, by brute force, and against scikit-learn."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    completeness_score,
    homogeneity_score,
    normalized_mutual_info_score,
)

from fastvbow.errors import UsageError
from fastvbow.evaluation.clustering import clustering_scores, group_agreement, matched_accuracy

PERFECT = dict.fromkeys(("acc", "nmi", "ari", "purity", "ami", "homogeneity", "completeness", "v_measure"), 1.0)

PARTITIONS = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=n, max_size=n), st.lists(st.integers(0, 4), min_size=n, max_size=n)
    )
)


def brute_force_accuracy(labels, groups):
    """Every one-to-one matching tried."""
    names, numbers = sorted(set(labels)), sorted(set(groups))
    if len(names) > len(numbers):
        names, numbers, labels, groups = numbers, names, groups, labels
    best = 0
    for chosen in permutations(numbers, len(names)):
        match = dict(zip(names, chosen, strict=True))
        best = max(best, sum(match[a] == b for a, b in zip(labels, groups, strict=True)))
    return best / len(labels)


def pair_counting_ari(labels, groups):
    """Hubert & Arabie 1985 from all pairs."""
    n = len(labels)
    pairs = [(labels[i] == labels[j], groups[i] == groups[j]) for i in range(n) for j in range(i)]
    both = sum(a and b for a, b in pairs)
    one, other, total = sum(a for a, _ in pairs), sum(b for _, b in pairs), len(pairs)
    expected = one * other / total
    return (both - expected) / ((one + other) / 2 - expected)


def test_by_hand():
    #          group 0  1  2
    # a (4)          3  1  0
    # b (3)          0  2  1
    labels, groups = list("aaaabbb"), [0, 0, 0, 1, 1, 1, 2]
    found = clustering_scores(labels, groups)
    assert found["acc"] == pytest.approx(5 / 7)  # a-0 and b-1; the image of group 2 counts as wrong
    assert found["purity"] == pytest.approx(6 / 7)
    assert found["ari"] == pytest.approx(pair_counting_ari(labels, groups))
    h_labels = -(4 / 7 * np.log(4 / 7) + 3 / 7 * np.log(3 / 7))
    h_groups = -(3 / 7 * np.log(3 / 7) * 2 + 1 / 7 * np.log(1 / 7))
    joint = np.array([3, 1, 2, 1]) / 7
    information = h_labels + h_groups + (joint * np.log(joint)).sum()
    assert found["nmi"] == pytest.approx(information / ((h_labels + h_groups) / 2))
    assert found["homogeneity"] == pytest.approx(information / h_labels)
    assert found["completeness"] == pytest.approx(information / h_groups)
    assert found["v_measure"] == pytest.approx(found["nmi"])


def test_the_best_matching_is_not_the_greedy_one():
    # a: 5 in group 0 and 4 in group 1; b: 4 in group 0. Greedily a-0 gives 5, the best matching 8.
    labels, groups = ["a"] * 9 + ["b"] * 4, [0] * 5 + [1] * 4 + [0] * 4
    assert matched_accuracy(labels, groups) == pytest.approx(8 / 13)


def test_fewer_groups_than_labels():
    found = clustering_scores(list("aabbcc"), [0, 0, 0, 0, 1, 1])
    assert found["acc"] == found["purity"] == pytest.approx(4 / 6)


def test_more_groups_than_labels():
    found = clustering_scores(list("aaaabb"), [0, 0, 1, 1, 2, 2])
    assert found["acc"] == pytest.approx(4 / 6)
    assert found["purity"] == 1


def test_a_perfect_grouping():
    assert clustering_scores(list("abcabc"), [2, 0, 1, 2, 0, 1]) == pytest.approx(PERFECT)


def test_one_group_says_nothing():
    found = clustering_scores(list("aaab"), [0] * 4)
    wanted = dict.fromkeys(PERFECT, 0.0) | {"acc": 0.75, "purity": 0.75, "completeness": 1.0}
    assert found == pytest.approx(wanted, abs=1e-12)


def test_all_singletons():
    found = clustering_scores(list("aabb"), [0, 1, 2, 3])
    assert found["acc"] == 0.5
    assert found["purity"] == 1
    assert found["ari"] == pytest.approx(0)
    assert found["ami"] == pytest.approx(0, abs=1e-12), "NMI rewards singletons, AMI does not"
    assert found["nmi"] == pytest.approx(2 / 3)
    assert found["homogeneity"] == pytest.approx(1)


@pytest.mark.parametrize(("labels", "groups"), [(["a"], [3]), (list("aaa"), [1, 1, 1]), (list("abc"), [0, 1, 2])])
def test_degenerate_partitions_that_agree(labels, groups):
    assert clustering_scores(labels, groups) == pytest.approx(PERFECT)


@settings(deadline=None)
@given(PARTITIONS)
def test_against_brute_force_and_scikit_learn(partitions):
    labels, groups = partitions
    found = clustering_scores(labels, np.array(groups, np.int32))
    assert found["acc"] == pytest.approx(brute_force_accuracy(labels, groups))
    assert found["nmi"] == pytest.approx(normalized_mutual_info_score(labels, groups))
    assert found["ari"] == pytest.approx(adjusted_rand_score(labels, groups))
    assert found["ami"] == pytest.approx(adjusted_mutual_info_score(labels, groups))
    assert found["homogeneity"] == pytest.approx(homogeneity_score(labels, groups))
    assert found["completeness"] == pytest.approx(completeness_score(labels, groups))
    purity = sum(max(sum(a == n for a in p) for n in "abcd") for p in parts(labels, groups)) / len(labels)
    assert found["purity"] == pytest.approx(purity)
    assert found["acc"] <= found["purity"] + 1e-12
    assert all(type(value) is float for value in found.values())


def parts(labels, groups):
    return [[a for a, b in zip(labels, groups, strict=True) if b == group] for group in set(groups)]


@settings(deadline=None)
@given(PARTITIONS, st.permutations(range(5)), st.permutations("abcd"), st.randoms())
def test_names_and_order_do_not_matter(partitions, numbers, names, random):
    labels, groups = partitions
    order = list(range(len(labels)))
    random.shuffle(order)
    renamed = dict(zip("abcd", names, strict=True))
    other = clustering_scores([renamed[labels[i]] for i in order], np.array([numbers[groups[i]] for i in order]))
    assert other == pytest.approx(clustering_scores(labels, np.array(groups)), abs=1e-9)


@pytest.mark.parametrize(("labels", "groups"), [([], []), (["a", "b"], [0])])
def test_what_cannot_be_scored(labels, groups):
    with pytest.raises(UsageError, match="as many groups as labels"):
        clustering_scores(labels, groups)


def test_agreement_of_each_two_runs():
    first, renamed, other = [0, 0, 1, 1, 2, 2], [5, 5, 0, 0, 3, 3], [0, 1, 0, 1, 0, 1]
    found = group_agreement([first, renamed, other])
    wanted = [1, pair_counting_ari(first, other), pair_counting_ari(renamed, other)]
    assert found.tolist() == pytest.approx(wanted)
    assert group_agreement([first]).tolist() == []
    with pytest.raises(UsageError, match=r"\[3, 6\]"):
        group_agreement([first, [0, 1, 2]])
