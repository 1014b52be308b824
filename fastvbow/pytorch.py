"""PyTorch where a method trains: imported when it is first asked for, and the same bytes for a seed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from threadpoolctl import threadpool_limits

from fastvbow.errors import MissingExtraError

__all__ = ["load_torch", "reproducible"]


def load_torch(purpose: str, extra: str) -> Any:
    """PyTorch.

    Parameters
    ----------
    purpose : str
        What needs it, the subject of the error's sentence.
    extra : str
        The extra of this package that brings it.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    try:
        return import_module("torch")
    except ImportError:
        raise MissingExtraError(purpose, "PyTorch", extra) from None


@contextmanager
def reproducible(torch: Any, seed: int) -> Iterator[None]:
    """One thread (of BLAS too), deterministic operations, the global generator at the seed; then all is as it was.

    Parameters
    ----------
    torch : module
        See `load_torch`.
    seed : int
    """
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.set_num_threads(1)  # sums depend on how many there are
        torch.use_deterministic_algorithms(True)
        with torch.random.fork_rng(devices=[]), threadpool_limits(limits=1, user_api="blas"):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.set_num_threads(threads)
