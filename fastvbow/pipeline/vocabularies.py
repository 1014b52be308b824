"""Stage ``vocabulary``: local features to visual words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.config import MODALITIES, VocabularyConfig
from fastvbow.errors import NoImagesError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.encoding import located
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.learning_words import LearningWords
from fastvbow.pipeline.stage import no_numerical_warnings, run_stage
from fastvbow.project import ProjectFolder, StageCard, replace_folder
from fastvbow.words.joint import JointFeatures, joint_sample, train_joint_codebook
from fastvbow.words.shares import fused, share_words
from fastvbow.words.vocabulary import Codebook, Vocabulary, fit_projection, train_codebook

__all__ = ["draw_rows", "learn_vocabulary", "vocabulary"]


def vocabulary(
    project: Path,
    config: VocabularyConfig | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    listener: Listener = log_events,
) -> StageCard:
    """Learn the visual words of a project's features.

    Parameters
    ----------
    project : Path
    config : VocabularyConfig, optional
    jobs : int, optional
        Threads; None or -1: all processors. The words are the same for any number.
    executor : Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` threads of this process.
        Changes no byte of the result. A sample is drawn there, and trained on here, by `jobs` threads.
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
    ClusterError
        The executor is Dask's, and its scheduler or too many workers are gone. Where all descriptors train the words,
        the next call goes on from the last pass.
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
        body=lambda: _train(folder, config, workers, executor, listener),
    )


def _train(
    project: ProjectFolder, config: VocabularyConfig, jobs: int, executor: Executor | None, listener: Listener
) -> dict[str, Any]:
    shards, source = open_shards(project), project.source
    work: LearningWords | None = None
    if executor is None and config.train == "sample":
        vocabulary = learn_vocabulary(shards, config, source, jobs=jobs, listener=listener)
    else:
        with make_executor(jobs) if executor is None else nullcontext(executor) as workers:
            work = LearningWords(project, shards, config, workers, jobs, listener)
            learn = partial(_learned_by_tasks, work, shards, config, jobs)
            vocabulary = _vocabulary(shards, config, source, learn, listener)
    with replace_folder(project.vocabulary) as path:
        vocabulary.save(path)
    if work is not None:
        work.end()
    books = vocabulary.codebooks
    return {"words": vocabulary.n_words, **{f"{name} words": book.n_words for name, book in books.items()}}


def learn_vocabulary(
    shards: Sequence[FeatureShard],
    config: VocabularyConfig,
    source: Path | str,
    *,
    jobs: int = 1,
    listener: Listener = log_events,
) -> Vocabulary:
    """Learn the visual words of a sample of some shards' features.

    Parameters
    ----------
    shards : sequence of FeatureShard
        At least one.
    config : VocabularyConfig
        Its `train` is "sample".
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
    if config.train != "sample":
        raise ValueError("words of all descriptors are those of a project: see vocabulary")

    def learn(name: str, number: int, shares: Mapping[str, int]) -> Codebook:
        return _of_sample(_sample(shards, name, _drawn(shards, name, number, config)), name, shares[name], config, jobs)

    return _vocabulary(shards, config, source, learn, listener)


def _vocabulary(
    shards: Sequence[FeatureShard],
    config: VocabularyConfig,
    source: Path | str,
    learn: Callable[[str, int, Mapping[str, int]], Codebook],
    listener: Listener,
) -> Vocabulary:
    """The words of each modality in turn."""
    names = [name for name in shards[0].card.rows if any(shard.card.rows[name] for shard in shards)]
    if not names:
        raise NoImagesError(
            f"no image of {source} has a single keypoint, so nothing to group them by: add --features cnn"
        )
    shares = share_words(config.words, fused(names, config.fusion))
    codebooks = {}
    with one_thread_each(), no_numerical_warnings():
        for number, (name, share) in enumerate(shares.items()):
            codebooks[name] = book = learn(name, number, shares)
            if book.n_words < share:
                told = f"only {book.n_words} {name} features for {share} words: each is a word"
                listener(Event("vocabulary", "warning", told))
    return Vocabulary(codebooks)


def _drawn(shards: Sequence[FeatureShard], name: str, number: int, config: VocabularyConfig) -> list[NDArray[np.int64]]:
    """The rows of each shard that are in the sample; joint words have the keypoints that SIFT's would be learned
    from."""
    counts = [shard.card.rows["sift" if name == "joint" else name] for shard in shards]
    return draw_rows(counts, config.sample, np.random.default_rng([config.seed, number]))


def _sample(shards: Sequence[FeatureShard], name: str, drawn: Sequence[NDArray[np.int64]]) -> tuple[NDArray[Any], ...]:
    """Descriptors of all shards; for joint words those of SIFT and the map at their places."""
    pairs = zip(shards, drawn, strict=True)
    if name == "joint":
        return joint_sample((JointFeatures(located(s, "sift"), located(s, "conv")), rows) for s, rows in pairs)
    # one map at a time: each holds a file open
    return (np.concatenate([shard.descriptors(name)[rows] for shard, rows in pairs]),)


def _of_sample(
    sample: tuple[NDArray[Any], ...], name: str, n_words: int, config: VocabularyConfig, jobs: int
) -> Codebook:
    if name == "joint":
        sift, activations = sample
        share, seed = config.map_share, config.seed
        return train_joint_codebook(sift, activations, n_words, map_share=share, seed=seed, n_jobs=jobs)
    return train_codebook(sample[0], n_words, project=name != "sift", seed=config.seed, n_jobs=jobs)


def _learned_by_tasks(
    work: LearningWords,
    shards: Sequence[FeatureShard],
    config: VocabularyConfig,
    jobs: int,
    name: str,
    number: int,
    shares: Mapping[str, int],
) -> Codebook:
    if config.train == "sample":
        sample = work.sample(name, _drawn(shards, name, number, config))
        return _of_sample(sample, name, shares[name], config, jobs)
    book = None
    if name != "sift":
        book = work.projection(name)
        if book is None:
            vectors = work.sample(name, _drawn(shards, name, number, config))[-1]
            share = config.map_share if name == "joint" else None
            book = Codebook(np.zeros((0, 0), np.float32), *fit_projection(vectors), share)
            work.keep_projection(name, book)
    centers = work.centers(name, shares[name], work.all_rows(name, book), len(shares))
    return Codebook(centers) if book is None else replace(book, centers=centers)


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
