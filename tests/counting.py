"""An executor that weighs what travels through another one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import cloudpickle


class CountingExecutor(Executor):
    """Hands everything to another executor, and remembers what tasks and results take when they are sent.

    The executor's ``_client`` is there where the other one has it, so that whoever asks takes it for Dask's, and what
    is submitted through the client by itself is not counted.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._lock = threading.Lock()
        self.tasks: list[int] = []
        self.results: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._lock:
            self.tasks.append(len(cloudpickle.dumps((fn, args, kwargs))))
        future = self._executor.submit(fn, *args, **kwargs)
        future.add_done_callback(self._weigh)
        return future

    def _weigh(self, future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            with self._lock:
                self.results.append(len(cloudpickle.dumps(future.result())))

    def shutdown(self, *args: Any, **kwargs: Any) -> None:
        """Leave the other one as it is: whoever made it ends it."""
