"""Command ``subset``: a balanced part of a source as lists of paths, which are sources themselves."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastvbow.csv_rows import path_cell, text_cell, write_rows
from fastvbow.errors import UsageError
from fastvbow.events import Event, Listener, log_events
from fastvbow.images.labels import read_labels
from fastvbow.images.mask_files import find_masks
from fastvbow.images.sources import scan
from fastvbow.images.subsets import Split, balanced_subset
from fastvbow.images.table import ImageTable
from fastvbow.project import replace_file

__all__ = ["Subset", "subset"]


@dataclass(frozen=True)
class Subset:
    """What `subset` wrote.

    Attributes
    ----------
    training : Path
        The list.
    validation : Path or None
        The list of those that were put aside.
    labels : list of str
        The most frequent first.
    per_label : int
        Photographs of each, both lists together.
    n_training, n_validation : int
    """

    training: Path
    validation: Path | None
    labels: list[str]
    per_label: int
    n_training: int
    n_validation: int


def subset(
    source: Path,
    output: Path,
    *,
    labels: str = "parent",
    top: int = 0,
    per_label: int = 0,
    validation: float = 0.0,
    seed: int = 0,
    listener: Listener = log_events,
) -> Subset:
    """Choose as many photographs of each of the most frequent labels, and write them as lists.

    ``LIST.csv`` has the columns ``path`` and ``label``, so that it is a source and its labels at once (``fastvbow run
    LIST.csv --labels LIST.csv``); ``LIST.txt`` has a path a line. Those put aside for validation stand in
    ``LIST.validation.csv``, for ``fastvbow assign``. No photograph is opened: one that cannot be read is reported by
    the extraction. Photographs that are masks of others are left out.

    Parameters
    ----------
    source : Path
        What `fastvbow.images.sources.scan` reads.
    output : Path
        ``LIST.csv`` or ``LIST.txt``.
    labels : str, default="parent"
        See `fastvbow.images.labels.read_labels`.
    top, per_label, validation, seed
        See `fastvbow.images.subsets.balanced_subset`: the number of labels (0: all), of photographs of each (0: as
        many as the least frequent of them has), the share put aside, and the seed.
    listener : Listener, optional

    Raises
    ------
    UsageError
        `output` is no such name, lies inside `source` or cannot be written; the photographs lie inside containers; or
        there are not as many as are asked for.
    NoImagesError
    """
    if output.suffix.lower() not in (".csv", ".txt"):
        raise UsageError(f"the list is a .csv or .txt file, not {output.name or output}")
    if not output.parent.is_dir():
        raise UsageError(f"there is no folder {output.parent} to write {output.name} to")
    table = scan(source)
    if output.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            f"the output {output} lies inside the source {source}, which is never written to: choose another -o"
        )
    if table.url is not None:
        raise UsageError(f"photographs of {source} lie in a bucket, where a list of paths cannot name them")
    if table.places is not None:
        raise UsageError(f"photographs of {source} lie inside containers, where a list of paths cannot name them")

    def report(path: str, reason: str) -> None:
        listener(Event("subset", "warning", f"{path} has no label: {reason}"))

    for message in table.warnings:
        listener(Event("subset", "warning", message))
    given = read_labels(labels, table.names, table.image_ids, table=table, report=report)
    masks = _masks_among(table)
    known = [None if index in masks else label for index, label in enumerate(given)]
    found = balanced_subset(known, table.image_ids, top=top, per_label=per_label, validation=validation, seed=seed)
    aside = output.with_name(f"{output.stem}.validation{output.suffix}")
    try:
        _write(output, table, found.training, known)
        aside.unlink(missing_ok=True)
        if len(found.validation):
            _write(aside, table, found.validation, known)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from None
    listener(Event("subset", "end", _summary(found)))
    return Subset(
        output,
        aside if len(found.validation) else None,
        found.labels,
        found.per_label,
        len(found.training),
        len(found.validation),
    )


def _masks_among(table: ImageTable) -> set[int]:
    """Rows of photographs that lie beside others as their masks."""
    try:
        files = find_masks(table)
    except UsageError:  # there are none, or those of ADE20K's layouts, which are no photographs anyway
        return set()
    used = {path for path in files.paths if path is not None}
    return {index for index, raw in enumerate(table.raw_paths) if os.path.join(table.root, raw) in used}  # noqa: PTH118


def _write(output: Path, table: ImageTable, rows: NDArray[np.int64], labels: list[str | None]) -> None:
    """Write a list: paths below its folder are relative, others absolute, as they stand in a table made of it."""
    folder = os.fsencode(output.resolve().parent) + b"/"
    with replace_file(output) as path:
        if output.suffix.lower() == ".txt":
            path.write_bytes(b"".join(_line(_entry(table, row, folder)) for row in rows))
            return
        with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as handle:
            cells = ([path_cell(os.fsdecode(_entry(table, row, folder))), text_cell(labels[row] or "")] for row in rows)
            write_rows(handle, chain([["path", "label"]], cells))


def _entry(table: ImageTable, row: int, folder: bytes) -> bytes:
    path = os.path.join(table.root, table.raw_paths[row])  # noqa: PTH118
    return path.removeprefix(folder)


def _line(path: bytes) -> bytes:
    if b"\n" in path or b"\r" in path:
        raise UsageError(f"the name of {path!r} has a line break, which a .txt list cannot hold: write a .csv file")
    return path + b"\n"


def _summary(found: Split) -> str:
    return (
        f"{len(found.labels)} labels of {found.per_label} photographs: {len(found.training)} for training, "
        f"{len(found.validation)} for validation"
    )
