"""Vectors in the order of the photographs they belong to, in a temporary file: any of them can be read at once.

A row of the file is float16: first a number that says what became of the vector, then the vector. A row that nobody
writes is zero, which says that there is none.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.features.base import Features, LocalFeatures, Modality, whole_keypoint

__all__ = ["REASONS", "AlignedVectors", "aligned", "as_features", "vector_of"]

REASONS = (
    "no embedding",
    "its embedding is null",
    "its embedding has numbers that are not finite",
    "its embedding is all zeros",
)
"""Why a photograph has no vector that could be used; their places are what a row's first number says."""
_GOOD = len(REASONS)
_EXPONENT = 15
"""The largest number of a vector is brought between 2 ** 14 and 2 ** 15."""


def aligned(vectors: NDArray[Any], present: NDArray[np.bool_] | None = None) -> NDArray[np.float16]:
    """Rows as the file has them.

    Vectors are compared at unit length, so their scale means nothing: each is multiplied by the power of two that lets
    it use the range of float16. No number overflows, one vanishes only below 2 ** -38 of the largest, and vectors that
    were float16 keep every bit.

    Parameters
    ----------
    vectors : ndarray of shape (m, dimension)
        Of any real type, those of the rows that are `present`.
    present : ndarray of shape (n,), bool, optional
        Which rows have a vector; None: all.

    Returns
    -------
    ndarray of shape (n, 1 + dimension), float16
    """
    vectors = vectors if vectors.dtype.kind == "f" else vectors.astype(np.float64)
    present = np.ones(len(vectors), np.bool_) if present is None else present
    state = np.full(len(vectors), _GOOD)
    finite = np.isfinite(vectors).all(axis=1)
    largest = np.abs(vectors, where=finite[:, None], out=np.zeros_like(vectors)).max(axis=1)
    state[largest == 0] = 3
    state[~finite] = 2
    good = state == _GOOD
    shift = _EXPONENT - np.frexp(largest[good])[1]
    rows = np.zeros((len(present), 1 + vectors.shape[1]), np.float16)
    rows[:, 0] = 1
    at = np.flatnonzero(present)
    rows[at, 0] = state
    rows[at[good], 1:] = np.ldexp(vectors[good], shift[:, None])
    return rows


class AlignedVectors:
    """A file of such rows. Threads may read it at once.

    Parameters
    ----------
    file : binary file, open for reading, and writing if any of it is to be written
        `close` closes it.
    dimension : int
    """

    def __init__(self, file: IO[bytes], dimension: int) -> None:
        self._file, self.dimension = file, dimension
        self._row_bytes = 2 * (1 + dimension)

    def __len__(self) -> int:
        return os.fstat(self._file.fileno()).st_size // self._row_bytes

    @classmethod
    def create(cls, file: IO[bytes], dimension: int, n_images: int) -> AlignedVectors:
        """An empty file made one of `n_images` rows that nobody has written."""
        found = cls(file, dimension)
        os.ftruncate(file.fileno(), n_images * found._row_bytes)
        return found

    @classmethod
    def open(cls, path: Path, dimension: int) -> AlignedVectors:
        """A file that has been written."""
        return cls(path.open("rb", buffering=0), dimension)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """One: ``pooled``, as of a CNN."""
        return (Modality("pooled", self.dimension, "float16"),)

    def write(self, places: NDArray[np.int64], rows: NDArray[np.float16]) -> None:
        """Write rows to their places; those that lie side by side in one go.

        Parameters
        ----------
        places : ndarray of shape (n,), int64
        rows : ndarray of shape (n, 1 + dimension), float16
        """
        cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        for start, stop in pairwise(cuts):
            if start < stop:
                self._write(int(places[start]) * self._row_bytes, rows[start:stop].tobytes())

    def _write(self, at: int, data: bytes) -> None:
        while data:  # not into a memory map: on a full disk that would be the end without a word
            n_bytes = os.pwrite(self._file.fileno(), data, at)
            at, data = at + n_bytes, data[n_bytes:]

    def of(self, place: int) -> NDArray[np.float16] | str:
        """The vector of a photograph, (dimension,), or the reason why there is none."""
        data = os.pread(self._file.fileno(), self._row_bytes, place * self._row_bytes)
        return vector_of(np.frombuffer(data, np.float16))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def vector_of(row: NDArray[np.float16]) -> NDArray[np.float16] | str:
    """What `AlignedVectors.of` gives for a row, (1 + dimension,)."""
    state = int(row[0])
    return row[1:] if state == _GOOD else REASONS[state]


def as_features(vector: NDArray[np.float16], width: int, height: int) -> Features:
    """The vector of a photograph of this size as its features."""
    return {"pooled": LocalFeatures(whole_keypoint(height, width), vector[None])}
