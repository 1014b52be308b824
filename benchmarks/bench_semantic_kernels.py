"""Nearest rows, spherical k-means and transport beside faiss, POT and scikit-learn.

    pip install faiss-cpu POT
    python benchmarks/bench_semantic_kernels.py [--only knn,kmeans,transport] [--rounds 3] [--quick]

Made-up directions of 512 dimensions. One thread each in one process, turns taken, medians of processor seconds, and how
good what was found is: the share of the true neighbours, the mean cosine of rows with their centres, the error of the
plan's columns and rows in float64. What is not installed is left out. OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE are taken
away together: they hold for all copies of OpenBLAS in the process. ``--quick`` is for trying the benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import _plain_blas  # noqa: F401
import numpy as np
import pytest
from _harness import Run, alternated, one_core, time_text
from _semantic_speed import planted
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from fastvbow.semantic import neighbours
from fastvbow.semantic._rows import workers
from fastvbow.semantic.neighbours import nearest_rows
from fastvbow.semantic.sinkhorn import sinkhorn
from fastvbow.semantic.spherical import spherical_kmeans

WIDTH = 512
COMPARED = 1000  # rows whose neighbours are compared
ASKED = 5000  # rows that neighbours are searched for where all would take long


def peer(name: str) -> Any:
    """A library, on one thread; None where it is not installed."""
    with contextlib.suppress(ImportError):
        module = importlib.import_module(name)
        if name == "faiss":
            module.omp_set_num_threads(1)
        return module
    return None


def spent(run: Callable[[], Any]) -> Run:
    """Processor seconds of one call."""

    def call(i: int) -> tuple[float, Any]:
        start = time.process_time()
        found = run()
        return time.process_time() - start, found

    return call


def lines(what: str, runs: dict[str, Run], rounds: int, quality: Callable[[Any], str]) -> Iterator[str]:
    """Rows of the table: median seconds, as many times ours, and what was found."""
    seconds, found = alternated(runs, rounds)
    ours = float(np.median(seconds["fastvbow"]))
    for name, values in seconds.items():
        median = float(np.median(values))
        yield f"| {what} | {name} | {time_text(median)} | {median / ours:.2f} | {quality(found[name][-1])} |"


def photographs(n: int, seed: int = 0) -> np.ndarray:
    """Directions that lie, as descriptions by a network do, near a surface of 24 dimensions, in groups, above 0."""
    rng = np.random.default_rng(0)
    plane, groups = rng.normal(size=(24, WIDTH)) / 24**0.5, 1.5 * rng.normal(size=(100, 24))
    rng = np.random.default_rng(seed + 1)
    rows = (groups[rng.integers(0, 100, n)] + rng.normal(size=(n, 24))) @ plane
    rows = np.maximum(rows + 0.3 * rng.normal(size=rows.shape), 0)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def neighbour_lines(n: int, k: int, rounds: int) -> Iterator[str]:
    """Exact ones, of all rows or of some among all, and those in buckets, of all rows."""
    rows = photographs(n)
    few = np.arange(n) if n <= 10 * ASKED else np.sort(np.random.default_rng(1).choice(n, ASKED, replace=False))
    compared = np.random.default_rng(0).choice(len(few), min(len(few), COMPARED), replace=False)
    cosines = rows[few[compared]] @ rows.T
    cosines[np.arange(len(compared)), few[compared]] = -2
    wanted = np.argpartition(-cosines, k, axis=1)[:, :k]
    faiss = peer("faiss")

    def recall(found: np.ndarray) -> str:
        chosen = found[few[compared] if len(found) == n else compared]
        pairs = zip(wanted, chosen, few[compared], strict=True)
        return f"recall {np.mean([len(set(a) & (set(b) - {i})) / k for a, b, i in pairs]):.4f}"

    def ours() -> np.ndarray:
        found = np.empty((n, k), np.int64)
        with workers(1) as team:
            neighbours._among_all(rows, few, found, team)
        return found[few]

    def flat() -> np.ndarray:
        index = faiss.IndexFlatIP(WIDTH)
        index.add(rows)
        return np.asarray(index.search(rows[few], k + 1)[1])

    def inverted(probes: int) -> np.ndarray:
        n_lists = round(n**0.5)
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(WIDTH), WIDTH, n_lists, faiss.METRIC_INNER_PRODUCT)
        index.cp.niter, index.cp.max_points_per_centroid = 10, neighbours.ROWS_A_BUCKET
        index.train(rows)
        index.add(rows)
        index.nprobe = probes
        return np.asarray(index.search(rows, k + 1)[1])

    def brute() -> np.ndarray:
        model = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(rows)
        return np.asarray(model.kneighbors(rows[few], return_distance=False))

    nearest_rows(rows[:100], 3)  # compiles the kernel
    runs = {"fastvbow": spent(ours)}
    if faiss:
        runs["faiss IndexFlatIP"] = spent(flat)
    runs["scikit-learn, brute"] = spent(brute)
    asked = "" if len(few) == n else f", {ASKED:,} of them asked for"
    yield from lines(f"{n:,} rows, {k} neighbours{asked}", runs, rounds, recall)
    runs = {"fastvbow": spent(lambda: nearest_rows(rows, k, exact=False))}
    if faiss:
        runs["faiss IndexIVFFlat"] = spent(lambda: inverted(neighbours.PROBED))
    yield from lines(
        f"{n:,} rows, {k} neighbours, in {neighbours.PROBED} of {round(n**0.5)} buckets", runs, rounds, recall
    )


def kmeans_lines(n: int, K: int, rounds: int) -> Iterator[str]:
    """One start, 20 passes at most."""
    X = planted(n, WIDTH, 100, 1.0, np.random.default_rng(0))
    faiss = peer("faiss")

    def mean_cosine(centers: np.ndarray) -> str:
        centers = centers / np.linalg.norm(centers, axis=1, keepdims=True)
        found = [(X[i : i + 10_000] @ centers.T).max(axis=1) for i in range(0, n, 10_000)]
        return f"mean cosine {np.concatenate(found).mean():.4f}"

    def of_faiss() -> np.ndarray:
        model = faiss.Kmeans(WIDTH, K, niter=20, spherical=True, seed=1, max_points_per_centroid=10**9)
        model.train(X)
        return np.asarray(model.centroids)

    def of_sklearn() -> np.ndarray:
        return np.asarray(KMeans(K, n_init=1, max_iter=20, random_state=0).fit(X).cluster_centers_)

    how: dict[str, Any] = {"n_init": 1, "max_iter": 20, "random_state": 0}
    runs = {"fastvbow": spent(lambda: spherical_kmeans(X, K, **how).centers)}
    if faiss:
        runs["faiss.Kmeans, spherical"] = spent(of_faiss)
    runs["scikit-learn KMeans"] = spent(of_sklearn)
    yield from lines(f"k-means of {n:,} rows, {K} centres", runs, rounds, mean_cosine)


def transport_lines(n: int, m: int, epsilon: float, rounds: int) -> Iterator[str]:
    """Plans of texts that are not where the images are, until the columns are off by 1e-6."""
    rng = np.random.default_rng(0)
    groups = planted(40, WIDTH, 40, 0.0, rng)
    chosen = [rng.choice(40, n, p=rng.dirichlet(np.full(40, 0.5))), rng.integers(0, 40, m)]
    noisy = [groups[who] + rng.normal(scale=WIDTH**-0.5, size=(len(who), WIDTH)) for who in chosen]
    X, T = (np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32) for rows in noisy)
    ot = peer("ot")

    def errors(found: tuple[np.ndarray, int]) -> str:
        plan, passes = found
        columns, rows = (
            np.abs(plan.sum(axis=axis, dtype=np.float64) - 1 / plan.shape[1 - axis]).sum() for axis in (0, 1)
        )
        return f"columns off by {columns:.1e}, rows by {rows:.1e}, {passes} passes"

    def ours() -> tuple[np.ndarray, int]:
        plan = sinkhorn(X, T, epsilon)
        return plan.conditional(X @ T.T) / n, plan.n_iter

    def pot(method: str, dtype: Any, passes: int = 300) -> tuple[np.ndarray, int]:
        a, b = np.full(n, 1 / n, dtype), np.full(m, 1 / m, dtype)
        how = {"method": method, "numItermax": passes, "stopThr": 5e-8, "log": True, "warn": False}
        plan, log = ot.sinkhorn(a, b, (1 - X @ T.T).astype(dtype), epsilon, **how)
        return np.asarray(plan), int(log["niter"])

    sinkhorn(X[:50], T[:20], 0.5)  # compiles the kernel
    runs = {"fastvbow": spent(ours)}
    if ot:
        runs["POT sinkhorn, float32"] = spent(lambda: pot("sinkhorn", np.float32))
        runs["POT sinkhorn, float64"] = spent(lambda: pot("sinkhorn", np.float64))
        runs["POT sinkhorn_log, float32, 20 passes"] = spent(lambda: pot("sinkhorn_log", np.float32, 20))
    yield from lines(f"transport of {n:,} to {m:,}, epsilon {epsilon:g}", runs, rounds, errors)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="knn,kmeans,transport")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", default="20000,100000", help="of the searches for neighbours")
    parser.add_argument("--epsilon", default="0.05,0.02", help="of the transport")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    small = 20 if given.quick else 1
    only = given.only.split(",")
    warnings.filterwarnings("ignore", module="sklearn")
    print("| what | | processor time | x fastvbow | |\n|---|---|---|---|---|")
    with one_core():
        if "knn" in only:
            for n, k in zip(map(int, given.rows.split(",")), (20, 50), strict=False):
                for line in neighbour_lines(n // small, k, given.rounds):
                    print(line, flush=True)
        if "kmeans" in only:
            for line in kmeans_lines(100_000 // small, 333 // small, given.rounds):
                print(line, flush=True)
        if "transport" in only:
            for epsilon in map(float, given.epsilon.split(",")):
                for line in transport_lines(10_000 // small, 2_000 // small, epsilon, given.rounds):
                    print(line, flush=True)


def test_nearest_rows(benchmark: Any) -> None:
    rows = photographs(5000)
    benchmark(nearest_rows, rows, 20)


@pytest.mark.parametrize("epsilon", [0.05, 0.02])
def test_transport(benchmark: Any, epsilon: float) -> None:
    rng = np.random.default_rng(0)
    benchmark(sinkhorn, planted(5000, WIDTH, 100, 1.0, rng), planted(500, WIDTH, 200, 1.0, rng), epsilon)


if __name__ == "__main__":
    main()
