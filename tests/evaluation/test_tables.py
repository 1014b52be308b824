"""The tables of labels and groups, by hand and against counting."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvbow.errors import UsageError
from fastvbow.evaluation.clustering import clustering_scores, matched_accuracy
from fastvbow.evaluation.tables import group_tables

PARTITIONS = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.lists(st.sampled_from("abcd"), min_size=n, max_size=n), st.lists(st.integers(0, 5), min_size=n, max_size=n)
    )
)


def test_by_hand():
    #        group 3  5  8
    # a (5)        1  4  0
    # b (4)        3  1  0
    # c (1)        0  0  1
    found = group_tables(list("aaaaabbbbc"), [3, 5, 5, 5, 5, 3, 3, 3, 5, 8])
    assert found.labels.tolist() == list("abc")
    assert found.groups.tolist() == [5, 3, 8], "the columns in the order of the matched labels"
    assert found.counts.tolist() == [[4, 1, 0], [1, 3, 0], [0, 0, 1]]
    assert found.label_group.tolist() == found.matched_group.tolist() == [5, 3, 8]
    assert found.label_recall.tolist() == found.matched_recall.tolist() == [0.8, 0.75, 1]
    assert found.label_entropy.tolist() == pytest.approx(
        [-(0.8 * np.log(0.8) + 0.2 * np.log(0.2)), -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)), 0]
    )
    assert found.group_label.tolist() == list("abc")
    assert found.group_purity.tolist() == [0.8, 0.75, 1]
    assert found.group_entropy[2] == 0
    assert found.group_match.tolist() == [0, 1, 2]


def test_the_best_group_need_not_be_the_matched_one():
    # a: 5 in group 0 and 4 in group 1; b: 4 in group 0: matched a-1, b-0
    found = group_tables(["a"] * 9 + ["b"] * 4, [0] * 5 + [1] * 4 + [0] * 4)
    assert found.label_group.tolist() == [0, 0]
    assert found.matched_group.tolist() == [1, 0]
    assert found.matched_recall.tolist() == pytest.approx([4 / 9, 1])
    assert found.groups.tolist() == [1, 0]
    assert found.group_label.tolist() == ["a", "a"]
    assert found.group_match.tolist() == [0, 1]


def test_more_groups_than_labels():
    found = group_tables(list("aaaabb"), [0, 1, 1, 2, 2, 2])
    assert found.groups.tolist() == [1, 2, 0], "the unmatched last"
    assert found.group_match.tolist() == [0, 1, -1]


def test_unmatched_groups_stand_the_largest_first():
    found = group_tables(["a"] * 9, [0, 4, 4, 2, 2, 2, 7, 7, 7][::-1])
    assert found.groups[0] in {2, 7}
    assert found.counts[0].tolist() == [3, 3, 2, 1]


def test_fewer_groups_than_labels():
    found = group_tables(list("aabbbc"), [1] * 6)
    assert found.matched_group.tolist() == [-1, 1, -1]
    assert found.matched_recall.tolist() == [0, 1, 0]
    assert found.label_recall.tolist() == [1, 1, 1]
    assert found.group_purity.tolist() == [0.5]


def test_all_singletons():
    found = group_tables(list("aab"), [7, 8, 9])
    assert found.label_recall.tolist() == [0.5, 1]
    assert found.label_entropy.tolist() == pytest.approx([np.log(2), 0])
    assert found.group_entropy.tolist() == [0, 0, 0]


@settings(deadline=None)
@given(PARTITIONS)
def test_against_counting(partitions):
    labels, groups = partitions
    found, scores = group_tables(labels, groups), clustering_scores(labels, groups)
    cells = Counter(zip(labels, groups, strict=True))
    wanted = [[cells[label, group] for group in found.groups.tolist()] for label in found.labels.tolist()]
    assert found.counts.tolist() == wanted
    assert sorted(found.groups.tolist()) == sorted(set(groups))
    sizes = found.counts.sum(axis=1)
    assert (found.matched_recall * sizes).sum() / len(labels) == pytest.approx(matched_accuracy(labels, groups))
    assert (found.group_purity * found.counts.sum(axis=0)).sum() / len(labels) == pytest.approx(scores["purity"])
    for i, label in enumerate(found.labels.tolist()):
        assert cells[label, found.label_group[i]] == max(cells[label, g] for g in groups)
        if found.matched_group[i] >= 0:
            column = found.groups.tolist().index(found.matched_group[i])
            assert found.group_match[column] == i
            assert found.matched_recall[i] == pytest.approx(cells[label, found.matched_group[i]] / sizes[i])
    # the conditional entropies of Rosenberg & Hirschberg 2007 are the weighted means of the tables'
    of_labels = -sum(n / len(labels) * np.log(n / len(labels)) for n in sizes)
    conditional = (found.group_entropy * found.counts.sum(axis=0)).sum() / len(labels)
    assert scores["homogeneity"] == pytest.approx(1 - conditional / of_labels if of_labels else 1, abs=1e-9)


def test_nothing_to_count():
    with pytest.raises(UsageError, match="one or more"):
        group_tables([], [])
