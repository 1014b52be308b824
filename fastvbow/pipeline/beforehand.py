"""What can be checked before the long work begins, without what only the later stages need."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from fastvbow.errors import UsageError
from fastvbow.images.labels import WORDS, read_labels
from fastvbow.images.mask_files import find_masks
from fastvbow.images.objects import fingerprint_of_masks
from fastvbow.images.table import ImageTable, readable

__all__ = ["check_enough_images", "check_labels", "labels_identity"]


def check_enough_images(n_images: int, n_topics: int | Literal["auto"]) -> None:
    """Raise a UsageError where there are fewer photographs than topics."""
    if n_topics != "auto" and n_images < n_topics:
        raise UsageError(f"{n_images} photographs cannot form {n_topics} topics: pass --topics {n_images} or fewer")


def check_labels(table: ImageTable, labels: str, *, stored: Path | None = None) -> None:
    """Raise a UsageError where labels do not fit the images: before the long work, not after."""
    if labels == "object":
        find_masks(table)  # which opens none of them
        return
    read_labels(labels, table.names, table.image_ids, table=table, stored=stored)


def labels_identity(table: ImageTable, labels: str, *, stored: Path | None = None) -> str:
    """What stands in for labels in the stage's parameters: it changes when what they are read from does.

    Raises
    ------
    UsageError
        The labels cannot be read.
    """
    if labels in {"parent", "none"}:
        return labels
    if labels == "object":
        return f"object {fingerprint_of_masks(find_masks(table))[:16]}"
    if labels == "scene":
        found = "\n".join(label or "" for label in read_labels(labels, table.names, table.image_ids, table=table))
        return f"scene {hashlib.sha256(found.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"
    if labels == "project":
        read_labels(labels, table.names, table.image_ids, stored=stored)  # complains where there are none
    path = stored if labels == "project" and stored is not None else Path(labels)
    known = labels if labels == "project" else readable(os.fsencode(path))  # the project may be moved
    try:
        return f"{known} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        raise UsageError(
            f"cannot read labels from {path}: {error.strerror}; --labels takes {', '.join(WORDS)} or a CSV file"
        ) from None
