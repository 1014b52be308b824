"""Mean distances over all pairs of 100,000 images, within labels and over all, beside sums over the pairs.

    python benchmarks/bench_metrics.py [--quick]
    pytest benchmarks/bench_metrics.py --benchmark-enable

`pair_scores` on mixtures of 20 topics and on histograms of 300 words (uint16 counts, 0.5 added to each), 25 labels.
Beside it stand a row against 1,000 others at once in NumPy, and a loop over both rows of a pair with NumPy inside, as
the reference system has it. Both are timed on some of the rows and pairs, and the time is multiplied up to all
n (n - 1) ordered pairs, once: that labels would be gone through as well is not counted against them. One core, CPU
seconds; rounds take turns; medians. ``--quick`` is for trying the benchmark.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from _harness import Check, Measured, Run, alternated, one_core, table
from scipy.special import xlogy

from fastvbow.evaluation.distributions import PairScores, pair_scores

N_ROWS, N_TOPICS, N_WORDS, N_LABELS, SMOOTHING = 100_000, 20, 300, 25, 0.5
PAIRS = {N_TOPICS: 500_000, N_WORDS: 100_000}  # that Jensen-Shannon draws, by the rows' length
TWIN_ROWS = 1_000  # of which all pairs are looked at, to see that the figures are the same


def halves(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """Jensen-Shannon."""
    middle = (p + q) / 2
    return (xlogy(p, p) + xlogy(q, q) - 2 * xlogy(middle, middle)).sum(axis=-1) / 2


DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "symkl": lambda p, q: ((p - q) * (np.log(p) - np.log(q))).sum(axis=-1) / 2,
    "kl": lambda p, q: (p * np.log(p / q)).sum(axis=-1),
    "js": halves,
    "l1": lambda p, q: np.abs(p - q).sum(axis=-1),
    "l2": lambda p, q: ((p - q) ** 2).sum(axis=-1),
}


def corpus(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, mixtures that depend on them, and counts of words drawn from topics of the mixtures."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, N_LABELS, n)
    prior = rng.gamma(0.3, 2, (N_LABELS, N_TOPICS)) + 0.05
    theta = rng.gamma(prior[labels]) + 1e-4
    theta /= theta.sum(axis=1, keepdims=True)
    phi = rng.dirichlet([0.1] * N_WORDS, N_TOPICS)
    counts = np.empty((n, N_WORDS), np.uint16)
    for i in range(0, n, 5000):
        counts[i : i + 5000] = rng.poisson(500 * (theta[i : i + 5000] @ phi))
    return labels, theta, counts


def by_row(rows: np.ndarray, measure: str, n_rows: int) -> float:
    """Some rows, each against all, 1,000 at a time, which stay in the cache."""
    blocks = [rows[i : i + 1000] for i in range(0, len(rows), 1000)]
    return float(sum(DISTANCES[measure](row, block).sum() for row in rows[:n_rows] for block in blocks))


def by_pair(rows: np.ndarray, measure: str, n_rows: int) -> float:
    """All pairs of some rows."""
    distance, total = DISTANCES[measure], 0.0
    for i in range(n_rows):
        for j in range(n_rows):
            if i != j:
                total += distance(rows[i], rows[j])
    return total


def timed(run: Callable[[int], Any]) -> Run:
    """CPU seconds of this process."""

    def call(i: int) -> tuple[float, Any]:
        start = time.process_time()
        found = run(i)
        return time.process_time() - start, found

    return call


def agreement(found: PairScores, rows: np.ndarray, measure: str) -> str:
    """How far the figure over all pairs is from the sum over the pairs."""
    wanted = by_row(rows, measure, len(rows)) / (len(rows) * (len(rows) - 1))
    off = abs(found.overall - wanted) / wanted
    return f"{len(rows):,} rows: off by {off:.0e}" if found.exact else f"{len(rows):,} rows: off by {100 * off:.2f} %"


def measure_one(what: str, rows: np.ndarray, given: np.ndarray, labels: np.ndarray, measure: str, quick: bool) -> Check:
    """`rows` are frequencies, `given` what `pair_scores` gets: these or counts."""
    n, drawn, smoothing = len(rows), PAIRS[rows.shape[1]], None if rows is given else SMOOTHING
    few, pairs = (2, 20) if quick else (4 if rows.shape[1] > 100 else 64, 100)
    seconds, found = alternated(
        {
            "ours": timed(lambda i: pair_scores(given, labels, measure, smoothing=smoothing, max_pairs=drawn, seed=i)),
            "by row": timed(lambda i: by_row(rows, measure, few)),
            "by pair": timed(lambda i: by_pair(rows, measure, pairs)),
        },
        1 if quick else 3,
    )
    measured = Measured(what, seconds)
    ours, by_rows = measured.median("ours"), measured.median("by row") * n / few
    by_pairs = measured.median("by pair") * n * (n - 1) / (pairs * (pairs - 1))
    twin = pair_scores(given[:TWIN_ROWS], labels[:TWIN_ROWS], measure, smoothing=smoothing)
    last = found["ours"][-1]
    width = "" if last.exact else f"; {drawn:,} pairs a label: ratio {last.ratio:.4f} ± {last.ratio_error:.4f}"
    quality = agreement(twin, rows[:TWIN_ROWS], measure) + width
    beside = f"by row {by_rows / 3600:,.2f} h, by pair {by_pairs / 3600:,.2f} h"
    return Check(what, ours, beside, min(by_rows, by_pairs) / ours, quality, "< 10 s", ours < 10)


def checks(quick: bool) -> list[Check]:
    """A line for each measure."""
    n = 3_000 if quick else N_ROWS
    labels, theta, counts = corpus(n)
    lines = [
        measure_one(f"{name} of mixtures, {n:,} x {N_TOPICS}", theta, theta, labels, name, quick)
        for name in ("symkl", "l2", "js")
    ]
    frequencies = counts + SMOOTHING
    frequencies /= frequencies.sum(axis=1, keepdims=True)
    for name in ("l1", "l2", "kl", "js"):
        lines.append(measure_one(f"{name} of histograms, {n:,} x {N_WORDS}", frequencies, counts, labels, name, quick))
    return lines


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: to try the benchmark, not to measure")
    with one_core():
        found = checks(parser.parse_args().quick)
    print(*table(found), f"\n{sum(bool(c.met) for c in found)} of {len(found)} targets met", sep="\n")


@pytest.mark.benchmark(group="pair-scores")
@pytest.mark.parametrize("measure", ["symkl", "l1", "l2", "js"])
def test_pair_scores(benchmark, request, measure):
    labels, theta, _ = corpus(N_ROWS if request.config.getoption("benchmark_enable") else 200)
    benchmark.pedantic(lambda: pair_scores(theta, labels, measure), rounds=3, warmup_rounds=1)


if __name__ == "__main__":
    main()
