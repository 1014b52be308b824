"""The cluster and the weighing executor that the other tests of this folder use."""

from __future__ import annotations

import os

from counting import CountingExecutor

from fastvbow.executors import run_tasks
from fastvbow.reducing import client_of


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
