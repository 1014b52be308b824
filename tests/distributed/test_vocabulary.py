"""Words learned on a cluster: the same bytes as on one machine, also where a worker dies on the way."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from fastvbow import pipeline
from fastvbow.config import VocabularyConfig
from fastvbow.errors import ClusterError
from fastvbow.pipeline import learning_words


def words(project: Path, executor=None, listener=lambda event: None, **config) -> bytes:
    shutil.rmtree(project / "vocabulary", ignore_errors=True)
    config = VocabularyConfig(**{"words": 60, **config})
    pipeline.vocabulary(project, config, jobs=1, executor=executor, listener=listener)
    assert not (project / "learning").exists()
    return (project / "vocabulary" / "vocabulary.safetensors").read_bytes()


@pytest.mark.parametrize(
    "config",
    [{"sample": 3000}, {"sample": 3000, "fusion": "joint"}, {"train": "all", "fusion": "joint"}],
    ids=lambda config: "-".join(map(str, config.values())),
)
def test_the_same_bytes_as_without_a_cluster(config, small_copy, client, monkeypatch):
    monkeypatch.setattr(learning_words, "SAMPLED_ROWS", 700)
    monkeypatch.setattr(learning_words, "LEAST_BYTES", 1 << 17)
    assert words(small_copy, client.get_executor(), **config) == words(small_copy, **config)


def test_one_worker_gives_the_same_bytes(sift_copy, client):
    client.wait_for_workers(2, timeout=60)
    one = client.get_executor(workers=[next(iter(client.nthreads()))])
    found = words(sift_copy, one, train="all")
    assert found == words(sift_copy, client.get_executor(), train="all") == words(sift_copy, train="all")


@pytest.mark.parametrize("at", [2, 8], ids=["seeding", "passes"])
def test_a_worker_is_killed_during_the_passes(at, sift_copy, client, monkeypatch):
    """The nanny starts another; what the dead one had summed up is summed up again."""
    monkeypatch.setattr(learning_words, "LEAST_BYTES", 1 << 14)
    plain = words(sift_copy, train="all")
    client.wait_for_workers(2, timeout=60)
    killed = []

    def kill(pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    def listener(event) -> None:
        if event.unit == "passes" and event.done == at:
            pid = next(iter(client.run(os.getpid).values()))
            threading.Timer(0.02, kill, [pid]).start()  # while the next pass is under way

    assert words(sift_copy, client.get_executor(), listener, train="all") == plain
    assert len(killed) == 1
    client.wait_for_workers(2, timeout=60)
    assert killed[0] not in client.run(os.getpid).values()


def test_the_scheduler_goes_and_the_next_call_goes_on(sift_copy, cluster_of):
    """Whether the call was about to hand over tasks or waited for them."""
    passes: list[int] = []
    plain = words(sift_copy, train="all")

    def listener(event) -> None:
        if event.unit == "passes":
            passes.append(event.done)
            if event.done == 7:
                one.cluster.close()

    with cluster_of(1) as one, pytest.raises(ClusterError):
        words(sift_copy, one.get_executor(), listener, train="all")
    assert passes == list(range(1, 8))
    assert words(sift_copy, listener=listener, train="all") == plain
    assert passes[7] == 8
