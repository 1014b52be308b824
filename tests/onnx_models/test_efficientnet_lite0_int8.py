"""The shipped EfficientNet-Lite0 in 8 bits: the file against its card and against the float network beside it."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fastvbow.features.cnn import CnnExtractor
from fastvbow.features.models import find_model

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS = sorted((ROOT / "fastvbow" / "demo" / "photographs").glob("*.jpg"))
NAME = "efficientnet_lite0_int8"


@pytest.fixture(scope="module")
def graph():
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: the graph cannot be read")
    return onnx.load(find_model(NAME).path).graph


@pytest.fixture(scope="module")
def integers(graph):
    """The weights of the convolutions in 8 bits, by name."""
    from onnx import TensorProto, numpy_helper

    return {
        item.name: numpy_helper.to_array(item)
        for item in graph.initializer
        if item.data_type == TensorProto.INT8 and len(item.dims) == 4
    }


@pytest.fixture(scope="module")
def described():
    """What both networks give for each photograph of the demonstration: {output: (float, 8 bits)}, a row a feature."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    extractors = [CnnExtractor(find_model(name), "cpu") for name in ("efficientnet_lite0", NAME)]
    images = [cv2.imread(str(path), cv2.IMREAD_COLOR_RGB) for path in PHOTOGRAPHS]
    found = [[extractor.extract(image) for image in images] for extractor in extractors]
    return {
        name: tuple(np.concatenate([one[name].descriptors for one in some]).astype(np.float64) for some in found)
        for name in ("conv", "pooled")
    }


def cosines(a, b):
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_the_file_is_the_one_on_the_card_and_made_from_the_float_one():
    card = find_model(NAME)
    text = card.path.with_suffix(".toml").read_text()
    assert hashlib.sha256(card.path.read_bytes()).hexdigest() == card.sha256
    assert f"bytes = {card.path.stat().st_size}\n" in text
    assert f'source_sha256 = "{find_model("efficientnet_lite0").sha256}"' in text


def test_it_takes_and_gives_what_the_float_network_does():
    card, source = find_model(NAME), find_model("efficientnet_lite0")
    for name in ("input", "side", "mean", "std", "layout", "colour", "pooled", "conv", "licence"):
        assert getattr(card, name) == getattr(source, name), name


def test_vectors_and_maps_are_those_of_the_float_network(described):
    assert len(PHOTOGRAPHS) == 15
    for name, (wanted, found) in described.items():
        close = cosines(wanted, found)
        assert close.mean() > 0.99, name
        assert close.min() > 0.95, name


def test_a_photograph_is_nearest_to_itself(described):
    wanted, found = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in described["pooled"])
    assert (found @ wanted.T).argmax(axis=1).tolist() == list(range(len(wanted)))


def test_no_sum_of_two_products_overflows_sixteen_bits(integers):
    # AVX2 without VNNI multiplies uint8 by int8 and adds pairs of products in 16 bits, with saturation
    dense = {name: values.astype(int) for name, values in integers.items() if values.shape[1] > 1}
    assert len(dense) == 32
    for name, values in dense.items():
        assert 2 * 255 * np.abs(values).max() <= 2**15, name
        assert np.abs(values).max() == 64, name


def test_depthwise_weights_have_all_eight_bits_and_the_first_convolution_none(graph, integers):
    depthwise = [values.astype(int) for values in integers.values() if values.shape[1] == 1]
    assert [np.abs(values).max() for values in depthwise] == [127] * 16
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 49 == len(integers) + 1
    assert convolutions[0].input[0] == "image"
