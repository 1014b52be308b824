"""The project folder on disk, and the rule by which a stage is done, stale or missing.

Format ``fastvbow-project``, version 1
--------------------------------------
- ``project.json`` MUST hold ``format``, ``version`` (an integer), ``created_by`` and ``source`` (the image folder's
  absolute path as a ``file://`` URI, which holds any bytes that a path may have, or the URL of a bucket as
  `fastvbow.stores` reads it); it MAY hold ``source_is_file`` (true
  where the source is one image file). A reader MUST refuse a greater version than its own and MUST open every smaller
  one.
- ``stages/NAME.json`` is the card of a finished stage: its parameters, the fingerprints of the stages that fed it, what
  it counted and how long it took. What a stage wrote counts only while its card stands: the card is removed before the
  output is touched and is written after the output is in place. Meanwhile ``stages/NAME.former`` is the card that was
  removed. It says what was asked for until then, no output counts for it, and it MAY be missing or unreadable.
- A stage's output is a folder or file of its own (``images.parquet``, ``features/``, ``vocabulary/``, ``tokens/``,
  ``topics/``, ``clusters/``, ``groups.parquet``, ``skipped.parquet``, ``report/``). It MUST be written beside its final
  name, flushed and renamed, so a reader sees all of it or nothing; of ``features/`` and ``tokens/``, each shard of it.
  Photographs are grouped by topics or by clusters:
  the card of ``groups`` has which of the two fed it.
- What a person says of a project is no stage's output, and MUST NOT be removed when a stage is done again: ``names/``
  (see `fastvbow.groups.names`; what `fastvbow.groups.suggestions` keeps there MAY be removed), ``labels.parquet`` (see
  `fastvbow.images.stored_labels`), and ``added.parquet``, the images that were added from elsewhere than ``source`` or
  later, an image table in the order in which they came.
- ``adding/`` is a project in which further images wait until all is known of them; a writer MAY remove it. ``change/``
  is a change of several files at once, which whoever opens the project MUST complete (see `fastvbow.changes`).
- ``learning/`` is what words under way are learned from (`fastvbow.pipeline.learning_words`), ``training/`` a stage
  ``topics`` under way on an executor (`fastvbow.pipeline.topic_shards`); a writer MAY remove both.
- ``drift.safetensors`` (see `fastvbow.pipeline.drift`) and ``spaces/`` (see `fastvbow.pipeline.space_vectors`) are
  caches: they MAY be missing, of other words or images, or removed.
- A project MUST NOT depend on another one: what a stage takes over from there it copies. The parameters on its card
  MUST then hold ``origin``, the fingerprint of the files; what it counted MAY tell the place, as ``taken from``.
- ``.making`` in ``features/`` and ``tokens/`` tells workers whose call it is that they work for (see
  `fastvbow.marks`); where no stage is under way it MAY be removed.
- Other names that begin with a dot are temporary: ``.NAME.HEX.tmp`` is unfinished, ``.NAME.HEX.old`` was NAME until its
  successor came. A writer that holds the lock (``.lock``) MUST put the latter back where NAME is missing, and MAY
  remove all others.

A stage's fingerprint is the SHA-256 of its name, its revision (raised when the code computes something else), its
parameters and its inputs' fingerprints. The number of jobs is no part of it: it does not change what is computed. Nor
is the device, on which a CNN's activations may differ in their last bits.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from fastvbow.changes import CHANGE, complete_change, flush
from fastvbow.errors import ProjectError, StageMissingError, StoreCorruptError
from fastvbow.places import Place, SharedFolder
from fastvbow.replacing import beside, replace_file, replace_folder, scratch_file
from fastvbow.stores import url_of
from fastvbow.working_copy import WorkingCopy, at_hand

__all__ = [
    "FORMAT",
    "STAGES",
    "VERSION",
    "ProjectFolder",
    "StageCard",
    "fingerprint_of",
    "replace_file",
    "replace_folder",
    "scratch_file",
]

FORMAT = "fastvbow-project"
VERSION = 1
STAGES = {"extract": 1, "vocabulary": 5, "encode": 2, "topics": 3, "cluster": 1, "groups": 2, "report": 5}
"""The stages in their order, and the revision of each: raise it when a change of code changes what it computes."""

_here = threading.local()  # .held: the projects that this thread holds


class Manifest(msgspec.Struct, frozen=True):
    """What ``project.json`` holds."""

    format: str
    version: int
    created_by: str
    source: str
    source_is_file: bool = False


class StageCard(msgspec.Struct, frozen=True):
    """What ``stages/NAME.json`` holds of a finished stage."""

    stage: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    outputs: dict[str, Any]
    seconds: float
    revision: int = 1
    content: str = ""

    @property
    def fingerprint(self) -> str:
        """The name of this stage's result: equal where code, parameters and inputs are equal, and the content of a
        stage that does not depend on them alone (a photograph may be readable at one time only)."""
        known = [self.stage, self.revision, self.parameters, self.inputs]
        return fingerprint_of([*known, self.content] if self.content else known)

    @property
    def summary(self) -> str:
        """What it counted, in one line."""
        return ", ".join(f"{k} {v}" for k, v in self.outputs.items() if isinstance(v, int | float | str))


def fingerprint_of(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()


class ProjectFolder:
    """The paths and stage cards of one project.

    Parameters
    ----------
    root : Path
        The project folder.
    manifest : Manifest
        What its ``project.json`` says.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self.images = root / "images.parquet"
        self.features = root / "features"
        self.vocabulary = root / "vocabulary"
        self.tokens = root / "tokens"
        self.topics = root / "topics"
        self.clusters = root / "clusters"
        self.groups = root / "groups.parquet"
        self.skipped = root / "skipped.parquet"
        self.report = root / "report"
        self.names = root / "names"
        self.labels = root / "labels.parquet"
        self.added = root / "added.parquet"
        self.adding = root / "adding"
        self.change = root / CHANGE
        self._copy = WorkingCopy.at(root)

    @property
    def place(self) -> Place:
        """Where tasks find the project, on whatever machine they are done."""
        return SharedFolder(self.root.absolute()) if self._copy is None else self._copy.store

    @property
    def shown(self) -> Path | str:
        """What a person calls the project: its folder, or its URL."""
        return self.root if self._copy is None else self._copy.store.url

    def bring_all(self) -> None:
        """Have every file of the project here, where it lies in a store: for work that looks at all of them."""
        if self._copy is not None:
            for name in ("features", "tokens", "topics"):
                with contextlib.suppress(FileNotFoundError):
                    self._copy.store.fetch(name)

    def holds(self, path: Path) -> bool:
        """Whether a file or folder of the project is there, here or in its store."""
        if path.exists() or self._copy is None:
            return path.exists()
        return bool(self._copy.store.listing(path.relative_to(self.root).as_posix()))

    @property
    def source(self) -> Path | str:
        """The image folder that the project was made from; a str is the URL of a bucket."""
        if not self.manifest.source.startswith("file://"):
            return self.manifest.source
        return Path(os.fsdecode(unquote_to_bytes(self.manifest.source.removeprefix("file://"))))

    @property
    def image_root(self) -> Path | str:
        """The folder that the images' paths are relative to; a str is the URL of a bucket."""
        return Path(self.source).parent if self.manifest.source_is_file else self.source

    @classmethod
    def open(cls, root: Path | str) -> ProjectFolder:
        """Open an existing project, in a folder or behind a URL (see `fastvbow.working_copy`).

        Raises
        ------
        ProjectError
            `root` is not a project, or one that a newer fastvbow made.
        StoreError
            The store of a URL does not answer, or refuses.
        """
        shown, root = url_of(root) or root, at_hand(root)
        path = root / "project.json"
        try:
            head = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        except FileNotFoundError:
            raise ProjectError(
                f"{shown} is not a fastvbow project (no project.json): make one with 'fastvbow run SOURCE -o {shown}'"
            ) from None
        except OSError as error:
            raise ProjectError(f"cannot read {path}: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreCorruptError(
                f"{path} is not valid JSON ({error}): delete the project folder and run again"
            ) from None
        if head.get("format") != FORMAT or not isinstance(head.get("version"), int):
            raise ProjectError(f"{path} does not describe a fastvbow project (format {head.get('format')!r})")
        if head["version"] > VERSION:
            raise ProjectError(
                f"{root} has project format {head['version']}, made by fastvbow {head.get('created_by')}; "
                f"this one reads up to format {VERSION}: upgrade fastvbow"
            )
        try:
            found = cls(root, msgspec.convert(head, Manifest))
        except msgspec.ValidationError as error:
            raise StoreCorruptError(f"{path}: {error}: delete the project folder and run again") from None
        if found.change.is_dir():  # its writer is at it, or was killed
            with found.lock():
                pass
        return found

    @classmethod
    def create(cls, root: Path | str, source: Path | str, created_by: str) -> ProjectFolder:
        """Open the project at `root`, or make one there for the images of `source`.

        Raises
        ------
        ProjectError
            `root` cannot be written, holds something else, belongs to another source, or lies inside `source`.
        StoreError
            The store of a URL does not answer, or refuses.
        """
        root, url = at_hand(root).absolute(), url_of(source)
        if url is None:
            folder = Path(source).resolve()
            whole: Path | str = folder
            manifest = Manifest(FORMAT, VERSION, created_by, folder.as_uri(), folder.is_file())
            if root.resolve().is_relative_to(folder) and folder.is_dir():
                raise ProjectError(
                    f"the project {root} lies inside the image folder {folder}, which is never written to: choose "
                    "another -o"
                )
        else:
            whole, manifest = url, Manifest(FORMAT, VERSION, created_by, url, False)
            copy = WorkingCopy.at(root)
            if copy is not None and f"{copy.store.url}/".startswith(f"{url}/"):
                raise ProjectError(f"the project {copy.store.url} lies inside the images of {url}: choose another -o")
        try:
            if not (root / "project.json").exists():
                root.mkdir(parents=True, exist_ok=True)
                if any(not entry.name.startswith(".") for entry in root.iterdir()):
                    raise ProjectError(f"{root} is not empty and not a fastvbow project: choose another -o")
                with cls(root, manifest).lock():
                    if not (root / "project.json").exists():  # else another process has just made it
                        with replace_file(root / "project.json") as path:
                            path.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)))
            project = cls.open(root)
            if project.source != whole:
                raise ProjectError(f"{root} is the project of {project.source}, not of {whole}: choose another -o")
            return project
        except OSError as error:
            raise ProjectError(f"cannot write the project folder {root}: {error.strerror}: choose another -o") from None

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the project for writing, and clear away what an interrupted writer left. A thread may hold it
        repeatedly.

        Raises
        ------
        ProjectError
            Another process or thread holds it, or the folder cannot be written.
        """
        held: dict[Path, WorkingCopy | None] = _here.__dict__.setdefault("held", {})
        root = self.root.resolve()
        if root in held:
            yield
            return
        try:
            handle = (self.root / ".lock").open("a")
        except OSError as error:
            raise ProjectError(f"cannot write the project folder {self.root}: {error.strerror}") from None
        with handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ProjectError(f"another fastvbow process is working on {self.shown}: wait for it to end") from None
            with contextlib.nullcontext() if self._copy is None else self._copy.held():
                self._clear_away()
                complete_change(self.root)
                held[root] = self._copy
                try:
                    yield
                    self._clear_away()  # what workers have left that were killed meanwhile
                    self._publish()
                finally:
                    del held[root]

    def _publish(self) -> None:
        """Send what has changed to the store of a project that has one, while this thread holds the lock."""
        copy = _here.__dict__.get("held", {}).get(self.root.resolve())
        if copy is not None:
            copy.publish()

    def _clear_away(self) -> None:
        for folder in (self.root, self.features, self.tokens, self.names, self.root / "stages"):
            for entry in folder.glob(".*.*.*"):
                final = folder / entry.name[1:].rsplit(".", 2)[0]
                if entry.suffix == ".old" and not final.exists():
                    entry.rename(final)
                elif entry.suffix in {".tmp", ".old"}:
                    # Renamed first: a worker of an ended call that still writes to it cannot put half of it in place.
                    away = beside(final, "old")
                    with contextlib.suppress(FileNotFoundError):  # its writer has just put it in place
                        entry.rename(away)
                        shutil.rmtree(away, ignore_errors=True) if away.is_dir() else away.unlink()

    def card(self, stage: str) -> StageCard | None:
        """The card of a finished stage, or None."""
        path = self.root / "stages" / f"{stage}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=StageCard)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise StoreCorruptError(f"{path}: {error}: delete that file and run again") from None

    def asked_card(self, stage: str) -> StageCard | None:
        """The card of a finished stage, or the one that it had when it was begun and not finished: what was asked for
        last. No output counts for the latter."""
        found = self.card(stage)
        if found is None:
            with contextlib.suppress(OSError, msgspec.DecodeError, UnicodeDecodeError):
                found = msgspec.json.decode(self._former(stage).read_bytes(), type=StageCard)
        return found

    def _former(self, stage: str) -> Path:
        return self.root / "stages" / f"{stage}.former"

    def require(self, stage: str) -> StageCard:
        """The card of a stage that has to be finished and up to date with the stages that fed it.

        Raises
        ------
        StageMissingError
            It has not run, or what fed it has changed since.
        """
        card = self.card(stage)
        if card is None:
            raise StageMissingError(
                f"{self.root} has no finished stage '{stage}' yet: run 'fastvbow {stage}' (or 'fastvbow run') first"
            )
        for name, fingerprint in card.inputs.items():
            if name in STAGES and self.require(name).fingerprint != fingerprint:
                raise StageMissingError(
                    f"stage '{stage}' of {self.root} is older than '{name}': run 'fastvbow {stage}' again"
                )
        return card

    def begin(self, stage: str) -> None:
        """Take a stage's card away: from here on its output does not count."""
        path = self.root / "stages" / f"{stage}.json"
        if path.exists():
            path.replace(self._former(stage))
            flush(path.parent)
            self._publish()

    def finish(self, card: StageCard) -> None:
        """Put a stage's card in place: from here on its output counts."""
        with replace_file(self.root / "stages" / f"{card.stage}.json") as path:
            path.write_bytes(msgspec.json.format(msgspec.json.encode(card)))
        self._former(card.stage).unlink(missing_ok=True)
        self._publish()
