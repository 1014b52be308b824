"""What the tasks of a training do: a walk's first topics, some sweeps of it and a look at what came out.

`fastvbow.topics.walks` specifies the files and hands the tasks out. Each reads its tokens and their topics, and leaves
no trace but the file it writes: it may be done twice, or at the same time in two places.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fastvbow.topics._gibbs as _gibbs
from fastvbow.errors import Cancelled, StoreCorruptError
from fastvbow.executors import one_thread_each
from fastvbow.memory import aligned
from fastvbow.places import Place, new_file
from fastvbow.topics.joint_likelihood import count_topics, document_terms
from fastvbow.topics.measuring import units_of
from fastvbow.topics.shards import Run, ShardTokens, load_array, open_run, save_array
from fastvbow.topics.stream import TokenStream
from fastvbow.topics.walking import Stretch, make_sampler, padded_topics, topic_dtype, walk

__all__ = ["Setup", "WalkTask", "Walked", "add_walked", "counts_name", "draw_topics", "sample_walk"]


def counts_name(folder: str, sweep: int) -> str:
    """The file of the counts after a sweep."""
    return f"{folder}/counts.sweep-{sweep:05d}.npy"


@dataclass(frozen=True)
class Setup:
    """What all tasks of a training share; ``setup.npz`` holds it.

    Attributes
    ----------
    alpha : ndarray of shape (K,), float64
    eta : float
    weights : ndarray of shape (V,), float64
    seed : int
    algorithm : str
    fraction : float
        Chance that a token of a document in a known group starts with that group as its topic.
    """

    alpha: NDArray[np.float64]
    eta: float
    weights: NDArray[np.float64]
    seed: int
    algorithm: str
    fraction: float

    def save(self, place: Place, folder: str) -> None:
        """Write it for the tasks."""
        with new_file(place, f"{folder}/setup.npz") as path, path.open("wb") as file:
            np.savez(
                file,
                alpha=self.alpha,
                eta=np.float64(self.eta),
                weights=self.weights,
                seed=np.uint64(self.seed),
                algorithm=np.array(self.algorithm),
                fraction=np.float64(self.fraction),
            )

    @classmethod
    def load(cls, place: Place, folder: str) -> Setup:
        """Read what `save` wrote."""
        with np.load(place.fetch(f"{folder}/setup.npz"), allow_pickle=False) as file:
            eta, fraction = float(file["eta"]), float(file["fraction"])
            return cls(file["alpha"], eta, file["weights"], int(file["seed"]), str(file["algorithm"]), fraction)


@dataclass(frozen=True)
class WalkTask:
    """Some sweeps of one walk: less than 600 bytes, whatever the corpus.

    Attributes
    ----------
    tokens : ShardTokens
    folder : str
        Of the training, in the project.
    walk : int
    run : Run
        The walk's documents.
    done : int
        Sweep of the state to go on from.
    until : int, default=0
        The last sweep to do.
    drop : tuple of (int, int), default=(0, 0)
        Sweeps, the last of them left out, whose topics nobody reads any more.
    lasting : bool, default=True
        Whether the topics have to outlive the machine's going down, as those of a state.
    look : bool, default=False
        Whether the documents' part of the joint likelihood is wanted after the last sweep.
    groups : str, default=""
        A folder with the groups that the first topics are drawn from.
    """

    tokens: ShardTokens
    folder: str
    walk: int
    run: Run
    done: int
    until: int = 0
    drop: tuple[int, int] = (0, 0)
    lasting: bool = True
    look: bool = False
    groups: str = ""

    def z(self, sweep: int) -> str:
        """The file of the walk's topics."""
        return self.file(f"sweep-{sweep:05d}")

    def file(self, kind: str) -> str:
        """A file of the walk."""
        return f"{self.folder}/z/walk-{self.walk:05d}.{kind}.npy"

    def stream(self) -> TokenStream:
        """The walk's tokens, memory-mapped."""
        place = self.tokens.place
        words = load_array(place, self.file("words"), mapped=True)
        return TokenStream(words, load_array(place, self.file("offsets")), self.tokens.n_words)

    def topics(self, stream: TokenStream, n_topics: int) -> NDArray[Any]:
        """The walk's topics of the state to go on from."""
        z = load_array(self.tokens.place, self.z(self.done))
        if z.shape != stream.words.shape or z.dtype != topic_dtype(n_topics) or z.max(initial=0) >= n_topics:
            raise StoreCorruptError(
                f"{self.z(self.done)} does not hold topics of {stream.n_tokens} tokens: delete that folder and run "
                "'fastvbow topics' again"
            )
        return z


class Walked(NamedTuple):
    """What has come of a walk, or of several.

    Attributes
    ----------
    counts : ndarray of shape (V, K), int32
        What has come to the counts, in units.
    documents : int
        The documents' part of the joint likelihood, in steps (`fastvbow.topics.joint_likelihood`), where it was wanted.
    """

    counts: NDArray[np.int32]
    documents: int = 0


def add_walked(parts: Sequence[Walked]) -> Walked:
    """The sums, which are exact.

    Parameters
    ----------
    parts : sequence of Walked
        At least one.
    """
    counts = parts[0].counts.copy()
    for part in parts[1:]:
        counts += part.counts
    return Walked(counts, sum(part.documents for part in parts))


def _check_training(task: WalkTask) -> None:
    """A task that outlives its call must not bring back the folder of a training that is over."""
    try:
        task.tokens.place.fetch(f"{task.folder}/setup.npz")
    except FileNotFoundError:
        raise Cancelled("the training that this task belongs to has ended") from None


def draw_topics(task: WalkTask) -> Walked:
    """Put a walk's tokens together, draw their first topics, and write both.

    Parameters
    ----------
    task : WalkTask

    Returns
    -------
    Walked

    Raises
    ------
    Cancelled
        The training's folder is gone.
    """
    with one_thread_each():
        setup = Setup.load(task.tokens.place, task.folder)
        place = task.tokens.place
        stream, groups = open_run(task.run, task.tokens, task.groups)
        save_array(place, task.file("words"), stream.words)
        save_array(place, task.file("offsets"), stream.offsets)
        n_topics, known = len(setup.alpha), np.full(stream.n_docs, -1, np.int64) if groups is None else groups
        z = np.empty(stream.n_tokens, topic_dtype(n_topics))
        begin = task.run.first_document
        _gibbs.initialise(stream.offsets, known, setup.fraction, n_topics, setup.seed, begin, z)
        nzw, nz = np.zeros((len(setup.weights), n_topics), np.int32), np.zeros(n_topics, np.int64)
        _gibbs.count_words(stream.words, z, units_of(setup.weights).counts, nzw, nz)
        _check_training(task)
        save_array(place, task.z(0), z)
        return Walked(nzw)


def sample_walk(task: WalkTask) -> Walked:
    """Do some sweeps of a walk from the counts of all, and write its topics.

    Parameters
    ----------
    task : WalkTask

    Returns
    -------
    Walked

    Raises
    ------
    Cancelled
        The training's folder is gone.
    """
    with one_thread_each():
        place = task.tokens.place
        setup, stream = Setup.load(place, task.folder), task.stream()
        before = load_array(place, counts_name(task.folder, task.done))
        after = _sample(setup, stream, z := task.topics(stream, len(setup.alpha)), before, task)
        for sweep in range(*task.drop):
            place.remove(task.z(sweep))
        _check_training(task)
        save_array(place, task.z(task.until), z, lasting=task.lasting)
        return Walked(after - before, _look(setup, stream, z) if task.look else 0)


def _sample(
    setup: Setup, stream: TokenStream, z: NDArray[Any], counts: NDArray[np.int32], task: WalkTask
) -> NDArray[np.int32]:
    n_words, n_topics = counts.shape
    units, padded = units_of(setup.weights), padded_topics(n_topics)
    nzw, nz = aligned((n_words, padded), np.int32), np.zeros(padded, np.int64)
    nzw[:, :n_topics] = counts
    nz[:] = nzw.sum(axis=0, dtype=np.int64)
    tokens = nzw.sum(axis=1, dtype=np.int64) // units.counts
    room, word_bytes = np.minimum(n_topics, tokens), stream.words.itemsize
    sampler = make_sampler(setup.algorithm, nzw, nz, room, setup.alpha, setup.eta, units, word_bytes)
    if setup.algorithm == "sparse":
        sampler.load(nzw)
    stretch, stop = Stretch(stream, z, 0, stream.n_docs, task.run.first_document), threading.Event()
    for sweep in range(task.done + 1, task.until + 1):
        walk(sampler, setup.seed, sweep, [stretch], stop)
    if setup.algorithm == "sparse":
        sampler.store(nzw)
    return nzw[:, :n_topics]


def _look(setup: Setup, stream: TokenStream, z: NDArray[Any]) -> int:
    counted = count_topics(stream, z, setup.weights, len(setup.alpha))
    return sum(document_terms(ndz, setup.alpha) for _, _, ndz in counted)
