"""Arrays where vector instructions want them, and an allowance of memory that threads share."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["Allowance", "aligned", "keep_freed_memory", "physical_memory"]


def aligned(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a 64-byte cache line."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * (math.prod(shape) if isinstance(shape, tuple) else shape)
    buffer = np.zeros(size + 64, np.uint8)
    start = -buffer.__array_interface__["data"][0] % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


class Allowance:
    """Bytes that threads may use together; who wants more than is left waits for the others.

    Parameters
    ----------
    n_bytes : int
    """

    def __init__(self, n_bytes: int) -> None:
        self.n_bytes = self._left = n_bytes
        self._changed = threading.Condition()

    @contextmanager
    def take(self, n_bytes: int) -> Iterator[None]:
        """Hold some of it; at most all of it is asked for."""
        n_bytes = min(n_bytes, self.n_bytes)
        with self._changed:
            self._changed.wait_for(lambda: self._left >= n_bytes)
            self._left -= n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._left += n_bytes
                self._changed.notify_all()


def keep_freed_memory() -> None:
    """Let glibc keep what is freed, up to 62 MB a thread, for the next photograph.

    Else it returns a picture's pyramids to the kernel and takes them again as pages that fault: 200 an image in a
    thread, 2,400 in the main one, each some microseconds. Its thresholds follow the largest block, up to 32 MB, that
    was ever mapped and freed (mallopt(3), M_MMAP_THRESHOLD); elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
