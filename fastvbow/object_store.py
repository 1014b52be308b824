"""A project in an object store, as `fastvbow.places.Place`: files are brought into a cache (see `fastvbow.store_cache`)
when somebody asks for them, and sent when they are whole.

An object is replaced as a whole by the store itself. Of a folder that is sent the file that marks it complete
(``card.json``, ``manifest.json``) goes last, after one that marked another content was taken away.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import StoreError
from fastvbow.replacing import replace_file
from fastvbow.store_cache import Copies, files_below, home_of, is_hidden
from fastvbow.stores import open_store, told, version_of

__all__ = ["ObjectStore"]

_AT_ONCE = 16  # requests under way
_CHUNK = 8 << 20
_MARKS = ("card.json", "manifest.json")


@dataclass(frozen=True)
class ObjectStore:
    """A project behind a URL, as its tasks see it; what is pickled is the URL.

    Attributes
    ----------
    url : str
        As `fastvbow.stores.url_of` gives it.
    """

    url: str

    @property
    def home(self) -> Path:
        """The folder of this URL in the cache of the process that asks."""
        return home_of(self.url)

    @property
    def copies(self) -> Copies:
        """What is known of the files there."""
        return Copies(self.home)

    @property
    def root(self) -> Path:
        """The copies of the store's files."""
        return self.home / "files"

    def fetch(self, name: str) -> Path:
        """A local copy of a file, or of a folder with all that it holds, as the store has it now.

        Raises
        ------
        FileNotFoundError
            There is no such file or folder.
        StoreError
            The store does not answer, or refuses.
        """
        listed = self.listing(name)
        if name in listed:
            self._bring(name, listed[name])
            return self.root / name
        if not listed:
            raise FileNotFoundError(f"{self.url} holds no {name}")
        self.bring(listed)
        for path in files_below(self.root / name):
            known = path.relative_to(self.root).as_posix()
            if known not in listed and not is_hidden(known):  # of a former content
                self.copies.forget(known)
        return self.root / name

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Yield a path at which nothing is; what stands there at a clean exit is sent, and takes the place of what the
        store has.

        Raises
        ------
        StoreError
            The store does not answer, or refuses; what it holds then counts for nothing, or is what it held.
        """
        work = self.home / "work" / uuid.uuid4().hex
        final = work / name.rpartition("/")[2]
        work.mkdir(parents=True)
        try:
            yield final
            if not final.exists():
                raise FileNotFoundError(f"{name} was to be written, and nothing was")
            if final.is_dir():
                self._send_folder(name, final)
            else:
                self.send([(final, name)])
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def remove(self, name: str) -> None:
        """Take a file or folder away, if it is there.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        self.delete([*self.listing(name)])
        self.copies.forget(name)

    def move(self, name: str, new: str) -> None:
        """Give a folder another name. The store copies what it holds; what marks it complete comes last.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        system, base = open_store(self.url)

        def copy(old: str) -> None:
            with told(self.url):
                system.copy_file(f"{base}/{old}", f"{base}/{new}{old.removeprefix(name)}")

        names = [*self.listing(name)]
        _at_once(copy, [old for old in names if not old.endswith(_MARKS)])
        _at_once(copy, [old for old in names if old.endswith(_MARKS)])
        self.remove(name)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder, in the order of the names.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        return sorted({name.removeprefix(f"{folder}/").partition("/")[0] for name in self.listing(folder)})

    def listing(self, name: str = "") -> dict[str, tuple[int, int]]:
        """Bytes and time (nanoseconds) of a file, or of all files in a folder, by their names.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        from pyarrow import fs  # heavy

        system, base = open_store(self.url)
        path = f"{base}/{name}" if name else base
        with told(self.url):
            try:
                itself = system.get_file_info(path) if name else None
                if itself is not None and itself.type == fs.FileType.File:
                    found = [itself]
                elif itself is not None and itself.type == fs.FileType.NotFound:
                    found = []
                else:
                    found = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
            except FileNotFoundError:
                found = []
        return {
            info.path[len(base) + 1 :]: (int(info.size), int(info.mtime_ns or 0))
            for info in found
            if info.type == fs.FileType.File
        }

    def bring(self, listed: dict[str, tuple[int, int]]) -> None:
        """Have copies of files, given as `listing` gives them.

        Raises
        ------
        FileNotFoundError
            One has gone meanwhile.
        StoreError
            The store does not answer, or refuses.
        """
        _at_once(lambda pair: self._bring(*pair), listed.items())

    def send(self, pairs: Sequence[tuple[Path, str]], extras: Iterable[str] = ()) -> None:
        """Send files, then take others away: marks of completeness first where they go or change, and last where they
        come.

        Parameters
        ----------
        pairs : sequence of (Path, str)
            A file, and its name in the store. One outside of `root` is moved there.
        extras : iterable of str
            Names that the store shall no longer hold.

        Raises
        ------
        StoreError
            The store does not answer, or refuses.
        """
        marks = [pair for pair in pairs if pair[1].endswith(_MARKS)]
        others = [pair for pair in pairs if not pair[1].endswith(_MARKS)]
        if others:
            there = {name for _, name in marks if self._version(name) is not None}
            self.delete_there(sorted(there))
        _at_once(lambda pair: self._send(*pair), others)
        self.delete(extras)
        _at_once(lambda pair: self._send(*pair), marks)

    def delete(self, names: Iterable[str]) -> None:
        """Take files away, there and here."""
        names = list(names)
        self.delete_there(names)
        for name in names:
            self.copies.forget(name)

    def _bring(self, name: str, stated: tuple[int, int]) -> None:
        """Have a copy of a file."""
        check_cancelled()
        copies, path = self.copies, self.root / name
        if copies.is_settled(name, stated):
            return
        if (copied := copies.version(name)) is not None and copied == self._version(name):
            copies.note(name, copied, stated, copies.state(name))
            return
        system, base = open_store(self.url)
        for _ in range(3):
            before = self._version(name)
            if before is None:
                raise FileNotFoundError(f"{self.url} holds no {name}")
            if path.is_dir():
                shutil.rmtree(path)
            with replace_file(path) as beside:
                with told(self.url), system.open_input_stream(f"{base}/{name}", compression=None) as source:
                    _copy(source.read, beside)
                whole = self._version(name) == before
            if whole:
                copies.note(name, before, stated, copies.state(name))
                return
        raise StoreError(f"{name} of {self.url} changes while it is read: does another process work on the project?")

    def _send_folder(self, name: str, folder: Path) -> None:
        """Replace a folder of the store, unless it is there: a task may be done again while others read its result."""
        files = [path for path in files_below(folder) if not _is_temporary(path.name)]
        names = [f"{name}/{path.relative_to(folder).as_posix()}" for path in files]
        stands = any(
            path.name in _MARKS and self.content(other) == path.read_bytes()
            for path, other in zip(files, names, strict=True)
        )
        if stands and self.listing(name).keys() == set(names):
            return
        pairs = list(zip(files, names, strict=True))
        self.send(pairs, [other for other in self.listing(name) if other not in names])

    def content(self, name: str) -> bytes | None:
        """The bytes of a small object; None: there is none."""
        system, base = open_store(self.url)
        try:
            with told(self.url), system.open_input_stream(f"{base}/{name}", compression=None) as file:
                found: bytes = file.read()
                return found
        except FileNotFoundError:
            return None

    def put(self, name: str, content: bytes) -> None:
        """Write a small object, of which no copy is kept here."""
        system, base = open_store(self.url)
        with told(self.url), system.open_output_stream(f"{base}/{name}", compression=None) as target:
            target.write(content)

    def _send(self, path: Path, name: str) -> None:
        check_cancelled()
        system, base = open_store(self.url)
        copies, status = self.copies, path.stat()
        before = status.st_size, status.st_mtime_ns, status.st_ino
        with told(self.url), path.open("rb") as source:
            if hasattr(system, "handler"):  # which may want folders
                system.create_dir(f"{base}/{name}".rpartition("/")[0], recursive=True)
            with system.open_output_stream(f"{base}/{name}", compression=None) as target:
                while chunk := source.read(_CHUNK):
                    check_cancelled()
                    target.write(chunk)
        version = self._version(name)
        if path != self.root / name:
            copies.place(path, name)
        if version is not None and before == copies.state(name):
            copies.note(name, version, None, before)

    def _version(self, name: str) -> str | None:
        system, base = open_store(self.url)
        try:
            with told(self.url):
                return version_of(system, f"{base}/{name}")
        except FileNotFoundError:
            return None

    def delete_there(self, names: Iterable[str]) -> None:
        """Take objects away, marks of completeness first; copies stay."""
        system, base = open_store(self.url)

        def delete(name: str) -> None:
            with told(self.url), suppress(FileNotFoundError):
                system.delete_file(f"{base}/{name}")

        names = list(names)
        marks = [name for name in names if name.endswith(_MARKS)]
        _at_once(delete, marks)
        _at_once(delete, [name for name in names if not name.endswith(_MARKS)])


def _at_once(function: Callable[[Any], object], items: Iterable[Any]) -> None:
    """Call a function that waits for a network with each of some items."""
    items = list(items)
    if len(items) < 2:
        for item in items:
            function(item)
        return
    with ThreadPoolExecutor(min(_AT_ONCE, len(items)), "fastvbow-store") as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                check_cancelled()
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _copy(read: Callable[[int], bytes], target: Path) -> None:
    with target.open("wb") as file:
        while chunk := read(_CHUNK):
            check_cancelled()
            file.write(chunk)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith((".tmp", ".old"))
