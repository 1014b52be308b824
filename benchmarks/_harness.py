"""What the K-Means benchmarks share: contenders that take turns, one core, a table with targets."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

__all__ = ["Check", "Measured", "Run", "alternated", "clocked", "one_core", "table", "time_text"]

Run = Callable[[int], tuple[float, Any]]  # takes the number of the round, returns seconds and what was found


@dataclass
class Check:
    """A line of the table: one comparison, and whether it is what it should be.

    `met` is None where nothing is asked, and where one side is faster and the other better.
    """

    what: str
    seconds: float
    beside: str
    ratio: float
    quality: str = ""
    target: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """What the last column says."""
        if self.met is None and self.target:
            return "trade-off"
        return "" if self.met is None else "met" if self.met else "**not met**"


@dataclass
class Measured:
    """A group of contenders that took turns."""

    kind: str
    seconds: dict[str, list[float]]
    quality: dict[str, str] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))

    def compare(
        self, what: str, ours: str, other: str, beside: str, least: float | None, quality: str = "", good: bool = True
    ) -> None:
        """Add a line: `ours` is to be at least `least` times as fast as `other`, and `good`."""
        ratio, ms = self.median(other) / self.median(ours), time_text(self.median(other))
        met = None if least is None else ratio >= least and good
        target = "" if least is None else f">= {least:g}"
        self.checks.append(Check(what, self.median(ours), f"{beside} {ms}", ratio, quality, target, met))


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Bind this thread, and the threads and processes it starts, to one CPU."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    if before:
        os.sched_setaffinity(0, {max(before)})
    try:
        with threadpool_limits(1):
            yield
    finally:
        if before:
            os.sched_setaffinity(0, before)


def clocked(run: Callable[[int], Any]) -> Run:
    def timed(i: int) -> tuple[float, Any]:
        start = time.perf_counter()
        found = run(i)
        return time.perf_counter() - start, found

    return timed


def alternated(runs: dict[str, Run], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[Any]]]:
    """Run all of `runs` in turn, `rounds` times; return the seconds and what was found, by name and round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    found: dict[str, list[Any]] = {name: [] for name in runs}
    for i in range(rounds):
        for name, run in runs.items():
            spent, value = run(i)
            seconds[name].append(spent)
            found[name].append(value)
    return seconds, found


def time_text(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def table(checks: list[Check]) -> Iterator[str]:
    """The lines of a Markdown table."""
    yield "| what | fastvbow | beside it | ratio | quality | target | |"
    yield "|---|---|---|---|---|---|---|"
    for c in checks:
        ratio = "-" if np.isnan(c.ratio) else f"{c.ratio:.2f}"
        cells = (c.what, time_text(c.seconds), c.beside, ratio, c.quality, c.target, c.verdict)
        yield "| " + " | ".join(cells) + " |"
