"""The size by the header alone is the one that OpenCV decodes, and no bytes raise."""

import struct

import cv2
import numpy as np
import pytest
from fuzz_decode import originals
from hypothesis import given
from hypothesis import strategies as st
from odd_files import bombs, busy, encoded, odd_contents, tiff, with_exif

from fastvbow.images.header import image_size, magic

GOOD = originals()
HEADS = (
    *(
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xc0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"II*\0\x08\0\0\0",
        b"MM\0*",
        b"II+\0",
        b"MM\0+",
    ),
    *(
        b"BM",
        b"RIFF\0\0\0\0WEBPVP8X",
        b"RIFF\0\0\0\0WEBPVP8L",
        b"RIFF\0\0\0\0WEBPVP8 ",
        b"P6\n",
        b"P7\n",
        b"PF\n",
        b"#?R",
    ),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\x59\xa6\x6a\x95"),
    b"\0\0\0\x10ftypavif\0\0\0\0\0\0\0\x40meta\0\0\0\0\0\0\0\x0epitm\0\0\0\0\0\1\0\0\0\x20iprp",
)


def stored_size(data: bytes) -> tuple[int, int] | None:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else pixels.shape[1::-1]


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_it_is_the_size_that_is_decoded(kind):
    assert magic(GOOD[kind]) is not None
    assert image_size(GOOD[kind]) == stored_size(GOOD[kind])


@pytest.mark.parametrize(
    "suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".pam", ".ras", ".jp2", ".avif", ".gif"]
)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 300), (300, 1), (257, 513)])
def test_sizes(suffix, height, width):
    if not cv2.haveImageWriter("a" + suffix):
        pytest.skip(f"this OpenCV does not write {suffix}")
    if suffix == ".jp2" and min(height, width) == 1:
        pytest.skip("OpenCV does not write so small a JPEG 2000")
    data = encoded(suffix, busy(height, width))
    assert image_size(data) == (width, height) == stored_size(data)


@pytest.mark.parametrize(
    "name", sorted(name for name, (_, wanted) in odd_contents().items() if wanted.status == "read")
)
def test_the_corpus(name):
    data, wanted = odd_contents()[name]
    assert image_size(data) in {wanted.size, wanted.size[::-1]}


def test_bombs_announce_what_they_are():
    for name, data in bombs().items():
        width, height = image_size(data)
        assert width * height >= 900_000_000, name


def test_it_is_as_stored_not_as_turned_nor_that_of_the_thumbnail():
    data = with_exif(encoded(".jpg", busy(30, 50)), 6, encoded(".jpg", busy(8, 10)))
    assert image_size(data) == (50, 30)


@pytest.mark.parametrize("height", [40, -40])
def test_bmp_from_below_or_above_and_of_os2(height):
    data = encoded(".bmp", busy(40, 50))
    turned = data[:22] + struct.pack("<i", height) + data[26:]
    assert image_size(turned) == (50, 40) == stored_size(turned)
    os2 = b"BM" + struct.pack("<IHHI", 26 + 152 * 40, 0, 0, 26) + struct.pack("<IHHHH", 12, 50, 40, 1, 24) + bytes(6080)
    assert image_size(os2) == (50, 40) == stored_size(os2)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_tiff(order, big):
    data = tiff(7, 5, bytes(105), big=big, order=order)
    assert image_size(data) == (7, 5) == stored_size(data)


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_a_cut_header_is_unknown_or_right(kind):
    size, seen = image_size(GOOD[kind]), set()
    for length in range(min(len(GOOD[kind]), 400)):
        seen.add(image_size(GOOD[kind][:length]))
    # Of a number in text the cut may leave the first digits.
    if kind not in {"pam", "light", "floating point", "photo.ppm", "letters.pgm", "one-bit.pbm"}:
        assert seen <= {None, size}
    assert None in seen


@given(st.sampled_from(HEADS), st.binary(max_size=300))
def test_no_bytes_raise(head, rest):
    size = image_size(head + rest)
    assert size is None or (min(size) > 0 and magic(head + rest) is not None)


@given(st.binary(max_size=100))
def test_what_has_no_head_is_nothing(data):
    if magic(data) is None:
        assert image_size(data) is None
