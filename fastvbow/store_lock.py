"""One writer at a time of a project in an object store.

Who wants to write puts an object ``.lock/HEX.json`` of his own into the project, then lists ``.lock/``, and withdraws
where another one is there: of two who come at once each sees the other, since stores list what has been put (S3 has
since 2020). A lock is put again every minute; one that is older than five minutes, by the store's own clock, is taken
for one of a process that has died, and so is one of this machine's cache, of whose one user the cache's own lock tells.
A process that was held up for longer finds its lock gone before it marks anything as complete, and stops.
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import msgspec

from fastvbow.errors import FastvbowError, ProjectError
from fastvbow.object_store import ObjectStore

__all__ = ["StoreLock"]

_FOLDER = ".lock"
_AGAIN, _DEAD = 60, 300  # seconds


class _Holder(msgspec.Struct, frozen=True):
    host: str
    process: int
    cache: str


class StoreLock:
    """A lock of a project in an object store; the working copy on this machine has to be locked already.

    Parameters
    ----------
    store : ObjectStore
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._name = f"{_FOLDER}/{uuid.uuid4().hex}.json"
        self._holder = _Holder(socket.gethostname(), os.getpid(), str(store.home))
        self._ended = threading.Event()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the lock.

        Raises
        ------
        ProjectError
            Another process holds it.
        StoreError
            The store does not answer, or refuses.
        """
        self._put()
        try:
            self._look_around()
            keeper = threading.Thread(target=self._keep, name="fastvbow-lock", daemon=True)
            keeper.start()
            try:
                yield
            finally:
                self._ended.set()
                keeper.join()
        finally:
            with suppress(FastvbowError):  # it goes stale by itself
                self._store.delete([self._name])

    def check(self) -> None:
        """Raise a ProjectError where the lock was taken away, as from one that seemed dead."""
        if not self._store.listing(self._name):
            raise ProjectError(
                f"this process was held up for so long that another one has taken {self._store.url} over: run the same "
                "command again when that has ended"
            )

    def _put(self) -> None:
        self._store.put(self._name, msgspec.json.encode(self._holder))

    def _look_around(self) -> None:
        locks = self._store.listing(_FOLDER)
        mine = locks.pop(self._name, (0, 0))[1]
        for name, (_, time) in locks.items():
            content = self._store.content(name)
            if content is None:
                continue  # it has just been given back
            try:
                holder = msgspec.json.decode(content, type=_Holder)
            except (msgspec.DecodeError, UnicodeDecodeError):
                holder = _Holder("unknown", 0, "")
            same = (holder.host, holder.cache) == (self._holder.host, self._holder.cache)
            if same or mine - time > _DEAD * 10**9:
                self._store.delete([name])
                continue
            raise ProjectError(
                f"another fastvbow process ({holder.host}, number {holder.process}) is working on {self._store.url}: "
                f"wait for it to end; if it has died, its lock counts for {_DEAD // 60} minutes"
            )

    def _keep(self) -> None:
        while not self._ended.wait(_AGAIN):
            with suppress(FastvbowError):  # the next time, or `check` tells
                if self._store.listing(self._name):  # else another one took it for dead: it stays away
                    self._put()
