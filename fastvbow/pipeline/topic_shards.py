"""The stage ``topics`` as tasks of an executor, each of one shard or one walk.

What they leave for one another stands in ``training/`` of the project: ``run.json`` names the training that is under
way, by the fingerprint of all that decides it, and ``training/HEX/`` holds its files: ``embedding/``, ``groups/`` and
``theta/`` with ``shard-NNNNN.npy``, ``start.json``, which is written when the groups are, and the state that
`fastvbow.topics.walks` specifies. A writer MAY remove the folder, and MUST where ``run.json`` names another training; a
task MUST NOT write into it then. A stage that was ended goes on from there; the folder goes when the stage is done.

The caller holds a few numbers a shard, the 50,000 rows that decide the start, and one shard's mixtures and topics at a
time. A task carries less than 600 bytes and returns a number; those of the walks say themselves what they return.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import Cancelled
from fastvbow.events import Event, Listener
from fastvbow.executors import one_thread_each
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.crew import check_crew
from fastvbow.pipeline.shards import feature_shard, ranges_of, shards_together
from fastvbow.pipeline.stage import no_numerical_warnings
from fastvbow.places import Place, new_file
from fastvbow.portions import run_portions
from fastvbow.project import ProjectFolder, fingerprint_of, replace_folder
from fastvbow.topics import topic_number
from fastvbow.topics.inference import likeliest_topics
from fastvbow.topics.initial import (
    drawn_landmarks,
    group_centres,
    known_rows,
    nearest_groups,
    root_axes,
    root_embedding,
    root_landmarks,
)
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.shards import ShardTokens, load_array, save_array
from fastvbow.topics.topic_number import Proposal
from fastvbow.words.vocabulary import Codebook, Vocabulary

__all__ = [
    "ShardTask",
    "Shards",
    "assign_shard",
    "embed_shard",
    "infer_shard",
    "open_training",
    "pooled_rows",
    "take_landmarks",
]

TRAINING = "training"
IMAGES_A_TASK = 4096
"""Some tenths of a second of work: what a task has at most, where shards are small."""


@dataclass(frozen=True)
class ShardTask:
    """One shard's part of something; less than 600 bytes.

    Attributes
    ----------
    tokens : ShardTokens
    folder : str
        Of the training, in the project.
    shard : int
    first : int
        Number of the shard's first photograph.
    n_images : int
        Photographs of the project.
    topics_of_tokens : bool, default=False
        Whether `infer_shard` also writes the likeliest topic of every token.
    """

    tokens: ShardTokens
    folder: str
    shard: int
    first: int
    n_images: int
    topics_of_tokens: bool = False

    @property
    def place(self) -> Place:
        """Where the project is."""
        return self.tokens.place

    def name(self, kind: str) -> str:
        """The shard's file of a kind."""
        return f"{self.folder}/{kind}/shard-{self.shard:05d}.npy"

    def save(self, kind: str, rows: NDArray[Any]) -> None:
        """Write the shard's file of a kind. A task that outlives its call must not bring back a training's folder.

        Raises
        ------
        Cancelled
            The training is over, or another one is under way.
        """
        if _under_way(self.place) != self.folder.rpartition("/")[2]:
            raise Cancelled("the training that this task belongs to has ended")
        save_array(self.place, self.name(kind), rows)


def take_landmarks(task: ShardTask) -> int:
    """Write the word frequencies that decide the principal components.

    Parameters
    ----------
    task : ShardTask

    Returns
    -------
    int
        How many rows.
    """
    with one_thread_each():
        stream = task.tokens.open(task.shard)
        rows = root_landmarks(stream.words, stream.offsets, stream.n_words, task.first, task.n_images)
        task.save("landmarks", rows)
        return len(rows)


def embed_shard(task: ShardTask) -> int:
    """Write what the start is a clustering of, as `fastvbow.pipeline.topic_modelling.start_embedding` does.

    Parameters
    ----------
    task : ShardTask

    Returns
    -------
    int
        Photographs of which something is known.
    """
    with one_thread_each(), no_numerical_warnings():
        vocabulary = Vocabulary.load(task.place.fetch("vocabulary"))
        if "pooled" in vocabulary.codebooks:
            rows = pooled_rows(
                FeatureShard(task.place.fetch(feature_shard(task.shard))), vocabulary.codebooks["pooled"]
            )
        else:
            axes = [load_array(task.place, f"{task.folder}/{name}.npy") for name in ("mean", "components")]
            stream = task.tokens.open(task.shard)
            found = (axes[0], axes[1]) if axes[1].size else None
            rows = root_embedding(stream.words, stream.offsets, stream.n_words, found)
        task.save("embedding", rows)
        return int(known_rows(rows).sum())


def pooled_rows(shard: FeatureShard, book: Codebook) -> NDArray[np.float32]:
    """The pooled vectors of a shard's photographs in the space of their words, (n_images, p); NaN for skipped ones."""
    rows = np.full((shard.card.n_images, book.centers.shape[1]), np.nan, np.float32)
    rows[shard.read] = book.project(shard.descriptors("pooled"))
    return rows


def assign_shard(task: ShardTask) -> int:
    """Write the group that each photograph starts from.

    Parameters
    ----------
    task : ShardTask

    Returns
    -------
    int
        Photographs without one.
    """
    with one_thread_each():
        centres = load_array(task.place, f"{task.folder}/centres.npy")
        groups = nearest_groups(load_array(task.place, task.name("embedding")), centres)
        task.save("groups", groups)
        return int((groups < 0).sum())


def infer_shard(task: ShardTask) -> int:
    """Write the mixtures of a shard's photographs under the training's model.

    Parameters
    ----------
    task : ShardTask

    Returns
    -------
    int
        How many there are.
    """
    with one_thread_each():
        model = GibbsLDA.load(task.place.fetch(f"{task.folder}/model"))
        stream = task.tokens.open(task.shard)
        theta = model.transform(stream)
        task.save("theta", theta)
        if task.topics_of_tokens:
            phi = np.ascontiguousarray(model.topic_word_.T)
            task.save("topics", likeliest_topics(stream, theta, phi))
        return len(theta)


class Start(msgspec.Struct):
    """What ``start.json`` holds: the number of topics, and the curve where it was proposed."""

    n_topics: int
    silhouettes: list[tuple[int, float]] | None = None


class Run(msgspec.Struct):
    """What ``run.json`` holds."""

    training: str


def open_training(project: ProjectFolder, known: Any) -> str:
    """The folder of the training that `known` decides, and of no other one; what another one has left is removed.

    Parameters
    ----------
    project : ProjectFolder
    known : JSON-serialisable
        All that decides the result.
    """
    place, key = project.place, fingerprint_of(known)[:16]
    if _under_way(place) != key:
        _remove(place)
        _write_json(place, f"{TRAINING}/run.json", Run(key))
    return f"{TRAINING}/{key}"


def _under_way(place: Place) -> str | None:
    """The training that ``run.json`` names."""
    try:
        return msgspec.json.decode(place.fetch(f"{TRAINING}/run.json").read_bytes(), type=Run).training
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _remove(place: Place) -> None:
    """First what says that the rest can be gone on from: a kill amid this must not leave half a training."""
    place.remove(f"{TRAINING}/run.json")
    place.remove(TRAINING)


class Shards:
    """A project's shards, and an executor that works on them for one training.

    Parameters
    ----------
    project : ProjectFolder
    n_words : int
    executor : Executor
    jobs : int
        Its threads or processes, where it is not Dask's.
    folder : str
        `open_training`.
    listener : Listener
    """

    def __init__(
        self, project: ProjectFolder, n_words: int, executor: Executor, jobs: int, folder: str, listener: Listener
    ) -> None:
        check_crew(executor, project)
        ranges = ranges_of(project.require("extract").outputs)
        self.tokens = ShardTokens(project.place, len(ranges), n_words)
        self.folder, self.executor, self.jobs = folder, executor, jobs
        self._place, self._ranges, self._listener = project.place, ranges, listener

    def start(
        self, of_words: bool, n_topics: int | None, propose: Callable[[NDArray[np.float32]], Proposal], seed: int
    ) -> Start:
        """The groups that the sampler starts from, in ``groups/``, and how many topics there are.

        Parameters
        ----------
        of_words : bool
            The photographs have no pooled vectors: their words are clustered.
        n_topics : int or None
            None: what `propose` says.
        propose : callable (embedding of some photographs) -> Proposal
        seed : int
        """
        try:
            path = self._place.fetch(f"{self.folder}/start.json")
            return msgspec.json.decode(path.read_bytes(), type=Start)
        except FileNotFoundError:
            pass
        if of_words:
            self._find_axes()
        n_known = self._each(embed_shard)
        found = Start(n_topics or 0)
        if n_topics is None:
            proposal = propose(self._drawn(n_known, seed, topic_number.SAMPLE))
            found = Start(proposal.n_topics, proposal.curve)
        landmarks = self._drawn(n_known, seed)
        with one_thread_each(), no_numerical_warnings():
            if len(landmarks):
                centres = group_centres(landmarks, found.n_topics, seed=seed)
            else:  # nothing is known, so each photograph is -1 whatever stands here
                centres = np.zeros((1, landmarks.shape[1]), np.float32)
        save_array(self._place, f"{self.folder}/centres.npy", centres)
        self._each(assign_shard)
        _write_json(self._place, f"{self.folder}/start.json", found)
        return found

    def mixtures(self, model: Path, *, topics_of_tokens: bool = False) -> int:
        """Infer every photograph's mixture, into ``theta/``; return how many there are.

        Parameters
        ----------
        model : Path
            A folder that `GibbsLDA.save` has written.
        topics_of_tokens : bool, default=False
            Every token's likeliest topic too, into ``topics/``.
        """
        with self._place.writing(f"{self.folder}/model") as final, replace_folder(final) as path:
            shutil.copytree(model, path, dirs_exist_ok=True)
        return sum(self._each(infer_shard, topics_of_tokens=topics_of_tokens))

    def arrays(self, kind: str) -> Iterator[NDArray[Any]]:
        """The arrays of a kind, shard by shard, memory-mapped."""
        for task in self._tasks():
            yield load_array(self._place, task.name(kind), mapped=True)

    def remove(self) -> None:
        """Take away all that was written for this training."""
        _remove(self._place)

    def _find_axes(self) -> None:
        self._each(take_landmarks)
        with one_thread_each(), no_numerical_warnings():
            axes = root_axes(np.concatenate(list(self.arrays("landmarks"))))
        mean, components = (np.zeros(0), np.zeros((0, 0))) if axes is None else axes
        save_array(self._place, f"{self.folder}/mean.npy", mean)
        save_array(self._place, f"{self.folder}/components.npy", components)

    def _drawn(self, n_known: list[int], seed: int, most: int | None = None) -> NDArray[np.float32]:
        """The rows of `drawn_landmarks`, of the embedding's shards."""
        chosen, first = drawn_landmarks(sum(n_known), seed=seed, most=most), 0
        rows: list[NDArray[np.float32]] = []
        for n, task in zip(n_known, self._tasks(), strict=True):
            here = chosen[(chosen >= first) & (chosen < first + n)] - first
            if len(here) or not rows:
                part = load_array(self._place, task.name("embedding"), mapped=True)
                rows.append(part[np.flatnonzero(known_rows(part))[here]])
            first += n
        return np.concatenate(rows)

    def _tasks(self, **how: Any) -> Iterator[ShardTask]:
        n_images = self._ranges[-1][1] if self._ranges else 0
        for shard, (first, _) in enumerate(self._ranges):
            yield ShardTask(self.tokens, self.folder, shard, first, n_images, **how)

    def _each(self, function: Callable[[ShardTask], int], **how: Any) -> list[int]:
        found, total = [], len(self._ranges)
        most = shards_together(self._ranges, IMAGES_A_TASK)
        tasks = self._tasks(**how)
        for number in run_portions(self.executor, function, tasks, n_tasks=total, jobs=self.jobs, most=most):
            found.append(number)
            self._listener(Event("topics", "step", done=len(found), total=total, unit="shards"))
        return found


def _write_json(place: Place, name: str, value: Any) -> None:
    with new_file(place, name) as path:
        path.write_bytes(msgspec.json.encode(value))
