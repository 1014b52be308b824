"""Arrays where vector instructions want them, or on disk, and an allowance of memory that threads share."""

from __future__ import annotations

import ctypes
import errno
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Allowance", "aligned", "array_on_disk", "keep_freed_memory", "physical_memory"]


def array_on_disk(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    """A new ``.npy`` file as a memory map, its space on disk reserved.

    Whoever writes to a map of a file that the disk has no room for is killed (SIGBUS), and no error tells why.

    Raises
    ------
    OSError
        There is no room, or the file cannot be written.
    """
    out = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape, version=(1, 0))
    with path.open("r+b") as file:
        try:
            os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
                raise OSError(error.errno, error.strerror, str(path)) from None
            # otherwise the file system cannot reserve
    return out


def aligned(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a 64-byte cache line."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * (math.prod(shape) if isinstance(shape, tuple) else shape)
    buffer = np.zeros(size + 64, np.uint8)
    start = -buffer.__array_interface__["data"][0] % 64
    return buffer[start : start + size].view(dtype).reshape(shape)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


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
    was ever mapped and freed (mallopt(3), M_MMAP_THRESHOLD); elsewhere this does nothing. They follow nothing where the
    environment sets one of them, as Dask does for its workers, which then took half as long again for a photograph:
    there both are set.
    """
    np.empty(31 << 20, np.uint8)
    if "MALLOC_TRIM_THRESHOLD_" in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_TRIM_THRESHOLD, 62 << 20)
            mallopt(_M_MMAP_THRESHOLD, 31 << 20)


def physical_memory() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
