"""A change of several of a project's files at once: prepared beside them, made by the renaming of one folder.

``change/`` holds files and folders under the paths that they shall have in the project, and ``change.json``: ``put``,
their paths, and ``remove``, the paths of what goes. A writer MUST write the folder under a temporary name, flush and
rename it: from there on the change counts, and whoever opens the project next completes it if the writer was killed.
Cards (``stages/NAME.json``) are taken away first and put back last, so that nobody takes half of a change for
the whole.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fastvbow.errors import StoreCorruptError

__all__ = ["CHANGE", "complete_change", "describe_change", "flush"]

CHANGE = "change"


class _Plan(msgspec.Struct, frozen=True):
    """What ``change.json`` holds."""

    put: tuple[str, ...]
    remove: tuple[str, ...]


def describe_change(folder: Path, put: Sequence[str], remove: Sequence[str] = ()) -> None:
    """Write ``change.json`` into a folder that is being prepared.

    Parameters
    ----------
    folder : Path
        It holds what is put.
    put, remove : sequence of str
        Paths relative to the project; what is removed is not put.
    """
    plan = _Plan(tuple(put), tuple(remove))
    (folder / "change.json").write_bytes(msgspec.json.format(msgspec.json.encode(plan)))


def complete_change(root: Path) -> None:
    """Make the change that stands prepared in a project, if there is one. The project has to be locked.

    Every step may be done again, so that a process that is killed amid them leaves what the next one completes.

    Parameters
    ----------
    root : Path
        The project folder.

    Raises
    ------
    StoreCorruptError
        The change does not say what it is.
    """
    change = root / CHANGE
    if not change.is_dir():
        return
    try:
        plan = msgspec.json.decode((change / "change.json").read_bytes(), type=_Plan)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorruptError(f"{change / 'change.json'}: {error}: delete {change} and run again") from None
    cards = [name for name in plan.put if name.startswith("stages/")]
    for name in cards:
        if (change / name).exists():  # else it has its place already
            _remove(root / name)
    flush(root / "stages")
    for name in plan.remove:
        _remove(root / name)
    others = [name for name in plan.put if name not in cards]
    for names in (others, cards):
        for name in names:
            _put(change / name, root / name)
        for folder in {(root / name).parent for name in names}:
            flush(folder)
    done = root / f".{CHANGE}.{uuid.uuid4().hex[:12]}.tmp"
    change.rename(done)
    flush(root)
    shutil.rmtree(done)


def _put(prepared: Path, final: Path) -> None:
    if not prepared.exists():  # it has its place already
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    if prepared.is_dir():  # a file takes the place of another by itself
        _remove(final)
    prepared.replace(final)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """fsync a file or, so that its entries last, a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
