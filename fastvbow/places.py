"""Where the files of a project are, for whoever works on it: this process, or a worker on another machine.

A task that is done elsewhere carries a `Place` and the names of files inside the project, never open files. Names are
relative to the project folder, with ``/`` between their parts: ``features/shard-00012``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fastvbow.replacing import beside, replace_file

__all__ = ["Place", "SharedFolder", "new_file"]


class Place(Protocol):
    """Some hundred bytes that tell a worker how to reach a project; it can be pickled."""

    def fetch(self, name: str) -> Path:
        """A local path of a file, or of a folder with all that it holds, to read as it is now.

        Raises
        ------
        FileNotFoundError
            There is no such file or folder.
        """

    def writing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a local path at which the caller leaves a file or folder whole, by `fastvbow.replacing.replace_file` or
        `replace_folder`; at a clean exit everybody's `fetch` finds it."""

    def remove(self, name: str) -> None:
        """Take a file or folder away, if it is there."""

    def move(self, name: str, new: str) -> None:
        """Give a folder that is there another name, which none has."""

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, by the names that it has there, in their order; none where there is no folder."""


@dataclass(frozen=True)
class SharedFolder:
    """A project in a folder that all who work on it see at the same path: of this machine, or of a shared file system.

    Attributes
    ----------
    root : Path
        The project folder.
    """

    root: Path

    def fetch(self, name: str) -> Path:
        """The path inside the project folder."""
        path = self.root / name
        if not path.exists():
            raise FileNotFoundError(f"{path} is not there: do all workers see {self.root}?")
        return path

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield the path inside the project folder, whose parent is made if it is missing."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path

    def remove(self, name: str) -> None:
        """Take a file or folder away, if it is there. A folder goes as a whole: a process that is killed amid this, or
        a worker that writes there still, leaves nothing under its name."""
        path = self.root / name
        if path.is_dir():
            away = beside(path, "tmp")
            with suppress(FileNotFoundError):  # another one has just taken it away
                path.rename(away)
                shutil.rmtree(away, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    def move(self, name: str, new: str) -> None:
        """Rename a folder."""
        (self.root / name).rename(self.root / new)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, in the order of the names."""
        path = self.root / folder
        return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []


@contextmanager
def new_file(place: Place, name: str, *, lasting: bool = True) -> Iterator[Path]:
    """Yield a path to write a file of a project to; at a clean exit it is whole under its name, for everybody.

    Parameters
    ----------
    place : Place
    name : str
    lasting : bool, default=True
        See `fastvbow.replacing.replace_file`.
    """
    with place.writing(name) as final, replace_file(final, lasting=lasting) as path:
        yield path
