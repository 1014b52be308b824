"""Command ``export``: a project's groups in the format of an annotation tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.exports import coco, cvat, fiftyone, folders, label_studio, tables
from fastvbow.exports.columns import GroupedImages, Written, is_address
from fastvbow.groups.grouping import read_table
from fastvbow.groups.names import TopicNames
from fastvbow.groups.suggestions import with_proposals
from fastvbow.images.table import ImageTable, readable
from fastvbow.pipeline.extraction import open_shards
from fastvbow.pipeline.grouping import require_groups
from fastvbow.pipeline.suggested_names import load_proposals, require_suggestions
from fastvbow.pipeline.topic_names import load_names
from fastvbow.project import ProjectFolder, replace_folder

__all__ = ["FORMATS", "Exported", "export"]

FORMATS = ("coco", "csv", "cvat", "fiftyone", "folders", "label-studio")

FORMAT = "fastvbow-export"
VERSION = 1


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes
    ----------
    folder : Path
    files : list of str
        Names within it; those that end in ``/`` are folders of links.
    images, labelled : int
        Photographs in them, and those of them that have a label.
    left_out : int
        Grouped photographs that could not be exported.
    warnings : list of str
    """

    folder: Path
    files: list[str]
    images: int
    labelled: int
    left_out: int
    warnings: list[str]


class _Marker(msgspec.Struct):
    """``fastvbow-export.json``, by which a folder is known as an export that may be replaced."""

    format: str
    version: int
    to: str
    images: int
    labelled: int


def export(
    project: Path,
    output: Path,
    *,
    to: str,
    prefix: str | None = None,
    split: int = 0,
    uncertain_below: float = 0.0,
    overwrite: bool = False,
    suggested: bool = False,
    listener: Listener = log_events,
) -> Exported:
    """Write a project's groups for an annotation tool, as suggestions that a person corrects there.

    A photograph's label is the name of its group, ``topic_007`` where it has none; the probability goes along as the
    score, topic and entropy where the format has a place for them. The folder is whole or absent.

    Parameters
    ----------
    project : Path
        Its groups have to be finished.
    output : Path
        The folder; it must not exist, or be empty.
    to : {"coco", "csv", "cvat", "fiftyone", "folders", "label-studio"}
        See the modules of `fastvbow.exports`.
    prefix : str, optional
        Stands before each photograph's relative path; where it is a URL or query (``://`` or ``?`` in it), the paths
        are percent-encoded. None: what the tool expects.
    split : int, default=0
        Photographs a file, at most, of ``cvat`` and ``label-studio``; 0: what the tool can take.
    uncertain_below : float, default=0.0
        Photographs whose probability is less get no label.
    overwrite : bool, default=False
        Replace a former export.
    suggested : bool, default=False
        Where a group has no name, its label is the one that is suggested for it (`fastvbow.pipeline.suggest`). No two
        groups get the same.
    listener : Listener, optional

    Returns
    -------
    Exported

    Raises
    ------
    UsageError
        `to` is unknown or does not know an argument; nothing is suggested, though that is asked for; `output` is not
        free, lies inside the project or the source, or cannot be written; or there is no photograph that can be
        exported.
    StageMissingError, StoreCorruptError, ProjectError
    """
    _check_arguments(to, prefix, split, uncertain_below)
    folder = ProjectFolder.open(project)
    for inside, what in ((folder.root, "project"), (folder.source, "source")):
        if isinstance(inside, Path) and output.resolve().is_relative_to(inside.resolve()) and inside.resolve().is_dir():
            raise UsageError(f"the output {output} lies inside the {what} {inside}: choose another -o")
    if to == "folders" and not isinstance(folder.source, Path):
        raise UsageError(
            f"the photographs lie in {folder.source}, to which no link can lead: take --to csv, which names each"
        )
    _check_free(output, overwrite)
    card = require_groups(folder)
    names = load_names(folder)
    proposals = load_proposals(folder, names)
    called = names
    if suggested:
        called = with_proposals(names, require_suggestions(folder, names, listener).proposals(names))
    images = _grouped_images(folder, uncertain_below, called, [proposals.get(k) for k in names.group_of().tolist()])
    if to == "folders" and all(container is not None for container in images.containers):
        raise UsageError(
            "all photographs lie inside tar or Parquet files, to which no link can lead: take --to csv, which names "
            "the file that each lies in"
        )
    check_cancelled()
    write = _writers(prefix, split, f"fastvbow {card.fingerprint[:8]}")[to]
    try:
        with replace_folder(output) as temporary:
            found = write(images, temporary)
            check_cancelled()
            marker = _Marker(FORMAT, VERSION, to, found.n_images, found.n_labelled)
            (temporary / folders.MARKER).write_bytes(msgspec.json.format(msgspec.json.encode(marker)) + b"\n")
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
    warnings = [*found.warnings, *_warnings(images, to, prefix)]
    for message in warnings:
        listener(Event("export", "warning", message))
    listener(Event("export", "end", f"{found.n_images} photographs, {found.n_labelled} with a label"))
    left_out = len(images) - found.n_images
    return Exported(output, found.files, found.n_images, found.n_labelled, left_out, warnings)


def _writers(prefix: str | None, split: int, version: str) -> dict[str, Callable[[GroupedImages, Path], Written]]:
    before = prefix or ""
    tasks = label_studio.PREFIX if prefix is None else prefix
    return {
        "coco": lambda images, folder: coco.write(images, folder, prefix=before),
        "csv": lambda images, folder: tables.write(images, folder, prefix=before),
        "cvat": lambda images, folder: cvat.write(images, folder, prefix=before, split=split or cvat.SPLIT),
        "fiftyone": lambda images, folder: fiftyone.write(images, folder, prefix=prefix),
        "folders": folders.write,
        "label-studio": lambda images, folder: label_studio.write(
            images, folder, prefix=tasks, split=split or label_studio.SPLIT, version=version
        ),
    }


def _check_arguments(to: str, prefix: str | None, split: int, uncertain_below: float) -> None:
    if to not in FORMATS:
        raise UsageError(f"--to takes {', '.join(FORMATS)}, not {to}")
    if prefix is not None and to == "folders":
        raise UsageError("--prefix is of no use with --to folders, whose links lead to the photographs themselves")
    if split < 0 or (split and to not in {"cvat", "label-studio"}):
        raise UsageError(f"--split is 0 or more, and for cvat and label-studio only, not {split} for {to}")
    if not 0 <= uncertain_below <= 1:
        raise UsageError(f"--uncertain-below takes a probability, 0 to 1, not {uncertain_below}")


def _check_free(output: Path, overwrite: bool) -> None:
    """Raise a UsageError where the output would replace what is no export of ours."""
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} to")
    if not output.exists() and not output.is_symlink():
        return
    if output.is_symlink() or not output.is_dir():
        raise UsageError(f"{output} is a link or a file: choose another -o")
    if not any(output.iterdir()):
        return
    try:
        marker = msgspec.json.decode((output / folders.MARKER).read_bytes(), type=_Marker)
        ours = marker.format == FORMAT
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        ours = False
    if not ours:
        raise UsageError(f"{output} is not empty and no export of fastvbow, so it is not replaced: choose another -o")
    if not overwrite:
        raise UsageError(f"{output} holds an export already: --overwrite replaces it, with all that was changed there")


def _grouped_images(
    project: ProjectFolder, uncertain_below: float, called: TopicNames, suggested: Sequence[str | None]
) -> GroupedImages:
    table, groups = ImageTable.load(project.images, project.image_root), read_table(project.groups)
    shards = open_shards(project)
    rows = np.flatnonzero(np.concatenate([shard.read for shard in shards]))
    widths, heights = (
        np.concatenate([shard.images[side].to_numpy() for shard in shards])[rows] for side in ("width", "height")
    )
    ids = groups["image_id"].to_pylist()
    if ids != [table.image_ids[row] for row in rows]:
        raise StoreCorruptError(
            f"{project.groups} does not have the photographs of the project: delete it and run 'fastvbow groups' again"
        )
    probability = groups["probability"].to_numpy()
    places = table.places
    packed = [] if places is None else [readable(container) for container in places.containers]
    which = np.full(len(table), -1) if places is None else places.which
    return GroupedImages(
        root=table.root,
        image_ids=ids,
        raw_paths=[table.raw_paths[row] for row in rows],
        names=[table.names[row] for row in rows],
        containers=[packed[which[row]] if which[row] >= 0 else None for row in rows],
        topic=groups["topic"].to_numpy(),
        probability=probability,
        entropy=groups["entropy"].to_numpy(),
        labels=called.labels(),
        known=groups["label"].to_pylist(),
        widths=widths,
        heights=heights,
        certain=probability >= np.float32(uncertain_below),
        suggested=suggested,
    )


def _warnings(images: GroupedImages, to: str, prefix: str | None) -> list[str]:
    """What every tool has its troubles with."""
    found = []
    packed = sum(container is not None for container in images.containers)
    if packed and to not in {"csv", "folders"}:
        found.append(
            f"{packed} photographs lie inside tar or Parquet files: the tool finds them only where they are unpacked "
            "under their paths"
        )
    encoded = to == "folders" or is_address(
        label_studio.PREFIX if prefix is None and to == "label-studio" else prefix or ""
    )
    if not encoded:
        strange = sum(readable(raw).encode() != raw for raw in images.raw_paths)
        if strange:
            found.append(
                f"the paths of {strange} photographs are not UTF-8 and stand with \\xNN, so that the tool finds "
                "no such files; 'fastvbow labels import' does"
            )
    return found
