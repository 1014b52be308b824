"""Command ``add``: new images flow into a finished project, under its frozen vocabulary and model.

The new images are made a small project of their own in ``adding/`` first, by the stages of `run --from`: there an
interrupted call goes on. Then they become the last rows of the project in one change (`fastvbow.pipeline.merging`), so
that a reader sees the project without them or with all of them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastvbow import pipeline
from fastvbow.config import ExtractOptions
from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, one_thread_each
from fastvbow.features.embeddings import EmbeddingFile, Embeddings
from fastvbow.groups.drift import DriftReport
from fastvbow.groups.grouping import Grouping, Skipped, group, read_table
from fastvbow.images.joining import joined
from fastvbow.images.labels import read_labels
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.additions import News, find_news
from fastvbow.pipeline.beforehand import labels_identity
from fastvbow.pipeline.drift import drift_of, drift_reference
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.extraction import check_device, extract_table, match_embeddings
from fastvbow.pipeline.grouping import require_groups
from fastvbow.pipeline.merging import Groups, Learned, merge_addition
from fastvbow.pipeline.mixtures import grouped_by, load_shares
from fastvbow.pipeline.origin import Origin, Taken
from fastvbow.pipeline.shards import open_shards
from fastvbow.pipeline.suggested_names import load_proposals
from fastvbow.pipeline.taking_over import take_model, take_vocabulary
from fastvbow.pipeline.topic_modelling import token_streams
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder, replace_file
from fastvbow.stores import url_of, within
from fastvbow.topics.inference import likeliest_topics
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary
from fastvbow.working_copy import at_hand

__all__ = ["Added", "add"]


@dataclass(frozen=True)
class Added:
    """What `add` did.

    Attributes
    ----------
    n_new : int
        New photographs that are in groups now.
    n_skipped : int
        New ones that cannot be read; they stand in ``skipped.parquet``, with reasons.
    n_already : int
        Images of the source that the project had.
    grouping : Grouping
        The groups of the new ones, in the order of their rows.
    page : Path, str or None
        The report, if one was asked for.
    seconds : float
    """

    n_new: int
    n_skipped: int
    n_already: int
    grouping: Grouping
    page: Path | str | None
    seconds: float


def add(
    project: Path,
    source: Path,
    *,
    embeddings: Path | None = None,
    labels: str | None = None,
    update: bool = False,
    report: bool = True,
    drift: bool = True,
    options: ExtractOptions | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> Added:
    """Add the photographs of a source that a finished project does not have yet.

    They are described as the others, get words of the project's vocabulary and the mixtures that `Project.assign` gives
    them, to the last bit, and become the last rows of all that the project holds; the groups of the others stay. So it
    does not matter how many are added at a time. Images below the folder that the project was made of keep their
    relative paths there, so that it may be the source again once it has grown; others have absolute ones.

    A later `run` or `extract` of the project's source takes the added photographs along, and trains anew on all.

    Parameters
    ----------
    project : Path
        Its groups have to be up to date.
    source : Path
        What `fastvbow.images.sources.scan` reads; it is only read.
    embeddings : Path, optional
        Where the project's photographs are described by embeddings: a file of those of the source, made in the same
        way (see `fastvbow.features.embeddings`).
    labels : str, optional
        What is known of all photographs (see `fastvbow.images.labels.read_labels`). None: labels that the project has
        stay, and the new photographs get theirs from where those came from.
    update : bool, default=False
        Let the topics learn from the new photographs (`GibbsLDA.partial_fit`). Topics keep their numbers and names, the
        vocabulary stays as it is; all mixtures are inferred again, so that old photographs may change their groups.
    report : bool, default=True
        Make the report anew.
    drift : bool, default=True
        Hold the new photographs against those that the words were learned from, and warn where too many do not fit
        (`fastvbow.groups.drift`); ``drift`` of the grouping tells more.
    options : ExtractOptions, optional
        How extraction goes about it; ``limit`` counts new photographs, and skipped ones are always looked at again.
    jobs : int, optional
        Threads; None or -1: all processors. The result is the same for any number.
    executor : concurrent.futures.Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` threads of this process.
        Changes no byte of the result.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the CNN runs.
    listener : Listener, optional

    Returns
    -------
    Added

    Raises
    ------
    UsageError
        The project lies inside the source or is grouped by clusters; labels or `embeddings` do not fit.
    StageMissingError, ProjectError, StoreCorruptError
        There are no finished groups, another process is working on the project, or it was made with what is not
        installed here.
    NoImagesError, TooManySkippedError
    """
    started = time.perf_counter()
    workers, options = effective_jobs(jobs), options or ExtractOptions()
    check_device(device)
    given = None if embeddings is None else EmbeddingFile(embeddings)
    folder, called, project = ProjectFolder.open(project), project, at_hand(project)
    if (url := url_of(source) or url_of(str(folder.source))) is not None:
        raise UsageError(
            f"photographs can be added from folders to projects of folders, not with {url}: 'fastvbow run' on the "
            "bucket describes what is new there and groups all photographs again; 'fastvbow assign' groups new ones"
        )
    scanned = scan(source)
    if source.is_dir() and folder.root.resolve().is_relative_to(source.resolve()):
        raise UsageError(f"the project {project} lies inside the source {source}: name the folder of the photographs")
    with folder.lock():
        folder.bring_all()
        require_groups(folder)
        if grouped_by(folder) != "topics":
            raise UsageError(
                f"the photographs of {project} are grouped by clusters, new ones would get topics: bring them back "
                "with 'fastvbow groups --by topics', or extract and cluster all photographs again; 'fastvbow "
                "assign' finds the clusters of new ones"
            )
        origin = Origin.read(folder, embeddings=given)
        matched = match_embeddings(given, scanned)
        known = ImageTable.load(folder.images, folder.image_root)
        news = find_news(known, scanned, options.limit)
        unheard = [] if len(news) else [*scanned.warnings, *(f"cannot list the folder {m}" for m in scanned.unlisted)]
        for message in [*news.warnings, *unheard]:  # extraction tells them, too, where it has something to do
            listener(Event("add", "warning", message))
        added = _no_groups(folder)
        if len(news):
            listener(Event("add", "begin", f"{len(news)} new images, {news.n_already} are there already"))
            names = None if matched is None else matched.of(news.rows)
            waiting = _describe(folder, news.table, origin, names, options, workers, executor, device, listener)
            fit = _fit(folder, waiting) if drift else None
            added = replace(_join(folder, waiting, known, news, origin, labels, update, workers, listener), drift=fit)
            if fit is not None and fit.drifted:
                listener(Event("add", "warning", fit.message))
            listener(Event("add", "end", f"{len(added)} grouped, {len(added.skipped)} skipped"))
        page = None
        if report:
            card = pipeline.report(project, jobs=jobs, executor=executor, listener=listener)
            page = within(called, card.outputs["page"])
    seconds = round(time.perf_counter() - started, 3)
    return Added(len(added), len(added.skipped), news.n_already, added, page, seconds)


def _describe(
    project: ProjectFolder,
    table: ImageTable,
    origin: Origin,
    embeddings: Embeddings | None,
    options: ExtractOptions,
    jobs: int,
    executor: Executor | None,
    device: str,
    listener: Listener,
) -> ProjectFolder:
    """Take the new images as far as their mixtures, in a project of their own."""
    waiting = ProjectFolder(project.adding, project.manifest)
    waiting.root.mkdir(exist_ok=True)
    with replace_file(waiting.root / "project.json") as path:
        path.write_bytes((project.root / "project.json").read_bytes())

    def tell(event: Event) -> None:
        if event.stage != "vocabulary":  # which is copied
            listener(event)

    extract_table(
        waiting,
        table,
        origin.extract_config,
        embeddings,
        options=msgspec.structs.replace(options, retry="failed", limit=0),
        jobs=jobs,
        executor=executor,
        device=device,
        listener=tell,
        all_may_fail=True,
    )
    vocabulary, model = _taken(origin)
    take_vocabulary(waiting, vocabulary, listener=tell)
    pipeline.encode(waiting.root, origin.encode_config, jobs=jobs, executor=executor, listener=tell)
    take_model(waiting, model, jobs=jobs, executor=executor, listener=tell)
    return waiting


def _fit(project: ProjectFolder, waiting: ProjectFolder) -> DriftReport | None:
    """How well the new photographs fit; None where the project has too few to tell."""
    vocabulary = Vocabulary.load(project.vocabulary)
    reference = drift_reference(project, vocabulary)
    return None if reference is None else drift_of(reference, waiting, vocabulary)


def _taken(origin: Origin) -> tuple[Taken, Taken]:
    if origin.model is None:
        raise TypeError("the model of the project is wanted: read its origin without refit")
    return origin.vocabulary, origin.model


def _join(
    project: ProjectFolder,
    waiting: ProjectFolder,
    known: ImageTable,
    news: News,
    origin: Origin,
    labels: str | None,
    update: bool,
    jobs: int,
    listener: Listener,
) -> Grouping:
    """Make the new images the last ones of the project; what became of them."""
    reasons = [reason for shard in open_shards(waiting) for reason in shard.images["reason"].to_pylist()]
    learned = _learn(project, waiting, jobs) if update else None
    theta = load_shares(waiting, "topics") if learned is None else learned.theta[len(known) :]
    own, everybody, identity = _labels(project, known, news.table, labels, listener)
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    lost = [i for i, reason in enumerate(reasons) if reason is not None]
    table, names = news.table, load_names(project)
    suggested = load_proposals(project, names)
    found = group(
        np.asarray(theta[kept]),
        [table.image_ids[i] for i in kept],
        [table.names[i] for i in kept],
        [own[i] for i in kept],
        Skipped([table.image_ids[i] for i in lost], [table.names[i] for i in lost], [reasons[i] for i in lost]),
        names,
        suggested,
    )
    before = read_table(project.groups)
    if everybody is not None:
        column = pa.array([everybody[image_id] for image_id in before["image_id"].to_pylist()], pa.string())
        before = before.set_column(before.column_names.index("label"), "label", column)
    if learned is not None:
        row_of = {image_id: row for row, image_id in enumerate(known.image_ids)}
        ids, paths, marks = (before[name].to_pylist() for name in ("image_id", "path", "label"))
        again = learned.theta[[row_of[image_id] for image_id in ids]]
        before = group(again, ids, paths, marks, Skipped([], [], []), names, suggested).to_table()
    # one that was written before topics had names, or suggested ones, lacks their column
    groups = pa.concat_tables([before, found.to_table()], promote_options="default")
    skipped = pa.concat_tables([read_table(project.skipped), found.skipped.to_table()])
    whole = Groups(groups, skipped, identity)
    merge_addition(project, waiting, known, table, whole, _taken(origin), learned)
    return found


def _learn(project: ProjectFolder, waiting: ProjectFolder, jobs: int) -> Learned:
    """Train the model further on the words of the new images, and look at all images with it."""
    model = GibbsLDA.load(project.topics / "model")
    model.n_jobs, n_words = jobs, model.n_features_in_
    new = token_streams(waiting, open_tokens(waiting), n_words)
    streams = [*token_streams(project, open_tokens(project), n_words), *new]
    with one_thread_each():
        model.partial_fit(new)
        theta = model.transform(streams)
    phi, ends = np.ascontiguousarray(model.topic_word_.T), np.cumsum([stream.n_docs for stream in streams])

    def z(index: int) -> NDArray[Any]:
        return likeliest_topics(streams[index], theta[ends[index] - streams[index].n_docs : ends[index]], phi)

    return Learned(model, theta, z, load_names(project))


def _labels(
    project: ProjectFolder, known: ImageTable, news: ImageTable, labels: str | None, listener: Listener
) -> tuple[list[str | None], Mapping[str, str | None] | None, str]:
    """The labels of the new images, those of all by their ids where others are asked for, and what the card says."""

    def report(path: str, reason: str) -> None:
        listener(Event("add", "warning", f"{path} has no label: {reason}"))

    if labels is not None:
        table = joined(known, news)
        found = read_labels(labels, table.names, table.image_ids, table=table, stored=project.labels, report=report)
        identity = labels_identity(table, labels, stored=project.labels)
        return found[len(known) :], dict(zip(table.image_ids, found, strict=True)), identity
    identity = project.require("groups").parameters["labels"]
    spec = identity if identity in {"parent", "none"} else identity.rpartition(" ")[0]
    try:
        found = read_labels(spec, news.names, news.image_ids, table=news, stored=project.labels, report=report)
    except UsageError as error:
        listener(Event("add", "warning", f"the new photographs have no labels: {error}"))
        found = [None] * len(news)
    return found, None, identity


def _no_groups(project: ProjectFolder) -> Grouping:
    n_topics = int(project.require("topics").outputs["topics"])
    return group(np.empty((0, n_topics)), [], [], [], Skipped([], [], []))
