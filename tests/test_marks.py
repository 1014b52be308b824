"""Whose call it is that workers work for."""

from __future__ import annotations

import pytest

from fastvbow import marks
from fastvbow.errors import Cancelled
from fastvbow.marks import marked, marked_for
from fastvbow.places import SharedFolder


def test_a_mark_holds_while_its_call_is_at_work(tmp_path, monkeypatch):
    place = SharedFolder(tmp_path)
    monkeypatch.setattr(marks, "_EVERY", 0.0)
    assert marked_for(place, "tokens") == ""
    with marked(place, "tokens", "words") as mark:
        over = mark.watch(place)
        assert mark.holds(place)
        assert not over()
        assert marked_for(place, "tokens") == "words"
        mark.check(place)
    assert over()
    assert not (tmp_path / "tokens" / ".making").exists()
    with pytest.raises(Cancelled):
        mark.check(place)


def test_a_call_that_ends_early_says_what_it_made(tmp_path):
    place = SharedFolder(tmp_path)
    with pytest.raises(KeyboardInterrupt), marked(place, "tokens", "words") as mark:
        raise KeyboardInterrupt
    assert marked_for(place, "tokens") == "words"
    assert not mark.holds(place)


def test_the_next_call_is_another_one(tmp_path):
    place = SharedFolder(tmp_path)
    with marked(place, "tokens", "words") as first, marked(place, "tokens", "words") as second:
        assert second.holds(place)
        assert not first.holds(place)


def test_a_damaged_mark_says_nothing(tmp_path):
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / ".making").write_bytes(b"\xff\xfe")
    assert marked_for(SharedFolder(tmp_path), "tokens") == ""
