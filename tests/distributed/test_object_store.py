"""Photographs and projects in object stores, worked on by processes that share no folder."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from conftest import contents

from fastvbow import pipeline
from fastvbow.config import EncodeConfig, ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.errors import StoreError
from fastvbow.marks import Mark
from fastvbow.object_store import ObjectStore
from fastvbow.pipeline.encoding import EncodeTask
from fastvbow.project import ProjectFolder

SIFT = ExtractConfig(features=("sift",))
SMALL = {
    "extract_config": SIFT,
    "vocabulary_config": VocabularyConfig(words=60),
    "topics_config": TopicsConfig(topics=4, sweeps=3),
    "labels": "parent",
}


@pytest.fixture
def apart(client, store_server, tmp_path, monkeypatch):
    """The client of two workers that know the server, each with a cache of its own, as machines have; and so has this
    process."""

    def tell(environment: dict[str, str], caches: str, dask_worker=None) -> None:
        os.environ.update(environment)
        os.environ["FASTVBOW_CACHE"] = f"{caches}/worker-{dask_worker.name}"

    client.run(tell, store_server.environment, str(tmp_path))
    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "driver"))
    return client


@pytest.fixture(scope="module")
def alone(sift_folder, tmp_path_factory) -> dict[str, bytes]:
    """What a run without stores or a cluster writes."""
    project = tmp_path_factory.mktemp("alone") / "project"
    pipeline.run(sift_folder, project, jobs=2, **SMALL)
    return contents(project)


WORKED_ON = ("features/", "vocabulary/", "tokens/", "topics/", "groups.parquet", "skipped.parquet")


def arrays(found: dict[str, bytes]) -> dict[str, bytes]:
    """What must not differ: all but what names the place and the time of photographs."""
    known = {name: data for name, data in found.items() if name.startswith(WORKED_ON)}
    return {name: data for name, data in known.items() if not name.endswith(("card.json", "images.parquet"))}


def test_the_whole_route(apart, alone, sift_folder, store_server, tmp_path, monkeypatch, recorder):
    bucket = store_server.bucket()
    url, project = store_server.upload(sift_folder, bucket, "photographs"), f"s3://{bucket}/projects/mine"
    result = pipeline.run(url, project, executor=apart.get_executor(), **SMALL)
    assert (result.images, result.grouped) == (20, 20)
    assert result.page == f"{project}/report/index.html"
    there = store_server.objects(bucket, "projects/mine/")
    assert arrays(there) == arrays(alone)
    assert {"report/index.html", "stages/report.json"} <= set(there)
    assert not [name for name in there if name.startswith(".") or "/." in name], "no lock, no mark is left"
    caches = sorted(path.name for path in tmp_path.glob("worker-*") if [*path.rglob("words.npy")])
    assert len(caches) == 2, "both have worked"
    mine = [path for path in (tmp_path / "driver").rglob("sift.descriptors.npy") if path.stat().st_size]
    assert len(mine) <= 2, "the driver has what the report shows, at the most"

    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "another driver"))
    pipeline.run(url, project, executor=apart.get_executor(), listener=recorder, **SMALL)
    assert recorder.stages("begin") == [], "an empty cache knows what stands"
    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "a third"))
    assert pipeline.verify(project).problems == []


def test_what_is_known_is_taken_over(apart, sift_folder, store_server, tmp_path, recorder):
    """A photograph goes, with an executor; then another, in threads: the others are not looked at again."""
    bucket = store_server.bucket()
    url, project = store_server.upload(sift_folder, bucket, "photographs"), f"s3://{bucket}/mine"
    pipeline.extract(url, project, SIFT, executor=apart.get_executor())
    names = sorted(name for name in store_server.objects(bucket, "photographs/"))
    for gone, how in ((names[2], {"executor": apart.get_executor()}), (names[3], {"jobs": 2})):
        recorder.events.clear()
        store_server.client().delete_object(Bucket=bucket, Key=f"photographs/{gone}")
        pipeline.extract(url, project, SIFT, listener=recorder, **how)
        assert "photographs taken over" in recorder.message("extract", "note")
    there = store_server.objects(bucket, "mine/")
    assert not [name for name in there if "stale" in name]
    local = tmp_path / "copy"
    for name in names[4:] + names[:2]:
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sift_folder / name, local / name)
    pipeline.extract(local, tmp_path / "here", SIFT, jobs=2)
    assert arrays(there) == arrays(contents(tmp_path / "here"))


def test_embeddings(apart, sift_folder, store_server, tmp_path):
    vectors = tmp_path / "vectors.npy"
    np.save(vectors, np.random.default_rng(0).standard_normal((20, 12)).astype(np.float32))
    config = ExtractConfig(embeddings=vectors, features=("cnn",))
    bucket = store_server.bucket()
    url = store_server.upload(sift_folder, bucket, "photographs")
    pipeline.extract(url, f"s3://{bucket}/mine", config, executor=apart.get_executor())
    pipeline.extract(sift_folder, tmp_path / "here", config, jobs=1)
    there = store_server.objects(bucket, "mine/")
    assert arrays(there) == arrays(contents(tmp_path / "here"))
    assert not [name for name in there if "embeddings." in name]


def test_an_interrupted_call_goes_on_elsewhere(apart, alone, sift_folder, store_server, tmp_path, monkeypatch):
    """The uploads of the driver fail when the vocabulary is published; another machine goes on from what stands."""
    bucket = store_server.bucket()
    url, project = store_server.upload(sift_folder, bucket, "photographs"), f"s3://{bucket}/mine"
    real = ObjectStore._send

    def failing(self, path: Path, name: str) -> None:
        if name == "stages/vocabulary.json":
            raise StoreError("cut off")
        real(self, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "_send", failing)
        with pytest.raises(StoreError, match="cut off"):
            pipeline.run(url, project, executor=apart.get_executor(), **SMALL)
    cards = [name for name in store_server.objects(bucket, "mine/") if name.startswith("stages/")]
    assert cards == ["stages/extract.json"], "what is not finished is not marked"
    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "another"))
    pipeline.run(url, project, jobs=2, **SMALL)
    assert arrays(store_server.objects(bucket, "mine/")) == arrays(alone)


def test_bytes_of_a_task(store_server, tmp_path, monkeypatch):
    monkeypatch.setenv("FASTVBOW_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photographs").mkdir()
    project = ProjectFolder.create(f"s3://{store_server.bucket()}/mine", tmp_path / "photographs", "0.1.0")
    task = EncodeTask(project.place, 3, EncodeConfig(), Mark("tokens/.making", "x" * 97))
    assert len(cloudpickle.dumps(task)) < 1000
