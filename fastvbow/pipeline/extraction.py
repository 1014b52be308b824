"""Stage ``extract``: photographs to local features, a shard at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fastvbow import __version__
from fastvbow.config import ExtractConfig
from fastvbow.errors import ImageError, NoImagesError, ProjectError, StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.features.base import Extractor
from fastvbow.features.cnn import DEVICES, CnnExtractor, cnn_parameters
from fastvbow.features.models import find_model
from fastvbow.features.sift import SiftExtractor
from fastvbow.features.store import FeatureShard, ImageRecord, write_shard
from fastvbow.images.decode import decode, silence_decoders
from fastvbow.images.sources import scan
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.stage import run_stage
from fastvbow.project import STAGES, ProjectFolder, StageCard, fingerprint_of, replace_file

__all__ = [
    "check_and_scan",
    "check_device",
    "check_writable_name",
    "describe",
    "extract",
    "extract_table",
    "make_extractors",
    "open_shards",
    "shard_ranges",
]


def shard_ranges(n_images: int) -> list[tuple[int, int]]:
    """The runs of images that form the shards.

    At most 1024 images each, and fewer in a small corpus so that it too keeps several workers busy. The size depends on
    the number of images alone, so the bytes on disk do not depend on the machine; it is a power of two, so that it
    seldom changes when images are added.
    """
    size = min(1024, max(16, 1 << ((n_images - 1) // 64).bit_length()))
    return [(start, min(start + size, n_images)) for start in range(0, n_images, size)]


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


def make_extractors(config: ExtractConfig, device: str) -> list[Extractor]:
    """The extractors that a configuration asks for, SIFT first."""
    makers: dict[str, Callable[[], Extractor]] = {
        "sift": lambda: SiftExtractor(config.keypoints, config.side),
        "cnn": lambda: CnnExtractor(find_model(config.model), device),
    }
    return [makers[name]() for name in makers if name in config.features]


def _parameters(config: ExtractConfig) -> dict[str, Any]:
    """What the features depend on, known without opening a model."""
    known = {}
    if "sift" in config.features:
        known["sift"] = dict(SiftExtractor(config.keypoints, config.side).parameters)
    if "cnn" in config.features:
        known["cnn"] = dict(cnn_parameters(find_model(config.model)))
    return known


def describe(data: bytes, extractors: Sequence[Extractor]) -> ImageRecord:
    """Decode one image file's bytes and extract its features: one decode feeds all extractors.

    Raises
    ------
    ImageError
        The bytes cannot be decoded.
    """
    image = decode(data)
    features = {}
    for extractor in extractors:
        features.update(extractor.extract(image))
    content = hashlib.blake2b(data, digest_size=16).hexdigest()
    return ImageRecord(features, None, image.shape[1], image.shape[0], content)


def open_shards(project: ProjectFolder) -> list[FeatureShard]:
    """The feature shards of a project whose extraction is finished."""
    n_images = int(project.require("extract").outputs["images"])
    return [FeatureShard(_shard_folder(project, i)) for i in range(len(shard_ranges(n_images)))]


def extract(
    source: Path,
    project: Path,
    config: ExtractConfig | None = None,
    *,
    jobs: int | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> StageCard:
    """Scan a folder and extract local features into memory-mapped shards.

    Shards that stand from an earlier or interrupted call are kept where their images and parameters are the same.

    Parameters
    ----------
    source : Path
        The image folder; it is only read.
    project : Path
        The project folder; made if missing.
    config : ExtractConfig, optional
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
    UsageError, ProjectError, ProviderUnavailableError, MissingExtraError
    """
    table = check_and_scan(source, project, jobs=jobs, device=device)
    folder = ProjectFolder.create(project, source, __version__)
    return extract_table(folder, table, config or ExtractConfig(), jobs=jobs, device=device, listener=listener)


def check_and_scan(source: Path, project: Path, *, jobs: int | None, device: str) -> ImageTable:
    """List the images of a source, once it is known that the other arguments of `extract` can be used."""
    effective_jobs(jobs)
    check_device(device)
    check_writable_name(project)
    return scan(source)


def extract_table(
    project: ProjectFolder,
    table: ImageTable,
    config: ExtractConfig,
    *,
    jobs: int | None,
    device: str,
    listener: Listener,
) -> StageCard:
    """What `extract` does once the images are listed and the project is there."""
    workers = effective_jobs(jobs)
    parameters = _parameters(config)
    for message in table.unlisted:
        listener(Event("extract", "warning", f"cannot list the folder {message}: its images are missing"))
    for message in table.warnings:
        listener(Event("extract", "warning", message))
    if table.n_others:
        listener(Event("extract", "note", f"{table.n_others} files passed over that are no images by their names"))
    return run_stage(
        project,
        "extract",
        parameters=parameters,
        after={"images": table.fingerprint()},
        outputs=[project.images, *(_shard_folder(project, i) for i in range(len(shard_ranges(len(table)))))],
        listener=listener,
        body=lambda: _extract_shards(project, table, parameters, config, workers, device, listener),
    )


def _extract_shards(
    project: ProjectFolder,
    table: ImageTable,
    parameters: Mapping[str, Any],
    config: ExtractConfig,
    jobs: int,
    device: str,
    listener: Listener,
) -> dict[str, Any]:
    with replace_file(project.images) as path:
        table.write(path)
    project.features.mkdir(exist_ok=True)
    ranges = shard_ranges(len(table))
    keys = [fingerprint_of([STAGES["extract"], dict(parameters), table.fingerprint(*bounds)]) for bounds in ranges]
    _drop_stale(project, keys)
    todo = [i for i in range(len(ranges)) if not _shard_folder(project, i).exists()]
    progress = _Progress(
        listener, total=len(table), done=sum(b - a for i, (a, b) in enumerate(ranges) if i not in set(todo))
    )
    if todo:
        if len(todo) < len(ranges):
            listener(
                Event(
                    "extract", "note", f"{len(ranges) - len(todo)} of {len(ranges)} shards stand from an earlier call"
                )
            )
        silence_decoders()
        extractors = make_extractors(config, device)
        for extractor in extractors:
            if isinstance(extractor, CnnExtractor):
                listener(Event("extract", "note", f"the CNN {config.model} runs on {extractor.provider}"))
        stop = threading.Event()

        def task(index: int) -> None:
            records = list(_describe_range(table, *ranges[index], extractors, progress, stop))
            if not stop.is_set():
                modalities = [m for extractor in extractors for m in extractor.modalities]
                write_shard(_shard_folder(project, index), keys[index], modalities, records)

        with one_thread_each(), make_executor(jobs) as executor:
            try:
                for _ in run_tasks(executor, task, todo, ahead=2 * jobs):
                    pass
            except BaseException:
                stop.set()
                raise
    return _count(project, ranges)


def _describe_range(
    table: ImageTable,
    start: int,
    stop: int,
    extractors: Sequence[Extractor],
    progress: _Progress,
    halt: threading.Event,
) -> Iterator[ImageRecord]:
    for index in range(start, stop):
        if halt.is_set():
            return
        try:
            record = describe(table.read(index), extractors)
        except ImageError as error:
            record = ImageRecord(None, error.reason, 0, 0, "")
        progress.step(skipped=record.reason is not None)
        yield record


def _drop_stale(project: ProjectFolder, keys: Sequence[str]) -> None:
    """Remove shards that belong to other images or parameters."""
    for folder in sorted(project.features.glob("shard-*")):
        number = folder.name.removeprefix("shard-")
        try:
            card = FeatureShard.read_card(folder)
        except StoreCorruptError:
            card = None  # what is not marked does not exist
        if not number.isdigit() or int(number) >= len(keys) or card is None or card.key != keys[int(number)]:
            shutil.rmtree(folder)


def _count(project: ProjectFolder, ranges: Sequence[tuple[int, int]]) -> dict[str, Any]:
    reasons: Counter[str] = Counter()
    rows: Counter[str] = Counter()
    for index in range(len(ranges)):
        shard = FeatureShard(_shard_folder(project, index))
        reasons.update(reason for reason in shard.images["reason"].to_pylist() if reason is not None)
        rows.update(shard.card.rows)
    n_images, n_skipped = ranges[-1][1], sum(reasons.values())
    if n_skipped == n_images:
        first = next(iter(reasons))
        raise NoImagesError(f"none of the {n_images} images in {project.source} can be read (the first: {first})")
    return {
        "images": n_images,
        "skipped": n_skipped,
        **{f"{k} features": v for k, v in rows.items()},
        "reasons": dict(reasons),
    }


def _shard_folder(project: ProjectFolder, index: int) -> Path:
    return project.features / f"shard-{index:05d}"


class _Progress:
    """Counts images from several threads and tells the listener."""

    def __init__(self, listener: Listener, *, total: int, done: int) -> None:
        self._listener, self._total, self._done, self._skipped = listener, total, done, 0
        self._lock = threading.Lock()

    def step(self, *, skipped: bool) -> None:
        with self._lock:
            self._done += 1
            self._skipped += skipped
            self._listener(Event("extract", "step", done=self._done, total=self._total, skipped=self._skipped))
