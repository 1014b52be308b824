"""What TAC and CAE share: semantic centres that texts are chosen for, and clusters of what images and texts make."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.semantic._directions import DirectionEstimator
from fastvbow.semantic._stored import StoredArrays
from fastvbow.semantic.selection import center_count

__all__ = ["GuidedEstimator"]


class GuidedEstimator(DirectionEstimator):
    """Base of the estimators that cluster images by k-means once texts have changed them (`_embedded`)."""

    n_centers: int | None
    center_n_init: int
    semantic_centers_: NDArray[np.float32]
    noun_indices_: NDArray[np.int64]
    nouns_: NDArray[np.float32]

    def _find_centers(self, seen: NDArray[np.float32], rng: np.random.RandomState) -> None:
        """Set the semantic centres of the images that texts are chosen for."""
        n_centers = center_count(len(seen), self.n_clusters) if self.n_centers is None else self.n_centers
        self.semantic_centers_ = self._kmeans(rng)(seen, n_centers, n_init=self.center_n_init).centers

    def _state(self) -> dict[str, NDArray[Any]]:
        return {
            "semantic_centers": self.semantic_centers_,
            "noun_indices": self.noun_indices_,
            "nouns": self.nouns_,
        }

    def _restore(self, stored: StoredArrays) -> None:
        width = self.n_features_in_
        self.semantic_centers_ = stored.take("semantic_centers", np.float32, None, width)
        self.nouns_ = stored.take("nouns", np.float32, None, width)
        self.noun_indices_ = stored.take_indices("noun_indices", len(self.nouns_))

    def _check_counts(self, *names: str) -> None:
        """Raise UsageError where a count of k-means, or one of `names`, is no integer above 0, or `tol` no number."""
        least = dict.fromkeys(("n_clusters", *names, "center_n_init", "n_init", "max_iter"), 1)
        if self.n_centers is not None:
            least["n_centers"] = 1
        self._check_integers(**least)
        self._check_not_negative("tol")
