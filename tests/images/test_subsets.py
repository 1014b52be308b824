"""Balanced subsets and their split."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastvbow.errors import UsageError
from fastvbow.images.subsets import balanced_subset

LABELS = ["a"] * 10 + ["b"] * 30 + [None] * 5 + ["c"] * 20 + ["d"] * 3 + ["e"] * 10
IDS = [f"{i:05x}" for i in range(len(LABELS))]


def counts(rows):
    return Counter(LABELS[row] for row in rows)


def test_the_most_frequent_truncated_to_the_smallest():
    found = balanced_subset(LABELS, IDS, top=3)
    assert found.labels == ["b", "c", "a"], "of a and e, equally frequent, the first by name"
    assert found.per_label == 10
    assert counts(found.training) == {"a": 10, "b": 10, "c": 10}
    assert len(found.validation) == 0
    everything = balanced_subset(LABELS, IDS)
    assert counts(everything.training) == dict.fromkeys("abcde", 3)


def test_the_split_is_stratified():
    found = balanced_subset(LABELS, IDS, top=4, per_label=10, validation=0.25)
    assert counts(found.validation) == dict.fromkeys("abce", 3), "2.5 is rounded up"
    assert counts(found.training) == dict.fromkeys("abce", 7)
    assert not set(found.training) & set(found.validation)
    for rows in found.training, found.validation:
        assert (np.diff(rows) > 0).all()


def test_a_choice_of_names_not_of_places():
    """The order of the listing does not matter, and a larger subset holds the smaller one."""
    first = balanced_subset(LABELS, IDS, top=2, per_label=8, validation=0.25, seed=3)
    order = np.random.default_rng(0).permutation(len(LABELS))
    again = balanced_subset(
        [LABELS[i] for i in order], [IDS[i] for i in order], top=2, per_label=8, validation=0.25, seed=3
    )
    assert {IDS[order[row]] for row in again.training} == {IDS[row] for row in first.training}
    assert {IDS[order[row]] for row in again.validation} == {IDS[row] for row in first.validation}
    for i in range(5):
        order = np.random.default_rng(i).permutation(len(LABELS))
        assert balanced_subset([LABELS[i] for i in order], [IDS[i] for i in order], top=3).labels == ["b", "c", "a"]
    larger = balanced_subset(LABELS, IDS, top=3, per_label=9, seed=3)
    assert {*first.training.tolist(), *first.validation.tolist()} < set(larger.training.tolist())


def test_seeds_choose_others_evenly():
    chosen = Counter()
    for seed in range(400):
        found = balanced_subset(LABELS, IDS, top=1, per_label=6, validation=0.5, seed=seed)
        chosen.update(found.validation.tolist())
    share = np.array([chosen[row] for row in range(10, 40)]) / 400
    assert len(chosen) == 30
    assert abs(share - 0.1).max() < 0.06, "four standard deviations: 3 of 30 photographs each time"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"top": 6}, "the photographs have 5 labels, --top 6 asks for more"),
        ({"per_label": 11}, r"--per-label 11 is more than some labels have: a \(10\), e \(10\), d \(3\); pass 3"),
        ({"top": 3, "validation": 0.01}, "--validation 0.01 of 10 photographs a label leaves one part without any"),
        ({"top": 3, "validation": 0.99}, "leaves one part without any"),
        ({"validation": 1.0}, "a share below 1"),
        ({"top": -1}, "0 or more"),
    ],
)
def test_what_cannot_be(asked, message):
    with pytest.raises(UsageError, match=message):
        balanced_subset(LABELS, IDS, **asked)


def test_no_labels():
    with pytest.raises(UsageError, match="the photographs have 0 labels"):
        balanced_subset([None, None], ["1", "2"])
