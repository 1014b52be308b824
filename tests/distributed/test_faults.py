"""Workers are killed, stopped and lost, tasks fail once, the scheduler dies: the same bytes, or a clear error and then
the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future
from pathlib import Path
from unittest import mock

import pytest
from conftest import contents

from fastvbow import dask_cluster, pipeline
from fastvbow.config import ExtractConfig, VocabularyConfig
from fastvbow.dask_cluster import dask_executor
from fastvbow.errors import ClusterError

SIFT = ExtractConfig(features=("sift",))


@pytest.fixture(scope="module")
def alone(small_folder, tmp_path_factory) -> Path:
    """What one thread makes of four shards."""
    project = tmp_path_factory.mktemp("alone") / "project"
    pipeline.extract(small_folder, project, SIFT, jobs=1)
    pipeline.vocabulary(project, VocabularyConfig(words=60), jobs=1)
    pipeline.encode(project, jobs=1)
    return project


def only(project: Path, stage: str) -> dict[str, bytes]:
    return {name: data for name, data in contents(project).items() if name.startswith(f"{stage}/")}


def left(project: Path) -> list[str]:
    return [path.name for path in project.rglob(".*") if path.name != ".lock"]


def unencoded(alone: Path, folder: Path) -> Path:
    """A copy of the project without tokens."""
    subprocess.run(["cp", "-a", alone, folder], check=True)
    subprocess.run(["rm", "-r", folder / "tokens", folder / "stages" / "encode.json"], check=True)
    return folder


class AtTheFirst:
    """A listener that does something when the first shard stands."""

    def __init__(self, stage: str, what) -> None:
        self.stage, self.what, self.done = stage, what, 0

    def __call__(self, event) -> None:
        if (event.stage, event.kind) == (self.stage, "step"):
            self.done += 1
            if self.done == 1:
                self.what()


def dying_once(flag: Path, n: int, function, task):
    """The task; but the worker of the second is killed, the first time, when it would give its file the final name.

    The flag names what is left.
    """

    def die(begun, *_) -> None:
        if not Path(begun).exists():  # what stood there before, if anything did
            raise FileNotFoundError(begun)
        flag.write_text(str(begun))
        os.kill(os.getpid(), signal.SIGKILL)

    if n != 2 or flag.exists():
        return function(task)
    flag.touch()
    with mock.patch.multiple(os, rename=die, replace=die):
        return function(task)


class Wrapping(Executor):
    """Hands tasks to another executor, each as the argument of another function."""

    def __init__(self, executor: Executor, wrap) -> None:
        self._executor, self._wrap, self.n = executor, wrap, 0

    def __getattr__(self, name: str):
        return getattr(self._executor, name)

    def submit(self, fn, /, *args, **kwargs) -> Future:
        self.n += 1
        return self._executor.submit(*self._wrap(self.n), fn, *args, **kwargs)


@pytest.mark.parametrize("stage", ["extract", "encode"])
def test_a_killed_worker(stage, alone, small_folder, client, tmp_path):
    before = pids_of_two(client)
    executor = Wrapping(client.get_executor(retries=2), lambda n: (dying_once, tmp_path / "dying", n))
    listener = AtTheFirst(stage, lambda: None)
    if stage == "extract":
        project = tmp_path / "project"
        pipeline.extract(small_folder, project, SIFT, executor=executor, listener=listener)
    else:
        project = unencoded(alone, tmp_path / "project")
        pipeline.encode(project, executor=executor, listener=listener)
    assert listener.done == 4, "a step for each shard"
    begun = Path((tmp_path / "dying").read_text())
    assert begun.name.startswith(".") and begun.is_relative_to(project), "what the killed one had begun"
    assert left(project) == [], "it is cleared away"
    written = "features" if stage == "extract" else "tokens"
    assert only(project, written) == only(alone, written)
    assert len(before & pids_of_two(client)) == 1, "one was killed"


def pids_of_two(client) -> set[int]:
    """The processes, once there are two again: for a moment the scheduler takes one that is dead for alive."""
    for _ in range(100):
        found = client.run(os.getpid, on_error="return").values()
        if len(found) == 2 and all(isinstance(pid, int) for pid in found):
            return set(found)
        time.sleep(0.2)
    raise TimeoutError("no second worker")


def test_a_stopped_worker(alone, small_folder, client, tmp_path):
    """Three seconds of silence: nothing is lost, nothing done twice differs."""
    pid = min(pids_of_two(client))

    def stop() -> None:
        os.kill(pid, signal.SIGSTOP)
        threading.Timer(3, os.kill, (pid, signal.SIGCONT)).start()

    listener = AtTheFirst("extract", stop)
    pipeline.extract(small_folder, tmp_path / "project", SIFT, executor=client.get_executor(), listener=listener)
    assert only(tmp_path / "project", "features") == only(alone, "features")


def failing_once(flag: Path, function, task):
    """The task, but for the first time."""
    if not flag.exists():
        flag.touch()
        raise OSError(5, "Input/output error", str(flag))
    return function(task)


def test_tasks_that_fail_once(alone, small_folder, client, tmp_path):
    def once(n: int):
        return failing_once, tmp_path / f"failed-{n}"

    executor = Wrapping(client.get_executor(retries=1), once)
    pipeline.extract(small_folder, tmp_path / "project", SIFT, executor=executor)
    assert len(list(tmp_path.glob("failed-*"))) == executor.n == 4
    assert only(tmp_path / "project", "features") == only(alone, "features")
    for flag in tmp_path.glob("failed-*"):
        flag.unlink()
    with pytest.raises(OSError, match="Input/output"):
        pipeline.extract(small_folder, tmp_path / "other", SIFT, executor=Wrapping(client.get_executor(), once))


def test_the_scheduler_dies(alone, small_folder, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="the tests of Dask want the extra dask")
    file = tmp_path / "scheduler.json"

    def start(what: str, *more: str) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", f"distributed.cli.dask_{what}", "--scheduler-file", str(file), "--no-dashboard"]
        return subprocess.Popen([*words, *more], stderr=subprocess.DEVNULL)

    scheduler = start("scheduler", "--host", "127.0.0.1", "--port", "0")
    worker = start("worker", "--nthreads", "1", "--death-timeout", "10", "--no-nanny")
    try:
        while not file.exists():
            assert scheduler.poll() is None
            time.sleep(0.1)
        killed = []

        def kill() -> None:
            scheduler.kill()
            killed.append(time.monotonic())

        with (
            pytest.raises(ClusterError, match="goes on from what is finished"),
            dask_executor(str(file), tell=str) as executor,
        ):
            pipeline.extract(
                small_folder, tmp_path / "project", SIFT, executor=executor, listener=AtTheFirst("extract", kill)
            )
        assert time.monotonic() - killed[0] < 30
        assert not (tmp_path / "project" / "stages" / "extract.json").exists()
        monkeypatch.setattr(dask_cluster, "_CONNECT", 1.0)
        with pytest.raises(ClusterError, match="cannot reach"), dask_executor(str(file), tell=str):
            pass
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    pipeline.extract(small_folder, tmp_path / "project", SIFT, jobs=1)
    assert only(tmp_path / "project", "features") == only(alone, "features")


def test_ended_in_the_middle_and_another_call_at_once(alone, small_folder, client, tmp_path):
    """Tasks of the ended call may still run: nothing of theirs gets among what other parameters ask for."""
    project, executor = tmp_path / "project", client.get_executor()
    fewer = ExtractConfig(features=("sift",), keypoints=50)
    pipeline.extract(small_folder, tmp_path / "fewer", fewer, jobs=1)

    def end() -> None:
        raise KeyboardInterrupt

    others = ExtractConfig(features=("sift",), keypoints=70)
    for config, other, wanted in ((fewer, SIFT, alone), (others, fewer, tmp_path / "fewer")):
        with pytest.raises(KeyboardInterrupt):
            pipeline.extract(small_folder, project, config, executor=executor, listener=AtTheFirst("extract", end))
        pipeline.extract(small_folder, project, other, executor=executor)
        assert only(project, "features") == only(wanted, "features")
        assert left(project) == []


def test_encoding_goes_on_where_it_was_ended(alone, client, tmp_path):
    project = unencoded(alone, tmp_path / "project")

    def end() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline.encode(project, executor=client.get_executor(), listener=AtTheFirst("encode", end))
    first = project / "tokens" / "shard-00000"
    at = first.stat().st_mtime_ns
    pipeline.encode(project, executor=client.get_executor())
    assert first.stat().st_mtime_ns == at, "kept"
    assert only(project, "tokens") == only(alone, "tokens")
    assert left(project) == []
    # other words: nothing is kept
    with pytest.raises(KeyboardInterrupt):
        (project / "stages" / "encode.json").unlink()
        pipeline.encode(project, jobs=1, listener=AtTheFirst("encode", end))
    pipeline.vocabulary(project, VocabularyConfig(words=40), jobs=1)
    pipeline.encode(project, jobs=2)
    assert first.stat().st_mtime_ns != at
    pipeline.vocabulary(project, VocabularyConfig(words=60), jobs=1)
    pipeline.encode(project, jobs=2)
    assert only(project, "tokens") == only(alone, "tokens")
