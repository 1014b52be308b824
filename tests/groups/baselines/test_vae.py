"""The variational autoencoders: the bound by hand, what training does to it, and the same bytes for a seed."""

import math
import sys

import numpy as np
import pytest

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.groups.baselines.vae import negative_elbo, train_vae
from fastvbow.groups.baselines.vae_networks import build_network

N, SIDE = 80, 16
SHORT = {"seed": 0, "epochs": 25, "batch": 16, "rate": 2e-3, "held_out": 0.2}
IDS = [f"{value:05d}" for value in np.random.default_rng(1).choice(99_999, N, replace=False)]
KIND = np.random.default_rng(5).integers(0, 2, N)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


def pictures(channels):
    """Two kinds, bright above or bright at the left, with noise."""
    rows = np.random.default_rng(2).integers(0, 40, (N, SIDE, SIDE, channels), dtype=np.uint8)
    rows[KIND == 0, : SIDE // 2] += 200
    rows[KIND == 1, :, : SIDE // 2] += 200
    return rows


CASES = {"paper": 1, "conv": 3}


@pytest.fixture(scope="module", params=CASES)
def case(request, torch):
    """An architecture, its pictures and what comes of training on them."""
    rows = pictures(CASES[request.param])
    return request.param, rows, train_vae(IDS, rows, request.param, **SHORT)


def test_the_bound_by_hand(torch):
    """Two pixels, one latent dimension: -log p(x|z) + KL(N(1, e^.5) || N(0, 1))."""
    logits = torch.tensor([[[[0.0, math.log(3)]]]])  # probabilities 1/2 and 3/4
    pixels = torch.tensor([[[[1.0, 0.25]]]])
    cross = -math.log(0.5) - (0.25 * math.log(0.75) + 0.75 * math.log(0.25))
    divergence = -0.5 * (1 + 0.5 - 1 - math.exp(0.5))
    found = negative_elbo(logits, pixels, torch.tensor([[1.0]]), torch.tensor([[0.5]]))
    assert found.tolist() == pytest.approx([cross + divergence], rel=1e-6)
    nothing = negative_elbo(logits, pixels, torch.zeros(1, 3), torch.zeros(1, 3))
    assert nothing.tolist() == pytest.approx([cross], rel=1e-6), "the prior itself costs nothing"


def test_the_bound_is_summed_over_pixels_and_dimensions(torch):
    generator = torch.Generator().manual_seed(0)
    logits, pixels = (torch.rand(3, 2, 4, 4, generator=generator) for _ in "ab")
    mean, log_variance = (torch.randn(3, 5, generator=generator) for _ in "ab")
    normal = torch.distributions.Normal
    divergence = torch.distributions.kl_divergence(normal(mean, (0.5 * log_variance).exp()), normal(0.0, 1.0)).sum(1)
    share = logits.sigmoid()
    cross = -(pixels * share.log() + (1 - pixels) * (1 - share).log()).sum((1, 2, 3))
    torch.testing.assert_close(negative_elbo(logits, pixels, mean, log_variance), cross + divergence)


def test_the_papers_network(torch):
    """50,176 -> 128 -> (250, 250) -> 128 -> 50,176, with biases."""
    network = build_network("paper", 224, 1)
    sizes = [tuple(p.shape) for name, p in network.named_parameters() if name.endswith("weight")]
    assert sizes == [(128, 50176), (250, 128), (250, 128), (128, 250), (50176, 128)]
    assert [type(layer).__name__ for layer in network["encoder"]] == ["Flatten", "Linear", "ReLU"]


@pytest.mark.parametrize("side", [16, 64])
def test_the_convolutional_network_gives_back_the_shape(torch, side):
    network = build_network("conv", side, 3)
    code = network["mean"](network["encoder"](torch.zeros(2, 3, side, side)))
    assert code.shape == (2, 64)
    assert network["decoder"](code).shape == (2, 3, side, side)


def test_training_lowers_the_bound_and_beats_the_mean_image(case):
    _, _, found = case
    assert found.train_loss.shape == found.held_out_loss.shape == (SHORT["epochs"],)
    assert found.train_loss[-1] < found.train_loss[0]
    assert found.held_out_loss[-1] < found.held_out_loss[0]
    assert found.reconstruction_error < 0.8 * found.mean_image_error
    assert 0 < found.active_dimensions <= found.vectors.shape[1]
    assert found.vectors.shape == (N, {"paper": 250, "conv": 64}[case[0]])


def test_the_mean_image_by_hand(case):
    _, rows, found = case
    held = np.isin(IDS, found.held_out_ids)
    assert held.sum() == len(found.held_out_ids) == round(0.2 * N)
    pixels = rows / 255
    wanted = ((pixels[held] - pixels[~held].mean(axis=0)) ** 2).mean()
    assert found.mean_image_error == pytest.approx(wanted, rel=1e-5)


def test_each_vector_is_the_one_of_its_image(case):
    """The two kinds stand apart: nearest mean of a kind, without a mistake."""
    vectors = case[2].vectors.astype(float)
    centres = np.stack([vectors[k == KIND].mean(axis=0) for k in range(2)])
    np.testing.assert_array_equal(((vectors[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1), KIND)


def test_permuting_the_images_permutes_the_vectors(case):
    architecture, rows, found = case
    order = np.random.default_rng(3).permutation(N)
    permuted = train_vae([IDS[i] for i in order], rows[order], architecture, **SHORT)
    np.testing.assert_array_equal(permuted.vectors, found.vectors[order])
    np.testing.assert_array_equal(permuted.train_loss, found.train_loss)
    assert permuted.held_out_ids == found.held_out_ids


def test_a_seed_gives_the_same_bytes_whatever_went_before(case, torch):
    architecture, rows, found = case
    torch.manual_seed(12345)
    torch.set_num_threads(2)
    before = torch.random.get_rng_state()
    ticks = []
    again = train_vae(IDS, rows, architecture, **SHORT, progress=lambda *tick: ticks.append(tick))
    assert again.vectors.tobytes() == found.vectors.tobytes()
    assert again.held_out_loss.tobytes() == found.held_out_loss.tobytes()
    assert ticks == [(done, 25) for done in range(1, 26)]
    assert torch.equal(torch.random.get_rng_state(), before), "the caller's generator is left alone"
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    other = train_vae(IDS, rows, architecture, **{**SHORT, "seed": 1, "epochs": 1})
    assert not np.array_equal(other.train_loss, found.train_loss[:1])
    assert other.held_out_ids != found.held_out_ids


def test_images_held_out_are_not_trained_on(torch):
    """Whatever is in their place, the images trained on have the same loss in the first epoch."""
    rows = pictures(1)
    short = {**SHORT, "epochs": 1}
    found = train_vae(IDS, rows, "paper", **short)
    spoilt = np.where(np.isin(IDS, found.held_out_ids)[:, None, None, None], 255 - rows, rows)
    other = train_vae(IDS, spoilt, "paper", **short)
    assert other.train_loss.tolist() == found.train_loss.tolist()
    assert other.held_out_loss.tolist() != found.held_out_loss.tolist()


def test_a_rate_that_diverges_is_told(torch):
    with pytest.raises(UsageError, match=r"no longer finite in epoch \d+: pass a rate below 1000"):
        train_vae(IDS, pictures(1), "paper", **{**SHORT, "rate": 1000.0})


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        ({"epochs": 0}, "1 epoch"),
        ({"batch": 0}, "batches"),
        ({"rate": 0.0}, "rate above 0"),
        ({"held_out": 0.0}, "held out"),
        ({"held_out": 1.0}, "held out"),
    ],
)
def test_parameters(torch, more, complaint):
    with pytest.raises(UsageError, match=complaint):
        train_vae(IDS, pictures(1), "paper", **{**SHORT, **more})


def test_pictures_that_do_not_fit(torch):
    with pytest.raises(UsageError, match=r"uint8 \(n, side, side, channels\)"):
        train_vae(IDS, pictures(1)[:, :8], "paper", **SHORT)
    with pytest.raises(UsageError, match="multiple of 16, not 8"):
        train_vae(IDS, pictures(1)[:, :8, :8], "conv", **SHORT)
    with pytest.raises(UsageError, match="paper, conv"):
        train_vae(IDS, pictures(1), "transformer", **SHORT)
    with pytest.raises(UsageError, match="79 image ids for 80 rows"):
        train_vae(IDS[:-1], pictures(1), "paper", **SHORT)


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"PyTorch.*pip install 'fastvbow\[vae\]'"):
        train_vae(IDS, pictures(1), "paper", **SHORT)
