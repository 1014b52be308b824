"""Command ``cluster``: a project's photographs grouped by their vectors, and by what texts say of them.

``clusters/model`` is the fitted estimator (`fastvbow.semantic.persistence`), ``clusters/theta.npy`` (n_images,
n_clusters) float64 its probabilities for each row of the image table. As distances of mixtures want every share above
0, `LEAST` is added to each before they are made to sum to 1. A photograph that could not be read has the same share of
all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow import pipeline
from fastvbow.config import ClusterConfig
from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs
from fastvbow.images.table import ImageTable
from fastvbow.memory import array_on_disk
from fastvbow.pipeline.beforehand import check_labels
from fastvbow.pipeline.extraction import check_device, open_shards
from fastvbow.pipeline.grouping import labels_of
from fastvbow.pipeline.spaces import Space, open_space, own_vectors
from fastvbow.pipeline.stage import run_stage
from fastvbow.pipeline.text_banks import bank_identity, caption_vectors, noun_vectors
from fastvbow.project import ProjectFolder, replace_folder, scratch_file
from fastvbow.pytorch import load_torch
from fastvbow.semantic.methods import METHODS, make_estimator
from fastvbow.semantic.persistence import save_estimator
from fastvbow.stores import within

__all__ = ["LEAST", "Clustered", "cluster"]

LEAST = 1e-6
"""Added to each share of a photograph."""

_BLOCK = 1 << 16


@dataclass(frozen=True)
class Clustered:
    """What `cluster` did.

    Attributes
    ----------
    method : str
    clusters, used : int
        As many were asked for, and so many have a photograph.
    grouped, skipped : int
        Photographs.
    space : str
        What they were compared in: the name of a space, or "own" for the project's own vectors.
    suggested : bool
        Whether names were suggested for the clusters.
    page : Path, str or None
        The report, if one was asked for.
    seconds : float
        Of the clustering itself; of the call that made it, where it stands from an earlier one.
    """

    method: str
    clusters: int
    used: int
    grouped: int
    skipped: int
    space: str
    suggested: bool
    page: Path | str | None
    seconds: float


def cluster(
    project: Path,
    config: ClusterConfig | None = None,
    *,
    space: str = "",
    images: str = "encode",
    nouns: Path | None = None,
    captions: Path | None = None,
    labels: str | None = None,
    report: bool = True,
    jobs: int | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> Clustered:
    """Group a project's photographs by their vectors instead of their topics.

    The clusters take the topics' place in ``groups.parquet``, and so in the report, in exports, in `evaluate` and
    `select`; the topics stay, and ``groups --by topics`` brings them back. Names belong to either.

    Parameters
    ----------
    project : Path
        Its features have to be extracted; words and topics are not needed.
    config : ClusterConfig, optional
    space : str, default=""
        A space of photographs and texts that was added (`fastvbow.pipeline.spaces`). Empty: the project's own vectors,
        the CNN's or those that were given; then there can be no texts.
    images : {"encode", "project"}, default="encode"
        "project": the project's own vectors were made by the space's image encoder.
    nouns : Path, optional
        Nouns for ``tac``, ``tac-trained``, ``cae`` and ``sic``: a folder of WordNet, or a file with one a line. With
        any method, clusters get names suggested of them (`fastvbow.pipeline.suggest`).
    captions : Path, optional
        Captions for ``cae``: Flickr8k's format, COCO's JSON, or one a line.
    labels : str, optional
        As of `fastvbow.pipeline.groups`; None: those that the groups have by now.
    report : bool, default=True
        Make the report anew.
    jobs : int, optional
        Threads; None or -1: all processors. The result is the same for any number.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the space's image encoder runs.
    listener : Listener, optional

    Returns
    -------
    Clustered

    Raises
    ------
    UsageError
        The method or one of its parameters is unknown, wants texts that are not given, there are fewer photographs than
        clusters, or the project has no vectors.
    MissingExtraError
        The method trains, and PyTorch is not installed.
    StageMissingError, ProjectError, StoreCorruptError
    """
    config, workers = config or ClusterConfig(), effective_jobs(jobs)
    check_device(device)
    folder = ProjectFolder.open(project)
    estimator = make_estimator(config.method, config.clusters, config.seed, config.options, n_jobs=workers)
    _check_texts(config.method, space, images, nouns, captions)
    if trains := METHODS[config.method].trains:
        load_torch(f"--method {config.method}", "deep")  # before photographs are encoded in vain
    opened = open_space(space, device=device, images=images) if space else None
    with folder.lock():
        extracted = folder.require("extract")
        described = int(extracted.outputs["images"]) - int(extracted.outputs["skipped"])
        if described < config.clusters:
            raise UsageError(
                f"{described} photographs cannot form {config.clusters} clusters: pass -k {described} or less"
            )
        labels = labels_of(folder) if labels is None else labels
        check_labels(ImageTable.load(folder.images, folder.image_root), labels, stored=folder.labels)
        texts = _Texts(opened, nouns, captions, config.method)
        stage = run_stage(
            folder,
            "cluster",
            parameters={
                "method": config.method,
                "clusters": config.clusters,
                "seed": config.seed,
                "options": config.options,
                "space": "own" if opened is None else f"{opened.name} {opened.fingerprint[:16]}",
                **({} if opened is None else {"images": images}),
                **texts.identities,
            },
            after="extract",
            outputs=[folder.clusters],
            listener=listener,
            body=lambda: _fit(folder, estimator, opened, texts, workers, device, listener, trains=trains),
            begins=False,
        )
        grouped = pipeline.groups(project, labels=labels, by="cluster", listener=listener)
        suggested = opened is not None and nouns is not None
        if opened is not None and nouns is not None:
            pipeline.suggest(
                project,
                space=space,
                nouns=nouns,
                captions=captions,
                images=images,
                jobs=jobs,
                device=device,
                listener=listener,
            )
        page = (
            within(project, pipeline.report(project, jobs=jobs, listener=listener).outputs["page"]) if report else None
        )
    return Clustered(
        config.method,
        config.clusters,
        int(grouped.outputs["groups"]),
        int(grouped.outputs["grouped"]),
        int(grouped.outputs["skipped"]),
        space or "own",
        suggested,
        page,
        stage.seconds,
    )


class _Texts:
    """The texts that a method wants, encoded when they are needed.

    Parameters
    ----------
    space : Space or None
    nouns, captions : Path or None
    method : str
    """

    def __init__(self, space: Space | None, nouns: Path | None, captions: Path | None, method: str) -> None:
        wanted = METHODS[method]
        self._space = space
        self._nouns = nouns if wanted.nouns else None
        self._captions = captions if wanted.captions else None
        given = {"nouns": self._nouns, "captions": self._captions}
        self.identities = {name: _identity(path, name) for name, path in given.items() if path is not None}

    def vectors(self, jobs: int, listener: Listener) -> dict[str, NDArray[np.float32]]:
        """Embeddings of nouns and captions, as `fit` takes them."""
        found: dict[str, NDArray[np.float32]] = {}
        if self._space is not None and self._nouns is not None:
            found["nouns"] = noun_vectors(self._space, self._nouns, jobs=jobs, listener=listener).vectors
        if self._space is not None and self._captions is not None:
            found["captions"] = caption_vectors(self._space, self._captions, jobs=jobs, listener=listener).vectors
        return found


def _check_texts(method: str, space: str, images: str, nouns: Path | None, captions: Path | None) -> None:
    if images not in ("encode", "project"):
        raise UsageError(f"--images takes encode or project, not {images}")
    wanted = METHODS[method]
    lacking = [
        name
        for name, needed in (
            ("--space NAME", wanted.nouns and not space),
            ("--nouns PATH", wanted.nouns and nouns is None),
            ("--captions FILE", wanted.captions and captions is None),
        )
        if needed
    ]
    if lacking:
        raise UsageError(
            f"--method {method} compares photographs with texts: pass {' and '.join(lacking)} ('fastvbow models list' "
            "shows the spaces there are, 'fastvbow models add --clip' adds one)"
        )
    if not space and (nouns is not None or captions is not None):
        raise UsageError("--nouns and --captions are compared with photographs in a space: name it with --space")


def _identity(path: Path, what: str) -> str:
    """A bank of texts, by what is in it: the card must not depend on where it lies."""
    name, sha256 = bank_identity(path, what)
    return f"{name} {sha256[:16]}"


def _fit(
    project: ProjectFolder,
    estimator: Any,
    space: Space | None,
    texts: _Texts,
    jobs: int,
    device: str,
    listener: Listener,
    *,
    trains: bool,
) -> dict[str, Any]:
    if space is None:
        vectors = own_vectors(project, keep=True)
    else:
        vectors = space.image_vectors(project, jobs=jobs, device=device, listener=listener)
    read = np.concatenate([shard.read for shard in open_shards(project)])
    placed = np.flatnonzero(read & _has_direction(vectors))
    lost = int(read.sum()) - len(placed)
    if lost:
        told = f"{lost} photographs have a vector of zeros, and so the same share of all clusters"
        listener(Event("cluster", "warning", told))

    def tell(done: int, total: int) -> None:
        listener(Event("cluster", "step", done=done, total=total, unit="epochs"))

    progress = {"progress": tell} if trains else {}
    if len(placed) < estimator.n_clusters:
        raise UsageError(
            f"{len(placed)} photographs with a vector cannot form {estimator.n_clusters} clusters: pass a smaller -k"
        )
    with _chosen(project, vectors, placed) as rows:
        estimator.fit(rows, **texts.vectors(jobs, listener), **progress)
        if space is not None and {"cnn", "embeddings"} & project.require("extract").parameters.keys():
            # by texts, probabilities are far too sure of themselves; who is near whom by the CNN says how sure to be
            with _chosen(project, own_vectors(project, keep=True), placed) as own:
                if _has_direction(own).all():
                    estimator.calibrate(own)
        shares = np.asarray(estimator.probabilities_)
    with replace_folder(project.clusters) as folder:
        save_estimator(estimator, folder / "model")
        _write_shares(folder / "theta.npy", shares, placed, len(vectors))
        project.begin("cluster")
    return {
        "clusters": shares.shape[1],
        "numbers a vector": vectors.shape[1],
        "used": len(np.unique(estimator.labels_)),
    }


@contextmanager
def _chosen(
    project: ProjectFolder, vectors: NDArray[np.float32], rows: NDArray[np.intp]
) -> Iterator[NDArray[np.float32]]:
    """Some rows of vectors, which memory need not hold: themselves where it is all, else a copy on disk."""
    if len(rows) == len(vectors):
        yield vectors
        return
    with scratch_file(project.root, "rows.npy") as path:
        out = array_on_disk(path, np.float32, (len(rows), vectors.shape[1]))
        for start in range(0, len(rows), _BLOCK):
            out[start : start + _BLOCK] = vectors[rows[start : start + _BLOCK]]
        yield out


def _has_direction(vectors: NDArray[np.float32]) -> NDArray[np.bool_]:
    found = np.empty(len(vectors), bool)
    for start in range(0, len(vectors), _BLOCK):
        found[start : start + _BLOCK] = vectors[start : start + _BLOCK].any(axis=1)
    return found


def _write_shares(path: Path, shares: NDArray[np.float32], placed: NDArray[np.intp], n_images: int) -> None:
    n_clusters = shares.shape[1]
    out = array_on_disk(path, np.float64, (n_images, n_clusters))
    out[:] = 1 / n_clusters
    for start in range(0, len(placed), _BLOCK):
        block = shares[start : start + _BLOCK].astype(np.float64) + LEAST
        out[placed[start : start + _BLOCK]] = block / block.sum(axis=1, keepdims=True)
    out.flush()
