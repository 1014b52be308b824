"""``fastvbow models``: from any .onnx file to groups, and every way that may go wrong."""

import json
import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from small_networks import Network, body, channels_last, classifier, save, transformer  # noqa: E402

from fastvbow.cli_models import models_app, numbers_of  # noqa: E402
from fastvbow.errors import UsageError  # noqa: E402
from fastvbow.features.cnn import CnnExtractor  # noqa: E402
from fastvbow.features.models import find_model  # noqa: E402
from fastvbow.features.store import FeatureShard  # noqa: E402

FEW = ("--features", "cnn", "--topics", "3", "--words", "40", "--sweeps", "20")


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A user's models folder, which is not there yet."""
    monkeypatch.setenv("FASTVBOW_MODELS", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def file(tmp_path):
    return save(classifier(), tmp_path / "some net.onnx")


def files(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_every_option_is_described():
    import typer

    for command in typer.main.get_command(models_app).commands.values():
        assert command.help
        for parameter in command.params:
            assert parameter.name == "help" or parameter.help, parameter.name


def test_list(cli, own, file):
    assert cli("models", "list").out.startswith(
        "efficientnet_lite0       224 x 224 NCHW RGB, pooled 1280, map 192; Apache"
    )
    rows = [line for line in cli("models", "list").out.splitlines() if not line.startswith(" ")]
    assert len(rows) == 2 and max(map(len, rows)) <= 80, "where a file lies has a line of its own"
    assert cli("models", "add", file, "--name", "b", "--normalise", "half", "--licence", "MIT", "-q").code == 0
    (own / "a.toml").write_text("nonsense")
    (own / "c.toml").write_bytes((own / "b.toml").read_bytes().replace(b'"b"', b'"c"'))
    next(own.glob("b-*.onnx")).rename(own / "gone")
    outcome = cli("models", "list", "--json")
    assert outcome.code == 0
    rows = {row["name"]: row for row in json.loads(outcome.out)["models"]}
    assert list(rows) == ["a", "b", "c", "efficientnet_lite0", "efficientnet_lite0_int8"]
    assert "cannot read the model card" in rows["a"]["problem"]
    assert "is missing" in rows["b"]["problem"]
    assert rows["efficientnet_lite0"]["problem"] is None
    assert "cannot be used: cannot read" in cli("models", "list").out


def test_inspect(cli, own, file):
    outcome = cli("models", "inspect", file)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines() == [
        "input            image  NCHW, 32 x 32 pixels",
        "class scores     scores",
        "pooled           flat  16 (C)",
        "last map         third  16 x 4 x 4 (CHW)",
        "the one before   second  12 x 4 x 4 (CHW)",
        "taken as conv    second",
    ]
    assert files(own) == [], "it writes nothing"
    found = json.loads(cli("models", "inspect", file, "--conv", "first", "--json").out)
    assert found["conv"] == {"tensor": "first", "shape": [8, 8, 8], "layout": "CHW", "leading": 0}
    assert found["input"] == {"tensor": "image", "layout": "NCHW", "side": 32, "fixed": True}


def test_inspect_tells_of_tokens(cli, tmp_path):
    file = save(transformer(registers=2), tmp_path / "vit.onnx")
    lines = cli("models", "inspect", file).out.splitlines()
    assert "last map         norm  19 x 24 (TC, 3 leading and 16 of the picture)" in lines


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["inspect", "none.onnx"], "there is no file none.onnx"),
        (["inspect", "FILE", "--layout", "CHWN"], "--layout is NCHW or NHWC, not CHWN"),
        (["inspect", "FILE", "--side", "64"], "takes 32 pixels a side, not --side 64"),
        (["inspect", "FILE", "--side", "7"], "--side is from 8"),
        (["add", "FILE"], "--normalise NAME, or --mean and --std.*imagenet: mean .123.675.*half: mean 127.5"),
        (["add", "FILE", "--mean", "1"], "--normalise NAME"),
        (["add", "FILE", "--normalise", "usual"], "one of imagenet, half, tf, clip, unit, none, not usual"),
        (["add", "FILE", "--normalise", "half", "--std", "1"], "exclude each other"),
        (["add", "FILE", "--mean", "1,2", "--std", "1"], "--mean takes a number or three .*not 1,2"),
        (["add", "FILE", "--mean", "1", "--std", "a"], "--std takes a number or three .*not a"),
        (["add", "FILE", "--mean", "1", "--std", "0"], "std is a number above 0"),
        (["add", "FILE", "--mean", "nan", "--std", "1"], "mean is a number"),
        (["add", "FILE", "--normalise", "half", "--colour", "grey"], "--colour is RGB or BGR, not grey"),
        (["add", "FILE", "--normalise", "half", "--name", "../a"], "a model's name has letters"),
        (["add", "FILE", "--normalise", "half", "--name", "efficientnet_lite0", "--replace"], "ships with fastvbow"),
        (["add", "FILE", "--normalise", "half", "--side", "64"], "not --side 64"),
        (["add", "FILE", "--normalise", "half", "--pooled", "none"], "no tensor 'none'.*flat"),
        (["add", "FILE", "--normalise", "half", "--conv", "flat"], "no square map"),
        (["add", "FILE", "--mean", "0", "--std", "1e-30"], "normalisation"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_what_cannot_be(cli, own, file, words, message):
    outcome = cli("models", *(file if word == "FILE" else word for word in words))
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    import re

    assert re.search(message, outcome.complaint), outcome.complaint
    assert files(own) == []


def test_damaged_files(cli, own, tmp_path):
    (tmp_path / "odd.onnx").write_bytes(b"nothing of that kind")
    for command in (["inspect"], ["add", "--normalise", "half"]):
        outcome = cli("models", command[0], tmp_path / "odd.onnx", *command[1:])
        assert outcome.code == 2
        assert "odd.onnx" in outcome.complaint
    assert files(own) == []


def features_of(name, image):
    return CnnExtractor(find_model(name), "cpu").extract(image)


def own_run(model, outputs, card, image):
    """What ONNX Runtime gives for the original file's tensors, prepared by plain NumPy."""
    import cv2
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    small = cv2.resize(image, (card.side, card.side), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    small = small[..., ::-1] if card.colour == "BGR" else small
    given = ((small - np.array(card.mean)) / np.array(card.std)).astype(np.float32)
    given = given.transpose(2, 0, 1) if card.layout == "NCHW" else given
    return session.run(outputs, {"image": given[None]})


def with_all(model, *names):
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return model


@pytest.mark.parametrize(
    ("model", "pooled", "conv", "rows", "options"),
    [
        (classifier(), "flat", "second", lambda x: x[0].reshape(12, -1).T, ["--normalise", "imagenet"]),
        (classifier("conv"), "pool", "second", lambda x: x[0].reshape(12, -1).T, ["--mean", "100", "--std", "50"]),
        (channels_last(), "mean", "back", lambda x: x[0].reshape(-1, 16), ["--normalise", "unit", "--colour", "BGR"]),
        (transformer(registers=1), "pooled", "norm", lambda x: x[0, 2:], ["--normalise", "clip"]),
        (transformer("mean"), "pooled", "norm", lambda x: x[0], ["--normalise", "half"]),
    ],
    ids=["gemm", "conv", "channels-last", "class-token", "mean-of-tokens"],
)
def test_what_is_added_gives_what_the_original_gives(cli, own, tmp_path, model, pooled, conv, rows, options):
    from odd_files import busy

    file = save(model, tmp_path / "net.onnx")
    before = file.read_bytes()
    outcome = cli("models", "add", file, *options)
    assert outcome.code == 0, outcome.err
    assert file.read_bytes() == before
    card, image = find_model("net"), busy(50, 80)
    assert (card.licence, card.source) == ("not stated", "net.onnx")
    assert (card.pooled.tensor, card.conv.tensor) == (pooled, conv)
    found = features_of("net", image)
    wanted_map, wanted_vector = own_run(with_all(model, conv, pooled), [conv, pooled], card, image)
    np.testing.assert_allclose(found["conv"].descriptors, rows(wanted_map), rtol=5e-3, atol=5e-3)
    np.testing.assert_allclose(found["pooled"].descriptors[0], wanted_vector.ravel(), rtol=5e-3, atol=5e-3)
    assert len(found["conv"].keypoints) == 16
    stored = onnx.load(card.path)
    assert [output.name for output in stored.graph.output] == [pooled, conv]
    assert not any("scores" in node.output for node in stored.graph.node), "what nobody needs is dropped"
    assert not any(constant.name.startswith("scores") for constant in stored.graph.initializer)
    assert stored.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"
    batched = CnnExtractor(card, "cpu", batch=2)
    assert batched.ahead == 2
    batched.close()


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("kind", ["map", "tokens", "mean of tokens"])
def test_encoders_without_a_vector_get_one(cli, own, tmp_path, kind, opset):
    from odd_files import busy

    if kind == "map":
        net = Network()
        body(net)
        model, wanted = net.model(["third"], opset=opset), lambda x: x[0].mean((1, 2))
    elif kind == "tokens":
        model, wanted = transformer("tokens"), lambda x: x[0, 0]
        model.opset_import[0].version = opset
    else:
        model, wanted = transformer("mean"), lambda x: x[0].mean(0)
        del model.graph.node[-2:]
        del model.graph.output[:]
        model.graph.output.add().CopyFrom(onnx.helper.make_tensor_value_info("norm", 1, None))
        model.opset_import[0].version = opset
    assert cli("models", "add", save(model, tmp_path / "net.onnx"), "--normalise", "half").code == 0
    card, image = find_model("net"), busy(50, 80)
    (last,) = own_run(model, [model.graph.output[0].name], card, image)
    found = features_of("net", image)["pooled"].descriptors[0]
    np.testing.assert_allclose(found, wanted(last), rtol=5e-3, atol=5e-3)


def test_a_model_of_one_photograph_at_a_time(cli, own, tmp_path):
    """The axis is open, but its length is written into the graph, as some exporters do."""
    model = transformer("mean")
    (constant,) = (c for c in model.graph.initializer if c.name == "to.rows")
    constant.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 24, -1]), "to.rows"))
    outcome = cli("models", "add", save(model, tmp_path / "net.onnx"), "--normalise", "half", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["batch"] is False
    assert "one photograph at a time" in outcome.err
    extractor = CnnExtractor(find_model("net"), "cpu", batch=4)
    assert extractor.ahead == 0


def test_weights_beside_the_file_are_taken_in(cli, own, tmp_path):
    path = tmp_path / "large.onnx"
    onnx.save_model(classifier(), path, save_as_external_data=True, location="large.bin", size_threshold=0)
    assert cli("models", "add", path, "--normalise", "half").code == 0
    (tmp_path / "large.bin").unlink()
    path.unlink()
    assert len(files(own)) == 2
    features_of("large", np.zeros((9, 9, 3), np.uint8))


def test_a_file_whose_name_is_no_text(cli, own, tmp_path):
    file = save(classifier(), tmp_path / "net-\udcff.onnx")
    assert cli("models", "add", file, "--normalise", "half").code == 0
    assert (find_model("net-_").source, files(own)[1]) == ("net-?.onnx", "net-_.toml")


def test_models_that_describe_nothing(cli, own, tmp_path):
    net = Network()
    x = net.add("Mul", [body(net), net.constant(np.zeros(1, np.float32), "nothing")], "zeroed")
    net.gemm(net.add("Flatten", [net.add("GlobalAveragePool", [x], "pool")], "flat"), 16, 5, "scores")
    outcome = cli("models", "add", save(net.model(["scores"]), tmp_path / "net.onnx"), "--normalise", "half")
    assert outcome.code == 2
    assert "the same for every photograph" in outcome.complaint
    net = Network()
    x = net.add("Log", [net.add("Neg", [body(net)], "negative")], "odd")
    net.add("Flatten", [net.add("GlobalAveragePool", [x], "pool")], "flat")
    outcome = cli("models", "add", save(net.model(["flat"]), tmp_path / "net.onnx"), "--normalise", "half")
    assert outcome.code == 2
    assert "normalisation" in outcome.complaint
    assert files(own) == []


def test_a_name_that_is_taken(cli, own, file, tmp_path):
    assert cli("models", "add", file, "--normalise", "half").code == 0
    first = files(own)
    assert first[1] == "some_net.toml"
    outcome = cli("models", "add", file, "--normalise", "unit")
    assert outcome.code == 2
    assert "there is a model some_net in" in outcome.complaint
    assert files(own) == first
    other = save(classifier(residual=True), tmp_path / "other.onnx")
    assert cli("models", "add", other, "--name", "some_net", "--normalise", "unit", "--replace").code == 0
    assert len(files(own)) == 2
    assert files(own) != first
    assert find_model("some_net").std == 255
    assert cli("models", "add", other, "--name", "some_net", "--normalise", "half", "--replace").code == 0
    assert len(files(own)) == 2, "the same graph keeps its file"


def test_remove(cli, own, file, tmp_path):
    for name in ("first", "second", "first-1"):
        assert cli("models", "add", file, "--name", name, "--normalise", "half", "-q").code == 0
    (own / "third.toml").write_bytes((own / "second.toml").read_bytes().replace(b'name = "second"', b'name = "third"'))
    shared = next(name for name in files(own) if name.startswith("second-"))
    assert find_model("third").path.name == shared
    outcome = cli("models", "remove", "first", "--json")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)["removed"]) == 2
    assert not [name for name in files(own) if re.match(r"first(\.toml|-[0-9a-f]{12}\.onnx)", name)]
    assert find_model("first-1").path.is_file(), "a name that begins alike"
    assert cli("models", "remove", "second").code == 0
    assert find_model("third").path.is_file(), "another card's file stays"
    assert cli("models", "remove", "third").out.count("removed: ") == 2
    assert shared not in files(own)
    (own / "first-1.toml").write_text("nonsense")
    assert cli("models", "remove", "first-1").code == 0, "a damaged one goes too"
    assert files(own) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("efficientnet_lite0", "ships with fastvbow"), ("nothing", "no model 'nothing'"), ("../x", "no model '../x'")],
)
def test_what_cannot_be_removed(cli, own, file, tmp_path, name, said):
    assert cli("models", "add", file, "--name", "mine", "--normalise", "half", "-q").code == 0
    (tmp_path / "x.toml").write_text("not a model's")
    before = files(own)
    outcome = cli("models", "remove", name)
    assert outcome.code == 2
    assert said in outcome.complaint
    assert files(own) == before
    assert (tmp_path / "x.toml").exists()


def test_nothing_is_left_of_what_failed(cli, own, file, monkeypatch):
    from fastvbow.features import adding

    real, calls = adding.replace_file, []

    def failing(path):
        calls.append(path)
        if len(calls) == 4:  # two files of the trial, the model, and the card
            raise OSError(28, "No space left on device")
        return real(path)

    monkeypatch.setattr(adding, "replace_file", failing)
    outcome = cli("models", "add", file, "--normalise", "half")
    assert outcome.code == 2
    assert "No space left on device" in outcome.complaint
    assert calls[3].name == "some_net.toml"
    assert files(own) == []


def test_numbers():
    assert numbers_of("--mean", "") is None
    assert numbers_of("--mean", "1.5") == 1.5
    assert numbers_of("--mean", "1, 2,3e1") == (1.0, 2.0, 30.0)
    with pytest.raises(UsageError, match="--std takes"):
        numbers_of("--std", "1,2,3,4")


def test_from_a_file_to_groups(cli, own, small_folder, tmp_path):
    """Add, extract and run with the model, group new photographs, and notice that the model is another one."""
    file = save(transformer(), tmp_path / "vit.onnx")
    assert cli("models", "add", file, "--normalise", "half").code == 0
    project, out = tmp_path / "project", tmp_path / "new.parquet"
    assert cli("extract", small_folder, "-o", project, "--features", "cnn", "--model", "vit").code == 0
    shard = FeatureShard(project / "features" / "shard-00000")
    assert shard.card.modalities["conv"].dimension == 24 if hasattr(shard.card, "modalities") else True
    outcome = cli("run", small_folder, "-o", project, "--model", "vit", *FEW)
    assert outcome.code == 0, outcome.err
    assert "extract stands from an earlier call" in outcome.err
    assert cli("assign", project, small_folder, "-o", out).code == 0
    assert pq.read_table(out).num_rows == 60
    # another normalisation is another model
    assert cli("models", "add", file, "--normalise", "unit", "--replace").code == 0
    outcome = cli("assign", project, small_folder, "-o", out)
    assert outcome.code == 1
    assert "the model vit is another one than that of the project's features" in outcome.complaint
    outcome = cli("run", small_folder, "-o", project, "--model", "vit", *FEW)
    assert "extract: done again" in outcome.err, "its features are not taken for the new one's"
    shutil.rmtree(own)
    outcome = cli("assign", project, small_folder, "-o", out)
    assert outcome.code == 2
    assert "there is no model 'vit'" in outcome.complaint


def test_a_model_that_there_is_not(cli, own, small_folder, tmp_path):
    for command in ("run", "extract"):
        outcome = cli(command, small_folder, "-o", tmp_path / "project", "--model", "resnet")
        assert outcome.code == 2
        known = "efficientnet_lite0, efficientnet_lite0_int8"
        assert f"there is no model 'resnet'; known: {known}; 'fastvbow models add" in outcome.complaint
    assert not (tmp_path / "project").exists()


def bare_efficientnet(path):
    """The shipped network as a plain classifier."""
    model = onnx.load(find_model("efficientnet_lite0").path)
    del model.graph.output[1:]
    return save(model, path)


def test_the_shipped_network_comes_out_as_it_is(cli, own, tmp_path):
    """Stripped of its outputs and added again, it gives the same bytes."""
    from odd_files import busy

    file = bare_efficientnet(tmp_path / "bare.onnx")
    outcome = cli("models", "add", file, "--normalise", "tf", "--conv", "block14")
    assert outcome.code == 0, outcome.err
    assert "normalisation" not in outcome.err
    image = busy(200, 310)
    wanted, found = features_of("efficientnet_lite0", image), features_of("bare", image)
    for name, part in wanted.items():
        assert found[name].descriptors.tobytes() == part.descriptors.tobytes()
        assert found[name].keypoints.tobytes() == part.keypoints.tobytes()
    assert found["conv"].descriptors.shape == (49, 192)


@pytest.mark.parametrize(("preset", "told"), [("half", False), ("imagenet", False), ("unit", False), ("none", True)])
def test_a_scale_that_is_far_off_is_told(cli, own, tmp_path, preset, told):
    outcome = cli("models", "add", bare_efficientnet(tmp_path / "bare.onnx"), "--normalise", preset, "--json")
    assert outcome.code == 0
    assert ("is the normalisation right?" in outcome.err) is told
    assert json.loads(outcome.out)["better_normalisation"] == ("half" if told else None)
