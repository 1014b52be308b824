"""What adding photographs to a finished project costs, and what learning from them brings.

    python benchmarks/bench_add.py time SCRATCH --images 1000,50000 --new 100 --features sift
    python benchmarks/bench_add.py update SCRATCH DATA/sun8 --topics 8 --seeds 0,1,2

`time`: projects of crops of real photographs (as in rehearse_extract.py, 96 pixels), to which further ones are added,
each time by a process of its own, without a report: seconds by the clock and of CPUs, peak memory, files written.

`update`: a project of half of the labels; then three quarters of the photographs of the others are added, with the
topics frozen and with `--update`, and a quarter is held out. Perplexity by document completion of those held out, and
of the first half; accuracy of the groups of all, and of the added ones by themselves; beside a `run` anew on all.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from rehearse_extract import make_photographs, run

from fastvbow import pipeline
from fastvbow.config import TopicsConfig
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.topic_modelling import token_streams
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA

COMMAND = [sys.executable, "-m", "fastvbow"]


def measure_time(scratch: Path, sizes: list[int], n_new: int, features: str, repeats: int) -> None:
    """Add photographs to projects of several sizes."""
    scratch.mkdir(parents=True, exist_ok=True)
    more = scratch / "more"
    make_photographs(more, 1000 * repeats, 96)
    print(
        f"| project | added ({features}) | seconds | CPU seconds | peak MB | files written |\n|---|---|---|---|---|---|"
    )
    for size in sizes:
        source, project = scratch / f"crops-{size}", scratch / f"project-{size}-{features.replace(',', '-')}"
        make_photographs(source, size, 96)
        if not (project / "stages" / "groups.json").exists():
            words = ["--words", "100", "--topics", "20", "--sweeps", "10", "--features", features, "-q"]
            run([*COMMAND, "run", str(source), "-o", str(project), *words])
        copy = scratch / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(project, copy)
        for number in range(repeats):
            new = scratch / f"new-{number}.txt"
            paths = sorted((more / f"{number:04d}").iterdir())[:n_new]
            new.write_text("\n".join(map(str, paths)))
            before = {path: path.stat().st_ino for path in copy.rglob("*") if path.is_file()}
            done = run([*COMMAND, "add", str(copy), str(new), "--no-report", "-q"])
            written = sum(before.get(path) != path.stat().st_ino for path in copy.rglob("*") if path.is_file())
            shown = f"{done.seconds:.1f} | {done.cpu:.1f} | {max(done.memory):.0f} | {written} of {len(before)}"
            print(f"| {size + number * n_new:,} | {len(paths)} | {shown} |" + " FAILED" * bool(done.code), flush=True)


def perplexity(project: Path, model: GibbsLDA) -> float:
    """Of the photographs of a project with the words of the model."""
    folder = ProjectFolder.open(project)
    return model.perplexity(token_streams(folder, open_tokens(folder), model.n_features_in_))


def measure_update(scratch: Path, source: Path, n_topics: int, seeds: list[int]) -> None:
    """Let topics learn from photographs of labels that they have not seen."""
    shutil.rmtree(scratch, ignore_errors=True)
    labels = sorted(path.name for path in source.iterdir() if path.is_dir())
    rows: dict[str, list[list[float]]] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = [labels[i] for i in rng.permutation(len(labels))]
        place = scratch / str(seed)
        for at, label in enumerate(order):
            for number, path in enumerate(sorted((source / label).iterdir())):
                part = "first" if at < len(labels) // 2 else "held-out" if number % 4 == 0 else "added"
                (place / part / label).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place / part / label)
        topics = TopicsConfig(topics=n_topics, seed=seed)
        pipeline.run(place / "first", place / "frozen", topics_config=topics, labels="parent")
        n_first = pq.read_metadata(place / "frozen" / "groups.parquet").num_rows
        pipeline.run(place / "held-out", place / "other", origin=place / "frozen")
        pipeline.run(place / "first", place / "again", origin=place / "frozen")
        shutil.copytree(place / "frozen", place / "updated")
        pipeline.add(place / "frozen", place / "added", report=False)
        pipeline.add(place / "updated", place / "added", report=False, update=True)
        shutil.copytree(place / "frozen", place / "anew")
        pipeline.run(place / "first", place / "anew", topics_config=topics, labels="parent")
        for name in ("frozen", "updated", "anew"):
            groups = pq.read_table(place / name / "groups.parquet")
            known, found = groups["label"].to_pylist(), groups["topic"].to_numpy()
            scores = [clustering_scores(known[part], found[part]) for part in (slice(None), slice(n_first, None))]
            row = [scores[0]["acc"], scores[0]["nmi"], scores[1]["acc"]]
            if name != "anew":  # which has words of its own
                model = GibbsLDA.load(place / name / "topics" / "model")
                row += [perplexity(place / "other", model), perplexity(place / "again", model)]
            rows.setdefault(name, []).append(row)
            print(seed, name, " ".join(f"{value:.3f}" for value in row), flush=True)
    print("| topics | ACC of all | NMI of all | ACC of the added | perplexity, new labels held out | first labels |")
    print("|---|---|---|---|---|---|")
    for name, values in rows.items():
        shown = [f"{mean:.3f} ± {std:.3f}" for mean, std in zip(np.mean(values, 0), np.std(values, 0), strict=True)]
        print(f"| {name} | {' | '.join([*shown, '', ''][:5])} |")


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    time = kinds.add_parser("time")
    time.add_argument("scratch", type=Path)
    time.add_argument("--images", default="1000,50000")
    time.add_argument("--new", type=int, default=100)
    time.add_argument("--features", default="sift")
    time.add_argument("--repeats", type=int, default=3)
    update = kinds.add_parser("update")
    update.add_argument("scratch", type=Path)
    update.add_argument("source", type=Path)
    update.add_argument("--topics", type=int, default=8)
    update.add_argument("--seeds", default="0,1,2")
    given = parser.parse_args()
    if given.kind == "time":
        sizes = [int(size) for size in given.images.split(",")]
        measure_time(given.scratch, sizes, given.new, given.features, given.repeats)
    else:
        seeds = [int(seed) for seed in given.seeds.split(",")]
        measure_update(given.scratch, given.source, given.topics, seeds)


if __name__ == "__main__":
    main()
