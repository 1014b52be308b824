"""Command ``study``: a grid of settings on features that are extracted once, held against baselines, in one report.

Format ``fastvbow-study``, version 1
------------------------------------
- ``study.json`` MUST hold ``format``, ``version`` (an integer), ``created_by`` and ``source``; it also holds ``part``
  (``--top`` and ``--per-label``), ``grid``, ``labels`` and ``baselines``, as the last call asked for them. A reader
  MUST refuse a greater version than its own.
- ``project/`` is a project (`fastvbow.project`) of which only the extraction is done, with as many keypoints and kinds
  of features as any call has asked for. Whoever writes to the study holds the project's lock.
- ``cells/`` has what is finished (`fastvbow.pipeline.study_store`), also of earlier grids on the same photographs.
- ``results.parquet`` (one row for each cell of the grid and the comparison and for each run of a baseline),
  ``per_label.parquet``, ``groups.parquet`` and the report, ``report.html`` and ``figures/``, are written at the end, of
  the last call's grid.
- ``scratch/`` holds what baselines of several seeds share, until they are done.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from fastvbow import __version__
from fastvbow.config import ExtractConfig, ExtractOptions, StudyGrid
from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.beforehand import check_enough_images, check_labels
from fastvbow.pipeline.extraction import check_and_scan, extract_table
from fastvbow.pipeline.study_baselines import (
    VARIATIONAL,
    baseline_cell,
    baseline_key,
    chosen_baselines,
    variational_cell,
)
from fastvbow.pipeline.study_cells import Stopped, find_words, fit_cell
from fastvbow.pipeline.study_plan import (
    Photographs,
    Plan,
    Setting,
    check_grid,
    key_of,
    make_plan,
    read_photographs,
)
from fastvbow.pipeline.study_process import own_process
from fastvbow.pipeline.study_report import write_results
from fastvbow.pipeline.study_store import CellStore
from fastvbow.pipeline.subsetting import subset
from fastvbow.project import ProjectFolder, StageCard, replace_file
from fastvbow.report.study_figures import load_matplotlib

__all__ = ["StudyResult", "study"]

FORMAT, VERSION = "fastvbow-study", 1


@dataclass(frozen=True)
class StudyResult:
    """What a study counted.

    Attributes
    ----------
    images, skipped : int
        Photographs of the source, and those of them that cannot be read.
    cells : int
        Results in all, baselines' runs included.
    reused : int
        Of these, those that stood from an earlier call.
    not_aligned : int
        Results whose groups are not told from a shuffled order of the photographs (p >= .05).
    left_out : dict of str to str
        Baselines that cannot run here, and why.
    seconds : float
        Of this call.
    page : Path
        The report.
    """

    images: int
    skipped: int
    cells: int
    reused: int
    not_aligned: int
    left_out: dict[str, str]
    seconds: float
    page: Path


def study(
    source: Path,
    folder: Path,
    grid: StudyGrid | None = None,
    *,
    labels: str = "parent",
    top: int = 0,
    per_label: int = 0,
    baselines: Sequence[str] = ("all",),
    jobs: int | None = None,
    device: str = "auto",
    listener: Listener = log_events,
) -> StudyResult:
    """Compare settings of the route with one another and with baselines.

    Features are extracted once. What is finished stands: after an interruption the same call goes on, and a call with
    another grid computes what is new about it.

    Parameters
    ----------
    source : Path
        The photographs (see `fastvbow.images.sources.scan`); they are only read.
    folder : Path
        The study's folder; made if missing.
    grid : StudyGrid, optional
    labels : str, default="parent"
        See `fastvbow.images.labels.read_labels`. With ``none`` there is no comparison.
    top, per_label : int, default=0
        Study a balanced part of the source (see `fastvbow.pipeline.subset`), listed in ``photographs.csv`` of the
        study's folder: the most frequent labels, so many, and so many photographs of each. 0 and 0: all photographs.
    baselines : sequence of str, default=("all",)
        Names of `fastvbow.pipeline.baselines.BASELINES`; "all" are those that can run here; none: an empty sequence.
    jobs : int, optional
        Settings, or baselines, at a time; None or -1: one a processor. The results are the same for any number.
    device : {"auto", "cpu", "cuda"}, default="auto"
        Where the CNN runs.
    listener : Listener, optional
        Hears of every cell.

    Returns
    -------
    StudyResult

    Raises
    ------
    UsageError
        The grid or the labels do not fit the photographs.
    MissingExtraError
        Matplotlib is not installed, or PyTorch for a baseline that was named.
    ProjectError
        `folder` holds something else, or another process works on it.
    FastvbowError
        One of `fastvbow.errors`; finished cells stay.
    """
    started, grid, workers = time.perf_counter(), grid or StudyGrid(), effective_jobs(jobs)
    load_matplotlib()
    check_grid(grid)
    names, left_out = chosen_baselines(baselines, grid.features)
    config = ExtractConfig(features=grid.features, keypoints=max(grid.keypoints))
    if top or per_label:
        _open_folder(folder, source, (top, per_label), grid, labels, baselines)
        source = subset(
            source, folder / "photographs.csv", labels=labels, top=top, per_label=per_label, listener=listener
        ).training
        labels = str(source)
    table, _ = check_and_scan(source, folder, None, jobs=jobs, device=device)
    _check_labels(table, labels, source)
    check_enough_images(len(table), max((k for k in grid.topics if isinstance(k, int)), default=1))
    if not (top or per_label):
        _open_folder(folder, source, (top, per_label), grid, labels, baselines)
    project = ProjectFolder.create(folder / "project", source, __version__)
    with project.lock():
        extracted = extract_table(
            project,
            table,
            _as_wide_as_before(config, project.card("extract")),
            None,
            options=ExtractOptions(),
            jobs=jobs,
            device=device,
            listener=listener,
        )
        unlabelled: list[tuple[str, str]] = []
        photographs = read_photographs(project, labels, grid.validation, report=lambda *why: unlabelled.append(why))
        if unlabelled:
            path, reason = unlabelled[0]
            told = f"{len(unlabelled)} photographs have no label, as their masks are missing or bad: {path}: {reason}"
            listener(Event("study", "warning", told + (", ..." if len(unlabelled) > 1 else "")))
        plan = make_plan(grid, photographs)
        if plan.reference is None:
            names = []
        for name, why in left_out.items() if plan.reference else ():
            listener(Event("study", "warning", f"{name} is left out: {why}"))
        store, scratch = CellStore(folder / "cells"), folder / "scratch"
        known = extracted.parameters
        work = _Work(project, photographs, plan, names, known, grid.sweeps, store, scratch, listener)
        reused = work.run(workers)
        outcome = write_results(folder, project, photographs, plan, store, work.keys, grid, left_out, listener)
    return StudyResult(
        images=extracted.outputs["images"],
        skipped=extracted.outputs["skipped"],
        cells=len(work.keys),
        reused=reused,
        not_aligned=outcome.not_aligned,
        left_out=left_out if plan.reference else {},
        seconds=round(time.perf_counter() - started, 3),
        page=outcome.page,
    )


def _check_labels(table: ImageTable, labels: str, source: Path) -> None:
    check_labels(table, labels)
    if labels == "parent" and not any(read_labels(labels, table.names, table.image_ids)):
        raise UsageError(f"no image of {source} lies in a folder of its own: pass --labels none or a CSV file")


def _as_wide_as_before(config: ExtractConfig, card: StageCard | None) -> ExtractConfig:
    """Features for this grid that are good for earlier ones too, so that these need not be extracted again."""
    if card is None:
        return config
    kinds = tuple(kind for kind in ("sift", "cnn") if kind in config.features or kind in card.parameters)
    before = card.parameters.get("sift", {}).get("keypoints", 0)
    keypoints = max(config.keypoints if "sift" in config.features else 1, before)
    return msgspec.structs.replace(config, features=kinds, keypoints=keypoints)


def _open_folder(
    folder: Path, source: Path, part: tuple[int, int], grid: StudyGrid, labels: str, baselines: Sequence[str]
) -> None:
    """Check that a folder is a study of this source or can become one, and note what is asked for."""
    path = folder / "study.json"
    place = source.resolve().as_uri()
    if folder.resolve().is_relative_to(source.resolve()) and source.is_dir():
        raise ProjectError(f"the study {folder} lies inside the image folder {source}, which is never written to")
    try:
        if path.exists():
            head = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
            if head.get("format") != FORMAT or not isinstance(head.get("version"), int):
                raise ProjectError(f"{path} does not describe a study (format {head.get('format')!r})")
            if head["version"] > VERSION:
                raise ProjectError(
                    f"{folder} has study format {head['version']}; this fastvbow reads up to {VERSION}: upgrade it"
                )
            if head.get("source") != place:
                raise ProjectError(f"{folder} is the study of {head.get('source')}, not of {place}: choose another -o")
            if any(head.get("part", (0, 0))) != any(part):  # its photographs are listed, or they are the source's
                raise ProjectError(f"{folder} is a study with another --top or --per-label: choose another -o")
        elif folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
            raise ProjectError(f"{folder} is not empty and not a study: choose another -o")
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "created_by": __version__,
            "source": place,
            "part": part,
            "grid": msgspec.structs.asdict(grid),
            "labels": labels,
            "baselines": list(baselines),
        }
        with replace_file(path) as file:
            file.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorruptError(f"{path} is not valid JSON ({error}): delete that file and run again") from None
    except OSError as error:
        where = os.fspath(folder)
        raise ProjectError(f"cannot write the study folder {where}: {error.strerror}: choose another -o") from None


@dataclass
class _Work:
    """All cells and runs of a study, and how to make those that are not finished."""

    project: ProjectFolder
    photographs: Photographs
    plan: Plan
    baselines: list[str]
    extracted: dict[str, Any]
    sweeps: int
    store: CellStore
    scratch: Path
    listener: Listener
    keys: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: int = 0
    _cause: BaseException | None = None
    _said: frozenset[str] = frozenset()

    def run(self, jobs: int) -> int:
        """Make what is missing; how many cells stood before."""
        self.store.clear_away()
        tasks = [*self._baseline_tasks(jobs), *self._setting_tasks()]
        reused = self._done = sum(self.store.has(key) for key in self.keys)
        message = f"{len(self.keys)} cells" + (f", {reused} of which stand from an earlier call" if reused else "")
        self.listener(Event("study", "begin", message))
        if reused < len(self.keys):
            self._tell()
        try:
            with make_executor(jobs) as executor:
                try:
                    for _ in run_tasks(executor, self._guarded, tasks, ahead=len(tasks) or 1):
                        pass
                except BaseException:
                    self._stop.set()
                    raise
        except Stopped:  # it came before the task that has failed
            raise self._cause or KeyboardInterrupt() from None
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.listener(Event("study", "end", f"{len(self.keys) - reused} cells computed, {reused} reused"))
        return reused

    def _guarded(self, task: Callable[[], None]) -> None:
        """Do a task; where it fails, no other goes on."""
        try:
            task()
        except Stopped:
            raise
        except BaseException as error:
            with self._lock:
                self._cause = self._cause or error
            self._stop.set()
            raise

    def _warn(self, event: Event) -> None:
        """Pass on what is odd, once: many settings may find the same."""
        with self._lock:
            new, self._said = event.message not in self._said, self._said | {event.message}
            if new:
                self.listener(event)

    def _tell(self) -> None:
        self.listener(Event("study", "step", done=self._done, total=len(self.keys), unit="cells"))

    def _keep(self, key: str, make: Callable[[], Any]) -> None:
        """Make a cell and put it in place."""
        if self._stop.is_set():
            raise Stopped
        self.store.write(key, make())
        with self._lock:
            self._done += 1
            self._tell()

    def _baseline_tasks(self, jobs: int) -> Iterable[Callable[[], None]]:
        """The seeds of a baseline in turn, as they share what they have read; networks take longest and come first."""
        seeds = [setting.seed for setting, _ in self.plan.part("comparison") if setting.features == self._all]
        names = [name for name in self.baselines if name != VARIATIONAL]
        for name in sorted(names, key=lambda name: not name.startswith("vae")):
            runs = {}
            for seed in seeds:
                setting = Setting("comparison", self._all, 0, 0, seed)
                key = baseline_key(name, setting, self._n_labels, self.photographs, self.extracted)
                self.keys.append(key)
                if not self.store.has(key):
                    runs[key] = seed
            if runs:
                apart = name.startswith("vae") and jobs > 1
                yield partial(self._run_apart if apart else self._run_baseline, name, runs)

    def _run_baseline(self, name: str, runs: dict[str, int]) -> None:
        self.scratch.mkdir(exist_ok=True)
        how = self.photographs, self.scratch, self._stop, self.listener
        for key, seed in runs.items():
            self._keep(key, partial(baseline_cell, self.project.root, name, seed, *how))

    def _run_apart(self, name: str, runs: dict[str, int]) -> None:
        self.scratch.mkdir(exist_ok=True)
        with own_process(self.project.root, self.photographs, self.scratch, self._stop) as run:
            for key, seed in runs.items():
                self._keep(key, partial(run, name, seed))

    def _setting_tasks(self) -> Iterable[Callable[[], None]]:
        for setting, topics in self.plan.settings:
            cells = {key_of(setting, k, self.photographs, self.extracted, self.sweeps): k for k in topics}
            variational = ""
            if setting.part == "comparison" and VARIATIONAL in self.baselines:
                variational = baseline_key(VARIATIONAL, setting, self._n_labels, self.photographs, self.extracted)
                cells[variational] = 0
            self.keys += cells
            missing = {key: k for key, k in cells.items() if not self.store.has(key)}
            if missing:
                yield partial(self._run_setting, setting, missing)

    def _run_setting(self, setting: Setting, missing: dict[str, int]) -> None:
        if self._stop.is_set():
            raise Stopped
        worded = find_words(self.project, self.photographs, setting, self._warn)
        for key, n_topics in missing.items():
            if n_topics:
                train = partial(fit_cell, worded, n_topics, self.photographs, sweeps=self.sweeps, stop=self._stop)
                self._keep(key, train)
            else:
                self._keep(key, partial(variational_cell, worded, self.photographs))

    @property
    def _n_labels(self) -> int:
        return len(self.photographs.label_names)

    @property
    def _all(self) -> tuple[str, ...]:
        return self.plan.reference.features if self.plan.reference else ()
