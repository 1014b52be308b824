"""TAC: its rules one by one, against twins, and all of it across a modality gap."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import (
    gap_fixture,
    naive_best_by_posterior,
    naive_best_by_similarity,
    naive_counterparts,
    unit,
)
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastvbow.errors import UsageError
from fastvbow.evaluation.clustering import matched_accuracy
from fastvbow.semantic import TAC, _rows
from fastvbow.semantic.selection import best_by_posterior, best_by_similarity, center_count
from fastvbow.semantic.spherical import spherical_kmeans
from fastvbow.semantic.tac import text_counterparts


@pytest.mark.parametrize(
    ("n_images", "n_clusters", "published"),
    [
        (50_000, 10, 167),
        (50_000, 20, 167),
        (5_000, 10, 17),
        (13_000, 10, 43),
        (19_500, 15, 65),
        (3_760, 47, 141),
        (9_537, 101, 303),
        (1_281_167, 1000, 4271),
    ],
)
def test_the_published_numbers_of_centres(n_images, n_clusters, published):
    assert center_count(n_images, n_clusters) == published


def test_the_number_of_centres_at_its_edges():
    assert (center_count(3000, 10), center_count(2999, 10), center_count(7, 5)) == (10, 30, 7)


def some(n, width=6, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, width))).astype(np.float32)


@pytest.mark.parametrize("cells", [1 << 21, 600])
@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_chosen_nouns_against_the_twin(cells, temperature, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    texts, centers = some(500), some(7, seed=1)
    found = best_by_posterior(texts, centers, per_center=5, temperature=temperature)
    assert found.tolist() == naive_best_by_posterior(texts, centers, 5, temperature)
    assert len(found) == 35, "five a centre, where each has as many"
    assert best_by_similarity(texts, centers, per_center=5).tolist() == naive_best_by_similarity(texts, centers, 5)


def test_centres_with_few_nouns_and_equal_nouns():
    centers = np.eye(3, dtype=np.float32)
    texts = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]
    assert best_by_posterior(texts, centers, per_center=2).tolist() == [0, 1, 3]
    assert best_by_similarity(texts, centers[:2], per_center=2).tolist() == [0, 1, 3]
    assert best_by_similarity(texts, centers, per_center=9).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("cells", [1 << 21, 600])
@pytest.mark.parametrize("temperature", [0.005, 0.5])
def test_counterparts_against_the_twin(cells, temperature, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    images, texts = some(300), some(40, seed=1)
    found = text_counterparts(images, texts, temperature)
    np.testing.assert_allclose(found, naive_counterparts(images, texts, temperature), atol=2e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_nouns_bridge_the_gap(seed):
    """The images' own clusters are wrong; those beside their nouns are right."""
    X, nouns, labels = gap_fixture(seed)
    alone = spherical_kmeans(X, 10, n_init=20, random_state=0)
    model = TAC(10, random_state=0).fit(X, nouns=nouns)
    assert matched_accuracy(labels, alone.labels) < 0.6
    assert matched_accuracy(labels, model.labels_) > 0.9


def test_what_is_learnt():
    X, nouns, _ = gap_fixture(n_classes=4, per_class=30)
    model = TAC(4, random_state=5)
    assert model.fit(X, nouns=nouns, captions=None) is model
    assert model.labels_.dtype == np.int32 and model.embedding_.shape == (120, 128)
    assert model.embedding_.dtype == np.float32 and model.n_features_in_ == 64
    np.testing.assert_allclose(np.linalg.norm(model.embedding_, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(nouns[model.noun_indices_], model.nouns_)
    assert model.semantic_centers_.shape == (12, 64) and len(model.nouns_) <= 60
    assert model.noun_indices_.tolist() == naive_best_by_posterior(nouns, model.semantic_centers_, 5)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.predict(3.0 * X[::-1].astype(float)), model.labels_[::-1])
    again = clone(model).fit(X, nouns=nouns)
    assert again.embedding_.tobytes() == model.embedding_.tobytes()
    assert again.labels_.tobytes() == TAC(4, random_state=5, n_jobs=2).fit_predict(X, nouns=nouns).tobytes()


def test_the_constants_count():
    X, nouns, _ = gap_fixture(n_classes=4, per_class=30)
    model = TAC(4, n_centers=6, nouns_per_center=2, random_state=0).fit(X, nouns=nouns)
    assert len(model.semantic_centers_) == 6 and len(model.nouns_) <= 12
    soft = TAC(4, n_centers=6, nouns_per_center=2, image_temperature=10.0, random_state=0).fit(X, nouns=nouns)
    assert np.ptp(soft.embedding_[:, 64:], axis=0).max() < 0.1 < np.ptp(model.embedding_[:, 64:], axis=0).max()


def test_nouns_chosen_on_other_images():
    X, nouns, _ = gap_fixture(n_classes=4, per_class=30)
    model = TAC(4, random_state=0).fit(X[::2], nouns=nouns, train=X[1::2])
    other = TAC(4, random_state=0).fit(X[1::2], nouns=nouns)
    np.testing.assert_array_equal(model.noun_indices_, other.noun_indices_)
    assert len(model.labels_) == 60


def test_what_cannot_be_fitted():
    X, nouns = some(20), some(9, seed=1)
    with pytest.raises(UsageError, match="TAC needs nouns"):
        TAC(2).fit(X)
    with pytest.raises(UsageError, match="nouns has 5 columns, the images have 6"):
        TAC(2).fit(X, nouns=nouns[:, :5])
    with pytest.raises(UsageError, match="20 images cannot be put into 21 clusters"):
        TAC(21).fit(X, nouns=nouns)
    with pytest.raises(NotFittedError):
        TAC(2).predict(X)
    with pytest.raises(UsageError, match="X has 5 columns"):
        TAC(2).fit(X, nouns=nouns).predict(X[:, :5])
    for bad in ({"n_clusters": 0}, {"n_clusters": 2.0}, {"n_init": 0}, {"n_centers": 0}, {"image_temperature": 0}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            TAC(**{"n_clusters": 2, **bad}).fit(X, nouns=nouns)
