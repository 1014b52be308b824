"""A project's photographs as vectors of a space, made once and kept.

Format ``fastvbow-space-vectors``, version 1
--------------------------------------------
``spaces/KEY/`` in the project folder; KEY is the first 32 digits of the SHA-256, in hex, of the version and the space's
fingerprint. The project's own vectors (`fastvbow.pipeline.own_vectors`) lie there too, of a space with the fingerprint
and name ``own``.

- ``vectors-HEX.npy``: float32 (n_images, width) in C order, row i is that of image i of the project's table, at unit
  length; zero where the image was skipped. HEX is the first 16 digits of the SHA-256 of the shards' keys.
- ``card.json``: ``format``, ``version``, ``space`` (its fingerprint), ``name`` (what it was called), ``width``,
  ``file`` (of the vectors), ``sha256`` (of that file) and ``shards``, a list of [key, number of images] in order. A key
  is the SHA-256 of paths, sizes and times of a run of images and of which were read, so vectors of other images do not
  count, and those of the same run need not be made again when others are added; of own vectors it is the SHA-256 of the
  checksums of what extraction has written. The card MUST be written after the
  vectors, and vectors that no card names do not count. A reader MUST refuse a greater version.
- ``part-KEY.npy`` is work in progress: the rows of a shard. It MAY be removed; a writer MUST remove it when the card
  stands.

All is a cache: the folder MAY be removed at any time, and is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import FastvbowError, ImageError, ProjectError, StoreCorruptError, UsageError
from fastvbow.events import Event, Listener
from fastvbow.executors import make_executor, one_thread_each, run_tasks
from fastvbow.features.store import FeatureShard, checksum
from fastvbow.images.decode import decode_examined, examine, silence_decoders
from fastvbow.images.table import ImageTable
from fastvbow.memory import Allowance, array_on_disk, physical_memory
from fastvbow.pipeline.shard_work import memory_of
from fastvbow.pipeline.shards import open_shards, ranges_of
from fastvbow.project import ProjectFolder, fingerprint_of, replace_file

__all__ = ["check_space_vectors", "keep_vectors", "kept_vectors", "project_vectors"]

FORMAT, VERSION = "fastvbow-space-vectors", 1
STAGE = "space"

Encode = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class _Card(msgspec.Struct, frozen=True):
    format: str
    version: int
    space: str
    name: str
    width: int
    file: str
    sha256: str
    shards: list[tuple[str, int]]


class _Run:
    """A shard's images, and under which key their vectors are kept."""

    def __init__(self, table: ImageTable, bounds: tuple[int, int], shard: FeatureShard) -> None:
        self.table, self.start, self.stop = table, *bounds
        self.read = shard.read
        self.contents: list[str] = shard.images["content"].to_pylist()
        if len(self.read) != self.stop - self.start:
            raise StoreCorruptError(
                f"{shard.folder} has {len(self.read)} images, the image table {self.stop - self.start}: run 'fastvbow "
                "extract' again"
            )
        self.key = fingerprint_of([table.fingerprint(*bounds), self.read.tolist()])


def project_vectors(
    project: ProjectFolder,
    fingerprint: str,
    name: str,
    width: int,
    prepare: Callable[[], Encode],
    *,
    least_side: int,
    jobs: int,
    listener: Listener,
) -> NDArray[np.float32]:
    """The vectors of a project's photographs in a space, from the project's folder where they stand there already.

    Parameters
    ----------
    project : ProjectFolder
    fingerprint, name : str
        Of the space.
    width : int
        Numbers of a vector.
    prepare : callable () -> callable
        Called where photographs have to be encoded; what it returns gives a photograph, (height, width, 3) uint8 RGB,
        its vector, (width,) float32 at unit length; threads call that at once.
    least_side : int
        See `fastvbow.images.decode.examine`.
    jobs : int
        Threads. The bytes are the same for any number.
    listener : Listener
        Hears of the stage ``space``.

    Returns
    -------
    ndarray of shape (n_images, width), float32, read-only memory map
        Zero rows for photographs that were skipped.

    Raises
    ------
    StageMissingError
        Extraction is not finished.
    ProjectError
        A photograph that was read when the project was made cannot be read any more or is another one, or another
        process works on the project.
    StoreCorruptError
        What is kept was written by a newer version.
    """
    table = ImageTable.load(project.images, project.image_root)
    ranges, shards = ranges_of(project.require("extract").outputs), open_shards(project)
    runs = [_Run(table, bounds, shard) for bounds, shard in zip(ranges, shards, strict=True)]
    wanted = [(run.key, run.stop - run.start) for run in runs]
    folder = _folder(project, fingerprint)
    card = _read_card(folder)
    if card is None or card.shards != wanted:
        with project.lock():
            _make(
                folder,
                runs,
                _Card(FORMAT, VERSION, fingerprint, name, width, "", "", wanted),
                prepare,
                least_side,
                jobs,
                listener,
            )
        card = _read_card(folder)
    else:
        listener(Event(STAGE, "reused", f"{len(table)} photographs in {name}"))
    if card is None:
        raise StoreCorruptError(f"{folder} has gone while it was made: do not remove it, and try again")
    return _open(folder, card)


def kept_vectors(project: ProjectFolder, name: str, shards: list[tuple[str, int]]) -> NDArray[np.float32] | None:
    """Vectors that `keep_vectors` keeps, or None where those of other shards are kept, or none that can be read.

    Parameters
    ----------
    project : ProjectFolder
    name : str
    shards : list of (str, int)
        The keys of the shards, and how many images each has.
    """
    folder = _folder(project, name)
    with contextlib.suppress(StoreCorruptError):  # what cannot be read is made again
        card = _read_card(folder)
        if card is not None and card.shards == shards:
            return _open(folder, card)
    return None


def keep_vectors(
    project: ProjectFolder,
    name: str,
    width: int,
    shards: list[tuple[str, int]],
    rows: Iterable[NDArray[np.float32]],
) -> NDArray[np.float32]:
    """Keep vectors that are no space's in the folder of a project.

    Parameters
    ----------
    project : ProjectFolder
    name : str
        Theirs, instead of a fingerprint.
    width : int
    shards : list of (str, int)
        See `kept_vectors`.
    rows : iterable of ndarray of shape (n, width), float32
        The vectors of the images of each shard.

    Returns
    -------
    ndarray of shape (n_images, width), float32, read-only memory map

    Raises
    ------
    ProjectError
        The folder cannot be written, or another process works on the project.
    """
    folder = _folder(project, name)
    with project.lock():
        _begin(folder)
        return _open(folder, _write(folder, _Card(FORMAT, VERSION, name, name, width, "", "", shards), rows))


def _folder(project: ProjectFolder, fingerprint: str) -> Path:
    return project.root / "spaces" / fingerprint_of([VERSION, fingerprint])[:32]


def _read_card(folder: Path) -> _Card | None:
    try:
        card = msgspec.json.decode((folder / "card.json").read_bytes(), type=_Card)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise StoreCorruptError(f"cannot read {folder / 'card.json'}: {error}: delete {folder}") from None
    if card.format != FORMAT or card.version > VERSION:
        raise StoreCorruptError(
            f"{folder} is of format {card.format} {card.version}; this fastvbow reads {FORMAT} up to {VERSION}: delete "
            "it or upgrade fastvbow"
        )
    return card


def _open(folder: Path, card: _Card) -> NDArray[np.float32]:
    path = folder / card.file
    shape = (sum(n for _, n in card.shards), card.width)
    try:
        found: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise StoreCorruptError(f"cannot read {path}: {error}: delete {folder}, it is made again") from None
    if found.shape != shape or found.dtype != np.float32:
        raise StoreCorruptError(f"{path} holds {found.dtype} {found.shape}, its card says {shape}: delete {folder}")
    return found


def _make(
    folder: Path,
    runs: list[_Run],
    card: _Card,
    prepare: Callable[[], Encode],
    least_side: int,
    jobs: int,
    listener: Listener,
) -> None:
    _begin(folder)
    before = _rows_before(folder)
    todo = [run for run in runs if run.key not in before and not (folder / _part(run)).exists()]
    total, n_todo = sum(len(run.read) for run in runs), sum(len(run.read) for run in todo)
    listener(Event(STAGE, "begin", f"{n_todo} of {total} photographs to encode for {card.name}"))
    if todo:
        _encode(folder, todo, card.width, prepare(), least_side, jobs, listener, (total - n_todo, total))
    _write(
        folder,
        card,
        (before[run.key]() if run.key in before else _read_part(folder, run, card.width) for run in runs),
    )
    listener(Event(STAGE, "end", f"{total} photographs in {card.name}"))


def _begin(folder: Path) -> None:
    """Make the folder, or clear away what a writer has left that was killed: the project is ours."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*.*.tmp"):
        left.unlink()


def _write(folder: Path, card: _Card, rows: Iterable[NDArray[np.float32]]) -> _Card:
    """Put vectors and their card in place; what else lies there goes."""
    name = f"vectors-{fingerprint_of(card.shards)[:16]}.npy"
    shape, start = (sum(n for _, n in card.shards), card.width), 0
    with replace_file(folder / name) as path:
        out = array_on_disk(path, np.float32, shape)
        for part in rows:
            check_cancelled()
            out[start : start + len(part)] = part
            start += len(part)
        out.flush()
        del out
        digest = checksum(path)
    whole = msgspec.structs.replace(card, file=name, sha256=digest)
    with replace_file(folder / "card.json") as path:
        path.write_bytes(msgspec.json.encode(whole))
    for left in [*folder.glob("vectors-*.npy"), *folder.glob("part-*.npy")]:
        if left.name != name:
            left.unlink()
    return whole


def _rows_before(folder: Path) -> dict[str, Callable[[], NDArray[np.float32]]]:
    """What stands of shards in the vectors of an earlier call, by the shards' keys."""
    found: dict[str, Callable[[], NDArray[np.float32]]] = {}
    with contextlib.suppress(StoreCorruptError):  # what cannot be read is made again
        card = _read_card(folder)
        if card is not None and checksum(folder / card.file) == card.sha256:
            vectors, start = _open(folder, card), 0
            for key, n in card.shards:
                found[key] = lambda rows=slice(start, start + n): vectors[rows]  # type: ignore[misc]
                start += n
    return found


def _part(run: _Run) -> str:
    return f"part-{run.key}.npy"


def _read_part(folder: Path, run: _Run, width: int) -> NDArray[np.float32]:
    path = folder / _part(run)
    try:
        rows: NDArray[np.float32] = np.load(path, allow_pickle=False)
        if rows.shape != (len(run.read), width) or rows.dtype != np.float32:
            raise ValueError(f"it holds {rows.dtype} {rows.shape}")
    except (OSError, ValueError) as error:
        raise StoreCorruptError(f"cannot read {path}: {error}: delete it, it is made again") from None
    return rows


def _encode(
    folder: Path,
    runs: list[_Run],
    width: int,
    encode: Encode,
    least_side: int,
    jobs: int,
    listener: Listener,
    at: tuple[int, int],
) -> None:
    """Write the parts of these runs."""
    silence_decoders()
    allowance = Allowance(physical_memory() // 2)
    done, total = at

    def one(task: tuple[_Run, int]) -> tuple[_Run, int, NDArray[np.float32] | None]:
        run, row = task
        if not run.read[row]:
            return run, row, None
        with _named(run, row):
            data = run.table.read(run.start + row)
            # not recorded by the first versions
            if run.contents[row] and hashlib.blake2b(data, digest_size=16).hexdigest() != run.contents[row]:
                raise ImageError("it is another file now")
            with allowance.take(memory_of(data)):
                pixels = decode_examined(examine(data, least_side)).pixels
                return run, row, encode(pixels)

    tasks = ((run, row) for run in runs for row in range(len(run.read)))
    with one_thread_each(), make_executor(jobs) as executor:
        found: Iterator[tuple[_Run, int, NDArray[np.float32] | None]]
        found = run_tasks(executor, one, tasks, ahead=4 * jobs)
        for run, results in groupby(found, key=lambda result: result[0]):
            rows = np.zeros((len(run.read), width), np.float32)
            for _, row, vector in results:
                if vector is not None:
                    rows[row] = vector
                done += 1
                listener(Event(STAGE, "step", done=done, total=total))
            with replace_file(folder / _part(run)) as path, path.open("wb") as file:
                np.save(file, rows, allow_pickle=False)


@contextlib.contextmanager
def _named(run: _Run, row: int) -> Iterator[None]:
    """Say of which photograph an error is."""
    try:
        yield
    except ImageError as error:
        raise ProjectError(
            f"{run.table.path(run.start + row)} was read when the project was made, and is not any more "
            f"({error.reason}): put it back, or run 'fastvbow run' again"
        ) from None
    except UsageError as error:
        raise UsageError(f"{run.table.path(run.start + row)}: {error}") from None


def check_space_vectors(folder: Path) -> list[str]:
    """What is wrong with the vectors that a project keeps of a space, one line each; all of them are read.

    Parameters
    ----------
    folder : Path
        ``spaces/KEY`` of a project.
    """
    try:
        card = _read_card(folder)
        if card is None:
            return []  # not finished: nothing counts yet
        rows = _open(folder, card)
        if checksum(folder / card.file) != card.sha256:
            return [f"{folder / card.file}: its checksum is not the one on the card: delete {folder}"]
        return [] if np.isfinite(rows).all() else [f"{folder / card.file} holds NaN or infinity: delete {folder}"]
    except (FastvbowError, OSError) as error:
        return [str(error)]
