"""How far apart mixtures are, within a label and over all images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["mean_symmetric_kl", "symmetric_kl_scores"]


def mean_symmetric_kl(theta: NDArray[np.float64]) -> float:
    """Mean over all pairs i != j of the symmetric divergence (KL(i || j) + KL(j || i)) / 2, in nats.

    The sum over pairs splits, so that it takes O(n K) instead of O(n^2 K):
    sum_ij KL(i || j) = n sum_ik theta_ik log theta_ik - sum_k (sum_i theta_ik)(sum_j log theta_jk).

    Parameters
    ----------
    theta : ndarray of shape (n, K), float64
        Positive rows that sum to 1 (a mixture from the sampler is never 0: the prior sees to that).

    Returns
    -------
    float
        NaN where there are fewer than two rows.

    Raises
    ------
    ValueError
        A value is not positive.
    """
    if len(theta) < 2:
        return float("nan")
    if not (theta > 0).all():
        raise ValueError("mixtures have to be positive: KL divergence is infinite at 0")
    log = np.log(theta)
    n = len(theta)
    total = n * float((theta * log).sum()) - float(theta.sum(axis=0) @ log.sum(axis=0))
    return max(total / (n * (n - 1)), 0.0)


def symmetric_kl_scores(theta: NDArray[np.float64], labels: Sequence[object] | ArrayLike) -> dict[str, float]:
    """``symkl_within``, ``symkl_global`` and their ratio.

    Within is the mean over labels of the mean over the label's pairs (labels of one image have none and are left out).
    Both fall where mixtures are merely smoother; their ratio does not, so that is the figure to compare.

    Parameters
    ----------
    theta : ndarray of shape (n, K), float64
    labels : sequence of length n
    """
    labels = np.asarray(labels)
    means = [mean_symmetric_kl(theta[labels == label]) for label in np.unique(labels)]
    kept = [mean for mean in means if not np.isnan(mean)]
    within = float(np.mean(kept)) if kept else float("nan")
    overall = mean_symmetric_kl(theta)
    return {
        "symkl_within": within,
        "symkl_global": overall,
        "symkl_ratio": within / overall if overall else float("nan"),
    }
