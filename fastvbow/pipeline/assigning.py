"""A finished project as a frozen model: groups for photographs that were not there when it was made."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ImageError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.features.aligned import AlignedVectors, aligned, as_features, vector_of
from fastvbow.features.base import Extractor, LocalFeatures
from fastvbow.features.embeddings import EmbeddingFile, Embeddings
from fastvbow.groups.grouping import Grouping, Skipped, group, write_table
from fastvbow.groups.names import TopicNames
from fastvbow.images.decode import examine, read_bytes, silence_decoders
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable, image_id_of, readable
from fastvbow.pipeline.describing import (
    begin_description,
    begin_features,
    check_embeddings,
    check_same_model,
    config_of,
    decoded_side,
    make_extractors,
)
from fastvbow.pipeline.extraction import check_device, check_writable_name, match_embeddings
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder, replace_file
from fastvbow.topics.lda import GibbsLDA
from fastvbow.topics.stream import TokenStream
from fastvbow.words.joint import Located, features_for
from fastvbow.words.tokens import encode
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["Project", "assign"]

Photograph = Path | str | bytes | NDArray[np.uint8]
_Vector = NDArray[np.float16] | str | None  # an embedding, or why there is none; None: there are no embeddings
_AHEAD = 8


@dataclass(frozen=True)
class _Entry:
    """An image of a source."""

    table: ImageTable
    index: int


@dataclass(frozen=True)
class _Row:
    image_id: str
    name: str
    theta: NDArray[np.float64] | None
    reason: str | None


class Project:
    """A finished project, opened to group further photographs. It may be shared by threads.

    Open it with `Project.open`.
    """

    def __init__(
        self,
        folder: ProjectFolder,
        extractors: Sequence[Extractor],
        least_side: int | None,
        vocabulary: Vocabulary,
        encoding: dict[str, Any],
        model: GibbsLDA,
        names: TopicNames | None = None,
    ) -> None:
        self.folder = folder
        self._asked = folder.require("extract").parameters
        self.vocabulary = vocabulary
        self.model = model
        self.names = names
        self._extractors, self._least_side = extractors, least_side
        self._encoding = encoding

    @classmethod
    def open(cls, path: Path | str, *, device: str = "auto") -> Project:
        """Open a project whose topics are finished.

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
        folder.require("topics")
        asked = folder.require("extract").parameters
        if "cnn" in asked:
            check_same_model(asked["cnn"])
        config = config_of(asked)
        return cls(
            folder,
            make_extractors(config, device),
            decoded_side(config),
            Vocabulary.load(folder.vocabulary),
            dict(folder.require("encode").parameters),
            GibbsLDA.load(folder.topics / "model"),
            load_names(folder, log_events),
        )

    def assign(
        self, images: Iterable[Photograph], *, embeddings: NDArray[Any] | None = None, jobs: int | None = 1
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
        workers = effective_jobs(jobs)
        vectors = None if embeddings is None else _checked_vectors(embeddings)
        check_embeddings(self.folder.root, self._asked, None if vectors is None else vectors.shape[1])
        if isinstance(images, str | bytes | bytearray | Path) or (isinstance(images, np.ndarray) and images.ndim < 4):
            raise UsageError("assign takes several photographs: for a single one pass [photograph]")
        if vectors is not None and isinstance(images, Sized) and len(images) != len(vectors):
            raise _uneven(len(images), len(vectors))
        return _collect(self._rows(_with_vectors(images, vectors), workers), self.model.n_components, self.names)

    def _rows(self, images: Iterable[tuple[Photograph | _Entry, _Vector]], workers: int) -> Iterator[_Row]:
        """A row for each photograph, in their order."""
        silence_decoders()
        with one_thread_each(), make_executor(workers) as executor:
            yield from run_tasks(executor, self._assign_one, images, ahead=_AHEAD * workers)

    def _assign_one(self, task: tuple[Photograph | _Entry, _Vector]) -> _Row:
        image, vector = task
        image_id, name = _identify(image)
        if isinstance(vector, str):
            return _Row(image_id, name, None, vector)
        try:
            if isinstance(image, np.ndarray):
                pixels = _checked(image)
                height, width = pixels.shape[:2]
                found = begin_features(pixels, self._extractors)()
            else:
                stored = image.table.read(image.index) if isinstance(image, _Entry) else image
                data = stored if isinstance(stored, bytes) else read_bytes(stored)
                described = begin_description(examine(data, self._least_side), self._extractors)()
                found, width, height = described.features, described.width, described.height
            if vector is not None:
                found = {**found, **as_features(vector, width, height)}
            return _Row(image_id, name, self._theta(found), None)
        except ImageError as error:
            return _Row(image_id, name, None, error.reason)

    def _theta(self, found: Mapping[str, LocalFeatures]) -> NDArray[np.float64]:
        """The mixture of a photograph with these features, (n_topics,)."""

        def located(name: str) -> Located:
            of = found[name]
            return Located(of.descriptors, of.keypoints, np.array([0, len(of.descriptors)]))

        features = features_for(self.vocabulary.codebooks, located)
        words, counts = encode(self.vocabulary, features, **self._encoding)
        stream = TokenStream(words, np.array([0, int(counts.sum())], dtype=np.int64), self.vocabulary.n_words)
        return self.model.transform(stream)[0]


def assign(
    project: Path,
    source: Path,
    output: Path,
    *,
    embeddings: Path | None = None,
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

    def rows(vectors: AlignedVectors | None) -> Iterator[_Row]:
        skipped = 0
        images = ((_Entry(table, i), None if vectors is None else vectors.of(i)) for i in range(len(table)))
        for done, row in enumerate(opened._rows(images, workers), 1):
            skipped += row.theta is None
            listener(Event("assign", "step", done=done, total=len(table), skipped=skipped))
            yield row

    with _aligned(matched, len(table), output.parent) as vectors:
        result = _collect(rows(vectors), opened.model.n_components, opened.names)
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


def _with_vectors(images: Iterable[Photograph], vectors: NDArray[Any] | None) -> Iterator[tuple[Photograph, _Vector]]:
    """Each photograph with its vector, if there are such."""
    n_images = 0
    for at, image in enumerate(images):
        n_images = at + 1
        if vectors is not None and at == len(vectors):
            break
        yield image, None if vectors is None else vector_of(aligned(vectors[at : at + 1])[0])
    if vectors is not None and n_images != len(vectors):
        raise _uneven(n_images, len(vectors))


def _uneven(n_images: int, n_vectors: int) -> UsageError:
    shown = n_images if n_images < n_vectors else f"more than {n_vectors}"
    return UsageError(f"{n_vectors} embeddings do not fit {shown} photographs: row i has to be that of photograph i")


def _checked_vectors(given: NDArray[Any]) -> NDArray[Any]:
    vectors = np.asarray(given)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise UsageError(
            f"embeddings are an array of numbers of shape (photographs, dimension), not {vectors.dtype} {vectors.shape}"
        )
    return vectors


def _identify(image: Photograph | _Entry) -> tuple[str, str]:
    """The id and the name of a photograph: of its path, or of its content where it has none.

    An image of a source goes by its relative path, as in a project of this source.
    """
    if isinstance(image, _Entry):
        return image.table.image_ids[image.index], image.table.names[image.index]
    if isinstance(image, bytes | np.ndarray):
        content = image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes()
        return hashlib.blake2b(content, digest_size=10).hexdigest(), ""
    if not isinstance(image, str | Path):
        raise UsageError(f"a photograph is a path, the bytes of a file or RGB pixels, not {type(image).__name__}")
    raw = os.fsencode(image)
    return image_id_of(raw), readable(raw)


def _checked(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"pixels have to be uint8 RGB of shape (height, width, 3), not {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)


def _collect(rows: Iterable[_Row], n_topics: int, names: TopicNames | None) -> Grouping:
    kept: list[_Row] = []
    lost: list[_Row] = []
    for row in rows:
        (lost if row.theta is None else kept).append(row)
    theta = np.array([row.theta for row in kept], dtype=np.float64).reshape(len(kept), n_topics)
    skipped = Skipped([r.image_id for r in lost], [r.name for r in lost], [r.reason or "" for r in lost])
    return group(theta, [r.image_id for r in kept], [r.name for r in kept], [None] * len(kept), skipped, names)
