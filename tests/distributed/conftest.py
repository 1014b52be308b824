"""A small cluster of this machine's processes, which the tests of this folder share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

WHY = "the tests of Dask want the extra dask"


@pytest.fixture(scope="session")
def cluster_of(ready_processes: None) -> Iterator[Callable[..., contextlib.AbstractContextManager[Any]]]:
    """What starts a cluster of so many processes, with one thread each, and yields its client."""
    distributed = pytest.importorskip("distributed", reason=WHY)
    import dask

    @contextlib.contextmanager
    def start(n_workers: int = 2, **more: Any) -> Iterator[Any]:
        how = {"threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1", "memory_limit": 0, **more}
        with (
            distributed.LocalCluster(n_workers=n_workers, processes=True, **how) as cluster,
            distributed.Client(cluster) as client,
        ):
            client.wait_for_workers(n_workers)
            yield client

    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield start


@pytest.fixture(scope="session")
def client(cluster_of: Callable[..., contextlib.AbstractContextManager[Any]]) -> Iterator[Any]:
    """The client of a cluster of two processes. A test that kills one leaves it as it was: the nanny starts another."""
    with cluster_of(2) as found:
        yield found
