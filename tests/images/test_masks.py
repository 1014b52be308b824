"""Masks: what their pixels mean in each layout, and every way in which one can be bad."""

from __future__ import annotations

import os
import struct
import zlib

import cv2
import numpy as np
import pytest

from fastvbow.errors import ImageError
from fastvbow.images.masks import UNLABELLED, read_mask

HEIGHT, WIDTH = 5, 7
CLASSES = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


def png(pixels, path):
    assert cv2.imwrite(str(path), pixels)
    return os.fsencode(path)


def ade(classes, instances=0):
    """As in ADE20K's devkit: class = R // 10 * 256 + G, with any last digit of R."""
    red = classes // 256 * 10 + np.arange(classes.size).reshape(classes.shape) % 10
    return np.dstack([np.full(classes.shape, instances), classes % 256, red]).astype(np.uint8)


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + zlib.crc32(name + body).to_bytes(4, "big")


def palette_png(indices, bits, colours):
    """A PNG with a palette, which OpenCV does not write."""
    height, width = indices.shape
    lines = b""
    for row in indices:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        lines += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    head = struct.pack(">IIBBBBB", width, height, bits, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", colours.tobytes()), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(lines))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts) + chunk(b"IEND", b"")


def test_the_full_data_set(tmp_path):
    wanted = CLASSES * 100
    found = read_mask(png(ade(wanted, instances=9), tmp_path / "m.png"), "ade20k", WIDTH, HEIGHT)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, np.where(wanted == 0, UNLABELLED, wanted))


def test_scene_parsing(tmp_path):
    found = read_mask(png(CLASSES.astype(np.uint8) + 116, tmp_path / "m.png"), "sceneparsing", WIDTH, HEIGHT)
    np.testing.assert_array_equal(found, CLASSES + 116)
    nothing = read_mask(png(np.zeros((HEIGHT, WIDTH), np.uint8), tmp_path / "n.png"), "sceneparsing", WIDTH, HEIGHT)
    assert (nothing == UNLABELLED).all(), "0 is 'other'"
    with pytest.raises(ImageError, match="holds the class 151; scene parsing has 150"):
        read_mask(png(CLASSES.astype(np.uint8) + 117, tmp_path / "o.png"), "sceneparsing", WIDTH, HEIGHT)


@pytest.mark.parametrize("layout", ["parallel", "beside"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_plain_masks(tmp_path, layout, dtype):
    given = CLASSES.astype(dtype) * (7 if dtype == np.uint8 else 1000)
    given[0, 3], given[4, 4] = np.iinfo(dtype).max, 254
    found = read_mask(png(given, tmp_path / "m.png"), layout, WIDTH, HEIGHT)
    wanted = given.astype(np.int32)
    wanted[0, 3] = UNLABELLED
    np.testing.assert_array_equal(found, wanted)
    assert found[0, 0] == 0, "a class like others"


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_of_a_palette_the_indices_count(tmp_path, bits):
    indices = CLASSES % 2**bits
    if bits == 8:
        indices[0, 0] = 255
    colours = np.random.default_rng(bits).integers(0, 256, (2**bits, 3)).astype(np.uint8)
    (tmp_path / "m.png").write_bytes(palette_png(indices, bits, colours))
    seen = cv2.cvtColor(cv2.imread(str(tmp_path / "m.png")), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(seen, colours[indices]), "the test's own PNG is one"
    found = read_mask(os.fsencode(tmp_path / "m.png"), "parallel", WIDTH, HEIGHT)
    np.testing.assert_array_equal(found, np.where(indices == 255, UNLABELLED, indices))


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT - 1), (WIDTH + 1, HEIGHT), (HEIGHT, WIDTH)])
def test_another_size_than_the_photograph(tmp_path, size):
    path = png(CLASSES.astype(np.uint8), tmp_path / "m.png")
    with pytest.raises(ImageError, match=f"the mask has 7 x 5 pixels, its photograph {size[0]} x {size[1]}"):
        read_mask(path, "parallel", *size)


def test_a_turned_mask_where_places_do_not_matter(tmp_path):
    path = png(CLASSES.astype(np.uint8), tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(path, "parallel", HEIGHT, WIDTH, turned=True), CLASSES)
    with pytest.raises(ImageError, match="7 x 5 pixels, its photograph 6 x 5"):
        read_mask(path, "parallel", WIDTH - 1, HEIGHT, turned=True)


@pytest.mark.parametrize(
    ("layout", "pixels", "shown"),
    [
        ("ade20k", np.zeros((HEIGHT, WIDTH), np.uint8), "8-bit greyscale; in the layout ade20k it is 8-bit RGB"),
        ("ade20k", np.zeros((HEIGHT, WIDTH, 3), np.uint16), "16-bit RGB"),
        ("ade20k", np.zeros((HEIGHT, WIDTH, 4), np.uint8), "8-bit RGB with alpha"),
        ("sceneparsing", np.zeros((HEIGHT, WIDTH, 3), np.uint8), "8-bit RGB; in the layout sceneparsing it is grey"),
        ("parallel", np.zeros((HEIGHT, WIDTH, 3), np.uint8), "8-bit RGB"),
    ],
)
def test_the_wrong_mode(tmp_path, layout, pixels, shown):
    with pytest.raises(ImageError, match=shown):
        read_mask(png(pixels, tmp_path / "m.png"), layout, WIDTH, HEIGHT)


def test_every_truncation_is_noticed(tmp_path):
    png(CLASSES.astype(np.uint8), tmp_path / "m.png")
    data = (tmp_path / "m.png").read_bytes()
    path = tmp_path / "short.png"
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError):
            read_mask(os.fsencode(path), "parallel", WIDTH, HEIGHT)


def test_what_is_no_png(tmp_path):
    path = tmp_path / "m.png"
    cv2.imwrite(str(tmp_path / "m.jpg"), CLASSES.astype(np.uint8))
    path.write_bytes((tmp_path / "m.jpg").read_bytes())
    with pytest.raises(ImageError, match="a mask is a PNG file, this is JPEG"):
        read_mask(os.fsencode(path), "parallel", WIDTH, HEIGHT)
    path.write_text("text")
    with pytest.raises(ImageError, match="this is no image"):
        read_mask(os.fsencode(path), "parallel", WIDTH, HEIGHT)
    with pytest.raises(ImageError, match="No such file"):
        read_mask(os.fsencode(tmp_path / "missing.png"), "parallel", WIDTH, HEIGHT)


def test_a_large_size_takes_no_memory(tmp_path):
    """The header is held against the photograph before anything is decoded."""
    data = bytearray(palette_png(CLASSES % 2, 1, np.zeros((2, 3), np.uint8)))
    head = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 0, 0, 0, 0)
    data[8 : 8 + 25] = chunk(b"IHDR", head)
    (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(ImageError, match="2147483647 x 2147483647 pixels, its photograph 7 x 5"):
        read_mask(os.fsencode(tmp_path / "m.png"), "parallel", WIDTH, HEIGHT)


@pytest.mark.data
def test_real_masks(data_folder):
    samples = data_folder / "ade20k_samples"
    street = samples / "dataset/ADE20K_2021_17_01/images/ADE/training/urban/street/ADE_train_00016869"
    objects = read_mask(os.fsencode(f"{street}_seg.png"), "ade20k", 2048, 1536)
    assert dict(zip(*(v.tolist() for v in np.unique(objects, return_counts=True)), strict=True))[2131] == 1155851
    assert (objects == UNLABELLED).sum() == 89604
    parts = read_mask(os.fsencode(f"{street}_parts_1.png"), "ade20k", 2048, 1536)
    assert np.unique(parts).tolist() == [-1, 101, 320, 774, 1213, 1279, 2346, 2700, 3035, 3050]
    parsing = os.fsencode(samples / "sampleData/annotations/ADE_val_00000001.png")
    assert np.unique(read_mask(parsing, "sceneparsing", 683, 512)).tolist() == [-1, 1, 2, 3, 5, 7, 10, 18]
    coco = os.fsencode(data_folder / "coco_stuff_spade/datasets/coco_stuff/val_label/000000000785.png")
    assert np.unique(read_mask(coco, "parallel", 640, 425)).tolist() == [-1, 0, 34, 119, 158]
