"""A CSV file for spreadsheets and scripts, and the labels of one that comes back.

Columns: ``image_id``, ``path`` (relative, as text), ``label`` (empty: to be labelled by hand), ``topic``,
``probability``, ``entropy``, ``known_label``, ``suggested`` (a name for the topic that nobody has given; empty: none);
where a prefix is given ``address``, and where photographs lie in tar or Parquet files ``container``. UTF-8, a line feed
after each row. What a spreadsheet would compute is written as `fastvbow.csv_rows` says.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from fastvbow.csv_rows import path_cell, text_cell, text_of, write_rows
from fastvbow.errors import UsageError
from fastvbow.exports.columns import Correction, GroupedImages, Written, address_of

__all__ = ["read", "write"]

FILE = "groups.csv"


def write(images: GroupedImages, folder: Path, *, prefix: str = "") -> Written:
    """Write ``groups.csv``.

    Parameters
    ----------
    images : GroupedImages
    folder : Path
        Exists.
    prefix : str, default=""
        Before each path in a column ``address``; empty: there is no such column.
    """
    packed = any(container is not None for container in images.containers)
    columns = ["image_id", "path", "label", "topic", "probability", "entropy", "known_label", "suggested"]
    columns += ["address"] * bool(prefix) + ["container"] * packed
    with (folder / FILE).open("w", newline="", encoding="utf-8") as handle:
        write_rows(handle, [columns])
        for i in range(len(images)):
            row = [
                images.image_ids[i],
                path_cell(images.names[i]),
                text_cell(images.label(i) or ""),
                int(images.topic[i]),
                f"{images.probability[i]:.6f}",
                f"{images.entropy[i]:.6f}",
                text_cell(images.known[i] or ""),
                text_cell(images.suggestion(i) or ""),
            ]
            row += [address_of(images.raw_paths[i], images.names[i], prefix)] * bool(prefix)
            row += [path_cell(images.containers[i] or "")] * packed
            write_rows(handle, [row])
    return Written([FILE], len(images), int(images.certain.sum()), [])


def read(path: Path) -> Iterator[Correction]:
    """The rows of a CSV file with the columns ``label`` and ``image_id`` or ``path``, or both of these.

    Parameters
    ----------
    path : Path
        In UTF-8.

    Yields
    ------
    Correction
        One a row.

    Raises
    ------
    UsageError
        It cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns = set(reader.fieldnames or [])
            if "label" not in columns or not columns & {"image_id", "path"}:
                raise UsageError(
                    f"{path} has the columns {reader.fieldnames or []}; wanted: 'image_id' or 'path', and 'label'"
                )
            for row in reader:
                label = text_of(row["label"] or "")
                yield Correction(row.get("image_id") or None, row.get("path") or "", (label,) if label else ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
