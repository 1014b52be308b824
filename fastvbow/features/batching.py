"""Inputs of many threads to one network, several at a time: what a GPU wants.

Threads hand in an input and go on with the next photograph. One thread runs the network on as many inputs as wait, at
most a batch: where the network is slower than those who feed it, batches are full; where it is faster, nothing waits.
No more than two batches wait: who has another one waits too, so memory is bounded.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batcher"]

Outputs = Sequence[NDArray[np.float32]]


class Batcher:
    """A thread that runs a network.

    Parameters
    ----------
    run : callable
        From inputs of shape (n, ...) to outputs whose first axes have the length n. n is a power of two, for a GPU
        prepares itself anew for every shape; what is missing to it is filled with zeros.
    most : int
        Inputs at a time; a power of two.
    """

    def __init__(self, run: Callable[[NDArray[np.float32]], Outputs], most: int) -> None:
        if most < 1 or most & (most - 1):
            raise ValueError(f"a batch is a power of two, not {most}")
        self.most = most
        self._run = run
        self._waiting: queue.Queue[tuple[NDArray[np.float32], Future[Outputs]] | None] = queue.Queue(2 * most)
        self._closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="fastvbow-batcher", daemon=True)
        self._thread.start()

    def submit(self, one: NDArray[np.float32]) -> Future[Outputs]:
        """Hand in an input of shape (1, ...); the future has the outputs' rows of it, (1, ...) each.

        Raises
        ------
        RuntimeError
            `close` was called.
        """
        future: Future[Outputs] = Future()
        if self._closed:
            raise RuntimeError("the batcher is closed")
        self._waiting.put((one, future))
        return future

    def close(self) -> None:
        """Finish what waits, then end; to be called when nobody submits any more."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        more = True
        while more:
            some = []
            item = self._waiting.get()
            while item is not None:
                some.append(item)
                if len(some) == self.most:
                    break
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
            more = item is not None
            if some:
                self._serve(some)

    def _serve(self, some: list[tuple[NDArray[np.float32], Future[Outputs]]]) -> None:
        try:
            first = some[0][0]
            inputs = np.zeros((1 << (len(some) - 1).bit_length(), *first.shape[1:]), first.dtype)
            for row, (one, _) in enumerate(some):
                inputs[row] = one[0]
            outputs = self._run(inputs)
        except BaseException as error:  # whatever it is, those who wait must hear of it
            for _, future in some:
                future.set_exception(error)
            return
        for row, (_, future) in enumerate(some):
            future.set_result([output[row : row + 1] for output in outputs])
