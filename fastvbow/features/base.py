"""What every extractor offers: one photograph in, local features of one or more modalities out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Extractor", "Features", "ImmediateExtractor", "LocalFeatures", "Modality", "whole_keypoint"]


@dataclass(frozen=True)
class Modality:
    """One kind of feature.

    Attributes
    ----------
    name : str
        ``sift``, ``conv`` or ``pooled``; it names the files.
    dimension : int
        Length of a descriptor.
    dtype : str
        NumPy's name of its type: uint8 or float16.
    """

    name: str
    dimension: int
    dtype: str

    def empty(self) -> LocalFeatures:
        """The features of an image that has none."""
        return LocalFeatures(np.zeros((0, 4), np.float32), np.zeros((0, self.dimension), self.dtype))


@dataclass(frozen=True)
class LocalFeatures:
    """The features of one modality in one photograph.

    Attributes
    ----------
    keypoints : ndarray of shape (n, 4), float32
        x, y and size in pixels of the photograph as decoded, angle in degrees (-1: none). Pixel centres lie at whole
        numbers.
    descriptors : ndarray of shape (n, dimension)
        Row i belongs to keypoint i.
    """

    keypoints: NDArray[np.float32]
    descriptors: NDArray[Any]


Features = dict[str, LocalFeatures]
"""By modality."""


def whole_keypoint(height: int, width: int) -> NDArray[np.float32]:
    """The keypoint of a photograph as a whole, (1, 4): its centre, and the side of a square as large."""
    return np.array([[(width - 1) / 2, (height - 1) / 2, np.sqrt(height * width), -1]], dtype=np.float32)


class Extractor(Protocol):
    """An extractor is stateless to its caller: the same pixels give the same bytes, from any thread."""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """What `extract` returns, in order."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """All that its output depends on, as plain values: part of the stage's fingerprint."""

    @property
    def ahead(self) -> int:
        """How many photographs a thread should have begun beside the one whose features it waits for."""

    def extract(self, image: NDArray[np.uint8]) -> Features:
        """Features of an RGB image of shape (height, width, 3), keyed by modality."""

    def begin(self, image: NDArray[np.uint8]) -> Callable[[], Features]:
        """Begin to extract: what is returned waits for the features. The image is not needed any more."""

    def close(self) -> None:
        """End its threads, if it has any; nobody must be extracting."""


class ImmediateExtractor:
    """Makes an extractor of one whose `begin` does the greater part in its caller's thread."""

    ahead = 0

    def extract(self, image: NDArray[np.uint8]) -> Features:
        """See `Extractor.extract`."""
        return self.begin(image)()

    def begin(self, image: NDArray[np.uint8]) -> Callable[[], Features]:
        """See `Extractor.begin`."""
        raise NotImplementedError

    def close(self) -> None:
        """See `Extractor.close`: there is none."""
