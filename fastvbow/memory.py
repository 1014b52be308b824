"""Arrays where vector instructions want them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

__all__ = ["aligned"]


def aligned(shape: int | tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that start on a 64-byte cache line."""
    dtype = np.dtype(dtype)
    size = dtype.itemsize * (math.prod(shape) if isinstance(shape, tuple) else shape)
    buffer = np.zeros(size + 64, np.uint8)
    start = -buffer.__array_interface__["data"][0] % 64
    return buffer[start : start + size].view(dtype).reshape(shape)
