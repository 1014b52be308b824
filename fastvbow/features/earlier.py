"""What earlier extractions have found: shards of other runs of images, or of other parameters."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ProjectError
from fastvbow.features.base import LocalFeatures
from fastvbow.features.store import FeatureShard, ImageRecord

__all__ = ["EarlierFeatures"]

OPEN = 64  # shards that are kept open at once


class _Open:
    """A sound shard with all its maps open."""

    def __init__(self, shard: FeatureShard) -> None:
        self.made_by = shard.card.made_by
        self._rows: list[dict[str, Any]] = shard.images.to_pylist()
        self._arrays = {
            name: (shard.offsets(name), shard.keypoints(name), shard.descriptors(name)) for name in self.made_by
        }

    def record(self, index: int, names: Sequence[str]) -> ImageRecord:
        row = self._rows[index]
        if row["reason"] is not None:
            return ImageRecord(None, **row)
        features = {}
        for name in names:
            offsets, keypoints, descriptors = self._arrays[name]
            here = slice(offsets[index], offsets[index + 1])
            features[name] = LocalFeatures(keypoints[here], descriptors[here])
        return ImageRecord(features, **row)


class EarlierFeatures:
    """Features of images by their identity, from shards that no longer stand. It may be shared by threads.

    Parameters
    ----------
    folders : sequence of Path
        Shards; those that are damaged, or of format 1, offer nothing.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._shards: list[FeatureShard] = []
        identities: list[NDArray[np.void]] = []
        for folder in folders:
            try:
                shard = FeatureShard(folder)
                if "identity" not in shard.images.column_names:
                    continue
            except ProjectError:
                continue
            self._shards.append(shard)
            identities.append(np.frombuffer(b"".join(shard.images["identity"].to_pylist()), "V16"))
            del shard.__dict__["images"]
        counts = [len(part) for part in identities]
        self._identities = np.concatenate([np.empty(0, "V16"), *identities])
        self._shard = np.repeat(np.arange(len(counts)), counts)
        self._row = np.concatenate([np.empty(0, np.int64), *map(np.arange, counts)])
        # the first eight bytes of a hash are as good as all sixteen to find the place
        heads = self._identities.view(np.uint64).reshape(-1, 2)[:, 0]
        self._order = np.argsort(heads, kind="stable")
        self._heads = heads[self._order]
        self._open: OrderedDict[int, _Open | None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._identities)

    def holding(self, identities: Sequence[bytes]) -> list[Path]:
        """The shards that may know something of any of these images, in the order of `folders`.

        Parameters
        ----------
        identities : sequence of bytes
        """
        heads = np.frombuffer(b"".join(identities), np.uint64).reshape(-1, 2)[:, 0]
        first, last = (np.searchsorted(self._heads, heads, side) for side in ("left", "right"))
        found = {int(n) for a, b in zip(first, last, strict=True) for n in self._shard[self._order[a:b]]}
        return [self._shards[number].folder for number in sorted(found)]

    def find(self, identity: bytes, wanted: Mapping[str, str]) -> ImageRecord | None:
        """What is known of an image: its features of those `wanted` that are there, or why it was skipped.

        Parameters
        ----------
        identity : bytes
        wanted : mapping of str to str
            Modalities, and what they have to be made by.
        """
        best: ImageRecord | None = None
        if not len(self):
            return best
        head = np.frombuffer(identity, np.uint64)[0]
        first, last = (int(np.searchsorted(self._heads, head, side)) for side in ("left", "right"))
        for i in self._order[first:last]:
            shard = self._opened(int(self._shard[i]))
            if shard is None or self._identities[i].tobytes() != identity:
                continue
            there = [name for name, maker in wanted.items() if shard.made_by.get(name) == maker]
            record = shard.record(int(self._row[i]), there)
            if best is None or best.features is None or record.features is None:
                best = best or record
            else:
                best = ImageRecord(
                    {**record.features, **best.features}, None, best.width, best.height, best.content, identity
                )
        return best

    def _opened(self, number: int) -> _Open | None:
        """A shard, or None where its files do not agree with their checksums."""
        with self._lock:
            if number not in self._open:
                shard = self._shards[number]
                self._open[number] = None if shard.check() else _Open(shard)
                shard.__dict__.pop("images", None)
                if len(self._open) > OPEN:
                    self._open.popitem(last=False)
            self._open.move_to_end(number)
            return self._open[number]
