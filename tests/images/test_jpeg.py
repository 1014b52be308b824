"""What the markers of a JPEG tell of its being whole."""

import cv2
import pytest
from odd_files import CMYK_JPEG, busy, encoded, scan_start, with_exif

from fastvbow.images.jpeg import jpeg_fault, jpeg_markers

PHOTO = busy(90, 120)
GOOD = {
    "baseline": encoded(".jpg", PHOTO),
    "progressive": encoded(".jpg", PHOTO, cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": encoded(".jpg", PHOTO, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "grey": encoded(".jpg", PHOTO[:, :, 0].copy()),
    "thumbnail": with_exif(encoded(".jpg", PHOTO), 1, encoded(".jpg", PHOTO[::4, ::4].copy())),
    "cmyk": CMYK_JPEG,
}


@pytest.mark.parametrize("kind", sorted(GOOD))
@pytest.mark.parametrize("after", [b"", bytes(50), b"\xff\x41\xff", GOOD["baseline"]])
def test_good_ones_have_no_fault(kind, after):
    assert jpeg_fault(GOOD[kind] + after) is None


@pytest.mark.parametrize("kind", sorted(GOOD))
def test_every_cut_is_a_fault(kind):
    data = GOOD[kind]
    for length in range(3, len(data)):
        assert jpeg_fault(data[:length]), length


@pytest.mark.parametrize("kind", sorted(GOOD))
@pytest.mark.parametrize("stray", [0x01, 0x02, 0x41, 0xBF])
def test_a_stray_marker_is_a_fault(kind, stray):
    data = GOOD[kind]
    at = len(data) - 8
    assert jpeg_fault(data[:at] + bytes([0xFF, stray]) + data[at:]) == "damaged JPEG (a stray marker amid its pixels)"


def test_a_fill_byte_before_the_end_is_none():
    data = GOOD["baseline"]
    assert jpeg_fault(data[:-2] + b"\xff\xff\xff\xd9") is None


def test_segments_between_scans_are_stepped_over():
    data = GOOD["progressive"]
    second = data.index(b"\xff\xda", scan_start(data) + 2)
    at = data.rindex(b"\xff\xc4", 0, second)  # the table that belongs to the second scan
    comment = b"\xff\xfe\x00\x08\xff\x41\xff\xd9--"
    assert jpeg_fault(data[:at] + comment + data[at:]) is None
    assert jpeg_fault(data[:at] + comment + data[at:-2]) is not None


def test_markers_up_to_the_first_scan():
    markers = [marker for marker, _ in jpeg_markers(GOOD["thumbnail"])]
    assert markers[:2] == [0xE1, 0xE0]
    assert markers.count(0xC0) == 1
    assert markers[-1] == 0xDA


@pytest.mark.data
def test_no_real_photograph_has_a_fault(data_folder):
    for name in ("sun8", "scene15", "corel1k"):
        for path in sorted((data_folder / name).rglob("*.jpg"))[::5]:
            data = path.read_bytes()
            assert not data.startswith(b"\xff\xd8\xff") or jpeg_fault(data) is None, path
