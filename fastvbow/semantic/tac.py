"""Text-aided clustering (TAC, Li et al. 2024), without training and with.

What is certain and what is not: the steps and constants are those of the authors' code (five nouns a centre, the two
temperatures, 10 and 20 starts, 300 passes). The rule for the number of centres is inferred from the eight numbers that
the code gives (see `fastvbow.semantic.selection.center_count`). The reference implementation has no licence; nothing of
it is copied. No figure of the paper is claimed: those need CLIP's weights and the paper's data.
"""

from __future__ import annotations

import numbers
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastvbow.errors import UsageError
from fastvbow.pytorch import load_torch
from fastvbow.semantic._estimator import ROWS
from fastvbow.semantic._guided import GuidedEstimator
from fastvbow.semantic._rows import normalised, unit_rows, workers
from fastvbow.semantic._stored import StoredArrays
from fastvbow.semantic._training import Progress
from fastvbow.semantic.selection import best_by_posterior
from fastvbow.semantic.tac_trained import TRAINING, ClusterHead, TrainedHeads, train_heads

__all__ = ["TAC", "text_counterparts"]


def text_counterparts(
    images: NDArray[np.float32], texts: NDArray[np.float32], temperature: float = 0.005, *, n_jobs: int | None = None
) -> NDArray[np.float32]:
    """The mean text of every image: t_i = L2(sum_j softmax_j(x_i · u_j / temperature) u_j).

    Parameters
    ----------
    images : ndarray of shape (n, d), float32
        At unit length.
    texts : ndarray of shape (m, d), float32
        At unit length.
    temperature : float, default=0.005
        The lower it is, the fewer texts count.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (n, d), float32
    """
    out = np.empty(images.shape, np.float32)

    def one(part: slice) -> None:
        weights = images[part] @ texts.T
        weights -= weights.max(axis=1, keepdims=True)
        weights /= np.float32(temperature)
        np.exp(weights, out=weights)
        out[part] = normalised(weights @ texts)  # at unit length the sum of the weights does not matter

    with workers(n_jobs) as team:
        deque(team.each_block(one, len(images), max(images.shape[1], len(texts))), maxlen=0)
    return out


class TAC(GuidedEstimator):
    """Text-aided clustering: images beside the nouns that fit them.

    1. Spherical k-means cuts the images into many semantic centres (`center_count`).
    2. Each noun goes to the centre that it is likeliest of, and the five likeliest of every centre are kept.
    3. The text counterpart of an image is the mean of these nouns, weighted by softmax(x · u / .005).
    4. Spherical k-means clusters images and counterparts side by side; or (`trained`) two heads, of images and of
       counterparts, teach one another, and the image head tells the clusters (`fastvbow.semantic.tac_trained`).

    Parameters
    ----------
    n_clusters : int, default=8
        K.
    trained : bool, default=False
        Whether heads are trained, which needs PyTorch, or k-means is run.
    training : mapping or None, default=None
        Arguments of `fastvbow.semantic.tac_trained.train_heads` by their names: {"epochs": 100, "batch_size": 8192}.
    n_centers : int or None, default=None
        Semantic centres; None follows `center_count`.
    nouns_per_center : int, default=5
    noun_temperature : float, default=1.0
        Of the softmax over centres.
    image_temperature : float, default=0.005
        Of the softmax over nouns.
    center_n_init : int, default=10
        Starts of the k-means that finds the semantic centres.
    n_init : int, default=20
        Starts of the k-means that finds the clusters.
    max_iter : int, default=300
        Passes of either at most.
    tol : float, default=1e-4
        See `fastvbow.semantic.spherical.spherical_kmeans`.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes, for any `n_jobs`; trained heads on one machine.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        The cluster of every image.
    embedding_ : ndarray of shape (n, 2 d), float32
        Image and counterpart side by side, at unit length: what the clusters are found in.
    cluster_centers_ : ndarray of shape (n_clusters, 2 d), float32
        Without training.
    heads_ : TrainedHeads
        With training.
    concentration_ : float
        How sharp `predict_proba` is; see `fastvbow.semantic.concentration`.
    probabilities_ : ndarray of shape (n, n_clusters), float32
        Of the images of `fit`, rows sum to 1.
    semantic_centers_ : ndarray of shape (n_centers, d), float32
    noun_indices_ : ndarray of shape (m,), int64
        The rows of `nouns` that are used, ascending.
    nouns_ : ndarray of shape (m, d), float32
        These nouns at unit length.
    n_iter_ : int
        Passes of the last k-means, or epochs.
    n_features_in_ : int

    Raises
    ------
    MissingExtraError
        Heads are to be trained, and PyTorch is not installed.
    UsageError
        A parameter cannot be used, there are fewer images than clusters, no nouns were given, widths differ, or an
        embedding has no direction.

    Notes
    -----
    The images are read in blocks, and so are the nouns; beside `embedding_` the memory taken does not grow with either.
    Rows that are at unit length in float32 already are not copied.

    References
    ----------
    Y. Li, P. Hu, D. Peng, J. Lv, J. Fan and X. Peng, "Image clustering with external guidance", ICML 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvbow.semantic import TAC
    >>> X = np.array([[1, 0, 0.1], [1, 0.1, 0], [0, 1, 0.1], [0.1, 1, 0]])
    >>> model = TAC(n_clusters=2, random_state=0).fit(X, nouns=np.eye(3))
    >>> bool(model.labels_[0] == model.labels_[1] != model.labels_[2])
    True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        trained: bool = False,
        training: Mapping[str, Any] | None = None,
        n_centers: int | None = None,
        nouns_per_center: int = 5,
        noun_temperature: float = 1.0,
        image_temperature: float = 0.005,
        center_n_init: int = 10,
        n_init: int = 20,
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.trained = trained
        self.training = training
        self.n_centers = n_centers
        self.nouns_per_center = nouns_per_center
        self.noun_temperature = noun_temperature
        self.image_temperature = image_temperature
        self.center_n_init = center_n_init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        nouns: Any = None,
        captions: Any = None,
        train: Any = None,
        progress: Progress | None = None,
    ) -> TAC:
        """Cluster images.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings of images; they count at unit length.
        y : ignored
        nouns : array-like of shape (M, d)
            Embeddings of nouns in the same space.
        captions : ignored
            TAC has nouns alone.
        train : array-like of shape (N, d), optional
            Images that the nouns are chosen for, and the heads trained on, where they are others than those to cluster:
            the paper does both on the training split and clusters the test split.
        progress : callable (done, total), optional
            Is told after each epoch of training.
        """
        self._check()
        if self.trained:
            load_torch("TAC's training", "deep")  # before k-means is run in vain
        images = self._images(X, reset=True)
        bank = self._texts(nouns, "nouns")
        seen = images if train is None else unit_rows(train, "train", self.n_features_in_)
        rng = check_random_state(self.random_state)
        self._find_centers(seen, rng)
        self.noun_indices_ = best_by_posterior(
            bank,
            self.semantic_centers_,
            per_center=self.nouns_per_center,
            temperature=self.noun_temperature,
            n_jobs=self.n_jobs,
        )
        self.nouns_ = np.ascontiguousarray(bank[self.noun_indices_])
        self.embedding_ = self._embedded(images)
        if self.trained:
            self.heads_ = train_heads(
                seen,
                text_counterparts(seen, self.nouns_, self.image_temperature, n_jobs=self.n_jobs),
                self.n_clusters,
                seed=int(rng.randint(np.iinfo(np.int32).max)),
                progress=progress,
                **(self.training or {}),
            )
            self._logits = self.heads_.image.logits(images)
            self.labels_ = self._logits.argmax(axis=1).astype(np.int32)
            self.n_iter_ = len(self.heads_.losses)
            self._settle_probabilities(images)
            return self
        self._find_clusters(images, rng)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Image and counterpart of images side by side, at unit length: ndarray of shape (n, 2 d), float32."""
        return super().transform(X)

    def _embedded(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        texts = text_counterparts(images, self.nouns_, self.image_temperature, n_jobs=self.n_jobs)
        out = np.empty((len(images), 2 * images.shape[1]), np.float32)
        np.multiply(images, np.float32(0.5**0.5), out=out[:, : images.shape[1]])
        np.multiply(texts, np.float32(0.5**0.5), out=out[:, images.shape[1] :])
        return out

    def _image_scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.heads_.image.logits(images) if self.trained else super()._image_scores(images)

    def _fitted_scores(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        return self._logits[which] if self.trained else super()._fitted_scores(which)

    def _rows_at_once(self) -> int:
        return ROWS if self.trained else super()._rows_at_once()

    def _state(self) -> dict[str, NDArray[Any]]:
        found = super()._state()
        if not self.trained:
            return {**found, "cluster_centers": self.cluster_centers_}
        for name, head in (("image", self.heads_.image), ("text", self.heads_.text)):
            found |= {f"{name}.{part}": array for part, array in vars(head).items()}
        return {**found, "losses": self.heads_.losses}

    def _restore(self, stored: StoredArrays) -> None:
        super()._restore(stored)
        K, width = self.n_clusters, self.n_features_in_
        if not self.trained:
            self.cluster_centers_ = stored.take("cluster_centers", np.float32, K, 2 * width)
            return
        shapes = {"hidden_weight": (width, width), "hidden_bias": (width,), "weight": (K, width), "bias": (K,)}
        image, text = (
            ClusterHead(**{part: stored.take(f"{name}.{part}", np.float32, *shape) for part, shape in shapes.items()})
            for name in ("image", "text")
        )
        self.heads_ = TrainedHeads(image, text, stored.take("losses", np.float64, self.n_iter_))

    def _check(self) -> None:
        self._check_counts("nouns_per_center")
        self._check_positive("noun_temperature", "image_temperature")
        unknown = sorted(set(self.training or {}) - TRAINING)
        if unknown:
            raise UsageError(f"training has {', '.join(unknown)}; give some of {', '.join(sorted(TRAINING))}")
        for name, value in (self.training or {}).items():
            if value is not None and not isinstance(value, numbers.Real):
                raise UsageError(f"{name}={value!r} cannot be used; give a number")
