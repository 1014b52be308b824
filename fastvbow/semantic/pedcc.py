"""Class centres that lie as far apart as they can: PEDCC points (predefined evenly-distributed class centroids)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import helmert
from scipy.optimize import minimize
from sklearn.utils import check_random_state

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError

__all__ = ["coulomb_energy", "coulomb_points", "pedcc"]

STEPS = 2_000
"""Steps of the minimiser at most. 200 points in 100 dimensions rest before; for 1000 they take about a minute."""
FORCE = 1e-7
"""The points rest when no part of the force on one of them, by the mean energy of its pairs, is larger."""


def pedcc(n_points: int, n_dimensions: int = 100, *, random_state: Any = None) -> NDArray[np.float64]:
    """Unit vectors that are spread evenly over the sphere, as the centres of clusters.

    Up to n_dimensions + 1 points there is a closed form, which the reference's iteration tends to: the regular simplex,
    where every two points have the cosine -1 / (n_points - 1), turned at random. More points are those of least Coulomb
    energy that a minimiser finds from a random start (`coulomb_points`), where the reference makes 200 steps of a
    simulation of charges, which for 100 points in 100 dimensions is too few (a greatest cosine of .09, not -.01).

    Parameters
    ----------
    n_points : int
        K, 1 or more.
    n_dimensions : int, default=100
        The reference's number; at least 2 where there are more than two points.
    random_state : int, RandomState or None, default=None
        Turns the simplex; chooses the start of the minimiser.

    Returns
    -------
    ndarray of shape (n_points, n_dimensions), float64

    Raises
    ------
    UsageError
        So many distinct points do not fit.

    References
    ----------
    Q. Zhu, P. Zhang and X. Ye, "A classification supervised auto-encoder based on predefined evenly-distributed class
    centroids", arXiv:1902.00220.
    "Image clustering algorithm based on self-supervised pretrained models and latent feature distribution
    optimization" (ICBPL), arXiv:2408.01920.
    """
    if n_points < 1 or n_dimensions < 1 or (n_dimensions == 1 and n_points > 2):
        raise UsageError(
            f"there are no {n_points} evenly distributed points in {n_dimensions} dimensions: pass at least 1 point "
            "and, for more than 2 of them, at least 2 dimensions"
        )
    rng = check_random_state(random_state)
    if n_points - 1 > n_dimensions:
        return coulomb_points(n_points, n_dimensions, random_state=rng)
    axes, upper = np.linalg.qr(rng.standard_normal((n_dimensions, max(1, n_points - 1))))
    axes *= np.where(np.diag(upper) < 0, -1, 1)  # uniform over rotations
    # The rows of Helmert's matrix are orthonormal and sum to zero: its columns are a simplex, of length sqrt(1 - 1/K).
    simplex = helmert(n_points).T * np.sqrt(n_points / (n_points - 1)) if n_points > 1 else np.ones((1, 1))
    return np.asarray(simplex @ axes.T)


def coulomb_points(n_points: int, n_dimensions: int, *, random_state: Any = None) -> NDArray[np.float64]:
    """Points of equal charge on the unit sphere, at rest: a local minimum of `coulomb_energy` (L-BFGS, Liu & Nocedal).

    Parameters
    ----------
    n_points, n_dimensions : int
        2 or more each.
    random_state : int, RandomState or None, default=None
        Chooses the start.

    Returns
    -------
    ndarray of shape (n_points, n_dimensions), float64

    Raises
    ------
    UsageError
        Fewer points or dimensions.

    References
    ----------
    D. C. Liu and J. Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical
    Programming 45, 1989.
    """
    if n_points < 2 or n_dimensions < 2:
        raise UsageError(
            f"charges repel one another from 2 points in 2 dimensions on, not {n_points} in {n_dimensions}"
        )
    shape = n_points, n_dimensions
    start = check_random_state(random_state).standard_normal(shape)
    scale = 2 / (n_points * (n_points - 1))

    def mean_energy(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        check_cancelled()
        length = np.linalg.norm(flat.reshape(shape), axis=1, keepdims=True)
        points = flat.reshape(shape) / length
        inverse = _inverse_distances(points)
        # dE/dr_i = -sum_j (r_i - r_j) / |r_i - r_j|^3; of it the part along the sphere, by the length of what is moved
        cubes = inverse * inverse * inverse
        gradient = cubes @ points - cubes.sum(axis=1, keepdims=True) * points
        tangential = (gradient - (gradient * points).sum(axis=1, keepdims=True) * points) / length
        return inverse.sum() / 2 * scale, (tangential * scale).ravel()

    options = {"maxiter": STEPS, "maxfun": 2 * STEPS, "ftol": 0.0, "gtol": FORCE * scale * n_points, "maxcor": 20}
    found = minimize(mean_energy, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(shape)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def coulomb_energy(points: NDArray[np.floating]) -> float:
    """The energy of unit charges: the sum of 1 / distance over all pairs.

    Parameters
    ----------
    points : ndarray of shape (n, d), floating
        Distinct.
    """
    return float(_inverse_distances(np.asarray(points, np.float64)).sum() / 2)


def _inverse_distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / distance of every two unit vectors, 0 on the diagonal."""
    squares = np.square(points).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 1e-12)
    inverse = 1 / np.sqrt(distances)
    np.fill_diagonal(inverse, 0)
    return np.asarray(inverse)
