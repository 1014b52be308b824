"""Slow twins of the evaluation's figures: from every pair, in plain Python."""

from __future__ import annotations

import itertools
import math

import numpy as np


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def js(p, q):
    return sum(
        (a * math.log(2 * a / (a + b)) if a else 0) + (b * math.log(2 * b / (a + b)) if b else 0)
        for a, b in zip(p, q, strict=True)
    ) / 2  # fmt: skip


DISTANCES = {
    "symkl": lambda p, q: (kl(p, q) + kl(q, p)) / 2,
    "kl": kl,
    "js": js,
    "l1": lambda p, q: sum(abs(a - b) for a, b in zip(p, q, strict=True)),
    "l2": lambda p, q: sum((a - b) ** 2 for a, b in zip(p, q, strict=True)),
}


def frequencies(rows, smoothing):
    """Additive smoothing, cell by cell; None leaves the rows as they are."""
    rows = [[float(value) for value in row] for row in np.asarray(rows)]
    if smoothing is None:
        return rows
    return [[(value + smoothing) / sum(v + smoothing for v in row) for value in row] for row in rows]


def pair_scores(rows, labels, measure, smoothing=None):
    """The paper's figures: the mean over ordered pairs of each label that has two rows, and over all of them."""
    rows, distance = frequencies(rows, smoothing), DISTANCES[measure]
    within, every = {}, []
    for i, j in itertools.permutations(range(len(rows)), 2):
        every.append(distance(rows[i], rows[j]))
        if labels[i] == labels[j]:
            within.setdefault(labels[i], []).append(every[-1])
    within = {label: sum(values) / len(values) for label, values in sorted(within.items())}
    mean = sum(within.values()) / len(within) if within else math.nan
    overall = sum(every) / len(every) if every else math.nan
    return within, mean, overall, mean / overall if within and overall else math.nan


def matched_similarity(first, other):
    """The greatest mean cosine of topics over every one-to-one matching."""
    if len(first) > len(other):
        first, other = other, first
    cosine = [[a @ b / math.sqrt((a @ a) * (b @ b)) for b in other] for a in first]
    chosen = itertools.permutations(range(len(other)), len(first))
    return max(sum(row[j] for row, j in zip(cosine, picks, strict=True)) / len(first) for picks in chosen)


def silhouette(X, groups):
    """Rousseeuw 1987, row by row; a row alone in its group has 0."""
    values = []
    for i, x in enumerate(X):
        mean = {
            g: np.mean([math.dist(x, y) for j, y in enumerate(X) if groups[j] == g and j != i] or [0])
            for g in set(groups)
        }
        if list(groups).count(groups[i]) == 1:
            values.append(0.0)
            continue
        own, near = mean[groups[i]], min(value for g, value in mean.items() if g != groups[i])
        values.append((near - own) / max(own, near) if max(own, near) else 0.0)
    return float(np.mean(values))


def inertia(X, groups):
    """The sum over groups of the squared distances of all ordered pairs, over twice the group's size."""
    total = 0.0
    for g in set(groups):
        members = [x for x, other in zip(X, groups, strict=True) if other == g]
        total += sum(math.dist(x, y) ** 2 for x in members for y in members) / (2 * len(members))
    return total


def chi_square(table):
    """Pearson's statistic from its cells."""
    n, total = sum(map(sum, table)), 0.0
    for row in table:
        for j, count in enumerate(row):
            expected = sum(row) * sum(other[j] for other in table) / n
            total += (count - expected) ** 2 / expected
    return total
