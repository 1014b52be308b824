"""Whose call it is that workers work for: what tells a task that its call has ended.

A call that is interrupted cannot stop tasks that run on other machines, and a worker that was cut off comes back at any
time. While a call is at work on a folder of a project, the folder holds ``.making``: one line, what is made (a
fingerprint), a space, and a name of the call that no other has. A task MUST look at it before it puts a shard in
place, and throw the shard away where the line is no longer the one that it was given. A call that ends early MUST take
its name out of the line, one that is finished MUST remove the file.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fastvbow.errors import Cancelled, StoreError
from fastvbow.places import Place, new_file

__all__ = ["Mark", "marked", "marked_for"]

_EVERY = 2.0  # seconds between two looks


@dataclass(frozen=True)
class Mark:
    """What a call has written, as its tasks carry it.

    Attributes
    ----------
    name : str
        Of the file, inside the project.
    line : str
    """

    name: str
    line: str

    def holds(self, place: Place) -> bool:
        """Whether the call is still at work."""
        try:
            return place.fetch(self.name).read_text(encoding="ascii") == self.line
        except FileNotFoundError:
            return False

    def check(self, place: Place) -> None:
        """Raise `Cancelled` where the call has ended."""
        if not self.holds(place):
            raise Cancelled("the call that this task belongs to has ended")

    def watch(self, place: Place) -> _Watch:
        """What asks `holds`, at most every two seconds, however often it is called."""
        return _Watch(self, place)


class _Watch:
    def __init__(self, mark: Mark, place: Place) -> None:
        self._mark, self._place = mark, place
        self._looked, self._over = time.monotonic(), False

    def __call__(self) -> bool:
        """Whether the call has ended."""
        if not self._over and time.monotonic() - self._looked > _EVERY:
            self._over = not self._mark.holds(self._place)
            self._looked = time.monotonic()
        return self._over


def marked_for(place: Place, folder: str) -> str:
    """What an earlier call that has not finished was making in a folder of a project; empty where none is known.

    Parameters
    ----------
    place : Place
    folder : str
        Its name in the project.
    """
    try:
        return place.fetch(f"{folder}/.making").read_text(encoding="ascii").partition(" ")[0]
    except (FileNotFoundError, UnicodeDecodeError):
        return ""


@contextmanager
def marked(place: Place, folder: str, made: str) -> Iterator[Mark]:
    """Mark a folder of a project for as long as the ``with`` statement runs.

    Parameters
    ----------
    place : Place
    folder : str
        Its name in the project.
    made : str
        What is made there; what `marked_for` tells the next call if this one does not finish.
    """
    mark = Mark(f"{folder}/.making", f"{made} {uuid.uuid4().hex}")
    _write(place, mark.name, mark.line)
    try:
        yield mark
    except BaseException:
        with suppress(OSError, StoreError):  # what has gone wrong matters more
            _write(place, mark.name, f"{made} ")
        raise
    place.remove(mark.name)


def _write(place: Place, name: str, line: str) -> None:
    with new_file(place, name) as path:
        path.write_text(line, encoding="ascii")
