"""Compile the K-Means kernels ahead of their first use."""

from __future__ import annotations

import numpy as np

from fastvbow.compiling import cache_path
from fastvbow.words import _simd
from fastvbow.words._assign_kernels import assign_float
from fastvbow.words._neighbours import NEIGHBOURS
from fastvbow.words.kmeans import KMeans
from fastvbow.words.minibatch import MiniBatchKMeans
from fastvbow.words.seeding import sampled_rows

__all__ = ["cache_folder", "compile_kernels", "instructions"]


def compile_kernels() -> None:
    """Run every kernel once on a little of each kind of rows, uint8, float32 and float64; float16 becomes float32."""
    rng = np.random.default_rng(0)
    K = 4 * NEIGHBOURS  # as many as it takes for passes over neighbours
    sampled_rows(10, None, 5, np.random.RandomState(0))
    # Neighbours are compared as bytes where many dimensions keep them apart, else as floats.
    for dtype, d in ((np.uint8, 64), (np.uint8, 2), (np.float32, 2), (np.float64, 2)):
        X = rng.integers(0, 256, (20 * K, d)).astype(dtype)
        weights = np.ones(len(X))
        for precision in ("exact", "fast"):
            KMeans(2, max_iter=2, precision=precision, random_state=0).fit(X, sample_weight=weights)
        MiniBatchKMeans(K, init="random", n_init=1, max_iter=2, random_state=0).fit(X).predict(X)


def instructions() -> str:
    """What the kernels were compiled for, in words."""
    dots = f"{_simd.DOT} for bytes" if _simd.DOT else "no dot product of bytes"
    return f"{_simd.LANES} float32 in a vector, {dots}"


def cache_folder() -> str:
    """Where the compiled code is kept; "" where there is no place that can be written."""
    return cache_path(assign_float.compiled) or ""
