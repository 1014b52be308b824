"""TAC and CAE without training on many made-up embeddings: seconds, processor seconds, memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

__all__ = ["speed_rows"]


def planted(n: int, width: int, n_groups: int, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Directions around as many group directions, float32 at unit length."""
    groups = rng.normal(size=(n_groups, width)).astype(np.float32)
    groups /= np.linalg.norm(groups, axis=1, keepdims=True)
    rows = groups[rng.integers(0, n_groups, n)]
    rows = rows + rng.normal(scale=noise / width**0.5, size=rows.shape).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def run(method: str, n: int, n_nouns: int, width: int, n_clusters: int, n_jobs: int) -> None:
    """One measurement, in a process of its own; prints wall seconds, processor seconds and megabytes."""
    from fastvbow.semantic import CAE, TAC

    rng = np.random.default_rng(0)
    X = planted(n, width, 5 * n_clusters, 1.0, rng)
    nouns = planted(n_nouns, width, 2000, 1.0, rng)
    captions = planted(n_nouns // 2, width, 2000, 1.0, rng)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = {"TAC": TAC, "CAE": CAE}[method](n_clusters, random_state=0, n_jobs=n_jobs)
    wall, spent = time.perf_counter(), time.process_time()
    model.fit(X, nouns=nouns, captions=captions)
    wall, spent = time.perf_counter() - wall, time.process_time() - spent
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    passes = f"{model.noun_plan_.n_iter} and {model.caption_plan_.n_iter} passes" if method == "CAE" else ""
    print(wall, spent, grown, passes, sep="\t")


def speed_rows(n: int, n_nouns: int, width: int, n_clusters: int, n_jobs: int) -> list[str]:
    """The lines of a Markdown table."""
    rows = [
        "| method | time | processor time | memory above the peak of making the input | transport |",
        "|---|---|---|---|---|",
    ]
    for method in ("TAC", "CAE"):
        sizes = [str(number) for number in (n, n_nouns, width, n_clusters, n_jobs)]
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), method, *sizes], check=True, capture_output=True, text=True
        )
        wall, spent, grown, passes = done.stdout.rstrip("\n").split("\t")
        cells = f"{float(wall):.0f} s", f"{float(spent):.0f} s", f"{float(grown):.0f} MB", passes or "-"
        rows.append(f"| {method} | " + " | ".join(cells) + " |")
    return rows


if __name__ == "__main__":
    run(sys.argv[1], *(int(number) for number in sys.argv[2:]))
