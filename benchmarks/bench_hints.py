"""How often the hints of `fastvbow hints` are right, held against labels.

    python benchmarks/bench_hints.py DATA/sun8 DATA/scene15 DATA/corel1k/dataset

Each argument is a folder with one subfolder a class. Models have half, three quarters, once, one and a half, twice and
three times as many topics as classes. A pair of groups is one where both have the same most frequent class, which at
least 60 % of their photographs are of (pairs with a group that has none do not count); a group is two where its second
class has a quarter of it or more. Groups of fewer than 10 photographs do not count. Prints Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from itertools import combinations
from pathlib import Path

import numpy as np
from _labelled_projects import Labelled, corpus_name, labelled_project
from sklearn.metrics import roc_auc_score

from fastvbow.groups.hints import FEWEST, OVERLAP, PARTED, mergings, partings

TIMES = (0.5, 0.75, 1, 1.5, 2, 3)
ONE, TWO = 0.6, 0.25

Judged = list[tuple[float, bool]]


def judge(corpus: Labelled) -> tuple[Judged, Judged]:
    """The measure of each pair and of each group, and whether they are one, or two."""
    topic = corpus.theta.argmax(axis=1)
    shares = {}
    for group in np.unique(topic).tolist():
        counts = np.bincount(corpus.classes[topic == group], minlength=2)
        if counts.sum() >= FEWEST:
            shares[group] = counts / counts.sum()
    most = {group: int(share.argmax()) for group, share in shares.items() if share.max() >= ONE}
    overlaps = {pair.groups: pair.overlap for pair in mergings(corpus.theta, least=-1.0)}
    pairs = [(overlaps[pair], most[pair[0]] == most[pair[1]]) for pair in combinations(sorted(most), 2)]
    explained = {part.group: part.explained for part in partings(topic, corpus.vectors, least=-1.0)}
    second = {group: bool(np.sort(share)[-2] >= TWO) for group, share in shares.items()}
    return pairs, [(explained.get(group, 0.0), two) for group, two in second.items()]


def row(name: str, kind: str, judged: Judged, least: float) -> str:
    measure, truth = np.array([m for m, _ in judged]), np.array([t for _, t in judged])
    told = measure > least
    area = f"{roc_auc_score(truth, measure):.3f}" if 0 < truth.sum() < len(truth) else "-"
    right = f"{truth[told].mean():.2f}" if told.any() else "-"
    cells = [name, kind, len(truth), truth.sum(), area, told.sum(), right, f"{(truth & told).sum() / truth.sum():.2f}"]
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Judge every model and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--keep", type=Path, help="where projects are kept for the next time")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}, seeds {given.seeds}")
    print("\n| corpus | hint | looked at | true | AUC | told | right | of the true ones |")
    print("|---|---|---|---|---|---|---|---|")
    every: dict[str, tuple[Judged, float]] = {"merge": ([], OVERLAP), "split": ([], PARTED)}
    with tempfile.TemporaryDirectory() as scratch:
        for source in given.corpora:
            n_classes = sum(entry.is_dir() for entry in source.iterdir())
            own: tuple[Judged, Judged] = ([], [])
            for times in TIMES:
                for seed in map(int, given.seeds.split(",")):
                    topics = max(2, round(n_classes * times))
                    corpus = labelled_project(source, topics, seed, given.keep or Path(scratch))
                    for kind, found in zip(own, judge(corpus), strict=True):
                        kind += found
            for (kind, (judged, least)), found in zip(every.items(), own, strict=True):
                judged += found
                print(row(corpus_name(source), kind, found, least), flush=True)
    for kind, (judged, least) in every.items():
        print(row("all", kind, judged, least))


if __name__ == "__main__":
    main()
