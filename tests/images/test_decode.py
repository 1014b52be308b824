"""From bytes to pixels: what is read, what is refused and why, and that the pixels are the right ones."""

import errno
import os
import re

import cv2
import numpy as np
import pytest
from odd_files import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    animated_png,
    bombs,
    busy,
    encoded,
    halves,
    make_odd_files,
    odd_contents,
    quarters,
    with_exif,
)

from fastvbow.errors import ImageError
from fastvbow.images import decode as decoding
from fastvbow.images.decode import ROOM, decode, decode_photograph, read_bytes

ODD = odd_contents()


def assert_colour(pixel, colour, tolerance=3):
    assert np.abs(np.asarray(pixel, int) - colour).max() <= tolerance, (pixel, colour)


@pytest.mark.parametrize("name", sorted(name for name, (_, wanted) in ODD.items() if wanted.status != "unlisted"))
def test_each_odd_file_is_read_or_refused_with_its_reason(name):
    data, wanted = ODD[name]
    if wanted.status == "skip":
        with pytest.raises(ImageError, match=wanted.reason) as caught:
            decode(data)
        assert caught.value.reason == str(caught.value)
        assert "\n" not in caught.value.reason
        return
    pixels = decode(data)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (wanted.size[1], wanted.size[0], 3)
    assert pixels.flags.c_contiguous


def test_each_odd_file_on_disk(tmp_path):
    made = make_odd_files(tmp_path)
    assert {wanted.status for wanted in made.values()} == {"read", "skip", "unlisted"}
    for name, wanted in made.items():
        path = tmp_path / os.fsdecode(wanted.raw)
        if wanted.status == "skip":
            with pytest.raises(ImageError) as caught:
                decode(read_bytes(path))
            assert re.search(wanted.reason, caught.value.reason), (name, caught.value.reason)
            assert "\n" not in caught.value.reason
        elif wanted.status == "read":
            assert decode(read_bytes(path)).shape[1::-1] == wanted.size, name


@pytest.mark.skipif(os.geteuid() == 0, reason="as root every file is readable, whatever its mode")
def test_a_file_without_permission_is_refused(tmp_path):
    path = tmp_path / "locked.jpg"
    path.write_bytes(ODD["plain.jpg"][0])
    path.chmod(0)
    with pytest.raises(ImageError, match="Permission denied"):
        read_bytes(path)


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        read_bytes(tmp_path / "x.jpg")


@pytest.mark.parametrize("path", ["folder", "plain.jpg/below.jpg", "a\0b.jpg", "n" * 300 + ".jpg"])
def test_paths_that_cannot_be_read(tmp_path, path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain.jpg").write_bytes(b"x")
    with pytest.raises(ImageError, match=r"regular|cannot be read"):
        read_bytes(tmp_path / path)


def test_what_was_written_is_read(tmp_path):
    (tmp_path / "a").write_bytes(b"\0any\xff")
    assert read_bytes(tmp_path / "a") == b"\0any\xff"


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".jpg", ".webp"])
def test_channels_are_red_green_blue(suffix):
    pixels = decode(encoded(suffix, np.full((16, 16, 3), RED, np.uint8)))
    assert_colour(pixels[8, 8], RED)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_lossless_formats_give_the_pixels_that_went_in(suffix):
    image = busy(33, 47)
    np.testing.assert_array_equal(decode(encoded(suffix, image)), image)


def test_grey_becomes_three_equal_channels():
    image = busy(33, 47)[:, :, 0].copy()
    np.testing.assert_array_equal(decode(encoded(".png", image)), np.dstack([image] * 3))


def test_alpha_is_dropped():
    image = busy(33, 47)
    transparent = np.dstack([image, np.zeros((33, 47), np.uint8)])
    np.testing.assert_array_equal(decode(encoded(".png", transparent)), image)


def test_sixteen_bits_become_eight():
    image = busy(33, 47)
    np.testing.assert_array_equal(decode(encoded(".png", image.astype(np.uint16) * 256 + 255)), image)


@pytest.mark.parametrize("name", ["palette.png", "cmyk.jpg"])
def test_palette_and_cmyk_colours(name):
    pixels = decode(ODD[name][0])
    assert_colour(pixels[2, 1], RED)
    assert_colour(pixels[2, -2], GREEN)


def test_one_bit():
    pixels = decode(ODD["one-bit.png"][0])
    assert_colour(pixels[0, 0], (255, 255, 255), 0)
    assert_colour(pixels[0, 7], (0, 0, 0), 0)


@pytest.mark.skipif("photo.gif" not in ODD, reason="this OpenCV does not write GIF")
def test_gif_colours():
    pixels = decode(encoded(".gif", halves(16, 32)))
    assert_colour(pixels[8, 4], RED, 40)
    assert_colour(pixels[8, 28], GREEN, 40)


# EXIF 2.3, tag 0x0112: where the stored row 0 and column 0 are seen.
TURNS = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.swapaxes(0, 1),
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).swapaxes(0, 1),
    8: lambda p: np.rot90(p, 1),
}


@pytest.mark.parametrize("orientation", sorted(TURNS))
def test_exif_orientation(orientation):
    stored = quarters(64, 96)
    pixels = decode(with_exif(encoded(".jpg", stored, cv2.IMWRITE_JPEG_QUALITY, 100), orientation))
    wanted = TURNS[orientation](stored)
    assert pixels.shape == wanted.shape == ((64, 96, 3) if orientation <= 4 else (96, 64, 3))
    height, width = wanted.shape[:2]
    seen = set()
    for row, column in [(1, 1), (1, 3), (3, 1), (3, 3)]:
        at = row * height // 4, column * width // 4
        assert_colour(pixels[at], wanted[at], 12)
        seen.add(tuple(int(v) for v in wanted[at]))
    assert seen == {RED, GREEN, BLUE, YELLOW}


def test_the_thumbnail_is_not_taken_for_the_photograph():
    image = np.full((64, 96, 3), RED, np.uint8)
    thumbnail = encoded(".jpg", np.full((16, 24, 3), GREEN, np.uint8))
    pixels = decode(with_exif(encoded(".jpg", image), 1, thumbnail))
    assert pixels.shape == image.shape
    assert_colour(pixels[30, 50], RED)


def test_bytes_after_the_end_change_nothing():
    data = encoded(".jpg", busy(90, 120))
    np.testing.assert_array_equal(decode(data + b"x" * 1000), decode(data))
    np.testing.assert_array_equal(decode(data + data), decode(data))


def test_no_cut_of_a_jpeg_is_read():
    thumbnail = encoded(".jpg", busy(10, 16))
    for data in (encoded(".jpg", busy(24, 32)), with_exif(encoded(".jpg", busy(24, 32)), 3, thumbnail)):
        assert decode(data).shape == (24, 32, 3)
        for length in range(1, len(data)):
            with pytest.raises(ImageError, match=r"truncated|not an image"):
                decode(data[:length])


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_no_cut_of_another_format_is_read(suffix, share):
    data = encoded(suffix, busy(90, 120))
    with pytest.raises(ImageError, match=r"damaged|not an image|cannot be decoded|truncated PNG"):
        decode(data[: int(len(data) * share)])


@pytest.mark.parametrize("fill", [b"\xff\xff", b"\xff\xff\xff\xff\xff"])
def test_fill_bytes_between_segments_are_allowed(fill):
    data = encoded(".jpg", busy(24, 32))
    at = 4 + int.from_bytes(data[4:6], "big")  # behind the first segment
    assert data[at] == 0xFF
    padded = data[:at] + fill + data[at:]
    np.testing.assert_array_equal(decode(padded), decode(data))
    with pytest.raises(ImageError, match="truncated"):
        decode(padded[:-30])


def test_a_picture_beyond_all_bounds_is_refused():
    for name, bomb in bombs().items():
        with pytest.raises(ImageError, match=r"^\d+ x \d+ pixels: more than 268 million are refused$"):
            decode(bomb)
        assert len(bomb) < 100_000, name


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp", ".tif", ".ppm", ".ras"])
def test_the_bound_is_on_the_number_of_pixels(suffix, monkeypatch):
    data = encoded(suffix, busy(60, 40))
    monkeypatch.setattr(decoding, "MOST_PIXELS", 2400)
    assert decode(data).shape == (60, 40, 3)
    monkeypatch.setattr(decoding, "MOST_PIXELS", 2399)
    with pytest.raises(ImageError, match=r"^40 x 60 pixels: more than"):
        decode(data)


def test_bombs_are_refused_before_opencv_sees_them(monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for bomb in bombs().values():
        with pytest.raises(ImageError, match="are refused"):
            decode(bomb)


def test_a_file_of_a_terabyte_is_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ImageError, match=r"^1099511627776 bytes: more than 2147483647 are refused$"):
        read_bytes(tmp_path / "a.jpg")


def large_photograph(height: int, width: int) -> bytes:
    return encoded(".jpg", cv2.resize(quarters(64, 64), (width, height), interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize(
    ("height", "width", "share"),
    [
        (1000, 1600, 4),
        (1700, 3200, 8),
        (1600, 1000, 4),
        (999, 1599, 2),  # an eighth of a pixel too little for a quarter
        (1001, 1607, 4),
        (1600, 1600, 4),
        (1599, 1600, 1),  # nearly square: the reduced one would not tell whether it is turned
        (390, 1600, 2),  # of the shorter side as much is left as is needed
        (799, 600, 1),
        (60, 90, 1),
    ],
)
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_large_jpeg_is_reduced(height, width, share, orientation):
    data = with_exif(large_photograph(height, width), orientation)
    full, reduced = decode_photograph(data), decode_photograph(data, 100)
    seen = (width, height) if orientation < 5 else (height, width)
    assert (full.width, full.height) == (reduced.width, reduced.height) == seen == full.pixels.shape[1::-1]
    assert reduced.pixels.shape[1::-1] == tuple(-(-side // share) for side in seen)
    assert max(reduced.pixels.shape) >= min(max(seen), ROOM * 100)
    for row, column in [(1, 1), (1, 3), (3, 1), (3, 3)]:
        at = row * seen[1] // 4, column * seen[0] // 4
        assert_colour(reduced.pixels[at[0] // share, at[1] // share], full.pixels[at], 4)


def test_places_in_a_reduced_photograph():
    """A mark is found again, to within a part of a reduced pixel, by the formula that the docstring gives."""
    image = np.full((1603, 2406, 3), 40, np.uint8)
    cv2.circle(image, (2000, 1200), 24, (230, 230, 230), -1)
    full, x, y = decode_photograph(encoded(".jpg", image), 100), 2000, 1200
    height, width = full.pixels.shape[:2]
    assert (width, height) == (602, 401)
    weight = full.pixels[:, :, 0].astype(float) - 40
    weight[weight < 20] = 0
    rows, columns = np.mgrid[0:height, 0:width]
    found_x = (weight * columns).sum() / weight.sum()
    found_y = (weight * rows).sum() / weight.sum()
    assert (found_x + 0.5) * full.width / width - 0.5 == pytest.approx(x, abs=3)
    assert (found_y + 0.5) * full.height / height - 0.5 == pytest.approx(y, abs=3)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_other_formats_are_decoded_in_full(suffix):
    image = busy(900, 1200)
    data = encoded(suffix, image)
    np.testing.assert_array_equal(decode_photograph(data, 100).pixels, decode(data))


def test_a_cut_large_jpeg_is_refused_too():
    data = large_photograph(1000, 1600)
    with pytest.raises(ImageError, match="truncated JPEG"):
        decode_photograph(data[:-3], 100)


def test_no_bytes():
    with pytest.raises(ImageError, match=r"^empty file$"):
        decode(b"")


@pytest.mark.parametrize("head", [b"II*\0", b"MM\0*"])
def test_both_byte_orders_of_tiff_are_named(head):
    with pytest.raises(ImageError, match="damaged TIFF"):
        decode(head + bytes(50))


def test_random_damage_raises_nothing_else():
    rng = np.random.default_rng(0)
    for suffix in (".jpg", ".png", ".webp", ".tif", ".bmp"):
        good = np.frombuffer(encoded(suffix, busy(24, 32)), np.uint8)
        for _ in range(60):
            bad = good.copy()
            bad[rng.integers(0, len(bad), 4)] = rng.integers(0, 256, 4)
            try:
                pixels = decode(bad.tobytes())
            except ImageError as error:
                assert "\n" not in error.reason
            else:
                assert pixels.ndim == 3


@pytest.mark.data
def test_every_real_photograph_of_a_sample_is_read(data_folder):
    paths = sorted((data_folder / "sun8").rglob("*.jpg"))[::100]
    assert paths
    for path in paths:
        pixels = decode(read_bytes(path))
        assert pixels.std() > 1
        with pytest.raises(ImageError, match="truncated"):
            decode(read_bytes(path)[:-100])


def test_an_animation_gives_its_first_picture():
    pixels = decode(animated_png())
    np.testing.assert_array_equal(pixels, np.full((4, 8, 3), RED, np.uint8))


def test_a_damaged_byte_of_a_png_is_noticed():
    data = encoded(".png", busy(20, 30))
    for at in range(8, len(data) - 12, 7):  # behind the signature, before the end marker
        with pytest.raises(ImageError, match=r"PNG|pixels: more than"):
            decode(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_is_named(brand):
    with pytest.raises(ImageError, match=r"HEIC.*convert it to JPEG"):
        decode(b"\0\0\0\x18ftyp" + brand + b"\0" * 40)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_an_exhausted_machine_skips_nothing(monkeypatch, tmp_path, number):
    (tmp_path / "a.jpg").write_bytes(b"x")

    def fails(*_):
        raise OSError(number, "exhausted")

    monkeypatch.setattr(os, "open", fails)
    with pytest.raises(OSError, match="exhausted") as caught:
        read_bytes(tmp_path / "a.jpg")
    assert not isinstance(caught.value, ImageError)
