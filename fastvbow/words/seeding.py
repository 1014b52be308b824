"""Starting centres for K-Means."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.random import sample_without_replacement

from fastvbow.memory import aligned
from fastvbow.words import _kmeans_kernels as kernels
from fastvbow.words._rows import as_block, float_dtype, release
from fastvbow.words._simd import CANDIDATES, LANES, SEED_VECTORS
from fastvbow.words.assignment import writable

SKETCH = 64
"""Dimensions in which k-means++ measures distances. Half the time for SIFT, a twentieth for CNN features."""

__all__ = ["affordable_rows", "greedy_trials", "kmeans_plus_plus", "random_rows", "sampled_rows", "starting_centers"]


def greedy_trials(n_clusters: int) -> int:
    """How many rows k-means++ tries for each centre."""
    return 2 + int(np.log(n_clusters))


def affordable_rows(n_clusters: int, budget: float) -> int:
    """Rows for k-means++ that keep the number of its distances near `budget`: 3 to 100 for each centre.

    Where rows form clusters, more rows find more of them; where they do not, as with SIFT, 3 a centre do.
    """
    wanted = budget / (n_clusters * greedy_trials(n_clusters))
    return int(max(3 * n_clusters, min(100 * n_clusters, wanted), min(wanted, 3000)))


def starting_centers(
    X: Any,
    n_clusters: int,
    random_state: np.random.RandomState,
    *,
    method: str,
    sample_weight: np.ndarray | None,
    size: int,
) -> np.ndarray:
    """Choose starting centres among `size` random rows.

    Parameters
    ----------
    X : ndarray or Shards of shape (n, d), uint8, float16, float32 or float64, any stride
    n_clusters : int
    random_state : RandomState
    method : {"k-means++", "random"}
    sample_weight : ndarray of shape (n,), float64, or None
    size : int, n_clusters <= size <= n

    Returns
    -------
    centers : ndarray of shape (n_clusters, d), float32, or float64 where X is float64
    """
    rows, weights = sampled_rows(len(X), sample_weight, size, random_state)
    sample = as_block(X, rows).astype(float_dtype(X), copy=False)
    release(X)
    choose = random_rows if method == "random" else kmeans_plus_plus
    return sample[choose(sample, n_clusters, random_state, sample_weight=weights)]


def sampled_rows(
    n: int, weights: np.ndarray | None, size: int, random_state: np.random.RandomState
) -> tuple[np.ndarray, np.ndarray | None]:
    """Draw `size` of n rows, ascending, without replacement; and what weight each then stands for.

    Rows with weights are a priority sample (Duffield, Lund & Thorup 2007): heavy rows are in it for certain, and sums
    of the returned weights estimate those of all without bias. Rows without weight are never drawn, so there may be
    fewer.

    Parameters
    ----------
    n : int
    weights : ndarray of shape (n,), float64, or None
    size : int
    random_state : RandomState
    """
    if weights is None:
        if size >= n:
            return np.arange(n), None
        if n > 50 * size:
            return np.sort(sample_without_replacement(n, size, random_state=random_state)), None
        rows, found = np.empty(size, np.int64), 0
        for first in range(0, n, 1 << 20):
            uniforms = random_state.uniform(size=min(1 << 20, n - first))
            found = kernels.select(uniforms, first, n - first, rows, found)
        return rows, None
    positive = np.flatnonzero(weights > 0)
    if len(positive) <= size:
        return positive, weights[positive]
    priority = weights[positive] / (1 - random_state.uniform(size=len(positive)))
    order = np.argpartition(-priority, size)
    rows = np.sort(positive[order[:size]])
    return rows, np.maximum(weights[rows], priority[order[size]])


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
    X = np.ascontiguousarray(X)
    weights = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    trials = greedy_trials(n_clusters) if n_local_trials is None else n_local_trials
    sketch = _sketched(X, random_state)
    uniforms = random_state.uniform(size=(n_clusters, trials))
    indices = _plus_plus(sketch, weights, uniforms)
    if sketch is not X and len(np.unique(indices)) < n_clusters:
        # Rows that are zero but for a few columns may be equal in the sketch alone.
        indices = _plus_plus(X, weights, uniforms)
    return indices


def _plus_plus(rows: np.ndarray, weights: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    (n, d), (n_clusters, trials) = rows.shape, uniforms.shape
    lanes = LANES * 4 // rows.itemsize
    n_vectors = -(-n // (lanes * SEED_VECTORS)) * SEED_VECTORS
    packed = aligned((n_vectors, d, lanes), rows.dtype)
    full = np.zeros((n_vectors * lanes, d), rows.dtype)
    full[:n] = rows
    packed[:] = full.reshape(n_vectors, lanes, d).transpose(0, 2, 1)
    candidates = aligned((-(-trials // CANDIDATES) * CANDIDATES, d), rows.dtype)
    out = aligned((len(candidates), n_vectors * lanes), rows.dtype)
    closest = aligned(n_vectors * lanes, rows.dtype)
    closest[:] = 1
    indices = np.empty(n_clusters, np.int64)
    kernels.plus_plus(packed, writable(rows), writable(weights), uniforms, candidates, closest, out, indices)
    return indices


def _sketched(X: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Rows of `SKETCH` dimensions at nearly the same distances: sums of random groups of columns with random signs.

    A count sketch (Charikar, Chen & Farach-Colton 2002); equal rows stay equal to the bit.
    """
    d = X.shape[1]
    if d <= SKETCH:
        return X
    place = np.empty(d, np.int64)
    place[random_state.permutation(d)] = np.arange(d) * SKETCH // d
    signs = np.asarray(random_state.randint(0, 2, size=d) * 2 - 1, dtype=X.dtype)
    out = np.zeros((len(X), SKETCH), X.dtype)
    kernels.sketch(writable(X), place, signs, out)
    return out


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
