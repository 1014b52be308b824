"""Whether all files of a project are what they should be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq

from fastvbow.errors import FastvbowError, StageMissingError, StoreCorruptError
from fastvbow.events import Event, Listener, log_events
from fastvbow.executors import effective_jobs, make_executor, run_tasks
from fastvbow.groups.names import read_names
from fastvbow.groups.suggestions import read_suggestions
from fastvbow.images.stored_labels import read_stored_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.encoding import open_tokens
from fastvbow.pipeline.mixtures import load_shares, model_of, n_groups_of
from fastvbow.pipeline.shards import open_shard, ranges_of, shard_folder, shard_keys
from fastvbow.pipeline.space_vectors import check_space_vectors
from fastvbow.pipeline.topic_names import SUGGESTED
from fastvbow.project import STAGES, ProjectFolder
from fastvbow.semantic.persistence import load_estimator
from fastvbow.topics.lda import GibbsLDA
from fastvbow.words.vocabulary import Vocabulary

__all__ = ["Verified", "verify"]


@dataclass(frozen=True)
class Verified:
    """What `verify` found.

    Attributes
    ----------
    n_files, n_bytes : int
        Of the project, all but temporary ones.
    problems : list of str
        A line each: which file, and what is wrong with it.
    stale : list of str
        A line for each stage that is older than what fed it, as a report after `name`; those behind it are not named.
        Nothing is wrong with them, the next `run` makes them again.
    """

    n_files: int
    n_bytes: int
    problems: list[str]
    stale: list[str]


def verify(
    project: Path, *, repair: bool = False, jobs: int | None = None, listener: Listener = log_events
) -> Verified:
    """Read every file of a project's finished stages, and hold it against checksums and counts.

    Parameters
    ----------
    project : Path
    repair : bool, default=False
        Remove what is damaged, and the cards of the stages it belongs to: the next `run` or `extract` makes it again.
        Shards that are sound stay, and so do names, imported labels and the list of
        added images, which nobody could make again.
    jobs : int, optional
        Threads; None or -1: all processors.
    listener : Listener, optional

    Raises
    ------
    ProjectError
        It is no project, or busy.
    """
    folder, workers = ProjectFolder.open(project), effective_jobs(jobs)
    problems: list[str] = []
    stale: list[str] = []
    with folder.lock():
        for stage in STAGES:
            if not (folder.root / "stages" / f"{stage}.json").exists():
                continue  # has not run
            found, victims = list[str](), list[Path]()
            try:
                folder.require(stage)
            except StageMissingError as error:
                if str(error) not in stale:  # the stages behind it say the same
                    stale.append(str(error))
                continue
            except FastvbowError as error:
                found = [str(error)]
            if not found and stage in _CHECKS:
                found, victims = _CHECKS[stage](folder, workers, listener)
            problems += found
            if found and repair:
                for victim in victims:
                    shutil.rmtree(victim) if victim.is_dir() else victim.unlink(missing_ok=True)
                folder.begin(stage)
        for kept in sorted((folder.root / "spaces").glob("[!.]*")):
            found = check_space_vectors(kept) if kept.is_dir() else [f"{kept}: does not belong there"]
            problems += found
            if found and repair and kept.is_dir():
                shutil.rmtree(kept)  # a cache
        # What a person said cannot be made again: it is reported, never removed.
        for path in sorted(folder.names.glob("[!.]*.json")):
            suggested = path.name.endswith(SUGGESTED)  # which can be made again
            faults = _faults(partial(read_suggestions if suggested else read_names, path))
            problems += faults
            if faults and suggested and repair:
                path.unlink()
        if folder.labels.exists():
            problems += _faults(partial(read_stored_labels, folder.labels))
        if folder.added.exists():
            problems += _faults(partial(ImageTable.load, folder.added, folder.image_root))
    files = [path for path in folder.root.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return Verified(len(files), sum(path.stat().st_size for path in files), problems, stale)


def _faults(check: Callable[[], object]) -> list[str]:
    """Why a check could not be made; nothing if it was."""
    try:
        check()
    except (FastvbowError, OSError) as error:
        return [str(error)]
    return []


def _extract(project: ProjectFolder, workers: int, listener: Listener) -> tuple[list[str], list[Path]]:
    card = project.card("extract")
    try:
        table = ImageTable.load(project.images, project.image_root)
    except StoreCorruptError as error:
        return [str(error)], [project.images]
    n_images = card.outputs["images"] if card else 0
    if len(table) != n_images:
        return [f"{project.images} has {len(table)} images, the card of extract {n_images}"], [project.images]
    keys = shard_keys(table, card.parameters, ranges_of(card.outputs)) if card else []

    def check(index: int) -> list[str]:
        try:
            shard = open_shard(project, index)
            strange = [] if shard.card.key == keys[index] else [f"{shard.folder} is of other images or parameters"]
            return [*strange, *shard.check()]
        except (FastvbowError, OSError) as error:
            return [str(error)]

    problems, victims = [], []
    with make_executor(workers) as executor:
        checked = run_tasks(executor, check, range(len(keys)), ahead=2 * workers)
        for index, found in enumerate(checked):
            problems += found
            victims += [shard_folder(project, index)] * bool(found)
            listener(Event("verify", "step", done=index + 1, total=len(keys), unit="shards"))
    return problems, victims


def _opened(place: str, check: Callable[[ProjectFolder], object]) -> Callable[..., tuple[list[str], list[Path]]]:
    """The check of a stage whose output is opened whole, or not at all."""

    def checked(project: ProjectFolder, workers: int, listener: Listener) -> tuple[list[str], list[Path]]:
        found = _faults(partial(check, project))
        return found, [getattr(project, place)] * bool(found)

    return checked


def _count_groups(project: ProjectFolder) -> None:
    grouped = project.require("groups").outputs["grouped"]
    try:
        rows = pq.read_metadata(project.groups).num_rows
    except Exception as error:  # pyarrow's own kinds, and OSError
        raise StoreCorruptError(f"{project.groups}: {error}") from None
    if rows != grouped:
        raise StoreCorruptError(f"{project.groups} has {rows} rows, the card of groups {grouped}")


def _open_clusters(project: ProjectFolder) -> None:
    load_estimator(model_of(project, "cluster"))
    card, shares = project.require("cluster"), load_shares(project, "cluster")
    wanted = (int(project.require("extract").outputs["images"]), n_groups_of(card))
    if shares.shape != wanted:
        raise StoreCorruptError(f"{project.clusters / 'theta.npy'} has the shape {shares.shape}, not {wanted}")


_CHECKS: dict[str, Callable[..., tuple[list[str], list[Path]]]] = {
    "extract": _extract,
    "vocabulary": _opened("vocabulary", lambda project: Vocabulary.load(project.vocabulary)),
    "encode": _opened("tokens", open_tokens),
    "topics": _opened("topics", lambda project: GibbsLDA.load(project.topics / "model")),
    "cluster": _opened("clusters", _open_clusters),
    "groups": _opened("groups", _count_groups),
}
