"""The one place where the photographs of a report are decoded: each once, for all that is cut from it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import closing
from typing import Protocol

from fastvbow.executors import effective_jobs, make_executor, one_thread_each, run_tasks
from fastvbow.report.content import ReportContent
from fastvbow.report.pieces import Cut, Elsewhere, Piece, cut_elsewhere, read_pixels

__all__ = ["PhotographUse", "hand_out"]


class PhotographUse(Protocol):
    """Something that is made from some of the photographs: thumbnails, sprite sheets."""

    @property
    def wanted(self) -> Collection[int]:
        """The photographs that it is made from, as positions in the columns of `ReportContent`."""

    def cutter(self, index: int) -> Cut:
        """What takes from one photograph what is needed.

        Parameters
        ----------
        index : int
            Which one, of `wanted`.

        Returns
        -------
        callable (ndarray of shape (height, width, 3), uint8) -> sequence of ndarray
            Is given the pixels, RGB, upright, not empty. Other uses read them too: it MUST NOT change them, and what it
            returns MUST NOT be a view of them. Several threads call it at once, and it is pickled for other processes.
        """

    def keep(self, index: int, piece: Piece | None) -> None:
        """Take over what was cut.

        Parameters
        ----------
        index : int
            Which one. The photographs come in the order of `hand_out`, for any number of jobs, in the calling thread.
        piece : sequence of ndarray, or None
            None: the photograph can no longer be read.
        """


def hand_out(
    content: ReportContent,
    order: Sequence[int],
    uses: Sequence[PhotographUse],
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] | None = None,
    elsewhere: Elsewhere | None = None,
) -> list[int]:
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
    elsewhere : Elsewhere, optional
        Who decodes and cuts them; None: threads of this process. The uses keep the same pieces.

    Returns
    -------
    list of int
        The photographs that can no longer be read.

    Raises
    ------
    UsageError
        If `jobs` is 0, or a use refuses the pixels.
    ClusterError
        If `elsewhere` are Dask's workers, and they are gone.
    """
    workers = effective_jobs(jobs)
    if content.in_sequence:
        order = sorted(order)
    wanting = [frozenset(use.wanted) for use in uses]

    def cuts_of(index: int) -> tuple[tuple[int, Cut], ...]:
        return tuple((n, use.cutter(index)) for n, use in enumerate(uses) if index in wanting[n])

    def here() -> Generator[tuple[int, dict[int, Piece] | None], None, None]:
        def take(index: int) -> dict[int, Piece] | None:
            pixels = read_pixels(content.read_photograph, index)
            return None if pixels is None else {use: cut(pixels) for use, cut in cuts_of(index)}

        with (
            one_thread_each(),
            make_executor(workers) as executor,
            closing(run_tasks(executor, take, order, ahead=4 * workers)) as results,
        ):
            yield from zip(order, results, strict=True)

    lost: list[int] = []
    found = here() if elsewhere is None else cut_elsewhere(elsewhere, order, cuts_of, jobs=workers)
    with closing(found):
        for done, (index, pieces) in enumerate(found, start=1):
            if pieces is None:
                lost.append(index)
            for n, use in enumerate(uses):
                if index in wanting[n]:
                    use.keep(index, None if pieces is None else pieces.get(n, ()))
            if progress is not None:
                progress(done, len(order))
    return lost
