"""Images in a column of Parquet files, as Hugging Face stores data sets; or a Parquet file as a list of paths."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastvbow.errors import EXHAUSTED, NoImagesError, UsageError
from fastvbow.images.containers import image_column, open_parquet
from fastvbow.images.decode import open_regular
from fastvbow.images.listing import Listing
from fastvbow.images.lists import PATH_COLUMNS, paths_table
from fastvbow.images.table import ImageTable, Places

__all__ = ["SUFFIXES", "find"]

SUFFIXES: tuple[bytes, ...] = (b".parquet",)


def find(listing: Listing) -> ImageTable | None:
    """The images in a Parquet file, or in those of a folder that holds no image files. None: there are none.

    `fastvbow.images.containers.image_column` says which column holds them. A row goes by its own path (the struct's
    ``path``, or a column of `PATH_COLUMNS`) where it has one that is unique in the file, else by its number. A single
    file without such a column is a list of paths where it has a column of `PATH_COLUMNS`.

    Raises
    ------
    UsageError
        A single file cannot be read or has no fitting column.
    NoImagesError
        There is no row.
    """
    files = [] if listing.images else listing.with_suffix(SUFFIXES)
    single = listing.file is not None
    warnings: list[str] = []
    containers: list[bytes] = []
    names: list[bytes] = []
    counts, times, wholes = [], [], []
    for raw in files:
        shown = repr(os.fsdecode(os.path.join(listing.root, raw)))
        try:
            with _opened(os.path.join(listing.root, raw)) as (file, status):
                if image_column(file.schema_arrow) is None:
                    if single:
                        return _as_list(listing, file)
                    continue
                rows = _row_names(file)
        except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
            if isinstance(error, UsageError | NoImagesError) or getattr(error, "errno", None) in EXHAUSTED:
                raise
            why = (str(getattr(error, "strerror", None) or error).splitlines() or [type(error).__name__])[0]
            if single:
                raise UsageError(f"cannot read the Parquet file {shown}: {why}") from None
            warnings.append(f"{shown} cannot be read: {why}: its images are missing")
            continue
        containers.append(raw)
        names += [raw + b"/" + row for row in rows]
        counts.append(len(rows))
        times.append(status.st_mtime_ns)
        wholes.append(status.st_size)
    if not containers and warnings:
        raise UsageError(f"no images in {listing.source}: {warnings[0]}")
    if not containers:
        return None
    if not names:
        raise NoImagesError(f"no images in {listing.source}: its Parquet files have no rows")
    return ImageTable.from_paths(
        listing.root,
        names,
        np.full(len(names), -1),
        np.repeat(np.array(times), counts),
        n_others=listing.n_others + (0 if single else len(listing.packed) - len(containers) - len(warnings)),
        unlisted=listing.unlisted,
        warnings=warnings,
        places=Places(
            containers,
            wholes,
            np.repeat(np.arange(len(containers), dtype=np.int32), counts),
            np.full(len(names), -1, np.int64),
            np.concatenate([np.arange(n, dtype=np.int64) for n in counts]),
        ),
    )


@contextlib.contextmanager
def _opened(path: bytes) -> Iterator[tuple[pq.ParquetFile, os.stat_result]]:
    with os.fdopen(open_regular(path), "rb", buffering=0) as handle:
        yield open_parquet(handle), os.fstat(handle.fileno())


def _path_column(schema: pa.Schema) -> str | None:
    """The column of text that holds paths."""
    text = {f.name for f in schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)}
    return next((name for name in PATH_COLUMNS if name in text), None)


def _column(file: pq.ParquetFile, name: str) -> Iterator[str | None]:
    """A column of text, or a field of a struct, ``STRUCT.FIELD``."""
    for batch in file.iter_batches(columns=[name], use_threads=False):
        values = batch.column(0)
        yield from (values.flatten()[0] if pa.types.is_struct(values.type) else values).to_pylist()


def _as_list(listing: Listing, file: pq.ParquetFile) -> ImageTable:
    name = _path_column(file.schema_arrow)
    if name is None:
        raise UsageError(
            f"{listing.source} has the columns {file.schema_arrow.names}; wanted: images' bytes in a column 'image' (a "
            f"struct with the field 'bytes', or binary), or paths in one of {', '.join(PATH_COLUMNS)}"
        )
    return paths_table(listing, (path.encode() for path in _column(file, name) if path))


def _row_names(file: pq.ParquetFile) -> list[bytes]:
    """What each row goes by."""
    column, nested = image_column(file.schema_arrow) or ("", False)
    name = _path_column(file.schema_arrow)
    if nested:
        kind = file.schema_arrow.field(column).type
        index = kind.get_field_index("path")
        name = f"{column}.path" if index >= 0 and pa.types.is_string(kind.field(index).type) else name
    given = [_plain(path) for path in _column(file, name)] if name else [b""] * file.metadata.num_rows
    times = Counter(given)
    return [path if path and times[path] == 1 else b"%d" % row for row, path in enumerate(given)]


def _plain(path: str | None) -> bytes:
    """A row's own path, relative and without empty and ``.`` steps; empty where it might be taken for a row's number
    or leads upwards."""
    steps = [step for step in (path or "").encode().split(b"/") if step not in (b"", b".")]
    return b"" if b".." in steps or (len(steps) == 1 and steps[0].isdigit()) else b"/".join(steps)
