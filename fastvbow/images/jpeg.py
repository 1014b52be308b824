"""Whether a JPEG is whole, as far as its markers tell.

OpenCV does not say when libjpeg runs into the end or into a marker amid the compressed pixels: the rest comes out grey.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["jpeg_fault", "jpeg_markers"]

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # amid compressed pixels: 00 stuffs, D0 to D7 restart
_TRUNCATED = "truncated JPEG (its end marker is missing)"


def jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """The marker segments of a JPEG up to its first scan, as (marker, where its bytes FF xx begin).

    Like libjpeg it skips bytes that belong to no segment. It ends where the file does.
    """
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in (0, 1) or 0xD0 <= marker <= 0xD8:  # no marker, or one without a segment
            at += 2
        else:
            yield marker, at
            if marker in (0xD9, 0xDA):
                return
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def jpeg_fault(data: bytes) -> str | None:
    """Why the pixels of a JPEG cannot all be there, or None.

    The segments are stepped over by their lengths, for an EXIF thumbnail has an end marker of its own. What was
    overwritten by noise is mostly noticed, for in it FF is soon followed by what is no marker of a picture; bytes that
    are lost, zeroed or taken from another JPEG are not.

    Parameters
    ----------
    data : bytes
        A file that begins like a JPEG.

    Returns
    -------
    str or None
    """
    scan = next((at for marker, at in jpeg_markers(data) if marker in (0xD9, 0xDA)), -1)
    if scan < 0:
        return _TRUNCATED
    at = scan
    while match := _MARKER.search(data, at):
        at = match.start()
        marker = data[at + 1]
        if marker == 0xD9:
            return None
        if marker < 0xC0:
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return _TRUNCATED if data.find(b"\xff\xd9", scan) < 0 else "damaged JPEG (a stray marker amid its pixels)"
