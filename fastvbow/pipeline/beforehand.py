"""What can be checked before the long work begins, without what only the later stages need."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

from fastvbow.errors import UsageError
from fastvbow.images.labels import read_labels
from fastvbow.images.table import ImageTable, readable

__all__ = ["check_enough_images", "check_labels", "content_of"]


def check_enough_images(n_images: int, n_topics: int | Literal["auto"]) -> None:
    """Raise a UsageError where there are fewer photographs than topics."""
    if n_topics != "auto" and n_images < n_topics:
        raise UsageError(f"{n_images} photographs cannot form {n_topics} topics: pass --topics {n_images} or fewer")


def check_labels(table: ImageTable, labels: str) -> None:
    """Raise a UsageError where a CSV file of labels does not fit the images: before the long work, not after."""
    if labels not in {"parent", "none"}:
        content_of(Path(labels))
        read_labels(labels, table.names, table.image_ids)


def content_of(path: Path) -> str:
    """What stands in for a CSV file in the stage's parameters: its path and its bytes."""
    try:
        return f"{readable(os.fsencode(path))} {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}"
    except OSError as error:
        raise UsageError(
            f"cannot read labels from {path}: {error.strerror}; --labels takes parent, none or a CSV file"
        ) from None
