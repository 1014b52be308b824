"""Overlapping crops of the bundled photographs: a small task whose right grouping is known.

Every crop holds the photograph's centre, so any two crops of one photograph show a common part; they differ in scale,
position, tilt, light, colour and JPEG quality. The folder that a crop lies in is its true group.
"""

from __future__ import annotations

import os
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import UsageError
from fastvbow.project import replace_file

__all__ = ["Box", "crop_box", "crop_generator", "make_crops", "photograph_files", "render_crop"]

Pixels = NDArray[np.uint8]

COVERAGE = (0.45, 0.80)  # part of each side of the photograph that a crop covers
SHARED = (0.40, 0.60)  # part of each side, about the centre, that every crop covers before it is tilted
LONGEST_SIDE = (320, 400)  # pixels
STRETCH = 0.08  # how far a crop's aspect may leave the photograph's
TILT = 6.0  # degrees
LOG_GAMMA = 0.30
CONTRAST = 0.15
BRIGHTNESS = 16.0  # grey levels of 255
WHITE_BALANCE = 0.08
JPEG_QUALITY = (70, 93)


class Box(NamedTuple):
    """A rectangle in pixels of the photograph: left, top, width, height."""

    left: int
    top: int
    width: int
    height: int


def photograph_files() -> list[Traversable]:
    """List the bundled photographs, sorted by name.

    Returns
    -------
    list of Traversable
        One JPEG each; the stem of its name is the name of its group.
    """
    folder = resources.files("fastvbow.demo") / "photographs"
    return sorted((file for file in folder.iterdir() if file.name.endswith(".jpg")), key=lambda file: file.name)


def crop_generator(seed: int, photograph: int, crop: int) -> np.random.Generator:
    """Make the random generator of one crop; no crop's numbers depend on how many others are made.

    Parameters
    ----------
    seed : int
        At least 0.
    photograph : int
        Place of the photograph in `photograph_files`.
    crop : int
        Place of the crop among its photograph's.

    Returns
    -------
    numpy.random.Generator
    """
    return np.random.default_rng([seed, photograph, crop])


def _span(rng: np.random.Generator, covered: float, side: int) -> tuple[int, int]:
    """Place a crop that covers the part `covered` of a side; return start and length in pixels."""
    start = rng.uniform(max(0.0, SHARED[1] - covered), min(SHARED[0], 1.0 - covered))
    first, last = round(start * side), round((start + covered) * side)
    return first, last - first


def crop_box(rng: np.random.Generator, width: int, height: int) -> Box:
    """Draw the rectangle of one crop.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the scale and the position are drawn from.
    width, height : int
        Size of the photograph in pixels.

    Returns
    -------
    Box
        Covers 45 to 80 % of each side, about in the photograph's aspect, and always the middle fifth of each side: any
        two boxes of one photograph share at least 4 % of its area.
    """
    scale, stretch = rng.uniform(*COVERAGE), rng.uniform(-STRETCH, STRETCH)
    covered = np.clip([scale * (1 + stretch), scale / (1 + stretch)], *COVERAGE)
    left, box_width = _span(rng, float(covered[0]), width)
    top, box_height = _span(rng, float(covered[1]), height)
    return Box(left, top, box_width, box_height)


def _cut(image: Pixels, box: Box, tilt: float, longest_side: int) -> Pixels:
    """Cut `box`, turned by `tilt` degrees about its middle, and resize it; mirrors where it leaves the photograph."""
    middle = (box.width - 1) / 2, (box.height - 1) / 2
    matrix = cv2.getRotationMatrix2D((box.left + middle[0], box.top + middle[1]), tilt, 1.0)
    matrix[:, 2] -= box.left, box.top
    cut = cv2.warpAffine(
        image, matrix, (box.width, box.height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101
    )
    ratio = longest_side / max(box.width, box.height)
    size = max(1, round(box.width * ratio)), max(1, round(box.height * ratio))
    resized = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if ratio < 1 else cv2.INTER_CUBIC)
    return np.asarray(resized, dtype=np.uint8)


def _light(rng: np.random.Generator, image: Pixels) -> Pixels:
    """Change gamma, contrast, brightness and white balance."""
    gamma = np.exp(rng.uniform(-LOG_GAMMA, LOG_GAMMA))
    contrast = rng.uniform(1 - CONTRAST, 1 + CONTRAST)
    brightness = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
    gains = np.array(
        [rng.uniform(1 - WHITE_BALANCE, 1 + WHITE_BALANCE), 1.0, rng.uniform(1 - WHITE_BALANCE, 1 + WHITE_BALANCE)]
    )
    # v' = (255 (v/255)^gamma - 128) contrast + 128 + brightness, times the gain of the channel (blue, green, red)
    tone = (255.0 * (np.arange(256) / 255.0) ** gamma - 128.0) * contrast + 128.0 + brightness
    table = np.clip(np.rint(tone[:, None] * gains), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), dtype=np.uint8)


def render_crop(rng: np.random.Generator, image: Pixels) -> bytes:
    """Make one crop of a photograph.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where everything that varies is drawn from.
    image : ndarray of shape (height, width, 3), uint8
        The photograph, channels in OpenCV's order: blue, green, red.

    Returns
    -------
    bytes
        A JPEG of three channels, the longest side 320 to 400 pixels.
    """
    box = crop_box(rng, image.shape[1], image.shape[0])
    tilt = rng.uniform(-TILT, TILT)
    longest_side = int(rng.integers(*LONGEST_SIDE, endpoint=True))
    crop = _light(rng, _cut(image, box, tilt, longest_side))
    quality = int(rng.integers(*JPEG_QUALITY, endpoint=True))
    done, encoded = cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise OSError("OpenCV could not write a crop as JPEG: its build lacks the JPEG encoder; reinstall OpenCV")
    return encoded.tobytes()


def _read(file: Traversable) -> Pixels:
    image = cv2.imdecode(np.frombuffer(file.read_bytes(), dtype=np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise OSError(f"{file}: the bundled photograph cannot be decoded; reinstall fastvbow")
    return np.asarray(image, dtype=np.uint8)


def make_crops(folder: str | os.PathLike[str], *, crops_per_photograph: int = 25, seed: int = 0) -> int:
    """Write overlapping crops of the bundled photographs into a folder.

    Parameters
    ----------
    folder : str or os.PathLike
        Where to write `NAME/NAME-00.jpg`, `NAME/NAME-01.jpg` and so on, NAME being the photograph's; it is made if
        missing. Crops of the same name are replaced, other files are left alone.
    crops_per_photograph : int, default=25
        Crops made of each photograph, at least 1. Asking for more adds to the same crops.
    seed : int, default=0
        At least 0. The same seed gives the same bytes on the same OpenCV.

    Returns
    -------
    int
        Crops written.

    Raises
    ------
    UsageError
        `crops_per_photograph` is below 1 or `seed` below 0.
    OSError
        The folder cannot be written to. Crops already there are whole; none is left half-written.

    Notes
    -----
    The photographs, and so the crops, keep their authors' licences: `photographs/LICENSES.md` in this package.
    """
    if crops_per_photograph < 1:
        raise UsageError(f"crops_per_photograph is {crops_per_photograph}; it must be at least 1")
    if seed < 0:
        raise UsageError(f"seed is {seed}; it must be at least 0")
    written = 0
    for place, file in enumerate(photograph_files()):
        image, name = _read(file), Path(file.name).stem
        group = Path(folder, name)
        group.mkdir(parents=True, exist_ok=True)
        for number in range(crops_per_photograph):
            content = render_crop(crop_generator(seed, place, number), image)
            path = group / f"{name}-{number:02d}.jpg"
            if not path.is_file() or path.read_bytes() != content:  # a crop that stands keeps its time: nothing to redo
                with replace_file(path) as unfinished:
                    unfinished.write_bytes(content)
            written += 1
    return written
