"""Trees of results: the same for every executor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastvbow import reducing
from fastvbow.executors import client_of, make_executor
from fastvbow.reducing import reduce_tasks, tasks_ahead, threads_of


def noisy(task: int) -> np.ndarray:
    return np.random.default_rng(task).standard_normal(50) * 10.0 ** (task % 17)


def added(parts):
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 27, 100])
def test_the_same_bytes_for_every_executor(n):
    with make_executor(1) as one, ThreadPoolExecutor(3) as three:
        found = [reduce_tasks(e, noisy, added, range(n), ahead=a, fan=3) for e in (one, three) for a in (1, 5)]
    assert len({part.tobytes() for part in found}) == 1
    np.testing.assert_allclose(found[0], sum(map(noisy, range(n))), rtol=1e-9)


def test_the_tree():
    """At most `fan` neighbours at a time, in the order of the tasks."""
    seen = []

    def together(parts):
        seen.append(list(parts))
        return "".join(parts)

    with make_executor(1) as executor:
        found = reduce_tasks(executor, str, together, range(8), ahead=1, fan=3)
    assert found == "01234567"
    assert seen == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"], ["012", "345", "67"]]


def test_no_task():
    with make_executor(1) as executor, pytest.raises(ValueError, match="at least one"):
        reduce_tasks(executor, str, "".join, [], ahead=1)


def test_threads_are_not_dask():
    with make_executor(2) as executor:
        assert client_of(executor) is None
        assert tasks_ahead(executor, 2) == 4


def test_dask_makes_the_same_tree(in_dask, monkeypatch):
    executor = in_dask.get_executor(retries=1)
    assert client_of(executor) is in_dask
    assert tasks_ahead(executor, 1) == 64
    with make_executor(1) as one:
        for ahead in (1, 64):
            there = reduce_tasks(executor, noisy, added, range(23), ahead=ahead, fan=3)
            assert there.tobytes() == reduce_tasks(one, noisy, added, range(23), ahead=1, fan=3).tobytes()
    for n in (5, 23):  # put together by the caller, and by the workers
        with pytest.raises(ZeroDivisionError):
            reduce_tasks(executor, divided, added, range(n), ahead=2, fan=3)
    assert threads_of(executor, 1) == 2
    monkeypatch.setattr(in_dask, "nthreads", lambda: {"a": 100, "b": 30})
    monkeypatch.setattr(reducing, "_ASK", 1e9)
    assert threads_of(executor, 1) == 2, "which is not asked each time"
    monkeypatch.setattr(reducing, "_ASK", 0.0)
    assert threads_of(executor, 1) == 130, "workers may come and go"
    assert tasks_ahead(executor, 1) == 260


def divided(task: int) -> float:
    return 1 / (task - 3)
