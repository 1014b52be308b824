"""The baselines on folders of labelled photographs: accuracy over seeds, and seconds on one thread.

    python benchmarks/bench_baselines.py DATA/sun8:8 DATA/scene15:15 DATA/corel1k/dataset:10 --scratch FOLDER

Each argument is a folder with one subfolder a class, and the number of groups. The labels are read only after the
groups are made. A project of each corpus is made in the scratch folder with the defaults, or taken from there; small
pictures and learnt vectors are kept beside it, so that an interrupted call goes on where it was. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
from pathlib import Path

import numpy as np

from fastvbow import pipeline
from fastvbow.config import TopicsConfig, VocabularyConfig
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.images.labels import read_labels
from fastvbow.pipeline.baseline_inputs import kept_images
from fastvbow.pipeline.baselines import BASELINES, BaselineRun, run_baseline
from fastvbow.project import ProjectFolder

COLUMNS = ("acc", "nmi", "ari")


def route_scores(source: Path, project: Path, n_groups: int, seed: int, jobs: int) -> tuple[list[float], float]:
    """The route's own scores, and the seconds from features to groups."""
    result = pipeline.run(
        source,
        project,
        vocabulary_config=VocabularyConfig(seed=seed),
        topics_config=TopicsConfig(topics=n_groups, seed=seed),
        jobs=jobs,
    )
    scores = pipeline.evaluate(project, labels="parent")
    seconds = sum(result.seconds.get(stage, 0.0) for stage in ("vocabulary", "encode", "topics", "groups"))
    return [scores[name] for name in COLUMNS], seconds


def baseline_scores(
    project: Path, name: str, n_groups: int, seed: int, cache: Path, jobs: int
) -> tuple[list[float], BaselineRun]:
    """The scores of a baseline, and what it tells of itself."""
    found = run_baseline(project, name, n_groups, seed=seed, cache=cache, jobs=jobs)
    kept = kept_images(ProjectFolder.open(project))
    labels = read_labels("parent", [kept.table.names[i] for i in kept.rows], found.image_ids)
    scores = clustering_scores(labels, found.groups)
    return [scores[name] for name in COLUMNS], found


def told(run: BaselineRun) -> str:
    """What a baseline says of its vectors."""
    if run.explained_variance is not None:
        return f"{run.explained_variance.sum():.0%} of the variance in {len(run.explained_variance)} components"
    if run.train_loss is None or run.held_out_loss is None:
        return ""
    error, of_mean = run.quality["reconstruction_error"], run.quality["mean_image_error"]
    return (
        f"loss {run.train_loss[0]:,.0f} to {run.train_loss[-1]:,.0f}, held out {run.held_out_loss[0]:,.0f} to "
        f"{run.held_out_loss[-1]:,.0f}; squared error {error:.4f}, of the mean image {of_mean:.4f}; "
        f"{run.quality['active_dimensions']:.0f} active dimensions"
    )


def line(corpus: str, method: str, scores: list[list[float]], seconds: list[float], words: str = "") -> str:
    """A row of the table."""
    mean, spread = np.mean(scores, axis=0), np.std(scores, axis=0)
    cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(mean, spread, strict=True)]
    return f"| {' | '.join([corpus, method, *cells, f'{np.median(seconds):.1f} s', words])} |"


def main() -> None:
    """Measure each corpus and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="FOLDER:GROUPS")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default=",".join(BASELINES), help="baselines (default: all)")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, seeds {seeds}\n")
    print("| corpus | method | ACC | NMI | ARI | seconds, one thread | what it says of its vectors |")
    print("|---|---|---|---|---|---|---|")
    for corpus in given.corpora:
        folder, _, groups = corpus.rpartition(":")
        source, n_groups = Path(folder), int(groups)
        name = source.name if source.name != "dataset" else source.parent.name
        project = given.scratch / name
        route = [route_scores(source, project, n_groups, seed, given.jobs) for seed in seeds]
        print(line(name, "the route", [r[0] for r in route], [r[1] for r in route]), flush=True)
        for method in given.only.split(","):
            runs = [baseline_scores(project, method, n_groups, s, given.scratch / "cache", given.jobs) for s in seeds]
            seconds = [run.seconds for _, run in runs]
            print(line(name, method, [scores for scores, _ in runs], seconds, told(runs[0][1])), flush=True)


if __name__ == "__main__":
    main()
