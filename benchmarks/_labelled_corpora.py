"""Labelled sets, parts of them and mixtures, in words of their own: for benchmarks that compare many corpora."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastvbow import pipeline
from fastvbow.config import EncodeConfig
from fastvbow.demo.crops import make_crops
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.extraction import open_shards
from fastvbow.project import ProjectFolder
from fastvbow.topics.initial import hellinger_embedding
from fastvbow.topics.stream import TokenStream
from fastvbow.words.shares import share_words
from fastvbow.words.tokens import encode
from fastvbow.words.vocabulary import Vocabulary, train_codebook

__all__ = ["KINDS", "Corpus", "Rows", "Sets", "corpora"]

KINDS = ("sift", "conv", "pooled")

Features = dict[str, tuple[np.ndarray, np.ndarray]]
Rows = dict[str, np.ndarray]  # of each set the photographs that are taken


@dataclass
class Corpus:
    """Photographs with their classes, in words."""

    labels: np.ndarray
    stream: TokenStream
    embedding: np.ndarray

    @property
    def n_classes(self) -> int:
        return len(np.unique(self.labels))


class Sets:
    """The features of labelled sets."""

    def __init__(self, folders: Sequence[Path], scratch: Path) -> None:
        self.features: dict[str, Features] = {}
        self.labels: dict[str, np.ndarray] = {}
        make_crops(scratch / "demo", seed=0)
        for folder in [*folders, scratch / "demo"]:
            name = folder.parent.name if folder.name == "dataset" else folder.name
            pipeline.extract(folder, scratch / f"{name}.project", jobs=1)
            project = ProjectFolder.open(scratch / f"{name}.project")
            table = ImageTable.load(project.images, project.image_root)
            self.labels[name] = np.array([f"{name}/{Path(path).parent.name}" for path in table.names])
            shards = open_shards(project)
            self.features[name] = {
                kind: (
                    np.concatenate([shard.descriptors(kind) for shard in shards]),
                    np.concatenate([[0], *(np.diff(shard.offsets(kind)) for shard in shards)]).cumsum(),
                )
                for kind in KINDS
            }

    def of(self, name: str, classes: Sequence[int] | None = None, sizes: int | Sequence[int] = 10**6) -> Rows:
        """Photographs of a set: of some of its classes, a number of each."""
        labels, rng = self.labels[name], np.random.default_rng(5)
        known = np.unique(labels)
        chosen = range(len(known)) if classes is None else classes
        most = [sizes] * len(known) if isinstance(sizes, int) else sizes
        kept = [rng.permutation(np.flatnonzero(labels == known[c]))[:n] for c, n in zip(chosen, most, strict=False)]
        return {name: np.sort(np.concatenate(kept))}

    def draw(self, seed: int) -> Rows:
        """Some classes of some sets, from 2 to all, in two draws of five 100 of each, else from 15 to all."""
        rng = np.random.default_rng(seed)
        names = [name for name in self.labels if name != "demo"]
        names = [name for name in names if rng.random() < 0.6] or names[-1:]
        pool = [(name, label) for name in names for label in np.unique(self.labels[name])]
        picked = sorted(rng.permutation(len(pool))[: int(rng.integers(2, len(pool) + 1))])
        even, rows = rng.random() < 0.4, dict[str, list[np.ndarray]]()
        for name, label in (pool[i] for i in picked):
            of_class = np.flatnonzero(self.labels[name] == label)
            n = 100 if even else int(rng.integers(15, len(of_class) + 1))
            rows.setdefault(name, []).append(rng.permutation(of_class)[:n])
        return {name: np.sort(np.concatenate(parts)) for name, parts in rows.items()}

    def vectors(self, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The pooled vectors as the topics' start sees them, and the classes."""
        pooled = np.concatenate([self.features[name]["pooled"][0][chosen] for name, chosen in rows.items()])
        labels = np.concatenate([self.labels[name][chosen] for name, chosen in rows.items()])
        return train_codebook(pooled, 2, project=True, seed=0, n_jobs=1).project(pooled), labels

    def corpus(
        self,
        rows: Rows,
        *,
        kinds: Sequence[str] = KINDS,
        words: dict[str, int] | None = None,
        **encoding: Any,
    ) -> Corpus:
        """Words learnt on these photographs alone."""
        features, books = {}, {}
        for kind in kinds:
            parts, counts = [], []
            for name, chosen in rows.items():
                descriptors, offsets = self.features[name][kind]
                parts += [descriptors[offsets[i] : offsets[i + 1]] for i in chosen]
                counts.append(np.diff(offsets)[chosen])
            features[kind] = np.concatenate(parts), np.concatenate([[0], *counts]).cumsum()
            sample = np.ascontiguousarray(features[kind][0][:: -(-len(features[kind][0]) // 200_000)])
            n_words = (words or share_words(300, kinds))[kind]
            books[kind] = train_codebook(sample, n_words, project=kind != "sift", seed=0, n_jobs=1)
        vocabulary, usual = Vocabulary(books), EncodeConfig()
        how = {name: encoding.get(name, getattr(usual, name)) for name in usual.__struct_fields__}
        tokens, per_kind = encode(vocabulary, features, n_jobs=1, **how)
        offsets = np.concatenate([[0], np.cumsum(per_kind.sum(axis=1, dtype=np.int64))])
        if "pooled" in books:
            embedding = books["pooled"].project(features["pooled"][0])
        else:
            embedding = hellinger_embedding([tokens], [offsets], vocabulary.n_words)
        labels = np.concatenate([self.labels[name][chosen] for name, chosen in rows.items()])
        stream = TokenStream(np.ascontiguousarray(tokens), offsets, vocabulary.n_words)
        return Corpus(labels, stream, np.ascontiguousarray(embedding, np.float32))


def corpora(sets: Sets) -> dict[str, Rows]:
    """Whole sets, parts of them, few photographs, uneven classes, and mixtures."""
    sun, scene, corel = (name for name in sets.labels if name != "demo")
    return {
        sun: sets.of(sun),
        scene: sets.of(scene),
        corel: sets.of(corel),
        "demo": sets.of("demo"),
        "demo, 7": sets.of("demo", range(0, 14, 2)),
        f"{corel}, a": sets.of(corel, [0, 2, 5, 7]),
        f"{corel}, b": sets.of(corel, [1, 3, 4, 8, 9]),
        f"{corel}, c": sets.of(corel, [4, 6]),
        f"{corel}, 20 of each": sets.of(corel, None, 20),
        f"{sun}, a": sets.of(sun, [0, 1, 3, 4, 6, 7]),
        f"{sun}, b": sets.of(sun, [1, 2, 5]),
        f"{sun}, uneven": sets.of(sun, None, [200, 150, 100, 80, 60, 40, 30, 20]),
        f"{scene}, outdoors": sets.of(scene, [1, 2, 3, 5, 8, 10, 12, 14]),
        f"{scene}, indoors": sets.of(scene, [0, 4, 6, 7, 9, 11, 13]),
        f"{scene}, uneven": sets.of(scene, None, [100, 95, 90, *range(80, 20, -5)]),
        f"{sun} and {corel}": sets.of(sun) | sets.of(corel),
        "all three": sets.of(sun) | sets.of(scene) | sets.of(corel),
    }
