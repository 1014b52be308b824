"""Starting centres for K-Means."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
from sklearn.utils.random import sample_without_replacement

from fastvbow.words import _kmeans_kernels as kernels
from fastvbow.words._kmeans_blocks import as_block, float_dtype, sweep

__all__ = ["kmeans_plus_plus", "random_rows", "starting_centers"]


def starting_centers(
    X: np.ndarray,
    n_clusters: int,
    random_state: np.random.RandomState,
    *,
    method: str,
    sample_weight: np.ndarray | None,
    size: int,
    n_init: int,
    pool: Executor,
    n_threads: int,
) -> np.ndarray:
    """Choose starting centres among `size` random rows, `n_init` times, and return the best.

    Parameters
    ----------
    X : ndarray of shape (n, d), uint8, float16, float32 or float64, any stride
    n_clusters : int
    random_state : RandomState
    method : {"k-means++", "random"}
    sample_weight : ndarray of shape (n,), float64, or None
    size : int, n_clusters <= size <= n
    n_init : int
        Above 1, the start of least inertia on `size` rows, drawn once with replacement, is taken.
    pool, n_threads : executor and its number of threads

    Returns
    -------
    centers : ndarray of shape (n_clusters, d), float32, or float64 where X is float64
    """
    n, dtype = len(X), float_dtype(X)
    test_rows = np.sort(random_state.randint(0, n, size)) if n_init > 1 else np.empty(0, np.int64)
    test_weights = None if sample_weight is None else sample_weight[test_rows]
    best, best_inertia = np.empty((0, X.shape[1]), dtype), np.inf
    for start in range(n_init):
        rows = np.sort(sample_without_replacement(n, size, random_state=random_state)) if size < n else np.arange(n)
        sample = as_block(X, rows).astype(dtype)
        w = None if sample_weight is None or not sample_weight[rows].any() else sample_weight[rows]
        choose = random_rows if method == "random" else kmeans_plus_plus
        centers = sample[choose(sample, n_clusters, random_state, sample_weight=w)]
        if n_init == 1:
            return centers
        inertia = sweep(as_block(X, test_rows), centers, pool, n_threads, test_weights).inertia
        if start == 0 or inertia < best_inertia:
            best, best_inertia = centers, inertia
    return best


def kmeans_plus_plus(
    X: np.ndarray,
    n_clusters: int,
    random_state: np.random.RandomState,
    *,
    sample_weight: np.ndarray | None = None,
    n_local_trials: int | None = None,
) -> np.ndarray:
    """Choose rows far apart: k-means++ (Arthur & Vassilvitskii 2007), greedy variant.

    Every next centre is drawn with probability proportional to its weighted squared distance to the nearest chosen one
    (their D^2 weighting, section 2.2); of `n_local_trials` such draws the one that lowers the potential most is kept.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
    n_clusters : int
    random_state : RandomState
    sample_weight : ndarray of shape (n,), float64, default=None
    n_local_trials : int, default=None
        2 + int(log(n_clusters)) when None.

    Returns
    -------
    indices : ndarray of shape (n_clusters,), int64
        Rows of X. They repeat only where X has fewer distinct rows of positive weight than `n_clusters`.

    References
    ----------
    D. Arthur and S. Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.
    """
    n = len(X)
    weights = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    trials = 2 + int(np.log(n_clusters)) if n_local_trials is None else n_local_trials
    Xt = np.ascontiguousarray(X.T)
    if not Xt.flags.writeable or np.shares_memory(Xt, X):
        Xt = Xt.copy()
    closest = np.full(n, np.inf, X.dtype)
    indices = np.empty(n_clusters, np.int64)
    uniform = np.cumsum(weights)
    indices[0] = _draw(uniform, random_state.uniform(size=1))[0]
    out = np.empty((1, n), X.dtype)
    kernels.candidate_distances(Xt, X[indices[:1]], closest, out)
    closest = out[0].copy()
    out = np.empty((trials, n), X.dtype)
    for c in range(1, n_clusters):
        cumulative = np.cumsum(closest * weights)
        draws = random_state.uniform(size=trials)
        # A potential of zero: every row is already a centre, whatever comes next is a repetition.
        candidates = _draw(cumulative if cumulative[-1] > 0 else uniform, draws)
        kernels.candidate_distances(Xt, X[candidates], closest, out)
        potentials = np.einsum("ti,i->t", out, weights)
        best = int(np.argmin(potentials))
        closest[:] = out[best]
        indices[c] = candidates[best]
    return indices


def random_rows(
    X: np.ndarray, n_clusters: int, random_state: np.random.RandomState, *, sample_weight: np.ndarray | None = None
) -> np.ndarray:
    """Draw `n_clusters` row numbers of X without replacement, with probability proportional to their weight.

    Where fewer rows than `n_clusters` have a positive weight, these repeat.
    """
    if sample_weight is None:
        return random_state.choice(len(X), n_clusters, replace=False)
    positive = np.flatnonzero(sample_weight > 0)
    if len(positive) < n_clusters:
        return np.resize(random_state.permutation(positive), n_clusters)
    return random_state.choice(len(X), n_clusters, replace=False, p=sample_weight / sample_weight.sum())


def _draw(cumulative: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Index i with probability proportional to cumulative[i] - cumulative[i - 1]."""
    last = int(np.searchsorted(cumulative, cumulative[-1]))  # the last index of positive weight
    return np.minimum(np.searchsorted(cumulative, uniform * cumulative[-1], side="right"), last)
