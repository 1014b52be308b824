"""The vocabulary: how words are shared out, learned, projected and kept."""

from __future__ import annotations

import json
import re
import warnings
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.words import vocabulary as module
from fastvbow.words.shares import share_words
from fastvbow.words.vocabulary import Codebook, Vocabulary, train_codebook


@pytest.fixture(scope="module")
def sample():
    """Vectors of 4 directions in 20 dimensions, of any length, with little noise."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(20, 4)))[0].T
    kind = rng.integers(0, 4, 400)
    vectors = (directions[kind] + rng.normal(0, 0.02, (400, 20))) * rng.uniform(1, 50, (400, 1))
    return vectors.astype(np.float16), kind


@pytest.fixture(scope="module")
def vocabulary(sample):
    rng = np.random.default_rng(1)
    return Vocabulary(
        {
            "sift": train_codebook(rng.integers(0, 256, (200, 128), np.uint8), 10, project=False, seed=0),
            "conv": train_codebook(sample[0], 7, project=True, seed=0),
            "pooled": train_codebook(sample[0], 4, project=True, seed=0),
        }
    )


def no_pooled(names):
    return "pooled" not in names


@given(st.integers(1, 10_000), st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True).filter(no_pooled))
def test_words_are_shared_evenly(words, names):
    if words < len(names):
        with pytest.raises(UsageError, match=f"pass at least {len(names)}"):
            share_words(words, names)
        return
    shares = share_words(words, names)
    assert list(shares) == names
    assert sum(shares.values()) == words
    assert max(shares.values()) - min(shares.values()) <= 1
    assert list(shares.values()) == sorted(shares.values(), reverse=True), "the first take what is left over"


@pytest.mark.parametrize(
    ("words", "names", "shares"),
    [
        (300, ["sift", "conv", "pooled"], [30, 30, 240]),
        (300, ["conv", "pooled"], [33, 267]),
        (300, ["pooled"], [300]),
        (300, ["joint", "pooled"], [150, 150]),
        (3, ["sift", "conv", "pooled"], [1, 1, 1]),
        (5, ["sift", "conv", "pooled"], [1, 1, 3]),
        (29, ["pooled", "sift", "conv"], [25, 2, 2]),
    ],
)
def test_pooled_vectors_have_eight_times_as_many_words(words, names, shares):
    assert list(share_words(words, names).values()) == shares


def test_words_number_through(vocabulary):
    assert vocabulary.n_words == 21
    assert vocabulary.first_word == {"sift": 0, "conv": 10, "pooled": 17}
    weights = vocabulary.per_word({"sift": 1, "conv": 0.5, "pooled": 2})
    np.testing.assert_array_equal(weights, [1] * 10 + [0.5] * 7 + [2] * 4)
    assert vocabulary.dtype is np.uint16
    for n_words, dtype in ((1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)):
        assert Vocabulary({"sift": Codebook(np.zeros((n_words, 1), np.float32))}).dtype is dtype
        assert n_words - 1 <= np.iinfo(dtype).max


def test_descriptors_as_they_are(vocabulary):
    book = vocabulary.codebooks["sift"]
    assert (book.mean, book.components) == (None, None)
    assert book.centers.shape == (10, 128)
    assert book.centers.dtype == np.float32
    descriptors = np.zeros((3, 128), np.uint8)
    assert book.project(descriptors) is descriptors


def test_projection_against_its_formula(vocabulary, sample):
    book = vocabulary.codebooks["conv"]
    x = sample[0].astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = (x - book.mean) @ book.components.T.astype(np.float64)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    found = book.project(sample[0])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, y, atol=1e-5)
    np.testing.assert_allclose(book.mean, x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(book.components @ book.components.T, np.eye(len(book.components)), atol=1e-4)


def test_at_most_64_dimensions():
    vectors = np.random.default_rng(0).normal(size=(300, 100)).astype(np.float32)
    book = train_codebook(vectors, 5, project=True, seed=0)
    assert book.components.shape == (64, 100)
    assert book.centers.shape == (5, 64)


@pytest.mark.parametrize(("most", "step"), [(50_000, 1), (400, 1), (399, 2), (150, 3), (100, 4)])
def test_the_projection_is_fitted_on_evenly_taken_rows(most, step, sample, monkeypatch):
    """They are unit vectors, and nobody holds on to them while the words are learned."""
    seen = []

    class WatchedPCA(module.PCA):
        def fit(self, X):
            seen.append((weakref.ref(X), X.copy()))
            return super().fit(X)

    class WatchedKMeans(module.MiniBatchKMeans):
        def fit(self, X):
            assert seen[0][0]() is None
            assert X.shape == (400, 20)
            return super().fit(X)

    monkeypatch.setattr(module, "PCA_ROWS", most)
    monkeypatch.setattr(module, "PCA", WatchedPCA)
    monkeypatch.setattr(module, "MiniBatchKMeans", WatchedKMeans)
    train_codebook(sample[0], 7, project=True, seed=0)
    vectors = sample[0][::step].astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert len(vectors) <= most
    assert seen[0][1].dtype == np.float32
    np.testing.assert_allclose(seen[0][1], vectors, atol=1e-6)


def test_unit_vectors_in_blocks(sample, monkeypatch):
    vectors = np.vstack([sample[0], np.zeros((1, 20), np.float16)])
    whole = module.unit_rows(vectors)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), [1] * 400 + [0], atol=1e-6)
    monkeypatch.setattr(module, "_BLOCK", 37)
    np.testing.assert_array_equal(module.unit_rows(vectors), whole)


def test_projection_in_blocks(vocabulary, sample, monkeypatch):
    whole = vocabulary.codebooks["conv"].project(sample[0])
    monkeypatch.setattr(module, "_BLOCK", 37)
    np.testing.assert_allclose(vocabulary.codebooks["conv"].project(sample[0]), whole, atol=1e-6)


def test_length_does_not_matter(vocabulary, sample):
    """A bright photograph's activations are longer than a dark one's: the same words all the same."""
    book, vectors = vocabulary.codebooks["pooled"], sample[0].astype(np.float32)
    words = book.nearest(book.project(vectors))
    np.testing.assert_array_equal(book.nearest(book.project(vectors * 7)), words)
    for kind in range(4):
        assert len(set(words[sample[1] == kind])) == 1, "one direction, one word"
    assert len(set(words)) == 4


def test_zero_vectors_and_none_at_all(vocabulary):
    book = vocabulary.codebooks["pooled"]
    projected = book.project(np.zeros((2, 20), np.float16))
    assert np.isfinite(projected).all()
    assert book.nearest(projected).shape == (2,)
    assert book.nearest(book.project(np.zeros((0, 20), np.float16))).shape == (0,)
    assert book.nearest(book.project(np.zeros((0, 20), np.float16))).dtype == np.int32


@pytest.mark.parametrize(("rows", "wanted"), [(1, 1), (2, 2), (5, 5), (9, 6)])
def test_fewer_descriptors_than_words(rows, wanted):
    vectors = np.random.default_rng(0).normal(size=(rows, 30)).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        book = train_codebook(vectors, 6, project=True, seed=0)
    assert book.n_words == wanted
    assert np.isfinite(book.centers).all()
    if rows == wanted > 1:
        assert len(set(book.nearest(book.project(vectors)))) == rows, "each is a word"


def test_threads_and_seed(sample):
    one, two, other = (
        train_codebook(sample[0], 30, project=True, seed=seed, n_jobs=jobs).centers
        for seed, jobs in ((0, 1), (0, 2), (1, 1))
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_saved_and_loaded(vocabulary, tmp_path):
    vocabulary.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "vocabulary.safetensors"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    specified = re.findall(r"``(\w+)``", module.__doc__.partition("``manifest.json``")[2].partition(") and")[0])
    assert set(specified) == {*manifest, *manifest["codebooks"][0]}, "the format is what is written"
    loaded = Vocabulary.load(tmp_path)
    assert list(loaded.codebooks) == ["sift", "conv", "pooled"], "in order: it numbers the words"
    for name, book in vocabulary.codebooks.items():
        for field in ("centers", "mean", "components"):
            before, after = getattr(book, field), getattr(loaded.codebooks[name], field)
            if before is None:
                assert after is None
            else:
                assert after.dtype == before.dtype
                np.testing.assert_array_equal(before, after)
    (tmp_path / "again").mkdir()
    loaded.save(tmp_path / "again")
    for name in ("manifest.json", "vocabulary.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def edit(manifest, **changes):
    content = json.loads(manifest.read_text())
    for name, value in changes.items():
        if value is None:
            del content[name]
        else:
            content[name] = value
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"version": 3}, ProjectError, "vocabulary format 3, this fastvbow reads 2: upgrade"),
        ({"format": "other"}, StoreCorruptError, "is no vocabulary"),
        ({"sha256": "0" * 64}, StoreCorruptError, "has changed since it was written: delete .* and run"),
        ({"sha256": None}, StoreCorruptError, "delete it and run 'fastvbow vocabulary' again"),
        ({"version": "one"}, StoreCorruptError, "delete it"),
        ({"codebooks": [{"name": "gist", "words": 3}]}, StoreCorruptError, r"gist\.centers"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_manifest_that_does_not_fit(changes, error, words, vocabulary, tmp_path):
    vocabulary.save(tmp_path)
    edit(tmp_path / "manifest.json", **changes)
    with pytest.raises(error, match=words):
        Vocabulary.load(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "vocabulary.safetensors"])
def test_tampered_with(name, vocabulary, tmp_path):
    vocabulary.save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for damaged in (whole[:-20], b"", whole[: len(whole) // 2] + b"\xff" + whole[len(whole) // 2 + 1 :]):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(StoreCorruptError):
            Vocabulary.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(StoreCorruptError, match="cannot read the vocabulary"):
        Vocabulary.load(tmp_path)
