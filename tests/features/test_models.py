"""Model cards."""

import hashlib

import pytest

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.features.models import Output, find_model, read_card

CARD = """
name = "small"
file = "small.onnx"
sha256 = "abc"
licence = "MIT"
source = "nowhere"
[input]
tensor = "image"
layout = "NCHW"
colour = "RGB"
width = 32
height = 32
mean = 127.0
std = 128.0
resize = "squash"
[roles]
pooled = "gap"
conv = "block"
[outputs]
gap = [7]
block = [5, 4, 4]
"""


@pytest.fixture
def card(tmp_path):
    def write(text):
        path = tmp_path / "small.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_card(path)

    return write


def test_a_card(card, tmp_path):
    found = card(CARD)
    assert found.path == tmp_path / "small.onnx"
    assert (found.name, found.sha256, found.licence, found.source) == ("small", "abc", "MIT", "nowhere")
    assert (found.input, found.side, found.mean, found.std) == ("image", 32, 127.0, 128.0)
    assert (found.pooled, found.conv) == (Output("gap", 7), Output("block", 5))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('sha256 = "abc"\n', ""),
        ('name = "small"', "name = 3"),
        ('conv = "block"', 'conv = "missing"'),
        ('pooled = "gap"\n', ""),
        ("gap = [7]", "gap = []"),
        ("height = 32", "height = 16"),
        ('layout = "NCHW"', 'layout = "NHWC"'),
        ('colour = "RGB"', 'colour = "BGR"'),
        ('resize = "squash"', 'resize = "crop"'),
        ('resize = "squash"', 'resize = "squash"\nsurprise = 1'),
        ("[roles]", "[roles"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_by_name(card, old, new):
    assert old in CARD
    with pytest.raises(StoreCorruptError, match=r"small\.toml"):
        card(CARD.replace(old, new))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xfe", CARD.encode("utf-16"), CARD.replace("MIT", "\xe4").encode("latin-1")]
)
def test_bytes_that_are_no_card(card, data):
    with pytest.raises(StoreCorruptError, match=r"small\.toml"):
        card(data)


def test_a_missing_card(tmp_path):
    with pytest.raises(StoreCorruptError, match=r"none\.toml"):
        read_card(tmp_path / "none.toml")


def test_the_model_that_ships():
    found = find_model("efficientnet_lite0")
    assert hashlib.sha256(found.path.read_bytes()).hexdigest() == found.sha256
    assert found.licence == "Apache-2.0"


@pytest.mark.parametrize("name", ["resnet", "", "../pyproject", "a\0b"])
def test_an_unknown_model_names_those_there_are(name):
    with pytest.raises(UsageError, match=r"known: .*efficientnet_lite0"):
        find_model(name)
