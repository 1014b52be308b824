"""Which photographs to label: accuracy of the labels of all, after so many have been labelled, by strategy.

    python benchmarks/bench_select.py DATA/sun8:8 DATA/scene15:15 DATA/corel1k/dataset:10 --seeds 0,1,2,3,4

Each argument is a folder with one subfolder a class, and the number of topics. The annotator is simulated: the folder's
name is the label of a photograph that was selected. From these all photographs are labelled, in three ways:

- nearest: as the labelled photograph with the greatest cosine, in the components of the pooled vectors;
- logistic: by logistic regression on these (C = 10);
- majority: as most labelled photographs of the same topic; a topic without one gets the most frequent label.

The accuracy is that of all photographs, those that were labelled among them. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from _labelled_projects import Labelled, Topics, corpus_name, labelled_project
from sklearn.linear_model import LogisticRegression

from fastvbow import pipeline
from fastvbow.groups.selecting import STRATEGIES

BUDGETS = (1, 2, 3, 5, 10)  # labels, times the number of classes
WAYS = [("random", "")] + [(by, "") for by in STRATEGIES]
ON_THETA = [(by, "theta") for by in ("balanced", "diverse", "farthest")]


def nearest(corpus: Labelled, rows: np.ndarray) -> np.ndarray:
    return corpus.classes[rows][(corpus.vectors @ corpus.vectors[rows].T).argmax(axis=1)]


def logistic(corpus: Labelled, rows: np.ndarray) -> np.ndarray:
    given = corpus.classes[rows]
    if len(np.unique(given)) == 1:
        return np.full(len(corpus.classes), given[0])
    return LogisticRegression(C=10, max_iter=500).fit(corpus.vectors[rows], given).predict(corpus.vectors)


def majority(corpus: Labelled, rows: np.ndarray) -> np.ndarray:
    counts = np.zeros((corpus.theta.shape[1], corpus.n_classes))
    topic = corpus.theta.argmax(axis=1)
    np.add.at(counts, (topic[rows], corpus.classes[rows]), 1)
    by_topic = counts.argmax(axis=1)
    by_topic[counts.sum(axis=1) == 0] = counts.sum(axis=0).argmax()
    return by_topic[topic]


PROPAGATIONS: dict[str, Callable[[Labelled, np.ndarray], np.ndarray]] = {
    "nearest": nearest,
    "logistic": logistic,
    "majority": majority,
}


def selected(corpus: Labelled, by: str, on: str, n: int, seed: int) -> np.ndarray:
    """Rows in the order in which they are to be labelled."""
    if by == "random":
        return np.random.default_rng(seed).permutation(len(corpus.classes))[:n]
    found = pipeline.select(corpus.folder, number=n, by=by, on=on or "auto", seed=seed)
    return np.array([corpus.row_of[image_id] for image_id in found.image_ids])


def measure(source: Path, topics: Topics, seeds: list[int], keep: Path) -> dict[tuple[str, str, str], np.ndarray]:
    """Accuracies, (n_seeds, n_budgets), by strategy, what it compares and propagation."""
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    for seed in seeds:
        corpus = labelled_project(source, topics, seed, keep)
        most = max(BUDGETS) * corpus.n_classes
        for by, on in WAYS + ON_THETA:
            rows = selected(corpus, by, on, most, seed)
            for name, propagate in PROPAGATIONS.items():
                accuracies = [
                    float((propagate(corpus, rows[: budget * corpus.n_classes]) == corpus.classes).mean())
                    for budget in BUDGETS
                ]
                found.setdefault((by, on, name), []).append(accuracies)
    return {key: np.array(values) for key, values in found.items()}


def main() -> None:
    """Measure each corpus and print a table for each propagation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="FOLDER:TOPICS")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--keep", type=Path, help="where projects are kept for the next time")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, seeds {given.seeds}")
    with tempfile.TemporaryDirectory() as scratch:
        keep = given.keep or Path(scratch)
        results = {}
        for corpus in given.corpora:
            folder, _, text = corpus.rpartition(":")
            topics: Topics = "auto" if text == "auto" else int(text)
            results[f"{corpus_name(Path(folder))}, {topics} topics"] = measure(Path(folder), topics, seeds, keep)
    for name in PROPAGATIONS:
        print(f"\n{name}\n\n| corpus | selected by | {' | '.join(f'{b} a class' for b in BUDGETS)} |")
        print(f"|---|---|{'---|' * len(BUDGETS)}")
        for corpus, found in results.items():
            for by, on in WAYS + ON_THETA:
                values = found[by, on, name]
                cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(axis=0), values.std(axis=0), strict=True)]
                print(f"| {corpus} | {by}{f', on {on}' if on else ''} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
