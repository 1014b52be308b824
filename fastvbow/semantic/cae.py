"""Hierarchical semantic alignment (CAE, arXiv 2512.00904): a reconstruction.

What is certain: images are aligned to nouns and to captions by entropic optimal transport (Sinkhorn-Knopp), the
aligned texts and the image are weighted by a softmax of their cosines with a common prototype at gamma = .01, K-Means
follows, and nothing is trained; dropping the columns' constraint turns the plan into a softmax (the paper's theorem
1). This is known from the abstract and from a summary of the paper, for which there is no code. What is reconstructed
here, each with a parameter: how many nouns and captions a centre gives (5), the number of centres (TAC's rule), epsilon
(.05), the passes, unit length of the aligned texts and the prototype, and whether the weighted parts are added up or
stand side by side. No figure of the paper is claimed.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from fastvbow.errors import UsageError
from fastvbow.semantic._guided import GuidedEstimator
from fastvbow.semantic._rows import normalised, unit_rows, workers
from fastvbow.semantic._stored import StoredArrays
from fastvbow.semantic.selection import best_by_similarity
from fastvbow.semantic.sinkhorn import TransportPlan, barycentres, sinkhorn

__all__ = ["CAE", "FUSIONS", "WEIGHTS", "fuse"]

FUSIONS = ("sum", "concat")
WEIGHTS = ("adaptive", "equal")


def fuse(
    parts: list[NDArray[np.float32]],
    *,
    gamma: float = 0.01,
    fusion: str = "sum",
    weights: str = "adaptive",
    n_jobs: int | None = None,
) -> NDArray[np.float32]:
    """Put together what modalities say of the same images.

    The prototype is x^p = L2(mean_m x^m); the weights of an image's parts are w_m = softmax_m(cos(x^m, x^p) / gamma),
    so that a part that disagrees with the others counts little.

    Parameters
    ----------
    parts : list of ndarray of shape (n, d), float32
        At unit length: image, its nouns, its captions.
    gamma : float, default=0.01
    fusion : {"sum", "concat"}, default="sum"
        sum_m w_m x^m, or the w_m x^m side by side.
    weights : {"adaptive", "equal"}, default="adaptive"
        "equal" gives all parts the same. Adaptive weights switch from image to image, which moves clusters apart where
        parts stand side by side: on synthetic data with a modality gap "concat" had an accuracy of .4 to .7 with them,
        and .997 with equal ones.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Returns
    -------
    ndarray of shape (n, d) or (n, len(parts) * d), float32
        At unit length.
    """
    if fusion not in FUSIONS or weights not in WEIGHTS:
        raise UsageError(
            f"fusion is one of {', '.join(FUSIONS)} and weights one of {', '.join(WEIGHTS)}, not {fusion!r} and "
            f"{weights!r}"
        )
    n, d = parts[0].shape
    out = np.empty((n, d if fusion == "sum" else d * len(parts)), np.float32)

    def one(part: slice) -> None:
        together = np.stack([rows[part] for rows in parts], axis=1)  # (rows, modalities, d)
        w = np.full(together.shape[:2], np.float32(1 / len(parts)))
        if weights == "adaptive":
            prototype = normalised(together.mean(axis=1))
            logits = np.einsum("imd,id->im", together, prototype) / np.float32(gamma)
            w = np.exp(logits - logits.max(axis=1, keepdims=True))
            w /= w.sum(axis=1, keepdims=True)
        together *= w[:, :, None]
        out[part] = normalised(together.sum(axis=1) if fusion == "sum" else together.reshape(len(together), -1))

    with workers(n_jobs) as team:
        deque(team.each_block(one, n, 2 * d * len(parts)), maxlen=0)
    return out


class CAE(GuidedEstimator):
    """Clustering by hierarchical semantic alignment, without training: a reconstruction (see the module).

    1. Spherical k-means cuts the images into many semantic centres (`center_count`).
    2. The nouns and the captions nearest to each centre are kept.
    3. Images are transported to the nouns, and to the captions: x^u = L2(sum_j T_ij s_ij u_j), and x^v alike.
    4. Image, nouns and captions are fused by adaptive weights (`fuse`), and clustered by spherical k-means.

    Parameters
    ----------
    n_clusters : int, default=8
        K.
    n_centers : int or None, default=None
        Semantic centres; None follows `fastvbow.semantic.selection.center_count`.
    nouns_per_center, captions_per_center : int, default=5
    epsilon : float, default=0.05
        Of the transport.
    columns : bool, default=True
        Whether every text gets the same mass; False makes the plan a softmax.
    transport_max_iter : int, default=2000
    transport_tol : float, default=1e-6
        See `fastvbow.semantic.sinkhorn.sinkhorn`.
    transport_sample : int or None, default=None
        Find the texts' potentials on so many random images, for very many images; the columns of the plan are then off
        by more than `transport_tol` (see the same, and `noun_plan_.error`). None takes all.
    gamma : float, default=0.01
        Of the adaptive weights.
    fusion : {"sum", "concat"}, default="sum"
    weights : {"adaptive", "equal"}, default="adaptive"
    center_n_init : int, default=10
        Starts of the k-means that finds the semantic centres.
    n_init : int, default=20
        Starts of the k-means that finds the clusters.
    max_iter : int, default=300
        Passes of either at most.
    tol : float, default=1e-4
        See `fastvbow.semantic.spherical.spherical_kmeans`.
    random_state : int, RandomState instance or None, default=None
        The same int gives the same bytes, for any `n_jobs`.
    n_jobs : int, default=None
        Threads; None is 1, -1 all processors.

    Attributes
    ----------
    labels_ : ndarray of shape (n,), int32
        The cluster of every image.
    embedding_ : ndarray of shape (n, d), or (n, 3 d) for "concat", float32
        What the clusters are found in, at unit length.
    cluster_centers_ : ndarray of shape (n_clusters, width of embedding_), float32
    concentration_ : float
        How sharp `predict_proba` is; see `fastvbow.semantic.concentration`.
    probabilities_ : ndarray of shape (n, n_clusters), float32
        Of the images of `fit`, rows sum to 1.
    semantic_centers_ : ndarray of shape (n_centers, d), float32
    noun_indices_, caption_indices_ : ndarray, int64
        The rows of `nouns` and `captions` that are used, ascending.
    nouns_, captions_ : ndarray of shape (m, d), float32
        These texts at unit length.
    noun_plan_, caption_plan_ : TransportPlan
        With the errors of their marginals.
    n_iter_ : int
        Passes of the last k-means.
    n_features_in_ : int

    Raises
    ------
    UsageError
        A parameter cannot be used, there are fewer images than clusters, nouns or captions are lacking, widths differ,
        or an embedding has no direction.

    Warns
    -----
    ConvergenceWarning
        A transport has not converged.

    References
    ----------
    "Hierarchical semantic alignment for image clustering", arXiv 2512.00904.

    Examples
    --------
    >>> import numpy as np
    >>> from fastvbow.semantic import CAE
    >>> X = np.array([[1, 0, 0.1], [1, 0.1, 0], [0, 1, 0.1], [0.1, 1, 0]])
    >>> model = CAE(n_clusters=2, random_state=0).fit(X, nouns=np.eye(3)[:2], captions=np.eye(3)[:2])
    >>> bool(model.labels_[0] == model.labels_[1] != model.labels_[2])
    True
    """

    def __init__(
        self,
        n_clusters: int = 8,
        *,
        n_centers: int | None = None,
        nouns_per_center: int = 5,
        captions_per_center: int = 5,
        epsilon: float = 0.05,
        columns: bool = True,
        transport_max_iter: int = 2000,
        transport_tol: float = 1e-6,
        transport_sample: int | None = None,
        gamma: float = 0.01,
        fusion: str = "sum",
        weights: str = "adaptive",
        center_n_init: int = 10,
        n_init: int = 20,
        max_iter: int = 300,
        tol: float = 1e-4,
        random_state: Any = None,
        n_jobs: int | None = None,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_centers = n_centers
        self.nouns_per_center = nouns_per_center
        self.captions_per_center = captions_per_center
        self.epsilon = epsilon
        self.columns = columns
        self.transport_max_iter = transport_max_iter
        self.transport_tol = transport_tol
        self.transport_sample = transport_sample
        self.gamma = gamma
        self.fusion = fusion
        self.weights = weights
        self.center_n_init = center_n_init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs

    def fit(self, X: Any, y: Any = None, *, nouns: Any = None, captions: Any = None, train: Any = None) -> CAE:
        """Cluster images.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Embeddings of images; they count at unit length.
        y : ignored
        nouns : array-like of shape (M, d)
            Embeddings of nouns in the same space.
        captions : array-like of shape (L, d)
            Embeddings of captions in the same space.
        train : array-like of shape (N, d), optional
            Images that the texts are chosen for, where they are others than those to cluster.
        """
        self._check()
        images = self._images(X, reset=True)
        banks = self._texts(nouns, "nouns"), self._texts(captions, "captions")
        seen = images if train is None else unit_rows(train, "train", self.n_features_in_)
        rng = check_random_state(self.random_state)
        self._find_centers(seen, rng)
        wanted = self.nouns_per_center, self.captions_per_center
        self.noun_indices_, self.caption_indices_ = (
            best_by_similarity(bank, self.semantic_centers_, per_center=n, n_jobs=self.n_jobs)
            for bank, n in zip(banks, wanted, strict=True)
        )
        self.nouns_ = np.ascontiguousarray(banks[0][self.noun_indices_])
        self.captions_ = np.ascontiguousarray(banks[1][self.caption_indices_])
        self.noun_plan_, self.caption_plan_ = (
            self._plan(images, texts, rng) for texts in (self.nouns_, self.captions_)
        )
        self.embedding_ = self._embedded(images)
        self._find_clusters(images, rng)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Fuse images, by the texts and the potentials that were found.

        The plan is that of the images of `fit`: a new image is given the row that it would have in it, softmax((s + g)
        / epsilon), so what it is given does not depend on the images that come with it.

        Parameters
        ----------
        X : array-like of shape (n, d)

        Returns
        -------
        ndarray of shape (n, width of embedding_), float32
        """
        return super().transform(X)

    def _plan(
        self, images: NDArray[np.float32], texts: NDArray[np.float32], rng: np.random.RandomState
    ) -> TransportPlan:
        return sinkhorn(
            images,
            texts,
            self.epsilon,
            columns=self.columns,
            max_iter=self.transport_max_iter,
            tol=self.transport_tol,
            sample=self.transport_sample,
            random_state=rng,
            n_jobs=self.n_jobs,
        )

    def _embedded(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        of_nouns = barycentres(images, self.nouns_, self.noun_plan_, n_jobs=self.n_jobs)
        of_captions = barycentres(images, self.captions_, self.caption_plan_, n_jobs=self.n_jobs)
        parts = [images, of_nouns, of_captions]
        return fuse(parts, gamma=self.gamma, fusion=self.fusion, weights=self.weights, n_jobs=self.n_jobs)

    def _state(self) -> dict[str, NDArray[Any]]:
        found = {
            **super()._state(),
            "caption_indices": self.caption_indices_,
            "captions": self.captions_,
            "cluster_centers": self.cluster_centers_,
        }
        for name, plan in (("noun_plan", self.noun_plan_), ("caption_plan", self.caption_plan_)):
            found |= {f"{name}.g": plan.g, f"{name}.n_iter": np.array([plan.n_iter])}
            if self.columns:
                found[f"{name}.error"] = np.array([plan.error])
        return found

    def _restore(self, stored: StoredArrays) -> None:
        super()._restore(stored)
        width = self.n_features_in_
        self.captions_ = stored.take("captions", np.float32, None, width)
        self.caption_indices_ = stored.take_indices("caption_indices", len(self.captions_))
        wide = width if self.fusion == "sum" else 3 * width
        self.cluster_centers_ = stored.take("cluster_centers", np.float32, self.n_clusters, wide)
        self.noun_plan_ = self._stored_plan(stored, "noun_plan", len(self.nouns_))
        self.caption_plan_ = self._stored_plan(stored, "caption_plan", len(self.captions_))

    def _stored_plan(self, stored: StoredArrays, name: str, n_texts: int) -> TransportPlan:
        """A plan without what it says of the images of `fit`."""
        g = stored.take(f"{name}.g", np.float64, n_texts)
        error = float(stored.take(f"{name}.error", np.float64, 1)[0]) if self.columns else np.nan
        n_iter = int(stored.take(f"{name}.n_iter", np.int64, 1)[0])
        converged = not self.columns or error <= self.transport_tol
        return TransportPlan(np.empty(0), g, float(self.epsilon), error, n_iter, converged)

    def _check(self) -> None:
        self._check_counts("nouns_per_center", "captions_per_center", "transport_max_iter")
        if self.transport_sample is not None:
            self._check_integers(transport_sample=1)
        self._check_positive("epsilon", "transport_tol", "gamma")
        if self.fusion not in FUSIONS or self.weights not in WEIGHTS:
            raise UsageError(
                f"fusion={self.fusion!r} and weights={self.weights!r} cannot be used; give one of {', '.join(FUSIONS)} "
                f"and one of {', '.join(WEIGHTS)}"
            )
