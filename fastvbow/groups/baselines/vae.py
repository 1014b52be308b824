"""A variational autoencoder trained on small pictures (Kingma and Welling 2014), on the CPU.

Nothing is written: the weights live as long as the training does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.groups.baselines.alignment import by_id, given_order
from fastvbow.groups.baselines.vae_networks import build_network, load_torch
from fastvbow.pytorch import reproducible

__all__ = ["TrainedVae", "negative_elbo", "train_vae"]

_ACTIVE = 0.01
"""A latent dimension whose mean varies by more over the images is active (Burda et al. 2016, equation 10)."""


@dataclass(frozen=True)
class TrainedVae:
    """What a variational autoencoder learnt.

    Attributes
    ----------
    vectors : ndarray of shape (n, n_latent), float32
        The mean of each image's Gaussian, in the order of the images that were given.
    train_loss, held_out_loss : ndarray of shape (n_epochs,), float64
        The negative evidence lower bound after each epoch, in nats an image: of the images trained on, as the epoch
        went by, and of those held out, after it.
    held_out_ids : tuple of str
        The images that were not trained on.
    reconstruction_error : float
        Mean squared error of the pixels (0 to 1) of the held-out images decoded from their means.
    mean_image_error : float
        The same if the mean of the images trained on is given for every one of them: what a network that tells
        nothing apart reaches.
    active_dimensions : int
        Latent dimensions whose mean varies over the images (variance above .01).
    """

    vectors: NDArray[np.float32]
    train_loss: NDArray[np.float64]
    held_out_loss: NDArray[np.float64]
    held_out_ids: tuple[str, ...]
    reconstruction_error: float
    mean_image_error: float
    active_dimensions: int


def negative_elbo(logits: Any, pixels: Any, mean: Any, log_variance: Any) -> Any:
    """The negative evidence lower bound of each image, in nats (Kingma and Welling 2014, equation 10).

    Binary cross-entropy of the pixels, summed, plus the divergence of N(mean, variance) from N(0, 1):
    -1/2 sum(1 + log variance - mean^2 - variance).

    Parameters
    ----------
    logits, pixels : torch.Tensor of shape (n, channels, side, side)
        What the decoder gives, before the sigmoid, and the pixels, 0 to 1.
    mean, log_variance : torch.Tensor of shape (n, n_latent)

    Returns
    -------
    torch.Tensor of shape (n,)

    References
    ----------
    D. P. Kingma and M. Welling, "Auto-encoding variational Bayes", ICLR 2014.
    """
    torch = load_torch()
    cross = torch.nn.functional.binary_cross_entropy_with_logits(logits, pixels, reduction="none")
    divergence = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=1)
    return cross.flatten(1).sum(dim=1) + divergence


def train_vae(
    image_ids: Sequence[str],
    rows: NDArray[np.uint8],
    architecture: str,
    *,
    seed: int,
    epochs: int,
    batch: int,
    rate: float,
    held_out: float,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> TrainedVae:
    """Train a network on a part of the pictures, and encode all of them.

    It runs on one thread, with deterministic operations and a generator of its own: a seed gives the same bytes on one
    machine.

    Parameters
    ----------
    image_ids : sequence of str
        One each a row.
    rows : ndarray of shape (n, side, side, channels), uint8
        May be a memory map: a batch is read at a time.
    architecture : {"paper", "conv"}
        See `fastvbow.groups.baselines.vae_networks.build_network`.
    seed : int
    epochs : int
    batch : int
        Images a step.
    rate : float
        Adam's.
    held_out : float
        The share of the images that are not trained on, above 0 and below 1; one of them at least.
    progress : callable (done, total), optional
        Is told after each epoch.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    UsageError
        A parameter cannot be used, there are fewer than 2 images, or the loss is no longer finite.
    """
    torch = load_torch()
    if rows.ndim != 4 or rows.dtype != np.uint8 or rows.shape[1] != rows.shape[2]:
        raise UsageError(f"pictures are uint8 (n, side, side, channels), not {rows.dtype} {rows.shape}")
    if epochs < 1 or batch < 1 or rate <= 0 or not 0 < held_out < 1 or len(rows) < 2:
        raise UsageError(
            f"a VAE takes at least 1 epoch, batches of at least 1, a rate above 0, a share held out between 0 and 1 "
            f"and at least 2 images, not {epochs}, {batch}, {rate}, {held_out} and {len(rows)}"
        )
    order = by_id(image_ids, len(rows))
    with reproducible(torch, seed):
        training = _Training(torch, rows, order, architecture, seed, batch, rate, held_out)
        losses = []
        for epoch in range(epochs):
            losses.append((training.epoch(), training.held_out_loss()))
            if not np.isfinite(losses[-1]).all():
                raise UsageError(f"the VAE's loss is no longer finite in epoch {epoch + 1}: pass a rate below {rate}")
            progress(epoch + 1, epochs)
        means = training.encode()
        error, of_mean = training.errors()
    train_loss, held_out_loss = (np.array(curve, np.float64) for curve in zip(*losses, strict=True))
    return TrainedVae(
        np.asarray(given_order(order, means), np.float32),
        train_loss,
        held_out_loss,
        tuple(image_ids[order[i]] for i in training.held),
        error,
        of_mean,
        int((means.astype(np.float64).var(axis=0) > _ACTIVE).sum()),
    )


class _Training:
    """The network, its optimiser and generators; positions count the images in the order of their ids."""

    def __init__(
        self,
        torch: Any,
        rows: NDArray[np.uint8],
        order: NDArray[np.int64],
        architecture: str,
        seed: int,
        batch: int,
        rate: float,
        held_out: float,
    ) -> None:
        self.torch, self.rows, self.order, self.batch, self.seed = torch, rows, order, batch, seed
        self.generator = torch.Generator().manual_seed(seed)
        shuffled = self._shuffled(len(rows))
        n_held = min(len(rows) - 1, max(1, round(len(rows) * held_out)))
        self.held, self.trained = np.sort(shuffled[:n_held]), np.sort(shuffled[n_held:])
        self.network = build_network(architecture, rows.shape[1], rows.shape[3])
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate)

    def epoch(self) -> float:
        """Go once through the images in random order; their mean loss as they were met."""
        total = 0.0
        for pixels in self._batches(self.trained[self._shuffled(len(self.trained))]):
            losses = self._losses(pixels, self.generator)
            self.optimiser.zero_grad()
            losses.mean().backward()
            self.optimiser.step()
            total += float(losses.detach().double().sum())
        return total / len(self.trained)

    def held_out_loss(self) -> float:
        """The mean loss of the images held out, with the same noise each time: only the network changes."""
        noise = self.torch.Generator().manual_seed(self.seed)
        with self.torch.no_grad():
            return sum(float(self._losses(pixels, noise).double().sum()) for pixels in self._batches(self.held)) / len(
                self.held
            )

    def encode(self) -> NDArray[np.float32]:
        """The mean of every image, (n, n_latent)."""
        with self.torch.no_grad():
            parts = [self._encoded(pixels)[0].numpy() for pixels in self._batches(np.arange(len(self.rows)))]
        return np.concatenate(parts)

    def errors(self) -> tuple[float, float]:
        """Mean squared errors of the pixels held out: decoded from the means, and of the mean image."""
        mean_image = sum(pixels.double().sum(dim=0) for pixels in self._batches(self.trained)) / len(self.trained)
        decoded, constant, n_pixels = 0.0, 0.0, 0
        with self.torch.no_grad():
            for pixels in self._batches(self.held):
                guess = self.network["decoder"](self._encoded(pixels)[0]).sigmoid()
                decoded += float((guess - pixels).double().square().sum())
                constant += float((mean_image - pixels).square().sum())
                n_pixels += pixels.numel()
        return decoded / n_pixels, constant / n_pixels

    def _losses(self, pixels: Any, generator: Any) -> Any:
        mean, log_variance = self._encoded(pixels)
        noise = self.torch.randn(mean.shape, generator=generator)
        logits = self.network["decoder"](mean + noise * (0.5 * log_variance).exp())
        return negative_elbo(logits, pixels, mean, log_variance)

    def _encoded(self, pixels: Any) -> tuple[Any, Any]:
        features = self.network["encoder"](pixels)
        return self.network["mean"](features), self.network["log_variance"](features)

    def _shuffled(self, n: int) -> NDArray[np.int64]:
        return np.asarray(self.torch.randperm(n, generator=self.generator).numpy(), np.int64)

    def _batches(self, positions: NDArray[np.int64]) -> Iterator[Any]:
        """Pixels from 0 to 1, (at most `batch`, channels, side, side)."""
        for start in range(0, len(positions), self.batch):
            pixels = np.asarray(self.rows[self.order[positions[start : start + self.batch]]])
            yield self.torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 255
