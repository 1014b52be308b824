"""K-Means models on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import NotFittedError

from fastvbow import KMeans, MiniBatchKMeans
from fastvbow.errors import ProjectError, StoreCorruptError

X = np.random.default_rng(0).integers(0, 256, (300, 6)).astype(np.uint8)
ARCHIVE = Path(__file__).parents[1] / "archive-kmeans"
KINDS = [
    KMeans(5, init=X[:5].astype(np.float32), max_iter=7, tol=0.5, precision="fast", random_state=3),
    MiniBatchKMeans(5, max_iter=np.int64(9), random_state=3),
    MiniBatchKMeans(5, batch_size=50, compute_labels=False, max_no_improvement=None, random_state=3),
]


@pytest.fixture(params=KINDS, ids=["KMeans", "nested", "mini-batches"])
def model(request):
    return request.param.fit(X)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def change(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_round_trip(model, folder):
    again = type(model).load(str(folder))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.score(X) == model.score(X)
    assert again.get_feature_names_out().tolist() == model.get_feature_names_out().tolist()
    fitted = {name for name in vars(model) if name.endswith("_") and name != "labels_"}
    assert {name for name in vars(again) if name.endswith("_")} == fitted
    for name in fitted:
        np.testing.assert_array_equal(getattr(again, name), getattr(model, name))
    for name, value in model.get_params().items():
        np.testing.assert_array_equal(again.get_params()[name], value)
    np.testing.assert_array_equal(again.fit(X).cluster_centers_, model.cluster_centers_)


def test_manifest(model, folder):
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["format"], manifest["version"]) == ("fastvbow-kmeans", 1)
    assert manifest["estimator"] == type(model).__name__
    assert manifest["parameters"]["n_clusters"] == 5 and "numba" in manifest["libraries"]


def test_partial_fit_goes_on_where_it_was(tmp_path):
    one = MiniBatchKMeans(5, reassignment_ratio=0, random_state=0)
    for start in range(0, 200, 50):
        one.partial_fit(X[start : start + 50])
    one.save(tmp_path / "model")
    other = MiniBatchKMeans.load(tmp_path / "model")
    assert other.n_steps_ == 4
    for part in (X[200:250], X[250:]):
        np.testing.assert_array_equal(one.partial_fit(part).cluster_centers_, other.partial_fit(part).cluster_centers_)
    forgetful = MiniBatchKMeans(5, init=one.cluster_centers_, reassignment_ratio=0).partial_fit(X[250:])
    assert not np.array_equal(forgetful.cluster_centers_, one.cluster_centers_)


def test_names_of_columns_functions_and_generators(tmp_path):
    frame = pd.DataFrame(X.astype(float), columns=[f"column {i}" for i in range(6)])

    def first(rows, n_clusters, random_state):
        return rows[:n_clusters]

    KMeans(4, init=first, random_state=np.random.RandomState(0), n_jobs=2).fit(frame).save(tmp_path / "model")
    again = KMeans.load(tmp_path / "model")
    assert again.feature_names_in_.tolist() == list(frame.columns)
    assert again.random_state is None and again.n_jobs is None and again.init is None
    with pytest.warns(UserWarning, match="feature names"):
        again.predict(frame.to_numpy())


def test_what_is_not_fitted_is_not_written(tmp_path):
    with pytest.raises(NotFittedError):
        KMeans().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_other_estimator_is_refused(model, folder):
    other = KMeans if isinstance(model, MiniBatchKMeans) else MiniBatchKMeans
    with pytest.raises(ProjectError, match=f"load it with {type(model).__name__}.load"):
        other.load(folder)


def test_what_is_no_model_is_refused_and_kept(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("mine")
    with pytest.raises(ProjectError, match="not a K-Means model"):
        KMeans(2, random_state=0).fit(X).save(tmp_path / "notes")
    with pytest.raises(ProjectError, match="not a K-Means model"):
        KMeans.load(tmp_path / "notes")
    assert (tmp_path / "notes" / "a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("values", "error", "match"),
    [
        ({"version": 2}, ProjectError, "version 2.*upgrade"),
        ({"format": "fastvbow-lda"}, ProjectError, "does not describe a K-Means model"),
        ({"sha256": "0"}, StoreCorruptError, "SHA-256"),
        ({"parameters": {"nonsense": 1}}, StoreCorruptError, "parameter that does not exist"),
        ({"parameters": [1]}, StoreCorruptError, "parameters"),
        ({"feature_names": ["one"]}, StoreCorruptError, "6 columns, its manifest names 1"),
    ],
)
def test_manifests_that_cannot_be(model, folder, values, error, match):
    change(folder, **values)
    with pytest.raises(error, match=match):
        type(model).load(folder)


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"cluster_centers": np.zeros(3, np.float32)},
        {"cluster_centers": np.zeros((2, 2), np.int32)},
        {"cluster_centers": np.full((2, 2), np.nan)},
        {"cluster_centers": np.zeros((2, 2)), "counts": np.zeros(3)},
        {"cluster_centers": np.zeros((2, 2)), "counts": -np.ones(2)},
    ],
)
def test_tensors_that_cannot_be(model, folder, tensors):
    import hashlib

    from safetensors.numpy import save

    blob = save(tensors)
    (folder / "model.safetensors").write_bytes(blob)
    change(folder, sha256=hashlib.sha256(blob).hexdigest())
    with pytest.raises(StoreCorruptError, match="train again"):
        type(model).load(folder)


def test_a_damaged_file_is_noticed(model, folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    with pytest.raises(StoreCorruptError, match="SHA-256"):
        type(model).load(folder)
    path.unlink()
    with pytest.raises(StoreCorruptError, match="cannot read"):
        type(model).load(folder)


def test_a_model_of_version_1_opens():
    model = MiniBatchKMeans.load(ARCHIVE / "version-1")
    assert model.predict(np.array([[0, 0], [101, 100]], np.uint8)).tolist() == [0, 1]
    assert (model.n_clusters, model.inertia_, model.random_state) == (2, 1.0, 0)
