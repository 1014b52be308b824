"""What the route tells whoever listens: one small record an event."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal

__all__ = ["Event", "JsonLog", "Listener", "log_events"]


@dataclass(frozen=True)
class Event:
    """Something that happened in a stage.

    Attributes
    ----------
    stage : str
    kind : {"begin", "step", "end", "reused", "note", "warning"}
    message : str
        For a person: why a stage runs, what it found, what is wrong.
    done, total : int
        Units of work (``step``).
    skipped : int
        Photographs skipped so far.
    unit : str
        What is counted: ``images``, ``sweeps``, ``passes`` (over all descriptors), ``epochs`` or ``numbers``
        (of topics, that are tried).
    n_bytes : int
        Bytes of photographs' files that were read so far.
    reasons : mapping of str to int
        How many photographs are skipped so far for each reason.
    """

    stage: str
    kind: Literal["begin", "step", "end", "reused", "note", "warning"]
    message: str = ""
    done: int = 0
    total: int = 0
    skipped: int = 0
    unit: str = "images"
    n_bytes: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


Listener = Callable[[Event], None]
"""Called from the thread that runs the route, except for ``step``, which may come from any thread."""


def log_events(event: Event) -> None:
    """The default listener: notes go to the logger ``fastvbow``, which is silent until the program sets it up."""
    if event.kind != "step":
        level = logging.WARNING if event.kind == "warning" else logging.INFO
        logging.getLogger("fastvbow").log(
            level, "%s: %s%s", event.stage, event.kind, f" ({event.message})" if event.message else ""
        )


class JsonLog:
    """A listener that writes events to a file, one JSON object a line; use it in a ``with`` statement.

    Each has ``time`` (seconds since 1970) and the attributes of `Event` that say something. Of the steps of a stage
    there is one a second, and the last.

    Parameters
    ----------
    path : Path
        Is appended to.
    listener : Listener
        Hears everything too.
    """

    def __init__(self, path: Path, listener: Listener) -> None:
        self._file, self._listener = path.open("a", encoding="utf-8"), listener
        self._lock, self._last = threading.Lock(), 0.0

    def __enter__(self) -> JsonLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if error is not None:
                self._write({"kind": "error", "message": f"{type(error).__name__}: {error}"})
            self._file.close()

    def __call__(self, event: Event) -> None:
        """Write an event."""
        with self._lock:
            now = time.monotonic()
            if event.kind != "step" or event.done == event.total or now - self._last >= 1:
                self._last = now if event.kind == "step" else self._last
                self._write({name: value for name, value in asdict(event).items() if value})
        self._listener(event)

    def _write(self, what: dict[str, object]) -> None:
        self._file.write(json.dumps({"time": round(time.time(), 3), **what}, ensure_ascii=False) + "\n")
        self._file.flush()


logging.getLogger("fastvbow").addHandler(logging.NullHandler())
