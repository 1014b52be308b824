"""What the estimators of this room share: their input, its checks, their random state."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClusterMixin

from fastvbow.errors import UsageError
from fastvbow.semantic._rows import unit_rows

__all__ = ["SemanticEstimator"]


class SemanticEstimator(ClusterMixin, BaseEstimator):
    """Base of the estimators: images at unit length, and texts beside them."""

    n_clusters: int
    n_features_in_: int
    labels_: NDArray[np.int32]

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
            if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0 < float(value) < np.inf:
                raise UsageError(f"{name}={value!r} cannot be used; give a number above 0")
