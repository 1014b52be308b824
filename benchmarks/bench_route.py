"""The whole route on folders of labelled photographs: accuracy over seeds, and the time of a run from nothing.

    python benchmarks/bench_route.py DATA/sun8:8 DATA/scene15:15 DATA/corel1k/dataset:10 --seeds 0,1,2

Each argument is a folder with one subfolder a class, and the number of topics. The labels are read only after the
groups are made. Beside the route stands what a user would do without it: K-Means (20 starts) on the same pooled CNN
vectors. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans

from fastvbow import pipeline
from fastvbow.config import ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

COLUMNS = ("acc", "nmi", "ari", "purity")


def kmeans_scores(project: Path, n_groups: int, seed: int) -> dict[str, float]:
    """K-Means on the pooled vectors (unit length, PCA-64, unit length) of a finished project."""
    folder = ProjectFolder.open(project)
    book = Vocabulary.load(folder.vocabulary).codebooks["pooled"]
    vectors = np.concatenate([book.project(shard.descriptors("pooled")) for shard in open_shards(folder)])
    table = ImageTable.load(folder.images, folder.image_root)
    labels = read_labels("parent", table.names, table.image_ids)
    return clustering_scores(labels, KMeans(n_groups, n_init=20, random_state=seed).fit(vectors).labels_)


def measure(source: Path, n_topics: int, seeds: list[int], project: Path, model: str) -> str:
    """One row of the table. The first seed runs from nothing and is timed; the others reuse its features."""
    route, peer = [], []
    for seed in seeds:
        result = pipeline.run(
            source,
            project,
            extract_config=ExtractConfig(model=model),
            vocabulary_config=VocabularyConfig(seed=seed),
            topics_config=TopicsConfig(topics=n_topics, seed=seed),
        )
        if seed == seeds[0]:
            seconds = result.seconds
        scores = pipeline.evaluate(project, labels="parent").scores
        route.append([scores[name] for name in COLUMNS])
        peer.append([kmeans_scores(project, n_topics, seed)[name] for name in COLUMNS])
    mean, spread, other = np.mean(route, axis=0), np.std(route, axis=0), np.mean(peer, axis=0)
    cells = [
        f"{source.name} ({result.images})",
        str(n_topics),
        f"{mean[0]:.3f} ± {spread[0]:.3f}",
        *(f"{value:.3f}" for value in mean[1:]),
        f"{other[0]:.3f} / {other[1]:.3f}",
        f"{seconds['total']:.0f} s ({seconds['extract']:.0f} extraction)",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure each corpus and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="FOLDER:TOPICS")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--model", default=ExtractConfig().model, help="the CNN (default: %(default)s)")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    print(
        f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, "
        f"{given.model}, seeds {given.seeds}\n"
    )
    print("| corpus (images) | topics | ACC | NMI | ARI | purity | K-Means on pooled: ACC / NMI | a run from nothing |")
    print("|---|---|---|---|---|---|---|---|")
    for corpus in given.corpora:
        folder, _, topics = corpus.rpartition(":")
        with tempfile.TemporaryDirectory() as scratch:
            print(measure(Path(folder), int(topics), seeds, Path(scratch) / "project", given.model), flush=True)


if __name__ == "__main__":
    main()
