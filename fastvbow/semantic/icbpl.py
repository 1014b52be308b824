"""Clusters by evenly distributed centres (ICBPL, arXiv:2408.01920), on embeddings as they are.

What is certain and what is not: the centres, the discrepancy, the layers behind the encoder (512, ReLU, 100, unit
length), Adam's learning rate and that an image goes to the centre of the greatest cosine were read in the authors'
code, which cannot be run (modules and weights are missing) and has no licence; nothing of it is copied. The four losses
are the paper's as others tell them; their weights, the number of neighbours and how often these are found anew were
found nowhere and are reconstructions, as is all of the schedule below. No figure of the paper is claimed.

Where networks start from random weights, as in the reference, some centres stay without images and what is found
depends on chance; so here principal components of the embeddings are clustered by k-means, and the network first learns
to bring each of these clusters to a centre of its own. Both are additions: `principal=None, init="random"` is the
method without them.

This estimator differs from the method in one more thing: the paper trains a ResNet-50 on augmented photographs, as
`fastvbow.semantic.icbpl_images` does; here the embeddings are frozen, and dropout and noise stand for augmentation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastvbow.errors import UsageError
from fastvbow.executors import one_thread_each
from fastvbow.pytorch import load_torch, reproducible
from fastvbow.semantic._centers import CenterEstimator
from fastvbow.semantic._principal import principal_components
from fastvbow.semantic._rows import blocks, normalised
from fastvbow.semantic._stored import StoredArrays
from fastvbow.semantic._training import Progress, Schedule, train
from fastvbow.semantic.latent import LossWeights, latent_layers, latent_loss
from fastvbow.semantic.losses import cosine_loss
from fastvbow.semantic.neighbours import nearest_rows, neighbour_count
from fastvbow.semantic.spherical import spherical_kmeans

__all__ = ["ICBPL"]

LAYERS = ("hidden_weight", "hidden_bias", "weight", "bias")
"""What `ICBPL.layers_` are stored as."""
STARTS = ("kmeans", "random")


class ICBPL(CenterEstimator):
    """A small network draws images to evenly distributed centres; frozen embeddings, no texts.

    Linear(d, 512), ReLU, Linear(512, 100), unit length. Four losses, each a mean over a batch: an image and itself with
    dropout and noise have one direction; an image and one of its neighbours have; an image has that of a centre; and
    the images as a whole are distributed as the centres are (maximum mean discrepancy), which keeps the clusters of one
    size. Neighbours are those of the embeddings at first, and those of the latent space after every `refresh` epochs.

    Parameters
    ----------
    n_clusters : int, default=8
        K, at least 2.
    n_components : int, default=100
        Dimensions of the latent space (the reference's).
    n_hidden : int, default=512
        Units of the hidden layer (the reference's).
    weights : tuple of float, default=(1.0, 1.0, 0.3, 2.0)
        Of the losses of augmentation, neighbours, centres and discrepancy. A reconstruction.
    n_neighbors : int, default=5
        At most as many as a cluster of mean size has images. A reconstruction.
    refresh : int, default=10
        Epochs between two searches for neighbours. A reconstruction.
    principal : int or None, default=25
        Principal components of the embeddings that the network gets and first neighbours are found in; None takes the
        embeddings as they are (the reference). Components are an addition; their number and `whitening` were chosen on
        three sets of photographs (``benchmarks/README.md``).
    whitening : float, default=0.5
        Each component is divided by its standard deviation to this power, from 0 (as they are) to 1 (all of one
        variance).
    init : {"kmeans", "random"}, default="kmeans"
        "kmeans": spherical k-means of what the network gets; then the network learns for `warm_steps` steps to bring
        each cluster to a centre. "random": PyTorch's weights (the reference).
    n_init : int, default=20
        Starts of k-means.
    warm_steps : int, default=300
    dropout : float, default=0.2
        The share of an embedding's numbers that is set to 0. A reconstruction.
    noise : float, default=0.3
        The length of the normal noise that is added, on average, to an embedding of length 1. A reconstruction.
    scale : float, default=10.0
        The length of the rows that the network gets. A reconstruction.
    epochs : int, default=20
        The reference trains for 401, on batches of 20.
    least_steps : int, default=400
        More epochs are run until there were so many steps, after those of `warm_steps`. From random weights they are
        too few.
    batch_size : int, default=128
        The discrepancy needs several images a cluster in a batch: at least 4 K are taken.
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
    layers_ : tuple of ndarray
        Weight (n_hidden, d) and bias of the first layer, weight (n_components, n_hidden) and bias of the second, all
        float32, for rows of length `scale`.
    losses_ : ndarray of shape (n_iter_,), float64
        The mean loss of each epoch.
    n_iter_ : int
        Epochs.
    n_features_in_ : int

    Raises
    ------
    MissingExtraError
        PyTorch is not installed.
    UsageError
        A parameter cannot be used, there are fewer images than clusters, an embedding has no direction, or the loss is
        no longer finite.

    References
    ----------
    "Image clustering algorithm based on self-supervised pretrained models and latent feature distribution
    optimization", arXiv:2408.01920.
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_components: int = 100,
        n_hidden: int = 512,
        weights: tuple[float, float, float, float] = (1.0, 1.0, 0.3, 2.0),
        n_neighbors: int = 5,
        refresh: int = 10,
        principal: int | None = 25,
        whitening: float = 0.5,
        init: str = "kmeans",
        n_init: int = 20,
        warm_steps: int = 300,
        dropout: float = 0.2,
        noise: float = 0.3,
        scale: float = 10.0,
        epochs: int = 20,
        least_steps: int = 400,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        max_seconds: float | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_components = n_components
        self.n_hidden = n_hidden
        self.weights = weights
        self.n_neighbors = n_neighbors
        self.refresh = refresh
        self.principal = principal
        self.whitening = whitening
        self.init = init
        self.n_init = n_init
        self.warm_steps = warm_steps
        self.dropout = dropout
        self.noise = noise
        self.scale = scale
        self.epochs = epochs
        self.least_steps = least_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_seconds = max_seconds
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any = None, *, nouns: Any = None, captions: Any = None, progress: Progress | None = None
    ) -> ICBPL:
        """Train the network, and cluster the images by it.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings of images; they count at unit length.
        y : ignored
        nouns : ignored
            ICBPL has no texts.
        captions : ignored
        progress : callable (done, total), optional
            Is told after each epoch.
        """
        torch = load_torch("ICBPL", "deep")
        weights = self._check()
        images = self._images(X, reset=True)
        rng = check_random_state(self.random_state)
        points = self._points(rng)
        components = None
        if self.principal is not None:
            with one_thread_each():
                components = principal_components(images, self.principal, self.whitening)
        rows = images if components is None else components.of(images)
        start = None
        if self.init == "kmeans":
            start = spherical_kmeans(_directions(rows), self.n_clusters, n_init=self.n_init, random_state=rng).labels
        with reproducible(torch, int(rng.randint(np.iinfo(np.int32).max))):
            network = latent_layers(torch, rows.shape[1], self.n_hidden, self.n_components)
            self.losses_ = self._train(torch, network, rows, start, torch.from_numpy(points), weights, progress)
            first, _, second = network
            tensors = (first.weight, first.bias, second.weight, second.bias)
            layers = [tensor.detach().numpy().copy() for tensor in tensors]
        if components is not None:  # a linear map before a linear layer is one linear layer
            weight = layers[0].astype(np.float64) @ components.matrix.T
            bias = layers[1] - self.scale * weight @ components.mean
            layers[:2] = weight.astype(np.float32), bias.astype(np.float32)
        self.layers_ = tuple(layers)
        self.embedding_ = self._embedded(images)
        self._settle(points, images)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Images in the latent space, at unit length: ndarray of shape (n, n_components), float32."""
        return super().transform(X)

    def _train(
        self,
        torch: Any,
        network: Any,
        images: NDArray[np.float32],
        start: NDArray[np.int32] | None,
        points: Any,
        weights: LossWeights,
        progress: Progress | None,
    ) -> NDArray[np.float64]:
        normalize = torch.nn.functional.normalize
        rows = torch.from_numpy(images * np.float32(self.scale))
        few = neighbour_count(self.n_neighbors, len(images), self.n_clusters)
        near = torch.from_numpy(nearest_rows(_directions(images), few))
        deviation = self.noise * self.scale / images.shape[1] ** 0.5

        def look_again(epoch: int) -> None:
            if epoch and epoch % self.refresh == 0:
                with torch.no_grad():
                    near.copy_(torch.from_numpy(nearest_rows(normalize(network(rows)).numpy(), few)))

        def altered(own: Any) -> Any:
            return torch.nn.functional.dropout(own, self.dropout) + deviation * torch.randn(own.shape)

        if start is not None and self.warm_steps:
            wanted = points[torch.from_numpy(start.astype(np.int64))]
            warm = Schedule(1, self._batch(len(images)), self.learning_rate, least_steps=self.warm_steps)

            def warm_loss(indices: Any) -> Any:
                return cosine_loss(torch, normalize(network(altered(rows[indices]))), wanted[indices])

            train(torch, network.parameters(), warm_loss, len(images), warm)

        def batch_loss(indices: Any) -> Any:
            chosen = near[indices, torch.randint(few, (len(indices),))]
            own = rows[indices]
            changed = altered(own)
            latent = [normalize(network(part)) for part in (own, changed, rows[chosen])]
            return latent_loss(torch, *latent, points=points, weights=weights)

        schedule = Schedule(
            self.epochs,
            self._batch(len(images)),
            self.learning_rate,
            max_seconds=self.max_seconds,
            least_steps=self.least_steps,
        )
        return train(
            torch, network.parameters(), batch_loss, len(images), schedule, before_epoch=look_again, progress=progress
        )

    def _embedded(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        hidden_weight, hidden_bias, weight, bias = (part.astype(np.float64) for part in self.layers_)
        out = np.empty((len(images), len(bias)), np.float32)
        for part in blocks(len(images), max(images.shape[1], len(hidden_bias))):
            hidden = np.maximum(float(self.scale) * images[part] @ hidden_weight.T + hidden_bias, 0)
            out[part] = normalised(hidden @ weight.T + bias)
        return out

    def _state(self) -> dict[str, NDArray[Any]]:
        found = dict(zip(LAYERS, self.layers_, strict=True))
        return {**found, "cluster_centers": self.cluster_centers_, "losses": self.losses_}

    def _restore(self, stored: StoredArrays) -> None:
        latent, hidden = self.n_components, self.n_hidden
        shapes = ((hidden, self.n_features_in_), (hidden,), (latent, hidden), (latent,))
        self.layers_ = tuple(stored.take(name, np.float32, *shape) for name, shape in zip(LAYERS, shapes, strict=True))
        self.cluster_centers_ = stored.take("cluster_centers", np.float32, self.n_clusters, latent)
        self.losses_ = stored.take("losses", np.float64, self.n_iter_)

    def _check(self) -> LossWeights:
        names = ("n_components", "n_hidden", "n_neighbors", "refresh", "epochs", "batch_size", "n_init")
        least = dict.fromkeys(names if self.principal is None else (*names, "principal"), 1)
        self._check_integers(n_clusters=2, least_steps=0, warm_steps=0, **least)
        self._check_positive("scale", "learning_rate")
        self._check_not_negative("noise", "whitening")
        self._check_not_negative("dropout", below=1.0)
        if self.whitening > 1:
            raise UsageError(f"whitening={self.whitening!r} cannot be used; give a number from 0 to 1")
        if self.init not in STARTS:
            raise UsageError(f"init={self.init!r} cannot be used; give one of {', '.join(STARTS)}")
        return LossWeights.of(self.weights)


def _directions(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at unit length; one at the mean, which has none, takes the first component's."""
    out = normalised(rows)
    out[~out.any(axis=1), 0] = 1
    return out
