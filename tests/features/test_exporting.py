"""PyTorch networks as models: what is exported is what its source computes, or nothing is."""

import json

import numpy as np
import pytest


def importable(name):
    """A library of the extra `export`; the tests that want it are skipped where it does not load."""
    try:
        return __import__(name)
    except (ImportError, RuntimeError) as error:  # torchvision beside a torch that it was not built for
        pytest.skip(f"{name} does not load: {error}")


@pytest.fixture(scope="module")
def torch():
    importable("onnxscript")
    importable("onnxruntime")
    return importable("torch")


@pytest.fixture(scope="module")
def small_class(torch):
    nn = torch.nn

    class Small(nn.Module):
        """Three convolutions and five classes, of 32 pixels."""

        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.BatchNorm2d(8), nn.ReLU())
            self.second = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
            self.third = nn.Sequential(nn.Conv2d(12, 16, 3, 1, 1), nn.ReLU())
            self.head = nn.Linear(16, 5)

        def forward(self, x):
            return self.head(self.third(self.second(self.first(x))).mean((2, 3)))

    return Small


@pytest.fixture
def network(torch, small_class):
    from fastvbow.features.exporting import Network

    torch.manual_seed(0)
    return Network(small_class().eval(), 32, 127.5, 127.5, "MIT", "a test")


@pytest.fixture
def own(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def built(network, monkeypatch):
    """The command exports `network`, whatever it is called with."""
    from fastvbow.pipeline import exporting

    monkeypatch.setattr(exporting, "build_network", lambda *_, **__: network)
    return network


def test_an_export_is_its_source(cli, own, built):
    from fastvbow.features.models import find_model

    outcome = cli("models", "export", "small", "--json")
    assert outcome.code == 0, outcome.err
    done = json.loads(outcome.out)
    assert (done["pooled"], done["conv"], done["side"], done["batch"]) == (16, 12, 32, True)
    card = find_model("small")
    assert (card.licence, card.source, card.mean, card.std) == ("MIT", "a test", 127.5, 127.5)
    text = (own / "small.toml").read_text()
    assert "[check.cosine]\npooled = 0.99999" in text
    assert "scores = 0.99999" in text


def test_an_export_that_is_not_its_source_is_refused(cli, own, built, torch):
    """Its weights change between the export and the comparison."""
    from fastvbow.pipeline import exporting

    write = exporting.write_onnx

    def changing(network, path):
        write(network, path)
        with torch.no_grad():
            network.module.third[0].weight += 0.05 * torch.randn_like(network.module.third[0].weight)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "write_onnx", changing)
        outcome = cli("models", "export", "small")
    assert outcome.code == 2
    assert "the export is not its source: its pooled has a cosine of 0.9" in outcome.complaint
    assert "nothing was added" in outcome.complaint
    assert not own.exists()


def test_a_layer_of_no_such_shape(network):
    from fastvbow.features.exporting import least_cosines

    inputs = [np.random.default_rng(i).normal(size=(1, 3, 32, 32)).astype(np.float32) for i in range(2)]
    known = [[np.ones((1, 17), np.float32)]] * 2
    assert least_cosines(network, inputs, known) == [-1.0]


def test_a_taken_name_is_refused_before_the_work(cli, own, built):
    assert cli("models", "export", "small").code == 0
    outcome = cli("models", "export", "small")
    assert outcome.code == 2
    assert "there is a model small" in outcome.complaint
    assert cli("models", "export", "small", "--replace").code == 0


def test_weights_of_torchvision(torch, tmp_path):
    torchvision = importable("torchvision")
    from fastvbow.errors import UsageError
    from fastvbow.features.exporting import build_network

    path = tmp_path / "seven.pth"
    state = torchvision.models.squeezenet1_1(num_classes=7).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, path)
    found = build_network("squeezenet1_1", weights=path, classes=7)
    assert not found.module.training
    assert found.side == 224
    np.testing.assert_allclose(found.mean, (123.675, 116.28, 103.53))
    assert found.source.endswith(": squeezenet1_1, weights seven.pth")
    with pytest.raises(UsageError, match=r"do not fit the network: size mismatch.*--classes"):
        build_network("squeezenet1_1", weights=path)
    path.write_bytes(b"# no weights")
    with pytest.raises(UsageError, match="cannot be read as weights"):
        build_network("squeezenet1_1", weights=path)


def test_weights_that_are_code_are_not_run(torch, tmp_path):
    import pickle

    importable("torchvision")
    from fastvbow.errors import UsageError
    from fastvbow.features.exporting import build_network

    class Harmful:
        def __reduce__(self):
            return open, (str(tmp_path / "harm"), "w")

    path = tmp_path / "odd.pth"
    path.write_bytes(pickle.dumps({"weight": Harmful()}))
    with pytest.raises(UsageError, match="cannot be read as weights"):
        build_network("squeezenet1_1", weights=path)
    assert not (tmp_path / "harm").exists()


def test_nothing_is_downloaded(torch, tmp_path, monkeypatch):
    importable("torchvision")
    from fastvbow.errors import UsageError
    from fastvbow.features.exporting import build_network

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: pytest.fail("downloads"))
    with pytest.raises(UsageError, match=r"weights of resnet18 are not on this machine .*--weights FILE"):
        build_network("resnet18")
    with pytest.raises(UsageError, match="torchvision builds no network 'nonsense'"):
        build_network("nonsense")


def test_a_vision_transformer_of_timm(torch, cli, own, tmp_path):
    timm = importable("timm")
    torch.manual_seed(0)
    path = tmp_path / "vit.pth"
    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=7).state_dict(), path)
    words = ["vit_tiny_patch16_224", "--from", "timm", "--weights", path, "--classes", 7, "--name", "vit"]
    outcome = cli("models", "export", *words, "--json")
    assert outcome.code == 0, outcome.err
    done = json.loads(outcome.out)
    assert (done["pooled"], done["conv"], done["graph"]["conv"]["leading"]) == (192, 192, 1)
    assert done["source"].startswith("timm ")


def test_another_library(cli, own):
    outcome = cli("models", "export", "resnet18", "--from", "keras")
    assert outcome.code == 2
    assert "--from is one of torchvision, timm, not keras" in outcome.complaint


def test_without_torch(cli, own, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    outcome = cli("models", "export", "resnet18")
    assert outcome.code == 1
    assert "needs torch, which is not installed: pip install 'fastvbow[export]'" in outcome.complaint
