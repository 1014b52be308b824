"""`fastvbow add`, stopped at any moment: the project is the former one or the one with the new photographs."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest
from conftest import KILL, Recorder, snapshot

from fastvbow import pipeline
from fastvbow.changes import complete_change
from fastvbow.errors import ProjectError, StageMissingError, StoreCorruptError
from fastvbow.events import Event
from fastvbow.project import ProjectFolder


@pytest.fixture(scope="module")
def later(sift_folder, tmp_path_factory) -> Path:
    """Two of the photographs under other names, and a file that is none; to be read only."""
    folder = tmp_path_factory.mktemp("later") / "later"
    folder.mkdir()
    for number, path in enumerate(sorted(sift_folder.rglob("*.jpg"))[:2]):
        shutil.copy(path, folder / f"{number}.jpg")
    (folder / "text.jpg").write_text("no photograph")
    return folder


@pytest.fixture(scope="module")
def wanted(sift_project, later, tmp_path_factory) -> Path:
    """The project with them; to be read only."""
    project = Path(shutil.copytree(sift_project, tmp_path_factory.mktemp("wanted") / "project"))
    pipeline.add(project, later, update=True, report=False, jobs=1)
    return project


@pytest.fixture(scope="module")
def prepared(sift_project, later, tmp_path_factory) -> Path:
    """A project whose change is prepared and not begun; to be read only."""
    project = Path(shutil.copytree(sift_project, tmp_path_factory.mktemp("prepared") / "project"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastvbow.pipeline.merging.complete_change", lambda root: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pipeline.add(project, later, update=True, report=False, jobs=1)
    assert (project / "change" / "change.json").is_file()
    return project


def state(project: Path) -> dict[str, bytes]:
    """All bytes of a project that count, without how long the stages took, and caches."""
    held = {name: data for name, (_, data) in snapshot(project).items() if not name.startswith(("stages/", "report/"))}
    return {name: data for name, data in held.items() if not name.startswith(("adding/", "change/", "drift.", "."))}


class Stopped(BaseException):
    """Not even a clean-up may follow."""


def stop_at(patch: pytest.MonkeyPatch, moment: int, look=lambda: None) -> list[str]:
    """Stop before the so manieth step that changes a folder; what was done until then."""
    done: list[str] = []

    def guard(name, function):
        def call(*args, **kwargs):
            look()
            if len(done) == moment:
                raise Stopped
            done.append(f"{name} {args[0]}")
            return function(*args, **kwargs)

        return call

    for name in ("rename", "replace", "unlink"):
        patch.setattr(Path, name, guard(name, getattr(Path, name)))
    patch.setattr(shutil, "rmtree", guard("rmtree", shutil.rmtree))
    return done


def test_a_change_is_completed_wherever_it_stopped(prepared, wanted, sift_project, tmp_path):
    """By whoever opens the project next; and at no moment does half of it count as the whole."""
    new, old = state(wanted), state(sift_project)
    moments = 0
    while True:
        project = Path(shutil.copytree(prepared, tmp_path / "project"))
        reader = ProjectFolder(project, ProjectFolder.open(wanted).manifest)

        def look(project=project, reader=reader):
            try:
                reader.require("groups")
            except StageMissingError:
                return
            now = state(project)
            assert now in (old, new)

        with pytest.MonkeyPatch.context() as patch:
            done = stop_at(patch, moments, look)
            try:
                complete_change(project)
            except Stopped:
                pass
            else:
                break
        folder = ProjectFolder.open(project)
        assert state(project) == new, done
        folder.require("groups")
        assert pipeline.verify(project).problems == []
        assert not [path for path in project.iterdir() if path.name.startswith(".") and path.name != ".lock"]
        shutil.rmtree(project)
        moments += 1
    assert moments > 25, "cards away, shards, tokens, topics, tables, names, cards back"


def test_kill_at_many_moments(sift_project, wanted, later, hooked, tmp_path):
    """Killed for good, again and again: what is there is the former project, until it is the new one."""
    project = Path(shutil.copytree(sift_project, tmp_path / "project"))
    old, new = state(sift_project), state(wanted)
    words = ("add", project, later, "--no-report", "--update", "--jobs", "1")
    for moment in (4, 40, 80):
        done = hooked(KILL, *words, KILL_AT=str(moment))
        assert done.returncode == -signal.SIGKILL, (moment, done.stderr)
        ProjectFolder.open(project)
        assert state(project) in (old, new)
        assert pipeline.verify(project).problems == []
    done = hooked(KILL, *words, KILL_AT="-1")
    assert done.returncode in (0, 3), done.stderr
    assert state(project) == new
    assert [path.name for path in project.iterdir() if path.name in {"adding", "change"}] == []


@pytest.mark.parametrize("stage", ["encode", "topics"])
def test_what_is_described_stays_described(stage, sift_copy, sift_project, wanted, later, looked):
    def interrupting(event: Event) -> None:
        if (event.stage, event.kind) == (stage, "begin"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.add(sift_copy, later, update=True, report=False, listener=interrupting)
    assert len(looked) == 2
    assert state(sift_copy) == state(sift_project), "meanwhile it can be used"
    pipeline.report(sift_copy)
    pipeline.add(sift_copy, later, update=True, report=False)
    assert len(looked) == 2
    assert state(sift_copy) == state(wanted)


def test_another_source_after_an_interruption(sift_copy, wanted, later, sift_folder, tmp_path):
    def interrupting(event: Event) -> None:
        if (event.stage, event.kind) == ("topics", "begin"):
            raise KeyboardInterrupt

    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(max(sift_folder.rglob("*.jpg")), other)
    with pytest.raises(KeyboardInterrupt):
        pipeline.add(sift_copy, other, report=False, listener=interrupting)
    pipeline.add(sift_copy, later, update=True, report=False)
    assert state(sift_copy) == state(wanted), "nothing of the other one is left"


def test_one_writer_at_a_time(sift_copy, later, cli):
    hold, held = threading.Event(), threading.Event()

    def holding():
        with ProjectFolder.open(sift_copy).lock():
            held.set()
            hold.wait(60)

    thread = threading.Thread(target=holding)
    thread.start()
    try:
        assert held.wait(60)
        outcome = cli("add", sift_copy, later)
        assert outcome.code == 1 and "another fastvbow process is working on" in outcome.complaint
    finally:
        hold.set()
        thread.join()
    assert cli("add", sift_copy, later, "--no-report").code == 3


def test_a_reader_beside_a_writer(prepared, tmp_path):
    """Who cannot complete a change since its writer is at it says so."""
    project = Path(shutil.copytree(prepared, tmp_path / "project"))
    (project / ".lock").touch()
    with (project / ".lock").open("a") as handle:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ProjectError, match="another fastvbow process is working on"):
            ProjectFolder.open(project)
    ProjectFolder.open(project).require("groups")


def test_a_change_that_says_nothing(prepared, tmp_path):
    project = Path(shutil.copytree(prepared, tmp_path / "project"))
    (project / "change" / "change.json").write_text("{")
    with pytest.raises(StoreCorruptError, match=r"change\.json.*delete"):
        ProjectFolder.open(project)


def test_a_full_disk(sift_copy, sift_project, later, monkeypatch):
    """What cannot be written leaves the project as it was."""
    import errno

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("fastvbow.pipeline.merging.write_table", full)
        with pytest.raises(OSError, match="No space"):
            pipeline.add(sift_copy, later, report=False)
    assert state(sift_copy) == state(sift_project)
    recorder = Recorder()
    assert pipeline.add(sift_copy, later, report=False, listener=recorder).n_new == 2
    assert "encode" in recorder.stages("reused")
