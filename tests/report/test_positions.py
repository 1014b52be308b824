"""Positions on the map: principal components by another way, places of all others, the same bytes twice."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.decomposition import PCA

from fastvbow.errors import MissingExtraError, UsageError
from fastvbow.report import positions
from fastvbow.report.positions import EVENED, LEAST_FOR_UMAP, MapInput, lay_out, map_method


def mixtures(n: int, k: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n)


def by_pca(rows: np.ndarray, drawn, others=()) -> positions.Positions:
    given = MapInput("pca", lambda i: rows[i], lambda i: pytest.fail("not asked for"))
    return lay_out(given, np.asarray(drawn, dtype=np.intp), np.asarray(others, dtype=np.intp))


def test_pca_is_that_of_scikit_learn():
    rows = mixtures(200)
    found = by_pca(rows, range(200)).drawn
    wanted = PCA(2).fit_transform(rows)
    scale = (wanted.max(axis=0) - wanted.min(axis=0)).max()
    wanted = (wanted - (wanted.max(axis=0) + wanted.min(axis=0)) / 2) / scale + 0.5
    ranks = (rankdata(wanted, axis=0) - 1) / 199
    np.testing.assert_allclose(found, (1 - EVENED) * wanted + EVENED * ranks, atol=1e-9)
    assert found.min() == 0 and found.max() == pytest.approx(1)


def test_all_others_are_projected_exactly(monkeypatch):
    monkeypatch.setattr(positions, "_BLOCK", 7)
    monkeypatch.setattr(positions, "EVENED", 0.0)
    rows = mixtures(120)
    drawn, others = np.arange(0, 120, 3), np.setdiff1d(np.arange(120), np.arange(0, 120, 3))
    found = by_pca(rows, drawn, others)
    pca = PCA(2).fit(rows[drawn])
    wanted = pca.transform(rows)
    scale = np.ptp(wanted, axis=0).max()
    got = np.empty_like(wanted)
    got[drawn], got[others] = found.drawn, found.others
    np.testing.assert_allclose((got - got[0]) * scale, wanted - wanted[0], atol=1e-9)


def test_others_lie_between_their_neighbours():
    """Evened, too: what is left of a photograph that is drawn stays left of it."""
    rows = mixtures(300)
    drawn, others = np.arange(100), np.arange(100, 300)
    found = by_pca(rows, drawn, others)
    projected = PCA(2).fit(rows[drawn]).transform(rows)
    for axis in range(2):
        before = projected[:, axis]
        after = np.concatenate([found.drawn, found.others])[:, axis]
        assert (np.diff(after[np.argsort(before)]) >= -1e-9).all()
    assert ((found.others >= 0) & (found.others <= 1)).all()


@pytest.mark.parametrize(("n", "k"), [(0, 3), (1, 3), (2, 3), (3, 1), (5, 2)])
def test_few_photographs_or_topics(n, k):
    found = by_pca(mixtures(n, k), range(n))
    assert found.drawn.shape == (n, 2) and np.isfinite(found.drawn).all()
    assert ((found.drawn >= 0) & (found.drawn <= 1)).all()


def test_equal_photographs_lie_in_one_place():
    found = by_pca(np.full((6, 4), 0.25), range(6)).drawn
    np.testing.assert_allclose(found, 0.5)


def test_which_method(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert map_method("auto", 10_000) == "pca"
        with pytest.raises(MissingExtraError, match=r"pip install 'fastvbow\[viz\]'"):
            map_method("umap", 10_000)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(origin="umap/__init__.py"))
        assert map_method("auto", LEAST_FOR_UMAP) == map_method("umap", LEAST_FOR_UMAP) == "umap"
        assert map_method("auto", LEAST_FOR_UMAP - 1) == "pca"
        assert map_method("pca", 10_000) == "pca"
        with pytest.raises(UsageError, match="wants 100 photographs, and there are 99"):
            map_method("umap", 99)
    with pytest.raises(UsageError, match="--layout is one of auto, umap, pca, not tsne"):
        map_method("tsne", 10_000)


def test_what_an_uninstalled_umap_leaves_behind_is_none(tmp_path, monkeypatch):
    (tmp_path / "umap" / "__pycache__").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(tmp_path)])
        patch.setattr(sys, "meta_path", [PathFinder])
        patch.delitem(sys.modules, "umap", raising=False)
        assert importlib.util.find_spec("umap") is not None
        assert map_method("auto", 10_000) == "pca"


def test_umap_repeats_and_keeps_neighbours():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    rng = np.random.default_rng(1)
    kind = np.repeat(np.arange(4), 40)
    rows = (10 * np.eye(4)[kind] + rng.normal(size=(160, 4))).astype(np.float32)
    given = MapInput("umap", lambda i: pytest.fail("not asked for"), lambda i: rows[i], seed=3)
    first, second = (lay_out(given, np.arange(160), np.zeros(0, np.intp)) for _ in range(2))
    assert first.drawn.tobytes() == second.drawn.tobytes(), "a seed gives the same bytes"
    assert (first.method, len(first.others)) == ("umap", 0)
    assert first.drawn.min() >= 0 and first.drawn.max() <= 1 and np.ptp(first.drawn, axis=0).max() == pytest.approx(1)
    distance = np.linalg.norm(first.drawn[:, None] - first.drawn, axis=2) + np.eye(160)
    assert (kind[distance.argmin(axis=1)] == kind).mean() > 0.95
