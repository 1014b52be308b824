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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _conse_space import SETS, ConseSpace, Photographs
from _semantic_speed import speed_rows

from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.semantic import CAE, ICBPL, SIC, TAC
from fastvbow.semantic.banks.frequencies import caption_counts
from fastvbow.semantic.banks.nouns import SIC_PROMPTS, NounBank, nouns_of_wordnet
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
PLACES = ("n04341686", "n02735688", "n09287968", "n00027167", "n04564698", "n03315023", "n09225146")
"""Structures, areas, geological formations, locations, ways, facilities and bodies of water, in WordNet 3.0."""

Method = Callable[[Photographs, int], np.ndarray]


def clustered(rows: np.ndarray, n_clusters: int, seed: int) -> np.ndarray:
    return spherical_kmeans(np.ascontiguousarray(rows, np.float32), n_clusters, n_init=20, random_state=seed).labels


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
        "SIC, from the centres of K-Means": sic(init="centers"),
        "ICBPL": icbpl("conse"),
        "pooled: ICBPL": icbpl("pooled"),
        "pooled: ICBPL, weights=(1, 1, .1, 2)": icbpl("pooled", weights=(1, 1, 0.1, 2)),
        "pooled: K-Means": lambda of, seed: clustered(of.pooled, of.n_classes, seed),
        "pooled: beside TAC's counterparts": pooled_and_nouns,
        "pooled: beside CAE's embedding": pooled_and_cae,
    }


def group_rows(space: ConseSpace, names: Sequence[str], seeds: Sequence[int]) -> Iterator[str]:
    sets = [space.photographs(name) for name in names]
    yield "| | " + " | ".join(f"{of.name}: ACC, NMI, ARI" for of in sets) + " |"
    yield "|---|" + "---|" * len(sets)
    for what, method in methods(space).items():
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
    banks = {
        "all kinds of things": small(nouns_of_wordnet(space.wordnet, instances=False)),
        "places": small(nouns_of_wordnet(space.wordnet, instances=False, under=PLACES)),
    }
    yield "| bank | nouns | " + " | ".join(names) + " |"
    yield "|---|---|" + "---|" * len(names)
    shown = []
    for what, bank in banks.items():
        rows = described(space, bank, banks["all kinds of things"])
        prior = 0.01 * np.log1p(caption_counts(bank.words, space.captions))
        cells = []
        for name in names:
            of, hits = space.photographs(name), []
            for seed in seeds:
                labels = clustered(of.conse, of.n_classes, seed)
                centers = cluster_directions(of.conse, labels, of.n_classes)
                texts = {"captions": space.caption_rows, "caption_texts": space.captions}
                found = suggest_names(centers, rows, bank.words, prior=prior, **texts)
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
        yield f"| {what} | {len(bank):,} | " + " | ".join(cells) + " |"
    if show:
        yield from ["", "| bank | class | right | names | nearest caption |", "|---|---|---|---|---|", *shown]


def small(bank: NounBank) -> NounBank:
    """The nouns that are written small: not genera, makes and peoples."""
    rows = [row for row in zip(bank.words, bank.definitions, bank.synsets, strict=True) if row[0] == row[0].lower()]
    return NounBank(*(tuple(column) for column in zip(*rows, strict=True)))


def described(space: ConseSpace, bank: NounBank, whole: NounBank) -> np.ndarray:
    """The mean of the embeddings of "a photo of a WORD" and "a photo of a WORD, DEFINITION"; `whole` is encoded."""
    plain, with_text = (space.texts(texts, SIC_PROMPTS) for texts in (whole.words, whole.described()))
    place = {key: i for i, key in enumerate(zip(whole.synsets, whole.words, strict=True))}
    chosen = [place[key] for key in zip(bank.synsets, bank.words, strict=True)]
    return np.asarray((plain + with_text)[chosen])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--wordnet", type=Path, default=Path("/usr/share/wordnet"))
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--only", choices=["groups", "names", "speed"])
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
        for line in group_rows(space, names, seeds):
            print(line, flush=True)
    if given.only in (None, "names"):
        for line in name_rows(space, names, seeds, show=given.show_names):
            print(line, flush=True)


if __name__ == "__main__":
    main()
