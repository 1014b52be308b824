"""How uncertain mixtures are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["entropies", "margins"]

_BLOCK = 1 << 14  # rows at a time, so that memory does not grow with their number


def entropies(theta: NDArray[np.floating]) -> NDArray[np.float64]:
    """The entropy of each mixture in nats, -sum_k theta_k ln theta_k.

    Parameters
    ----------
    theta : ndarray of shape (n_rows, n_topics), floating

    Returns
    -------
    ndarray of shape (n_rows,), float64
    """
    out = np.zeros(len(theta))
    for start in range(0, len(theta), _BLOCK):
        block = np.asarray(theta[start : start + _BLOCK], np.float64)
        out[start : start + _BLOCK] = -(block * np.log(np.where(block > 0, block, 1.0))).sum(axis=1)
    return out


def margins(theta: NDArray[np.floating]) -> NDArray[np.float64]:
    """How much more probable the most probable topic is than the second (Scheffer et al. 2001); 1 for a single topic.

    Parameters
    ----------
    theta : ndarray of shape (n_rows, n_topics), floating

    Returns
    -------
    ndarray of shape (n_rows,), float64
    """
    out = np.ones(len(theta))
    if theta.shape[1] > 1:
        for start in range(0, len(theta), _BLOCK):
            top = np.partition(np.asarray(theta[start : start + _BLOCK], np.float64), -2, axis=1)[:, -2:]
            out[start : start + _BLOCK] = top[:, 1] - top[:, 0]
    return out
