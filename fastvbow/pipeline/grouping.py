"""Stage ``groups``: each photograph's mixture to its group, in ``groups.parquet`` and ``skipped.parquet``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import StageMissingError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.features.store import FeatureShard
from fastvbow.groups.grouping import Grouping, Skipped, groups_table, read_table, top_groups, write_table
from fastvbow.groups.names import TopicNames
from fastvbow.images.labels import label_column
from fastvbow.images.table import ImageTable
from fastvbow.pipeline.beforehand import labels_identity
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.mixtures import MAKERS, grouped_by, load_shares
from fastvbow.pipeline.stage import run_stage
from fastvbow.pipeline.suggested_names import load_proposals
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import STAGES, ProjectFolder, StageCard, fingerprint_of, replace_file

__all__ = [
    "BY",
    "GroupedColumns",
    "grouped_columns",
    "groups",
    "labels_of",
    "load_grouping",
    "rename_groups",
    "require_groups",
]

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
    grouped = grouped_columns(project, read_table(project.groups)["label"])
    project.begin("groups")
    with replace_file(project.groups) as path:
        write_table(grouped.table, path)
    counted = {**card.outputs, "groups": grouped.n_groups}
    parameters = {name: value for name, value in card.parameters.items() if name not in _SAID} | said
    project.finish(msgspec.structs.replace(card, parameters=parameters, outputs=counted, revision=STAGES["groups"]))
    listener(Event("groups", "note", "groups.parquet has the new names; 'fastvbow report' puts them on its page"))


def _group(project: ProjectFolder, labels: str, by: str, listener: Listener) -> dict[str, Any]:
    def report(path: str, reason: str) -> None:
        listener(Event("groups", "warning", f"{path} has no label: {reason}"))

    grouped = grouped_columns(project, labels, report, by)
    with replace_file(project.skipped) as path:
        write_table(grouped.skipped, path)
    with replace_file(project.groups) as path:
        write_table(grouped.table, path)
    return {
        "grouped": len(grouped.table),
        "skipped": len(grouped.skipped),
        "groups": grouped.n_groups,
        "labelled": len(grouped.table) - grouped.table["label"].null_count,
    }


@dataclass(frozen=True, eq=False)
class GroupedColumns:
    """The groups of a project as columns, some 120 bytes a photograph with names of 40 letters.

    Attributes
    ----------
    table, skipped : pyarrow.Table
        What ``groups.parquet`` and ``skipped.parquet`` hold.
    read : ndarray of shape (n_images,), bool
        Which rows of the image table are grouped: those of `table`, in their order.
    """

    table: pa.Table
    skipped: pa.Table
    read: NDArray[np.bool_]

    @property
    def n_groups(self) -> int:
        """Groups that have a photograph."""
        return len(self.table["topic"].unique())


def grouped_columns(
    project: ProjectFolder,
    labels: str | pa.ChunkedArray,
    report: Callable[[str, str], object] | None = None,
    by: str | None = None,
) -> GroupedColumns:
    """What `load_grouping` gives, as columns: no object is made for a photograph.

    Parameters
    ----------
    project : ProjectFolder
        Its topics or clusters have to be finished.
    labels : str or pyarrow.ChunkedArray of strings
        What is known of the photographs (see `fastvbow.images.labels.read_labels`), or the labels of those grouped.
    report, by
        See `load_grouping`.

    Returns
    -------
    GroupedColumns

    Raises
    ------
    StageMissingError, StoreCorruptError, UsageError
    """
    images = ImageTable.load_names(project.images).combine_chunks()  # so that what is made of it need not be copied
    reasons = pa.chunked_array([_reasons(shard) for shard in open_shards(project)], pa.string())
    read = np.asarray(reasons.is_null())
    mask = pa.array(read)
    kept = images if read.all() else images.filter(mask)
    lost = images.append_column("reason", reasons).filter(pc.invert(mask))
    if isinstance(labels, str):
        known = label_column(
            labels,
            images["path"],
            images["image_id"],
            table=lambda: ImageTable.load(project.images, project.image_root),
            stored=project.labels,
            report=report,
        ).filter(mask)
    else:
        known = labels
    names = load_names(project, by=by)
    top = top_groups(load_shares(project, by), names)
    whole = top if read.all() else top.of(read)
    table = groups_table(whole, kept["image_id"], kept["path"], known, names, load_proposals(project, names))
    return GroupedColumns(table, lost.combine_chunks(), read)


def _reasons(shard: FeatureShard) -> pa.ChunkedArray:
    check_cancelled()
    return shard.images["reason"].combine_chunks()


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
    grouped = grouped_columns(project, labels, report, by)
    theta, columns = load_shares(project, by), {name: grouped.table[name] for name in grouped.table.column_names}
    texts = {name: columns[name].to_pylist() for name in ("image_id", "path", "label", "name", "suggested")}
    numbers = {name: columns[name].to_numpy() for name in ("topic", "probability", "entropy")}
    return Grouping(
        texts["image_id"],
        texts["path"],
        **numbers,
        labels=texts["label"],
        theta=theta if grouped.read.all() else theta[grouped.read],
        skipped=Skipped(*(grouped.skipped[name].to_pylist() for name in ("image_id", "path", "reason"))),
        names=texts["name"],
        suggested=texts["suggested"],
    )
