"""Dirichlet priors that fit the counts: Minka's fixed point (Minka 2000, eq. 55; Wallach 2008, section 2.3)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

__all__ = ["fit_alpha", "fit_eta"]

STEPS = 5
"""Iterations at a time: the counts go on changing anyway."""
LEAST = 1e-5
"""A topic that no document has would lose its prior, and could never come back."""


def fit_alpha(parts: Callable[[], Iterable[NDArray[np.float64]]], alpha: NDArray[np.float64]) -> NDArray[np.float64]:
    """An asymmetric prior of documents' topics.

    alpha_k <- alpha_k sum_d [psi(n_dk + alpha_k) - psi(alpha_k)] / sum_d [psi(n_d + sum alpha) - psi(sum alpha)]

    Parameters
    ----------
    parts : callable
        Returns the counts of topics in documents, (n, K) float64, some documents at a time, whenever it is called.
    alpha : ndarray of shape (K,), float64
        To start from.

    Returns
    -------
    ndarray of shape (K,), float64
        At least `LEAST`.
    """
    for _ in range(STEPS):
        above, below, total = np.zeros(len(alpha)), 0.0, alpha.sum()
        for ndz in parts():
            for k in range(len(alpha)):
                counts = ndz[:, k]
                counts = counts[counts > 0]  # the others contribute nothing
                above[k] += np.sum(digamma(counts + alpha[k])) - len(counts) * digamma(alpha[k])
            below += float(np.sum(digamma(ndz.sum(axis=1) + total) - digamma(total)))
        if below <= 0:
            return alpha
        alpha = np.maximum(alpha * above / below, LEAST)
    return alpha


def fit_eta(nzw: NDArray[np.float64], eta: float) -> float:
    """A symmetric prior of topics' words.

    eta <- eta sum_kw [psi(n_wk + eta) - psi(eta)] / (V sum_k [psi(n_k + V eta) - psi(V eta)])

    Parameters
    ----------
    nzw : ndarray of shape (V, K), float64
    eta : float
        To start from.

    Returns
    -------
    float
        At least `LEAST`.
    """
    n_words = len(nzw)
    counts, totals = nzw[nzw > 0], nzw.sum(axis=0)
    for _ in range(STEPS):
        above = float(np.sum(digamma(counts + eta))) - counts.size * float(digamma(eta))
        below = n_words * float(np.sum(digamma(totals + n_words * eta) - digamma(n_words * eta)))
        if below <= 0:
            return eta
        eta = max(eta * above / below, LEAST)
    return eta
