"""What scikit-learn asks of its own K-Means, asked of ours.

Groups of scikit-learn's tests (sklearn/cluster/tests/test_k_means.py), by what they are about:

===================================  ===================================================================================
results worked out by hand           here: labels, centres, inertia and passes
one pass against plain Python        here; whole runs against the twins are in test_kmeans.py
empty clusters, duplicate rows       here: our choice among equally far rows is the first, so results are exact
starts: all kinds, n_init, "auto"    here; runs are counted by calls of `init`, ours keeps no private count
partial_fit, mini-batch step         here, and its twin in test_kmeans.py
reassignment of rare centres         here
ends: tol, max_iter, no improvement  here and in test_kmeans.py
predict, transform, score, names     here
weights                              here
dtypes, memory layouts               here; layouts more widely in test_kmeans.py
wrong parameters and input           here; bounds of single parameters in test_kmeans.py
k-means++ function                   here, of `fastvbow.words.seeding`; it takes no squared norms, so no test of those
warning: centres given and n_init    ours runs once without a word: one run is all that is meant
verbose                              ours writes to stderr, one line a run: test_kmeans.py
threads                              ours promises the same bytes: test_kmeans.py; OpenMP's limits do not concern it
sparse input                         refused: descriptors are dense; that the error is clear is tested here
Elkan                                there is one algorithm, and no parameter `algorithm`
copy_x                               input is never written to, so there is no such parameter; tested here
k_means function                     there is none
BisectingKMeans                      there is none
===================================  ===================================================================================
"""

from __future__ import annotations

import warnings

import naive
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from scipy.optimize import linear_sum_assignment
from sklearn.base import clone
from sklearn.cluster import kmeans_plusplus
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import v_measure_score
from sklearn.metrics.pairwise import euclidean_distances

from fastvbow import KMeans, MiniBatchKMeans
from fastvbow.words._sculley import Run
from fastvbow.words._sweep import nearest_centers, pool_of
from fastvbow.words.seeding import kmeans_plus_plus, random_rows

EVERY = pytest.mark.parametrize(
    ("kind", "options"),
    [(KMeans, {}), (MiniBatchKMeans, {}), (MiniBatchKMeans, {"batch_size": 60})],
    ids=["lloyd", "nested", "sculley"],
)
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])

PLACES = np.array(
    [[6.0, 0, 0, -2, 0, 0], [0, 7, 0, 0, 0, 3], [-6, 0, 5, 0, 0, 0], [0, 0, -7, 0, 8, 0]],
)
SIZES = [60, 40, 30, 20]
K, D = PLACES.shape


@pytest.fixture(scope="module")
def planted():
    """Four groups of unequal size, far apart, mixed."""
    X, y = make_blobs(SIZES, centers=PLACES, cluster_std=0.7, random_state=7)
    return X, y


@pytest.fixture(scope="module")
def cloud():
    """No groups at all."""
    return np.random.default_rng(3).normal(size=(600, 5))


def same_partition(one, other):
    """Whether labels are equal up to their names."""
    pairs = set(zip(np.asarray(one).tolist(), np.asarray(other).tolist(), strict=True))
    return len(pairs) == len(set(one.tolist())) == len(set(other.tolist()))


def matched(centers, others):
    """`others` in the order that brings them nearest to `centers`."""
    return others[linear_sum_assignment(euclidean_distances(centers, others))[1]]


def check_planted(model, y):
    assert model.cluster_centers_.shape == (K, D)
    assert same_partition(model.labels_, y)
    assert model.inertia_ > 0
    np.testing.assert_allclose(matched(PLACES, model.cluster_centers_), PLACES, atol=1.2)


def test_same_partition():
    labels = np.array([2, 0, 0, 1, 2])
    assert same_partition(labels, np.array([0, 1, 1, 2, 0]))
    assert not same_partition(labels, np.array([0, 1, 1, 0, 0]))
    assert not same_partition(labels, np.array([0, 1, 2, 3, 0]))


# Results worked out by hand


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_worked_example(dtype):
    X = np.array([[0, 0], [0, 2], [6, 0], [6, 2]], dtype)
    model = KMeans(2, init=np.array([[0, 0], [6, 2]], dtype)).fit(X, sample_weight=[1, 3, 3, 1])
    assert model.labels_.tolist() == [0, 0, 1, 1]
    assert model.cluster_centers_.tolist() == [[0, 1.5], [6, 0.5]]
    assert model.inertia_ == 2 * (1 * 1.5**2 + 3 * 0.5**2)
    assert model.n_iter_ == 2


@SEEDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_pass(seed, dtype):
    X = np.random.default_rng(seed).random((120, 4)).astype(dtype)
    model = KMeans(6, init=X[:6], max_iter=1).fit(X)
    labels, _ = naive.nearest_centers(X, X[:6])
    sums, counts = naive.center_sums(X, labels, np.ones(120), 6)
    np.testing.assert_allclose(model.cluster_centers_, sums / counts[:, None], rtol=1e-6)
    np.testing.assert_array_equal(model.labels_, naive.nearest_centers(X, model.cluster_centers_)[0])
    assert model.n_iter_ == 1


@SEEDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_inertia_and_distances(seed, dtype):
    rng = np.random.default_rng(seed)
    X, centers, weights = (
        rng.normal(size=(90, 12)).astype(dtype),
        rng.normal(size=(5, 12)).astype(dtype),
        rng.random(90),
    )
    labels, distances = nearest_centers(X, centers)
    expected = naive.nearest_centers(X, centers)
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_allclose(distances, expected[1], rtol=1e-5)
    model = KMeans(5, init=centers, max_iter=1).fit(X, sample_weight=weights)
    labels, distances = naive.nearest_centers(X, model.cluster_centers_)
    assert model.inertia_ == pytest.approx(distances @ weights, rel=1e-5 if dtype == np.float32 else 1e-12)
    assert model.score(X, sample_weight=weights) == -model.inertia_
    assert model.score(X) == pytest.approx(-distances.sum(), rel=1e-5)


# Empty clusters and duplicate rows


def test_empty_cluster_moves_to_the_first_of_the_farthest_rows():
    X = np.array([[0.0], [1], [9], [10]])
    model = KMeans(2, init=[[5.0], [100]]).fit(X)
    assert model.labels_.tolist() == [1, 1, 0, 0]
    assert model.cluster_centers_.tolist() == [[9.5], [0.5]]
    assert model.inertia_ == 1
    assert model.n_iter_ == 3


@EVERY
def test_several_empty_clusters(kind, options):
    X = np.array([-20.0, -19.5, -19, -18.5, -18, 19, 20, 40])[:, None]  # the farthest are of different groups
    init = np.full((3, 1), -20.0)
    model = kind(3, init=init, random_state=0, **options).fit(X)
    assert same_partition(model.labels_, np.repeat([0, 1, 2], [5, 2, 1]))


@EVERY
def test_empty_cluster_among_weighted_rows(kind, options):
    model = kind(2, init=[[-3.0], [40]], random_state=0, **options).fit([[-3.0], [3]], sample_weight=[1.9, 0.1])
    assert len(set(model.labels_.tolist())) == 2
    if "batch_size" not in options:  # where batches are drawn, one may lack the light row
        np.testing.assert_allclose(model.cluster_centers_, [[-3], [3]])


def test_duplicates_end_the_search_at_once():
    X = np.array([[0.0, 3], [2, 2], [2, 2], [5, 0], [0, 9]])
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(4\) found smaller than n_clusters \(5\)"):
        model = KMeans(5, init=X).fit(X)
    assert model.n_iter_ == 1
    assert model.labels_.tolist() == [0, 1, 1, 3, 4]


@SEEDS
@EVERY
def test_fewer_distinct_rows_than_clusters(kind, options, seed):
    X = np.array([[0, 0], [0, 4], [4, 0], [4, 0]])
    message = (
        r"Number of distinct clusters \(3\) found smaller than n_clusters \(4\)\. Possibly due to duplicate points"
    )
    with pytest.warns(ConvergenceWarning, match=message) as record:
        model = kind(4, random_state=seed, **options).fit(X)
    assert len(set(model.labels_.tolist())) == 3
    assert model.labels_[2] == model.labels_[3]
    assert record[0].filename == __file__  # it points at the call of fit


@EVERY
def test_as_many_clusters_as_rows(kind, options, cloud):
    for n in (2, 7):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = kind(n, random_state=0, **options).fit(cloud[:n])
        assert sorted(model.labels_.tolist()) == list(range(n))
        if not options:
            assert model.inertia_ == 0
            np.testing.assert_array_equal(model.cluster_centers_[model.labels_], cloud[:n])


# The search ends


@SEEDS
def test_lloyd_converges_before_max_iter(seed):
    X = np.random.default_rng(seed).normal(size=(3000, 6))
    model = KMeans(6, tol=0, random_state=seed).fit(X)
    assert model.n_iter_ < 300
    sums, counts = naive.center_sums(X, naive.nearest_centers(X, model.cluster_centers_)[0], np.ones(3000), 6)
    np.testing.assert_allclose(model.cluster_centers_, sums / counts[:, None], rtol=1e-9)


def test_going_on_from_fitted_centers_changes_nothing(cloud):
    model = KMeans(9, tol=0, random_state=0).fit(cloud)
    again = KMeans(9, tol=0, init=model.cluster_centers_).fit(cloud)
    np.testing.assert_allclose(again.cluster_centers_, model.cluster_centers_)
    np.testing.assert_array_equal(again.labels_, model.labels_)


@SEEDS
@EVERY
def test_more_passes_give_a_better_score(kind, options, seed):
    X = np.random.default_rng(seed).normal(size=(150, 8))
    few, many = (kind(8, n_init=1, max_iter=i, random_state=seed, **options).fit(X).score(X) for i in (1, 12))
    assert many > few


@pytest.mark.parametrize("rule", [{"tol": 1e-3, "max_no_improvement": None}, {"max_no_improvement": 8}], ids=str)
def test_mini_batches_stop_where_nothing_is_to_be_gained(planted, rule):
    X, _ = planted
    model = MiniBatchKMeans(K, init=PLACES, batch_size=25, max_iter=60, random_state=0, **rule).fit(X)
    assert 1 < model.n_iter_ < 60


@pytest.mark.parametrize("batch_size", [7, 40, 150, 1000])
def test_steps_and_passes(planted, batch_size):
    X, _ = planted
    model = MiniBatchKMeans(K, batch_size=batch_size, random_state=0).fit(X)
    rows = min(batch_size, len(X))
    assert model.n_iter_ == np.ceil(model.n_steps_ * rows / len(X)) and model.n_iter_ < 100
    model.set_params(max_no_improvement=None, max_iter=6).fit(X)
    assert model.n_iter_ == 6 and model.n_steps_ == 6 * len(X) // rows
    assert type(model.n_iter_) is int and type(model.n_steps_) is int


# Starts

INITS = {
    "k-means++": "k-means++",
    "random": "random",
    "array": PLACES,
    "list": PLACES.tolist(),
    "NumPy string": np.str_("k-means++"),
    "function": lambda X, n_clusters, random_state: PLACES + random_state.uniform(size=PLACES.shape),
}


@pytest.mark.parametrize("init", INITS)
@EVERY
def test_all_starts(planted, kind, options, init):
    X, y = planted
    n_init = 60 if isinstance(INITS[init], str) else 1  # 7 % of the random starts meet all groups
    check_planted(kind(K, init=INITS[init], n_init=n_init, random_state=42, **options).fit(X), y)


@pytest.mark.parametrize("init", INITS)
def test_all_starts_of_partial_fit(planted, init):
    X, y = planted
    model = MiniBatchKMeans(K, init=INITS[init], n_init=60 if isinstance(INITS[init], str) else 1, random_state=0)
    for _ in range(60):
        model.partial_fit(X)
    check_planted(model, y)
    assert model.n_steps_ == 60


@pytest.mark.parametrize(
    ("kind", "options", "n_init", "expected"),
    [
        (KMeans, {}, "auto", 10),
        (KMeans, {}, 4, 4),
        (MiniBatchKMeans, {}, "auto", 3),
        (MiniBatchKMeans, {}, 4, 4),
        (MiniBatchKMeans, {"batch_size": 40}, "auto", 3),
        (MiniBatchKMeans, {"batch_size": 40}, 4, 4),
    ],
)
def test_number_of_starts_of_a_function(cloud, kind, options, n_init, expected):
    asked = []

    def init(X, n_clusters, random_state):
        asked.append((X.shape, n_clusters))
        return X[random_state.permutation(len(X))[:n_clusters]]

    kind(5, init=init, n_init=n_init, random_state=0, **options).fit(cloud)
    assert asked == [(cloud.shape, 5)] * expected


@pytest.mark.parametrize(("init", "expected"), [("k-means++", 1), ("random", 10), (PLACES, 1)])
def test_number_of_runs(planted, capsys, init, expected):
    KMeans(K, init=init, verbose=1, random_state=0).fit(planted[0])
    assert len(capsys.readouterr().err.splitlines()) == expected


@EVERY
def test_given_centers_need_no_second_run(planted, kind, options):
    X, _ = planted
    one, other = (kind(K, init=PLACES, n_init=n, random_state=0, **options).fit(X) for n in (1, 10))
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)


@SEEDS
def test_more_starts_are_never_worse(cloud, seed):
    # The runs of a larger n_init begin with those of a smaller one.
    inertia = [
        KMeans(12, init="random", n_init=n, max_iter=1, random_state=seed).fit(cloud).inertia_ for n in (1, 4, 9)
    ]
    assert inertia[0] >= inertia[1] >= inertia[2]
    assert inertia[0] > inertia[2]


@pytest.mark.parametrize("options", [{}, {"batch_size": 64}], ids=["nested", "sculley"])
def test_more_starts_are_better_in_mini_batches(options):
    X, _ = make_blobs(1000, centers=12, center_box=(-20, 20), random_state=0)

    def mean(n_init):
        model = MiniBatchKMeans(12, init="random", n_init=n_init, max_iter=1, reassignment_ratio=0, **options)
        return np.mean([clone(model).set_params(random_state=s).fit(X).inertia_ for s in range(60)])

    assert mean(12) < 0.9 * mean(1)


@pytest.mark.parametrize("options", [{}, {"batch_size": 5}], ids=["nested", "sculley"])
def test_too_small_init_size(planted, options):
    X, _ = planted
    model = MiniBatchKMeans(20, init_size=10, random_state=0, **options)
    with pytest.warns(RuntimeWarning, match=r"init_size=10 should be larger than n_clusters=20") as record:
        model.fit(X)
    assert record[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="init_size"):
        model.partial_fit(X) if not hasattr(model, "labels_") else clone(model).partial_fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sixty = clone(model).set_params(init_size=60).fit(X)
    np.testing.assert_array_equal(sixty.labels_, model.labels_)  # 3 * n_clusters took the place of 10


@pytest.mark.parametrize(("batch_size", "expected"), [(5, 60), (30, 90), (400, 150)])
def test_default_init_size(cloud, batch_size, expected):
    model = MiniBatchKMeans(20, batch_size=batch_size, random_state=0)
    given = clone(model).set_params(init_size=expected)
    X = cloud[:150]
    np.testing.assert_array_equal(model.fit(X).cluster_centers_, given.fit(X).cluster_centers_)
    if expected < 150:
        other = clone(model).set_params(init_size=expected + 1).fit(X)
        assert not np.array_equal(model.cluster_centers_, other.cluster_centers_)
    else:
        beyond = clone(model).set_params(init_size=10**6).fit(X)
        np.testing.assert_array_equal(model.cluster_centers_, beyond.cluster_centers_)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, np.float64])
@EVERY
def test_given_centers_are_not_written_to(planted, kind, options, dtype):
    X = np.rint(planted[0] * 4 + 100).astype(dtype)
    init = np.rint(PLACES * 4 + 100).astype(np.float64 if dtype == np.uint8 else dtype)
    init[0] += 9  # so that it has to move
    kept = init.copy()
    model = kind(K, init=init, random_state=0, **options).fit(X)
    np.testing.assert_array_equal(init, kept)
    assert not np.may_share_memory(model.cluster_centers_, init)
    assert not np.array_equal(model.cluster_centers_, init)
    if kind is MiniBatchKMeans:
        clone(model).partial_fit(X)
        np.testing.assert_array_equal(init, kept)


@EVERY
def test_numbering_follows_the_start(planted, kind, options):
    X, _ = planted
    order = np.array([2, 0, 3, 1])
    one = kind(K, init=PLACES, random_state=0, **options)
    one, other = one.fit(X), clone(one).set_params(init=PLACES[order]).fit(X)
    assert same_partition(one.labels_, other.labels_)
    np.testing.assert_array_equal(order[other.labels_], one.labels_)
    np.testing.assert_allclose(other.cluster_centers_, one.cluster_centers_[order])


# Mini-batch steps


@SEEDS
def test_a_step_lowers_the_inertia_of_its_batch(planted, seed):
    X, _ = planted
    batch, start = X[:25], PLACES + np.random.default_rng(seed).normal(size=PLACES.shape)
    model = MiniBatchKMeans(K, init=start, reassignment_ratio=0, random_state=seed).partial_fit(batch)
    before = naive.nearest_centers(batch, start)[1].sum()
    assert 0 < model.inertia_ < before
    assert model.inertia_ == pytest.approx(naive.nearest_centers(batch, model.cluster_centers_)[1].sum())


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.int64])
def test_a_step_does_not_depend_on_the_dtype(planted, dtype):
    X = np.rint(planted[0] * 4 + 100)
    models = [MiniBatchKMeans(K, random_state=0) for _ in range(2)]
    for model, rows in zip(models, (X, X.astype(dtype)), strict=True):
        for start in range(0, 150, 30):
            model.partial_fit(rows[start : start + 30])
    np.testing.assert_allclose(models[1].cluster_centers_, models[0].cluster_centers_, rtol=1e-4)
    np.testing.assert_array_equal(models[1].labels_, models[0].labels_)


def test_attributes_of_partial_fit(planted):
    X, _ = planted
    model = MiniBatchKMeans(K, random_state=0).partial_fit(X[:50])
    assert model.labels_.shape == (50,) and model.labels_.dtype == np.int32
    assert model.n_steps_ == 1 and model.n_features_in_ == D
    model.partial_fit(X[50:53])  # fewer rows than centres will do from now on
    assert model.labels_.shape == (3,) and model.n_steps_ == 2
    np.testing.assert_array_equal(model.labels_, model.predict(X[50:53]))
    assert model.inertia_ == pytest.approx(-model.score(X[50:53]))
    assert not hasattr(model, "n_iter_")
    with pytest.raises(ValueError, match="n_samples=3 should be >= n_clusters=4"):
        MiniBatchKMeans(K).partial_fit(X[:3])


# Rare centres


@SEEDS
@pytest.mark.parametrize("batch_size", [None, 10, 300])
def test_centers_that_start_on_one_place_are_spread(seed, batch_size):
    X, _ = make_blobs(120, centers=6, random_state=seed)
    X[::2] = 0
    model = MiniBatchKMeans(20, init="random", n_init=1, batch_size=batch_size, random_state=seed).fit(X)
    assert model.cluster_centers_.any(axis=1).sum() > 10
    model = MiniBatchKMeans(20, init="random", n_init=1, batch_size=batch_size, random_state=seed)
    for _ in range(60):
        model.partial_fit(X)
    assert model.cluster_centers_.any(axis=1).sum() > 10


@SEEDS
def test_reassignment_ratio(planted, seed):
    X, y = planted
    perfect = np.array([X[y == k].mean(axis=0) for k in range(K)])

    def stepped(ratio):
        return MiniBatchKMeans(K, init=perfect, reassignment_ratio=ratio, random_state=seed).partial_fit(X)

    np.testing.assert_allclose(stepped(1e-15).cluster_centers_, perfect)
    np.testing.assert_allclose(stepped(0.3).cluster_centers_, perfect)  # the smallest has a third of the largest
    np.testing.assert_allclose(stepped(0).cluster_centers_, perfect)
    moved = np.abs(stepped(0.6).cluster_centers_ - perfect).max(axis=1) > 1e-9
    assert moved.tolist() == [False, False, True, True]
    everything = stepped(1)
    assert everything.inertia_ > naive.nearest_centers(X, perfect)[1].sum()
    assert (np.abs(everything.cluster_centers_ - perfect).max(axis=1) > 1e-9).tolist() == [False, True, True, True]


@pytest.mark.parametrize("n", [1, 10, 11, 400])
def test_at_most_half_a_batch_becomes_centers(cloud, n):
    centers = np.full((50, 5), 1e4)
    centers[0] = 0
    with pool_of(1) as pool:
        Run(50, 1.0).step(cloud[:n], None, centers, pool, np.random.RandomState(0), "exact")
    moved = np.flatnonzero(centers[:, 0] < 9e3)
    assert len(moved) == 1 + min(49, n // 2)
    assert len(np.unique(centers[moved], axis=0)) == len(moved)


def test_more_rare_centers_than_rows_in_a_batch(cloud):
    model = MiniBatchKMeans(90, batch_size=10, init_size=100, random_state=42).fit(cloud[:100])
    assert np.isfinite(model.cluster_centers_).all()
    assert len(np.unique(model.labels_)) == 90


# The methods of a fitted model


@SEEDS
@pytest.mark.parametrize("max_iter", [2, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@EVERY
def test_predict(kind, options, dtype, max_iter, seed):
    X, _ = make_blobs(200, n_features=6, centers=9, random_state=seed)
    X = X.astype(dtype)
    model = kind(9, init="random", n_init=5, max_iter=max_iter, random_state=seed, **options).fit(X)
    labels = model.predict(X)
    assert labels.dtype == model.labels_.dtype == np.int32
    np.testing.assert_array_equal(labels, model.labels_)
    np.testing.assert_array_equal(labels, clone(model).fit_predict(X))
    np.testing.assert_array_equal(model.predict(model.cluster_centers_), np.arange(9))
    np.testing.assert_array_equal(labels, model.transform(X).argmin(axis=1))
    np.testing.assert_array_equal(labels[::-7], model.predict(X[::-7]))


@EVERY
def test_predict_does_not_write_to_the_model(cloud, tmp_path, kind, options):
    model = kind(8, random_state=0, **options).fit(cloud)
    labels = model.labels_.copy()
    for name in ("cluster_centers_", "labels_"):
        np.save(tmp_path / f"{name}.npy", getattr(model, name))
        setattr(model, name, np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    np.testing.assert_array_equal(model.predict(cloud), labels)
    assert model.transform(cloud).shape == (600, 8)
    assert model.score(cloud) < 0


@EVERY
def test_transform(planted, kind, options):
    X, _ = planted
    model = kind(K, random_state=0, **options).fit(X)
    between = model.transform(model.cluster_centers_)
    np.testing.assert_allclose(between, euclidean_distances(model.cluster_centers_), atol=1e-6)
    np.testing.assert_allclose(between.diagonal(), 0, atol=1e-6)
    np.testing.assert_allclose(model.transform(X) ** 2, naive.squared_distances(X, model.cluster_centers_), rtol=1e-6)
    np.testing.assert_array_equal(clone(model).fit_transform(X), model.transform(X))
    weights = np.linspace(1, 2, len(X))
    weighted = clone(model).fit(X, sample_weight=weights)
    np.testing.assert_array_equal(clone(model).fit_transform(X, sample_weight=weights), weighted.transform(X))
    np.testing.assert_array_equal(clone(model).fit_predict(X, sample_weight=weights), weighted.labels_)
    assert model.transform(X.astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("kind", "method"), [(KMeans, "fit"), (MiniBatchKMeans, "fit"), (MiniBatchKMeans, "partial_fit")]
)
def test_names_of_the_columns_made(planted, kind, method):
    model = getattr(kind(5, random_state=0), method)(planted[0])
    names = [f"{kind.__name__.lower()}{k}" for k in range(5)]
    assert model.get_feature_names_out().tolist() == names
    frame = model.set_output(transform="pandas").transform(planted[0])
    assert frame.columns.tolist() == names


@EVERY
def test_names_of_the_columns_given(planted, kind, options):
    X, y = planted
    frame = pd.DataFrame(X, columns=[f"f{i}" for i in range(D)], index=np.arange(len(X)) + 1000)
    model, plain = kind(K, random_state=0, **options).fit(frame), kind(K, random_state=0, **options).fit(X)
    assert model.feature_names_in_.tolist() == frame.columns.tolist()
    assert not hasattr(plain, "feature_names_in_")
    np.testing.assert_array_equal(model.labels_, plain.labels_)
    np.testing.assert_array_equal(model.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[frame.columns[::-1]])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    made = model.set_output(transform="pandas").transform(frame)
    assert made.index.tolist() == frame.index.tolist()
    with pytest.raises(ValueError, match="could not convert"):
        model.fit(frame.assign(kind=np.array(list("abcd"))[y]))
    if kind is MiniBatchKMeans:
        step = MiniBatchKMeans(K, random_state=0).partial_fit(frame)
        assert step.feature_names_in_.tolist() == frame.columns.tolist()
        with pytest.raises(ValueError, match="feature names should match"):
            step.partial_fit(frame.rename(columns={"f0": "g0"}))


# Repetition


@EVERY
def test_fits_are_independent(planted, cloud, kind, options):
    X, _ = planted
    model = kind(K, random_state=5, **options)
    first = model.fit(X).cluster_centers_.copy()
    model.fit(cloud, sample_weight=np.linspace(0, 1, len(cloud)))
    assert model.n_features_in_ == 5
    np.testing.assert_array_equal(model.fit(X).cluster_centers_, first)
    stream = np.random.RandomState(5)
    model = kind(9, random_state=stream, **options)
    one, other = model.fit(cloud).cluster_centers_, model.fit(cloud).cluster_centers_
    assert not np.array_equal(one, other)  # a stream goes on, a number begins anew


# Weights


@SEEDS
def test_weights_equal_repetition(cloud, seed):
    weights = np.random.default_rng(seed).integers(0, 5, len(cloud))
    model = KMeans(8, init=cloud[:8], tol=0)
    weighted = clone(model).fit(cloud, sample_weight=weights)
    repeated = clone(model).fit(np.repeat(cloud, weights, axis=0))
    np.testing.assert_array_equal(np.repeat(weighted.labels_, weights), repeated.labels_)
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_)
    assert weighted.n_iter_ == repeated.n_iter_


@SEEDS
@EVERY
def test_equal_weights_change_nothing(planted, cloud, kind, options, seed):
    X, _ = planted
    model = kind(K, random_state=seed, **options)
    plain = clone(model).fit(X)
    for weights in (np.ones(len(X)), 1.0, np.full(len(X), 0.3).tolist()):
        weighted = clone(model).fit(X, sample_weight=weights)
        assert same_partition(weighted.labels_, plain.labels_)
        atol = 0.3 if options else 1e-9  # batches are drawn otherwise where there are weights
        np.testing.assert_allclose(
            matched(plain.cluster_centers_, weighted.cluster_centers_), plain.cluster_centers_, atol=atol
        )
    if not options:
        plain, ones = clone(model).fit(cloud), clone(model).fit(cloud, sample_weight=np.ones(len(cloud)))
        np.testing.assert_array_equal(plain.labels_, ones.labels_)
        assert plain.inertia_ == pytest.approx(ones.inertia_)


@SEEDS
@pytest.mark.parametrize("factor", [0.5, 3, 1e-6, 1e9])
@EVERY
def test_the_scale_of_weights_does_not_matter(cloud, kind, options, seed, factor):
    weights = np.random.default_rng(seed).random(len(cloud))
    model = kind(7, random_state=seed, **options)
    one, other = clone(model).fit(cloud, sample_weight=weights), clone(model).fit(cloud, sample_weight=factor * weights)
    np.testing.assert_array_equal(one.labels_, other.labels_)
    np.testing.assert_allclose(one.cluster_centers_, other.cluster_centers_, rtol=1e-6, atol=1e-9)
    assert other.inertia_ == pytest.approx(factor * one.inertia_, rel=1e-6)


@EVERY
def test_weights_pull(kind, options):
    X = np.arange(8.0)[:, None]
    weights = np.array([1, 1, 1, 1, 1, 1, 1, 200.0])
    model = kind(1, random_state=0, **{**options, "max_iter": 50, "n_init": 1}).fit(X, sample_weight=weights)
    assert model.cluster_centers_[0, 0] == pytest.approx(
        np.average(X[:, 0], weights=weights), abs=0.3 if options else 1e-9
    )


@EVERY
def test_nothing_given_is_written_to(cloud, kind, options):
    X, weights = cloud.copy(), np.random.default_rng(0).random(len(cloud))
    kept = weights.copy()
    X.flags.writeable = weights.flags.writeable = False
    model = kind(6, random_state=0, **options).fit(X, sample_weight=weights)
    model.transform(X), model.predict(X), model.score(X, sample_weight=weights)
    if kind is MiniBatchKMeans:
        model.partial_fit(X, sample_weight=weights)
    np.testing.assert_array_equal(X, cloud)
    np.testing.assert_array_equal(weights, kept)
    assert not np.may_share_memory(model.cluster_centers_, X)


# Numbers of all kinds


@pytest.mark.parametrize("dtype", [np.int8, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("given", [False, True])
@EVERY
def test_integers_are_worked_on_in_float64(kind, options, dtype, given):
    X = np.array([[1, 1], [21, 20], [22, 23], [0, 2], [3, 0], [19, 21]], dtype)
    model = kind(2, init=X[:2] if given else "k-means++", random_state=0, **{**options, "n_init": 3}).fit(X)
    assert model.cluster_centers_.dtype == np.float64
    assert same_partition(model.labels_, np.array([0, 1, 1, 0, 0, 1]))
    floats = clone(model).fit(X.astype(np.float64))
    np.testing.assert_array_equal(model.cluster_centers_, floats.cluster_centers_)
    if kind is MiniBatchKMeans:
        assert clone(model).partial_fit(X).cluster_centers_.dtype == np.float64


@pytest.mark.parametrize("data", [[[0, 1], [0, 2], [9, 9], [9, 8]], [[True, False], [False, True], [True, True]]])
@EVERY
def test_lists_of_numbers(kind, options, data):
    model = kind(2, random_state=0, **options).fit(data)
    np.testing.assert_array_equal(model.labels_, kind(2, random_state=0, **options).fit(np.array(data)).labels_)
    assert model.cluster_centers_.dtype == np.float64


@SEEDS
@EVERY
def test_single_and_double_precision_agree(planted, kind, options, seed):
    X, _ = planted
    models = {}
    for dtype in (np.float32, np.float64):
        models[dtype] = model = kind(6, n_init=1, random_state=seed, **options).fit(X.astype(dtype))
        assert model.cluster_centers_.dtype == model.transform(X.astype(dtype)).dtype == dtype
    single, double = models.values()
    np.testing.assert_array_equal(single.labels_, double.labels_)
    assert single.inertia_ == pytest.approx(double.inertia_, rel=1e-4)
    np.testing.assert_allclose(single.cluster_centers_, double.cluster_centers_, atol=1e-3)
    np.testing.assert_allclose(single.transform(X), double.transform(X), atol=1e-3)
    if kind is MiniBatchKMeans:
        for dtype, model in models.items():
            assert model.partial_fit(X[:9].astype(dtype)).cluster_centers_.dtype == dtype
        assert double.partial_fit(X[:9].astype(np.float32)).cluster_centers_.dtype == np.float64


@SEEDS
@EVERY
def test_fortran_order(planted, kind, options, seed):
    X, _ = planted
    one = kind(K, init=PLACES, random_state=seed, **options).fit(X)
    other = kind(K, init=np.asfortranarray(PLACES), random_state=seed, **options).fit(np.asfortranarray(X))
    np.testing.assert_array_equal(one.cluster_centers_, other.cluster_centers_)
    np.testing.assert_array_equal(one.labels_, other.labels_)


# What is refused


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 601}, r"n_samples=600 should be >= n_clusters=601"),
        ({"init": np.zeros((3, 5))}, r"init has shape \(3, 5\).*\(8, 5\)"),
        ({"init": np.zeros((8, 4))}, r"init has shape \(8, 4\).*\(8, 5\)"),
        ({"init": np.zeros(8)}, r"init has shape \(8,\)"),
        ({"init": lambda X, n_clusters, random_state: X[:3]}, r"init has shape \(3, 5\).*\(8, 5\)"),
        ({"init": lambda X, n_clusters, random_state: X[:8, :4]}, r"init has shape \(8, 4\).*\(8, 5\)"),
        ({"init": np.full((8, 5), np.inf)}, r"init contains infinity"),
        ({"init": "kmeans++"}, r"init='kmeans\+\+' cannot be used; give 'k-means\+\+'"),
        ({"n_clusters": "8"}, r"n_clusters='8' cannot be used; give an integer >= 1"),
    ],
)
@EVERY
def test_wrong_parameters(cloud, kind, options, parameters, message):
    with pytest.raises(ValueError, match=message):
        kind(**{**options, **parameters}).fit(cloud)


@pytest.mark.parametrize("container", [sp.csr_matrix, sp.csr_array, sp.csc_array, sp.coo_array])
@EVERY
def test_sparse_input_is_refused(cloud, kind, options, container):
    sparse, model = container(np.maximum(cloud, 0)), kind(3, random_state=0, **options).fit(cloud)
    methods = [model.fit, model.fit_predict, model.predict, model.transform, model.score]
    for method in methods + [getattr(model, "partial_fit", model.fit)]:
        with pytest.raises(TypeError, match=r"[Ss]parse.*dense"):
            method(sparse)


@EVERY
def test_another_number_of_columns_is_refused(cloud, kind, options):
    model = kind(3, random_state=0, **options).fit(cloud)
    methods = [model.predict, model.transform, model.score]
    for method in methods + [getattr(model, "partial_fit", model.score)]:
        with pytest.raises(ValueError, match=r"X has 4 features, but \w*KMeans is expecting 5 features"):
            method(cloud[:, :4])
    assert model.fit(cloud[:, :4]).n_features_in_ == 4


@EVERY
def test_other_shapes_are_refused(cloud, kind, options):
    for X in (cloud[:, 0], cloud[None], cloud[0, 0], cloud[:, :0], [["a", "b"]] * 9, cloud * 1j):
        with pytest.raises(ValueError):  # the words are scikit-learn's
            kind(2, **options).fit(X)


# k-means++


@SEEDS
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_plus_plus_rows(cloud, dtype, seed):
    X = cloud.astype(dtype)
    rows = kmeans_plus_plus(X, 40, np.random.RandomState(seed))
    assert rows.shape == (40,) and len(set(rows.tolist())) == 40
    assert rows.min() >= 0 and rows.max() < len(X)
    again = kmeans_plus_plus(np.asfortranarray(X), 40, np.random.RandomState(seed))
    np.testing.assert_array_equal(rows, again)
    assert set(rows.tolist()) != set(kmeans_plus_plus(X, 40, np.random.RandomState(seed + 100)).tolist())


@pytest.mark.parametrize("seed", range(10))
def test_plus_plus_meets_every_group(planted, seed):
    X, y = planted
    assert set(y[kmeans_plus_plus(X, K, np.random.RandomState(seed))].tolist()) == set(range(K))


@pytest.mark.parametrize("d", [5, 100])
def test_plus_plus_is_as_good_as_scikit_learns(d):
    X, _ = make_blobs(600, n_features=d, centers=25, center_box=(-25 / d**0.5, 25 / d**0.5), random_state=0)

    def potential(rows):
        return euclidean_distances(X, X[rows], squared=True).min(axis=1).sum()

    ours = np.median([potential(kmeans_plus_plus(X, 25, np.random.RandomState(s))) for s in range(25)])
    theirs = np.median([potential(kmeans_plusplus(X, 25, random_state=s)[1]) for s in range(25)])
    drawn = np.median([potential(random_rows(X, 25, np.random.RandomState(s))) for s in range(25)])
    single = np.median(
        [potential(kmeans_plus_plus(X, 25, np.random.RandomState(s), n_local_trials=1)) for s in range(25)]
    )
    assert ours < 1.1 * theirs
    assert ours < single < drawn


@pytest.mark.parametrize("choose", [kmeans_plus_plus, random_rows])
@SEEDS
@pytest.mark.parametrize("d", [5, 100])
def test_starts_follow_the_weights(choose, seed, d):
    cloud = np.random.default_rng(3).normal(size=(600, d))
    weights = np.random.default_rng(seed).random(len(cloud))
    weights[::2] = 0
    rows = choose(cloud, 30, np.random.RandomState(seed), sample_weight=weights)
    assert (rows % 2 == 1).all()
    assert set(rows.tolist()) != set(choose(cloud, 30, np.random.RandomState(seed)).tolist())
    heavy = np.where(np.arange(len(cloud)) < 60, 1e6, 1.0)
    rows = choose(cloud, 30, np.random.RandomState(seed), sample_weight=heavy)
    assert (rows < 60).mean() > 0.9


@EVERY
def test_starts_are_rows_with_weight(cloud, kind, options):
    weights = np.ones(len(cloud))
    weights[::2] = 0
    for init in ("k-means++", "random"):
        model = kind(8, init=init, random_state=0, n_init=1, **{**options, "max_iter": 1})
        X = cloud.copy()
        X[::2] = np.random.default_rng(0).normal(5000, 1, size=X[::2].shape)
        assert np.abs(model.fit(X, sample_weight=weights).cluster_centers_).max() < 50


def test_v_measure_is_not_fooled(planted):
    """The check of planted groups fails for a model of the wrong number of clusters."""
    X, y = planted
    assert v_measure_score(y, KMeans(K, random_state=0).fit(X).labels_) == 1
    assert v_measure_score(y, KMeans(K + 2, random_state=0).fit(X).labels_) < 1
