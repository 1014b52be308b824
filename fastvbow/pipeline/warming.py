"""Command ``warmup``: compile the kernels now, not at their first use."""

from __future__ import annotations

import time
from dataclasses import dataclass

from fastvbow.words.warming import cache_folder, compile_kernels, instructions

__all__ = ["Warmth", "warmup"]


@dataclass(frozen=True)
class Warmth:
    """What `warmup` did.

    Attributes
    ----------
    seconds : float
        How long it took; a second or two where the code was there already.
    cache : str
        Where the code is kept, for all processes of this user; empty where no folder can be written, and each process
        compiles for itself.
    instructions : str
        What the kernels use of this CPU.
    """

    seconds: float
    cache: str
    instructions: str


def warmup() -> Warmth:
    """Compile the Numba kernels and keep them on disk, so that no later process waits for the compiler."""
    start = time.perf_counter()
    compile_kernels()
    return Warmth(time.perf_counter() - start, cache_folder(), instructions())
