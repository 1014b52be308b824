"""PyTorch for those who train: it is asked for by name, and left as it was."""

from __future__ import annotations

import sys

import pytest

from fastvbow.errors import MissingExtraError
from fastvbow.pytorch import load_torch, reproducible


def test_without_pytorch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"a trial needs PyTorch.*pip install 'fastvbow\[deep\]'"):
        load_torch("a trial", "deep")


def test_numbers_are_the_seeds_and_the_callers_state_stays():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test EXTRAS=test-vae")
    torch.manual_seed(9)
    torch.set_num_threads(2)
    before = torch.random.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        with reproducible(torch, seed):
            assert torch.get_num_threads() == 1
            assert torch.are_deterministic_algorithms_enabled()
            drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    with pytest.raises(ZeroDivisionError), reproducible(torch, 0):
        torch.rand(3)
        raise ZeroDivisionError
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == 2
    assert not torch.are_deterministic_algorithms_enabled()
