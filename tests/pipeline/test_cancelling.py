"""Work that is ended from outside: at any point, with nothing half-written, and the same call goes on."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import contents, snapshot

from fastvbow import Project, pipeline
from fastvbow.cancelling import cancelling, check_cancelled, may_be_cancelled
from fastvbow.config import EncodeConfig, ExtractConfig, ExtractOptions, StudyGrid, TopicsConfig, VocabularyConfig
from fastvbow.errors import Cancelled, FastvbowError, UsageError
from fastvbow.executors import make_executor, run_tasks
from fastvbow.project import ProjectFolder
from fastvbow.topics.topic_number import propose_number


class After:
    """Says to stop when it is asked for the so manieth time; counts."""

    def __init__(self, number: float) -> None:
        self.number, self.asked = number, 0

    def __call__(self) -> bool:
        self.asked += 1
        return self.asked > self.number


CALLS: dict[str, Callable[[Path, Path, int], Any]] = {
    "extract": lambda source, project, jobs: pipeline.extract(
        source, project, ExtractConfig(features=("sift",), keypoints=100), jobs=jobs
    ),
    "vocabulary": lambda _, project, jobs: pipeline.vocabulary(project, VocabularyConfig(words=50), jobs=jobs),
    "vocabulary all": lambda _, project, jobs: pipeline.vocabulary(
        project, VocabularyConfig(words=50, train="all"), jobs=jobs
    ),
    "encode": lambda _, project, jobs: pipeline.encode(project, EncodeConfig(pooled_tokens=200), jobs=jobs),
    "topics": lambda _, project, jobs: pipeline.topics(project, TopicsConfig(topics=3, sweeps=20), jobs=jobs),
    "topics auto": lambda _, project, jobs: pipeline.topics(
        project, TopicsConfig(topics="auto", most_topics=6, sweeps=20), jobs=jobs
    ),
    "groups": lambda _, project, jobs: pipeline.groups(project, labels="parent"),
    "report": lambda _, project, jobs: pipeline.report(project, per_topic=5, jobs=jobs),
}
LEAST = {"extract": 20, "vocabulary": 5, "vocabulary all": 30, "topics": 20, "topics auto": 20, "report": 10}
"""How often each asks at least: once would be too seldom in a large corpus."""


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("stage", CALLS)
def test_a_stage_ends_anywhere_and_goes_on(stage, jobs, photographs, sift_project, tmp_path):
    def call(project: Path) -> None:
        CALLS[stage](photographs, project, jobs)

    def copy(name: str) -> Path:
        project = Path(shutil.copytree(sift_project, tmp_path / name))
        manifest = project / "project.json"
        manifest.write_text(manifest.read_text().replace(ProjectFolder.open(project).source.as_uri(), source))
        return project

    source = photographs.resolve().as_uri()
    undisturbed, whole = copy("undisturbed"), After(float("inf"))
    with cancelling(whole):
        call(undisturbed)
    assert whole.asked >= LEAST.get(stage, 1)
    # how often threads that wait are asked differs from call to call
    for share in (0, 0.3, 0.7, 0.99) if jobs == 1 else (0, 0.2, 0.4):
        project = copy(f"at-{share}")
        others = {n: b for n, b in snapshot(project).items() if not n.startswith((*MADE[stage], "stages/"))}
        with pytest.raises(Cancelled), cancelling(After(int(share * whole.asked))):
            call(project)
        assert {n: b for n, b in snapshot(project).items() if n in others} == others, "what stood before it stands"
        assert not [path for path in project.rglob(".*.tmp") if path.is_file()], "nothing half-written"
        call(project)
        assert contents(project) == contents(undisturbed)


MADE = {
    "extract": ("features", "images.parquet"),
    "vocabulary": ("vocabulary",),
    "vocabulary all": ("vocabulary", "learning"),
    "encode": ("tokens",),
    "topics": ("topics",),
    "topics auto": ("topics",),
    "groups": ("groups.parquet", "skipped.parquet"),
    "report": ("report",),
}


def test_adding_ends_anywhere_and_goes_on(sift_project, small_folder, tmp_path):
    new = tmp_path / "new"
    new.mkdir()
    for path in sorted(small_folder.rglob("*-11.jpg")):
        shutil.copy(path, new)

    def add(project: Path) -> None:
        pipeline.add(project, new, report=False, jobs=1)

    undisturbed, whole = Path(shutil.copytree(sift_project, tmp_path / "undisturbed")), After(float("inf"))
    with cancelling(whole):
        add(undisturbed)
    for share in (0, 0.3, 0.6, 0.95):
        project = Path(shutil.copytree(sift_project, tmp_path / f"at-{share}"))
        before = contents(project)
        with pytest.raises(Cancelled), cancelling(After(int(share * whole.asked))):
            add(project)
        assert {n: b for n, b in contents(project).items() if not n.startswith("adding/")} == before
        add(project)
        assert contents(project) == contents(undisturbed)


def test_worker_processes_are_ended(photographs, tmp_path):
    how = {"options": ExtractOptions(executor="processes"), "jobs": 2}
    config, project = ExtractConfig(features=("sift",)), tmp_path / "project"
    waited_for = After(6)  # the stage, the shards, and then some looks while the processes work
    with pytest.raises(Cancelled, match="its caller asked for it"), cancelling(waited_for):
        pipeline.extract(photographs, project, config, **how)
    assert ProjectFolder.open(project).card("extract") is None
    n_images = len(list(photographs.rglob("*.jpg")))
    assert pipeline.extract(photographs, project, config, jobs=1).outputs["images"] == n_images


def test_a_task_that_never_looks_is_not_waited_for():
    asked, end = threading.Event(), threading.Event()

    def task(_):
        asked.set()
        return end.wait(60)

    with make_executor(2) as executor:
        with pytest.raises(Cancelled), cancelling(asked):
            list(run_tasks(executor, task, range(1), ahead=2))
        assert not end.is_set()
        end.set()


COMMANDS: dict[str, Callable[[Path, Path], Any]] = {
    "evaluate": lambda project, _: pipeline.evaluate(project, jobs=1).scores,
    "export": lambda project, out: pipeline.export(project, out / "export", to="csv").images,
    "select": lambda project, out: pipeline.select(project, number=5).image_ids,
    "assign": lambda project, _: (
        Project.open(project).assign(sorted(ProjectFolder.open(project).source.rglob("*.jpg"))).theta.tobytes()
    ),
    "verify": lambda project, _: pipeline.verify(project, jobs=1).problems,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_anywhere_and_leaves_nothing(command, sift_project, tmp_path):
    before, whole = snapshot(sift_project), After(float("inf"))
    (tmp_path / "wanted").mkdir()
    with cancelling(whole):
        wanted = COMMANDS[command](sift_project, tmp_path / "wanted")
    assert whole.asked >= 2
    for at in (0, whole.asked // 2, whole.asked - 1):
        with pytest.raises(Cancelled), cancelling(After(at)):
            COMMANDS[command](sift_project, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["wanted"]
    assert COMMANDS[command](sift_project, tmp_path) == wanted
    assert snapshot(sift_project) == before


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_goes_on(jobs, sift_folder, tmp_path):
    grid = StudyGrid(words=(20,), keypoints=(30,), topics=(2, 3), seeds=(0,), features=("sift",), sweeps=10)

    def study(folder: Path) -> None:
        pipeline.study(sift_folder, folder, grid, baselines=("pca-pixels",), jobs=jobs)

    whole = After(float("inf"))
    with cancelling(whole):
        study(tmp_path / "whole")
    for share in (0.3, 0.9) if jobs == 1 else (0.1, 0.4):
        folder = tmp_path / f"at-{share}"
        with pytest.raises(Cancelled), cancelling(After(int(share * whole.asked))):
            study(folder)
        study(folder)
        for name in ("groups.parquet", "per_label.parquet"):
            assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_numbers_of_topics_are_tried_no_further():
    tried = []
    with pytest.raises(Cancelled), cancelling(After(3)):
        propose_number(
            np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32),
            20,
            seed=0,
            progress=lambda done, _: tried.append(done),
        )
    assert tried == [1, 2, 3]


def test_another_thread_ends_it(sift_copy):
    """The word comes from outside, amid the sampling: 100,000 sweeps would take minutes."""
    stop, begun, caught = threading.Event(), threading.Event(), []

    def listener(event) -> None:
        if event.kind == "step":
            begun.set()

    def work() -> None:
        try:
            with cancelling(stop):
                pipeline.topics(sift_copy, TopicsConfig(topics=3, sweeps=100_000), jobs=1, listener=listener)
        except FastvbowError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert [type(error) for error in caught] == [Cancelled]
    assert "the same call goes on" in str(caught[0])
    assert ProjectFolder.open(sift_copy).card("topics") is None, "stale from the moment it was begun anew"


def test_threads_are_cancelled_each_by_itself():
    results = {}

    def work(name: str, stop: Callable[[], bool]) -> None:
        try:
            with cancelling(stop), make_executor(2) as executor:
                results[name] = len(list(run_tasks(executor, lambda i: i, range(100), ahead=4)))
        except Cancelled:
            results[name] = "cancelled"

    threads = [threading.Thread(target=work, args=(str(bool(s)), lambda s=s: s)) for s in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"True": "cancelled", "False": 100}


@pytest.mark.parametrize("jobs", [1, 2])
def test_workers_hear_of_it_and_an_inner_wish_does_not_end_the_outer_one(jobs):
    def task(i):
        assert may_be_cancelled()
        check_cancelled()
        return i

    outer = After(float("inf"))
    with cancelling(outer):
        with pytest.raises(Cancelled), cancelling(seconds=0), make_executor(jobs) as executor:
            list(run_tasks(executor, task, range(3), ahead=2))
        check_cancelled()
        before = outer.asked
        with cancelling(seconds=1000):
            check_cancelled()
        assert outer.asked == before + 1
    assert not may_be_cancelled()
    check_cancelled()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({}, "stop, seconds, or both"),
        ({"seconds": -1}, "at least 0, not -1"),
        ({"seconds": float("nan")}, "at least 0, not nan"),
        ({"stop": 3}, "not 3"),
    ],
)
def test_what_cannot_end_anything_is_refused(how, told):
    with pytest.raises(UsageError, match=told), cancelling(**how):
        pass


def test_results_are_the_same_inside(sift_project, sift_folder):
    project, paths = Project.open(sift_project), sorted(sift_folder.rglob("*.jpg"))
    wanted = project.assign(paths)
    with cancelling(seconds=1000):
        found = project.assign(paths, jobs=2)
    np.testing.assert_array_equal(found.theta, wanted.theta)
