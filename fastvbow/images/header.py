"""The size of an image from its file's header, before anything is decoded.

Each format that the installed OpenCV reads has a function here that finds width and height where its decoder finds
them: in the first frame header of a JPEG, the canvas of a GIF or WebP, the first directory of a TIFF. What cannot be
understood gives None, never an exception, whatever the bytes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator

from fastvbow.images.jpeg import jpeg_markers

__all__ = ["image_size", "magic"]

Size = tuple[int, int]

_TEXT = 4096  # bytes within which a header in text has to end


def image_size(data: bytes) -> Size | None:
    """Width and height as stored, before EXIF's orientation turns the image.

    Parameters
    ----------
    data : bytes
        An image file, or its beginning.

    Returns
    -------
    tuple of int, or None
        None for bytes that are no image of a known format, or whose header is cut short or damaged.
    """
    name = magic(data)
    reader = _READERS.get(name or "")
    try:
        size = reader(data) if reader else None
    except (struct.error, ValueError, IndexError, OverflowError):  # it ends too soon, or points nowhere
        return None
    return size if size and min(size) > 0 else None


def magic(data: bytes) -> str | None:
    """The format that the first bytes announce."""
    for name, head in _HEADS:
        if data.startswith(head):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        brands = {data[at : at + 4] for at in (8, *range(16, min(int.from_bytes(data[:4], "big"), 256), 4))}
        # The brand of any HEIF file stands first in some AVIF files too.
        return "AVIF" if brands & {b"avif", b"avis"} else "HEIC" if brands & _HEIC else None
    if re.match(rb"P[Ff]\s", data):
        return "PFM"
    return "PNM" if re.match(rb"P[1-6]\s", data) else None


_HEIC = frozenset({b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"})

_HEADS = (
    ("JPEG", b"\xff\xd8\xff"),
    ("PNG", b"\x89PNG"),
    ("GIF", b"GIF8"),
    ("TIFF", b"II*\0"),
    ("TIFF", b"MM\0*"),
    ("TIFF", b"II+\0"),
    ("TIFF", b"MM\0+"),
    ("BMP", b"BM"),
    ("JPEG 2000", b"\0\0\0\x0cjP  \r\n\x87\n"),
    ("JPEG 2000", b"\xff\x4f\xff\x51"),
    ("Sun raster", b"\x59\xa6\x6a\x95"),
    ("PAM", b"P7\n"),
    ("Radiance HDR", b"#?R"),
)


def _jpeg(data: bytes) -> Size | None:
    for marker, at in jpeg_markers(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # a frame header, of whichever process
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
    return None


def _png(data: bytes) -> Size | None:
    return struct.unpack_from(">II", data, 16) if data[12:16] == b"IHDR" else None


def _gif(data: bytes) -> Size | None:
    return struct.unpack_from("<HH", data, 6)


def _bmp(data: bytes) -> Size | None:
    if struct.unpack_from("<I", data, 14)[0] == 12:  # OS/2
        return struct.unpack_from("<HH", data, 18)
    width, height = struct.unpack_from("<ii", data, 18)  # a negative height: the first row is the upper one
    return width, abs(height)


def _webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _tiff(data: bytes) -> Size | None:
    order = "<" if data[:2] == b"II" else ">"
    if b"+" in data[2:4]:  # BigTIFF
        first, count_code, value_at, step = struct.unpack_from(order + "Q", data, 8)[0], "Q", 12, 20
    else:
        first, count_code, value_at, step = struct.unpack_from(order + "I", data, 4)[0], "H", 8, 12
    codes = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}  # libtiff takes signed ones too
    (count,) = struct.unpack_from(order + count_code, data, first)
    start = first + struct.calcsize(order + count_code)
    found: dict[int, int] = {}
    for at in range(start, min(start + count * step, len(data) - step + 1), step):
        tag, kind = struct.unpack_from(order + "HH", data, at)
        if tag in (256, 257) and kind in codes:
            found.setdefault(tag, struct.unpack_from(order + codes[kind], data, at + value_at)[0])
    return (found[256], found[257]) if len(found) == 2 else None


def _pnm(data: bytes) -> Size | None:
    gap = rb"(?:\s|#[^\r\n]*+[\r\n])*+"
    # To OpenCV any byte ends a number.
    match = re.match(rb"P[1-6]" + gap + rb"(\d++)[\s\S]" + gap + rb"(\d++)", data)
    return (int(match[1]), int(match[2])) if match else None


def _pam(data: bytes) -> Size | None:
    sides = [re.search(rb"^" + word + rb"[ \t]+(\d{1,9})", data[:_TEXT], re.M) for word in (b"WIDTH", b"HEIGHT")]
    return (int(sides[0][1]), int(sides[1][1])) if sides[0] and sides[1] else None


def _pfm(data: bytes) -> Size | None:
    match = re.match(rb"P[Ff]\s+(\d{1,9})\S*\s+(\d{1,9})", data[:_TEXT])
    return (int(match[1]), int(match[2])) if match else None


def _hdr(data: bytes) -> Size | None:
    match = re.search(rb"\n[-+]Y\s*(\d{1,9})\s*[-+]X\s*(\d{1,9})", data[:_TEXT])
    return (int(match[2]), int(match[1])) if match else None


def _ras(data: bytes) -> Size | None:
    return struct.unpack_from(">II", data, 4)


def _jp2(data: bytes) -> Size | None:
    """The reference grid of the codestream, which alone counts for the decoder, whatever the boxes say."""
    if data.startswith(b"\xff\x4f"):
        at = 0
    else:
        at = next((body for name, body, _ in _boxes(data, 0, len(data)) if name == b"jp2c"), len(data))
    if data[at : at + 4] != b"\xff\x4f\xff\x51":
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    return right - left, bottom - top


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an ISO base media file between two places, as (name, where its content begins, where it ends)."""
    while at + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if length == 1 and at + 16 <= end:
            head, length = 16, struct.unpack_from(">Q", data, at + 8)[0]
        stop = end if length == 0 else at + length
        if length and length < head:
            return
        yield name, at + head, min(stop, end)
        at = stop


def _avif(data: bytes) -> Size | None:
    """The extent (ispe) of the primary item. libavif by itself refuses more than 2**28 pixels."""
    top = {name: (body, end) for name, body, end in reversed(list(_boxes(data, 0, len(data))))}
    if b"meta" not in top:
        return None
    body, end = top[b"meta"]
    meta = {name: span for name, *span in _boxes(data, body + 4, end)}
    if b"pitm" not in meta:
        return None
    at = meta[b"pitm"][0]
    item = struct.unpack_from(">I" if data[at] else ">H", data, at + 4)[0]
    shared = {name: span for name, *span in _boxes(data, *meta.get(b"iprp", (0, 0)))}
    properties = [(name, body) for name, body, _ in _boxes(data, *shared.get(b"ipco", (0, 0)))]
    for index in _associated(data, item, *shared.get(b"ipma", (0, 0))):
        if 0 < index <= len(properties) and properties[index - 1][0] == b"ispe":
            return struct.unpack_from(">II", data, properties[index - 1][1] + 4)
    return None


def _associated(data: bytes, item: int, at: int, end: int) -> Iterator[int]:
    """Which properties the box ``ipma`` gives to an item, counted from 1."""
    if at == end:
        return
    version, flags = data[at], data[at + 3]
    (entries,) = struct.unpack_from(">I", data, at + 4)
    at += 8
    for _ in range(entries):
        if at >= end:
            return
        (owner,) = struct.unpack_from(">I" if version else ">H", data, at)
        at += 4 if version else 2
        wide, count = flags & 1, data[at]
        for place in range(count):
            where = at + 1 + place * (2 if wide else 1)
            index = struct.unpack_from(">H", data, where)[0] & 0x7FFF if wide else data[where] & 0x7F
            if owner == item:
                yield index
        at += 1 + count * (2 if wide else 1)


_READERS: dict[str, Callable[[bytes], Size | None]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": _gif,
    "BMP": _bmp,
    "WebP": _webp,
    "TIFF": _tiff,
    "PNM": _pnm,
    "PAM": _pam,
    "PFM": _pfm,
    "Radiance HDR": _hdr,
    "Sun raster": _ras,
    "JPEG 2000": _jp2,
    "AVIF": _avif,
}
