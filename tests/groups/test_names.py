"""Names of topics and merged groups, and their file."""

import json

import pytest

from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.groups.names import LONGEST, TopicNames, checked_name, read_names, write_names

BARE = TopicNames("ab" * 32, 12)


@pytest.mark.parametrize(
    "name", ["kitchen", "Küche 猫 שלום 🐈", "two words", "\"q\" 'q' <b>&", "a/b", "x" * LONGEST, "../.."]
)
def test_names_of_any_script_are_taken(name):
    named = BARE.with_name(3, name)
    assert named.name(3) == name
    assert named.by_group() == {3: name}
    assert named.labels()[3] == name
    assert BARE.names == {}, "the former instance is as it was"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\x00b", "\x1b[31m", "a\u2028b", "\udcff", "x" * (LONGEST + 1)])
def test_control_characters_and_blanks_are_refused(name):
    with pytest.raises(UsageError):
        BARE.with_name(3, name)


def test_names_are_normalised():
    assert checked_name("  Cafe\u0301 ") == "Café"
    with pytest.raises(UsageError, match="already"):
        BARE.with_name(1, "Café").with_name(2, "Cafe\u0301")


def test_without_a_name_the_number_stands():
    labels = BARE.with_name(2, "x").with_merged([1, 5]).labels()
    assert labels[:6] == ["topic_000", "topic_001", "x", "topic_003", "topic_004", "topic_001"]
    assert TopicNames("", 2000).labels()[7] == "topic_0007"
    with pytest.raises(UsageError, match="topic 4 is called"):
        BARE.with_name(3, "topic_004")
    assert BARE.with_name(4, "topic_004").name(4) == "topic_004"


def test_one_name_for_two_groups_is_an_error_or_merges():
    named = BARE.with_name(3, "kitchen")
    with pytest.raises(UsageError, match="fastvbow merge PROJECT 3 7"):
        named.with_name(7, "kitchen")
    merged = named.with_name(7, "kitchen", merge=True)
    assert merged.merged == ((3, 7),)
    assert merged.by_group() == {3: "kitchen"}
    assert named.with_name(3, "kitchen") == named, "its own name is no conflict"


def test_merging_joins_whole_groups():
    merged = BARE.with_merged([7, 3]).with_merged([1, 2]).with_merged([7, 2])
    assert merged.merged == ((1, 2, 3, 7),)
    assert merged.group_of().tolist() == [0, 1, 1, 1, 4, 5, 6, 1, 8, 9, 10, 11]
    assert merged.members(7) == (1, 2, 3, 7)


def test_a_merged_group_has_the_first_name_and_is_named_as_one():
    merged = BARE.with_name(7, "late").with_merged([3, 7])
    assert merged.by_group() == {3: "late"}
    renamed = merged.with_name(7, "kitchen")
    assert renamed.by_group() == {3: "kitchen"}
    assert renamed.with_name(3, None).by_group() == {}


def test_parting_brings_names_back():
    merged = BARE.with_name(3, "kitchen").with_name(7, "bath").with_merged([3, 7])
    assert merged.by_group() == {3: "kitchen"}
    assert merged.without_merged([7]) == BARE.with_name(3, "kitchen").with_name(7, "bath")
    taken = merged.with_name(9, "bath").without_merged([3, 7])
    assert taken.by_group() == {3: "kitchen", 9: "bath"}, "a name that another group has got is not given twice"
    three = BARE.with_merged([1, 2, 3]).without_merged([1])
    assert three.merged == ((2, 3),)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda n: n.with_name(12, "x"), "from 0 to 11"),
        (lambda n: n.with_name(-1, "x"), "from 0 to 11"),
        (lambda n: n.with_merged([1, 99]), "no topic 99"),
        (lambda n: n.with_merged([1, 1]), "at least two"),
        (lambda n: n.without_merged([4]), "not merged"),
        (lambda n: n.without_merged([]), "--undo"),
    ],
)
def test_what_cannot_be_is_refused(change, said):
    with pytest.raises(UsageError, match=said):
        change(BARE)


def test_to_disk_and_back(tmp_path):
    names = BARE.with_name(11, 'Küche "2"').with_name(2, "x").with_merged([3, 7])
    write_names(tmp_path / "n.json", names)
    assert read_names(tmp_path / "n.json") == names
    assert [path.name for path in tmp_path.iterdir()] == ["n.json"]
    again = BARE.with_name(2, "x").with_merged([7, 3]).with_name(11, 'Küche "2"')
    write_names(tmp_path / "m.json", again)
    assert (tmp_path / "m.json").read_bytes() == (tmp_path / "n.json").read_bytes()


def test_the_fingerprint_follows_names_and_groups():
    assert BARE.fingerprint == ""
    found = {n.fingerprint for n in (BARE, BARE.with_name(1, "a"), BARE.with_name(1, "b"), BARE.with_merged([1, 2]))}
    assert len(found) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"merged": [[3, 7], [7, 9]]},
        {"merged": [[3]]},
        {"merged": [[7, 3]]},
        {"merged": [[3, 99]]},
        {"names": {"12": "x"}},
        {"names": {"a": "x"}},
        {"names": {"1": "x", "2": "x"}},
        {"format": "another"},
        {"n_topics": "12"},
    ],
)
def test_files_that_contradict_themselves_are_refused(tmp_path, change):
    path = tmp_path / "n.json"
    write_names(path, BARE.with_name(1, "a"))
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(StoreCorruptError, match=r"n\.json"):
        read_names(path)


def test_newer_and_damaged_files_are_refused(tmp_path):
    path = tmp_path / "n.json"
    write_names(path, BARE.with_name(1, "a"))
    good = path.read_bytes()
    path.write_bytes(good.replace(b'"version": 1', b'"version": 2'))
    with pytest.raises(ProjectError, match="upgrade"):
        read_names(path)
    for data in (b"", good[:40], b"\xff\xfe", b"[]"):
        path.write_bytes(data)
        with pytest.raises(StoreCorruptError):
            read_names(path)
