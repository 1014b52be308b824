"""Maximum mean discrepancy: against loops, its properties, its gradient."""

from __future__ import annotations

import numpy as np
import pytest
from naive_training import naive_mmd

from fastvbow.errors import UsageError
from fastvbow.semantic.mmd import mmd, mmd_loss


def sample(n, seed, shift=0.0):
    return np.random.default_rng(seed).normal(shift, 1, (n, 4))


@pytest.mark.parametrize("sizes", [(6, 6), (5, 9), (1, 4)])
@pytest.mark.parametrize("spread", [None, 2.5])
def test_against_loops(sizes, spread):
    x, y = sample(sizes[0], 0), sample(sizes[1], 1, shift=0.5)
    assert mmd(x, y, spread=spread) == pytest.approx(naive_mmd(x, y, spread), rel=1e-9)


def test_equal_samples_do_not_differ():
    x = sample(20, 0)
    assert mmd(x, x) == pytest.approx(0, abs=1e-12)
    assert mmd(x, np.repeat(x, 3, axis=0), spread=1.0) == pytest.approx(0, abs=1e-12)
    assert mmd(np.ones((3, 2)), np.ones((5, 2))) == 0


def test_symmetric_and_growing_with_the_distance():
    x, near, far = sample(40, 0), sample(40, 1, 0.5), sample(40, 2, 2.0)
    assert mmd(x, near) == pytest.approx(mmd(near, x), rel=1e-12)
    assert 0 < mmd(x, sample(40, 3)) < mmd(x, near) < mmd(x, far)


def test_samples_that_cannot_be_compared():
    with pytest.raises(UsageError, match="rows of one width"):
        mmd(np.ones((3, 2)), np.ones((3, 4)))
    with pytest.raises(UsageError, match="rows of one width"):
        mmd(np.ones((0, 2)), np.ones((3, 2)))


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")


@pytest.mark.parametrize("spread", [None, 2.5])
def test_the_loss_is_the_same_number(torch, spread):
    x, y = sample(7, 0), sample(12, 1, 1.0)
    found = float(mmd_loss(torch, torch.from_numpy(x), torch.from_numpy(y), spread=spread))
    assert found == pytest.approx(mmd(x, y, spread=spread), rel=1e-9)
    single = float(mmd_loss(torch, torch.from_numpy(x).float(), torch.from_numpy(y).float(), spread=spread))
    assert single == pytest.approx(found, rel=1e-4)


def test_the_gradient_by_finite_differences(torch):
    x = torch.from_numpy(sample(5, 0)).requires_grad_()
    y = torch.from_numpy(sample(8, 1, 1.0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: mmd_loss(torch, a, b, spread=3.0), (x, y))


def test_no_gradient_runs_through_the_bandwidths(torch):
    x, y = torch.from_numpy(sample(5, 0)).requires_grad_(), torch.from_numpy(sample(8, 1, 1.0))
    rows = np.concatenate([x.detach().numpy(), y.numpy()])
    spread = np.mean([((a - b) ** 2).sum() for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])
    own = torch.autograd.grad(mmd_loss(torch, x, y), x)[0]
    fixed = torch.autograd.grad(mmd_loss(torch, x, y, spread=float(spread)), x)[0]
    torch.testing.assert_close(own, fixed)


def test_the_gradient_draws_a_sample_to_its_target(torch):
    x = torch.from_numpy(sample(30, 0, 1.0)).requires_grad_()
    target = torch.from_numpy(sample(30, 1))
    before = float(mmd_loss(torch, x, target).detach())
    optimiser = torch.optim.Adam([x], lr=0.05)
    for _ in range(100):
        optimiser.zero_grad()
        mmd_loss(torch, x, target).backward()
        optimiser.step()
    assert float(mmd_loss(torch, x, target).detach()) < 0.1 * before


def test_rows_that_are_all_the_same_have_a_gradient_of_zero(torch):
    x = torch.ones(3, 2, dtype=torch.float64, requires_grad=True)
    loss = mmd_loss(torch, x, torch.ones(4, 2, dtype=torch.float64))
    loss.backward()
    assert float(loss.detach()) == 0
    assert x.grad.abs().max() == 0
