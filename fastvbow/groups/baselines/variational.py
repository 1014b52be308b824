"""Variational LDA, the reference system's topic model, on the word counts that the Gibbs sampler gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.decomposition import LatentDirichletAllocation

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.alignment import by_id, given_order

__all__ = ["VariationalTopics", "variational_topics"]


@dataclass(frozen=True)
class VariationalTopics:
    """What variational LDA found.

    Attributes
    ----------
    theta : ndarray of shape (n, n_topics), float64
        Each image's mixture, rows sum to 1, in the order of the images that were given.
    groups : ndarray of shape (n,), int32
        The most probable topic, the lowest number where two tie.
    """

    theta: NDArray[np.float64]
    groups: NDArray[np.int32]


def variational_topics(
    image_ids: Sequence[str], counts: sp.csr_matrix, n_topics: int, *, seed: int, max_iter: int
) -> VariationalTopics:
    """Topics by batch variational Bayes with alpha = eta = 1 / n_topics (scikit-learn; Hoffman et al. 2010).

    Parameters
    ----------
    image_ids : sequence of str
        One each a row.
    counts : sparse matrix of shape (n, n_words)
        How often each word occurs in each image; weighted counts need not be whole.
    n_topics : int
    seed : int
    max_iter : int
        Passes over the images.

    Raises
    ------
    UsageError
        There are fewer than one topic or more than images, or the ids do not fit the rows.

    References
    ----------
    M. Hoffman, D. Blei and F. Bach, "Online learning for latent Dirichlet allocation", NIPS 2010.
    """
    order = by_id(image_ids, counts.shape[0])
    if not 1 <= n_topics <= counts.shape[0]:
        raise UsageError(f"{counts.shape[0]} images have no {n_topics} topics: pass 1 to {counts.shape[0]}")
    model = LatentDirichletAllocation(n_topics, learning_method="batch", max_iter=max_iter, random_state=seed)
    theta = np.asarray(given_order(order, model.fit_transform(counts[order])), np.float64)
    return VariationalTopics(theta, theta.argmax(axis=1).astype(np.int32))
