"""A finished project as a frozen model: groups for photographs that were not there when it was made."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sized
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ImageError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.features.aligned import AlignedVectors, as_features
from fastvbow.features.base import LocalFeatures
from fastvbow.features.embeddings import EmbeddingFile, Embeddings
from fastvbow.groups.drift import DriftReference
from fastvbow.groups.grouping import Grouping, write_table
from fastvbow.groups.names import TopicNames
from fastvbow.images.decode import examine, read_bytes, silence_decoders
from fastvbow.images.sources import scan
from fastvbow.pipeline.describing import (
    begin_description,
    begin_features,
    check_embeddings,
)
from fastvbow.pipeline.drift import drift_reference, views_of
from fastvbow.pipeline.extraction import check_device, check_writable_name, match_embeddings
from fastvbow.pipeline.frozen import Frozen, open_frozen
from fastvbow.pipeline.new_photographs import (
    Assigned,
    Entry,
    Photograph,
    Row,
    Vector,
    checked_pixels,
    checked_vectors,
    collect,
    identify,
    uneven,
    with_vectors,
)
from fastvbow.pipeline.suggested_names import load_proposals
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder, replace_file
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["Project", "assign"]

_AHEAD = 8


class Project:
    """A finished project, opened to group further photographs. It may be shared by threads.

    Open it with `Project.open`, in each process anew: one that was opened before its process was forked warns
    (RuntimeWarning) where it is first used in the child, and makes its sessions anew there, as those of the parent may
    be locked for ever by threads that were not taken along.
    """

    def __init__(
        self,
        folder: ProjectFolder,
        frozen: Frozen,
        names: TopicNames | None = None,
        suggested: Mapping[int, str] | None = None,
    ) -> None:
        self.folder, self.names, self._suggested = folder, names, suggested
        self._frozen, self._asked = frozen, frozen.asked
        self._extractors = frozen.make_extractors()
        self._reference: list[DriftReference | None] = []  # made when it is first asked for
        self._pid, self._lock = os.getpid(), threading.Lock()

    @property
    def model(self) -> Any:
        """What groups photographs: a `fastvbow.topics.lda.GibbsLDA`, or an estimator of `fastvbow.semantic`."""
        return self._frozen.model

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The visual words; None where photographs are grouped by clusters of vectors."""
        return self._frozen.vocabulary

    @classmethod
    def open(cls, path: Path | str, *, device: str = "auto") -> Project:
        """Open a project whose photographs are grouped, by topics or by clusters.

        Parameters
        ----------
        path : Path or str
            The project folder.
        device : {"auto", "cpu", "cuda"}, default="auto"
            Where the CNN runs.

        Raises
        ------
        ProjectError, StageMissingError, StoreCorruptError
            It is no project, not finished, or damaged; or another CNN has the name of its own now.
        UsageError, ProviderUnavailableError, MissingExtraError
            `device` is unknown or cannot run the CNN.
        """
        check_device(device)
        folder = ProjectFolder.open(Path(path))
        frozen, names = open_frozen(folder, device), load_names(folder, log_events)
        return cls(folder, frozen, names, load_proposals(folder, names))

    def assign(
        self,
        images: Iterable[Photograph],
        *,
        embeddings: NDArray[Any] | None = None,
        drift: bool = False,
        jobs: int | None = 1,
    ) -> Grouping:
        """Group photographs under the frozen model.

        Each photograph's result depends on its own pixels (and embedding) alone: not on the others, their order or the
        number of threads.

        Parameters
        ----------
        images : iterable of Path, str, bytes or ndarray
            Paths of image files, the bytes of image files, or RGB pixels of shape (height, width, 3), uint8.
        embeddings : ndarray of shape (n_images, dimension), optional
            Where the project's photographs are described by embeddings: those of these ones, in their order, made in
            the same way.
        drift : bool, default=False
            Hold them against the project's own photographs too: ``drift`` of the result says whether they fit
            (`fastvbow.groups.drift`), or is None where the project has fewer than 20, or groups them by clusters
            of vectors. What that takes is made once, at
            the first call that asks for it, and kept in the project where it can be written.
        jobs : int, optional, default=1
            Threads; None or -1: all processors.

        Returns
        -------
        Grouping
            Without labels; photographs that cannot be read stand in ``skipped``. The id of bytes or pixels is made from
            their content.

        Raises
        ------
        UsageError
            `images` is one photograph, not several; or `embeddings` are lacking, too many, or do not fit.
        """
        tasks, workers = self._checked(images, embeddings), effective_jobs(jobs)
        reference = self._drift_reference() if drift else None
        found = self._rows(tasks, workers, reference)
        return collect(found, self._frozen.n_groups, self.names, reference, self._suggested)

    def stream(
        self, images: Iterable[Photograph], *, embeddings: NDArray[Any] | None = None, jobs: int | None = 1
    ) -> Iterator[Assigned]:
        """Group photographs one after another, as they come: memory does not grow with their number.

        Photographs are drawn from `images` only as results are taken, at most eight for each thread ahead of them. As
        long as the iterator is open, BLAS and OpenCV have one thread each in the whole process: close one that you
        leave.

        Parameters
        ----------
        images : iterable of Path, str, bytes or ndarray
            As of `assign`; it may never end.
        embeddings : ndarray of shape (n_images, dimension), optional
            As of `assign`.
        jobs : int, optional, default=1
            Threads, which live until the last result is taken or the iterator is closed; None or -1: all processors.

        Returns
        -------
        iterator of Assigned
            In the order of `images`; skipped photographs are among them, with their reason. The groups, probabilities
            and mixtures are those of `assign`.

        Raises
        ------
        UsageError
            As of `assign`, before anything is drawn.
        """
        tasks, workers = self._checked(images, embeddings), effective_jobs(jobs)
        return (Assigned.of(row, self.names) for row in self._rows(tasks, workers))

    def _checked(
        self, images: Iterable[Photograph], embeddings: NDArray[Any] | None
    ) -> Iterator[tuple[Photograph, Vector]]:
        """The photographs with their vectors, once it is known that these are what the project wants."""
        self._reopen_after_fork()
        vectors = None if embeddings is None else checked_vectors(embeddings)
        check_embeddings(self.folder.root, self._asked, None if vectors is None else vectors.shape[1])
        if isinstance(images, str | bytes | bytearray | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise UsageError("assign takes several photographs: for a single one pass [photograph]")
        if vectors is not None and isinstance(images, Sized) and len(images) != len(vectors):
            raise uneven(len(images), len(vectors))
        return with_vectors(images, vectors)

    def _reopen_after_fork(self) -> None:
        if self._pid == os.getpid():
            return
        warnings.warn(
            f"the project {self.folder.root} was opened before this process was forked, and is opened anew here; what "
            "other threads of the parent held at that moment may hang: open it in the child, or start workers with the "
            "method spawn",
            RuntimeWarning,
            stacklevel=4,
        )
        self._lock = threading.Lock()
        self._extractors = self._frozen.make_extractors()
        self._pid = os.getpid()

    def _drift_reference(self) -> DriftReference | None:
        with self._lock:
            if not self._reference:
                words = self.vocabulary
                self._reference.append(None if words is None else drift_reference(self.folder, words))
            return self._reference[0]

    def _rows(
        self,
        images: Iterable[tuple[Photograph | Entry, Vector]],
        workers: int,
        reference: DriftReference | None = None,
    ) -> Iterator[Row]:
        """A row for each photograph, in their order."""
        silence_decoders()
        with one_thread_each(), make_executor(workers) as executor:
            yield from run_tasks(executor, partial(self._assign_one, reference), images, ahead=_AHEAD * workers)

    def _assign_one(self, reference: DriftReference | None, task: tuple[Photograph | Entry, Vector]) -> Row:
        image, vector = task
        image_id, name = identify(image)
        if isinstance(vector, str):
            return Row(image_id, name, None, vector)
        try:
            if isinstance(image, np.ndarray):
                pixels = checked_pixels(image)
                height, width = pixels.shape[:2]
                found = begin_features(pixels, self._extractors)()
            else:
                stored = image.table.read(image.index) if isinstance(image, Entry) else image
                data = stored if isinstance(stored, bytes) else read_bytes(stored)
                described = begin_description(examine(data, self._frozen.least_side), self._extractors)()
                found, width, height = described.features, described.width, described.height
            if vector is not None:
                found = {**found, **as_features(vector, width, height)}
            return Row(image_id, name, *self._fit(found, reference))
        except ImageError as error:
            return Row(image_id, name, None, error.reason)

    def _fit(
        self, found: Mapping[str, LocalFeatures], reference: DriftReference | None
    ) -> tuple[NDArray[np.float64], None, NDArray[np.float64] | None]:
        """The mixture of a photograph with these features, (n_topics,), no reason to skip it, and its tails if there is
        a reference."""

        theta, words = self._frozen.shares(found)
        if reference is None or words is None or self.vocabulary is None:
            return theta, None, None
        runs = {name: (of.descriptors, np.array([0, len(of.descriptors)])) for name, of in found.items()}
        views = views_of(self.vocabulary, runs, *words)
        return theta, None, reference.tails(views)[0]


def assign(
    project: Path,
    source: Path,
    output: Path,
    *,
    embeddings: Path | None = None,
    drift: bool = True,
    jobs: int | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> Grouping:
    """Group the photographs of a source under a project's frozen model, and write a Parquet file.

    Parameters
    ----------
    project, source : Path
        A finished project, and what `fastvbow.images.sources.scan` reads.
    output : Path
        ``FILE.parquet`` gets the columns of ``groups.parquet``; where photographs were skipped,
        ``FILE.skipped.parquet`` lists them.
    embeddings : Path, optional
        Where the project's photographs are described by embeddings: a file of those of the new ones, made in the same
        way (see `fastvbow.features.embeddings`).
    drift : bool, default=True
        Hold them against the project's own photographs too (see `Project.assign`); a warning says where too many of
        them are unlike these.
    jobs : int, optional
        Threads; None or -1: all processors.
    device : {"auto", "cpu", "cuda"}, default="auto"
    listener : Listener, optional

    Raises
    ------
    UsageError
        `output` lies inside `source` or cannot be written; or `embeddings` are lacking, too many, or do not fit.
    NoImagesError, ProjectError, StageMissingError
    """
    workers = effective_jobs(jobs)
    check_writable_name(output)
    file = None if embeddings is None else EmbeddingFile(embeddings)
    table = scan(source)
    if output.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"the output {output} lies inside the source {source}, which is never written to: choose another -o"
        )
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} to")
    opened = Project.open(project, device=device)
    if output.resolve().is_relative_to(opened.folder.root.resolve()):
        raise UsageError(f"the output {output} lies inside the project {project}: choose another -o")
    check_embeddings(project, opened._asked, file)
    matched = match_embeddings(file, table)
    listener(Event("assign", "begin", f"{len(table)} images"))
    for message in [*table.warnings, *(matched.warnings if matched else ())]:
        listener(Event("assign", "warning", message))
    for message in matched.notes if matched else ():
        listener(Event("assign", "note", message))

    reference = opened._drift_reference() if drift else None

    def rows(vectors: AlignedVectors | None) -> Iterator[Row]:
        skipped = 0
        images = ((Entry(table, i), None if vectors is None else vectors.of(i)) for i in range(len(table)))
        for done, row in enumerate(opened._rows(images, workers, reference), 1):
            skipped += row.theta is None
            listener(Event("assign", "step", done=done, total=len(table), skipped=skipped))
            yield row

    with _aligned(matched, len(table), output.parent) as vectors:
        found = rows(vectors)
        result = collect(found, opened._frozen.n_groups, opened.names, reference, opened._suggested)
    beside = output.with_name(f"{output.stem}.skipped.parquet")
    try:
        with replace_file(output) as path:
            write_table(result.to_table(), path)
        beside.unlink(missing_ok=True)
        if len(result.skipped):
            with replace_file(beside) as path:
                write_table(result.skipped.to_table(), path)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    if result.drift is not None and result.drift.drifted:
        listener(Event("assign", "warning", result.drift.message))
    listener(Event("assign", "end", f"{len(result)} grouped, {len(result.skipped)} skipped"))
    return result


@contextmanager
def _aligned(embeddings: Embeddings | None, n_images: int, folder: Path) -> Iterator[AlignedVectors | None]:
    """The embeddings in the order of the images, in a file without a name on the file system of `folder`."""
    if embeddings is None:
        yield None
        return
    try:
        file = TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}: choose another -o") from None
    with file:
        vectors = AlignedVectors.create(file, embeddings.file.dimension, n_images)
        embeddings.align(vectors)
        yield vectors
