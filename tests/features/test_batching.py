"""Inputs of many threads to one network: everyone gets his own rows, in batches, and nobody waits for ever."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastvbow.features.batching import Batcher


class Network:
    """Adds one and doubles; notes the batches that it was given, and runs only when it may."""

    def __init__(self, held=False):
        self.sizes, self.may_run, self.running = [], threading.Event(), threading.Event()
        if not held:
            self.may_run.set()

    def __call__(self, inputs):
        self.sizes.append(len(inputs))
        self.running.set()
        assert self.may_run.wait(30)
        return inputs + 1, inputs[:, :1] * 2


def one(value):
    return np.full((1, 3), value, np.float32)


def test_everyone_gets_the_rows_of_his_own_input():
    batcher = Batcher(Network(), 8)

    def ask(value):
        first, second = batcher.submit(one(value)).result(30)
        assert first.shape == (1, 3)
        assert second.shape == (1, 1)
        return first[0, 0] == value + 1 and second[0, 0] == 2 * value

    with ThreadPoolExecutor(7) as threads:
        assert all(threads.map(ask, range(500)))
    batcher.close()


def test_what_has_come_meanwhile_is_one_batch():
    network = Network(held=True)
    batcher = Batcher(network, 4)
    first = batcher.submit(one(0))
    assert network.running.wait(30)
    rest = [batcher.submit(one(i)) for i in range(1, 8)]
    network.may_run.set()
    assert [f.result(30)[0][0, 0] for f in [first, *rest]] == list(range(1, 9))
    assert network.sizes == [1, 4, 4]  # three, filled up to a power of two
    batcher.close()


def test_no_more_than_two_batches_wait():
    network = Network(held=True)
    batcher = Batcher(network, 2)
    batcher.submit(one(0))
    assert network.running.wait(30)
    for i in range(4):
        batcher.submit(one(i))
    fifth = threading.Thread(target=lambda: batcher.submit(one(5)))
    fifth.start()
    fifth.join(0.2)
    assert fifth.is_alive(), "it waits for room"
    network.may_run.set()
    fifth.join(30)
    assert not fifth.is_alive()
    batcher.close()


def test_an_error_reaches_those_who_wait_for_that_batch_only():
    def network(inputs):
        if (inputs == 7).any():
            raise ValueError("seven")
        return (inputs,)

    batcher = Batcher(network, 4)
    with pytest.raises(ValueError, match="seven"):
        batcher.submit(one(7)).result(30)
    assert batcher.submit(one(8)).result(30)[0][0, 0] == 8
    batcher.close()


def test_closing_finishes_what_waits_and_ends_the_thread():
    before = set(threading.enumerate())
    network = Network(held=True)
    batcher = Batcher(network, 2)
    futures = [batcher.submit(one(i)) for i in range(4)]
    network.may_run.set()
    batcher.close()
    batcher.close()
    assert [f.result(0)[0][0, 0] for f in futures] == [1, 2, 3, 4]
    assert set(threading.enumerate()) <= before
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(one(0))


@pytest.mark.parametrize("most", [0, 3, -4])
def test_a_batch_is_a_power_of_two(most):
    with pytest.raises(ValueError, match="power of two"):
        Batcher(Network(), most)
