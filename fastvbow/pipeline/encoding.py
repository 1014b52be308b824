"""Stage ``encode``: every local feature to its visual word."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.config import EncodeConfig
from fastvbow.errors import StageMissingError, StoreCorruptError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.shards import open_shards, ranges_of
from fastvbow.pipeline.stage import run_stage
from fastvbow.project import ProjectFolder, StageCard, replace_folder
from fastvbow.words.joint import Located, features_for
from fastvbow.words.tokens import encode as encode_words
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["TokenShard", "are_encoded", "encode", "encode_shard", "located", "open_tokens"]


@dataclass(frozen=True)
class TokenShard:
    """The tokens of a shard.

    Attributes
    ----------
    words : ndarray of shape (n_tokens,), uint16 or uint32, read-only memory map
    counts : ndarray of shape (n_images, n_modalities), int32
    """

    words: NDArray[Any]
    counts: NDArray[np.int32]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(n_images + 1,): where each image's tokens begin."""
        return np.concatenate([[0], np.cumsum(self.counts.sum(axis=1, dtype=np.int64))])


def encode(
    project: Path, config: EncodeConfig | None = None, *, jobs: int | None = None, listener: Listener = log_events
) -> StageCard:
    """Give every local feature of a project its word.

    Parameters
    ----------
    project : Path
    config : EncodeConfig, optional
    jobs : int, optional
        Threads; None or -1: all processors. The tokens are the same for any number.
    listener : Listener, optional

    Raises
    ------
    StageMissingError
        There is no vocabulary of these features yet.
    """
    folder, config = ProjectFolder.open(project), config or EncodeConfig()
    workers = effective_jobs(jobs)
    return run_stage(
        folder,
        "encode",
        parameters=msgspec.structs.asdict(config),
        after="vocabulary",
        outputs=[folder.tokens],
        listener=listener,
        body=lambda: _encode(folder, config, workers, listener),
    )


def _encode(project: ProjectFolder, config: EncodeConfig, jobs: int, listener: Listener) -> dict[str, Any]:
    vocabulary = Vocabulary.load(project.vocabulary)
    shards = open_shards(project)
    n_images, n_tokens = 0, 0
    total = sum(shard.card.n_images for shard in shards)
    with replace_folder(project.tokens) as folder, one_thread_each():
        for index, shard in enumerate(shards):
            tokens = encode_shard(vocabulary, shard, config, jobs=jobs)
            (folder / f"shard-{index:05d}").mkdir()
            np.save(folder / f"shard-{index:05d}" / "words.npy", tokens.words)
            np.save(folder / f"shard-{index:05d}" / "counts.npy", tokens.counts)
            n_images, n_tokens = n_images + len(tokens.counts), n_tokens + len(tokens.words)
            listener(Event("encode", "step", done=n_images, total=total))
    return {"tokens": n_tokens}


def encode_shard(vocabulary: Vocabulary, shard: FeatureShard, config: EncodeConfig, *, jobs: int = 1) -> TokenShard:
    """The tokens of a shard, in memory.

    Parameters
    ----------
    vocabulary : Vocabulary
    shard : FeatureShard
    config : EncodeConfig
    jobs : int, default=1
        Threads.
    """
    features = features_for(vocabulary.codebooks, partial(located, shard))
    return TokenShard(*encode_words(vocabulary, features, n_jobs=jobs, **msgspec.structs.asdict(config)))


def located(shard: FeatureShard, name: str) -> Located:
    """The features of one modality of a shard, as memory maps."""
    return Located(shard.descriptors(name), shard.keypoints(name), shard.offsets(name))


def are_encoded(project: ProjectFolder) -> bool:
    """Whether a project's photographs have words that are up to date: clusters need none."""
    try:
        project.require("encode")
    except StageMissingError:
        return False
    return True


def open_tokens(project: ProjectFolder) -> Sequence[TokenShard]:
    """The token shards of a project, as memory maps."""
    project.require("encode")
    shards = []
    ranges = ranges_of(project.require("extract").outputs)
    _allow_open_files(len(ranges))
    for index, (start, stop) in enumerate(ranges):
        folder = project.tokens / f"shard-{index:05d}"
        try:
            shard = TokenShard(np.load(folder / "words.npy", mmap_mode="r"), np.load(folder / "counts.npy"))
        except (OSError, ValueError) as error:
            raise StoreCorruptError(
                f"{folder}: {error}: delete {project.tokens} and run 'fastvbow encode' again"
            ) from None
        if len(shard.words) != shard.offsets[-1] or len(shard.counts) != stop - start:
            raise StoreCorruptError(
                f"{folder} holds {len(shard.words)} words of {len(shard.counts)} images; its counts say "
                f"{shard.offsets[-1]}, the image table {stop - start}: "
                f"delete {project.tokens} and run 'fastvbow encode' again"
            )
        shards.append(shard)
    return shards


def _allow_open_files(maps: int) -> None:
    """Raise this process's limit of open files, usually 1024, where so many memory maps would exceed it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = maps + 512
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard)
        )
