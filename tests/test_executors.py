"""Where work runs: as many at once as asked for, results as they are ready, nothing begun after the caller stops."""

import os
import threading
import time

import pytest

from fastvbow.errors import UsageError
from fastvbow.executors import effective_jobs, make_executor, run_tasks


class Watched:
    """A function that counts its calls and how many of them run at once."""

    def __init__(self, fails_at=None):
        self.lock, self.now, self.most, self.begun, self.fails_at = threading.Lock(), 0, 0, [], fails_at

    def __call__(self, task):
        with self.lock:
            self.begun.append(task)
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)
        with self.lock:
            self.now -= 1
        if task == self.fails_at:
            raise ZeroDivisionError(task)
        return task * task


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("ahead", [1, 2, 50])
def test_every_task_once(jobs, ahead):
    watched = Watched()
    with make_executor(jobs) as executor:
        found = list(run_tasks(executor, watched, range(20), ahead=ahead))
    assert sorted(found) == [i * i for i in range(20)]
    assert sorted(watched.begun) == list(range(20))
    assert watched.most <= min(jobs, ahead)


def test_one_worker_keeps_the_order():
    with make_executor(1) as executor:
        assert list(run_tasks(executor, lambda i: i, range(30), ahead=1)) == list(range(30))


def test_several_run_at_once():
    both = threading.Barrier(2, timeout=20)  # breaks unless two tasks are there together
    with make_executor(2) as executor:
        assert len(list(run_tasks(executor, lambda _: both.wait(), range(6), ahead=2))) == 6


def test_results_come_as_they_are_ready():
    gate = threading.Event()

    def task(i):
        if i == 0:
            assert gate.wait(20)
        return i

    with make_executor(2) as executor:
        results = run_tasks(executor, task, range(4), ahead=2)
        assert {next(results) for _ in range(3)} == {1, 2, 3}
        gate.set()
        assert list(results) == [0]


def test_tasks_are_drawn_no_further_ahead_than_asked_for():
    drawn = []

    def tasks():
        for i in range(100):
            drawn.append(i)
            yield i

    with make_executor(2) as executor:
        results = run_tasks(executor, lambda i: i, tasks(), ahead=5)
        for taken in range(1, 20):
            next(results)
            assert len(drawn) <= taken + 5 + 5  # 5 under way, and those finished together with the one taken
        results.close()
        assert len(drawn) < 40


def test_no_tasks():
    with make_executor(2) as executor:
        assert list(run_tasks(executor, Watched(), [], ahead=4)) == []


def test_what_is_not_begun_is_cancelled_when_the_caller_stops():
    gate, begun = threading.Event(), []

    def task(i):
        begun.append(i)
        if i:
            gate.wait(20)

    with make_executor(1) as executor:
        results = run_tasks(executor, task, range(50), ahead=20)
        next(results)
        results.close()
        gate.set()
    assert len(begun) <= 2  # the one that was taken, and one that was under way


def test_an_error_reaches_the_caller_and_stops_the_rest():
    watched = Watched(fails_at=3)
    with make_executor(1) as executor, pytest.raises(ZeroDivisionError, match="3"):
        for _ in run_tasks(executor, watched, range(100), ahead=4):
            pass
    assert len(watched.begun) < 15


@pytest.mark.parametrize("jobs", [1, 2, 64])
def test_a_number_of_jobs_is_taken_as_it_is(jobs):
    assert effective_jobs(jobs) == jobs


@pytest.mark.parametrize("jobs", [None, -1])
def test_all_processors_that_this_process_may_use(jobs, monkeypatch):
    assert effective_jobs(jobs) >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 99)
    assert effective_jobs(jobs) == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert effective_jobs(jobs) == 99
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert effective_jobs(jobs) == 1


@pytest.mark.parametrize("jobs", [0, -2, -100])
def test_no_jobs_are_refused(jobs):
    with pytest.raises(UsageError, match=f"at least 1, or -1 for all processors, not {jobs}"):
        effective_jobs(jobs)
