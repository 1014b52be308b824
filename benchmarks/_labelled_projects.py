"""Projects of labelled folders, one for each number of topics and seed, made once and kept; and what is in them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fastvbow import pipeline
from fastvbow.config import TopicsConfig, VocabularyConfig
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import load_grouping
from fastvbow.project import ProjectFolder
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["Labelled", "Topics", "corpus_name", "labelled_project"]

Topics = int | Literal["auto"]


@dataclass
class Labelled:
    """A project's photographs: mixtures, vectors in the vocabulary's components, classes from 0, rows by id."""

    folder: Path
    theta: np.ndarray
    vectors: np.ndarray
    classes: np.ndarray
    row_of: dict[str, int]

    @property
    def n_classes(self) -> int:
        return int(self.classes.max()) + 1


def corpus_name(source: Path) -> str:
    return source.parent.name if source.name == "dataset" else source.name


def labelled_project(source: Path, topics: Topics, seed: int, keep: Path) -> Labelled:
    """The project `keep`/NAME-TOPICS-SEED; features are copied from any other of the same source."""
    folder = keep / f"{corpus_name(source)}-{topics}-{seed}"
    others = sorted(keep.glob(f"{corpus_name(source)}-*"))
    if not folder.exists() and others:
        shutil.copytree(others[0], folder)
    pipeline.extract(source, folder)
    pipeline.vocabulary(folder, VocabularyConfig(seed=seed))
    pipeline.encode(folder)
    pipeline.topics(folder, TopicsConfig(topics=topics, seed=seed))
    opened = ProjectFolder.open(folder)
    grouping = load_grouping(opened, "parent")
    book = Vocabulary.load(opened.vocabulary).codebooks["pooled"]
    vectors = np.concatenate([book.project(shard.descriptors("pooled")) for shard in open_shards(opened)])
    classes = np.unique(np.array(grouping.labels), return_inverse=True)[1]
    rows = {image_id: row for row, image_id in enumerate(grouping.image_ids)}
    return Labelled(folder, np.asarray(grouping.theta), vectors, classes, rows)
