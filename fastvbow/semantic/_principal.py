"""Principal components of embeddings, those that vary much held back: where ICBPL begins."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvbow.semantic._rows import blocks

__all__ = ["Principal", "principal_components"]

_LEAST_SHARE = 1e-6
"""Components with less of the greatest variance are rounding, and would be blown up."""


class Principal(NamedTuple):
    """A linear map: (rows - mean) @ matrix.

    Attributes
    ----------
    mean : ndarray of shape (d,), float64
    matrix : ndarray of shape (d, m), float64
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    def of(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Rows on the components: ndarray of shape (n, m), float32."""
        out = np.empty((len(rows), self.matrix.shape[1]), np.float32)
        for part in blocks(*rows.shape):
            out[part] = (rows[part] - self.mean) @ self.matrix
        return out


def principal_components(rows: NDArray[np.float32], n_components: int, whitening: float) -> Principal | None:
    """The first principal components, each divided by its standard deviation to the power of `whitening`.

    The rows come out with a mean squared length of 1.

    Parameters
    ----------
    rows : ndarray of shape (n, d), float32
    n_components : int
        At most; fewer where the rows do not vary in so many directions.
    whitening : float
        0: components as they are; 1: all of one variance.

    Returns
    -------
    Principal or None
        None where all rows are the same.
    """
    width = rows.shape[1]
    parts = blocks(*rows.shape)
    mean = sum((rows[part].sum(axis=0, dtype=np.float64) for part in parts), np.zeros(width)) / len(rows)
    covariance = np.zeros((width, width))
    for part in parts:
        apart = rows[part] - mean
        covariance += apart.T @ apart
    variances, directions = np.linalg.eigh(covariance / len(rows))
    variances, directions = variances[::-1][:n_components], directions[:, ::-1][:, :n_components]
    # float32 rows that are the same have variances of rounding, about 1e-15
    used = variances > max(_LEAST_SHARE * variances[0], 1e-12)
    if not used.any():
        return None
    variances, directions = variances[used], directions[:, used]
    # an eigenvector's sign is anyone's: its greatest number is made positive, so that libraries agree
    greatest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[greatest, np.arange(len(variances))])
    matrix = directions * variances ** (-whitening / 2)
    return Principal(mean, matrix / np.sqrt((variances ** (1 - whitening)).sum()))
