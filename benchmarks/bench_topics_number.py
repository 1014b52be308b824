"""Which figure, of those that need no label, tells how many topics there are, and which settings are better?

    python benchmarks/bench_topics_number.py DATA/sun8 DATA/scene15 DATA/corel1k/dataset
    python benchmarks/bench_topics_number.py ... --only vectors   # the figures of K-Means groups alone: quick

Each argument is a folder with one subfolder a class; the crops of the demonstration are added. Corpora are these
folders, parts of them, and mixtures, each with words of its own; the labels are read only after a number is chosen.
For every figure the table has the number that is chosen on each corpus, and the mean over corpora of |log2(chosen /
true)| and of the NMI that is lost beside the best number. Prints Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _harness import one_core
from _labelled_corpora import KINDS, Corpus, Rows, Sets, corpora
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.cluster import KMeans
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
)

from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.topics.initial import initial_groups
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.quality import npmi_coherence, topic_diversity
from fastvbow.topics.stream import TokenStream

NUMBERS = [*range(2, 25), 26, 28, 30, 32, 33, 34, 36, 38, 40, 44, 48]
FEWER = [*range(2, 17), 18, 20, 23, 26, 30, 33, 36, 40]
"""The numbers for which topics are trained."""
SWEEPS = 60
DRAWS = 24


def of_vectors(X: np.ndarray, labels: np.ndarray, n_groups: int) -> dict[str, float]:
    """The figures of a K-Means clustering of the pooled vectors; the higher the better."""
    n, d = X.shape
    model = KMeans(n_groups, n_init=10, random_state=0).fit(X)
    groups = model.labels_
    near, next_ = np.sort(model.transform(X), axis=1)[:, :2].T
    share = np.bincount(groups, minlength=n_groups) / n
    variance = model.inertia_ / (d * (n - n_groups))
    fit = n * (share @ np.log(share)) - n * d / 2 * np.log(2 * np.pi * variance) - d * (n - n_groups) / 2
    rng = np.random.default_rng(0)
    box = rng.uniform(X.min(axis=0), X.max(axis=0), X.shape).astype(np.float32)
    alike, strength = [], []
    for _ in range(4):
        a, b = np.array_split(rng.permutation(n), 2)
        models = [KMeans(n_groups, n_init=5, random_state=seed).fit(X[half]) for seed, half in ((1, a), (2, b))]
        for own, other, half in ((*models, a), (*reversed(models), b)):
            given = other.predict(X[half])
            alike.append((adjusted_rand_score(own.labels_, given), adjusted_mutual_info_score(own.labels_, given)))
            strength.append(prediction_strength(own.labels_, given))
    ari, ami = np.mean(alike, axis=0)
    scores = clustering_scores(labels, groups)
    return {
        "acc": scores["acc"],
        "nmi": scores["nmi"],
        "silhouette": silhouette_score(X, groups),
        "simplified silhouette": float(np.mean(1 - near / next_)),
        "Calinski-Harabasz": calinski_harabasz_score(X, groups),
        "Davies-Bouldin (low)": -davies_bouldin_score(X, groups),
        "BIC of round Gaussians": fit - n_groups * (d + 1) / 2 * np.log(n),
        "gap statistic": np.log(KMeans(n_groups, n_init=1, random_state=0).fit(box).inertia_ / model.inertia_),
        "ARI between halves": float(ari),
        "AMI between halves": float(ami),
        "prediction strength (last above .8)": float(np.mean(strength)),
    }


def prediction_strength(groups: np.ndarray, given: np.ndarray) -> float:
    """The least share, over groups, of pairs that another clustering keeps together (Tibshirani & Walther 2005)."""
    shares = []
    for group in np.unique(groups):
        counts = np.bincount(given[groups == group])
        n = counts.sum()
        shares.append((counts * (counts - 1)).sum() / (n * (n - 1)) if n > 1 else 0.0)
    return min(shares)


def trained(stream: TokenStream, embedding: np.ndarray, n_topics: int, seed: int, sweeps: int = SWEEPS) -> GibbsLDA:
    """Topics as the route trains them, with fewer sweeps."""
    model = GibbsLDA(n_topics, max_iter=sweeps, random_state=seed, n_jobs=1)
    return model.fit(stream, doc_groups=initial_groups(embedding, n_topics, seed=seed))


def some(stream: TokenStream, rows: np.ndarray) -> TokenStream:
    """Some documents of a stream."""
    parts = [stream.words[stream.offsets[i] : stream.offsets[i + 1]] for i in rows]
    return TokenStream(np.concatenate(parts), np.cumsum([0, *map(len, parts)]), stream.n_words)


def over_expected(stream: TokenStream) -> tuple[np.ndarray, np.ndarray]:
    """The counts of the words in the documents, and whether they are above what chance expects."""
    document = np.repeat(np.arange(stream.n_docs), np.diff(stream.offsets))
    shape = stream.n_docs, stream.n_words
    counts = csr_matrix((np.ones(stream.n_tokens), (document, stream.words)), shape).toarray()
    return counts, counts > np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()


def silhouette_or_0(X: np.ndarray, groups: np.ndarray) -> float:
    return float(silhouette_score(X, groups)) if len(np.unique(groups)) > 1 else 0.0


def of_model(model: GibbsLDA, corpus: Corpus, vectors: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """The figures of one model; the higher the better. And its groups."""
    counts, above = over_expected(corpus.stream)
    theta = model.transform(corpus.stream)
    groups, phi = theta.argmax(axis=1), model.topic_word_
    cosine = phi @ phi.T / np.outer(*[np.linalg.norm(phi, axis=1)] * 2)
    frequencies = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mean_entropy = float(-(theta * np.log(theta)).sum(axis=1).mean())
    scores = clustering_scores(corpus.labels, groups)
    return {
        "acc": scores["acc"],
        "nmi": scores["nmi"],
        "log-likelihood": float(model.log_likelihood_[-1]),
        "completion, the same photographs": model.score(corpus.stream),
        "NPMI of words above chance": float(npmi_coherence(phi, above).mean()),
        "topic diversity": topic_diversity(phi, n_top=10),
        "cosine of topics (low)": -float(cosine[np.triu_indices(len(phi), 1)].mean()),
        "mean probability": float(theta.max(axis=1).mean()),
        "entropy / log K (low)": -mean_entropy / np.log(len(phi)),
        "silhouette of groups, pooled vectors": silhouette_or_0(vectors, groups),
        "silhouette of groups, mixtures": silhouette_or_0(np.sqrt(theta), groups),
        "silhouette of groups, words": silhouette_or_0(np.sqrt(frequencies), groups),
    }, groups


def of_topics(corpus: Corpus, n_topics: int) -> dict[str, float]:
    """The figures of one model of all photographs, and of two of a half each."""
    found, _ = of_model(trained(corpus.stream, corpus.embedding, n_topics, 0), corpus, corpus.embedding)
    order = np.random.default_rng(0).permutation(corpus.stream.n_docs)
    halves = [np.sort(half) for half in np.array_split(order, 2)]
    streams = [some(corpus.stream, half) for half in halves]
    a, b = (trained(streams[i], corpus.embedding[halves[i]], n_topics, 1 + i) for i in (0, 1))
    groups = [model.transform(corpus.stream).argmax(axis=1) for model in (a, b)]
    return found | {
        "completion, the other half": (a.score(streams[1]) + b.score(streams[0])) / 2,
        "ARI between halves": float(adjusted_rand_score(*groups)),
        "AMI between halves": float(adjusted_mutual_info_score(*groups)),
    }


Curve = dict[int, dict[str, float]]


def chosen(curve: Curve, figure: str) -> int:
    """The number that a figure chooses."""
    if figure.startswith("prediction strength"):
        return max((k for k, found in curve.items() if found[figure] > 0.8), default=min(curve))
    return max(curve, key=lambda k: curve[k][figure])


def table_of_numbers(curves: dict[str, tuple[int, Curve]]) -> None:
    """Print what every figure chooses."""
    print(f"| | {' | '.join(curves)} | log2 off | NMI lost | exact |")
    print("|---" * (len(curves) + 4) + "|")
    print(f"| classes | {' | '.join(str(n) for n, _ in curves.values())} | | | |")
    best = {name: max(curve, key=lambda k: curve[k]["nmi"]) for name, (_, curve) in curves.items()}
    print(f"| best NMI | {' | '.join(str(best[name]) for name in curves)} | | | |")
    figures = next(iter(curves.values()))[1][2].keys() - {"acc", "nmi"}
    lines = []
    for figure in figures:
        numbers = {name: chosen(curve, figure) for name, (_, curve) in curves.items()}
        off = np.mean([abs(np.log2(numbers[name] / n)) for name, (n, _) in curves.items()])
        lost = np.mean([c[best[name]]["nmi"] - c[numbers[name]]["nmi"] for name, (_, c) in curves.items()])
        exact = sum(numbers[name] == n for name, (n, _) in curves.items())
        cells = [figure, *map(str, numbers.values()), f"{off:.2f}", f"{lost:.3f}", f"{exact}/{len(curves)}"]
        lines.append((lost, f"| {' | '.join(cells)} |"))
    print("\n".join(line for _, line in sorted(lines)), flush=True)


def silhouettes(sets: Sets, rows: Rows) -> tuple[int, Curve]:
    """The curve of the silhouette alone, on a random draw of classes and sizes."""
    X, labels = sets.vectors(rows)
    curve: Curve = {}
    for k in range(2, min(50, len(X) // 5) + 1):
        groups = KMeans(k, n_init=10, random_state=0).fit(X).labels_
        curve[k] = {"silhouette": silhouette_score(X, groups), "nmi": clustering_scores(labels, groups)["nmi"]}
    return len(np.unique(labels)), curve


def settings() -> dict[str, dict[str, Any]]:
    """Ways to make words and groups, some better than others."""
    words = [(100, 100, 100), (50, 50, 200), (150, 75, 75), (20, 20, 40), (150, 150, 300)]
    return {
        **{f"temperature {t}": {"pooled_temperature": t} for t in (0.1, 0.2, 0.4, 0.8, 1.6)},
        **{f"{n} neighbours": {"pooled_neighbours": n} for n in (3, 16)},
        **{f"words {w}": {"words": dict(zip(KINDS, w, strict=True))} for w in words},
        "30 pooled tokens": {"pooled_tokens": 30},
        "5 seedings": {"seedings": 5},
        "no SIFT": {"kinds": ("conv", "pooled")},
        "pooled alone": {"kinds": ("pooled",)},
        "map alone": {"kinds": ("conv",)},
        "SIFT alone": {"kinds": ("sift",)},
        "SIFT and map": {"kinds": ("sift", "conv")},
        "random start": {"seedings": 0},
    }


def of_setting(sets: Sets, rows: Rows, vectors: np.ndarray, setting: dict[str, Any]) -> dict[str, float]:
    """Mean figures of three seeds, and how alike their groups are."""
    how = dict(setting)
    seedings, found, groups = how.pop("seedings", 20), [], []
    corpus = sets.corpus(rows, **how)
    for seed in range(3):
        start = None
        if seedings:
            known = np.isfinite(corpus.embedding).all(axis=1)  # with SIFT alone a photograph may have no word
            start = np.full(len(known), -1)
            start[known] = KMeans(corpus.n_classes, n_init=seedings, random_state=seed).fit_predict(
                corpus.embedding[known]
            )
        model = GibbsLDA(corpus.n_classes, max_iter=100, random_state=seed, n_jobs=1)
        figures, of_seed = of_model(model.fit(corpus.stream, doc_groups=start), corpus, vectors)
        found.append(figures)
        groups.append(of_seed)
    alike = [adjusted_rand_score(groups[i], groups[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    return {name: float(np.mean([f[name] for f in found])) for name in found[0]} | {
        "ARI between seeds": float(np.mean(alike))
    }


def table_of_settings(sets: Sets) -> None:
    """Print how the figures rank the settings beside the accuracy: Spearman's rho."""
    columns: dict[str, dict[str, float]] = {}
    for name in list(sets.labels)[:-1]:
        rows = sets.of(name)
        vectors, _ = sets.vectors(rows)
        ways = settings()
        found = {way: of_setting(sets, rows, vectors, setting) for way, setting in ways.items()}
        usual = [way for way, how in ways.items() if "kinds" not in how and way != "random start"]
        for title, of in ((f"{name}, all {len(found)}", list(found)), (f"{name}, {len(usual)} near", usual)):
            accuracy = [found[way]["acc"] for way in of]
            figures = found[of[0]].keys() - {"acc", "nmi"}
            columns[title] = {f: spearmanr(accuracy, [found[way][f] for way in of]).statistic for f in figures}
            columns[title]["(range of the accuracy)"] = max(accuracy) - min(accuracy)
    print(f"\n| rho with the accuracy | {' | '.join(columns)} |")
    print("|---" * (len(columns) + 1) + "|")
    for figure in sorted(next(iter(columns.values()))):
        print(f"| {figure} | {' | '.join(f'{column[figure]:.2f}' for column in columns.values())} |")


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs=3, type=Path, metavar="FOLDER", help="sun8, scene15 and corel1k")
    parser.add_argument("--only", choices=("vectors", "topics", "draws", "settings"), action="append")
    given = parser.parse_args()
    parts = given.only or ["vectors", "topics", "draws", "settings"]
    with one_core(), tempfile.TemporaryDirectory() as scratch:
        sets = Sets([folder.absolute() for folder in given.folders], Path(scratch))
        if {"vectors", "topics"} & {*parts}:
            made = {name: sets.corpus(rows) for name, rows in corpora(sets).items()}

        def curves(
            numbers: Sequence[int], figures: Callable[[Corpus, int], dict[str, float]], least: int
        ) -> dict[str, tuple[int, Curve]]:
            return {
                name: (corpus.n_classes, {k: figures(corpus, k) for k in numbers if k <= len(corpus.labels) // least})
                for name, corpus in made.items()
            }

        if "vectors" in parts:
            print("\nK-Means groups of the pooled vectors:\n")
            table_of_numbers(curves(NUMBERS, lambda c, k: of_vectors(c.embedding, c.labels, k), 3))
        if "topics" in parts:
            print("\nTopics:\n")
            table_of_numbers(curves(FEWER, of_topics, 4))
        if "draws" in parts:
            print("\nRandom draws of classes and sizes:\n")
            table_of_numbers({str(seed): silhouettes(sets, sets.draw(seed)) for seed in range(DRAWS)})
        if "settings" in parts:
            table_of_settings(sets)


if __name__ == "__main__":
    main()
