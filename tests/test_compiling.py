"""Compiled functions on disk: many processes, one cache."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from fastvbow import compiling
from fastvbow.compiling import entry, inner

fcntl = pytest.importorskip("fcntl", reason="no file locks here")

# A kernel whose results tell for which dtype it was compiled.
TINY = """
from fastvbow.compiling import entry

@entry()
def total(x, factor):
    result = x.itemsize * 1000.0
    for i in range(x.shape[0]):
        result += x[i] * factor
    return result
"""
START = """
import sys, time
from pathlib import Path
import numpy as np
from numba.core import caching
sys.path.insert(0, sys.argv[1])
dtype = np.dtype(sys.argv[2])
"""
CALL = "from tiny import total; result = total(np.arange(5).astype(dtype), 2.0); print(result)"
# Nobody writes the index before all have read it, unless a lock keeps the others away; and the first's code comes last.
TOGETHER = """
rank, folder, saving = int(sys.argv[3]), Path(sys.argv[1]), False
save, read, write = (getattr(caching.IndexDataCacheFile, name) for name in ("save", "_load_index", "_save_data"))

def wait(what, seconds):
    (folder / f"{what}{rank}").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end and len(list(folder.glob(f"{what}?"))) < 2:
        time.sleep(0.005)

def slow_save(self, key, data):
    global saving
    saving = True
    save(self, key, data)

def slow_read(self):
    found = read(self)
    if saving:
        wait("read", 1)
    return found

def slow_write(self, name, data):
    time.sleep(0.3 - 0.3 * rank)
    write(self, name, data)

for name, new in (("save", slow_save), ("_load_index", slow_read), ("_save_data", slow_write)):
    setattr(caching.IndexDataCacheFile, name, new)
wait("ready", 60)
"""
KINDS = ["f4", "f8"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY)
    return tmp_path


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder with a cache that holds the code for float64, and its lock."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "tiny.py").write_text(TINY)
    assert result_of(spawn(folder, START + CALL, "f8")) == wanted("f8")
    return folder, next((folder / "cache").rglob("*.nbi")).parent / "fastvbow.lock"


def spawn(folder, code, *args, **env):
    env = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), **env}
    words = [sys.executable, "-c", code, str(folder), *map(str, args)]
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result_of(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return float(out)


def wanted(kind):
    return 20.0 + 1000 * np.dtype(kind).itemsize


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_processes_that_compile_at_once_do_not_mix_up_their_code(folder):
    first = "from tiny import total; total(np.arange(5), 2.0)\n"  # a function that has been called is no exception
    processes = [spawn(folder, START + first + TOGETHER + CALL, kind, rank) for rank, kind in enumerate(KINDS)]
    assert [result_of(process) for process in processes] == [wanted(kind) for kind in KINDS]
    hits = START + CALL + "; from tiny import total; assert not total.compiled.stats.cache_misses, 'compiled again'"
    processes = [spawn(folder, hits, kind) for kind in KINDS]
    assert [result_of(process) for process in processes] == [wanted(kind) for kind in KINDS]


KERNELS = """
import sys
import numpy as np
from fastvbow.words import _assign_kernels
from fastvbow.words._sweep import nearest_centers
dtype = np.dtype(sys.argv[2])
rng = np.random.default_rng(0)
centers = rng.integers(0, 200, (40, 6))
own = rng.integers(0, 40, 500)
labels, sqdist = nearest_centers((centers[own] + 1).astype(dtype), centers.astype(np.float32))
assert np.array_equal(labels, own) and np.all(sqdist == 6)
print(sum(_assign_kernels.assign_float.compiled.stats.cache_hits.values()))
"""


def test_the_kernels_on_an_empty_cache_and_again(folder):
    for process in [spawn(folder, KERNELS, kind) for kind in ("f4", "f8")]:
        result_of(process)
    assert result_of(spawn(folder, KERNELS, "f4")) == 1


@pytest.mark.parametrize(("what", "kind"), [("file", "f4"), ("folder", "i4")])
def test_a_lock_that_somebody_left_does_not_matter(warm, what, kind):
    folder, lock = warm
    lock.unlink()
    lock.write_text("4711") if what == "file" else lock.mkdir()
    try:
        assert result_of(spawn(folder, START + CALL, kind)) == wanted(kind)
    finally:
        lock.rmdir() if what == "folder" else lock.unlink()
        lock.touch()


def test_a_lock_is_waited_for(warm):
    folder, lock = warm
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        process = spawn(folder, START + "import tiny; Path(sys.argv[1], 'imported').touch();" + CALL, "u1")
        wait_for((folder / "imported").exists)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.7)
    assert result_of(process) == wanted("u1")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_does_not_keep_the_lock_of_its_parent(folder, monkeypatch):
    """A process forked while another thread compiles inherits the open file; the lock must end with the compilation."""

    class Cache:
        cache_path = str(folder)

    class Compiled:
        _cache = Cache

    reading, writing = os.pipe()
    with compiling._file_lock(Compiled):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent closes its end
            os._exit(0)
    try:
        with (folder / "fastvbow.lock").open("a") as other:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(reading)
        os.close(writing)
        os.waitpid(child, 0)


def test_runs_where_the_cache_cannot_be_written(folder):
    no = "\ndef no(self): raise PermissionError(13, 'no')\ncaching._CacheLocator.ensure_cache_path = no\n"
    assert result_of(spawn(folder, START + no + CALL, "f4")) == wanted("f4")
    assert not list(folder.rglob("*.nbi"))


def test_kernels_run_where_there_is_no_place_for_a_cache(folder):
    code = "from numba.core import caching; caching.CacheImpl._locator_classes = []\n" + KERNELS
    assert result_of(spawn(folder, code, "f4")) == 0


def test_an_entry_is_the_function():
    @entry()
    def add(x, y):
        """Sum."""
        return x + y

    assert (add.__doc__, add.__name__) == ("Sum.", "add")
    assert add(1, 2) == 3
    assert add(np.float32(1), np.float32(2)) == 3
    assert add(np.ones(2), np.ones(2)).tolist() == [2, 2]
    assert len(add.compiled.signatures) == 3
    with pytest.raises(Exception, match="No implementation"):
        add(1, "a")
    assert add(1, 2) == 3  # the lock was given back


def test_threads_compile_once():
    @entry()
    def half(x):
        return x / 2

    gate, found = threading.Barrier(6), []

    def call():
        gate.wait()
        found.append(half(np.arange(4.0))[3])

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [1.5] * 6
    assert sum(half.compiled.stats.cache_misses.values()) <= 1 and len(half.compiled.signatures) == 1


def test_the_interpreter_is_free_while_a_kernel_runs():
    for decorated in (inner()(lambda n: n), entry()(lambda n: n).compiled):
        assert decorated.targetoptions["nogil"]
        assert decorated.targetoptions["error_model"] == "numpy"
