"""A rehearsal of a large extraction: real photographs, cropped and encoded anew, a hundred thousand of them.

    python benchmarks/rehearse_extract.py SCRATCH [--images 100000] [--pixels 96] [--features sift] [--kills 20]

SCRATCH gets the photographs and the projects (kept, so that a second call need not make them again); nothing else is
written to. Each extraction is a process of its own, as from the command line. What is shown: whether time is linear in
the number of images and memory flat, bytes on disk an image, what 20 kills at random moments change (nothing may), how
long a finished extraction takes when it is asked for again, to open and to verify.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import descriptors
import numpy as np

COMMAND = [sys.executable, "-m", "fastvbow", "extract"]


def make_photographs(folder: Path, n_images: int, pixels: int) -> None:
    """Crops of real photographs, always the same: `n_images` files, a thousand a folder."""
    root = descriptors.data_folder()
    paths = sorted(path for name in ("sun8", "corel1k") for path in (root / name).rglob("*.jpg"))
    if not paths:
        raise SystemExit(f"no photographs at {root}: set FASTVBOW_DATA")

    def make(thousand: int) -> None:
        place = folder / f"{thousand:04d}"
        numbers = range(1000 * thousand, min(1000 * (thousand + 1), n_images))
        if place.is_dir() and len(list(place.iterdir())) >= len(numbers):
            return
        place.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(thousand)
        for number in numbers:
            image = cv2.imread(str(paths[rng.integers(len(paths))]))
            side = int(rng.integers(min(image.shape[:2]) // 2, min(image.shape[:2]) + 1))
            top, left = (int(rng.integers(n - side + 1)) for n in image.shape[:2])
            crop = cv2.resize(
                image[top : top + side, left : left + side], (pixels, pixels), interpolation=cv2.INTER_AREA
            )
            cv2.imwrite(str(place / f"{number:07d}.jpg"), crop, [cv2.IMWRITE_JPEG_QUALITY, 88])

    with ThreadPoolExecutor(os.cpu_count()) as executor:
        list(executor.map(make, range(-(-n_images // 1000))))


@dataclass
class Measured:
    """A process: its seconds by the clock and of CPUs, its code, and its resident memory (MB) twice a second."""

    seconds: float
    cpu: float
    code: int
    memory: list[float] = field(default_factory=list)


def run(words: list[str], kill_after: float = float("inf")) -> Measured:
    """Run a command in a process of its own, and kill it after some seconds."""
    start, before, memory = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), []
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if time.perf_counter() - start > kill_after:
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
                memory += [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")]
            except OSError:
                break
            time.sleep(min(0.5, max(0.01, kill_after - (time.perf_counter() - start))))
        _, err = process.communicate()
    if process.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(err)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(time.perf_counter() - start, cpu, process.returncode, memory)


def digest(project: Path) -> str:
    """SHA-256 over all that an extraction leaves, but for what names the time and place."""
    found = hashlib.sha256()
    for path in sorted((project / "features").rglob("*")):
        if path.is_file():
            found.update(f"{path.relative_to(project)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def main() -> None:
    """Rehearse, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--pixels", type=int, default=96, help="side of a crop")
    parser.add_argument("--features", default="sift")
    parser.add_argument("--kills", type=int, default=20)
    args = parser.parse_args()
    photographs = args.scratch / f"photographs-{args.images}-{args.pixels}"
    make_photographs(photographs, args.images, args.pixels)
    options = ["--features", args.features, "--quiet"]

    rows, project = [], args.scratch / "straight"
    for share in (8, 4, 2, 1):
        shutil.rmtree(project, ignore_errors=True)
        n = args.images // share
        done = run([*COMMAND, str(photographs), "-o", str(project), *options, "--limit", str(n)])
        half = len(done.memory) // 2
        memory = [np.median(part) for part in (done.memory[2:half], done.memory[half:])]
        rows.append((n, done.seconds, done.cpu, n / done.seconds, *memory))
        print(f"{n} images: {done.seconds:.1f} s", flush=True)
    print("| images | seconds | CPU seconds | images/s | MB in the first half | MB in the second half |")
    print("|---|---|---|---|---|---|")
    for n, seconds, cpu, speed, first, second in rows:
        print(f"| {n:,} | {seconds:.1f} | {cpu:.1f} | {speed:.1f} | {first:.0f} | {second:.0f} |")
    # the fixed start of a process is not of the photographs: the slopes of the halves are what has to be alike
    for column, name in ((1, "ms"), (2, "CPU ms")):
        slopes = [(b[column] - a[column]) / (b[0] - a[0]) for a, b in pairwise(rows)]
        print(f"\n{name} an image, from each size to the next: {', '.join(f'{1000 * slope:.3f}' for slope in slopes)}")
    size = sum(path.stat().st_size for path in project.rglob("*") if path.is_file())
    print(f"bytes on disk an image: {size / args.images:.0f}")

    again = run([*COMMAND, str(photographs), "-o", str(project), *options])
    print(f"asked for again: {again.seconds:.1f} s")
    opening = (
        "import sys, time; from pathlib import Path; from fastvbow.pipeline.extraction import open_shards\n"
        "from fastvbow.project import ProjectFolder\nstart = time.perf_counter()\n"
        "shards = open_shards(ProjectFolder.open(Path(sys.argv[1])))\nprint(len(shards), time.perf_counter() - start)"
    )
    opened = subprocess.run([sys.executable, "-c", opening, str(project)], capture_output=True, text=True, check=True)
    n_shards, seconds = opened.stdout.split()
    print(f"opening {n_shards} shards: {1000 * float(seconds):.0f} ms")
    checked = run([sys.executable, "-m", "fastvbow", "verify", str(project), "--quiet"])
    print(f"verify: {checked.seconds:.1f} s")

    wanted, killed, broken = digest(project), 0, args.scratch / "killed"
    shutil.rmtree(broken, ignore_errors=True)
    rng, total, longest = random.Random(0), 0.0, 2 * rows[-1][1] / max(1, args.kills)
    while True:
        ended = run(
            [*COMMAND, str(photographs), "-o", str(broken), *options],
            rng.uniform(0, longest) + 1 if killed < args.kills else float("inf"),
        )
        total += ended.seconds
        if ended.code == 0:
            break
        killed += 1
    same = "the same bytes" if digest(broken) == wanted else "OTHER BYTES"
    print(f"killed {killed} times: {same} in the end; {total:.1f} s in all, {rows[-1][1]:.1f} s without")
    if digest(broken) != wanted:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
