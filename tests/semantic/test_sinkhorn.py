"""Entropic transport against its dense twin and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from naive_semantic import naive_transport, softmax, unit
from sklearn.exceptions import ConvergenceWarning

from fastvbow.errors import UsageError
from fastvbow.semantic import _rows
from fastvbow.semantic import sinkhorn as module
from fastvbow.semantic.sinkhorn import barycentres, sinkhorn


def some(n, width=6, seed=0):
    return unit(np.random.default_rng(seed).normal(size=(n, width))).astype(np.float32)


IMAGES, TEXTS = some(240), some(17, seed=1)
COSINES = IMAGES @ TEXTS.T


def whole(plan, cosines=COSINES):
    """The plan itself, by its scalings."""
    return np.exp((cosines.astype(np.float64) + plan.f[:, None] + plan.g) / plan.epsilon)


@pytest.mark.parametrize("epsilon", [0.5, 0.1, 0.05])
def test_against_the_twin_and_the_marginals(epsilon):
    plan = sinkhorn(IMAGES, TEXTS, epsilon, tol=1e-9)
    found, wanted = whole(plan), naive_transport(COSINES, epsilon, 3000)
    assert plan.converged and plan.error <= 1e-9
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1 / len(IMAGES), rtol=1e-10)
    assert np.abs(found.sum(axis=0) - 1 / len(TEXTS)).sum() <= 2e-9
    np.testing.assert_allclose(plan.conditional(COSINES), found * len(IMAGES), rtol=1e-9)


@pytest.mark.parametrize("epsilon", [0.2, 0.05, 0.02])
def test_the_reported_error_is_that_of_the_plan(epsilon):
    plan = sinkhorn(IMAGES, TEXTS, epsilon)
    assert plan.converged
    measured = np.abs(whole(plan).sum(axis=0) - 1 / len(TEXTS)).sum()
    assert measured == pytest.approx(plan.error, abs=1e-12) and measured <= 1e-6


def test_blocks_change_nothing_but_rounding(monkeypatch):
    dense = sinkhorn(IMAGES, TEXTS, 0.05)
    monkeypatch.setattr(_rows, "CELLS", 1)
    monkeypatch.setattr(_rows, "LEAST_ROWS", 7)
    for held in (module.HELD_BYTES, 0):
        monkeypatch.setattr(module, "HELD_BYTES", held)
        streamed = sinkhorn(IMAGES, TEXTS, 0.05)
        assert streamed.n_iter == dense.n_iter
        np.testing.assert_allclose(streamed.f, dense.f, atol=1e-6)
        np.testing.assert_allclose(streamed.g, dense.g, atol=1e-6)
        two = sinkhorn(IMAGES, TEXTS, 0.05, n_jobs=2)
        assert (two.f.tobytes(), two.g.tobytes()) == (streamed.f.tobytes(), streamed.g.tobytes())


def test_without_the_columns_it_is_the_softmax():
    plan = sinkhorn(IMAGES, TEXTS, 0.05, columns=False)
    assert plan.converged and plan.n_iter == 1 and not plan.g.any() and np.isnan(plan.error)
    wanted = softmax(COSINES.astype(np.float64) / 0.05)
    np.testing.assert_array_equal(plan.conditional(COSINES), wanted)
    np.testing.assert_allclose(whole(plan), wanted / len(IMAGES), rtol=1e-12)


def test_a_small_epsilon_does_not_underflow():
    """Columns that no image is near to, at exp(-2 / .001): nothing is lost, and the plan tends to the sharp one."""
    images = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    texts = -np.eye(3, dtype=np.float32)
    plan = sinkhorn(images, texts, 0.001)
    assert plan.converged and np.isfinite(plan.f).all() and np.isfinite(plan.g).all()
    np.testing.assert_allclose(plan.conditional(images @ texts.T), np.repeat((1 - np.eye(3)) / 2, 4, axis=0), atol=1e-6)
    ahead = unit([[1, 0], [1, 0.01], [1, -0.01]]).astype(np.float32)  # exp(-2000) is no number above 0
    plan = sinkhorn(ahead, np.array([[1, 0], [-1, 0]], np.float32), 0.001)
    assert plan.converged and np.isfinite(plan.f).all() and np.isfinite(plan.g).all()
    lonely = unit([[1, 0], [1, 0.01], [-1, 0]]).astype(np.float32)
    assert sinkhorn(lonely, np.array([[1, 0], [-1, 0]], np.float32), 0.002, max_iter=20_000, tol=1e-4).converged


def test_mixing_saves_passes_and_changes_no_plan():
    plain, mixed = (sinkhorn(IMAGES, TEXTS, 0.03, history=steps, tol=1e-9) for steps in (0, 8))
    assert mixed.n_iter < plain.n_iter / 2
    np.testing.assert_allclose(whole(mixed), whole(plain), rtol=1e-5)


def test_a_sample_gives_a_plan_with_exact_rows_and_says_how_far_its_columns_are_off():
    images = some(3000, seed=2)
    cosines = images @ TEXTS.T
    full = sinkhorn(images, TEXTS, 0.05)
    errors = []
    for size in (100, 1500):
        plan = sinkhorn(images, TEXTS, 0.05, sample=size, random_state=0)
        dense = whole(plan, cosines)
        assert plan.converged and plan.f.shape == (3000,)
        np.testing.assert_allclose(dense.sum(axis=1), 1 / 3000, rtol=1e-9)
        errors.append(np.abs(dense.sum(axis=0) - 1 / len(TEXTS)).sum())
        assert plan.error == pytest.approx(errors[-1], rel=1e-6)
    assert full.error < errors[1] < errors[0] / 2 < 0.25
    for size in (3000, 9999):
        assert sinkhorn(images, TEXTS, 0.05, sample=size).g.tobytes() == full.g.tobytes()
    one, two = (sinkhorn(images, TEXTS, 0.05, sample=500, random_state=1, n_jobs=jobs) for jobs in (1, 2))
    assert (one.f.tobytes(), one.g.tobytes()) == (two.f.tobytes(), two.g.tobytes())
    with pytest.raises(UsageError, match="a sample of 0"):
        sinkhorn(images, TEXTS, sample=0)


def test_what_has_not_converged_says_so():
    with pytest.warns(ConvergenceWarning, match=r"after 2 passes the columns .* are off by"):
        plan = sinkhorn(IMAGES, TEXTS, 0.05, max_iter=2)
    assert not plan.converged and plan.n_iter == 2
    assert np.abs(whole(plan).sum(axis=0) - 1 / len(TEXTS)).sum() == pytest.approx(plan.error, rel=1e-6)


@pytest.mark.parametrize("cells", [1 << 21, 1])
def test_barycentres(cells, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    plan = sinkhorn(IMAGES, TEXTS, 0.05)
    dense = whole(plan)
    wanted = unit((dense * COSINES) @ TEXTS.astype(np.float64))
    np.testing.assert_allclose(barycentres(IMAGES, TEXTS, plan), wanted, atol=1e-5)


@pytest.mark.parametrize("bad", [{"epsilon": 0}, {"tol": 0}, {"max_iter": 0}, {"history": -1}])
def test_what_cannot_be_used(bad):
    with pytest.raises(UsageError, match="Sinkhorn takes"):
        sinkhorn(IMAGES, TEXTS, **bad)
