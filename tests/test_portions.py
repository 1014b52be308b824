"""Small tasks handed over together: what comes out does not depend on how many went together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from fastvbow import portions, reducing
from fastvbow.executors import make_executor
from fastvbow.portions import reduce_by_nodes, reduce_portions, run_portions
from fastvbow.reducing import reduce_tasks


class Noting(ThreadPoolExecutor):
    """Notes the name and the size of what is handed over."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self.sizes: list[int] = []
        self.names: list[str] = []

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.names.append(fn.__name__)
        self.sizes.append(len(args[0]) if isinstance(args[0], tuple) else 1)
        return super().submit(fn, *args, **kwargs)


def square(number: int) -> int:
    return number * number


def refuse_seven(number: int) -> int:
    if number == 7:
        raise ValueError("seven")
    return number


def added(parts: Sequence[int]) -> int:
    assert len(parts) > 1  # one result is not combined with nothing
    return sum(parts)


@pytest.mark.parametrize("n", [0, 1, 2, 5, 50, 257])
@pytest.mark.parametrize("most", [1, 3, 16, 1000])
@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_results_come_in_the_order_of_the_tasks(n: int, most: int, jobs: int) -> None:
    with make_executor(jobs) as executor:
        done = run_portions(executor, square, iter(range(n)), n_tasks=n, jobs=jobs, most=most)
        assert list(done) == [i * i for i in range(n)]


def test_portions_get_smaller_towards_the_end_and_none_is_larger_than_the_most() -> None:
    with Noting(2) as executor:
        list(run_portions(executor, square, range(50), n_tasks=50, jobs=2, most=9))
        assert executor.sizes == [9, 9, 8, 6, 4, 3, 2, 2, 2, 2, 2, 1]
        executor.sizes.clear()
        list(run_portions(executor, square, range(50), n_tasks=50, jobs=2, most=32))
        assert executor.sizes == [12, 9, 8, 8, 8, 5]
    assert set(executor.names) == {"square"}


def test_few_tasks_are_shared_by_all_threads() -> None:
    with Noting(4) as executor:
        list(run_portions(executor, square, range(8), n_tasks=8, jobs=4, most=100))
        assert executor.sizes == [1] * 8
        executor.sizes.clear()
        list(run_portions(executor, square, range(32), n_tasks=32, jobs=4, most=100))
        assert executor.sizes == [4] * 8
        executor.sizes.clear()
        assert reduce_portions(executor, square, added, range(8), n_tasks=8, jobs=4, most=100) == 140
    assert executor.sizes == [2] * 4


def test_more_tasks_than_were_told_are_done_too() -> None:
    with make_executor(1) as executor:
        assert list(run_portions(executor, square, range(9), n_tasks=2, jobs=1, most=4)) == [i * i for i in range(9)]


@pytest.mark.parametrize("n", [1, 2, 5, 50, 257])
@pytest.mark.parametrize("most", [1, 3, 16, 1000])
@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_sums_are_those_of_all_tasks(n: int, most: int, jobs: int) -> None:
    with make_executor(jobs) as executor:
        total = reduce_portions(executor, square, added, iter(range(n)), n_tasks=n, jobs=jobs, most=most)
    assert total == sum(i * i for i in range(n))


def test_a_failing_task_tells_its_own_error() -> None:
    with make_executor(2) as executor, pytest.raises(ValueError, match="seven"):
        list(run_portions(executor, refuse_seven, range(50), n_tasks=50, jobs=2, most=8))


def test_what_comes_before_a_failing_portion_is_not_lost() -> None:
    found: list[int] = []
    with make_executor(1) as executor, pytest.raises(ValueError, match="seven"):
        for number in run_portions(executor, refuse_seven, range(8), n_tasks=8, jobs=1, most=2):
            found.append(number)
    assert found == [0, 1, 2, 3, 4, 5, 6]


def test_nothing_to_reduce_is_an_error() -> None:
    with make_executor(1) as executor, pytest.raises(ValueError, match="at least one"):
        reduce_portions(executor, square, added, range(0), n_tasks=0, jobs=1, most=4)


def bracketed(parts: Sequence[str]) -> str:
    """Says what was put together with what, and in which order."""
    assert len(parts) > 1
    return f"({','.join(parts)})"


@pytest.mark.parametrize("jobs", [1, 2, 3, 7])
@pytest.mark.parametrize("fan", [2, 4, 16])
def test_whole_nodes_make_the_same_tree(jobs: int, fan: int) -> None:
    whole = 0
    for n in range(1, 80):
        with make_executor(1) as executor:
            wanted = reduce_tasks(executor, str, bracketed, range(n), ahead=4, fan=fan)
        with Noting(jobs) as noting:
            how = {"n_tasks": n, "jobs": jobs, "most": 9, "fan": fan}
            assert reduce_by_nodes(noting, str, bracketed, iter(range(n)), **how) == wanted
        assert len(noting.sizes) in (n, -(-n // fan))
        whole += len(noting.sizes) < n
    assert jobs > 2 or whole > 20


@pytest.mark.parametrize(
    ("n", "jobs", "expected"),
    [(42, 2, 11), (25, 2, 7), (5, 2, 5), (8, 2, 2), (3, 1, 1), (42, 7, 42), (1000, 2, 250)],
)
def test_nodes_are_handed_over_whole_where_threads_have_as_much_to_do(n: int, jobs: int, expected: int) -> None:
    with Noting(jobs) as noting:
        reduce_by_nodes(noting, square, added, range(n), n_tasks=n, jobs=jobs, most=9, fan=4)
    assert len(noting.sizes) == expected
    assert set(noting.names) == {"square"}


def handed_over(client: Any, n: int, monkeypatch: pytest.MonkeyPatch, most: int = 100) -> list[list[int]]:
    """How many tasks go together; their tree is what it is elsewhere."""
    sizes, submit = [], client.submit

    def submitted(function: Any, given: Any, **options: Any) -> Any:
        if isinstance(given, tuple):
            sizes.append([len(node) if isinstance(node, tuple) else 1 for node in given])
        return submit(function, given, **options)

    monkeypatch.setattr(client, "submit", submitted)
    how = {"n_tasks": n, "jobs": 1, "most": most, "fan": 4}
    found = reduce_by_nodes(client.get_executor(), str, bracketed, iter(range(n)), **how)
    with make_executor(1) as one:
        assert found == reduce_tasks(one, str, bracketed, range(n), ahead=4, fan=4)
    return sizes


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (1, [[1]]),
        (2, [[1], [1]]),
        (5, [[1, 1], [1, 1, 1]]),
        (25, [[4, 4, 4], [4, 4, 4, 1]]),
        (42, [[16, 4], [4, 4, 4, 4, 4, 1, 1]]),
        (130, [[64], [64, 1, 1]]),
    ],
)
def test_a_share_of_whole_nodes_is_one_task_of_dask(n, expected, in_dask, monkeypatch) -> None:
    assert handed_over(in_dask, n, monkeypatch) == expected


def test_many_nodes_are_put_together_by_dask(in_dask, monkeypatch) -> None:
    for module in (portions, reducing):
        monkeypatch.setattr(module, "FEW", 1)
    assert handed_over(in_dask, 42, monkeypatch) == [[1] * 4] * 10 + [[1] * 2]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(20, [[4, 4, 1, 1], [1, 1, 4, 4, 1], [1, 1, 1, 4, 4], [4, 4, 1, 1]]), (2, [[1] * 4] * 10 + [[1] * 2])],
)
def test_no_task_of_dask_is_larger_than_the_most(most, expected, in_dask, monkeypatch) -> None:
    """A cluster that grows as it is asked to would never hear of more work; all threads have as many shares."""
    assert handed_over(in_dask, 42, monkeypatch, most) == expected


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 16])
@pytest.mark.parametrize("fan", [2, 4, 16])
def test_shares_are_whole_nodes_and_about_equal(threads, fan) -> None:
    for n in range(1, 400):
        shares = list(portions._shares(n, threads, fan))
        assert sum(fan**level for levels in shares for level in levels) == n
        assert len(shares) == min(n, threads)
        sizes = [sum(fan**level for level in levels) for levels in shares]
        assert max(sizes) - min(sizes) <= 1 or max(sizes) <= (1 + 1 / 4) * n / threads
        start, tree = 0, reducing.ResultTree(bracketed, fan)
        for level in (level for levels in shares for level in levels):
            tree.add(reducing.reduce_results(map(str, range(start, start + fan**level)), bracketed, fan=fan), level)
            start += fan**level
        assert tree.end() == reducing.reduce_results(map(str, range(n)), bracketed, fan=fan)


def test_no_node_of_nothing() -> None:
    with make_executor(1) as executor, pytest.raises(ValueError, match="at least one task"):
        reduce_by_nodes(executor, square, added, [], n_tasks=0, jobs=1, most=9, fan=4)
