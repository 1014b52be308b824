"""What the estimators of this room share: their input and its checks, clusters and probabilities by scores."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin
from sklearn.utils.validation import check_is_fitted

from fastvbow.cancelling import check_cancelled
from fastvbow.errors import UsageError
from fastvbow.semantic._rows import unit_rows
from fastvbow.semantic._stored import StoredArrays
from fastvbow.semantic.concentration import fit_concentration, shares_of_scores

__all__ = ["SemanticEstimator"]

Own = TypeVar("Own", bound="SemanticEstimator")
ROWS = 1 << 15
"""Images a block."""
LEAST, MOST = 1e-38, 1e38
"""What float32 holds of positive numbers, nearly: what divides must not be rounded to 0."""


class SemanticEstimator(ClusterMixin, BaseEstimator):
    """Base of the estimators: images at unit length, and texts beside them.

    An estimator makes an embedding of images (`_embedded`), and of that a score for each cluster (`_scores`). The
    cluster is that of the greatest score, and the probabilities are softmax(concentration_ scores). It also says which
    arrays it is stored as (`_state`), and takes them back (`_restore`).
    """

    n_clusters: int
    n_features_in_: int
    n_iter_: int
    labels_: NDArray[np.int32]
    embedding_: NDArray[np.float32]
    concentration_: float

    def predict(self, X: Any) -> NDArray[np.int32]:
        """The cluster of images: ndarray of shape (n,), int32."""
        return np.concatenate([scores.argmax(axis=1).astype(np.int32) for scores in self._scores_of(X)])

    def predict_proba(self, X: Any) -> NDArray[np.float32]:
        """What images belong to: ndarray of shape (n, n_clusters), float32.

        softmax(concentration_ scores); rows sum to 1, and the first greatest of a row is the one of `predict`. They say
        how clear an image's cluster is among the others (`fastvbow.semantic.concentration` has how well).

        Parameters
        ----------
        X : array-like of shape (n, d)
            Read in blocks.
        """
        return np.concatenate([shares_of_scores(scores, self.concentration_) for scores in self._scores_of(X)])

    @property
    def probabilities_(self) -> NDArray[np.float32]:
        """What the images of `fit` belong to: ndarray of shape (n, n_clusters), float32, made anew at each access."""
        n, step = len(self.labels_), self._rows_at_once()
        parts = [np.arange(start, min(n, start + step)) for start in range(0, n, step)]
        return np.concatenate([shares_of_scores(self._fitted_scores(part), self.concentration_) for part in parts])

    def calibrate(self: Own, vectors: Any) -> Own:
        """Make the probabilities as sharp as the images' neighbours in other vectors say; clusters stay.

        An embedding that takes two kinds of image for one finds neighbours that confirm it. Where there are vectors
        made otherwise, such as a network's own beside those of a space shared with texts, they know better.

        Parameters
        ----------
        vectors : array-like of shape (n, any)
            Of the images of `fit`, in their order.

        Returns
        -------
        self
            With another `concentration_`.

        Raises
        ------
        UsageError
            There are not as many vectors as images, a vector has no direction, or the estimator was loaded: the images
            are not stored.
        """
        check_is_fitted(self)
        if not hasattr(self, "labels_"):
            raise UsageError("a model that was loaded has no images to calibrate it by: do that before it is saved")
        rows = unit_rows(vectors, "vectors")
        if len(rows) != len(self.labels_):
            raise UsageError(f"{len(rows)} vectors were given for {len(self.labels_)} images: pass one for each")
        self._settle_probabilities(rows)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Images as the clusters are found in them: ndarray of shape (n, width of embedding_), float32."""
        check_is_fitted(self)
        return self._embedded(self._images(X, reset=False))

    def _embedded(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """What `transform` makes of images at unit length."""
        raise NotImplementedError

    def _scores(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        """A score for each cluster, of what `_embedded` made."""
        raise NotImplementedError

    def _image_scores(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """A score for each cluster, of images at unit length."""
        return self._scores(self._embedded(images))

    def _fitted_scores(self, which: NDArray[np.int64]) -> NDArray[np.float32]:
        """Those of images of `fit`, by their numbers."""
        return self._scores(self.embedding_[which])

    def _scores_of(self, X: Any) -> Iterator[NDArray[np.float32]]:
        """Those of images as they are given, block by block."""
        check_is_fitted(self)
        images, step = self._images(X, reset=False), self._rows_at_once()
        for start in range(0, len(images), step):
            check_cancelled()
            yield self._image_scores(images[start : start + step])

    def _rows_at_once(self) -> int:
        """Images that are held at once while clusters and probabilities are found."""
        return ROWS

    def _settle_probabilities(self, vectors: NDArray[np.float32]) -> None:
        """Set how sharp probabilities are, by what tells which images of `fit` are near."""
        self.concentration_ = fit_concentration(vectors, self.labels_, self._fitted_scores)

    def _check(self) -> object:
        """Raise UsageError where a parameter cannot be used."""
        raise NotImplementedError

    def _state(self) -> dict[str, NDArray[Any]]:
        """The arrays by which new images are told, by the names that `fastvbow.semantic.persistence` specifies."""
        raise NotImplementedError

    def _restore(self, stored: StoredArrays) -> None:
        """Take them back; parameters, n_features_in_, n_iter_ and concentration_ are there already."""
        raise NotImplementedError

    def fit_predict(self, X: Any, y: Any = None, **texts: Any) -> NDArray[np.int32]:
        """Fit, and return the cluster of every image: ndarray of shape (n,), int32; for the rest see `fit`."""
        self.fit(X, y, **texts)
        return self.labels_

    def _images(self, X: Any, *, reset: bool) -> NDArray[np.float32]:
        """X at unit length; `reset` takes its width, otherwise it is held against the one of `fit`."""
        rows = unit_rows(X, "X", None if reset else self.n_features_in_)
        if reset:
            self._check_enough(len(rows))
            self.n_features_in_ = rows.shape[1]
        return rows

    def _texts(self, texts: Any, name: str) -> NDArray[np.float32]:
        """Texts at unit length, as wide as the images."""
        if texts is None:
            raise UsageError(f"{type(self).__name__} needs {name}: pass fit(X, {name}=embeddings of a bank of texts)")
        return unit_rows(texts, name, self.n_features_in_)

    def _check_enough(self, n_images: int) -> None:
        """Raise UsageError where there are fewer images than clusters."""
        if n_images < self.n_clusters:
            raise UsageError(f"{n_images} images cannot be put into {self.n_clusters} clusters: ask for fewer")

    def _check_integers(self, **least: int) -> None:
        """Raise UsageError where a parameter is no integer, or less than the least that is given."""
        for name, smallest in least.items():
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or int(value) < smallest:
                raise UsageError(f"{name}={value!r} cannot be used; give an integer >= {smallest}")

    def _check_positive(self, *names: str) -> None:
        """Raise UsageError where a parameter is no number above 0."""
        for name in names:
            value = getattr(self, name)
            if not _is_number(value) or not LEAST <= value <= MOST:
                raise UsageError(f"{name}={value!r} cannot be used; give a number above 0, from {LEAST} to {MOST}")

    def _check_not_negative(self, *names: str, below: float = np.inf) -> None:
        """Raise UsageError where a parameter is no number from 0 to below this one."""
        for name in names:
            value = getattr(self, name)
            if not _is_number(value) or not 0 <= value < below:
                end = "" if below == np.inf else f" and below {below:g}"
                raise UsageError(f"{name}={value!r} cannot be used; give a number of 0 or more{end}")


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
