"""The loop of all trained methods: Adam over random batches, for a number of epochs that is known beforehand."""

from __future__ import annotations

import numbers
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError

__all__ = ["Progress", "Schedule", "train"]

Progress = Callable[[int, int], object]
"""Is told after each epoch how many are done, and of how many."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast is learnt; nothing of it depends on how well it goes, and no label is looked at.

    Attributes
    ----------
    epochs : int
        More are run where `least_steps` wants it.
    batch_size : int
        Rows a step; where there are fewer, all of them.
    learning_rate : float
        Adam's.
    betas : tuple of float
        Adam's.
    weight_decay : float
        Adam's.
    max_seconds : float or None
        Training ends after the epoch in which this time is over, with a warning.
    least_steps : int
        Epochs go on until there were so many steps.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    max_seconds: float | None = None
    least_steps: int = 0

    def __post_init__(self) -> None:
        if self.max_seconds is not None and not isinstance(self.max_seconds, numbers.Real):
            raise UsageError(f"max_seconds={self.max_seconds!r} cannot be used; give a number of seconds, or None")

    def epochs_for(self, n: int) -> int:
        """The epochs of n rows."""
        return max(self.epochs, -(-self.least_steps // (n // min(self.batch_size, n))))


def train(
    torch: Any,
    parameters: Any,
    batch_loss: Callable[[Any], Any],
    n: int,
    schedule: Schedule,
    *,
    before_epoch: Callable[[int], object] = lambda epoch: None,
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Minimise a loss by Adam; the global generator of PyTorch shuffles the rows.

    An epoch goes once through the rows in batches of one size; rows that are left over are left out of it.

    Parameters
    ----------
    torch : module
    parameters : iterable of torch.nn.Parameter
    batch_loss : callable (indices) -> torch.Tensor of shape ()
        Indices are a tensor of shape (batch,), int64.
    n : int
        Rows.
    schedule : Schedule
    before_epoch : callable (epoch), optional
        Epochs count from 0.
    progress : callable (done, total), optional

    Returns
    -------
    ndarray of shape (epochs run,), float64
        The mean loss of each epoch's batches.

    Raises
    ------
    UsageError
        The loss is no longer finite.

    Warns
    -----
    ConvergenceWarning
        The time was over before the epochs were.
    """
    optimiser = torch.optim.Adam(
        list(parameters), lr=schedule.learning_rate, betas=schedule.betas, weight_decay=schedule.weight_decay
    )
    batch, epochs = min(schedule.batch_size, n), schedule.epochs_for(n)
    started = time.monotonic()
    losses = []
    for epoch in range(epochs):
        before_epoch(epoch)
        total = 0.0
        for indices in torch.randperm(n)[: n - n % batch].split(batch):
            check_cancelled()
            loss = batch_loss(indices)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += float(loss.detach())
        losses.append(total / (n // batch))
        if not np.isfinite(losses[-1]):
            raise UsageError(
                f"the loss is no longer finite in epoch {epoch + 1}: pass a learning_rate below "
                f"{schedule.learning_rate:g}"
            )
        if progress is not None:
            progress(epoch + 1, epochs)
        if schedule.max_seconds is not None and time.monotonic() - started > schedule.max_seconds:
            if epoch + 1 < epochs:
                message = f"training ended after {epoch + 1} of {epochs} epochs: max_seconds is over"
                warnings.warn(message, ConvergenceWarning, stacklevel=3)
            break
    return np.array(losses)
