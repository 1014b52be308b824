"""Semantic clustering beside K-Means, the names that clusters are given, and how long it takes.

    python benchmarks/bench_semantic.py DATA --wordnet /usr/share/wordnet --scratch FOLDER
    python benchmarks/bench_semantic.py DATA ... --only groups|names|speed --seeds 0,1,2,3,4

DATA holds sun8/, scene15/, corel1k/dataset/ (a folder a class), bge_small_en/ (a text encoder as ONNX with its
tokenizer.json) and flickr8k_captions/. Needs onnxruntime, tokenizers, PyTorch and timm (for ImageNet's classes).
Photographs and texts come into one space by ConSE (`fastvbow.semantic.conse`), which stands in for CLIP: it says
nothing of what the methods reach with CLIP, and no figure of a paper is claimed. The labels are read only after the
groups are made. Prints Markdown.

Names: the groups of K-Means in that space are named; a name is right if it is a word of a synset, or of a kind of it,
that has the name of the class that most of the group's photographs have.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _conse_space import SETS, ConseSpace, Photographs
from _semantic_speed import speed_rows

from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.semantic import CAE, ICBPL, SIC, TAC
from fastvbow.semantic._principal import principal_components
from fastvbow.semantic.banks.frequencies import caption_counts
from fastvbow.semantic.banks.nouns import NounBank, nouns_of_wordnet, place_kinds
from fastvbow.semantic.naming import cluster_directions, suggest_names
from fastvbow.semantic.spherical import spherical_kmeans

SCORES = ("acc", "nmi", "ari")
CLASSES = {
    "baseball_field": ("baseball field", "ballpark"),
    "laundromat": ("laundromat",),
    "LivingRoom": ("living room",),
    "InsideCity": ("city",),
    "OpenCountry": ("countryside",),
    "TallBuilding": ("skyscraper", "building"),
    "Industrial": ("factory", "industrial plant"),
    "africans": ("African",),
    "beaches": ("beach",),
    "buses": ("bus",),
}
"""What WordNet calls the classes, where it is not the folder's name or its singular."""

PLAIN_ICBPL = {"principal": None, "init": "random", "weights": (1, 1, 1, 2), "epochs": 50, "least_steps": 1000}
"""ICBPL without what is added to it."""
SLOTS = (2, 3)
"""Of five names: things, and places."""

Method = Callable[[Photographs, int], np.ndarray]


def clustered(rows: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    return spherical_kmeans(np.ascontiguousarray(rows, np.float32), n_clusters, n_init=20, random_state=seed).labels


def components(rows: np.ndarray) -> np.ndarray:
    """What ICBPL begins with, at unit length."""
    found = principal_components(np.ascontiguousarray(rows, np.float32), 25, 0.5)
    assert found is not None
    on_them = found.of(rows)
    return on_them / np.linalg.norm(on_them, axis=1, keepdims=True)


def beside(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([a, b], axis=1) * np.float32(0.5**0.5)


def methods(space: ConseSpace) -> dict[str, Method]:
    """Groups of photographs by each method, for a seed."""

    def tac(**how: Any) -> Method:
        return lambda of, seed: TAC(of.n_classes, random_state=seed, **how).fit_predict(of.conse, nouns=space.nouns)

    def cae(**how: object) -> Method:
        return lambda of, seed: CAE(of.n_classes, random_state=seed, **how).fit_predict(
            of.conse, nouns=space.nouns, captions=space.caption_rows
        )

    def sic(**how: Any) -> Method:
        return lambda of, seed: SIC(of.n_classes, random_state=seed, **how).fit_predict(of.conse, nouns=space.nouns)

    def icbpl(rows: str, **how: Any) -> Method:
        return lambda of, seed: ICBPL(of.n_classes, random_state=seed, **how).fit_predict(getattr(of, rows))

    def pooled_and_nouns(of: Photographs, seed: int) -> np.ndarray:
        model = TAC(of.n_classes, random_state=seed).fit(of.conse, nouns=space.nouns)
        texts = model.embedding_[:, of.conse.shape[1] :] * np.float32(2**0.5)
        return clustered(beside(of.pooled, texts), of.n_classes, seed)

    def pooled_and_cae(of: Photographs, seed: int) -> np.ndarray:
        model = CAE(of.n_classes, random_state=seed).fit(of.conse, nouns=space.nouns, captions=space.caption_rows)
        return clustered(beside(of.pooled, model.embedding_), of.n_classes, seed)

    return {
        "K-Means": lambda of, seed: clustered(of.conse, of.n_classes, seed),
        "TAC, no training": tac(),
        "TAC, no training, image_temperature=.1": tac(image_temperature=0.1),
        "CAE": cae(),
        "CAE, columns free": cae(columns=False),
        "CAE, side by side, equal weights": cae(fusion="concat", weights="equal"),
        "TAC, trained": tac(trained=True),
        "SIC": sic(),
        "SIC, from random heads": sic(init="random"),
        "ICBPL": icbpl("conse"),
        "ICBPL, nothing added": icbpl("conse", **PLAIN_ICBPL),
        "K-Means on ICBPL's components": lambda of, seed: clustered(components(of.conse), of.n_classes, seed),
        "pooled: K-Means": lambda of, seed: clustered(of.pooled, of.n_classes, seed),
        "pooled: ICBPL": icbpl("pooled"),
        "pooled: ICBPL, nothing added": icbpl("pooled", **PLAIN_ICBPL),
        "pooled: K-Means on ICBPL's components": lambda of, seed: clustered(components(of.pooled), of.n_classes, seed),
        "pooled: beside TAC's counterparts": pooled_and_nouns,
        "pooled: beside CAE's embedding": pooled_and_cae,
    }


def group_rows(space: ConseSpace, names: Sequence[str], seeds: Sequence[int], wanted: str) -> Iterator[str]:
    sets = [space.photographs(name) for name in names]
    yield "| | " + " | ".join(f"{of.name}: ACC, NMI, ARI" for of in sets) + " |"
    yield "|---|" + "---|" * len(sets)
    for what, method in methods(space).items():
        if not re.fullmatch(wanted, what):
            continue
        cells = []
        for of in sets:
            found = [clustering_scores(of.labels, method(of, seed)) for seed in seeds]
            mean = [np.mean([scores[score] for scores in found]) for score in SCORES]
            spread = np.std([scores["acc"] for scores in found])
            cells.append(f"{mean[0]:.3f} ± {spread:.3f}, {mean[1]:.3f}, {mean[2]:.3f}")
        yield f"| {what} | " + " | ".join(cells) + " |"


def right_names(space: ConseSpace, label: str) -> set[str]:
    """All words of the synsets of a class and of their kinds."""
    plain = label.replace("_", " ").lower()
    wanted = CLASSES.get(label) or tuple({plain, plain.removesuffix("s")})
    synsets = [synset.name for word in wanted for synset in space.wordnet.meanings(word)]
    below = space.wordnet.hyponyms(synsets)
    return {word.casefold() for name in below for word in space.wordnet.by_name[name].words}


def name_rows(space: ConseSpace, names: Sequence[str], seeds: Sequence[int], *, show: bool) -> Iterator[str]:
    bank, rows = small(nouns_of_wordnet(space.wordnet), space)
    place = place_kinds(space.wordnet, bank)
    prior = 0.02 * np.log1p(caption_counts(bank.words, space.captions))
    banks: dict[str, tuple[int, ...] | None] = {
        "all, the five best": None,
        "all, two of things and three of places": SLOTS,
        "places alone": (0, 5),
    }
    yield "| bank | nouns | " + " | ".join(names) + " |"
    yield "|---|---|" + "---|" * len(names)
    shown = []
    for what, slots in banks.items():
        kinds = {} if slots is None else {"kinds": place, "slots": slots}
        cells = []
        for name in names:
            of, hits = space.photographs(name), []
            for seed in seeds:
                labels = clustered(of.conse, of.n_classes, seed)
                centers = cluster_directions(of.conse, labels, of.n_classes)
                texts = {"captions": space.caption_rows, "caption_texts": space.captions}
                found = suggest_names(centers, rows, bank.words, prior=prior, **texts, **kinds)
                classes = [Counter(of.labels[labels == k].tolist()).most_common(1)[0][0] for k in range(of.n_classes)]
                right = [
                    any(noun.casefold() in right_names(space, label) for noun in names_of.nouns)
                    for label, names_of in zip(classes, found, strict=True)
                ]
                hits.append(len({label for label, hit in zip(classes, right, strict=True) if hit}))
                if show and seed == seeds[0]:
                    for label, names_of, hit in sorted(zip(classes, found, right, strict=True), key=lambda row: row[0]):
                        nouns = ", ".join(names_of.nouns)
                        shown.append(f"| {what} | {label} | {'yes' if hit else 'no'} | {nouns} | {names_of.caption} |")
            cells.append(f"{np.mean(hits):.1f} of {of.n_classes}")
        n_nouns = len(bank) if slots is None or slots[0] else int(place.sum())
        yield f"| {what} | {n_nouns:,} | " + " | ".join(cells) + " |"
    if show:
        yield from ["", "| bank | class | right | names | nearest caption |", "|---|---|---|---|---|", *shown]


def small(bank: NounBank, space: ConseSpace) -> tuple[NounBank, np.ndarray]:
    """The kinds of things that are written small, not genera, makes and peoples; and their embeddings."""
    chosen = [
        i
        for i, (word, synset) in enumerate(zip(bank.words, bank.synsets, strict=True))
        if word == word.lower() and not space.wordnet.by_name[synset].is_instance
    ]
    columns = (tuple(column[i] for i in chosen) for column in (bank.words, bank.definitions, bank.synsets))
    return NounBank(*columns), np.asarray(space.nouns[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--only", choices=["groups", "names", "speed"])
    parser.add_argument("--methods", default=".*", help="a regular expression that the whole of a row's name fits")
    parser.add_argument("--sets", default=",".join(SETS))
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--show-names", action="store_true", help="the names themselves, of the first seed")
    parser.add_argument("--size", default="100000,80000,512,20,2", help="images, nouns, width, clusters, threads")
    given = parser.parse_args()
    names, seeds = given.sets.split(","), [int(seed) for seed in given.seeds.split(",")]
    if given.only in (None, "speed"):
        for line in speed_rows(*(int(number) for number in given.size.split(","))):
            print(line, flush=True)
    if given.only == "speed":
        return
    space = ConseSpace(given.data, given.wordnet, given.scratch)
    if given.only in (None, "groups"):
        for line in group_rows(space, names, seeds, given.methods):
            print(line, flush=True)
    if given.only in (None, "names"):
        for line in name_rows(space, names, seeds, show=given.show_names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
