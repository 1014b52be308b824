"""Clicks and looks until 95 % of the labels are right: naming groups and fixing the rest, against one by one.

    python benchmarks/bench_clicks.py DATA/sun8:8,20,50,auto DATA/scene15:15,20,50,auto

Each argument is a folder with one subfolder a class, and numbers of topics. The annotator is simulated, and knows a
photograph's class by looking at it. What is counted:

- a click: a name given to a group; a group split in two; a label corrected; a page of 32 turned; in one by one, a label
  given. Choosing a name from a list counts as one click, and so does typing a new one.
- a look: a photograph seen in a mosaic or by itself, as often as it is seen.

Naming: a mosaic of (up to) 32 photographs of each group, evenly from the most to the least probable; the name is the
class of most of them. Groups of one name are merged by that. With splitting, a group of whose mosaic less than 90 % are
of one class is split in two (K-Means on the vectors) and both parts are looked at, three times at most.

Fixing: all photographs in an order, by pages of 32 with their labels; the wrong ones of a page are corrected. Orders:
by the entropy of the mixture; or by doubt: the probability that logistic regression, fitted on the groups' names of the
other four fifths of the photographs, gives the photograph's own name, least first.

Selecting: instead of groups, 2 photographs a class are labelled one by one, selected by `fastvbow select`, then 8 at a
time those of which logistic regression on the labels so far is least certain (margin); it labels the rest.

That 95 % have been reached is known to the simulation; an annotator would have to check a sample. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _labelled_projects import Labelled, Topics, corpus_name, labelled_project
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from fastvbow import pipeline
from fastvbow.groups.selecting import entropies

PAGE = 32
GOAL = 0.95
MIXED = 0.9
SPLITS = 3
PER_CLASS, AT_A_TIME = 2, 8


@dataclass
class Named:
    """Every photograph's name, and what naming took."""

    names: np.ndarray
    clicks: int
    looks: int


def name_groups(corpus: Labelled, *, split: bool, seed: int) -> Named:
    topic, sure = corpus.theta.argmax(axis=1), corpus.theta.max(axis=1)
    found = Named(np.zeros(len(topic), np.int64), 0, 0)
    waiting = [(np.flatnonzero(topic == k), SPLITS if split else 0) for k in np.unique(topic)]
    while waiting:
        members, splits = waiting.pop()
        ranked = members[np.argsort(-sure[members], kind="stable")]
        mosaic = corpus.classes[ranked[np.unique(np.linspace(0, len(ranked) - 1, PAGE).astype(int))]]
        counts = np.bincount(mosaic)
        found.looks += len(mosaic)
        found.clicks += 1
        if splits and counts.max() < MIXED * len(mosaic):
            parts = KMeans(2, n_init=5, random_state=seed).fit(corpus.vectors[members]).labels_
            waiting += [(members[parts == part], splits - 1) for part in (0, 1)]
        else:
            found.names[members] = counts.argmax()
    return found


def doubt(corpus: Labelled, names: np.ndarray, seed: int) -> np.ndarray:
    if np.bincount(names, minlength=1).max() == len(names):
        return np.zeros(len(names))
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    model = LogisticRegression(C=10, max_iter=500)
    own = np.unique(names, return_inverse=True)[1]
    given = cross_val_predict(model, corpus.vectors, own, cv=folds, method="predict_proba")
    return -given[np.arange(len(names)), own]


def fix(corpus: Labelled, named: Named, doubts: np.ndarray) -> tuple[int, int]:
    """Clicks and looks in all, until the goal is reached."""
    wrong = named.names != corpus.classes
    clicks, looks, left = named.clicks, named.looks, int(wrong.sum())
    order = np.argsort(-doubts, kind="stable")
    allowed = len(order) - int(np.ceil(GOAL * len(order)))
    for start in range(0, len(order), PAGE):
        if left <= allowed:
            break
        page = order[start : start + PAGE]
        clicks += 1 + int(wrong[page].sum())
        looks += len(page)
        left -= int(wrong[page].sum())
    return clicks, looks


def select_and_learn(corpus: Labelled, seed: int) -> int:
    """Labels until the goal is reached."""
    first = pipeline.select(corpus.folder, number=PER_CLASS * corpus.n_classes, seed=seed)
    rows = [corpus.row_of[image_id] for image_id in first.image_ids]
    while True:
        model = LogisticRegression(C=10, max_iter=500).fit(corpus.vectors[rows], corpus.classes[rows])
        given = model.predict_proba(corpus.vectors)
        labels = model.classes_[given.argmax(axis=1)]
        labels[rows] = corpus.classes[rows]
        if (labels == corpus.classes).mean() >= GOAL:
            return len(rows)
        top = np.partition(given, -2, axis=1)[:, -2:]
        margin = top[:, 1] - top[:, 0]
        margin[rows] = np.inf
        rows += np.argsort(margin, kind="stable")[:AT_A_TIME].tolist()


def measure(source: Path, topics: Topics, seeds: list[int], keep: Path) -> list[str]:
    found: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for seed in seeds:
        corpus = labelled_project(source, topics, seed, keep)
        for split in (False, True):
            named = name_groups(corpus, split=split, seed=seed)
            right = float((named.names == corpus.classes).mean())
            by_entropy = fix(corpus, named, entropies(corpus.theta))
            by_doubt = fix(corpus, named, doubt(corpus, named.names, seed))
            for order, counted in (("entropy", by_entropy), ("doubt", by_doubt)):
                row = (named.clicks, right, *counted)
                found.setdefault(("yes" if split else "no", order), []).append(row)
    lines = []
    for (split, order), rows in found.items():
        named_in, right, clicks, looks = np.mean(rows, axis=0)
        cells = [str(topics), split, f"{named_in:.0f}", f"{right:.3f}", order, f"{clicks:.0f}", f"{looks:.0f}"]
        lines.append(f"| {corpus_name(source)} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure each corpus with each number of topics and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", metavar="FOLDER:TOPICS,TOPICS")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--keep", type=Path, help="where projects are kept for the next time")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, seeds {given.seeds}")
    print("\n| corpus | topics | split | clicks to name | right | then by | clicks to 95 % | looks |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        keep = given.keep or Path(scratch)
        for text in given.corpora:
            folder, _, numbers = text.rpartition(":")
            source = Path(folder)
            kinds: list[Topics] = ["auto" if number == "auto" else int(number) for number in numbers.split(",")]
            corpora = [labelled_project(source, kinds[0], seed, keep) for seed in seeds]
            n = len(corpora[0].classes)
            goal = int(np.ceil(GOAL * n))
            print(f"| {corpus_name(source)} | one by one | | | | | {goal} | {goal} |")
            spent = np.mean([select_and_learn(corpus, seed) for corpus, seed in zip(corpora, seeds, strict=True)])
            print(f"| {corpus_name(source)} | {kinds[0]}, selecting | | | | | {spent:.0f} | {spent:.0f} |", flush=True)
            for topics in kinds:
                print("\n".join(measure(source, topics, seeds, keep)), flush=True)


if __name__ == "__main__":
    main()
