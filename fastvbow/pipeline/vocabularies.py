"""Stage ``vocabulary``: local features to visual words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.config import MODALITIES, VocabularyConfig
from fastvbow.errors import NoImagesError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.encoding import located
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.stage import no_numerical_warnings, run_stage
from fastvbow.project import ProjectFolder, StageCard, replace_folder
from fastvbow.words.joint import JointFeatures, joint_sample, train_joint_codebook
from fastvbow.words.shares import fused, share_words
from fastvbow.words.vocabulary import Codebook, Vocabulary, train_codebook

__all__ = ["draw_rows", "learn_vocabulary", "vocabulary"]


def vocabulary(
    project: Path, config: VocabularyConfig | None = None, *, jobs: int | None = None, listener: Listener = log_events
) -> StageCard:
    """Learn the visual words of a project's features.

    Parameters
    ----------
    project : Path
    config : VocabularyConfig, optional
    jobs : int, optional
        Threads; None or -1: all processors. The words are the same for any number.
    listener : Listener, optional

    Returns
    -------
    StageCard
        ``outputs["words"]``: words in all.

    Raises
    ------
    StageMissingError
        There are no features yet.
    UsageError
        Joint words are asked for, and one of the two kinds of features is not there.
    """
    folder, config = ProjectFolder.open(project), config or VocabularyConfig()
    workers = effective_jobs(jobs)
    if config.fusion != "separate":  # before the words that there are lose their card
        fused([name for kind in folder.require("extract").parameters for name in MODALITIES[kind]], config.fusion)
    return run_stage(
        folder,
        "vocabulary",
        parameters=config.parameters,
        after="extract",
        outputs=[folder.vocabulary],
        listener=listener,
        body=lambda: _train(folder, config, workers, listener),
    )


def _train(project: ProjectFolder, config: VocabularyConfig, jobs: int, listener: Listener) -> dict[str, Any]:
    vocabulary = learn_vocabulary(open_shards(project), config, project.source, jobs=jobs, listener=listener)
    with replace_folder(project.vocabulary) as path:
        vocabulary.save(path)
    books = vocabulary.codebooks
    return {"words": vocabulary.n_words, **{f"{name} words": book.n_words for name, book in books.items()}}


def learn_vocabulary(
    shards: Sequence[FeatureShard],
    config: VocabularyConfig,
    source: Path,
    *,
    jobs: int = 1,
    listener: Listener = log_events,
) -> Vocabulary:
    """Learn the visual words of some shards' features.

    Parameters
    ----------
    shards : sequence of FeatureShard
        At least one.
    config : VocabularyConfig
    source : Path
        Where the photographs came from, for the message where they have no feature.
    jobs : int, default=1
        Threads. The words are the same for any number.
    listener : Listener, optional
        Hears where there are fewer features than words.

    Returns
    -------
    Vocabulary

    Raises
    ------
    NoImagesError
        No photograph has a feature.
    UsageError
        There are fewer words than kinds of features, or one of those that joint words want is not there.
    """
    names = [name for name in shards[0].card.rows if any(shard.card.rows[name] for shard in shards)]
    if not names:
        raise NoImagesError(
            f"no image of {source} has a single keypoint, so nothing to group them by: add --features cnn"
        )
    shares = share_words(config.words, fused(names, config.fusion))
    codebooks = {}
    with one_thread_each(), no_numerical_warnings():
        for number, (name, share) in enumerate(shares.items()):
            rng = np.random.default_rng([config.seed, number])
            if name == "joint":
                book = _train_joint(shards, share, config, rng, jobs)
            else:
                sample = _sample(shards, name, config.sample, rng)
                book = train_codebook(sample, share, project=name != "sift", seed=config.seed, n_jobs=jobs)
            codebooks[name] = book
            if book.n_words < share:
                told = f"only {book.n_words} {name} features for {share} words: each is a word"
                listener(Event("vocabulary", "warning", told))
    return Vocabulary(codebooks)


def _train_joint(
    shards: Sequence[FeatureShard], n_words: int, config: VocabularyConfig, rng: np.random.Generator, jobs: int
) -> Codebook:
    """Joint words, of the keypoints that SIFT's own words would be learned from."""
    drawn = draw_rows([shard.card.rows["sift"] for shard in shards], config.sample, rng)
    parts = (
        (JointFeatures(located(shard, "sift"), located(shard, "conv")), rows)
        for shard, rows in zip(shards, drawn, strict=True)
    )
    sift, activations = joint_sample(parts)
    return train_joint_codebook(sift, activations, n_words, map_share=config.map_share, seed=config.seed, n_jobs=jobs)


def _sample(shards: Sequence[FeatureShard], name: str, size: int, rng: np.random.Generator) -> NDArray[Any]:
    """At most `size` descriptors of all shards."""
    drawn = draw_rows([shard.card.rows[name] for shard in shards], size, rng)
    # one map at a time: each holds a file open
    return np.concatenate([shard.descriptors(name)[rows] for shard, rows in zip(shards, drawn, strict=True)])


def draw_rows(counts: Sequence[int], size: int, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Draw at most `size` rows evenly over all shards: one at random from each of `size` equal stretches.

    Parameters
    ----------
    counts : sequence of int
        How many rows each shard has.
    size : int
    rng : numpy.random.Generator

    Returns
    -------
    list of ndarray, int64
        Those of each shard, ascending.
    """
    ends = np.cumsum(counts)
    n_rows = int(ends[-1])
    if n_rows <= size:
        rows = np.arange(n_rows)
    else:
        rows = np.unique(((np.arange(size) + rng.random(size)) * (n_rows / size)).astype(np.int64))
    parts = np.split(rows, np.searchsorted(rows, ends[:-1]))
    return [part - (end - count) for part, end, count in zip(parts, ends, counts, strict=True)]
