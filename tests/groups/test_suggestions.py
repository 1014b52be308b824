"""Suggested names as they are kept, and which group gets which."""

from __future__ import annotations

import itertools
import json

import msgspec
import numpy as np
import pytest

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.groups.names import TopicNames
from fastvbow.groups.suggestions import (
    GroupSuggestion,
    Noun,
    Origin,
    TextFile,
    TopicSuggestions,
    read_suggestions,
    with_proposals,
    write_suggestions,
)

ORIGIN = Origin("toy", "f" * 64, TextFile("nouns.txt", "a" * 64, 9), None, ("a photo of a {}",), (), {"n": 5.0})
TOPICS = "ab" * 32


def suggestions(*wishes, topics=None):
    """Of groups 0, 1, ...: nouns with their scores."""
    groups = tuple(
        GroupSuggestion(
            (i,) if topics is None else topics[i], 3, tuple(Noun(n, s) for n, s in nouns.items()), "a caption", 0.5
        )
        for i, nouns in enumerate(wishes)
    )
    return TopicSuggestions(TOPICS, 6, ORIGIN, groups)


def test_they_are_read_as_they_were_written(tmp_path):
    found = suggestions({"Küche": 0.25, "猫\n<b>": -0.5}, {})
    found = msgspec.structs.replace(found, origin=msgspec.structs.replace(ORIGIN, captions=TextFile("c", "b", 2)))
    write_suggestions(tmp_path / "x.json", found)
    assert read_suggestions(tmp_path / "x.json") == found
    assert read_suggestions(tmp_path / "x.json").fingerprint == found.fingerprint
    assert found.fingerprint != suggestions({"Küche": 0.25}, {}).fingerprint
    held = json.loads((tmp_path / "x.json").read_text())
    assert (held["format"], held["version"]) == ("fastvbow-suggestions", 1)
    assert held["groups"][0]["nouns"][0] == {"noun": "Küche", "score": 0.25, "definition": ""}


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda held: "{", StoreCorruptError, "run 'fastvbow suggest' again"),
        (lambda held: held | {"version": 2}, ProjectError, "upgrade"),
        (lambda held: held | {"format": "x"}, StoreCorruptError, "contradicts"),
        (lambda held: held | {"n_topics": 1}, StoreCorruptError, "contradicts"),
        (lambda held: held | {"groups": 2 * held["groups"]}, StoreCorruptError, "contradicts"),
        (lambda held: held | {"groups": [held["groups"][0] | {"topics": []}]}, StoreCorruptError, "contradicts"),
        (lambda held: held | {"groups": [held["groups"][0] | {"topics": [4, 0]}]}, StoreCorruptError, "contradicts"),
        (lambda held: {k: v for k, v in held.items() if k != "origin"}, StoreCorruptError, "no suggested names"),
    ],
)
def test_what_cannot_be_read(tmp_path, change, error, said):
    path = tmp_path / "x.json"
    write_suggestions(path, suggestions({"a": 1.0}, {"b": 1.0}))
    made = change(json.loads(path.read_text()))
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    with pytest.raises(error, match=said):
        read_suggestions(path)
    with pytest.raises(StoreCorruptError, match="cannot read"):
        read_suggestions(tmp_path / "none.json")


def test_a_noun_goes_to_the_group_where_it_scores_higher():
    names = TopicNames(TOPICS, 6)
    found = suggestions({"sea": 0.3, "coast": 0.2}, {"sea": 0.4, "beach": 0.3}, {"Sea": 0.35, "coast": 0.1})
    assert found.proposals(names) == {0: "coast", 1: "sea"}, "of group 2 all nouns are taken"
    assert suggestions({"sea": 0.3}, {"sea": 0.3}).proposals(names) == {0: "sea"}, "of equals the first"


def test_names_of_persons_win():
    found = suggestions({"sea": 0.3, "coast": 0.2}, {"sea": 0.4, "beach": 0.3}, {"Meer": 0.1})
    names = TopicNames(TOPICS, 6).with_name(1, "SEA")
    assert found.proposals(names) == {0: "coast", 2: "Meer"}
    accepted = with_proposals(names, found.proposals(names))
    assert accepted.by_group() == {0: "coast", 1: "SEA", 2: "Meer"}
    assert found.proposals(accepted) == {}


def test_what_cannot_be_a_name_is_passed_over():
    found = suggestions({"a\x1bb": 5.0, " ": 4.0, "x" * 501: 3.5, "topic_001": 3.0, " Cafe\u0301 ": 1.0})
    assert found.proposals(TopicNames(TOPICS, 6)) == {0: "Café"}


def test_merged_and_parted_groups_have_none():
    names = TopicNames(TOPICS, 3)
    found = msgspec.structs.replace(suggestions({"a": 1.0}, {"b": 1.0}, {"c": 1.0}), n_topics=3)
    assert found.changed(names) == []
    merged = names.with_merged([0, 2])
    assert found.changed(merged) == [0]
    assert set(found.current(merged)) == {1}
    assert found.proposals(merged) == {1: "b"}
    again = suggestions({"both": 1.0}, {"b": 1.0}, topics=[(0, 2), (1,)])
    assert again.proposals(merged) == {0: "both", 1: "b"}
    assert again.proposals(names) == {1: "b"}, "parted"


@pytest.mark.parametrize("seed", range(30))
def test_the_matching_is_stable(seed):
    """No group likes a noun better than its own that is free, or that it fits better than the group that has it."""
    rng = np.random.default_rng(seed)
    words = [f"w{i}" for i in range(6)]
    lists = [{words[w]: float(rng.integers(0, 4)) for w in rng.permutation(6)[: rng.integers(0, 6)]} for _ in range(6)]
    found = suggestions(*lists).proposals(TopicNames(TOPICS, 6))
    holder = {word: group for group, word in found.items()}
    assert len(holder) == len(found)
    for group, word in itertools.product(range(6), words):
        if word not in lists[group] or found.get(group) == word:
            continue
        order = list(lists[group])
        if group in found and order.index(found[group]) < order.index(word):
            continue
        other = holder[word]  # it is not free
        assert (lists[other][word], -other) > (lists[group][word], -group)
