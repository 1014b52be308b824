"""Copies of a store's files on this machine, and which object each is a copy of.

The cache of a URL is a folder below ``$FASTVBOW_CACHE``, or else the user's cache (``$XDG_CACHE_HOME/fastvbow``,
``~/.cache/fastvbow``); processes of a machine may share it, and whoever wants the disk may remove it while nobody works
there. In it:

- ``url``: the URL, in UTF-8;
- ``files/``: a part of what the store holds, under the names that it has there;
- ``known/NAME.json``: which object ``files/NAME`` is a copy of: its ``version`` (ETag or generation) and the file's
  ``size``, ``mtime_ns`` and ``inode``. A file that has no such entry, or another size, time or inode than it says, MUST
  be taken for one that the store does not know. The object's version MUST be asked for before the copy is used, but
  where the object was 900 seconds old when it was copied (``settled``) and the store's listing has the same ``stated``
  size and time still: clocks that differ by more could not have signed a request;
- ``work/``: what is being made.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import msgspec

from fastvbow.errors import ProjectError
from fastvbow.replacing import replace_file

__all__ = ["Copies", "cache_folder", "files_below", "home_of", "is_hidden"]

_SETTLED = 900  # seconds


class _Known(msgspec.Struct, frozen=True):
    """What is known of a file of the cache."""

    version: str
    size: int
    mtime_ns: int
    inode: int
    stated: tuple[int, int] | None = None
    settled: bool = False


def cache_folder() -> Path:
    """Where this process keeps copies of what lies in object stores.

    Raises
    ------
    ProjectError
        The folder cannot be made.
    """
    given = os.environ.get("FASTVBOW_CACHE")
    if given:
        found = Path(given)
    else:
        cache = os.environ.get("XDG_CACHE_HOME")
        try:
            found = (Path(cache) if cache else Path.home() / ".cache") / "fastvbow"
        except RuntimeError:  # nobody's home, as in some containers
            found = Path(tempfile.gettempdir()) / f"fastvbow-{os.getuid()}"
    try:
        found.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProjectError(
            f"cannot write the cache {found}: {error.strerror}: name another folder in FASTVBOW_CACHE"
        ) from None
    return found.absolute()


def home_of(url: str) -> Path:
    """The folder of a URL in the cache."""
    last = re.sub(r"[^A-Za-z0-9]+", "-", url.partition("?")[0].rpartition("/")[2])[:40]
    return cache_folder() / f"{last}-{sha256(url.encode()).hexdigest()[:16]}"


def is_hidden(name: str) -> bool:
    """Whether a step of a name begins with a dot: such files are temporary, or marks of those who work."""
    return name.startswith(".") or "/." in name


def files_below(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


class Copies:
    """What is known of the files of a cache.

    Parameters
    ----------
    home : Path
        The cache of one URL.
    """

    def __init__(self, home: Path) -> None:
        self.home, self.root = home, home / "files"

    def version(self, name: str) -> str | None:
        """Which object the file is a copy of; None: it is not known to be one."""
        known = self._known(name)
        return known.version if known is not None and self._fits(name, known) else None

    def is_settled(self, name: str, stated: tuple[int, int]) -> bool:
        """Whether the file is a copy of the object of which the listing says this, without asking for its version."""
        known = self._known(name)
        return known is not None and known.settled and known.stated == stated and self._fits(name, known)

    def was_known(self, name: str) -> bool:
        """Whether the file was a copy of an object when it was last looked at, though it may have gone since."""
        return self._known(name) is not None

    def state(self, name: str) -> tuple[int, int, int] | None:
        """Size, time and inode of a file; None: there is none."""
        try:
            status = (self.root / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return status.st_size, status.st_mtime_ns, status.st_ino

    def note(self, name: str, version: str, stated: tuple[int, int] | None, state: tuple[int, int, int] | None) -> None:
        """Remember which object a file in this state is a copy of."""
        if state is None:
            return
        path = self.home / "known" / f"{name}.json"
        settled = stated is not None and time.time() - stated[1] / 1e9 > _SETTLED
        with replace_file(path, lasting=False) as temporary:
            temporary.write_bytes(msgspec.json.encode(_Known(version, *state, stated, settled)))

    def place(self, path: Path, name: str) -> None:
        """Move a file to where a file, a folder or nothing is."""
        final = self.root / name
        if final.is_dir():
            shutil.rmtree(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        path.replace(final)

    def forget(self, name: str) -> None:
        """Remove a file or folder, and what is known of it."""
        for path in (self.home / "known" / f"{name}.json", self.root / name):
            with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                path.unlink()
        for path in (self.home / "known" / name, self.root / name):
            shutil.rmtree(path, ignore_errors=True)

    def _fits(self, name: str, known: _Known) -> bool:
        return self.state(name) == (known.size, known.mtime_ns, known.inode)

    def _known(self, name: str) -> _Known | None:
        try:
            return msgspec.json.decode((self.home / "known" / f"{name}.json").read_bytes(), type=_Known)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
