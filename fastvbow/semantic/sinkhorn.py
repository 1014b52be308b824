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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastvbow.errors import UsageError
from fastvbow.semantic._kernels import plan_rows, scale_rows
from fastvbow.semantic._rows import Workers, normalised, workers

__all__ = ["TransportPlan", "barycentres", "sinkhorn"]

HELD_BYTES = 1 << 30
"""Cosines are kept between passes, in float32, where they take no more; else they are computed anew in each."""
NEAR = 0.5
"""Steps are mixed where the columns are off by no more than this part of the mass: before that they change too much."""
ASTRAY = 2.0
"""A mixed step that makes the error so many times as great is taken back."""


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
        Passes over the rows, or over those of the sample.
    converged : bool
        Whether the error, or that of the sample, is at most what was asked for.
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
    history: int = 8,
    sample: int | None = None,
    random_state: Any = None,
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
    history : int, default=8
        Steps that the next one is put together from (Anderson 1965), so that their changes cancel as far as they can;
        0 is Sinkhorn's own step. A mixed step that makes the error twice as great is taken back. On made-up sets whose
        texts are not where the images are, 8 took a fifth of Sinkhorn's passes.
    sample : int, optional
        Find g on so many random images where there are more, and go once through all of them for f. The rows of the
        plan are exact as ever; its columns are off by more than `tol`, and `error` says by how much, over all images.
        On made-up sets 2.5 images a text left the columns off by .01 of the mass where texts lie like the images, and
        by .06 where they do not; 12 images a text by .005 and .02.
    random_state : int, RandomState or None, default=None
        Of the sample.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors. The result does not depend on it.

    Raises
    ------
    UsageError
        A parameter cannot be used.

    Warns
    -----
    ConvergenceWarning
        The error is above `tol` after `max_iter` passes; where a sample is drawn, its error.

    References
    ----------
    M. Cuturi, "Sinkhorn distances: lightspeed computation of optimal transport", NIPS 2013.
    D. G. Anderson, "Iterative procedures for nonlinear integral equations", Journal of the ACM 12, 1965.
    """
    if not 0 < epsilon < np.inf or history < 0 or max_iter < 1 or not tol > 0:
        raise UsageError(
            f"Sinkhorn takes epsilon and tol above 0, a history of 0 or more and at least 1 pass, not "
            f"{epsilon}, {tol}, {history} and {max_iter}"
        )
    if sample is not None and sample < 1:
        raise UsageError(f"a sample of {sample} images cannot be drawn: give 1 or more, or None for all")
    n, m = len(images), len(texts)
    if columns and sample is not None and sample < n:
        rows = np.sort(check_random_state(random_state).choice(n, sample, replace=False))
        how: dict[str, Any] = {"max_iter": max_iter, "tol": tol, "history": history, "n_jobs": n_jobs}
        return _extended(sinkhorn(images[rows], texts, epsilon, **how), images, texts, n_jobs)
    f, g = np.empty(n), np.zeros(m)
    error, n_iter = np.nan, 0
    with workers(n_jobs) as team:
        cosines = _Cosines(images, texts, team)
        if not columns:
            cosines.column_masses(g, epsilon, f)
            return TransportPlan(f, g, epsilon, np.nan, 1, True)
        g = -cosines.column_maxima()
        steps = _Steps(history)
        for n_iter in range(1, max_iter + 1):
            masses = cosines.column_masses(g, epsilon, f)
            error = float(np.abs(masses - 1 / m).sum())
            if error <= tol or n_iter == max_iter:
                break
            g = steps.after(g, -epsilon * np.log(masses * m), error)
    if error > tol:
        message = (
            f"after {max_iter} passes the columns of the transport plan are off by {error:.2g}, above tol={tol:.2g}: "
            "give more passes or a greater epsilon"
        )
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
    return TransportPlan(f, g, epsilon, error, n_iter, error <= tol)


def _extended(
    plan: TransportPlan, images: NDArray[np.float32], texts: NDArray[np.float32], n_jobs: int | None
) -> TransportPlan:
    """The plan of a sample for all images, by one pass over them."""
    f, m = np.empty(len(images)), len(texts)
    with workers(n_jobs) as team:
        masses = _Cosines(images, texts, team, hold=False).column_masses(plan.g, plan.epsilon, f)
    return replace(plan, f=f, error=float(np.abs(masses - 1 / m).sum()))


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
    shift, scale = plan.g / plan.epsilon, 1 / plan.epsilon

    def one(part: slice) -> None:
        weights = images[part] @ texts.T
        plan_rows(weights, shift, scale, np.empty(len(shift)))
        out[part] = normalised(weights @ texts)

    with workers(n_jobs) as team:
        deque(team.each_block(one, len(images), _width(images, texts)), maxlen=0)
    return out


def _width(images: NDArray[np.float32], texts: NDArray[np.float32]) -> int:
    """For blocks of 32 MB of cosines at most: with fewer rows BLAS would have to lay out the texts too often."""
    return max(images.shape[1], len(texts) // 4)


def _scaled(
    cosines: NDArray[np.floating], g: NDArray[np.float64], epsilon: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """exp((s + g) / epsilon - top) of every row, and top, the row's maximum of (s + g) / epsilon."""
    logits = (cosines + g) / epsilon
    top = logits.max(axis=1)
    logits -= top[:, None]
    return np.exp(logits, out=logits), top


class _Steps:
    """Anderson's mixing of steps near the solution; where it has led astray, Sinkhorn's own, whose error never grows.

    A turn that has not halved the error since the one before is followed by twice as many of Sinkhorn's steps, so that
    these prevail where mixing does not help.
    """

    def __init__(self, history: int) -> None:
        self._places: deque[NDArray[np.float64]] = deque(maxlen=history + 1)
        self._steps: deque[NDArray[np.float64]] = deque(maxlen=history + 1)
        self._last = self._at_turn = np.inf
        self._wait = self._pause = 1

    def after(self, place: NDArray[np.float64], step: NDArray[np.float64], error: float) -> NDArray[np.float64]:
        """Where to go from a place, whose own step and error these are."""
        if error > ASTRAY * self._last:
            place, step, error = self._places[-1], self._steps[-1], self._last
            self._places.clear()
            self._steps.clear()
            self._pause = 2 * self._pause if error > self._at_turn / 2 else 1
            self._wait, self._at_turn = self._pause, error
        self._last = error
        self._places.append(place)
        self._steps.append(step)
        if error > NEAR:
            return place + step
        self._wait = max(0, self._wait - 1)
        if self._wait or len(self._places) < 2:
            return place + step
        # The mean of the steps, with weights that sum to 1, that is nearest to zero; the same mean of the places.
        changes, moves = (np.diff(np.array(kept), axis=0) for kept in (self._steps, self._places))
        mixed = np.linalg.lstsq(changes.T, step, rcond=1e-10)[0]
        return np.asarray(place + step - mixed @ (moves + changes))


class _Cosines:
    """The cosines of images and texts, block by block, held where they are few."""

    def __init__(
        self, images: NDArray[np.float32], texts: NDArray[np.float32], team: Workers, *, hold: bool = True
    ) -> None:
        self._images, self._texts, self._team = images, texts, team
        self._held: NDArray[np.float32] | None = None
        if hold and 4 * len(images) * len(texts) <= HELD_BYTES:
            self._held = held = np.empty((len(images), len(texts)), np.float32)
            deque(self._each(lambda part: np.matmul(images[part], texts.T, out=held[part])), maxlen=0)

    def column_maxima(self) -> NDArray[np.float64]:
        """The greatest cosine of each text."""
        found = np.full(len(self._texts), -np.inf, np.float32)
        for part in self._each(lambda part: self._of(part).max(axis=0)):
            np.maximum(found, part, out=found)
        return found.astype(np.float64)

    def column_masses(self, g: NDArray[np.float64], epsilon: float, f: NDArray[np.float64]) -> NDArray[np.float64]:
        """Write the potentials of the rows to f; the sums of the columns of the plan whose rows are exact."""
        n, shift, scale = len(self._images), g / epsilon, 1 / epsilon

        def one(part: slice) -> NDArray[np.float64]:
            cosines, sums, masses = self._of(part), np.empty(part.stop - part.start), np.zeros(len(g))
            tops = np.empty_like(sums)
            scale_rows(cosines, shift, scale, np.empty(len(g)), tops, sums, masses)
            f[part] = -epsilon * (np.log(n * sums) + tops)
            return masses

        total = np.zeros(len(g))
        for masses in self._each(one):
            total += masses
        return total / n

    def _of(self, part: slice) -> NDArray[np.float32]:
        return self._images[part] @ self._texts.T if self._held is None else self._held[part]

    def _each(self, function: Callable[[slice], NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """One result after the other: all of them would take more than the cosines of a block."""
        return self._team.each_block(function, len(self._images), _width(self._images, self._texts))
