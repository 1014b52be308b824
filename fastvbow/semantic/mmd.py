"""Maximum mean discrepancy: how far apart two samples are as distributions (Gretton et al. 2012).

The biased V-statistic, mean k(x, x') + mean k(y, y') - 2 mean k(x, y), with the sum of five Gaussian kernels
exp(-d^2 / b). The bandwidths b are 1/4, 1/2, 1, 2 and 4 times the mean squared distance of two different rows of both
samples together, and no gradient runs through them. Certain (read in ICBPL's code): the statistic, the kernels and
the factors. Reconstruction: over which pairs the mean runs, and that it is held fixed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError

__all__ = ["mmd", "mmd_loss"]

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
_LEAST = 1e-30
"""A mean squared distance where all rows are the same; the kernels are 1 then, and the statistic 0."""


def mmd(x: NDArray[np.floating], y: NDArray[np.floating], *, spread: float | None = None) -> float:
    """The squared maximum mean discrepancy of two samples.

    Parameters
    ----------
    x : ndarray of shape (n, d), floating
    y : ndarray of shape (m, d), floating
    spread : float, optional
        What the bandwidths are multiples of, above 0; by default the mean squared distance.

    Returns
    -------
    float
        0 for equal samples, never below 0 but for rounding; symmetric.

    Raises
    ------
    UsageError
        The samples have no rows, or different widths.

    References
    ----------
    A. Gretton, K. Borgwardt, M. Rasch, B. Schölkopf and A. Smola, "A kernel two-sample test", JMLR 13, 2012.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not len(x) or not len(y):
        raise UsageError(f"two samples with rows of one width are compared, not {x.shape} and {y.shape}")
    rows = np.concatenate([x, y]).astype(np.float64)
    squares = np.square(rows).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0)
    np.fill_diagonal(distances, 0)
    n, total = len(x), len(rows)
    spread = distances.sum() / (total * (total - 1)) if spread is None else spread
    kernels = sum(np.exp(-distances / max(_LEAST, factor * spread)) for factor in FACTORS)
    return float(kernels[:n, :n].mean() + kernels[n:, n:].mean() - 2 * kernels[:n, n:].mean())


def mmd_loss(torch: Any, x: Any, y: Any, *, spread: float | None = None) -> Any:
    """The same of tensors, with a gradient.

    Parameters
    ----------
    torch : module
        See `fastvbow.pytorch.load_torch`.
    x : torch.Tensor of shape (n, d)
    y : torch.Tensor of shape (m, d)
    spread : float, optional
        As in `mmd`.

    Returns
    -------
    torch.Tensor of shape ()
    """
    rows = torch.cat([x, y])
    squares = rows.square().sum(dim=1)
    distances = (squares[:, None] + squares - 2 * rows @ rows.T).clamp_min(0)
    distances = distances * (1 - torch.eye(len(rows), dtype=rows.dtype))
    n, total = len(x), len(rows)
    spread = float(distances.detach().sum()) / (total * (total - 1)) if spread is None else spread
    kernels = sum(torch.exp(-distances / max(_LEAST, factor * spread)) for factor in FACTORS)
    return kernels[:n, :n].mean() + kernels[n:, n:].mean() - 2 * kernels[:n, n:].mean()
