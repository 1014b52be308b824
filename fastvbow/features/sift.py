"""SIFT keypoints (Lowe 2004), by OpenCV, described as RootSIFT (Arandjelović & Zisserman 2012)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.features.base import Features, ImmediateExtractor, LocalFeatures, Modality

__all__ = ["SiftExtractor", "root_sift"]


def root_sift(descriptors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """RootSIFT in eight bits: the square root of the L1-normalised histogram, times 512.

    Euclidean distance between the results is Hellinger's distance between the histograms, up to the scale. 512 is the
    scale that SIFT itself uses; what exceeds 255 (a bin above a quarter of the mass) is clipped.

    Parameters
    ----------
    descriptors : ndarray of shape (n, 128), float32
        SIFT descriptors, non-negative.

    Returns
    -------
    ndarray of shape (n, 128), uint8
    """
    mass = np.maximum(descriptors.sum(axis=1, keepdims=True), np.float32(1e-7))
    roots = descriptors / mass
    np.sqrt(roots, out=roots)
    # Rounds halves to even and saturates, as rint and minimum would, in one pass; OpenCV makes no empty arrays.
    return cv2.convertScaleAbs(roots, alpha=512) if len(roots) else np.zeros(roots.shape, np.uint8)


class SiftExtractor(ImmediateExtractor):
    """At most `keypoints` SIFT features a photograph.

    Parameters
    ----------
    keypoints : int, default=300
        The strongest by detector response are kept; ties are broken by position, so the choice is always the same.
    side : int, default=256
        A photograph whose longer side is greater is shrunk to it first (pixels). None is enlarged.
    """

    def __init__(self, keypoints: int = 300, side: int = 256) -> None:
        self.keypoints = keypoints
        self.side = side
        self._local = threading.local()

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """One: ``sift``."""
        return (Modality("sift", 128, "uint8"),)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """See `Extractor.parameters`."""
        return {"keypoints": self.keypoints, "side": self.side, "descriptor": "RootSIFT x 512, uint8"}

    def begin(self, image: NDArray[np.uint8]) -> Callable[[], Features]:
        """See `Extractor.begin`: when it returns, keypoints are found and described, but neither chosen nor scaled.

        A flat photograph has no keypoint and gives empty arrays.
        """
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, self.side / max(grey.shape))
        if scale < 1.0:
            width, height = (max(1, round(n * scale)) for n in (grey.shape[1], grey.shape[0]))
            grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        found, descriptors = self._sift().detectAndCompute(grey, None)
        stretch = np.array([image.shape[1] / grey.shape[1], image.shape[0] / grey.shape[0]], dtype=np.float32)
        return lambda: self._features(found, descriptors, stretch, scale)

    def _features(
        self,
        found: Sequence[cv2.KeyPoint],
        descriptors: NDArray[np.float32],
        stretch: NDArray[np.float32],
        scale: float,
    ) -> Features:
        """The strongest of the keypoints, in pixels of the photograph, and their descriptors."""
        if not found:
            return {"sift": self.modalities[0].empty()}
        points = np.empty((len(found), 4), np.float32)
        points[:, :2] = cv2.KeyPoint.convert(found)
        points[:, 2] = [k.size for k in found]
        points[:, 3] = [k.angle for k in found]
        response = np.fromiter((k.response for k in found), np.float32, len(found))
        # OpenCV keeps all features that tie with the last one: order them fully, then cut.
        order = np.lexsort((points[:, 3], points[:, 2], points[:, 0], points[:, 1], -response))[: self.keypoints]
        points = points[order]
        # OpenCV first doubles the image, which puts pixel x at 2x + 0.5, and forgets the half: 0.25 too far.
        points[:, :2] = (points[:, :2] - 0.25 + 0.5) * stretch - 0.5
        points[:, 2] /= scale
        return {"sift": LocalFeatures(points, root_sift(descriptors[order]))}

    def _sift(self) -> Any:
        """This thread's detector: OpenCV does not promise that one may be shared."""
        if not hasattr(self._local, "sift"):
            self._local.sift = cv2.SIFT_create(nfeatures=self.keypoints)
        return self._local.sift
