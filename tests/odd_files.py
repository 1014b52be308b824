"""A corpus of bad and odd image files, made on the spot, each with what has to become of it."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
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


def chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int,
    height: int,
    rows: bytes,
    *,
    depth: int,
    colour: int,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    filtered: int = 0,
) -> bytes:
    """A PNG from its packed rows (without filter bytes), for the kinds that OpenCV does not write."""
    step = len(rows) // height
    lines = b"".join(bytes([filtered]) + rows[i * step : (i + 1) * step] for i in range(height)) if rows else b""
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


def announced(data: bytes, at: int, code: str, *sides: int) -> bytes:
    """The same file with other numbers in its header."""
    field = struct.pack(code, *sides)
    return data[:at] + field + data[at + len(field) :]


def frame_header(jpeg: bytes) -> int:
    """Where the height stands in a baseline JPEG; the width follows."""
    return jpeg.index(b"\xff\xc0") + 5


def tiff(width: int, height: int, pixels: bytes, *, big: bool = False, order: str = "<") -> bytes:
    """An uncompressed RGB TIFF of one strip, classic or BigTIFF, in either byte order."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
    number, step = ("Q", 20) if big else ("I", 12)
    fields = [(256, width), (257, height), (258, 8), (259, 1), (262, 2), (273, None), (277, 3), (278, height)]
    fields += [(279, len(pixels)), (284, 1)]
    start = 16 if big else 8
    body = start + (8 if big else 2) + step * len(fields) + (8 if big else 4)
    head += struct.pack(order + ("HHQ" if big else "I"), *((8, 0, start) if big else (start,)))
    entries = b"".join(
        struct.pack(order + "HH" + number + number, tag, 16 if big else 4, 1, body if value is None else value)
        for tag, value in fields
    )
    return head + struct.pack(order + ("Q" if big else "H"), len(fields)) + entries + bytes(8 if big else 4) + pixels


def animated_png(filtered: int = 0) -> bytes:
    """Two frames of 8 x 4 pixels, red and green over blue."""
    first, second = bytes(RED) * 32, bytes(GREEN) * 16 + bytes(BLUE) * 16
    frame = struct.pack(">IIIIHHBB", 8, 4, 0, 0, 1, 10, 0, 0)
    control = ((b"acTL", struct.pack(">II", 2, 0)), (b"fcTL", struct.pack(">I", 0) + frame))
    one = png(8, 4, first, depth=8, colour=2, chunks=control, filtered=filtered)
    lines = b"".join(b"\0" + second[i * 24 : i * 24 + 24] for i in range(4))
    two = chunk(b"fcTL", struct.pack(">I", 1) + frame) + chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(lines))
    return one[:-12] + two + one[-12:]


def bombs() -> dict[str, bytes]:
    """Small files whose headers announce more pixels than any machine should take."""
    photo = busy(90, 120)
    jpeg, side = encoded(".jpg", photo), 65_500
    return {
        "bomb.jpg": announced(jpeg, frame_header(jpeg), ">HH", side, side),
        "bomb-progressive.jpg": b"\xff\xd8\xff\xc2\0\x0b\x08" + struct.pack(">HH", side, side) + b"\1\1\x11\0\xff\xd9",
        "bomb.png": png(100_000, 100_000, b"", depth=8, colour=2),
        "bomb-with-pixels.png": png(30_000, 30_000, bytes(40_000), depth=1, colour=0),
        "bomb.gif": b"GIF89a" + struct.pack("<HH", side, side) + bytes(90),
        "bomb.bmp": announced(encoded(".bmp", photo), 18, "<ii", 30_000, 30_000),
        "bomb-upside-down.bmp": announced(encoded(".bmp", photo), 18, "<ii", 30_000, -30_000),
        "bomb.webp": b"RIFF\x64\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\0" * 2 + bytes(80),
        "bomb.tif": tiff(30_000, 30_000, bytes(300)),
        "bomb-big-endian.tif": tiff(30_000, 30_000, bytes(300), order=">"),
        "bomb-bigtiff.tif": tiff(1 << 20, 1 << 20, bytes(300), big=True),
        "bomb.ppm": b"P6\n# a comment\n30000 30000\n255\n" + bytes(300),
        "bomb.ras": struct.pack(">8I", 0x59A66A95, 30_000, 30_000, 24, 0, 1, 0, 0) + bytes(300),
        "bomb.jp2": b"\xff\x4f\xff\x51\0\x2f\0\0" + struct.pack(">8I", side, side, 0, 0, side, side, 0, 0) + bytes(99),
        "bomb-of-light.jpg": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 30000 +X 30000\n" + bytes(300),
    }


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
    found |= more_contents(photo, jpeg)
    if cv2.haveImageWriter("a.gif"):  # from OpenCV 4.11 on
        gif = encoded(".gif", photo)
        found["photo.gif"] = (gif, read)
        found["cut.gif"] = (gif[:-2000], Expectation("skip", "^damaged GIF$"))
        found["a-gif-really.jpg"] = (gif, read)
    if cv2.haveImageWriter("a.avif"):
        avif = encoded(".avif", photo)
        found["photo.avif"] = (avif, read)
        found["cut.avif"] = (avif[: len(avif) // 2], Expectation("skip", "^damaged AVIF$"))
    if hasattr(cv2, "imencodeanimation"):  # from OpenCV 4.11 on
        frames = cv2.Animation()
        frames.frames = [cv2.cvtColor(busy(90, 120, seed), cv2.COLOR_RGB2RGBA) for seed in range(3)]
        frames.durations = [100] * 3
        for suffix in (".gif", ".webp"):
            found["animation" + suffix] = (cv2.imencodeanimation(suffix, frames)[1].tobytes(), read)
    return found


def more_contents(photo: np.ndarray, jpeg: bytes) -> dict[str, tuple[bytes, Expectation]]:
    """Bombs, cuts at many places, wrong contents, rare formats, damage of single fields."""
    read, small = Expectation("read", size=(120, 90)), Expectation("read", size=(8, 4))
    no_image = Expectation("skip", "^not an image that can be decoded$")
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(90)
    refused = Expectation("skip", r"^\d+ x \d+ pixels: more than 268 million are refused$")
    found = {name: (data, refused) for name, data in bombs().items()}
    start, whole_png = scan_start(jpeg), encoded(".png", photo)
    for share in range(5, 100, 5):
        found[f"cut-at-{share:02d}-percent.jpg"] = (
            jpeg[: start + (len(jpeg) - start) * share // 100],
            Expectation("skip", r"^truncated JPEG \(its end marker is missing\)$"),
        )
    for share in (1, 30, 60, 99):
        cut_png = whole_png[: len(whole_png) * share // 100]
        found[f"cut-at-{share:02d}-percent.png"] = (cut_png, Expectation("skip", "^truncated PNG"))
    for number in range(2, 9):
        size = (120, 90) if number < 5 else (90, 120)
        found[f"orientation-{number}.jpg"] = (with_exif(jpeg, number), Expectation("read", size=size))
    at = frame_header(jpeg)
    rows = photo[:4, :8].tobytes()
    broken = bytearray(whole_png)
    broken[len(broken) // 2] ^= 1
    found |= {
        "orientation-0.jpg": (with_exif(jpeg, 0), read),
        "orientation-99.jpg": (with_exif(jpeg, 99), read),
        "exif-is-noise.jpg": (jpeg[:2] + b"\xff\xe1\0\x20Exif\0\0" + b"MM\0*" + b"\xff" * 20 + jpeg[2:], read),
        "junk-between-segments.jpg": (jpeg[:20] + b"junk" + jpeg[20:], read),
        "overwritten-by-noise.jpg": (
            jpeg[: start + 900] + np.random.default_rng(0).bytes(1024) + jpeg[start + 1924 :],
            Expectation("skip", r"^damaged JPEG \(a stray marker amid its pixels\)$"),
        ),
        "stray-marker.jpg": (
            jpeg[: start + 900] + b"\xff\x41" + jpeg[start + 902 :],
            Expectation("skip", r"^damaged JPEG \(a stray marker amid its pixels\)$"),
        ),
        "no-height.jpg": (announced(jpeg, at, ">H", 0), Expectation("skip", "^damaged JPEG$")),
        "no-width.jpg": (announced(jpeg, at + 2, ">H", 0), Expectation("skip", "^damaged JPEG$")),
        "twelve-bits.jpg": (announced(jpeg, at - 1, "B", 12), Expectation("skip", "^damaged JPEG$")),
        "start-and-end-only.jpg": (b"\xff\xd8\xff\xd9", Expectation("skip", "JPEG")),
        "end-before-start.jpg": (b"\xff\xd9" + jpeg, no_image),
        "byte-order-mark.jpg": (b"\xef\xbb\xbf" + jpeg, no_image),
        "blank-line-first.jpg": (b"\r\n" + jpeg, no_image),
        "strip-wide.jpg": (encoded(".jpg", busy(1, 3000)), Expectation("read", size=(3000, 1))),
        "strip-high.jpg": (encoded(".jpg", busy(3000, 1)), Expectation("read", size=(1, 3000))),
        "wide-of-the-mark.png": (
            png(70_000, 1, bytes(70_000), depth=8, colour=0),
            Expectation("read", size=(70_000, 1)),
        ),
        "quality-1.jpg": (encoded(".jpg", photo, cv2.IMWRITE_JPEG_QUALITY, 1), read),
        "one-byte.jpg": (b"\xff", no_image),
        "page-of-an-error.jpg": (b"<!DOCTYPE html><title>404</title>", no_image),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", no_image),
        "document.jpg": (b"%PDF-1.7\n%\xe2\xe3", no_image),
        "archive.jpg": (b"PK\3\4" + bytes(99), no_image),
        "film.jpg": (b"\0\0\0\x18ftypisom" + bytes(99), no_image),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\n", no_image),
        "phone.heic": (heic, Expectation("skip", "^HEIC, which OpenCV does not read: convert it to JPEG$")),
        "phone.jpg": (heic, Expectation("skip", "^HEIC")),
        "a-jpeg-really.png": (jpeg, read),
        "a-webp-really.jpg": (encoded(".webp", photo), read),
        "a-bmp-really.tif": (encoded(".bmp", photo), read),
        "wrong-checksum.png": (
            bytes(broken),
            Expectation("skip", "^damaged PNG .its chunk|^damaged PNG .the checksum"),
        ),
        "no-pixels.png": (
            whole_png[:33] + chunk(b"IEND", b""),
            Expectation("skip", "^damaged PNG .it holds no pixels"),
        ),
        "two-gigabyte-chunk.png": (
            whole_png[:33] + b"\x7f\xff\xff\xfftEXt" + whole_png[33:],
            Expectation("skip", "^truncated PNG"),
        ),
        "apple.png": (whole_png[:33] + chunk(b"CgBI", bytes(4)) + whole_png[33:], Expectation("skip", "chunk CgBI")),
        "header-second.png": (
            whole_png[:8] + chunk(b"IDAT", b"") + whole_png[8:],
            Expectation("skip", "^damaged PNG .its chunk IDAT is out of place"),
        ),
        "profile-is-noise.png": (whole_png[:33] + chunk(b"iCCP", b"x\0\0noise") + whole_png[33:], read),
        "palette-is-missing.png": (png(8, 4, bytes(32), depth=8, colour=3), Expectation("skip", "palette")),
        "filter-is-unknown.png": (png(8, 4, rows, depth=8, colour=2, filtered=9), Expectation("skip", "^damaged PNG$")),
        "animation.png": (animated_png(), small),
        "damaged-animation.png": (animated_png(filtered=9), Expectation("skip", "^damaged PNG$")),
        "sixteen-bits.tif": (encoded(".tif", photo.astype(np.uint16) * 257), read),
        "big-endian.tif": (tiff(8, 4, rows, order=">"), small),
        "bigtiff.tif": (tiff(8, 4, rows, big=True), small),
        "points-nowhere.tif": (b"II*\0\xff\xff\xff\x7f" + bytes(50), Expectation("skip", "^damaged TIFF$")),
        "points-at-itself.tif": (b"II*\0\0\0\0\0" + bytes(50), Expectation("skip", "^damaged TIFF$")),
        "floating-point.tif": (
            encoded(".tif", photo[:, :, 0].astype(np.float32)),
            Expectation("skip", "^damaged TIFF$"),
        ),
        "lossy.webp": (encoded(".webp", photo, cv2.IMWRITE_WEBP_QUALITY, 60), read),
        "alpha.webp": (encoded(".webp", np.dstack([photo, photo[:, :, 0]]), cv2.IMWRITE_WEBP_QUALITY, 60), read),
        "grey.bmp": (encoded(".bmp", photo[:, :, 0].copy()), read),
        "letters.pgm": (b"P2\n# by hand\n3 2\n255\n0 1 2\n253 254 255\n", Expectation("read", size=(3, 2))),
        "one-bit.pbm": (b"P4\n8 4\n" + b"\xf0" * 4, small),
        "photo.ppm": (encoded(".ppm", photo), read),
        "cut.ppm": (encoded(".ppm", photo)[:-99], Expectation("skip", "^damaged PNM$")),
        "photo.ras": (encoded(".ras", photo), read),
    }
    if cv2.haveImageWriter("a.jp2"):
        found["photo.jp2"] = (encoded(".jp2", photo), read)
        found["cut.jp2"] = (encoded(".jp2", photo)[:-3000], Expectation("skip", "^damaged JPEG 2000$"))
    for name in ("x" * 251 + ".jpg", "e\u0301 and \u00e9.jpg", "\u202egpj.jpg", "\x1b[31mred.jpg", "C:\\photo.jpg"):
        found[name] = (jpeg, read)
    for name in ("copied.jpg ", "photo.jpg.part", "photo.jpg~", "Thumbs.db", "._photo.jpg"):
        found[name] = (jpeg, Expectation("unlisted"))
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
    note(b"loop-a.jpg", "skip", "^cannot be read: ").symlink_to("loop-b.jpg")
    note(b"loop-b.jpg", "skip", "^cannot be read: ").symlink_to("loop-a.jpg")
    note(b"link-to-link.jpg", "read", size=(120, 90)).symlink_to("link.jpg")
    note(b"link-to-fifo.jpg", "skip", "^not a regular file$").symlink_to("fifo.jpg")
    note(b"endless.jpg", "skip", "^not a regular file$").symlink_to("/dev/zero")
    note(b"nothing.jpg", "skip", "^not a regular file$").symlink_to("/dev/null")
    note(b"hard-link.jpg", "read", size=(120, 90)).hardlink_to(folder / "plain.jpg")
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listening, contextlib.chdir(folder):
        listening.bind("socket.jpg")  # a relative path: an absolute one may exceed what a socket's name may hold
    note(b"socket.jpg", "skip", "^not a regular file$")
    with note(b"terabyte.jpg", "skip", r"^\d+ bytes: more than 2147483647 are refused$").open("wb") as sparse:
        sparse.truncate(1 << 40)
    (folder / "empty-folder.jpg").mkdir()
    note(b"link-to-folder.jpg", "unlisted").symlink_to("folder.jpg")
    # As root every file is readable, whatever its mode.
    locked = Expectation("read", size=(120, 90)) if os.geteuid() == 0 else Expectation("skip", "^cannot be read: Perm")
    path = note(b"locked.jpg", locked.status, locked.reason, locked.size)
    path.write_bytes(whole)
    path.chmod(0)
    return made
