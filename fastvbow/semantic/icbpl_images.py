"""Clusters by evenly distributed centres (ICBPL, arXiv:2408.01920), with an encoder that is trained on photographs.

What is certain and what is not, `fastvbow.semantic.icbpl` tells. Certain besides: the reference trains a ResNet-50 from
self-supervised weights of which layer3, layer4, avgpool and fc are meant to change, and augments as SimCLR does
(crops of .2 to 1 of the area, jitter of .4, .4, .4 and .1 with probability .8, grey with .2). Its optimiser never gets
the last layer, here all layers behind the encoder are trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastvbow.errors import UsageError
from fastvbow.pytorch import load_torch, reproducible
from fastvbow.semantic._centers import CenterEstimator
from fastvbow.semantic._rows import unit_rows
from fastvbow.semantic._training import Progress, Schedule, train
from fastvbow.semantic.latent import LossWeights, latent_layers, latent_loss
from fastvbow.semantic.neighbours import nearest_rows, neighbour_count

__all__ = ["ImageICBPL"]


class ImageICBPL(CenterEstimator):
    """ICBPL with an encoder of your own, on the CPU; the encoder that is given stays as it is, a copy is trained.

    Photographs are asked for by their numbers, because neighbours come from anywhere: `images` has a length, and
    ``images[numbers]`` gives a batch. An array of shape (n, channels, height, width) does, a memory map too; so does an
    object that reads and decodes files when it is asked.

    Parameters
    ----------
    encoder : torch.nn.Module
        Makes features of shape (batch, ...) of a batch of images; what it makes is flattened.
    n_clusters : int, default=8
        K, at least 2.
    augment : callable (torch.Tensor) -> torch.Tensor
        Changes a batch at random, by PyTorch's global generator, as torchvision's transforms do. Must be given.
    unfrozen : sequence of str or None, default=None
        Names of the encoder's submodules that are trained: ("layer3", "layer4"). None trains all, () none. Batch
        normalisation in what is frozen keeps its statistics.
    n_components : int, default=100
        Dimensions of the latent space (the reference's).
    n_hidden : int, default=512
        Units of the hidden layer behind the encoder (the reference's).
    weights : tuple of float, default=(1.0, 1.0, 1.0, 2.0)
        Of the losses of augmentation, neighbours, centres and discrepancy. A reconstruction.
    n_neighbors : int, default=5
        At most as many as a cluster of mean size has images. A reconstruction.
    refresh : int, default=10
        Epochs between two searches for neighbours, of the encoder's features at first, of the latent space then. A
        reconstruction.
    epochs : int, default=401
        The reference's.
    batch_size : int, default=64
        The reference has 20; at least 4 K are taken, for the discrepancy needs several images a cluster.
    learning_rate : float, default=1e-3
        Of Adam (the reference's).
    max_seconds : float or None, default=None
        Ends training after the epoch in which it is over.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes on one machine.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        The nearest centre of every image.
    embedding_ : ndarray of shape (n, n_components), float32
        The images in the latent space, at unit length.
    concentration_ : float
        How sharp `predict_proba` is; see `fastvbow.semantic.concentration`.
    probabilities_ : ndarray of shape (n, n_clusters), float32
        Of the images of `fit`, rows sum to 1.
    cluster_centers_ : ndarray of shape (n_clusters, n_components), float32
        The PEDCC points.
    network_ : torch.nn.Sequential
        The trained copy of the encoder, a flattening and the layers behind it.
    losses_ : ndarray of shape (n_iter_,), float64
        The mean loss of each epoch.
    n_iter_ : int
        Epochs.

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    UsageError
        A parameter cannot be used, a name is not one of the encoder's, there are fewer images than clusters, an image's
        features have no direction, or the loss is no longer finite.

    References
    ----------
    "Image clustering algorithm based on self-supervised pretrained models and latent feature distribution
    optimization", arXiv:2408.01920.
    """

    def __init__(
        self,
        encoder: Any,
        n_clusters: int = 8,
        *,
        augment: Callable[[Any], Any] | None = None,
        unfrozen: Sequence[str] | None = None,
        n_components: int = 100,
        n_hidden: int = 512,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 2.0),
        n_neighbors: int = 5,
        refresh: int = 10,
        epochs: int = 401,
        batch_size: int = 64,
        learning_rate: float = 1e-3,
        max_seconds: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.encoder = encoder
        self.n_clusters = n_clusters
        self.augment = augment
        self.unfrozen = unfrozen
        self.n_components = n_components
        self.n_hidden = n_hidden
        self.weights = weights
        self.n_neighbors = n_neighbors
        self.refresh = refresh
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_seconds = max_seconds
        self.random_state = random_state

    def fit(self, images: Any, y: Any = None, *, progress: Progress | None = None) -> ImageICBPL:
        """Train the encoder, and cluster the images by it.

        Parameters
        ----------
        images : sequence
            ``len(images)`` of them; ``images[numbers]`` for an int64 array of shape (b,) is an array or a tensor of
            shape (b, channels, height, width), as the encoder wants it.
        y : ignored
        progress : callable (done, total), optional
            Is told after each epoch.
        """
        torch = load_torch("ICBPL", "deep")
        weights, augment = self._check_with(len(images))
        rng = check_random_state(self.random_state)
        points = self._points(rng)
        with reproducible(torch, int(rng.randint(np.iinfo(np.int32).max))):
            encoder = deepcopy(self.encoder)
            trained = _thawed(encoder, self.unfrozen)
            features = _in_batches(torch, torch.nn.Sequential(encoder, torch.nn.Flatten()), images, self.batch_size)
            vectors = unit_rows(features, "the encoder's features of the images")
            near = self._neighbours(torch, vectors)
            layers = latent_layers(torch, features.shape[1], self.n_hidden, self.n_components)
            network = torch.nn.Sequential(encoder, torch.nn.Flatten(), layers)
            centers = torch.from_numpy(points)

            def look_again(epoch: int) -> None:
                if epoch and epoch % self.refresh == 0:
                    near.copy_(self._neighbours(torch, self._latent(torch, network, images)))
                encoder.eval()
                for module in trained:
                    module.train()

            def batch_loss(indices: Any) -> Any:
                chosen = near[indices, torch.randint(near.shape[1], (len(indices),))]
                own, others = (_batch(torch, images, which.numpy()) for which in (indices, chosen))
                latent = [torch.nn.functional.normalize(network(part)) for part in (own, augment(own), others)]
                return latent_loss(torch, *latent, points=centers, weights=weights)

            batch = self._batch(len(images))
            schedule = Schedule(self.epochs, batch, self.learning_rate, max_seconds=self.max_seconds)
            learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
            self.losses_ = train(
                torch, learnt, batch_loss, len(images), schedule, before_epoch=look_again, progress=progress
            )
            self.network_ = network.eval().requires_grad_(False)
            self.embedding_ = self._latent(torch, network, images)
        self._settle(points, vectors)
        return self

    def transform(self, images: Any) -> NDArray[np.float32]:
        """Images in the latent space, at unit length: ndarray of shape (n, n_components), float32; see `fit`."""
        check_is_fitted(self)
        torch = load_torch("ICBPL", "deep")
        with reproducible(torch, 0):
            return self._latent(torch, self.network_, images)

    def _scores_of(self, X: Any) -> Iterator[NDArray[np.float32]]:
        yield self._scores(self.transform(X))  # which goes through the images in batches

    def _latent(self, torch: Any, network: Any, images: Any) -> NDArray[np.float32]:
        return unit_rows(_in_batches(torch, network, images, self.batch_size), "the latent space")

    def _neighbours(self, torch: Any, rows: NDArray[np.float32]) -> Any:
        return torch.from_numpy(nearest_rows(rows, neighbour_count(self.n_neighbors, len(rows), self.n_clusters)))

    def _check_with(self, n_images: int) -> tuple[LossWeights, Callable[[Any], Any]]:
        names = "n_components", "n_hidden", "n_neighbors", "refresh", "epochs"
        self._check_integers(n_clusters=2, **dict.fromkeys(names, 1), batch_size=2)
        self._check_positive("learning_rate")
        if not callable(self.augment):
            raise UsageError("augment is missing: pass a function that changes a batch of images at random")
        self._check_enough(n_images)
        return LossWeights.of(self.weights), self.augment


def _thawed(encoder: Any, names: Sequence[str] | None) -> list[Any]:
    """The submodules that are trained; the parameters of all others no longer change."""
    if names is None:
        encoder.requires_grad_(True)
        return [encoder]
    known = dict(encoder.named_modules())
    unknown = [name for name in names if not name or name not in known]
    if unknown:
        raise UsageError(
            f"the encoder has no {', '.join(map(repr, unknown))}; its parts are "
            f"{', '.join(name for name in known if name and '.' not in name) or 'without names'}"
        )
    encoder.requires_grad_(False)
    return [known[name].requires_grad_(True) for name in names]


def _batch(torch: Any, images: Any, numbers: NDArray[np.int64]) -> Any:
    found = images[numbers]
    return (found if isinstance(found, torch.Tensor) else torch.from_numpy(np.asarray(found))).float()


def _in_batches(torch: Any, network: Any, images: Any, size: int) -> NDArray[np.float32]:
    """What a network makes of all images, in its state of evaluation."""
    with _evaluating(torch, network):
        numbers = np.arange(len(images))
        parts = [network(_batch(torch, images, numbers[i : i + size])).numpy() for i in range(0, len(images), size)]
    return np.concatenate(parts)


@contextmanager
def _evaluating(torch: Any, network: Any) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    try:
        with torch.no_grad():
            network.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
