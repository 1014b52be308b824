"""What each kind of feature, layer, fusion, start and prior does to the groups, on folders of labelled photographs.

    python benchmarks/bench_fusion.py DATA/sun8:8 DATA/scene15:15 DATA/corel1k:10 --scratch FOLDER --seeds 0,1,2,3,4
    python benchmarks/bench_fusion.py ... --only default,fusion     # some rows, or some groups of rows
    python benchmarks/bench_fusion.py --list                        # which there are

Each argument is a folder with one subfolder a class, and the number of topics. Features are extracted once, into the
scratch folder, which may be kept for the next time. Every row then does what the later stages of the route do, by the
same engines, with one thing changed; "default" gives the very groups of `fastvbow run`. The labels are read only after
the groups are made. Prints Markdown, a row as soon as it is done, and at the end which of the project's bounds hold.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans

from fastvbow import pipeline
from fastvbow.config import EncodeConfig, ExtractConfig, TopicsConfig, VocabularyConfig
from fastvbow.evaluation.clustering import clustering_scores
from fastvbow.events import Event
from fastvbow.executors import one_thread_each
from fastvbow.features.models import shipped_models
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.encoding import located
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.stage import no_numerical_warnings
from fastvbow.pipeline.topic_modelling import walks_for
from fastvbow.pipeline.vocabularies import draw_rows
from fastvbow.project import ProjectFolder
from fastvbow.topics import initial
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.stream import TokenStream
from fastvbow.words.joint import JointFeatures, Located, joint_sample, train_joint_codebook
from fastvbow.words.shares import share_words
from fastvbow.words.tokens import encode
from fastvbow.words.vocabulary import Codebook, Vocabulary, train_codebook

MODEL = "efficientnet_lite0"
DEFAULT_LAYER = "block14"
ALL = ("sift", "conv", "pooled")
NUMBER = {"sift": 0, "conv": 1, "pooled": 2, "joint": 0}
"""Which modality of the default route it is, or stands for: its sample is drawn with this number."""


@dataclass(frozen=True, eq=False)
class Row:
    """A line of the table: what differs from the default."""

    group: str
    name: str
    parts: tuple[str, ...] = ALL
    layer: str = DEFAULT_LAYER  # the map's
    mean_of: str = ""  # of this layer instead of the pooled vector
    map_share: float = VocabularyConfig().map_share
    words: tuple[int, ...] = ()  # of each part; as the route shares them out if empty
    weights: Mapping[str, float] = field(default_factory=dict)
    start: int = initial.STARTS  # seedings; 0: random
    lda: Mapping[str, Any] = field(default_factory=dict)
    topics: int = 0  # 0: as many as there are classes
    kmeans: int = 0  # no topics: K-Means on the pooled vector, from so many seedings

    @property
    def layers(self) -> set[str]:
        """The maps that it needs."""
        return {DEFAULT_LAYER, self.layer, self.mean_of} - {""}


def rows() -> list[Row]:
    """All that is compared."""
    one, joint = Row, ("joint", "pooled")
    return [
        one("default", "the default: SIFT, map, pooled vector"),
        one("modality", "SIFT alone", parts=("sift",)),
        one("modality", "the map alone", parts=("conv",)),
        one("modality", "the pooled vector alone", parts=("pooled",)),
        one("modality", "SIFT and map", parts=("sift", "conv")),
        one("modality", "map and pooled vector (`--features cnn`)", parts=("conv", "pooled")),
        one("modality", "SIFT and pooled vector", parts=("sift", "pooled")),
        one("kmeans", "K-Means on the pooled vector, 5 seedings", parts=("pooled",), kmeans=5),
        one("joint", "joint words, map's share .25, and pooled (`--fusion joint`)", parts=joint),
        one("fusion", "joint words, share .5, and pooled", parts=joint, map_share=0.5),
        one("fusion", "joint words, share .75, and pooled", parts=joint, map_share=0.75),
        one("fusion", "joint words alone, share .25", parts=("joint",)),
        one("fusion", "joint words alone, share .5", parts=("joint",), map_share=0.5),
        one("fusion", "joint words alone, share .75", parts=("joint",), map_share=0.75),
        one("start", "start from K-Means with 5 seedings", start=5),
        one("start", "random start, split-merge moves", start=0),
        one("start", "random start, nothing else", start=0, lda={"split_merge": 0}),
        one("prior", "priors fitted every 10 sweeps (alpha, eta)", lda={"optimize_priors": 10}),
        one("prior", "random start, priors fitted", start=0, lda={"optimize_priors": 10}),
        one("prior", "alpha 1 a topic", lda={"doc_topic_prior": 1.0}),
        one("prior", "eta .01", lda={"topic_word_prior": 0.01}),
        one("layer", "map of block15", layer="block15"),
        one("layer", "map of block10 (14 x 14)", layer="block10"),
        one("layer", "map of block15 alone", parts=("conv",), layer="block15"),
        one("layer", "map of block10 alone", parts=("conv",), layer="block10"),
        one("layer", "mean of block15's map for the pooled vector", mean_of="block15"),
        one("layer", "mean of block14's map for it", mean_of="block14"),
        one("mass", "SIFT x 1/4", weights={"sift": 0.25}),
        one("mass", "SIFT x 2", weights={"sift": 2.0}),
        one("mass", "map x 4", weights={"conv": 4.0}),
        one("mass", "pooled x 2", weights={"pooled": 2.0}),
        one("mass", "joint words x 1/2, and pooled", parts=joint, weights={"joint": 0.5}),
        one("words", "words 75, 75, 150", words=(75, 75, 150)),
        one("words", "words 50, 50, 200", words=(50, 50, 200)),
        one("words", "words 100, 100, 200", words=(100, 100, 200)),
        one("words", "SIFT and pooled vector, words 75, 150", parts=("sift", "pooled"), words=(75, 150)),
        one("words", "joint words and pooled vector, words 100, 200", parts=joint, words=(100, 200)),
        one("twenty", "the default", topics=20),
        one("twenty", "SIFT alone", parts=("sift",), topics=20),
        one("twenty", "the map alone", parts=("conv",), topics=20),
        one("twenty", "the pooled vector alone", parts=("pooled",), topics=20),
        one("twenty", "joint words and pooled vector", parts=joint, topics=20),
        one("twenty", "priors fitted every 10 sweeps", lda={"optimize_priors": 10}, topics=20),
        one("twenty", "random start, split-merge moves", start=0, topics=20),
        one("twenty", "K-Means on the pooled vector, 5 seedings", parts=("pooled",), kmeans=5, topics=20),
    ]


class Corpus:
    """The features and labels of one folder; keeps the words that several rows have in common.

    Parameters
    ----------
    source : Path
        A folder with one subfolder a class.
    n_topics : int
    scratch : Path
        Gets a project for each layer.
    model : str
    """

    def __init__(self, source: Path, n_topics: int, scratch: Path, model: str) -> None:
        self.source, self.n_topics, self.scratch, self.model = source, n_topics, scratch, model
        self.words = cache(self._words)
        self.book = cache(self._book)
        self.shards = cache(lambda layer: open_shards(ProjectFolder.open(self._project(layer))))

    def extract(self, layer: str) -> None:
        """Extract what is not there yet: everything with the default layer, else the CNN alone."""
        config = ExtractConfig(model=self.model)
        if layer != DEFAULT_LAYER:
            config = ExtractConfig(features=("cnn",), model=f"{self.model}_{layer}")
        pipeline.extract(self.source, self._project(layer), config, listener=_quiet)

    def labels(self) -> tuple[NDArray[np.bool_], list[str | None]]:
        """Which images could be read, and the classes of these."""
        folder = ProjectFolder.open(self._project(DEFAULT_LAYER))
        table = ImageTable.load(folder.images, folder.image_root)
        read = np.concatenate([shard.read for shard in self.shards(DEFAULT_LAYER)])
        known = read_labels("parent", table.names, table.image_ids)
        return read, [label for label, there in zip(known, read, strict=True) if there]

    def found(self, part: str, layer: str, mean_of: str) -> list[Any]:
        """The features of a modality, shard by shard, as `encode` takes them."""
        if part == "joint":
            pairs = zip(self.shards(DEFAULT_LAYER), self.shards(layer), strict=True)
            return [JointFeatures(located(a, "sift"), located(b, "conv")) for a, b in pairs]
        if part == "pooled" and mean_of:
            return [_means(located(shard, "conv")) for shard in self.shards(mean_of)]
        return [located(shard, part) for shard in self.shards(layer if part == "conv" else DEFAULT_LAYER)]

    def _project(self, layer: str) -> Path:
        return self.scratch / self.model / f"{self.source.name}-{layer}"

    def _book(self, part: str, layer: str, mean_of: str, n_words: int, share: float, seed: int) -> Codebook:
        config, found = VocabularyConfig(), self.found(part, layer, mean_of)
        counts = [len((of.sift if part == "joint" else of).descriptors) for of in found]
        drawn = draw_rows(counts, config.sample, np.random.default_rng([seed, NUMBER[part]]))
        if part == "joint":
            sample = joint_sample(zip(found, drawn, strict=True))
            return train_joint_codebook(*sample, n_words, map_share=share, seed=seed, n_jobs=1)
        vectors = np.concatenate([of.descriptors[rows] for of, rows in zip(found, drawn, strict=True)])
        return train_codebook(vectors, n_words, project=part != "sift", seed=seed, n_jobs=1)

    def _words(
        self, part: str, layer: str, mean_of: str, n_words: int, share: float, seed: int
    ) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """The words of all images, and how many each has."""
        vocabulary = Vocabulary({part: self.book(part, layer, mean_of, n_words, share, seed)})
        options = msgspec.structs.asdict(EncodeConfig())
        found = self.found(part, layer, mean_of)
        given = [of if isinstance(of, JointFeatures) else (of.descriptors, of.offsets) for of in found]
        runs = [encode(vocabulary, {part: of}, n_jobs=1, **options) for of in given]
        return np.concatenate([words for words, _ in runs]), np.concatenate([counts[:, 0] for _, counts in runs])


def _means(conv: Located) -> Located:
    """The mean activation of each image, in the place of its pooled vector."""
    there = np.flatnonzero(np.diff(conv.offsets))
    cells = [conv.descriptors[conv.offsets[i] : conv.offsets[i + 1]].astype(np.float32).mean(axis=0) for i in there]
    offsets = np.concatenate([[0], np.cumsum(np.diff(conv.offsets) > 0)]).astype(np.int64)
    return Located(np.array(cells, np.float16), conv.keypoints[conv.offsets[there]], offsets)


def _quiet(event: Event) -> None:
    pass


def group(corpus: Corpus, row: Row, seed: int) -> NDArray[np.intp]:
    """The groups of a corpus's images, as a row makes them with a seed."""
    shares = share_words(VocabularyConfig().words, row.parts)
    if row.words:
        shares = dict(zip(row.parts, row.words, strict=True))
    keys = {
        part: (
            part,
            row.layer if part in ("conv", "joint") else DEFAULT_LAYER,
            row.mean_of if part == "pooled" else "",
            n_words,
            row.map_share if part == "joint" else 0.0,
            seed,
        )
        for part, n_words in shares.items()
    }
    n_topics = row.topics or corpus.n_topics
    vocabulary = Vocabulary({part: corpus.book(*key) for part, key in keys.items()})
    read, _ = corpus.labels()
    if "pooled" in keys:
        found = corpus.found("pooled", DEFAULT_LAYER, row.mean_of)
        book = vocabulary.codebooks["pooled"]
        embedding = np.full((len(read), book.centers.shape[1]), np.nan, np.float32)
        embedding[read] = np.concatenate([book.project(of.descriptors) for of in found])
    if row.kmeans:
        return KMeans(n_topics, n_init=row.kmeans, random_state=seed).fit(embedding[read]).labels_
    stream = merged([corpus.words(*key) for key in keys.values()], vocabulary)
    if "pooled" not in keys:
        embedding = initial.hellinger_embedding([stream.words], [stream.offsets], vocabulary.n_words)
    config = TopicsConfig(topics=n_topics, seed=seed)
    model = GibbsLDA(
        n_topics,
        word_weights=vocabulary.per_word({**config.weights, **row.weights}),
        max_iter=config.sweeps,
        n_walks=walks_for(stream.n_tokens),
        random_state=seed,
        n_jobs=1,
    ).set_params(**row.lda)
    model.fit(stream, doc_groups=start_of(embedding, n_topics, row.start, seed))
    return model.transform(stream).argmax(axis=1)[read]


def start_of(embedding: NDArray[np.float32], n_topics: int, seedings: int, seed: int) -> NDArray[np.int32] | None:
    """What the sampler starts from."""
    return initial.initial_groups(embedding, n_topics, seed=seed, n_init=seedings) if seedings else None


def merged(runs: Sequence[tuple[NDArray[Any], NDArray[np.int32]]], vocabulary: Vocabulary) -> TokenStream:
    """The words of several modalities as `encode` would write them: image by image, one modality after the other."""
    first = vocabulary.first_word.values()
    words = np.concatenate([words + np.intp(start) for (words, _), start in zip(runs, first, strict=True)])
    images = np.concatenate([np.repeat(np.arange(len(counts)), counts) for _, counts in runs])
    offsets = np.concatenate([[0], np.cumsum(sum(counts.astype(np.int64) for _, counts in runs))])
    in_order = words[np.argsort(images, kind="stable")].astype(vocabulary.dtype)
    return TokenStream(in_order, offsets, vocabulary.n_words)


@dataclass(frozen=True)
class Result:
    """The scores of a row, (n_corpora, n_seeds): accuracy, or purity with 20 topics; and NMI."""

    first: NDArray[np.float64]
    nmi: NDArray[np.float64]

    def line(self, name: str) -> str:
        """Its line of the table."""
        cells = [f"{a.mean():.3f} ± {a.std():.3f} / {n.mean():.3f}" for a, n in zip(self.first, self.nmi, strict=True)]
        cells += [f"{self.first.mean():.3f} / {self.nmi.mean():.3f}", str(self.first.shape[1])]
        return f"| {name} | {' | '.join(cells)} |"


def measure(row: Row, corpora: Sequence[Corpus], seeds: Sequence[int]) -> Result:
    """Group every corpus with every seed."""
    scores = np.empty((2, len(corpora), len(seeds)))
    for i, corpus in enumerate(corpora):
        _, labels = corpus.labels()
        for j, seed in enumerate(seeds):
            found = clustering_scores(labels, group(corpus, row, seed))
            scores[:, i, j] = found["purity" if row.topics else "acc"], found["nmi"]
    return Result(*scores)


def bounds(results: Mapping[Row, Result]) -> list[str]:
    """Which of the project's bounds hold, as far as the rows for them were run."""
    first = {row: result.first.mean(axis=1) for row, result in results.items() if not row.topics}
    default = next((mean for row, mean in first.items() if row.group == "default"), None)
    peer = next((mean for row, mean in first.items() if row.group == "kmeans"), None)
    single = [m for row, m in first.items() if row.group == "modality" and set(row.parts) in SINGLE]
    if default is None:
        return []
    lines = []
    if peer is not None:
        gap, mean = default - peer, (default - peer).mean()
        lines.append(_bound("K-Means on the pooled vector: no set more than .01 below it", gap.min(), -0.01))
        lines.append(_bound("on average at least .01 above it", mean, 0.01))
    if single:
        gap = default - np.max(single, axis=0)
        lines.append(_bound("the best single modality: no set more than .01 below it", gap.min(), -0.01))
    return lines


SINGLE = ({"sift"}, {"conv"}, {"pooled"}, {"conv", "pooled"})
"""What counts as one modality: SIFT, each layer of the CNN, and the CNN as a whole."""


def _bound(what: str, found: float, least: float) -> str:
    return f"- {what}: {found:+.3f}, {'holds' if found >= least else '**does not hold**'}"


def make_cards(scratch: Path, model: str, layers: Sequence[str]) -> None:
    """Cards of the shipped model with other layers as the map, where fastvbow looks for a user's models."""
    folder, shipped = scratch / "models", shipped_models()[model]
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["FASTVBOW_MODELS"] = str(folder)
    if not (folder / f"{shipped.stem}.onnx").exists():
        shutil.copy(shipped.with_suffix(".onnx"), folder)
    for layer in layers:
        card = shipped.read_text().replace(f'conv = "{DEFAULT_LAYER}"', f'conv = "{layer}"')
        name = f"{shipped.stem}_{layer}"
        (folder / f"{name}.toml").write_text(card.replace(f'name = "{shipped.stem}"', f'name = "{name}"'))


def main() -> None:
    """Measure the rows and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", nargs="*", metavar="FOLDER:TOPICS")
    parser.add_argument("--scratch", type=Path, metavar="FOLDER", help="gets the features; may be kept")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--model", default=MODEL, help="the CNN; only the float one has all layers (%(default)s)")
    parser.add_argument("--only", default="", metavar="NAME,...", help="groups of rows, or rows by number (--list)")
    parser.add_argument("--list", action="store_true", help="show the rows and end")
    given = parser.parse_args()
    if given.list:
        print("\n".join(f"{i:3} {row.group:9} {row.name}" for i, row in enumerate(rows())))
        return
    if not given.corpora or given.scratch is None:
        parser.error("name the folders and --scratch")
    wanted = [name for name in given.only.split(",") if name]
    chosen = [row for i, row in enumerate(rows()) if not wanted or row.group in wanted or str(i) in wanted]
    layers = sorted({layer for row in chosen for layer in row.layers})
    make_cards(given.scratch, given.model, [layer for layer in layers if layer != DEFAULT_LAYER])
    corpora = []
    for corpus in given.corpora:
        folder, _, topics = corpus.rpartition(":")
        corpora.append(Corpus(Path(folder), int(topics), given.scratch, given.model))
        for layer in layers:
            corpora[-1].extract(layer)
    seeds, results = [int(seed) for seed in given.seeds.split(",")], {}
    print(f"ACC ± standard deviation / NMI (20 topics: purity / NMI), seeds {given.seeds}\n")
    print(f"| | {' | '.join(corpus.source.name for corpus in corpora)} | mean | seeds |")
    print(f"|---|{'---|' * (len(corpora) + 2)}")
    with one_thread_each(), no_numerical_warnings():
        for row in chosen:
            results[row] = measure(row, corpora, seeds)
            print(results[row].line(f"20 topics: {row.name}" if row.topics else row.name), flush=True)
    print("\n".join(["", *bounds(results)]))


if __name__ == "__main__":
    main()
