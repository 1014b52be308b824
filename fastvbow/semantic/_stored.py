"""The arrays of a stored estimator, handed out only where they are what the estimator wants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError

__all__ = ["StoredArrays"]


class StoredArrays:
    """Arrays by name, from a file that may be damaged."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
        self._arrays, self._path = arrays, path

    def take(self, name: str, dtype: Any, *shape: int | None) -> NDArray[Any]:
        """An array of this type and shape (None: any length above 0), without NaN and infinity."""
        array = self._arrays.get(name)
        fits = (
            array is not None
            and array.dtype == dtype
            and array.ndim == len(shape)
            and all(n > 0 and wanted in (None, n) for n, wanted in zip(array.shape, shape, strict=True))
        )
        if array is None or not fits:
            found = "nothing" if array is None else f"{array.dtype} of shape {array.shape}"
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            raise StoreCorruptError(
                f"{self._path}: array {name!r} should be {np.dtype(dtype)} of shape ({wanted}), found {found}: delete "
                "the model and make it again"
            )
        if not np.isfinite(array).all():
            raise StoreCorruptError(
                f"{self._path}: array {name!r} holds NaN or infinity: delete the model and make it again"
            )
        return array

    def take_indices(self, name: str, length: int | None) -> NDArray[np.int64]:
        """Numbers of rows of a bank, ascending and each once."""
        array = self.take(name, np.int64, length)
        if array[0] < 0 or (np.diff(array) <= 0).any():
            raise StoreCorruptError(
                f"{self._path}: array {name!r} should be ascending numbers of rows: delete the model and make it again"
            )
        return array
