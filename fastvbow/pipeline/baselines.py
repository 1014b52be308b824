"""Baselines: what simpler methods make of the photographs of a finished project."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, one_thread_each
from fastvbow.groups.baselines.clusters import kmeans_groups, unit_length
from fastvbow.groups.baselines.components import principal_components
from fastvbow.groups.baselines.vae import train_vae
from fastvbow.groups.baselines.vae_networks import load_torch
from fastvbow.groups.baselines.variational import variational_topics
from fastvbow.pipeline.baseline_inputs import Kept, kept_images, pixel_rows, pooled_rows, word_counts
from fastvbow.pipeline.baseline_vectors import Learnt, kept_vectors
from fastvbow.pipeline.stage import no_numerical_warnings
from fastvbow.project import ProjectFolder, fingerprint_of

__all__ = ["BASELINES", "BaselineRun", "run_baseline"]

Parameters = Mapping[str, int | float]

BASELINES: dict[str, dict[str, int | float]] = {
    "kmeans-embeddings": {"starts": 20},
    "lda-variational": {"max_iter": 10},
    "pca-embeddings": {"components": 64, "batch": 512, "starts": 20},
    "pca-pixels": {"side": 300, "components": 75, "batch": 150, "starts": 20},
    "vae-conv": {"side": 64, "epochs": 30, "batch": 64, "rate": 1e-3, "held_out": 0.1, "starts": 20},
    "vae-paper": {"side": 224, "epochs": 30, "batch": 55, "rate": 1e-3, "held_out": 0.1, "starts": 20},
}
"""The baselines and the defaults of their parameters, which stand nowhere else.

``pca-pixels`` and ``vae-paper`` follow the reference paper, which tried sides of 300 to 480 and 5 to 75 components,
and trained for 500 epochs. K-Means runs from several ``starts``.
"""

_REVISION = 1  # raise it when a baseline learns other vectors: those in caches then no longer count
_SEEDLESS = frozenset({"pca-embeddings", "pca-pixels"})  # the seed counts in their K-Means alone


@dataclass(frozen=True)
class BaselineRun:
    """What a baseline made of a project's photographs.

    Attributes
    ----------
    name : str
    n_groups, seed : int
    parameters : dict of str to int or float
        All that `BASELINES` lists for it.
    image_ids : list of str
        The photographs that were read when the project was made, in the order of its image table.
    groups : ndarray of shape (n,), int32
        Each photograph's group, from 0 on.
    theta : ndarray of shape (n, n_groups), float64, or None
        Its mixture of topics; of ``lda-variational`` alone.
    explained_variance : ndarray of shape (components,), float64, or None
        The share of variance that each principal component has.
    train_loss, held_out_loss : ndarray of shape (epochs,), float64, or None
        See `fastvbow.groups.baselines.vae.TrainedVae`.
    quality : dict of str to float
        Of a VAE: ``reconstruction_error``, ``mean_image_error``, ``active_dimensions``.
    seconds : float
        Learning and grouping, of one thread; vectors from the cache count with what they took when they were learnt.
    seconds_reading : float
        What photographs, vectors or words took to read in this call: next to nothing where the cache has them.
    """

    name: str
    n_groups: int
    seed: int
    parameters: dict[str, int | float]
    image_ids: list[str]
    groups: NDArray[np.int32]
    theta: NDArray[np.float64] | None
    explained_variance: NDArray[np.float64] | None
    train_loss: NDArray[np.float64] | None
    held_out_loss: NDArray[np.float64] | None
    quality: dict[str, float]
    seconds: float
    seconds_reading: float


def run_baseline(
    project: Path,
    name: str,
    n_groups: int,
    *,
    seed: int = 0,
    parameters: Parameters | None = None,
    cache: Path | None = None,
    jobs: int | None = None,
    listener: Listener = log_events,
) -> BaselineRun:
    """Group the photographs of a project by a simpler method. The project is only read.

    Parameters
    ----------
    project : Path
        Its stages have to be finished up to what the baseline looks at: extract, and for ``lda-variational`` encode.
    name : str
        One of `BASELINES`.
    n_groups : int
    seed : int, default=0
        The same seed gives the same groups on one machine, for any number of jobs.
    parameters : mapping, optional
        In the place of the defaults in `BASELINES`.
    cache : Path, optional
        A folder for small pictures and learnt vectors, which calls with other seeds and numbers of groups, in this
        process or others, take from there. Without it a temporary folder serves this call alone.
    jobs : int, optional
        Threads that decode photographs; None or -1: all processors.
    listener : Listener, optional

    Raises
    ------
    MissingExtraError
        PyTorch is missing for a VAE.
    StageMissingError
        The project is not finished as far as the baseline needs it.
    UsageError
        There is no such baseline, it has no such parameter or cannot use its value, there are fewer photographs than
        groups, or the project has no features for it.
    ProjectError
        A photograph that was read when the project was made cannot be read any more.
    """
    chosen = _checked(name, parameters or {})
    if name.startswith("vae"):
        load_torch()  # before photographs are read in vain
    folder, workers = ProjectFolder.open(project), effective_jobs(jobs)
    kept = kept_images(folder)
    ids = kept.image_ids
    if not 1 <= n_groups <= len(ids):
        raise UsageError(f"{len(ids)} photographs cannot be put into {n_groups} groups: pass 1 to {len(ids)}")
    listener(Event("baseline", "begin", f"{name}, {n_groups} groups, seed {seed}"))
    with (
        one_thread_each(),
        no_numerical_warnings(),
        tempfile.TemporaryDirectory(prefix="fastvbow-") if cache is None else nullcontext(cache) as scratch,
    ):
        call = _Call(folder, kept, name, chosen, seed, Path(scratch), workers, listener)
        started = time.perf_counter()
        if name == "lda-variational":
            theta, groups = call.topics(n_groups)
            learnt = Learnt(np.zeros((len(ids), 0), np.float32))
        else:
            theta, learnt = None, call.vectors()
            before = time.perf_counter()
            groups = kmeans_groups(ids, learnt.vectors, n_groups, seed=seed, starts=int(chosen["starts"]))
            call.seconds += learnt.seconds + time.perf_counter() - before
    listener(Event("baseline", "end", f"{name}; {time.perf_counter() - started:.1f} s"))
    curves = {name: learnt.curves.get(name) for name in ("explained_variance", "train_loss", "held_out_loss")}
    return BaselineRun(
        name,
        n_groups,
        seed,
        chosen,
        ids,
        groups,
        theta,
        **curves,
        quality=dict(learnt.quality),
        seconds=call.seconds,
        seconds_reading=call.seconds_reading,
    )


def _checked(name: str, given: Parameters) -> dict[str, int | float]:
    """The parameters of a baseline, those given in the place of defaults."""
    if name not in BASELINES:
        raise UsageError(f"there is no baseline {name!r}: it is one of {', '.join(BASELINES)}")
    defaults = BASELINES[name]
    if strangers := sorted(given.keys() - defaults.keys()):
        raise UsageError(f"{name} has no parameter {strangers[0]!r}: it has {', '.join(defaults)}")
    for key, value in given.items():
        whole = isinstance(defaults[key], int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value < 1 << 31:
            raise UsageError(f"{name}: {key} is a {'whole ' if whole else ''}number above 0, not {value!r}")
    return {**defaults, **given}


@dataclass
class _Call:
    """One call of a baseline: what it works on, and the time that it took so far."""

    project: ProjectFolder
    kept: Kept
    name: str
    parameters: dict[str, int | float]
    seed: int
    folder: Path
    jobs: int
    listener: Listener
    seconds: float = 0.0
    seconds_reading: float = 0.0

    def read(self, get: Callable[[], Any]) -> Any:
        """What `get` returns; its time counts as reading."""
        before = time.perf_counter()
        found = get()
        self.seconds_reading += time.perf_counter() - before
        return found

    def topics(self, n_topics: int) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
        """Mixtures and groups of variational LDA."""
        counts = self.read(lambda: word_counts(self.project, self.kept))
        before = time.perf_counter()
        max_iter = int(self.parameters["max_iter"])
        found = variational_topics(self.kept.image_ids, counts, n_topics, seed=self.seed, max_iter=max_iter)
        self.seconds += time.perf_counter() - before
        return found.theta, found.groups

    def vectors(self) -> Learnt:
        """What K-Means is to cluster."""
        if self.name == "kmeans-embeddings":
            return Learnt(self.read(lambda: pooled_rows(self.project, self.kept)))
        of_features = self.project.require("extract").fingerprint if self.name == "pca-embeddings" else ""
        learnt_with = {key: value for key, value in self.parameters.items() if key != "starts"}
        depends_on = [_REVISION, self.name, learnt_with, self.kept.key, of_features]
        if self.name not in _SEEDLESS:
            depends_on.append(self.seed)
        path = self.folder / f"{self.name}-{fingerprint_of(depends_on)[:16]}.safetensors"
        return kept_vectors(path, len(self.kept.rows), self._learn)

    def _learn(self) -> Learnt:
        rows = self.read(self._rows)
        before = time.perf_counter()
        learnt = self._of_vae(rows) if self.name.startswith("vae") else self._of_pca(rows)
        return Learnt(learnt.vectors, learnt.curves, learnt.quality, round(time.perf_counter() - before, 3))

    def _rows(self) -> NDArray[Any]:
        if self.name == "pca-embeddings":
            return pooled_rows(self.project, self.kept)
        picture = {"pca-pixels": "padded-grey", "vae-conv": "squeezed-rgb", "vae-paper": "squeezed-grey"}[self.name]
        side = int(self.parameters["side"])
        return pixel_rows(self.kept, picture, side, self.folder, jobs=self.jobs, listener=self.listener)

    def _of_pca(self, rows: NDArray[Any]) -> Learnt:
        n_components, batch = int(self.parameters["components"]), int(self.parameters["batch"])
        found = principal_components(self.kept.image_ids, rows, n_components, batch=batch)
        # Directions tell photographs apart, before the projection and after; the paper's pixels stay as they are.
        vectors = unit_length(found.vectors) if self.name == "pca-embeddings" else found.vectors
        return Learnt(vectors, {"explained_variance": found.explained_variance})

    def _of_vae(self, rows: NDArray[np.uint8]) -> Learnt:
        def tell(done: int, total: int) -> None:
            check_cancelled()
            self.listener(Event("baseline", "step", done=done, total=total, unit="epochs"))

        found = train_vae(
            self.kept.image_ids,
            rows,
            self.name.removeprefix("vae-"),
            seed=self.seed,
            epochs=int(self.parameters["epochs"]),
            batch=int(self.parameters["batch"]),
            rate=float(self.parameters["rate"]),
            held_out=float(self.parameters["held_out"]),
            progress=tell,
        )
        quality = {
            "reconstruction_error": found.reconstruction_error,
            "mean_image_error": found.mean_image_error,
            "active_dimensions": float(found.active_dimensions),
        }
        return Learnt(found.vectors, {"train_loss": found.train_loss, "held_out_loss": found.held_out_loss}, quality)
