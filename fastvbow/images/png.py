"""PNG files, made fit for OpenCV.

From release 4.11 on OpenCV reads the chunks by itself before libpng does: it takes the two gigabytes that a chunk
announces, which costs seconds, releases before 5.0 end the process over a damaged frame of an animation, and libpng
writes its complaints to stderr, past every log level. So the chunks are stepped over here first.
"""

from __future__ import annotations

import struct
import zlib

from fastvbow.errors import ImageError

__all__ = ["fit_png"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type


def fit_png(data: bytes) -> bytes:
    """The chunks that make the picture, once they are known to be whole: no animation, no texts, no colour profiles.

    Parameters
    ----------
    data : bytes
        A file that begins like a PNG.

    Returns
    -------
    bytes
        `data` itself where there is nothing to leave out. Of an animation the picture that is no part of it, or its
        first one, is left.

    Raises
    ------
    ImageError
        The file ends before its end marker, or a chunk is missing, out of place or has a wrong checksum.
    """
    if not data.startswith(_SIGNATURE):
        raise ImageError("damaged PNG (its signature is incomplete)")
    kept: list[bytes | memoryview] = [_SIGNATURE]
    seen, at = set[bytes](), len(_SIGNATURE)
    view = memoryview(data)
    while True:
        if at + 12 > len(data):
            raise ImageError("truncated PNG (its end marker is missing)")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ImageError("truncated PNG (its end marker is missing)")
        critical = not name[0] & 0x20
        whole = zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big")
        if critical:
            _check(name, seen, data[at + 8 : at + 24], length, whole)
            if name == b"IDAT" and data[25] == 3 and b"PLTE" not in seen:
                raise ImageError("damaged PNG (its palette is missing)")
        if critical or (whole and name in (b"tRNS", b"eXIf") and name not in seen):
            kept.append(view[at:end])
            seen.add(name)
        at = end
        if name == b"IEND":
            break
    return data if sum(map(len, kept)) == len(data) else b"".join(kept)


def _check(name: bytes, seen: set[bytes], head: bytes, length: int, whole: bool) -> None:
    """Refuse a critical chunk over which libpng would stumble."""
    label = name.decode("ascii", "backslashreplace")
    label = label if label.isprintable() else "with a strange name"
    if not whole:
        raise ImageError(f"damaged PNG (the checksum of its chunk {label} is wrong)")
    if name not in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
        raise ImageError(f"PNG with a chunk {label}, which OpenCV does not know")
    if (name == b"IHDR") == bool(seen) or (name == b"PLTE" and seen & {b"PLTE", b"IDAT"}):
        raise ImageError(f"damaged PNG (its chunk {label} is out of place)")
    if name == b"IEND" and b"IDAT" not in seen:
        raise ImageError("damaged PNG (it holds no pixels)")
    if name == b"IHDR" and (
        length != 13 or head[8] not in _DEPTHS.get(head[9], ()) or any(head[10:12]) or head[12] > 1
    ):
        raise ImageError("damaged PNG (its header is invalid)")
    if name == b"PLTE" and (length % 3 or not 3 <= length <= 768):
        raise ImageError("damaged PNG (its palette is invalid)")
