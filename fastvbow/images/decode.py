"""From a file's bytes to pixels."""

from __future__ import annotations

import stat
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import EXHAUSTED, ImageError

__all__ = ["decode", "read_bytes"]

HEIC_BRANDS = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises
    ------
    ImageError
        It cannot be read, is empty, or is no regular file (opening a FIFO would wait for ever).
    OSError
        The machine has run out of memory or open files.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ImageError("not a regular file")
        data = path.read_bytes()
    except ImageError:
        raise
    except (OSError, ValueError, MemoryError) as error:  # ValueError: a NUL in the path
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            raise  # not this file's fault: stop, so that nothing is skipped that could be read
        raise ImageError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not data:
        raise ImageError("empty file")
    return data


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
        The bytes are no image, or end before the image does.
    """
    if not data:
        raise ImageError("empty file")
    if data[4:8] == b"ftyp" and data[8:12] in HEIC_BRANDS:
        raise ImageError("HEIC, which OpenCV does not read: convert it to JPEG")
    if data.startswith(b"\x89PNG") and b"IEND" not in data:  # libpng would tell stderr
        raise ImageError("truncated PNG (its end marker is missing)")
    if _jpeg_is_cut_short(data):
        raise ImageError("truncated JPEG (its end marker is missing)")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {error.err or error}") from None
    if pixels is None or pixels.size == 0:
        raise ImageError("not an image that can be decoded" if _magic(data) is None else f"damaged {_magic(data)}")
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def _magic(data: bytes) -> str | None:
    """The format that the first bytes announce."""
    heads = (
        ("JPEG", b"\xff\xd8\xff"),
        ("PNG", b"\x89PNG"),
        ("GIF", b"GIF8"),
        ("TIFF", b"II*\0"),
        ("TIFF", b"MM\0*"),
        ("BMP", b"BM"),
    )
    for name, head in heads:
        if data.startswith(head):
            return name
    return "WebP" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _jpeg_is_cut_short(data: bytes) -> bool:
    """Whether a JPEG lacks its end marker, which OpenCV does not report: it fills the missing rows with grey.

    The segments before the first scan are stepped over by their lengths, for an EXIF thumbnail has an end marker of its
    own. Inside the scans 0xFF is always followed by 0x00 or a marker, so that FF D9 there is the end.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return False  # damaged in another way: the decoder decides
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker == 0xDA:
            return data.find(b"\xff\xd9", at) < 0
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:  # markers without a segment
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True


def silence_decoders() -> None:
    """Keep OpenCV's own warnings off stderr: each bad file is reported once, by name, by the route."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
