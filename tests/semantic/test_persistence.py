"""Stored estimators: what comes back, what is refused, and one of each of the first version."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from naive_semantic import gap_fixture
from safetensors.numpy import load_file, save
from sklearn.exceptions import NotFittedError

from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.semantic import CAE, ICBPL, SIC, TAC, ImageICBPL, SphericalKMeans
from fastvbow.semantic.persistence import ESTIMATORS, load_estimator, save_estimator

ARCHIVE = Path(__file__).parents[1] / "archive-clusters" / "version-1"
X, NOUNS, _ = gap_fixture(n_classes=4, per_class=15, width=12, distractors=20)
CAPTIONS = np.ascontiguousarray(NOUNS[::-1])
NEW = np.random.default_rng(3).normal(size=(50, 12)).astype(np.float32)
FEW = {"n_init": 2, "center_n_init": 2, "random_state": 3, "n_jobs": 2}
STEPS = {"epochs": 1, "least_steps": 20, "random_state": 3}
PLAIN = {
    "SphericalKMeans": SphericalKMeans(4, n_init=2, random_state=3, tol=1e-5),
    "TAC": TAC(4, nouns_per_center=3, image_temperature=np.float64(0.01), **FEW),
    "CAE": CAE(4, **FEW),
    "CAE concat": CAE(4, fusion="concat", weights="equal", columns=False, n_centers=5, **FEW),
}
TRAINED = {
    "TAC trained": TAC(4, trained=True, training={"least_steps": 10, "epochs": 1, "max_seconds": None}, **FEW),
    "SIC": SIC(4, gamma_r=9, xi_a=3, max_seconds=100, **STEPS),
    "ICBPL": ICBPL(4, n_hidden=8, n_components=5, weights=(1, 1, 0.5, 2), scale=np.float64(9.0), **STEPS),
}


@pytest.fixture(params=[*PLAIN, *TRAINED])
def model(request):
    if request.param in TRAINED:
        pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")
    return {**PLAIN, **TRAINED}[request.param].fit(X, nouns=NOUNS, captions=CAPTIONS)


@pytest.fixture
def folder(tmp_path):
    """A stored TAC."""
    save_estimator(PLAIN["TAC"].fit(X, nouns=NOUNS), tmp_path / "model")
    return tmp_path / "model"


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_arrays(folder, **arrays):
    """Other arrays, with their checksum."""
    path = folder / "model.safetensors"
    kept = {name: array for name, array in {**load_file(path), **arrays}.items() if array is not None}
    path.write_bytes(save(kept))
    change(folder, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def test_round_trip(model, tmp_path):
    save_estimator(model, tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert type(again) is type(model)
    assert again.get_params() == {name: None if name == "n_jobs" else v for name, v in model.get_params().items()}
    for rows in (X, NEW, NEW[:1], 7.0 * NEW.astype(float)):
        for method in ("predict", "predict_proba", "transform"):
            found, wanted = getattr(again, method)(rows), getattr(model, method)(rows)
            assert found.dtype == wanted.dtype and found.tobytes() == wanted.tobytes(), method
    learnt = {name for name in vars(model) if name.endswith("_")}
    assert {name for name in vars(again) if name.endswith("_")} == learnt - {"labels_", "embedding_"}
    for name in learnt - {"labels_", "embedding_", "noun_plan_", "caption_plan_", "heads_", "layers_"}:
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    save_estimator(again, tmp_path / "again")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        tmp_path / "model" / "model.safetensors"
    ).read_bytes()


def test_fitted_again_it_is_the_same(model, tmp_path):
    save_estimator(model, tmp_path / "model")
    again = load_estimator(tmp_path / "model").fit(X, nouns=NOUNS, captions=CAPTIONS)
    np.testing.assert_array_equal(again.probabilities_, model.probabilities_)


def test_calibration_is_kept_and_comes_before(tmp_path):
    model = PLAIN["CAE"].fit(X, nouns=NOUNS, captions=CAPTIONS).calibrate(X[:, :3])
    save_estimator(model, tmp_path / "model")
    again = load_estimator(tmp_path / "model")
    assert again.concentration_ == model.concentration_
    with pytest.raises(UsageError, match="do that before it is saved"):
        again.calibrate(X)
    assert not hasattr(again, "labels_") and not hasattr(again, "probabilities_")


def test_plans_come_back_without_the_images(tmp_path):
    for name in ("CAE", "CAE concat"):
        model = PLAIN[name].fit(X, nouns=NOUNS, captions=CAPTIONS)
        save_estimator(model, tmp_path / "model")
        found, wanted = load_estimator(tmp_path / "model").caption_plan_, model.caption_plan_
        np.testing.assert_array_equal(found.g, wanted.g)
        assert (found.epsilon, found.n_iter, found.converged) == (wanted.epsilon, wanted.n_iter, wanted.converged)
        assert found.error == wanted.error or (np.isnan(found.error) and np.isnan(wanted.error))
        assert len(found.f) == 0


def test_what_is_written(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"], manifest["estimator"]) == ("fastvbow-clusters", 1, "TAC")
    assert manifest["parameters"]["n_jobs"] is None and manifest["parameters"]["random_state"] == 3
    assert manifest["n_features"] == 12
    arrays = load_file(folder / "model.safetensors")
    assert set(arrays) == {"cluster_centers", "noun_indices", "nouns", "semantic_centers"}
    np.testing.assert_array_equal(arrays["nouns"], NOUNS[arrays["noun_indices"]])


def test_a_generator_is_not_written(tmp_path):
    save_estimator(SphericalKMeans(2, random_state=np.random.RandomState(0)).fit(X), tmp_path / "model")
    assert load_estimator(tmp_path / "model").random_state is None


def test_unknown_keys_and_arrays_are_ignored(folder):
    change(folder, later="?")
    change_arrays(folder, later=np.zeros(3, np.float32))
    assert load_estimator(folder).predict(NEW).shape == (50,)


def test_what_cannot_be_stored(tmp_path):
    with pytest.raises(NotFittedError):
        save_estimator(TAC(4), tmp_path / "model")
    with pytest.raises(UsageError, match="ImageICBPL cannot be stored, only CAE, ICBPL, SIC, SphericalKMeans, TAC can"):
        save_estimator(ImageICBPL(None), tmp_path / "model")

    class TAC2(TAC):
        pass

    TAC2.__name__ = "TAC"
    with pytest.raises(UsageError, match="TAC cannot be stored"):
        save_estimator(TAC2(4), tmp_path / "model")
    model = SphericalKMeans(2, random_state=0).fit(X)
    for value in (np.inf, {1, 2}):
        with pytest.raises(UsageError, match=r"tol=.* cannot be written"):
            save_estimator(model.set_params(tol=value), tmp_path / "model")
    assert not (tmp_path / "model").exists()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(ProjectError, match="is not a model of clusters, so it is not replaced"):
        save_estimator(model.set_params(tol=0.0), tmp_path / "other")


def test_another_format_or_a_newer_version(folder, tmp_path):
    with pytest.raises(ProjectError, match="is not a model of clusters"):
        load_estimator(tmp_path / "none")
    change(folder, version=2)
    with pytest.raises(ProjectError, match="version 2; this fastvbow reads up to version 1: upgrade"):
        load_estimator(folder)
    change(folder, version=1, format="fastvbow-lda")
    with pytest.raises(ProjectError, match="does not describe a model of clusters"):
        load_estimator(folder)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"estimator": "os.system"}, "holds the estimator 'os.system'; known are CAE"),
        ({"estimator": "SIC"}, "holds a parameter that cannot be"),
        ({"parameters": {"n_clusters": 0}}, "n_clusters=0"),
        ({"parameters": {"n_clusters": "4"}}, "n_clusters='4'"),
        ({"parameters": {"n_clusters": 5}}, "'cluster_centers' should be float32 of shape .5, 24."),
        ({"parameters": {"n_clusters": [4]}}, "n_clusters"),
        ({"parameters": {"n_clusters": 4, "trained": True}}, "'image.hidden_weight' should be"),
        ({"parameters": []}, "Expected `object`"),
        ({"n_features": 11}, "should be float32 of shape .any, 11., found float32 of shape .12, 12."),
        ({"n_features": 0}, "n_features=0"),
        ({"concentration": -1.0}, "concentration=-1"),
        ({"sha256": "00"}, "its manifest says 00"),
    ],
)
def test_damaged_manifests(folder, values, message):
    change(folder, **values)
    with pytest.raises(StoreCorruptError, match=message):
        load_estimator(folder)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"nouns": None}, "'nouns' should be float32 of shape .any, 12., found nothing"),
        ({"nouns": np.zeros((0, 12), np.float32)}, "found float32 of shape .0, 12."),
        ({"nouns": np.zeros((3, 12))}, "found float64"),
        ({"noun_indices": np.array([1, 0])}, "'noun_indices' should be int64"),
        ({"cluster_centers": np.full((4, 24), np.nan, np.float32)}, "NaN or infinity"),
    ],
)
def test_damaged_arrays(folder, arrays, message):
    change_arrays(folder, **arrays)
    with pytest.raises(StoreCorruptError, match=message):
        load_estimator(folder)


def test_numbers_of_rows_ascend(folder):
    wrong = load_file(folder / "model.safetensors")["noun_indices"][::-1].copy()
    change_arrays(folder, noun_indices=wrong)
    with pytest.raises(StoreCorruptError, match="should be ascending numbers of rows"):
        load_estimator(folder)


@pytest.mark.parametrize("cut", [0, 7, 300])
def test_a_file_that_was_cut_off(folder, cut):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(StoreCorruptError):
        load_estimator(folder)


def archived():
    return sorted(path for path in ARCHIVE.iterdir() if path.is_dir())


def test_there_is_one_of_each_estimator():
    assert {path.name.partition("-")[0] for path in archived()} == set(ESTIMATORS)


@pytest.mark.parametrize("path", archived(), ids=lambda path: path.name)
def test_archived_models_open(path):
    """Made by fastvbow 0.1.0 with `gap_fixture` and what stands above; whatever else changes, they give the same."""
    model, wanted = load_estimator(path), np.load(path.parent / f"{path.name}.npz")
    np.testing.assert_array_equal(model.predict(wanted["images"]), wanted["labels"])
    np.testing.assert_allclose(model.predict_proba(wanted["images"]), wanted["probabilities"], atol=1e-4)
    np.testing.assert_allclose(model.transform(wanted["images"]), wanted["embedding"], atol=1e-4)


def test_what_is_trained_needs_no_pytorch_to_predict():
    """In a process of its own, in which PyTorch cannot be imported."""
    code = (
        "import sys\n"
        "class NoTorch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'torch':\n"
        "            raise ImportError('there is no PyTorch')\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "import numpy as np\n"
        "from fastvbow.semantic.persistence import load_estimator\n"
        "for folder in sys.argv[1:]:\n"
        "    model = load_estimator(folder)\n"
        "    assert model.predict_proba(np.eye(model.n_features_in_)).shape == (12, 4)\n"
    )
    folders = [str(path) for path in archived()]
    found = subprocess.run([sys.executable, "-c", code, *folders], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
