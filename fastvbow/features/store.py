"""Feature shards: what extraction writes and every later stage maps into memory.

Format, version 2
-----------------
``features/shard-NNNNN/`` holds a fixed run of the image table's rows:

- ``MODALITY.descriptors.npy`` (n, dimension), ``MODALITY.keypoints.npy`` (n, 4) float32 and ``MODALITY.offsets.npy``
  (images + 1,) int64 for each modality: image i of the shard owns the rows offsets[i] to offsets[i + 1]. A skipped
  image MUST own none.
- ``images.parquet``: ``identity`` (16 bytes; the same image file, unchanged, has the same one), ``reason`` (string,
  null where the image was read), ``width``, ``height`` (int32), ``content`` (BLAKE2b of the file's bytes, hex).
- ``card.json``: ``version``, ``key`` (fingerprint of the parameters and the rows), ``n_images``, ``rows`` (per
  modality), ``made_by`` (per modality, the fingerprint of all that its values depend on but the image) and the SHA-256
  of every other file. It MUST be complete before the folder takes its final name; a reader MAY trust a folder that
  bears one, MUST treat a shard whose key differs as absent, and MUST refuse a version greater than its own.
- ``features/stale-HEX/`` is a shard whose images or parameters are no longer those of the project. A writer MAY copy
  from it the values of images with the same ``identity``, of modalities with the same ``made_by``, once its files agree
  with their checksums; it MUST remove it when extraction is finished.

Version 1 has neither ``identity`` nor ``made_by``: it is read as it is, and nothing is copied from it.

Arrays are plain ``.npy``: they open as read-only memory maps, and pages that nobody touches cost no memory.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
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
from fastvbow.features.base import LocalFeatures

__all__ = ["VERSION", "FeatureShard", "ImageRecord", "ShardCard", "checksum"]

VERSION = 2


class ShardCard(msgspec.Struct, frozen=True):
    """What a shard's ``card.json`` holds."""

    version: int
    key: str
    n_images: int
    rows: dict[str, int]
    sha256: dict[str, str]
    made_by: dict[str, str] = {}


@dataclass(frozen=True)
class ImageRecord:
    """What became of one photograph: its features, or the reason why there are none."""

    features: Mapping[str, LocalFeatures] | None
    reason: str | None
    width: int
    height: int
    content: str
    identity: bytes = bytes(16)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class FeatureShard:
    """A finished shard, opened by memory map.

    Parameters
    ----------
    folder : Path
        ``features/shard-NNNNN``.
    bring : callable (name), optional
        Is called before a file of the folder is read: it may have to be brought there.

    Raises
    ------
    StoreCorruptError
        Its card, or (when touched) one of its files, is not what it has to be. The small files are held against their
        checksums; the descriptors and keypoints, which may be greater than memory, against the card's shapes only.
    ProjectError
        A newer fastvbow wrote it.
    """

    def __init__(self, folder: Path, bring: Callable[[str], object] = lambda name: None) -> None:
        self.folder, self._bring = folder, bring
        if not (folder / "card.json").exists():
            bring("card.json")
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
            with pq.ParquetFile(self.folder / "images.parquet") as file:  # half the time of read_table
                return file.read()
        except (OSError, pa.ArrowException) as error:
            raise _corrupt(self.folder / "images.parquet", error) from None

    def check(self) -> list[str]:
        """What is wrong with the files, one line each; all of them are read."""
        found = []
        for name in self.card.sha256:
            try:
                self._check(name)
            except StoreCorruptError as error:
                found.append(str(error))
        strangers = sorted({path.name for path in self.folder.iterdir()} - {*self.card.sha256, "card.json"})
        found += [f"{self.folder / name}: does not belong there" for name in strangers]
        if found:
            return found
        if self.images.num_rows != self.card.n_images:
            found.append(f"{self.folder}: images.parquet has {self.images.num_rows} rows, not {self.card.n_images}")
        for name, rows in self.card.rows.items():
            offsets, descriptors, keypoints = self.offsets(name), self.descriptors(name), self.keypoints(name)
            counts = np.diff(offsets)
            if offsets[0] != 0 or offsets[-1] != rows or (counts < 0).any() or counts[~self.read].any():
                found.append(f"{self.folder}: the offsets of {name} do not fit {rows} rows")
            if len(descriptors) != rows or len(keypoints) != rows:
                found.append(f"{self.folder}: the arrays of {name} do not have {rows} rows")
        return found

    @property
    def skipped(self) -> Counter[str]:
        """How many images could not be read, by reason."""
        return Counter(reason for reason in self.images["reason"].to_pylist() if reason is not None)

    @cached_property
    def read(self) -> NDArray[np.bool_]:
        """(n_images,): whether each image could be read."""
        return np.asarray(self.images["reason"].is_null())

    def _array(self, modality: str, kind: str, length: int) -> NDArray[Any]:
        path = self.folder / f"{modality}.{kind}.npy"
        self._bring(path.name)
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
        self._bring(name)
        try:
            digest = checksum(path)
        except OSError as error:
            raise _corrupt(path, error.strerror) from None
        if digest != self.card.sha256.get(name):
            raise _corrupt(path, "its checksum is not the one on the card")


def _corrupt(path: Path, what: object) -> StoreCorruptError:
    return StoreCorruptError(f"{path}: {what}: delete that shard and run 'fastvbow extract' again")
