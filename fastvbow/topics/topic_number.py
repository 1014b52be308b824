"""How many topics: the number of groups in which documents lie nearest to their own group and farthest from the next.

Documents are clustered by K-Means, as for the sampler's start (`fastvbow.topics.initial`), into 2, 3, ... groups, and
the number with the highest mean silhouette (Rousseeuw 1987, Silhouettes: a graphical aid) is proposed. The figures of
the topic model itself do not tell: it foretells held-out words the better the more topics it has, and groups are most
stable where there are two. `benchmarks/README.md` has the comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import pairwise_distances, silhouette_score

from fastvbow.cancelling import check_cancelled

__all__ = ["Proposal", "numbers_to_try", "propose_number"]

SAMPLE = 4000
"""So many documents are looked at: their distances take 64 MB."""
STARTS = 10
"""K-Means from so many seedings for each number."""
DENSE = 50
"""Every number up to this one is tried; beyond it they lie 5 % apart."""
LEAST_IN_GROUP = 5
"""No number is tried with which a group would have fewer documents on average."""


@dataclass(frozen=True)
class Proposal:
    """What was found.

    Attributes
    ----------
    n_topics : int
        The number with the highest mean silhouette, the lowest of equals; 1 where none could be tried.
    curve : list of (int, float)
        Each number that was tried, and its mean silhouette, from -1 to 1.
    """

    n_topics: int
    curve: list[tuple[int, float]]


def numbers_to_try(n_documents: int, most: int) -> list[int]:
    """The numbers of topics that are worth a look: 2 to `most`, as far as there are documents for them."""
    most = min(most, max(2, n_documents // LEAST_IN_GROUP)) if n_documents > 2 else 0
    numbers, number = [], 2
    while number <= most:
        numbers.append(number)
        number = max(number + 1, number * 21 // 20) if number >= DENSE else number + 1
    return numbers


def propose_number(
    embedding: NDArray[np.float32], most: int, *, seed: int, progress: Callable[[int, int], object] | None = None
) -> Proposal:
    """Propose a number of topics.

    Parameters
    ----------
    embedding : ndarray of shape (n_docs, d), float32
        A row that is not finite stands for a document of which nothing is known. Of more than `SAMPLE` documents as
        many are drawn.
    most : int
        The greatest number to try.
    seed : int
    progress : callable (done, total), optional
        Called after each number.

    Returns
    -------
    Proposal
    """
    known = np.flatnonzero(np.isfinite(embedding).all(axis=1))
    if len(known) > SAMPLE:
        known = np.sort(np.random.default_rng(seed).choice(known, SAMPLE, replace=False))
    documents = embedding[known]
    numbers, curve = numbers_to_try(len(documents), most), []
    distances: NDArray[Any] = pairwise_distances(documents) if numbers else np.zeros((0, 0))
    for done, number in enumerate(numbers, 1):
        check_cancelled()
        groups = KMeans(number, n_init=STARTS, random_state=seed).fit(documents).labels_
        if len(np.unique(groups)) < number:  # there are no more documents that differ
            break
        curve.append((number, float(silhouette_score(distances, groups, metric="precomputed"))))
        if progress is not None:
            progress(done, len(numbers))
    best = max(curve, key=lambda point: (point[1], -point[0]), default=(1, 0.0))
    return Proposal(best[0], curve)
