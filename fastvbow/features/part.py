"""A part of a shard: some of its photographs, and of each so many of its strongest keypoints."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.features.store import FeatureShard

__all__ = ["ShardPart"]


class ShardPart(FeatureShard):
    """Some photographs of a shard, as a shard of their own that is never written.

    `fastvbow.features.sift` orders the keypoints of a photograph by the detector's response, and ties fully, before it
    cuts: the first k of them are what an extraction with ``keypoints=k`` finds, bit for bit.

    Parameters
    ----------
    shard : FeatureShard
    images : ndarray of shape (n_images,), bool
        The photographs of the part. They have to have been read.
    modalities : collection of str, optional
        The kinds of features that it has; None: all of the shard.
    keypoints : int, optional
        At most so many rows of ``sift`` a photograph; None: all.
    """

    def __init__(
        self,
        shard: FeatureShard,
        images: NDArray[np.bool_],
        modalities: Collection[str] | None = None,
        keypoints: int | None = None,
    ) -> None:
        self.folder = shard.folder
        self._shard, self._chosen, self._keypoints = shard, np.flatnonzero(images), keypoints
        names = [name for name in shard.card.rows if modalities is None or name in modalities]
        self._bounds = {name: self._find_bounds(name) for name in names}
        rows = {name: int(ends[-1]) for name, (_, ends) in self._bounds.items()}
        self.card = msgspec.structs.replace(shard.card, n_images=len(self._chosen), rows=rows)

    def descriptors(self, modality: str) -> NDArray[Any]:
        """(n, dimension): a memory map where the part has all rows of the shard, else a copy."""
        return self._rows(modality, self._shard.descriptors(modality))

    def keypoints(self, modality: str) -> NDArray[np.float32]:
        """(n, 4), as `descriptors`."""
        return self._rows(modality, self._shard.keypoints(modality))

    def offsets(self, modality: str) -> NDArray[np.int64]:
        """(n_images + 1,)."""
        return self._bounds[modality][1]

    @cached_property
    def read(self) -> NDArray[np.bool_]:
        """(n_images,): all true."""
        return np.ones(len(self._chosen), bool)

    def _find_bounds(self, name: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where each photograph's rows begin in the shard, and in the part (with their end)."""
        offsets = np.asarray(self._shard.offsets(name))
        counts = np.diff(offsets)[self._chosen]
        if name == "sift" and self._keypoints is not None:
            counts = np.minimum(counts, self._keypoints)
        return offsets[:-1][self._chosen], np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def _rows(self, name: str, array: NDArray[Any]) -> NDArray[Any]:
        begins, ends = self._bounds[name]
        if ends[-1] == len(array):
            return array
        counts = np.diff(ends)
        return array[np.repeat(begins - ends[:-1], counts) + np.arange(ends[-1])]
