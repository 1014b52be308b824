"""From a mask's file to the class of each pixel.

- ``ade20k``: 8-bit RGB; the class is R // 10 * 256 + G, 0 is unlabelled; B numbers the instances.
- ``sceneparsing``: one channel of 8 bits; 1 to 150 are classes, 0 is "other objects".
- ``parallel`` and ``beside``: one channel of 8 or 16 bits, or a palette, whose indices count and whose colours do not;
  the largest number (255 of 8 bits, 65535 of 16) is unlabelled, all others are classes, 0 too.
"""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from numpy.typing import NDArray

from fastvbow.errors import ImageError
from fastvbow.images.decode import read_bytes
from fastvbow.images.header import image_size, magic
from fastvbow.images.png import fit_png

__all__ = ["SCENE_PARSING_CLASSES", "UNLABELLED", "read_mask"]

UNLABELLED = -1
SCENE_PARSING_CLASSES = 150
_TENS = np.arange(256, dtype=np.int32) // 10 * 256
_MODES = {0: "greyscale", 2: "RGB", 3: "palette", 4: "greyscale with alpha", 6: "RGB with alpha"}
_AT = 8  # where the chunks of a PNG begin; the header's fields stand 8 bytes further
_DEPTH, _COLOUR = _AT + 16, _AT + 17


def read_mask(path: bytes, layout: str, width: int, height: int, *, turned: bool = False) -> NDArray[np.int32]:
    """The class of each pixel of a photograph.

    Parameters
    ----------
    path : bytes
        A PNG file.
    layout : str
        One of `fastvbow.images.mask_files.LAYOUTS`: how classes are written.
    width, height : int
        Of the photograph, in pixels.
    turned : bool, default=False
        Whether the mask may also be `height` wide and `width` high, as those of photographs that EXIF turns: for uses
        to which places do not matter.

    Returns
    -------
    ndarray of shape (height, width), int32
        `UNLABELLED` where a pixel has no class.

    Raises
    ------
    ImageError
        It cannot be read, is damaged, has another size than the photograph, is not written as `layout` says, or holds
        a class that the layout does not have.
    OSError
        The machine has run out of memory or open files.
    """
    data = read_bytes(path)
    if (kind := magic(data)) != "PNG":
        raise ImageError(f"a mask is a PNG file, this is {kind or 'no image'}")
    data = fit_png(data)
    size = image_size(data)
    if size != (width, height) and not (turned and size == (height, width)):
        shown = "no size" if size is None else f"{size[0]} x {size[1]} pixels"
        raise ImageError(f"the mask has {shown}, its photograph {width} x {height}")
    depth, colour = data[_DEPTH], data[_COLOUR]
    wanted = "8-bit RGB" if layout == "ade20k" else "greyscale or palette"
    if (colour, depth) != (2, 8) if layout == "ade20k" else colour not in (0, 3):
        raise ImageError(f"the mask is {depth}-bit {_MODES[colour]}; in the layout {layout} it is {wanted}")
    pixels = _decode(_indices(data) if colour == 3 else data)
    if layout == "ade20k":
        classes = _TENS[pixels[..., 2]] + pixels[..., 1]
        unlabelled = 0
    else:
        # As greyscale, indices of fewer than 8 bits come out stretched to 0..255.
        classes = pixels.astype(np.int32) // (255 // (2**depth - 1) if colour == 3 else 1)
        unlabelled = 0 if layout == "sceneparsing" else int(np.iinfo(pixels.dtype).max)
    if layout == "sceneparsing" and (most := int(classes.max())) > SCENE_PARSING_CLASSES:
        raise ImageError(f"the mask holds the class {most}; scene parsing has {SCENE_PARSING_CLASSES}")
    classes[classes == unlabelled] = UNLABELLED
    return classes


def _decode(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ImageError(f"cannot be decoded: {error.err or error}") from None
    if pixels is None or pixels.size == 0:
        raise ImageError("damaged PNG")
    return pixels


def _indices(data: bytes) -> bytes:
    """A PNG with a palette as greyscale of its indices: OpenCV would give the colours."""
    kept, at = [data[:_AT]], _AT
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        chunk = data[at : at + 12 + length]
        if name == b"IHDR":
            body = chunk[4:17] + b"\0" + chunk[18:-4]
            chunk = chunk[:4] + body + zlib.crc32(body).to_bytes(4, "big")
        if name in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(chunk)
        at += 12 + length
    return b"".join(kept)
