"""What an extraction would take: time, disk and memory, from a sample of the photographs; nothing is written."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from fastvbow.config import ExtractConfig, ExtractOptions
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.features.aligned import AlignedVectors
from fastvbow.features.embeddings import Embeddings
from fastvbow.memory import physical_memory
from fastvbow.pipeline.describing import open_embeddings, parameters_of
from fastvbow.pipeline.extraction import check_and_scan
from fastvbow.pipeline.shard_work import Worker, Workshop
from fastvbow.working_copy import at_hand

__all__ = ["Estimate", "estimate"]

SAMPLE = 64
WARM = 2  # photographs a worker does before the clock starts
BASE = 350 * 2**20  # bytes of the interpreter, the libraries and a CNN


@dataclass(frozen=True)
class Estimate:
    """What an extraction would take.

    Attributes
    ----------
    images, sampled : int
    skipped : dict of str to int
        Of the sample, by reason.
    images_per_second : float
    seconds : float
    disk, disk_free : int
        Bytes, on the file system that the project would stand on.
    memory : int
        Bytes at the most.
    jobs : int
    """

    images: int
    sampled: int
    skipped: dict[str, int]
    images_per_second: float
    seconds: float
    disk: int
    disk_free: int
    memory: int
    jobs: int


def estimate(
    source: Path | str,
    project: Path | str,
    config: ExtractConfig | None = None,
    *,
    options: ExtractOptions | None = None,
    jobs: int | None = None,
    device: str = "auto",
) -> Estimate:
    """Extract the features of some photographs, evenly spaced, and throw them away.

    Parameters
    ----------
    source, project, config, options, jobs, device
        As `fastvbow.pipeline.extract` takes them. What stands in the project already is not taken off.

    Raises
    ------
    NoImagesError, UsageError, ProjectError, ProviderUnavailableError, MissingExtraError
    """
    config, options = config or ExtractConfig(), options or ExtractOptions()
    given, project = open_embeddings(config), at_hand(project)
    table, embeddings = check_and_scan(source, project, given, jobs=jobs, device=device, limit=options.limit)
    workers = effective_jobs(jobs)
    sample = np.unique(np.linspace(0, len(table) - 1, SAMPLE + WARM * workers).astype(int)).tolist()
    place_of = {index: place for place, index in enumerate(sample)}
    warm, timed = (sample[: WARM * workers], sample[WARM * workers :]) if len(sample) > SAMPLE // 2 else ([], sample)
    n_bytes, reasons = 0, Counter[str]()
    with _vectors(embeddings, sample) as vectors:
        budget = options.max_memory or physical_memory() // 2
        shop = Workshop(config, device, budget, options.batch)
        worker = Worker(shop, parameters_of(config, embeddings), vectors=vectors)
    with one_thread_each(), closing(shop), closing(worker), make_executor(workers) as executor:

        def look(indices: list[int]) -> list[Any]:
            tasks = ((i, table.identity(i), place_of[i]) for i in indices)
            return list(run_tasks(executor, lambda task: worker.look(table, *task)[1]()(), tasks, ahead=2 * workers))

        look(warm)
        start = time.perf_counter()
        records = look(timed)
        spent = time.perf_counter() - start
    for record in records:
        if record.features is None:
            reasons[record.reason] += 1
            continue
        n_bytes += sum(part.descriptors.nbytes + part.keypoints.nbytes + 8 for part in record.features.values())
    aside = 0 if embeddings is None else 2 * (1 + embeddings.file.dimension)  # bytes, while extraction goes on
    rate = len(timed) / spent
    place = next(folder for folder in (project.absolute(), *project.absolute().parents) if folder.exists())
    return Estimate(
        images=len(table),
        sampled=len(timed),
        skipped=dict(reasons),
        images_per_second=round(rate, 2),
        seconds=round(len(table) / rate, 1),
        disk=int(n_bytes / len(timed) * len(table)) + (200 + aside) * len(table),  # and the tables
        disk_free=shutil.disk_usage(place).free,
        memory=BASE + min(options.max_memory or physical_memory() // 2, workers * _largest(records)) + 700 * len(table),
        jobs=workers,
    )


@contextmanager
def _vectors(embeddings: Embeddings | None, images: Sequence[int]) -> Iterator[tuple[Path, int] | None]:
    """A file of the embeddings of some images, and how many numbers each has, if there are such."""
    if embeddings is None:
        yield None
        return
    with NamedTemporaryFile(buffering=0) as file:
        embeddings.align(AlignedVectors.create(file, embeddings.file.dimension, len(images)), images)
        yield Path(file.name), embeddings.file.dimension


def _largest(records: list[Any]) -> int:
    return max((6 * record.width * record.height for record in records), default=0)
