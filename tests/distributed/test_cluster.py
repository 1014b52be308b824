"""The cluster and the weighing executor that the other tests of this folder use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from counting import CountingExecutor

from fastvbow import reducing
from fastvbow.dask_cluster import dask_executor
from fastvbow.errors import ClusterError
from fastvbow.executors import client_of, run_tasks
from fastvbow.reducing import threads_of


def pid(task: bytes) -> int:
    return os.getpid()


def test_the_cluster_is_other_processes(client):
    assert len(client.nthreads()) == 2
    assert os.getpid() not in client.run(os.getpid).values()


def test_what_travels_is_weighed(client):
    executor = CountingExecutor(client.get_executor())
    assert client_of(executor) is client
    found = list(run_tasks(executor, pid, [bytes(1000), bytes(2000)], ahead=2))
    assert os.getpid() not in found
    assert 1000 < executor.tasks[0] < 1500 < executor.tasks[1] < 2500
    assert len(executor.results) == 2
    assert max(executor.results) < 50


def test_processes_that_cannot_be_started(monkeypatch):
    def failing(**how):
        raise RuntimeError("Nanny failed to start.") from OSError("worker process died")

    distributed = pytest.importorskip("distributed")
    monkeypatch.setattr(distributed, "LocalCluster", failing)
    with (
        pytest.raises(ClusterError, match=r"2 processes of Dask .*\(OSError: worker process died\).* run the same"),
        dask_executor(jobs=2, tell=print),
    ):
        pass


def _profiled() -> bool:
    import dask

    return bool(dask.config.get("distributed.worker.profile.enabled"))


def _tick(dask_worker=None, dask_scheduler=None):
    """Milliseconds between two looks of an event loop at the clock."""
    return (dask_worker or dask_scheduler).periodic_callbacks["tick"].callback_time


def test_processes_that_are_started_here_are_left_alone():
    """A profiler took a tenth of extraction's time, ticks an eighth of a processor; the caller's own Dask stays as it
    was."""
    pytest.importorskip("distributed")
    before = _profiled()
    with dask_executor(jobs=1, tell=str) as executor:
        client = client_of(executor)
        assert list(client.run(_profiled).values()) == [False]
        assert [*client.run(_tick).values(), client.run_on_scheduler(_tick)] == [1000, 1000]
        assert _profiled() == before
    assert _profiled() == before


_QUIET = """
import logging
import typer
from fastvbow.cli_workers import working_with
try:
    with working_with("dask", "none.json", 1, True):
        pass
except typer.Exit:
    raise SystemExit(logging.getLogger("distributed.client").level)
"""


def test_the_command_keeps_dasks_own_account_of_what_is_lost_to_itself(client, tmp_path):
    """Also in a process that has not imported Dask before: its import sets the levels of its logs."""
    assert subprocess.run([sys.executable, "-c", _QUIET], cwd=tmp_path, check=False).returncode == 50


def test_a_client_that_is_closed(cluster_of, monkeypatch):
    """While a call is at work, or before."""
    with cluster_of(1) as one:
        executor = one.get_executor()
        assert threads_of(executor, 5) == 1
    monkeypatch.setattr(reducing, "_ASK", -1.0)
    with pytest.raises(ClusterError, match="client is closed, as its cluster is: the same call goes on"):
        threads_of(executor, 5)
    with pytest.raises(ClusterError):
        list(run_tasks(executor, abs, [1], ahead=1))
