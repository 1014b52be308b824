"""Topics held against the segments of masks: which topic lies on which class.

Every token of a keypoint or of a cell of a CNN's map has a place. Its topic is not the one sampled last but its
posterior p(k | w, d) = theta_dk phi_kw / sum_j theta_dj phi_jw: the expectation over what sampling gives, the same for
photographs of the training and for new ones. With the token's weight it is the token's mass of each topic.

A keypoint's mass falls on the pixel at its place. A cell's mass is spread evenly over its pixels, since a map's feature
describes all of its cell, a hundredth of a photograph: its centre alone would give the mass of a cell that two classes
share to either of them. The pixel (x, y) lies in the cell (floor((y + 1/2) rows / height), floor((x + 1/2) columns /
width)), as in `fastvbow.features.cnn`. Tokens of a whole photograph have no place and are left out.

The pixel-level map gives each pixel a topic: on a grid of 64 cells along the longer side, the mass of all tokens per
area is smoothed by a Gaussian of two cells (1/32 of the longer side), and the topic of the most mass is taken. Where no
token is near, the photograph's own mixture decides, which is added with a weight too small to outvote any token near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

__all__ = [
    "GRID",
    "SMOOTHING",
    "CellMass",
    "PhotographCounts",
    "PointMass",
    "SegmentCounts",
    "TopicMap",
    "count_photograph",
    "token_posterior",
    "topic_map",
]

GRID = 64
"""Cells of the pixel-level map along a photograph's longer side."""
SMOOTHING = 2.0
"""Standard deviation of the Gaussian, in these cells."""
_FAINT = 1e-9
"""Of the photograph's mixture, beside the mass of tokens in a cell: the Gaussian ends at 1e-5 of a keypoint's."""


def token_posterior(
    words: NDArray[np.integer], theta: NDArray[np.float64], phi: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The topics of a photograph's tokens: p(k | w, d).

    Parameters
    ----------
    words : ndarray of shape (n,)
    theta : ndarray of shape (K,), float64
        The photograph's mixture.
    phi : ndarray of shape (V, K), float64
        p(word | topic), word-major, positive.

    Returns
    -------
    ndarray of shape (n, K), float64
        Rows sum to 1.
    """
    p = phi[words] * theta
    p /= p.sum(axis=1, keepdims=True)
    return p


@dataclass(frozen=True)
class PointMass:
    """Tokens at points.

    Attributes
    ----------
    x, y : ndarray of shape (n,)
        In pixels; pixel centres lie at whole numbers.
    mass : ndarray of shape (n, K), float64
        Of each topic.
    """

    x: NDArray[np.floating]
    y: NDArray[np.floating]
    mass: NDArray[np.float64]


@dataclass(frozen=True)
class CellMass:
    """Tokens of a map's cells.

    Attributes
    ----------
    rows, columns : int
        Of the map, which covers the whole photograph.
    mass : ndarray of shape (rows * columns, K), float64
        Of each topic, row by row.
    """

    rows: int
    columns: int
    mass: NDArray[np.float64]


@dataclass(frozen=True)
class TopicMap:
    """The topic of each pixel, by cells.

    Attributes
    ----------
    topics : ndarray of shape (rows, columns), int64
        The pixel (x, y) has that of the cell that it lies in.
    """

    topics: NDArray[np.int64]

    def pixels(self, height: int, width: int) -> NDArray[np.int64]:
        """The topic of each pixel of a photograph of that size, (height, width)."""
        rows, columns = self.topics.shape
        return self.topics[_steps(height, rows)[:, None], _steps(width, columns)]


def topic_map(
    height: int,
    width: int,
    theta: NDArray[np.float64],
    points: list[PointMass],
    cells: list[CellMass],
) -> TopicMap:
    """The topic of each pixel of a photograph, from the tokens around it.

    Parameters
    ----------
    height, width : int
        Of the photograph, in pixels.
    theta : ndarray of shape (K,), float64
        Its mixture.
    points : list of PointMass
    cells : list of CellMass
    """
    longer = max(height, width)
    rows, columns = (max(1, round(GRID * side / longer)) for side in (height, width))
    rows, columns = min(rows, height), min(columns, width)
    density = np.zeros((rows, columns, len(theta)))
    for found in points:
        at = _place(found.y, height, rows) * columns + _place(found.x, width, columns)
        np.add.at(density.reshape(rows * columns, -1), at, found.mass)
    for part in cells:
        share = part.rows * part.columns / (rows * columns)
        mass = part.mass.reshape(part.rows, part.columns, -1)
        density += mass[_steps(rows, part.rows)[:, None], _steps(columns, part.columns)] * share
    smooth = gaussian_filter(density, SMOOTHING, mode="constant", axes=(0, 1))
    return TopicMap((smooth + _FAINT * theta).argmax(axis=2))


def _steps(n: int, cells: int) -> NDArray[np.int64]:
    """The cell that each of `n` pixels in a row lies in: floor((i + 1/2) cells / n), in whole numbers."""
    return (2 * np.arange(n) + 1) * cells // (2 * n)


def _place(at: NDArray[np.floating], n: int, cells: int) -> NDArray[np.int64]:
    """The cell that coordinates lie in."""
    found = np.floor((at.astype(np.float64) + 0.5) * cells / n).astype(np.int64)
    return np.clip(found, 0, cells - 1)


@dataclass(frozen=True)
class PhotographCounts:
    """What topics and the m classes of one photograph have in common: see `SegmentCounts`.

    Attributes
    ----------
    classes : ndarray of shape (m,), int64
        Those that have a pixel, ascending.
    token_mass, image_mass : ndarray of shape (K, m), float64
    pixels, image_pixels, shuffled_pixels : ndarray of shape (K, m), int64
    unlabelled_mass : float
    unlabelled_pixels : int
    """

    classes: NDArray[np.int64]
    token_mass: NDArray[np.float64]
    image_mass: NDArray[np.float64]
    pixels: NDArray[np.int64]
    image_pixels: NDArray[np.int64]
    shuffled_pixels: NDArray[np.int64]
    unlabelled_mass: float
    unlabelled_pixels: int


def count_photograph(
    mask: NDArray[np.int32],
    theta: NDArray[np.float64],
    points: list[PointMass],
    cells: list[CellMass],
    shuffled: TopicMap | None = None,
) -> PhotographCounts:
    """Hold the topics of a photograph's tokens and pixels against its mask.

    Parameters
    ----------
    mask : ndarray of shape (height, width), int32
        The class of each pixel, -1 where it has none.
    theta : ndarray of shape (K,), float64
    points : list of PointMass
    cells : list of CellMass
    shuffled : TopicMap, optional
        The pixel-level map of another photograph; None: there is no other.
    """
    n_topics, (height, width) = len(theta), mask.shape
    of_class = np.bincount(mask.ravel() + 1)
    classes = np.flatnonzero(of_class[1:])
    code = np.zeros(len(of_class), np.int64)  # 0 for pixels without a class, then 1 to m
    code[classes + 1] = np.arange(1, len(classes) + 1)
    codes, n_codes = code[mask + 1], len(classes) + 1

    token_mass = np.zeros((n_codes, n_topics))
    for found in points:
        np.add.at(token_mass, codes[_place(found.y, height, height), _place(found.x, width, width)], found.mass)
    for part in cells:
        token_mass += _shares(codes, part.rows, part.columns, n_codes).T @ part.mass

    def under(topics: TopicMap) -> NDArray[np.int64]:
        out = np.zeros((n_topics, n_codes), np.int64)
        rows, columns = topics.topics.shape
        np.add.at(out, topics.topics.ravel(), _histogram(codes, rows, columns, n_codes))
        return out[:, 1:]

    present = of_class[classes + 1]
    image_pixels = np.zeros((n_topics, len(classes)), np.int64)
    image_pixels[theta.argmax()] = present
    return PhotographCounts(
        classes,
        np.ascontiguousarray(token_mass[1:].T),
        np.outer(theta, present / mask.size),
        under(topic_map(height, width, theta, points, cells)),
        image_pixels,
        np.zeros_like(image_pixels) if shuffled is None else under(shuffled),
        float(token_mass[0].sum()),
        int(of_class[0]),
    )


class SegmentCounts:
    """What topics and classes have in common, added up photograph by photograph.

    It holds arrays of (K, largest class + 1), however many photographs there are.

    Parameters
    ----------
    n_topics : int
        K.

    Attributes
    ----------
    token_mass : ndarray of shape (K, C), float64
        Mass of the tokens of each topic on each class.
    image_mass : ndarray of shape (K, C), float64
        Sum over photographs of theta_i outer f_i, where f_i is the share of each class in the pixels of photograph i:
        the whole-image variant, in which a photograph's topics lie on all of its classes alike.
    pixels : ndarray of shape (K, C), int64
        Pixels of each class under each topic of the pixel-level map.
    image_pixels : ndarray of shape (K, C), int64
        The same where all pixels of a photograph have its most probable topic.
    shuffled_pixels : ndarray of shape (K, C), int64
        The same where each photograph has the pixel-level map of another one.
    unlabelled_mass : float
        Mass of tokens on pixels without a class.
    unlabelled_pixels : int
    n_images : int
    """

    def __init__(self, n_topics: int) -> None:
        self.token_mass = np.zeros((n_topics, 0))
        self.image_mass = np.zeros((n_topics, 0))
        self.pixels = np.zeros((n_topics, 0), np.int64)
        self.image_pixels = np.zeros((n_topics, 0), np.int64)
        self.shuffled_pixels = np.zeros((n_topics, 0), np.int64)
        self.unlabelled_mass = 0.0
        self.unlabelled_pixels = 0
        self.n_images = 0

    def add(self, part: PhotographCounts) -> None:
        """Add what a photograph has."""
        more = int(part.classes.max(initial=-1)) + 1 - self.pixels.shape[1]
        for name in ("token_mass", "image_mass", "pixels", "image_pixels", "shuffled_pixels"):
            table = getattr(self, name)
            if more > 0:
                table = np.pad(table, ((0, 0), (0, more)))
                setattr(self, name, table)
            table[:, part.classes] += getattr(part, name)
        self.unlabelled_mass += part.unlabelled_mass
        self.unlabelled_pixels += part.unlabelled_pixels
        self.n_images += 1

    @property
    def classes(self) -> NDArray[np.int64]:
        """The numbers of the classes that have a pixel."""
        return np.flatnonzero(self.image_pixels.any(axis=0))


def _histogram(codes: NDArray[np.int64], rows: int, columns: int, n_codes: int) -> NDArray[np.int64]:
    """Pixels of each code in each cell of a grid: (rows * columns, n_codes)."""
    height, width = codes.shape
    at = (_steps(height, rows)[:, None] * columns + _steps(width, columns)) * n_codes
    return np.bincount((at + codes).ravel(), minlength=rows * columns * n_codes).reshape(-1, n_codes)


def _shares(codes: NDArray[np.int64], rows: int, columns: int, n_codes: int) -> NDArray[np.float64]:
    """The share of each code in each cell's pixels; a cell too small to have one has the pixel at its centre."""
    pixels = _histogram(codes, rows, columns, n_codes)
    total = pixels.sum(axis=1, keepdims=True)
    shares = pixels / np.maximum(total, 1)
    for cell in np.flatnonzero(total[:, 0] == 0):
        row, column = divmod(int(cell), columns)
        y, x = (2 * row + 1) * codes.shape[0] // (2 * rows), (2 * column + 1) * codes.shape[1] // (2 * columns)
        shares[cell, codes[y, x]] = 1
    return shares
