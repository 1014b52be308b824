"""Words learned by tasks over shards: what they and the calling process leave for one another in the project.

Format of ``learning/``
-----------------------
A project has this folder while the stage ``vocabulary`` is under way, or was interrupted. A reader MUST NOT take any of
it for a result, a writer MAY remove it at any time and MUST remove it when the stage is finished.

- ``key``: a text, the fingerprint of what the words depend on. A writer with another one MUST remove the folder.
- ``KEY/`` (the same text): files of this fingerprint. They are whole or absent, and MAY be left by a worker that was
  told to stop; those of another fingerprint mean nothing.
- ``KEY/MODALITY-sample-NNNNN.npy``: descriptors of the sample, as the shards have them, in the order of the shards; of
  joint words those of SIFT, and ``joint-map-NNNNN.npy`` with the map at their places. 200,000 rows of SIFT are 26 MB,
  of a map of 1280 channels 512 MB, which the calling process holds in memory while it trains.
- ``KEY/MODALITY-projection/``: a vocabulary of the modality without words, fitted on the sample.
- ``KEY/MODALITY-rows-NNNNN.npy``: the rows of some shards as they are compared, float32. With 64 components a row of a
  CNN is 256 bytes, a joint one 768: a photograph's map of 49 cells 12.5 kB, its 300 joint keypoints 230 kB.
- ``KEY/MODALITY-state.safetensors``: where K-Means over all rows has come to, after each pass: ``centers`` and
  ``counts`` of `fastvbow.words.sharded.ShardedState`, and ``numbers`` (4,) float64: its n_rounds, n_iter, inertia and
  settled. A call with the same fingerprint goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from fastvbow.config import VocabularyConfig
from fastvbow.errors import StoreCorruptError
from fastvbow.events import Event, Listener
from fastvbow.executors import run_tasks
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.shards import feature_shard
from fastvbow.pipeline.word_tasks import (
    Projecting,
    Sampling,
    StoredRows,
    array_at,
    in_runs,
    project_rows,
    take_sample,
)
from fastvbow.places import new_file
from fastvbow.project import STAGES, ProjectFolder, fingerprint_of, replace_folder
from fastvbow.reducing import tasks_ahead
from fastvbow.words.sharded import ShardedKMeans, ShardedState
from fastvbow.words.vocabulary import Codebook, Vocabulary

__all__ = ["FOLDER", "SAMPLED_ROWS", "LearningWords"]

Task = TypeVar("Task")

FOLDER = "learning"
SAMPLED_ROWS = 8192
"""Rows of the sample that a task takes, about: 1 MB of SIFT, 21 MB of a map with 1280 channels."""
SAMPLED_SHARDS = 64
"""Shards that it opens at most: some milliseconds each where they are far away."""
PARTS = 64
"""Tasks of a pass, about, in a corpus that is not large."""
MOST_SHARDS = 256
"""Shards whose rows are open at a time at most."""
LEAST_BYTES, MOST_BYTES = 1 << 22, 1 << 27
"""Rows for one task of a pass, in bytes: below the first its overhead would tell, the second keeps memory small."""


class LearningWords:
    """The driver's side of learning words by tasks.

    Parameters
    ----------
    project : ProjectFolder
        Its lock is held.
    shards : sequence of FeatureShard
        All of its shards.
    config : VocabularyConfig
    executor : Executor
    jobs : int
        Threads or processes of it, where it is not Dask's.
    listener : Listener
    """

    def __init__(
        self,
        project: ProjectFolder,
        shards: Sequence[FeatureShard],
        config: VocabularyConfig,
        executor: Executor,
        jobs: int,
        listener: Listener,
    ) -> None:
        self._place, self._shards, self._config = project.place, shards, config
        self._executor, self._jobs, self._listener = executor, jobs, listener
        self._images = [shard.card.n_images for shard in shards]
        key = fingerprint_of([STAGES["vocabulary"], config.parameters, project.require("extract").fingerprint])
        self._folder, self._passes, self._total = f"{FOLDER}/{key}", 0, 0
        self._begin(key)

    def _begin(self, key: str) -> None:
        with suppress(FileNotFoundError):
            if self._place.fetch(f"{FOLDER}/key").read_text() == key:
                return
        self.end()
        with new_file(self._place, f"{FOLDER}/key") as path:
            path.write_text(key)

    def end(self) -> None:
        """Remove what was left for one another; first what says that it can be gone on from, for a kill amid this."""
        self._place.remove(f"{FOLDER}/key")
        self._place.remove(FOLDER)

    def sample(self, name: str, drawn: Sequence[NDArray[np.int64]]) -> tuple[NDArray[Any], ...]:
        """Rows of all shards.

        Parameters
        ----------
        name : str
            A modality; ``joint``: rows of SIFT.
        drawn : sequence of ndarray, int64
            The rows of each shard.

        Returns
        -------
        tuple of ndarray
            Descriptors; of joint words those of SIFT, and the map at their places.
        """
        kinds = ["joint-sample", "joint-map"] if name == "joint" else [f"{name}-sample"]
        sizes, counts = self._sizes(name), list(map(len, drawn))
        runs = [run for run in in_runs(counts, SAMPLED_ROWS, SAMPLED_SHARDS) if sum(counts[slice(*run)])]
        tasks = [
            Sampling(
                self._place,
                name,
                start,
                np.array(sizes[start:stop], np.uint32),
                np.array(counts[start:stop], np.uint32),
                np.concatenate(drawn[start:stop]).astype(np.uint32),
                tuple(f"{self._folder}/{kind}-{number:05d}.npy" for kind in kinds),
            )
            for number, (start, stop) in enumerate(runs)
        ]
        taken = []
        for rows, (_, stop) in zip(self._run(take_sample, tasks), runs, strict=True):
            taken.append(rows)
            self._tell_images(stop)
        return tuple(self._joined([task.into[i] for task in tasks], taken) for i in range(len(kinds)))

    def _joined(self, names: Sequence[str], counts: Sequence[int]) -> NDArray[Any]:
        """The arrays of several files in memory, one after another: one map at a time, each holds a file open."""
        out, at = np.empty((0, 0)), 0
        for name, count in zip(names, counts, strict=True):
            array = array_at(self._place, name, count)
            if not at:
                out = np.empty((sum(counts), array.shape[1]), array.dtype)
            out[at : at + count] = array
            at += count
        return out

    def all_rows(self, name: str, projection: Codebook | None) -> list[StoredRows]:
        """All rows of a modality, as they are compared, in parts that depend on the corpus alone.

        Parameters
        ----------
        name : str
        projection : Codebook or None
            Without words; None: descriptors are compared as they are.
        """
        counts = self._sizes(name)
        if projection is None or projection.components is None:
            width = 128
        else:
            width = 4 * (len(projection.components) + 128 * (name == "joint"))
        enough = max(1, min(MOST_BYTES, max(LEAST_BYTES, sum(counts) * width // PARTS)) // width)
        runs = [run for run in in_runs(counts, enough, MOST_SHARDS) if sum(counts[slice(*run)])]
        if projection is None:
            names = [f"{feature_shard(index)}/{name}.descriptors.npy" for index in range(len(counts))]
            return [StoredRows(self._place, tuple(names[a:b]), tuple(counts[a:b])) for a, b in runs]
        tasks = [
            Projecting(
                self._place,
                name,
                start,
                np.array(counts[start:stop], np.uint32),
                self._name(name, "projection"),
                self._name(name, f"rows-{number:05d}.npy"),
            )
            for number, (start, stop) in enumerate(runs)
        ]
        rows = []
        for task, n_rows, (_, stop) in zip(tasks, self._run(project_rows, tasks), runs, strict=True):
            rows.append(StoredRows(self._place, (task.into,), (n_rows,)))
            self._tell_images(stop)
        return rows

    def _sizes(self, name: str) -> list[int]:
        return [shard.card.rows["sift" if name == "joint" else name] for shard in self._shards]

    def _run(self, function: Callable[[Task], int], tasks: Sequence[Task]) -> Iterator[int]:
        return run_tasks(self._executor, function, tasks, ahead=tasks_ahead(self._executor, self._jobs))

    def _tell_images(self, stop: int) -> None:
        self._listener(Event("vocabulary", "step", done=sum(self._images[:stop]), total=sum(self._images)))

    def _name(self, name: str, what: str) -> str:
        return f"{self._folder}/{name}-{what}"

    def projection(self, name: str) -> Codebook | None:
        """That which an earlier call has left, or None; of one that was killed amid sending it to an object store, some
        files are missing."""
        try:
            return Vocabulary.load(self._place.fetch(self._name(name, "projection"))).codebooks[name]
        except (FileNotFoundError, StoreCorruptError):
            return None

    def keep_projection(self, name: str, book: Codebook) -> None:
        """Leave the projection for the workers, and for a later call."""
        with self._place.writing(self._name(name, "projection")) as final, replace_folder(final) as path:
            Vocabulary({name: book}).save(path)

    def centers(self, name: str, n_words: int, rows: Sequence[StoredRows], modalities: int) -> NDArray[np.float32]:
        """Words of all rows, (n_words, p) float32; where there are fewer rows, each becomes a word.

        Parameters
        ----------
        name : str
        n_words : int
        rows : sequence of StoredRows
        modalities : int
            How many get words in this stage, for the progress.
        """
        model = ShardedKMeans(min(n_words, sum(map(len, rows))), random_state=self._config.seed)
        before, total = self._passes, modalities * model.most_passes
        self._passes += model.most_passes

        def passed(state: ShardedState) -> None:
            self._keep_state(name, state)
            done = model.most_passes if state.settled else state.n_rounds + state.n_iter
            self._listener(Event("vocabulary", "step", done=before + done, total=total, unit="passes"))

        model.fit(rows, executor=self._executor, n_jobs=self._jobs, state=self._state(name), passed=passed)
        return np.ascontiguousarray(model.cluster_centers_, dtype=np.float32)

    def _keep_state(self, name: str, state: ShardedState) -> None:
        numbers = np.array([state.n_rounds, state.n_iter, state.inertia, state.settled], np.float64)
        with new_file(self._place, self._name(name, "state.safetensors")) as path:
            tensors = {"centers": state.centers, "counts": state.counts, "numbers": numbers}
            save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, path)

    def _state(self, name: str) -> ShardedState | None:
        try:
            path = self._place.fetch(self._name(name, "state.safetensors"))
        except FileNotFoundError:
            return None
        try:
            found = load_file(path)
            rounds, n_iter, inertia, settled = found["numbers"].tolist()
            return ShardedState(found["centers"], found["counts"], int(rounds), int(n_iter), inertia, bool(settled))
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise StoreCorruptError(f"{path}: {error}: delete {FOLDER}/ of that project and run again") from None
