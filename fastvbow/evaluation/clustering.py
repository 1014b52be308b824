"""Groups against labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix

__all__ = ["clustering_scores", "matched_accuracy"]


def matched_accuracy(labels: Sequence[object] | ArrayLike, groups: ArrayLike) -> float:
    """ACC: the share of images in the right group under the best one-to-one matching of groups to labels.

    The matching is Hungarian on the contingency table, which need not be square: groups beyond the number of labels
    stay unmatched and their images count as wrong.

    Parameters
    ----------
    labels, groups : sequence of length n
    """
    table = contingency_matrix(np.asarray(labels), np.asarray(groups))
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / table.sum())


def clustering_scores(labels: Sequence[object] | ArrayLike, groups: NDArray[np.int32]) -> dict[str, float]:
    """``acc`` (see `matched_accuracy`), ``nmi`` (arithmetic mean), ``ari`` (Hubert & Arabie 1985) and ``purity``.

    Parameters
    ----------
    labels, groups : sequence of length n
    """
    labels = np.asarray(labels)
    table = contingency_matrix(labels, groups)
    return {
        "acc": matched_accuracy(labels, groups),
        "nmi": float(normalized_mutual_info_score(labels, groups)),
        "ari": float(adjusted_rand_score(labels, groups)),
        "purity": float(table.max(axis=0).sum() / table.sum()),
    }
