"""K-Means as an estimator, and the probabilities of all that cluster by it."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import gap_fixture, naive_concentration, softmax, unit
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastvbow.errors import UsageError
from fastvbow.semantic import CAE, TAC, SphericalKMeans, _estimator
from fastvbow.semantic.spherical import spherical_kmeans

MANY = np.random.default_rng(5).normal(size=(700, 64))


@pytest.fixture(scope="module")
def planted():
    return gap_fixture(n_classes=4, per_class=30)


def fitted(name, planted, **how):
    X, nouns, _ = planted
    few = {"n_init": 2, "random_state": 0, **how}
    if name == "SphericalKMeans":
        return SphericalKMeans(4, **few).fit(X)
    if name == "TAC":
        return TAC(4, center_n_init=1, **few).fit(X, nouns=nouns)
    return CAE(4, center_n_init=1, transport_max_iter=3000, **few).fit(X, nouns=nouns, captions=nouns[::-1])


NAMES = ("SphericalKMeans", "TAC", "CAE")


def test_it_is_spherical_kmeans(planted):
    X, nouns, _ = planted
    model = SphericalKMeans(4, n_init=3, random_state=7)
    assert model.fit(X, nouns=nouns, captions=None) is model
    found = spherical_kmeans(X, 4, n_init=3, random_state=7)
    np.testing.assert_array_equal(model.labels_, found.labels)
    np.testing.assert_array_equal(model.cluster_centers_, found.centers)
    assert (model.n_iter_, model.n_features_in_, model.labels_.dtype) == (found.n_iter, 64, np.int32)
    distances = np.square(X.astype(float) - model.cluster_centers_[model.labels_]).sum()
    assert model.inertia_ == pytest.approx(distances / 2, rel=1e-5)
    assert model.embedding_ is X, "rows at unit length are not copied"
    np.testing.assert_array_equal(clone(model).fit_predict(X), model.labels_)
    assert SphericalKMeans(4, n_init=3, random_state=7, n_jobs=2).fit(X).probabilities_.tobytes() == (
        model.probabilities_.tobytes()
    )
    np.testing.assert_allclose(model.transform(MANY * 3), unit(MANY), atol=1e-6)


def test_what_kmeans_cannot_do(planted):
    X = planted[0]
    with pytest.raises(NotFittedError):
        SphericalKMeans(2).predict_proba(X)
    with pytest.raises(UsageError, match="X has 3 columns, the images have 64"):
        fitted("SphericalKMeans", planted).predict_proba(X[:, :3])
    for bad in ({"n_clusters": 0}, {"n_init": 0}, {"max_iter": 1.5}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            SphericalKMeans(**{"n_clusters": 2, **bad}).fit(X)
    with pytest.raises(UsageError, match="120 images cannot be put into 121 clusters"):
        SphericalKMeans(121).fit(X)


@pytest.mark.parametrize("name", NAMES)
def test_probabilities(name, planted):
    X = planted[0]
    model = fitted(name, planted)
    cosines = model.embedding_.astype(float) @ model.cluster_centers_.T.astype(float)
    assert model.concentration_ == pytest.approx(naive_concentration(X, model.labels_, cosines), rel=1e-3)
    assert model.probabilities_.dtype == np.float32 and model.probabilities_.shape == (120, 4)
    np.testing.assert_allclose(model.probabilities_, softmax(model.concentration_ * cosines), atol=1e-4)
    np.testing.assert_array_equal(model.probabilities_.argmax(axis=1), model.labels_)
    np.testing.assert_allclose(model.predict_proba(X), model.probabilities_, atol=1e-6)
    given = model.predict_proba(MANY)
    np.testing.assert_allclose(given.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(given.argmax(axis=1), model.predict(MANY))
    one_by_one = np.concatenate([model.predict_proba(row[None]) for row in MANY[:9]])
    np.testing.assert_allclose(one_by_one, given[:9], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_new_images_are_read_in_blocks(name, planted, monkeypatch):
    model = fitted(name, planted)
    whole, labels = model.predict_proba(MANY), model.predict(MANY)
    monkeypatch.setattr(_estimator, "ROWS", 50)
    monkeypatch.setattr("fastvbow.semantic._rows.CELLS", 1)
    sizes = []
    kind = type(model)
    embed = kind._embedded
    monkeypatch.setattr(kind, "_embedded", lambda self, rows: sizes.append(len(rows)) or embed(self, rows))
    np.testing.assert_allclose(model.predict_proba(MANY), whole, atol=1e-4)
    assert max(sizes) == 64 and sum(sizes) == 700
    np.testing.assert_array_equal(model.predict(MANY), labels)


def test_equal_centres_are_told_by_the_first():
    X = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2]]
    model = SphericalKMeans(3, random_state=0).fit(X)
    model.cluster_centers_ = np.eye(3, dtype=np.float32)[[0, 0, 1]]
    assert model.predict(X).tolist() == model.predict_proba(X).argmax(axis=1).tolist() == [0, 0, 2, 2, 0]


@pytest.mark.parametrize("name", NAMES)
def test_calibration_by_other_vectors(name, planted):
    model = fitted(name, planted)
    labels, before = model.labels_.copy(), model.concentration_
    other = 5 * np.random.default_rng(0).normal(size=(120, 3))
    assert model.calibrate(other) is model
    assert model.concentration_ < 0.5 * before, "neighbours anywhere make clusters unsure"
    assert model.probabilities_.max(axis=1).mean() < 0.6
    np.testing.assert_array_equal(model.predict(planted[0]), labels)
    model.calibrate(planted[0])
    assert model.concentration_ == before
    with pytest.raises(UsageError, match="7 vectors were given for 120 images"):
        model.calibrate(other[:7])
    with pytest.raises(NotFittedError):
        clone(model).calibrate(other)


@pytest.mark.data
def test_probabilities_of_photographs(data_folder):
    """They are as great, on average, as the share of photographs that are right, and greater for those that are."""
    import cv2

    from fastvbow.features.cnn import open_session
    from fastvbow.features.models import find_model
    from fastvbow.features.tensors import input_maker
    from fastvbow.images.decode import decode

    card = find_model("efficientnet_lite0")
    session, make = open_session(card.path, "cpu"), input_maker(card)
    cv2.setNumThreads(1)
    folders = sorted(path for path in (data_folder / "scene15").iterdir() if path.is_dir())[::2]
    files = [file for folder in folders for file in sorted(folder.iterdir())[:25]]
    rows = np.array([session.run(["pooled"], {card.input: make(decode(file.read_bytes()))})[0][0] for file in files])
    truth = np.repeat(np.arange(len(folders)), 25)
    model = SphericalKMeans(len(folders), random_state=0).fit(rows)
    majority = np.array([np.bincount(truth[model.labels_ == k]).argmax() for k in range(len(folders))])
    right = majority[model.labels_] == truth
    greatest = model.probabilities_.max(axis=1)
    assert abs(greatest.mean() - right.mean()) < 0.1
    assert greatest[right].mean() > greatest[~right].mean() + 0.1
