"""The one place where the photographs of a report are decoded: each once, for all that is cut from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ImageError
from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.report.content import ReportContent

__all__ = ["PhotographUse", "hand_out"]


class PhotographUse(Protocol):
    """Something that is made from some of the photographs: thumbnails, sprite sheets."""

    @property
    def wanted(self) -> Collection[int]:
        """The photographs that it is made from, as positions in the columns of `ReportContent`."""

    def cut(self, index: int, pixels: NDArray[np.uint8]) -> Any:
        """Take from one photograph what is needed.

        Parameters
        ----------
        index : int
            Which one, of `wanted`.
        pixels : ndarray of shape (height, width, 3), uint8
            RGB, upright; not empty. Other uses read it too: it MUST NOT be changed, nor kept.

        Returns
        -------
        object
            What `keep` gets. Several threads call this at once.
        """

    def keep(self, index: int, piece: Any) -> None:
        """Take over what `cut` returned.

        Parameters
        ----------
        index : int
            Which one. The photographs come in the order of `hand_out`, for any number of jobs, in the calling thread.
        piece : object
            None: the photograph can no longer be read.
        """


def hand_out(
    content: ReportContent,
    order: Sequence[int],
    uses: Sequence[PhotographUse],
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Decode photographs, each once, and give each to all uses that want it.

    Parameters
    ----------
    content : ReportContent
        Whose photographs.
    order : sequence of int
        The photographs, without repetition, in the order in which the uses keep their pieces; where
        `content.in_sequence` is set they come in the order of the columns instead.
    uses : sequence of PhotographUse
    jobs : int, default 1
        Threads; -1: one a processor. At most four photographs a thread are in memory.
    progress : callable (done, total), optional
        Called after every photograph, from the calling thread.

    Raises
    ------
    UsageError
        If `jobs` is 0, or a use refuses the pixels.
    """
    threads = effective_jobs(jobs)
    if content.in_sequence:
        order = sorted(order)
    wanting = [(use, frozenset(use.wanted)) for use in uses]

    def take(index: int) -> list[Any]:
        try:
            pixels = content.read_photograph(index)
        except (ImageError, OSError):
            pixels = None
        if pixels is None or pixels.size == 0:
            return [None] * len(uses)
        return [use.cut(index, pixels) if index in wanted else None for use, wanted in wanting]

    with (
        one_thread_each(),
        make_executor(threads) as executor,
        closing(run_tasks(executor, take, order, ahead=4 * threads)) as results,
    ):
        for done, (index, pieces) in enumerate(zip(order, results, strict=True), start=1):
            for (use, wanted), piece in zip(wanting, pieces, strict=True):
                if index in wanted:
                    use.keep(index, piece)
            if progress is not None:
                progress(done, len(order))
