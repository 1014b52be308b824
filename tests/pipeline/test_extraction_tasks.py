"""Shards of features as tasks: done twice, too late, or at the same moment."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cloudpickle
import pytest
from conftest import contents

from fastvbow.config import ExtractConfig
from fastvbow.errors import Cancelled
from fastvbow.images.sources import scan
from fastvbow.marks import marked
from fastvbow.pipeline import extraction_tasks
from fastvbow.pipeline.describing import parameters_of
from fastvbow.pipeline.extraction_tasks import Making, RemoteShard, Tally, extract_shard
from fastvbow.pipeline.shard_work import Done, ShardTask, Worker
from fastvbow.places import SharedFolder

SIFT = ExtractConfig(features=("sift",))
HOW = Making(SIFT, parameters_of(SIFT), "cpu")


@pytest.fixture
def task(sift_folder, tmp_path) -> RemoteShard:
    table = scan(sift_folder)
    shard = ShardTask(SharedFolder(tmp_path), "features/shard-00000", "key", table.to_read(0, len(table)), 0)
    return RemoteShard(shard, HOW)


def marked_task(task: RemoteShard, mark) -> RemoteShard:
    return replace(task, shard=replace(task.shard, mark=mark))


def test_a_task_done_twice(task, tmp_path):
    first = extract_shard(task)
    assert (first.n_images, first.taken, first.reasons) == (20, 0, Counter())
    assert first.n_bytes > 0
    card = tmp_path / "features" / "shard-00000" / "card.json"
    at = card.stat().st_mtime_ns
    assert extract_shard(task) == Tally(20, 0, 0)
    assert card.stat().st_mtime_ns == at


def test_two_at_the_same_moment(task, tmp_path, monkeypatch):
    """Both begin before either ends; one of the two results stays, whole."""
    both, write = threading.Barrier(2), Worker._complete

    def together(self, shard):
        both.wait(30)
        write(self, shard)

    monkeypatch.setattr(Worker, "_complete", together)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(extract_shard, [task, task]))
    assert found[0] == found[1]
    assert {path.name for path in (tmp_path / "features").iterdir()} == {"shard-00000"}
    twice = contents(tmp_path)
    monkeypatch.undo()
    extract_shard(replace(task, shard=replace(task.shard, place=SharedFolder(tmp_path / "alone"))))
    assert contents(tmp_path / "alone") == twice


def test_too_late(task, tmp_path):
    with marked(SharedFolder(tmp_path), "features", "x") as mark:
        pass
    with pytest.raises(Cancelled):
        extract_shard(marked_task(task, mark))
    assert list((tmp_path / "features").iterdir()) == []


def test_the_call_ends_while_a_shard_is_made(task, tmp_path, monkeypatch):
    """It is looked at once more when all is written: nothing comes in place."""
    with marked(SharedFolder(tmp_path), "features", "x") as mark:
        add = Tally.add

        def ending(self, image):
            (tmp_path / mark.name).write_text("another call")
            add(self, image)

        monkeypatch.setattr(Tally, "add", ending)
        with pytest.raises(Cancelled):
            extract_shard(marked_task(task, mark))
        assert [path.name for path in (tmp_path / "features").iterdir()] == [".making"]


def test_workshops_are_shared_and_closed(task, tmp_path, monkeypatch):
    opened, closed = [], []

    class Shop(extraction_tasks.Workshop):
        def __init__(self, *args):
            super().__init__(*args)
            opened.append(self)

        def close(self):
            super().close()
            closed.append(self)

    monkeypatch.setattr(extraction_tasks, "Workshop", Shop)
    extraction_tasks._open.clear()
    for number, keypoints in enumerate((11, 11, 12, 13)):
        config = ExtractConfig(features=("sift",), keypoints=keypoints)
        shard = replace(task.shard, name=f"features/shard-{number:05d}")
        extract_shard(RemoteShard(shard, Making(config, parameters_of(config), "cpu")))
    assert len(opened) == 3
    assert closed == opened[:2], "one is kept"
    extraction_tasks._open.clear()


def test_a_tally_is_small():
    tally = Tally()
    for number in range(1024):
        tally.add(Done(1000, f"{number % 40} " + "very long " * 100))
    sent = tally.to_send()
    assert (sent.n_images, sent.n_bytes, sent.reasons.total()) == (1024, 1024000, 1024)
    assert len(sent.reasons) == 9
    assert len(cloudpickle.dumps(sent)) < 2000


def test_a_task_is_small(tmp_path):
    from fastvbow.images.table import ImageTable

    names = [f"2024/some-album/IMG_{number:08d}.jpg".encode() for number in range(100_000)]
    table = ImageTable.from_paths(b"/photographs", names, range(100_000), range(10**18, 10**18 + 100_000))
    shard = ShardTask(SharedFolder(Path("/project")), "features/shard-00012", "0" * 64, table.to_read(2048, 3072), 2048)
    n_bytes = len(cloudpickle.dumps(RemoteShard(shard, HOW, ("features/stale-0123456789ab",))))
    assert n_bytes < 3000 + 1024 * (16 + 10 + len(names[0]))
    assert n_bytes / 1024 < 80


def test_a_task_names_only_the_containers_that_it_reads(tmp_path):
    import numpy as np

    from fastvbow.images.table import Places

    which = np.array([3, 3, -1, 0, 1, 1], np.int32)
    places = Places([b"a", b"b", b"c", b"d"], [1, 2, 3, 4], which, np.arange(6), np.full(6, -1))
    part = places.part(0, 4)
    assert (part.containers, part.container_sizes) == ([b"a", b"d"], [1, 4])
    assert part.which.tolist() == [1, 1, -1, 0]
    assert part.offsets.tolist() == [0, 1, 2, 3]
    assert places.part(2, 3).containers == []
    assert places.part(4, 6).which.tolist() == [0, 0]
