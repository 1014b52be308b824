"""Feature shards: what extraction writes and every later stage maps into memory.

Format, version 1
-----------------
``features/shard-NNNNN/`` holds a fixed run of the image table's rows:

- ``MODALITY.descriptors.npy`` (n, dimension), ``MODALITY.keypoints.npy`` (n, 4) float32 and ``MODALITY.offsets.npy``
  (images + 1,) int64 for each modality: image i of the shard owns the rows offsets[i] to offsets[i + 1]. A skipped
  image MUST own none.
- ``images.parquet``: ``reason`` (string, null where the image was read), ``width``, ``height`` (int32), ``content``
  (BLAKE2b of the file's bytes, hex).
- ``card.json``: ``version``, ``key`` (fingerprint of the parameters and the rows), ``n_images``, ``rows`` (per
  modality) and the SHA-256 of every other file. It MUST be complete before the folder takes its final name; a reader
  MAY trust a folder that bears one, MUST treat a shard whose key differs as absent, and MUST refuse a version greater
  than its own.

Arrays are plain ``.npy``: they open as read-only memory maps, and pages that nobody touches cost no memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fastvbow.errors import EXHAUSTED, ProjectError, StoreCorruptError
from fastvbow.features.base import LocalFeatures, Modality
from fastvbow.project import replace_folder

__all__ = ["FeatureShard", "ImageRecord", "ShardCard", "write_shard"]

VERSION = 1


class ShardCard(msgspec.Struct, frozen=True):
    """What a shard's ``card.json`` holds."""

    version: int
    key: str
    n_images: int
    rows: dict[str, int]
    sha256: dict[str, str]


@dataclass(frozen=True)
class ImageRecord:
    """What became of one photograph: its features, or the reason why there are none."""

    features: Mapping[str, LocalFeatures] | None
    reason: str | None
    width: int
    height: int
    content: str


def write_shard(folder: Path, key: str, modalities: Sequence[Modality], records: Sequence[ImageRecord]) -> ShardCard:
    """Write a shard whole, or leave nothing.

    Parameters
    ----------
    folder : Path
        Its final name.
    key : str
        What it was made from: see the format.
    modalities : sequence of Modality
        What each read image offers.
    records : sequence of ImageRecord
        One per image, in the table's order.
    """
    with replace_folder(folder) as temporary:
        rows = {}
        for modality in modalities:
            empty = modality.empty()
            parts = [empty if r.features is None else r.features[modality.name] for r in records]
            counts = [len(part.descriptors) for part in parts]
            rows[modality.name] = sum(counts)
            np.save(temporary / f"{modality.name}.descriptors.npy", np.concatenate([p.descriptors for p in parts]))
            np.save(temporary / f"{modality.name}.keypoints.npy", np.concatenate([p.keypoints for p in parts]))
            np.save(
                temporary / f"{modality.name}.offsets.npy", np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
            )
        table = pa.table(
            {
                "reason": pa.array([r.reason for r in records], pa.string()),
                "width": pa.array([r.width for r in records], pa.int32()),
                "height": pa.array([r.height for r in records], pa.int32()),
                "content": pa.array([r.content for r in records], pa.string()),
            }
        )
        pq.write_table(table, temporary / "images.parquet", compression="zstd")
        sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(temporary.iterdir())}
        card = ShardCard(VERSION, key, len(records), rows, sums)
        (temporary / "card.json").write_bytes(msgspec.json.format(msgspec.json.encode(card)))
    return card


class FeatureShard:
    """A finished shard, opened by memory map.

    Parameters
    ----------
    folder : Path
        ``features/shard-NNNNN``.

    Raises
    ------
    StoreCorruptError
        Its card, or (when touched) one of its files, is not what it has to be. The small files are held against their
        checksums; the descriptors and keypoints, which may be greater than memory, against the card's shapes only.
    ProjectError
        A newer fastvbow wrote it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        card = self.read_card(folder)
        if card is None:
            raise StoreCorruptError(f"{folder} is not a finished shard: run 'fastvbow extract' again")
        self.card = card

    @staticmethod
    def read_card(folder: Path) -> ShardCard | None:
        """The card of a shard, or None where there is no finished shard."""
        try:
            card = msgspec.json.decode((folder / "card.json").read_bytes(), type=ShardCard)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
            raise _corrupt(folder / "card.json", error) from None
        if card.version > VERSION:
            raise ProjectError(
                f"{folder} has shard format {card.version}; this fastvbow reads up to format {VERSION}: upgrade it"
            )
        return card

    def descriptors(self, modality: str) -> NDArray[Any]:
        """(n, dimension), read-only memory map."""
        return self._array(modality, "descriptors", self.card.rows[modality])

    def keypoints(self, modality: str) -> NDArray[np.float32]:
        """(n, 4), read-only memory map."""
        return self._array(modality, "keypoints", self.card.rows[modality])

    def offsets(self, modality: str) -> NDArray[np.int64]:
        """(n_images + 1,)."""
        self._check(f"{modality}.offsets.npy")
        return self._array(modality, "offsets", self.card.n_images + 1)

    @cached_property
    def images(self) -> pa.Table:
        """What became of each image."""
        self._check("images.parquet")
        try:
            return pq.read_table(self.folder / "images.parquet")
        except (OSError, pa.ArrowException) as error:
            raise _corrupt(self.folder / "images.parquet", error) from None

    @cached_property
    def read(self) -> NDArray[np.bool_]:
        """(n_images,): whether each image could be read."""
        return np.asarray(self.images["reason"].is_null())

    def _array(self, modality: str, kind: str, length: int) -> NDArray[Any]:
        path = self.folder / f"{modality}.{kind}.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="r")
        except Exception as error:  # what a damaged header raises is not NumPy's to promise: OSError, TokenError, ...
            if isinstance(error, OSError) and error.errno in EXHAUSTED:
                raise
            raise _corrupt(path, error) from None
        if array.ndim != (1 if kind == "offsets" else 2) or len(array) != length:
            raise _corrupt(path, f"the array has shape {array.shape}, its card says {length} rows")
        return array

    def _check(self, name: str) -> None:
        """Hold a small file against its checksum."""
        path = self.folder / name
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise _corrupt(path, error.strerror) from None
        if digest != self.card.sha256.get(name):
            raise _corrupt(path, "its checksum is not the one on the card")


def _corrupt(path: Path, what: object) -> StoreCorruptError:
    return StoreCorruptError(f"{path}: {what}: delete that shard and run 'fastvbow extract' again")
