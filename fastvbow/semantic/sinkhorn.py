"""Entropic optimal transport between images and texts, streamed (Cuturi 2013; Sinkhorn and Knopp 1967).

The plan T of n images and m texts, each side with a uniform mass, minimises sum_ij T_ij (-s_ij) + epsilon sum_ij T_ij
(log T_ij - 1), where s_ij is their cosine, under T 1 = 1/n and T' 1 = 1/m. It has the form T_ij = exp((f_i + g_j +
s_ij) / epsilon), and its rows, once g is known, are softmax((s_i + g) / epsilon) / n: without the constraint on the
columns g is zero, and the plan is the softmax.

Only f and g are kept. Two half-steps of Sinkhorn are one pass over blocks of rows: sums of rows give f, and sums of
the columns after that the next g. It is done on logarithms: of each row its maximum is subtracted, and g begins at
-max_i s_ij, so that every text gets at least 1/m of the mass of one image. So no sum underflows, however small epsilon
is.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastvbow.errors import UsageError
from fastvbow.semantic._rows import Workers, normalised, workers

__all__ = ["TransportPlan", "barycentres", "sinkhorn"]

HELD_BYTES = 1 << 30
"""Cosines are kept between passes, in float32, where they take no more; else they are computed anew in each."""


@dataclass(frozen=True)
class TransportPlan:
    """An entropic plan by its two scalings.

    Attributes
    ----------
    f : ndarray of shape (n,), float64
        Potentials of the images: epsilon times the logarithm of the row scaling. Empty in a model that was stored.
    g : ndarray of shape (m,), float64
        Potentials of the texts; zeros where the columns are free.
    epsilon : float
    error : float
        sum_j |T_1j + ... + T_nj - 1/m|, of the columns; the rows are exact to rounding. NaN where the columns are free.
    n_iter : int
        Passes over the rows.
    converged : bool
        Whether the error is at most what was asked for.
    """

    f: NDArray[np.float64]
    g: NDArray[np.float64]
    epsilon: float
    error: float
    n_iter: int
    converged: bool

    def conditional(self, cosines: NDArray[np.floating]) -> NDArray[np.float64]:
        """The plan's rows, each scaled to sum to 1, for images of this corpus or new ones.

        Parameters
        ----------
        cosines : ndarray of shape (k, m), floating
            Of images with all texts.
        """
        masses, _ = _scaled(cosines, self.g, self.epsilon)
        return masses / masses.sum(axis=1, keepdims=True)


def sinkhorn(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    epsilon: float = 0.05,
    *,
    columns: bool = True,
    max_iter: int = 2000,
    tol: float = 1e-6,
    relaxation: float = 1.5,
    n_jobs: int | None = None,
) -> TransportPlan:
    """Transport images to texts.

    Parameters
    ----------
    images : ndarray of shape (n, d), float32
        At unit length.
    texts : ndarray of shape (m, d), float32
        At unit length.
    epsilon : float, default=0.05
        The smaller, the sharper the plan and the more passes.
    columns : bool, default=True
        Give every text the same mass; False leaves the columns free.
    max_iter : int, default=2000
        Passes at most.
    tol : float, default=1e-6
        The error of the columns (see `TransportPlan`) at which it ends.
    relaxation : float, default=1.5
        Steps of g are so many times Sinkhorn's as long as the error falls (Thibault et al. 2021); 1 is Sinkhorn's own.
        On the cosines of three sets of photographs with their nouns 1.5 took two thirds of the passes.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors. The result does not depend on it.

    Raises
    ------
    UsageError
        A parameter cannot be used.

    Warns
    -----
    ConvergenceWarning
        The error is above `tol` after `max_iter` passes.

    References
    ----------
    M. Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NIPS 2013.
    A. Thibault, L. Chizat, C. Dossal and N. Papadakis, "Overrelaxed Sinkhorn-Knopp algorithm for regularized optimal
    transport", Algorithms 14, 2021.
    """
    if not 0 < epsilon < np.inf or not 1 <= relaxation < 2 or max_iter < 1 or not tol > 0:
        raise UsageError(
            f"Sinkhorn takes epsilon and tol above 0, a relaxation from 1 to below 2 and at least 1 pass, not "
            f"{epsilon}, {tol}, {relaxation} and {max_iter}"
        )
    n, m = len(images), len(texts)
    f, g = np.empty(n), np.zeros(m)
    error, last, step, n_iter = np.nan, np.inf, 1.0, 0
    with workers(n_jobs) as team:
        cosines = _Cosines(images, texts, team)
        if not columns:
            cosines.column_masses(g, epsilon, f)
            return TransportPlan(f, g, epsilon, np.nan, 1, True)
        g = -cosines.column_maxima()
        for n_iter in range(1, max_iter + 1):
            masses = cosines.column_masses(g, epsilon, f)
            error = float(np.abs(masses - 1 / m).sum())
            if error <= tol or n_iter == max_iter:
                break
            step = relaxation if error < last else 1.0
            last = error
            g = g - step * epsilon * np.log(masses * m)
    if error > tol:
        message = (
            f"after {max_iter} passes the columns of the transport plan are off by {error:.2g}, above tol={tol:.2g}: "
            "give more passes or a greater epsilon"
        )
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return TransportPlan(f, g, epsilon, error, n_iter, error <= tol)


def barycentres(
    images: NDArray[np.float32], texts: NDArray[np.float32], plan: TransportPlan, *, n_jobs: int | None = None
) -> NDArray[np.float32]:
    """What the plan makes of every image in the texts: x_i = L2(sum_j T_ij s_ij u_j).

    Parameters
    ----------
    images : ndarray of shape (n, d), float32
        At unit length; those that the plan was made for, or others.
    texts : ndarray of shape (m, d), float32
        Those that the plan was made for.
    plan : TransportPlan
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    out = np.empty(images.shape, np.float32)

    def one(part: slice) -> None:
        cosines = images[part] @ texts.T
        weights = plan.conditional(cosines)
        weights *= cosines
        out[part] = normalised(weights.astype(np.float32) @ texts)

    with workers(n_jobs) as team:
        deque(team.each_block(one, len(images), max(images.shape[1], 4 * len(texts))), maxlen=0)
    return out


def _scaled(
    cosines: NDArray[np.floating], g: NDArray[np.float64], epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """exp((s + g) / epsilon - top) of every row, and top, the row's maximum of (s + g) / epsilon."""
    logits = (cosines + g) / epsilon
    top = logits.max(axis=1)
    logits -= top[:, None]
    return np.exp(logits, out=logits), top


class _Cosines:
    """The cosines of images and texts, block by block, held where they are few."""

    def __init__(self, images: NDArray[np.float32], texts: NDArray[np.float32], team: Workers) -> None:
        self._images, self._texts, self._team = images, texts, team
        self._held: NDArray[np.float32] | None = None
        if 4 * len(images) * len(texts) <= HELD_BYTES:
            self._held = held = np.empty((len(images), len(texts)), np.float32)
            self._each(lambda part: np.matmul(images[part], texts.T, out=held[part]))

    def column_maxima(self) -> NDArray[np.float64]:
        """The greatest cosine of each text."""
        return np.max(self._each(lambda part: self._of(part).max(axis=0)), axis=0).astype(np.float64)

    def column_masses(self, g: NDArray[np.float64], epsilon: float, f: NDArray[np.float64]) -> NDArray[np.float64]:
        """Write the potentials of the rows to f; the sums of the columns of the plan whose rows are exact."""
        n = len(self._images)

        def one(part: slice) -> NDArray[np.float64]:
            masses, top = _scaled(self._of(part), g, epsilon)
            sums = masses.sum(axis=1)
            f[part] = -epsilon * (np.log(n * sums) + top)
            return np.asarray(np.reciprocal(n * sums) @ masses)

        total = np.zeros(len(g))
        for part_total in self._each(one):
            total += part_total
        return total

    def _of(self, part: slice) -> NDArray[np.float32]:
        return self._images[part] @ self._texts.T if self._held is None else self._held[part]

    def _each(self, function: Callable[[slice], NDArray[Any]]) -> list[NDArray[Any]]:
        width = max(self._images.shape[1], 4 * len(self._texts))
        return list(self._team.each_block(function, len(self._images), width))
