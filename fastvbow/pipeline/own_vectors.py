"""The vectors of a project's photographs that extraction made: the CNN's, or those that were given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.features.store import FeatureShard
from fastvbow.pipeline.shards import open_shards, ranges_of
from fastvbow.pipeline.space_vectors import keep_vectors, kept_vectors
from fastvbow.project import ProjectFolder, fingerprint_of

__all__ = ["own_vectors", "unit"]

_NAME = "own"
_KIND = "pooled"
_BLOCK = 4096  # rows that are scaled at a time


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at unit length; zero rows stay zero.

    Parameters
    ----------
    rows : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    out = np.empty(rows.shape, np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK].astype(np.float64)
        length = np.sqrt(np.einsum("ij,ij->i", block, block))[:, None]
        out[start : start + _BLOCK] = block / np.where(length > 0, length, 1.0)
    return out


def own_vectors(project: ProjectFolder, *, keep: bool = False) -> NDArray[np.float32]:
    """The pooled vectors of a project's photographs: the CNN's, or those given with ``--embeddings``.

    Parameters
    ----------
    project : ProjectFolder
    keep : bool, default=False
        Keep them in the project's folder, as `fastvbow.pipeline.space_vectors` says, so that memory need not hold them.

    Returns
    -------
    ndarray of shape (n_images, d), float32
        At unit length, row i is row i of the project's image table; zero rows for skipped photographs. A read-only
        memory map where they are kept.

    Raises
    ------
    StageMissingError
        Extraction is not finished.
    UsageError
        The project has no such vectors.
    ProjectError
        They are to be kept, and the folder cannot be written or another process works on the project.
    """
    ranges, shards = ranges_of(project.require("extract").outputs), open_shards(project)
    if not shards or any(_KIND not in shard.card.rows for shard in shards):
        raise UsageError(
            f"{project.root} has no vectors of whole photographs: take a project whose --features hold cnn or "
            "embeddings"
        )
    widths = {shard.descriptors(_KIND).shape[1] for shard in shards}
    if len(widths) != 1:
        raise StoreCorruptError(f"{project.features} holds vectors of {sorted(widths)} numbers: run 'fastvbow verify'")
    width, sizes = widths.pop(), [stop - start for start, stop in ranges]
    keys = [(_key(shard), size) for shard, size in zip(shards, sizes, strict=True)]
    kept = kept_vectors(project, _NAME, keys)
    if kept is not None:
        return kept
    rows = (_rows(shard, size) for shard, size in zip(shards, sizes, strict=True))
    if keep:
        return keep_vectors(project, _NAME, width, keys, rows)
    out = np.empty((sum(sizes), width), np.float32)
    for (start, stop), part in zip(ranges, rows, strict=True):
        out[start:stop] = part
    return out


def _key(shard: FeatureShard) -> str:
    """Changes when a vector of the shard does."""
    return fingerprint_of([shard.card.sha256[f"{_KIND}.{part}.npy"] for part in ("descriptors", "offsets")])


def _rows(shard: FeatureShard, n_images: int) -> NDArray[np.float32]:
    """The vectors of a shard's images."""
    offsets, rows = shard.offsets(_KIND), unit(shard.descriptors(_KIND))
    if len(offsets) != n_images + 1:
        raise StoreCorruptError(f"{shard.folder} is of other images than the table: run 'fastvbow verify'")
    out = np.zeros((n_images, rows.shape[1]), np.float32)
    there = np.diff(offsets) > 0  # one a photograph that was read
    out[there] = rows[offsets[:-1][there]]
    return out
