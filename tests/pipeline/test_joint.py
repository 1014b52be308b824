"""`--fusion joint`: one word for a keypoint and the CNN's map at its place, through the whole route."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CROPS, PHOTOGRAPHS, Recorder, contents, snapshot

from fastvbow import Project, pipeline
from fastvbow.config import TopicsConfig, VocabularyConfig
from fastvbow.errors import UsageError
from fastvbow.pipeline.encoding import located, open_tokens
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.words.joint import JointFeatures, joint_words
from fastvbow.words.vocabulary import Vocabulary

STAGES = ["extract", "vocabulary", "encode", "topics", "groups", "report"]
JOINT = {"vocabulary_config": VocabularyConfig(words=120, fusion="joint")}


@pytest.fixture(scope="module")
def source(small_folder, tmp_path_factory) -> Path:
    """`small_folder`, and besides a photograph without a keypoint and a file that is none."""
    folder = tmp_path_factory.mktemp("joint") / "photographs"
    shutil.copytree(small_folder, folder)
    cv2.imwrite(str(folder / "grey.png"), np.full((60, 90, 3), 99, np.uint8))
    (folder / "text.jpg").write_text("no photograph")
    return folder


@pytest.fixture(scope="module")
def joint(source, tmp_path_factory) -> Path:
    """A project of `source` with joint words; to be read only."""
    project = tmp_path_factory.mktemp("joint") / "project"
    pipeline.run(source, project, **JOINT, topics_config=TopicsConfig(topics=PHOTOGRAPHS), labels="parent", jobs=1)
    return project


def card(project: Path, stage: str) -> dict:
    return json.loads((project / "stages" / f"{stage}.json").read_text())


def test_it_groups(joint):
    scores = pipeline.evaluate(joint).scores
    assert scores["n_images"] == PHOTOGRAPHS * CROPS, "the grey one has no label"
    assert scores["acc"] > 0.9
    assert pipeline.verify(joint).problems == []
    assert card(joint, "vocabulary")["parameters"]["fusion"] == "joint"
    outputs = card(joint, "vocabulary")["outputs"]
    assert outputs == {"words": 120, "joint words": 60, "pooled words": 60}
    assert card(joint, "topics")["parameters"]["weights"] == {"joint": 1.0, "pooled": 1.0}
    page = (joint / "report" / "run.html").read_text()
    assert "vocabulary: fusion" in page


def test_every_keypoint_has_its_word_and_topic(joint):
    folder = ProjectFolder.open(joint)
    book, flat = Vocabulary.load(joint / "vocabulary").codebooks["joint"], 0
    for number, (shard, tokens) in enumerate(zip(open_shards(folder), open_tokens(folder), strict=True)):
        sift = located(shard, "sift")
        wanted = joint_words(book, JointFeatures(sift, located(shard, "conv")))
        np.testing.assert_array_equal(tokens.counts[:, 0], np.diff(sift.offsets))
        flat += (tokens.counts[:, 0] == 0).sum()
        for image, first in enumerate(tokens.offsets[:-1]):
            own = slice(*sift.offsets[image : image + 2])
            np.testing.assert_array_equal(tokens.words[first : first + tokens.counts[image, 0]], wanted[own])
        assert len(np.load(joint / "topics" / "z" / f"shard-{number:05d}.npy")) == len(tokens.words)
    assert number > 0, "several shards"
    assert flat == 2, "the grey photograph, and the file that is none"


def test_no_feature_is_stored_twice(joint, small_project):
    names = [{path.name for path in (p / "features" / "shard-00000").iterdir()} for p in (joint, small_project)]
    assert names[0] == names[1]
    assert {path.name for path in (joint / "tokens" / "shard-00000").iterdir()} == {"words.npy", "counts.npy"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_assign_gives_the_mixtures_of_the_project(jobs, joint, source):
    theta = np.load(joint / "topics" / "theta.npy")
    read = np.concatenate([shard.read for shard in open_shards(ProjectFolder.open(joint))])
    paths = sorted(path for path in source.rglob("*.*") if path.name != "text.jpg")
    found = Project.open(joint).assign(paths, jobs=jobs)
    assert len(found.skipped) == 0
    np.testing.assert_array_equal(found.theta, theta[read], "to the last bit")


def test_taken_over_by_another_project(joint, source, tmp_path, cli):
    outcome = cli("run", source, "-o", tmp_path / "new", "--from", joint, "--labels", "parent")
    assert outcome.code == 3, outcome.err
    for name in ("theta.npy", "model/model.safetensors"):
        assert (tmp_path / "new" / "topics" / name).read_bytes() == (joint / "topics" / name).read_bytes()
    assert pipeline.verify(tmp_path / "new").problems == []
    outcome = cli("run", source, "-o", tmp_path / "other", "--from", joint, "--fusion", "separate")
    assert outcome.code == 2
    assert f"{joint} was made with --fusion joint, not separate: leave out" in outcome.complaint


def test_a_separate_origin_is_not_joint(small_project, source, tmp_path, cli):
    outcome = cli("run", source, "-o", tmp_path / "new", "--from", small_project, "--fusion", "joint")
    assert outcome.code == 2
    assert f"{small_project} was made with --fusion separate, not joint: leave out" in outcome.complaint
    assert not (tmp_path / "new").exists()


def test_there_and_back(small_project, small_folder, small_copy, cli):
    """The option redoes what depends on it; without it the project is what it was, to the last byte."""
    before = snapshot(small_copy)
    assert "fusion" not in card(small_copy, "vocabulary")["parameters"], "as in projects that did not know it"
    words = ("run", small_folder, "-o", small_copy, "--topics", 5, "--labels", "parent", "--sweeps", 20)
    outcome = cli(*words, "--fusion", "joint")
    assert outcome.code == 0, outcome.err
    assert "vocabulary: done again, for fusion added; map_share added" in outcome.err
    assert outcome.err.count("stands from an earlier call") == 1
    assert cli(*words[:-2]).code == 0
    assert contents(small_copy) == contents(small_project)
    assert snapshot(small_copy).keys() == before.keys()


def test_stage_by_stage(small_copy, cli):
    assert cli("vocabulary", small_copy, "--fusion", "joint", "--words", "120").code == 0
    for command in (["encode"], ["topics", "--topics", "5", "--weights", "joint=0.5"], ["groups"], ["report"]):
        outcome = cli(command[0], small_copy, *command[1:])
        assert outcome.code == 0, outcome.err
    assert card(small_copy, "topics")["parameters"]["weights"] == {"joint": 0.5, "pooled": 1.0}


def test_threads_change_nothing(joint, tmp_path):
    run = Recorder()
    project = shutil.copytree(joint, tmp_path / "copy")
    pipeline.vocabulary(project, VocabularyConfig(words=120, fusion="joint", seed=1), jobs=2, listener=run)
    pipeline.encode(project, jobs=2, listener=run)
    pipeline.vocabulary(project, JOINT["vocabulary_config"], jobs=2, listener=run)
    pipeline.encode(project, jobs=2, listener=run)
    assert run.stages("end") == 2 * ["vocabulary", "encode"]
    for name in ("vocabulary/vocabulary.safetensors", "tokens/shard-00000/words.npy"):
        assert (project / name).read_bytes() == (joint / name).read_bytes()


def test_both_kinds_of_features_are_needed(sift_copy, sift_folder, cli, tmp_path):
    for features, missing in (("sift", "conv"), ("cnn", "sift")):
        outcome = cli("run", sift_folder, "-o", tmp_path / "new", "--fusion", "joint", "--features", features)
        assert outcome.code == 2
        assert f"there are no features of {missing}: extract both with --features sift,cnn" in outcome.complaint
        assert not (tmp_path / "new").exists(), "before any work"
    before = snapshot(sift_copy)
    outcome = cli("vocabulary", sift_copy, "--fusion", "joint")
    assert outcome.code == 2
    assert "there are no features of conv" in outcome.complaint
    assert snapshot(sift_copy) == before, "the words that there are stand"


def test_not_one_keypoint(cli, tmp_path):
    (tmp_path / "flat").mkdir()
    for shade in (20, 120, 220):
        cv2.imwrite(str(tmp_path / "flat" / f"{shade}.png"), np.full((60, 90, 3), shade, np.uint8))
    outcome = cli("run", tmp_path / "flat", "-o", tmp_path / "new", "--fusion", "joint", "--topics", "2")
    assert outcome.code == 2
    assert "there are no features of sift" in outcome.complaint


def test_options_that_cannot_be(cli, small_copy):
    outcome = cli("vocabulary", small_copy, "--fusion", "both")
    assert outcome.code == 2
    assert "--fusion is one of separate, joint, not both" in outcome.complaint
    for share in (0, 1, float("nan")):
        with pytest.raises(UsageError, match="map_share is between 0 and 1"):
            VocabularyConfig(map_share=share)
