"""KMeans and MiniBatchKMeans: semantics, invariants, quality beside scikit-learn."""

from __future__ import annotations

import pickle
import warnings
from itertools import pairwise

import naive
import numpy as np
import pytest
from sklearn import cluster as peers
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastvbow import KMeans, MiniBatchKMeans
from fastvbow.errors import UsageError
from fastvbow.words import _lloyd, _simd
from fastvbow.words._sweep import fill_empty, pool_of


def given_start(X, n_clusters, random_state):
    """A start that does not look at the rows."""
    return np.tile((np.arange(n_clusters)[:, None] + 0.5) / n_clusters, (1, X.shape[1]))


def expected_failures(estimator):
    check = "check_sample_weight_equivalence_on_dense_data"
    if estimator.get_params().get("batch_size"):
        return {check: "batches are drawn at random by weight: equal to repetition in distribution, not draw by draw"}
    if estimator.init is not given_start:
        return {check: "the start is drawn among the rows by number, and repetition renumbers them"}
    return {}


@parametrize_with_checks(
    [
        KMeans(n_clusters=3, random_state=0),
        KMeans(n_clusters=3, init="random", n_init=2, n_jobs=2, max_iter=5, random_state=0),
        KMeans(n_clusters=3, init=given_start),
        MiniBatchKMeans(n_clusters=3, random_state=0),
        MiniBatchKMeans(n_clusters=3, init=given_start, n_jobs=2, random_state=0),
        MiniBatchKMeans(n_clusters=3, batch_size=10, init="random", tol=1e-3, n_jobs=2, random_state=0),
    ],
    expected_failed_checks=expected_failures,
    xfail_strict=True,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


NESTED, SCULLEY = {}, {"batch_size": 256}
EVERY = pytest.mark.parametrize(
    ("kind", "options"),
    [(KMeans, {"n_init": 1}), (MiniBatchKMeans, NESTED), (MiniBatchKMeans, SCULLEY)],
    ids=["lloyd", "nested", "sculley"],
)
BOTH = pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(5000, n_features=8, centers=12, cluster_std=1.0, center_box=(-40, 40), random_state=3)
    return X.astype(np.float32), y


@pytest.fixture(scope="module")
def overlapping():
    """uint8 rows without clear clusters, as descriptors are."""
    rng = np.random.default_rng(0)
    basis = rng.gamma(0.5, 30, (40, 32))
    return np.minimum(rng.gamma(0.5, 1, (20_000, 40)) @ basis / 8, 255).astype(np.uint8)


def same(one, other):
    """Byte for byte."""
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    assert one.labels_.tobytes() == other.labels_.tobytes()
    assert one.inertia_ == other.inertia_
    assert one.n_iter_ == other.n_iter_


# What is found


@pytest.mark.parametrize(("init", "agreement"), [("k-means++", 0.95), ("random", 0.7)])
@EVERY
def test_planted_blobs_are_found(blobs, kind, options, init, agreement):
    X, y = blobs
    model = kind(12, init=init, random_state=0, **{**options, "n_init": 10}).fit(X)
    assert adjusted_rand_score(y, model.labels_) > agreement


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@EVERY
def test_attributes(overlapping, kind, options, dtype):
    X = overlapping[:500].astype(dtype)
    model = kind(7, random_state=0, **options).fit(X)
    assert model.cluster_centers_.shape == (7, 32)
    assert model.cluster_centers_.dtype == (np.float64 if dtype == np.float64 else np.float32)
    assert model.labels_.dtype == np.int32 and model.labels_.shape == (500,)
    assert model.n_features_in_ == 32
    assert type(model.n_iter_) is int and 1 <= model.n_iter_ <= model.max_iter
    labels, distance = naive.nearest_centers(X, model.cluster_centers_)
    assert np.mean(labels == model.labels_) > 0.99
    assert type(model.inertia_) is float and model.inertia_ == pytest.approx(distance.sum(), rel=1e-5)
    assert model.score(X) == pytest.approx(-distance.sum(), rel=1e-5)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(clone(model).fit_predict(X), model.labels_)
    distances = model.transform(X)
    np.testing.assert_allclose(distances**2, naive.squared_distances(X, model.cluster_centers_), rtol=1e-3, atol=1)
    assert len(model.get_feature_names_out()) == 7


@pytest.mark.parametrize("K", [10, 60])
@pytest.mark.parametrize("options", [NESTED, {"batch_size": 4096}], ids=["nested", "sculley"])
def test_quality_of_scikit_learn(overlapping, K, options):
    ours = [MiniBatchKMeans(K, random_state=s, **options).fit(overlapping).inertia_ for s in range(3)]
    X = overlapping.astype(np.float32)
    theirs = [peers.MiniBatchKMeans(K, random_state=s, batch_size=4096).fit(X).inertia_ for s in range(3)]
    assert np.median(ours) < 1.02 * np.median(theirs)


def test_lloyd_from_one_start_is_scikit_learns():
    X = np.random.default_rng(0).normal(size=(3000, 6))
    ours = KMeans(20, init=X[:20], tol=0).fit(X)
    theirs = peers.KMeans(20, init=X[:20], n_init=1, tol=0).fit(X)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
    assert ours.n_iter_ == theirs.n_iter_ > 10
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-12)


def test_nested_batches_come_close_to_lloyd(overlapping):
    nested = [MiniBatchKMeans(40, random_state=s).fit(overlapping).inertia_ for s in range(3)]
    lloyd = [KMeans(40, random_state=s).fit(overlapping).inertia_ for s in range(3)]
    assert np.median(nested) < 1.02 * np.median(lloyd)


@pytest.mark.data
def test_quality_of_scikit_learn_on_real_sift(data_folder):
    cv2 = pytest.importorskip("cv2")
    sift, found = cv2.SIFT_create(nfeatures=300), []
    for path in sorted((data_folder / "sun8").rglob("*.jpg"))[::20]:
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image = cv2.resize(image, (256, 256 * image.shape[0] // image.shape[1]), interpolation=cv2.INTER_AREA)
        found.append(sift.detectAndCompute(image, None)[1])
    D = np.concatenate(found)
    X = np.rint(512 * np.sqrt(D / np.maximum(D.sum(axis=1, keepdims=True), 1))).clip(0, 255).astype(np.uint8)
    assert len(X) > 15_000
    theirs = [
        peers.MiniBatchKMeans(100, random_state=s, batch_size=4096).fit(X.astype(np.float32)).inertia_ for s in range(3)
    ]
    for options in (NESTED, {"batch_size": 4096}):
        ours = [MiniBatchKMeans(100, random_state=s, **options).fit(X).inertia_ for s in range(3)]
        assert np.median(ours) < 1.02 * np.median(theirs)


# Lloyd


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("tol", [0, 1e-3, 0.1])
def test_lloyd_equals_twin(tol, weighted):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(150, 3))
    weights = rng.integers(0, 4, 150).astype(float) if weighted else np.ones(150)
    start = np.concatenate([X[:5], [[50.0, 50, 50]]])  # the last is empty at first
    model = KMeans(6, init=start, tol=tol).fit(X, sample_weight=weights if weighted else None)
    centers, n_iter = naive.lloyd(X, weights, start, 300, tol * X.var(axis=0).mean())
    assert model.n_iter_ == n_iter
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_lloyd_never_raises_inertia(overlapping, dtype):
    X = overlapping[:4000].astype(dtype)
    start = X[:25].astype(np.float64)
    values = [KMeans(25, init=start, tol=0, max_iter=i).fit(X).inertia_ for i in (*range(1, 20), 300)]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(values))
    assert values[-1] < 0.95 * values[0]


@pytest.mark.parametrize("tol", [0, 1e-4])
def test_lloyd_ends_at_a_fixed_point(blobs, tol):
    X, _ = blobs
    model = KMeans(12, tol=tol, random_state=0).fit(X)
    sums, counts = naive.center_sums(X, model.labels_, np.ones(len(X)), 12)
    np.testing.assert_allclose(model.cluster_centers_, sums / counts[:, None], rtol=1e-4, atol=1e-3)
    assert model.n_iter_ < 300
    again = KMeans(12, init=model.cluster_centers_, tol=tol).fit(X)
    np.testing.assert_allclose(again.cluster_centers_, model.cluster_centers_, rtol=1e-4, atol=1e-3)
    assert again.n_iter_ <= 2


def test_lloyd_stops_by_tol_and_by_max_iter(overlapping):
    X = overlapping[:4000]

    def passes(**options):
        return KMeans(25, init=X[:25].astype(float), **options).fit(X).n_iter_

    assert passes(tol=1e6) == 1
    assert passes(tol=1e6) < passes(tol=0.1) < passes(tol=1e-2) < passes(tol=0)
    assert [passes(tol=0, max_iter=i) for i in (1, 3, 7)] == [1, 3, 7]


def test_lloyd_keeps_the_best_start(overlapping):
    X = overlapping[:2000]
    rng = np.random.default_rng(0)
    starts = [X[rng.choice(100, 30, replace=False)].astype(np.float32) for _ in range(6)]
    alone = [KMeans(30, init=start).fit(X) for start in starts]
    best = int(np.argmin([model.inertia_ for model in alone]))
    assert best != 0
    left = iter(starts)
    same(KMeans(30, init=lambda X, K, random_state: next(left), n_init=6).fit(X), alone[best])
    assert next(left, None) is None


@pytest.mark.parametrize("init_size", [1000, 10_000, 60_000])
@EVERY
def test_starts_are_sought_among_all_rows(kind, options, init_size):
    X, y = make_blobs(60_000, n_features=8, centers=12, center_box=(-40, 40), shuffle=False, random_state=3)
    model = kind(12, init_size=init_size, random_state=0, **{**options, "max_iter": 1}).fit(X)
    assert adjusted_rand_score(y, model.labels_) > 0.95


def test_a_larger_sample_gives_a_better_start(blobs):
    X = np.repeat(blobs[0], 10, axis=0)
    few = [KMeans(12, init_size=12, max_iter=1, random_state=s).fit(X).inertia_ for s in range(5)]
    many = [KMeans(12, init_size=10_000, max_iter=1, random_state=s).fit(X).inertia_ for s in range(5)]
    assert np.median(many) < 0.8 * np.median(few)


# Mini-batches


@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fit_is_sculleys_step(overlapping, weighted):
    X = overlapping[:300]
    weights = np.random.default_rng(0).integers(1, 4, 300).astype(float) if weighted else np.ones(300)
    model = MiniBatchKMeans(6, init=X[:6].astype(float), reassignment_ratio=0, random_state=0)
    centers, counts = X[:6].astype(np.float64), np.zeros(6)
    for rows in (slice(0, 120), slice(120, 300)):
        model.partial_fit(X[rows], sample_weight=weights[rows] if weighted else None)
        centers, counts = naive.mini_batch_step(X[rows], weights[rows], centers, counts)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-4, atol=1e-3)
    assert model.n_steps_ == 2
    assert model.labels_.shape == (180,)


@pytest.mark.parametrize(
    "rule",
    [
        {"max_iter": 2, "max_no_improvement": None},
        {"max_iter": 20, "max_no_improvement": 3},
        {"max_iter": 20, "max_no_improvement": None, "tol": 2e-3},
    ],
    ids=str,
)
def test_steps_equal_twin(rule):
    X = np.random.default_rng(2).normal(size=(200, 3))
    model = MiniBatchKMeans(4, init=X[:4], batch_size=30, reassignment_ratio=0, random_state=5, **rule).fit(X)
    rule = {**rule, "tol": rule.get("tol", 0) * X.var(axis=0).mean()}
    centers, n_steps = naive.mini_batches(X, X[:4], np.random.RandomState(5), 30, **rule)
    assert model.n_steps_ == n_steps
    assert model.n_iter_ == -(-n_steps * 30 // 200)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-9)
    assert (n_steps < 100) == (rule["max_iter"] == 20 or n_steps == 13)


def test_stopping_rules(overlapping):
    patient = MiniBatchKMeans(10, batch_size=500, max_no_improvement=None, max_iter=3, random_state=0).fit(overlapping)
    assert patient.n_steps_ == 3 * 20_000 // 500 and patient.n_iter_ == 3
    tolerant = MiniBatchKMeans(10, batch_size=500, tol=1e3, max_iter=3, random_state=0).fit(overlapping)
    assert tolerant.n_steps_ == 2
    hasty = MiniBatchKMeans(10, batch_size=500, max_no_improvement=0, max_iter=3, random_state=0).fit(overlapping)
    assert hasty.n_steps_ == 2


def test_early_stop_smooths_the_inertia_of_small_batches(overlapping):
    steps = [MiniBatchKMeans(10, batch_size=100, random_state=s).fit(overlapping).n_steps_ for s in range(5)]
    assert np.median(steps) > 100  # unsmoothed, the noise of 100 rows ends it after some 30


def test_partial_fit_over_chunks_approximates_fit(overlapping):
    whole = MiniBatchKMeans(30, random_state=0).fit(overlapping)
    model = MiniBatchKMeans(30, random_state=0)
    for _ in range(5):
        for start in range(0, len(overlapping), 2000):
            model.partial_fit(overlapping[start : start + 2000])
    assert -model.score(overlapping) == pytest.approx(whole.inertia_, rel=0.03)


@pytest.mark.parametrize("options", [NESTED, SCULLEY], ids=["nested", "sculley"])
def test_partial_fit_goes_on_from_fit(blobs, options):
    X, _ = blobs
    model = MiniBatchKMeans(12, random_state=0, **options).fit(X)
    before = model.inertia_
    model.partial_fit(X[:5])  # 5 rows beside the 5000 that the centres come from
    assert -model.score(X) < 1.05 * before


def test_partial_fit_goes_on_after_pickling(overlapping):
    one = MiniBatchKMeans(10, random_state=0).partial_fit(overlapping[:500])
    other = pickle.loads(pickle.dumps(one))
    for model in (one, other):
        for start in range(500, 3000, 500):
            model.partial_fit(overlapping[start : start + 500])
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    assert one.n_steps_ == other.n_steps_ == 6


def test_fit_forgets_what_was_learned_before(blobs):
    X, _ = blobs
    for options in (NESTED, SCULLEY):
        model = MiniBatchKMeans(5, random_state=0, **options).partial_fit(X[:100] + 1000)
        again = MiniBatchKMeans(5, random_state=0, **options).fit(X)
        np.testing.assert_array_equal(model.fit(X).cluster_centers_, again.cluster_centers_)


@pytest.mark.parametrize("all_rows", [False, True])
@pytest.mark.parametrize("n", [50, 5000, 200_000, 50_000_000])
@pytest.mark.parametrize("K", [1, 8, 1000])
@pytest.mark.parametrize("width", [2, 128, 4096])
def test_plan_of_nested_batches(n, K, all_rows, width):
    n = max(n, K)
    plan = _lloyd.nested_plan(n, width, K, 100, all_rows)
    rows = [stage.rows for stage in plan]
    assert rows == sorted(rows) and all(b in (2 * a, n) for a, b in pairwise(rows))
    assert rows[0] >= min(n, _lloyd.FIRST * K)
    assert all(row * width <= _lloyd.BATCH_BYTES for row in rows if row < n)
    assert rows[-1] == n or (not all_rows and rows[-1] * 8 >= _lloyd.LARGEST * K)
    assert [stage.passes for stage in _lloyd.nested_plan(n, width, K, 1, all_rows)] == [1] * len(plan)


@pytest.mark.parametrize("weights", [None, "rising, a tenth are zero"])
def test_every_nested_batch_is_a_sample(weights):
    """Rows from everywhere: the weight of each quarter of X in it is in proportion."""
    number = np.arange(10_000)
    if weights is not None:
        weights = np.where(number % 10 < 9, number + 1.0, 0)
    X = number[:, None].astype(np.float32)
    with pool_of(2) as pool:
        drawn, drawn_weights = _lloyd._drawn(X, weights, [100, 200, 400, 800], np.random.RandomState(0), pool)
    rows = drawn[:, 0].astype(int)
    assert len(np.unique(rows)) == len(rows) == 800
    if weights is None:
        weights, drawn_weights = np.ones(10_000), np.ones(800)
    assert weights[rows].min() > 0
    expected = np.bincount(number // 2500, weights) / weights.sum()
    for size in (100, 200, 400, 800):
        found = np.bincount(rows[:size] // 2500, drawn_weights[:size], minlength=4) / drawn_weights[:size].sum()
        assert (np.abs(found - expected) <= 3.5 * np.sqrt(expected * (1 - expected) / size)).all()


@pytest.mark.parametrize("weights", [None, "most are zero"])
def test_inertia_is_estimated_from_a_sample(overlapping, weights):
    centers = overlapping[:10].astype(np.float32)
    labels, distance = naive.nearest_centers(overlapping, centers)
    if weights is not None:
        weights = np.where(np.arange(len(overlapping)) % 4 == 0, 2.5, 0)
    true = distance.sum() if weights is None else weights @ distance
    found = _lloyd._estimated(overlapping, weights, labels.astype(np.int32), centers)
    assert found == pytest.approx(true, rel=0.1)
    assert _lloyd._estimated(overlapping[:40], None, labels[:40].astype(np.int32), centers) == pytest.approx(
        distance[:40].sum(), rel=1e-5
    )


def test_nested_batches_see_rows_in_any_order(overlapping):
    order = np.argsort(overlapping.sum(axis=1, dtype=np.int64), kind="stable")
    inertia = [
        np.median([MiniBatchKMeans(10, max_iter=1, random_state=s).fit(X).inertia_ for s in range(5)])
        for X in (overlapping, overlapping[order])
    ]
    assert inertia[1] == pytest.approx(inertia[0], rel=0.01)


def test_nested_batches_need_few_passes_over_all_rows(overlapping):
    model = MiniBatchKMeans(10, random_state=0).fit(overlapping)
    assert model.n_steps_ > model.n_iter_
    assert model.n_iter_ < 12


def test_compute_labels(overlapping):
    with_labels = MiniBatchKMeans(20, random_state=0).fit(overlapping)
    without = MiniBatchKMeans(20, compute_labels=False, random_state=0).fit(overlapping)
    assert without.cluster_centers_.tobytes() == with_labels.cluster_centers_.tobytes()
    assert not hasattr(without, "labels_")
    np.testing.assert_array_equal(without.predict(overlapping), with_labels.labels_)


# The same bytes


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@EVERY
def test_same_seed_same_bytes(overlapping, kind, options, dtype):
    X = overlapping.astype(dtype)
    if dtype == np.float64:
        X = X**1.7 / 7  # sums of whole numbers are exact in any order, those of fractions are not

    def run(n_jobs, seed):
        return kind(20, n_jobs=n_jobs, random_state=seed, **{**options, "max_iter": 15}).fit(X)

    one = run(1, 3)
    for n_jobs in (2, 3, -1):
        same(run(n_jobs, 3), one)
    same(run(2, np.random.RandomState(3)), one)
    assert run(1, 4).cluster_centers_.tobytes() != one.cluster_centers_.tobytes()


@pytest.mark.parametrize("n_jobs", [2, -1])
def test_steps_by_hand_give_the_same_bytes_on_threads(overlapping, n_jobs):
    def run(n_jobs):
        model = MiniBatchKMeans(20, n_jobs=n_jobs, random_state=0)
        for start in range(0, 20_000, 5000):
            model.partial_fit(overlapping[start : start + 5000])
        return model

    one, other = run(1), run(n_jobs)
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    assert one.labels_.tobytes() == other.labels_.tobytes() and one.inertia_ == other.inertia_


def cut(X, *lengths):
    """Shards of these lengths, and what is left."""
    ends = np.cumsum(lengths)
    return np.split(X, ends)


def mapped(X, folder, name="X", mode="r"):
    np.save(folder / f"{name}.npy", X)
    return np.load(folder / f"{name}.npy", mmap_mode=mode)


LAYOUTS = {
    "one shard": lambda X, folder: [X],
    "a tuple of even shards": lambda X, folder: tuple(cut(X, 5000, 5000)),
    "uneven shards": lambda X, folder: cut(X, 1, 2999, 8192, 3),
    "empty shards": lambda X, folder: cut(X, 0, 4000, 0, 0, 700, len(X) - 4700),
    "mapped shards": lambda X, folder: [mapped(s, folder, str(i)) for i, s in enumerate(cut(X, 10, 7000, 0, 1000))],
    "map": lambda X, folder: mapped(X, folder),
    "copy-on-write map": lambda X, folder: mapped(X, folder, mode="c"),
    "read-only": lambda X, folder: np.frombuffer(X.tobytes(), X.dtype).reshape(X.shape),
    "Fortran": lambda X, folder: np.asfortranarray(X),
    "every other row": lambda X, folder: np.repeat(X, 2, axis=0)[::2],
    "every other column": lambda X, folder: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda X, folder: X[::-1].copy()[::-1],
    "unaligned": lambda X, folder: np.frombuffer(b" " + X.tobytes(), X.dtype, offset=1).reshape(X.shape),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("layout", LAYOUTS)
@EVERY
def test_layout_does_not_matter(overlapping, tmp_path, kind, options, layout, dtype):
    X = overlapping[:13_000].astype(dtype)
    weights = np.random.default_rng(0).random(len(X)) if layout == "uneven shards" else None
    plain = kind(8, random_state=0, **{**options, "max_iter": 3}).fit(X, sample_weight=weights)
    other = LAYOUTS[layout](X, tmp_path)
    model = clone(plain).fit(other, sample_weight=weights)
    same(model, plain)
    np.testing.assert_array_equal(model.predict(other), plain.labels_)
    np.testing.assert_array_equal(model.transform(other), plain.transform(X))
    assert model.score(other) == plain.score(X)
    np.testing.assert_array_equal(np.concatenate(other) if isinstance(other, (list, tuple)) else other, X)


@pytest.mark.parametrize("layout", ["mapped shards", "empty shards", "Fortran", "map"])
def test_layout_does_not_matter_with_many_centers(overlapping, tmp_path, layout):
    X = overlapping[:15_000]
    plain = MiniBatchKMeans(200, max_iter=2, random_state=0).fit(X)
    same(clone(plain).fit(LAYOUTS[layout](X, tmp_path)), plain)


@pytest.mark.parametrize("layout", ["uneven shards", "empty shards", "mapped shards", "Fortran", "map"])
def test_layout_does_not_matter_in_a_step(overlapping, tmp_path, layout):
    X = overlapping[:9000]
    plain = MiniBatchKMeans(8, random_state=0).partial_fit(X).partial_fit(X)
    other = LAYOUTS[layout](X, tmp_path)
    model = MiniBatchKMeans(8, random_state=0).partial_fit(other).partial_fit(other)
    assert model.cluster_centers_.tobytes() == plain.cluster_centers_.tobytes()
    assert model.labels_.tobytes() == plain.labels_.tobytes()


@EVERY
def test_what_was_written_over_a_map_stays(overlapping, tmp_path, kind, options):
    """Pages of a map are given back after use; those of a private one hold what is not in the file."""
    X = mapped(overlapping, tmp_path, mode="c")
    X //= 2
    kept = X.tobytes()
    X.flags.writeable = False
    kind(5, random_state=0, **options).fit(X)
    assert X.tobytes() == kept


@EVERY
def test_shards_of_any_number_type(kind, options):
    rng = np.random.default_rng(0)
    X = rng.integers(-50, 50, (300, 4))
    plain = kind(5, random_state=0, **options).fit(X)
    assert plain.cluster_centers_.dtype == np.float64
    same(clone(plain).fit([X[:100], X[100:]]), plain)
    same(clone(plain).fit(X.astype(">f4")), plain)


@EVERY
def test_shards_do_not_read_old_memory(kind, options):
    X = np.random.default_rng(0).normal(size=(400, 24))
    rubbish = [np.full((1, 24), np.nan) for _ in range(50)]
    del rubbish  # what is allocated next, and not written, holds NaN
    kind(3, random_state=0, **options).fit([X[:100], X[100:]])


def test_shards_must_fit_together():
    X = np.random.default_rng(0).normal(size=(40, 4))
    model = KMeans(2, random_state=0).fit(X)
    for second in (X[:, :3], X.astype(np.float32)):
        with pytest.raises(UsageError, match="shard 1 has shape"):
            KMeans(2).fit([X, second])
    with pytest.raises(ValueError, match="3 features"):
        model.predict([X[:, :3], X[:, :3]])
    with pytest.raises(UsageError, match=r"0 sample.*no rows"):
        KMeans(2).fit([X[:0], X[:0]])
    with pytest.raises(UsageError, match="n_samples=3 should be >= n_clusters=4"):
        KMeans(4).fit([X[:1], X[:2]])
    X[30, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        KMeans(2).fit([X[:10], X[10:]])


@EVERY
def test_bytes_and_floats_of_the_same_numbers_agree(overlapping, kind, options):
    models = [
        kind(30, random_state=0, **options).fit(overlapping.astype(t)) for t in (np.uint8, np.float32, np.float64)
    ]
    for model in models[1:]:
        assert model.inertia_ == pytest.approx(models[0].inertia_, rel=0.01)
    one, other = models[0].predict(overlapping), models[0].predict(overlapping.astype(np.float32))
    assert np.mean(one == other) > 0.999
    assert models[0].score(overlapping) == pytest.approx(models[0].score(overlapping.astype(np.float32)), rel=1e-6)


@pytest.mark.parametrize("colours", [False, True])
def test_bytes_cost_no_quality_in_few_dimensions(colours):
    """Of many centres in a small space, the distances are near what rounding to 8 bits takes."""
    rng = np.random.default_rng(0)
    grey = rng.uniform(0, 255, (8000, 1))
    X = np.clip(grey + rng.normal(0, 3, (8000, 3)) if colours else grey, 0, 255).astype(np.uint8)
    of_bytes, of_floats = (
        np.median([MiniBatchKMeans(64, random_state=s).fit(X.astype(t)).inertia_ for s in range(5)])
        for t in (np.uint8, np.float32)
    )
    assert of_bytes < 1.03 * of_floats


# Precision


@pytest.mark.skipif(not _simd.DOT, reason="this CPU has no dot products of bytes: there is one route only")
@pytest.mark.parametrize(("kind", "options"), [(KMeans, {"n_init": 1}), (MiniBatchKMeans, SCULLEY)])
def test_exact_is_the_float_route(overlapping, monkeypatch, kind, options):
    def run():
        return kind(60, random_state=0, **options, max_iter=10).fit(overlapping)

    exact, fast = run(), kind(60, precision="fast", random_state=0, **options, max_iter=10).fit(overlapping)
    labels = exact.predict(overlapping)
    monkeypatch.setattr(_simd, "DOT", "")
    floats = run()
    same(exact, floats)
    np.testing.assert_array_equal(floats.predict(overlapping), labels)
    assert fast.cluster_centers_.tobytes() != exact.cluster_centers_.tobytes()


@EVERY
def test_fast_is_close_to_exact(overlapping, kind, options):
    exact = kind(60, random_state=0, max_iter=20, **options).fit(overlapping)
    fast = clone(exact).set_params(precision="fast").fit(overlapping)
    assert fast.inertia_ == pytest.approx(exact.inertia_, rel=0.01)
    labels = exact.labels_
    exact.set_params(precision="fast")
    agreement = np.mean(exact.predict(overlapping) == labels)
    assert agreement > 0.97
    assert -exact.score(overlapping) == pytest.approx(exact.inertia_, rel=1e-3)
    assert -exact.score(overlapping) >= exact.inertia_ * (1 - 1e-9)
    if _simd.DOT:
        assert agreement < 1
    floats = overlapping.astype(np.float32)  # only for bytes does it matter
    same(clone(fast).fit(floats), clone(fast).set_params(precision="exact").fit(floats))


# Weights


def test_weights_equal_repetition_in_the_assignment(blobs):
    X, _ = blobs
    X, weights = X[:300], np.random.default_rng(0).integers(0, 4, 300)
    model = MiniBatchKMeans(12, random_state=0).fit(X)
    assert model.score(X, sample_weight=weights) == pytest.approx(model.score(np.repeat(X, weights, axis=0)), rel=1e-6)


@EVERY
def test_rows_without_weight_have_no_say(blobs, kind, options):
    X, _ = blobs
    weights = np.ones(len(X))
    weights[:2500] = 0
    strange = X.copy()
    strange[:2500] = 1e6
    model = kind(12, random_state=0, **{**options, "n_init": 3}).fit(strange, sample_weight=weights)
    assert np.abs(model.cluster_centers_).max() < 1e3
    assert model.inertia_ < 1.05 * clone(model).fit(X[2500:]).inertia_


@EVERY
def test_rare_weights_among_many_rows(kind, options):
    rng = np.random.default_rng(0)
    X = rng.normal(1000, 1, (30_000, 3)).astype(np.float32)
    weights = np.zeros(len(X))
    rows = rng.choice(len(X), 60, replace=False)
    X[rows], weights[rows] = rng.normal(size=(60, 3)), 1
    models = [kind(20, random_state=s, **options).fit(X, sample_weight=weights) for s in range(5)]
    for model in models:
        assert np.abs(model.cluster_centers_).max() < 10
        assert len(np.unique(model.labels_[rows])) == 20
    alone = [kind(20, random_state=s, **options).fit(X[rows]).inertia_ for s in range(5)]
    assert np.median([model.inertia_ for model in models]) < 1.12 * np.median(alone)


@EVERY
def test_fewer_rows_with_weight_than_centers(kind, options):
    X = np.random.default_rng(0).normal(size=(3000, 3)).astype(np.float32)
    weights = np.zeros(len(X))
    weights[[5, 1500, 2900]] = 1, 2, 3
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        model = kind(20, random_state=0, **options).fit(X, sample_weight=weights)
    assert model.inertia_ == 0


# Centres without rows


@pytest.mark.parametrize("options", [NESTED, {"batch_size": 1000}], ids=["nested", "sculley"])
def test_empty_clusters_get_far_rows(blobs, options):
    X, _ = blobs
    init = np.full((12, 8), 1e4, np.float32)
    init[0] = 0
    model = MiniBatchKMeans(12, init=init, reassignment_ratio=0, max_iter=1, random_state=0, **options).fit(X)
    assert len(np.unique(model.labels_)) == 12
    assert model.inertia_ == pytest.approx(naive.nearest_centers(X, model.cluster_centers_)[1].sum(), rel=1e-4)


def test_rare_centers_are_reassigned(blobs):
    X, _ = blobs
    init = np.full((12, 8), 1e4, np.float32)
    init[0] = 0
    lazy = MiniBatchKMeans(12, init=init, reassignment_ratio=0, random_state=0).partial_fit(X)
    eager = MiniBatchKMeans(12, init=init, reassignment_ratio=0.01, random_state=0).partial_fit(X)
    assert np.sum(lazy.cluster_centers_[:, 0] > 9e3) == 11
    assert np.sum(eager.cluster_centers_[:, 0] > 9e3) == 0


def test_rare_centers_are_reassigned_from_time_to_time():
    model = MiniBatchKMeans(2, init=np.array([[0.0], [1000.0]]), random_state=0)
    model.partial_fit(np.array([[0.0], [1000.0]]))
    for _ in range(30):  # 300 rows: the second centre falls under 1 % of the first
        model.partial_fit(np.linspace(-1, 1, 10)[:, None])
    assert np.abs(model.cluster_centers_).max() < 10


def test_empty_clusters_do_not_go_to_rows_without_weight():
    X, centers = np.array([[0.0], [5.0], [9.0], [9.0]]), np.zeros((3, 1))
    assert fill_empty(X, np.array([1.0, 1, 0, 0]), centers, np.array([1, 2]), X[:, 0] ** 2)
    assert centers.ravel().tolist() == [0, 5, 0]
    assert fill_empty(X, None, centers, np.array([2]), X[:, 0] ** 2)
    assert centers.ravel().tolist() == [0, 5, 9]


@pytest.mark.parametrize("ratio", [0, 0.01, 1, 5])
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("X", [np.zeros((40, 3)), np.repeat(np.eye(3, dtype=np.uint8), 20, axis=0)])
def test_fewer_distinct_rows_than_centers(X, init, ratio):
    sculley = MiniBatchKMeans(8, init=init, batch_size=16, reassignment_ratio=ratio, random_state=0)
    nested, lloyd = MiniBatchKMeans(8, init=init, random_state=0), KMeans(8, init=init, n_init=1, random_state=0)
    for model in (sculley, nested, lloyd):
        with pytest.warns(ConvergenceWarning, match="distinct clusters"):
            model.fit(X)
        assert np.isfinite(model.cluster_centers_).all()
        assert model.inertia_ == 0


@EVERY
def test_equal_rows_give_one_warning(kind, options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        for row in np.random.default_rng(0).normal(100, 30, (30, 64)):
            assert kind(8, random_state=0, **options).fit(np.tile(row, (20, 1))).inertia_ < 1e-20


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (KMeans, {"max_iter": 1}),
        (KMeans, {}),
        (MiniBatchKMeans, {}),
        (MiniBatchKMeans, {"batch_size": 200, "reassignment_ratio": 0}),
    ],
)
def test_every_centre_gets_rows_where_enough_are_distinct(kind, options):
    """Repeated rows: the farthest row and its copies are one place, so centres fill one by one."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.integers(0, 255, (60, 4)).astype(np.uint8), [20_000] + 59 * [30], axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model = kind(50, init="random", n_init=1, random_state=0, **options).fit(X)
    assert len(np.unique(model.labels_)) == 50


@BOTH
def test_distinct_rows_give_no_warning(blobs, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kind(50, random_state=0).fit(blobs[0][:60])
        MiniBatchKMeans(50, batch_size=64, random_state=0).fit(blobs[0][:60])


@pytest.mark.parametrize(("n", "K"), [(1, 1), (5, 5), (5, 1)])
@EVERY
def test_smallest_inputs(n, K, kind, options):
    X = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = kind(K, random_state=0, **{**options, "n_init": 1}).fit(X)
        kind(K, random_state=0, **options).fit(X.astype(np.uint8)).predict(X)
    assert len(np.unique(model.labels_)) == K
    if "batch_size" in options:
        return  # batches are drawn with replacement: not every row need be in one
    if n == K:
        assert model.inertia_ == 0
    else:
        np.testing.assert_allclose(model.cluster_centers_[0], X.mean(axis=0))


# Far from the origin, where squares lose their digits


@EVERY
def test_data_far_from_the_origin(kind, options):
    X = np.random.default_rng(0).integers(-50, 50, (2000, 6)).astype(np.float32)
    near = kind(15, random_state=0, **options).fit(X)
    far = clone(near).fit(X + 2**20)
    assert far.inertia_ == pytest.approx(near.inertia_, rel=0.02)
    np.testing.assert_array_equal(far.predict(X + 2**20), far.labels_)
    labels, _ = naive.nearest_centers(X[:200] + 2.0**20, far.cluster_centers_)
    assert np.mean(labels == far.labels_[:200]) > 0.98


# What is said


def test_verbose_writes_to_stderr(blobs, capsys):
    X = blobs[0][:500]
    KMeans(5, n_init=3, verbose=1, random_state=0).fit(X)
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 3 and said.err.count("inertia") == 3
    for options in (NESTED, SCULLEY):
        model = MiniBatchKMeans(5, verbose=1, random_state=0, **options).fit(X)
        said = capsys.readouterr()
        assert said.out == "" and f"{model.n_steps_} batches" in said.err and "inertia" in said.err
        MiniBatchKMeans(5, verbose=1, compute_labels=False, random_state=0, **options).fit(X)
        assert "batches" in capsys.readouterr().err
    for model in (KMeans(5, random_state=0), MiniBatchKMeans(5, random_state=0)):
        model.fit(X)
    assert capsys.readouterr() == ("", "")


SHARED = [
    {"n_clusters": 0},
    {"n_clusters": 2.5},
    {"init": "kmeans"},
    {"init": np.ones((2, 2))},
    {"init": np.full((3, 2), np.nan)},
    {"init": None},
    {"max_iter": 0},
    {"max_iter": 1.5},
    {"tol": -1},
    {"tol": np.nan},
    {"tol": "small"},
    {"init_size": 0},
    {"n_init": 0},
    {"n_init": "many"},
    {"precision": "half"},
    {"n_jobs": 0},
]
STEPS = [{"batch_size": 0}, {"batch_size": 1.5}, {"max_no_improvement": -1}, {"reassignment_ratio": -0.1}]


@pytest.mark.parametrize(
    ("kind", "method", "parameter"),
    [(KMeans, "fit", p) for p in SHARED]
    + [(MiniBatchKMeans, method, p) for p in SHARED + STEPS for method in ("fit", "partial_fit")],
    ids=str,
)
def test_unusable_parameters_are_refused(kind, method, parameter):
    model = kind(**{"n_clusters": 3, **parameter})
    with pytest.raises(ValueError, match=r"cannot be used|init|n_jobs") as refusal:
        getattr(model, method)(np.arange(20.0).reshape(10, 2))
    assert next(iter(parameter)) in str(refusal.value)


@BOTH
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_not_finite_is_refused(kind, bad, dtype):
    X = np.ones((5000, 2), dtype)
    model = kind(1, random_state=0).fit(X)
    X[4999, 1] = bad
    methods = [model.fit, model.predict, model.transform, model.score]
    for method in methods + [getattr(model, "partial_fit", model.fit)]:
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(X)


@BOTH
def test_other_unusable_input_is_refused(kind):
    X = np.arange(20.0).reshape(10, 2)
    with pytest.raises(UsageError, match="n_samples=10 should be >= n_clusters=11"):
        kind(11).fit(X)
    with pytest.raises(UsageError, match="scale the data"):
        kind(2).fit((X + 1).astype(np.float32) * 1e30)
    with pytest.raises(ValueError, match="0 sample"):
        kind(2).fit(X[:0])
    with pytest.raises(NotFittedError):
        kind(2).predict(X)
    model = kind(2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="3 features"):
        model.predict(np.ones((4, 3)))
    with pytest.raises(UsageError, match="precision"):
        model.set_params(precision="half").predict(X)
    for weights in (-np.ones(10), np.zeros(10), np.ones(9), np.full(10, np.nan)):
        with pytest.raises(UsageError, match="sample_weight"):
            kind(2).fit(X, sample_weight=weights)
        with pytest.raises(UsageError, match="sample_weight"):
            model.set_params(precision="exact").score(X, sample_weight=weights)


def test_weights_too_large_for_the_arithmetic_are_refused():
    X = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(UsageError):
        KMeans(2, random_state=0).fit(X, sample_weight=np.full(50, 1e307))


def test_centers_of_rows_without_weight_alone_count_as_empty():
    X, weights = np.arange(40.0)[:, None], np.zeros(40)
    weights[[3, 9, 27]] = 1
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\)"):
        KMeans(5, init=np.array([[0.0], [1], [2], [9], [27]])).fit(X, sample_weight=weights)


def test_reassignment_can_be_set_between_batches():
    X = np.linspace(-1, 1, 100)[:, None]
    model = MiniBatchKMeans(2, init=np.array([[0.0], [1000.0]]), reassignment_ratio=0, random_state=0).partial_fit(X)
    assert model.cluster_centers_.max() == 1000
    assert model.set_params(reassignment_ratio=0.01).partial_fit(X).cluster_centers_.max() < 10
