"""How close the members of a group are to one another, without labels: what K-Means is judged by."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from sklearn.metrics import silhouette_score

from fastvbow.errors import UsageError

__all__ = ["inertia", "silhouette"]

_ROWS = 2**22  # numbers of the inertia looked at together: 32 MB


def inertia(X: ArrayLike, groups: ArrayLike, centers: ArrayLike | None = None) -> float:
    """Sum of squared distances of the rows to the centres of their groups: what K-Means makes small.

    Parameters
    ----------
    X : array-like of shape (n, d)
    groups : array-like of shape (n,), int
    centers : array-like of shape (K, d), default=None
        Those of the groups 0 to K - 1. None takes the mean of each group's rows.

    Returns
    -------
    float
        0 for no row.

    Raises
    ------
    UsageError
        There is not one group for each row, or a group has no centre.
    """
    X, groups = np.asarray(X), np.asarray(groups)
    if X.ndim != 2 or groups.shape != (len(X),):
        raise UsageError(f"X must be of shape (n, d) and groups of shape (n,), got {X.shape} and {groups.shape}")
    if centers is None:
        numbers, groups = np.unique(groups, return_inverse=True)
        members = sp.csr_array((np.ones(len(X)), groups, np.arange(len(X) + 1)), shape=(len(X), len(numbers)))
        means = (members.T @ X.astype(np.float64, copy=False)) / np.bincount(groups, minlength=len(numbers))[:, None]
    else:
        means = np.asarray(centers, np.float64)
        if means.ndim != 2 or means.shape[1] != X.shape[1]:
            raise UsageError(f"centers must be of shape (K, {X.shape[1]}), got {means.shape}")
        if len(groups) and not 0 <= groups.min() <= groups.max() < len(means):
            raise UsageError(f"groups must be from 0 to {len(means) - 1}, one for each centre")
    total, step = 0.0, max(1, _ROWS // max(1, X.shape[1]))
    for begin in range(0, len(X), step):
        off = X[begin : begin + step] - means[groups[begin : begin + step]]
        total += float(np.einsum("nd,nd->", off, off))
    return total


def silhouette(X: Any, groups: ArrayLike, *, max_rows: int = 5_000, metric: str = "euclidean", seed: int = 0) -> float:
    """Mean silhouette of the rows (Rousseeuw 1987): scikit-learn's, of a sample where there are many rows.

    A row's is (b - a) / max(a, b) with a its mean distance to the others of its group and b the least mean distance to
    the rows of another group; 0 for a row that is alone in its group.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n, d)
    groups : array-like of shape (n,), int
    max_rows : int, default=5_000
        Rows looked at, drawn without replacement where there are more: all distances between them are computed.
    metric : str, default="euclidean"
        See `sklearn.metrics.pairwise_distances`.
    seed : int, default=0
        Of the sample.

    Returns
    -------
    float
        From -1 (rows are nearer to other groups) to 1 (groups are far from one another). NaN where it is not defined:
        the rows looked at are all of one group, or each is alone in its own.

    Raises
    ------
    UsageError
        There is not one group for each row, or `max_rows` is below 2.

    References
    ----------
    P. J. Rousseeuw (1987), Silhouettes, Journal of Computational and Applied Mathematics 20.
    """
    if max_rows < 2:
        raise UsageError(f"max_rows must be 2 or more, got {max_rows}")
    X, member = sp.csr_array(X) if sp.issparse(X) else np.asarray(X), np.asarray(groups)
    n = X.shape[0]
    if member.shape != (n,):
        raise UsageError(f"groups must be of shape ({n},), one for each row, got {member.shape}")
    if n > max_rows:
        rows = np.sort(np.random.default_rng(seed).choice(n, max_rows, replace=False))
        X, member = X[rows], member[rows]
    if not 1 < len(np.unique(member)) < len(member):
        return float("nan")
    return float(silhouette_score(X, member, metric=metric))
