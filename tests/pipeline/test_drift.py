"""New photographs held against those of a project, and those that are streamed."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import SIFT, write_crops

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.demo.crops import crop_generator, photograph_files, render_crop
from fastvbow.errors import UsageError
from fastvbow.pipeline import drift as drift_module
from fastvbow.pipeline.drift import drift_reference, views_of
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def others() -> list[bytes]:
    """Crops of photographs that `small_project` has never seen."""
    found = []
    for place, file in list(enumerate(photograph_files()))[5:13]:
        image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        found += [render_crop(crop_generator(0, place, number), image) for number in range(3)]
    return found


@pytest.fixture(scope="module")
def more(tmp_path_factory) -> list[Path]:
    """Further crops of the photographs of `small_project`."""
    folder = write_crops(tmp_path_factory.mktemp("more") / "crops", 5, 18)
    return sorted(path for path in folder.rglob("*.jpg") if int(path.stem[-2:]) >= 12)


def test_foreign_photographs_are_told_of(small_copy, others, more, cli, tmp_path):
    opened = Project.open(small_copy)
    same, foreign = opened.assign(more, drift=True).drift, opened.assign(others, drift=True).drift
    assert len(same) == 30
    assert not same.drifted
    assert foreign.drifted
    assert foreign.n_misfits > 12 > 5 * foreign.expected
    assert set(foreign.by_view) == {"vectors", "maps", "keypoints"}
    assert opened.assign(others).drift is None, "nobody asked"
    folder = tmp_path / "new"
    folder.mkdir()
    for number, content in enumerate(others):
        (folder / f"{number:02d}.jpg").write_bytes(content)
    outcome = cli("assign", small_copy, folder, "-o", tmp_path / "new.parquet", "--json", "--jobs", 2)
    assert outcome.code == 0, "a warning, no failure"
    told = json.loads(outcome.out)["drift"]
    assert (told["misfits"], told["p"], told["drifted"]) == (foreign.n_misfits, foreign.p_value, True)
    assert f"{foreign.n_misfits} of 24 new photographs are less like" in outcome.err.replace("\n", " ")
    outcome = cli("assign", small_copy, folder, "-o", tmp_path / "new.parquet", "--json", "--no-drift")
    assert json.loads(outcome.out) == {"images": 24, "grouped": 24, "skipped": 0}
    assert "less like" not in outcome.err


def test_p_values_stay_with_their_photographs(small_copy, others, more):
    opened = Project.open(small_copy)
    given = [*others[:4], b"no photograph", *more[:4]]
    found = opened.assign(given, drift=True, jobs=2)
    assert len(found.skipped) == 1
    assert len(found.drift) == len(found) == 8
    for photograph, p_value in zip([*others[:4], *more[:4]], found.drift.p_values, strict=True):
        assert opened.assign([photograph], drift=True).drift.p_values == [p_value]


def test_the_cache(small_copy, more, monkeypatch):
    folder = ProjectFolder.open(small_copy)
    cache = small_copy / "drift.safetensors"
    cache.unlink(missing_ok=True)
    wanted = Project.open(small_copy).assign(more[:5], drift=True).drift.p_values
    content = cache.read_bytes()
    vocabulary = Vocabulary.load(folder.vocabulary)
    with monkeypatch.context() as patch:
        patch.setattr(drift_module, "_own_views", lambda *_: pytest.fail("it is there"))
        known = drift_reference(folder, vocabulary)
    assert rb"\"version\":1" in content
    for bad in (content[:-40], b"", content.replace(rb"\"version\":1", rb"\"version\":9")):
        cache.write_bytes(bad)
        np.testing.assert_array_equal(Project.open(small_copy).assign(more[:5], drift=True).drift.p_values, wanted)
        assert cache.read_bytes() == content, "the same bytes again"
    assert len(known) == 60
    pipeline.vocabulary(small_copy, VocabularyConfig(seed=3))
    pipeline.encode(small_copy)
    drift_reference(folder, Vocabulary.load(folder.vocabulary))
    assert cache.read_bytes() != content, "other words"


def test_what_is_added(small_copy, others, more, cli, tmp_path, recorder):
    """`add` warns as `assign` does, and foreign photographs do not become usual by being added."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for number, content in enumerate(others):
        (foreign / f"{number:02d}.jpg").write_bytes(content)
    (small_copy / "drift.safetensors").unlink(missing_ok=True)
    outcome = cli("add", small_copy, foreign, "--no-report", "--json")
    assert outcome.code == 0, outcome.err
    opened, told = Project.open(small_copy), json.loads(outcome.out)["drift"]
    wanted = opened.assign(others, drift=True).drift
    assert (told["misfits"], told["expected"], told["p"]) == (wanted.n_misfits, wanted.expected, wanted.p_value)
    assert told["drifted"]
    assert f"{wanted.n_misfits} of 24 new photographs are less like" in outcome.err.replace("\n", " ")
    found = pipeline.add(small_copy, more[0].parent.parent, report=False, listener=recorder)
    assert len(found.grouping.drift) == len(found.grouping) == found.n_new
    assert not found.grouping.drift.drifted
    assert "less like" not in recorder.message("add", "warning")
    again = opened.assign(sorted(more[0].parent.parent.rglob("*.jpg"))[:7], drift=True).drift
    np.testing.assert_array_equal(found.grouping.drift.p_values[:7], again.p_values)
    assert pipeline.add(small_copy, foreign, report=False).grouping.drift is None, "nothing new"


def test_a_project_that_cannot_be_written(small_copy, more, monkeypatch):
    (small_copy / "drift.safetensors").unlink(missing_ok=True)
    wanted = Project.open(small_copy).assign(more[:5], drift=True).drift.p_values
    (small_copy / "drift.safetensors").unlink()

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(drift_module, "save_file", refused)
    np.testing.assert_array_equal(Project.open(small_copy).assign(more[:5], drift=True).drift.p_values, wanted)
    assert not list(small_copy.glob("*drift*")) + list(small_copy.glob(".drift*"))


def test_a_sample_of_a_large_project(small_copy, monkeypatch):
    monkeypatch.setattr(drift_module, "MOST_IMAGES", 25)
    folder = ProjectFolder.open(small_copy)
    assert len(drift_reference(folder, Vocabulary.load(folder.vocabulary))) == 25


@pytest.mark.parametrize("kind", ["sift", "joint", "embeddings"])
def test_other_descriptions(kind, photographs, tmp_path, cli):
    project, more = tmp_path / "project", {}
    if kind == "embeddings":
        names = sorted(path.relative_to(photographs).as_posix() for path in photographs.rglob("*.jpg"))
        vectors = np.random.default_rng(0).normal(size=(len(names), 24)).astype(np.float32) + 2
        np.save(tmp_path / "vectors.npy", vectors)
        (tmp_path / "vectors.txt").write_text("".join(f"{name}\n" for name in names))
        config = ExtractConfig(features=("embeddings",), embeddings=tmp_path / "vectors.npy")
        pipeline.run(photographs, project, extract_config=config, topics_config=TopicsConfig(topics=3), jobs=1)
        more = {"embeddings": -np.ones((20, 24), np.float32)}
    elif kind == "sift":
        assert cli("run", photographs, "-o", project, *SIFT).code == 0
    else:
        assert cli("run", photographs, "-o", project, "--fusion", "joint", "--topics", 3, "--sweeps", 20).code == 0
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(20)]
    found = Project.open(project).assign(noise, drift=True, **more).drift
    views = {"sift": {"keypoints"}, "joint": {"vectors", "maps", "keypoints"}, "embeddings": {"vectors"}}
    assert set(found.by_view) == views[kind]
    assert found.n_misfits > 10
    assert found.drifted == (found.p_value < 1e-3)


def test_too_few_photographs_to_judge_by(photographs, tmp_path, cli):
    for path in sorted(photographs.rglob("*.jpg"))[15:]:
        path.unlink()
    assert cli("run", photographs, "-o", tmp_path / "project", *SIFT).code == 0
    found = Project.open(tmp_path / "project").assign(sorted(photographs.rglob("*.jpg")), drift=True)
    assert found.drift is None
    assert len(found) == 15


def test_views_of_a_run_are_those_of_each():
    rng = np.random.default_rng(0)
    pooled, conv = rng.normal(size=(2, 8)).astype(np.float16), rng.normal(size=(5, 6)).astype(np.float16)
    book = type("Book", (), {"n_words": 4})()
    vocabulary = type(
        "Words", (), {"codebooks": {"sift": book, "pooled": book}, "first_word": {"sift": 0, "pooled": 4}}
    )
    words = np.array([0, 0, 3, 4, 7, 5, 5], np.uint16)  # the second photograph has no keypoint
    counts = np.array([[3, 2], [0, 2], [0, 0]], np.int32)
    features = {"pooled": (pooled, np.array([0, 1, 2, 2])), "conv": (conv, np.array([0, 3, 5, 5]))}
    views = views_of(vocabulary, features, words, counts)
    assert list(views) == ["vectors", "maps", "keypoints"]
    np.testing.assert_allclose(
        views["keypoints"], [[(2 / 3) ** 0.5, 0, 0, (1 / 3) ** 0.5], [0] * 4, [0] * 4], rtol=1e-6
    )
    length = np.linalg.norm(pooled.astype(np.float64), axis=1, keepdims=True)
    np.testing.assert_allclose(views["vectors"], [*(pooled / length), np.zeros(8)], atol=1e-6)
    cells = conv / np.linalg.norm(conv.astype(np.float64), axis=1, keepdims=True)
    means = np.array([cells[:3].mean(axis=0), cells[3:].mean(axis=0)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(views["maps"], [*means, np.zeros(6)], atol=1e-6)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_stream_is_drawn_as_it_is_taken(jobs, small_project, small_folder):
    opened, paths = Project.open(small_project), sorted(small_folder.rglob("*.jpg"))
    wanted, drawn = opened.assign(paths[:6]), []

    def endless():
        for path in itertools.cycle([*paths[:6], b"no photograph"]):
            drawn.append(path)
            yield path

    stream = opened.stream(endless(), jobs=jobs)
    assert not drawn, "nothing is drawn before the first result is asked for"
    found = list(itertools.islice(stream, 13))
    assert len(drawn) <= 13 + 8 * jobs
    for i in (0, 5, 7, 12):
        j = i % 7
        np.testing.assert_array_equal(found[i].theta, wanted.theta[j])
        assert (found[i].path, found[i].image_id) == (wanted.paths[j], wanted.image_ids[j])
        assert (found[i].topic, found[i].probability) == (wanted.topic[j], wanted.probability[j])
        assert (found[i].entropy, found[i].name, found[i].reason) == (wanted.entropy[j], None, None)
    assert (found[6].topic, found[6].theta) == (-1, None)
    assert np.isnan([found[6].probability, found[6].entropy]).all()
    assert found[6].reason
    stream.close()
    with pytest.raises(UsageError, match="several photographs"):
        opened.stream(paths[0])
    assert threading.active_count() < 20


def test_names_reach_a_stream(small_project, small_folder, tmp_path):
    project = Path(shutil.copytree(small_project, tmp_path / "named"))
    first = sorted(small_folder.rglob("*.jpg"))[0]
    topic = pq.read_table(project / "groups.parquet")["topic"].to_pylist()[0]
    pipeline.name(project, topic, "a kitchen")
    assert next(Project.open(project).stream([first])).name == "a kitchen"
