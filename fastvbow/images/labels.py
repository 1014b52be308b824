"""Known labels of photographs: from their folders or from a CSV file."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Sequence
from pathlib import Path

from fastvbow.errors import UsageError

__all__ = ["read_labels"]


def read_labels(spec: str, names: Sequence[str], image_ids: Sequence[str]) -> list[str | None]:
    """The label of each image.

    Parameters
    ----------
    spec : str
        ``parent``: the name of the folder that holds the image (none for an image at the top); ``none``; or the path
        of a CSV file with the columns ``path`` (relative to the source) or ``image_id``, and ``label``.
    names : sequence of str
        Relative paths.
    image_ids : sequence of str
        Their ids.

    Returns
    -------
    list of str or None
        One per image; None where it is unknown.

    Raises
    ------
    UsageError
        The CSV file cannot be read, lacks a column, or names no image of this project.
    """
    if spec == "none":
        return [None] * len(names)
    if spec == "parent":
        return [name.split("/")[-2] if "/" in name else None for name in names]
    known, key = _read_csv(Path(spec))
    labels = [known.get(value) for value in (names if key == "path" else image_ids)]
    if not any(label is not None for label in labels):
        raise UsageError(f"{spec}: none of its {len(known)} {key} values names an image of this project")
    return labels


def _read_csv(path: Path) -> tuple[dict[str, str], str]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            columns = reader.fieldnames or []
            key = next((name for name in ("path", "image_id") if name in columns), None)
            if key is None or "label" not in columns:
                raise UsageError(f"{path} has the columns {list(columns)}; wanted: 'path' or 'image_id', and 'label'")
            rows = ((row[key], row["label"]) for row in reader if row["label"] and row[key])
            # ./a/b.jpg and a//b.jpg are the image a/b.jpg
            return {posixpath.normpath(name) if key == "path" else name: label for name, label in rows}, key
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"cannot read labels from {path}: {error}; --labels takes parent, none or a CSV file"
        ) from None
