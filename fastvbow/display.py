"""What the command line shows while it works: live bars on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from fastvbow.events import Event

__all__ = ["Display", "duration", "one_line"]

_EVERY = 10.0
"""Seconds between two progress lines where there is no terminal."""
_REASONS = 2  # for which photographs are skipped, that are shown; the tables have all


def one_line(text: str) -> str:
    """Text without line breaks or control characters (a file's name may hold them)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


class _Rate(ProgressColumn):
    """Units a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(
            ""
            if not speed
            else f"{speed:,.0f} {task.fields['unit']}/s"
            if speed >= 10
            else f"{speed:.{1 if speed >= 1 else 2}f} {task.fields['unit']}/s"
        )


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _note(event: Event, seconds: float) -> str:
    """What a step says beside its count: how fast files are read, and what is skipped why."""
    parts = [f"{event.n_bytes / 1e6 / seconds:.1f} MB/s"] if event.n_bytes and seconds > 0 else []
    if event.skipped:
        often = sorted(event.reasons.items(), key=lambda reason: -reason[1])[:_REASONS]
        why = ", ".join(f"{n} {one_line(reason)}" for reason, n in often)
        more = ", ..." if len(event.reasons) > _REASONS else ""
        parts.append(f"{event.skipped} skipped" + f" ({why}{more})" * bool(why))
    return ", ".join(parts)


class Display:
    """A listener for the route; use it in a ``with`` statement.

    Parameters
    ----------
    quiet : bool, default=False
        Show warnings only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._live = self._console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._console,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._lines: dict[str, tuple[float, float, int]] = {}  # begun, last line (seconds), done when begun
        self._begun: dict[str, float] = {}
        self._units: dict[str, str] = {}  # what each stage counts at present
        self._lock = threading.Lock()

    def __enter__(self) -> Display:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        with self._lock:
            if event.kind == "step":
                self._step(event)
            elif event.kind == "warning":
                self._say(Text.assemble(("warning", "yellow"), f" {event.stage}: {one_line(event.message)}"))
            elif not self._quiet:
                self._say(self._sentence(event))
            if event.kind in {"end", "reused"}:
                self._drop(event.stage)

    @staticmethod
    def _sentence(event: Event) -> Text:
        message = one_line(event.message)
        if event.kind == "begin":
            return Text.assemble((event.stage, "bold"), f": {message}" if message else "")
        if event.kind == "reused":
            return Text.assemble((event.stage, "bold"), f" stands from an earlier call ({message})")
        return Text(f"  {message}")

    def _say(self, line: Text) -> None:
        if self._live:
            self._progress.console.print(line)
        else:
            print(line.plain, file=sys.stderr, flush=True)  # noqa: T201 - this is the one place that shows

    def _step(self, event: Event) -> None:
        if self._units.setdefault(event.stage, event.unit) != event.unit:
            self._drop(event.stage)
            self._units[event.stage] = event.unit
        now = time.monotonic()
        note = _note(event, now - self._begun.setdefault(event.stage, now))
        if self._live:
            if event.stage not in self._bars:
                self._bars[event.stage] = self._progress.add_task(
                    event.stage, total=event.total, unit=event.unit, note=note
                )
            self._progress.update(self._bars[event.stage], completed=event.done, total=event.total, note=note)
        elif not self._quiet:
            begun, last, first = self._lines.get(event.stage, (now, now, event.done))
            if now - last >= _EVERY:
                speed = (event.done - first) / (now - begun)
                left = f"{duration((event.total - event.done) / speed)} left" if speed else "time left unknown"
                digits = 1 if speed >= 1 else 2
                note = f", {note}" if note else ""
                self._say(
                    Text(f"  {event.done}/{event.total} {event.unit}, {speed:.{digits}f} {event.unit}/s, {left}{note}")
                )
                last = now
            self._lines[event.stage] = (begun, last, first)

    def _drop(self, stage: str) -> None:
        self._lines.pop(stage, None)
        self._units.pop(stage, None)
        self._begun.pop(stage, None)
        if stage in self._bars:
            self._progress.remove_task(self._bars.pop(stage))
