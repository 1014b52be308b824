"""The search for the nearest centre: both routes against twins, against one another, and on what may break them."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import weakref

import naive_kmeans as naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastvbow.errors import UsageError
from fastvbow.words import _simd
from fastvbow.words._assign_kernels import SPAN
from fastvbow.words._rows import Shards, row_blocks
from fastvbow.words._simd import LANES, POINTS, VECTORS
from fastvbow.words._sweep import nearest_centers, pool_of, sweep
from fastvbow.words.assignment import PackedCenters, writable

DTYPES = [np.uint8, np.float16, np.float32, np.float64]
RUN = LANES * VECTORS  # centres that one tile takes
needs_bytes = pytest.mark.skipif(
    not _simd.DOT, reason="this CPU sums no products of bytes: all labels come from floats"
)


def sample(n, d, K, dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 200, (n, d)).astype(dtype) if dtype == np.uint8 else rng.normal(size=(n, d)).astype(dtype)
    centers = X[rng.integers(0, n, K)].astype(np.float32) + rng.normal(size=(K, d)).astype(np.float32)
    return X, centers


def undecided(n, d, K, dtype=np.float32, seed=0):
    """Rows whose nearest centre is a matter of rounding: the slightest change of the arithmetic shows in the labels."""
    rng = np.random.default_rng(seed)
    float_type = np.float64 if dtype == np.float64 else np.float32
    origin = 128 if dtype == np.uint8 else 0
    X = (origin + 100 * rng.uniform(-1, 1, (n, d))).astype(dtype)
    apart = 100 * np.finfo(float_type).eps
    two = (
        100 * rng.uniform(-1, 1, d) * np.array([[1], [-1]])
    )  # two crowds, so that no shift of the origin brings digits
    return X, (origin + two[rng.integers(0, 2, K)] + apart * rng.normal(size=(K, d))).astype(float_type)


def labels_of(X, centers, precision="exact", by_bytes=True):
    packed = PackedCenters(np.ascontiguousarray(centers, np.float32), precision)
    if by_bytes:
        assert packed._bytes is not None, "these centres are not searched by bytes: the test would prove nothing"
    else:
        packed._bytes = None
    labels = np.full(len(X), -1, np.int32)
    packed.assign(np.ascontiguousarray(X), labels)
    return labels


def check(X, centers, **more):
    labels, sqdist = nearest_centers(X, centers, **more)
    assert labels.dtype == np.int32 and sqdist.dtype == np.float32
    D = naive.squared_distances(X, centers)
    found = D[np.arange(len(X)), labels]
    np.testing.assert_allclose(sqdist, found, rtol=1e-5, atol=1e-6)
    # A float32 score may swap two centres only if their distances are equal to within its rounding.
    scale = np.square(np.asarray(X, np.float64)).sum(axis=1) + np.square(centers.astype(np.float64)).sum(axis=1).max()
    assert np.all(found - D.min(axis=1) <= 2e-6 * scale)
    assert np.mean(labels == D.argmin(axis=1)) > 0.98
    return labels, sqdist


# --- floats


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 63, 64, 65, 128, 1280])
def test_any_width(dtype, d):
    check(*sample(61, d, 19, dtype))


KS = sorted({1, 2, 3, *(m + i for m in (LANES // 2, LANES, 2 * LANES, RUN, RUN + LANES, 2 * RUN) for i in (-1, 0, 1))})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [*KS, 1000, 65_535, 65_536, 65_537])
def test_any_number_of_centers(dtype, K):
    rng = np.random.default_rng(K)
    wide = K > 1000
    # Distinct points of a lattice; rows stand on the first, the last and some others.
    centers = (np.arange(K)[:, None] // 16 ** np.arange(5) % 16 * 16).astype(np.float32)
    own = np.r_[0, K - 1, max(0, K - 2), rng.integers(0, K, 20 if wide else 80)]
    X = (centers[own] + rng.integers(0, 7, (len(own), 5))).astype(dtype)
    labels, sqdist = nearest_centers(X, centers)
    np.testing.assert_array_equal(labels, own)
    np.testing.assert_array_equal(sqdist, np.sum((X - centers[own].astype(np.float64)) ** 2, axis=1))


ROWS = sorted({m + i for m in (1, POINTS, 2 * POINTS, SPAN, 2 * SPAN) for i in (-1, 0, 1)} - {0})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", ROWS)
def test_any_number_of_rows(dtype, n):
    check(*sample(n, 6, 4, dtype))


def test_no_rows():
    for X in (np.empty((0, 3), np.uint8), [np.empty((0, 3), np.float32)]):
        labels, sqdist = nearest_centers(X, np.ones((2, 3), np.float32))
        assert labels.shape == sqdist.shape == (0,)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize("d", [7, 64])
def test_rows_do_not_see_one_another(dtype, d):
    X, centers = undecided(2 * SPAN + POINTS + 3, d, 2 * RUN + 5, dtype)
    wanted = nearest_centers(X, centers)
    assert np.mean(wanted[0] != naive.nearest(X, centers)[0]) > 0.05, "rounding decides nothing here: a weak test"
    order = np.random.default_rng(1).permutation(len(X))
    for start in (0, 1, POINTS - 1, SPAN - 1):
        for size in (1, 3, POINTS, SPAN):
            rows = order[start : start + size]
            for got, want in zip(nearest_centers(X[rows], centers), wanted, strict=True):
                assert got.tobytes() == want[rows].tobytes()
    for got, want in zip(nearest_centers(X[order], centers), wanted, strict=True):
        assert got.tobytes() == want[order].tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_centers_do_not_see_one_another(dtype):
    # A pair of centres decides between them wherever they stand in the table.
    X, centers = undecided(50, 33, 2, dtype)
    centers[1] = np.nextafter(centers[0], np.float32(500))
    # On all sides, so that no shift of the origin rounds the pair.
    far = (np.random.default_rng(2).choice([-1000, 1000], (2 * RUN + LANES + 1, 33))).astype(np.float32)
    places = [(0, 1), (0, LANES), (LANES - 1, RUN), (RUN + 1, 2 * RUN + LANES), (5, len(far) - 1)]
    found = []
    for first, second in places:
        table = far.copy()
        table[[first, second]] = centers
        labels = labels_of(X, table, by_bytes=False)
        assert set(labels) == {first, second}
        found.append(labels == second)
    for one in found:
        np.testing.assert_array_equal(one, found[0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_threads_do_not_matter(dtype):
    X, centers = undecided(9000, 16, 40, dtype)
    assert len(list(row_blocks(X))) > 4
    wanted = nearest_centers(X, centers)
    for n_jobs in (2, 3, -1):
        for got, want in zip(nearest_centers(X, centers, n_jobs=n_jobs), wanted, strict=True):
            assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_layout_does_not_matter(tmp_path, dtype):
    X, centers = undecided(3000, 6, 9, dtype)
    wanted = nearest_centers(X, centers)
    np.save(tmp_path / "X.npy", X)
    wide = np.zeros((2 * len(X), 12), dtype)
    wide[::2, 1::2] = X
    readonly = X.copy()
    readonly.flags.writeable = False
    unaligned = np.frombuffer(b"." + X.tobytes(), np.uint8)[1:].view(dtype).reshape(X.shape)
    shards = [X[:7], X[7:7], X[7:2000], X[2000:]]
    maps = [np.load(tmp_path / "X.npy", mmap_mode=mode) for mode in ("r", "r+", "c")]
    for other in (np.asfortranarray(X), *maps, wide[::2, 1::2], readonly, unaligned, shards, tuple(shards)):
        for got, want in zip(nearest_centers(other, centers), wanted, strict=True):
            assert got.tobytes() == want.tobytes()
    for got, want in zip(nearest_centers(X[::-1], centers[:]), wanted, strict=True):
        assert got[::-1].tobytes() == want.tobytes()
    for other in (
        np.asfortranarray(centers),
        np.repeat(centers, 2, axis=0)[::2],
        centers.astype(centers.dtype.newbyteorder()),
    ):
        for got, want in zip(nearest_centers(X, other), wanted, strict=True):
            assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.bool_, ">f4", np.longdouble])
def test_other_numbers_are_taken_in_float64(dtype):
    X = np.random.default_rng(0).integers(0, 2 if dtype == np.bool_ else 100, (50, 4)).astype(dtype)
    labels, sqdist = nearest_centers(X, X[:9].astype(np.float64))
    wanted, distance = naive.nearest(X, X[:9])
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(sqdist, distance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [5, LANES, LANES + 3])
def test_ties_go_to_the_lowest_index(dtype, K):
    X, centers = sample(40, 7, K, dtype)
    repeated = np.tile(centers, (-(-5 * RUN // K), 1))  # ties within a vector, between vectors and between tiles
    labels = nearest_centers(X, repeated)[0]
    np.testing.assert_array_equal(labels, nearest_centers(X, centers)[0])
    assert labels.max() < K


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("K", [1, LANES, 2 * RUN + 1])
def test_equal_centers(dtype, K):
    X, centers = sample(30, 5, 1, dtype)
    labels, sqdist = nearest_centers(X, np.tile(centers, (K, 1)))
    assert not labels.any()
    np.testing.assert_allclose(sqdist, naive.squared_distances(X, centers)[:, 0], rtol=1e-5)


def test_integer_ties_are_exact():
    X = np.full((9, 4), 11, np.uint8)
    centers = np.array([[90] * 4, [12] * 4, [10] * 4, [12, 12, 10, 10]], np.float32)
    labels, sqdist = nearest_centers(X, centers)
    assert np.all(labels == 1) and np.all(sqdist == 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("far", [0, 1000])
def test_many_integer_ties_equal_twin(dtype, far):
    if dtype in (np.uint8, np.float16):  # neither holds such numbers
        far = min(far, 200)
    rng = np.random.default_rng(0)
    X = (far + rng.integers(0, 4, (400, 5))).astype(dtype)
    centers = (far + rng.integers(0, 4, (37, 5))).astype(np.float32)  # their mean is no integer
    labels, sqdist = nearest_centers(X, centers)
    wanted, distance = naive.nearest(X, centers)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(sqdist, distance)


@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 20), st.just(3))),
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 60), st.just(3))),
    st.sampled_from([np.uint8, np.float32, np.float64]),
)
@settings(max_examples=100, deadline=None)
def test_integers_equal_twin_exactly(X, centers, dtype):
    labels, sqdist = nearest_centers(X.astype(dtype), centers.astype(np.float32))
    wanted, distance = naive.nearest(X, centers)
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_array_equal(sqdist, distance)


@pytest.mark.parametrize("far", [1e4, -1e6])
def test_far_from_the_origin(far):
    rng = np.random.default_rng(0)
    X = (far + rng.normal(size=(200, 8))).astype(np.float32)
    labels, sqdist = nearest_centers(X, X[:20])
    wanted, distance = naive.nearest(X, X[:20])
    np.testing.assert_array_equal(labels, wanted)
    np.testing.assert_allclose(sqdist, distance, rtol=1e-5)
    assert np.all(sqdist[:20] == 0)


def test_a_stray_center_does_not_take_the_digits_of_the_others():
    rng = np.random.default_rng(0)
    X = (1e4 + rng.normal(size=(500, 8))).astype(np.float32)
    centers = np.concatenate([X[:50], np.zeros((1, 8), np.float32)])
    sqdist = nearest_centers(X, centers)[1]
    assert sqdist.sum() == pytest.approx(naive.nearest(X, centers)[1].sum(), rel=0.01)


def test_one_center_far_from_the_others_costs_no_more_than_its_rounding():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 8)).astype(np.float32)
    centers = np.concatenate([X[:20], np.full((1, 8), 1e3, np.float32)])
    np.testing.assert_array_equal(nearest_centers(X, centers)[0], naive.nearest(X, centers)[0])


def test_float64_keeps_its_digits():
    X = np.array([[1.0], [1.0 + 1e-12]])
    for rows in (X, X.astype(np.float32)):  # the centres' dtype is enough
        labels, _ = nearest_centers(rows, X.copy())
        np.testing.assert_array_equal(labels, [0, 1] if rows is X else [0, 0])
    assert nearest_centers(X, X.astype(np.float32)[:1])[1][1] == pytest.approx(1e-24, rel=1e-3)


def test_rows_that_are_not_numbers_harm_no_others():
    X, centers = sample(3 * POINTS, 4, RUN + 1, np.float32)
    wanted = nearest_centers(X, centers)[0]
    X[::2, 1] = np.nan
    with np.errstate(invalid="ignore"):
        labels, sqdist = nearest_centers(X, centers)
    np.testing.assert_array_equal(labels[1::2], wanted[1::2])
    assert np.all((labels >= 0) & (labels < len(centers)))
    assert np.isnan(sqdist[::2]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("far", [0, 1e4])
def test_rows_without_a_finite_score_are_counted(dtype, bad, far):
    X, centers = sample(SPAN + 5, 6, RUN + 3, dtype)
    X, centers = (X + far).astype(dtype), (centers + far).astype(dtype)
    centers[:, 2] = 0
    centers[::2, 3] *= -1
    labels = np.empty(len(X), np.int32)
    packed = PackedCenters(centers)
    assert packed.assign(X, labels) == 0
    for row in (0, 1, POINTS - 1, SPAN - 1, SPAN, len(X) - 1):
        for column in range(6):
            Y = X.copy()
            Y[row, column] = bad
            Y[row // 2, 0] = bad
            with np.errstate(invalid="ignore"):
                assert packed.assign(Y, labels) == 1 + (row > 0)


def test_sweep_checks_if_asked():
    X, centers = sample(3000, 5, 11, np.float32)
    X[2500, 3] = np.inf
    with pool_of(1) as pool, np.errstate(invalid="ignore", over="ignore"):
        sweep(X, centers, pool)
        for rows in (X, Shards([X[:7], X[7:]])):
            with pytest.raises(ValueError, match="infinity"):
                sweep(rows, centers, pool, check=True)
        X[2500, 3] = 1e19  # its score is finite, its squared distance is not
        with pytest.raises(UsageError, match="scale the data"):
            sweep(X, centers, pool, check=True, distances=True)


def test_a_writable_alias_keeps_its_memory():
    block = np.arange(1000.0)
    block.flags.writeable = False
    owner, alias = weakref.ref(block), writable(block)
    assert alias.flags.writeable and np.shares_memory(alias, block)
    del block
    gc.collect()
    assert owner() is not None and alias.sum() == 499_500
    del alias
    gc.collect()
    assert owner() is None
    assert writable(other := np.ones(3)) is other


def test_input_is_left_alone():
    X, centers = sample(300, 5, 20, np.uint8)
    before = X.tobytes(), centers.tobytes()
    nearest_centers(X, centers)
    nearest_centers(X.astype(np.float32), centers)
    assert (X.tobytes(), centers.tobytes()) == before


@pytest.mark.parametrize(
    ("X", "centers"),
    [
        (np.ones((3, 2)), np.ones((2, 3))),
        (np.ones(3), np.ones((2, 3))),
        (np.ones((3, 2)), np.ones((0, 2))),
        (np.ones((3, 2)), np.full((2, 2), np.nan)),
        (np.ones((3, 2)), np.full((2, 2), np.inf)),
        (np.array([["a", "b"]]), np.ones((2, 2))),
        (np.ones((3, 2)), np.ones((2, 2), complex)),
        ([np.ones((3, 2)), np.ones((3, 3))], np.ones((2, 2))),
    ],
)
def test_unusable_input_is_refused(X, centers):
    with pytest.raises(UsageError):
        nearest_centers(X, centers)


@pytest.mark.parametrize("n_jobs", [0, 1.5])
def test_unusable_n_jobs_is_refused(n_jobs):
    with pytest.raises(UsageError, match="n_jobs"):
        nearest_centers(np.ones((2, 2)), np.ones((1, 2)), n_jobs=n_jobs)


def test_unusable_precision_is_refused():
    with pytest.raises(UsageError, match="precision"):
        nearest_centers(np.ones((2, 2)), np.ones((1, 2)), precision="rough")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_sweep_equals_twin(dtype, weighted):
    X, centers = sample(3000, 5, 11, dtype)
    weights = np.random.default_rng(1).random(3000) if weighted else None
    ones = np.ones(3000) if weights is None else weights
    labels, distance = naive.nearest(X, centers)
    sums, counts = naive.center_sums(X, labels, ones, 11)
    found = []
    for rows in (X, Shards([X[:1000], X[1000:1001], X[1001:]])):
        for n_jobs in (1, 2):
            with pool_of(n_jobs) as pool:
                found.append(sweep(rows, centers, pool, weights=weights, distances=True, sums=True))
    for one in found:
        np.testing.assert_array_equal(one.labels, labels)
        np.testing.assert_allclose(one.sqdist, distance, rtol=1e-5)
        np.testing.assert_allclose(one.sums, sums, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(one.counts, counts, rtol=1e-12)
        assert one.inertia == pytest.approx(ones @ distance, rel=1e-6)
        assert one.sums.tobytes() == found[0].sums.tobytes() and one.inertia == found[0].inertia


GUARDED = """
import ctypes, mmap
import numpy as np
from fastvbow.words._assign_kernels import SPAN
from fastvbow.words._simd import POINTS
from fastvbow.words._sweep import nearest_centers

SIZE = 1 << 20
memory = mmap.mmap(-1, SIZE + mmap.PAGESIZE)
end = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + SIZE
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mprotect(ctypes.c_void_p(end), mmap.PAGESIZE, 0) == 0
for dtype in (np.uint8, np.float32):
    for n in (1, POINTS - 1, POINTS, POINTS + 1, SPAN - 1, SPAN, SPAN + 3):
        for d in (1, 3, 4, 64, 65):
            X = np.ndarray((n, d), dtype, memory, SIZE - n * d * np.dtype(dtype).itemsize)
            X[:] = np.random.default_rng(0).integers(0, 200, (n, d))
            centers = np.random.default_rng(1).integers(0, 200, (9, d)).astype(np.float32)
            for precision in ("exact", "fast"):
                nearest_centers(X, centers, precision=precision)
print("done")
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mprotect"), reason="no way to forbid a page here")
def test_nothing_is_read_behind_the_rows():
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "done", f"exit code {done.returncode}: {done.stderr}"


# --- bytes


def rows_of(kind, rng, n, d):
    if kind == "uniform":
        return rng.integers(0, 256, (n, d))
    if kind == "RootSIFT":
        g = rng.gamma(0.6, 1, (n, d))
        return np.rint(512 * np.sqrt(g / np.maximum(g.sum(axis=1, keepdims=True), 1e-9))).clip(0, 255)
    if kind == "SIFT":
        return np.minimum(rng.gamma(0.4, 30, (n, d)) * (rng.random((n, d)) < 0.4), 255)
    if kind == "extreme":
        return 255 * rng.integers(0, 2, (n, d))
    if kind == "constant":
        return np.repeat(rng.integers(0, 256, (n, 1)), d, axis=1)
    if kind == "repeated":
        return rng.integers(0, 256, (7, d))[rng.integers(0, 7, n)]
    if kind == "clustered":
        return (rng.integers(0, 256, (9, d))[rng.integers(0, 9, n)] + rng.normal(0, 3, (n, d))).clip(0, 255)
    if kind == "narrow":
        return rng.integers(0, 255) + rng.integers(0, 2, (n, d))
    raise ValueError(kind)


def centers_of(kind, rng, X, K):
    some = X[rng.integers(0, len(X), K)].astype(np.float64)
    noise = rng.normal(size=some.shape)
    if kind == "rows":
        return some
    if kind == "means":
        return np.array([X[rng.integers(0, len(X), 9)].mean(axis=0) for _ in range(K)])
    if kind == "noisy":
        return some + 3 * noise
    if kind == "nearly equal":
        return X.mean(axis=0) + 1e-3 * noise
    if kind == "an ulp apart":
        one = np.repeat(some[:1] + rng.random(), K, axis=0).astype(np.float32)
        return np.where(rng.random(one.shape) < 0.1, np.nextafter(one, np.float32(1e9)), one)
    if kind == "within the quantum":  # a pair of centres at the ends of the range sets the scale of the 8 bits
        one = some[0] + 0.02 * noise
        one[0], one[-1] = -100, 355
        return one
    if kind == "outlier":
        one = some + noise
        one[K // 2] *= -900
        return one
    if kind == "steep":
        one = some.copy()
        one[:, -1] *= 1000
        return one
    if kind == "tiny":
        return 1e-3 * (some + noise)
    if kind == "huge":
        return 1e6 + 100 * noise
    if kind == "negative":
        return -some - 0.5
    if kind == "repeated":
        return np.tile(some[: K // 3 + 1] + rng.random(), (4, 1))[:K]
    if kind == "mirrored":  # rows half-way between two centres
        other = X[rng.integers(0, len(X), K)].astype(np.float64)
        return np.stack([some, 2 * other - some], axis=1).reshape(-1, X.shape[1])[:K]
    if kind == "sphere":
        return X[0] + 50 * noise / np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-9)
    raise ValueError(kind)


ROW_KINDS = ["uniform", "RootSIFT", "SIFT", "extreme", "constant", "repeated", "clustered", "narrow"]
CENTER_KINDS = [
    *(
        "rows",
        "means",
        "noisy",
        "nearly equal",
        "an ulp apart",
        "within the quantum",
        "outlier",
        "steep",
        "tiny",
        "huge",
    ),
    *("negative", "repeated", "mirrored", "sphere"),
]
SHAPES = [(SPAN + 3, 128, 2 * RUN + 5), (POINTS, 1, LANES), (77, 5, 100), (500, 64, 1), (31, 7, RUN), (60, 130, 300)]


@needs_bytes
@pytest.mark.parametrize("of_centers", CENTER_KINDS)
@pytest.mark.parametrize("of_rows", ROW_KINDS)
def test_bytes_give_the_labels_of_floats(of_rows, of_centers):
    searched = 0
    for seed, (n, d, K) in enumerate(SHAPES):
        rng = np.random.default_rng(seed)
        X = rows_of(of_rows, rng, n, d).astype(np.uint8)
        centers = centers_of(of_centers, rng, X, K).astype(np.float32)
        if PackedCenters(centers)._bytes is None:  # 32 bits do not hold such scores
            continue
        searched += 1
        np.testing.assert_array_equal(labels_of(X, centers), labels_of(X, centers, by_bytes=False))
    assert searched > 1 or of_centers in ("an ulp apart", "huge")


@needs_bytes
@pytest.mark.parametrize("K", [*KS, 65_535, 65_537, 70_001])
def test_bytes_with_any_number_of_centers(K):
    rng = np.random.default_rng(K)
    X = rng.integers(0, 256, (50, 6)).astype(np.uint8)
    centers = (rng.integers(0, 256, (K, 6)) + rng.random((K, 6))).astype(np.float32)
    own = rng.integers(0, K, 20)
    X[:20] = centers[own]
    X[20] = centers[-1]
    wanted = labels_of(X, centers, by_bytes=False)
    np.testing.assert_array_equal(labels_of(X, centers), wanted)
    assert K < 1000 or np.max(wanted) > 60_000


@needs_bytes
@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 63, 64, 65, 128, 1280, 5001])
@pytest.mark.parametrize("n", [1, POINTS, SPAN, SPAN + POINTS + 1])
def test_bytes_with_any_shape(n, d):
    rng = np.random.default_rng(d)
    X = rng.integers(0, 256, (n, d)).astype(np.uint8)
    for spread in (1e-3, 1.0, 30.0) if d < 1000 else (1.0, 30.0) if d < 5000 else (30.0,):
        centers = (X.mean(axis=0) + spread * rng.normal(size=(RUN + 3, d))).astype(np.float32)
        np.testing.assert_array_equal(labels_of(X, centers), labels_of(X, centers, by_bytes=False))


bounded = st.floats(-1e6, 1e6, width=32)
values = [
    st.integers(-300, 600).map(lambda i: i / 2),
    st.floats(0, 255, width=32),
    bounded,
    st.sampled_from([7, 7.000001, 8]),
]


@needs_bytes
@given(st.data())
@settings(max_examples=250, deadline=None)
def test_bytes_give_the_labels_of_floats_for_any_arrays(data):
    d = data.draw(st.integers(1, 9))
    X = data.draw(hnp.arrays(np.uint8, (data.draw(st.integers(1, 9)), d)))
    elements = data.draw(st.sampled_from(values))
    centers = data.draw(hnp.arrays(np.float32, (data.draw(st.integers(1, 40)), d), elements=elements))
    if PackedCenters(centers)._bytes is not None:
        np.testing.assert_array_equal(labels_of(X, centers), labels_of(X, centers, by_bytes=False))


@needs_bytes
def test_rounding_cannot_decide_and_repair_does():
    # All centres share one rounded vector and one rounded norm: whatever is right comes from the repair.
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (300, 32)).astype(np.uint8)
    centers = np.full((RUN, 32), 100, np.float32) + rng.normal(0, 0.2, (RUN, 32)).astype(np.float32)
    centers[0, 0], centers[1, 0] = -5000, 5000
    exact, fast = labels_of(X, centers), labels_of(X, centers, "fast")
    np.testing.assert_array_equal(exact, labels_of(X, centers, by_bytes=False))
    assert np.mean(exact == fast) < 0.5


@needs_bytes
@pytest.mark.parametrize("seed", range(4))
def test_rounding_of_floats_decides(seed):
    # Two or three candidates whose distances differ by less than float32 tells: the very scores of the float route do.
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 256, (2000, 64)).astype(np.uint8)
    pairs = np.repeat(rng.uniform(0, 255, (40, 64)), 3, axis=0).astype(np.float32)
    centers = pairs + rng.choice([0, 1e-5, 1e-4], (120, 1)) * rng.normal(size=(120, 64)).astype(np.float32)
    wanted = labels_of(X, centers.astype(np.float32), by_bytes=False)
    np.testing.assert_array_equal(labels_of(X, centers), wanted)
    assert np.mean(wanted != naive.nearest(X, centers.astype(np.float32))[0]) > 0.001


@needs_bytes
@pytest.mark.parametrize("d", [16, 128, 1024])
@pytest.mark.parametrize("K", [2, 8, LANES, 40])
def test_bounds_hold_for_centers_far_from_bytes(d, K):
    # Of equal norm and sum, so that only the bounds grow with the distance, not the scores.
    rng = np.random.default_rng(0)
    searched = 0
    for far in 10.0 ** np.arange(1, 10, 0.5):
        for spread in (1e-4, 1e-3, 1e-2, 1e-1):
            values = rng.random(d) * spread * far
            moves = np.array([rng.permutation(values - values.mean()) for _ in range(K // 2)])
            centers = np.stack([far + moves, far - moves], axis=1).reshape(-1, d).astype(np.float32)
            X = rng.integers(0, 256, (100, d)).astype(np.uint8)
            if PackedCenters(centers)._bytes is None:
                continue
            searched += 1
            labels = labels_of(X, centers)
            assert labels.min() >= 0 and labels.max() < K
            np.testing.assert_array_equal(labels, labels_of(X, centers, by_bytes=False))
    assert searched > 5


@needs_bytes
def test_scores_that_leave_32_bits_are_not_searched_by_bytes():
    for centers in (
        np.array([[0] * 8, [1e8] * 8, [0, *[1e8] * 7]]),
        np.array([[2e15], [-1e15]]),
        np.array([[3e18] * 4, [1] * 4]),
    ):
        packed = PackedCenters(centers.astype(np.float32))
        assert packed._bytes is None
        labels = np.empty(1, np.int32)
        packed.assign(np.full((1, centers.shape[1]), 3, np.uint8), labels)
        assert labels[0] == np.abs(centers - 3).sum(axis=1).argmin()


@needs_bytes
def test_bytes_of_rows_do_not_see_one_another():
    X, centers = undecided(2 * SPAN + POINTS + 3, 33, 2 * RUN + 5, np.uint8)
    centers[::2] += np.random.default_rng(0).normal(0, 30, centers[::2].shape)  # some easy, some hard
    for precision in ("exact", "fast"):
        wanted = labels_of(X, centers, precision)
        order = np.random.default_rng(0).permutation(len(X))
        np.testing.assert_array_equal(labels_of(X[order], centers, precision), wanted[order])
        for rows in (order[:1], order[5:8], order[: POINTS + 1], order[:SPAN]):
            np.testing.assert_array_equal(labels_of(X[rows], centers, precision), wanted[rows])


@needs_bytes
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_ties_of_bytes_go_to_the_lowest_index(precision):
    X, centers = sample(100, 12, 20, np.uint8)
    np.testing.assert_array_equal(labels_of(X, np.tile(centers, (9, 1)), precision), labels_of(X, centers, precision))


def learned(X, K):
    """Centres as Lloyd's iterations leave them."""
    centers = X[np.random.default_rng(0).choice(len(X), K, replace=False)].astype(np.float32)
    with pool_of(1) as pool:
        for _ in range(4):
            found = sweep(X, centers, pool, sums=True)
            full = found.counts > 0
            centers[full] = (found.sums[full] / found.counts[full, None]).astype(np.float32)
    return centers


def inertia(X, centers, labels):
    return sum(np.sum((X[i : i + 1000] - centers[labels[i : i + 1000]]) ** 2.0) for i in range(0, len(X), 1000))


def check_fast(X, centers, least):
    exact, fast = labels_of(X, centers), labels_of(X, centers, "fast")
    np.testing.assert_array_equal(exact, labels_of(X, centers, by_bytes=False))
    assert least <= np.mean(exact == fast) < 1
    assert inertia(X, centers, fast) == pytest.approx(inertia(X, centers, exact), rel=1e-3)


@needs_bytes
@pytest.mark.parametrize("of_rows", ["RootSIFT", "SIFT"])
def test_fast_labels_are_nearly_exact(of_rows):
    rng = np.random.default_rng(0)
    basis = rows_of(of_rows, rng, 60, 128)
    X = (rng.dirichlet(np.full(60, 0.1), 8000) @ basis + rng.normal(0, 8, (8000, 128))).clip(0, 255).astype(np.uint8)
    check_fast(X, learned(X, 200), 0.98)


@pytest.mark.data
@needs_bytes
def test_real_sift(data_folder):
    cv2 = pytest.importorskip("cv2")
    sift, found = cv2.SIFT_create(nfeatures=300), []
    for path in sorted((data_folder / "sun8").rglob("*.jpg"))[::40]:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = cv2.resize(image, (256, 256 * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_AREA)
        found.append(sift.detectAndCompute(image, None)[1])
    D = np.concatenate(found)
    assert len(D) > 7000
    for X in (D, np.rint(512 * np.sqrt(D / np.maximum(D.sum(axis=1, keepdims=True), 1)))):
        X = X.clip(0, 255).astype(np.uint8)
        for K in (50, 500):
            check_fast(X, learned(X, K), 0.99)
