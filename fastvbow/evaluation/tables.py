"""Labels and groups one by one: who is where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy
from sklearn.metrics.cluster import contingency_matrix

from fastvbow.evaluation.pairing import paired

__all__ = ["GroupTables", "group_tables"]


@dataclass(frozen=True, eq=False)
class GroupTables:
    """What each label became, what each group holds, and the counts behind both.

    Attributes
    ----------
    labels : ndarray of shape (n_labels,)
        Ascending.
    groups : ndarray of shape (n_groups,), int64
        Those that are used: first the matched ones, in the order of their labels, then the others, the largest first.
        It is the order of the columns.
    counts : ndarray of shape (n_labels, n_groups), int64
        The confusion table: images of each label in each group.
    label_group : ndarray of shape (n_labels,), int64
        The group with most of the label's images; of equals the first column.
    label_recall : ndarray of shape (n_labels,), float64
        The share of the label's images that this group has.
    label_entropy : ndarray of shape (n_labels,), float64
        Of the label's images over groups, in nats: 0 where one group has all.
    matched_group : ndarray of shape (n_labels,), int64
        The group of the label under the matching of `matched_accuracy`; -1 where there are fewer groups than labels.
    matched_recall : ndarray of shape (n_labels,), float64
        The share of the label's images in it; 0 where there is none. Weighted by size its mean is the accuracy.
    group_label : ndarray of shape (n_groups,)
        The most frequent label of each group; of equals the first.
    group_purity : ndarray of shape (n_groups,), float64
        The share of the group's images that have it.
    group_entropy : ndarray of shape (n_groups,), float64
        Of the group's images over labels, in nats.
    group_match : ndarray of shape (n_groups,), int64
        The place in `labels` of the matched label; -1 where there are fewer labels than groups.
    """

    labels: NDArray[Any]
    groups: NDArray[np.int64]
    counts: NDArray[np.int64]
    label_group: NDArray[np.int64]
    label_recall: NDArray[np.float64]
    label_entropy: NDArray[np.float64]
    matched_group: NDArray[np.int64]
    matched_recall: NDArray[np.float64]
    group_label: NDArray[Any]
    group_purity: NDArray[np.float64]
    group_entropy: NDArray[np.float64]
    group_match: NDArray[np.int64]


def group_tables(labels: Sequence[object] | ArrayLike, groups: ArrayLike) -> GroupTables:
    """Count the images of each label in each group, and match the two one to one.

    The matching is the one of most images (Hungarian). Groups and labels without an image have no row or column.

    Parameters
    ----------
    labels : sequence of length n
    groups : array-like of shape (n,), int

    Returns
    -------
    GroupTables

    Raises
    ------
    UsageError
        There are not as many groups as labels, or none.
    """
    labels, groups = paired(labels, groups)
    names, numbers = np.unique(labels), np.unique(groups)
    table = contingency_matrix(labels, groups).astype(np.int64)
    rows, columns = linear_sum_assignment(table, maximize=True)
    by_size = np.argsort(-table.sum(axis=0), kind="stable")
    order = np.concatenate([columns, by_size[~np.isin(by_size, columns)]])
    table, numbers = table[:, order], numbers[order].astype(np.int64)
    matched, match = np.full(len(names), -1), np.full(len(numbers), -1)
    matched[rows], match[: len(rows)] = np.arange(len(rows)), rows
    sizes, held = table.sum(axis=1), table.sum(axis=0)
    everyone = np.arange(len(names))
    best = table.argmax(axis=1)
    return GroupTables(
        labels=names,
        groups=numbers,
        counts=table,
        label_group=numbers[best],
        label_recall=table[everyone, best] / sizes,
        label_entropy=_entropy(table / sizes[:, None]),
        matched_group=np.where(matched >= 0, numbers[matched], -1),
        matched_recall=np.where(matched >= 0, table[everyone, matched], 0) / sizes,
        group_label=names[table.argmax(axis=0)],
        group_purity=table.max(axis=0) / held,
        group_entropy=_entropy((table / held).T),
        group_match=match.astype(np.int64),
    )


def _entropy(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each row, in nats."""
    return np.maximum(-xlogy(shares, shares).sum(axis=1), 0.0)
