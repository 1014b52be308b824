"""Inside somebody else's process: a worker that was spawned or forked, a thread that is not the main one.

Everything that looks at the state of a whole process happens in one of its own.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig

QUICK: dict[str, Any] = {
    "extract_config": ExtractConfig(features=("sift",), keypoints=100),
    "vocabulary_config": VocabularyConfig(words=40),
    "topics_config": TopicsConfig(topics=3, sweeps=20),
}


def make(source: Path, project: Path) -> list[int]:
    """A worker's task."""
    pipeline.run(source, project, jobs=2, **QUICK)
    return Project.open(project).assign(sorted(source.rglob("*.jpg")), jobs=2).topic.tolist()


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Run Python code in a process of its own, as a program without any guard; it prints JSON last."""

    def run(code: str, *words: Any) -> dict[str, Any]:
        file = tmp_path / "program.py"
        file.write_text(textwrap.dedent(code))
        root = str(Path(pipeline.__file__).parents[2])
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
        done = subprocess.run(
            [sys.executable, file, *map(str, words)], env=env, capture_output=True, text=True, timeout=400
        )
        assert done.returncode == 0, done.stderr
        return {**json.loads(done.stdout.splitlines()[-1]), "stderr": done.stderr}

    return run


def test_spawned_workers(sift_folder, tmp_path):
    """Two at a time, each with a project of its own; threads within them."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        futures = [executor.submit(make, sift_folder, tmp_path / name) for name in "ab"]
        found = [future.result(timeout=120) for future in futures]
    assert found[0] == found[1] == pq.read_table(tmp_path / "a" / "groups.parquet")["topic"].to_pylist()
    with multiprocessing.get_context("spawn").Pool(1) as pool:  # daemonic, as Celery's: it may have no children
        assert pool.apply(make, (sift_folder, tmp_path / "c")) == found[0]


def test_several_projects_at_once_in_one_process(sift_folder, tmp_path):
    """Three threads make three projects; the results are those of one alone."""
    with ThreadPoolExecutor(3) as executor:
        found = list(executor.map(lambda name: make(sift_folder, tmp_path / name), "abc"))
    assert found[0] == found[1] == found[2] == make(sift_folder, tmp_path / "alone")


def test_eight_threads_share_a_project(small_project, small_folder):
    """Each in an order of its own, some with threads of their own: the same bits."""
    opened, paths = Project.open(small_project), sorted(small_folder.rglob("*.jpg"))[::3]
    wanted = np.load(small_project / "topics" / "theta.npy")[::3]
    tails = opened.assign(paths, drift=True).drift.p_values
    ready, problems = threading.Barrier(8), []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(paths))
        ready.wait(60)
        found = opened.assign([paths[i] for i in order], jobs=1 + seed % 2, drift=True)
        if not (np.array_equal(found.theta, wanted[order]) and np.array_equal(found.drift.p_values, tails[order])):
            problems.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not problems
    assert not any(thread.is_alive() for thread in threads)


STATE = """
import json, logging, os, signal, sys, threading, warnings
import cv2, numba, numpy as np

def state():
    root = logging.getLogger()
    return {
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "log": [root.level, [repr(h) for h in root.handlers], logging.raiseExceptions],
        "signals": [repr(signal.getsignal(s)) for s in sorted(signal.valid_signals()) if s not in (9, 19)],
        "warnings": [repr(f) for f in warnings.filters if not f[2].__module__.startswith("sklearn")],
        "OpenCV": [cv2.getNumThreads(), cv2.useOptimized(), cv2.ocl.useOpenCL()],
        "Numba": numba.get_num_threads(),
        "NumPy": [repr(np.geterr()), str(np.random.get_state()[1][:5])],
        "hooks": [repr(sys.excepthook), repr(threading.excepthook), repr(sys.unraisablehook)],
        "path": sys.path,
        "recursion": sys.getrecursionlimit(),
        "umask": (os.umask(0o22), os.umask(0o22))[0],
        "threads": sorted(t.name for t in threading.enumerate()),
    }
"""


def test_an_import_touches_nothing(script):
    told = script(
        STATE
        + """
import sklearn.base, onnxruntime, pyarrow.parquet, scipy.stats  # what these do at their import is theirs
before = state()
import importlib, pkgutil, fastvbow
for module in pkgutil.walk_packages(fastvbow.__path__, "fastvbow."):
    if "onnx_models" not in module.name and "vae" not in module.name:
        importlib.import_module(module.name)
after = state()
print(json.dumps({"changed": {n: [before[n], after[n]] for n in before if before[n] != after[n]}}))
"""
    )
    assert told["changed"] == {}


def test_calls_outside_of_the_main_thread_leave_all_as_it_was(script, sift_folder, tmp_path):
    told = script(
        STATE
        + """
from pathlib import Path
from fastvbow import Project, pipeline
from fastvbow.config import ExtractConfig, TopicsConfig

source, project = Path(sys.argv[1]), Path(sys.argv[2])
def work():
    config = ExtractConfig(features=("sift",), keypoints=100)
    pipeline.run(source, project, extract_config=config, topics_config=TopicsConfig(topics=3, sweeps=10), jobs=2)
    pipeline.evaluate(project, labels="parent", jobs=2)
    found.append(len(Project.open(project).assign(sorted(source.rglob("*.jpg")), jobs=2, drift=True)))

found = []
cv2.setNumThreads(3)
import sklearn.base, onnxruntime, pyarrow.parquet, scipy.stats
before = state()
thread = threading.Thread(target=work)
thread.start()
thread.join()
after = state()
changed = {n: [before[n], after[n]] for n in before if before[n] != after[n]}
print(json.dumps({"changed": changed, "found": found}))
""",
        sift_folder,
        tmp_path / "project",
    )
    assert told["found"] == [20]
    assert told["changed"] == {}


def test_a_program_without_a_guard(script, sift_folder, tmp_path):
    """Threads are the rule: nothing imports the program again."""
    told = script(
        """
        import json, sys
        from pathlib import Path
        from fastvbow import Project, pipeline
        from fastvbow.config import ExtractConfig, TopicsConfig

        source, project = map(Path, sys.argv[1:])
        config = ExtractConfig(features=("sift",), keypoints=100)
        result = pipeline.run(source, project, extract_config=config, topics_config=TopicsConfig(topics=3, sweeps=10))
        found = Project.open(project).assign(sorted(source.rglob("*.jpg")), jobs=2)
        print(json.dumps({"images": result.images, "assigned": len(found)}))
        """,
        sift_folder,
        tmp_path / "project",
    )
    assert (told["images"], told["assigned"]) == (20, 20)


FORK = """
import json, os, sys, threading, time, warnings
from pathlib import Path
import numpy as np
from fastvbow import Project
from fastvbow.executors import one_thread_each

project, paths = Project.open(sys.argv[1]), sorted(Path(sys.argv[2]).rglob("*.jpg"))[:3]

def child(work):
    # what a forked process says of its work; "hangs" after a minute
    read, write = os.pipe()
    number = os.fork()
    if not number:
        try:
            said = work()
        except BaseException as error:
            said = repr(error)
        os.write(write, json.dumps(said).encode())
        os._exit(0)
    os.close(write)
    for _ in range(600):
        if os.waitpid(number, os.WNOHANG)[0]:
            return json.loads(os.read(read, 1 << 16))
        time.sleep(0.1)
    os.kill(number, 9)
    os.waitpid(number, 0)
    return "hangs"
"""


def test_a_project_that_was_opened_before_a_fork(script, small_project, small_folder):
    told = script(
        FORK
        + """
wanted = project.assign(paths, jobs=2).theta
def again():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = [project.assign(paths, jobs=jobs).theta for jobs in (1, 2)]
        streamed = [row.theta for row in project.stream(paths)]
    return [all(np.array_equal(theta, wanted) for theta in [*found, streamed]), [str(w.message) for w in caught],
            [w.category.__name__ for w in caught], [os.path.basename(w.filename) for w in caught]]
print(json.dumps({"forked": child(again), "parent": np.array_equal(project.assign(paths).theta, wanted)}))
""",
        small_project,
        small_folder,
    )
    same, messages, categories, files = told["forked"]
    assert same
    assert len(messages) == 1, "it is opened anew once"
    assert "opened before this process was forked" in messages[0]
    assert "spawn" in messages[0]
    assert categories == ["RuntimeWarning"]
    assert files == ["program.py"], "the caller's line"
    assert told["parent"]
    assert "forked" not in told["stderr"], "nothing of it in the parent"


def test_forked_workers_that_open_for_themselves(script, sift_project, sift_folder, tmp_path):
    """The parent has done the same before, so that all libraries and their threads are there."""
    told = script(
        FORK
        + """
from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig

def make(name):
    config = ExtractConfig(features=("sift",), keypoints=100)
    folder = Path(sys.argv[3]) / name
    how = dict(extract_config=config, topics_config=TopicsConfig(topics=3, sweeps=20), jobs=2)
    pipeline.run(Path(sys.argv[2]), folder, **how)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Project.open(folder).assign(paths, jobs=2).theta.tolist()
wanted = make("parent")
print(json.dumps({"same": [child(lambda: make(name) == wanted) for name in ("a", "b")]}))
""",
        sift_project,
        sift_folder,
        tmp_path,
    )
    assert told["same"] == [True, True]


def test_a_fork_amid_another_threads_work(script, sift_project, sift_folder):
    """The limit on libraries' threads is held, or being set, by a thread that the child does not have."""
    told = script(
        FORK
        + """
warnings.simplefilter("ignore")
stop, held = threading.Event(), threading.Event()
def busy():
    while not stop.is_set():
        with one_thread_each():
            pass
def holding():
    with one_thread_each():
        held.set()
        stop.wait()
wanted = project.assign(paths).theta
threads = [threading.Thread(target=work) for work in (busy, busy, holding)]
for thread in threads:
    thread.start()
held.wait()
said = [child(lambda: np.array_equal(project.assign(paths).theta, wanted)) for _ in range(6)]
stop.set()
for thread in threads:
    thread.join()
print(json.dumps({"said": said}))
""",
        sift_project,
        sift_folder,
    )
    assert told["said"] == [True] * 6


def test_the_page_does_what_it_says(script, small_folder, tmp_path, monkeypatch):
    """The blocks of docs/how-to/embed.md, one after another, as a program."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "embed.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    (tmp_path / "photographs").symlink_to(small_folder)
    (tmp_path / "new").mkdir()
    for path in sorted(small_folder.rglob("*.jpg"))[::12]:
        (tmp_path / "new" / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    told = script("\n".join([*blocks, "import json", "print(json.dumps({'found': len(found), 'stop': str(stop)}))"]))
    assert told["found"] == 5
