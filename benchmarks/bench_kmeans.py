"""K-Means beside scikit-learn, faiss and the CPU's peak: tables that say which targets are met.

    python benchmarks/bench_kmeans.py [--quick] [--only assignment,training,shapes,threads] [--json out.json]
    pytest benchmarks/bench_kmeans.py --benchmark-enable

A million SIFT descriptors of photographs (``extra_info`` and the heading of the table say if they are not).
One core: process and peers are bound to one CPU, with one thread each. All sides of a comparison take turns, round by
round, so that a busy machine slows all; the medians count. The peers get float32 copies, made outside the clock, and
run in their own processes (`_peers`); those that are not installed are left out. Inertias are those of the returned
centres on all rows, by one function for all. Without ``--benchmark-enable`` pytest takes small sizes, as ``--quick``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import _peak
import descriptors
import numpy as np
import pytest
from _harness import Check, Measured, Run, alternated, clocked, one_core, table
from _peers import Peer
from threadpoolctl import threadpool_limits

from fastvbow import KMeans, MiniBatchKMeans
from fastvbow.words._sweep import nearest_centers

PEERS = ("scikit-learn", "faiss")
BATCHES = (1024, 4096, 10_000)
PASSES = (10, 25)  # of faiss; 25 is its default

# What is to be reached: the ratio of the peer's time to ours unless said otherwise.
ASSIGNMENT = {"scikit-learn": 1.6, "faiss": 1.25}
SHARE_OF_PEAK = {300: 0.8, 1000: 0.9, 4096: 0.9}
FAST, FAST_SAME_LABELS, FAST_PPM = 5.0, 0.99, {300: 50, 1000: 50}
EXACT_TO_FLOAT = 2.0
TRAINING = {"scikit-learn": {300: 10.0, 1000: 10.0}, "faiss": {300: 6.0, 1000: 6.0}}
THREADS = 1.9


class Rows(NamedTuple):
    """A data set: as we get it, as float32, the file that the peers read, and what it is."""

    X: np.ndarray
    Xf: np.ndarray
    file: Path
    kind: str


class Bench:
    """Sizes, data and peers of a run."""

    def __init__(self, quick: bool = False) -> None:
        self.quick = quick
        self.n, self.rounds, self.seeds = (20_000, 2, 2) if quick else (1_000_000, 5, 5)
        self._stack = contextlib.ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.sift, self.peer, self.floats = cache(self._sift), cache(self._peer), cache(self._floats)

    def close(self) -> None:
        self._stack.close()

    def _sift(self, n: int | None = None) -> Rows:
        file, kind = descriptors.sift_file(self.n)
        X = descriptors.load(file, n)
        return Rows(X, X.astype(np.float32), file, f"{len(X):,} x {X.shape[1]} uint8, {kind}")

    def _floats(self, n: int, d: int) -> Rows:
        X, file = descriptors.clustered(n, d), self._folder / f"{n}-{d}.npy"
        np.save(file, X)
        return Rows(X, X, file, f"{n:,} x {d} float32, Gaussian clusters")

    def _peer(self, name: str) -> Peer:
        peer = Peer(name)
        self._stack.callback(peer.close)
        return peer

    def ours(self, rows: Rows) -> Peer:
        """fastvbow in a process of its own, with `rows`."""
        peer = self._stack.enter_context(contextlib.closing(Peer("fastvbow")))
        peer.load(rows.file, len(rows.X))
        return peer

    def peers(self, rows: Rows) -> dict[str, Peer]:
        """The peers that are installed, with `rows` in their memory."""
        found = {name: self.peer(name) for name in PEERS if Peer.installed(name)}
        for peer in found.values():
            peer.load(rows.file, len(rows.X))
        return found

    def centers(self, rows: Rows, K: int) -> np.ndarray:
        """Centres after a few passes: the same for all who assign."""
        sample = rows.X[: max(100_000, 50 * K)]
        return KMeans(K, init="random", n_init=1, max_iter=5, tol=0, random_state=0).fit(sample).cluster_centers_


def inertia(X: np.ndarray, centers: np.ndarray, labels: np.ndarray | None = None) -> float:
    """Mean squared distance in float64, to the centres of `labels`, to the nearest ones where there are none."""
    if labels is None:
        labels = nearest_centers(X, centers)[0]
    total, wide = 0.0, centers.astype(np.float64)
    for start in range(0, len(X), 1 << 15):
        block = X[start : start + (1 << 15)] - wide[labels[start : start + (1 << 15)]]
        total += np.einsum("ij,ij->", block, block)
    return float(total / len(X))


def model(centers: np.ndarray, **options: Any) -> KMeans:
    """An estimator with these centres."""
    found = KMeans(len(centers), init=centers, max_iter=1, **options).fit(centers)
    found.cluster_centers_ = centers
    return found


def assignment(bench: Bench, K: int) -> Measured:
    """Labels of all rows: float32, exact and fast bytes, the peers, and what the CPU could do."""
    rows = bench.sift()
    C = bench.centers(rows, K)
    exact, fast = model(C), model(C, precision="fast")
    ours: dict[str, Callable[[int], Any]] = {
        "fastvbow": lambda i: exact.predict(rows.Xf),
        "fastvbow exact": lambda i: exact.predict(rows.X),
        "fastvbow fast": lambda i: fast.predict(rows.X),
    }
    runs = {name: clocked(run) for name, run in ours.items()}
    peers = bench.peers(rows)
    runs |= {name: lambda i, peer=peer: peer.assign(C) for name, peer in peers.items()}
    runs |= {f"peak {kind}": lambda i, kind=kind: _peak.peak(kind) for kind in _peak.KINDS}
    for run in ours.values():
        run(0)  # compiles
    seconds, found = alternated(runs, bench.rounds)

    m = Measured(rows.kind, seconds)
    labels = {name: found[name][0] for name in (*ours, *peers)}
    assert np.array_equal(labels["fastvbow exact"], labels["fastvbow"]), "exact labels are not those of float32"
    best = inertia(rows.X, C, labels["fastvbow"])
    ppm = {name: (inertia(rows.X, C, found_labels) / best - 1) * 1e6 for name, found_labels in labels.items()}
    same = {name: float(np.mean(found_labels == labels["fastvbow"])) for name, found_labels in labels.items()}
    m.quality = {name: f"{100 * same[name]:.2f} % same labels, inertia {ppm[name]:+.1f} ppm" for name in labels}

    work = 2e-9 * len(rows.X) * K * rows.X.shape[1]
    rate = {name: work / m.median(name) for name in labels}
    top = {kind: float(np.median(found[f"peak {kind}"])) for kind in _peak.KINDS}
    what = f"assignment, float32, K = {K}"
    for name in peers:
        m.compare(what, "fastvbow", name, name, ASSIGNMENT[name], m.quality[name])
    share, least = rate["fastvbow"] / top["float32"], SHARE_OF_PEAK[K]
    beside, quality = f"the CPU's peak, {top['float32']:.0f} GFLOP/s", f"{rate['fastvbow']:.0f} GFLOP/s"
    m.checks.append(Check(what, m.median("fastvbow"), beside, share, quality, f">= {least:g}", share >= least))

    what, good = f"uint8, fast, K = {K}", True
    if K in FAST_PPM:
        good = same["fastvbow fast"] >= FAST_SAME_LABELS and ppm["fastvbow fast"] <= FAST_PPM[K]
    for name in peers:
        least = FAST if name == "scikit-learn" else None
        m.compare(what, "fastvbow fast", name, name, least, m.quality["fastvbow fast"], good)
        if least and K in FAST_PPM:
            m.checks[-1].target += f", >= {100 * FAST_SAME_LABELS:g} % same, <= {FAST_PPM[K]} ppm"
    if "uint8" in top:
        beside, quality = f"the CPU's peak, {top['uint8']:.0f} GOP/s", f"{rate['fastvbow fast']:.0f} GOP/s"
        m.checks.append(Check(what, m.median("fastvbow fast"), beside, rate["fastvbow fast"] / top["uint8"], quality))
    what = f"uint8, exact, K = {K}"
    m.compare(what, "fastvbow exact", "fastvbow", "fastvbow, float32", EXACT_TO_FLOAT, "labels identical")
    for name in peers:
        m.compare(what, "fastvbow exact", name, name, None, m.quality[name])
    return m


def training(bench: Bench, what: str, rows: Rows, K: int, targets: dict[str, float] | None = None) -> Measured:
    """Fit with the defaults, and the peers at several settings, from the same seeds.

    With `targets` we must be so much faster than a peer's fastest setting, at no more inertia than that of its best;
    without, no setting may be both faster and better.
    """

    def fitted(X: np.ndarray) -> Run:
        return clocked(lambda seed: MiniBatchKMeans(K, random_state=seed).fit(X).cluster_centers_)

    runs = {"fastvbow": fitted(rows.X)}
    if rows.X.dtype == np.uint8:
        runs["fastvbow float32"] = fitted(rows.Xf)
    peers = bench.peers(rows)
    if "scikit-learn" in peers:
        train = peers["scikit-learn"].train
        runs |= {f"scikit-learn b={b}": lambda i, b=b: train(K, i, batch_size=b) for b in BATCHES}
    if "faiss" in peers:
        for passes in PASSES[: 1 if targets else 2]:
            runs[f"faiss {passes} passes"] = lambda i, p=passes: peers["faiss"].train(K, i, niter=p)
    for X in (rows.X, rows.Xf):
        MiniBatchKMeans(K, random_state=0).fit(X[: 4 * K])  # compiles
    seconds, found = alternated(runs, bench.seeds)

    m = Measured(rows.kind, seconds)
    value = {name: float(np.median([inertia(rows.X, C) for C in found[name]])) for name in runs}
    m.quality = {name: f"inertia a row {v:,.6g}" for name, v in value.items()}
    for peer in peers:
        settings = [name for name in runs if name.startswith(peer)]
        fastest, lowest = min(settings, key=m.median), min(settings, key=value.__getitem__)
        good, digits = value["fastvbow"] <= value[lowest], ",.0f" if value[lowest] >= 1e4 else "#.5g"
        quality = f"inertia a row {value['fastvbow']:{digits}} / {value[lowest]:{digits}}"
        if len(settings) > 1:
            quality += f" ({lowest.removeprefix(peer).strip()})"
        m.compare(what, "fastvbow", fastest, fastest, targets[peer] if targets else 1, quality, good)
        check = m.checks[-1]
        check.target = f">= {targets[peer]:g}, inertia <=" if targets else "not slower and worse"
        if not targets and not check.met:
            behind = any(m.median(s) <= check.seconds and value[s] <= value["fastvbow"] for s in settings)
            check.met = False if behind else None
    return m


def threads(bench: Bench, K: int) -> Measured:
    """Two threads beside one, and beside what the machine gives two processes that share nothing."""
    rows = bench.sift()
    C = bench.centers(rows, K)
    runs: dict[str, Run] = {}
    processes = [bench.ours(rows) for _ in range(2)]
    ways = {"float32": ("exact", "float32"), "exact": ("exact", "uint8"), "fast": ("fast", "uint8")}
    for name, way in ways.items():
        options = dict(zip(("precision", "dtype"), way, strict=True))

        def both(i: int, options: dict[str, str] = options) -> tuple[float, Any]:
            with ThreadPoolExecutor(2) as executor:
                found = list(executor.map(lambda process: process.assign(C, **options), processes))
            return max(seconds for seconds, _ in found), found[0][1]

        runs[f"{name}, processes"] = both
        runs[f"{name}, process"] = lambda i, options=options: processes[0].assign(C, **options)
    for jobs in (1, 2):
        exact, fast = model(C, n_jobs=jobs), model(C, n_jobs=jobs, precision="fast")
        book = MiniBatchKMeans(K, random_state=0, n_jobs=jobs)
        todo: dict[str, Callable[[], Any]] = {
            "float32": partial(exact.predict, rows.Xf),
            "exact": partial(exact.predict, rows.X),
            "fast": partial(fast.predict, rows.X),
            "training": lambda book=book: book.fit(rows.X).cluster_centers_,
        }
        for name, run in todo.items():
            run()

            def limited(i: int, run: Callable[[], Any] = run, jobs: int = jobs) -> Any:
                with threadpool_limits(jobs):
                    return run()

            runs[f"{name}, {jobs}"] = clocked(limited)
    seconds, found = alternated(runs, bench.rounds)
    m = Measured(rows.kind, seconds)
    for name in todo:
        assert np.array_equal(found[f"{name}, 1"][0], found[f"{name}, 2"][0]), f"{name}: threads change the result"
        if name == "training":
            m.compare(f"training, K = {K}, two threads", f"{name}, 2", f"{name}, 1", "one thread", None, "same bytes")
            continue
        limit = 2 * m.median(f"{name}, process") / m.median(f"{name}, processes")
        what, quality = f"assignment, {name}, K = {K}, two threads", f"same bytes; two processes: {limit:.2f}"
        m.compare(what, f"{name}, 2", f"{name}, 1", "one thread", min(THREADS, 0.97 * limit), quality)
        m.checks[-1].target = f">= {THREADS:g}, or .97 of two processes"
    return m


def groups(bench: Bench) -> dict[str, Callable[[], Measured]]:
    """All groups by name; the first word is the section."""
    small, wide = (2_000, 2_000) if bench.quick else (10_000, 50_000)
    clusters = (300,) if bench.quick else (300, 1000, 4096)

    def shape(what: str, rows: Callable[[], Rows], K: int, targets: dict[str, float] | None = None) -> Any:
        return lambda: training(bench, what, rows(), K, targets)

    found: dict[str, Callable[[], Measured]] = {f"assignment {K}": partial(assignment, bench, K) for K in clusters}
    for K in clusters[:2]:
        goal = {peer: TRAINING[peer][K] for peer in PEERS}
        found[f"training {K}"] = shape(f"training, n = {bench.n:,}, K = {K}", bench.sift, K, goal)
    for K in (300, 8):
        rows = partial(bench.sift, small)
        found[f"shapes {small} {K}"] = shape(f"training, n = {small:,}, K = {K}", rows, K)
    found[f"shapes {bench.n} 8"] = shape(f"training, n = {bench.n:,}, K = 8", bench.sift, 8)
    for n, d in ((4 * wide, 64), (wide, 1280)):
        rows = partial(bench.floats, n, d)
        found[f"shapes d={d}"] = shape(f"training, n = {n:,}, d = {d}, float32, K = 300", rows, 300)
    found["threads"] = partial(threads, bench, clusters[:2][-1])
    return found


def measure(bench: Bench, name: str) -> Measured:
    """Measure one group, on one core unless it is about threads."""
    with contextlib.nullcontext() if name == "threads" else one_core():
        return groups(bench)[name]()


def main() -> None:
    """Print the tables of all groups, or of the sections asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: to try the benchmark, not to measure")
    parser.add_argument("--only", default="", help="sections, with commas: assignment,training,shapes,threads")
    parser.add_argument("--json", type=Path, help="write all rounds to this file")
    args = parser.parse_args()
    bench, results, only = Bench(args.quick), {}, args.only.split(",") if args.only else None
    for name in groups(bench):
        if only and name.split()[0] not in only:
            continue
        results[name] = measure(bench, name)
        print(f"\n{name}: {results[name].kind}\n", *table(results[name].checks), sep="\n", flush=True)
    missing = [name for name in PEERS if not Peer.installed(name)]
    about = [bench.peer(name).about for name in PEERS if name not in missing]
    bench.close()
    met = [c.met for m in results.values() for c in m.checks if c.met is not None]
    print(
        f"\n{sum(met)} of {len(met)} targets met", *about, *(f"{name} is not installed" for name in missing), sep="\n"
    )
    if args.json:
        run = {"machine": platform.platform(), "peers": about, "groups": {k: asdict(m) for k, m in results.items()}}
        args.json.write_text(json.dumps(run, indent=1))


@pytest.fixture(scope="module")
def measured(request):
    bench = Bench(quick=not request.config.getoption("benchmark_enable"))
    yield cache(partial(measure, bench))
    bench.close()


def pytest_generate_tests(metafunc):
    names = {
        "assignment": ("fastvbow", "fastvbow exact", "fastvbow fast", *PEERS),
        "training": ("fastvbow", "fastvbow float32", *(f"scikit-learn b={b}" for b in BATCHES)),
        "threads": tuple(f"{what}, {jobs}" for what in ("float32", "exact", "fast", "training") for jobs in (1, 2)),
    }
    names["training"] += tuple(f"faiss {passes} passes" for passes in PASSES)
    names["shapes"] = names["training"]
    bench = Bench(quick=not metafunc.config.getoption("benchmark_enable"))
    cases = [(group, name) for group in groups(bench) for name in names[group.split()[0]]]
    bench.close()
    metafunc.parametrize(("group", "name"), cases, ids=[f"{group}-{name}" for group, name in cases])


@pytest.mark.timeout(7200)
def test_kmeans(benchmark, measured, group, name):
    m = measured(group)
    if name not in m.seconds:
        pytest.skip(f"{name} is not in this comparison, or not installed")
    benchmark.group = group
    benchmark.extra_info.update(data=m.kind, quality=m.quality.get(name, ""))
    if name.startswith("fastvbow"):
        benchmark.extra_info["checks"] = [asdict(c) for c in m.checks if c.seconds == m.median(name)]
    benchmark.pedantic(lambda: None, rounds=1)
    if benchmark.stats is not None:  # none with --benchmark-disable
        benchmark.stats.stats.data[:] = m.seconds[name]


if __name__ == "__main__":
    main()
