"""Joint words: a keypoint and the map at its place, against plain NumPy."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fastvbow.errors import StoreCorruptError, UsageError
from fastvbow.words import joint as module
from fastvbow.words.joint import (
    JointFeatures,
    Located,
    features_for,
    joint_sample,
    joint_words,
    train_joint_codebook,
)
from fastvbow.words.shares import fused, share_words
from fastvbow.words.tokens import encode
from fastvbow.words.vocabulary import Codebook, Vocabulary, train_codebook

SOFT = {"pooled_tokens": 20, "pooled_neighbours": 3, "pooled_temperature": 0.3}
COUNTS = [5, 0, 40, 0, 1, 300, 0]
"""Keypoints of seven images; the second and last are flat, the fourth could not be read."""
SIZES = [(90, 60), (64, 64), (500, 333), (0, 0), (32, 80), (1000, 700), (64, 64)]
GRIDS = [(3, 3), (3, 3), (4, 3), (0, 0), (3, 4), (1, 5), (3, 3)]
"""Columns and rows of the maps: mostly square, but nothing says so."""


def cell_centres(size, grid):
    """As `fastvbow.features.cnn` places cells, in its order."""
    (width, height), (columns, rows) = size, grid
    places = [
        ((c + 0.5) * width / columns - 0.5, (r + 0.5) * height / rows - 0.5)
        for r in range(rows)
        for c in range(columns)
    ]
    return np.array([(x, y, 1, -1) for x, y in places], np.float32).reshape(-1, 4)


@pytest.fixture(scope="module")
def features():
    rng = np.random.default_rng(1)
    points = [rng.uniform(-0.5, (w - 0.5, h - 0.5), (n, 2)) for n, (w, h) in zip(COUNTS, SIZES, strict=True)]
    keypoints = np.column_stack([np.concatenate(points), np.ones((sum(COUNTS), 2))]).astype(np.float32)
    sift = rng.integers(0, 256, (sum(COUNTS), 128), np.uint8)
    sift[7] = 0  # a keypoint without any gradient
    cells = np.concatenate([cell_centres(size, grid) for size, grid in zip(SIZES, GRIDS, strict=True)])
    conv = rng.gamma(0.5, size=(len(cells), 48)).astype(np.float16)
    conv[:9] *= 1000
    offsets = np.concatenate([[0], np.cumsum(COUNTS)]), np.concatenate([[0], np.cumsum([c * r for c, r in GRIDS])])
    for array in (sift, conv, keypoints, cells):
        array.flags.writeable = False  # as a memory map is
    return JointFeatures(Located(sift, keypoints, offsets[0]), Located(conv, cells, offsets[1]))


@pytest.fixture(scope="module")
def codebook(features):
    return train_joint_codebook(*joint_sample([(features, np.arange(sum(COUNTS)))]), 25, map_share=0.3, seed=0)


def naive_activation(cells: NDArray, columns: int, rows: int, x: float, y: float) -> NDArray:
    """A map at a place, given in cells from the centre of its first one: every cell's tent, in plain words."""
    x, y = min(max(x, 0), columns - 1), min(max(y, 0), rows - 1)
    tents = [max(0, 1 - abs(x - c)) * max(0, 1 - abs(y - r)) for r in range(rows) for c in range(columns)]
    return sum(tent * cell for tent, cell in zip(tents, cells.astype(np.float64), strict=True))


def naive_descriptor(book: Codebook, sift: NDArray, activation: NDArray) -> NDArray:
    """The joint descriptor of one keypoint."""
    left = sift.astype(np.float64)
    left /= np.linalg.norm(left) or 1
    right = activation / np.linalg.norm(activation)
    right = book.components.astype(np.float64) @ (right - book.mean)
    right /= np.linalg.norm(right)
    return np.concatenate([math.sqrt(1 - book.map_share) * left, math.sqrt(book.map_share) * right])


def naive_activations(features: JointFeatures) -> NDArray:
    found = []
    for image, (size, grid) in enumerate(zip(SIZES, GRIDS, strict=True)):
        cells = features.conv.descriptors[slice(*features.conv.offsets[image : image + 2])]
        for point in features.sift.keypoints[slice(*features.sift.offsets[image : image + 2])]:
            x, y = ((point[i] + 0.5) * grid[i] / size[i] - 0.5 for i in (0, 1))
            found.append(naive_activation(cells, *grid, x, y))
    return np.array(found)


def test_the_map_at_a_keypoint(features):
    found = features.activations(np.arange(sum(COUNTS)))
    assert found.dtype == np.float16
    wanted = naive_activations(features)
    np.testing.assert_allclose(found, wanted, rtol=2e-3, atol=2e-3 * wanted.max(axis=1, keepdims=True).min())


def test_some_keypoints_of_some_images(features):
    rows = np.array([0, 3, 6, 44, 45, 46, 300, 345])
    np.testing.assert_array_equal(features.activations(rows), features.activations(np.arange(sum(COUNTS)))[rows])
    sift, activations = joint_sample([(features, rows), (features, rows[:0]), (features, rows[2:3])])
    np.testing.assert_array_equal(sift, features.sift.descriptors[[*rows, 6]])
    np.testing.assert_array_equal(activations, features.activations(np.array([*rows]))[[*range(8), 2]])


def test_at_the_centres_of_cells_it_is_the_map(features):
    """And beyond the outermost ones it is the border's."""
    conv, size = Located(features.conv.descriptors[:9], features.conv.keypoints[:9], np.array([0, 9])), SIZES[0]
    points = np.concatenate([conv.keypoints, conv.keypoints[[0, 8, 2]] + [[-9, -9, 0, 0], [9, 9, 0, 0], [9, 0, 0, 0]]])
    assert size == (90, 60)
    sift = Located(np.zeros((12, 128), np.uint8), points.astype(np.float32), np.array([0, 12]))
    found = JointFeatures(sift, conv).activations(np.arange(12))
    np.testing.assert_allclose(found, conv.descriptors[[*range(9), 0, 8, 2]], rtol=2e-3)


def test_words_against_plain_words(codebook, features):
    words = joint_words(codebook, features)
    assert words.dtype == np.int32
    centers = codebook.centers.astype(np.float64)
    assert centers.shape == (25, 128 + len(codebook.components))
    activations = features.activations(np.arange(sum(COUNTS)))
    for word, sift, activation in zip(words, features.sift.descriptors, activations, strict=True):
        distance = ((centers - naive_descriptor(codebook, sift, activation.astype(np.float64))) ** 2).sum(axis=1)
        assert distance[word] <= distance.min() + 1e-6
    assert len(set(words)) > 20


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_the_share_says_which_part_decides(share, features):
    """With hardly any of the map the words are those of SIFT, and the other way round."""
    sift, activations = joint_sample([(features, np.arange(sum(COUNTS)))])
    swapped = (sift, activations[::-1]) if share < 0.5 else (sift[::-1], activations)
    book = train_joint_codebook(sift, activations, 12, map_share=share, seed=0)
    near = [book.nearest(module._join(book, *pair)) for pair in ((sift, activations), swapped)]
    assert np.mean(near[0] == near[1]) > 0.95


def test_an_image_alone_is_encoded_as_among_others(codebook, features):
    words = joint_words(codebook, features, n_jobs=2)
    for image in range(7):
        parts = []
        for part in (features.sift, features.conv):
            own = slice(*part.offsets[image : image + 2])
            parts.append(Located(part.descriptors[own], part.keypoints[own], np.array([0, own.stop - own.start])))
        found = joint_words(codebook, JointFeatures(*parts))
        np.testing.assert_array_equal(found, words[slice(*features.sift.offsets[image : image + 2])])


@pytest.mark.parametrize("images", [1, 2, 3, 7])
def test_blocks_change_nothing(images, codebook, features, monkeypatch):
    whole = joint_words(codebook, features)
    seen, nearest = [], Codebook.nearest

    def watched(self, projected, **options):
        seen.append(len(projected))
        return nearest(self, projected, **options)

    monkeypatch.setattr(module, "_IMAGES", images)
    monkeypatch.setattr(Codebook, "nearest", watched)
    np.testing.assert_array_equal(joint_words(codebook, features), whole)
    assert seen == [sum(COUNTS[first : first + images]) for first in range(0, 7, images)]


def test_tokens_stay_aligned_with_keypoints(codebook, features):
    """Joint words first, in the order of SIFT's keypoints, then those of the pooled vector."""
    rng = np.random.default_rng(2)
    vectors = rng.gamma(0.5, size=(6, 48)).astype(np.float16)
    pooled = Located(vectors, np.zeros((6, 4), np.float32), np.array([0, 1, 2, 3, 3, 4, 5, 6]))
    vocabulary = Vocabulary({"joint": codebook, "pooled": train_codebook(vectors, 4, project=True, seed=0)})
    of = {"sift": features.sift, "conv": features.conv, "pooled": pooled}
    given = features_for(vocabulary.codebooks, of.__getitem__)
    words, counts = encode(vocabulary, given, **SOFT)
    np.testing.assert_array_equal(counts, np.column_stack([COUNTS, [20, 20, 20, 0, 20, 20, 20]]))
    ends, wanted = np.concatenate([[0], np.cumsum(counts.sum(axis=1))]), joint_words(codebook, features)
    for image in range(7):
        run = words[ends[image] : ends[image] + COUNTS[image]]
        np.testing.assert_array_equal(run, wanted[slice(*features.sift.offsets[image : image + 2])])
        assert (words[ends[image] + COUNTS[image] : ends[image + 1]] >= 25).all()


def test_words_are_learned_from_joint_descriptors(features):
    """Where there are fewer keypoints than words, each is a word: its joint descriptor."""
    sift, activations = joint_sample([(features, np.arange(5))])
    book = train_joint_codebook(sift, activations, 9, map_share=0.25, seed=0)
    assert book.n_words == 5
    wanted = [naive_descriptor(book, s, a.astype(np.float64)) for s, a in zip(sift, activations, strict=True)]
    order = joint_words(
        book, JointFeatures(Located(*(x[:5] for x in features.sift[:2]), np.array([0, 5])), features.conv)
    )
    assert sorted(order) == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(book.centers[order], wanted, atol=1e-5)


def test_saved_and_loaded(codebook, tmp_path):
    """A joint vocabulary is a newer format; one without joint words stays the older."""
    plain = Codebook(np.eye(3, dtype=np.float32))
    for version, books in ((2, {"joint": codebook, "pooled": plain}), (1, {"pooled": plain})):
        Vocabulary(books).save(tmp_path)
        assert json.loads((tmp_path / "manifest.json").read_text())["version"] == version
    Vocabulary({"joint": codebook}).save(tmp_path)
    loaded = Vocabulary.load(tmp_path).codebooks["joint"]
    assert loaded.map_share == codebook.map_share == 0.3
    for name in ("centers", "mean", "components"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(codebook, name))


def test_an_ordinary_codebook_has_no_joint_words(features):
    book = Codebook(np.zeros((2, 128 + 48), np.float32))
    with pytest.raises(ValueError, match="joint codebook"):
        joint_words(book, features)


@pytest.mark.parametrize("cells", [0, 8])
def test_a_map_that_is_no_grid(cells, codebook, features):
    conv = Located(features.conv.descriptors[:cells], features.conv.keypoints[:cells], np.array([0, cells]))
    sift = Located(features.sift.descriptors[:5], features.sift.keypoints[:5], np.array([0, 5]))
    with pytest.raises(StoreCorruptError, match=f"5 keypoints and a map of {cells} cells"):
        joint_words(codebook, JointFeatures(sift, conv))


def test_which_modalities_get_words():
    names = ["sift", "conv", "pooled"]
    assert fused(names, "separate") == names
    assert fused(names, "joint") == ["joint", "pooled"]
    assert fused(["sift", "conv"], "joint") == ["joint"]
    assert share_words(300, fused(names, "joint")) == {"joint": 150, "pooled": 150}
    for there, missing in ((["sift"], "conv"), (["conv", "pooled"], "sift"), (["pooled"], "sift and conv")):
        with pytest.raises(UsageError, match=f"no features of {missing}: extract both with --features sift,cnn"):
            fused(there, "joint")
