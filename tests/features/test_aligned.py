"""Vectors by place: no bit of float16 is lost, nothing overflows, what cannot be used says why."""

import os

import numpy as np
import pytest

from fastvbow.features.aligned import REASONS, AlignedVectors, aligned, as_features, vector_of
from fastvbow.words.vocabulary import train_codebook


def unit(vectors):
    wide = vectors.astype(np.float64)
    wide = wide / np.abs(wide).max(axis=1, keepdims=True)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("scale", "dtype"),
    [
        (1, np.float16),
        (1, np.float32),
        (3e-38, np.float32),
        (5e37, np.float32),
        (1e-300, np.float64),
        (1e305, np.float64),
        (7, np.longdouble),
    ],
)
def test_direction_is_kept(scale, dtype):
    vectors = (np.random.default_rng(0).standard_normal((50, 300)) * scale).astype(dtype)
    found = aligned(vectors)[:, 1:]
    assert found.dtype == np.float16
    assert np.isfinite(found).all()
    largest = np.abs(found).max(axis=1)
    assert (largest >= 2**14).all()
    assert (largest <= 2**15).all()
    wanted = unit(vectors) if dtype is not np.longdouble else unit((vectors / scale).astype(np.float64))
    cosine = (unit(found) * wanted).sum(axis=1)
    assert cosine.min() > 1 - 2e-7


def test_float16_keeps_every_bit():
    """Its least numbers too: the vocabulary of vectors that were float16 is the same to the last bit."""
    rng = np.random.default_rng(1)
    vectors = (rng.standard_normal((80, 40)) * 10.0 ** rng.integers(-5, 4, (80, 1))).astype(np.float16)
    vectors[0, :3] = [np.finfo(np.float16).smallest_subnormal, 32752, -1]
    vectors[1] = np.finfo(np.float16).smallest_subnormal
    found = aligned(vectors)[:, 1:].astype(np.float64)
    ratio = found[vectors != 0] / vectors[vectors != 0].astype(np.float64)
    assert (np.log2(ratio) % 1 == 0).all(), "powers of two"
    usual = vectors[2:]
    before, after = (train_codebook(v, 9, project=True, seed=0) for v in (usual, aligned(usual)[:, 1:]))
    np.testing.assert_array_equal(before.centers, after.centers)


def test_whole_numbers():
    vectors = np.array([[1, 2, 250], [0, 0, 7]], np.uint8)
    np.testing.assert_allclose(unit(aligned(vectors)[:, 1:]), unit(vectors), rtol=1e-6)
    least = np.iinfo(np.int64).min
    np.testing.assert_allclose(unit(aligned(np.array([[least, least]]))[:, 1:]), [[-(0.5**0.5)] * 2])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_cannot_be_used_says_why(dtype):
    vectors = np.array([[1, 2], [np.nan, 1], [1, -np.inf], [0, -0.0], [3, 4]], dtype)
    rows = aligned(vectors, np.array([True, True, False, True, True, True]))
    found = [vector_of(row) for row in rows]
    assert [found[i] for i in (1, 2, 3, 4)] == [REASONS[2], REASONS[1], REASONS[2], REASONS[3]]
    np.testing.assert_allclose(found[0][1] / found[0][0], 2)
    np.testing.assert_allclose(found[5][1] / found[5][0], 4 / 3, rtol=1e-3)


def test_rows_stand_where_they_are_written(tmp_path):
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((40, 5)).astype(np.float32)
    places = rng.permutation(60)[:40]
    with (tmp_path / "file").open("w+b", buffering=0) as file:
        out = AlignedVectors.create(file, 5, 60)
        assert len(out) == 60
        for start in range(0, 40, 9):
            out.write(places[start : start + 9], aligned(vectors[start : start + 9]))
        out.write(places[:0], aligned(vectors[:0]))
        run = np.sort(places)[:7]
        out.write(run, aligned(vectors[np.argsort(places)[:7]]))  # some side by side
    out = AlignedVectors.open(tmp_path / "file", 5)
    for row, place in enumerate(places):
        np.testing.assert_array_equal(out.of(int(place)), aligned(vectors)[row, 1:])
    for place in set(range(60)) - set(places.tolist()):
        assert out.of(place) == "no embedding"
    out.close()


def test_a_full_disk_is_an_error(tmp_path, monkeypatch):
    """Half of a row is written first; the rest finds no room."""
    calls = []

    def nearly_full(descriptor, data, at):
        calls.append((at, len(data)))
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return len(data) // 2

    monkeypatch.setattr(os, "pwrite", nearly_full)
    with (tmp_path / "file").open("w+b", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        AlignedVectors.create(file, 3, 2).write(np.array([1]), aligned(np.ones((1, 3))))
    assert calls == [(8, 8), (12, 4), (14, 2)]


def test_it_is_a_feature_of_the_whole_photograph():
    (part,) = as_features(np.ones(3, np.float16), 40, 10).values()
    np.testing.assert_array_equal(part.keypoints, [[19.5, 4.5, 20, -1]])
    assert part.descriptors.shape == (1, 3)
