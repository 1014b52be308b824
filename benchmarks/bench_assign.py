"""Ingestion: how long a photograph takes under a frozen model, alone, in batches, from several threads; memory.

    python benchmarks/bench_assign.py PROJECT PHOTOGRAPHS [--many 10000]

PROJECT is finished, PHOTOGRAPHS a folder of JPEG files. Latency is of `Project.assign([photograph])`, in wall time
(p50, p95, p99) and in seconds of CPU, which other work on the machine does not change. `--many` photographs are
streamed, the folder's again and again, and memory is looked at on the way. The first table takes a call apart.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fastvbow import Project
from fastvbow.executors import one_thread_each
from fastvbow.images.decode import examine
from fastvbow.pipeline.describing import begin_description
from fastvbow.topics.stream import TokenStream
from fastvbow.words.joint import Located, features_for
from fastvbow.words.tokens import encode


def resident() -> float:
    """Megabytes of this process in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def latency(call: Callable[[Any], object], given: Sequence[Any]) -> str:
    call(given[0])
    wall = []
    cpu = time.process_time()
    for photograph in given:
        begin = time.perf_counter()
        call(photograph)
        wall.append(1e3 * (time.perf_counter() - begin))
    cpu = 1e3 * (time.process_time() - cpu) / len(given)
    return " | ".join(f"{v:.1f}" for v in (*np.percentile(wall, [50, 95, 99]), cpu))


def opening(project: Path, photograph: Path) -> None:
    code = (
        "import sys, time; t = time.perf_counter(); from fastvbow import Project; p = Project.open(sys.argv[1])\n"
        "a = time.perf_counter(); Project.open(sys.argv[1]); b = time.perf_counter()\n"
        "p.assign([sys.argv[2]]); print(f'{a - t:.2f} {b - a:.3f} {time.perf_counter() - b:.3f}')"
    )
    done = [
        subprocess.run([sys.executable, "-c", code, project, photograph], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    cold, warm, first = np.median([[float(v) for v in d.stdout.split()] for d in done], axis=0)
    print(f"\nopening: {cold:.2f} s with all imports, {warm:.3f} s again; the first photograph {first:.3f} s")


def singles(project: Project, paths: Sequence[Path]) -> None:
    content = [path.read_bytes() for path in paths]
    pixels = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    project.assign(paths[:1], drift=True)
    print("\n| one photograph a call | p50 ms | p95 ms | p99 ms | CPU ms |\n|---|---|---|---|---|")
    for name, given in (("path", paths), ("bytes", content), ("pixels", pixels)):
        print(f"| {name} | {latency(lambda one: project.assign([one]), given)} |")
    print(f"| bytes, held against the project's | {latency(lambda one: project.assign([one], drift=True), content)} |")


def batches(project: Project, paths: Sequence[Path]) -> None:
    print("\n| photographs a call | threads | photographs/s | CPU ms a photograph |\n|---|---|---|---|")
    for n, jobs in itertools.product((1, 10, 100, 1000), (1, 2)):
        given = list(itertools.islice(itertools.cycle(paths), n))
        times = max(1, min(20, 200 // n))
        begin, cpu = time.perf_counter(), time.process_time()
        for _ in range(times):
            project.assign(given, jobs=jobs)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        print(f"| {n} | {jobs} | {n * times / seconds:.1f} | {1e3 * cpu / n / times:.1f} |")


def callers(project: Project, paths: Sequence[Path]) -> None:
    print("\n| threads that call, a photograph each time | photographs/s | CPU ms a photograph |\n|---|---|---|")
    for n in (1, 2, 4, 8):
        todo = itertools.chain(paths[:200])
        lock = threading.Lock()

        def work(todo: Any = todo, lock: Any = lock) -> None:
            while True:
                with lock:
                    path = next(todo, None)
                if path is None:
                    return
                project.assign([path])

        threads = [threading.Thread(target=work) for _ in range(n)]
        begin, cpu = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        print(f"| {n} | {min(200, len(paths)) / seconds:.1f} | {1e3 * cpu / min(200, len(paths)):.1f} |")


def memory(project: Project, paths: Sequence[Path], many: int) -> None:
    print("\n| photographs streamed | MB in memory |\n|---|---|")
    stream = project.stream(itertools.islice(itertools.cycle(paths), many), jobs=2)
    looks = {1, many // 10, many // 4, many // 2, many}
    for done, _ in enumerate(stream, 1):
        if done in looks:
            print(f"| {done} | {resident():.0f} |", flush=True)
    print(f"\nat most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")


def parts(project: Project, paths: Sequence[Path]) -> None:
    spent: dict[str, float] = {}

    def step(name: str, function: Callable[[], Any]) -> Any:
        begin = time.process_time()
        found = function()
        spent[name] = spent.get(name, 0.0) + time.process_time() - begin
        return found

    for path in paths[:100]:
        step("limits on libraries' threads", _limits)
        with one_thread_each():
            data = step("read", path.read_bytes)
            described = step(
                "decode, SIFT, CNN",
                lambda data=data: begin_description(examine(data, project._least_side), project._extractors)(),
            )

            def located(name: str, described: Any = described) -> Located:
                of = described.features[name]
                return Located(of.descriptors, of.keypoints, np.array([0, len(of.descriptors)]))

            features = features_for(project.vocabulary.codebooks, located)
            words, counts = step(
                "words", lambda features=features: encode(project.vocabulary, features, **project._encoding)
            )
            tokens = TokenStream(words, np.array([0, int(counts.sum())]), project.vocabulary.n_words)
            step("mixture", lambda tokens=tokens: project.model.transform(tokens))
    print("\n| part | CPU ms |\n|---|---|")
    for name, seconds in spent.items():
        print(f"| {name} | {1e3 * seconds / min(100, len(paths)):.2f} |")


def _limits() -> None:
    with one_thread_each():
        pass


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--many", type=int, default=10_000)
    given = parser.parse_args()
    paths = sorted(given.photographs.rglob("*.jpg"))
    paths = paths[:: max(1, len(paths) // 300)][:300]
    opening(given.project, paths[0])
    project = Project.open(given.project)
    memory(project, paths, given.many)
    parts(project, paths)
    singles(project, paths)
    batches(project, paths)
    callers(project, paths)


if __name__ == "__main__":
    main()
