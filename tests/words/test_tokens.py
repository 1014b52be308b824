"""Tokens: aligned with what they were made from, the same alone and among others."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastvbow.words.tokens import encode, soft_words
from fastvbow.words.vocabulary import Codebook, Vocabulary, train_codebook

SOFT = {"pooled_tokens": 20, "pooled_neighbours": 3, "pooled_temperature": 0.3}
SIFT_COUNTS = [5, 0, 30, 0, 1, 300, 0]
"""Keypoints of seven images; the second, fourth and last are flat. The fourth could not be read."""


@pytest.fixture(scope="module")
def vocabulary():
    rng = np.random.default_rng(0)
    sift = Codebook(rng.uniform(0, 255, (40, 128)).astype(np.float32))
    vectors = rng.gamma(0.5, size=(300, 48)).astype(np.float16)
    return Vocabulary(
        {
            "sift": sift,
            "conv": train_codebook(vectors, 25, project=True, seed=0),
            "pooled": train_codebook(vectors, 12, project=True, seed=1),
        }
    )


@pytest.fixture(scope="module")
def features():
    """Descriptors and offsets of seven images."""
    rng = np.random.default_rng(1)
    read = np.array([1, 1, 1, 0, 1, 1, 1])
    found = {}
    for name, counts, width in (("sift", SIFT_COUNTS, 128), ("conv", 9 * read, 48), ("pooled", read, 48)):
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        if name == "sift":
            descriptors = rng.integers(0, 256, (offsets[-1], width), np.uint8)
        else:
            descriptors = rng.gamma(0.5, size=(offsets[-1], width)).astype(np.float16)
        descriptors.flags.writeable = False  # as a memory map is
        found[name] = (descriptors, offsets)
    return found


def naive_soft(book: Codebook, vector: np.ndarray, tokens: int, neighbours: int, temperature: float) -> list[int]:
    """`soft_words` for one vector, in plain words."""
    distance = [float(((center - vector) ** 2).sum()) for center in book.centers.astype(np.float64)]
    near = sorted(range(len(distance)), key=lambda word: (distance[word], word))[:neighbours]
    weight = [np.exp((distance[near[0]] - distance[word]) / temperature) for word in near]  # or all might be 0
    exact = [tokens * w / sum(weight) for w in weight]
    count = [int(e) for e in exact]
    remainders = sorted(range(len(near)), key=lambda i: (count[i] - exact[i], i))
    for i in remainders[: tokens - sum(count)]:
        count[i] += 1
    return [word for word, n in zip(near, count, strict=True) for _ in range(n)]


def test_every_token_belongs_to_its_descriptor(vocabulary, features):
    words, counts = encode(vocabulary, features, **SOFT)
    assert words.dtype == np.uint16
    assert counts.dtype == np.int32
    wanted = np.column_stack([np.diff(features[name][1]) for name in vocabulary.codebooks])
    wanted[:, 2] *= SOFT["pooled_tokens"]
    np.testing.assert_array_equal(counts, wanted)
    assert len(words) == counts.sum()
    at = 0
    for image in range(7):
        for column, (name, first) in enumerate(vocabulary.first_word.items()):
            run = words[at : at + counts[image, column]].astype(int) - first
            at += counts[image, column]
            book, (descriptors, offsets) = vocabulary.codebooks[name], features[name]
            own = book.project(descriptors[offsets[image] : offsets[image + 1]]).astype(np.float64)
            if name == "pooled":
                expected = [w for vector in own for w in naive_soft(book, vector, 20, 3, 0.3)]
                assert list(run) == expected
            else:
                squared = ((own[:, None] - book.centers[None].astype(np.float64)) ** 2).sum(axis=2)
                np.testing.assert_array_equal(run, squared.argmin(axis=1))


def test_an_image_alone_is_encoded_as_among_others(vocabulary, features):
    words, counts = encode(vocabulary, features, **SOFT)
    ends = np.concatenate([[0], np.cumsum(counts.sum(axis=1))])
    for image in range(7):
        alone = {}
        for name, (descriptors, offsets) in features.items():
            own = descriptors[offsets[image] : offsets[image + 1]]
            alone[name] = (own, np.array([0, len(own)]))
        found, found_counts = encode(vocabulary, alone, **SOFT, n_jobs=2)
        np.testing.assert_array_equal(found, words[ends[image] : ends[image + 1]])
        np.testing.assert_array_equal(found_counts, counts[image : image + 1])


class Batched(Codebook):
    """A matrix product whose bits depend, and grossly, on how many rows it has."""

    def project(self, descriptors):
        return super().project(descriptors) * np.float32(1 if len(descriptors) <= 9 else -1)


def test_no_product_spans_two_images(vocabulary, features):
    books = {n: Batched(b.centers, b.mean, b.components) for n, b in vocabulary.codebooks.items()}
    found = encode(Vocabulary(books), features, **SOFT)[0]
    np.testing.assert_array_equal(found, encode(vocabulary, features, **SOFT)[0])


def test_threads_change_nothing(vocabulary, features):
    one, two = (encode(vocabulary, features, **SOFT, n_jobs=jobs)[0] for jobs in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_nothing_to_encode(vocabulary, features):
    empty = {name: (d[:0], np.zeros(4, np.int64)) for name, (d, _) in features.items()}
    words, counts = encode(vocabulary, empty, **SOFT)
    assert words.shape == (0,)
    np.testing.assert_array_equal(counts, np.zeros((3, 3)))


def test_a_vocabulary_of_fewer_modalities(vocabulary, features):
    """Only what the vocabulary knows is encoded, in its order."""
    part = Vocabulary({"conv": vocabulary.codebooks["conv"]})
    words, counts = encode(part, features, **SOFT)
    assert counts.shape == (7, 1)
    both, _ = encode(vocabulary, features, **SOFT)
    conv = both[(both >= 40) & (both < 65)]
    np.testing.assert_array_equal(words, conv - 40)


def test_many_words_take_32_bits():
    centers = (np.arange(70_000)[:, None] >> np.arange(17) & 1).astype(np.float32)  # each number in binary
    vocabulary = Vocabulary({"sift": Codebook(centers)})
    words, _ = encode(vocabulary, {"sift": (centers[[3, 69_999]], np.array([0, 2]))}, **SOFT)
    assert words.dtype == np.uint32
    np.testing.assert_array_equal(words, [3, 69_999])


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 15), st.floats(0.001, 10))
def test_soft_words_against_plain_words(seed, tokens, neighbours, temperature):
    rng = np.random.default_rng(seed)
    book = Codebook(rng.normal(size=(9, 4)).astype(np.float32))
    vectors = rng.normal(size=(3, 4)).astype(np.float32)
    found = soft_words(book, vectors, tokens=tokens, neighbours=neighbours, temperature=temperature)
    assert found.shape == (3, tokens)
    assert found.dtype == np.int32
    for row, vector in zip(found, vectors.astype(np.float64), strict=True):
        expected = naive_soft(book, vector, tokens, neighbours, temperature)
        distance = ((book.centers - vector) ** 2).sum(axis=1)
        assert (np.diff(distance[row]) >= 0).all(), "the nearest first"
        assert len(set(row)) <= neighbours
        # Rounding may fall otherwise where two remainders are equal to the last bit.
        counts = np.bincount(row, minlength=9) - np.bincount(expected, minlength=9)
        assert np.abs(counts).sum() <= (0 if temperature > 0.01 else 2)


def test_soft_words_by_hand():
    """Squared distances 0, 1, 4 at temperature 1: shares 1, e^-1, e^-4 of 10 tokens are 7.21, 2.65, 0.13."""
    book = Codebook(np.array([[2.0], [1.0], [0.0], [9.0]], np.float32))
    found = soft_words(book, np.zeros((1, 1), np.float32), tokens=10, neighbours=3, temperature=1.0)
    np.testing.assert_array_equal(found, [[2] * 7 + [1] * 3])
    cold = soft_words(book, np.zeros((1, 1), np.float32), tokens=10, neighbours=3, temperature=1e-9)
    np.testing.assert_array_equal(cold, [[2] * 10])
    assert soft_words(book, np.zeros((0, 1), np.float32), tokens=10, neighbours=3, temperature=1.0).shape == (0, 10)
