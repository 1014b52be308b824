"""Evenly distributed points: the simplex where it exists, known arrangements of charges elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from fastvbow.cancelling import cancelling
from fastvbow.errors import Cancelled, UsageError
from fastvbow.semantic.pedcc import coulomb_energy, coulomb_points, pedcc


def cosines(points):
    return (points @ points.T)[~np.eye(len(points), dtype=bool)]


@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 2), (8, 100), (10, 9), (101, 100), (300, 512)])
def test_the_simplex(n, d):
    points = pedcc(n, d, random_state=3)
    assert points.shape == (n, d)
    assert points.dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(cosines(points), -1 / (n - 1), atol=1e-12)
    np.testing.assert_allclose(points.sum(axis=0), 0, atol=1e-12)


@pytest.mark.parametrize("n", [4, 12])
def test_charges_find_the_simplex_too(n):
    np.testing.assert_allclose(cosines(coulomb_points(n, n + 2, random_state=0)), -1 / (n - 1), atol=1e-5)


@pytest.mark.parametrize(
    ("n", "energy"), [(4, 3.674234614), (5, 6.474691495), (6, 9.985281374), (12, 49.165253058), (24, 223.347074052)]
)
def test_charges_on_the_sphere(n, energy):
    """The known minima of Thomson's problem; local ones from single starts lie above them."""
    found = [coulomb_energy(coulomb_points(n, 3, random_state=seed)) for seed in range(3)]
    assert min(found) == pytest.approx(energy, rel=1e-8)
    assert min(found) >= energy * (1 - 1e-9)


def test_charges_on_a_circle_are_a_polygon():
    points = pedcc(7, 2, random_state=1)
    angles = np.sort(np.arctan2(points[:, 1], points[:, 0]))
    np.testing.assert_allclose(np.diff(angles), 2 * np.pi / 7, atol=1e-4)


def test_more_points_than_the_simplex_has_are_at_rest():
    """The force on every charge has no part along the sphere; 200 steps of the reference's simulation leave one."""
    points = pedcc(40, 20, random_state=0)
    difference = points[:, None] - points
    distance = np.linalg.norm(difference, axis=2)
    np.fill_diagonal(distance, np.inf)
    force = (difference / distance[..., None] ** 3).sum(axis=1)
    along = force - (force * points).sum(axis=1, keepdims=True) * points
    assert np.linalg.norm(along, axis=1).max() < 1e-3 * np.linalg.norm(force, axis=1).mean()
    assert np.linalg.norm(points, axis=1) == pytest.approx(1, abs=1e-12)
    assert cosines(points).max() < 0.2


def test_the_energy_by_hand():
    assert coulomb_energy(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(0.5)
    assert coulomb_energy(np.array([[1.0, 0], [-1, 0], [0, 1]])) == pytest.approx(0.5 + 2 / np.sqrt(2))


@pytest.mark.parametrize("shape", [(5, 10), (9, 3)])
def test_seeds(shape):
    first, again, other = (pedcc(*shape, random_state=seed) for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes()
    assert not np.allclose(first, other)


def test_turned_at_random():
    """A point of the simplex is as often on the one side of an axis as on the other."""
    firsts = np.array([pedcc(3, 2, random_state=seed)[0] for seed in range(400)])
    assert abs(firsts.mean(axis=0)).max() < 0.15


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3, 1)])
def test_what_does_not_fit(shape):
    with pytest.raises(UsageError, match=r"no \d evenly distributed points"):
        pedcc(*shape)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_charges_that_do_not_repel(shape):
    with pytest.raises(UsageError, match="from 2 points in 2 dimensions on"):
        coulomb_points(*shape)


def test_one_point():
    assert np.linalg.norm(pedcc(1, 7, random_state=0)) == pytest.approx(1)


def test_the_charges_can_be_stopped():
    asked = []
    with pytest.raises(Cancelled), cancelling(lambda: asked.append(1) or len(asked) == 5):
        coulomb_points(40, 3, random_state=0)
    assert len(asked) == 5
