"""What is left of a PNG before OpenCV sees it, and that its pixels are the same."""

import struct

import cv2
import numpy as np
import pytest
from odd_files import animated_png, busy, chunk, encoded, palette_png, png

from fastvbow.errors import ImageError
from fastvbow.images.png import fit_png


def names(data: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(data):
        found.append(data[at + 4 : at + 8])
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    return found


def with_chunk(data: bytes, name: bytes, body: bytes) -> bytes:
    """The file with one more chunk behind its header."""
    return data[:33] + chunk(name, body) + data[33:]


def test_a_plain_file_is_not_even_copied():
    data = encoded(".png", busy(20, 30))
    fit = fit_png(data)
    assert fit == data
    assert fit_png(fit) is fit
    assert fit_png(palette_png()) == palette_png()


@pytest.mark.parametrize(
    ("name", "body"),
    [(b"tEXt", b"Title\0x"), (b"iCCP", b"x\0\0noise"), (b"gAMA", bytes(4)), (b"acTL", bytes(8)), (b"a1~\xff", b"")],
)
def test_what_makes_no_pixels_is_left_out(name, body):
    data = palette_png()
    assert fit_png(with_chunk(data, name, body)) == data
    wrong = bytearray(with_chunk(data, name, body))
    wrong[44 + len(body)] ^= 1  # the checksum of such a chunk does not matter
    assert fit_png(bytes(wrong)) == data


def test_transparency_and_orientation_stay():
    data = with_chunk(encoded(".png", busy(20, 30)), b"eXIf", b"II*\0" + bytes(20))
    data = with_chunk(data, b"tRNS", bytes(6))
    assert {b"tRNS", b"eXIf"} <= set(names(fit_png(data)))


def test_exif_turns_a_png_too():
    exif = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    data = with_chunk(encoded(".png", busy(20, 30)), b"eXIf", exif)
    before = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    after = cv2.imdecode(np.frombuffer(fit_png(data), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(after, before)


def test_an_animation_becomes_its_first_picture():
    assert {b"acTL", b"fcTL", b"fdAT"} < set(names(animated_png()))
    assert names(fit_png(animated_png())) == [b"IHDR", b"IDAT", b"IEND"]


def test_bytes_behind_the_end_are_left_out():
    assert fit_png(palette_png() + b"anything") == palette_png()


def test_each_cut_is_noticed():
    data = palette_png()
    for length in range(8, len(data)):
        with pytest.raises(ImageError, match=r"^truncated PNG"):
            fit_png(data[:length])
    with pytest.raises(ImageError, match="signature"):
        fit_png(data[:7])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (with_chunk(palette_png(), b"IHDR", bytes(13)), "IHDR is out of place"),
        (with_chunk(palette_png(), b"PLTE", bytes(6)), "PLTE is out of place"),
        (palette_png()[:8] + palette_png()[33:], "PLTE is out of place"),
        (png(8, 4, bytes(32), depth=8, colour=3), "palette is missing"),
        (png(8, 4, bytes(32), depth=8, colour=3, chunks=((b"PLTE", bytes(7)),)), "palette is invalid"),
        (png(8, 4, bytes(32), depth=8, colour=1), "header is invalid"),
        (png(8, 4, bytes(32), depth=3, colour=0), "header is invalid"),
        (with_chunk(palette_png(), b"CgBI", bytes(4)), "chunk CgBI, which OpenCV does not know"),
        (with_chunk(palette_png(), b"A\n\x1b\xff", b""), "strange name"),
        (palette_png()[:33] + chunk(b"IEND", b""), "no pixels"),
        (palette_png()[:40] + b"\x80" + palette_png()[41:], "PNG"),
    ],
)
def test_what_libpng_would_stumble_over_is_refused(data, words):
    with pytest.raises(ImageError, match=words) as caught:
        fit_png(data)
    assert caught.value.reason.isprintable()
