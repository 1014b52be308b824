"""Stage ``extract``: photographs to local features, a shard at a time."""

from __future__ import annotations

import ctypes
import hashlib
import multiprocessing
import os
import shutil
import threading
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from fastvbow import __version__
from fastvbow.config import ExtractConfig, ExtractOptions
from fastvbow.errors import NoImagesError, ProjectError, StoreCorruptError, TooManySkippedError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, make_process_executor, one_thread_each, run_tasks
from fastvbow.features.aligned import AlignedVectors
from fastvbow.features.cnn import DEVICES, CnnExtractor
from fastvbow.features.embeddings import EmbeddingFile, Embeddings
from fastvbow.features.store import FeatureShard
from fastvbow.images.joining import chosen
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable, readable
from fastvbow.memory import physical_memory
from fastvbow.pipeline.additions import with_additions
from fastvbow.pipeline.describing import check_same_order, open_embeddings, parameters_of
from fastvbow.pipeline.shard_work import Done, ShardTask, Worker, start_process, work_in_process
from fastvbow.pipeline.shards import added_shards, open_shards, shard_folder, shard_keys, shard_ranges
from fastvbow.pipeline.stage import run_stage
from fastvbow.project import ProjectFolder, StageCard, replace_file, scratch_file

__all__ = [
    "check_and_scan",
    "check_device",
    "check_writable_name",
    "extract",
    "extract_table",
    "match_embeddings",
    "open_shards",
]

STALE = "stale-"
RATE_FROM = 100  # images that are done before their error rate counts


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
    source: Path,
    project: Path,
    config: ExtractConfig | None = None,
    *,
    options: ExtractOptions | None = None,
    jobs: int | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> StageCard:
    """Scan a source and extract local features into memory-mapped shards.

    What an earlier or interrupted call has found of unchanged photographs is kept: other photographs beside them, or
    another kind of feature, cost what is new about them.

    Parameters
    ----------
    source : Path
        The photographs (see `fastvbow.images.sources.scan`); they are only read.
    project : Path
        The project folder; made if missing.
    config : ExtractConfig, optional
    options : ExtractOptions, optional
    jobs : int, optional
        Workers; None or -1: all processors.
    device : {"auto", "cpu", "cuda"}, default="auto"
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
    UsageError, ProjectError, ProviderUnavailableError, MissingExtraError
    """
    options, config = options or ExtractOptions(), config or ExtractConfig()
    parameters_of(config)  # is there such a model?
    given = open_embeddings(config)
    table, embeddings = check_and_scan(source, project, given, jobs=jobs, device=device, limit=options.limit)
    folder = ProjectFolder.create(project, source, __version__)
    return extract_table(
        folder, table, config, embeddings, options=options, jobs=jobs, device=device, listener=listener
    )


def check_and_scan(
    source: Path, project: Path, given: EmbeddingFile | None, *, jobs: int | None, device: str, limit: int = 0
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
    run = _Extraction(project, table, config, parameters, embeddings, options, workers, device, listener, all_may_fail)
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
        device: str,
        listener: Listener,
        all_may_fail: bool,
    ) -> None:
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
        tasks = [
            ShardTask(shard_folder(self.project, i), self.keys[i], self.table.part(*bounds), bounds[0])
            for i, bounds in enumerate(self.ranges)
            if i not in standing
        ]
        if tasks:
            self._note(f"{len(standing)} of {len(self.ranges)} shards stand from an earlier call", bool(standing))
            done, reasons = self._known(standing)
            progress = _Progress(self.listener, len(self.table), done, reasons, self.options.max_error_rate)
            budget = self.options.max_memory or physical_memory() // 2
            stale = sorted(self.project.features.glob(f"{STALE}*"))
            how = (self.config, self.parameters, self.device, stale, bool(self.options.retry))
            with self._vectors() as vectors:
                if self.options.executor == "threads" or self.jobs == 1:
                    self._in_threads(tasks, progress, Worker(*how, budget, self.options.batch, vectors))
                else:
                    self._in_processes(tasks, progress, (*how, budget // self.jobs, self.options.batch, vectors))
            self._note(f"{progress.taken} photographs taken over from earlier shards", bool(progress.taken))
        counted = self._count()
        for folder in self.project.features.glob(f"{STALE}*"):
            shutil.rmtree(folder)
        return counted

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
        with scratch_file(self.project.features, "embeddings") as path:
            with path.open("w+b", buffering=0) as file:
                self.embeddings.align(AlignedVectors.create(file, given.dimension, len(self.table)))
            yield path, given.dimension

    def _note(self, message: str, said: bool) -> None:
        if said:
            self.listener(Event("extract", "note", message))

    def _sort_out(self) -> set[int]:
        """The shards that stand; others are set aside, for what may be taken over from them."""
        standing = set()
        for folder in sorted(self.project.features.glob("shard-*")):
            number = folder.name.removeprefix("shard-")
            try:
                card = FeatureShard.read_card(folder)
                at = int(number) if number.isdigit() and int(number) < len(self.keys) else -1
                same = at >= 0 and card is not None and card.key == self.keys[at]
                if same and (not self.options.retry or FeatureShard(folder).read.all()):
                    standing.add(at)
                    continue
            except StoreCorruptError:
                card = None  # what is not marked does not exist
            if card is None or not card.made_by:
                shutil.rmtree(folder)
            else:
                folder.rename(folder.with_name(f"{STALE}{uuid.uuid4().hex[:12]}"))
        return standing

    def _known(self, standing: set[int]) -> tuple[int, Counter[str]]:
        """How many images the shards that stand have, and why which of them are skipped."""
        n_images, reasons = 0, Counter[str]()
        for index in standing:
            shard = FeatureShard(shard_folder(self.project, index))
            n_images += shard.card.n_images
            reasons += shard.skipped
        return n_images, reasons

    def _in_threads(self, tasks: Sequence[ShardTask], progress: _Progress, worker: Worker) -> None:
        for extractor in worker.extractors:
            if isinstance(extractor, CnnExtractor):
                self._note(f"the CNN {self.config.model} runs on {extractor.provider}", True)
        stop = threading.Event()
        with one_thread_each(), closing(worker), make_executor(self.jobs) as executor:
            try:
                for _ in run_tasks(
                    executor, lambda task: worker.work(task, progress.step, stop.is_set), tasks, ahead=2 * self.jobs
                ):
                    pass
                worker.finish()
            except BaseException:
                stop.set()
                raise

    def _in_processes(self, tasks: Sequence[ShardTask], progress: _Progress, how: tuple[Any, ...]) -> None:
        # no Event: a worker that is killed amid asking it would keep its lock for ever
        stop = multiprocessing.get_context("spawn").RawValue(ctypes.c_bool, False)
        try:
            with make_process_executor(self.jobs, start_process, stop, *how) as executor:
                try:
                    for images in run_tasks(executor, work_in_process, tasks, ahead=2 * self.jobs):
                        for done in images:
                            progress.step(done)
                except BaseException:
                    stop.value = True
                    raise
        except BrokenProcessPool:
            raise ProjectError(
                "a worker process has died, killed perhaps for want of memory: the same command goes on where it "
                "stopped; fewer --jobs or a smaller --max-memory need less"
            ) from None

    def _count(self) -> dict[str, Any]:
        reasons: Counter[str] = Counter()
        rows: Counter[str] = Counter()
        content = hashlib.sha256()
        for index in range(len(self.ranges)):
            shard = FeatureShard(shard_folder(self.project, index))
            reasons += shard.skipped
            rows.update(shard.card.rows)
            content.update((shard.folder / "card.json").read_bytes())
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


class _Progress:
    """Counts images from several threads and tells the listener."""

    def __init__(self, listener: Listener, total: int, done: int, reasons: Counter[str], max_error_rate: float) -> None:
        self._listener, self._total, self._max_error_rate = listener, total, max_error_rate
        self._done, self._n_bytes, self._reasons = done, 0, reasons
        self._lock = threading.Lock()
        self.taken = 0

    def step(self, image: Done) -> None:
        with self._lock:
            self._done += 1
            self._n_bytes += image.n_bytes
            if image.reason is not None:
                self._reasons[image.reason] += 1
            self.taken += image.reason is None and not image.n_bytes
            skipped = self._reasons.total()
            self._listener(
                Event(
                    "extract",
                    "step",
                    done=self._done,
                    total=self._total,
                    skipped=skipped,
                    n_bytes=self._n_bytes,
                    reasons=dict(self._reasons),
                )
            )
            enough = self._done >= min(RATE_FROM, self._total)
            if enough and skipped > self._max_error_rate * self._done:
                often = self._reasons.most_common(1)[0][0]
                raise TooManySkippedError(
                    f"{skipped} of {self._done} photographs cannot be read (most often: {often}), which is more than "
                    f"--max-error-rate {self._max_error_rate:g} allows: mend them, or allow more"
                )
