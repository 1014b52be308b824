"""Joint words: a SIFT keypoint together with what the CNN's map says at its place.

A keypoint's joint descriptor is its RootSIFT vector beside the map's activation there, interpolated bilinearly between
the centres of the four nearest cells (beyond the outermost centres, the border's). Each part is brought to unit length,
the map's as for words of its own: unit length, principal components, unit length again. They are scaled by
sqrt(1 - `map_share`) and sqrt(`map_share`), so that the squared distance of two joint descriptors is the weighted mean
of the squared distances of their parts.

Nothing of it is stored: it is computed from the two kinds of features, some photographs at a time. Joint words are
aligned with the keypoints of SIFT, token for token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError
from fastvbow.words.vocabulary import Codebook, fit_centers, fit_projection, unit_rows

__all__ = [
    "JointFeatures",
    "Located",
    "features_for",
    "joint_rows",
    "joint_sample",
    "joint_words",
    "train_joint_codebook",
]

_IMAGES = 32
"""Photographs whose joint descriptors are held at a time: 300 keypoints each make 7 MB."""


class Located(NamedTuple):
    """The features of one modality in a run of images.

    Attributes
    ----------
    descriptors : ndarray of shape (n, d)
    keypoints : ndarray of shape (n, 4), float32
    offsets : ndarray of shape (n_images + 1,), int64
    """

    descriptors: NDArray[Any]
    keypoints: NDArray[np.float32]
    offsets: NDArray[np.int64]


@dataclass(frozen=True)
class JointFeatures:
    """The keypoints of a run of images, and the maps that they lie in.

    Attributes
    ----------
    sift, conv : Located
        Of the same images. The keypoints of an image's map are the centres of its cells, row by row.
    """

    sift: Located
    conv: Located

    def activations(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """What the maps say at the places of some keypoints.

        Parameters
        ----------
        rows : ndarray of shape (n,), int64
            Rows of `sift`, ascending.

        Returns
        -------
        ndarray of shape (n, C), float16
            In half precision, as maps are stored.

        Raises
        ------
        StoreCorruptError
            The map of such an image is missing, or no grid.
        """
        found = np.empty((len(rows), self.conv.descriptors.shape[1]), np.float16)
        cuts = np.searchsorted(rows, self.sift.offsets)
        for image in np.flatnonzero(np.diff(cuts)):
            part = slice(cuts[image], cuts[image + 1])
            cells = slice(*self.conv.offsets[image : image + 2])
            found[part] = _interpolated(
                self.conv.descriptors[cells], self.conv.keypoints[cells], self.sift.keypoints[rows[part]]
            )
        return found


def features_for(
    names: Iterable[str], located: Callable[[str], Located]
) -> dict[str, tuple[NDArray[Any], NDArray[np.int64]] | JointFeatures]:
    """The features that `fastvbow.words.tokens.encode` takes.

    Parameters
    ----------
    names : iterable of str
        The modalities of a vocabulary.
    located : callable
        Takes the name of a modality that there are features of, returns these.

    Returns
    -------
    dict of str to (descriptors, offsets) or JointFeatures
    """
    found: dict[str, tuple[NDArray[Any], NDArray[np.int64]] | JointFeatures] = {}
    for name in names:
        if name == "joint":
            found[name] = JointFeatures(located("sift"), located("conv"))
        else:
            own = located(name)
            found[name] = own.descriptors, own.offsets
    return found


def joint_sample(
    parts: Iterable[tuple[JointFeatures, NDArray[np.int64]]],
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """Some keypoints of each part, by their rows: the descriptors of SIFT (n, 128), the map at their places (n, C)."""
    drawn = [(part.sift.descriptors[rows], part.activations(rows)) for part, rows in parts]
    return np.concatenate([sift for sift, _ in drawn]), np.concatenate([activations for _, activations in drawn])


def train_joint_codebook(
    sift: NDArray[np.uint8],
    activations: NDArray[Any],
    n_words: int,
    *,
    map_share: float,
    seed: int,
    n_jobs: int | None = None,
) -> Codebook:
    """Learn joint words.

    Parameters
    ----------
    sift : ndarray of shape (n, 128), uint8
    activations : ndarray of shape (n, C)
        The map at the keypoints of `sift`.
    n_words : int
        Words wanted; where there are fewer keypoints, each becomes a word.
    map_share : float
        Part of the map in the squared distance, between 0 and 1.
    seed : int
    n_jobs : int, optional
    """
    book = Codebook(np.zeros((0, 0), np.float32), *fit_projection(activations), map_share)
    rows = _join(book, sift, activations)
    return Codebook(fit_centers(rows, n_words, seed=seed, n_jobs=n_jobs), book.mean, book.components, map_share)


def joint_words(codebook: Codebook, features: JointFeatures, *, n_jobs: int | None = None) -> NDArray[np.int32]:
    """The word of each keypoint, (n,).

    Parameters
    ----------
    codebook : Codebook
        A joint one.
    features : JointFeatures
    n_jobs : int, optional

    Raises
    ------
    StoreCorruptError
        See `JointFeatures.activations`.
    """
    words = [codebook.nearest(rows, n_jobs=n_jobs) for rows in joint_rows(codebook, features)]
    return np.concatenate([np.zeros(0, np.int32), *words])


def joint_rows(codebook: Codebook, features: JointFeatures) -> Iterator[NDArray[np.float32]]:
    """The joint descriptors of all keypoints, some photographs at a time.

    Parameters
    ----------
    codebook : Codebook
        One with the projection and the share of the map; it need not have words yet.
    features : JointFeatures

    Yields
    ------
    ndarray of shape (n, 128 + p), float32

    Raises
    ------
    StoreCorruptError
        See `JointFeatures.activations`.
    """
    offsets, sift = features.sift.offsets, features.sift.descriptors
    width = sift.shape[1] + (0 if codebook.components is None else len(codebook.components))
    for first in range(0, len(offsets) - 1, _IMAGES):
        bounds = offsets[first : first + _IMAGES + 1]
        rows = np.empty((bounds[-1] - bounds[0], width), np.float32)
        for start, stop in pairwise(bounds):  # image by image: see `tokens._project_each`
            rows[start - bounds[0] : stop - bounds[0]] = _join(
                codebook, sift[start:stop], features.activations(np.arange(start, stop))
            )
        yield rows


def _join(codebook: Codebook, sift: NDArray[np.uint8], activations: NDArray[Any]) -> NDArray[np.float32]:
    """Joint descriptors, (n, 128 + p)."""
    if codebook.map_share is None:
        raise ValueError("joint descriptors want a joint codebook")
    out = np.concatenate([unit_rows(sift), codebook.project(activations)], axis=1)
    out[:, : sift.shape[1]] *= np.float32(np.sqrt(1 - codebook.map_share))
    out[:, sift.shape[1] :] *= np.float32(np.sqrt(codebook.map_share))
    return out


def _interpolated(
    cells: NDArray[Any], centres: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A map at some points, (n, C): bilinear between the centres of its cells."""
    columns = int(np.count_nonzero(centres[:, 1] == centres[0, 1])) if len(centres) else 0
    if not columns or len(centres) % columns:
        raise StoreCorruptError(
            f"an image has {len(points)} keypoints and a map of {len(cells)} cells, which are no rows of {columns}: "
            "delete that project's features and run 'fastvbow extract' again"
        )
    (left, right, x), (above, below, y) = (
        _between(points[:, 0], centres[:columns, 0]),
        _between(points[:, 1], centres[::columns, 1]),
    )
    values = cells.astype(np.float32)
    top = values[above * columns + left] * (1 - x) + values[above * columns + right] * x
    bottom = values[below * columns + left] * (1 - x) + values[below * columns + right] * x
    return top * (1 - y) + bottom * y


def _between(
    at: NDArray[np.float32], centres: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The centres on both sides of each coordinate, and how far it is from the one to the other: (n,), (n,), (n, 1)."""
    exact = np.interp(at, centres, np.arange(len(centres)))
    low = np.minimum(exact.astype(np.int64), max(0, len(centres) - 2))
    high = np.minimum(low + 1, len(centres) - 1)
    return low, high, (exact - low).astype(np.float32)[:, None]
