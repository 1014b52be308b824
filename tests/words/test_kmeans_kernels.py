"""The compiled kernels one by one, against their plain-NumPy twins."""

from __future__ import annotations

import naive_kmeans as naive
import numpy as np
import pytest

from fastvbow.memory import aligned
from fastvbow.words import _assign_kernels, _kmeans_kernels
from fastvbow.words._simd import CANDIDATES, CHAINS, LANES, SEED_VECTORS
from fastvbow.words.assignment import PackedCenters

DTYPES = [np.uint8, np.float32, np.float64]


def rows(n, d, dtype, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, d)).astype(dtype) if dtype == np.uint8 else rng.normal(size=(n, d)).astype(dtype)


@pytest.mark.parametrize("d", [1, 5, 128])
@pytest.mark.parametrize("n", [0, 1, 500])
def test_count_sums_equals_twin(n, d):
    X, labels = rows(n, d, np.uint8), np.random.default_rng(1).integers(0, 4, n).astype(np.int32)
    start = np.arange(5 * d, dtype=np.uint32).reshape(5, d), np.arange(5, dtype=np.uint32)
    sums, counts = start[0].copy(), start[1].copy()
    _kmeans_kernels.count_sums(X, labels, sums, counts)
    more, many = naive.center_sums(X, labels, np.ones(n), 5)
    np.testing.assert_array_equal(sums, start[0] + more)
    np.testing.assert_array_equal(counts, start[1] + many)


def test_count_sums_use_all_32_bits():
    X, labels = np.full((1000, 3), 255, np.uint8), np.zeros(1000, np.int32)
    sums, counts = np.full((1, 3), 2**32 - 255_001, np.uint32), np.full(1, 2**31 - 5, np.uint32)
    _kmeans_kernels.count_sums(X, labels, sums, counts)
    assert sums.tolist() == [[2**32 - 1] * 3] and counts.tolist() == [2**31 + 995]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 5, 128])
def test_weighted_sums_equal_twin(dtype, d):
    rng = np.random.default_rng(1)
    X, labels, weights = rows(300, d, dtype), rng.integers(0, 4, 300).astype(np.int32), rng.random(300)
    start = rng.random((5, d)), rng.random(5)
    sums, counts = start[0].copy(), start[1].copy()
    _kmeans_kernels.weighted_sums(X, labels, weights, sums, counts)
    more, many = naive.center_sums(X, labels, weights, 5)
    np.testing.assert_allclose(sums, start[0] + more, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(counts, start[1] + many, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("d", [1, 2, 5, 128])
@pytest.mark.parametrize("n", [1, LANES * SEED_VECTORS, LANES * SEED_VECTORS + 1, 300])
@pytest.mark.parametrize("T", [CANDIDATES, 3 * CANDIDATES])
def test_candidate_distances_equal_twin(dtype, d, n, T):
    rng = np.random.default_rng(0)
    X, lanes = rows(n, d, dtype), LANES * 4 // np.dtype(dtype).itemsize
    values = naive.packed(X, lanes, SEED_VECTORS)
    packed = aligned(values.shape, dtype)
    packed[:] = values
    candidates = X[rng.integers(0, n, T)]
    closest, out = aligned(values.size // d, dtype), aligned((T, values.size // d), dtype)
    closest[:] = rng.random(values.size // d) * 4 * d
    kept = closest.copy()
    _kmeans_kernels._candidate_distances(packed, candidates, closest, out)
    D = naive.squared_distances(X, candidates).T
    np.testing.assert_allclose(out[:, :n], np.minimum(D, kept[:n]), rtol=2e-5 if dtype == np.float32 else 1e-13)
    assert np.all(out[:, :n][D == 0] == 0), "a row that is a centre is at distance 0 of it, not nearly"
    assert n < 100 or 0.1 < np.mean(kept[:n] < D) < 0.9
    np.testing.assert_array_equal(closest, kept)


@pytest.mark.parametrize(("dtype", "of_centers"), [(t, c) for t in DTYPES for c in (np.float32, np.float64)])
@pytest.mark.parametrize("d", [1, 7, 128, 1280])
def test_squared_distances_equal_twin(dtype, of_centers, d):
    X, centers = rows(100, d, dtype), rows(9, d, np.float64, seed=1).astype(of_centers)
    labels = np.random.default_rng(2).integers(0, 9, 100).astype(np.int32)
    X[0] = centers[labels[0]] = 3
    out = np.full(100, -1, of_centers)
    _assign_kernels.squared_distances(X, centers, labels, out)
    wanted = naive.squared_distances(X, centers)[np.arange(100), labels]
    np.testing.assert_allclose(out, wanted, rtol=1e-5 if of_centers == np.float32 else 1e-12)
    assert out[0] == 0


def test_squared_distances_keep_the_digits_of_their_type():
    X, centers, out = np.array([[1 + 1e-9, 0]]), np.array([[1.0, 0]]), np.empty(1)
    _assign_kernels.squared_distances(X, centers, np.zeros(1, np.int32), out)
    assert out[0] == pytest.approx(1e-18, rel=1e-6)


@pytest.mark.parametrize("d", [1, 6, 33, 128])
@pytest.mark.parametrize("shared", [False, True])
def test_score_pairs_decide_as_the_float_route(d, shared):
    """With all centres as candidates of a row, in any order, its label is that of the float route, bit for bit."""
    rng = np.random.default_rng(d)
    K, n = 3 * CHAINS + 1, 60
    X = rows(n, d, np.uint8)
    near = np.nextafter(100, 101, dtype=np.float32) - np.float32(100)
    centers = (100 + near * rng.integers(-9, 10, (K, d))).astype(np.float32) if shared else 255 * rng.random((K, d))
    centers = np.concatenate([centers, centers[:5]]).astype(np.float32)  # ties
    packed = PackedCenters(centers)
    packed._bytes = None
    wanted = np.empty(n, np.int32)
    packed.assign(X, wanted)
    assert not shared or d == 1 or np.mean(wanted != naive.nearest(X, centers)[0]) > 0.05
    floats = packed.floats(np.uint8)
    chosen = np.sort(rng.permutation(n)[: n // 2])  # the others keep their label
    order = [(i, c) for i in chosen for c in rng.permutation(len(centers))]
    chains = np.zeros((CHAINS, d), np.float32), np.zeros(CHAINS, np.float32), np.zeros(CHAINS, np.int64)
    labels = np.full(n, -1, np.int32)
    _assign_kernels.score_pairs(X, floats.moved, floats.halves, np.array(order, np.int32), *chains, labels)
    np.testing.assert_array_equal(labels[chosen], wanted[chosen])
    assert np.all(np.delete(labels, chosen) == -1)


@pytest.mark.parametrize("many", [0, 1, CHAINS - 1, CHAINS, CHAINS + 1])
def test_score_pairs_any_number(many):
    X = np.array([[10], [20]], np.uint8)
    centers = np.arange(0, 60, 3, dtype=np.float32)[:, None]
    floats = PackedCenters(centers).floats(np.uint8)
    order = np.array([(0, c) for c in range(many)] + [(1, 0), (1, 19), (1, 7)], np.int32)
    chains = np.zeros((CHAINS, 1), np.float32), np.zeros(CHAINS, np.float32), np.zeros(CHAINS, np.int64)
    labels = np.full(2, -1, np.int32)
    _assign_kernels.score_pairs(X, floats.moved, floats.halves, order, *chains, labels)
    assert labels.tolist() == [min(many - 1, 3), 7]


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_order_by_label_is_a_stable_sort(n):
    labels = np.random.default_rng(0).integers(0, 7, n).astype(np.int32)
    starts, order = np.full(10, -1), np.full(n, -1)
    _kmeans_kernels.order_by_label(labels, starts, order)
    np.testing.assert_array_equal(order, np.argsort(labels, kind="stable"))
    np.testing.assert_array_equal(starts, np.searchsorted(np.sort(labels), np.arange(10)))


def test_select_draws_every_subset_alike():
    """All 10 subsets of 3 of 5 rows, drawn in two goes."""
    rng, seen = np.random.default_rng(0), {}
    for _ in range(5000):
        chosen, uniforms = np.empty(3, np.int64), rng.random(5)
        found = _kmeans_kernels.select(uniforms[:2], 0, 5, chosen, 0)
        assert _kmeans_kernels.select(uniforms[2:], 2, 3, chosen, found) == 3
        seen[tuple(chosen)] = seen.get(tuple(chosen), 0) + 1
    assert set(seen) == {(a, b, c) for a in range(5) for b in range(a + 1, 5) for c in range(b + 1, 5)}
    assert sum((count - 500) ** 2 / 500 for count in seen.values()) < 27.9  # chi-square, 9 degrees, p = .001


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sketch_equals_twin(dtype):
    rng = np.random.default_rng(0)
    X, place, signs = rows(20, 50, dtype), rng.integers(0, 8, 50), rng.choice([-1, 1], 50).astype(dtype)
    X[7] = X[3]
    out = np.zeros((20, 8), dtype)
    _kmeans_kernels.sketch(X, place, signs, out)
    matrix = np.zeros((50, 8))
    matrix[np.arange(50), place] = signs
    np.testing.assert_allclose(out, X @ matrix, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(out[7], out[3])
