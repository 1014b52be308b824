"""Rows stay with their ids: in every baseline, permuting the images permutes what comes out, to the byte."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.alignment import by_id, given_order
from fastvbow.groups.baselines.clusters import kmeans_groups
from fastvbow.groups.baselines.components import principal_components
from fastvbow.groups.baselines.variational import variational_topics

N = 90


@pytest.fixture
def ids():
    return [f"{value:05d}" for value in np.random.default_rng(1).choice(99_999, N, replace=False)]


@pytest.fixture
def rows():
    return np.random.default_rng(2).integers(0, 256, (N, 6, 6, 1), dtype=np.uint8)


def counts_of(rows):
    return sp.csr_matrix(rows.reshape(N, -1) // 32, dtype=np.float64)


METHODS = {
    "components": lambda ids, rows: principal_components(ids, rows, 5, batch=20).vectors,
    "k-means": lambda ids, rows: kmeans_groups(ids, rows.reshape(N, -1) / 1.0, 6, seed=0, starts=2),
    "variational": lambda ids, rows: variational_topics(ids, counts_of(rows), 4, seed=0, max_iter=3).theta,
}


def test_by_hand():
    order = by_id(["c", "a", "d", "b"], 4)
    assert order.tolist() == [1, 3, 0, 2]
    assert np.array(["c", "a", "d", "b"])[order].tolist() == ["a", "b", "c", "d"]
    assert given_order(order, np.array([[10], [20], [30], [40]])).tolist() == [[30], [10], [40], [20]]


@pytest.mark.parametrize("name", METHODS)
def test_permuting_the_images_permutes_the_rows(name, ids, rows):
    """Batches, starts and random numbers depend on the set of images alone, not on who comes first."""
    order = np.random.default_rng(3).permutation(N)
    given = METHODS[name](ids, rows)
    permuted = METHODS[name]([ids[i] for i in order], rows[order])
    np.testing.assert_array_equal(permuted, given[order])
    assert not np.array_equal(permuted, given), "the permutation moves rows"


@pytest.mark.parametrize("name", METHODS)
def test_each_row_is_the_one_of_its_image(name, ids, rows):
    """Three kinds of images that nothing can confuse: if rows were parted from ids, kinds would mix."""
    kind = np.random.default_rng(4).integers(0, 3, N)
    plain = np.zeros_like(rows)
    for k in range(3):
        plain[kind == k, 2 * k : 2 * k + 2] = 200
    plain += rows % 8
    found = METHODS[name](ids, plain)
    found = found.reshape(N, -1).astype(float)
    centres = np.stack([found[kind == k].mean(axis=0) for k in range(3)])
    if name == "k-means":  # six groups, none of which two kinds share
        assert all(len(set(kind[found[:, 0] == g])) <= 1 for g in range(6))
    else:
        nearest = ((found[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        np.testing.assert_array_equal(nearest, kind)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [(lambda ids: ids[:-1], "89 image ids for 90 rows"), (lambda ids: [*ids[:-1], ids[0]], "rows 0 and 89 both")],
)
def test_ids_that_do_not_fit(name, spoil, complaint, ids, rows):
    with pytest.raises(UsageError, match=complaint):
        METHODS[name](spoil(ids), rows)


def test_no_images():
    with pytest.raises(UsageError, match="given none"):
        by_id([], 0)
