"""CAE: fusion against hand-made cases, and all of it across a modality gap."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import gap_fixture, naive_best_by_similarity, softmax, unit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastvbow.errors import UsageError
from fastvbow.evaluation.clustering import matched_accuracy
from fastvbow.semantic import CAE, _rows
from fastvbow.semantic.cae import fuse
from fastvbow.semantic.spherical import spherical_kmeans


def parts(n=90, width=5, seed=0):
    rng = np.random.default_rng(seed)
    return [unit(rng.normal(size=(n, width))).astype(np.float32) for _ in range(3)]


@pytest.mark.parametrize("gamma", [0.01, 0.3])
@pytest.mark.parametrize("cells", [1 << 21, 1])
def test_fusion_against_the_twin(gamma, cells, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    given = parts()
    for i, rows in enumerate(zip(*given, strict=True)):
        x = np.array(rows, np.float64)
        w = softmax(x @ unit(x.mean(axis=0)) / gamma)
        if i == 0:
            added, beside = fuse(given, gamma=gamma), fuse(given, gamma=gamma, fusion="concat")
            assert added.shape == (90, 5) and beside.shape == (90, 15)
        np.testing.assert_allclose(added[i], unit(w @ x), atol=2e-4)
        np.testing.assert_allclose(beside[i], unit((w[:, None] * x).reshape(-1)), atol=2e-4)


def test_equal_weights():
    given = parts()
    np.testing.assert_allclose(fuse(given, weights="equal"), unit(sum(given)), atol=1e-6)
    side = fuse(given, fusion="concat", weights="equal")
    np.testing.assert_allclose(side, np.concatenate(given, axis=1) / 3**0.5, atol=1e-6)


def test_a_part_that_disagrees_counts_little():
    agreeing = np.array([[1, 0.0, 0]], np.float32)
    fused = fuse([agreeing, agreeing, np.array([[0, 1.0, 0]], np.float32)])
    np.testing.assert_allclose(fused, agreeing, atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_texts_bridge_the_gap(seed):
    X, nouns, labels = gap_fixture(seed)
    captions = gap_fixture(seed, texts_a_class=9, distractors=200)[1]
    alone = spherical_kmeans(X, 10, n_init=20, random_state=0)
    model = CAE(10, random_state=0, epsilon=0.02, weights="equal").fit(X, nouns=nouns, captions=captions)
    assert model.noun_plan_.error <= 1e-6 and model.caption_plan_.error <= 1e-6
    assert matched_accuracy(labels, alone.labels) < 0.6
    assert matched_accuracy(labels, model.labels_) > 0.85


def small(**how):
    X, nouns, _ = gap_fixture(n_classes=4, per_class=30)
    captions = gap_fixture(n_classes=4, per_class=1, texts_a_class=9, distractors=50)[1]
    return X, {"nouns": nouns, "captions": captions}, CAE(4, random_state=5, **how)


@pytest.mark.parametrize(("fusion", "width"), [("sum", 64), ("concat", 192)])
def test_what_is_learnt(fusion, width):
    X, texts, model = small(fusion=fusion)
    assert model.fit(X, **texts) is model
    assert model.embedding_.shape == (120, width) and model.embedding_.dtype == np.float32
    assert model.labels_.dtype == np.int32 and model.n_features_in_ == 64
    centers = model.semantic_centers_
    assert centers.shape == (12, 64)
    assert model.noun_indices_.tolist() == naive_best_by_similarity(texts["nouns"], centers, 5)
    assert model.caption_indices_.tolist() == naive_best_by_similarity(texts["captions"], centers, 5)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    np.testing.assert_array_equal(model.predict(X[50:53]), model.labels_[50:53])
    again = clone(model).set_params(n_jobs=2).fit(X, **texts)
    assert again.embedding_.tobytes() == model.embedding_.tobytes()
    assert again.labels_.tobytes() == model.labels_.tobytes()


def test_free_columns():
    X, texts, model = small(columns=False)
    model.fit(X, **texts)
    assert not model.noun_plan_.g.any() and not model.caption_plan_.g.any()


def test_the_passes_of_the_transport_are_a_parameter():
    X, texts, model = small(transport_max_iter=1)
    with pytest.warns(ConvergenceWarning):
        assert model.fit(X, **texts).noun_plan_.n_iter == 1


def test_the_transport_of_a_sample():
    X, texts, model = small(transport_sample=60)
    whole, sampled = clone(model).set_params(transport_sample=None).fit(X, **texts), model.fit(X, **texts)
    for plan in (sampled.noun_plan_, sampled.caption_plan_):
        assert plan.converged and 1e-6 < plan.error < 0.5
    assert not np.array_equal(sampled.noun_plan_.g, whole.noun_plan_.g)
    assert (sampled.labels_ == sampled.predict(X)).all()
    with pytest.raises(UsageError, match="transport_sample=0"):
        clone(model).set_params(transport_sample=0).fit(X, **texts)


def test_what_cannot_be_fitted():
    X, texts, model = small()
    with pytest.raises(UsageError, match="CAE needs captions"):
        model.fit(X, nouns=texts["nouns"])
    with pytest.raises(UsageError, match="CAE needs nouns"):
        model.fit(X, captions=texts["captions"])
    for bad in ({"fusion": "mean"}, {"weights": 3}, {"gamma": -1}, {"epsilon": None}, {"captions_per_center": 0}):
        with pytest.raises(UsageError, match=next(iter(bad))):
            clone(model).set_params(**bad).fit(X, **texts)
    with pytest.raises(UsageError, match="fusion is one of"):
        fuse(parts(), fusion="mean")
