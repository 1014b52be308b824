"""What the trained methods minimise: against loops over rows and columns, and gradients by finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from naive_training import (
    naive_agreement,
    naive_contrast,
    naive_cosine,
    naive_entropy,
    naive_nearest_point,
)

from fastvbow.semantic.losses import agreement_loss, column_contrast, cosine_loss, mean_entropy, nearest_point_loss


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


def shares(seed, n=9, K=4):
    return np.random.default_rng(seed).dirichlet(np.ones(K), n)


def directions(seed, n=9, d=5):
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


CASES = {
    "mean_entropy": (mean_entropy, naive_entropy, (shares(0),), ()),
    "agreement_loss": (agreement_loss, naive_agreement, (shares(0), shares(1)), ()),
    "column_contrast": (column_contrast, naive_contrast, (shares(0), shares(1)), (0.5,)),
    "column_contrast, warm": (column_contrast, naive_contrast, (shares(2), shares(3)), (5.0,)),
    "cosine_loss": (cosine_loss, naive_cosine, (directions(0), directions(1)), ()),
    "nearest_point_loss": (nearest_point_loss, naive_nearest_point, (directions(0), directions(1, n=3)), ()),
}


@pytest.mark.parametrize("name", CASES)
def test_against_loops(torch, name):
    function, twin, arrays, rest = CASES[name]
    found = function(torch, *(torch.from_numpy(array) for array in arrays), *rest)
    assert found.shape == ()
    assert float(found) == pytest.approx(twin(*arrays, *rest), rel=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_gradients_by_finite_differences(torch, name):
    function, _, arrays, rest = CASES[name]
    inputs = tuple(torch.from_numpy(array.copy()).requires_grad_() for array in arrays)
    assert torch.autograd.gradcheck(lambda *tensors: function(torch, *tensors, *rest), inputs)


def test_what_they_are_at_their_best(torch):
    sure = torch.eye(4, dtype=torch.float64).repeat(3, 1)
    assert float(mean_entropy(torch, sure)) == pytest.approx(np.log(4))
    assert float(agreement_loss(torch, sure, sure)) == 0
    perfect = np.log(1 + 6 * np.exp(-1 / 0.5))  # the positive has cosine 1, six negatives 0
    assert float(column_contrast(torch, sure, sure, 0.5)) == pytest.approx(perfect)
    assert float(nearest_point_loss(torch, sure, torch.eye(4, dtype=torch.float64))) == 0


def test_certain_disagreement_stays_finite(torch):
    """Shares of exactly 0, as a softmax of float32 gives them."""
    one = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = agreement_loss(torch, one, torch.tensor([[0.0, 1.0], [0.0, 1.0]])) - mean_entropy(torch, one)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(one.grad).all()
