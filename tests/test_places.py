"""Where the files of a project are."""

from __future__ import annotations

import pickle
import shutil

import pytest

from fastvbow.places import SharedFolder
from fastvbow.project import replace_file


def test_a_shared_folder(tmp_path):
    place = pickle.loads(pickle.dumps(SharedFolder(tmp_path)))
    with place.writing("tokens/shard-00001/words.npy") as path, replace_file(path) as beside:
        beside.write_bytes(b"words")
    assert place.fetch("tokens/shard-00001/words.npy").read_bytes() == b"words"
    assert place.fetch("tokens/shard-00001").is_dir()
    place.remove("tokens/shard-00001/words.npy")
    with pytest.raises(FileNotFoundError, match="do all workers see"):
        place.fetch("tokens/shard-00001/words.npy")
    place.remove("tokens")
    place.remove("tokens")
    assert list(tmp_path.iterdir()) == []


def test_moved_and_listed(tmp_path):
    place = SharedFolder(tmp_path)
    (tmp_path / "features" / "b").mkdir(parents=True)
    (tmp_path / "features" / "a").touch()
    assert place.names("features") == ["a", "b"]
    assert place.names("none") == []
    place.move("features/b", "features/c")
    assert place.names("features") == ["a", "c"]


def test_a_folder_goes_as_a_whole(tmp_path, monkeypatch):
    """A kill amid the removal leaves nothing under the name, and the next one finds nothing in the way."""
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "state.json").touch()

    def killed(path, **how) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        SharedFolder(tmp_path).remove("training")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".training.")
    assert left.name.endswith(".tmp"), "so that the next writer clears it away"
