"""Model cards."""

import hashlib
from pathlib import Path

import pytest

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.features.models import (
    NORMALISATIONS,
    ModelCard,
    Output,
    card_text,
    find_model,
    known_models,
    models_folder,
    read_card,
)

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

    assert (found.layout, found.colour) == ("NCHW", "RGB")


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ('sha256 = "abc"\n', "", "sha256"),
        ('name = "small"', "name = 3", "name"),
        ('name = "small"', 'name = "other"', "names the model 'other', its own name is small.toml"),
        ('file = "small.onnx"', 'file = "../small.onnx"', "one beside it"),
        ('licence = "MIT"', 'licence = "MIT"\nsurprise = 1', "surprise"),
        ('conv = "block"', 'conv = "missing"', "output that is conv, one of gap, block"),
        ('pooled = "gap"\n', "", "output that is pooled"),
        ("gap = [7]", "gap = []", "one vector"),
        ("gap = [7]", "gap = [7, 2]", "one vector"),
        ("gap = [7]", "gap = [0]", "cannot have the shape"),
        ("block = [5, 4, 4]", "block = [5, 4]", "3 axes"),
        ("height = 32", "height = 16", "not 32 x 16"),
        ("width = 32\nheight = 32", "width = 4\nheight = 4", "8 to 4096"),
        ('layout = "NCHW"', 'layout = "CHWN"', "NCHW or NHWC, not 'CHWN'"),
        ('colour = "RGB"', 'colour = "grey"', "RGB or BGR, not 'grey'"),
        ('resize = "squash"', 'resize = "crop"', "squash .*, not 'crop'"),
        ('resize = "squash"', 'resize = "squash"\nsurprise = 1', "surprise"),
        ("mean = 127.0", "mean = [1.0, 2.0]", "length 3"),
        ("mean = 127.0", "mean = nan", "mean"),
        ("std = 128.0", "std = [1.0, 0.0, 1.0]", "std is a number above 0 or three"),
        ("std = 128.0", "std = -1", "std"),
        ("[outputs]", '[map]\nlayout = "WHC"\n[outputs]', "CHW, HWC, TC, not 'WHC'"),
        ("[outputs]", '[map]\nlayout = "TC"\n[outputs]', "2 axes"),
        ("[outputs]", "[map]\nleading = 1\n[outputs]", "only a map of tokens"),
        ("[outputs]", "[map]\nsurprise = 1\n[outputs]", "surprise"),
        ("block = [5, 4, 4]", 'block = [6, 5]\n[map]\nlayout = "TC"\nleading = 1', "no square grid"),
        ("block = [5, 4, 4]", 'block = [6, 5]\n[map]\nlayout = "TC"\nleading = -3', "no square grid"),
        ("[roles]", "[roles", "table"),
    ],
)
def test_a_card_that_cannot_be_used_is_refused_by_name(card, old, new, wrong):
    assert old in CARD
    with pytest.raises(StoreCorruptError, match=rf"small\.toml.*{wrong}"):
        card(CARD.replace(old, new))


def test_cards_of_other_kinds(card):
    given = CARD.replace("NCHW", "NHWC").replace("RGB", "BGR").replace("mean = 127.0", "mean = [1.0, 2, 3.5]")
    found = card(given.replace("[outputs]", '[map]\nlayout = "HWC"\n[outputs]').replace("[5, 4, 4]", "[4, 4, 5]"))
    assert (found.layout, found.colour, found.mean, found.std) == ("NHWC", "BGR", (1.0, 2.0, 3.5), 128.0)
    assert found.conv == Output("block", 5, "HWC")
    found = card(CARD.replace("[5, 4, 4]", '[18, 5]\n[map]\nlayout = "TC"\nleading = 2').replace("[7]", "[7, 1, 1]"))
    assert (found.pooled, found.conv) == (Output("gap", 7), Output("block", 5, "TC", 2))


@pytest.mark.parametrize("scale", NORMALISATIONS.values(), ids=NORMALISATIONS)
def test_what_is_written_is_read_again(tmp_path, scale):
    odd = 'a "name"\\ with\nlines\t\x7f\x01 and é, 猫, 🐈'
    shapes = {odd: (7, 1, 1), "/layers.11/Add_output_0": (17, 24)}
    outputs = Output(odd, 7), Output("/layers.11/Add_output_0", 24, "TC", 1)
    given = ModelCard("odd", tmp_path / "odd.onnx", "abc", odd, odd, odd, 32, *scale, *outputs, "NHWC", "BGR")
    (tmp_path / "odd.toml").write_text(card_text(given, shapes, 12), encoding="utf-8")
    assert read_card(tmp_path / "odd.toml") == given


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's models folder."""
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "own"))
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


def test_a_users_own_models_are_found(own):
    assert models_folder() == own
    (own / "small.toml").write_text(CARD)
    (own / ".hidden.toml").write_text(CARD)
    assert find_model("small").path == own / "small.onnx"
    assert set(known_models()) == {"small", "efficientnet_lite0", "efficientnet_lite0_int8"}
    with pytest.raises(UsageError, match="known: efficientnet_lite0, efficientnet_lite0_int8, small; "):
        find_model("hidden")


def test_a_shipped_model_stands_before_a_users_own(own):
    (own / "efficientnet_lite0.toml").write_text(CARD)
    assert find_model("efficientnet_lite0").licence == "Apache-2.0"


def test_where_a_users_own_models_lie(monkeypatch):
    monkeypatch.delenv("FASTVBOW_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert models_folder() == Path("/data/fastvbow/models")
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert models_folder() == Path("/home/someone/.local/share/fastvbow/models")


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
    """Its card is as it was before cards could say more."""
    found = find_model("efficientnet_lite0")
    assert hashlib.sha256(found.path.read_bytes()).hexdigest() == found.sha256
    assert found.licence == "Apache-2.0"


@pytest.mark.parametrize("name", ["resnet", "", "../pyproject", "a\0b"])
def test_an_unknown_model_names_those_there_are(name):
    with pytest.raises(UsageError, match=r"known: .*efficientnet_lite0"):
        find_model(name)
