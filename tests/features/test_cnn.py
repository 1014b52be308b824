"""CNN features: the cells' places, the values against ONNX Runtime's own, and devices that are not there."""

import dataclasses
import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from odd_files import busy

from fastvbow.errors import MissingExtraError, ProviderUnavailableError, StoreCorruptError, UsageError
from fastvbow.features import cnn
from fastvbow.features.cnn import CnnExtractor, cnn_parameters, open_session
from fastvbow.features.models import ModelCard, Output, find_model
from fastvbow.images.decode import decode, read_bytes

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


@pytest.fixture(scope="module")
def extractor():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    return CnnExtractor(find_model("efficientnet_lite0"), "cpu")


@pytest.fixture
def fake_card(tmp_path):
    path = tmp_path / "fake.onnx"
    path.write_bytes(b"no network")
    digest = hashlib.sha256(b"no network").hexdigest()
    return ModelCard("fake", path, digest, "", "", "image", 8, 127.0, 128.0, Output("pool", 5), Output("map", 4))


@pytest.fixture
def given(fake_card, monkeypatch):
    """An extractor whose network gives what it is told to; `calls` holds what it was asked."""

    def make(conv, pooled):
        calls = []

        def run(names, feeds):
            calls.append((names, feeds))
            return [np.asarray(conv, np.float32), np.asarray(pooled, np.float32)]

        session = SimpleNamespace(run=run, get_providers=lambda: [CPU])
        monkeypatch.setattr(cnn, "open_session", lambda model, device: session)
        monkeypatch.setattr(cnn, "check_session", lambda session, card: True)
        return CnnExtractor(fake_card), calls

    return make


def fake_onnxruntime(monkeypatch, available, running):
    """A module in ONNX Runtime's place that offers and runs the providers given; returns the sessions made."""
    made = []

    class InferenceSession:
        def __init__(self, model, options, providers):
            made.append(SimpleNamespace(model=model, options=options, providers=providers))

        def get_providers(self):
            return running

    module = SimpleNamespace(
        get_available_providers=lambda: available,
        SessionOptions=SimpleNamespace,
        InferenceSession=InferenceSession,
        preload_dlls=lambda: made.append("preloaded"),
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    return made


def test_locations_lie_at_the_centres_of_their_cells(given):
    # A map of 2 rows and 4 columns on 80 x 20 pixels: cells of 20 x 10, so of sqrt(200) pixels' mean side.
    conv = np.arange(4 * 2 * 4).reshape(1, 4, 2, 4)
    extractor, _ = given(conv, np.zeros((1, 5)))
    found = extractor.extract(np.zeros((20, 80, 3), np.uint8))
    side = np.sqrt(200)
    wanted = [[x, y, side, -1] for y in (4.5, 14.5) for x in (9.5, 29.5, 49.5, 69.5)]
    np.testing.assert_allclose(found["conv"].keypoints, wanted, rtol=1e-6)
    # Row i of the descriptors is the column of channels at that place.
    np.testing.assert_array_equal(found["conv"].descriptors, [conv[0, :, y, x] for y in range(2) for x in range(4)])
    np.testing.assert_allclose(found["pooled"].keypoints, [[39.5, 9.5, 40, -1]])
    for local in found.values():
        assert local.keypoints.dtype == np.float32
        assert local.descriptors.dtype == np.float16


def test_values_beyond_half_precision_are_clipped(given):
    extractor, _ = given(np.full((1, 4, 1, 1), 1e6), [[-1e9, 70000, 65504, 1.5, np.float32(1e30)]])
    found = extractor.extract(np.zeros((5, 5, 3), np.uint8))
    assert found["conv"].descriptors.tolist() == [[65504] * 4]
    assert found["pooled"].descriptors.tolist() == [[-65504, 65504, 65504, 1.5, 65504]]


def test_the_input_is_the_whole_photograph_as_red_green_blue(given):
    extractor, calls = given(np.zeros((1, 4, 1, 1)), np.zeros((1, 5)))
    image = np.zeros((30, 60, 3), np.uint8)
    image[:] = (255, 127, 0)
    image[:, 30:] = (0, 0, 255)
    extractor.extract(image)
    ((names, feeds),) = calls
    assert names == ["map", "pool"]
    (tensor,) = feeds.values()
    assert tensor.shape == (1, 3, 8, 8)
    assert tensor.dtype == np.float32
    np.testing.assert_allclose(tensor[0, :, 0, 0], [1.0, 0.0, -127 / 128], atol=1e-6)
    np.testing.assert_allclose(tensor[0, :, 7, 7], [-127 / 128, -127 / 128, 1.0], atol=1e-6)


def test_a_bright_patch_changes_the_cells_at_its_corner_most(extractor):
    image = np.full((300, 450, 3), 90, np.uint8)
    ground = extractor.extract(image)["conv"]
    for rows, columns in [
        (slice(0, 50), slice(0, 75)),
        (slice(250, 300), slice(0, 75)),
        (slice(0, 50), slice(375, 450)),
    ]:
        changed = image.copy()
        changed[rows, columns] = cv2.resize(busy(12, 18), (75, 50), interpolation=cv2.INTER_NEAREST)
        found = extractor.extract(changed)["conv"]
        change = np.linalg.norm(found.descriptors.astype(float) - ground.descriptors, axis=1)
        x, y, side, _ = found.keypoints[change.argmax()]
        assert abs(x - (columns.start + columns.stop) / 2) < 1.5 * side
        assert abs(y - (rows.start + rows.stop) / 2) < 1.5 * side
        near = np.hypot(*(found.keypoints[:, :2] - (x, y)).T) < 2 * side
        assert change[near].mean() > 3 * change[~near].mean()


def test_features_equal_onnx_runtimes_own_output(extractor):
    import onnxruntime

    card, image = extractor.card, busy(200, 310)
    session = onnxruntime.InferenceSession(card.path.read_bytes(), providers=[CPU])
    square = cv2.resize(image, (card.side, card.side), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    feeds = {card.input: ((square - card.mean) / card.std).transpose(2, 0, 1)[None]}
    conv, pooled = session.run([card.conv.tensor, card.pooled.tensor], feeds)
    found = extractor.extract(image)
    np.testing.assert_allclose(found["pooled"].descriptors, pooled, rtol=2e-3, atol=1e-3)
    wanted = conv[0].transpose(1, 2, 0).reshape(-1, card.conv.channels)
    np.testing.assert_allclose(found["conv"].descriptors, wanted, rtol=4e-3, atol=4e-3)
    assert wanted.std() > 0.1


def test_modalities_say_what_comes(extractor):
    found = extractor.extract(busy(50, 70))
    assert [m.name for m in extractor.modalities] == list(found) == ["conv", "pooled"]
    for modality in extractor.modalities:
        assert found[modality.name].descriptors.shape[1] == modality.dimension
        assert found[modality.name].descriptors.dtype == np.dtype(modality.dtype)
        assert found[modality.name].descriptors.flags.c_contiguous
        assert len(found[modality.name].keypoints) == len(found[modality.name].descriptors)


@pytest.mark.parametrize("shape", [(1, 1), (1, 900), (900, 1), (2, 3)])
def test_tiny_photographs_have_features_inside_them(extractor, shape):
    found = extractor.extract(busy(*shape))
    for local in found.values():
        assert np.isfinite(local.descriptors).all()
        assert (local.keypoints[:, :2] > -0.5).all()
        assert (local.keypoints[:, :2] < (shape[1] - 0.5, shape[0] - 0.5)).all()


def test_the_same_bytes_from_several_threads(extractor):
    images = [busy(120, 160, seed=i) for i in range(3)]
    wanted = [extractor.extract(image) for image in images]
    with ThreadPoolExecutor(3) as executor:
        together = list(executor.map(lambda i: extractor.extract(images[i % 3]), range(12)))
    for i, found in enumerate(together):
        for name in found:
            assert found[name].descriptors.tobytes() == wanted[i % 3][name].descriptors.tobytes()


def test_batches_find_the_same(extractor):
    images = [busy(100 + 5 * i, 160, seed=i) for i in range(12)]
    wanted = [extractor.extract(image) for image in images]
    batched = CnnExtractor(find_model("efficientnet_lite0"), "cpu", batch=4)
    assert (extractor.ahead, batched.ahead) == (0, 4)
    begun = [batched.begin(image) for image in images]
    for wait, known in zip(begun, wanted, strict=True):
        for name, part in wait().items():
            np.testing.assert_array_equal(part.keypoints, known[name].keypoints)
            np.testing.assert_allclose(
                part.descriptors.astype(float), known[name].descriptors.astype(float), rtol=2e-3, atol=2e-3
            )
    batched.close()


class FakeBinding:
    """What ONNX Runtime's binding of inputs and outputs to a device does, for a `FakeGpu`."""

    def __init__(self, session):
        self.session, self.feeds, self.bound = session, {}, {}

    def bind_cpu_input(self, name, values):
        self.feeds[name] = values

    def bind_output(self, name, device):
        self.bound[name] = device

    def copy_outputs_to_cpu(self):
        return self.found


class FakeGpu:
    """A session that says that it runs on a GPU."""

    def __init__(self, batch_axis="N"):
        self.shapes, self.batch_axis = [], batch_axis

    def get_providers(self):
        return [CUDA, CPU]

    def get_inputs(self):
        return [SimpleNamespace(name="image", type="tensor(float)", shape=[self.batch_axis, 3, 8, 8])]

    def get_outputs(self):
        shapes = {"map": [self.batch_axis, 4, 2, 2], "pool": [self.batch_axis, 5]}
        return [SimpleNamespace(name=name, type="tensor(float)", shape=shape) for name, shape in shapes.items()]

    def io_binding(self):
        return FakeBinding(self)

    def run_with_iobinding(self, binding):
        assert binding.bound == {"map": "cuda", "pool": "cuda"}
        (image,) = binding.feeds.values()
        self.shapes.append(image.shape)
        n = len(image)
        binding.found = [np.ones((n, 4, 2, 2), np.float32), np.ones((n, 5), np.float32) * image[:, 0, :1, 0]]


def test_a_gpu_is_prepared_for_the_batches_that_come(fake_card, monkeypatch):
    session = FakeGpu()
    monkeypatch.setattr(cnn, "open_session", lambda model, device: session)
    extractor = CnnExtractor(fake_card)
    assert extractor.ahead == cnn.GPU_BATCH == 32
    assert [shape[0] for shape in session.shapes] == [1, 2, 4, 8, 16, 32]
    waits = [extractor.begin(np.full((8, 8, 3), 127 + i, np.uint8)) for i in range(40)]
    assert [wait()["pooled"].descriptors[0, 0] * 128 for wait in waits] == list(range(40))
    assert {shape[0] for shape in session.shapes} <= {1, 2, 4, 8, 16, 32}
    extractor.close()


class RealBinding:
    """ONNX Runtime's own binding, whose device is the CPU in place of the GPU that is not there."""

    def __init__(self, binding):
        self.binding = binding

    def bind_output(self, name, device):
        assert device == "cuda"
        self.binding.bind_output(name, "cpu")

    def __getattr__(self, name):
        return getattr(self.binding, name)


class SeemingGpu:
    """A session of ONNX Runtime's that says that it runs on a GPU."""

    def __init__(self, session):
        self.session = session

    def get_providers(self):
        return [CUDA, CPU]

    def io_binding(self):
        return RealBinding(self.session.io_binding())

    def run_with_iobinding(self, binding):
        self.session.run_with_iobinding(binding.binding)

    def __getattr__(self, name):
        if name == "run":
            raise AssertionError("outputs are to be bound")
        return getattr(self.session, name)


def test_bound_outputs_are_those_of_a_plain_run(extractor, monkeypatch):
    monkeypatch.setattr(cnn, "open_session", lambda model, device: SeemingGpu(open_session(model, "cpu")))
    bound = CnnExtractor(extractor.card, batch=2)
    images = [busy(60, 80, seed=i) for i in range(3)]
    waits = [bound.begin(image) for image in images]
    for image, wait in zip(images, waits, strict=True):
        wanted, found = extractor.extract(image), wait()
        for name in wanted:
            a, b = (some[name].descriptors.astype(float) for some in (wanted, found))
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)
    bound.close()


def test_a_model_with_room_for_one_photograph_takes_one(fake_card, monkeypatch):
    session = FakeGpu(batch_axis=1)
    monkeypatch.setattr(cnn, "open_session", lambda model, device: session)
    extractor = CnnExtractor(fake_card, batch=8)
    assert extractor.ahead == 0
    assert len(extractor.extract(np.zeros((8, 8, 3), np.uint8))["pooled"].descriptors) == 1


def test_auto_runs_where_there_is_only_a_cpu(monkeypatch, tmp_path):
    made = fake_onnxruntime(monkeypatch, [CPU], [CPU])
    open_session(tmp_path / "m.onnx", "auto")
    assert [session.providers for session in made] == [[CPU]]
    assert made[0].options.intra_op_num_threads == made[0].options.inter_op_num_threads == 1


def test_auto_runs_for_real():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    extractor = CnnExtractor(find_model("efficientnet_lite0"))
    assert extractor.provider.endswith("ExecutionProvider")
    assert len(extractor.extract(busy(20, 20))["pooled"].descriptors) == 1


def test_auto_goes_on_where_cuda_does_not_start(monkeypatch, tmp_path):
    made = fake_onnxruntime(monkeypatch, [CUDA, CPU], [CPU])
    assert open_session(tmp_path / "m.onnx", "auto").get_providers() == [CPU]
    assert made[0] == "preloaded"
    assert made[1].providers == [(CUDA, {"use_tf32": 0}), CPU]


def test_cuda_is_taken_where_it_runs(monkeypatch, tmp_path):
    fake_onnxruntime(monkeypatch, [CUDA, CPU], [CUDA, CPU])
    assert open_session(tmp_path / "m.onnx", "cuda").get_providers()[0] == CUDA


def test_cpu_never_touches_cuda(monkeypatch, tmp_path):
    made = fake_onnxruntime(monkeypatch, [CUDA, CPU], [CPU])
    open_session(tmp_path / "m.onnx", "cpu")
    assert [session.providers for session in made] == [[CPU]]


def test_cuda_that_is_not_offered_is_refused(monkeypatch, tmp_path):
    made = fake_onnxruntime(monkeypatch, [CPU], [CPU])
    with pytest.raises(ProviderUnavailableError, match=rf"offers only {CPU}.*fastvbow\[gpu\].*--device cpu"):
        open_session(tmp_path / "m.onnx", "cuda")
    assert not made


def test_cuda_that_does_not_start_is_refused(monkeypatch, tmp_path):
    fake_onnxruntime(monkeypatch, [CUDA, CPU], [CPU])
    with pytest.raises(ProviderUnavailableError, match=r"could not start CUDA.*doctor"):
        open_session(tmp_path / "m.onnx", "cuda")


def test_an_unknown_device_is_refused(tmp_path):
    with pytest.raises(UsageError, match="auto, cpu, cuda, not 'tpu'"):
        open_session(tmp_path / "m.onnx", "tpu")


def test_without_onnx_runtime(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fastvbow\[cpu\]'"):
        CnnExtractor(find_model("efficientnet_lite0"))


def test_another_file_than_the_cards_is_refused_before_it_is_run(fake_card, monkeypatch):
    made = fake_onnxruntime(monkeypatch, [CPU], [CPU])
    fake_card.path.write_bytes(b"another network")
    with pytest.raises(StoreCorruptError, match=rf"fake\.onnx.*{fake_card.sha256}"):
        CnnExtractor(fake_card)
    assert not made


def test_a_missing_file_is_refused(fake_card):
    with pytest.raises(StoreCorruptError, match=r"none\.onnx"):
        CnnExtractor(dataclasses.replace(fake_card, path=fake_card.path.with_name("none.onnx")))


def test_what_the_features_depend_on_is_known_without_opening_the_model(extractor, fake_card):
    assert dict(extractor.parameters) == cnn_parameters(find_model("efficientnet_lite0"))
    other = dataclasses.replace(fake_card, sha256="0")
    assert cnn_parameters(other) != cnn_parameters(fake_card)


@pytest.mark.data
def test_photographs_of_one_kind_are_nearer_than_others(extractor, data_folder):
    folders = sorted(path for path in (data_folder / "sun8").iterdir() if path.is_dir())[:3]
    vectors = []
    for folder in folders:
        for path in sorted(folder.glob("*.jpg"))[:6]:
            vector = extractor.extract(decode(read_bytes(path)))["pooled"].descriptors[0].astype(float)
            vectors.append(vector / np.linalg.norm(vector))
    kind = np.repeat(np.arange(3), 6)
    likeness = np.array(vectors) @ np.array(vectors).T
    same = (kind[:, None] == kind) & ~np.eye(18, dtype=bool)
    assert likeness[same].mean() > likeness[kind[:, None] != kind].mean()
