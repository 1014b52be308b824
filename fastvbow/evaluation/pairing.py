"""Labels and groups of the same images, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastvbow.errors import UsageError

__all__ = ["paired"]


def paired(labels: Sequence[object] | ArrayLike, groups: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as arrays.

    Raises
    ------
    UsageError
        There are not as many groups as labels, or none.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if len(labels) != len(groups) or not len(labels):
        raise UsageError(f"as many groups as labels are wanted, one or more: got {len(groups)} and {len(labels)}")
    return labels, groups
