"""TAC's heads: their loss against loops and finite differences, what training does, the same bytes for a seed."""

from __future__ import annotations

import inspect
import sys

import numpy as np
import pytest
from naive_semantic import gap_fixture, softmax
from naive_training import naive_distillation
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.evaluation.clustering import matched_accuracy
from fastvbow.semantic import TAC, tac_trained
from fastvbow.semantic._training import Schedule, train
from fastvbow.semantic.tac import text_counterparts
from fastvbow.semantic.tac_trained import distillation_loss, train_heads

SHORT = {"seed": 0, "epochs": 1, "least_steps": 4, "batch_size": 200}
HELD_OUT = np.arange(600) % 5 == 0


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


@pytest.fixture(scope="module")
def planted():
    """Images, the text counterparts that TAC gives them, and the classes."""
    images, nouns, labels = gap_fixture(seed=1)
    model = TAC(10, n_init=2, center_n_init=2, random_state=0).fit(images, nouns=nouns)
    return images, text_counterparts(images, model.nouns_), labels


@pytest.fixture(scope="module")
def trained(torch, planted):
    images, texts, _ = planted
    return train_heads(images[~HELD_OUT], texts[~HELD_OUT], 10, seed=0, least_steps=400)


def test_the_loss_against_loops_and_finite_differences(torch):
    rng = np.random.default_rng(0)
    parts = [rng.dirichlet(np.ones(3), 8) for _ in range(4)]
    inputs = tuple(torch.from_numpy(part).requires_grad_() for part in parts)

    def loss(*tensors):
        return distillation_loss(torch, *tensors, 0.5, 5.0)

    assert float(loss(*inputs).detach()) == pytest.approx(naive_distillation(*parts, 0.5, 5.0), rel=1e-12)
    assert torch.autograd.gradcheck(loss, inputs)
    crossed = float(distillation_loss(torch, inputs[0], inputs[1], inputs[3], inputs[2], 0.5, 5.0).detach())
    assert crossed != pytest.approx(float(loss(*inputs).detach())), "images are held against texts' neighbours"


def test_a_head_is_the_network_that_was_trained(torch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = tac_trained._head(torch, 6, 3)
        kinds = [type(layer).__name__ for layer in network]
        assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Softmax"]
        for _ in range(50):
            network(torch.randn(40, 6) * 3 + 1)  # the running mean and variance of the normalisation
        torch.nn.init.uniform_(network[1].weight)
        torch.nn.init.normal_(network[1].bias)
        rows = torch.randn(9, 6)
    wanted = network.eval()(rows).detach().numpy()
    assert wanted.std() > 0.01
    found = tac_trained._folded(network).probabilities(rows.numpy())
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.dtype == np.float32


def test_weights_before_training_are_those_of_the_reference(torch):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = tac_trained._head(torch, 300, 300)
    for linear in (network[0], network[3]):
        assert float(linear.weight.detach().std()) == pytest.approx(0.02, rel=0.02)


def test_ahead_of_kmeans_across_a_modality_gap(trained, planted):
    images, texts, labels = planted
    kmeans = KMeans(10, n_init=5, random_state=0).fit(images).labels_
    found = matched_accuracy(labels, trained.image.probabilities(images).argmax(axis=1))
    assert found > 0.85
    assert found > matched_accuracy(labels, kmeans) + 0.3
    both = trained.image.probabilities(images).argmax(axis=1) == trained.text.probabilities(texts).argmax(axis=1)
    assert both.mean() > 0.9, "the two heads mean the same clusters by the same numbers"
    assert trained.losses[-1] < trained.losses[0] - 3


def test_new_images_by_the_image_head_alone(trained, planted):
    images, _, labels = planted
    found = trained.image.probabilities(images[HELD_OUT])
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    assert matched_accuracy(labels[HELD_OUT], found.argmax(axis=1)) > 0.7


def test_a_seed_gives_the_same_bytes_whatever_the_threads(torch, planted):
    images, texts, _ = planted
    found = []
    for threads, seed in ((1, 0), (2, 0), (2, 1)):
        torch.set_num_threads(threads)
        torch.manual_seed(threads)
        found.append(train_heads(images, texts, 10, **{**SHORT, "seed": seed}))
    torch.set_num_threads(1)
    first, second, other = (heads.image.hidden_weight.tobytes() + heads.losses.tobytes() for heads in found)
    assert first == second != other


def test_epochs_and_steps(torch, planted):
    images, texts, _ = planted
    ticks = []
    heads = train_heads(images, texts, 10, **SHORT, progress=lambda *tick: ticks.append(tick))
    assert len(heads.losses) == 2, "600 rows are 3 batches of 200: 4 steps take 2 epochs"
    assert ticks == [(1, 2), (2, 2)]
    with pytest.warns(ConvergenceWarning, match="after 1 of 2 epochs: max_seconds"):
        assert len(train_heads(images, texts, 10, **SHORT, max_seconds=0.0).losses) == 1


def test_the_temperature_follows_the_number_of_clusters(torch, planted):
    images, texts, _ = planted
    by_default = train_heads(images, texts, 10, **SHORT).losses
    assert by_default.tolist() == train_heads(images, texts, 10, **SHORT, temperature=0.5).losses.tolist()
    many = train_heads(images, texts, 101, **SHORT).losses
    assert many.tolist() == train_heads(images, texts, 101, **SHORT, temperature=5.0).losses.tolist()


def test_neighbours_count(torch, planted):
    images, texts, _ = planted
    one, many = (train_heads(images, texts, 10, **SHORT, n_neighbors=n).losses.tolist() for n in (1, 50))
    assert one != many


def test_adam_has_the_constants_of_the_schedule(torch):
    """Each of them changes the way to the minimum of a parabola."""

    def way(**more):
        position = torch.nn.Parameter(torch.tensor(3.0))
        with torch.random.fork_rng():
            schedule = Schedule(**{"epochs": 6, "batch_size": 2, "learning_rate": 0.3, **more})
            return train(torch, [position], lambda indices: position.square(), 5, schedule).tolist()

    ways = [way(), way(learning_rate=0.1), way(betas=(0.5, 0.9)), way(weight_decay=1.0), way(batch_size=4)]
    assert len(ways[0]) == 6
    assert ways[0][0] > ways[0][-1]
    assert all(ways[0] != other for other in ways[1:])


def test_what_cannot_be_trained(torch, planted):
    images, texts, _ = planted
    for arguments in ((images, texts[:-1], 10), (images, texts, 1), (images[:1], texts[:1], 10)):
        with pytest.raises(UsageError, match="at least 2 images with as many counterparts"):
            train_heads(*arguments, seed=0)
    with pytest.raises(UsageError, match="no longer finite in epoch 1: pass a learning_rate below 1e\\+30"):
        train_heads(images, texts, 10, **SHORT, learning_rate=1e30)


TRAINED = {"trained": True, "n_init": 1, "center_n_init": 1, "random_state": 0}
FEW = {"epochs": 1, "least_steps": 3, "batch_size": 200}


def test_the_estimator_trains_them(torch, planted):
    images, _, labels = planted
    nouns = gap_fixture(seed=1)[1]
    ticks = []
    model = TAC(10, training={"least_steps": 300}, **TRAINED)
    model.fit(images, nouns=nouns, progress=lambda *tick: ticks.append(tick))
    assert matched_accuracy(labels, model.labels_) > 0.8
    assert len(ticks) == model.n_iter_ == len(model.heads_.losses) == 300
    assert model.embedding_.shape == (600, 128)
    np.testing.assert_array_equal(model.labels_, model.probabilities_.argmax(axis=1))
    np.testing.assert_array_equal(model.predict(images[::7]), model.labels_[::7])
    np.testing.assert_allclose(model.predict_proba(images), model.probabilities_, atol=1e-6)
    logits = np.log(model.heads_.image.probabilities(images).astype(float))
    np.testing.assert_allclose(model.probabilities_, softmax(model.concentration_ * logits), atol=1e-4)


def test_the_estimator_never_sees_labels(torch, planted):
    images, _, labels = planted
    nouns = gap_fixture(seed=1)[1]
    given = (labels, np.random.default_rng(0).permutation(labels), None)
    found = [TAC(10, training=FEW, **TRAINED).fit(images, y, nouns=nouns).probabilities_.tobytes() for y in given]
    assert found[0] == found[1] == found[2]


def test_the_estimator_trains_on_other_images(torch, planted):
    images = planted[0]
    nouns = gap_fixture(seed=1)[1]
    model = TAC(10, training=FEW, **TRAINED).fit(images[HELD_OUT], nouns=nouns, train=images[~HELD_OUT])
    whole = TAC(10, training=FEW, **TRAINED).fit(images[~HELD_OUT], nouns=nouns)
    assert model.heads_.losses.tolist() == whole.heads_.losses.tolist()
    np.testing.assert_array_equal(model.labels_, whole.predict(images[HELD_OUT]))


def test_what_a_caller_of_the_estimator_may_choose():
    given = set(inspect.signature(train_heads).parameters)
    assert given - tac_trained.TRAINING == {"images", "texts", "n_clusters", "seed", "progress"}
    assert given > tac_trained.TRAINING


def test_the_estimator_without_what_it_needs(monkeypatch, planted):
    images = planted[0]
    with pytest.raises(UsageError, match="training has rate; give some of batch_size, entropy_weight"):
        TAC(10, trained=True, training={"rate": 1}).fit(images, nouns=images)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match="TAC's training needs PyTorch"):
        TAC(10, trained=True).fit(images, nouns=images)


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    rows = np.eye(4, dtype=np.float32)
    with pytest.raises(MissingExtraError, match=r"TAC's training needs PyTorch.*pip install 'fastvbow\[deep\]'"):
        train_heads(rows, rows, 2, seed=0)
