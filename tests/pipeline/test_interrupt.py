"""Stopped at any moment, the same command goes on and ends as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from conftest import KILL, SIFT, contents

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.events import Event
from fastvbow.project import ProjectFolder


def test_kill_at_many_moments(sift_folder, sift_project, hooked, tmp_path):
    """Killed again and again on one project; each call goes on where the one before was killed."""
    project = tmp_path / "project"
    for moment in (3, 10, 17, 9, 12):
        done = hooked(KILL, "run", sift_folder, "-o", project, *SIFT, KILL_AT=str(moment))
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not (project / "stages" / "report.json").exists(), "killed too late"
    done = hooked(KILL, "run", sift_folder, "-o", project, *SIFT, "--jobs", "2", KILL_AT="-1")
    assert done.returncode == 0, done.stderr
    assert contents(project) == contents(sift_project)
    left = [path.name for path in project.rglob(".*") if path.name != ".lock"]
    assert left == [], "what the killed ones left is cleared away"


@pytest.mark.parametrize(
    ("stage", "done"), [("extract", 1), ("extract", 18), ("encode", 16), ("topics", 20), ("report", 3)]
)
def test_interrupted_inside(stage, done, sift_folder, sift_project, tmp_path):
    def interrupting(event: Event) -> None:
        if (event.stage, event.kind, event.done) == (stage, "step", done):
            raise KeyboardInterrupt

    def run(**how) -> None:
        pipeline.run(
            sift_folder,
            tmp_path / "project",
            extract_config=ExtractConfig(features=("sift",)),
            vocabulary_config=VocabularyConfig(words=60),
            topics_config=TopicsConfig(topics=4, sweeps=40),
            **how,
        )

    with pytest.raises(KeyboardInterrupt):
        run(listener=interrupting, jobs=2)
    assert not (tmp_path / "project" / "stages" / f"{stage}.json").exists()
    run()
    assert contents(tmp_path / "project") == contents(sift_project)


@pytest.mark.parametrize("stage", ["extract", "vocabulary", "encode", "topics", "groups"])
def test_interrupted_between_output_and_card(stage, sift_folder, sift_project, sift_copy, cli, monkeypatch):
    """The output of other parameters stands, its card does not: the first parameters' result is made again."""
    finish = ProjectFolder.finish

    def interrupted(self, card):
        if card.stage == stage:
            raise KeyboardInterrupt
        finish(self, card)

    changed = {"extract": ["--keypoints", 40], "topics": ["--sweeps", 9], "groups": ["--labels", "parent"]}
    with monkeypatch.context() as patch:
        patch.setattr(ProjectFolder, "finish", interrupted)
        outcome = cli("run", sift_folder, "-o", sift_copy, *SIFT, *changed.get(stage, ["--words", 30]))
    assert outcome.code == 130
    outcome = cli("run", sift_folder, "-o", sift_copy, *SIFT)
    assert outcome.code == 0
    assert contents(sift_copy) == contents(sift_project)


def test_ctrl_c(small_folder, shell, tmp_path):
    command = shell("run", small_folder, "-o", tmp_path / "project", *SIFT, "--jobs", "1")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        first = process.stderr.readline()
        assert first == "extract\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines() == ["fastvbow: interrupted; the same command goes on where it stopped"]
    assert out == ""


def test_two_writers(sift_copy, cli):
    """A second process does not disturb the first."""
    hold = (
        "import sys, time; from pathlib import Path; from fastvbow.project import ProjectFolder\n"
        "with ProjectFolder.open(Path(sys.argv[1])).lock():\n    print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold, str(sift_copy)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        outcome = cli("topics", sift_copy, "--topics", 3)
        assert outcome.code == 1
        assert "another fastvbow process is working on" in outcome.complaint
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert cli("topics", sift_copy, "--topics", 3).code == 0, "a killed process holds nothing"
