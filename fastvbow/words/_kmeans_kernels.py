"""Sums of rows per centre, and distances for seeding: Numba kernels beside those of the search.

Nothing is checked in here: callers hand over C-contiguous, writable arrays of the documented dtypes.
"""

from __future__ import annotations

import numpy as np

from fastvbow.compiling import entry, inner
from fastvbow.words import _simd
from fastvbow.words._simd import CANDIDATES, SEED_VECTORS

__all__ = ["count_sums", "order_by_label", "plus_plus", "select", "sketch", "weighted_sums"]

PART = 256  # rows whose share in the potential is summed before one is drawn

_difference_tile = _simd.difference_tile(CANDIDATES, SEED_VECTORS)


@entry()
def count_sums(X, labels, sums, counts):  # type: ignore[no-untyped-def]
    """sums[labels[i]] += X[i], counts[labels[i]] += 1, in whole numbers.

    Parameters
    ----------
    X : (n, d) uint8, C-contiguous, labels : (n,) int32    # IN
    sums : (K, d) uint32, counts : (K,) uint32             # INOUT
    """
    for i in range(X.shape[0]):
        c = labels[i]
        counts[c] += 1
        x, row = X[i], sums[c]
        for k in range(x.shape[0]):
            row[k] += x[k]


@entry()
def weighted_sums(X, labels, weights, sums, counts):  # type: ignore[no-untyped-def]
    """sums[labels[i]] += weights[i] * X[i], counts[labels[i]] += weights[i], in row order.

    Parameters
    ----------
    X : (n, d) uint8, float32 or float64, C-contiguous    # IN
    labels : (n,) int32, weights : (n,) float64           # IN
    sums : (K, d) float64, counts : (K,) float64          # INOUT
    """
    for i in range(X.shape[0]):
        c, w = labels[i], weights[i]
        counts[c] += w
        x, row = X[i], sums[c]
        for k in range(x.shape[0]):
            row[k] += w * np.float64(x[k])


@entry()
def order_by_label(labels, starts, order):  # type: ignore[no-untyped-def]
    """Row numbers label by label, ascending within each: a counting sort.

    Parameters
    ----------
    labels : (n,) int32 in [0, K)                                # IN
    starts : (K + 1,) int64                                      # OUT: where each label's rows begin
    order : (n,) int64                                           # OUT
    """
    K = starts.shape[0] - 1
    starts[:] = 0
    for i in range(labels.shape[0]):
        starts[labels[i] + 1] += 1
    for c in range(K):
        starts[c + 1] += starts[c]
    place = starts[:K].copy()
    for i in range(labels.shape[0]):
        c = labels[i]
        order[place[c]] = i
        place[c] += 1


@entry()
def select(uniforms, first, left, rows, found):  # type: ignore[no-untyped-def]
    """Go on choosing rows, each subset of one size being equally likely (Knuth, TAOCP 2, 3.4.2, algorithm S).

    Parameters
    ----------
    uniforms : (m,) float64 in [0, 1): the draws for rows first, first + 1, ...    # IN
    first : number of the first row, left : rows from it on                        # IN
    rows : (size,) int64: chosen rows, ascending                                   # INOUT
    found : how many were chosen before; returns how many there are now            # IN
    """
    wanted = rows.shape[0]
    for i in range(uniforms.shape[0]):
        if found < wanted and (left - i) * uniforms[i] < wanted - found:
            rows[found] = first + i
            found += 1
    return found


@entry()
def sketch(X, place, signs, out):  # type: ignore[no-untyped-def]
    """out[i, place[k]] += signs[k] * X[i, k], in the order of the columns, so that equal rows stay equal to the bit.

    Parameters
    ----------
    X : (n, d) float32 or float64                                             # IN
    place : (d,) int64; signs : (d,), +1 or -1, of the dtype of X             # IN
    out : (n, m) of the dtype of X                                            # INOUT
    """
    for i in range(X.shape[0]):
        for k in range(X.shape[1]):
            out[i, place[k]] += signs[k] * X[i, k]


@inner()
def _candidate_distances(packed, candidates, closest, out):  # type: ignore[no-untyped-def]
    """out[t, i] = min(closest[i], ||x_i - candidate_t||^2); see `plus_plus` for the arrays."""
    n_vectors, d, lanes = packed.shape
    size = packed.itemsize
    width = lanes * size
    zero = packed.dtype.type(0)
    for v in range(0, n_vectors, SEED_VECTORS):
        for t in range(0, candidates.shape[0], CANDIDATES):
            _difference_tile(
                candidates.ctypes.data + t * d * size,
                packed.ctypes.data + v * d * width,
                closest.ctypes.data + v * width,
                out.ctypes.data + (t * n_vectors + v) * width,
                n_vectors * width,
                d,
                zero,
            )


@inner()
def _draw(values, weights, parts, total, uniform):  # type: ignore[no-untyped-def]
    """The index of probability proportional to values * weights that `uniform`, in [0, 1), points at.

    `parts` holds the sums of `PART` of these products each.
    """
    wanted, running, part = uniform * total, 0.0, 0
    while part + 1 < parts.shape[0] and running + parts[part] <= wanted:
        running += parts[part]
        part += 1
    while parts[part] == 0.0 and part > 0:  # rounding led past the last one of positive weight
        part -= 1
    last = part * PART
    for i in range(part * PART, min(weights.shape[0], (part + 1) * PART)):
        value = np.float64(values[i]) * weights[i]
        if value > 0:
            last = i
            running += value
            if running > wanted:
                break
    return last


@inner(fastmath={"contract", "reassoc"})
def _potential(values, weights, first, last):  # type: ignore[no-untyped-def]
    total = 0.0
    for i in range(first, last):
        total += np.float64(values[i]) * weights[i]
    return total


@inner()
def _potentials(values, weights, parts):  # type: ignore[no-untyped-def]
    total = 0.0
    for part in range(parts.shape[0]):
        parts[part] = _potential(values, weights, part * PART, min(weights.shape[0], (part + 1) * PART))
        total += parts[part]
    return total


@entry()
def plus_plus(packed, X, weights, uniforms, candidates, closest, out, indices):  # type: ignore[no-untyped-def]
    """Greedy k-means++: every next centre is the best of some rows drawn by squared distance times weight.

    Parameters
    ----------
    packed : (n_vectors, d, lanes) float32 or float64, aligned: the rows as `_simd` lays out centres, zeros behind them;
        n_vectors is a multiple of SEED_VECTORS                                   # IN
    X : (n, d) of the same dtype; weights : (n,) float64                          # IN
    uniforms : (K, T) float64 in [0, 1): the draws                                # IN
    candidates : (>= T, d) of the dtype, a multiple of CANDIDATES rows            # scratch
    closest : (n_vectors * lanes,) ones; out : (len(candidates), n_vectors * lanes), both of the dtype, aligned  #
    scratch
    indices : (K,) int64                                                          # OUT
    """
    n, d, trials = X.shape[0], X.shape[1], uniforms.shape[1]
    picked, parts = np.empty(trials, np.int64), np.empty(-(-n // PART))
    for c in range(indices.shape[0]):
        total = _potentials(closest, weights, parts)
        if not total > 0:
            # Every row is a centre already: whatever comes next is a repetition.
            for i in range(n):
                closest[i] = 1
            total = _potentials(closest, weights, parts)
        many = 1 if c == 0 else trials
        for t in range(many):
            picked[t] = _draw(closest, weights, parts, total, uniforms[c, t])
            for k in range(d):
                candidates[t, k] = X[picked[t], k]
        if c == 0:
            for i in range(n):
                closest[i] = np.inf
        _candidate_distances(packed, candidates, closest, out)
        best, lowest = 0, np.inf
        for t in range(many):
            potential = _potential(out[t], weights, 0, n)
            if potential < lowest:
                best, lowest = t, potential
        for i in range(closest.shape[0]):
            closest[i] = out[best, i]
        indices[c] = picked[best]
