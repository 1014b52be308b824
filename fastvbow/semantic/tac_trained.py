"""The trained part of TAC (Li et al. 2024): two heads, of images and of texts, teach one another.

Certain (read in the authors' code, of which nothing is copied: it has no licence): the heads, the three parts of the
loss and their weights, neighbours, temperatures, Adam's constants, batches and epochs, that the last epoch counts and
that the image head alone predicts. Added here: that training goes on for `least_steps` steps where there are too few
images for the reference's epochs to be many. No figure of the paper is claimed: those need CLIP's weights and the
paper's data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from fastvbow.errors import UsageError
from fastvbow.pytorch import load_torch, reproducible
from fastvbow.semantic._rows import blocks
from fastvbow.semantic._training import Progress, Schedule, train
from fastvbow.semantic.losses import agreement_loss, column_contrast, mean_entropy
from fastvbow.semantic.neighbours import nearest_rows, neighbour_count

__all__ = ["TRAINING", "ClusterHead", "TrainedHeads", "distillation_loss", "train_heads"]

TRAINING = frozenset(
    {
        "batch_size",
        "entropy_weight",
        "epochs",
        "learning_rate",
        "least_steps",
        "max_seconds",
        "n_neighbors",
        "temperature",
    }
)
"""What of `train_heads` a caller of TAC may choose."""
MANY_CLUSTERS = 100
"""The reference's temperature is .5, and 5 for data sets of 101 and more classes; 47 is the largest before."""


@dataclass(frozen=True)
class ClusterHead:
    """A trained head: linear, ReLU, linear, softmax. The batch normalisation before the ReLU is part of the first.

    Attributes
    ----------
    hidden_weight : ndarray of shape (d, d), float32
    hidden_bias : ndarray of shape (d,), float32
    weight : ndarray of shape (K, d), float32
    bias : ndarray of shape (K,), float32
    """

    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def probabilities(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a row belongs to: ndarray of shape (n, K), float32, rows sum to 1.

        Parameters
        ----------
        rows : ndarray of shape (n, d), float32
            At unit length.
        """
        return np.asarray(softmax(self.logits(rows).astype(np.float64), axis=1), np.float32)

    def logits(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the softmax is of: ndarray of shape (n, K), float32.

        Parameters
        ----------
        rows : ndarray of shape (n, d), float32
            At unit length.
        """
        out = np.empty((len(rows), len(self.bias)), np.float32)
        hidden_weight, weight = self.hidden_weight.T.astype(np.float64), self.weight.T.astype(np.float64)
        for part in blocks(*rows.shape):
            hidden = np.maximum(rows[part] @ hidden_weight + self.hidden_bias, 0)
            out[part] = hidden @ weight + self.bias
        return out


@dataclass(frozen=True)
class TrainedHeads:
    """What training gives.

    Attributes
    ----------
    image, text : ClusterHead
        The clusters of both are the same; the image head predicts.
    losses : ndarray of shape (n_epochs,), float64
    """

    image: ClusterHead
    text: ClusterHead
    losses: NDArray[np.float64]


def distillation_loss(
    torch: Any, image: Any, text: Any, near_image: Any, near_text: Any, temperature: float, entropy_weight: float
) -> Any:
    """The loss of a batch: D(g(x), f(t')) + D(f(t), g(x')) - mean log <f(t), g(x)> - weight [H(mean f) + H(mean g)].

    D is `fastvbow.semantic.losses.column_contrast`.

    Parameters
    ----------
    torch : module
    image, text : torch.Tensor of shape (n, K)
        g(x) and f(t), the assignments of images and of their text counterparts.
    near_image, near_text : torch.Tensor of shape (n, K)
        g(x') and f(t'), those of a neighbour of each image and of each counterpart.
    temperature : float
        Of D.
    entropy_weight : float
    """
    distilled = column_contrast(torch, image, near_text, temperature) + column_contrast(
        torch, text, near_image, temperature
    )
    balance = mean_entropy(torch, text) + mean_entropy(torch, image)
    return distilled + agreement_loss(torch, text, image) - entropy_weight * balance


def train_heads(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    n_clusters: int,
    *,
    seed: int,
    n_neighbors: int = 50,
    temperature: float | None = None,
    entropy_weight: float = 5.0,
    epochs: int = 20,
    least_steps: int = 500,
    batch_size: int = 512,
    learning_rate: float = 1e-3,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> TrainedHeads:
    """Train the two heads, on one thread; a seed gives the same bytes on one machine.

    A head is Linear(d, d), batch normalisation, ReLU, Linear(d, K), softmax, with normal weights of standard deviation
    .02. In every step each image and each counterpart has one random neighbour out of
    `n_neighbors` in its own modality, itself excluded.

    Parameters
    ----------
    images : ndarray of shape (n, d), float32
        At unit length.
    texts : ndarray of shape (n, d), float32
        The text counterpart of every image (`fastvbow.semantic.tac.text_counterparts`), at unit length.
    n_clusters : int
        K, at least 2.
    seed : int
    n_neighbors : int, default=50
        At most as many as a cluster of mean size has images.
    temperature : float, optional
        Of the contrast of clusters; by default the reference's: .5, or 5 for more than 100 clusters.
    entropy_weight : float, default=5.0
    epochs : int, default=20
    least_steps : int, default=500
        More epochs are run until there were so many steps (the reference's 20 epochs of CIFAR-10 are 1,940; on 1,000 to
        1,600 photographs nothing changed any more after 150 to 300, and 20 epochs were too few).
    batch_size : int, default=512
        At least 2. The reference has 8192, and 100 epochs, for more than 100 clusters.
    learning_rate : float, default=1e-3
        Of Adam with betas .9 and .99.
    max_seconds : float, optional
        Ends training after the epoch in which it is over.
    progress : callable (done, total), optional
        Is told after each epoch.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    UsageError
        There are fewer than two images, clusters or rows a batch, as many counterparts as images are not there, or the
        loss is no longer finite.

    References
    ----------
    Y. Li, P. Hu, D. Peng, J. Lv, J. Fan and X. Peng, "Image clustering with external guidance", ICML 2024.
    """
    torch = load_torch("TAC's training", "deep")
    if images.shape != texts.shape or min(n_clusters, len(images), batch_size) < 2 or epochs < 1:
        raise UsageError(
            f"TAC's heads are trained on at least 2 images with as many counterparts, in at least 2 clusters, batches "
            f"of at least 2 and 1 epoch, not on {images.shape} and {texts.shape}, in {n_clusters}, {batch_size} and "
            f"{epochs}"
        )
    if temperature is None:
        temperature = 5.0 if n_clusters > MANY_CLUSTERS else 0.5
    few = neighbour_count(n_neighbors, len(images), n_clusters)
    betas = 0.9, 0.99
    schedule = Schedule(epochs, batch_size, learning_rate, betas, max_seconds=max_seconds, least_steps=least_steps)
    rows = [torch.from_numpy(np.array(part, np.float32)) for part in (images, texts)]
    near = [torch.from_numpy(nearest_rows(part, few)) for part in (images, texts)]
    with reproducible(torch, seed):
        heads = torch.nn.ModuleList(_head(torch, images.shape[1], n_clusters) for _ in rows)

        def batch_loss(indices: Any) -> Any:
            image, text = (head(part[indices]) for head, part in zip(heads, rows, strict=True))
            chosen = [part[indices, torch.randint(part.shape[1], (len(indices),))] for part in near]
            near_image, near_text = (head(part[i]) for head, part, i in zip(heads, rows, chosen, strict=True))
            return distillation_loss(torch, image, text, near_image, near_text, temperature, entropy_weight)

        losses = train(torch, heads.parameters(), batch_loss, len(images), schedule, progress=progress)
        image, text = (_folded(head) for head in heads)
    return TrainedHeads(image, text, losses)


def _head(torch: Any, width: int, n_clusters: int) -> Any:
    nn = torch.nn
    layers = [nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, n_clusters), nn.Softmax(1)]
    for linear in (layers[0], layers[3]):
        nn.init.trunc_normal_(linear.weight, std=0.02)  # cut at -2 and 2, as in the reference
    return nn.Sequential(*layers)


def _folded(head: Any) -> ClusterHead:
    """The head as it is after training: batch normalisation has become a scale and a shift of the first layer."""
    first, norm, _, last, _ = head
    arrays = [
        tensor.detach().double().numpy()
        for tensor in (first.weight, first.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var)
    ]
    weight, bias, gain, shift, mean, variance = arrays
    scale = gain / np.sqrt(variance + norm.eps)
    return ClusterHead(
        (weight * scale[:, None]).astype(np.float32),
        ((bias - mean) * scale + shift).astype(np.float32),
        last.weight.detach().numpy().copy(),
        last.bias.detach().numpy().copy(),
    )
