"""Stage ``groups``: each photograph's mixture to its group, in ``groups.parquet`` and ``skipped.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fastvbow.errors import StageMissingError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.groups.grouping import Grouping, Skipped, group, read_table, write_table
from fastvbow.groups.names import TopicNames
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.beforehand import labels_identity
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.mixtures import MAKERS, grouped_by, load_shares
from fastvbow.pipeline.stage import run_stage
from fastvbow.pipeline.suggested_names import load_proposals
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import STAGES, ProjectFolder, StageCard, fingerprint_of, replace_file

__all__ = ["BY", "groups", "labels_of", "load_grouping", "rename_groups", "require_groups"]

BY = ("auto", *MAKERS)
"""What `groups` groups by; auto: what the groups are made by now."""

_SAID = {"names", "suggested"}  # parameters of the stage that say what groups are called


def groups(project: Path, *, labels: str | None = None, by: str = BY[0], listener: Listener = log_events) -> StageCard:
    """Group a project's photographs by their most probable topic, or cluster.

    Parameters
    ----------
    project : Path
    labels : str, optional
        What is known of them: see `fastvbow.images.labels.read_labels`. Labels are only written beside the groups.
        None: those that the groups have by now, ``none`` where there are no groups yet.
    by : {"auto", "topics", "cluster"}, default="auto"
        The stage that they are grouped by; auto: as they are now.
    listener : Listener, optional

    Raises
    ------
    StageMissingError, UsageError
    """
    if by not in BY:
        raise UsageError(f"--by takes {', '.join(BY)}, not {by}")
    folder = ProjectFolder.open(project)
    stage = grouped_by(folder) if by == "auto" else by
    wanted = labels_of(folder) if labels is None else labels
    identity = wanted
    if wanted not in {"parent", "none"}:
        folder.require("extract")  # which made the table
        identity = labels_identity(ImageTable.load(folder.images, folder.image_root), wanted, stored=folder.labels)
    names = load_names(folder, listener, stage)
    said = _said(names, load_proposals(folder, names))
    return run_stage(
        folder,
        "groups",
        parameters={"labels": identity} | said,
        after=stage,
        outputs=[folder.groups, folder.skipped],
        listener=listener,
        body=lambda: _group(folder, wanted, stage, listener),
    )


def labels_of(project: ProjectFolder) -> str:
    """Where the labels come from that the groups have by now, or had until grouping was begun and not finished."""
    card = project.asked_card("groups")
    known = "none" if card is None else str(card.parameters["labels"])
    return known if known in {"parent", "none"} else known.rpartition(" ")[0]


def _said(names: TopicNames, proposals: Mapping[int, str]) -> dict[str, str]:
    """What the stage depends on beside labels; nothing where no topic has a name, and none is suggested."""
    found = {"names": names.fingerprint} if names.fingerprint else {}
    if proposals:
        found["suggested"] = fingerprint_of({str(group): text for group, text in proposals.items()})[:16]
    return found


def _said_before(card: StageCard) -> dict[str, str]:
    """The same, as a card has it."""
    return {name: value for name, value in card.parameters.items() if name in _SAID}


def require_groups(project: ProjectFolder) -> StageCard:
    """The card of the groups, which have to be up to date with what made them, their names and suggested ones.

    Raises
    ------
    StageMissingError
        They are not, or there are none yet.
    """
    card, names = project.require("groups"), load_names(project)
    if _said_before(card) != _said(names, load_proposals(project, names)):
        raise StageMissingError(
            f"groups.parquet of {project.root} is older than the names of its topics: run 'fastvbow groups' again"
        )
    return card


def rename_groups(project: ProjectFolder, listener: Listener) -> None:
    """Bring ``groups.parquet`` up to date with the names, merged groups and suggested names, and keep its labels.

    Nothing is done where the groups are missing or older than the topics: the stage will use the names when it runs.
    """
    card, names, stage = project.card("groups"), load_names(project), grouped_by(project)
    if card is None or card.inputs.get(stage) != project.require(stage).fingerprint:
        return
    proposals = load_proposals(project, names)
    said = _said(names, proposals)
    if _said_before(card) == said:
        return
    labels = read_table(project.groups)["label"].to_pylist()
    grouping = load_grouping(project, "none")
    grouping = group(grouping.theta, grouping.image_ids, grouping.paths, labels, grouping.skipped, names, proposals)
    project.begin("groups")
    with replace_file(project.groups) as path:
        write_table(grouping.to_table(), path)
    counted = {**card.outputs, "groups": len(np.unique(grouping.topic))}
    parameters = {name: value for name, value in card.parameters.items() if name not in _SAID} | said
    project.finish(msgspec.structs.replace(card, parameters=parameters, outputs=counted, revision=STAGES["groups"]))
    listener(Event("groups", "note", "groups.parquet has the new names; 'fastvbow report' puts them on its page"))


def _group(project: ProjectFolder, labels: str, by: str, listener: Listener) -> dict[str, Any]:
    def report(path: str, reason: str) -> None:
        listener(Event("groups", "warning", f"{path} has no label: {reason}"))

    grouping = load_grouping(project, labels, report, by)
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


def load_grouping(
    project: ProjectFolder,
    labels: str,
    report: Callable[[str, str], object] | None = None,
    by: str | None = None,
) -> Grouping:
    """The groups of a project whose topics or clusters are finished, with labels as asked for.

    `report` gets the path and the reason where a photograph's own files do not tell its label; `by` is the stage that
    they are grouped by, None: `fastvbow.pipeline.mixtures.grouped_by`.
    """
    table = ImageTable.load(project.images, project.image_root)
    reasons = [reason for shard in open_shards(project) for reason in shard.images["reason"].to_pylist()]
    kept = [i for i, reason in enumerate(reasons) if reason is None]
    lost = [i for i, reason in enumerate(reasons) if reason is not None]
    known = read_labels(labels, table.names, table.image_ids, table=table, stored=project.labels, report=report)
    theta, names = load_shares(project, by), load_names(project, by=by)
    return group(
        theta[kept] if lost else theta,
        [table.image_ids[i] for i in kept],
        [table.names[i] for i in kept],
        [known[i] for i in kept],
        Skipped([table.image_ids[i] for i in lost], [table.names[i] for i in lost], [reasons[i] for i in lost]),
        names,
        load_proposals(project, names),
    )
