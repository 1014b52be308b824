"""From a file's bytes to pixels."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import EXHAUSTED, ImageError
from fastvbow.images.header import image_size, magic
from fastvbow.images.jpeg import jpeg_fault
from fastvbow.images.png import fit_png

__all__ = [
    "MOST_BYTES",
    "MOST_PIXELS",
    "ROOM",
    "Examined",
    "Photograph",
    "decode",
    "decode_examined",
    "decode_photograph",
    "examine",
    "open_regular",
    "read_bytes",
]

MOST_BYTES = (1 << 31) - 1
"""Larger files are refused unread: OpenCV takes no larger buffer."""

MOST_PIXELS = 1 << 28
"""Images of more pixels are refused by their header, before memory is taken: the largest one takes about 1.6 GB."""

ROOM = 4
"""How many times the side that is needed a reduced JPEG's longer side has at least.

With 4 and more, 96 of 100 SIFT keypoints of 19 large photographs came out as from the full decode (of pictures shrunk
to 320 pixels: within one of these, with nearly the same descriptor), with 2 to 3 it was 88; saving the photographs
anew at quality 95 left 98. A CNN's vectors come nearer to those of pictures shrunk without aliasing: mean
cosine .940, from the full decode .915, nearer in all of 26 photographs of 4 to 24 megapixels.
"""

_FLAGS = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def open_regular(path: str | bytes | Path) -> int:
    """A descriptor of a regular file, to be closed by the caller.

    Raises
    ------
    OSError
        It cannot be opened.
    ImageError
        It is no regular file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a FIFO would be waited for without
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise ImageError("not a regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ImageError("not a regular file")
    return descriptor


def read_bytes(path: str | bytes | Path) -> bytes:
    """The bytes of a regular file.

    Raises
    ------
    ImageError
        It cannot be read, is empty or larger than `MOST_BYTES`, or is no regular file (opening a FIFO would wait for
        ever).
    OSError
        The machine has run out of memory or open files.
    """
    try:
        with open(open_regular(path), "rb", buffering=0) as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if n_bytes > MOST_BYTES:
                raise ImageError(f"{n_bytes} bytes: more than {MOST_BYTES} are refused")
            data = file.read()
    except ImageError:
        raise
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise  # not this file's fault: stop, so that nothing is skipped that could be read
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise ImageError("empty file")
    return data


class Examined(NamedTuple):
    """An image file that has been looked at, and that may be decoded.

    Attributes
    ----------
    data : bytes
        What is to be decoded.
    size : tuple of int or None
        Width and height in pixels as the header has them, before EXIF turns the image; None: it cannot be told.
    share : int
        It is decoded at one over this of its size: 1, 2, 4 or 8.
    """

    data: bytes
    size: tuple[int, int] | None
    share: int


class Photograph(NamedTuple):
    """A decoded photograph.

    Attributes
    ----------
    pixels : ndarray of shape (height, width, 3), uint8
        RGB, upright; smaller than `width` and `height` say where decoding was reduced.
    width, height : int
        The photograph's full size as it is seen, in pixels.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image file's bytes to RGB.

    Greyscale, palette and CMYK become RGB, 16 bits become 8, alpha is dropped, the orientation that EXIF gives is
    applied.

    Parameters
    ----------
    data : bytes
        A whole image file (JPEG, PNG, WebP, TIFF, BMP, GIF's first frame and what else OpenCV reads).

    Returns
    -------
    ndarray of shape (height, width, 3), uint8

    Raises
    ------
    ImageError
        The bytes are no image, end before the image does, or announce more than `MOST_PIXELS`.
    """
    return decode_photograph(data).pixels


def decode_photograph(data: bytes, least_side: int | None = None) -> Photograph:
    """Decode an image file's bytes to RGB, a large JPEG at a half, a quarter or an eighth of its size.

    Parameters
    ----------
    data : bytes
        See `decode`.
    least_side : int, optional
        The longer side, in pixels, that the largest consumer shrinks a photograph to: at least `ROOM` times as much
        is decoded, and as much of the shorter side. Without it, and in other formats than JPEG, all is decoded.

    Returns
    -------
    Photograph
        Its pixels, and the full size; a place (x, y) in the pixels is ((x + 0.5) * width / pixels.shape[1] - 0.5, ...)
        in the full photograph, to within the part of a pixel that the reduced size is rounded by.

    Raises
    ------
    ImageError
        See `decode`.
    """
    return decode_examined(examine(data, least_side))


def examine(data: bytes, least_side: int | None = None) -> Examined:
    """Look at an image file's header and markers: the part of decoding that takes no memory for pixels.

    Parameters
    ----------
    data : bytes
        See `decode`.
    least_side : int, optional
        See `decode_photograph`.

    Raises
    ------
    ImageError
        The file is empty, of a format that cannot be read, truncated, or announces more than `MOST_PIXELS`.
    """
    if not data:
        raise ImageError("empty file")
    kind, size = magic(data), image_size(data)
    if kind == "HEIC":
        raise ImageError("HEIC, which OpenCV does not read: convert it to JPEG")
    if size and size[0] * size[1] > MOST_PIXELS:
        raise ImageError(f"{size[0]} x {size[1]} pixels: more than {MOST_PIXELS // 10**6} million are refused")
    if kind == "PNG":
        data = fit_png(data)
    if kind == "JPEG" and (fault := jpeg_fault(data)):
        raise ImageError(fault)
    return Examined(data, size, _reduction(size, least_side) if size and least_side and kind == "JPEG" else 1)


def decode_examined(image: Examined) -> Photograph:
    """The second part of `decode_photograph`.

    Raises
    ------
    ImageError
        The bytes are no image, or damaged.
    """
    data, size, share = image
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), _FLAGS[share])
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {error.err or error}") from None
    if pixels is None or pixels.size == 0:
        kind = magic(data)
        raise ImageError("not an image that can be decoded" if kind is None else f"damaged {kind}")
    height, width = pixels.shape[:2]
    if share > 1 and size:
        turned = width != -(-size[0] // share)
        width, height = size[::-1] if turned else size
    return Photograph(pixels if share == 1 else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), width, height)


def _reduction(size: tuple[int, int], least_side: int) -> int:
    """By how much a JPEG can be reduced: 1, 2, 4 or 8."""
    longer, shorter = max(size), min(size)
    for share in (8, 4, 2):
        # Nearly square, the reduced picture would not tell whether EXIF has turned it.
        told = longer == shorter or -(-longer // share) != -(-shorter // share)
        if longer >= ROOM * least_side * share and shorter >= least_side * share and told:
            return share
    return 1


def silence_decoders() -> None:
    """Keep OpenCV's own warnings off stderr: each bad file is reported once, by name, by the route."""
    if hasattr(cv2, "setLogLevel"):  # until OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
