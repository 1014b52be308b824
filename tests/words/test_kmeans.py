"""MiniBatchKMeans: semantics, invariants, quality beside scikit-learn."""

from __future__ import annotations

import warnings
from itertools import pairwise

import naive
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans as Peer
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastvbow.errors import UsageError
from fastvbow.words._kmeans_blocks import fill_empty
from fastvbow.words.kmeans import MiniBatchKMeans

EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "mini-batches are drawn at random by weight: a weight equals repetition in distribution, not draw by draw"
    )
}


@parametrize_with_checks(
    [
        MiniBatchKMeans(n_clusters=3, random_state=0),
        MiniBatchKMeans(n_clusters=3, init="random", lloyd_iter=2, tol=1e-3, n_jobs=2, random_state=0),
    ],
    expected_failed_checks=lambda estimator: EXPECTED_FAILURES,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


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


def inertia(X, centers):
    return naive.nearest_centers(X, centers)[1].sum()


@pytest.mark.parametrize(("init", "agreement"), [("k-means++", 0.95), ("random", 0.8)])
def test_planted_blobs_are_found(blobs, init, agreement):
    X, y = blobs
    model = MiniBatchKMeans(12, init=init, n_init=10, batch_size=512, random_state=0).fit(X)
    assert adjusted_rand_score(y, model.labels_) > agreement


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_attributes(overlapping, dtype):
    X = overlapping[:500].astype(dtype)
    model = MiniBatchKMeans(7, batch_size=100, random_state=0).fit(X)
    assert model.cluster_centers_.shape == (7, 32)
    assert model.cluster_centers_.dtype == (np.float64 if dtype == np.float64 else np.float32)
    assert model.labels_.dtype == np.int32 and model.labels_.shape == (500,)
    assert model.n_features_in_ == 32
    assert 1 <= model.n_iter_ <= 100 and model.n_steps_ <= 500
    labels, distance = naive.nearest_centers(X, model.cluster_centers_)
    assert np.mean(labels == model.labels_) > 0.99
    assert model.inertia_ == pytest.approx(distance.sum(), rel=1e-5)
    assert model.score(X) == pytest.approx(-distance.sum(), rel=1e-5)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(clone(model).fit_predict(X), model.labels_)
    distances = model.transform(X)
    np.testing.assert_allclose(distances**2, naive.squared_distances(X, model.cluster_centers_), rtol=1e-3, atol=1)
    assert len(model.get_feature_names_out()) == 7


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


def test_partial_fit_over_chunks_approximates_fit(overlapping):
    whole = MiniBatchKMeans(30, random_state=0).fit(overlapping)
    model = MiniBatchKMeans(30, random_state=0)
    for _ in range(5):
        for start in range(0, len(overlapping), 2000):
            model.partial_fit(overlapping[start : start + 2000])
    assert -model.score(overlapping) == pytest.approx(whole.inertia_, rel=0.03)


def test_fit_forgets_what_was_learned_before(blobs):
    X, _ = blobs
    model = MiniBatchKMeans(5, random_state=0).partial_fit(X[:100] + 1000)
    again = MiniBatchKMeans(5, random_state=0).fit(X)
    np.testing.assert_array_equal(model.fit(X).cluster_centers_, again.cluster_centers_)


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_same_seed_same_bytes(overlapping, n_jobs):
    def run(n_jobs, seed):
        return MiniBatchKMeans(20, batch_size=5000, lloyd_iter=2, n_jobs=n_jobs, random_state=seed).fit(overlapping)

    one, other = run(1, 3), run(n_jobs, 3)
    assert one.cluster_centers_.tobytes() == other.cluster_centers_.tobytes()
    assert one.labels_.tobytes() == other.labels_.tobytes()
    assert one.inertia_ == other.inertia_
    assert run(1, 4).cluster_centers_.tobytes() != one.cluster_centers_.tobytes()


def test_memory_map_trains_as_memory_does(overlapping, tmp_path):
    np.save(tmp_path / "X.npy", overlapping)
    mapped = MiniBatchKMeans(10, random_state=0).fit(np.load(tmp_path / "X.npy", mmap_mode="r"))
    memory = MiniBatchKMeans(10, random_state=0).fit(np.asfortranarray(overlapping))
    np.testing.assert_array_equal(mapped.cluster_centers_, memory.cluster_centers_)


def test_weights_equal_repetition_in_the_assignment(blobs):
    X, _ = blobs
    X, weights = X[:300], np.random.default_rng(0).integers(0, 4, 300)
    model = MiniBatchKMeans(12, random_state=0).fit(X)
    assert model.score(X, sample_weight=weights) == pytest.approx(model.score(np.repeat(X, weights, axis=0)), rel=1e-6)


def test_rows_without_weight_have_no_say(blobs):
    X, _ = blobs
    weights = np.ones(len(X))
    weights[:2500] = 0
    strange = X.copy()
    strange[:2500] = 1e6
    model = MiniBatchKMeans(12, n_init=3, random_state=0).fit(strange, sample_weight=weights)
    assert np.abs(model.cluster_centers_).max() < 1e3
    assert model.inertia_ < 1.05 * MiniBatchKMeans(12, n_init=3, random_state=0).fit(X[2500:]).inertia_


@pytest.mark.parametrize("K", [10, 60])
def test_quality_of_scikit_learn(overlapping, K):
    ours = [MiniBatchKMeans(K, random_state=s).fit(overlapping).inertia_ for s in range(3)]
    theirs = [Peer(K, random_state=s, batch_size=4096).fit(overlapping.astype(np.float32)).inertia_ for s in range(3)]
    assert np.median(ours) < 1.02 * np.median(theirs)


def test_lloyd_never_raises_inertia(overlapping):
    X = overlapping[:4000]
    values = [MiniBatchKMeans(25, lloyd_iter=i, random_state=0).fit(X).inertia_ for i in (0, 1, 2, 4, 8, 200)]
    assert all(b <= a * (1 + 1e-6) for a, b in pairwise(values))
    assert values[-1] < 0.999 * values[0]


def test_lloyd_ends_at_a_fixed_point(blobs):
    X, _ = blobs
    model = MiniBatchKMeans(12, lloyd_iter=300, random_state=0).fit(X)
    sums, counts = naive.center_sums(X, model.labels_, np.ones(len(X)), 12)
    np.testing.assert_allclose(model.cluster_centers_, sums / counts[:, None], rtol=1e-4, atol=1e-3)
    assert model.n_iter_ < 400


def test_empty_clusters_get_far_rows(blobs):
    X, _ = blobs
    init = np.full((12, 8), 1e4, np.float32)
    init[0] = 0
    model = MiniBatchKMeans(12, init=init, reassignment_ratio=0, max_iter=1, random_state=0).fit(X)
    assert len(np.unique(model.labels_)) == 12
    assert model.inertia_ == pytest.approx(inertia(X, model.cluster_centers_), rel=1e-4)


def test_rare_centers_are_reassigned(blobs):
    X, _ = blobs
    init = np.full((12, 8), 1e4, np.float32)
    init[0] = 0
    lazy = MiniBatchKMeans(12, init=init, reassignment_ratio=0, random_state=0).partial_fit(X)
    eager = MiniBatchKMeans(12, init=init, reassignment_ratio=0.01, random_state=0).partial_fit(X)
    assert np.sum(lazy.cluster_centers_[:, 0] > 9e3) == 11
    assert np.sum(eager.cluster_centers_[:, 0] > 9e3) == 0


@pytest.mark.parametrize("ratio", [0, 0.01, 1, 5])
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("X", [np.zeros((40, 3)), np.repeat(np.eye(3, dtype=np.uint8), 20, axis=0)])
def test_fewer_distinct_rows_than_centers(X, init, ratio):
    model = MiniBatchKMeans(8, init=init, batch_size=16, reassignment_ratio=ratio, lloyd_iter=3, random_state=0)
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        model.fit(X)
    assert np.isfinite(model.cluster_centers_).all()
    assert model.inertia_ == 0


def test_distinct_rows_give_no_warning(blobs):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MiniBatchKMeans(50, batch_size=64, random_state=0).fit(blobs[0][:60])


@pytest.mark.parametrize(("n", "K"), [(1, 1), (5, 5), (5, 1)])
def test_smallest_inputs(n, K):
    X = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    model = MiniBatchKMeans(K, lloyd_iter=5, random_state=0).fit(X)
    assert len(np.unique(model.labels_)) == K
    if n == K:
        assert model.inertia_ == 0
    else:
        np.testing.assert_allclose(model.cluster_centers_[0], X.mean(axis=0))


def test_stopping_rules(overlapping):
    patient = MiniBatchKMeans(10, batch_size=500, max_no_improvement=None, max_iter=3, random_state=0).fit(overlapping)
    assert patient.n_steps_ == 3 * 20_000 // 500 and patient.n_iter_ == 3
    tolerant = MiniBatchKMeans(10, batch_size=500, tol=1e3, max_iter=3, random_state=0).fit(overlapping)
    assert tolerant.n_steps_ == 2
    hasty = MiniBatchKMeans(10, batch_size=500, max_no_improvement=0, max_iter=3, random_state=0).fit(overlapping)
    assert hasty.n_steps_ == 2


@pytest.mark.parametrize(
    "parameter",
    [
        {"n_clusters": 0},
        {"n_clusters": 2.5},
        {"init": "kmeans"},
        {"init": np.ones((2, 2))},
        {"init": np.full((3, 2), np.nan)},
        {"max_iter": 0},
        {"batch_size": 0},
        {"tol": -1},
        {"max_no_improvement": -1},
        {"init_size": 0},
        {"n_init": 0},
        {"n_init": "many"},
        {"reassignment_ratio": -0.1},
        {"lloyd_iter": -1},
        {"n_jobs": 0},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_unusable_parameters_are_refused(parameter, method):
    model = MiniBatchKMeans(**{"n_clusters": 3, **parameter})
    with pytest.raises(ValueError, match=r"cannot be used|init|n_jobs"):
        getattr(model, method)(np.arange(20.0).reshape(10, 2))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_not_finite_is_refused(bad, dtype):
    X = np.ones((5000, 2), dtype)
    model = MiniBatchKMeans(1, random_state=0).fit(X)
    X[4999, 1] = bad
    for method in (model.fit, model.partial_fit, model.predict, model.transform, model.score):
        with pytest.raises(ValueError, match=r"NaN|infinity"):
            method(X)


def test_other_unusable_input_is_refused():
    X = np.arange(20.0).reshape(10, 2)
    with pytest.raises(UsageError, match="n_samples=10 should be >= n_clusters=11"):
        MiniBatchKMeans(11).fit(X)
    with pytest.raises(UsageError, match="scale the data"):
        MiniBatchKMeans(2).fit((X + 1).astype(np.float32) * 1e30)
    with pytest.raises(ValueError, match="0 sample"):
        MiniBatchKMeans(2).fit(X[:0])
    with pytest.raises(NotFittedError):
        MiniBatchKMeans(2).predict(X)
    with pytest.raises(ValueError, match="3 features"):
        MiniBatchKMeans(2, random_state=0).fit(X).predict(np.ones((4, 3)))
    for weights in (-np.ones(10), np.zeros(10), np.ones(9), np.full(10, np.nan)):
        with pytest.raises(UsageError, match="sample_weight"):
            MiniBatchKMeans(2).fit(X, sample_weight=weights)
    with pytest.warns(RuntimeWarning, match="init_size"):
        MiniBatchKMeans(5, init_size=2, random_state=0).fit(X)


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
    ours = [MiniBatchKMeans(100, random_state=s).fit(X).inertia_ for s in range(3)]
    theirs = [Peer(100, random_state=s, batch_size=4096).fit(X.astype(np.float32)).inertia_ for s in range(3)]
    assert np.median(ours) < 1.02 * np.median(theirs)


def test_empty_clusters_do_not_go_to_rows_without_weight():
    X, centers = np.array([[0.0], [5.0], [9.0], [9.0]]), np.zeros((3, 1))
    assert fill_empty(X, np.array([1.0, 1, 0, 0]), centers, np.array([1, 2]), X[:, 0] ** 2)
    assert centers.ravel().tolist() == [0, 5, 0]
    assert fill_empty(X, None, centers, np.array([2]), X[:, 0] ** 2)
    assert centers.ravel().tolist() == [0, 5, 9]


def test_rare_centers_are_reassigned_from_time_to_time():
    model = MiniBatchKMeans(2, init=np.array([[0.0], [1000.0]]), random_state=0)
    model.partial_fit(np.array([[0.0], [1000.0]]))
    for _ in range(30):  # 300 rows: the second centre falls under 1 % of the first
        model.partial_fit(np.linspace(-1, 1, 10)[:, None])
    assert np.abs(model.cluster_centers_).max() < 10


def test_early_stop_smooths_the_inertia_of_small_batches(overlapping):
    steps = [MiniBatchKMeans(10, batch_size=100, random_state=s).fit(overlapping).n_steps_ for s in range(5)]
    assert np.median(steps) > 100  # unsmoothed, the noise of 100 rows ends it after some 30
