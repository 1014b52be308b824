"""What extraction is measured against: bare loops of the same calls, other ways to spread them, what a user writes.

    python benchmarks/_extract_peers.py {reference,joblib,loop,joblib-plain,loop-plain} FOLDER OUT     # one peer, whole
    python benchmarks/_extract_peers.py {threads,processes} FOLDER OUT         # shards on two workers; prints JSON
    python benchmarks/_extract_peers.py malloc {default,mmap,trim,both,heap} WORKERS FOLDER    # prints JSON

`bench_extract.py` calls it so: each of these needs a process of its own.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import pickle
import resource
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastvbow.features.models import find_model

__all__ = [
    "FLOAT_MODEL",
    "MALLOC",
    "MODEL",
    "SIDE",
    "Bare",
    "bare_worker",
    "describe",
    "extractors_of",
    "listed",
    "root_sift",
]

SIDE, KEYPOINTS, SHARD, WHOLE = 256, 300, 32, 1 << 30
MODEL, FLOAT_MODEL = "efficientnet_lite0_int8", "efficientnet_lite0"  # fastvbow's default; as it was published
ARENA_MAX, MMAP_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -4, -3, -1  # glibc's malloc.h
MALLOC = {
    "default": {},
    "mmap": {MMAP_THRESHOLD: 32 << 20},  # the most that it takes
    "trim": {TRIM_THRESHOLD: 1 << 30},
    "both": {MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 1 << 30},
    # Nothing is mapped, nothing given back; a thread's own arena would map whatever is above 64 MB all the same.
    "heap": {ARENA_MAX: 1, MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1},
}


# The peers share this file: fastvbow itself is imported where it is used, or their start would pay for it.


def listed(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jpg"))


class Bare:
    """A loop of the library calls alone, one thread; it keeps nothing and writes nothing.

    Read, cv2.imdecode; for SIFT cvtColor to grey, INTER_AREA to 256, detectAndCompute, RootSIFT in NumPy; for the CNN
    resize, blobFromImage, session.run with one thread inside.
    """

    def __init__(self, features: Iterable[str]) -> None:
        self.features = tuple(features)
        cv2.setNumThreads(1)
        self.sift = cv2.SIFT_create(nfeatures=KEYPOINTS)
        self.session = session(1) if "cnn" in self.features else None

    def __call__(self, paths: list[Path]) -> None:
        for path in paths:
            pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            if "sift" in self.features:
                found = self.sift.detectAndCompute(shrunk(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)), None)[1]
                if found is not None:
                    root_sift(found)
            if self.session:
                run_cnn(self.session, pixels)


def shrunk(grey: np.ndarray, side: int = SIDE) -> np.ndarray:
    scale = side / max(grey.shape)
    size = tuple(max(1, round(n * scale)) for n in grey.shape[::-1])
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if scale < 1 else grey


def root_sift(found: np.ndarray) -> np.ndarray:
    return np.minimum(np.rint(512 * np.sqrt(found / found.sum(axis=1, keepdims=True))), 255).astype(np.uint8)


def session(threads: int, model: str = MODEL) -> Any:
    """A session with so many threads inside; 0 is ONNX Runtime's own choice."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    path = find_model(model).path
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_cnn(session: Any, pixels: np.ndarray) -> list[np.ndarray]:
    blob = cv2.dnn.blobFromImage(cv2.resize(pixels, (224, 224)), 1 / 128, mean=(127,) * 3, swapRB=True)
    return session.run(["block14", "pooled"], {"image": blob})


def bare_worker(place: Connection, features: tuple[str, ...], paths: list[Path]) -> None:
    """A process of its own: runs the bare loop whenever it is told to, and says how long that took."""
    bare = Bare(features)
    bare(paths[:2])
    place.send(0.0)
    for _ in iter(place.recv, None):
        start = time.perf_counter()
        bare(paths)
        place.send(time.perf_counter() - start)


def reference(paths: list[Path], out: Path) -> None:
    """SIFT as the reference system has it: grey, full size, 300 features or none, float32 in a dictionary, pickled."""
    sift, found = cv2.SIFT_create(KEYPOINTS), {}
    for path in paths:
        descriptors = sift.detectAndCompute(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), None)[1]
        if descriptors is not None and len(descriptors) == KEYPOINTS:
            found[str(path)] = descriptors
    with out.open("wb") as file:
        pickle.dump(found, file)


_mine: dict[str, Any] = {}


def _plain(path: Path, model: str, side: int) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """One photograph as a user would write it: OpenCV and ONNX Runtime choose their threads."""
    if not _mine:
        _mine.update(sift=cv2.SIFT_create(KEYPOINTS), session=session(0, model))
    pixels = cv2.imread(str(path))
    found = _mine["sift"].detectAndCompute(shrunk(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY), side), None)[1]
    conv, pooled = run_cnn(_mine["session"], pixels)
    return None if found is None else root_sift(found), conv, pooled


def _saved(results: list[tuple[np.ndarray | None, np.ndarray, np.ndarray]], out: Path) -> None:
    sift = [found for found, _, _ in results if found is not None]
    conv, pooled = (np.concatenate([r[i] for r in results]) for i in (1, 2))
    np.savez(out, sift=np.concatenate(sift), counts=[len(s) for s in sift], conv=conv, pooled=pooled)


def by_joblib(paths: list[Path], out: Path, model: str = MODEL, side: int = SIDE) -> None:
    """joblib's default processes, one photograph a call; the results come back and are saved in one file."""
    from joblib import Parallel, delayed

    _saved(Parallel(n_jobs=2)(delayed(_plain)(path, model, side) for path in paths), out)


def loop(paths: list[Path], out: Path, model: str = MODEL, side: int = SIDE) -> None:
    """One Python loop; OpenCV's and ONNX Runtime's own threads."""
    _saved([_plain(path, model, side) for path in paths], out)


_extractors: list[Any] = []


def _ready() -> None:
    cv2.setNumThreads(1)
    _extractors.extend(extractors_of(("sift", "cnn")))


def extractors_of(features: Iterable[str]) -> list[Any]:
    """fastvbow's extractors with their defaults."""
    from fastvbow.config import ExtractConfig
    from fastvbow.pipeline.describing import make_extractors

    return make_extractors(ExtractConfig(features=tuple(features)), "cpu")


def describe(path: Path, extractors: list[Any]) -> dict[str, Any]:
    """What extraction does with one photograph, but for writing: read, decode, the extractors, BLAKE2b."""
    from fastvbow.images.decode import examine, read_bytes
    from fastvbow.pipeline.describing import LEAST_SIDE, begin_description

    data = read_bytes(path)
    hashlib.blake2b(data, digest_size=16).hexdigest()
    return begin_description(examine(data, LEAST_SIDE), extractors)().features


def _shard(task: tuple[Path, list[Path]]) -> tuple[int, int]:
    """Extract a shard, write it, read it for its checksums; returns the process and its memory in KiB (Pss)."""
    folder, paths = task
    records = [describe(path, _extractors) for path in paths]
    folder.mkdir()
    for name in records[0]:
        for kind in ("keypoints", "descriptors"):
            file = folder / f"{name}.{kind}.npy"
            np.save(file, np.concatenate([getattr(record[name], kind) for record in records]))
            hashlib.sha256(file.read_bytes()).hexdigest()
    return os.getpid(), _share()


def _share() -> int:
    return _line("/proc/self/smaps_rollup", "Pss:")


def _line(file: str, name: str) -> int:
    """A figure that Linux gives of this process, in KiB; 0 elsewhere."""
    lines = Path(file).read_text().splitlines() if Path(file).exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def spread(how: str, paths: list[Path], out: Path) -> dict[str, float]:
    """Shards of `SHARD` photographs on two workers: seconds from nothing, seconds once both are up, memory in MB."""
    from fastvbow.executors import one_thread_each

    parts = [paths[i : i + SHARD] for i in range(0, len(paths), SHARD)]
    start, pool = time.perf_counter(), None
    if how == "threads":
        _ready()
        pool = ThreadPoolExecutor(2)
    else:
        pool = ProcessPoolExecutor(2, mp_context=get_context("spawn"), initializer=_ready)
    with one_thread_each(), pool:
        for future in [pool.submit(time.sleep, 1.0) for _ in range(2)]:  # both workers are up when these are done
            future.result()
        up = time.perf_counter()
        seen = list(pool.map(_shard, [(out / f"{i}", part) for i, part in enumerate(parts)]))
        end = time.perf_counter()
    most = {pid: max(size for p, size in seen if p == pid) for pid, _ in seen}
    most.setdefault(os.getpid(), _share())
    return {"whole": end - start - 1.0, "steady": end - up, "MB": sum(most.values()) / 1024}


def malloc(setting: str, n_workers: int, paths: list[Path]) -> dict[str, float]:
    """The extraction of `paths` on threads under a setting of glibc's malloc: images/s, CPU ms, faults an image."""
    libc = ctypes.CDLL(None)
    for name, value in MALLOC[setting].items():
        if not libc.mallopt(name, value):
            raise SystemExit(f"mallopt refuses {setting}")
    _ready()
    for path in paths[:4]:
        describe(path, _extractors)

    def work(i: int) -> None:
        for path in paths[i::n_workers]:
            describe(path, _extractors)

    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    pool: Executor
    with ThreadPoolExecutor(n_workers) as pool:
        list(pool.map(work, range(n_workers)))
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    n = len(paths)
    return {
        "wall": wall / n,
        "cpu": cpu / n,
        "kernel": (after.ru_stime - before.ru_stime) / n,
        "faults": (after.ru_minflt - before.ru_minflt) / n,
        "MB": _line("/proc/self/status", "VmHWM:") / 1024,
    }


PEERS: dict[str, Callable[[list[Path], Path], None]] = {
    "reference": reference,
    "joblib": by_joblib,
    "loop": loop,
    "joblib-plain": partial(by_joblib, model=FLOAT_MODEL, side=WHOLE),
    "loop-plain": partial(loop, model=FLOAT_MODEL, side=WHOLE),
}


def main() -> None:
    """Run what the command line names."""
    what, *rest = sys.argv[1:]
    if what in PEERS:
        PEERS[what](listed(Path(rest[0])), Path(rest[1]))
    elif what == "malloc":
        print(json.dumps(malloc(rest[0], int(rest[1]), listed(Path(rest[2])))))
    else:
        print(json.dumps(spread(what, listed(Path(rest[0])), Path(rest[1]))))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    # joblib and spawn send functions by the name of their module, which "__main__" is not in the workers.
    import _extract_peers

    _extract_peers.main()
