"""Writing a feature shard, image by image: memory does not grow with the shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastvbow.errors import StoreCorruptError
from fastvbow.features.base import Modality
from fastvbow.features.store import VERSION, FeatureShard, ImageRecord, ShardCard, checksum
from fastvbow.project import replace_folder

__all__ = ["ShardWriter", "has_key", "shard_writer", "write_shard"]

BUFFER = 1 << 18  # bytes of a file of rows before they are written


class _Rows:
    """A ``.npy`` file of rows that grows; its header is written again, in its place, when their number is known."""

    def __init__(self, file: BinaryIO, dtype: Any, width: int) -> None:
        self._file, self._dtype, self._width = file, np.dtype(dtype), width
        self.n = 0
        self._header()

    def append(self, rows: Any) -> None:
        # what cannot be written as it is was made by another extractor
        rows = np.ascontiguousarray(rows).astype(self._dtype, casting="no", copy=False)
        if rows.ndim != 2 or rows.shape[1] != self._width:
            raise ValueError(f"rows of {self._width} numbers were wanted, got an array of shape {rows.shape}")
        self._file.write(rows.data)
        self.n += len(rows)

    def finish(self) -> None:
        self._file.seek(0)
        self._header()
        self._file.flush()

    def _header(self) -> None:
        described = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.n, self._width),
        }
        np.lib.format.write_array_header_1_0(self._file, described)  # pads it for a number of rows of 21 digits


class ShardWriter:
    """A shard that is being written; see `shard_writer`."""

    def __init__(self, folder: Path, modalities: Sequence[Modality], files: ExitStack) -> None:
        self._folder, self._modalities = folder, modalities
        self._records: list[ImageRecord] = []
        self._offsets: dict[str, list[int]] = {m.name: [0] for m in modalities}
        self._arrays = {
            (m.name, kind): _Rows(
                files.enter_context((folder / f"{m.name}.{kind}.npy").open("wb", BUFFER)),
                *(shape or (m.dtype, m.dimension)),
            )
            for m in modalities
            for kind, shape in (("descriptors", None), ("keypoints", (np.float32, 4)))
        }

    def append(self, record: ImageRecord) -> None:
        """Write the next image."""
        for modality in self._modalities:
            part = modality.empty() if record.features is None else record.features[modality.name]
            self._arrays[modality.name, "descriptors"].append(part.descriptors)
            self._arrays[modality.name, "keypoints"].append(part.keypoints)
            self._offsets[modality.name].append(self._arrays[modality.name, "descriptors"].n)
        self._records.append(
            ImageRecord(None, record.reason, record.width, record.height, record.content, record.identity)
        )

    def finish(self, key: str, made_by: Mapping[str, str]) -> None:
        """Complete the files and the card."""
        for array in self._arrays.values():
            array.finish()
        for name, offsets in self._offsets.items():
            np.save(self._folder / f"{name}.offsets.npy", np.array(offsets, np.int64))
        records = self._records
        table = pa.table(
            {
                "identity": pa.array([r.identity for r in records], pa.binary(16)),
                "reason": pa.array([r.reason for r in records], pa.string()),
                "width": pa.array([r.width for r in records], pa.int32()),
                "height": pa.array([r.height for r in records], pa.int32()),
                "content": pa.array([r.content for r in records], pa.string()),
            }
        )
        # statistics would take as long as the rest
        pq.write_table(table, self._folder / "images.parquet", compression="zstd", write_statistics=False)
        sums = {path.name: checksum(path) for path in sorted(self._folder.iterdir())}
        rows = {name: offsets[-1] for name, offsets in self._offsets.items()}
        card = ShardCard(VERSION, key, len(records), rows, sums, dict(made_by))
        (self._folder / "card.json").write_bytes(msgspec.json.format(msgspec.json.encode(card)))


def has_key(folder: Path, key: str) -> bool:
    """Whether a finished shard stands there that was made from this."""
    try:
        card = FeatureShard.read_card(folder)
    except StoreCorruptError:
        return False
    return card is not None and card.key == key


@contextmanager
def shard_writer(
    folder: Path, key: str, modalities: Sequence[Modality], made_by: Mapping[str, str], *, keep_same: bool = False
) -> Iterator[ShardWriter]:
    """Write a shard whole, or leave nothing: what stood at `folder` stays until the end, and after an exception.

    Parameters
    ----------
    folder : Path
        Its final name.
    key : str
        What it is made from: see the format.
    modalities : sequence of Modality
        What each read image offers.
    made_by : mapping of str to str
        See the format.
    keep_same : bool, default=False
        A shard of this key that another worker has put in place meanwhile stays, and the one that is written is thrown
        away.
    """
    with replace_folder(folder, unless=lambda: keep_same and has_key(folder, key)) as temporary, ExitStack() as files:
        writer = ShardWriter(temporary, modalities, files)
        yield writer
        writer.finish(key, made_by)


def write_shard(
    folder: Path,
    key: str,
    modalities: Sequence[Modality],
    records: Sequence[ImageRecord],
    made_by: Mapping[str, str] | None = None,
) -> None:
    """Write a shard of records that are all there."""
    with shard_writer(folder, key, modalities, made_by or {}) as writer:
        for record in records:
            writer.append(record)
