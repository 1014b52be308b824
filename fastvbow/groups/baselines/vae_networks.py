"""The two variational autoencoders: the reference paper's, and a small convolutional one.

Both are a ``ModuleDict``: ``encoder`` makes features of pixels (n, channels, side, side), ``mean`` and ``log_variance``
make of these the Gaussian of each image, ``decoder`` makes logits of the pixels of a sample. PyTorch is imported when a
network is built.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from fastvbow import pytorch
from fastvbow.errors import UsageError

__all__ = ["ARCHITECTURES", "STEP", "build_network", "load_torch"]

ARCHITECTURES = ("paper", "conv")
STEP = 16
"""The convolutional network halves the picture four times: its side is a multiple of this."""

_HIDDEN, _LATENT = 128, 250  # the paper's
_WIDTHS, _CODE = (32, 64, 128, 128), 64


def load_torch() -> Any:
    """PyTorch.

    Raises
    ------
    MissingExtraError
        It is not installed.
    """
    return pytorch.load_torch("the variational autoencoder", "vae")


def build_network(architecture: str, side: int, channels: int) -> Any:
    """Build a network; its weights are drawn from PyTorch's global generator.

    Parameters
    ----------
    architecture : {"paper", "conv"}
        "paper": pixels -> 128 ReLU -> mean and log variance of 250 -> 128 ReLU -> pixels (50,176 of them at
        its side of 224, in grey). "conv": four convolutions with stride 2 (32, 64, 128 and 128 channels) to mean and
        log variance of 64, and the same way back.
    side : int
        Of the square picture, in pixels.
    channels : int
        1 (grey) or 3 (RGB).

    Returns
    -------
    torch.nn.ModuleDict

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    UsageError
        There is no such architecture, or the side does not fit it.
    """
    torch = load_torch()
    if architecture not in ARCHITECTURES:
        raise UsageError(f"a VAE's architecture is one of {', '.join(ARCHITECTURES)}, not {architecture!r}")
    if side < 1 or (architecture == "conv" and side % STEP):
        raise UsageError(f"the side of the {architecture} VAE's pictures is a multiple of {STEP}, not {side}")
    build = _paper if architecture == "paper" else _convolutional
    return torch.nn.ModuleDict(build(torch.nn, side, channels))


def _paper(nn: Any, side: int, channels: int) -> dict[str, Any]:
    pixels = side * side * channels
    return {
        "encoder": nn.Sequential(nn.Flatten(), nn.Linear(pixels, _HIDDEN), nn.ReLU()),
        "mean": nn.Linear(_HIDDEN, _LATENT),
        "log_variance": nn.Linear(_HIDDEN, _LATENT),
        "decoder": nn.Sequential(
            nn.Linear(_LATENT, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, pixels),
            nn.Unflatten(1, (channels, side, side)),
        ),
    }


def _convolutional(nn: Any, side: int, channels: int) -> dict[str, Any]:
    small, last = side // STEP, _WIDTHS[-1]
    down: list[Any] = []
    up: list[Any] = []
    widths = (channels, *_WIDTHS)
    for narrow, wide in pairwise(widths):
        down += [nn.Conv2d(narrow, wide, 4, stride=2, padding=1), nn.ReLU()]
        up = [nn.ConvTranspose2d(wide, narrow, 4, stride=2, padding=1), nn.ReLU(), *up]
    up.pop()  # what comes out of the last layer are logits
    features = last * small * small
    return {
        "encoder": nn.Sequential(*down, nn.Flatten()),
        "mean": nn.Linear(features, _CODE),
        "log_variance": nn.Linear(features, _CODE),
        "decoder": nn.Sequential(nn.Linear(_CODE, features), nn.ReLU(), nn.Unflatten(1, (last, small, small)), *up),
    }
