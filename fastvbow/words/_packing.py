"""Centres as the kernels read them: packed for the register tiles, in floating point or rounded to bytes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastvbow.memory import aligned
from fastvbow.words import _simd
from fastvbow.words._simd import LANES

__all__ = ["Bytes", "Floats", "pack_floats", "round_centers"]

_ROOM = 1 << 29  # scores and limits stay below, so that no sum of two leaves 32 bits


class Floats(NamedTuple):
    """Centres as `assign_float` reads them; what is taken off rows is taken off centres too."""

    packed: np.ndarray  # (n_vectors, d, lanes)
    norms: np.ndarray  # (n_vectors, lanes): half squared norms, +inf where there is no centre
    shift: np.ndarray  # (d,)
    moved: np.ndarray  # (K, d): shift - centers

    @property
    def halves(self) -> np.ndarray:
        """The norms of the centres there are, (K,)."""
        return self.norms.reshape(-1)[: len(self.moved)]


class Bytes(NamedTuple):
    """Centres as `assign_int8` reads them, and the bounds of `assign_int8_exact`."""

    table: np.ndarray  # (n_vectors, d_padded // 4, LANES, 4) int8
    norms: np.ndarray  # (n_vectors, LANES) int32
    rounded: np.ndarray  # (K, d_padded) int8: the negated centres, row by row
    near: np.ndarray  # (d,) float32: a vector amid the data
    radius: np.ndarray  # (K,) float32: what rounding took from each centre, in units of the scores
    largest: np.float32  # of these
    slack: np.float32  # what else may change a difference of scores
    error: np.float32  # bound on the error of a difference of two scores of the float route


def pack_floats(centers: np.ndarray, of_bytes: bool) -> Floats:
    """Lay out centres for `assign_float`.

    Parameters
    ----------
    centers : ndarray of shape (K, d), float32 or float64
    of_bytes : bool
        Whether rows are uint8: these need no shift.
    """
    K, d = centers.shape
    dtype, lanes = centers.dtype, LANES * 4 // centers.itemsize
    shift = np.zeros(d, dtype) if of_bytes else _shift(centers)
    n_vectors = -(-K // lanes)
    full = np.zeros((n_vectors * lanes, d), dtype)
    moved = np.subtract(shift, centers, out=full[:K])
    packed = aligned((n_vectors, d, lanes), dtype)
    packed[:] = full.reshape(n_vectors, lanes, d).transpose(0, 2, 1)
    norms = aligned((n_vectors, lanes), dtype)
    norms[:] = np.inf
    norms.reshape(-1)[:K] = 0.5 * np.einsum("kd,kd->k", moved, moved, dtype=np.float64)
    return Floats(packed, norms, shift, moved)


def _shift(centers: np.ndarray) -> np.ndarray:
    """What to take off rows and centres, so that data far from the origin keep their digits: zero if they are near."""
    # Medians: one stray centre must not take the digits of the others.
    middle = np.median(centers, axis=0).astype(np.float64)
    spread = float(np.median(np.abs(centers - middle).max(axis=1, initial=0.0)))
    if np.abs(middle).max(initial=0.0) <= 8 * spread:
        return np.zeros_like(centers[0])
    # On a grid no finer than the spread integer data stay integer: exact ties remain exact ties.
    grid = 2.0 ** np.floor(np.log2(spread)) if spread > 0 else 0.0
    return (np.rint(middle / grid) * grid if grid > 0 else middle).astype(centers.dtype)


def round_centers(centers: np.ndarray) -> Bytes | None:
    """Centres in 8 bits, (K, d) float32, or None where 32 bits cannot hold their scores.

    With m the middle of the centres' range in each dimension and s one scale for all, c = m + s (q + r), q whole
    numbers of 8 bits. A score (||c||^2 / 2 - x.c) / s is, but for x.m, which all centres share,
    (||c||^2 / 2s - near.r) - x.q - (x - near).r: the first is a whole number after rounding, the last is neglected.
    """
    C = centers.astype(np.float64)
    K, d = C.shape
    middle = (C.max(axis=0) + C.min(axis=0)) / 2
    largest = np.abs(C - middle).max(initial=0.0)
    scale = largest / 127 if largest > 0 else 1.0
    q = np.rint((C - middle) / scale)
    lost = (C - middle) / scale - q
    near = np.rint(C.mean(axis=0)).astype(np.float32)
    norms = np.einsum("kd,kd->k", C, C) / 2 / scale - lost @ near.astype(np.float64)
    norms -= (norms.max() + norms.min()) / 2
    if _simd.DOT == "sdot":  # x - 128 is what will be multiplied
        norms -= 128 * q.sum(axis=1)
    radius = np.linalg.norm(lost, axis=1)
    # Beyond the rounding of the centres: that of two norms, of the limit, and the float route's own errors,
    # (d + 2) u (||c||^2 / 2 + ||x|| ||c||) a score by the usual bound of a chain of d fused additions.
    length = np.linalg.norm(C, axis=1).max()
    chain = (d + 2) * 2.0**-24 * (length**2 / 2 + 255 * np.sqrt(d) * length)
    slack = 4 + 2.2 * chain / scale
    farthest = np.sqrt(d) * (255 + np.abs(near).max(initial=0.0))
    reach = np.abs(norms).max() + 255 * np.abs(q).sum(axis=1).max() + 2.1 * farthest * radius.max() + slack
    if not reach < _ROOM:
        return None
    n_vectors, d_padded = -(-K // LANES), -(-d // 4) * 4
    full = np.zeros((n_vectors * LANES, d_padded), np.int8)
    full[:K, :d] = -q
    table = aligned((n_vectors, d_padded // 4, LANES, 4), np.int8)
    table[:] = full.reshape(n_vectors, LANES, d_padded // 4, 4).transpose(0, 2, 1, 3)
    rounded = aligned((n_vectors, LANES), np.int32)
    rounded[:] = 2 * _ROOM
    rounded.reshape(-1)[:K] = np.rint(norms)
    f4 = np.float32
    bounds = (near, radius.astype(f4), f4(radius.max() * 1.0001), f4(slack), f4(2.2 * chain))
    return Bytes(table, rounded, full[:K], *bounds)
