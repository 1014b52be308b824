"""The labels that a person's corrections gave to a project's photographs.

Format ``fastvbow-labels``, version 1
-------------------------------------
``labels.parquet`` MUST have the columns ``image_id`` (string, each once, rising) and ``label`` (string), both without
nulls, and the schema's metadata ``format`` and ``version`` (decimal). It MAY have ``origin`` (string), the name of the
file that a label came from. Ids of photographs that the project does not have (any more) MAY stand in it: they are
passed over. A reader MUST refuse a greater version than its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.project import replace_file

__all__ = ["StoredLabels", "read_stored_labels", "write_stored_labels"]

FORMAT = "fastvbow-labels"
VERSION = 1


@dataclass(frozen=True)
class StoredLabels:
    """What ``labels.parquet`` holds.

    Attributes
    ----------
    labels : dict of str to str
        By image id.
    origins : dict of str to str
        The name of the file that each label came from, by image id.
    """

    labels: dict[str, str]
    origins: dict[str, str]


def write_stored_labels(path: Path, stored: StoredLabels) -> None:
    """Write ``labels.parquet``; equal labels give equal bytes."""
    ids = sorted(stored.labels)
    schema = pa.schema(
        {"image_id": pa.string(), "label": pa.string(), "origin": pa.string()},
        metadata={"format": FORMAT, "version": str(VERSION)},
    )
    columns = [ids, [stored.labels[i] for i in ids], [stored.origins.get(i) for i in ids]]
    table = pa.table([pa.array(column, pa.string()) for column in columns], schema=schema)
    with replace_file(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_stored_labels(path: Path) -> StoredLabels:
    """Read ``labels.parquet``.

    Raises
    ------
    ProjectError
        A newer fastvbow wrote it.
    StoreCorruptError
        It cannot be read, or is not what it should be.
    """
    try:
        table = pq.read_table(path)
        head = table.schema.metadata or {}
        if head.get(b"format") != FORMAT.encode() or not head.get(b"version", b"").isdigit():
            raise pa.ArrowInvalid("its schema's metadata name another format")
        if int(head[b"version"]) > VERSION:
            raise ProjectError(
                f"{path} has {FORMAT} version {int(head[b'version'])}; this fastvbow reads up to version {VERSION}: "
                "upgrade fastvbow"
            )
        columns = [table[name].cast(pa.string()) for name in ("image_id", "label")]
        if any(column.null_count for column in columns):
            raise pa.ArrowInvalid("it has gaps")
        ids, labels = (column.to_pylist() for column in columns)
        origins = table["origin"].to_pylist() if "origin" in table.column_names else [None] * len(ids)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StoreCorruptError(
            f"cannot read the imported labels {path}: {error}: move it away and run 'fastvbow labels import' again"
        ) from None
    known = {image_id: origin for image_id, origin in zip(ids, origins, strict=True) if origin is not None}
    return StoredLabels(dict(zip(ids, labels, strict=True)), known)
