"""Photographs as inputs, outputs as features, and models that are not what their card says."""

import dataclasses
import hashlib
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from odd_files import busy

from fastvbow.errors import StoreCorruptError
from fastvbow.features.cnn import CnnExtractor, cnn_parameters
from fastvbow.features.models import ModelCard, Output, find_model
from fastvbow.features.tensors import check_session, input_maker, input_shape, map_rows


@pytest.fixture
def card(tmp_path):
    path = tmp_path / "small.onnx"
    return ModelCard("small", path, "", "", "", "image", 8, 127.0, 128.0, Output("pool", 5), Output("map", 4))


THREE = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
@pytest.mark.parametrize("scale", [{}, THREE, {"mean": 0.0}, {"std": THREE["std"]}], ids=range(4))
def test_the_input_is_what_the_card_says(card, layout, colour, scale):
    card = dataclasses.replace(card, layout=layout, colour=colour, **scale)
    image = busy(30, 60)
    given = input_maker(card)(image)
    wanted = cv2.resize(image, (8, 8), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    wanted = wanted[..., ::-1] if colour == "BGR" else wanted
    wanted = (wanted - np.array(card.mean)) / np.array(card.std)
    wanted = wanted.transpose(2, 0, 1) if layout == "NCHW" else wanted
    assert given.shape == input_shape(card, 1) == (1, *wanted.shape)
    assert given.dtype == np.float32
    assert given.flags.c_contiguous
    np.testing.assert_allclose(given[0], wanted, rtol=1e-5, atol=1e-5)


def test_what_the_shipped_model_gets_is_what_it_always_got():
    """Its features must keep their bytes."""
    image = busy(200, 310)
    small = cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR)
    wanted = cv2.dnn.blobFromImage(small, 1.0 / 128.0, mean=(127.0,) * 3)
    assert input_maker(find_model("efficientnet_lite0"))(image).tobytes() == wanted.tobytes()
    parameters = cnn_parameters(find_model("efficientnet_lite0"))
    assert list(parameters) == ["model", "sha256", "conv", "pooled"], "its projects need not be done again"


def test_maps_of_every_layout_have_the_same_rows():
    channels_first = np.arange(5 * 3 * 3, dtype=np.float32).reshape(5, 3, 3)
    wanted = np.array([channels_first[:, y, x] for y in range(3) for x in range(3)])
    last = channels_first.transpose(1, 2, 0)
    tokens = np.concatenate([np.full((2, 5), -1, np.float32), wanted])
    for one, layout, leading in [(channels_first, "CHW", 0), (last, "HWC", 0), (tokens, "TC", 2), (wanted, "TC", 0)]:
        rows, height, width = map_rows(one, layout, leading)
        np.testing.assert_array_equal(rows, wanted)
        assert (height, width) == (3, 3)
        assert rows.flags.c_contiguous


def test_features_depend_on_how_the_model_is_used(card):
    used = [card]
    used += [dataclasses.replace(card, **change) for change in ({"layout": "NHWC"}, {"colour": "BGR"}, {"side": 16})]
    used += [dataclasses.replace(card, mean=(1.0, 2.0, 3.0)), dataclasses.replace(card, std=1.0)]
    used += [dataclasses.replace(card, conv=Output("map", 4, "TC", leading)) for leading in (0, 1)]
    known = [cnn_parameters(one) for one in used]
    assert all(known[i] != known[j] for i in range(len(known)) for j in range(i))


def session(inputs=None, outputs=None):
    """A session that says so of its inputs and outputs."""

    def nodes(named):
        return [SimpleNamespace(name=name, shape=shape, type=kind) for name, (shape, kind) in named.items()]

    known = {"image": (["N", 3, 8, 8], "tensor(float)")} if inputs is None else inputs
    given = {"pool": (["N", 5], "tensor(float)"), "map": (["N", 4, 2, 2], "tensor(float)")} | (outputs or {})
    return SimpleNamespace(
        get_inputs=lambda: nodes(known), get_outputs=lambda: nodes({k: v for k, v in given.items() if v})
    )


FLOAT = "tensor(float)"


def test_a_model_that_is_what_its_card_says(card):
    assert check_session(session(), card)
    assert check_session(session(outputs={"other": ([1], "tensor(int64)")}), card)
    assert not check_session(session({"image": (["N", 3, "H", "W"], FLOAT)}), card), "what is open has to be tried"
    assert not check_session(session(outputs={"map": (["N", 4, None, None], FLOAT)}), card)
    assert not check_session(session(outputs={"map": ([], FLOAT)}), card)


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"pixels": (["N", 3, 8, 8], FLOAT)}, {}, "only input is 'image'.*'pixels'"),
        ({"image": (["N", 3, 8, 8], FLOAT), "more": ([1], FLOAT)}, {}, "only input is 'image'.*'more'"),
        ({"image": (["N", 3, 8, 8], "tensor(uint8)")}, {}, "takes float32"),
        ({"image": (["N", 3, 9, 9], FLOAT)}, {}, r"\(n, 3, 8, 8\).*\(N, 3, 9, 9\)"),
        ({"image": (["N", 8, 8, 3], FLOAT)}, {}, r"NCHW, \(n, 3, 8, 8\).*\(N, 8, 8, 3\)"),
        ({"image": ([8, 3, 8, 8], FLOAT)}, {}, r"\(8, 3, 8, 8\)"),
        ({"image": (["N", 3, 8], FLOAT)}, {}, r"\(N, 3, 8\)"),
        (None, {"pool": None}, "output pooled is 'pool'.*'map'"),
        (None, {"map": None}, "output conv is 'map'"),
        (None, {"map": (["N", 4, 2, 2], "tensor(int8)")}, "float tensor"),
        (None, {"pool": (["N", 6], FLOAT)}, r"'pool' has 5 channels.*\(1, 6\)"),
        (None, {"pool": (["N", 5, 2, 1], FLOAT)}, r"'pool' has 5 channels.*\(1, 5, 2, 1\)"),
        (None, {"map": (["N", 3, 2, 2], FLOAT)}, r"'map' has 4 channels in the layout CHW.*\(1, 3, 2, 2\)"),
        (None, {"map": (["N", 4, 2], FLOAT)}, "layout CHW"),
    ],
)
def test_a_model_that_is_not_what_its_card_says(card, inputs, outputs, message):
    with pytest.raises(StoreCorruptError, match=rf"small.*{message}.*models add"):
        check_session(session(inputs, outputs), card)


def test_tokens_that_are_no_square(card):
    card = dataclasses.replace(card, conv=Output("map", 4, "TC", 1))
    assert check_session(session(outputs={"map": (["N", 5, 4], FLOAT)}), card)
    for tokens in (1, 4, 6):
        with pytest.raises(StoreCorruptError, match="after 1 tokens, a square grid"):
            check_session(session(outputs={"map": (["N", tokens, 4], FLOAT)}), card)


@pytest.fixture
def made(tmp_path, card):
    """A card and a real model that leaves its sides open."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from small_networks import Network, body

    net = Network()
    net.add("GlobalAveragePool", [body(net)], "pool")
    data = net.model(["pool", "second"], shape=("N", 3, "H", "W")).SerializeToString()
    assert onnx.load_from_string(data)
    card.path.write_bytes(data)
    return dataclasses.replace(
        card, sha256=hashlib.sha256(data).hexdigest(), side=32, pooled=Output("pool", 16), conv=Output("second", 12)
    )


def test_what_the_model_leaves_open_is_tried(made):
    found = CnnExtractor(made, "cpu").extract(busy(40, 50))
    assert found["pooled"].descriptors.shape == (1, 16)
    assert found["conv"].descriptors.shape == (16, 12)
    with pytest.raises(StoreCorruptError, match=r"'second' has 13 channels.*\(1, 12, 4, 4\)"):
        CnnExtractor(dataclasses.replace(made, conv=Output("second", 13)), "cpu")
    with pytest.raises(StoreCorruptError, match=r"'pool' has 15 channels.*\(1, 16, 1, 1\)"):
        CnnExtractor(dataclasses.replace(made, pooled=Output("pool", 15)), "cpu")


def test_a_side_that_the_model_cannot_take(made):
    from small_networks import transformer

    model = transformer()
    dims = model.graph.input[0].type.tensor_type.shape.dim
    dims[2].dim_param = dims[3].dim_param = "side"
    del model.graph.output[:]
    for name in ("pooled", "norm"):
        model.graph.output.add().name = name
    data = model.SerializeToString()
    made.path.write_bytes(data)
    card = dataclasses.replace(
        made, sha256=hashlib.sha256(data).hexdigest(), pooled=Output("pooled", 24), conv=Output("norm", 24, "TC", 1)
    )
    assert len(CnnExtractor(card, "cpu").extract(busy(40, 50))["conv"].descriptors) == 16
    with pytest.raises(StoreCorruptError, match="does not run on 64 x 64 pixels"):
        CnnExtractor(dataclasses.replace(card, side=64), "cpu")


def test_a_model_that_onnx_runtime_cannot_open(made):
    made.path.write_bytes(b"no network")
    with pytest.raises(StoreCorruptError, match=r"ONNX Runtime cannot open the model .*small\.onnx"):
        CnnExtractor(dataclasses.replace(made, sha256=hashlib.sha256(b"no network").hexdigest()), "cpu")
