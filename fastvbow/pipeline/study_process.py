"""Baselines whose library has settings for the whole process, each in a process of its own.

PyTorch's number of threads, its deterministic mode and its global generator are the process's: two networks that train
at the same time have to be two processes for a seed to give the same bytes.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import ProjectError
from fastvbow.events import log_events
from fastvbow.executors import make_process_executor
from fastvbow.pipeline.study_baselines import baseline_cell
from fastvbow.pipeline.study_cells import Stopped
from fastvbow.pipeline.study_plan import Photographs
from fastvbow.pipeline.study_store import Cell

__all__ = ["Runner", "own_process"]

_LOOK = 0.2  # seconds between two looks at whether to stop


class Runner(Protocol):
    """Runs a baseline."""

    def __call__(self, name: str, seed: int) -> Cell:
        """Run it with a seed."""


@contextmanager
def own_process(project: Path, photographs: Photographs, cache: Path, stop: threading.Event) -> Iterator[Runner]:
    """Yield a function that runs `fastvbow.pipeline.study_baselines.baseline_cell` in a process of its own.

    Parameters
    ----------
    project : Path
    photographs : Photographs
    cache : Path
    stop : threading.Event
        Ends the process, at once: what it has in hand is lost.

    Raises
    ------
    Stopped
        `stop` was set.
    ProjectError
        The process has died.
    """
    try:
        with make_process_executor(1, _start) as executor:
            number = executor.submit(os.getpid).result()

            def run(name: str, seed: int) -> Cell:
                future = executor.submit(_run, project, name, seed, photographs, cache)
                while not stop.is_set():
                    check_cancelled()
                    if wait([future], timeout=_LOOK).done:
                        return future.result()
                raise Stopped

            try:
                yield run
            except BrokenProcessPool:
                raise
            except BaseException:
                # Not by an event that both share: its lock would be lost with a process that has died.
                os.kill(number, signal.SIGKILL)
                raise
    except BrokenProcessPool:
        raise ProjectError(
            "a process in which a baseline ran has died, killed perhaps for want of memory: the same command goes on "
            "where it stopped; with --jobs 1 less is in memory at a time"
        ) from None


def _start() -> None:
    """Make the process ready. Ctrl-C is its parent's business, whose end it does not outlive."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(project: Path, name: str, seed: int, photographs: Photographs, cache: Path) -> Cell:
    return baseline_cell(project, name, seed, photographs, cache, threading.Event(), log_events)
