"""The nearest of many centres, exactly, at the speed of bytes where the CPU and the data allow.

Float route: one fused pass over register tiles (``_simd``), no distance matrix, no BLAS.

Byte route (uint8 rows, a CPU that sums products of bytes): the centres, less the middle of their range in each
dimension, are rounded to 8 bits on one scale. Rounding moves a score by at most ||x - m|| ||r_c||, where r_c is what
rounding took from centre c and m any fixed vector (its share is folded into the norms). With ``precision="exact"`` the
centres that this bound leaves in question, 2 or 3 for a quarter of SIFT descriptors and one for the rest, are scored
again in the arithmetic of the float route: the labels are **guaranteed** to equal those of the float route, for any
input. With ``"fast"`` the rounded scores decide: on SIFT 99 % of the labels are equal and the inertia grows by tens of
ppm.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from fastvbow.memory import aligned
from fastvbow.words import _assign_kernels as kernels
from fastvbow.words import _simd
from fastvbow.words._packing import Bytes, Floats, pack_floats, round_centers
from fastvbow.words._simd import CHAINS, LANES

__all__ = ["PackedCenters", "bytes_will_do", "writable"]


def writable(block: np.ndarray) -> np.ndarray:
    """The same memory under a writable array: Numba compiles everything again for read-only ones, and nobody writes."""
    if block.flags.writeable:
        return block
    memory: Any = (ctypes.c_char * block.nbytes).from_address(block.ctypes.data)
    memory.owner = block  # the map must not be closed under the alias
    return np.ndarray(block.shape, block.dtype, memory)


class PackedCenters:
    """Centres laid out for the search.

    Parameters
    ----------
    centers : ndarray of shape (K, d), float32 or float64
        Finite; their dtype is that of the arithmetic.
    precision : {"exact", "fast"}, default="exact"
        What decides between centres for uint8 rows; see the module.
    """

    def __init__(self, centers: np.ndarray, precision: str = "exact") -> None:
        self.centers = writable(np.ascontiguousarray(centers))
        self._exact = precision == "exact"
        self._floats: dict[bool, Floats] = {}
        self._bytes = round_centers(self.centers) if _simd.DOT and self.centers.dtype == np.float32 else None

    def assign(self, block: np.ndarray, labels: np.ndarray) -> int:
        """Write the nearest centre of every row of `block` to `labels`; the lowest of equals.

        Parameters
        ----------
        block : ndarray of shape (n, d), uint8, float32 or float64, C-contiguous
        labels : ndarray of shape (n,), int32

        Returns
        -------
        int
            Rows without a finite score: they hold NaN, infinity, or values too large for the arithmetic.
        """
        if block.size == 0:
            labels[:] = 0
            return 0
        block = writable(block)
        if block.dtype != np.uint8 or self._bytes is None:
            return self._assign_float(block, labels)
        t, d = self._bytes, block.shape[1]
        tile = aligned((kernels.SPAN, t.rounded.shape[1]), np.uint8)
        best, runner_up, index = (aligned((kernels.SPAN, LANES), np.int32) for _ in range(3))
        if not self._exact:
            kernels.assign_int8(block, t.table, t.norms, tile, best, index, labels)
            return 0
        pairs, whole = np.empty((len(block) // 4 + 2 * LANES, 2), np.int32), np.empty(len(block), np.int32)
        bounds = (t.near, t.radius, t.largest, t.slack, self.centers, t.error)
        scratch = (tile, best, runner_up, index)
        n_pairs, n_whole = kernels.assign_int8_exact(block, t.table, t.norms, *bounds, *scratch, labels, pairs, whole)
        floats = self.floats(np.uint8)
        chains = np.zeros((CHAINS, d), np.float32), np.zeros(CHAINS, np.float32), np.zeros(CHAINS, np.int64)
        kernels.score_pairs(block, floats.moved, floats.halves, pairs[:n_pairs], *chains, labels)
        if n_whole:
            rows = whole[:n_whole]
            found = np.empty(n_whole, np.int32)
            self._assign_float(block[rows], found)
            labels[rows] = found
        return 0

    def _assign_float(self, block: np.ndarray, labels: np.ndarray) -> int:
        t = self.floats(block.dtype)
        dtype, d, lanes = self.centers.dtype, block.shape[1], t.norms.shape[1]
        in_place = block.dtype == dtype and not t.shift.any()
        stride = d + 16  # no power of two: rows would fall into the same sets of the cache
        tile, best = aligned((kernels.SPAN, stride), dtype), aligned((kernels.SPAN, lanes), dtype)
        index = aligned((kernels.SPAN, lanes), f"i{dtype.itemsize}")
        return int(kernels.assign_float(block, t.packed, t.norms, t.shift, in_place, stride, tile, best, index, labels))

    def floats(self, dtype: Any) -> Floats:
        """The packed centres for rows of a dtype."""
        of_bytes = dtype == np.uint8
        if of_bytes not in self._floats:
            self._floats[of_bytes] = pack_floats(self.centers, of_bytes)
        return self._floats[of_bytes]

    def bytes_for(self, dtype: Any) -> Bytes | None:
        """The rounded centres, if they alone decide for rows of this dtype."""
        return self._bytes if dtype == np.uint8 and not self._exact else None


def bytes_will_do(centers: np.ndarray) -> bool:
    """Whether centres are so far apart that rounding them to 8 bits hardly changes which is nearest.

    The rounding of a centre moves the squared distance to a row by about 2 ||x|| ||r|| / sqrt(d); that must be little
    beside the squared distance from a centre to its nearest neighbour. It is for local descriptors, 1 % for SIFT; it is
    not for colours, where many centres stand within a few units of one another.

    Parameters
    ----------
    centers : ndarray of shape (K, d)
    """
    C = centers.astype(np.float64)
    K, d = C.shape
    if K == 1:
        return True
    some = C[:: -(-K // 64)]
    square = np.einsum("kd,kd->k", some, some)[:, None] + np.einsum("kd,kd->k", C, C) - 2 * some @ C.T
    square[np.arange(len(some)), np.arange(0, K, -(-K // 64))] = np.inf
    apart = max(0.0, float(np.median(square.min(axis=1))))  # equal centres: rounding may lead below
    scale = np.ptp(C, axis=0).max() / 254
    lost = scale * np.sqrt(d / 12)
    reach = np.sqrt(np.mean(np.sum((C - C.mean(axis=0)) ** 2, axis=1)) + apart)
    return 2 * reach * lost / np.sqrt(d) <= 0.02 * apart
