"""What a report shows its topics by: words, and the tokens of a photograph with their places and topics.

The report knows neither the vocabulary nor the topic model: whoever calls it hands over arrays, and a function that
gives the tokens of one photograph, which is asked for those alone that are shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError

__all__ = ["WHOLE", "Evidence", "PhotographTokens", "Tokens"]

WHOLE = ("pooled", "embeddings")
"""Kinds whose tokens stand for a photograph as a whole."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """The tokens of one kind in one photograph.

    Parameters
    ----------
    kind : str
        See `Evidence.kinds`.
    words : ndarray of shape (n,), integer
        Numbered through the whole vocabulary.
    topics : ndarray of shape (n, n_topics), float
        The chance of each topic to be the token's; rows sum to 1.
    places : ndarray of shape (n, 4), float32, or None
        x, y and size in pixels of the photograph's full size, angle in degrees clockwise (-1: none). None: the tokens
        stand for the photograph as a whole.
    grid : (int, int) or None
        Rows and columns where the tokens are the cells of a map, row by row.
    """

    kind: str
    words: NDArray[Any]
    topics: NDArray[np.floating]
    places: NDArray[np.float32] | None = None
    grid: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class PhotographTokens:
    """The tokens of one photograph.

    Parameters
    ----------
    width, height : int
        Its full size as it is seen, in pixels, which `Tokens.places` refer to.
    kinds : sequence of Tokens
    """

    width: int
    height: int
    kinds: Sequence[Tokens]


@dataclass(frozen=True, eq=False)
class Evidence:
    """Words and tokens of a report's topics.

    Parameters
    ----------
    kinds : mapping of str to (int, int)
        The words of each kind: the first, and the one behind the last. Kinds are ``sift`` (keypoints), ``conv`` (cells
        of a CNN's map), ``joint`` (a keypoint with the map at its place), ``pooled`` and ``embeddings`` (a vector of
        the whole photograph).
    counts : ndarray of shape (n_topics, n_words), float64
        Weighted tokens of each word in each topic; positive. The row of a topic that was merged into another counts
        nowhere, its tokens stand in the row of that one.
    weights : ndarray of shape (n_words,), float64
        What a token of each word counts.
    tokens : callable (int) -> PhotographTokens
        Those of the i-th photograph of the report. Several threads may call it at once.

    Raises
    ------
    UsageError
        The kinds do not make up the words, or the arrays do not fit one another.
    """

    kinds: Mapping[str, tuple[int, int]]
    counts: NDArray[np.float64]
    weights: NDArray[np.float64]
    tokens: Callable[[int], PhotographTokens]

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        bounds = [0, *(stop for _, stop in self.kinds.values())]
        if [start for start, _ in self.kinds.values()] != bounds[:-1] or self.counts.shape[1:] != (bounds[-1],):
            raise UsageError(
                f"the kinds {dict(self.kinds)} do not make up the words of counts of shape {self.counts.shape}"
            )
        if self.weights.shape != self.counts.shape[1:]:
            raise UsageError(f"{self.weights.shape} weights are no weights of {self.counts.shape[1]} words")
