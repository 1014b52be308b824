"""Dask as the executor of the route: a running cluster, or one of this machine's processes.

Nothing here schedules, retries or ships work: that is Dask's. Without it (extra ``dask``) nothing of it is imported.
"""

from __future__ import annotations

import importlib.metadata
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from fastvbow.errors import ClusterError, MissingExtraError

__all__ = ["RETRIES", "dask_executor", "memory_limit", "versions_here"]

RETRIES = 3
"""Times that Dask tries a task again that has failed."""
_CONNECT = 20.0  # seconds to reach the scheduler
_QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
}
"""What the processes of a local cluster do not do, as they share processors with the work. The statistical profiler
looks at the workers' threads a hundred times a second, which took a tenth of extraction's time; each of the event loops
(one a worker, one a nanny, the scheduler's) looks at the clock fifty times a second, which took an eighth of a
processor with two workers. Once a second is enough to tell of a loop that hangs for three."""
_DECIDE = ("fastvbow", "numpy", "numba", "opencv-python-headless", "onnxruntime", "onnxruntime-gpu")


def versions_here() -> dict[str, str]:
    """Versions of the packages that results depend on, in the process that asks."""
    found = {}
    for name in _DECIDE:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = ""
    return found


def memory_limit() -> int:
    """Bytes that the Dask worker may use whose task asks; 0 where it has no limit, or the caller is no such task."""
    distributed = sys.modules.get("distributed")
    try:
        return int(distributed.get_worker().memory_manager.memory_limit or 0) if distributed else 0
    except ValueError:  # there is no worker here
        return 0


@contextmanager
def dask_executor(scheduler: str = "", *, jobs: int = 1, tell: Callable[[str], object]) -> Iterator[Executor]:
    """An executor of Dask workers, connected for as long as the ``with`` statement runs.

    Parameters
    ----------
    scheduler : str, default=""
        An address (``tcp://host:8786``), the path of a scheduler file, or nothing: a cluster of this machine's
        processes, which ends with the ``with`` statement.
    jobs : int, default=1
        Processes of that one.
    tell : callable
        Is told, in one line, how many workers there are and where the dashboard is.

    Raises
    ------
    MissingExtraError
        Dask is not installed.
    ClusterError
        The scheduler cannot be reached, this machine's processes cannot be started, or a worker has another fastvbow or
        none.
    """
    try:
        import distributed
    except ImportError:
        raise MissingExtraError("--executor dask", "Dask", "dask") from None
    with ExitStack() as stack:
        if scheduler:
            client = stack.enter_context(_connected(distributed, scheduler))
        else:
            client = stack.enter_context(distributed.Client(stack.enter_context(_local_cluster(distributed, jobs))))
        _check_versions(client)
        tell(_told(client))
        yield client.get_executor(retries=RETRIES)


def _local_cluster(distributed: Any, jobs: int) -> Any:
    import dask

    try:
        with _without_ctrl_c(), dask.config.set(_QUIET):
            return distributed.LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                memory_limit=0,  # memory-mapped files would count
                silence_logs=logging.ERROR,  # one that takes long to end is no news
            )
    except (OSError, RuntimeError, TimeoutError) as error:
        why = error.__cause__ or error
        raise ClusterError(
            f"the {jobs} processes of Dask on this machine could not all be started ({type(why).__name__}: {why}), "
            "killed perhaps for want of memory: run the same command again, with fewer --jobs if there is too little"
        ) from None


@contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started here never hear of Ctrl-C, which the terminal sends to all: it is this one's business,
    which ends them without a word of theirs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _connected(distributed: Any, scheduler: str) -> Any:
    is_file = scheduler.endswith(".json") or Path(scheduler).is_file()
    try:
        if is_file:
            if not Path(scheduler).is_file():
                raise ClusterError(f"there is no scheduler file {scheduler}: has the scheduler been started?")
            return distributed.Client(scheduler_file=scheduler, timeout=_CONNECT)
        return distributed.Client(scheduler, timeout=_CONNECT)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            f"cannot reach Dask's scheduler {scheduler} ({type(error).__name__}: {error}): is it running, and is this "
            "its address or file?"
        ) from None


def _check_versions(client: Any) -> None:
    here = versions_here()
    for worker, there in client.run(versions_here, on_error="return").items():
        if not isinstance(there, dict):
            raise ClusterError(
                f"the worker {worker} cannot import fastvbow ({there}): install fastvbow {here['fastvbow']} there"
            )
        other = [f"{name} {there[name] or 'none'}, not {here[name]}" for name in here if here[name] != there[name]]
        if other:
            raise ClusterError(
                f"the worker {worker} has {'; '.join(other)}: results would depend on who made them, so install the "
                "same versions everywhere"
            )


def _told(client: Any) -> str:
    workers = client.nthreads()
    n_threads = sum(workers.values())
    count = f"{len(workers)} workers with {n_threads} threads" if workers else "no workers yet, which are waited for"
    return f"Dask: {count}; dashboard {client.dashboard_link}"
