"""`--topics auto`: the number of topics is proposed from the photographs."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from conftest import PHOTOGRAPHS, Recorder, contents
from report.sample import Report

from fastvbow import pipeline
from fastvbow.config import TopicsConfig
from fastvbow.errors import UsageError
from fastvbow.events import Event
from fastvbow.pipeline.topic_number import proposed_topics


def card(project, stage="topics"):
    return json.loads((project / "stages" / f"{stage}.json").read_text())


@pytest.fixture(scope="module")
def auto_project(small_project, tmp_path_factory):
    """`small_project` with a proposed number of topics; to be read only."""
    project = shutil.copytree(small_project, tmp_path_factory.mktemp("auto") / "project")
    recorder = Recorder()
    pipeline.topics(project, TopicsConfig(topics="auto"), jobs=1, listener=recorder)
    pipeline.groups(project, labels="parent")
    pipeline.report(project)
    note = f"{PHOTOGRAPHS} topics proposed (mean silhouette 0."
    assert note in recorder.message("topics", "note")
    assert "topics: 5 -> auto" in recorder.message("topics", "begin")
    steps = [(event.unit, event.done, event.total) for event in recorder.events if event.kind == "step"]
    assert [unit for unit, _, _ in steps] == ["numbers"] * 11 + ["sweeps"] * 200
    assert steps[10] == ("numbers", 11, 11)
    return project


def test_the_photographs_are_counted(auto_project, small_project):
    found = card(auto_project)
    assert found["outputs"]["topics"] == PHOTOGRAPHS
    assert (found["parameters"]["topics"], found["parameters"]["most_topics"]) == ("auto", 50)
    curve = found["outputs"]["silhouettes"]
    assert [number for number, _ in curve] == list(range(2, 13)), "five photographs a topic at least"
    assert max(curve, key=lambda point: point[1])[0] == PHOTOGRAPHS
    assert pipeline.evaluate(auto_project).scores["acc"] == 1.0
    assert contents(auto_project) == contents(small_project), "the same as --topics 5, to the last byte"


def test_a_number_leaves_the_card_as_it_was(small_project):
    """Projects from before stand."""
    assert card(small_project)["parameters"].keys() == {"topics", "sweeps", "weights", "seed"}
    assert "silhouettes" not in card(small_project)["outputs"]
    assert 'class="curve"' not in (small_project / "report" / "run.html").read_text()


def test_the_report_has_the_curve(auto_project):
    page = Report(auto_project / "report" / "index.html").pages["run.html"]
    assert len(page.all("svg")) == 1
    assert len(page.all("circle")) == 11
    assert [circle["class"] for circle in page.all("circle") if "class" in circle] == ["best"]
    assert "Number of topics: 5 proposed, the highest point of 11" in page.words
    value = max(value for _, value in card(auto_project)["outputs"]["silhouettes"])
    assert f"5 topics: {value:.3f}" in page.words


def test_the_stage_is_reused(auto_project, small_folder, cli, tmp_path):
    project = shutil.copytree(auto_project, tmp_path / "project")
    run = ["run", small_folder, "-o", project, "--labels", "parent", "--topics"]
    again = cli(*run, "auto", "--jobs", "2")
    assert again.code == 0, again.err
    assert again.err.count("stands from an earlier call") == 6
    fewer = cli(*run, "auto", "--most-topics", 4, "--json")
    assert "most_topics: 50 -> 4" in fewer.err
    assert json.loads(fewer.out)["topics"] <= 4
    number = cli(*run, 3)
    assert "most_topics left out; topics: auto -> 3" in number.err


def test_any_number_of_jobs(auto_project, small_project, tmp_path):
    project = shutil.copytree(small_project, tmp_path / "project")
    pipeline.topics(project, TopicsConfig(topics="auto"), jobs=2)
    assert card(project)["outputs"] == card(auto_project)["outputs"]
    assert contents(project)["topics/theta.npy"] == contents(auto_project)["topics/theta.npy"]


def test_interrupted_while_numbers_are_tried(small_project, auto_project, small_folder, tmp_path, cli, monkeypatch):
    project = shutil.copytree(small_project, tmp_path / "project")
    before = contents(project)

    def interrupting(event: Event) -> None:
        if (event.unit, event.done) == ("numbers", 7):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.topics(project, TopicsConfig(topics="auto"), listener=interrupting)
    assert not (project / "stages" / "topics.json").exists()
    assert contents(project) == before, "nothing half-written"
    assert not [path for path in project.glob(".*") if path.name != ".lock"]
    done = cli("run", small_folder, "-o", project, "--labels", "parent", "--topics", "auto")
    assert done.code == 0, done.err
    assert contents(project) == contents(auto_project)


def test_ctrl_c(small_project, tmp_path, cli, monkeypatch):
    from fastvbow.topics import topic_number

    project = shutil.copytree(small_project, tmp_path / "project")

    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(topic_number, "silhouette_score", interrupted)
    outcome = cli("topics", project, "--topics", "auto")
    assert outcome.code == 130
    assert not (project / "stages" / "topics.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--topics", "many"], "--topics takes a number or auto, not many"),
        (["--topics", "2.5"], "--topics takes a number or auto, not 2.5"),
        (["--topics", "auto", "--most-topics", "1"], "--most-topics is at least 2, not 1"),
        (["--topics", "9", "--most-topics", "12"], "--most-topics bounds what --topics auto proposes: leave it out"),
    ],
)
@pytest.mark.parametrize("command", ["run", "topics"])
def test_what_cannot_be(command, words, said, small_folder, small_project, cli, tmp_path):
    start = ["run", small_folder, "-o", tmp_path / "new"] if command == "run" else ["topics", small_project]
    outcome = cli(*start, *words)
    assert outcome.code == 2
    assert said in outcome.complaint
    assert not (tmp_path / "new").exists()


def test_the_configuration_takes_no_other_word():
    with pytest.raises(UsageError, match="--topics takes a number or auto, not automatic"):
        TopicsConfig(topics="automatic")  # type: ignore[arg-type]


def test_a_model_that_is_taken_over_has_its_number(auto_project, small_folder, cli, tmp_path):
    run = ["run", small_folder, "-o", tmp_path / "new", "--from", auto_project]
    refused = cli(*run, "--topics", "auto")
    assert refused.code == 2
    assert "--topics 5, not auto: leave out what differs, or add --refit" in refused.complaint
    taken = cli(*run, "--topics", 5)
    assert taken.code == 0, taken.err
    parameters = card(tmp_path / "new")["parameters"]
    assert parameters["topics"] == 5
    assert "most_topics" not in parameters
    assert cli("run", small_folder, "-o", tmp_path / "third", "--from", tmp_path / "new").code == 0


def test_refit(auto_project, small_folder, cli, tmp_path):
    run = ["run", small_folder, "-o", tmp_path / "new", "--from", auto_project, "--refit", "--topics", "auto", "--json"]
    outcome = cli(*run, "--most-topics", 8)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["topics"] == PHOTOGRAPHS
    assert [number for number, _ in card(tmp_path / "new")["outputs"]["silhouettes"]] == list(range(2, 9))


def test_photographs_of_one_kind_are_told(recorder):
    rng = np.random.default_rng(0)
    one_kind = rng.normal(size=(120, 16)).astype(np.float32)
    two_kinds = one_kind + 9 * np.repeat([[0], [1]], 60, axis=0).astype(np.float32)
    config, told = TopicsConfig(topics="auto"), "no number stands out: perhaps they are all of one kind"
    proposed_topics(one_kind, config, recorder)
    assert told in recorder.message("topics", "note")
    recorder.events.clear()
    assert proposed_topics(two_kinds, config, recorder).n_topics == 2
    assert told not in recorder.message("topics", "note")
    assert recorder.stages("warning") == []


def test_without_a_cnn(sift_copy, cli):
    outcome = cli("topics", sift_copy, "--topics", "auto", "--sweeps", 5)
    assert outcome.code == 0, outcome.err
    curve = dict(card(sift_copy)["outputs"]["silhouettes"])
    assert list(curve) == [2, 3, 4]
    assert re.search(r"topics: topics [2-4],", outcome.out)
    assert "warning topics: of keypoints alone the proposal is too low" in outcome.err


@pytest.mark.parametrize(("n", "most"), [(1, 1), (2, 1), (3, 2), (8, 2)])
def test_few_photographs(n, most, sift_folder, cli, tmp_path):
    (tmp_path / "few").mkdir()
    for path in sorted(sift_folder.rglob("*.jpg"))[::2][:n]:
        shutil.copy(path, tmp_path / "few")
    outcome = cli(
        "run", tmp_path / "few", "-o", tmp_path / "project", "--topics", "auto", "--features", "sift", "--json"
    )
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["topics"] == most
    assert ("one topic: there are too few photographs" in outcome.err) == (most == 1)
    assert np.load(tmp_path / "project" / "topics" / "theta.npy").shape == (n, most)
