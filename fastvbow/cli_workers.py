"""Who does a command's work, by its options ``--executor`` and ``--scheduler``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fastvbow.cli_frame import working
from fastvbow.errors import UsageError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fastvbow.events import Listener

__all__ = ["EXECUTORS", "working_with"]

EXECUTORS = ("threads", "processes", "dask")


@contextmanager
def working_with(
    executor: str, scheduler: str, jobs: int, quiet: bool, log_json: Path | None = None, *, extracts: bool = False
) -> Iterator[tuple[Listener, Executor | None]]:
    """What `working` does; yields the listener, and what the function is given as its ``executor``.

    Parameters
    ----------
    executor : str
        ``threads``, ``processes`` or ``dask``.
    scheduler : str
        Of Dask: see `fastvbow.dask_cluster.dask_executor`.
    jobs : int
        Processes, where Dask's cluster is this machine.
    quiet : bool
    log_json : Path, optional
    extracts : bool, default=False
        Whether the command extracts features, which ``processes`` may do.
    """
    with working(quiet, log_json) as listener, ExitStack() as stack:
        if executor not in EXECUTORS:
            raise UsageError(f"--executor is one of {', '.join(EXECUTORS)}, not {executor}")
        if executor == "processes" and not extracts:
            raise UsageError("--executor processes is for the extraction of features: leave it out here, or pass dask")
        if scheduler and executor != "dask":
            raise UsageError(f"--scheduler {scheduler} belongs to --executor dask: pass that, too, or leave it out")
        if executor != "dask":
            yield listener, None
            return
        import logging

        from fastvbow.dask_cluster import dask_executor
        from fastvbow.events import Event
        from fastvbow.executors import effective_jobs

        with suppress(ImportError):  # of which is told below; the import sets the levels of its logs
            import distributed  # noqa: F401
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # what is lost is told in one line

        def tell(line: str) -> None:
            listener(Event("dask", "note", line))

        yield listener, stack.enter_context(dask_executor(scheduler, jobs=effective_jobs(jobs), tell=tell))
