"""Where work runs: as many at once as asked for, results in order, nothing begun after the caller stops."""

import os
import threading
import time

import numpy as np
import pytest

from fastvbow import executors
from fastvbow.errors import UsageError
from fastvbow.executors import Team, effective_jobs, make_executor, run_tasks


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
    assert found == [i * i for i in range(20)], "in the order of the tasks"
    assert sorted(watched.begun) == list(range(20))
    assert watched.most <= min(jobs, ahead)


def test_one_job_is_the_calling_thread():
    with make_executor(1) as executor:
        found = run_tasks(executor, lambda i: (i, threading.get_ident()), range(30), ahead=7)
        assert list(found) == [(i, threading.get_ident()) for i in range(30)]


def test_one_job_runs_no_further_ahead_than_the_caller():
    begun = []
    with make_executor(1) as executor:
        for i, _ in enumerate(run_tasks(executor, begun.append, range(10), ahead=5)):
            assert begun == list(range(i + 1))


def test_an_interrupt_goes_straight_through_a_serial_executor():
    def task(i):
        if i == 2:
            raise KeyboardInterrupt
        return i

    with make_executor(1) as executor:
        assert isinstance(executor.submit(lambda: 1 / 0).exception(), ZeroDivisionError)
        with pytest.raises(KeyboardInterrupt):
            executor.submit(task, 2)
        with pytest.raises(KeyboardInterrupt):
            list(run_tasks(executor, task, range(5), ahead=3))


def test_several_run_at_once():
    both = threading.Barrier(2, timeout=20)  # breaks unless two tasks are there together
    with make_executor(2) as executor:
        assert len(list(run_tasks(executor, lambda _: both.wait(), range(6), ahead=2))) == 6


def test_a_slow_first_task_keeps_its_place():
    others = threading.Semaphore(0)

    def task(i):
        if i == 0:
            for _ in range(3):
                assert others.acquire(timeout=20)  # the other three are done first
        else:
            others.release()
        return i

    with make_executor(2) as executor:
        assert list(run_tasks(executor, task, range(10), ahead=4)) == list(range(10))


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
            assert len(drawn) <= taken + 4, "the one taken and four more"
        results.close()
        assert len(drawn) < 25


def test_a_task_is_drawn_only_when_results_are_asked_for():
    drawn = iter(range(3))
    with make_executor(2) as executor:
        results = run_tasks(executor, lambda i: i, drawn, ahead=2)
        assert next(drawn) == 0
        assert list(results) == [1, 2]


@pytest.mark.parametrize("ahead", [0, -1])
def test_nothing_ahead_is_refused_at_once(ahead):
    with make_executor(2) as executor, pytest.raises(UsageError, match=f"at least 1, not {ahead}"):
        run_tasks(executor, Watched(), range(3), ahead=ahead)


def test_no_tasks():
    with make_executor(2) as executor:
        assert list(run_tasks(executor, Watched(), [], ahead=4)) == []


def test_what_is_not_begun_is_cancelled_when_the_caller_stops():
    gate, begun, ended = threading.Event(), [], []

    def task(i):
        begun.append(i)
        if i:
            gate.wait(20)
        ended.append(i)

    with make_executor(2) as executor:
        results = run_tasks(executor, task, range(50), ahead=20)
        next(results)
        results.close()
        gate.set()
    assert len(begun) <= 3  # the one that was taken, and two that were under way
    assert sorted(ended) == sorted(begun), "what runs is waited for"


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_reaches_the_caller_in_its_place_and_stops_the_rest(jobs):
    watched, found = Watched(fails_at=3), []
    with make_executor(jobs) as executor, pytest.raises(ZeroDivisionError, match="3"):
        found.extend(run_tasks(executor, watched, range(100), ahead=4))
    assert found == [0, 1, 4], "what comes before it is not lost"
    assert len(watched.begun) < 15


def test_tasks_that_cannot_be_drawn_cancel_what_is_pending():
    gate, begun = threading.Event(), []

    def tasks():
        yield from range(6)
        gate.set()
        raise OSError("no more")

    def task(i):
        begun.append(i)
        assert gate.wait(20)
        time.sleep(0.05)

    with make_executor(2) as executor, pytest.raises(OSError, match="no more"):
        list(run_tasks(executor, task, tasks(), ahead=10))
    assert len(begun) <= 4


@pytest.mark.parametrize("n_tasks", [0, 1, 2, 50])
@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_a_team_does_everything_once_on_threads_that_stay(n_threads, n_tasks):
    team, threads = Team(n_threads), set()
    for _ in range(3):
        done = []

        def task(i, done=done):
            threads.add(threading.get_ident())
            done.append(i)

        team.run(task, n_tasks, threading.Event())
        assert sorted(done) == list(range(n_tasks))
    assert len(threads) <= n_threads
    assert threads <= {threading.get_ident()} if n_threads == 1 or n_tasks < 2 else True


def test_a_team_works_side_by_side():
    both = threading.Barrier(2, timeout=20)
    for _ in range(3):
        Team(2).run(lambda _: both.wait(), 2, threading.Event())


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
@pytest.mark.parametrize("in_caller", [True, False])
def test_an_error_in_a_team_stops_all_and_comes_through(in_caller, error):
    stop, ended, both = threading.Event(), [], threading.Barrier(2, timeout=20)
    caller = threading.get_ident()

    def task(i):
        both.wait()
        if (threading.get_ident() == caller) == in_caller:
            raise error
        assert stop.wait(20)
        ended.append(i)

    with pytest.raises(error):
        Team(2).run(task, 10, stop)
    assert len(ended) == 1, "the other one came to its end, and none was begun after"


def test_a_team_that_is_waited_for_ends_before_an_interrupt_comes_through(monkeypatch):
    """The caller's part is done when it is interrupted; the other thread hears of it, and is not left running."""
    stop, ended, wait = threading.Event(), [], executors.wait
    interrupts = [KeyboardInterrupt]

    def interrupted(futures):
        if interrupts:
            raise interrupts.pop()
        return wait(futures)

    def task(i):
        if threading.get_ident() != caller:
            assert stop.wait(20)
            time.sleep(0.05)
            ended.append(i)
        else:
            time.sleep(0.02)  # the other thread gets a task too

    caller = threading.get_ident()
    monkeypatch.setattr(executors, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Team(2).run(task, 2, stop)
    assert len(ended) == 1


@pytest.mark.parametrize("jobs", [1, 2, 64, np.int64(3)])
def test_a_number_of_jobs_is_taken_as_it_is(jobs):
    assert effective_jobs(jobs) == jobs
    assert type(effective_jobs(jobs, default=5)) is int
    assert effective_jobs(jobs, default=5) == jobs


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


def test_negative_jobs_leave_processors_free(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert [effective_jobs(jobs) for jobs in (-1, -2, -3, -4, -100)] == [3, 2, 1, 1, 1]
    assert [effective_jobs(None, default=default) for default in (1, 7, -2)] == [1, 7, 2]


@pytest.mark.parametrize("jobs", [0, 1.5, float("nan"), "two", np.float64(0.5)])
def test_no_jobs_are_refused(jobs):
    with pytest.raises(UsageError, match=r"--jobs is at least 1, or -1 for all processors, not ") as caught:
        effective_jobs(jobs)
    assert repr(jobs) in str(caught.value)
    assert isinstance(caught.value, ValueError), "as estimators raise it"
