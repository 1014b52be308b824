"""Mini-batch steps with scikit-learn's semantics (Sculley 2010, algorithm 1)."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastvbow.words._rows import as_block, float_dtype, release
from fastvbow.words._sweep import Pool, Sweep, sweep

__all__ = ["Run"]


class Run:
    """The memory of a run of steps: how many rows each centre has seen.

    Parameters
    ----------
    n_clusters : int
    reassignment_ratio : float
        Centres that have seen fewer rows than this share of the most frequent one move to random rows of the batch.
    """

    def __init__(self, n_clusters: int, reassignment_ratio: float) -> None:
        self.counts = np.zeros(n_clusters)
        self.reassignment_ratio = reassignment_ratio
        self._seen_since_reassignment = 0

    def step(
        self,
        batch: np.ndarray,
        weights: np.ndarray | None,
        centers: np.ndarray,
        pool: Pool,
        random_state: Any,
        precision: str,
    ) -> Sweep:
        """Move `centers` (float64, in place) by one batch; return what was found before the move."""
        K = len(centers)
        found = sweep(
            batch,
            centers.astype(float_dtype(batch)),
            pool,
            precision=precision,
            weights=weights,
            labels=False,
            distances=True,
            sums=True,
        )
        old, counts = self.counts.copy(), self.counts
        counts += found.counts
        moved = found.counts > 0
        # c <- (c * old + sum of the batch) / (old + weight of the batch): the rate 1 / count of algorithm 1
        centers[moved] = (centers[moved] * old[moved, None] + found.sums[moved]) / counts[moved, None]
        self._seen_since_reassignment += len(batch)
        if self.reassignment_ratio > 0 and ((old == 0).any() or self._seen_since_reassignment >= 10 * K):
            self._seen_since_reassignment = 0
            rare = counts < min(1.0, self.reassignment_ratio) * counts.max()
            if rare.sum() > 0.5 * len(batch):
                rare[np.argsort(counts, kind="stable")[int(0.5 * len(batch)) :]] = False
            if rare.any():
                centers[rare] = as_block(batch, random_state.choice(len(batch), int(rare.sum()), replace=False))
                counts[rare] = counts[~rare].min()
        return found

    def fit(
        self,
        X: Any,
        weights: np.ndarray | None,
        centers: np.ndarray,
        pool: Pool,
        random_state: Any,
        *,
        batch_size: int,
        max_iter: int,
        tol: float,
        max_no_improvement: int | None,
        precision: str,
    ) -> int:
        """Step through random batches of X until a rule ends it; move `centers` in place, return the number of
        steps."""
        n = len(X)
        cumulative = None if weights is None else np.cumsum(weights)
        smoothed, smallest, no_improvement = None, np.inf, 0
        for step in range((max_iter * n) // batch_size):
            if cumulative is None:
                rows = random_state.randint(0, n, batch_size)
            else:  # drawn by weight, hence of weight one from here on
                draws = random_state.uniform(size=batch_size) * cumulative[-1]
                last = int(np.searchsorted(cumulative, cumulative[-1]))
                rows = np.minimum(np.searchsorted(cumulative, draws, side="right"), last)
            before = centers.copy()
            batch = as_block(X, np.sort(rows))  # sorted: a memory map is read forwards
            release(X)
            inertia = self.step(batch, None, centers, pool, random_state, precision).inertia / batch_size
            if step == 0:
                continue  # measured before any centre had moved
            alpha = min(1.0, batch_size * 2.0 / (n + 1))
            smoothed = inertia if smoothed is None else smoothed * (1 - alpha) + inertia * alpha
            if tol > 0 and np.sum((centers - before) ** 2) <= tol:
                break
            no_improvement = 0 if smoothed < smallest else no_improvement + 1
            smallest = min(smallest, smoothed)
            if max_no_improvement is not None and no_improvement >= max_no_improvement:
                break
        return step + 1
