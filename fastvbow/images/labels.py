"""Known labels of photographs: from their folders, ADE20K's files, masks, a CSV file, or as a project stores them."""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from fastvbow.csv_rows import text_of
from fastvbow.errors import UsageError
from fastvbow.images.annotations import scene_of
from fastvbow.images.mask_files import find_masks
from fastvbow.images.objects import dominant_objects
from fastvbow.images.stored_labels import read_stored_labels
from fastvbow.images.table import ImageTable

__all__ = ["WORDS", "label_column", "read_labels"]

WORDS = ("parent", "none", "scene", "object", "project")
"""What names a way to label photographs; anything else is the path of a CSV file."""
_PARENT = "(?:^|/)(?P<parent>[^/]*)/[^/]*$"


def read_labels(
    spec: str,
    names: Sequence[str],
    image_ids: Sequence[str],
    *,
    table: ImageTable | None = None,
    stored: Path | None = None,
    report: Callable[[str, str], object] | None = None,
) -> list[str | None]:
    """The label of each image.

    Parameters
    ----------
    spec : str
        ``parent``: the name of the folder that holds the image (none for an image at the top); ``none``; ``scene``:
        that of ADE20K (see `fastvbow.images.annotations.scene_of`); ``object``: the dominant object by the pixels of
        its mask (see `fastvbow.images.objects.dominant_objects`); ``project``: those that were imported into the
        project (see `fastvbow.images.stored_labels`); or the path of a CSV file with the columns ``path``
        (relative to the source) or ``image_id``, and ``label``.
    names : sequence of str
        Relative paths.
    image_ids : sequence of str
        Their ids.
    table : ImageTable, optional
        The images themselves: ``scene`` and ``object`` want it.
    stored : Path, optional
        The project's file of imported labels: ``project`` wants it.
    report : callable (path, reason), optional
        Gets each photograph whose mask is missing or bad, of ``object``.

    Returns
    -------
    list of str or None
        One per image; None where it is unknown.

    Raises
    ------
    UsageError
        The CSV file cannot be read, lacks a column, gives an image two labels, or names no image of this project; no
        photograph has a scene, or none a mask that can be used.
    """
    return label_column(
        spec,
        pa.array(names, pa.string()),
        pa.array(image_ids, pa.string()),
        table=(lambda: table) if table is not None else None,
        stored=stored,
        report=report,
    ).to_pylist()


def label_column(
    spec: str,
    names: pa.Array | pa.ChunkedArray,
    image_ids: pa.Array | pa.ChunkedArray,
    *,
    table: Callable[[], ImageTable] | None = None,
    stored: Path | None = None,
    report: Callable[[str, str], object] | None = None,
) -> pa.Array | pa.ChunkedArray:
    """What `read_labels` gives, of columns and as a column: for photographs by the million.

    Parameters
    ----------
    spec
        See `read_labels`.
    names, image_ids : pyarrow.Array or pyarrow.ChunkedArray of strings
    table : callable () -> ImageTable, optional
        Called where `spec` wants the images themselves.
    stored, report
        See `read_labels`.

    Returns
    -------
    pyarrow.Array or pyarrow.ChunkedArray of strings
        One per image; null where it is unknown.

    Raises
    ------
    UsageError
        As `read_labels`.
    """
    if spec == "none":
        return pa.nulls(len(names), pa.string())
    if spec == "parent":
        return pc.struct_field(pc.extract_regex(names, _PARENT), "parent")
    if spec == "project":
        if stored is None or not stored.exists():
            raise UsageError(
                "there are no labels of the project's own: 'fastvbow labels import PROJECT FILE' brings them in, and "
                "--labels FILE.csv reads others"
            )
        return _looked_up(read_stored_labels(stored).labels, image_ids)
    if spec in WORDS:
        if table is None:
            raise UsageError(f"labels by {spec} come from the photographs' own files: pass their table")
        return pa.array(_scenes(table()) if spec == "scene" else _objects(table(), report), pa.string())
    known, key = _read_csv(Path(spec))
    labels = _looked_up(known, names if key == "path" else image_ids)
    if labels.null_count == len(labels):
        raise UsageError(f"{spec}: none of its {len(known)} {key} values names an image of this project")
    return labels


def _looked_up(known: Mapping[str, str], keys: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The label of each key; null where there is none."""
    wanted, values = (pa.array(list(part), pa.string()) for part in (known.keys(), known.values()))
    return values.take(pc.index_in(keys, value_set=wanted))


def _scenes(table: ImageTable) -> list[str | None]:
    known: dict[Path, dict[str, str]] = {}
    scenes = [
        scene_of(os.path.join(table.root, raw), known) if table.is_file(index) else None
        for index, raw in enumerate(table.raw_paths)
    ]
    if not any(scenes):
        raise UsageError(
            f"no photograph of {os.fsdecode(table.root)} has a scene: that wants names as ADE20K's "
            "(ADE_train_00000001.jpg) below a folder training or validation, their JSON files, or sceneCategories.txt "
            "above them"
        )
    return scenes


def _objects(table: ImageTable, report: Callable[[str, str], object] | None) -> list[str | None]:
    found = dominant_objects(table, find_masks(table))
    for path, reason in found.problems if report else ():
        report(path, reason)  # type: ignore[misc]
    if not any(found.labels):
        path, reason = found.problems[0]
        raise UsageError(f"no photograph has a mask that tells its dominant object; the first, {path}: {reason}")
    return found.labels


def _read_csv(path: Path) -> tuple[dict[str, str], str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns = reader.fieldnames or []
            key = next((name for name in ("path", "image_id") if name in columns), None)
            if key is None or "label" not in columns:
                raise UsageError(f"{path} has the columns {list(columns)}; wanted: 'path' or 'image_id', and 'label'")
            known: dict[str, str] = {}
            for row in reader:
                label = text_of((row["label"] or "").strip())
                if not (label and row[key]):
                    continue
                # ./a/b.jpg and a//b.jpg are the image a/b.jpg
                name = posixpath.normpath(row[key]) if key == "path" else row[key]
                if (before := known.setdefault(name, label)) != label:
                    raise UsageError(
                        f"{path}, line {reader.line_num}: {name} is labelled {label!r}, but {before!r} above: keep one"
                    )
            return known, key
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read labels from {path}: {reason}; --labels takes {', '.join(WORDS)} or a CSV file"
        ) from None
