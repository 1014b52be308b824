"""The same photographs and the same seed give the same bytes, whatever the machine does."""

from __future__ import annotations

import os
import shutil
import threading

import cv2
import numpy as np
from conftest import contents
from threadpoolctl import threadpool_info

from fastvbow import pipeline
from fastvbow.config import TopicsConfig, VocabularyConfig
from fastvbow.executors import one_thread_each
from fastvbow.pipeline import topic_modelling
from fastvbow.pipeline.topic_modelling import walks_for


def test_order_of_creation_and_jobs(small_folder, small_project, tmp_path):
    """Files made in another order, on another path, two threads instead of one: the same bytes in every file."""
    folder = tmp_path / "elsewhere"
    for path in sorted(small_folder.rglob("*.jpg"), reverse=True):
        target = folder / path.relative_to(small_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)  # with its time, which is part of a shard's key
    pipeline.run(folder, tmp_path / "project", topics_config=TopicsConfig(topics=5), labels="parent", jobs=2)
    assert contents(tmp_path / "project") == contents(small_project)


def test_the_seed_matters(sift_copy):
    first = np.load(sift_copy / "topics" / "theta.npy")
    words = (sift_copy / "vocabulary" / "vocabulary.safetensors").read_bytes()
    pipeline.topics(sift_copy, TopicsConfig(topics=4, sweeps=40, seed=1))
    assert not np.array_equal(first, np.load(sift_copy / "topics" / "theta.npy"))
    pipeline.vocabulary(sift_copy, VocabularyConfig(words=60, seed=1))
    assert words != (sift_copy / "vocabulary" / "vocabulary.safetensors").read_bytes()


def test_topics_of_several_walks_do_not_depend_on_the_threads(sift_copy, monkeypatch):
    single = np.load(sift_copy / "topics" / "theta.npy")
    monkeypatch.setattr(topic_modelling, "TOKENS_A_WALK", 500)
    found = []
    for jobs in (1, 3):
        shutil.rmtree(sift_copy / "topics")
        pipeline.topics(sift_copy, TopicsConfig(topics=4, sweeps=40), jobs=jobs)
        found.append(np.load(sift_copy / "topics" / "theta.npy"))
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(found[0], single), "there were several walks"


def test_walks_follow_from_the_tokens():
    assert [walks_for(n) for n in (0, 499_999, 500_000, 558_400, 10**7, 10**10)] == [1, 1, 2, 2, 16, 16]


def test_a_sample_trains_the_words(sift_copy):
    """Where there are more descriptors than the sample takes, it is drawn over all shards, and the same again."""
    found = []
    for jobs in (1, 2):
        shutil.rmtree(sift_copy / "vocabulary")
        pipeline.vocabulary(sift_copy, VocabularyConfig(words=40, sample=500), jobs=jobs)
        found.append((sift_copy / "vocabulary" / "vocabulary.safetensors").read_bytes())
    assert found[0] == found[1]


def test_one_thread_each_overlaps():
    """The limit holds until the last of several users leaves, and then what stood before comes back."""

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    if (os.cpu_count() or 1) < 2:
        return
    cv2.setNumThreads(2)
    before, inside, leave = threads(), threading.Event(), threading.Event()

    def other() -> None:
        with one_thread_each():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=other)
    with one_thread_each():
        thread.start()
        assert inside.wait(10)
        assert set(threads()) == {1}
    assert set(threads()) == {1}, "the other still works"
    assert cv2.getNumThreads() == 1
    leave.set()
    thread.join()
    assert threads() == before
    assert cv2.getNumThreads() == 2
    with one_thread_each():
        assert set(threads()) == {1}
    assert threads() == before
