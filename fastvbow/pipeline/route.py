"""Command ``run``: the whole route, from a folder of photographs to the report."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fastvbow import __version__, pipeline
from fastvbow.config import MODALITIES, EncodeConfig, ExtractConfig, ExtractOptions, TopicsConfig, VocabularyConfig
from fastvbow.errors import UsageError
from fastvbow.events import Listener, log_events
from fastvbow.executors import effective_jobs
from fastvbow.pipeline.beforehand import check_enough_images, check_labels
from fastvbow.pipeline.describing import open_embeddings, parameters_of
from fastvbow.pipeline.extraction import check_and_scan, extract_table
from fastvbow.project import STAGES, ProjectFolder, StageCard
from fastvbow.stores import within
from fastvbow.words.shares import fused, share_words
from fastvbow.working_copy import at_hand

if TYPE_CHECKING:
    from fastvbow.features.embeddings import EmbeddingFile
    from fastvbow.pipeline.origin import Origin

__all__ = ["RunResult", "run"]


@contextmanager
def _later_stages_imported() -> Iterator[None]:
    """What comes after extraction is imported while it runs: a second and a half of scikit-learn, Numba and SciPy.

    The thread is waited for when Python ends, as daemons are not: one that is stopped amid an import of C++ modules
    aborts the process. It goes no further once the route has ended.
    """
    ended = threading.Event()
    threading.Thread(target=_import_later_stages, args=(ended,), name="fastvbow-imports").start()
    try:
        yield
    finally:
        ended.set()


def _import_later_stages(ended: threading.Event) -> None:
    with suppress(Exception):  # the stage itself imports it again, and whoever called hears of it
        for stage in STAGES.keys() - {"cluster"}:  # which is no part of the route
            if not ended.is_set():
                getattr(pipeline, stage)


@dataclass(frozen=True)
class RunResult:
    """What a run counted.

    Attributes
    ----------
    images, grouped, skipped : int
        images = grouped + skipped.
    topics, words : int
        Of the model.
    seconds : dict of str to float
        What each stage took in this call (0 where it was reused), and ``total``.
    page : Path or str
        The report; a str is its URL.
    """

    images: int
    grouped: int
    skipped: int
    topics: int
    words: int
    seconds: dict[str, float]
    page: Path | str


def run(
    source: Path | str,
    project: Path | str,
    *,
    origin: Path | str | None = None,
    refit: bool = False,
    extract_config: ExtractConfig | None = None,
    extract_options: ExtractOptions | None = None,
    vocabulary_config: VocabularyConfig | None = None,
    encode_config: EncodeConfig | None = None,
    topics_config: TopicsConfig | None = None,
    asked: Collection[str] | None = None,
    labels: str = "none",
    jobs: int | None = None,
    executor: Executor | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> RunResult:
    """Group a folder of photographs: every stage in turn, each reused where nothing that it depends on has changed.

    With an `origin` nothing is trained: photographs are described as there, get its words, and the mixtures that
    `assign` gives them there. The project holds copies of all that it takes over and stands by itself.

    Parameters
    ----------
    source : Path or str
        The image folder, or the URL of a bucket; it is only read.
    project : Path or str
        The project folder, or its URL (see `fastvbow.working_copy`); made if missing.
    origin : Path or str, optional
        A finished project, whose vocabulary and model are taken over; it is only read.
    refit : bool, default=False
        Take over the vocabulary alone and train topics anew.
    extract_config : ExtractConfig, optional
    extract_options : ExtractOptions, optional
        How extraction goes about it.
    vocabulary_config, encode_config, topics_config : optional
        Parameters of the other stages. What is taken over from `origin` has its parameters there; one that is given
        must not contradict them.
    asked : collection of str, optional
        The fields of these configurations that are held against `origin`; None: all.
    labels : str, default="none"
        ``parent``, ``none`` or a CSV file; written beside the groups, never used to make them.
    jobs : int, optional
        Threads; None or -1: all processors. The result is the same for any number.
    executor : concurrent.futures.Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` threads of this process.
        Changes no byte of the result.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the CNN runs; with an `executor` see `fastvbow.pipeline.extract`.
    listener : Listener, optional
        Hears of every step.

    Returns
    -------
    RunResult

    Raises
    ------
    UsageError
        `origin` has other parameters than are asked for, or is `project`.
    FastvbowError
        One of `fastvbow.errors`; finished stages stay and are reused by the next call.
    """
    started = time.perf_counter()
    given = open_embeddings(extract_config) if extract_config else None
    called, project = project, at_hand(project)
    taken = _open_origin(origin, project, refit, given)
    if taken:
        taken.check(asked, extract_config, vocabulary_config, encode_config, topics_config)
        extract_config, encode_config = taken.extract_config, taken.encode_config
    extract_config, vocabulary_config = extract_config or ExtractConfig(), vocabulary_config or VocabularyConfig()
    topics_config, extract_options = topics_config or TopicsConfig(), extract_options or ExtractOptions()
    if not taken:
        names = [name for kind in extract_config.features for name in MODALITIES[kind]]
        share_words(vocabulary_config.words, fused(names, vocabulary_config.fusion))
    parameters_of(extract_config)  # is there such a model?
    n_needed = 1 if taken and taken.model else topics_config.topics
    limit = extract_options.limit
    table, embeddings = check_and_scan(source, project, given, jobs=jobs, device=device, limit=limit)
    check_labels(table, labels, stored=project / "labels.parquet")
    check_enough_images(len(table), n_needed)  # before the long work
    folder = ProjectFolder.create(project, source, __version__)
    seconds: dict[str, float] = {}

    def timed(stage: str, card: StageCard) -> StageCard:
        seconds[stage] = round(time.perf_counter() - started - sum(seconds.values()), 3)
        return card

    with _later_stages_imported(), folder.lock():  # for the whole route: nobody may change a stage between two others
        extracted = extract_table(
            folder,
            table,
            extract_config,
            embeddings,
            options=extract_options,
            jobs=jobs,
            executor=executor,
            device=device,
            listener=listener,
        )
        timed("extract", extracted)
        check_enough_images(extracted.outputs["images"] - extracted.outputs["skipped"], n_needed)
        worded = timed("vocabulary", _vocabulary(folder, taken, vocabulary_config, jobs, executor, listener))
        timed("encode", pipeline.encode(project, encode_config, jobs=jobs, executor=executor, listener=listener))
        modelled = timed("topics", _topics(folder, taken, topics_config, jobs, executor, listener))
        grouped = timed("groups", pipeline.groups(project, labels=labels, by="topics", listener=listener))
        reported = timed("report", pipeline.report(project, jobs=jobs, executor=executor, listener=listener))
    seconds["total"] = round(time.perf_counter() - started, 3)
    return RunResult(
        images=extracted.outputs["images"],
        grouped=grouped.outputs["grouped"],
        skipped=grouped.outputs["skipped"],
        topics=modelled.outputs["topics"],
        words=worded.outputs["words"],
        seconds=seconds,
        page=within(called, reported.outputs["page"]),
    )


def _open_origin(
    origin: Path | str | None, project: Path, refit: bool, embeddings: EmbeddingFile | None
) -> Origin | None:
    if origin is None:
        if refit:
            raise UsageError("--refit trains topics on the words of another project: name it with --from")
        return None
    from fastvbow.pipeline.origin import Origin  # heavy, and a run from nothing extracts while it imports

    return Origin.open(at_hand(origin), project, refit=refit, embeddings=embeddings)


def _vocabulary(
    folder: ProjectFolder,
    origin: Origin | None,
    config: VocabularyConfig,
    jobs: int | None,
    executor: Executor | None,
    listener: Listener,
) -> StageCard:
    if origin is None:
        return pipeline.vocabulary(folder.root, config, jobs=jobs, executor=executor, listener=listener)
    from fastvbow.pipeline.taking_over import take_vocabulary

    return take_vocabulary(folder, origin.vocabulary, listener=listener)


def _topics(
    folder: ProjectFolder,
    origin: Origin | None,
    config: TopicsConfig,
    jobs: int | None,
    executor: Executor | None,
    listener: Listener,
) -> StageCard:
    if origin is None or origin.model is None:
        return pipeline.topics(folder.root, config, jobs=jobs, executor=executor, listener=listener)
    from fastvbow.pipeline.taking_over import take_model, take_names

    card = take_model(folder, origin.model, jobs=effective_jobs(jobs), executor=executor, listener=listener)
    take_names(folder, origin.names)
    return card
