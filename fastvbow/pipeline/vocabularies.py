"""Stage ``vocabulary``: local features to visual words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.config import VocabularyConfig
from fastvbow.errors import NoImagesError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.stage import no_numerical_warnings, run_stage
from fastvbow.project import ProjectFolder, StageCard, replace_folder
from fastvbow.words.shares import share_words
from fastvbow.words.vocabulary import Vocabulary, train_codebook

__all__ = ["vocabulary"]


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
    """
    folder, config = ProjectFolder.open(project), config or VocabularyConfig()
    workers = effective_jobs(jobs)
    return run_stage(
        folder,
        "vocabulary",
        parameters=msgspec.structs.asdict(config),
        after="extract",
        outputs=[folder.vocabulary],
        listener=listener,
        body=lambda: _train(folder, config, workers, listener),
    )


def _train(project: ProjectFolder, config: VocabularyConfig, jobs: int, listener: Listener) -> dict[str, Any]:
    shards = open_shards(project)
    names = [name for name in shards[0].card.rows if any(shard.card.rows[name] for shard in shards)]
    if not names:
        raise NoImagesError(
            f"no image of {project.source} has a single keypoint, so nothing to group them by: add --features cnn"
        )
    shares = share_words(config.words, names)
    codebooks = {}
    with one_thread_each(), no_numerical_warnings():
        for number, (name, share) in enumerate(shares.items()):
            rng = np.random.default_rng([config.seed, number])
            sample = _sample(shards, name, config.sample, rng)
            codebooks[name] = train_codebook(sample, share, project=name != "sift", seed=config.seed, n_jobs=jobs)
            if codebooks[name].n_words < share:
                listener(
                    Event(
                        "vocabulary", "warning", f"only {len(sample)} {name} features for {share} words: each is a word"
                    )
                )
    vocabulary = Vocabulary(codebooks)
    with replace_folder(project.vocabulary) as path:
        vocabulary.save(path)
    return {"words": vocabulary.n_words, **{f"{name} words": book.n_words for name, book in codebooks.items()}}


def _sample(shards: Sequence[FeatureShard], name: str, size: int, rng: np.random.Generator) -> NDArray[Any]:
    """At most `size` descriptors, drawn evenly over all shards: one at random from each of `size` equal stretches."""
    ends = np.cumsum([shard.card.rows[name] for shard in shards])
    n_rows = int(ends[-1])
    if n_rows <= size:
        rows = np.arange(n_rows)
    else:
        rows = np.unique(((np.arange(size) + rng.random(size)) * (n_rows / size)).astype(np.int64))
    cuts = np.searchsorted(rows, ends)
    starts = np.concatenate([[0], cuts[:-1]])
    drawn = []
    for shard, end, a, b in zip(shards, ends, starts, cuts, strict=True):
        part = shard.descriptors(name)  # one map at a time: each holds a file open
        drawn.append(part[rows[a:b] - (end - len(part))])
    return np.concatenate(drawn)
