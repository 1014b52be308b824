import numpy as np
import pytest
import scipy.sparse as sp

from fastvbow.topics import TokenStream


def stream(words, offsets, n_words=5, dtype=np.uint16):
    return TokenStream(np.array(words, dtype), np.array(offsets, np.int64), n_words)


def test_sizes():
    s = stream([4, 0, 4], [0, 2, 2, 3])
    assert (s.n_docs, s.n_tokens, s.n_words) == (3, 3, 5)


@pytest.mark.parametrize(
    ("words", "offsets", "n_words", "message"),
    [
        (np.array([0, 5], np.uint16), np.array([0, 2]), 5, "word id 5 does not fit"),
        (np.array([0, 1], np.int64), np.array([0, 2]), 5, "words must be an array of uint16 or uint32, got int64"),
        ([0, 1], np.array([0, 2]), 5, "got list"),
        (np.array([0, 1], np.uint16), np.array([0, 2], np.int32), 5, "offsets must be an array of int64"),
        (np.array([0, 1], np.uint16), np.array([0, 1]), 5, "end with the number of tokens"),
        (np.array([0, 1], np.uint16), np.array([1, 2]), 5, "begin with 0"),
        (np.array([0, 1], np.uint16), np.array([0, 2, 1, 2]), 5, "must not decrease, but do after document 1"),
        (np.array([[0, 1]], np.uint16), np.array([0, 1]), 5, "one-dimensional"),
        (np.arange(4, dtype=np.uint16)[::2], np.array([0, 2]), 5, "contiguous"),
        (np.array([], np.uint16), np.array([0]), 0, "n_words must be at least 1"),
    ],
)
def test_bad_streams_are_refused(words, offsets, n_words, message):
    with pytest.raises(ValueError, match=message):
        TokenStream(words, offsets, n_words)


@pytest.mark.parametrize("form", [np.array, sp.csr_matrix, sp.csr_array, sp.csc_matrix, sp.coo_matrix])
@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64, np.uint8])
def test_from_counts(form, dtype):
    s = TokenStream.from_counts(form(np.array([[2, 0, 1], [0, 0, 0], [0, 3, 0]], dtype)))
    np.testing.assert_array_equal(s.words, [0, 0, 2, 1, 1, 1])
    np.testing.assert_array_equal(s.offsets, [0, 3, 3, 6])
    assert s.words.dtype == np.uint16


def test_from_counts_takes_unsorted_and_repeated_entries_and_leaves_the_input_alone():
    X = sp.csr_matrix((np.array([1, 2, 1]), np.array([2, 0, 2]), np.array([0, 3])), shape=(1, 3))
    np.testing.assert_array_equal(TokenStream.from_counts(X).words, [0, 0, 2, 2])
    np.testing.assert_array_equal(X.indices, [2, 0, 2])


def test_from_counts_widens_for_large_vocabularies():
    X = sp.csr_matrix(([1], ([0], [70_000])), shape=(1, 70_001))
    s = TokenStream.from_counts(X)
    assert s.words.dtype == np.uint32
    assert s.words[0] == 70_000


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1, -1]], "Negative values"),
        ([[1.5, 0]], "whole numbers, got 1.5"),
        ([[np.nan, 0]], "NaN"),
        ([[np.inf, 0]], "infinity"),
        ([[2**41, 0]], "more than"),
    ],
)
def test_bad_counts_are_refused(X, message):
    for form in (np.array, sp.csr_matrix):
        with pytest.raises(ValueError, match=message):
            TokenStream.from_counts(form(X))


def test_blocks_cover_every_document_once():
    s = stream([0] * 20, [0, 0, 3, 3, 15, 16, 20, 20])
    for size in (1, 4, 7, 100):
        blocks = s.blocks(size)
        assert [d for begin, end in blocks for d in range(begin, end)] == list(range(s.n_docs))
    assert len(s.blocks(4)) > 1


def test_halves_alternate_within_each_document():
    s = stream([0, 1, 2, 3, 4, 0], [0, 3, 3, 4, 6])
    observed, words, documents = s.halves()
    np.testing.assert_array_equal(observed.words, [0, 2, 3, 4])
    np.testing.assert_array_equal(observed.offsets, [0, 2, 2, 3, 4])
    np.testing.assert_array_equal(words, [1, 0])
    np.testing.assert_array_equal(documents, [0, 3])


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_to_counts(dtype):
    s = stream([4, 0, 4, 4, 0, 1], [0, 3, 3, 6], dtype=dtype)
    before = s.words.copy(), s.offsets.copy()
    counts = s.to_counts()
    assert counts.toarray().tolist() == [[1, 0, 0, 0, 2], [0] * 5, [1, 1, 0, 0, 1]]
    assert counts.nnz == 5
    np.testing.assert_array_equal(s.words, before[0])
    np.testing.assert_array_equal(s.offsets, before[1])
    assert stream([], [0], n_words=3).to_counts().shape == (0, 3)
