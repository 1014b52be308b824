"""SIC: its loss against loops, what training does, that no label gets in, the estimator's contract."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from naive_semantic import gap_fixture
from naive_training import naive_sic, softmax
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.evaluation.clustering import matched_accuracy
from fastvbow.semantic import SIC
from fastvbow.semantic.sic import sic_loss
from fastvbow.semantic.spherical import spherical_kmeans

MAPPINGS = ("adjusted", "center", "direct")
PLANTED = {"gamma_r": 20, "xi_a": 6, "semantic_weight": 1.0, "learning_rate": 1e-3, "n_init": 3, "random_state": 0}
SHORT = {**PLANTED, "epochs": 2, "least_steps": 0}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


@pytest.fixture(scope="module")
def planted():
    return gap_fixture(seed=1)


@pytest.fixture(scope="module")
def fitted(torch, planted):
    return SIC(10, epochs=1, least_steps=600, **PLANTED).fit(planted[0], nouns=planted[1])


def test_the_loss_against_loops_and_finite_differences(torch):
    rng = np.random.default_rng(0)
    logits, near = rng.normal(size=(2, 7, 4))
    labels = rng.integers(0, 4, 7)
    inputs = tuple(torch.from_numpy(part).requires_grad_() for part in (logits, near))

    def loss(own, other):
        return sic_loss(torch, own, other, torch.from_numpy(labels), 5.0, 0.1)

    assert float(loss(*inputs).detach()) == pytest.approx(naive_sic(logits, near, labels, 5.0, 0.1), rel=1e-12)
    assert torch.autograd.gradcheck(loss, inputs)


def test_ahead_of_kmeans_across_a_modality_gap(fitted, planted):
    images, nouns, labels = planted
    kmeans = matched_accuracy(labels, spherical_kmeans(images, 10, n_init=10, random_state=0).labels)
    assert kmeans < 0.45
    assert matched_accuracy(labels, fitted.labels_) > 0.85
    for mapping in ("center", "direct"):
        other = SIC(10, mapping=mapping, epochs=1, least_steps=300, **PLANTED).fit(images, nouns=nouns)
        assert matched_accuracy(labels, other.labels_) > kmeans + 0.15
    assert fitted.losses_[-1] < fitted.losses_[0] - 1
    assert fitted.n_iter_ == len(fitted.losses_) == 150, "600 rows are 4 batches of 128"


def test_what_a_fitted_model_holds(fitted, planted):
    images, nouns, _ = planted
    assert fitted.n_features_in_ == images.shape[1]
    assert fitted.weight_.shape == (10, images.shape[1])
    assert fitted.noun_indices_.max() < len(nouns)
    np.testing.assert_array_equal(fitted.noun_indices_, np.unique(fitted.noun_indices_))
    logits = 10.0 * images.astype(float) @ fitted.weight_.T + fitted.bias_
    np.testing.assert_allclose(fitted.embedding_, logits, atol=1e-4)
    np.testing.assert_allclose(fitted.probabilities_, softmax(logits), atol=1e-5)
    np.testing.assert_array_equal(fitted.labels_, fitted.probabilities_.argmax(axis=1))
    assert fitted.labels_.dtype == np.int32


def test_new_images_by_the_head(fitted, planted):
    images = planted[0]
    np.testing.assert_array_equal(fitted.predict(images[::3] * 5), fitted.labels_[::3])
    assert fitted.predict_proba(images).tobytes() == fitted.probabilities_.tobytes()
    assert fitted.transform(images[:5]).shape == (5, 10)
    with pytest.raises(UsageError, match="X has 3 columns"):
        fitted.predict(images[:, :3])
    with pytest.raises(NotFittedError):
        SIC().predict(images)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_labels_do_not_get_in(torch, planted, mapping):
    """The same bytes with labels, with permuted ones and without any."""
    images, nouns, labels = planted
    given = (labels, np.random.default_rng(0).permutation(labels), None)
    found = [SIC(10, mapping=mapping, **SHORT).fit(images, y, nouns=nouns).embedding_.tobytes() for y in given]
    assert found[0] == found[1] == found[2]


def test_the_mappings_and_the_two_starts_differ(torch, planted):
    images, nouns, _ = planted
    found = [SIC(10, mapping=mapping, **SHORT).fit(images, nouns=nouns).weight_.tobytes() for mapping in MAPPINGS]
    found.append(SIC(10, init="random", **SHORT).fit(images, nouns=nouns).weight_.tobytes())
    assert len(set(found)) == 4


def test_neighbours_count(torch, planted):
    images, nouns, _ = planted
    alone, many = (SIC(10, n_neighbors=n, **SHORT).fit(images, nouns=nouns).losses_.tolist() for n in (1, 20))
    assert alone != many


def test_the_head_starts_from_the_centres(torch, planted):
    """Untrained, as the learning rate is next to nothing, it is the nearest centre of k-means."""
    images, nouns, _ = planted
    still = {**SHORT, "learning_rate": 1e-12, "weight_decay": 0.0}
    model = SIC(10, init="centers", **still).fit(images, nouns=nouns)
    kmeans = spherical_kmeans(images, 10, n_init=3, random_state=np.random.RandomState(0))
    np.testing.assert_array_equal(model.labels_, kmeans.labels)
    squares = 100 * np.square(images[:, None].astype(float) - kmeans.centers).sum(axis=2)
    np.testing.assert_allclose(model.embedding_, 0.05 * (100 - squares), atol=1e-3)


def test_nouns_teach(torch, planted):
    """With the nouns' part of the loss alone the head gives what the fixed mapping says."""
    images, nouns, _ = planted
    more = {**SHORT, "semantic_weight": 1000.0, "entropy_weight": 0.0, "epochs": 60, "learning_rate": 1e-2}
    first = SIC(10, mapping="center", **more).fit(images, nouns=nouns)
    pseudo = first._fixed_labels(
        images,
        spherical_kmeans(images, 10, n_init=3, random_state=np.random.RandomState(0)).centers,
        nouns[first.noun_indices_],
        np.random.RandomState(0),
    )
    assert np.mean(first.labels_ == pseudo) > 0.97


def test_a_seed_gives_the_same_bytes_whatever_the_threads(torch, planted):
    images, nouns, _ = planted
    found = []
    for threads, jobs, seed in ((1, None, 0), (2, 2, 0), (2, 2, 1)):
        torch.set_num_threads(threads)
        torch.manual_seed(threads)
        found.append(SIC(10, **{**SHORT, "random_state": seed, "n_jobs": jobs}).fit(images, nouns=nouns))
    torch.set_num_threads(1)
    first, second, other = (model.weight_.tobytes() + model.losses_.tobytes() for model in found)
    assert first == second != other


def test_progress_and_time(torch, planted):
    images, nouns, _ = planted
    ticks = []
    SIC(10, **SHORT).fit(images, nouns=nouns, progress=lambda *tick: ticks.append(tick))
    assert ticks == [(1, 2), (2, 2)]
    with pytest.warns(ConvergenceWarning, match="after 1 of 2 epochs"):
        assert SIC(10, max_seconds=0.0, **SHORT).fit(images, nouns=nouns).n_iter_ == 1


def test_the_contract(torch, planted):
    images, nouns, _ = planted
    model = SIC(10, **SHORT)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    labels = copy.fit_predict(images, nouns=nouns)
    np.testing.assert_array_equal(labels, copy.labels_)
    assert not hasattr(model, "labels_")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"n_clusters": 1}, "n_clusters=1 cannot be used; give an integer >= 2"),
        ({"mapping": "nearest"}, "one of adjusted, center, direct"),
        ({"init": "kmeans"}, "one of centers, random"),
        ({"gamma_r": 0}, "gamma_r=0"),
        ({"gamma_u": -0.1}, "gamma_u=-0.1 cannot be used; give a number of 0 or more"),
        ({"xi_c": 1.5}, "xi_c=1.5 cannot be used; give a share"),
        ({"epochs": 0}, "epochs=0"),
        ({"learning_rate": 0.0}, "learning_rate=0.0 cannot be used; give a number above 0"),
        ({"n_clusters": 601}, "600 images cannot be put into 601 clusters"),
    ],
)
def test_parameters(torch, planted, wrong, complaint):
    with pytest.raises(UsageError, match=complaint):
        SIC(**{"n_clusters": 10, **SHORT, **wrong}).fit(planted[0], nouns=planted[1])


def test_texts_that_do_not_fit(torch, planted):
    images, nouns, _ = planted
    with pytest.raises(UsageError, match="SIC needs nouns"):
        SIC(10).fit(images)
    with pytest.raises(UsageError, match="nouns has 5 columns"):
        SIC(10).fit(images, nouns=nouns[:, :5])
    with pytest.raises(UsageError, match="no longer finite in epoch 1"):
        SIC(10, **{**SHORT, "learning_rate": 1e30}).fit(images, nouns=nouns)


def test_without_pytorch(monkeypatch, planted):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"SIC needs PyTorch.*pip install 'fastvbow\[deep\]'"):
        SIC(10).fit(planted[0], nouns=planted[1])
