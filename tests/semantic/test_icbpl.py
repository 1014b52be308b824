"""ICBPL on frozen embeddings: its loss against loops, what training does, no labels, the estimator's contract."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from naive_training import broad_and_close, naive_latent, softmax, unit
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastvbow.cancelling import cancelling
from fastvbow.errors import Cancelled, MissingExtraError, UsageError
from fastvbow.evaluation.clustering import matched_accuracy
from fastvbow.semantic import ICBPL, icbpl
from fastvbow.semantic._principal import principal_components
from fastvbow.semantic.latent import LossWeights, latent_loss
from fastvbow.semantic.pedcc import pedcc
from fastvbow.semantic.spherical import spherical_kmeans

SHORT = {"epochs": 2, "least_steps": 0, "warm_steps": 4, "n_init": 2, "random_state": 0}
PLAIN = {"principal": None, "init": "random", "weights": (1.0, 1.0, 1.0, 2.0)}
"""The method without what is added to it."""


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


@pytest.fixture(scope="module")
def planted():
    return broad_and_close()


@pytest.fixture(scope="module")
def fitted(torch, planted):
    return ICBPL(6, epochs=1, least_steps=400, random_state=0, **PLAIN).fit(planted[0])


def directions(n, seed, d=5):
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 2.0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_the_loss_against_loops(torch, weights):
    """A batch of 8 for 4 points: the target has each of them twice, in whatever order."""
    z, changed, near, points = (directions(n, seed) for seed, n in enumerate((8, 8, 8, 4)))
    inputs = tuple(torch.from_numpy(part) for part in (z, changed, near))
    found = latent_loss(torch, *inputs, points=torch.from_numpy(points), weights=LossWeights(*weights))
    wanted = naive_latent(z, changed, near, points, np.repeat(points, 2, axis=0), weights)
    assert float(found) == pytest.approx(wanted, rel=1e-9)


def test_its_gradient_by_finite_differences(torch):
    """All but the discrepancy, whose bandwidths move with the rows but have no gradient (see the tests of MMD)."""
    inputs = tuple(torch.from_numpy(directions(8, seed)).requires_grad_() for seed in range(3))
    points = torch.from_numpy(directions(4, 3))

    def loss(*tensors):
        return latent_loss(torch, *tensors, points=points, weights=LossWeights(1.0, 2.0, 3.0, 0.0))

    assert torch.autograd.gradcheck(loss, inputs)


def test_a_batch_with_a_remainder_takes_it_from_random_points(torch):
    z, points = torch.from_numpy(directions(9, 0)), directions(4, 1)
    found = set()
    for seed in range(40):
        torch.manual_seed(seed)
        loss = latent_loss(torch, z, z, z, points=torch.from_numpy(points), weights=LossWeights(0, 0, 0, 1))
        found.add(round(float(loss), 9))
    targets = [np.concatenate([points, points, points[[k]]]) for k in range(4)]
    wanted = [naive_latent(z.numpy(), z.numpy(), z.numpy(), points, target, (0, 0, 0, 1)) for target in targets]
    assert sorted(found) == pytest.approx(sorted(wanted), rel=1e-6)


def test_ahead_of_kmeans_where_neighbours_tell_the_clusters(fitted, planted):
    images, labels = planted
    kmeans = matched_accuracy(labels, spherical_kmeans(images, 6, n_init=10, random_state=0).labels)
    assert kmeans < 0.6
    assert matched_accuracy(labels, fitted.labels_) > kmeans + 0.15
    assert fitted.losses_[-1] < 0.2 * fitted.losses_[0]
    assert fitted.n_iter_ == len(fitted.losses_) == 200, "360 rows are 2 batches of 128"


def test_what_a_fitted_model_holds(fitted, planted):
    images = planted[0]
    assert [part.shape for part in fitted.layers_] == [(512, 24), (512,), (100, 512), (100,)]
    np.testing.assert_allclose(fitted.cluster_centers_, pedcc(6, 100, random_state=np.random.RandomState(0)), atol=1e-6)
    first, first_bias, second, second_bias = (part.astype(float) for part in fitted.layers_)
    hidden = np.maximum(10 * images.astype(float) @ first.T + first_bias, 0)
    np.testing.assert_allclose(fitted.embedding_, unit(hidden @ second.T + second_bias), atol=1e-5)
    cosines = fitted.embedding_ @ fitted.cluster_centers_.T
    np.testing.assert_array_equal(fitted.labels_, cosines.argmax(axis=1))
    np.testing.assert_allclose(fitted.probabilities_, softmax(fitted.concentration_ * cosines), atol=1e-5)
    assert fitted.labels_.dtype == np.int32


def test_the_latent_space_is_distributed_as_the_centres(fitted):
    """Nearly all images lie at a centre, where they began anywhere."""
    nearest = (fitted.embedding_ @ fitted.cluster_centers_.T).max(axis=1)
    assert np.median(nearest) > 0.95


def test_new_images(fitted, planted):
    images = planted[0]
    np.testing.assert_array_equal(fitted.predict(images[::3] * 7), fitted.labels_[::3])
    np.testing.assert_allclose(fitted.transform(images[::3]), fitted.embedding_[::3], atol=1e-6)
    np.testing.assert_allclose(fitted.predict_proba(images), fitted.probabilities_, atol=1e-5)
    with pytest.raises(UsageError, match="X has 3 columns"):
        fitted.predict(images[:, :3])
    with pytest.raises(NotFittedError):
        ICBPL().predict(images)


def test_labels_do_not_get_in(torch, planted):
    images, labels = planted
    given = (labels, np.random.default_rng(0).permutation(labels), None)
    found = [ICBPL(6, **SHORT).fit(images, y).embedding_.tobytes() for y in given]
    assert found[0] == found[1] == found[2]


def test_neighbours_are_found_anew(torch, planted, monkeypatch):
    widths = []

    def spy(rows, n_neighbors):
        widths.append((rows.shape[1], n_neighbors))
        return found(rows, n_neighbors)

    found = icbpl.nearest_rows
    monkeypatch.setattr(icbpl, "nearest_rows", spy)
    ICBPL(6, epochs=8, least_steps=0, refresh=3, principal=7, warm_steps=0, random_state=0).fit(planted[0])
    assert widths == [(7, 5), (100, 5), (100, 5)], "in the components, then twice in the latent space"


def test_a_seed_gives_the_same_bytes_whatever_the_threads(torch, planted):
    found = []
    for threads, seed in ((1, 0), (2, 0), (2, 1)):
        torch.set_num_threads(threads)
        torch.manual_seed(threads)
        model = ICBPL(6, **{**SHORT, "random_state": seed}).fit(planted[0])
        found.append(model.embedding_.tobytes() + model.losses_.tobytes())
    torch.set_num_threads(1)
    assert found[0] == found[1] != found[2]


def test_the_start_gives_every_cluster_of_kmeans_a_centre(torch, planted):
    """Learning no more after the warm steps, the labels are those of k-means in the principal components."""
    images = planted[0]
    still = {**SHORT, "weights": (0, 0, 0, 0), "principal": 9, "n_init": 5}
    model = ICBPL(6, **{**still, "warm_steps": 300}).fit(images)
    rng = np.random.RandomState(0)
    pedcc(6, 100, random_state=rng)  # the points come first
    rows = unit(naive_components(images, 9, 0.5)).astype(np.float32)
    kmeans = spherical_kmeans(rows, 6, n_init=5, random_state=rng).labels
    assert matched_accuracy(kmeans, model.labels_) > 0.97
    assert len(np.unique(model.labels_)) == 6
    assert matched_accuracy(kmeans, ICBPL(6, **{**still, "warm_steps": 0}).fit(images).labels_) < 0.9


def naive_components(rows, n, whitening):
    apart = rows.astype(float) - rows.astype(float).mean(axis=0)
    _, spread, directions = np.linalg.svd(apart / len(rows) ** 0.5, full_matrices=False)
    found = apart @ directions[:n].T / spread[:n] ** whitening
    return found / np.sqrt(np.square(found).sum(axis=1).mean())


@pytest.mark.parametrize("whitening", [0.0, 0.5, 1.0])
def test_components_against_singular_values(planted, whitening):
    images = planted[0]
    found, wanted = principal_components(images, 5, whitening).of(images), naive_components(images, 5, whitening)
    np.testing.assert_allclose(found * np.sign((found * wanted).sum(axis=0)), wanted, atol=1e-4)
    assert np.square(found).sum(axis=1).mean() == pytest.approx(1, abs=1e-4)


def test_components_of_rows_that_hardly_vary():
    same = np.tile(unit([[1.0, 2.0, 2.0]]), (9, 1)).astype(np.float32)
    assert principal_components(same, 2, 0.5) is None
    line = unit(np.array([[1.0, t, 0.0] for t in np.linspace(0, 1, 9)])).astype(np.float32)
    assert principal_components(line, 3, 1.0).matrix.shape[1] < 3, "what does not vary is no component"


def test_rows_that_are_all_the_same_can_be_clustered(torch):
    same = np.tile(unit([[1.0, 2.0, 2.0]]), (9, 1)).astype(np.float32)
    assert len(np.unique(ICBPL(2, **SHORT).fit(same).labels_)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"dropout": 0.5},
        {"noise": 1.0},
        {"weights": (1, 1, 1, 4)},
        {"n_neighbors": 2},
        {"principal": 6},
        {"principal": None},
        {"whitening": 0.0},
        {"init": "random"},
        {"warm_steps": 9},
    ],
)
def test_every_constant_counts(torch, planted, change):
    plain, other = (ICBPL(6, **{**SHORT, **more}).fit(planted[0]).losses_.tolist() for more in ({}, change))
    assert plain != other


def test_progress_and_time(torch, planted):
    ticks = []
    ICBPL(6, **SHORT).fit(planted[0], progress=lambda *tick: ticks.append(tick))
    assert ticks == [(1, 2), (2, 2)]
    with pytest.warns(ConvergenceWarning, match="after 1 of 2 epochs"):
        assert ICBPL(6, max_seconds=0.0, **SHORT).fit(planted[0]).n_iter_ == 1


def test_the_contract(torch, planted):
    model = ICBPL(6, **SHORT)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    np.testing.assert_array_equal(copy.fit_predict(planted[0]), copy.labels_)
    assert not hasattr(model, "labels_")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"n_clusters": 1}, "n_clusters=1"),
        ({"refresh": 0}, "refresh=0"),
        ({"principal": 0}, "principal=0"),
        ({"whitening": 1.5}, "whitening=1.5 cannot be used; give a number from 0 to 1"),
        ({"init": "centers"}, "init='centers' cannot be used; give one of kmeans, random"),
        ({"warm_steps": -1}, "warm_steps=-1"),
        ({"dropout": 1.0}, "dropout=1.0 cannot be used; give a number of 0 or more and below 1"),
        ({"noise": -1.0}, "noise=-1.0 cannot be used"),
        ({"weights": (1, 1, 1)}, r"weights=\(1, 1, 1\) cannot be used; give four numbers"),
        ({"weights": (1, 1, 1, -1)}, "give four numbers"),
        ({"learning_rate": 1e30}, "no longer finite in epoch 1"),
        ({"n_clusters": 361}, "360 images cannot be put into 361 clusters"),
    ],
)
def test_parameters(torch, planted, wrong, complaint):
    with pytest.raises(UsageError, match=complaint):
        ICBPL(**{"n_clusters": 6, **SHORT, **wrong}).fit(planted[0])


def test_without_pytorch(monkeypatch, planted):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"ICBPL needs PyTorch.*pip install 'fastvbow\[deep\]'"):
        ICBPL(6).fit(planted[0])


def test_training_can_be_stopped(torch, planted):
    epochs = []
    with pytest.raises(Cancelled), cancelling(lambda: len(epochs) == 2):
        ICBPL(6, epochs=50, random_state=0).fit(planted[0], progress=lambda done, total: epochs.append(done))
    assert epochs == [1, 2], "at the next step"
