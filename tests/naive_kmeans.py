"""Slow twins of the K-Means engine: what its kernels compute, in plain NumPy, in float64 or whole numbers."""

from __future__ import annotations

import numpy as np


def squared_distances(X, centers):
    """All of them, (n, K), from the differences."""
    X, centers = np.asarray(X, np.float64), np.asarray(centers, np.float64)
    return np.array([np.sum((centers - x) ** 2, axis=1) for x in X]).reshape(len(X), len(centers))


def nearest(X, centers):
    D = squared_distances(X, centers)
    labels = D.argmin(axis=1)
    return labels, D[np.arange(len(X)), labels]


def center_sums(X, labels, weights, K):
    sums, counts = np.zeros((K, X.shape[1])), np.zeros(K)
    for x, label, w in zip(np.asarray(X, np.float64), labels, weights, strict=True):
        sums[label] += w * x
        counts[label] += w
    return sums, counts


def packed(rows, lanes, vectors=1, missing=0):
    """[c // lanes][k][c % lanes], filled up with `missing` to a multiple of `vectors` vectors."""
    n_vectors = -(-len(rows) // (lanes * vectors)) * vectors
    out = np.full((n_vectors, rows.shape[1], lanes), missing, rows.dtype)
    for c, row in enumerate(rows):
        out[c // lanes, :, c % lanes] = row
    return out


def packed_bytes(rows, lanes):
    """[c // lanes][k // 4][c % lanes][k % 4], zeros where there is nothing."""
    out = np.zeros((-(-len(rows) // lanes), -(-rows.shape[1] // 4), lanes, 4), np.int8)
    for c, row in enumerate(rows):
        for k, value in enumerate(row):
            out[c // lanes, k // 4, c % lanes, k % 4] = value
    return out


def two_lowest(scores, lanes):
    """Of every row and lane: lowest score, the next, and the number of the vector that has the lowest first."""
    n, K = scores.shape
    by_lane = scores.reshape(n, K // lanes, lanes)
    ordered = np.sort(by_lane, axis=1)
    return ordered[:, 0], ordered[:, 1], by_lane.argmin(axis=1)


def plus_plus_potential(X, chosen):
    """What k-means++ lowers: the sum of squared distances to the nearest of the chosen rows."""
    return nearest(X, np.asarray(X)[chosen])[1].sum()


def greedy_plus_plus(X, weights, uniforms):
    """k-means++ of which every choice is the best of uniforms.shape[1] draws; the first of all centres has one draw."""
    weights = np.ones(len(X)) if weights is None else weights
    closest, rows = None, []
    for draws in uniforms:
        draws = draws if rows else draws[:1]
        cumulated = np.cumsum(weights if closest is None else closest * weights)
        drawn = np.searchsorted(cumulated, draws * cumulated[-1], side="right")
        after = squared_distances(X, np.asarray(X)[drawn]).T
        after = after if closest is None else np.minimum(closest, after)
        best = (after @ weights).argmin() if rows else 0
        rows.append(int(drawn[best]))
        closest = after[best]
    return rows


def parallel_draw(X, candidates, uniforms, wanted):
    """The rows that a round of k-means|| draws: each by itself, with probability wanted d^2 / sum of all d^2."""
    sqdist = nearest(X, candidates)[1]
    return np.flatnonzero(1 - uniforms < wanted * sqdist / sqdist.sum())


def long_lloyd(X, centers, max_iter, tol, longer):
    """Lloyd's passes over all rows, in which a step goes on by a part of its length but for the last one.

    A centre without rows goes to the row farthest from its centre; returns centres, inertia, passes.
    """
    for n_iter in range(1, max_iter + 1):
        labels, sqdist = nearest(X, centers)
        sums, counts = center_sums(X, labels, np.ones(len(X)), len(centers))
        empty = np.flatnonzero(counts == 0)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centers).astype(np.float32)
        settled = counts @ np.sum((moved - centers.astype(float)) ** 2, axis=1) <= tol * sqdist.sum()
        rows = []
        for i in np.argsort(-sqdist, kind="stable"):
            if sqdist[i] > 0 and len(rows) < len(empty) and not any((X[i] == row).all() for row in rows):
                rows.append(X[i])
        for center, row in zip(empty, rows, strict=False):
            moved[center] = row
        settled = settled and not rows
        if not settled and not len(empty) and n_iter < max_iter:
            moved = (centers + longer * (moved.astype(float) - centers)).astype(np.float32)
        centers = moved
        if settled:
            break
    return centers, sqdist.sum(), n_iter
