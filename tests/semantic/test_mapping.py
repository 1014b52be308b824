"""SIC's nouns: the two filters and the three mappings, against loops."""

from __future__ import annotations

import numpy as np
import pytest
from naive_training import naive_adjusted_centers, naive_mean_of_nearest, naive_noun_centers, naive_semantic_space, unit

from fastvbow.errors import UsageError
from fastvbow.semantic import _rows
from fastvbow.semantic.mapping import adjusted_centers, direct_labels, noun_centers, semantic_space


def some(n, seed=0, d=7, shift=0.0):
    return unit(np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


@pytest.mark.parametrize("cells", [1 << 21, 600])
@pytest.mark.parametrize("uniqueness", [0.0, 0.05, 0.4])
def test_the_semantic_space_against_loops(cells, uniqueness, monkeypatch):
    monkeypatch.setattr(_rows, "CELLS", cells)
    nouns, centers = some(500, shift=0.7), some(4, seed=1, shift=0.7)
    found = semantic_space(nouns, centers, nearest=60, uniqueness=uniqueness)
    assert found.tolist() == naive_semantic_space(nouns, centers, 60, uniqueness)
    assert len(found) == len(set(found.tolist())) <= 240


def test_both_filters_filter():
    nouns, centers = some(500, shift=0.7), some(4, seed=1, shift=0.7)
    every = semantic_space(nouns, centers, nearest=500, uniqueness=0.0)
    assert len(semantic_space(nouns, centers, nearest=60, uniqueness=0.0)) < len(every) == 500
    assert len(semantic_space(nouns, centers, nearest=60, uniqueness=0.2)) < len(
        semantic_space(nouns, centers, nearest=60, uniqueness=0.0)
    )


def test_a_space_without_nouns():
    nouns = np.repeat(some(1), 9, axis=0)
    with pytest.raises(UsageError, match=r"all 9 nouns .* lower gamma_u \(now 0.05\)"):
        semantic_space(nouns, some(2, seed=1))


@pytest.mark.parametrize("share", [0.9, 0.3, 0.001])
def test_adjusted_centres_against_loops(share):
    images, nouns = some(53), some(40, seed=1)
    logits = np.random.default_rng(2).normal(size=(53, 4)).astype(np.float32)
    found = adjusted_centers(images, logits, nouns, share=share, n_nouns=6)
    np.testing.assert_allclose(found, naive_adjusted_centers(images, logits, nouns, share, 6), atol=1e-6)
    assert found.dtype == np.float32


def test_adjusted_centres_take_all_nouns_where_more_are_wanted():
    images, nouns = some(20), some(3, seed=1)
    found = adjusted_centers(images, images[:, :2], nouns, n_nouns=30)
    np.testing.assert_allclose(found, np.repeat(unit(nouns.mean(axis=0))[None], 2, axis=0), atol=1e-6)


def test_noun_centres_against_loops():
    nouns, centers = some(60), some(5, seed=1)
    np.testing.assert_allclose(noun_centers(nouns, centers), naive_noun_centers(nouns, centers), atol=1e-6)


def test_a_centre_that_no_noun_goes_to_takes_the_nearest():
    centers = np.eye(3, dtype=np.float32)
    nouns = unit(np.array([[1.0, 0.1, 0.0], [0.9, 0.2, 0.1], [0.1, 1.0, 0.5]])).astype(np.float32)
    found = noun_centers(nouns, centers)
    np.testing.assert_allclose(found, naive_noun_centers(nouns, centers), atol=1e-6)
    np.testing.assert_allclose(found[2], nouns[2], atol=1e-6)


@pytest.mark.parametrize("cells", [1 << 21, 600])
def test_direct_labels(cells, monkeypatch):
    """Nouns in three bundles: an image goes with the bundle that the mean of its nearest nouns is in."""
    monkeypatch.setattr(_rows, "CELLS", cells)
    axes = np.eye(7)[:3]
    nouns = unit(np.repeat(axes, 10, axis=0) + 0.1 * some(30)).astype(np.float32)
    images = some(300, seed=3)
    found = direct_labels(images, nouns, 3, n_nouns=8, random_state=0)
    wanted = [int(np.argmax(axes @ naive_mean_of_nearest(image, nouns, 8))) for image in images]
    names = [np.bincount(np.asarray(wanted)[found == k], minlength=3).argmax() for k in range(3)]
    assert sorted(names) == [0, 1, 2]
    assert np.mean(np.asarray(names)[found] == wanted) > 0.99
    with pytest.raises(UsageError, match="30 rows cannot be put into 31 clusters"):
        direct_labels(images, nouns, 31)
