"""K-Means over shards: against its plain twin, for every executor and every cut, interrupted, and its quality."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import naive_kmeans as naive
import numpy as np
import pytest
from counting import CountingExecutor

from fastvbow import KMeans
from fastvbow.errors import UsageError
from fastvbow.pipeline.word_tasks import StoredRows
from fastvbow.places import SharedFolder
from fastvbow.words import _shard_passes as passes
from fastvbow.words._lloyd import LONGER
from fastvbow.words.sharded import ShardedKMeans, ShardedState


class Held:
    """Rows in memory, in one piece or several."""

    def __init__(self, *arrays):
        self.arrays = arrays

    def __len__(self):
        return sum(map(len, self.arrays))

    def rows(self):
        return self.arrays[0] if len(self.arrays) == 1 else self.arrays


def blobs(n=3000, d=16, kinds=12, dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.integers(20, 220, (kinds, d))[rng.integers(0, kinds, n)] + rng.normal(0, 6, (n, d))
    return np.clip(np.rint(X), 0, 255).astype(np.uint8) if dtype == np.uint8 else (X / 100).astype(dtype)


def cut(X, *places):
    return [Held(part) for part in np.split(X, places)]


def fitted(model):
    return model.cluster_centers_.tobytes(), model.counts_.tobytes(), model.inertia_, model.n_iter_


@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
@pytest.mark.parametrize("wanted", [0.5, 8, 5000])
def test_a_round_draws_what_its_twin_draws(dtype, wanted):
    X = blobs(dtype=dtype)
    candidates, key = X[[5, 700]], (3, 1)
    rows = np.split(np.arange(len(X)), [1, 800, 803, 2000])
    drawn = [passes.draw(passes.Drawing(Held(X[part]), int(part[0]), candidates, key, wanted)) for part in rows]
    tree = passes.keep_drawn([passes.keep_drawn(drawn[:3]), passes.keep_drawn(drawn[3:])])
    expected = naive.parallel_draw(X, candidates, passes.uniforms(key, 0, len(X)), wanted)
    np.testing.assert_array_equal(tree.rows, X[expected])
    assert tree.potential == pytest.approx(naive.nearest(X, candidates)[1].sum())
    if wanted == 8:
        assert 2 <= len(expected) <= 20
        assert len(drawn[0].rows) == 1, "alone, a shard of one row has all the potential that it knows of"


def test_random_numbers_belong_to_the_place():
    whole = passes.uniforms((1, 2), 0, 50_000)
    for first, n in ((0, 10), (16_383, 2), (16_384, 1), (40_000, 10_000), (7, 0), (16_384, 0)):
        np.testing.assert_array_equal(passes.uniforms((1, 2), first, n), whole[first : first + n])
    assert not np.array_equal(passes.uniforms((1, 3), 0, 100), whole[:100])
    assert 0.49 < whole.mean() < 0.51
    assert 0 <= whole.min() < whole.max() < 1


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize(("max_iter", "tol"), [(1, 0), (4, 0), (50, 1e-3)])
def test_passes_against_their_twin(dtype, max_iter, tol):
    X = blobs(dtype=dtype)
    start = X[:9].astype(np.float32)
    state = ShardedState(start, np.empty(0, np.int64), n_rounds=6)
    model = ShardedKMeans(9, max_iter=max_iter, tol=tol).fit(cut(X, 100, 101, 101, 2500), state=state)
    centers, inertia, n_iter = naive.long_lloyd(X, start, max_iter, tol, LONGER)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-5)
    assert model.inertia_ == pytest.approx(inertia, rel=1e-5)
    assert model.n_iter_ == n_iter
    assert model.counts_.sum() == len(X)
    assert model.score(cut(X, 30)) == pytest.approx(-naive.nearest(X, model.cluster_centers_)[1].sum(), rel=1e-5)


def test_empty_centres_go_to_the_farthest_rows():
    """Wherever these stand; equal rows get one centre, and of equal distances the first row."""
    X = np.vstack([blobs(), np.full((3, 16), 255, np.uint8), np.zeros((1, 16), np.uint8)])
    start = np.vstack([X[:4], np.full((3, 16), 1e4)]).astype(np.float32)
    found = []
    for places in ([], [10, 3001], [3000, 3001, 3002, 3003]):
        state = ShardedState(start, np.empty(0, np.int64), n_rounds=6)
        model = ShardedKMeans(7, max_iter=1).fit(cut(X, *places), state=state)
        found.append(fitted(model))
        np.testing.assert_allclose(model.cluster_centers_, naive.long_lloyd(X, start, 1, 0, LONGER)[0], rtol=1e-5)
        assert (model.counts_[4:] == 0).all()
    assert len(set(found)) == 1
    assert len(np.unique(model.cluster_centers_, axis=0)) == 7


@pytest.mark.parametrize("kinds", [1, 3])
def test_fewer_distinct_rows_than_centres(kinds):
    X = np.repeat(blobs(kinds, 8), 20, axis=0)
    model = ShardedKMeans(5).fit(cut(X, 7, 31 % len(X)))
    assert model.inertia_ == 0
    assert {row.tobytes() for row in model.cluster_centers_} == {row.tobytes() for row in X.astype(np.float32)}


def test_as_many_rows_as_centres():
    X = blobs(6)
    model = ShardedKMeans(6).fit(cut(X, 2))
    assert -model.score(cut(X)) == 0
    assert sorted(map(tuple, model.cluster_centers_)) == sorted(map(tuple, X.astype(np.float32)))


def test_whole_numbers_do_not_depend_on_the_cut():
    """Seeding and all passes, for one shard, some, and as many as a tree of several levels has."""
    X = blobs(20_000)
    cuts = ([], [1], [9000, 9000, 16_384], list(range(500, 20_000, 500)))

    def words(parts, seed=4):
        return fitted(ShardedKMeans(11, max_iter=3, random_state=seed).fit(parts))[:2]

    found = {words(cut(X, *places)) for places in cuts}
    found.add(words([Held(X[:500], X[500:7000]), Held(X[7000:7000], X[7000:])]))
    assert len(found) == 1
    assert words(cut(X), seed=5) not in found


@pytest.fixture
def stored(tmp_path):
    """Float rows in files that other processes can open."""
    place, X = SharedFolder(tmp_path), blobs(6000, dtype=np.float32)
    sources = []
    for number, part in enumerate(np.split(X, [100, 1000, 1500, 4000])):
        np.save(tmp_path / f"{number}.npy", part)
        sources.append(StoredRows(place, (f"{number}.npy",), (len(part),)))
    return sources, X


def test_the_same_bytes_for_every_executor(stored, pool):
    sources, X = stored
    model = ShardedKMeans(12, max_iter=2, tol=0)
    found = {fitted(model.fit(sources, n_jobs=jobs)) for jobs in (1, 2, None)}
    with ThreadPoolExecutor(3) as threads:
        found.add(fitted(model.fit(sources, executor=threads)))
    found.add(fitted(model.fit(sources, executor=pool, n_jobs=2)))
    assert len(found) == 1
    held = model.fit(cut(X, 100, 1000, 1500, 4000))
    assert fitted(held) in found, "a file's rows are those in memory"


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 8])
def test_an_interrupted_training_goes_on(stop):
    X, states = cut(blobs(), 1500), []
    whole = ShardedKMeans(8, tol=0, max_iter=9).fit(X, passed=states.append)

    class StoppedError(Exception):
        pass

    def passed(state):
        nonlocal last
        last = state
        if state.n_rounds + state.n_iter == stop:
            raise StoppedError

    last, rest = None, []
    with pytest.raises(StoppedError):
        ShardedKMeans(8, tol=0, max_iter=9).fit(X, passed=passed)
    again = ShardedKMeans(8, tol=0, max_iter=9).fit(X, state=last, passed=rest.append)
    assert fitted(again) == fitted(whole)
    assert len(states) == len(rest) + stop == 6 + 9
    finished = ShardedKMeans(8, tol=0, max_iter=9).fit(X, state=rest[-1], passed=pytest.fail)
    assert fitted(finished) == fitted(whole)


def test_what_travels():
    """Centres down, sums up; no row but those that are drawn."""
    X, K = blobs(40_000, d=128), 100
    source = StoredRows(SharedFolder(Path("/some/project/of/photographs")), ("features/shard-00012/sift.npy",), (7,))
    centers = X[:K].astype(np.float32)
    assert len(cloudpickle.dumps(passes.Summing(source, centers))) < K * 128 * 4 + 1000
    sums = passes.sum_up(passes.Summing(Held(X), centers))
    assert len(cloudpickle.dumps(sums)) <= K * 128 * 4 + K * 4 + 1000
    assert sums.sums.dtype.itemsize <= 4
    drawing = passes.Drawing(source, 0, X[:200], (0, 1), 2 * K)
    assert len(cloudpickle.dumps(drawing)) < 200 * 128 + 1000
    drawn = passes.draw(passes.Drawing(Held(X), 0, X[:200], (0, 1), 2 * K))
    assert 1.5 * K < len(drawn.rows) < 2.5 * K
    assert len(cloudpickle.dumps(drawn)) < len(drawn.rows) * (128 + 8) + 1000


def test_what_travels_in_a_whole_training(stored):
    sources, X = stored
    states = []
    with ThreadPoolExecutor(1) as one:
        counting = CountingExecutor(one)
        ShardedKMeans(12, max_iter=3, tol=0).fit(sources, executor=counting, passed=states.append)
    most = max(len(state.centers) for state in states) * X.shape[1] * 4
    assert len(counting.tasks) == 1 + 2 * (5 + 1 + 3), "the first candidate, then four shards and one in all passes"
    assert max(counting.tasks) < most + 1000, "the centres once for all four"
    assert max(counting.results) < most + 1000
    assert sum(counting.results) < X.nbytes, "less than the rows, in nine passes"


def test_sums_take_the_type_that_they_need():
    X = np.full((300, 2), 255, np.uint8)
    centers = np.array([[255, 255], [0, 0]], np.float32)
    one = passes.sum_up(passes.Summing(Held(X), centers))
    assert (one.sums.dtype, one.counts.dtype) == (np.uint32, np.uint16)
    many = passes.add_up([one._replace(sums=one.sums * 50_000)] * 16)
    assert (many.sums[0] == 16 * 50_000 * 300 * 255).all()
    assert many.sums.dtype == np.uint64
    np.testing.assert_array_equal(many.counts, [16 * 300, 0])


def test_quality():
    """As good an end as that of the estimator for one matrix, and a better start than rows at random."""
    X = blobs(8000, kinds=40)
    ends, starts, chance = [], [], []
    for seed in range(3):
        states = []
        model = ShardedKMeans(40, random_state=seed).fit(cut(X, 3000), passed=states.append)
        ends.append(-model.score(cut(X)) / KMeans(40, random_state=seed, n_init=1).fit(X).inertia_)
        start = next(s for s in states if s.n_rounds == 6)
        starts.append(naive.nearest(X[::8], start.centers)[1].sum())
        chance.append(naive.nearest(X[::8], X[np.random.default_rng(seed).choice(len(X), 40)])[1].sum())
    assert np.median(ends) < 1.05
    assert np.median(starts) < 0.5 * np.median(chance)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_clusters": 0}, "n_clusters=0 cannot be used"),
        ({"init_max_iter": 0}, "init_max_iter"),
        ({"max_iter": 2.5}, "max_iter=2.5"),
        ({"random_state": None}, "random_state=None"),
        ({"oversampling_factor": 0}, "oversampling_factor"),
        ({"tol": -1}, "tol=-1"),
        ({"n_clusters": 31}, "hold 30 rows for 31 centres"),
    ],
)
def test_what_cannot_be_used(options, message):
    with pytest.raises(UsageError, match=message):
        ShardedKMeans(**{"n_clusters": 2, **options}).fit(cut(blobs(30), 4))


def test_rows_that_are_no_numbers():
    X = blobs(dtype=np.float32)
    X[1700, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        ShardedKMeans(3).fit(cut(X, 1000))


def test_no_rows_have_no_score():
    model = ShardedKMeans(2)
    model.cluster_centers_ = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match="at least one task"):
        model.score([])
