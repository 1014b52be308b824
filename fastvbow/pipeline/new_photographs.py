"""What photographs `Project.assign` and `Project.stream` are given, and what becomes of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ImageError, UsageError
from fastvbow.features.aligned import aligned, vector_of
from fastvbow.groups.drift import DriftReference
from fastvbow.groups.grouping import Grouping, Skipped, group
from fastvbow.groups.names import TopicNames
from fastvbow.images.table import ImageTable, image_id_of, readable

__all__ = [
    "Assigned",
    "Entry",
    "Photograph",
    "Row",
    "Vector",
    "checked_pixels",
    "checked_vectors",
    "collect",
    "identify",
    "uneven",
    "with_vectors",
]

Photograph = Path | str | bytes | NDArray[np.uint8]
Vector = NDArray[np.float16] | str | None  # an embedding, or why there is none; None: there are no embeddings


@dataclass(frozen=True)
class Entry:
    """An image of a source.

    Attributes
    ----------
    table : ImageTable
    index : int
    """

    table: ImageTable
    index: int


@dataclass(frozen=True, eq=False)
class Row:
    """What is known of a photograph before it is grouped.

    Attributes
    ----------
    image_id, name : str
    theta : ndarray of shape (n_topics,), float64, or None
    reason : str or None
        Why there is no mixture.
    tails : ndarray of shape (n_views,), float64, or None
        See `fastvbow.groups.drift.DriftReference.tails`.
    """

    image_id: str
    name: str
    theta: NDArray[np.float64] | None
    reason: str | None
    tails: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Assigned:
    """A photograph and its group.

    Attributes
    ----------
    image_id, path : str
        As in `fastvbow.groups.grouping.Grouping`.
    topic : int
        -1 where the photograph was skipped.
    probability, entropy : float
        NaN where it was skipped.
    name : str or None
        What a person called the topic.
    theta : ndarray of shape (n_topics,), float64, or None
    reason : str or None
        Why it was skipped.
    """

    image_id: str
    path: str
    topic: int
    probability: float
    entropy: float
    name: str | None
    theta: NDArray[np.float64] | None
    reason: str | None

    @classmethod
    def of(cls, row: Row, names: TopicNames | None) -> Assigned:
        """Group one photograph."""
        if row.theta is None:
            return cls(row.image_id, row.name, -1, float("nan"), float("nan"), None, None, row.reason)
        one = group(row.theta[None], [row.image_id], [row.name], [None], Skipped([], [], []), names)
        told = int(one.topic[0]), float(one.probability[0]), float(one.entropy[0])
        return cls(row.image_id, row.name, *told, one.names[0], row.theta, None)


def with_vectors(images: Iterable[Photograph], vectors: NDArray[Any] | None) -> Iterator[tuple[Photograph, Vector]]:
    """Each photograph with its vector, if there are such."""
    n_images = 0
    for at, image in enumerate(images):
        n_images = at + 1
        if vectors is not None and at == len(vectors):
            break
        yield image, None if vectors is None else vector_of(aligned(vectors[at : at + 1])[0])
    if vectors is not None and n_images != len(vectors):
        raise uneven(n_images, len(vectors))


def uneven(n_images: int, n_vectors: int) -> UsageError:
    """What is wrong where there are more photographs than vectors, or fewer."""
    shown = n_images if n_images < n_vectors else f"more than {n_vectors}"
    return UsageError(f"{n_vectors} embeddings do not fit {shown} photographs: row i has to be that of photograph i")


def checked_vectors(given: NDArray[Any]) -> NDArray[Any]:
    """Embeddings as they came, once it is known that they are rows of numbers."""
    vectors = np.asarray(given)
    if vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise UsageError(
            f"embeddings are an array of numbers of shape (photographs, dimension), not {vectors.dtype} {vectors.shape}"
        )
    return vectors


def identify(image: Photograph | Entry) -> tuple[str, str]:
    """The id and the name of a photograph: of its path, or of its content where it has none.

    An image of a source goes by its relative path, as in a project of this source.
    """
    if isinstance(image, Entry):
        return image.table.image_ids[image.index], image.table.names[image.index]
    if isinstance(image, bytes | np.ndarray):
        content = image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes()
        return hashlib.blake2b(content, digest_size=10).hexdigest(), ""
    if not isinstance(image, str | Path):
        raise UsageError(f"a photograph is a path, the bytes of a file or RGB pixels, not {type(image).__name__}")
    raw = os.fsencode(image)
    return image_id_of(raw), readable(raw)


def checked_pixels(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Pixels in one piece of memory, once it is known that they are RGB."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ImageError(f"pixels have to be uint8 RGB of shape (height, width, 3), not {image.dtype} {image.shape}")
    return np.ascontiguousarray(image)


def collect(
    rows: Iterable[Row],
    n_topics: int,
    names: TopicNames | None,
    reference: DriftReference | None = None,
    suggested: Mapping[int, str] | None = None,
) -> Grouping:
    """Group photographs, and judge them together where there is something to hold them against."""
    kept: list[Row] = []
    lost: list[Row] = []
    for row in rows:
        (lost if row.theta is None else kept).append(row)
    theta = np.array([row.theta for row in kept], dtype=np.float64).reshape(len(kept), n_topics)
    skipped = Skipped([r.image_id for r in lost], [r.name for r in lost], [r.reason or "" for r in lost])
    ids, paths = [r.image_id for r in kept], [r.name for r in kept]
    found = group(theta, ids, paths, [None] * len(kept), skipped, names, suggested)
    if reference is None:
        return found
    tails = np.array([row.tails for row in kept], np.float64).reshape(len(kept), len(reference.inverses))
    return replace(found, drift=reference.report(tails))
