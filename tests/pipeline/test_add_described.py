"""`fastvbow add` to projects of every kind of features: a CNN's, joint words, vectors of another program."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import PHOTOGRAPHS, Recorder

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, ExtractOptions, TopicsConfig, VocabularyConfig
from fastvbow.errors import UsageError
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder

DIMENSION = 12


def theta_of(project: Path) -> np.ndarray:
    return np.load(project / "topics" / "theta.npy")


def card(project: Path, stage: str) -> dict:
    return json.loads((project / "stages" / f"{stage}.json").read_text())


@pytest.fixture
def odd(small_folder, tmp_path) -> Path:
    """A photograph, one without a keypoint, and a file that is none."""
    folder = tmp_path / "odd"
    folder.mkdir()
    shutil.copy(min(small_folder.rglob("*.jpg")), folder / "b.jpg")
    cv2.imwrite(str(folder / "c.png"), np.full((60, 90, 3), 99, np.uint8))
    (folder / "a.jpg").write_text("no photograph")
    return folder


@pytest.mark.parametrize("fusion", ["separate", "joint"])
def test_a_network_and_keypoints(fusion, small_copy, small_folder, odd, tmp_path):
    project = small_copy
    if fusion == "joint":
        words = VocabularyConfig(words=120, fusion="joint")
        pipeline.run(small_folder, project, vocabulary_config=words, topics_config=TopicsConfig(topics=PHOTOGRAPHS))
    wanted = Project.open(project).assign([odd / "b.jpg", odd / "c.png"])
    before = theta_of(project)
    found = pipeline.add(project, odd, report=False)
    assert (found.n_new, found.n_skipped) == (2, 1)
    np.testing.assert_array_equal(theta_of(project)[:60], before)
    np.testing.assert_array_equal(theta_of(project)[61:], wanted.theta)
    np.testing.assert_array_equal(theta_of(project)[61], before[0], "the same pixels, the same mixture")
    assert pipeline.verify(project).problems == []
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "text.jpg").write_text("no photograph")
    found = pipeline.add(project, tmp_path / "only", report=False)
    assert (found.n_new, found.n_skipped, len(found.grouping)) == (0, 1, 0)
    assert pipeline.verify(project).problems == []
    assert len(theta_of(project)) == 64


def test_topics_that_were_proposed(small_copy, small_folder, odd):
    pipeline.topics(small_copy, TopicsConfig(topics="auto", most_topics=8))
    pipeline.groups(small_copy)
    curve = card(small_copy, "topics")["outputs"]["silhouettes"]
    pipeline.add(small_copy, odd)
    assert card(small_copy, "topics")["outputs"]["silhouettes"] == curve
    assert (small_copy / "report" / "index.html").exists()


@pytest.fixture(scope="module")
def vectors(sift_folder) -> dict[str, np.ndarray]:
    """A vector for each photograph: that of its folder, with noise."""
    rng = np.random.default_rng(0)
    folders = sorted({path.parent.name for path in sift_folder.rglob("*.jpg")})
    centres = dict(zip(folders, rng.normal(size=(len(folders), DIMENSION)), strict=True))
    return {
        path.relative_to(sift_folder).as_posix(): centres[path.parent.name] + 0.1 * rng.normal(size=DIMENSION)
        for path in sorted(sift_folder.rglob("*.jpg"))
    }


def write(file: Path, vectors: dict[str, np.ndarray]) -> Path:
    rows = {"path": list(vectors), "embedding": [np.float32(vector) for vector in vectors.values()]}
    pq.write_table(pa.table(rows), file)
    return file


@pytest.fixture(scope="module")
def embedded(sift_folder, vectors, tmp_path_factory) -> tuple[Path, Path]:
    """A project of vectors, and their file; to be read only."""
    place = tmp_path_factory.mktemp("embedded")
    file = write(place / "vectors.parquet", vectors)
    config = ExtractConfig(features=("sift", "cnn"), embeddings=file)
    pipeline.run(
        sift_folder,
        place / "project",
        extract_config=config,
        vocabulary_config=VocabularyConfig(words=60),
        topics_config=TopicsConfig(topics=4, sweeps=40),
    )
    return place / "project", file


@pytest.fixture
def later(sift_folder, vectors, tmp_path) -> tuple[Path, dict[str, np.ndarray]]:
    """Six of the photographs in a folder of their own, and their vectors."""
    folder = tmp_path / "later"
    folder.mkdir()
    own = {}
    for number, name in enumerate(sorted(vectors)[::4] + sorted(vectors)[-1:]):
        shutil.copy(sift_folder / name, folder / f"{number}.jpg")
        own[f"{number}.jpg"] = vectors[name]
    return folder, own


def test_vectors_of_another_program(embedded, later, cli, tmp_path):
    project = Path(shutil.copytree(embedded[0], tmp_path / "project"))
    folder, own = later
    paths = sorted(folder.iterdir())
    wanted = Project.open(project).assign(paths, embeddings=np.stack([own[path.name] for path in paths]))
    outcome = cli("add", project, folder)
    assert outcome.code == 2 and "with --embeddings" in outcome.complaint
    other = write(tmp_path / "other.parquet", {name: vector[:5] for name, vector in own.items()})
    outcome = cli("add", project, folder, "--embeddings", other)
    assert outcome.code == 2 and f"have {DIMENSION} numbers, these 5" in outcome.complaint
    lacking = dict(own)
    del lacking["3.jpg"]
    assert cli("add", project, folder, "--embeddings", write(tmp_path / "new.parquet", lacking)).code == 3
    np.testing.assert_array_equal(theta_of(project)[[20, 21, 22, 24, 25]], wanted.theta[[0, 1, 2, 4, 5]])
    reasons = pq.read_table(project / "skipped.parquet").to_pylist()
    assert [(row["path"], "embedding" in row["reason"]) for row in reasons] == [(str(folder / "3.jpg"), True)]
    assert pipeline.verify(project).problems == []


def test_vectors_without_paths(embedded, later, tmp_path):
    """Rows belong to the photographs of the source, whichever of them are new."""
    project = Path(shutil.copytree(embedded[0], tmp_path / "project"))
    folder, own = later
    np.save(tmp_path / "new.npy", np.stack([own[path.name] for path in sorted(folder.iterdir())]))
    wanted = Project.open(project).assign(sorted(folder.iterdir()), embeddings=np.load(tmp_path / "new.npy"))
    for limit in (2, 0):
        options = ExtractOptions(limit=limit)
        pipeline.add(project, folder, embeddings=tmp_path / "new.npy", options=options, report=False)
    np.testing.assert_array_equal(theta_of(project)[20:], wanted.theta)
    with pytest.raises(UsageError, match="6 rows, the source 7 images"):
        shutil.copy(folder / "0.jpg", folder / "new.jpg")
        pipeline.add(project, folder, embeddings=tmp_path / "new.npy", report=False)


def test_shards_of_several_files_of_vectors(embedded, later, sift_folder, vectors, monkeypatch, tmp_path):
    """Joined, they keep each photograph's vector; and none is taken over as if it came from one file."""
    monkeypatch.setattr("fastvbow.pipeline.merging.MOST_SMALL", 0)
    project = Path(shutil.copytree(embedded[0], tmp_path / "project"))
    folder, own = later
    names, makers = sorted(own), list[str]()
    for number, part in enumerate((names[:2], names[2:])):
        file = write(tmp_path / f"{number}.parquet", {name: own[name] for name in part})
        (tmp_path / f"{number}.txt").write_text("\n".join(str(folder / name) for name in part))
        write(file, {str(folder / name): own[name] for name in part})
        pipeline.add(project, tmp_path / f"{number}.txt", embeddings=file, report=False)
        makers.append(open_shards(ProjectFolder.open(project))[-1].card.made_by["pooled"])
    shards = open_shards(ProjectFolder.open(project))
    assert [shard.card.n_images for shard in shards] == [16, 4, 6]
    np.testing.assert_array_equal(shards[-1].descriptors("pooled").shape, (6, DIMENSION))
    stored = shards[-1].descriptors("pooled").astype(float)
    for row, name in zip(stored, names, strict=True):
        assert row @ own[name] / np.linalg.norm(row) / np.linalg.norm(own[name]) > 0.9999
    assert len({*makers, shards[0].card.made_by["pooled"]}) == 3, "it comes from neither file"
    assert len({shard.card.made_by["sift"] for shard in shards}) == 1
    assert pipeline.verify(project).problems == []
    recorder = Recorder()
    config = ExtractConfig(features=("sift", "cnn"), embeddings=embedded[1])
    pipeline.extract(sift_folder, project, config, listener=recorder)
    assert recorder.stages("reused") == ["extract"], "the vectors of the added ones are kept"
    every = write(tmp_path / "every.parquet", {**vectors, **{str(folder / name): own[name] for name in names}})
    config = ExtractConfig(features=("sift", "cnn"), embeddings=every)
    found = pipeline.extract(sift_folder, project, config).outputs
    assert (found["images"], found["skipped"]) == (26, 0)
    again = np.concatenate([shard.descriptors("pooled") for shard in open_shards(ProjectFolder.open(project))])
    np.testing.assert_array_equal(again[20:], stored)


@pytest.mark.data
def test_photographs_of_scenes(data_folder, tmp_path):
    """Real ones: those that are added fall into the groups of their own kind, as if they had been there."""
    kinds = ("desert", "highway", "kitchen", "waterfall")
    for kind in kinds:
        for number, path in enumerate(sorted((data_folder / "sun8" / kind).iterdir())[:36]):
            place = tmp_path / ("first" if number % 3 else "later") / kind
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    pipeline.run(tmp_path / "first", tmp_path / "project", topics_config=TopicsConfig(topics=4), labels="parent")
    before = pq.read_table(tmp_path / "project" / "groups.parquet").to_pylist()
    found = pipeline.add(tmp_path / "project", tmp_path / "later", report=False).grouping
    assert len(found) == 48
    usual = {}
    for kind in kinds:
        topics = [row["topic"] for row in before if row["label"] == kind]
        usual[kind] = max(topics, key=topics.count)
    assert len(set(usual.values())) == 4
    met = [usual[kind] == topic for kind, topic in zip(found.labels, found.topic.tolist(), strict=True)]
    assert np.mean(met) > 0.9


def test_drift_is_told_of(small_copy, small_folder, cli, tmp_path):
    """As `assign` tells it; and what was added is no measure for what is added later."""
    other = tmp_path / "other"
    other.mkdir()
    for number, path in enumerate(sorted(small_folder.rglob("*.jpg"))[::4]):
        image = cv2.imread(str(path))
        noise = np.random.default_rng(number).integers(0, 256, image.shape, np.uint8)
        cv2.imwrite(str(other / f"{number:02d}.jpg"), cv2.medianBlur(noise, 3))
    wanted = Project.open(small_copy).assign(sorted(other.iterdir()), drift=True).drift
    assert wanted.drifted
    for limit in ("8", "0"):
        outcome = cli("add", small_copy, other, "--no-report", "--limit", limit, "--json")
        assert outcome.code == 0
        assert json.loads(outcome.out)["drift"]["drifted"] is True
        assert "words and topics were not learned for such" in " ".join(outcome.err.split())
    again = Project.open(small_copy).assign(sorted(other.iterdir()), drift=True).drift
    np.testing.assert_array_equal(again.p_values, wanted.p_values)
    same = tmp_path / "same"
    same.mkdir()
    for number, path in enumerate(sorted(small_folder.rglob("*.jpg"))[::6]):
        shutil.copy(path, same / f"{number}.jpg")
    outcome = cli("add", small_copy, same, "--no-report", "--json")
    assert json.loads(outcome.out)["drift"]["drifted"] is False and "were not learned" not in outcome.err
    assert "drift" not in json.loads(cli("add", small_copy, same, "--no-report", "--json").out), "nothing is new"
    pipeline.run(small_folder, small_copy, topics_config=TopicsConfig(topics=PHOTOGRAPHS))
    learned = Project.open(small_copy).assign(sorted(other.iterdir()), drift=True).drift
    assert learned.n_misfits < wanted.n_misfits, "trained anew, the project has learned what they are like"
