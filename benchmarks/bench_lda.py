"""GibbsLDA beside tomotopy, lda, gensim and scikit-learn: speed, time to a perplexity, luck of the seed, memory.

    python benchmarks/bench_lda.py [--quick] [--only speed,time,others,luck,threads,transform,memory] [--plot out.svg]
    pytest benchmarks/bench_lda.py --benchmark-enable

All from random starts, with the same fixed priors. Held-out perplexity is that of document completion, by one function
for all models (`Corpus.perplexity`). Both sides of a comparison take turns and medians count. One thread each, bound to
one CPU, but for the section on threads. Times are CPU seconds of training; reading the documents is not in them.
Peers that are not installed are left out. ``--quick`` is for trying the benchmark.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _curves import draw, time_to
from _harness import Check, Run, alternated, clocked, one_core, table, time_text
from _topic_peers import OTHERS, Tomotopy, installed
from topic_corpora import Corpus, planted, visual_words

from fastvbow import GibbsLDA
from fastvbow.topics.chain import Chain
from fastvbow.topics.fitting import SPARSE_FROM, SPLIT_MERGE_ROUNDS, algorithm_for
from fastvbow.topics.inference import infer_theta
from fastvbow.topics.split_merge import rounds_before
from fastvbow.topics.training import Plan, Training

SWEEPS = 200  # of tomotopy, whose last perplexity is to be reached
LOOKS = (10, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200)
NEAR = 1.01  # of the truth's perplexity
THREADS = 1.85  # of two beside one


def cpu() -> float:
    """CPU seconds of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def chain_of(corpus: Corpus, seed: int, algorithm: str = "auto", **options: Any) -> Chain:
    algorithm = algorithm_for(algorithm, [corpus.train], corpus.n_topics)
    alpha, ones = np.full(corpus.n_topics, corpus.alpha), np.ones(corpus.train.n_words)
    return Chain.start([corpus.train], alpha, corpus.eta, ones, seed, None, 0.9, algorithm=algorithm, **options)


def normalised(components: np.ndarray) -> np.ndarray:
    return components / components.sum(axis=1, keepdims=True)


def corpora(quick: bool, many: int) -> list[tuple[Callable[[], Corpus | None], float, float | None]]:
    """Corpora, the large ones `many` times as long, with the least ratios of a sweep by default and of an exact one."""
    n = 300 if quick else 3000
    return [
        (lambda: planted(20, 300, n), 4.0, 1.7),
        (visual_words, 3.5, 1.7),
        (lambda: planted(100, 300, n), 3.5, None),
        (lambda: planted(1000, 300, n), 4.0, None),
        (lambda: planted(100, 10_000, many * n), 2.5, None),
        (lambda: planted(1000, 10_000, many * n), 2.5, None),
    ]


def speed(quick: bool) -> list[Check]:
    """Tokens a second, from the second sweep on."""
    checks = []
    for make, least, least_exact in corpora(quick, 3):
        corpus = make()
        if corpus is None or not installed("tomotopy"):
            continue
        peer, seconds = Tomotopy(corpus, 0), {}
        names = ("lockstep", "exact", "sparse") if corpus.n_topics >= SPARSE_FROM else ("lockstep", "exact")
        chains = {name: chain_of(corpus, 0, name) for name in names}
        runs = {name: lambda i, chain=chain: chain.sweep(i) for name, chain in chains.items()}
        runs["tomotopy"] = lambda i, peer=peer: peer.sweep()
        for i in range(1, 4 if quick else 12):
            for name, run in runs.items():
                start = time.perf_counter()
                run(i)
                if i > 1:
                    seconds.setdefault(name, []).append(time.perf_counter() - start)
        medians = {name: float(np.median(spent)) for name, spent in seconds.items()}
        rate = {name: corpus.train.n_tokens / spent / 1e6 for name, spent in medians.items()}
        chosen = algorithm_for("auto", [corpus.train], corpus.n_topics)
        for name in names:
            goal = least if name == chosen else least_exact if name == "exact" else None
            ratio = medians["tomotopy"] / medians[name]
            beside = f"tomotopy {rate['tomotopy']:.3g} M tokens/s"
            target = f">= {goal:g}" if goal else ""
            met = ratio >= goal if goal else None
            what = f"a sweep, {name}{' (the default)' * (name == chosen)}, {corpus.name}"
            checks.append(Check(what, medians[name], beside, ratio, f"{rate[name]:.3g} M tokens/s", target, met))
    return checks


def curve(corpus: Corpus, seed: int) -> list[tuple[float, float]]:
    """CPU seconds and perplexity of the counts as they are, at `LOOKS`; split-merge moves are part of the time."""
    chain = chain_of(corpus, seed)
    training = Training(chain, Plan(SWEEPS, SWEEPS // 2, SWEEPS, rounds_before(SWEEPS // 2, SPLIT_MERGE_ROUNDS)))
    found, spent = [], 0.0
    for sweep in LOOKS:
        start = cpu()
        training.run(sweep)
        spent += cpu() - start
        found.append((spent, corpus.perplexity(normalised(chain.word_topics().T + corpus.eta))))
    return found


def tomotopy_curve(corpus: Corpus, seed: int) -> list[tuple[float, float]]:
    peer, found, spent, done = Tomotopy(corpus, seed), [], 0.0, 0
    for sweep in LOOKS:
        start = cpu()
        peer.sweep(sweep - done)
        spent, done = spent + cpu() - start, sweep
        found.append((spent, corpus.perplexity(peer.topic_word())))
    return found


def time_to_perplexity(quick: bool, plot: Path | None) -> list[Check]:
    """CPU time to within .5 % of tomotopy's median perplexity after its last sweep; medians of the seeds."""
    checks, curves = [], {}
    for make, _, _ in corpora(quick, 1)[: 2 if quick else None]:
        corpus = make()
        if corpus is None or not installed("tomotopy"):
            continue
        n_seeds = 2 if quick else {20: 5, 100: 3, 1000: 1}[corpus.n_topics]
        ours, theirs = [], []
        for seed in range(n_seeds):
            ours.append(curve(corpus, seed))
            theirs.append(tomotopy_curve(corpus, seed))
        curves[corpus.name] = ours, theirs
        final, ours_final = (float(np.median([c[-1][1] for c in some])) for some in (theirs, ours))
        mine, peer = (float(np.median([time_to(c, 1.005 * final) for c in some])) for some in (ours, theirs))
        true = f" (truth {corpus.perplexity(corpus.truth + 1e-12):.5g})" if corpus.truth is not None else ""
        quality = f"perplexity at the end {ours_final:.5g} / {final:.5g}{true}"
        what, beside = (
            f"to tomotopy's perplexity, {corpus.name}, {n_seeds} seed{'s' * (n_seeds > 1)}",
            f"tomotopy {time_text(peer)}",
        )
        checks.append(Check(what, mine, beside, peer / mine, quality, ">= 3", peer / mine >= 3))
    if plot:
        draw(curves, plot)
    return checks


def others(quick: bool) -> list[Check]:
    """scikit-learn, lda and gensim at K = 20: our CPU time to the perplexity that they end with, beside theirs."""
    logging.disable(logging.WARNING)
    corpus = planted(20, 300, 300 if quick else 3000)
    goals = {"sklearn": 50.0, "lda": 10.0}
    checks, curves = [], [curve(corpus, seed) for seed in range(2 if quick else 5)]
    for name, prepare in OTHERS.items():
        if not installed(name):
            continue
        goal, fit, found = goals.get(name), prepare(corpus), []
        for seed in range(2 if quick else 3):
            start = cpu()
            components = fit(seed)
            found.append((cpu() - start, corpus.perplexity(normalised(components))))
        spent, value = (float(x) for x in np.median(found, axis=0))
        mine = float(np.median([time_to(c, value) for c in curves]))
        what, target = f"to the perplexity of {name}, {corpus.name}", f">= {goal:g}" if goal else ""
        met = spent / mine >= goal if goal else None
        checks.append(Check(what, mine, f"{name} {time_text(spent)}", spent / mine, f"{value:.5g}", target, met))
    return checks


def luck(quick: bool) -> list[Check]:
    """How many seeds, of corpus and chain, end within 1 % of the truth's perplexity, and in what time."""
    n_seeds, found = 3 if quick else 10, {}
    for seed in range(n_seeds):
        corpus = planted(20, 300, 300 if quick else 3000, seed=seed)
        limit = NEAR * corpus.perplexity(corpus.truth + 1e-12)
        priors = {"doc_topic_prior": corpus.alpha, "topic_word_prior": corpus.eta, "random_state": seed}

        def fitted(priors: dict[str, Any] = priors, corpus: Corpus = corpus, **options: Any) -> np.ndarray:
            return GibbsLDA(corpus.n_topics, **priors, **options).fit(corpus.train).topic_word_

        runs: dict[str, Callable[[], np.ndarray]] = {
            "GibbsLDA": fitted,
            "GibbsLDA without split-merge": lambda fitted=fitted: fitted(split_merge=0),
        }
        if installed("tomotopy"):
            peer = Tomotopy(corpus, seed)
            runs["tomotopy"] = lambda peer=peer: (peer.sweep(SWEEPS), peer.topic_word())[1]
        for name, run in runs.items():
            start = cpu()
            topic_word = run()
            spent = cpu() - start
            found.setdefault(name, []).append((spent, corpus.perplexity(topic_word) / limit * NEAR))
    checks, base = [], np.median([spent for spent, _ in found["GibbsLDA"]])
    for name, results in found.items():
        spent, excess = np.median([s for s, _ in results]), np.array([e for _, e in results])
        near = int(np.sum(excess <= NEAR))
        quality = f"{near} of {n_seeds} within 1 % of the truth; median {np.median(excess) - 1:+.2%}, worst " + (
            f"{excess.max() - 1:+.2%}"
        )
        ours = name == "GibbsLDA"
        target, met = (">= 9 of 10", near >= 0.9 * n_seeds) if ours else ("", None)
        beside = f"{name} {time_text(float(spent))}"
        checks.append(Check("200 sweeps, K = 20", float(base), beside, float(spent / base), quality, target, met))
    return checks


def sweeper(place: Connection, n_docs: int) -> None:
    """A process of its own: sweeps `n_docs` documents whenever it is told to, and says how long that took."""
    chain = chain_of(planted(20, 300, n_docs), 0)
    for i in iter(place.recv, None):
        start = time.perf_counter()
        chain.sweep(i)
        place.send(time.perf_counter() - start)


def threads(quick: bool) -> list[Check]:
    """Two threads, two walks, beside one thread and two processes; and what two walks cost in quality."""
    n_docs = 1000 if quick else 20_000
    corpus = planted(20, 300, n_docs)
    chains = {n: chain_of(corpus, 0, n_walks=2, n_threads=n) for n in (1, 2)}
    context, places = multiprocessing.get_context("spawn"), []
    for _ in range(2):
        here, there = context.Pipe()
        context.Process(target=sweeper, args=(there, n_docs // 2), daemon=True).start()
        places.append(here)

    def processes(i: int, some: list[Connection]) -> tuple[float, None]:
        for place in some:
            place.send(i)
        return max(place.recv() for place in some), None

    runs: dict[str, Run] = {f"{n}": clocked(lambda i, n=n: chains[n].sweep(i + 1)) for n in (1, 2)}
    runs |= {"process": lambda i: processes(i + 1, places[:1]), "processes": lambda i: processes(i + 1, places)}
    seconds, _ = alternated(runs, 6 if quick else 100)
    for place in places:
        place.send(None)
    if not np.array_equal(chains[1].z[0], chains[2].z[0]):
        raise SystemExit("threads change the result")
    one, two, alone, both = (float(np.median(seconds[name])) for name in ("1", "2", "process", "processes"))
    limit = 2 * alone / both
    small = planted(20, 300, 300 if quick else 3000)
    ends = {
        walks: [
            small.perplexity(
                GibbsLDA(20, doc_topic_prior=small.alpha, n_walks=walks, random_state=s).fit(small.train).topic_word_
            )
            for s in range(2 if quick else 5)
        ]
        for walks in (1, 2)
    }
    quality = (
        f"the same bytes; two processes: {limit:.2f}; perplexity with 2 walks {np.median(ends[2]):.5g}, "
        f"1 walk {np.median(ends[1]):.5g}"
    )
    target, met = f">= {THREADS:g}, or .97 of two processes", one / two >= min(THREADS, 0.97 * limit)
    return [Check("a sweep, two threads", two, f"one thread {time_text(one)}", one / two, quality, target, met)]


def transform(quick: bool) -> list[Check]:
    """Topics of new documents under tomotopy's own topics: time a document, and what they foretell."""
    if not installed("tomotopy"):
        return []
    corpus = planted(20, 300, 300 if quick else 3000)
    peer = Tomotopy(corpus, 0)
    peer.sweep(20 if quick else 100)
    phi = np.ascontiguousarray(peer.topic_word().T)
    observed, words, documents = corpus.held_out.halves()
    texts = [[str(w) for w in observed.words[a:b]] for a, b in pairwise(observed.offsets)]
    alpha, ones = np.full(corpus.n_topics, corpus.alpha), np.ones(corpus.train.n_words)
    runs: dict[str, Run] = {
        "CVB0": clocked(lambda i: infer_theta([observed], phi, alpha, ones, 100, 1)),
        "fold-in Gibbs, 100 sweeps": clocked(lambda i: infer_theta([observed], phi, alpha, ones, 100, 1, i)),
    }

    def infer(i: int) -> tuple[float, Any]:
        docs = [peer.model.make_doc(text) for text in texts]
        start = time.perf_counter()
        found, _ = peer.model.infer(docs, workers=1)
        return time.perf_counter() - start, np.array(found)

    seconds, found = alternated({**runs, "tomotopy": infer}, 3)

    def foretold(theta: np.ndarray) -> float:
        return float(np.exp(-np.mean(np.log(np.einsum("ik,ik->i", theta[documents], phi[words])))))

    each = {name: float(np.median(spent)) / observed.n_docs for name, spent in seconds.items()}
    checks = []
    for name in runs:
        quality = f"perplexity {foretold(found[name][0]):.5g} / {foretold(found['tomotopy'][0]):.5g}"
        what, beside = f"topics of a new document, {name}", f"tomotopy infer {1e3 * each['tomotopy']:.3g} ms"
        ratio, goal = each["tomotopy"] / each[name], ">= 5" if name == "CVB0" else ""
        checks.append(Check(what, each[name], beside, ratio, quality, goal, ratio >= 5 if goal else None))
    return checks


MEMORY = """
import sys, resource, time
import numpy as np
from fastvbow import GibbsLDA
from fastvbow.topics import TokenStream
path, n_docs, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def private():
    return int(next(l for l in open("/proc/self/status") if l.startswith("RssAnon")).split()[1]) * 1024
words = np.load(path, mmap_mode="r")
stream = TokenStream(words, np.arange(n_docs + 1, dtype=np.int64) * length, 300)
GibbsLDA(20, max_iter=2).fit(stream.part(0, 10))
before, seen, start = private(), [], time.perf_counter()
model = GibbsLDA(20, max_iter=3, burn_in=1, random_state=0)
model.fit(stream, callback=lambda *_: seen.append(private()))
print(max(seen) - before, time.perf_counter() - start)
"""


def memory(quick: bool) -> list[Check]:
    """Private memory beside the words, a map on disk, and the time of 3 sweeps of 10^8 tokens."""
    n_docs, length = (2000 if quick else 333_334), 300
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.npy"
        np.save(path, np.random.default_rng(0).integers(0, 300, n_docs * length, dtype=np.uint16))
        command = [sys.executable, "-c", MEMORY, str(path), str(n_docs), str(length)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    a_token, spent = float(out[0]) / (n_docs * length), float(out[1])
    quality = f"{a_token:.2f} bytes a token beside the words on disk"
    what = f"3 sweeps of {n_docs * length:,} tokens"
    return [Check(what, spent, "-", float("nan"), quality, "<= 4 bytes", a_token <= 4)]


SECTIONS: dict[str, Callable[..., list[Check]]] = {
    "speed": speed,
    "time": time_to_perplexity,
    "others": others,
    "luck": luck,
    "threads": threads,
    "transform": transform,
    "memory": memory,
}


def main() -> None:
    """Print the tables of all sections, or of those asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes: to try the benchmark, not to measure")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    parser.add_argument("--plot", type=Path, help="write the curves of section time to this file")
    args = parser.parse_args()
    all_checks = []
    for name in args.only.split(","):
        with nullcontext() if name == "threads" else one_core():
            extra = (args.plot,) if name == "time" else ()
            checks = SECTIONS[name](args.quick, *extra)
        all_checks += checks
        print(f"\n{name}\n", *table(checks), sep="\n", flush=True)
    met = [c.met for c in all_checks if c.met is not None]
    print(f"\n{sum(met)} of {len(met)} targets met")


@pytest.fixture(scope="module")
def corpus(request):
    return planted(20, 300, 3000 if request.config.getoption("benchmark_enable") else 100)


@pytest.mark.benchmark(group="lda-sweep")
@pytest.mark.parametrize("algorithm", ["lockstep", "exact"])
def test_sweep(benchmark, corpus, algorithm):
    chain, numbers = chain_of(corpus, 0, algorithm), iter(range(1, 10**9))
    benchmark.pedantic(lambda: chain.sweep(next(numbers)), rounds=20, warmup_rounds=2)
    benchmark.extra_info["tokens"] = corpus.train.n_tokens


@pytest.mark.benchmark(group="lda-sweep")
def test_sweep_of_tomotopy(benchmark, corpus):
    pytest.importorskip("tomotopy")
    benchmark.pedantic(Tomotopy(corpus, 0).sweep, rounds=20, warmup_rounds=2)


if __name__ == "__main__":
    main()
