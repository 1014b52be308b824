"""A balanced part of labelled photographs, and its split: which are chosen depends on their names and a seed alone.

Photographs of a label are ranked by a keyed hash of their id. So the choice does not depend on the order of a folder's
listing, a larger subset holds a smaller one of the same seed, and new photographs displace few others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError

__all__ = ["Split", "balanced_subset"]


@dataclass(frozen=True)
class Split:
    """Rows of the photographs that were chosen, ascending.

    Attributes
    ----------
    labels : list of str
        The labels that were chosen, the most frequent first; of equals the first by name.
    per_label : int
        How many photographs each of them has, both parts together.
    training, validation : ndarray of shape (n,), int64
    """

    labels: list[str]
    per_label: int
    training: NDArray[np.int64]
    validation: NDArray[np.int64]


def balanced_subset(
    labels: Sequence[str | None],
    image_ids: Sequence[str],
    *,
    top: int = 0,
    per_label: int = 0,
    validation: float = 0.0,
    seed: int = 0,
) -> Split:
    """The most frequent labels, as many photographs of each, split alike within each.

    Parameters
    ----------
    labels : sequence of str or None
        Photographs without a label are never chosen.
    image_ids : sequence of str
        Their ids.
    top : int, default=0
        How many labels; 0: all.
    per_label : int, default=0
        How many photographs of each; 0: as many as the least frequent of these labels has.
    validation : float, default=0.0
        The share of each label's photographs, rounded, that is put aside.
    seed : int, default=0

    Raises
    ------
    UsageError
        There are fewer labels, or fewer photographs of one, or nothing is left for a part.
    """
    if top < 0 or per_label < 0 or not 0 <= validation < 1:
        raise UsageError(
            f"--top and --per-label are 0 or more, --validation a share below 1, not {top}, {per_label}, {validation}"
        )
    rows: dict[str, list[int]] = {}
    for row, label in enumerate(labels):
        if label is not None:
            rows.setdefault(label, []).append(row)
    chosen = sorted(rows, key=lambda label: (-len(rows[label]), label))[: top or None]
    if not chosen or len(chosen) < top:
        raise UsageError(f"the photographs have {len(rows)} labels, --top {top} asks for more")
    least = min(len(rows[label]) for label in chosen)
    size = per_label or least
    if size > least:
        short = [f"{label} ({len(rows[label])})" for label in chosen if len(rows[label]) < size]
        raise UsageError(
            f"--per-label {size} is more than some labels have: {', '.join(short[:5])}"
            f"{' ...' if len(short) > 5 else ''}; pass {least} or fewer, or a smaller --top"
        )
    aside = int(np.floor(size * validation + 0.5))
    if validation and not 0 < aside < size:
        raise UsageError(f"--validation {validation:g} of {size} photographs a label leaves one part without any")
    training, kept_aside = list[int](), list[int]()
    for label in chosen:
        ranked = sorted(rows[label], key=lambda row: _rank(image_ids[row], seed))[:size]
        kept_aside += ranked[:aside]
        training += ranked[aside:]
    return Split(chosen, size, np.array(sorted(training), np.int64), np.array(sorted(kept_aside), np.int64))


def _rank(image_id: str, seed: int) -> tuple[bytes, str]:
    """A number that looks random, the same on every machine; equal ids (there are none in a table) keep an order."""
    text = b"subset %d %s" % (seed, image_id.encode("utf-8", "surrogateescape"))
    return hashlib.blake2b(text, digest_size=16).digest(), image_id
