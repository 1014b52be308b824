"""Stage ``encode``: every local feature to its visual word."""

from __future__ import annotations

import resource
import threading
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext, suppress
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
from fastvbow.executors import effective_jobs, make_executor, one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.marks import Mark, marked, marked_for
from fastvbow.pipeline.crew import check_crew
from fastvbow.pipeline.shards import feature_shard, ranges_of, shards_together, token_shard
from fastvbow.pipeline.stage import run_stage
from fastvbow.places import Place
from fastvbow.portions import run_portions
from fastvbow.project import STAGES, ProjectFolder, StageCard, fingerprint_of, replace_folder
from fastvbow.words.joint import Located, features_for
from fastvbow.words.tokens import encode as encode_words
from fastvbow.words.vocabulary import Vocabulary

__all__ = [
    "EncodeTask",
    "TokenShard",
    "are_encoded",
    "encode",
    "encode_shard",
    "encode_tokens",
    "located",
    "open_tokens",
]


IMAGES_A_TASK = 512
"""Half a second of work: what another process is handed at most, where shards are small."""


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
    project: Path,
    config: EncodeConfig | None = None,
    *,
    jobs: int | None = None,
    executor: Executor | None = None,
    listener: Listener = log_events,
) -> StageCard:
    """Give every local feature of a project its word.

    Shards that an interrupted call has left are kept.

    Parameters
    ----------
    project : Path
    config : EncodeConfig, optional
    jobs : int, optional
        Threads; None or -1: all processors. The tokens are the same for any number.
    executor : concurrent.futures.Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` threads of this process.
        Changes no byte of the result.
    listener : Listener, optional

    Raises
    ------
    StageMissingError
        There is no vocabulary of these features yet.
    ClusterError
        A worker does not see the project, or the scheduler or the workers are gone.
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
        body=lambda: _encode(folder, config, workers, executor, listener),
    )


@dataclass(frozen=True)
class EncodeTask:
    """A shard to encode: some 500 bytes and the project's path.

    Attributes
    ----------
    place : Place
        The project.
    index : int
        The shard's number.
    config : EncodeConfig
    mark : Mark
        What has to hold when the tokens are put in place.
    """

    place: Place
    index: int
    config: EncodeConfig
    mark: Mark


def _encode(
    project: ProjectFolder, config: EncodeConfig, jobs: int, executor: Executor | None, listener: Listener
) -> dict[str, Any]:
    place, words = project.place, project.require("vocabulary").fingerprint
    made = fingerprint_of([STAGES["encode"], msgspec.structs.asdict(config), words])
    ranges = ranges_of(project.require("extract").outputs)
    if executor is not None:
        check_crew(executor, project)
    if marked_for(place, "tokens") != made:
        place.remove("tokens")
    n_images, n_tokens = 0, 0
    with (
        marked(place, "tokens", made) as mark,
        make_executor(jobs) if executor is None else nullcontext(executor) as workers,
    ):
        tasks = (EncodeTask(place, index, config, mark) for index in range(len(ranges)))
        most = 1 if executor is None else shards_together(ranges, IMAGES_A_TASK)
        done = run_portions(workers, encode_tokens, tasks, n_tasks=len(ranges), jobs=jobs, most=most)
        with closing(done):
            for (start, stop), count in zip(ranges, done, strict=True):
                n_images, n_tokens = n_images + stop - start, n_tokens + count
                listener(Event("encode", "step", done=n_images, total=ranges[-1][1]))
    return {"tokens": n_tokens}


def encode_tokens(task: EncodeTask) -> int:
    """Encode a shard, unless that has been done; the number of its tokens.

    Parameters
    ----------
    task : EncodeTask

    Raises
    ------
    Cancelled
        The call that the task belongs to has ended.
    """
    place, name = task.place, token_shard(task.index)
    task.mark.check(place)
    with suppress(FileNotFoundError):
        if (n_tokens := _standing(place.fetch(name))) is not None:
            return n_tokens
    with one_thread_each():
        shard = FeatureShard(place.fetch(feature_shard(task.index)))
        tokens = encode_shard(_vocabulary(task), shard, task.config)
        with place.writing(name) as final, replace_folder(final, unless=lambda: _standing(final) is not None) as folder:
            np.save(folder / "words.npy", tokens.words)
            np.save(folder / "counts.npy", tokens.counts)
            task.mark.check(place)
    return len(tokens.words)


def _standing(folder: Path) -> int | None:
    """The number of a shard's tokens; None where it is not whole, as what a killed worker has sent to a store."""
    try:
        n_tokens = len(np.load(folder / "words.npy", mmap_mode="r"))
        return n_tokens if n_tokens == np.load(folder / "counts.npy").sum(dtype=np.int64) else None
    except FileNotFoundError:
        return None


_lock = threading.Lock()
_loaded: tuple[str, Vocabulary] | None = None


def _vocabulary(task: EncodeTask) -> Vocabulary:
    """The words of a project, which a process loads once for all shards of a call."""
    global _loaded
    with _lock:
        if _loaded is None or _loaded[0] != task.mark.line:
            _loaded = task.mark.line, Vocabulary.load(task.place.fetch("vocabulary"))
        return _loaded[1]


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
    with suppress(FileNotFoundError):  # of which each shard tells
        project.place.fetch("tokens")
    ranges = ranges_of(project.require("extract").outputs)
    _allow_open_files(len(ranges))
    for index, (start, stop) in enumerate(ranges):
        folder = project.root / token_shard(index)
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
