"""How K-Means' cost grows with rows, centres and columns, and what memory it takes: Markdown tables and a plot.

    python benchmarks/scaling_kmeans.py [--quick] [--only n,K,d] [--plot docs/kmeans-scaling.svg] [--json out.json]

One core. Every measurement is a process of its own, on uint8 SIFT descriptors (`descriptors`; more than there are by
repeating them with noise): where n grows from a read-only memory map, otherwise in memory. It does the operation once
on few rows, to compile, then three times; the median counts (of the longest, one). Peak memory is sampled every 20 ms
from /proc/self/status: what the operation adds to what the process held before it, anonymous memory (``RssAnon``) and
pages of files (``RssFile``, the map) apart.

For the largest n, RLIMIT_DATA holds the process to less memory than the map is long. It limits all writable private
memory of a process, Python and libraries included, touched or not, so it is stricter than a limit of the resident set.
It does not count pages of read-only maps, which the system may take back at any time: those in use are shown beside.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import descriptors
import numpy as np
from _harness import one_core, time_text

from fastvbow import KMeans, MiniBatchKMeans

TASKS = {"exact": "assignment, exact", "fast": "assignment, fast", "float32": "assignment, float32", "fit": "training"}
AXES = {"n": "rows", "K": "centres", "d": "columns"}
MB = 1 << 20
Point = dict[str, Any]  # axis, task, n, K, d, file, repeats, limit (MB or None); then what the child found


def plan(folder: Path, quick: bool) -> Iterator[Point]:
    """All measurements; `folder` gets the rows."""
    real = np.load(descriptors.sift_file(20_000 if quick else 1_000_000)[0], mmap_mode="r")
    largest = 100_000 if quick else 10_000_000
    tall = written(folder / "tall.npy", descriptors.perturbed(real, largest), largest, 128)
    limit = None if quick else 768

    def point(axis: str, task: str, n: int, K: int, d: int, file: Path = tall, **options: Any) -> Point:
        return {"axis": axis, "task": task, "n": n, "K": K, "d": d, "file": str(file), "repeats": 3} | options

    for n in sizes(10_000, largest, 10):
        big = n == largest
        for task in ("exact", "fast", "fit"):
            yield point("n", task, n, 1000, 128, repeats=1 if big else 3, limit=limit if big else None)
    few, many = (10_000, 50_000) if quick else (100_000, 1_000_000)
    for K in sizes(8, 512 if quick else 65_536, 8):
        for task in ("exact", "fast", "float32"):
            yield point("K", task, few, K, 128, repeats=1 if K > 4096 else 3)
        if K <= 4096:
            yield point("K", "fit", many, K, 128, repeats=1 if K > 1000 else 3)
    widest, few = (128, 5_000) if quick else (2048, 50_000)
    wide = written(folder / "wide.npy", beside(real, widest, few), few, widest)
    for d in sizes(16, widest, 2):
        for task in ("exact", "fast", "float32", "fit"):
            yield point("d", task, few, 300, d, wide)


def sizes(first: int, last: int, factor: int) -> list[int]:
    """first, first * factor, ... up to last, which is always there."""
    found = [first]
    while found[-1] * factor < last:
        found.append(found[-1] * factor)
    return [*found, last]


def written(file: Path, blocks: Iterator[np.ndarray], n: int, d: int) -> Path:
    """Write blocks of rows to a .npy file, one at a time."""
    with file.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": (n, d)}
        np.lib.format.write_array_header_1_0(out, header)
        for block in blocks:
            out.write(block.tobytes())
    return file


def beside(real: np.ndarray, d: int, n: int) -> Iterator[np.ndarray]:
    """Rows of d columns: several descriptors side by side."""
    width = -(-d // 128)
    for block in descriptors.perturbed(real, n):
        rng = np.random.default_rng(len(block))
        yield np.hstack([block[rng.permutation(len(block))] for _ in range(width)])[:, :d]


class Watch:
    """Samples the memory of this process while it is open."""

    def __enter__(self) -> Watch:
        self.before = memory()
        self.anonymous = self.file = self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            anonymous, file = memory()
            self.anonymous, self.file = max(self.anonymous, anonymous), max(self.file, file)
            self.peak = max(self.peak, anonymous + file)
            if self._done.wait(0.02):
                return


def memory() -> tuple[float, float]:
    """Resident anonymous memory and file pages of this process, in MB; zeros where there is no /proc."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    found = {
        line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("RssAnon", "RssFile"))
    }
    return found["RssAnon"], found["RssFile"]


def child(point: Point) -> Point:
    """Do one measurement, in this process."""
    if point.get("limit"):
        resource.setrlimit(resource.RLIMIT_DATA, (point["limit"] * MB,) * 2)
    n, K, d = point["n"], point["K"], point["d"]
    X = np.load(point["file"], mmap_mode="r")[:n, :d]
    if point["axis"] != "n":
        X = np.array(X)
    if point["task"] == "fit":
        run: Callable[[], Any] = partial(MiniBatchKMeans(K, random_state=0).fit, X)
        MiniBatchKMeans(8, random_state=0).fit(X[:2000])
    else:
        chosen = np.sort(np.random.default_rng(0).choice(n, min(n, 4 * K + 1000), replace=False))
        sample = np.load(point["file"], mmap_mode="r")[chosen, :d]  # a map of its own, closed again
        model = KMeans(K, init="random", n_init=1, max_iter=2, random_state=0, precision="fast").fit(sample)
        model.precision = "fast" if point["task"] == "fast" else "exact"
        if point["task"] == "float32":
            X = X.astype(np.float32)
        run = partial(model.predict, X)
        model.predict(X[:2000])
    seconds = []
    with Watch() as watch:
        for _ in range(point["repeats"]):
            start = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - start)
    added = {"anonymous": watch.anonymous - watch.before[0], "files": watch.file - watch.before[1]}
    return point | added | {"seconds": float(np.median(seconds)), "peak": watch.peak, "before": sum(watch.before)}


def measured(point: Point) -> Point:
    """Do one measurement, in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps(point)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return point | {"failed": (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]}
    return json.loads(done.stdout)


def slope(points: list[Point], axis: str) -> str:
    """The exponent of the cost over the upper half of the sizes."""
    upper = [p for p in points if "seconds" in p][-(len(points) // 2 + 1) :]
    if len(upper) < 2:
        return ""
    x, y = (np.log([float(p[key]) for p in upper]) for key in (axis, "seconds"))
    return f"{np.polyfit(x, y, 1)[0]:.2f}"


def tables(points: list[Point]) -> Iterator[str]:
    """The lines of a Markdown table for each axis: one column a task, and memory where n grows."""
    for axis, group in groupby(points, key=lambda p: p["axis"]):
        some = list(group)
        by_task = {
            task: [p for p in some if p["task"] == task] for task in TASKS if any(p["task"] == task for p in some)
        }
        fixed = "; ".join(
            f"{TASKS[task]}: " + ", ".join(f"{k} = {p[0][k]:,}" for k in AXES if k != axis)
            for task, p in by_task.items()
        )
        note = " Time, and peak memory beyond what was in use before." if axis == "n" else ""
        yield f"\n{fixed}.{note}\n"
        yield f"| {axis} | " + " | ".join(TASKS[task] for task in by_task) + " |"
        yield "|---|" + "---|" * len(by_task)
        for size in sorted({p[axis] for p in some}):
            cells = [_cell(p, axis) for task in by_task for p in [_at(by_task[task], axis, size)]]
            yield f"| {size:,} | " + " | ".join(cells) + " |"
        yield "| grows like the power | " + " | ".join(slope(p, axis) for p in by_task.values()) + " |"


def _at(points: list[Point], axis: str, size: int) -> Point | None:
    return next((p for p in points if p[axis] == size), None)


def _cell(p: Point | None, axis: str) -> str:
    if p is None:
        return ""
    if "failed" in p:
        return p["failed"]
    if axis != "n":
        return time_text(p["seconds"])
    limit = f" under a limit of {p['limit']} MB" if p.get("limit") else ""
    return f"{time_text(p['seconds'])}, +{p['anonymous']:.0f} MB, map +{p['files']:.0f} MB{limit}"


def plot(points: list[Point], file: Path) -> None:
    """Time against n, K and d, and memory against n."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    plt.rcParams |= {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "fixed"}
    styles = dict(zip(TASKS, (("#0072b2", "o"), ("#009e73", "s"), ("#777777", "^"), ("#d55e00", "D")), strict=True))
    titles = {axis: _title(axis, [p for p in points if p["axis"] == axis]) for axis in AXES}
    figure, panels = plt.subplots(2, 2, figsize=(8.4, 6.6), layout="constrained")

    def draw(panel: Any, task: str, line: list[Point], key: str, label: str) -> None:
        color, marker = styles[task]
        x, y = [p[line[0]["axis"]] for p in line], [p[key] for p in line]
        panel.loglog(x, y, "-", marker=marker, ms=3.5, lw=1.3, color=color, label=label)

    for panel, axis in zip(panels.flat, AXES, strict=False):
        for task in TASKS:
            line = [p for p in points if p["axis"] == axis and p["task"] == task and "seconds" in p]
            if line:
                draw(panel, task, line, "seconds", TASKS[task])
        panel.set(title=f"Time against {AXES[axis]}", xlabel=titles[axis], ylabel="seconds, one core")
        if axis == "d" and (ticks := sorted({p["d"] for p in points if p["axis"] == "d"})):
            panel.set_xticks(ticks, [str(d) for d in ticks])
    panel = panels[1, 1]
    if line := [p for p in points if p["axis"] == "n" and p["task"] == "fit" and "seconds" in p]:
        x = [p["n"] for p in line]
        draw(panel, "fit", line, "peak", "training, peak")
        panel.loglog(x, [p["n"] * p["d"] / MB for p in line], "--", color="#777777", label="the rows on disk")
        panel.loglog(x, [p["before"] for p in line], ":", color="black", label="Python and its libraries")
        panel.legend(frameon=False, loc="lower right")
    panel.set(title=f"Memory against {AXES['n']}", xlabel=titles["n"], ylabel="resident memory, MB")
    for panel in panels.flat:
        panel.minorticks_off()
        panel.grid(True, color="#dddddd", lw=0.6)
    entries = {text: h for p in panels.flat[:3] for h, text in zip(*p.get_legend_handles_labels(), strict=True)}
    entries = {TASKS[task]: entries[TASKS[task]] for task in TASKS if TASKS[task] in entries}
    figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=len(entries), frameon=False)
    figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _title(axis: str, points: list[Point]) -> str:
    """What grows, and what does not; n may be another for training than for assignment."""
    fixed = []
    for key in (key for key in AXES if key != axis and points):
        training, other = ({p[key] for p in points if (p["task"] == "fit") == fit} for fit in (True, False))
        values = [f"{value:,}" for value in other or training]
        fixed.append(
            f"{key} = {values[0]}" + "".join(f", training {v:,}" for v in training if v not in other and other)
        )
    return f"{AXES[axis]} {axis}   [{'; '.join(fixed)}]"


def main() -> None:
    """Measure, print, plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="small sizes: to try the script, not to measure")
    parser.add_argument("--only", default="n,K,d", help="axes, with commas")
    parser.add_argument("--plot", type=Path, help="draw to this file (needs matplotlib)")
    parser.add_argument("--json", type=Path, help="write the measurements to this file; with --redraw, read them")
    parser.add_argument("--redraw", action="store_true", help="measure nothing: print and draw what --json holds")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(json.loads(args.child))))
        return
    if args.redraw:
        points = json.loads(args.json.read_text())
    else:
        with tempfile.TemporaryDirectory() as folder, one_core():
            wanted = (p for p in plan(Path(folder), args.quick) if p["axis"] in args.only.split(","))
            points = [measured(p) for p in wanted]
        if args.json:
            args.json.write_text(json.dumps(points, indent=1))
    print(*tables(points), sep="\n")
    if args.plot:
        plot(points, args.plot)


if __name__ == "__main__":
    main()
