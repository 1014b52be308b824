"""What the route tells whoever listens: one small record an event."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

__all__ = ["Event", "Listener", "log_events"]


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
        What is counted: ``images`` or ``sweeps``.
    """

    stage: str
    kind: Literal["begin", "step", "end", "reused", "note", "warning"]
    message: str = ""
    done: int = 0
    total: int = 0
    skipped: int = 0
    unit: str = "images"


Listener = Callable[[Event], None]
"""Called from the thread that runs the route, except for ``step``, which may come from any thread."""


def log_events(event: Event) -> None:
    """The default listener: notes go to the logger ``fastvbow``, which is silent until the program sets it up."""
    if event.kind != "step":
        level = logging.WARNING if event.kind == "warning" else logging.INFO
        logging.getLogger("fastvbow").log(
            level, "%s: %s%s", event.stage, event.kind, f" ({event.message})" if event.message else ""
        )


logging.getLogger("fastvbow").addHandler(logging.NullHandler())
