"""Time and memory of selecting from many photographs: made-up mixtures and vectors, one thread.

    python benchmarks/bench_select_time.py --rows 1000000 --topics 20 --dimensions 64 --number 200

Prints, for each strategy, seconds of CPU and the memory that NumPy held beside its input. `--dtype float16
--dimensions 1280 --rows 100000` is a CNN's vectors as they are stored.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc

import numpy as np
from threadpoolctl import threadpool_limits

from fastvbow.groups.selecting import STRATEGIES, select_rows


def made(rows: int, topics: int, dimensions: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(topics, dimensions)).astype(np.float32)
    theta, vectors = np.empty((rows, topics)), np.empty((rows, dimensions), dtype)
    for start in range(0, rows, 50_000):
        at = slice(start, min(start + 50_000, rows))
        theta[at] = rng.dirichlet(np.full(topics, 0.1), at.stop - at.start)
        noise = rng.standard_normal((at.stop - at.start, dimensions), np.float32)
        vectors[at] = centres[theta[at].argmax(axis=1)] + noise
    return theta, vectors


def main() -> None:
    """Measure each strategy and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--number", type=int, default=200)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--by", default=",".join(STRATEGIES))
    given = parser.parse_args()
    theta, vectors = made(given.rows, given.topics, given.dimensions, given.dtype)
    print(f"| {given.rows:,} x {given.dimensions} {given.dtype}, {given.topics} topics | CPU s | MB |\n|---|---|---|")
    for by in given.by.split(","):
        with threadpool_limits(1):
            begin = time.process_time()
            select_rows(theta, vectors, given.number, by=by)
            seconds = time.process_time() - begin
            tracemalloc.start()
            select_rows(theta, vectors, min(given.number, 20), by=by)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        print(f"| {by} | {seconds:.1f} | {peak / 1e6:.0f} |", flush=True)


if __name__ == "__main__":
    main()
