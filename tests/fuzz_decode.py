"""Damaged image files, each made from a number, and what the decoder does with them.

Run by itself (``python tests/fuzz_decode.py FIRST COUNT``) it decodes the files FIRST to FIRST + COUNT - 1 and tells
each number before it begins, so that a file that kills the process is known by the last line.
"""

from __future__ import annotations

import faulthandler
import random
import resource
import struct
import sys
import zlib
from collections import Counter

import cv2
import numpy as np
from odd_files import CMYK_JPEG, busy, encoded, odd_contents, palette_png, with_exif

from fastvbow.errors import ImageError
from fastvbow.images import decode as decoding
from fastvbow.images.header import image_size

SECONDS = 20  # that one file may take
MEMORY = 4 << 30  # bytes of address space that the process may take
MOST_PIXELS = 1 << 22  # in here, so that files which announce much are refused soon
EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF, 1 << 31, 0xFFFFFFFF)


def originals() -> dict[str, bytes]:
    """Good files of every kind that OpenCV reads, small ones, so that damage hits headers often."""
    photo = busy(40, 56)
    jpeg = encoded(".jpg", photo)
    found = {
        "jpeg": jpeg,
        "progressive": encoded(".jpg", photo, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "restarts": encoded(".jpg", photo, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
        "turned": with_exif(jpeg, 6, encoded(".jpg", photo[::4, ::4].copy())),
        "grey": encoded(".jpg", photo[:, :, 0].copy()),
        "cmyk": CMYK_JPEG,
        "png": encoded(".png", photo),
        "palette": palette_png(),
        "alpha": encoded(".png", np.dstack([photo, photo[:, :, 0]])),
        "sixteen": encoded(".png", photo.astype(np.uint16) * 257),
        "lossless": encoded(".webp", photo),
        "webp": encoded(".webp", photo, cv2.IMWRITE_WEBP_QUALITY, 80),
        "webp alpha": encoded(".webp", np.dstack([photo, photo[:, :, 0]]), cv2.IMWRITE_WEBP_QUALITY, 80),
        "tiff": encoded(".tif", photo),
        "plain tiff": encoded(".tif", photo, cv2.IMWRITE_TIFF_COMPRESSION, 1),
        "deep tiff": encoded(".tif", photo.astype(np.uint16) * 257),
        "bmp": encoded(".bmp", photo),
        "grey bmp": encoded(".bmp", photo[:, :, 0].copy()),
        "pam": encoded(".pam", photo),
        "light": encoded(".hdr", photo.astype(np.float32)),
        "floating point": encoded(".pfm", photo.astype(np.float32)),
    }
    made = odd_contents()
    return found | {name: made[name][0] for name in FURTHER if name in made}


FURTHER = (
    *("animation.png", "animation.gif", "animation.webp", "one-bit.png", "photo.gif", "photo.avif", "photo.jp2"),
    *("bigtiff.tif", "big-endian.tif", "photo.ppm", "letters.pgm", "one-bit.pbm", "photo.ras"),
)


def with_right_checksums(data: bytes) -> bytes:
    """A PNG whose chunks, as far as they can be stepped over, bear the checksums of what is in them."""
    found, at = bytearray(data), 8
    while at + 12 <= len(found):
        end = at + 12 + int.from_bytes(found[at : at + 4], "big")
        if end > len(found):
            break
        found[end - 4 : end] = struct.pack(">I", zlib.crc32(found[at + 4 : end - 4]))
        at = end
    return bytes(found)


def damaged(seed: int, good: dict[str, bytes]) -> tuple[str, bytes]:
    """The file of this number: the kind it was, and its bytes."""
    chance = random.Random(seed)
    kind = sorted(good)[seed % len(good)]
    data = bytearray(good[kind])
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        if not data:
            break
        # Half of all damage lies in the first 64 bytes, where the headers are.
        at = chance.randrange(min(64, len(data))) if chance.random() < 0.5 else chance.randrange(len(data))
        length = chance.choice((1, 2, 4, 16, 200))
        way = chance.randrange(7)
        if way == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif way == 1:
            data[at : at + length] = chance.randbytes(len(data[at : at + length]))
        elif way == 2:
            del data[at : at + length]
        elif way == 3:
            data[at:at] = data[at : at + length]
        elif way == 4:
            field = struct.pack(chance.choice("<>") + "Q", chance.choice(EXTREMES))
            size = chance.choice((1, 2, 4))
            field = field[:size] if field[0] or not field[-1] else field[-size:]
            data[at : at + size] = field[: len(data[at : at + size])]
        elif way == 5:
            del data[at:]
        else:
            other = good[chance.choice(sorted(good))]
            start = chance.randrange(len(other))
            data[at : at + length] = other[start : start + length]
    if data.startswith(b"\x89PNG") and chance.random() < 0.7:
        return kind, with_right_checksums(bytes(data))
    return kind, bytes(data)


def check(data: bytes) -> str:
    """Decode a file; what became of it, in one word or its reason. Anything wrong raises AssertionError."""
    size = image_size(data)
    try:
        pixels = decoding.decode(data)
    except ImageError as error:
        assert error.reason.isprintable(), error.reason
        return "pixels: refused" if "are refused" in error.reason else error.reason[:40]
    assert isinstance(pixels, np.ndarray), type(pixels)
    assert pixels.dtype == np.uint8, pixels.dtype
    assert pixels.ndim == 3 and pixels.shape[2] == 3, pixels.shape
    assert size is not None, f"OpenCV reads {pixels.shape} where the header gives nothing"
    assert pixels.shape[1::-1] in {size, size[::-1]}, (pixels.shape, size)
    return "read"


def main(first: int, count: int) -> None:
    """Decode these files and tell what became of them."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    decoding.MOST_PIXELS = MOST_PIXELS  # type: ignore[misc]
    decoding.silence_decoders()
    cv2.setNumThreads(1)
    good = originals()
    outcomes: Counter[str] = Counter()
    for seed in range(first, first + count):
        print(seed, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        kind, data = damaged(seed, good)
        outcomes[f"{kind}: {'read' if check(data) == 'read' else 'refused'}"] += 1
    faulthandler.cancel_dump_traceback_later()
    for outcome, times in sorted(outcomes.items()):
        print("=", times, outcome)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
