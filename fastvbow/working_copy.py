"""The driver's working copy of a project in an object store: stages work in it as in any project folder.

It is the ``files/`` of the URL's cache (see `fastvbow.store_cache`). Opening a project brings down what is small beside
the photographs' features: all but ``features/`` (of which the cards of the shards are brought), ``tokens/``,
``topics/z/`` and ``report/``, which are fetched by those who ask for them. What was not published goes: what is not in
the store does not exist.

What a stage changes is published when its card is taken away and when it is put in place, and when the lock is given
back: first the cards that are no longer true go from the store, then outputs are sent and what they replaced goes, and
cards come last. So a writer that is killed leaves a store in which every card is true. Folders that were replaced by
others are sent whole, and what they lack goes, but for objects that workers have written meanwhile.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastvbow.errors import ProjectError
from fastvbow.store_cache import files_below, is_hidden
from fastvbow.stores import url_of

if TYPE_CHECKING:
    from fastvbow.object_store import ObjectStore
    from fastvbow.store_lock import StoreLock

__all__ = ["WorkingCopy", "at_hand"]

_LATER = ("features/", "report/", "tokens/", "topics/z/")


def at_hand(given: Path | str) -> Path:
    """The folder in which a project can be worked on: itself, or the working copy of a URL, brought up to date unless
    somebody is at work in it.

    Parameters
    ----------
    given : Path or str
        A folder, a working copy, or a URL.

    Raises
    ------
    ProjectError
        Something else lies behind the URL, or the cache cannot be written.
    StoreError
        The store does not answer, or refuses.
    """
    url = url_of(given)
    if url is not None:
        store = _opened(url)
        store.root.mkdir(parents=True, exist_ok=True)
        (store.home / "url").write_text(url, encoding="utf-8", errors="surrogateescape")
        given = store.root
    root = Path(given)
    copy = WorkingCopy.at(root)
    if copy is not None:
        with (root / ".lock").open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return root  # its holder knows best
            copy.refresh()
    return root


def _opened(url: str) -> ObjectStore:
    from fastvbow.object_store import ObjectStore  # every command opens a project, and few lie in a store

    return ObjectStore(url)


def _is_brought(name: str) -> bool:
    """Whether a file is part of every working copy."""
    if is_hidden(name):
        return False
    return not name.startswith(_LATER) or (name.startswith("features/") and name.endswith("/card.json"))


def _unit(name: str) -> str:
    """The file or folder that is replaced as one."""
    return "/".join(name.split("/")[: 2 if name.startswith("features/") else 1])


def _is_card(name: str) -> bool:
    return name.startswith("stages/") and name.endswith(".json")


class WorkingCopy:
    """A project's files here, beside those in the store. `at` opens it.

    Parameters
    ----------
    store : ObjectStore
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.root = store, store.root
        self._lock: StoreLock | None = None
        self._stood: dict[str, tuple[int, int]] = {}  # what the store held when the lock was taken
        self._states: dict[str, tuple[int, int, int] | None] = {}  # of the files here that are published, or older

    @classmethod
    def at(cls, root: Path) -> WorkingCopy | None:
        """The one whose folder this is; None: it is a folder like any other."""
        place = root.absolute().parent / "url"
        if root.name != "files" or not place.is_file():
            return None
        store = _opened(place.read_text(encoding="utf-8", errors="surrogateescape"))
        return cls(store) if store.root.resolve() == root.resolve() else None

    def refresh(self) -> None:
        """Make the files here what the store holds.

        Raises
        ------
        ProjectError
            There is something else than a project.
        StoreError
            The store does not answer, or refuses.
        """
        listed = {name: stated for name, stated in self.store.listing().items() if not is_hidden(name)}
        if listed and "project.json" not in listed:
            raise ProjectError(
                f"{self.store.url} is not empty and no fastvbow project (it has no project.json): name another place"
            )
        self.store.bring({name: stated for name, stated in listed.items() if _is_brought(name)})
        units = {_unit(name) for name in listed}
        for name in self._names():
            if _unit(name) not in units or (_is_brought(name) and name not in listed):
                self.store.copies.forget(name)
        for folder in sorted((p for p in self.root.rglob("*") if p.is_dir()), reverse=True):
            if not is_hidden(folder.relative_to(self.root).as_posix()) and not any(folder.iterdir()):
                folder.rmdir()
        self._stood = listed
        self._states = {name: self.store.copies.state(name) for name in self._names()}

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the store's lock; the working copy has to be locked, and is refreshed first.

        Raises
        ------
        ProjectError
            Another process holds it.
        StoreError
            The store does not answer, or refuses.
        """
        from fastvbow.store_lock import StoreLock

        self._lock = StoreLock(self.store)
        with self._lock.hold():
            self.refresh()
            yield

    def publish(self) -> None:
        """Send what has changed here since the lock was taken, or this was called last.

        Raises
        ------
        ProjectError
            Another process has taken the project over.
        StoreError
            The store does not answer, or refuses.
        """
        states = {name: self.store.copies.state(name) for name in self._names()}
        moved = [name for name, state in states.items() if self._states.get(name) != state]
        changed = [name for name in moved if self.store.copies.version(name) is None]
        # What `ObjectStore.remove` took away is not known any more: it is gone there, too, or has been written anew.
        gone = [name for name in self._states if name not in states and self.store.copies.was_known(name)]
        if changed or gone:
            if self._lock is not None:
                self._lock.check()
            self.store.delete_there(name for name in (*changed, *gone) if _is_card(name))
            extras = set[str]()
            for unit in {_unit(name) for name in (*changed, *gone) if not _is_card(name)} - {"stages"}:
                there = self.store.listing(unit)
                extras |= {name for name in there if name not in states and self._stood.get(name) == there[name]}
            extras |= {name for name in gone if name.startswith("stages/")}
            data = [(self.root / name, name) for name in changed if not _is_card(name)]
            self.store.send(data, sorted(extras))
            self.store.send([(self.root / name, name) for name in changed if _is_card(name)])
        self._states = states

    def _names(self) -> list[str]:
        found = [path.relative_to(self.root).as_posix() for path in files_below(self.root)]
        return [name for name in found if not is_hidden(name)]
