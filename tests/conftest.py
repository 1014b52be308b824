"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import contextlib
import io
import logging
import multiprocessing
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pools import end_with_parent

from fastvbow.demo.crops import crop_generator, photograph_files, render_crop
from fastvbow.events import Event
from fastvbow.features.cnn import CnnExtractor
from fastvbow.features.sift import SiftExtractor

PHOTOGRAPHS, CROPS = 5, 12


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of labelled real photographs (sun8, scene15, corel1k); tests that want it skip without it."""
    path = Path(os.environ.get("FASTVBOW_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (path / "sun8").is_dir():
        pytest.skip(f"no labelled photographs at {path}: set FASTVBOW_DATA")
    return path


@dataclass
class Recorder:
    """A listener that remembers."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def stages(self, kind: str) -> list[str]:
        """The stages that said so, in order."""
        return [event.stage for event in self.events if event.kind == kind]

    def message(self, stage: str, kind: str) -> str:
        """What was said."""
        return "; ".join(e.message for e in self.events if (e.stage, e.kind) == (stage, kind))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@dataclass
class Outcome:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.startswith("fastvbow: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


class StoreServer:
    """A server that speaks S3, on this machine."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        self.environment = {
            "AWS_ENDPOINT_URL": "http://{}:{}".format(*self.server.get_host_and_port()),
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """boto3's, so that what fastvbow has written is looked at by another's eyes."""
        import boto3

        return boto3.client("s3")

    def bucket(self) -> str:
        """The name of a new bucket."""
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def upload(self, folder: Path, bucket: str, prefix: str) -> str:
        """Copy a folder into a bucket; its URL."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                client.put_object(
                    Bucket=bucket, Key=f"{prefix}/{path.relative_to(folder).as_posix()}", Body=path.read_bytes()
                )
        return f"s3://{bucket}/{prefix}"

    def objects(self, bucket: str, prefix: str = "") -> dict[str, bytes]:
        """All objects below a prefix, by what follows it; folders' marks are left out."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [item["Key"] for page in pages for item in page.get("Contents", ()) if not item["Key"].endswith("/")]
        return {key[len(prefix) :]: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


@pytest.fixture(scope="session")
def store_server() -> Iterator[StoreServer]:
    """A server of object stores; this process and those that it starts are told of it while the tests run."""
    pytest.importorskip("moto", reason="a server of object stores wants moto[server]")
    found = StoreServer()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment.items():
            patch.setenv(name, value)
        yield found
    found.server.stop()


IMPORTED = [
    "distributed",
    "onnxruntime",
    "pandas",
    "pytest",
    "sklearn.cluster",
    "fastvbow.pipeline.evaluating",
    "fastvbow.pipeline.extraction_tasks",
    "fastvbow.pipeline.route",
    "fastvbow.report.pieces",
    "fastvbow.topics.walks",
    "fastvbow.words.sharded",
]
"""What `ready_processes` begin with; one that is not there is left out."""


@pytest.fixture(scope="session")
def ready_processes() -> None:
    """Processes are forked from one process that has imported everything: each would take seconds for that by itself.

    It has worked on nothing. What people start, where each process imports by itself, is tested by the command line's
    cluster and by the worker of `test_the_scheduler_dies`.
    """
    multiprocessing.set_forkserver_preload(IMPORTED)
    forkserver.ensure_running()


@pytest.fixture(scope="session")
def pool(ready_processes: None) -> Iterator[Executor]:
    """Two processes without Dask."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver"), end_with_parent) as found:
        yield found


@pytest.fixture(scope="session")
def cli() -> Callable[..., Outcome]:
    """Run a command in this process: what no command catches fails the test."""
    from fastvbow.cli import app

    def call(*words: Any) -> Outcome:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                app([str(word) for word in words], prog_name="fastvbow")
            except SystemExit as ending:
                code = int(ending.code or 0)
        return Outcome(code, out.getvalue(), err.getvalue())

    return call


@pytest.fixture(scope="session")
def shell() -> Callable[..., list[str]]:
    """The words that start a command in a process of its own."""

    def words(*rest: Any) -> list[str]:
        # Ctrl-C works in it even where the tests run in the background.
        start = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        return [sys.executable, "-c", f"{start}from fastvbow.cli import main; main()", *map(str, rest)]

    return words


KILL = """
import os, signal
calls = 0
def killing(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == int(os.environ["KILL_AT"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return call
os.fsync, os.rename, os.replace = map(killing, (os.fsync, os.rename, os.replace))
"""
"""Dies, without any farewell, at the so manieth flush to disk or renaming."""


@pytest.fixture
def hooked(shell: Callable[..., list[str]], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command in a process of its own that first executes `hook`, a piece of Python."""

    def run(hook: str, *words: Any, **more: str) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / "hook"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(hook)
        env = {**os.environ, "PYTHONPATH": str(folder), **more}
        return subprocess.run(shell(*words), env=env, capture_output=True, text=True, timeout=120)

    return run


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file below a folder, with its time and bytes; the lock and temporary names are left out."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of all that the stages wrote, without caches and what names the time or place of the run."""
    told = {"project.json", "images.parquet", "drift.safetensors"}
    return {
        name: data
        for name, (_, data) in snapshot(folder).items()
        if not name.startswith(("stages/", "report/")) and name not in told
    }


def write_crops(folder: Path, photographs: int, crops: int) -> Path:
    """Crops of the bundled photographs, in folders named after them."""
    for place, file in enumerate(photograph_files()[:photographs]):
        name = Path(file.name).stem
        (folder / name).mkdir(parents=True)
        image = cv2.imdecode(np.frombuffer(file.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        for number in range(crops):
            content = render_crop(crop_generator(0, place, number), image)
            (folder / name / f"{name}-{number:02d}.jpg").write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 crops of 5 photographs, to be read only."""
    return write_crops(tmp_path_factory.mktemp("small") / "photographs", PHOTOGRAPHS, CROPS)


@pytest.fixture(scope="session")
def small_project(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of `small_folder` with 5 topics, all features and labels, made on one thread; to be read only."""
    from fastvbow import pipeline
    from fastvbow.config import TopicsConfig

    project = tmp_path_factory.mktemp("small") / "project"
    pipeline.run(small_folder, project, topics_config=TopicsConfig(topics=PHOTOGRAPHS), labels="parent", jobs=1)
    return project


@pytest.fixture(scope="session")
def sift_folder(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 crops of 4 photographs, small; to be read only."""
    folder = tmp_path_factory.mktemp("sift") / "photographs"
    for path in sorted(small_folder.rglob("*-0[0-4].jpg"))[:20]:
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        image = cv2.imread(str(path))
        cv2.imwrite(str(folder / path.parent.name / path.name), cv2.resize(image, None, fx=0.5, fy=0.5))
    return folder


SIFT = ("--features", "sift", "--topics", "4", "--words", "60", "--sweeps", "40")
"""Options of `sift_project` on the command line."""


@pytest.fixture(scope="session")
def sift_project(sift_folder: Path, tmp_path_factory: pytest.TempPathFactory, cli: Callable[..., Outcome]) -> Path:
    """A quick project of `sift_folder`, made with the options `SIFT`; to be read only."""
    project = tmp_path_factory.mktemp("sift") / "project"
    outcome = cli("run", sift_folder, "-o", project, *SIFT)
    assert outcome.code == 0, outcome.err
    return project


@pytest.fixture
def sift_copy(sift_project: Path, tmp_path: Path) -> Path:
    """A copy of `sift_project` that a test may change."""
    return Path(shutil.copytree(sift_project, tmp_path / "copy"))


@pytest.fixture
def small_copy(small_project: Path, tmp_path: Path) -> Path:
    """A copy of `small_project` that a test may change."""
    return Path(shutil.copytree(small_project, tmp_path / "copy"))


@pytest.fixture(scope="module")
def in_dask() -> Iterator[Any]:
    """The client of a Dask of two threads in this process."""
    distributed = pytest.importorskip("distributed", reason="the tests of Dask want the extra dask")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def photographs(sift_folder: Path, tmp_path: Path) -> Path:
    """A copy of the photographs that may be changed."""
    return Path(shutil.copytree(sift_folder, tmp_path / "photographs"))


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The extractors that look at a photograph, in order."""
    seen: list[str] = []
    for name, kind in (("sift", SiftExtractor), ("cnn", CnnExtractor)):
        begin = kind.begin

        def noted(self, image, name=name, begin=begin):
            seen.append(name)
            return begin(self, image)

        monkeypatch.setattr(kind, "begin", noted)
    return seen
