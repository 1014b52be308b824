"""Time, memory and size of a report of many photographs, and how long its pages take in Chromium.

    python benchmarks/bench_report.py --images 1000000 -o FOLDER

The photographs are made up: names, mixtures, labels of half of them, and twenty pictures of 640 x 480 pixels in turn,
so that no time goes into decoding. The pages are timed where selenium, chromium and chromedriver are found.
"""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from fastvbow.report.build import build_report
from fastvbow.report.content import ReportContent

ASKED = ["topic=5", "label=label+7", "q=IMG_0012345", "sort=entropy", "sort=name", "uncertain=1", "page=900"]


def made(n: int, topics: int) -> ReportContent:
    rng = np.random.default_rng(0)
    names = [f"2024/{i // 5000:03d}/IMG_{i:07d}.jpg" for i in range(n)]
    pictures = []
    for _ in range(20):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        pictures.append(np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC), dtype=np.uint8))
    return ReportContent(
        title="Made up",
        source="/photographs",
        n_topics=topics,
        ids=[f"{i * 0x9E3779B97F4A7C15 % (1 << 80):020x}" for i in range(n)],
        names=names,
        topic=np.minimum(topics - 1, rng.geometric(0.08, n)),
        probability=rng.beta(3, 1, n),
        entropy=rng.uniform(0, 2, n),
        read_photograph=lambda i: pictures[i % 20],
        locate=lambda i: Path("/photographs", names[i]),
        labels=[f"label {j}" if j < 40 else None for j in rng.integers(0, 80, n)],
    )


def peak() -> float:
    """The most memory that the process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def time_pages(folder: Path) -> None:
    """Open the first pages, then ask for this and that."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    browsers = importlib.import_module("report.browser")
    if not (browsers.CHROMIUM and browsers.CHROMEDRIVER):
        print("pages: no chromium with chromedriver here")
        return
    with browsers.open_browser() as browser:
        painted = "return (performance.getEntriesByName('first-contentful-paint')[0] || {}).startTime"
        for name in ("index.html", "browse.html", "run.html"):
            browser.open(folder / name)
            print(f"| {name}, first paint | {browser.until(lambda: browser.run(painted)):.0f} ms |")
        browser.open(folder / "browse.html")
        count = "return document.querySelectorAll('#results > li').length"
        browser.until(lambda: browser.run(count))
        ended = "return document.getElementById('stop').hidden && performance.now() - begun > 100"
        for asked in ASKED:
            browser.run("window.begun = performance.now(); location.hash = arguments[0]", f"#{asked}")
            begin = time.perf_counter()
            browser.until(lambda: browser.run(ended), 120)
            print(f"| {asked} | {time.perf_counter() - begin:.1f} s: {browser.text('#status')} |")


def main() -> None:
    """Build the report and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--topics", type=int, default=50)
    parser.add_argument("--output", "-o", type=Path, required=True)
    given = parser.parse_args()
    content = made(given.images, given.topics)
    before, begin = peak(), time.perf_counter()
    build_report(content, given.output, jobs=-1)
    print(f"| {given.images:,} photographs, {given.topics} topics | |\n|---|---|")
    print(
        f"| written | {time.perf_counter() - begin:.1f} s |\n| memory beyond the columns | {peak() - before:.0f} MB |"
    )
    for name in ("data", "thumbs", "sheets", "assets", "."):
        files = [path for path in (given.output / name).iterdir() if path.is_file()]
        print(f"| {name}, {len(files)} files | {sum(path.stat().st_size for path in files) / 1e6:.2f} MB |")
    time_pages(given.output)


if __name__ == "__main__":
    main()
