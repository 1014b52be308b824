"""Stage ``extract``: photographs to local features, a shard at a time."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastvbow import __version__
from fastvbow.config import ExtractConfig, ExtractOptions
from fastvbow.errors import NoImagesError, ProjectError, StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs
from fastvbow.features.aligned import AlignedVectors
from fastvbow.features.cnn import DEVICES, CnnExtractor
from fastvbow.features.embeddings import EmbeddingFile, Embeddings
from fastvbow.features.store import FeatureShard
from fastvbow.images.joining import chosen
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable, readable
from fastvbow.marks import Mark, marked
from fastvbow.memory import physical_memory
from fastvbow.pipeline.additions import with_additions
from fastvbow.pipeline.crew import check_crew
from fastvbow.pipeline.describing import check_same_order, open_embeddings, parameters_of
from fastvbow.pipeline.extraction_rounds import STALE, Progress, elsewhere, in_processes, in_threads
from fastvbow.pipeline.extraction_tasks import Making
from fastvbow.pipeline.shard_work import ShardTask, Worker, Workshop
from fastvbow.pipeline.shards import (
    added_shards,
    feature_shard,
    open_shard,
    open_shards,
    shard_folder,
    shard_keys,
    shard_ranges,
)
from fastvbow.pipeline.stage import run_stage
from fastvbow.project import ProjectFolder, StageCard, fingerprint_of, replace_file
from fastvbow.working_copy import at_hand

__all__ = [
    "check_and_scan",
    "check_device",
    "check_writable_name",
    "extract",
    "extract_table",
    "match_embeddings",
    "open_shards",
]

_VECTORS = ".embeddings."


def check_device(device: str) -> None:
    """Raise a UsageError for a device that no model knows."""
    if device not in DEVICES:
        raise UsageError(f"--device is one of {', '.join(DEVICES)}, not {device}")


def check_writable_name(path: Path) -> None:
    """Raise a ProjectError for a path that Parquet and safetensors files cannot be written to."""
    try:
        os.fspath(path.absolute()).encode()
    except UnicodeEncodeError:
        raise ProjectError(f"cannot write to {path}: its name is not valid UTF-8: choose another -o") from None


def extract(
    source: Path | str,
    project: Path | str,
    config: ExtractConfig | None = None,
    *,
    options: ExtractOptions | None = None,
    jobs: int | None = None,
    executor: Executor | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> StageCard:
    """Scan a source and extract local features into memory-mapped shards.

    What an earlier or interrupted call has found of unchanged photographs is kept: other photographs beside them, or
    another kind of feature, cost what is new about them.

    Parameters
    ----------
    source : Path or str
        The photographs, or the URL of a bucket (see `fastvbow.images.sources.scan`); they are only read.
    project : Path or str
        The project folder, or its URL (see `fastvbow.working_copy`); made if missing.
    config : ExtractConfig, optional
    options : ExtractOptions, optional
    jobs : int, optional
        Workers; None or -1: all processors.
    executor : concurrent.futures.Executor, optional
        Where shards are worked on, such as Dask's ``client.get_executor()``; None: `jobs` workers of this machine, as
        `options` say. Changes no byte of the result. `ExtractOptions.max_memory` is then that of each process; 0 is
        half of what a Dask worker may use, or its share of half of the machine's memory where it has no limit.
    device : {"auto", "cpu", "cuda"}, default="auto"
        With Dask, ``cuda`` sends what the CNN does to workers with the resource ``GPU``, one task at a time on each;
        ``auto`` is ``cuda`` where there are such workers, and ``cpu`` where there are none.
    listener : Listener, optional

    Returns
    -------
    StageCard
        ``outputs`` counts images, skipped ones (with reasons), and rows of each modality.

    Raises
    ------
    NoImagesError
        There is no image, or none that can be read.
    TooManySkippedError
        More cannot be read than `options` allow.
    ClusterError
        A worker does not see the project or the photographs, none has a GPU, or the scheduler or the workers are gone.
    UsageError, ProjectError, ProviderUnavailableError, MissingExtraError
    """
    options, config = options or ExtractOptions(), config or ExtractConfig()
    parameters_of(config)  # is there such a model?
    given, project = open_embeddings(config), at_hand(project)
    table, embeddings = check_and_scan(source, project, given, jobs=jobs, device=device, limit=options.limit)
    folder = ProjectFolder.create(project, source, __version__)
    return extract_table(
        folder,
        table,
        config,
        embeddings,
        options=options,
        jobs=jobs,
        executor=executor,
        device=device,
        listener=listener,
    )


def check_and_scan(
    source: Path | str, project: Path, given: EmbeddingFile | None, *, jobs: int | None, device: str, limit: int = 0
) -> tuple[ImageTable, Embeddings | None]:
    """List the images of a source, and find their embeddings if there are such, once it is known that the other
    arguments of `extract` can be used."""
    effective_jobs(jobs)
    check_device(device)
    check_writable_name(project)
    scanned = scan(source)
    table = with_additions(scanned, project)
    embeddings = match_embeddings(given, table, len(scanned))  # to all: rows without paths are counted
    if not 0 < limit < len(scanned):
        return table, embeddings
    rows = [*range(limit), *range(len(scanned), len(table))]
    return chosen(table, rows), None if embeddings is None else embeddings.of(rows)


def match_embeddings(given: EmbeddingFile | None, table: ImageTable, n_scanned: int | None = None) -> Embeddings | None:
    """The embeddings of images. Where the file has no paths, its rows are those of the first `n_scanned`."""
    if given is None:
        return None
    n_first = len(table) if given.has_paths or n_scanned is None else n_scanned
    found = given.match(table.names[:n_first], table.image_ids[:n_first], os.fsdecode(table.root))
    return found.of([*range(n_first), *[-1] * (len(table) - n_first)])


def extract_table(
    project: ProjectFolder,
    table: ImageTable,
    config: ExtractConfig,
    embeddings: Embeddings | None,
    *,
    options: ExtractOptions,
    jobs: int | None,
    executor: Executor | None = None,
    device: str,
    listener: Listener,
    all_may_fail: bool = False,
) -> StageCard:
    """What `extract` does once the images are listed and the project is there."""
    workers = effective_jobs(jobs)
    parameters = parameters_of(config, embeddings)
    if embeddings is not None and (card := project.card("extract")) is not None:
        check_same_order(card.parameters, embeddings)
    for message in table.unlisted:
        listener(Event("extract", "warning", f"cannot list the folder {message}: its images are missing"))
    for message in [*table.warnings, *(embeddings.warnings if embeddings else ())]:
        listener(Event("extract", "warning", message))
    for message in embeddings.notes if embeddings else ():
        listener(Event("extract", "note", message))
    if table.n_others:
        listener(Event("extract", "note", f"{table.n_others} files passed over that are no images by their names"))
    run = _Extraction(
        project, table, config, parameters, embeddings, options, workers, executor, device, listener, all_may_fail
    )
    return run_stage(
        project,
        "extract",
        parameters=parameters,
        after={"images": table.fingerprint()},
        outputs=[project.images, *(shard_folder(project, i) for i in range(len(run.ranges)))],
        listener=listener,
        body=run.run,
        again=run.why_again,
    )


class _Extraction:
    def __init__(
        self,
        project: ProjectFolder,
        table: ImageTable,
        config: ExtractConfig,
        parameters: Mapping[str, Any],
        embeddings: Embeddings | None,
        options: ExtractOptions,
        jobs: int,
        executor: Executor | None,
        device: str,
        listener: Listener,
        all_may_fail: bool,
    ) -> None:
        self.executor = executor
        self.project, self.table, self.options, self.jobs, self.listener = project, table, options, jobs, listener
        self.config, self.device, self.parameters, self.embeddings = config, device, parameters, embeddings
        self.all_may_fail = all_may_fail
        card = project.card("extract")
        same = card is not None and card.inputs == {"images": table.fingerprint()}
        self.added = added_shards(card.outputs) if card is not None and same else []
        self.ranges = shard_ranges(len(table), self.added) if self.added else shard_ranges(len(table))
        self.keys = shard_keys(table, parameters, self.ranges)

    def why_again(self, card: StageCard) -> str:
        """Why extraction runs though it has run: to look at skipped ones again."""
        n_skipped = card.outputs["skipped"]
        return f"{n_skipped} skipped photographs" if self.options.retry and n_skipped else ""

    def run(self) -> dict[str, Any]:
        """Extract what is not there yet; what the stage's card counts."""
        with replace_file(self.project.images) as path:
            self.table.write(path)
        self.project.features.mkdir(exist_ok=True)
        standing = self._sort_out()
        todo = [i for i in range(len(self.ranges)) if i not in standing]
        if todo:
            self._note(f"{len(standing)} of {len(self.ranges)} shards stand from an earlier call", bool(standing))
            done, reasons = self._known(standing)
            progress = Progress(self.listener, len(self.table), done, reasons, self.options.max_error_rate)
            with self._vectors() as vectors:
                if self.executor is None and (self.options.executor == "threads" or self.jobs == 1):
                    self._in_threads(todo, progress, vectors)
                else:
                    self._elsewhere(todo, progress, vectors)
            self._note(f"{progress.taken} photographs taken over from earlier shards", bool(progress.taken))
        counted = self._count()
        for name in self._stale():
            self.project.place.remove(name)
        return counted

    def _tasks(self, todo: Sequence[int], mark: Mark | None = None) -> Iterator[ShardTask]:
        place, cut = self.project.place, self.table.part if mark is None else self.table.to_read
        for i in todo:
            start, stop = self.ranges[i]
            yield ShardTask(place, feature_shard(i), self.keys[i], cut(start, stop), start, mark)

    def _stale(self) -> list[str]:
        return [f"features/{name}" for name in self.project.place.names("features") if name.startswith(STALE)]

    def _earlier(self) -> list[Path]:
        return [self.project.place.fetch(name) for name in self._stale()]

    def _in_threads(self, todo: Sequence[int], progress: Progress, vectors: tuple[Path, int] | None) -> None:
        budget = self.options.max_memory or physical_memory() // 2
        with closing(Workshop(self.config, self.device, budget, self.options.batch)) as shop:
            for extractor in shop.extractors:
                if isinstance(extractor, CnnExtractor):
                    self._note(f"the CNN {self.config.model} runs on {extractor.provider}", True)
            worker = Worker(shop, self.parameters, self._earlier(), bool(self.options.retry), vectors)
            in_threads(self._tasks(todo), progress, worker, self.jobs)

    def _elsewhere(self, todo: Sequence[int], progress: Progress, vectors: tuple[Path, int] | None) -> None:
        """In processes of this machine, or by the caller's executor."""
        names = None if vectors is None else (f"features/{vectors[0].name}", vectors[1])
        retry, budget = bool(self.options.retry), self.options.max_memory
        how = Making(self.config, self.parameters, self.device, retry, self.options.batch, budget, vectors=names)
        earlier, made = self._earlier(), fingerprint_of(self.parameters)
        if self.executor is None:
            how = replace(how, n_bytes=(budget or physical_memory() // 2) // self.jobs)
            with marked(self.project.place, "features", made) as mark:
                in_processes(self._tasks(todo, mark), progress, how, earlier, self.jobs)
            return
        crew = check_crew(self.executor, self.project, self.table, self.config, self.device)
        self._note(f"the CNN {self.config.model} runs on: {crew.device}", "cnn" in self.config.features)
        with marked(self.project.place, "features", made) as mark:
            elsewhere(self.executor, self._tasks(todo, mark), progress, how, earlier, crew, self.jobs)

    def _place(self) -> dict[str, str]:
        """Where the embeddings came from, for people: another file with the same bytes is as good."""
        if self.embeddings is None:
            return {}
        return {"embeddings from": readable(os.fsencode(self.embeddings.file.path.absolute()))}

    @contextmanager
    def _vectors(self) -> Iterator[tuple[Path, int] | None]:
        """A file of the embeddings in the order of the images, and how many numbers each has, if there are such."""
        if self.embeddings is None:
            yield None
            return
        given = self.embeddings.file
        place = self.project.place
        for name in place.names("features"):
            if name.startswith(_VECTORS):  # what a kill has left
                place.remove(f"features/{name}")
        name = f"features/{_VECTORS}{uuid.uuid4().hex[:12]}.tmp"
        try:
            with place.writing(name) as path, path.open("w+b", buffering=0) as file:
                self.embeddings.align(AlignedVectors.create(file, given.dimension, len(self.table)))
            yield place.fetch(name), given.dimension
        finally:
            place.remove(name)

    def _note(self, message: str, said: bool) -> None:
        if said:
            self.listener(Event("extract", "note", message))

    def _sort_out(self) -> set[int]:
        """The shards that stand; others are set aside, for what may be taken over from them."""
        standing, place = set(), self.project.place
        for folder in sorted(self.project.features.glob("shard-*")):
            number = folder.name.removeprefix("shard-")
            try:
                card = FeatureShard.read_card(folder)
                at = int(number) if number.isdigit() and int(number) < len(self.keys) else -1
                same = at >= 0 and card is not None and card.key == self.keys[at]
                if same and (not self.options.retry or open_shard(self.project, at).read.all()):
                    standing.add(at)
                    continue
            except StoreCorruptError:
                card = None  # what is not marked does not exist
            if card is None or not card.made_by:
                place.remove(f"features/{folder.name}")
            else:
                place.move(f"features/{folder.name}", f"features/{STALE}{uuid.uuid4().hex[:12]}")
        return standing

    def _known(self, standing: set[int]) -> tuple[int, Counter[str]]:
        """How many images the shards that stand have, and why which of them are skipped."""
        n_images, reasons = 0, Counter[str]()
        for index in standing:
            shard = open_shard(self.project, index)
            n_images += shard.card.n_images
            reasons += shard.skipped
        return n_images, reasons

    def _count(self) -> dict[str, Any]:
        reasons: Counter[str] = Counter()
        rows: Counter[str] = Counter()
        content = hashlib.sha256()
        place = self.project.place
        for index, key in enumerate(self.keys):
            name = feature_shard(index)
            folder = place.fetch(f"{name}/card.json").parent
            place.fetch(f"{name}/images.parquet")
            shard = FeatureShard(folder)
            if shard.card.key != key:
                raise ProjectError(f"{folder} is not of these photographs: another call wrote it; run the same again")
            reasons += shard.skipped
            rows.update(shard.card.rows)
            content.update((folder / "card.json").read_bytes())
        n_images, n_skipped = len(self.table), reasons.total()
        if n_skipped == n_images and not self.all_may_fail:
            first = next(iter(reasons))
            where = self.project.source
            raise NoImagesError(f"none of the {n_images} images in {where} can be read (the first: {first})")
        return {
            "images": n_images,
            "skipped": n_skipped,
            **{f"{k} features": v for k, v in rows.items()},
            "reasons": dict(reasons),
            **self._place(),
            **({"added": self.added} if self.added else {}),
            "content": content.hexdigest(),
        }
