"""Stage ``groups``: each photograph's mixture to its group, in ``groups.parquet`` and ``skipped.parquet``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fastvbow.events import Event, Listener, log_events
from fastvbow.groups.grouping import Grouping, Skipped, group, write_table
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.beforehand import labels_identity
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.stage import run_stage
from fastvbow.pipeline.topic_modelling import load_theta
from fastvbow.project import ProjectFolder, StageCard, replace_file

__all__ = ["groups", "load_grouping"]


def groups(project: Path, *, labels: str = "none", listener: Listener = log_events) -> StageCard:
    """Group a project's photographs by their most probable topic.

    Parameters
    ----------
    project : Path
    labels : str, default="none"
        What is known of them: see `fastvbow.images.labels.read_labels`. Labels are only written beside the groups.
    listener : Listener, optional

    Raises
    ------
    StageMissingError, UsageError
    """
    folder = ProjectFolder.open(project)
    identity = labels
    if labels not in {"parent", "none"}:
        folder.require("extract")  # which made the table
        identity = labels_identity(ImageTable.load(folder.images, folder.image_root), labels)
    return run_stage(
        folder,
        "groups",
        parameters={"labels": identity},
        after="topics",
        outputs=[folder.groups, folder.skipped],
        listener=listener,
        body=lambda: _group(folder, labels, listener),
    )


def _group(project: ProjectFolder, labels: str, listener: Listener) -> dict[str, Any]:
    def report(path: str, reason: str) -> None:
        listener(Event("groups", "warning", f"{path} has no label: {reason}"))

    grouping = load_grouping(project, labels, report)
    with replace_file(project.skipped) as path:
        write_table(grouping.skipped.to_table(), path)
    with replace_file(project.groups) as path:
        write_table(grouping.to_table(), path)
    return {
        "grouped": len(grouping),
        "skipped": len(grouping.skipped),
        "groups": len(np.unique(grouping.topic)),
        "labelled": sum(label is not None for label in grouping.labels),
    }


def load_grouping(project: ProjectFolder, labels: str, report: Callable[[str, str], object] | None = None) -> Grouping:
    """The groups of a project whose topics are finished, with labels as asked for.

    `report` gets the path and the reason where a photograph's own files do not tell its label.
    """
    table = ImageTable.load(project.images, project.image_root)
    reasons = [reason for shard in open_shards(project) for reason in shard.images["reason"].to_pylist()]
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    lost = [i for i, reason in enumerate(reasons) if reason is not None]
    known = read_labels(labels, table.names, table.image_ids, table=table, report=report)
    theta = load_theta(project)
    return group(
        theta[kept] if lost else theta,
        [table.image_ids[i] for i in kept],
        [table.names[i] for i in kept],
        [known[i] for i in kept],
        Skipped([table.image_ids[i] for i in lost], [table.names[i] for i in lost], [reasons[i] for i in lost]),
    )
