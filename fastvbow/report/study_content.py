"""What the report of a study is made of, and the few sums that its tables and figures share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["METHODS", "StudyContent", "Summary", "method_name", "setting_name", "summary"]

METHODS = {
    "fastvbow": "fastvbow",
    "kmeans-embeddings": "K-Means of the CNN's vectors",
    "pca-embeddings": "PCA of the CNN's vectors, K-Means",
    "pca-pixels": "PCA of the pixels, K-Means",
    "vae-conv": "convolutional VAE, K-Means",
    "vae-paper": "the paper's VAE, K-Means",
    "lda-variational": "variational LDA",
}
_KINDS = {"sift,cnn": "SIFT and CNN", "cnn,sift": "SIFT and CNN", "sift": "SIFT alone", "cnn": "CNN alone"}


@dataclass(frozen=True, eq=False)
class StudyContent:
    """All that the report of a study shows.

    Parameters
    ----------
    title, source : str
        Heading, and where the photographs came from.
    n_images, n_validation, n_skipped : int
        Photographs; of these, those held out in the grid; those that could not be read.
    labels : sequence of str
    label_sizes : sequence of int
        Photographs of each.
    grid : mapping
        The fields of `fastvbow.config.StudyGrid`.
    rows : sequence of dict
        The rows of ``results.parquet``.
    per_label : sequence of dict
        Those of ``per_label.parquet``.
    left_out : mapping of str to str
        Baselines that could not run, and why.
    seconds_extraction : float
    version : str
        Of fastvbow.
    reference : mapping, optional
        ``keypoints``, ``words`` and ``seed`` of the comparison; None where there is none.
    tables : mapping of (method, features) to ndarray of shape (n_labels, n_labels), int64
        Labels by groups, of the first seed.
    mixtures : ndarray of shape (n_labels, n_topics), float64, optional
        The mean mixture of each label in the comparison.
    histograms : ndarray of shape (n_labels, n_words), float32, optional
        The mean word frequencies of each label.
    curves : mapping of str to mapping of str to list of float
        Loss curves by method and name.
    """

    title: str
    source: str
    n_images: int
    n_validation: int
    n_skipped: int
    labels: Sequence[str]
    label_sizes: Sequence[int]
    grid: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    per_label: Sequence[Mapping[str, Any]]
    left_out: Mapping[str, str]
    seconds_extraction: float
    version: str
    reference: Mapping[str, Any] | None = None
    tables: Mapping[tuple[str, str], NDArray[np.int64]] = field(default_factory=dict)
    mixtures: NDArray[np.float64] | None = None
    histograms: NDArray[np.float32] | None = None
    curves: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)

    def settings(self) -> list[tuple[int, int, int]]:
        """Topics, keypoints and words of every setting of the grid, ascending."""
        of_grid = (row for row in self.rows if row["part"] == "grid")
        return sorted({(row["topics"], row["keypoints"], row["words"]) for row in of_grid})

    def grid_rows(self, topics: int, keypoints: int, words: int) -> list[Mapping[str, Any]]:
        """The results of a setting of the grid, one a seed."""
        wanted = topics, keypoints, words
        rows = (row for row in self.rows if row["part"] == "grid")
        return [row for row in rows if (row["topics"], row["keypoints"], row["words"]) == wanted]

    def methods(self) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
        """The results of the comparison by method and features, the most accurate first."""
        found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in self.rows:
            if row["part"] == "comparison":
                found.setdefault((row["method"], row["features"]), []).append(row)
        return dict(sorted(found.items(), key=lambda item: -summary(item[1], "acc").mean))

    def of_label(self, label: str, measure: str, share: str) -> dict[tuple[int, int, int], float]:
        """A measure of a label in each setting of the grid, the mean over seeds."""
        found: dict[tuple[int, int, int], list[float]] = {}
        for row in self.per_label:
            if row["part"] == "grid" and row["label"] == label and row["share"] == share and measure in row:
                found.setdefault((row["topics"], row["keypoints"], row["words"]), []).append(row[measure])
        return {setting: float(np.mean(values)) for setting, values in found.items()}

    @property
    def learned_share(self) -> str:
        """What the per-label table calls the photographs that the grid was learned from."""
        return "training" if self.n_validation else "all"


@dataclass(frozen=True)
class Summary:
    """A figure over seeds.

    Attributes
    ----------
    mean, sd : float
        NaN where it is not defined; `sd` (n - 1) is 0 for one seed.
    n : int
    """

    mean: float
    sd: float
    n: int

    def __str__(self) -> str:
        if not self.n:
            return "–"
        return f"{self.mean:.3f} ± {self.sd:.3f}" if self.n > 1 else f"{self.mean:.3f}"


def summary(rows: Sequence[Mapping[str, Any]], name: str) -> Summary:
    """Mean and standard deviation of a column over rows; what is not defined is left out.

    Parameters
    ----------
    rows : sequence of mapping
    name : str
    """
    values = [float(value) for row in rows if (value := row.get(name)) is not None and not np.isnan(value)]
    if not values:
        return Summary(float("nan"), float("nan"), 0)
    return Summary(float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, len(values))


def method_name(method: str, features: str) -> str:
    """A method as a person says it.

    Parameters
    ----------
    method, features : str
        As ``results.parquet`` has them.
    """
    named = METHODS.get(method, method)
    return f"{named}, {_KINDS.get(features, features)}" if method in ("fastvbow", "lda-variational") else named


def setting_name(topics: int, keypoints: int, words: int) -> str:
    """A setting in the paper's way, ``300/300/20``: keypoints, words, topics; without keypoints words and topics.

    Parameters
    ----------
    topics, keypoints, words : int
    """
    return "/".join(str(number) for number in (keypoints, words, topics) if number)
