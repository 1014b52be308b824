"""Greedy facility location and k-center by every similarity, one step after the other."""

from __future__ import annotations

import numpy as np

__all__ = ["naive_facility_location", "naive_k_center"]


def unit(rows):
    rows = np.asarray(rows, float)
    return np.array([row / np.linalg.norm(row) if np.linalg.norm(row) else row for row in rows])


def naive_facility_location(rows, n, known=(), groups=None, quotas=None):
    rows, chosen, left = unit(rows), [], None if quotas is None else list(quotas)

    def total(some):
        return sum(max([-1.0, *(float(x @ rows[j]) for j in some)]) for x in rows)

    while len(chosen) < n:
        best, most = None, -np.inf
        for row in range(len(rows)):
            if row in known or row in chosen or (left is not None and left[groups[row]] == 0):
                continue
            value = round(total([*known, *chosen, row]) - total([*known, *chosen]), 4)
            if value > most:
                best, most = row, value
        if best is None:
            break
        chosen.append(best)
        if left is not None:
            left[groups[best]] -= 1
    return chosen


def naive_k_center(rows, n, known=(), groups=None, quotas=None):
    rows, chosen, left = unit(rows), [], None if quotas is None else list(quotas)
    while len(chosen) < n:
        best, least = None, np.inf
        for row in range(len(rows)):
            if row in known or row in chosen or (left is not None and left[groups[row]] == 0):
                continue
            held = [*known, *chosen]
            value = max(rows[row] @ rows[j] for j in held) if held else -rows[row] @ unit([rows.mean(axis=0)])[0]
            if round(value, 6) < least:
                best, least = row, round(value, 6)
        if best is None:
            break
        chosen.append(best)
        if left is not None:
            left[groups[best]] -= 1
    return chosen
