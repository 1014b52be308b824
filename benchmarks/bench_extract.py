"""Extraction beside bare loops of the same OpenCV and ONNX Runtime calls, beside processes, and beside other tools.

    python benchmarks/bench_extract.py [--quick] [--only one,two,executors,onnx,malloc,profile,savings,peers]

Photographs of sun8, in a folder of their own. Both sides of a comparison take turns and medians count. One core means
bound to one CPU, in CPU seconds; two workers are unbound, in wall seconds. *The call* is `fastvbow.pipeline.extract`
on a fresh project in a temporary folder: shards, checksums and fsync included. Its fixed cost is taken out where the
table says "an image": a call on few photographs runs in the same rounds and is subtracted. Peers that are not installed
are left out; FASTDUP_PYTHON names the interpreter of an environment that has fastdup. ``--quick`` is for trying the
benchmark.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np
import pytest
from _extract_peers import MALLOC, Bare, bare_worker, describe, extractors_of, listed
from _extract_steps import both_clocks, enlarged, onnx, profile, savings
from _harness import Check, Run, alternated, one_core, table, time_text
from descriptors import data_folder

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, ExtractOptions

NAMES = {("sift",): "SIFT", ("cnn",): "CNN", ("sift", "cnn"): "SIFT and CNN"}
FEW = 32  # photographs of the call that shows the fixed cost: one shard, as many as in those of sun8
OVERHEAD, BOUND, THREADS, PEERS = 0.05, 0.9, 1.85, 3.0
HERE = Path(__file__).parent

FASTDUP = """
import sys, fastdup
fastdup.create(work_dir=sys.argv[2], input_dir=sys.argv[1]).run(run_sentry=False)
"""


def drawn(scratch: Path, n: int) -> Path:
    """A folder of n photographs, evenly drawn; none twice until all are taken."""
    folder = scratch / f"images-{n}"
    if not folder.exists():
        folder.mkdir()
        all_paths = listed(data_folder() / "sun8")
        for i in range(n):
            shutil.copyfile(all_paths[i * len(all_paths) // n], folder / f"{i:06d}.jpg")
    return folder


def extraction(scratch: Path, n: int, features: tuple[str, ...], jobs: int) -> Callable[[], None]:
    folder, project = drawn(scratch, n), scratch / "project"

    def run() -> None:
        pipeline.extract(folder, project, ExtractConfig(features=features), jobs=jobs, device="cpu")
        shutil.rmtree(project)

    return run


def in_shards(run: Callable[[], None], size: int) -> Callable[[], None]:
    """As in a collection whose shards have `size` images: 1024 in a large one, 32 in sun8."""

    def ranges(n: int) -> list[tuple[int, int]]:
        return [(start, min(start + size, n)) for start in range(0, n, size)]

    def patched() -> None:
        with mock.patch("fastvbow.pipeline.extraction.shard_ranges", ranges):
            run()

    return patched


def one(quick: bool, scratch: Path) -> list[Check]:
    """One core: what extraction adds to the calls that it cannot do without."""
    rounds, runs = (2, {}) if quick else (9, {})
    numbers = dict.fromkeys(NAMES, 64) if quick else {("sift",): 128, ("cnn",): 512, ("sift", "cnn"): 128}
    few = listed(drawn(scratch, FEW))
    for features, name in NAMES.items():
        n, bare, extractors = numbers[features], Bare(features), extractors_of(features)
        paths = listed(drawn(scratch, n))
        bare(paths[:2])
        runs[f"bare {name}"] = both_clocks(lambda bare=bare, paths=paths: bare(paths), False)
        runs[f"bare few {name}"] = both_clocks(lambda bare=bare: bare(few), False)
        runs[f"describe {name}"] = both_clocks(
            lambda some=extractors, paths=paths: [describe(p, some) for p in paths], False
        )
        for size in (n, FEW):
            runs[f"{size} {name}"] = both_clocks(in_shards(extraction(scratch, size, features, 1), FEW), False)
        runs[f"one shard {name}"] = both_clocks(in_shards(extraction(scratch, n, features, 1), n), False)
    read = Bare(())
    runs["read"] = both_clocks(lambda paths=paths: read(paths), False)
    seconds, walls = alternated(runs, rounds)
    cpu, wall = ({k: np.array(v) for k, v in found.items()} for found in (seconds, walls))
    checks, least = [], 1 / (1 + OVERHEAD)
    for features, name in NAMES.items():
        n = numbers[features]
        # A machine's speed drifts by more than is looked for: each round is held against its own loop.
        loops, few_loops = cpu[f"bare {name}"], cpu[f"bare few {name}"]
        # The few are not as large or busy as the others: what the loop takes for both is the measure of their work.
        factors = (cpu[f"{n} {name}"] - cpu[f"{FEW} {name}"]) / (loops - few_loops)
        loop, factor = float(np.median(loops)), float(np.median(factors))
        fixed = float(np.median(cpu[f"{FEW} {name}"] - few_loops * factor))
        bare = loop / n
        each, inner = bare * factor, bare * float(np.median(cpu[f"describe {name}"] / loops))
        large = bare * float(np.median((cpu[f"one shard {name}"] - fixed) / loops))
        beside, target = f"bare loop {time_text(bare)}", f"<= {OVERHEAD:.0%} more"
        steps = ((inner, "without writing"), (large, f"in one shard of {n}"), (each, f"in shards of {FEW}"))
        for spent, how in steps:
            quality = f"overhead {spent / bare - 1:+.1%}; {1 / spent:.4g} images/s, the loop {1 / bare:.4g}"
            goal, met = ("", None) if spent is inner else (target, bare / spent >= least)
            checks.append(Check(f"an image, {name}, {how}", spent, beside, bare / spent, quality, goal, met))
        whole = loop * float(np.median(cpu[f"{n} {name}"] / loops))
        quality = f"fixed cost {time_text(fixed)}; by the wall clock {n / np.median(wall[f'{n} {name}']):.4g} images/s"
        what = f"the whole call on {n} images, {name}"
        checks.append(Check(what, whole, f"bare loop {time_text(loop)}", loop / whole, quality))
    alone = cpu["bare SIFT"] / numbers[("sift",)] + cpu["bare CNN"] / numbers[("cnn",)] - cpu["read"] / n
    parts = bare * float(np.median(alone / (loops / n)))
    beside, target = f"SIFT + CNN, decoded once: {time_text(parts)}", f">= {BOUND:.0%} of the bound"
    what = f"an image, SIFT and CNN, in one shard of {n}"
    checks.append(Check(what, large, beside, parts / large, "", target, parts / large >= BOUND))
    return checks


def two(quick: bool, scratch: Path) -> list[Check]:
    """Two workers beside one, and beside two processes of the bare loop: what the machine has to give."""
    n, rounds, checks = (64, 2, []) if quick else (448, 5, [])  # an even number of shards
    paths, context = listed(drawn(scratch, n)), multiprocessing.get_context("spawn")
    for features, name in NAMES.items():
        places = []
        for i in range(2):
            here, there = context.Pipe()
            context.Process(target=bare_worker, args=(there, features, paths[i::2]), daemon=True).start()
            places.append(here)
        for place in places:
            place.recv()

        def bare(i: int, some: list[Any]) -> tuple[float, None]:
            for place in some:
                place.send(i)
            return max(place.recv() for place in some), None

        runs: dict[str, Run] = {
            f"{size} {jobs}": both_clocks(in_shards(extraction(scratch, size, features, jobs), FEW), True)
            for jobs in (1, 2)
            for size in (n, FEW)
        }
        runs["loop"] = lambda i, places=places: bare(i, places[:1])
        runs["loops"] = lambda i, places=places: bare(i, places)
        seconds, found = alternated(runs, rounds)
        for place in places:
            place.send(None)
        wall = {k: float(np.median(v)) for k, v in seconds.items()}
        # A call on few is one shard, so one worker's work, whatever their number: its fixed cost is that of jobs=1.
        each = (wall[f"{n} 1"] - wall[f"{FEW} 1"]) / (n - FEW)
        fixed = wall[f"{FEW} 1"] - FEW * each
        pair, limit = (wall[f"{n} 2"] - fixed) / n, 2 * wall["loop"] / wall["loops"]
        cpu = float(np.median(found[f"{n} 2"])) / n
        quality = f"two processes of the loop: {limit:.2f}; {1 / pair:.4g} images/s, CPU {time_text(cpu)}"
        target, met = f">= {THREADS:g}, or .97 of two processes", each / pair >= min(THREADS, 0.97 * limit)
        what = f"an image, {name}, two workers"
        checks.append(Check(what, pair, f"one worker {time_text(each)}", each / pair, quality, target, met))
        whole = f"the whole call on {n} images, {name}, two workers"
        quality = f"fixed cost {time_text(fixed)}; {n / wall[f'{n} 2']:.4g} images/s"
        beside = f"one worker {time_text(wall[f'{n} 1'])}"
        checks.append(Check(whole, wall[f"{n} 2"], beside, wall[f"{n} 1"] / wall[f"{n} 2"], quality))
        loops, goal = wall["loops"] / n, BOUND if len(features) == 2 else None
        beside, target = f"two bare loops {time_text(loops)}", f">= {BOUND:.0%} of the bound" if goal else ""
        checks.append(Check(what, pair, beside, loops / pair, "", target, loops / pair >= goal if goal else None))
    return checks


def helper(*arguments: object) -> dict[str, float]:
    """What `_extract_peers.py` prints."""
    command = [sys.executable, str(HERE / "_extract_peers.py"), *map(str, arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def executors(quick: bool, scratch: Path) -> list[Check]:
    """The same shards by two threads and by two processes, each from a script of its own; `extract` where it can."""
    folder, found = drawn(scratch, 128 if quick else 512), {"threads": [], "processes": []}
    for _ in range(1 if quick else 5):
        for how, results in found.items():
            with tempfile.TemporaryDirectory(dir=scratch) as out:
                results.append(helper(how, folder, out))
    median = {how: {k: float(np.median([r[k] for r in some])) for k in some[0]} for how, some in found.items()}
    threads, processes = median["threads"], median["processes"]
    memory = f"{threads['MB']:.0f} / {processes['MB']:.0f} MB (Pss)"
    n, checks = len(listed(folder)), []
    for key, what in (("steady", f"{n} images, both workers up"), ("whole", f"{n} images, from nothing")):
        ratio, beside = processes[key] / threads[key], f"two processes {time_text(processes[key])}"
        quality = memory if key == "steady" else ""
        checks.append(Check(f"two threads, {what}", threads[key], beside, ratio, quality))

    def run(how: str) -> Callable[[], None]:
        def once() -> None:
            options = ExtractOptions(executor=how)
            pipeline.extract(folder, scratch / "project", ExtractConfig(), options=options, jobs=2, device="cpu")
            shutil.rmtree(scratch / "project")

        return once

    seconds, _ = alternated({how: both_clocks(run(how), True) for how in found}, 1 if quick else 5)
    wall = {how: float(np.median(some)) for how, some in seconds.items()}
    beside, ratio = f"processes {time_text(wall['processes'])}", wall["processes"] / wall["threads"]
    return [*checks, Check(f"extract, executor threads, {n} images", wall["threads"], beside, ratio)]


def malloc(quick: bool, scratch: Path) -> list[Check]:
    """glibc's malloc: both features of photographs as they are and enlarged, read from disk, on threads, unwritten."""
    small, large = drawn(scratch, 64 if quick else 160), scratch / "large"
    large.mkdir()
    for i, path in enumerate(listed(drawn(scratch, 4 if quick else 8))):
        cv2.imwrite(str(large / f"{i}.jpg"), enlarged(cv2.imread(str(path))))
    checks = []
    for kind, folder in (("500 x 375", small), ("6000 x 4000", large)):
        for workers in (1, 2):
            found: dict[str, list[dict[str, float]]] = {name: [] for name in MALLOC}
            for _ in range(1 if quick else 3):
                for name, results in found.items():
                    results.append(helper("malloc", name, workers, folder))
            median = {k: {m: float(np.median([r[m] for r in some])) for m in some[0]} for k, some in found.items()}
            base = median["default"]["cpu"]
            for name, m in median.items():
                quality = f"{1 / m['wall']:.4g} images/s; {m['faults']:.0f} page faults, {1e3 * m['kernel']:.2g} ms in "
                quality += f"the kernel an image; {m['MB']:.0f} MB"
                what = f"{kind}, {workers} thread{'s' * (workers > 1)}, malloc {name}"
                checks.append(Check(what, base, time_text(m["cpu"]), m["cpu"] / base, quality))
    return checks


def child(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a process, its start included."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    env = {**os.environ, "SENTRY_OPT_OUT": "1"}  # fastdup's usage reports
    subprocess.run(command, capture_output=True, check=True, env=env)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def peers(quick: bool, scratch: Path) -> list[Check]:
    """Whole processes, start included: what a user would write, and fastdup."""
    folder, out = drawn(scratch, 64) if quick else data_folder() / "sun8", scratch / "out"
    ours, theirs = [sys.executable, "-m", "fastvbow"], [sys.executable, str(HERE / "_extract_peers.py")]
    commands: dict[str, list[str]] = {}
    for name in ("extract sift", "extract cnn", "extract sift,cnn", "run cnn", "run sift,cnn"):
        command, features = name.split()
        commands[name] = [*ours, command, str(folder), "-o", str(out), "--features", features, "-q"]
    commands["extract sift, full size"] = [*commands["extract sift"], "--side", "100000"]
    for name in ("reference", "joblib", "loop", "joblib-plain", "loop-plain"):
        commands[name] = [*theirs, name, str(folder), f"{out}.npz"]
    fastdup = os.environ.get("FASTDUP_PYTHON")
    if fastdup:
        commands["fastdup"] = [fastdup, "-c", FASTDUP, str(folder), str(out)]
    else:
        print("\nfastdup is left out: FASTDUP_PYTHON names no interpreter that has it")

    def run(command: list[str]) -> Run:
        def timed(i: int) -> tuple[float, float]:
            shutil.rmtree(out, ignore_errors=True)
            return child(command)

        return timed

    child([*ours, "warmup"])
    seconds, found = alternated({k: run(c) for k, c in commands.items()}, 1 if quick else 3)
    wall, cpu = ({k: float(np.median(v)) for k, v in some.items()} for some in (seconds, found))
    n, checks = len(listed(folder)), []
    lines: list[tuple[str, str, str, float | None]] = [
        ("extract sift", "reference", "the reference's loop (full size, 300 or none)", PEERS),
        ("extract sift, full size", "reference", "the reference's loop (full size, 300 or none)", None),
        ("extract sift,cnn", "joblib-plain", "joblib, 2 processes, full size, the network as published", PEERS),
        ("extract sift,cnn", "loop-plain", "one loop, the same, the libraries' own threads", PEERS),
        ("extract sift,cnn", "joblib", "joblib, 2 processes, fastvbow's sizes and network", None),
        ("extract sift,cnn", "loop", "one loop, the same, the libraries' own threads", None),
        ("extract sift,cnn", "fastdup", "fastdup run", 1.0),
        ("extract cnn", "fastdup", "fastdup run", 1.0),
        ("run cnn", "fastdup", "fastdup run", 1.0),
        ("run sift,cnn", "fastdup", "fastdup run", None),
    ]
    for mine, other, text, goal in lines:
        if other not in wall:
            continue
        ratio = wall[other] / wall[mine]
        quality = f"{n / wall[mine]:.4g} / {n / wall[other]:.4g} images/s; CPU {cpu[mine]:.3g} / {cpu[other]:.3g} s"
        met, target = (ratio >= goal, f">= {goal:g}") if goal else (None, "")
        what, beside = f"fastvbow {mine}, {n} images", f"{text} {time_text(wall[other])}"
        checks.append(Check(what, wall[mine], beside, ratio, quality, target, met))
    return checks


SECTIONS: dict[str, Callable[..., Any]] = {
    "one": one,
    "two": two,
    "executors": executors,
    "onnx": onnx,
    "malloc": malloc,
    "profile": profile,
    "savings": savings,
    "peers": peers,
}
ONE_CORE = {"one", "profile", "savings"}


def main() -> None:
    """Print the tables of all sections, or of those asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few photographs: to try the benchmark, not to measure")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    if not listed(data_folder() / "sun8"):
        raise SystemExit(f"there are no photographs in {data_folder() / 'sun8'}: set FASTVBOW_DATA")
    all_checks: list[Check] = []
    for name in args.only.split(","):
        with one_core() if name in ONE_CORE else nullcontext(), tempfile.TemporaryDirectory() as scratch:
            found = SECTIONS[name](args.quick, Path(scratch))
            lines = list(table(found)) if isinstance(found, list) else list(found)
        all_checks += found if isinstance(found, list) else []
        print(f"\n{name}\n", *lines, sep="\n", flush=True)
    met = [c.met for c in all_checks if c.met is not None]
    print(f"\n{sum(met)} of {len(met)} targets met")


@pytest.fixture
def paths():
    found = listed(data_folder() / "sun8")[::200]
    if not found:
        pytest.skip("there are no photographs")
    return found


@pytest.mark.benchmark(group="extract")
@pytest.mark.parametrize("features", NAMES, ids="+".join)
def test_describe(benchmark, paths, features):
    extractors = extractors_of(features)
    benchmark.pedantic(lambda: [describe(path, extractors) for path in paths], rounds=5, warmup_rounds=1)


@pytest.mark.benchmark(group="extract")
@pytest.mark.parametrize("features", NAMES, ids="+".join)
def test_bare_loop(benchmark, paths, features):
    bare = Bare(features)
    benchmark.pedantic(lambda: bare(paths), rounds=5, warmup_rounds=1)


if __name__ == "__main__":
    main()
