"""Known labels of photographs: from their folders, ADE20K's files, masks, a CSV file, or as a project stores them."""

from __future__ import annotations

import csv
import os
import posixpath
from collections.abc import Callable, Sequence
from pathlib import Path

from fastvbow.csv_rows import text_of
from fastvbow.errors import UsageError
from fastvbow.images.annotations import scene_of
from fastvbow.images.mask_files import find_masks
from fastvbow.images.objects import dominant_objects
from fastvbow.images.stored_labels import read_stored_labels
from fastvbow.images.table import ImageTable

__all__ = ["WORDS", "read_labels"]

WORDS = ("parent", "none", "scene", "object", "project")
"""What names a way to label photographs; anything else is the path of a CSV file."""


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
    if spec == "none":
        return [None] * len(names)
    if spec == "parent":
        return [name.split("/")[-2] if "/" in name else None for name in names]
    if spec == "project":
        return _stored(stored, image_ids)
    if spec in WORDS:
        if table is None:
            raise UsageError(f"labels by {spec} come from the photographs' own files: pass their table")
        return _scenes(table) if spec == "scene" else _objects(table, report)
    known, key = _read_csv(Path(spec))
    labels = [known.get(value) for value in (names if key == "path" else image_ids)]
    if not any(label is not None for label in labels):
        raise UsageError(f"{spec}: none of its {len(known)} {key} values names an image of this project")
    return labels


def _stored(path: Path | None, image_ids: Sequence[str]) -> list[str | None]:
    if path is None or not path.exists():
        raise UsageError(
            "there are no labels of the project's own: 'fastvbow labels import PROJECT FILE' brings them in, and "
            "--labels FILE.csv reads others"
        )
    known = read_stored_labels(path).labels
    return [known.get(image_id) for image_id in image_ids]


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
