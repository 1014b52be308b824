"""Files and folders that are whole or absent: written beside their final names, flushed, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from fastvbow.changes import flush

__all__ = ["beside", "replace_file", "replace_folder", "scratch_file"]

_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})


def beside(final: Path, kind: str) -> Path:
    """A temporary name in the same folder, ``.NAME.HEX.KIND``: ``tmp`` is unfinished, ``old`` was `final` until now."""
    return final.parent / f".{final.name}.{uuid.uuid4().hex[:12]}.{kind}"


@contextlib.contextmanager
def replace_folder(final: Path, *, unless: Callable[[], bool] = lambda: False) -> Iterator[Path]:
    """Yield an empty folder beside `final`; at a clean exit it is flushed to disk and takes `final`'s place.

    After an exception the temporary folder is removed and `final` stays as it was. A folder cannot replace another in
    one step: a kill between the two renames leaves the old one under a temporary name, and `ProjectFolder.lock` puts it
    back.

    Parameters
    ----------
    final : Path
    unless : callable, optional
        Asked at the end whether what stands at `final` by then is as good, as where two workers did the same task:
        what is new is thrown away, and no reader finds the folder missing for a moment.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(final, "tmp")
    temporary.mkdir()
    try:
        yield temporary
        for folder, _, names in os.walk(temporary):
            for name in names:
                if not Path(folder, name).is_symlink():  # what a link leads to is not ours
                    flush(Path(folder, name))
            flush(Path(folder))
        while not unless():
            if _take_place(temporary, final):
                flush(final.parent)
                return
        shutil.rmtree(temporary)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _take_place(temporary: Path, final: Path) -> bool:
    """Rename a folder to `final` and throw away what stood there; False where another one came there meanwhile."""
    old = beside(final, "old")
    try:
        final.rename(old)
        had_one = True
    except FileNotFoundError:
        had_one = False
    try:
        temporary.rename(final)
    except BaseException as error:
        taken = isinstance(error, OSError) and error.errno in _TAKEN
        if had_one and not taken:
            old.rename(final)
        elif had_one:
            shutil.rmtree(old)
        if not taken:
            raise
        return False
    if had_one:
        shutil.rmtree(old)
    return True


@contextlib.contextmanager
def replace_file(final: Path, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a path beside `final` to write to; at a clean exit the file is flushed to disk and takes `final`'s place.

    Parameters
    ----------
    final : Path
    lasting : bool, default=True
        False for a file that need not outlive the machine's going down: it is not flushed, and as whole for all others.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = beside(final, "tmp")
    try:
        yield temporary
        if lasting:
            flush(temporary)
        temporary.replace(final)
        if lasting:
            flush(final.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def scratch_file(folder: Path, name: str) -> Iterator[Path]:
    """Yield a path in a folder of a project for a file that is removed at the exit; what a kill leaves of it the next
    writer clears away."""
    path = beside(folder / name, "tmp")
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
