"""How well topics coincide with classes, from a table of what they have in common."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["Overlap", "independent", "overlap", "rows_to_one"]


@dataclass(frozen=True)
class Overlap:
    """Pixels under the classes that their topics stand for, against their own.

    Attributes
    ----------
    label : ndarray of shape (K,), int64
        The column of the class that each topic stands for; -1: none.
    iou : ndarray of shape (C,), float64
        Of each class: pixels that are both of the class and under a topic that stands for it, by pixels that are
        either; 0 for a class that no topic stands for, NaN for one without pixels.
    mean_iou : float
        Mean over the classes that have pixels. K topics stand for K classes at most, so it is at most K / C.
    accuracy : float
        The share of pixels under a topic that stands for their class.
    """

    label: NDArray[np.int64]
    iou: NDArray[np.float64]
    mean_iou: float
    accuracy: float


def overlap(table: ArrayLike, *, one_to_one: bool = False) -> Overlap:
    """Let each topic stand for a class, and compare.

    Parameters
    ----------
    table : array-like of shape (K, C)
        Pixels (or mass) of each class under each topic.
    one_to_one : bool, default=False
        False: each topic stands for the class that it has the most of (the first of equals), several perhaps for the
        same one; a topic that has nothing stands for none. True: the matching of topics to different classes with the
        most pixels in all (Hungarian method; the table need not be square), in which topics beyond the number of
        classes stand for none.

    Returns
    -------
    Overlap
        NaN where nothing was counted.
    """
    given = np.asarray(table, np.float64)
    n_topics, n_classes = given.shape
    label = np.full(n_topics, -1, np.int64)
    if one_to_one:
        rows, columns = linear_sum_assignment(given, maximize=True)
        label[rows] = columns
    elif n_classes:
        label = np.where(given.any(axis=1), given.argmax(axis=1), -1)
    right, under = np.zeros(n_classes), np.zeros(n_classes)
    known = np.flatnonzero(label >= 0)
    np.add.at(right, label[known], given[known, label[known]])
    np.add.at(under, label[known], given[known].sum(axis=1))
    of_class = given.sum(axis=0)
    present = of_class > 0
    iou = np.full(n_classes, np.nan)
    iou[present] = right[present] / (of_class + under - right)[present]
    total = float(given.sum())
    return Overlap(
        label,
        iou,
        float(iou[present].mean()) if present.any() else float("nan"),
        float(right.sum() / total) if total else float("nan"),
    )


def independent(table: ArrayLike) -> NDArray[np.float64]:
    """The table that topics without any tie to the classes would give in the mean: n_k. n_.c / n.

    Parameters
    ----------
    table : array-like of shape (K, C)
    """
    given = np.asarray(table, np.float64)
    total = given.sum()
    return np.outer(given.sum(axis=1), given.sum(axis=0)) / total if total else np.zeros_like(given)


def rows_to_one(table: ArrayLike) -> NDArray[np.float64]:
    """Each topic's shares: rows that sum to 1, or to 0 where a topic has nothing.

    Parameters
    ----------
    table : array-like of shape (K, C)
    """
    given = np.asarray(table, np.float64)
    total = given.sum(axis=1, keepdims=True)
    return np.divide(given, total, out=np.zeros_like(given), where=total > 0)
