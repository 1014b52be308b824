"""Groups against labels, and groups against other groups."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from sklearn.metrics import (
    adjusted_mutual_info_score,
    adjusted_rand_score,
    homogeneity_completeness_v_measure,
)
from sklearn.metrics.cluster import contingency_matrix

from fastvbow.errors import UsageError
from fastvbow.evaluation.pairing import paired

__all__ = ["clustering_scores", "group_agreement", "matched_accuracy"]


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


def clustering_scores(labels: Sequence[object] | ArrayLike, groups: ArrayLike) -> dict[str, float]:
    """How well groups recover labels; of all of them more is better, and 1 the most.

    Parameters
    ----------
    labels, groups : sequence of length n
        n is 1 or more.

    Returns
    -------
    dict of str to float
        - ``acc``: see `matched_accuracy`;
        - ``nmi``: mutual information over the mean of the two entropies, the same as ``v_measure``;
        - ``ari``: agreeing pairs, 0 for what chance brings (Hubert & Arabie 1985);
        - ``purity``: the share of images of their group's most frequent label; it rises with the number of groups;
        - ``ami``: mutual information, 0 for what chance brings (Vinh, Epps & Bailey 2010), fairer than ``nmi`` where
          groups are many;
        - ``homogeneity``, ``completeness``, ``v_measure``: whether a group has one label alone, whether a label is in
          one group alone, and their harmonic mean (Rosenberg & Hirschberg 2007).

    Raises
    ------
    UsageError
        There are not as many groups as labels, or none.

    References
    ----------
    L. Hubert and P. Arabie (1985), Comparing partitions, Journal of Classification 2.
    A. Rosenberg and J. Hirschberg (2007), V-measure: a conditional entropy-based external cluster evaluation measure.
    N. X. Vinh, J. Epps and J. Bailey (2010), Information theoretic measures for clusterings comparison, JMLR 11.
    """
    labels, groups = paired(labels, groups)
    table = contingency_matrix(labels, groups)
    homogeneity, completeness, v_measure = homogeneity_completeness_v_measure(labels, groups)
    return {
        "acc": matched_accuracy(labels, groups),
        "nmi": float(v_measure),
        "ari": float(adjusted_rand_score(labels, groups)),
        "purity": float(table.max(axis=0).sum() / table.sum()),
        "ami": float(adjusted_mutual_info_score(labels, groups)),
        "homogeneity": float(homogeneity),
        "completeness": float(completeness),
        "v_measure": float(v_measure),
    }


def group_agreement(partitions: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """How much runs agree on the groups of the same images: the adjusted Rand index of each two.

    Parameters
    ----------
    partitions : sequence of array-like of shape (n,)
        The group of each image in each run, in the same order of images. Groups need no common numbers.

    Returns
    -------
    ndarray of shape (n_runs * (n_runs - 1) / 2,), float64
        Runs 0 and 1, 0 and 2, ..., 1 and 2, ...: 1 where they agree, about 0 where by chance alone. None for one run.

    Raises
    ------
    UsageError
        Runs have different numbers of images.
    """
    runs = [np.asarray(groups) for groups in partitions]
    if len({len(groups) for groups in runs}) > 1:
        raise UsageError(f"runs have different numbers of images: {sorted({len(groups) for groups in runs})}")
    return np.array([adjusted_rand_score(a, b) for a, b in combinations(runs, 2)], np.float64)
