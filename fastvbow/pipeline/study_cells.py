"""The work of a study's cells: words and tokens of a setting, then topics, mixtures and scores for each number.

What `fastvbow run` would do, with the same functions and seeds, on a part of the features that all settings share:
without photographs held out, a cell's mixtures are those of ``fastvbow run`` with its parameters, bit for bit. Tokens
are held in memory (some 1.3 kB a photograph and job) and are gone with the setting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from fastvbow.config import EncodeConfig, TopicsConfig, VocabularyConfig
from fastvbow.events import Listener
from fastvbow.executors import one_thread_each
from fastvbow.features.part import ShardPart
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.encoding import TokenShard, encode_shard
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.study_plan import Photographs, Setting
from fastvbow.pipeline.study_scores import (
    codebook_scores,
    label_scores,
    mixture_scores,
    topic_scores,
    word_scores,
)
from fastvbow.pipeline.study_store import Cell
from fastvbow.pipeline.topic_modelling import fit_model, start_embedding
from fastvbow.pipeline.vocabularies import learn_vocabulary
from fastvbow.project import ProjectFolder
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.stream import TokenStream
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["ROUTE", "Stopped", "Stopwatch", "Tokens", "Worded", "described", "find_words", "fit_cell"]

ROUTE = "fastvbow"
"""The method of a cell, beside the names of the baselines."""


class Stopped(Exception):  # noqa: N818 - no error: the study was interrupted, and this cell ends at the next sweep
    """The study was told to stop."""


class Stopwatch:
    """Seconds by step.

    Parameters
    ----------
    seconds : dict of str to float, optional
        What was taken before.
    """

    def __init__(self, seconds: dict[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens within."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - begun, 3)


@dataclass(frozen=True)
class Tokens:
    """Photographs as tokens.

    Attributes
    ----------
    which : ndarray of shape (n,), int64
        The positions of these photographs among all of the study.
    shards : list of ShardPart
    tokens : list of TokenShard
    streams : list of TokenStream
    counts : csr_array of shape (n, n_words), int32
    scores, per_label : dict, list of dict
        What `word_scores` and `codebook_scores` say of them: it does not depend on the topics.
    """

    which: NDArray[np.int64]
    shards: list[ShardPart]
    tokens: list[TokenShard]
    streams: list[TokenStream]
    counts: sp.csr_array
    scores: dict[str, float]
    per_label: list[dict[str, Any]]


@dataclass(frozen=True)
class Worded:
    """A setting with its words.

    Attributes
    ----------
    setting : Setting
    vocabulary : Vocabulary
    learned : Tokens
        The photographs that words and topics are learned from.
    held_out : Tokens or None
    seconds : dict of str to float
    """

    setting: Setting
    vocabulary: Vocabulary
    learned: Tokens
    held_out: Tokens | None
    seconds: dict[str, float] = field(default_factory=dict)


def find_words(project: ProjectFolder, photographs: Photographs, setting: Setting, listener: Listener) -> Worded:
    """Learn a setting's words and encode the photographs.

    Parameters
    ----------
    project : ProjectFolder
        Its features have as many keypoints at least.
    photographs : Photographs
    setting : Setting
    listener : Listener
        Hears what is odd.

    Raises
    ------
    NoImagesError
        No photograph has a feature.
    """
    watch, chosen = Stopwatch(), photographs.chosen(setting.part)
    shards = open_shards(project)
    learned = _parts(shards, photographs, setting, chosen)
    with one_thread_each():
        with watch.step("words"):
            config = VocabularyConfig(words=setting.words, seed=setting.seed)
            vocabulary = learn_vocabulary(learned, config, project.source, listener=listener)
        with watch.step("tokens"):
            first = _encode(vocabulary, learned, photographs, chosen)
            rest = None
            if not chosen.all():
                rest = _encode(vocabulary, _parts(shards, photographs, setting, ~chosen), photographs, ~chosen)
    return Worded(setting, vocabulary, first, rest, watch.seconds)


def _parts(
    shards: Sequence[FeatureShard], photographs: Photographs, setting: Setting, chosen: NDArray[np.bool_]
) -> list[ShardPart]:
    """The chosen photographs of each shard, as the setting sees them."""
    wanted = photographs.rows.copy()
    wanted[photographs.rows] = chosen
    parts, at = [], 0
    for shard in shards:
        of_shard = wanted[at : at + shard.card.n_images]
        at += shard.card.n_images
        parts.append(ShardPart(shard, of_shard, setting.modalities, setting.keypoints or None))
    return [part for part in parts if part.card.n_images] or parts[:1]


def _encode(
    vocabulary: Vocabulary, parts: list[ShardPart], photographs: Photographs, chosen: NDArray[np.bool_]
) -> Tokens:
    tokens = [encode_shard(vocabulary, part, EncodeConfig()) for part in parts]
    streams = [TokenStream(part.words, part.offsets, vocabulary.n_words) for part in tokens]
    counts = sp.vstack([stream.to_counts() for stream in streams], format="csr")
    scores, per_label = word_scores(counts, photographs.labels[chosen], photographs.label_names)
    scores |= codebook_scores(vocabulary, parts)
    return Tokens(np.flatnonzero(chosen), parts, tokens, streams, counts, scores, per_label)


def fit_cell(
    worded: Worded, n_topics: int, photographs: Photographs, *, sweeps: int, stop: threading.Event | None = None
) -> Cell:
    """Train the topics of a cell and measure all there is.

    Parameters
    ----------
    worded : Worded
    n_topics : int
    photographs : Photographs
    sweeps : int
    stop : threading.Event, optional
        Ends the training at the next sweep.

    Raises
    ------
    Stopped
        `stop` was set.
    """

    def tell(done: int, total: int) -> None:
        if stop is not None and stop.is_set():
            raise Stopped

    setting, watch = worded.setting, Stopwatch(worded.seconds)
    config = TopicsConfig(topics=n_topics, sweeps=sweeps, seed=setting.seed)
    theta = np.empty((len(photographs.ids), n_topics))
    with one_thread_each():
        with watch.step("topics"):
            learned = worded.learned
            start = start_embedding(learned.shards, learned.tokens, worded.vocabulary)
            model = fit_model(learned.streams, start, worded.vocabulary, n_topics, config, tell=tell)
        with watch.step("mixtures"):
            for part in filter(None, (worded.learned, worded.held_out)):
                theta[part.which] = model.transform(part.streams)
        groups = theta.argmax(axis=1).astype(np.int32)
        with watch.step("scores"):
            share = "training" if worded.held_out is not None else "all"
            scores, per_label = _score(model, worded.learned, photographs, theta, groups, share)
            if worded.held_out is not None:
                found, rows = _score(model, worded.held_out, photographs, theta, groups, "validation")
                scores |= {f"validation_{name}": value for name, value in found.items()}
                per_label += rows
    return Cell(
        described(setting, ROUTE, n_topics),
        watch.seconds,
        scores,
        per_label,
        groups,
        theta.astype(np.float32),
        _histograms(worded.learned.counts, photographs.labels[worded.learned.which], len(photographs.label_names)),
    )


def described(setting: Setting, method: str, n_topics: int) -> dict[str, Any]:
    """A setting as the tables have it."""
    return {
        "part": setting.part,
        "method": method,
        "features": ",".join(setting.features),
        "keypoints": setting.keypoints,
        "words": setting.words,
        "topics": n_topics,
        "seed": setting.seed,
    }


def _score(
    model: GibbsLDA,
    part: Tokens,
    photographs: Photographs,
    theta: NDArray[np.float64],
    groups: NDArray[np.int32],
    share: str,
) -> tuple[dict[str, float], list[dict[str, Any]]]:
    labels, names = photographs.labels[part.which], photographs.label_names
    seen = share != "validation"
    of_theta, theta_rows = mixture_scores(theta[part.which], labels, names)
    own = groups[part.which]
    scores = {
        "n_images": float(len(part.which)),
        "n_groups": float(len(np.unique(own))),
        **label_scores(labels, own),
        **of_theta,
        **part.scores,
        **topic_scores(model, part.streams, seen=seen),
    }
    rows = [{"share": share, **a, **b} for a, b in zip(theta_rows, part.per_label, strict=True)]
    return scores, rows


def _histograms(counts: sp.csr_array, labels: NDArray[np.int32], n_labels: int) -> NDArray[np.float32] | None:
    """The mean word frequencies of each label, (n_labels, n_words)."""
    if not n_labels:
        return None
    mass = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    known = np.flatnonzero(labels >= 0)
    of_label = np.bincount(labels[known], minlength=n_labels)
    share = 1 / (mass[known] * of_label[labels[known]])
    weights = sp.csr_array((share, (labels[known], known)), shape=(n_labels, len(labels)))
    return (weights @ counts).toarray().astype(np.float32)
