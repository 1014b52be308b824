"""Finding the vector and the map in networks that nothing is known of."""

import sys

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from onnx import TensorProto, helper  # noqa: E402
from small_networks import Network, body, channels_last, classifier, save, transformer  # noqa: E402

from fastvbow.errors import MissingExtraError, UsageError  # noqa: E402
from fastvbow.features import graphs  # noqa: E402
from fastvbow.features.anatomy import analyse  # noqa: E402
from fastvbow.features.graphs import Graph, find_image_input, load_model  # noqa: E402
from fastvbow.features.models import find_model  # noqa: E402


def told(found):
    """What was found, in short."""
    vector, maps = found.pooled, [(place.tensor, place.shape, place.layout, place.leading) for place in found.maps]
    return found.scores, (vector.tensor, vector.shape, vector.layout), maps, found.conv.tensor


@pytest.mark.parametrize(
    ("head", "scores", "pooled"),
    [
        ("gemm", "scores", ("flat", (16,), "C")),
        ("mean", "product", ("mean", (16,), "C")),
        ("conv", "last", ("pool", (16, 1, 1), "C")),
        ("none", "", ("scores", (16,), "C")),
    ],
)
def test_convolutional_networks(head, scores, pooled):
    found = told(analyse(classifier(head)))
    assert found == (scores, pooled, [("third", (16, 4, 4), "CHW", 0), ("second", (12, 4, 4), "CHW", 0)], "second")


def test_the_inside_of_a_residual_block_is_no_map():
    found = told(analyse(classifier(residual=True)))
    assert found[2] == [("third", (12, 4, 4), "CHW", 0), ("second", (12, 4, 4), "CHW", 0)]


def test_channels_last():
    found = analyse(channels_last())
    assert (found.image.layout, found.image.side, found.image.fixed, found.image.batch) == ("NHWC", 32, True, True)
    assert told(found)[:2] == ("scores", ("mean", (20,), "C"))
    assert told(found)[2] == [("fourth", (4, 4, 20), "HWC", 0), ("back", (4, 4, 16), "HWC", 0)]


@pytest.mark.parametrize("registers", [0, 4])
def test_transformers(registers):
    found = told(analyse(transformer(registers=registers)))
    tokens, leading = (17 + registers, 24), 1 + registers
    maps = [("norm", tokens, "TC", leading), ("block0.end", tokens, "TC", leading)]
    assert found == ("scores", ("pooled", (24,), "C"), maps, "norm")


def test_a_transformer_that_takes_the_mean():
    found = told(analyse(transformer("mean")))
    maps = [("norm", (16, 24), "TC", 0), ("block0.end", (16, 24), "TC", 0)]
    assert found == ("scores", ("pooled", (24,), "C"), maps, "norm")


def test_an_encoder_that_gives_tokens():
    found = told(analyse(transformer("tokens")))
    assert found[:2] == ("", ("norm", (17, 24), "TC"))
    assert found[3] == "norm"


def test_an_encoder_that_gives_a_map():
    net = Network()
    body(net)
    found = told(analyse(net.model(["third"])))
    assert found[:2] == ("", ("third", (16, 4, 4), "CHW"))
    assert found[3] == "second"


def test_rows_that_are_no_tokens_are_no_vector():
    """Boxes of a detector are (n, t, c) too."""
    net = Network()
    body(net)
    net.add("Reshape", ["third", net.constant(np.array([0, 17 - 1, -1]), "to")], "boxes")
    with pytest.raises(UsageError, match=r"'boxes' of shape \(1, 16, 16\) is no vector.*--pooled TENSOR.*third \(1"):
        analyse(net.model(["boxes"]))


def test_the_shipped_model_without_its_outputs():
    """Its own vector and last map are found again in the bare classifier."""
    model = load_model(find_model("efficientnet_lite0").path)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.output[1:]
    assert [output.name for output in bare.graph.output] == ["logits"]
    for given in (bare, model):
        found = analyse(given)
        assert told(found)[:2] == ("logits", ("pooled", (1280,), "C"))
        assert told(found)[2] == [("head", (1280, 7, 7), "CHW", 0), ("block15", (320, 7, 7), "CHW", 0)]


def test_open_sides():
    found = analyse(classifier(shape=("N", 3, "H", "W")))
    assert (found.image.side, found.image.fixed, found.maps[0].shape) == (224, False, (16, 28, 28))
    found = analyse(classifier(shape=(1, 3, "H", "W")), side=64)
    assert (found.image.side, found.image.batch, found.maps[0].shape) == (64, False, (16, 8, 8))


def test_the_layout_is_seen_in_the_first_convolution():
    assert analyse(classifier(shape=("N", "C", "H", "W")), side=32).image.layout == "NCHW"
    with pytest.raises(UsageError, match="--layout NCHW or NHWC"):
        analyse(channels_last(shape=("N", "H", "W", "C")))
    assert analyse(channels_last(shape=("N", "H", "W", "C")), side=32, layout="NHWC").maps[0].shape == (4, 4, 20)


def test_maps_of_two_layouts():
    """A Swin transformer's last map is turned to (channels, rows, columns) for the pooling alone."""
    net = Network()
    x = net.add("Transpose", [body(net)], "back", perm=[0, 2, 3, 1])
    x = net.add("Transpose", [net.relu(net.dense(x, 16, 20, "pointwise"), "fourth")], "turned", perm=[0, 3, 1, 2])
    net.gemm(net.add("Flatten", [net.add("GlobalAveragePool", [x], "pool")], "flat"), 20, 5, "scores")
    found = told(analyse(net.model(["scores"])))
    assert found[2] == [("turned", (20, 4, 4), "CHW", 0), ("back", (4, 4, 16), "HWC", 0)]


def test_tensors_that_the_user_names():
    found = analyse(classifier(), pooled="pool", conv="first")
    assert told(found)[1] == ("pool", (16, 1, 1), "C")
    assert told(found)[3] == "first"
    assert found.scores == ""
    for option in ("pooled", "conv"):
        with pytest.raises(UsageError, match=rf"--{option}: the graph makes no tensor 'none'.*flat \(1, 16\)"):
            analyse(classifier(), **{option: "none"})
    with pytest.raises(UsageError, match=r"'flat' of shape \(1, 16\) is no square map.*--conv TENSOR"):
        analyse(classifier(), conv="flat")


def test_a_network_without_a_map():
    net = Network()
    net.gemm(net.relu(net.gemm(net.add("Flatten", ["image"], "flat"), 3072, 6, "hidden"), "relu"), 6, 5, "scores")
    with pytest.raises(UsageError, match=r"no square map.*--conv TENSOR.*relu \(1, 6\)"):
        analyse(net.model(["scores"]))


@pytest.mark.parametrize(
    ("shape", "more", "message"),
    [
        (("N", 3, 32, 48), {}, "not square"),
        (("N", 3, 32, 32), {"side": 64}, "takes 32 pixels a side, not --side 64"),
        (("N", 3, 32, 32), {"layout": "NHWC"}, "three colours of a photograph in the layout NHWC"),
        (("N", 1, 32, 32), {"layout": "NCHW"}, "three colours"),
        ((8, 3, 32, 32), {}, "takes 8 photographs"),
        (("N", 3, 32), {}, "four axes"),
    ],
)
def test_inputs_that_cannot_be(shape, more, message):
    net = Network()
    body(net)
    model = net.model(["third"])
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, shape))
    with pytest.raises(UsageError, match=message):
        find_image_input(model, **more)


def test_other_inputs():
    extra = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 7])
    net = Network()
    body(net)
    with pytest.raises(UsageError, match=r"one image and nothing else.*'image' \(None, 3, 32, 32\), 'ids' \(None, 7\)"):
        analyse(net.model(["third"], inputs=[extra]))
    net = Network()
    net.add("Cast", ["image"], "out", to=TensorProto.FLOAT)
    with pytest.raises(UsageError, match="takes UINT8, not float32"):
        analyse(net.model(["out"], element=TensorProto.UINT8))


def test_no_output_of_the_picture():
    net = Network()
    body(net)
    net.add("Identity", [net.weights("bias", 5)], "alone")
    with pytest.raises(UsageError, match="no output depends on the input 'image'"):
        analyse(net.model(["alone"]))


def test_shapes_that_do_not_follow_are_found_by_running(monkeypatch):
    def fail(*_, **__):
        raise onnx.shape_inference.InferenceError("not today")

    wanted = told(analyse(transformer()))
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", fail)
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert told(analyse(transformer())) == wanted


def test_a_side_that_the_network_cannot_take():
    """32 pixels are written into the reshaping, but not into the input."""
    model = transformer()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"]))
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with pytest.raises(UsageError, match=r"cannot run this model on a photograph of 64 pixels a side \(see --side\)"):
        analyse(model, side=64)


def test_the_trunk():
    model = classifier(residual=True)
    graph = Graph(model, find_image_input(model))
    assert graph.trunk("third") == [
        "image", "first.conv", "first", "second.conv", "second", "third.sum", "third",
    ]  # fmt: skip
    assert graph.between("second", "third") == {"Conv", "Relu", "Add"}
    assert graph.between("third.sum", "third") == {"Relu"}


def test_a_function_of_the_models_own(tmp_path):
    """PyTorch's newer exporter may write a layer as one."""
    model = classifier()
    (index,) = (i for i, node in enumerate(model.graph.node) if node.name == "third")
    node = model.graph.node[index]
    opset = [helper.make_opsetid("", 17)]
    function = helper.make_function("own", "act", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opset)
    node.op_type, node.domain = "act", "own"
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("own", 1))
    found = analyse(load_model(save(model, tmp_path / "own.onnx")))
    assert [place.shape for place in found.maps] == [(16, 4, 4), (12, 4, 4)]


def test_weights_in_a_file_beside_it(tmp_path):
    path = tmp_path / "large.onnx"
    onnx.save_model(classifier(), path, save_as_external_data=True, location="large.bin", size_threshold=0)
    assert (tmp_path / "large.bin").stat().st_size > 1000
    model = load_model(path)
    assert all(constant.raw_data for constant in model.graph.initializer)
    assert all(constant.data_location == TensorProto.DEFAULT for constant in model.graph.initializer)
    (tmp_path / "large.bin").unlink()
    with pytest.raises(UsageError, match=r"large\.onnx cannot be read as an ONNX model with all its weights"):
        load_model(path)


@pytest.mark.parametrize("data", [b"", b"no model at all", b"\x00" * 100, b"\xff" * 100], ids=range(4))
def test_files_that_are_no_model(data, tmp_path):
    path = tmp_path / "odd.onnx"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"odd\.onnx"):
        load_model(path)


def test_a_truncated_file(tmp_path):
    data = classifier().SerializeToString()
    (tmp_path / "odd.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match=r"odd\.onnx"):
        load_model(tmp_path / "odd.onnx")


def test_a_missing_file(tmp_path):
    with pytest.raises(UsageError, match="there is no file"):
        load_model(tmp_path / "none.onnx")


def test_without_onnx(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fastvbow\[models\]'"):
        load_model(tmp_path / "any.onnx")


def test_too_large_a_model(monkeypatch, tmp_path):
    monkeypatch.setattr(graphs, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match=r"models of up to .* GB can be added"):
        load_model(save(classifier(), tmp_path / "large.onnx"))
