import json

import numpy as np
import pandas as pd
import pytest

from fastvbow.errors import ProjectError, StoreCorruptError
from fastvbow.topics import GibbsLDA

X = np.random.default_rng(0).integers(0, 3, (20, 8))


@pytest.fixture
def model():
    return GibbsLDA(3, doc_topic_prior=[0.1, 0.2, 0.3], word_weights=np.full(8, 1.5), max_iter=6, random_state=4).fit(X)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_round_trip(model, folder):
    again = GibbsLDA.load(str(folder))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert again.perplexity(X) == model.perplexity(X)
    fitted = {name for name in vars(model) if name.endswith("_")} - {"assignments_"}
    assert {name for name in vars(again) if name.endswith("_")} == fitted
    for name in fitted:
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    for name, value in model.get_params().items():
        np.testing.assert_array_equal(again.get_params()[name], value)
    np.testing.assert_array_equal(again.fit(X).components_, model.components_)


def test_manifest(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"], manifest["seed"]) == ("fastvbow-lda", 2, model.seed_)
    assert manifest["parameters"]["max_iter"] == 6
    assert "doc_topic_prior" not in manifest["parameters"]


def test_the_number_of_threads_is_no_part_of_a_model(model, folder, tmp_path):
    assert json.loads((folder / "manifest.json").read_text())["parameters"]["n_jobs"] is None
    model.set_params(n_jobs=2).save(tmp_path / "again")
    assert model.n_jobs == 2, "the estimator keeps its own"
    for name in ("manifest.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()
    assert GibbsLDA.load(tmp_path / "again").n_jobs is None


def test_names_of_words_and_generators(tmp_path):
    frame = pd.DataFrame(X, columns=[f"word {i}" for i in range(8)])
    GibbsLDA(2, max_iter=2, random_state=np.random.RandomState(0)).fit(frame).save(tmp_path / "m")
    again = GibbsLDA.load(tmp_path / "m")
    assert list(again.feature_names_in_) == list(frame.columns)
    assert again.random_state is None


def test_saving_replaces_a_model_and_nothing_else(model, folder, tmp_path):
    GibbsLDA(2, max_iter=2, random_state=0).fit(X).save(folder)
    assert GibbsLDA.load(folder).n_components == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    other = tmp_path / "photographs"
    other.mkdir()
    (other / "one.jpg").write_bytes(b"x")
    with pytest.raises(ProjectError, match="is not a topic model, so it is not replaced"):
        model.save(other)
    assert (other / "one.jpg").exists()


def test_failed_writing_keeps_the_old_model(model, folder, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(ProjectError, match="No space left"):
        model.save(folder)
    monkeypatch.undo()
    assert GibbsLDA.load(folder).n_components == 3
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_unknown_keys_are_ignored(folder):
    change(folder, mood="fine")
    assert GibbsLDA.load(folder).n_components == 3


def test_a_newer_version_is_refused_naming_both(folder):
    change(folder, version=4, sha256=None)
    with pytest.raises(ProjectError, match="version 4; this fastvbow reads up to version 3"):
        GibbsLDA.load(folder)


def test_tampered_tensors_are_refused(folder):
    path = folder / "model.safetensors"
    blob = bytearray(path.read_bytes())
    blob[-1] ^= 1
    path.write_bytes(blob)
    with pytest.raises(StoreCorruptError, match="SHA-256"):
        GibbsLDA.load(folder)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"format": "something"}, ProjectError, "does not describe a topic model"),
        ({"version": "1"}, ProjectError, "does not describe a topic model"),
        ({"seed": "x"}, StoreCorruptError, "seed"),
        ({"parameters": {"colour": 1}}, StoreCorruptError, "colour"),
        ({"feature_names": ["a"]}, StoreCorruptError, "manifest names 1"),
    ],
)
def test_bad_manifests_are_refused(folder, values, error, message):
    change(folder, **values)
    with pytest.raises(error, match=message):
        GibbsLDA.load(folder)


def test_missing_and_broken_files_are_refused(folder, tmp_path):
    with pytest.raises(ProjectError, match="is not a topic model"):
        GibbsLDA.load(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(StoreCorruptError, match="cannot read"):
        GibbsLDA.load(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StoreCorruptError, match="not valid JSON"):
        GibbsLDA.load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("components", np.ones((3, 7))),
        ("components", np.full((3, 8), np.nan)),
        ("components", -np.ones((3, 8))),
        ("components", np.ones((3, 8), np.float32)),
        ("doc_topic_prior", np.ones(4)),
        ("word_weights", None),
    ],
)
def test_tensors_of_the_wrong_kind_are_refused(folder, name, value):
    import hashlib

    from safetensors.numpy import load, save

    path = folder / "model.safetensors"
    tensors = load(path.read_bytes())
    del tensors[name]
    blob = save(tensors if value is None else {**tensors, name: value})
    path.write_bytes(blob)
    change(folder, sha256=hashlib.sha256(blob).hexdigest())
    with pytest.raises(StoreCorruptError, match="tensor"):
        GibbsLDA.load(folder)
