"""ICBPL's latent space: the layers that lead there, and what is minimised in it.

What is certain of it and what is a reconstruction, `fastvbow.semantic.icbpl` tells.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastvbow.errors import UsageError
from fastvbow.semantic.losses import cosine_loss, nearest_point_loss
from fastvbow.semantic.mmd import mmd_loss

__all__ = ["LossWeights", "latent_layers", "latent_loss"]


class LossWeights(NamedTuple):
    """What each of the four losses counts.

    Attributes
    ----------
    augmented, neighbour, point, discrepancy : float
        0 or more.
    """

    augmented: float
    neighbour: float
    point: float
    discrepancy: float

    @classmethod
    def of(cls, weights: Sequence[float]) -> LossWeights:
        """Four numbers as weights.

        Parameters
        ----------
        weights : sequence of float

        Raises
        ------
        UsageError
            They are not four numbers of 0 or more.
        """
        numeric = isinstance(weights, Sequence | np.ndarray) and all(
            isinstance(weight, numbers.Real) for weight in weights
        )
        if not numeric or len(weights) != len(cls._fields) or not all(0 <= weight < np.inf for weight in weights):
            raise UsageError(
                f"weights={weights!r} cannot be used; give four numbers of 0 or more: of the losses of augmentation, "
                "neighbours, centres and discrepancy"
            )
        return cls(*weights)


def latent_layers(torch: Any, width: int, n_hidden: int, n_components: int) -> Any:
    """Linear, ReLU, linear; the caller brings rows to unit length.

    Parameters
    ----------
    torch : module
    width, n_hidden, n_components : int

    Returns
    -------
    torch.nn.Sequential
    """
    nn = torch.nn
    return nn.Sequential(nn.Linear(width, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_components))


def latent_loss(torch: Any, z: Any, changed: Any, near: Any, *, points: Any, weights: LossWeights) -> Any:
    """The loss of a batch: a (1 - mean z·z_a) + b (1 - mean z·z_k) + c (1 - mean max_p z·p) + d MMD(z, points).

    The points count in the discrepancy as often as the batch has rows, as far as that goes without remainder: the
    remainder is taken from random points.

    Parameters
    ----------
    torch : module
    z : torch.Tensor of shape (n, d)
        Images in the latent space, at unit length.
    changed : torch.Tensor of shape (n, d)
        The same images, augmented.
    near : torch.Tensor of shape (n, d)
        A neighbour of each.
    points : torch.Tensor of shape (K, d)
    weights : LossWeights
        a, b, c and d.

    Returns
    -------
    torch.Tensor of shape ()
    """
    order = torch.randperm(len(points))
    target = points[order[torch.arange(len(z)) % len(points)]]
    return (
        weights.augmented * cosine_loss(torch, z, changed)
        + weights.neighbour * cosine_loss(torch, z, near)
        + weights.point * nearest_point_loss(torch, z, points)
        + weights.discrepancy * mmd_loss(torch, z, target)
    )
