"""ICBPL with a trained encoder: kinds of pictures that pixels do not tell, what is frozen, the same bytes."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.evaluation.clustering import matched_accuracy
from fastvbow.semantic.icbpl_images import ImageICBPL

SIDE, EACH = 12, 40
SHORT = {"epochs": 2, "batch_size": 32, "random_state": 0}


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


def stripes(seed=0):
    """Stripes in three directions; where they lie is chance, so pixels say next to nothing."""
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    labels = np.repeat(np.arange(3), EACH)
    waves = np.stack([x, y, x + y])[labels] * (2 * np.pi / 4) + rng.uniform(0, 2 * np.pi, (len(labels), 1, 1))
    return (np.sin(waves) + 0.3 * rng.normal(size=waves.shape))[:, None].astype(np.float32), labels


def small_network(torch):
    nn = torch.nn
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 24, 5), nn.BatchNorm2d(24), nn.ReLU()),
        *(nn.Conv2d(24, 24, 3), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    )


def shifted(batch):
    import torch

    shift = torch.randint(SIDE, (2,)).tolist()
    return batch.roll(shift, dims=(2, 3)) + 0.3 * torch.randn(batch.shape)


@pytest.fixture(scope="module")
def fitted(torch):
    network = small_network(torch)
    return ImageICBPL(network, 3, augment=shifted, epochs=40, batch_size=40, random_state=0).fit(stripes()[0])


def state(module):
    return {name: tensor.detach().numpy().copy() for name, tensor in module.state_dict().items()}


def test_ahead_of_kmeans_of_pixels(fitted):
    images, labels = stripes()
    kmeans = KMeans(3, n_init=5, random_state=0).fit(images.reshape(len(images), -1)).labels_
    found = matched_accuracy(labels, fitted.labels_)
    assert found > 0.9
    assert found > matched_accuracy(labels, kmeans) + 0.2
    assert fitted.losses_[-1] < 0.3 * fitted.losses_[0]


def test_new_images(fitted):
    images, labels = stripes(seed=1)
    assert matched_accuracy(labels, fitted.predict(images)) > 0.85
    shares = fitted.predict_proba(images)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(shares.argmax(axis=1), fitted.predict(images))
    own = stripes()[0]
    np.testing.assert_allclose(fitted.transform(own), fitted.embedding_, atol=1e-6)
    np.testing.assert_allclose(fitted.transform(own[:7]), fitted.embedding_[:7], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(fitted.embedding_, axis=1), 1, atol=1e-5)


def test_the_encoder_that_is_given_stays(torch):
    network = small_network(torch).train()
    before = state(network)
    model = ImageICBPL(network, 3, augment=shifted, **SHORT).fit(stripes()[0])
    after, trained = state(network), state(model.network_[0])
    assert network.training
    assert all(np.array_equal(before[name], after[name]) for name in before)
    changed = {name for name in before if not np.array_equal(before[name], trained[name])}
    assert changed == set(before), "all is trained, the statistics of the normalisation too"
    assert not any(parameter.requires_grad for parameter in model.network_.parameters())


@pytest.mark.parametrize("names", [(), ("3", "4")])
def test_what_is_frozen_does_not_change(torch, names):
    network = small_network(torch)
    before = state(network)
    model = ImageICBPL(network, 3, augment=shifted, unfrozen=names, **SHORT).fit(stripes()[0])
    trained = state(model.network_[0])
    changed = {name.split(".")[0] for name in before if not np.array_equal(before[name], trained[name])}
    assert changed == set(names), "neither weights nor the statistics of the normalisation"
    assert model.losses_[-1] < model.losses_[0], "the layers behind it learn"


def test_a_seed_gives_the_same_bytes_whatever_the_threads(torch):
    network, found = small_network(torch), []
    for threads, seed in ((1, 0), (2, 0), (2, 1)):
        torch.set_num_threads(threads)
        torch.manual_seed(threads)
        model = ImageICBPL(network, 3, augment=shifted, **{**SHORT, "random_state": seed}).fit(stripes()[0])
        found.append(model.embedding_.tobytes() + model.losses_.tobytes())
    torch.set_num_threads(1)
    assert found[0] == found[1] != found[2]


def test_labels_do_not_get_in(torch):
    network, (images, labels) = small_network(torch), stripes()
    found = [
        ImageICBPL(network, 3, augment=shifted, **SHORT).fit(images, given).embedding_.tobytes()
        for given in (labels, labels[::-1], None)
    ]
    assert found[0] == found[1] == found[2]


def test_images_may_be_read_when_they_are_asked_for(torch):
    images = stripes()[0]

    class Reader:
        """As one that decodes files: batches by numbers, as tensors of bytes."""

        asked = 0

        def __len__(self):
            return len(images)

        def __getitem__(self, numbers):
            assert numbers.dtype == np.int64
            Reader.asked = max(Reader.asked, len(numbers))
            return torch.from_numpy(images[numbers])

    network = small_network(torch)
    plain, read = (ImageICBPL(network, 3, augment=shifted, **SHORT).fit(source) for source in (images, Reader()))
    assert plain.embedding_.tobytes() == read.embedding_.tobytes()
    assert Reader.asked == 32, "never more than a batch"


def test_progress_and_time(torch):
    ticks, network = [], small_network(torch)
    ImageICBPL(network, 3, augment=shifted, **SHORT).fit(stripes()[0], progress=lambda *tick: ticks.append(tick))
    assert ticks == [(1, 2), (2, 2)]
    with pytest.warns(ConvergenceWarning, match="after 1 of 2 epochs"):
        model = ImageICBPL(network, 3, augment=shifted, max_seconds=0.0, **SHORT).fit(stripes()[0])
    assert model.n_iter_ == 1


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"augment": None}, "augment is missing"),
        ({"unfrozen": ("layer4",)}, r"the encoder has no 'layer4'; its parts are 0, 1, 2, 3, 4, 5, 6"),
        ({"n_clusters": 1}, "n_clusters=1"),
        ({"n_clusters": 121}, "120 images cannot be put into 121 clusters"),
        ({"batch_size": 1}, "batch_size=1 cannot be used; give an integer >= 2"),
        ({"weights": (1, 2)}, "give four numbers"),
        ({"learning_rate": 0}, "learning_rate=0"),
    ],
)
def test_parameters(torch, wrong, complaint):
    given = {"n_clusters": 3, "augment": shifted, **SHORT, **wrong}
    with pytest.raises(UsageError, match=complaint):
        ImageICBPL(small_network(torch), **given).fit(stripes()[0])


def test_features_without_a_direction(torch):
    with pytest.raises(UsageError, match="row 0 of the encoder's features of the images has no direction"):
        ImageICBPL(small_network(torch), 3, augment=shifted, **SHORT).fit(np.full_like(stripes()[0], np.nan))


def test_before_it_is_fitted(torch):
    with pytest.raises(NotFittedError):
        ImageICBPL(small_network(torch), 3, augment=shifted).predict(stripes()[0])


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"ICBPL needs PyTorch.*pip install 'fastvbow\[deep\]'"):
        ImageICBPL(None, 3, augment=shifted).fit(stripes()[0])
