"""`run --from`: a finished project's vocabulary and model for other photographs."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import CROPS, PHOTOGRAPHS, SIFT, Recorder, contents, snapshot

from fastvbow import Project, pipeline
from fastvbow.config import EncodeConfig, ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.errors import ProjectError, StageMissingError, StoreCorruptError, UsageError
from fastvbow.pipeline.describing import config_of, parameters_of
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.project import VERSION, ProjectFolder
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary

STAGES = ["extract", "vocabulary", "encode", "topics", "groups", "report"]
ARCHIVED = Path(__file__).parents[1] / "archive" / "project-1"


def run(source: Path, project: Path, origin: Path | None, **more: Any) -> Recorder:
    recorder = Recorder()
    pipeline.run(source, project, origin=origin, listener=recorder, **more)
    return recorder


def theta_of(project: Path) -> np.ndarray:
    return np.load(project / "topics" / "theta.npy")


def names_of(project: Path) -> list[str]:
    return pq.read_table(project / "groups.parquet")["path"].to_pylist()


def card(project: Path, stage: str) -> dict[str, Any]:
    return json.loads((project / "stages" / f"{stage}.json").read_text())


@pytest.fixture(scope="module")
def halves(small_folder, tmp_path_factory) -> tuple[Path, Path]:
    """Two folders, each with half of the crops of every photograph."""
    folders = tmp_path_factory.mktemp("halves") / "a", tmp_path_factory.mktemp("halves") / "b"
    for number, path in enumerate(sorted(small_folder.rglob("*.jpg"))):
        place = folders[number % 2] / path.relative_to(small_folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    return folders


@pytest.fixture(scope="module")
def old(halves, tmp_path_factory) -> Path:
    """A project of the one half, whose parameters are not the default ones; to be read only."""
    project = tmp_path_factory.mktemp("old") / "old"
    pipeline.run(
        halves[0],
        project,
        extract_config=ExtractConfig(keypoints=120, side=200),
        vocabulary_config=VocabularyConfig(words=150, seed=3),
        encode_config=EncodeConfig(pooled_tokens=90, pooled_neighbours=4),
        topics_config=TopicsConfig(topics=PHOTOGRAPHS, weights={"sift": 1.0, "conv": 2.0, "pooled": 1.5}, seed=3),
        labels="parent",
    )
    return project


@pytest.fixture(scope="module")
def taken(old, halves, tmp_path_factory) -> Path:
    """A project of the other half under the model of `old`; to be read only."""
    before = snapshot(old)
    project = tmp_path_factory.mktemp("new") / "new"
    recorder = run(halves[1], project, old, labels="parent")
    assert recorder.stages("begin") == recorder.stages("end") == STAGES
    assert "sweeps" not in {event.unit for event in recorder.events}, "nothing is trained"
    assert snapshot(old) == before
    return project


def test_theta_is_what_assign_gives(old, taken, halves):
    paths = sorted(halves[1].rglob("*.jpg"))
    wanted = Project.open(old).assign(paths)
    np.testing.assert_array_equal(theta_of(taken), wanted.theta, "to the last bit")
    groups = pq.read_table(taken / "groups.parquet")
    assert groups["path"].to_pylist() == [path.relative_to(halves[1]).as_posix() for path in paths]
    np.testing.assert_array_equal(groups["topic"].to_numpy(), wanted.topic)


def test_names_and_merged_groups_come_along(old, halves, tmp_path):
    named, new = tmp_path / "named", tmp_path / "new"
    shutil.copytree(old, named)
    pipeline.name(named, 1, "Küche")
    pipeline.merge(named, [0, 3])
    run(halves[1], new, named)
    groups = pq.read_table(new / "groups.parquet").to_pydict()
    assert {name for topic, name in zip(groups["topic"], groups["name"], strict=True) if topic == 1} == {"Küche"}
    assert 3 not in groups["topic"]
    assert pipeline.verify(new).problems == []
    pipeline.name(new, 1, remove=True)
    run(halves[1], new, named)
    assert set(pq.read_table(new / "groups.parquet")["name"].to_pylist()) == {None}, "what is said here counts here"
    run(halves[1], tmp_path / "anew", named, refit=True)
    assert not (tmp_path / "anew" / "names").exists(), "other topics"


def test_photographs_that_the_model_knows(old, halves, tmp_path):
    """The very source of the other project: all that it has, but for the training."""
    run(halves[0], tmp_path / "new", old, labels="parent", jobs=2)
    again, known = contents(tmp_path / "new"), contents(old)
    differing = {name for name in known if again[name] != known[name]}
    assert again.keys() == known.keys()
    assert {name.rpartition("/")[0] for name in differing} <= {"topics/z"}


def test_another_half_falls_into_the_same_groups(old, taken, tmp_path):
    """Cross-domain: the photographs are other ones, the groups are those of the model."""

    def members(project: Path) -> dict[str, list[int]]:
        table, found = pq.read_table(project / "groups.parquet").to_pylist(), dict[str, list[int]]()
        for row in table:
            found.setdefault(row["label"], []).append(row["topic"])
        return found

    usual = {label: max(topics, key=topics.count) for label, topics in members(old).items()}
    assert len(set(usual.values())) == PHOTOGRAPHS
    met = [topic == usual[label] for label, topics in members(taken).items() for topic in topics]
    assert len(met) == PHOTOGRAPHS * CROPS // 2
    assert np.mean(met) >= 0.9
    assert pipeline.evaluate(taken).scores["acc"] >= 0.9


def test_every_token_has_its_most_probable_topic(taken):
    project = ProjectFolder.open(taken)
    model, theta, at = GibbsLDA.load(project.topics / "model"), theta_of(taken), 0
    for index, tokens in enumerate(open_tokens(project)):
        z = np.load(project.topics / "z" / f"shard-{index:05d}.npy")
        document = np.repeat(np.arange(len(tokens.counts)), tokens.counts.sum(axis=1))
        wanted = [
            (theta[at + d] * model.topic_word_[:, w]).argmax() for d, w in zip(document, tokens.words, strict=True)
        ]
        np.testing.assert_array_equal(z, wanted)
        at += len(tokens.counts)


def test_it_stands_when_the_other_is_gone(old, taken, halves, tmp_path):
    origin, project = Path(shutil.copytree(old, tmp_path / "origin")), tmp_path / "new"
    run(halves[1], project, origin, labels="parent")
    shutil.rmtree(origin)
    assert contents(project) == contents(taken)
    assert pipeline.verify(project).problems == []
    paths = sorted(halves[0].rglob("*.jpg"))
    wanted = Project.open(old).assign(paths).theta
    np.testing.assert_array_equal(Project.open(project).assign(paths).theta, wanted)
    pipeline.report(project, per_topic=3)
    pipeline.encode(project, EncodeConfig(pooled_tokens=90, pooled_neighbours=4))
    page = (project / "report" / "run.html").read_text()
    assert str(origin) in page, "it tells where the model came from"
    assert card(project, "topics")["outputs"]["taken from"] == str(origin)
    assert run(halves[0], tmp_path / "third", project).stages("end") == STAGES, "and is an origin itself"
    np.testing.assert_array_equal(theta_of(tmp_path / "third"), wanted)


@pytest.fixture
def pair(sift_project, sift_copy, sift_folder, tmp_path) -> tuple[Path, Path]:
    """A copy of `sift_project`, and a project of a part of the photographs made from it."""
    source = tmp_path / "part"
    for path in sorted(sift_folder.rglob("*.jpg"))[::2]:
        (source / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, source / path.parent.name)
    run(source, tmp_path / "new", sift_copy)
    return sift_copy, tmp_path / "new"


def test_a_second_call_reuses_everything(pair, tmp_path):
    origin, project = pair
    before = snapshot(project)
    assert run(tmp_path / "part", project, origin).stages("reused") == STAGES
    moved = origin.rename(tmp_path / "moved")
    assert run(tmp_path / "part", project, moved, jobs=2).stages("reused") == STAGES, "the same files elsewhere"
    assert snapshot(project) == before


def test_another_model_redoes_what_depends_on_it(pair, tmp_path):
    origin, project = pair
    pipeline.topics(origin, TopicsConfig(topics=3, sweeps=10))
    recorder = run(tmp_path / "part", project, origin)
    assert recorder.stages("reused") == ["extract", "vocabulary", "encode"]
    assert recorder.stages("begin") == ["topics", "groups", "report"]
    assert "origin: " in recorder.message("topics", "begin")
    assert theta_of(project).shape == (10, 3)


def test_another_vocabulary_redoes_what_depends_on_it(pair, tmp_path):
    origin, project = pair
    pipeline.vocabulary(origin, VocabularyConfig(words=30))
    with pytest.raises(StageMissingError, match=r"'encode' of .* is older than 'vocabulary'"):
        run(tmp_path / "part", project, origin)
    pipeline.encode(origin)
    pipeline.topics(origin, TopicsConfig(topics=4, sweeps=10))
    recorder = run(tmp_path / "part", project, origin)
    assert recorder.stages("reused") == ["extract"]
    assert recorder.stages("begin") == STAGES[1:]


def test_photographs_that_come_later(pair, sift_folder, tmp_path):
    origin, project = pair
    photograph = sorted(sift_folder.rglob("*.jpg"))[1]
    shutil.copy(photograph, tmp_path / "part" / "new.jpg")
    assert run(tmp_path / "part", project, origin).stages("begin") == STAGES
    known = Project.open(origin).assign([photograph]).theta[0]
    np.testing.assert_array_equal(theta_of(project)[names_of(project).index("new.jpg")], known)


def test_without_an_origin_it_is_trained_anew(pair, sift_folder, cli, tmp_path):
    _, project = pair
    outcome = cli("run", tmp_path / "part", "-o", project, *SIFT)
    assert outcome.code == 0, outcome.err
    assert "extract stands from an earlier call" in outcome.err
    assert outcome.err.count("stands from an earlier call") == 1
    assert "vocabulary: done again, for origin left out" in outcome.err
    assert cli("run", tmp_path / "part", "-o", tmp_path / "fresh", *SIFT).code == 0
    assert contents(project) == contents(tmp_path / "fresh")
    assert pipeline.verify(project).problems == []


def test_refit_trains_on_the_words_of_another(pair, tmp_path):
    origin, project = pair
    config = TopicsConfig(topics=2, sweeps=12, seed=7)
    recorder = run(tmp_path / "part", project, origin, refit=True, topics_config=config)
    assert recorder.stages("reused") == ["extract", "vocabulary", "encode"]
    assert recorder.stages("begin") == ["topics", "groups", "report"]
    assert theta_of(project).shape == (10, 2)
    for name in ("manifest.json", "vocabulary.safetensors"):
        assert (project / "vocabulary" / name).read_bytes() == (origin / "vocabulary" / name).read_bytes()
    assert card(project, "topics")["parameters"] == {"topics": 2, "sweeps": 12, "weights": {"sift": 1.0}, "seed": 7}
    # The words are the other's: a model of the very same photographs is the one that they have there.
    run(
        ProjectFolder.open(origin).source,
        tmp_path / "same",
        origin,
        refit=True,
        topics_config=TopicsConfig(topics=4, sweeps=40),
    )
    assert contents(tmp_path / "same") == contents(origin)


def test_refit_wants_no_model_there(pair, tmp_path):
    origin, project = pair
    shutil.rmtree(origin / "topics")
    (origin / "stages" / "topics.json").unlink()
    run(tmp_path / "part", project, origin, refit=True, topics_config=TopicsConfig(topics=2, sweeps=5))
    with pytest.raises(StageMissingError, match="no finished stage 'topics'"):
        run(tmp_path / "part", project, origin)
    with pytest.raises(UsageError, match="--refit trains topics on the words of another project"):
        run(tmp_path / "part", project, None, refit=True)
    with pytest.raises(UsageError, match="10 photographs cannot form 20 topics"):
        run(tmp_path / "part", project, origin, refit=True)


def test_fewer_photographs_than_topics(pair, tmp_path):
    """A frozen model takes any number, a single file too."""
    origin, _ = pair
    photograph = min((tmp_path / "part").rglob("*.jpg"))
    run(photograph, tmp_path / "one", origin)
    np.testing.assert_array_equal(theta_of(tmp_path / "one"), Project.open(origin).assign([photograph]).theta)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--features", "cnn"], ["--features sift, not cnn: leave"]),
        (["--keypoints", "50"], ["--keypoints 300, not 50: leave"]),
        (["--side", "320"], ["--side 256, not 320: leave"]),
        (["--words", "300"], ["--words 60, not 300: leave"]),
        (["--topics", "20"], ["--topics 4, not 20: leave", "--refit"]),
        (["--sweeps", "200"], ["--sweeps 40, not 200: leave", "--refit"]),
        (["--weights", "sift=2"], ["--weights sift=1, not sift=2,conv=1,pooled=1,joint=1: leave", "--refit"]),
        (["--seed", "1"], ["--seed 0, not 1: leave"]),
        (["--refit", "--words", "61", "--side", "80"], ["--side 256, not 80; --words 60, not 61: leave"]),
    ],
    ids=lambda value: value[0] if value[0].startswith("--") else "",
)
def test_options_that_contradict(words, said, sift_project, sift_folder, cli, tmp_path):
    outcome = cli("run", sift_folder, "-o", tmp_path / "new", "--from", sift_project, *words)
    assert outcome.code == 2
    for part in [*said, f"{sift_project} was made with"]:
        assert part in outcome.complaint
    assert not (tmp_path / "new").exists(), "before any work"


def test_options_that_agree(sift_project, sift_folder, cli, tmp_path):
    """Those of the other project may be said again; with --refit those of the topics are free."""
    run = ["run", sift_folder, "-o", tmp_path / "new", "--from", sift_project, "--json"]
    outcome = cli(*run, *SIFT, "--seed", "0", "--weights", "conv=3", "--device", "cpu", "--jobs", "1")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert (result["images"], result["topics"], result["words"]) == (20, 4, 60)
    assert list(result["seconds"]) == [*STAGES, "total"]
    assert f"taken from {sift_project}" in outcome.err
    np.testing.assert_array_equal(theta_of(tmp_path / "new"), theta_of(sift_project))
    outcome = cli(*run, "--refit", "--topics", "3", "--sweeps", "9", "--seed", "5")
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("stands from an earlier call") == 3
    assert json.loads(outcome.out)["topics"] == 3


def test_a_configuration_that_is_given_has_to_agree(sift_project, sift_folder, old, tmp_path):
    for config in (
        {"extract_config": ExtractConfig()},
        {"vocabulary_config": VocabularyConfig(words=60, sample=9)},
        {"encode_config": EncodeConfig(pooled_tokens=9)},
        {"topics_config": TopicsConfig(topics=4)},
    ):
        with pytest.raises(UsageError, match=r"was made with --.*, not .*: leave out what differs"):
            run(sift_folder, tmp_path / "new", sift_project, **config)
    assert not (tmp_path / "new").exists()
    run(
        sift_folder,
        tmp_path / "new",
        sift_project,
        extract_config=ExtractConfig(features=("sift",), model="what is not used"),
        topics_config=TopicsConfig(topics=4, sweeps=40),
    )


def break_cards(root: Path) -> None:
    (root / "stages" / "topics.json").write_text("{")


def break_model(root: Path) -> None:
    path = root / "topics" / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def break_vocabulary(root: Path) -> None:
    shutil.rmtree(root / "vocabulary")


def newer(root: Path) -> None:
    manifest = json.loads((root / "project.json").read_text()) | {"version": VERSION + 1}
    (root / "project.json").write_text(json.dumps(manifest))


def newer_model(root: Path) -> None:
    path = root / "topics" / "model" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))


def other_words(root: Path) -> None:
    small = Vocabulary.load(root / "vocabulary").codebooks["sift"]
    Vocabulary({"sift": type(small)(small.centers[:-1])}).save(root / "vocabulary")


def unfinished(root: Path) -> None:
    (root / "stages" / "topics.json").unlink()


def change(stage: str, key: str, **more: Any):
    def changed(root: Path) -> None:
        path = root / "stages" / f"{stage}.json"
        found = json.loads(path.read_text())
        (found["parameters"].setdefault(key, {}) if key else found["parameters"]).update(more)
        path.write_text(json.dumps(found))
        for later in STAGES[STAGES.index(stage) + 1 : 4]:  # as if they had been made so
            folder, path = ProjectFolder.open(root), root / "stages" / f"{later}.json"
            feeding = STAGES[STAGES.index(later) - 1]
            found = json.loads(path.read_text())
            found["inputs"][feeding] = folder.card(feeding).fingerprint
            path.write_text(json.dumps(found))

    return changed


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (shutil.rmtree, ProjectError, "is not a fastvbow project"),
        (newer, ProjectError, f"project format {VERSION + 1}, made by"),
        (unfinished, StageMissingError, "no finished stage 'topics'"),
        (break_cards, StoreCorruptError, "topics.json"),
        (break_vocabulary, StoreCorruptError, "cannot read the vocabulary"),
        (break_model, StoreCorruptError, "SHA-256"),
        (newer_model, ProjectError, "fastvbow-lda version 99"),
        (other_words, StoreCorruptError, "knows 60 words, .* has 59"),
        (change("extract", "cnn", model="resnet9000"), ProjectError, "there is no model 'resnet9000'"),
        (
            change("extract", "cnn", model="efficientnet_lite0", sha256="abc"),
            ProjectError,
            "cnn with sha256 abc, installed is [0-9a-f]{64}",
        ),
        (
            change("extract", "sift", descriptor="SURF"),
            ProjectError,
            "sift with descriptor SURF, installed is RootSIFT",
        ),
        (change("extract", "embedding", dimensions=3), ProjectError, "embedding with dimensions 3, installed is None"),
        (change("encode", "", soft_neighbours=3), ProjectError, "soft_neighbours.*upgrade"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_taken_from(spoil, error, message, sift_copy, sift_folder, cli, tmp_path):
    spoil(sift_copy)
    with pytest.raises(error, match=message):
        run(sift_folder, tmp_path / "new", sift_copy)
    outcome = cli("run", sift_folder, "-o", tmp_path / "new", "--from", sift_copy)
    assert outcome.code == 1
    assert outcome.complaint
    assert not (tmp_path / "new").exists(), "before any work"


def test_a_project_cannot_be_its_own_origin(sift_copy, sift_folder, cli, tmp_path):
    before = snapshot(sift_copy)
    (tmp_path / "link").symlink_to(sift_copy)
    for project, said in (
        (sift_copy, "cannot be made --from itself"),
        (tmp_path / "link", "cannot be made --from itself"),
        (sift_copy / "below", "lies inside"),
    ):
        outcome = cli("run", sift_folder, "-o", project, "--from", sift_copy)
        assert outcome.code == 2
        assert said in outcome.complaint
    assert snapshot(sift_copy) == before


def test_an_origin_that_changes_while_it_is_read(sift_copy, sift_folder, monkeypatch, tmp_path):
    load = GibbsLDA.load

    def slow(path):
        found = load(path)
        ProjectFolder.open(sift_copy).begin("topics")
        return found

    monkeypatch.setattr(GibbsLDA, "load", slow)
    with pytest.raises(ProjectError, match="another fastvbow process is working on"):
        run(sift_folder, tmp_path / "new", sift_copy)


def test_an_origin_that_goes_while_photographs_are_extracted(sift_copy, sift_project, sift_folder, tmp_path):
    def remove(event):
        if (event.stage, event.kind) == ("extract", "begin"):
            shutil.rmtree(sift_copy)

    pipeline.run(sift_folder, tmp_path / "new", origin=sift_copy, listener=remove)
    np.testing.assert_array_equal(theta_of(tmp_path / "new"), theta_of(sift_project))


def test_two_runs_and_a_writer_share_an_origin(sift_copy, sift_folder, tmp_path):
    with ProjectFolder.open(sift_copy).lock(), ThreadPoolExecutor(2) as executor:
        calls = [executor.submit(run, sift_folder, tmp_path / name, sift_copy) for name in "ab"]
        assert [call.result().stages("end") for call in calls] == [STAGES] * 2
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_an_archived_project(sift_folder, tmp_path):
    """One that decoded its photographs whole, and computes by the revisions of its time."""
    source = Path(shutil.copytree(sift_folder, tmp_path / "photographs"))
    large = cv2.resize(cv2.imread(str(min(source.rglob("*.jpg")))), (2700, 2000), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(source / "large.jpg"), large)  # others would be decoded at a half
    run(source, tmp_path / "new", ARCHIVED)
    assert card(tmp_path / "new", "extract")["parameters"] == card(ARCHIVED, "extract")["parameters"]
    wanted = Project.open(ARCHIVED).assign([source / name for name in names_of(tmp_path / "new")])
    np.testing.assert_array_equal(theta_of(tmp_path / "new"), wanted.theta)


@pytest.mark.parametrize(
    "config",
    [
        ExtractConfig(),
        ExtractConfig(features=("sift",), keypoints=7, side=500),
        ExtractConfig(features=("cnn",), side=700),
        ExtractConfig(decoded_side=None),
    ],
    ids=str,
)
def test_a_configuration_from_what_a_card_says(config):
    assert parameters_of(config_of(parameters_of(config))) == parameters_of(config)
