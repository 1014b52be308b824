"""The compiled kernels against their plain-NumPy twins."""

from __future__ import annotations

import subprocess
import sys

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastvbow.errors import UsageError
from fastvbow.words import _kmeans_kernels as kernels
from fastvbow.words._kmeans_blocks import ROWS
from fastvbow.words.kmeans import nearest_centers
from fastvbow.words.seeding import kmeans_plus_plus, random_rows

DTYPES = [np.uint8, np.float16, np.float32, np.float64]


def sample(n, d, K, dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 200, (n, d)).astype(dtype) if dtype == np.uint8 else rng.normal(size=(n, d)).astype(dtype)
    centers = X[rng.integers(0, n, K)].astype(np.float32) + rng.normal(size=(K, d)).astype(np.float32)
    return X, centers


def check(X, centers, n_jobs=None):
    labels, sqdist = nearest_centers(X, centers, n_jobs=n_jobs)
    assert labels.dtype == np.int32 and sqdist.dtype == np.float32
    D = naive.squared_distances(X, centers)
    found = D[np.arange(len(X)), labels]
    np.testing.assert_allclose(sqdist, found, rtol=1e-5, atol=1e-6)
    # A float32 score may swap two centres only if their distances are equal to within its rounding.
    scale = np.square(np.asarray(X, np.float64)).sum(axis=1) + np.square(centers.astype(np.float64)).sum(axis=1).max()
    assert np.all(found - D.min(axis=1) <= 2e-6 * scale)
    assert np.mean(labels == D.argmin(axis=1)) > 0.99
    return labels, sqdist


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 3, 64, 128, 1280])
def test_assignment_equals_twin(dtype, d):
    check(*sample(61, d, 19, dtype))


@pytest.mark.parametrize("K", [1, 2, 15, 16, 17, kernels.STRIDE, kernels.STRIDE + 1, 2 * kernels.STRIDE + 33])
def test_any_number_of_centers(K):
    labels, _ = check(*sample(70, 5, K, np.float32))
    assert labels.max() < K


@pytest.mark.parametrize("n", [1, 7, 8, 9])
def test_any_number_of_rows(n):
    check(*sample(n, 6, 4, np.float32))


def test_no_rows():
    labels, sqdist = nearest_centers(np.empty((0, 3), np.uint8), np.ones((2, 3), np.float32))
    assert labels.shape == sqdist.shape == (0,)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_does_not_matter(tmp_path, dtype):
    X, centers = sample(ROWS + 37, 6, 9, dtype)
    wanted = nearest_centers(X, centers)
    np.save(tmp_path / "X.npy", X)
    wide = np.zeros((2 * len(X), 12), dtype)
    wide[::2, 1::2] = X
    readonly = X.copy()
    readonly.flags.writeable = False
    for other in (np.asfortranarray(X), np.load(tmp_path / "X.npy", mmap_mode="r"), wide[::2, 1::2], readonly):
        for got, want in zip(nearest_centers(other, centers), wanted, strict=True):
            np.testing.assert_array_equal(got, want)
    for got, want in zip(nearest_centers(X[::-1], centers), wanted, strict=True):
        np.testing.assert_array_equal(got[::-1], want)


def test_threads_do_not_matter():
    X, centers = sample(3 * ROWS + 5, 16, 40, np.uint8)
    for one, two in zip(nearest_centers(X, centers), nearest_centers(X, centers, n_jobs=2), strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lowest_index(dtype):
    X, centers = sample(40, 7, 5, dtype)
    repeated = np.tile(centers, (130, 1))  # 650 centres: more than one run, so ties within and across runs
    np.testing.assert_array_equal(nearest_centers(X, repeated)[0], nearest_centers(X, centers)[0])
    assert nearest_centers(X, repeated)[0].max() < 5


def test_integer_ties_are_exact():
    X = np.full((9, 4), 11, np.uint8)
    centers = np.array([[90] * 4, [12] * 4, [10] * 4, [12, 12, 10, 10]], np.float32)
    labels, sqdist = nearest_centers(X, centers)
    assert np.all(labels == 1) and np.all(sqdist == 4)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.just(3))),
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.just(3))),
)
@settings(max_examples=60, deadline=None)
def test_integers_equal_twin_exactly(X, centers):
    labels, sqdist = nearest_centers(X, centers.astype(np.float32))
    wanted, distance = naive.nearest_centers(X, centers)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(sqdist, distance)


def test_far_from_the_origin():
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(200, 8))).astype(np.float32)
    labels, sqdist = nearest_centers(X, X[:20])
    wanted, _ = naive.nearest_centers(X, X[:20])
    assert np.mean(labels == wanted) > 0.99
    assert np.all(sqdist[:20] == 0)


def test_float64_keeps_its_digits():
    X = np.array([[1.0], [1.0 + 1e-12]])
    labels, _ = nearest_centers(X, X.copy())
    np.testing.assert_array_equal(labels, [0, 1])


@pytest.mark.parametrize(
    ("X", "centers"),
    [
        (np.ones((3, 2)), np.ones((2, 3))),
        (np.ones(3), np.ones((2, 3))),
        (np.ones((3, 2)), np.ones((0, 2))),
        (np.ones((3, 2)), np.full((2, 2), np.nan)),
        (np.array([["a", "b"]]), np.ones((2, 2))),
    ],
)
def test_unusable_input_is_refused(X, centers):
    with pytest.raises(UsageError):
        nearest_centers(X, centers)


@pytest.mark.parametrize("n_jobs", [0, 1.5])
def test_unusable_n_jobs_is_refused(n_jobs):
    with pytest.raises(UsageError, match="n_jobs"):
        nearest_centers(np.ones((2, 2)), np.ones((1, 2)), n_jobs=n_jobs)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_accumulate_equals_twin(dtype):
    X, _ = sample(50, 5, 1, dtype)
    rng = np.random.default_rng(1)
    labels, weights = rng.integers(0, 4, 50).astype(np.int32), rng.random(50)
    sums, counts = np.zeros((4, 5)), np.zeros(4)
    kernels.accumulate(X, labels, weights, sums, counts)
    wanted_sums, wanted_counts = naive.center_sums(X, labels, weights, 4)
    np.testing.assert_allclose(sums, wanted_sums, rtol=1e-12)
    np.testing.assert_allclose(counts, wanted_counts, rtol=1e-12)


@pytest.mark.parametrize("d", [1, 2, 5, 128])
def test_candidate_distances_equal_twin(d):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(kernels.SEED_ROWS + 13, d)).astype(np.float32)
    closest = rng.random(len(X)).astype(np.float32) * 2 * d
    out = np.empty((3, len(X)), np.float32)
    kernels.candidate_distances(np.ascontiguousarray(X.T), X[[0, 5, 9]], closest, out)
    wanted = np.minimum(naive.squared_distances(X, X[[0, 5, 9]]).T, closest)
    np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)


def test_seeding_finds_every_blob():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(20), 30)
    X = (rng.normal(size=(20, 4))[truth] * 100 + rng.normal(size=(600, 4))).astype(np.float32)
    rows = kmeans_plus_plus(X, 20, np.random.RandomState(0))
    assert len(set(truth[rows])) == 20


def test_seeding_draws_by_squared_distance():
    X = np.array([[0.0], [1.0], [3.0]])
    counts = np.zeros(3)
    random_state = np.random.RandomState(0)
    only_first = np.array([1.0, 0, 0])
    for _ in range(2000):  # the first centre is row 0 or not; given row 0, rows 1 and 2 come 1 : 9
        first, second = kmeans_plus_plus(X, 2, random_state, n_local_trials=1)
        counts[second] += first == 0
    assert counts[0] == 0
    assert counts[2] / counts.sum() == pytest.approx(0.9, abs=0.04)
    assert kmeans_plus_plus(X, 2, random_state, sample_weight=only_first).tolist() == [0, 0]


def test_seeding_of_constant_rows_ends():
    assert kmeans_plus_plus(np.ones((5, 2), np.float32), 4, np.random.RandomState(0)).shape == (4,)


def test_random_rows_respect_weights():
    X = np.zeros((10, 1))
    weights = np.r_[np.zeros(5), np.ones(5)]
    assert sorted(random_rows(X, 5, np.random.RandomState(0), sample_weight=weights)) == [5, 6, 7, 8, 9]
    assert set(random_rows(X, 7, np.random.RandomState(0), sample_weight=weights)) == {5, 6, 7, 8, 9}
    assert len(set(random_rows(X, 10, np.random.RandomState(0)))) == 10


def test_runs_where_no_cache_can_be_written():
    code = (
        "from numba.core import caching; caching.CacheImpl._locator_classes = []\n"
        "import numpy as np; from fastvbow.words.kmeans import nearest_centers\n"
        "print(nearest_centers(np.eye(3), np.eye(3))[0].tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[0, 1, 2]", done.stderr


def test_warmup_compiles_the_usual_dtypes():
    kernels.warmup()
    before = len(kernels.assign.signatures)
    for dtype in (np.uint8, np.float16, np.float32):
        nearest_centers(np.ones((3, 2), dtype), np.ones((2, 2), np.float32))
    assert len(kernels.assign.signatures) == before


def test_many_integer_ties_equal_twin():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 4, (400, 5)).astype(np.uint8)
    centers = rng.integers(0, 4, (37, 5)).astype(np.float32)  # their mean is no integer
    np.testing.assert_array_equal(nearest_centers(X, centers)[0], naive.nearest_centers(X, centers)[0])


def test_seeding_keeps_the_best_of_its_trials():
    X = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)

    def potential(trials, seed):
        rows = kmeans_plus_plus(X, 12, np.random.RandomState(seed), n_local_trials=trials)
        return naive.nearest_centers(X, X[rows])[1].sum()

    one, eight = (np.mean([potential(trials, seed) for seed in range(15)]) for trials in (1, 8))
    assert eight < 0.95 * one
