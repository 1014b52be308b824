"""Figures that other processes have worked out: the same bits."""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import asdict

import numpy as np
import pytest
from counting import CountingExecutor

from fastvbow import pipeline, reducing
from fastvbow.errors import StoreCorruptError
from fastvbow.pipeline import scoring
from fastvbow.project import ProjectFolder

N_SHARDS = 4
"""Of the small project: 60 photographs, 16 a shard."""


def bits(found):
    """All figures, to the last bit."""
    flat = {}
    for name, part in [*found.distances.items(), ("tables", found.tables), ("topics", found.topics)]:
        for field, value in asdict(part).items():
            flat[name, field] = value.tobytes() if isinstance(value, np.ndarray) and value.dtype != object else value
    return {**flat, **{name: float(value).hex() for name, value in found.scores.items()}, "all": repr(found.alignment)}


@pytest.fixture(scope="module")
def wanted(small_project):
    return bits(pipeline.evaluate(small_project, jobs=1))


def test_processes_find_the_same(small_project, wanted, pool):
    """What travels: labels there; back come sums of so many labels times so many groups and words, and rows drawn."""
    executor = CountingExecutor(pool)
    found = pipeline.evaluate(small_project, jobs=2, executor=executor)
    assert bits(found) == wanted == bits(pipeline.evaluate(small_project, jobs=3))
    n_words = int(ProjectFolder.open(small_project).require("vocabulary").outputs["words"])
    scored, drawn, counted = (slice(i * N_SHARDS, (i + 1) * N_SHARDS) for i in range(3))
    assert len(executor.tasks) == len(executor.results) == 3 * N_SHARDS
    assert max(executor.tasks) < 3000
    assert max(executor.results[scored]) < 16 * len(found.tables.labels) * (n_words + 5) + 8 * n_words + 2000
    assert max(executor.results[drawn]) < 16 * 8 * n_words + 2000
    assert max(executor.results[counted]) < 8 * 5 * 10 * 10 + 500


def test_dask_finds_the_same(small_project, wanted, client):
    assert bits(pipeline.evaluate(small_project, executor=client.get_executor(retries=3))) == wanted


def test_blocks_of_words_find_nearly_the_same(small_project, client, monkeypatch):
    """Where labels and words are many, the words are gone through in blocks."""
    whole = pipeline.evaluate(small_project, jobs=1)
    monkeypatch.setattr(scoring, "_MOST_CELLS", 500)
    here = pipeline.evaluate(small_project, jobs=1)
    assert bits(pipeline.evaluate(small_project, executor=client.get_executor())) == bits(here)
    for name, value in whole.scores.items():
        assert here.scores[name] == pytest.approx(value, rel=1e-12), name
    assert here.scores["perplexity"] == whole.scores["perplexity"], "documents are completed once"


def test_a_worker_that_dies_meanwhile(small_project, wanted, client, monkeypatch):
    """With the last shard's task one is gone, and all that it has worked out."""
    pids, submit, calls = client.run(os.getpid), client.submit, []

    def submitted(function, *rest, **options):
        calls.append(function.__name__)
        if len(calls) == N_SHARDS:
            os.kill(min(pids.values()), signal.SIGKILL)
        return submit(function, *rest, **options)

    monkeypatch.setattr(client, "submit", submitted)
    monkeypatch.setattr(reducing, "FEW", 1)  # four results would be put together here
    assert bits(pipeline.evaluate(small_project, executor=client.get_executor(retries=3))) == wanted
    assert {"score_shard", "sum_scores", "count_shard", "sum_counts"} <= set(calls)
    client.wait_for_workers(len(pids))
    assert min(pids.values()) not in client.run(os.getpid).values()


def test_damaged_mixtures_are_told_by_the_worker(small_project, tmp_path, client):
    copy = shutil.copytree(small_project, tmp_path / "copy")
    theta = np.load(copy / "topics" / "theta.npy")
    theta[17, 2] = -1
    np.save(copy / "topics" / "theta.npy", theta)
    with pytest.raises(StoreCorruptError, match=r"theta.npy holds rows that are no mixtures.*fastvbow topics"):
        pipeline.evaluate(copy, executor=client.get_executor())


def test_many_photographs_are_drawn(small_project, client, monkeypatch):
    """As if 50,000 were 20: the interval of the drawn ones holds the figure of all."""
    whole = pipeline.evaluate(small_project, jobs=1)
    monkeypatch.setattr(scoring, "MOST_DRAWN", 20)
    here = pipeline.evaluate(small_project, jobs=1)
    assert bits(pipeline.evaluate(small_project, executor=client.get_executor())) == bits(here)
    drawn, exact = here.distances["words_l1"], whole.distances["words_l1"]
    assert drawn.counts.tolist() == exact.counts.tolist() and not drawn.exact and exact.exact
    assert abs(drawn.overall - exact.overall) < 2 * drawn.overall_error
    assert abs(drawn.mean_within - exact.mean_within) < 3 * drawn.mean_within_error
    same = [name for name in whole.scores if not name.startswith(("words_l1", "silhouette"))]
    assert [here.scores[name] for name in same] == [whole.scores[name] for name in same]
