"""A corpus of bad and odd image files, made on the spot, each with what has to become of it."""

from __future__ import annotations

import base64
import contextlib
import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)

# 16 x 8 pixels, CMYK with Adobe's marker: the left half red, the right half green. OpenCV cannot write such a file.
CMYK_JPEG = base64.b64decode(
    "/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwANCQoLCggNCwoLDg4NDxMgFRMSEhMnHB4XIC4pMTAuKS0sMzpKPjM2RjcsLUBXQUZMTlJTUjI+WmFaUGBKUVJP"
    "/8AAFAgACAAQBEMRAE0RAFkRAEsRAP/EABYAAQEBAAAAAAAAAAAAAAAAAAcACP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAOBEMATQBZAEsAAD8AThgM"
    "CczE06k//9k="
)


@dataclass(frozen=True)
class Expectation:
    """What has to become of a file.

    Attributes
    ----------
    status : str
        ``read``, ``skip`` (in the image table, but no pixels come of it) or ``unlisted`` (the scan passes it over).
    reason : str
        Pattern (`re.search`) of the reason why it is skipped.
    size : tuple of int or None
        Width and height as decoded.
    raw : bytes
        The relative path as the file system has it.
    """

    status: str
    reason: str = ""
    size: tuple[int, int] | None = None
    raw: bytes = b""


def busy(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An RGB picture with structure at several scales, so with many keypoints."""
    noise = np.random.default_rng(seed)
    image = np.zeros((height, width, 3), np.float32)
    for cell in (4, 9, 20):
        shape = (height // cell + 2, width // cell + 2, 3)
        small = noise.random(shape, dtype=np.float32) * 255
        image += cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC) / 3
    return np.clip(image, 0, 255).astype(np.uint8)


def halves(height: int, width: int, left=RED, right=GREEN) -> np.ndarray:
    """An RGB picture of two colours."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2], image[:, width // 2 :] = left, right
    return image


def quarters(height: int, width: int) -> np.ndarray:
    """Red, green over blue, yellow: no flip or turn of it looks like another."""
    return np.vstack([halves(height // 2, width), halves(height - height // 2, width, BLUE, YELLOW)])


def encoded(suffix: str, image: np.ndarray, *options: int) -> bytes:
    """An image file's bytes; `image` is grey, RGB or RGBA."""
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR if image.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
    done, data = cv2.imencode(suffix, image, list(options))
    assert done, suffix
    return data.tobytes()


def with_exif(jpeg: bytes, orientation: int, thumbnail: bytes = b"") -> bytes:
    """A JPEG with an EXIF segment right after its start marker."""

    def directory(entries: list[tuple[int, int]], following: int) -> bytes:
        # Every value as LONG, but the orientation as SHORT, as the standard has it.
        fields = b"".join(
            struct.pack("<HHIHH", tag, 3, 1, value, 0) if tag == 0x0112 else struct.pack("<HHII", tag, 4, 1, value)
            for tag, value in entries
        )
        return struct.pack("<H", len(entries)) + fields + struct.pack("<I", following)

    first_end = 8 + 2 + 12 + 4
    tiff = b"II*\0" + struct.pack("<I", 8) + directory([(0x0112, orientation)], first_end if thumbnail else 0)
    if thumbnail:
        start = first_end + 2 + 3 * 12 + 4
        tiff += directory([(0x0103, 6), (0x0201, start), (0x0202, len(thumbnail))], 0) + thumbnail
    body = b"Exif\0\0" + tiff
    assert jpeg[:2] == b"\xff\xd8"
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png(width: int, height: int, rows: bytes, *, depth: int, colour: int, chunks: tuple[tuple[bytes, bytes], ...] = ()):
    """A PNG from its packed rows (without filter bytes), for the kinds that OpenCV does not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    step = len(rows) // height
    lines = b"".join(b"\0" + rows[i * step : (i + 1) * step] for i in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def palette_png() -> bytes:
    """8 x 4 pixels, the left half red, the right half green."""
    rows = (bytes([0] * 4) + bytes([1] * 4)) * 4
    return png(8, 4, rows, depth=8, colour=3, chunks=((b"PLTE", bytes([*RED, *GREEN])),))


def scan_start(jpeg: bytes) -> int:
    """Where a JPEG's compressed pixels begin."""
    return jpeg.index(b"\xff\xda")


def odd_contents() -> dict[str, tuple[bytes, Expectation]]:
    """The bytes of each odd regular file with a plain name."""
    photo = busy(90, 120)
    jpeg = encoded(".jpg", photo)
    middle = (scan_start(jpeg) + len(jpeg)) // 2
    thumbnail = encoded(".jpg", photo[::4, ::4].copy())
    big_thumbnail = with_exif(jpeg, 1, thumbnail)
    read = Expectation("read", size=(120, 90))
    cut = Expectation("skip", "^truncated JPEG")
    found = {
        "plain.jpg": (jpeg, read),
        "progressive.jpg": (encoded(".jpg", photo, cv2.IMWRITE_JPEG_PROGRESSIVE, 1), read),
        "restart-markers.jpg": (encoded(".jpg", photo, cv2.IMWRITE_JPEG_RST_INTERVAL, 2), read),
        "empty.jpg": (b"", Expectation("skip", "^empty file$")),
        "text.jpg": (b"This is no photograph.\n" * 9, Expectation("skip", "^not an image")),
        "zeros.jpg": (bytes(999), Expectation("skip", "^not an image")),
        "cut-after-3-bytes.jpg": (jpeg[:3], cut),
        "cut-in-header.jpg": (jpeg[:25], cut),
        "cut-before-scan.jpg": (jpeg[: scan_start(jpeg)], cut),
        "cut-in-scan.jpg": (jpeg[:middle], cut),
        "cut-in-progressive.jpg": (encoded(".jpg", photo, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)[:-40], cut),
        "cut-before-end.jpg": (jpeg[:-2], cut),
        "cut-inside-end.jpg": (jpeg[:-1], cut),
        "thumbnail.jpg": (big_thumbnail, read),
        # Its thumbnail is whole, with an end marker of its own; the photograph is not.
        "thumbnail-then-cut.jpg": (big_thumbnail[: middle + len(big_thumbnail) - len(jpeg)], cut),
        "trailing-bytes.jpg": (jpeg + b"appended by a phone" * 9, read),
        "filled-up-with-zeros.jpg": (jpeg[:middle] + bytes(500), cut),
        "turned.jpg": (with_exif(jpeg, 6), Expectation("read", size=(90, 120))),
        "one-pixel.jpg": (encoded(".jpg", photo[:1, :1].copy()), Expectation("read", size=(1, 1))),
        "one-pixel.png": (encoded(".png", photo[:1, :1].copy()), Expectation("read", size=(1, 1))),
        "strip-wide.png": (encoded(".png", busy(1, 700)), Expectation("read", size=(700, 1))),
        "strip-high.png": (encoded(".png", busy(700, 1)), Expectation("read", size=(1, 700))),
        "flat.jpg": (encoded(".jpg", np.full((90, 120, 3), 128, np.uint8)), read),
        "grey.jpg": (encoded(".jpg", photo[:, :, 0].copy()), read),
        "alpha.png": (encoded(".png", np.dstack([photo, photo[:, :, 0]])), read),
        "sixteen-bits.png": (encoded(".png", photo.astype(np.uint16) * 257), read),
        "palette.png": (palette_png(), Expectation("read", size=(8, 4))),
        "one-bit.png": (png(8, 4, bytes([0b11110000] * 4), depth=1, colour=0), Expectation("read", size=(8, 4))),
        "cmyk.jpg": (CMYK_JPEG, Expectation("read", size=(16, 8))),
        "a-png-really.jpg": (encoded(".png", photo), read),
        "cut.png": (encoded(".png", photo)[:-2000], Expectation("skip", "^truncated PNG")),
        "cut.webp": (encoded(".webp", photo)[:-900], Expectation("skip", "^damaged WebP$")),
        "cut.tif": (encoded(".tif", photo)[:-2000], Expectation("skip", "^damaged TIFF$")),
        "cut.bmp": (encoded(".bmp", photo)[:-2000], Expectation("skip", "^damaged BMP$")),
        "photo.webp": (encoded(".webp", photo), read),
        "photo.tif": (encoded(".tif", photo), read),
        "photo.bmp": (encoded(".bmp", photo), read),
        "UPPER.JPG": (jpeg, read),
        "Mixed.JpEg": (jpeg, read),
        "no-image.txt": (b"text", Expectation("unlisted")),
        "no-suffix": (jpeg, Expectation("unlisted")),
        ".hidden.jpg": (jpeg, Expectation("unlisted")),
        ".hidden-folder/photo.jpg": (jpeg, Expectation("unlisted")),
        "folder.jpg/inside.jpg": (jpeg, read),
        "name with spaces.jpg": (jpeg, read),
        "Grüße 猫 🐈.jpg": (jpeg, read),
        "two\nlines\r\tand a tab.jpg": (jpeg, read),
        "quotes ' \" ` and $(echo) & ; \\ <b>.jpg": (jpeg, read),
        "-o.jpg": (jpeg, read),
        "*?[a].jpg": (jpeg, read),
    }
    if cv2.haveImageWriter("a.gif"):  # from OpenCV 4.11 on
        gif = encoded(".gif", photo)
        found["photo.gif"] = (gif, read)
        found["cut.gif"] = (gif[:-2000], Expectation("skip", "^damaged GIF$"))
    return found


def make_odd_files(folder: Path) -> dict[str, Expectation]:
    """Write the corpus into a folder; the keys are relative paths as the image table names them."""
    folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Expectation] = {}

    def note(raw: bytes, status: str, reason: str = "", size: tuple[int, int] | None = None) -> Path:
        made[raw.decode("utf-8", "backslashreplace")] = Expectation(status, reason, size, raw)
        return folder / os.fsdecode(raw)

    for name, (data, wanted) in odd_contents().items():
        path = note(name.encode(), wanted.status, wanted.reason, wanted.size)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    whole = (folder / "plain.jpg").read_bytes()
    with contextlib.suppress(OSError):  # some file systems take only valid UTF-8
        (folder / os.fsdecode(b"latin-\xe9\xff.jpg")).write_bytes(whole)
        note(b"latin-\xe9\xff.jpg", "read", size=(120, 90))
    os.mkfifo(note(b"fifo.jpg", "skip", "^not a regular file$"))
    note(b"link.jpg", "read", size=(120, 90)).symlink_to("plain.jpg")
    note(b"dangling.jpg", "skip", "^cannot be read: No such file").symlink_to("nowhere.jpg")
    note(b"loop.jpg", "skip", "^cannot be read: ").symlink_to("loop.jpg")
    note(b"link-to-folder.jpg", "unlisted").symlink_to("folder.jpg")
    # As root every file is readable, whatever its mode.
    locked = Expectation("read", size=(120, 90)) if os.geteuid() == 0 else Expectation("skip", "^cannot be read: Perm")
    path = note(b"locked.jpg", locked.status, locked.reason, locked.size)
    path.write_bytes(whole)
    path.chmod(0)
    return made
