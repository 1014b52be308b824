"""Spherical k-means against its twin, and where there is little to cluster."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import naive_lloyd, unit

from fastvbow.errors import UsageError
from fastvbow.semantic import _rows, spherical
from fastvbow.semantic._rows import unit_rows
from fastvbow.semantic.spherical import nearest_directions, spherical_kmeans


def directions(n=300, width=7, seed=0, groups=5):
    rng = np.random.default_rng(seed)
    centers = unit(rng.normal(size=(groups, width)))
    return unit(centers[rng.integers(0, groups, n)] + 0.3 * rng.normal(size=(n, width))).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cells", [1 << 21, 500])
def test_against_the_twin(seed, cells, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    X = directions(seed=seed)
    start = X[np.random.default_rng(seed).choice(len(X), 4, replace=False)]
    monkeypatch.setattr(spherical, "_start", lambda X, n_clusters, rng: start.copy())
    found = spherical_kmeans(X, 4, n_init=1, tol=0, max_iter=12)
    centers, labels, score = naive_lloyd(X, start, 12)
    assert found.labels.tolist() == labels.tolist()
    np.testing.assert_allclose(found.centers, centers, atol=1e-5)
    assert found.score == pytest.approx(score, rel=1e-6)


def test_centres_are_the_mean_directions_and_the_best_start_is_kept():
    X = directions(groups=9)
    scores = [spherical_kmeans(X, 9, n_init=n, random_state=3).score for n in (1, 2, 5, 15)]
    assert scores == sorted(scores) and scores[0] < scores[-1]
    found = spherical_kmeans(X, 9, n_init=5, tol=0, random_state=0)
    assert found.labels.dtype == np.int32 and found.centers.dtype == np.float32
    for k in range(9):
        np.testing.assert_allclose(found.centers[k], unit(X[found.labels == k].astype(float).sum(axis=0)), atol=1e-5)
    assert nearest_directions(X, found.centers, None).tolist() == found.labels.tolist()


def test_a_seed_gives_the_same_bytes_for_any_number_of_threads(monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", 1000)
    X = directions(2000)
    one, two, other = (
        spherical_kmeans(X, 6, n_init=3, random_state=seed, n_jobs=jobs) for seed, jobs in ((1, 1), (1, 3), (2, 1))
    )
    assert one.centers.tobytes() == two.centers.tobytes() and one.labels.tobytes() == two.labels.tobytes()
    assert one.centers.tobytes() != other.centers.tobytes()


def test_no_cluster_stays_empty_where_rows_differ(monkeypatch):
    X = directions(50)
    far = np.repeat(-X[:1], 5, axis=0)  # nothing is near to four of the centres
    far[0] = X[0]
    monkeypatch.setattr(spherical, "_start", lambda X, n_clusters, rng: far.copy())
    assert len(np.unique(spherical_kmeans(X, 5, n_init=1).labels)) == 5


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    found = spherical_kmeans(X, 5, random_state=0)
    assert np.isfinite(found.centers).all() and len(np.unique(found.labels)) == 3
    assert found.score == pytest.approx(12)


def test_opposite_rows_have_no_mean_direction():
    X = np.array([[1, 0], [-1, 0]], np.float32)
    assert np.isfinite(spherical_kmeans(X, 1, random_state=0).centers).all()


@pytest.mark.parametrize(("n_clusters", "n_init"), [(0, 1), (6, 1), (2, 0)])
def test_what_cannot_be_clustered(n_clusters, n_init):
    with pytest.raises(UsageError):
        spherical_kmeans(directions(5), n_clusters, n_init=n_init)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
def test_unit_rows(dtype, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", 300)
    given = (np.random.default_rng(0).normal(size=(400, 5)) * 9).astype(dtype) + np.asarray(1, dtype)
    for rows in (given, np.asfortranarray(given)):
        found = unit_rows(rows, "X")
        assert found.dtype == np.float32 and found.flags.c_contiguous
        np.testing.assert_allclose(found, unit(given), atol=2e-7)


def test_unit_rows_are_not_copied(tmp_path):
    X = directions()
    assert unit_rows(X, "X") is X
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert unit_rows(mapped, "X") is mapped
    assert unit_rows(X * np.float32(1.01), "X") is not X


@pytest.mark.parametrize("bad", [0, np.nan, np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_without_a_direction_is_named(bad, dtype):
    X = np.eye(300, 4, dtype=dtype)
    X[4:] = 0.5
    X[298] = bad
    with pytest.raises(UsageError, match=r"row 298 of nouns has no direction"):
        unit_rows(X, "nouns")


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((0, 3)), np.array([["a"]]), np.zeros((2, 2, 2))])
def test_what_is_no_embedding(bad):
    with pytest.raises(UsageError, match="X has shape"):
        unit_rows(bad, "X")
