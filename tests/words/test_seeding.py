"""Starting centres: k-means++ and random rows."""

from __future__ import annotations

import itertools
import tracemalloc

import naive_kmeans as naive
import numpy as np
import pytest

from fastvbow.words import _lloyd
from fastvbow.words._kmeans_kernels import PART
from fastvbow.words._rows import Shards
from fastvbow.words._simd import LANES, SEED_VECTORS
from fastvbow.words._sweep import pool_of
from fastvbow.words.seeding import kmeans_plus_plus, random_rows, sampled_rows, starting_centers

FLOATS = [np.float32, np.float64]


def start(X, K, *, seed=0, method="k-means++", weights=None, size=None):
    size = len(X) if size is None else size
    return starting_centers(X, K, np.random.RandomState(seed), method=method, sample_weight=weights, size=size)


@pytest.mark.parametrize("dtype", FLOATS)
def test_every_blob_is_found(dtype):
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(20), 30)
    X = (rng.normal(size=(20, 4))[truth] * 100 + rng.normal(size=(600, 4))).astype(dtype)
    rows = kmeans_plus_plus(X, 20, np.random.RandomState(0))
    assert len(set(truth[rows])) == 20


@pytest.mark.parametrize("dtype", FLOATS)
def test_draws_are_by_squared_distance(dtype):
    X = np.array([[0.0], [1.0], [3.0]], dtype)
    counts = np.zeros(3)
    random_state = np.random.RandomState(0)
    for _ in range(2000):  # the first centre is row 0 or not; given row 0, rows 1 and 2 come 1 : 9
        first, second = kmeans_plus_plus(X, 2, random_state, n_local_trials=1)
        counts[second] += first == 0
    assert counts[0] == 0
    assert counts[2] / counts.sum() == pytest.approx(0.9, abs=0.04)


def test_draws_are_by_weight():
    X, weights = np.array([[0.0], [1.0], [3.0]]), np.array([1.0, 27, 1])
    random_state, firsts, seconds = np.random.RandomState(0), np.zeros(3), np.zeros(3)
    for _ in range(2000):  # given row 2, rows 0 and 1 come 9 * 1 : 4 * 27
        first, second = kmeans_plus_plus(X, 2, random_state, sample_weight=weights, n_local_trials=1)
        firsts[first] += 1
        seconds[second] += first == 1
    assert firsts[1] / firsts.sum() == pytest.approx(27 / 29, abs=0.02)
    assert seconds[0] / seconds.sum() == pytest.approx(1 / 5, abs=0.04)  # given row 1: 1 * 1 : 4 * 1
    only_first = np.array([1.0, 0, 0])
    assert kmeans_plus_plus(X, 2, random_state, sample_weight=only_first).tolist() == [0, 0]


def test_rows_without_weight_are_not_chosen():
    X, weights = np.arange(200.0)[:, None], np.tile([0.0, 1.0], 100)
    chosen = kmeans_plus_plus(X, 100, np.random.RandomState(0), sample_weight=weights)
    assert sorted(chosen) == list(range(1, 200, 2))


def test_weights_count_in_the_choice_among_trials():
    # 99 far rows of hardly any weight, 2 near ones of much: both of the latter, whatever is drawn first.
    X = np.r_[np.linspace(1000, 1001, 99), 0, 10][:, None]
    weights = np.r_[np.full(99, 1e-9), 1, 1]
    for seed in range(20):
        chosen = kmeans_plus_plus(X, 2, np.random.RandomState(seed), sample_weight=weights, n_local_trials=8)
        assert sorted(chosen) == [99, 100]


def test_the_best_of_the_trials_is_kept():
    X = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)

    def potential(trials, seed):
        return naive.plus_plus_potential(X, kmeans_plus_plus(X, 12, np.random.RandomState(seed), n_local_trials=trials))

    one, eight = (np.mean([potential(trials, seed) for seed in range(15)]) for trials in (1, 8))
    assert eight < 0.95 * one


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "trials"), [(150, 1), (150, 3), (150, 4), (PART, 5), (3 * PART + 5, 9)])
def test_choice_equals_greedy_twin(dtype, weighted, n, trials):
    """The same draws and the same choices as the algorithm written down in NumPy."""
    rng = np.random.default_rng(0)
    X, weights = rng.integers(0, 50, (n, 3)).astype(dtype), rng.integers(0, 4, n).astype(float)
    weights[PART : 2 * PART] = 0
    weights = weights if weighted else None
    found = kmeans_plus_plus(X, 12, np.random.RandomState(5), sample_weight=weights, n_local_trials=trials)
    wanted = naive.greedy_plus_plus(X, weights, np.random.RandomState(5).uniform(size=(12, trials)))
    assert found.tolist() == wanted


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", sorted({1, 2, LANES, LANES * SEED_VECTORS, LANES * SEED_VECTORS + 1, 250}))
def test_as_many_centers_as_rows(dtype, n):
    X = np.random.default_rng(0).normal(size=(n, 3)).astype(dtype)
    for K in {n, max(1, n - 1)}:
        chosen = kmeans_plus_plus(X, K, np.random.RandomState(0))
        assert len(set(chosen)) == K and chosen.min() >= 0 and chosen.max() < n


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, *FLOATS])
def test_every_distinct_row_is_chosen_before_any_again(dtype):
    X = np.repeat(np.random.default_rng(0).permutation(60).reshape(30, 2), 7, axis=0).astype(dtype)
    centers = start(X, 30)
    assert len(np.unique(centers, axis=0)) == 30
    assert len(np.unique(start(X, 40), axis=0)) == 30


@pytest.mark.parametrize("d", [8, 64, 100, 512])
def test_rows_of_few_values_are_all_chosen(d):
    """One value in each row: what measures distances in fewer dimensions takes some of them for equal."""
    X = np.eye(d, dtype=np.float32)
    for seed in range(3):
        assert len(set(kmeans_plus_plus(X, d, np.random.RandomState(seed)))) == d


@pytest.mark.parametrize("d", [65, 128, 1280])
def test_many_dimensions_are_as_good_as_all(d):
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(20), 30)
    X = (20 * rng.normal(size=(20, d))[truth] + rng.normal(size=(600, d))).astype(np.float32)
    for seed in range(3):
        assert len(set(truth[kmeans_plus_plus(X, 20, np.random.RandomState(seed))])) == 20


@pytest.mark.parametrize("weights", [None, [0, 0, 0, 1, 1]])
def test_constant_rows_come_to_an_end(weights):
    weights = None if weights is None else np.array(weights, float)
    chosen = kmeans_plus_plus(np.ones((5, 2), np.float32), 40, np.random.RandomState(0), sample_weight=weights)
    assert set(chosen) == (set(range(5)) if weights is None else {3, 4})


def test_far_rows_keep_their_digits():
    X = (1e4 + np.arange(64, dtype=np.float32).reshape(-1, 1) / 64).astype(np.float32)
    assert len(set(kmeans_plus_plus(X, 64, np.random.RandomState(0)))) == 64


def test_random_rows_respect_weights():
    X = np.zeros((10, 1))
    weights = np.r_[np.zeros(5), np.ones(5)]
    assert sorted(random_rows(X, 5, np.random.RandomState(0), sample_weight=weights)) == [5, 6, 7, 8, 9]
    assert set(random_rows(X, 7, np.random.RandomState(0), sample_weight=weights)) == {5, 6, 7, 8, 9}
    assert len(set(random_rows(X, 10, np.random.RandomState(0)))) == 10
    counts = np.zeros(3)
    random_state = np.random.RandomState(0)
    for _ in range(2000):
        counts[random_rows(X[:3], 1, random_state, sample_weight=np.array([1.0, 3, 6]))] += 1
    np.testing.assert_allclose(counts / 2000, [0.1, 0.3, 0.6], atol=0.04)


@pytest.mark.parametrize("method", ["k-means++", "random"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, *FLOATS])
def test_starts_are_rows(method, dtype):
    X = np.random.default_rng(0).integers(0, 200, (500, 6)).astype(dtype)
    layouts = [X, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], Shards([X[:100], X[100:]])]
    for size in (100, 500):
        found = [start(rows, 20, method=method, size=size) for rows in layouts]
        for centers in found:
            assert centers.dtype == (np.float64 if dtype == np.float64 else np.float32)
            np.testing.assert_array_equal(centers, found[0])
        assert {tuple(row) for row in found[0]} <= {tuple(row) for row in X.astype(float)}
        assert len({tuple(row) for row in found[0]}) == 20
        assert not np.array_equal(start(X, 20, method=method, size=size, seed=1), found[0])


def test_starts_avoid_rows_without_weight():
    X = np.arange(1000, dtype=np.float32)[:, None]
    weights = (np.arange(1000) >= 900).astype(float)
    for method, size in itertools.product(("k-means++", "random"), (50, 1000)):
        assert start(X, 20, method=method, weights=weights, size=size).min() >= 900


def test_rows_of_equal_weight_are_drawn_without_replacement():
    for n, size in ((100, 100), (100, 200), (100, 30), (10**9, 1000)):
        rows, weights = sampled_rows(n, None, size, np.random.RandomState(0))
        assert weights is None and len(rows) == min(size, n)
        assert np.all(np.diff(rows) > 0) and rows[0] >= 0 and rows[-1] < n
    counts = np.zeros(20)
    for seed in range(2000):
        counts[sampled_rows(20, None, 5, np.random.RandomState(seed))[0]] += 1
    np.testing.assert_allclose(counts / 2000, 0.25, atol=0.05)


def test_samples_by_weight_estimate_sums_without_bias():
    rng = np.random.default_rng(0)
    weights = rng.pareto(1.2, 200) * (rng.random(200) < 0.8)
    weights[7] = 1000
    value, found, drawn = rng.normal(size=200) + 1, [], np.zeros(200)
    light = np.arange(200) != 7  # beside the heavy one nothing would show
    for seed in range(3000):
        rows, w = sampled_rows(200, weights, 40, np.random.RandomState(seed))
        assert len(rows) == len(w) == 40 and np.all(np.diff(rows) > 0)
        assert np.all(weights[rows] > 0) and np.all(w >= weights[rows])
        found.append([w @ light[rows], w @ (light * value)[rows]])
        drawn[rows] += 1
    np.testing.assert_allclose(np.mean(found, axis=0), [weights @ light, weights @ (light * value)], rtol=0.01)
    assert drawn[7] == 3000


@pytest.mark.parametrize("size", [3, 10])
def test_few_rows_with_weight_are_all_drawn(size):
    weights = np.zeros(100)
    weights[[3, 50, 99]] = 2, 5, 1e-9
    rows, w = sampled_rows(100, weights, size, np.random.RandomState(0))
    assert rows.tolist() == [3, 50, 99] and w.tolist() == [2, 5, 1e-9]


BILLION = 10**9


def drawn_in_batches(*args):
    with pool_of(2) as pool:
        return _lloyd._drawn(*args, pool)


def test_drawing_from_billions_of_rows():
    # Four shards of 10^9 rows, each of one number: beyond 32 bits, and nothing of their length may be made.
    shards = Shards([np.broadcast_to(np.full((1, 2), i, np.uint8), (BILLION, 2)) for i in range(4)])
    for X in (shards, np.broadcast_to(np.ones((1, 2), np.float32), (3 * BILLION, 2))):
        tracemalloc.start()
        for method in ("k-means++", "random"):
            centers = start(X, 4, method=method, size=500)
            assert method == "random" or X is not shards or sorted(centers[:, 0]) == [0, 1, 2, 3]
        drawn, _ = drawn_in_batches(X, None, [5000, 10_000, 20_000, 40_000], np.random.RandomState(0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2e7
        assert drawn.shape == (40_000, 2)
        if X is shards:
            for part in (drawn, drawn[:5000], drawn[:20_000]):
                np.testing.assert_allclose(np.bincount(part[:, 0]) / len(part), 0.25, atol=0.03)


@pytest.mark.parametrize("sizes", [[20_001], [10_001, 20_001], [2501, 5001, 10_002, 20_004]])
@pytest.mark.parametrize("weighted", [False, True])
def test_nested_samples(sizes, weighted):
    n = 50_000
    X = np.stack([np.arange(n), np.arange(n) // 256], axis=1).astype(np.float64)
    weights = np.arange(n) % 2 * (1.0 + np.arange(n)) if weighted else None
    drawn, w = drawn_in_batches(X, weights, sizes, np.random.RandomState(0))
    rows = drawn[:, 0].astype(int)
    assert len(set(rows)) == len(rows) == sizes[-1]
    np.testing.assert_array_equal(drawn, X[rows])
    assert (w is None) == (weights is None)
    if weights is not None:
        assert weights[rows].min() > 0 and np.all(w >= weights[rows])
    for size in sizes:  # every one stands for all rows
        part = np.histogram(rows[:size], 10, (0, n), weights=None if w is None else w[:size])[0]
        all_rows = np.histogram(np.arange(n), 10, (0, n), weights=weights)[0]
        np.testing.assert_allclose(
            part * len(rows) / size / all_rows.sum() / (1 if weighted else len(rows) / n),
            all_rows / all_rows.sum(),
            atol=0.02,
        )


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, *FLOATS])
def test_nested_samples_are_exact_copies(dtype):
    X = np.random.default_rng(0).integers(0, 99, (300, 5)).astype(dtype)
    drawn, _ = drawn_in_batches(X, None, [100, 200], np.random.RandomState(0))
    assert drawn.dtype == (np.float32 if dtype == np.float16 else dtype)
    assert {row.tobytes() for row in drawn.astype(dtype)} <= {row.tobytes() for row in X}


def test_nested_samples_of_few_rows_with_weight():
    X, weights = np.arange(100, dtype=np.float32)[:, None], np.zeros(100)
    weights[[3, 50]] = 2, 5
    drawn, w = drawn_in_batches(X, weights, [5, 10], np.random.RandomState(0))
    assert sorted(zip(drawn[:, 0], w, strict=True)) == [(3, 2), (50, 5)]
