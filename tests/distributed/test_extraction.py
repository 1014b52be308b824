"""Extraction and encoding by any executor: every file has the same bytes as from one thread."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from conftest import contents
from counting import CountingExecutor

from fastvbow import pipeline
from fastvbow.cancelling import cancelling
from fastvbow.config import ExtractConfig, ExtractOptions, VocabularyConfig
from fastvbow.errors import Cancelled, TooManySkippedError
from fastvbow.project import ProjectFolder

SIFT, WORDS = ExtractConfig(features=("sift",)), VocabularyConfig(words=60)


def stages(source: Path, project: Path, config: ExtractConfig = SIFT, **how) -> dict[str, bytes]:
    """What extraction and encoding write."""
    pipeline.extract(source, project, config, **how)
    pipeline.vocabulary(project, WORDS, jobs=1)
    pipeline.encode(project, **({"executor": how["executor"]} if "executor" in how else {"jobs": 1}))
    left = [path.name for path in project.rglob(".*") if path.name != ".lock"]
    assert left == [], "nothing temporary is left"
    return contents(project)


@pytest.fixture(scope="module")
def alone(sift_folder, tmp_path_factory) -> dict[str, bytes]:
    """What one thread makes of `sift_folder`."""
    return stages(sift_folder, tmp_path_factory.mktemp("alone") / "project", jobs=1)


def test_two_workers(alone, sift_folder, client, tmp_path, recorder):
    executor = client.get_executor()
    assert stages(sift_folder, tmp_path / "project", executor=executor, listener=recorder) == alone
    steps = [event.done for event in recorder.events if (event.stage, event.kind) == ("extract", "step")]
    assert steps == [16, 20], "one a shard"
    card = ProjectFolder.open(tmp_path / "project").require("extract")
    again = pipeline.extract(sift_folder, tmp_path / "project", SIFT, executor=executor)
    assert again == card, "reused"


def test_both_kinds_of_features(small_folder, small_project, client, tmp_path):
    found = stages(small_folder, tmp_path / "project", ExtractConfig(), executor=client.get_executor())
    assert {n: d for n, d in found.items() if n.startswith("features/")} == {
        n: d for n, d in contents(small_project).items() if n.startswith("features/")
    }


def test_one_worker(alone, sift_folder, cluster_of, tmp_path):
    with cluster_of(1) as client:
        assert stages(sift_folder, tmp_path / "project", executor=client.get_executor()) == alone


def test_a_pool_of_processes(alone, sift_folder, pool, tmp_path):
    assert stages(sift_folder, tmp_path / "project", executor=pool) == alone


def test_what_travels(sift_folder, client, tmp_path):
    executor = CountingExecutor(client.get_executor())
    stages(sift_folder, tmp_path / "project", executor=executor)
    n_extract, n_encode = executor.tasks[:2], executor.tasks[2:]
    assert len(n_extract) == len(n_encode) == 2
    assert max(n_extract) < 3000 + 16 * 100
    assert max(n_encode) < 1000
    assert max(executor.results) < 400


def features(project: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(project).items() if name.startswith("features/")}


def test_what_cannot_be_read_is_skipped_and_looked_at_again(photographs, client, tmp_path):
    executor = client.get_executor()
    names = sorted(photographs.rglob("*.jpg"))
    for path in names[3:6]:
        path.rename(path.with_suffix(".kept"))
        path.write_bytes(b"no image")
    for name, how in (("here", {"jobs": 1}), ("there", {"executor": executor})):
        card = pipeline.extract(photographs, tmp_path / name, SIFT, **how)
        assert card.outputs["skipped"] == 3
        with pytest.raises(TooManySkippedError, match="3 of 20"):
            options = ExtractOptions(max_error_rate=0.1)
            pipeline.extract(photographs, tmp_path / f"{name}-strict", SIFT, options=options, **how)
    assert features(tmp_path / "here") == features(tmp_path / "there")
    again = ExtractOptions(retry="failed")
    card = pipeline.extract(photographs, tmp_path / "there", SIFT, options=again, executor=executor)
    assert card.outputs["skipped"] == 3
    for path in names[3:6]:
        path.with_suffix(".kept").replace(path)
    stages(photographs, tmp_path / "whole", jobs=1)
    pipeline.extract(photographs, tmp_path / "there", SIFT, executor=executor)
    assert features(tmp_path / "there") == features(tmp_path / "whole")


def test_earlier_features_are_taken_over(photographs, client, tmp_path, recorder):
    executor = client.get_executor()
    stages(photographs, tmp_path / "there", executor=executor)
    gone = sorted(photographs.rglob("*.jpg"))[2]
    shutil.move(gone, tmp_path / "moved.jpg")
    pipeline.extract(photographs, tmp_path / "there", SIFT, executor=executor, listener=recorder)
    assert "19 photographs taken over" in recorder.message("extract", "note")
    pipeline.extract(photographs, tmp_path / "here", SIFT, jobs=1)
    assert features(tmp_path / "there") == features(tmp_path / "here")


def test_embeddings(sift_folder, client, tmp_path):
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.random.default_rng(0).standard_normal((20, 12)).astype(np.float32))
    config = ExtractConfig(embeddings=vectors)
    pipeline.extract(sift_folder, tmp_path / "here", config, jobs=1)
    pipeline.extract(sift_folder, tmp_path / "there", config, executor=client.get_executor())
    assert features(tmp_path / "there") == features(tmp_path / "here")
    assert any(name.endswith("pooled.descriptors.npy") for name in features(tmp_path / "here"))


def test_new_photographs_are_added(sift_folder, sift_copy, client, tmp_path):
    more = tmp_path / "more"
    more.mkdir()
    for path in sorted(sift_folder.rglob("*.jpg"))[::3]:
        shutil.copy2(path, more / f"new-{path.name}")
    other = Path(shutil.copytree(sift_copy, tmp_path / "other"))
    pipeline.add(sift_copy, more, jobs=1, report=False)
    pipeline.add(other, more, executor=client.get_executor(), report=False)
    assert contents(other) == contents(sift_copy)


def test_cancelled(small_folder, client, tmp_path):
    stop = threading.Event()

    def listener(event) -> None:
        if event.kind == "step":
            stop.set()

    executor = client.get_executor()
    with cancelling(stop), pytest.raises(Cancelled):
        pipeline.extract(small_folder, tmp_path / "there", SIFT, executor=executor, listener=listener)
    pipeline.extract(small_folder, tmp_path / "there", SIFT, executor=executor)
    pipeline.extract(small_folder, tmp_path / "here", SIFT, jobs=1)
    assert features(tmp_path / "there") == features(tmp_path / "here")


def test_the_command_line(alone, sift_folder, client, cli, tmp_path):
    project, how = tmp_path / "project", ("--executor", "dask", "--scheduler", client.scheduler.address)
    outcome = cli("extract", sift_folder, "-o", project, "--features", "sift", *how)
    assert outcome.code == 0, outcome.err
    assert "Dask: 2 workers with 2 threads; dashboard http" in outcome.err
    pipeline.vocabulary(project, WORDS, jobs=1)
    assert cli("encode", project, *how).code == 0
    assert contents(project) == alone
    outcome = cli("extract", sift_folder, "-o", project, "--dry-run", *how)
    assert (outcome.code, outcome.complaint) == (
        2,
        "fastvbow: --dry-run measures this machine alone: leave out --executor dask",
    )
    outcome = cli("encode", project, "--executor", "dask", "--scheduler", tmp_path / "none.json")
    assert outcome.code == 1
    assert "there is no scheduler file" in outcome.complaint


def test_a_cluster_of_this_machine(alone, sift_folder, cli, tmp_path):
    dask = pytest.importorskip("dask", reason="the tests of Dask want the extra dask")
    pytest.importorskip("distributed", reason="the tests of Dask want the extra dask")
    project = tmp_path / "project"
    how = ("--features", "sift", "--executor", "dask", "--jobs", "1")
    with dask.config.set({"distributed.worker.multiprocessing-method": "spawn"}):  # as it is by default
        outcome = cli("extract", sift_folder, "-o", project, *how)
    assert outcome.code == 0, outcome.err
    assert "Dask: 1 workers with 1 threads" in outcome.err
    assert features(project) == {name: data for name, data in alone.items() if name.startswith("features/")}
