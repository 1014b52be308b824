"""Image encoders of the structures that transformers and open_clip export, small."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from onnx import TensorProto  # noqa: E402
from small_networks import both_encoders, image_encoder, save, text_encoder  # noqa: E402

from fastvbow.errors import StoreCorruptError, UsageError  # noqa: E402
from fastvbow.features.cnn import open_session  # noqa: E402
from fastvbow.features.image_encoder import ImageEncoder, describe_image_encoder, prepared_square  # noqa: E402
from fastvbow.features.splitting import image_part, text_part  # noqa: E402


def picture(height, width, seed=0):
    steps = np.random.default_rng(seed).normal(0, 9, (height, width, 3))
    return np.clip(np.cumsum(steps, axis=1) + 128, 0, 255).astype(np.uint8)


def encoder(tmp_path, model, **how):
    path = save(model, tmp_path / "image.onnx")
    session = open_session(path, "cpu")
    return ImageEncoder(describe_image_encoder(session, path, **{"mean": 127.0, "std": 50.0, **how}), session)


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (100, 90), (224, 300), (31, 977)])
@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
def test_squares_are_pillows(size, name):
    """Pillow's own resizing and cropping, by which CLIP's photographs were prepared; levels may differ by rounding."""
    pillow = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels, kind = picture(*size), getattr(pillow.Resampling, name.upper())
    image, (height, width) = pillow.fromarray(pixels), size
    wide, high = (64 * width // height, 64) if height <= width else (64, 64 * height // width)
    left, top = round((wide - 64) / 2), round((high - 64) / 2)
    wanted = image.resize((wide, high), kind).crop((left, top, left + 64, top + 64))
    for resize, whole in (("crop", wanted), ("squash", image.resize((64, 64), kind))):
        found = prepared_square(pixels, 64, resize, name)
        difference = np.abs(found.astype(int) - np.asarray(whole))
        assert found.shape == (64, 64, 3) and difference.max() <= 2
        assert difference.mean() < 0.25


def test_an_encoder_is_fed_as_its_card_says(tmp_path):
    pixels = picture(40, 60)
    made = encoder(tmp_path, image_encoder())
    assert (made.card.side, made.card.layout, made.card.output, made.card.batch) == (32, "NCHW", "image_embeds", None)
    square = (prepared_square(pixels, 32, "crop", "bicubic").astype(np.float64) - 127) / 50
    places = square.reshape(4, 8, 4, 8, 3).mean(axis=(1, 3)).transpose(2, 0, 1).reshape(-1)
    weights = onnx.numpy_helper.to_array(image_encoder().graph.initializer[0])
    np.testing.assert_allclose(made.encode(pixels), places @ weights, atol=1e-4)
    squashed = encoder(tmp_path, image_encoder(), resize="squash")
    assert np.abs(squashed.encode(pixels) - made.encode(pixels)).max() > 1e-3


def test_batches_halves_and_open_sides(tmp_path):
    pixels = picture(40, 60)
    wanted = encoder(tmp_path, image_encoder()).encode(pixels)
    fixed = encoder(tmp_path, image_encoder(shape=(4, 3, 32, 32)))
    assert fixed.card.batch == 4
    np.testing.assert_array_equal(fixed.encode(pixels), wanted)
    half = encoder(tmp_path, image_encoder(element=TensorProto.FLOAT16))
    assert half.card.dtype == "float16"
    np.testing.assert_allclose(half.encode(pixels), wanted, atol=5e-3)
    opened = encoder(tmp_path, image_encoder(shape=("N", 3, "H", "W")), side=32)
    np.testing.assert_array_equal(opened.encode(pixels), wanted)
    with pytest.raises(UsageError, match=r"does not run on 224 x 224 pixels.*give --side"):
        encoder(tmp_path, image_encoder(shape=("N", 3, "H", "W")))


def test_tokens_become_one_vector(tmp_path):
    pixels = picture(40, 60)
    first = encoder(tmp_path, image_encoder("last_hidden_state", tokens=True), pooling="cls").encode(pixels)
    mean = encoder(tmp_path, image_encoder("last_hidden_state", tokens=True), pooling="mean").encode(pixels)
    assert first.shape == mean.shape == (6,) and np.abs(first - mean).max() > 1e-3
    with pytest.raises(UsageError, match="has 3 axes: say by --image-pooling"):
        encoder(tmp_path, image_encoder("last_hidden_state", tokens=True))


@pytest.mark.parametrize(
    ("model", "how", "message"),
    [
        (text_encoder(), {}, "has the inputs input_ids.*an image encoder has one"),
        (image_encoder(shape=("N", 3, 64, 16)), {}, "it has to be a square"),
        (image_encoder(), {"side": 48}, "not --side 48"),
        (image_encoder(), {"output": "none"}, "has the outputs image_embeds: say by --image-output"),
        (image_encoder(), {"resize": "pad"}, "the resize of the image encoder is one of crop, squash, not 'pad'"),
        (image_encoder(), {"filter": "lanczos"}, "one of bicubic, bilinear, linear"),
        (image_encoder(), {"std": 0.0}, "std is a number above 0"),
        (image_encoder(), {"pooling": "mean"}, "has 2 axes"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_no_image_encoder(tmp_path, model, how, message):
    with pytest.raises(UsageError, match=message):
        encoder(tmp_path, model, **how)


def test_what_is_no_photograph(tmp_path):
    made = encoder(tmp_path, image_encoder())
    with pytest.raises(UsageError, match=r"uint8 of shape \(height, width, 3\)"):
        made.encode(np.zeros((5, 5), np.uint8))
    with pytest.raises(UsageError, match="NaN or infinity"):
        encoder(tmp_path, image_encoder(), mean=0.0, std=1e-36).encode(picture(40, 40))
    other = save(image_encoder("other"), tmp_path / "other.onnx")
    with pytest.raises(StoreCorruptError, match="names the input image and the output image_embeds"):
        ImageEncoder(made.card, open_session(other, "cpu"))


def test_a_whole_clip_is_split(tmp_path):
    whole = save(both_encoders(), tmp_path / "whole.onnx")
    image, text = onnx.load_from_string(image_part(whole)), onnx.load_from_string(text_part(whole))
    assert [given.name for given in image.graph.input] == ["image"]
    assert [found.name for found in image.graph.output] == ["image_embeds"]
    assert [given.name for given in text.graph.input] == ["input_ids"]
    assert {constant.name for constant in text.graph.initializer} == {"table", "axis"}
    pixels = picture(40, 60)
    wanted = encoder(tmp_path, image_encoder()).encode(pixels)
    np.testing.assert_array_equal(encoder(tmp_path, image).encode(pixels), wanted)
    with pytest.raises(UsageError, match=r"the output logits_per_image of .* needs input_ids"):
        image_part(whole, "logits_per_image")
    with pytest.raises(UsageError, match="say by --text-output"):
        text_part(whole, "none")
