import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
from topics.planted import draw, stream_of

from fastvbow.errors import UsageError
from fastvbow.topics import TokenStream, left_to_right, quality
from fastvbow.topics.quality import npmi_coherence, topic_diversity, umass_coherence

COHERENCES = [npmi_coherence, umass_coherence]


def corpus(seed=0, n_docs=30, n_words=12, rate=0.5):
    return np.random.default_rng(seed).poisson(rate, (n_docs, n_words))


def topics_of(seed=0, n_topics=4, n_words=12):
    return np.random.default_rng(seed + 100).dirichlet(np.full(n_words, 0.5), n_topics)


def documents_of(counts):
    return [[w for w, n in enumerate(row) for _ in range(n)] for row in counts]


def top_words(row, n_top):
    return sorted(range(len(row)), key=lambda w: (-row[w], w))[:n_top]


def naive_npmi(topic_word, counts, n_top):
    n_docs, found = len(counts), []
    for row in topic_word:
        values = []
        for i, j in itertools.combinations(top_words(row, n_top), 2):
            d_i = sum(1 for document in counts if document[i] > 0)
            d_j = sum(1 for document in counts if document[j] > 0)
            d_ij = sum(1 for document in counts if document[i] > 0 and document[j] > 0)
            if d_ij == 0:
                values.append(-1.0)
            elif d_ij == n_docs:
                values.append(0.0)
            else:
                p_i, p_j, p_ij = d_i / n_docs, d_j / n_docs, d_ij / n_docs
                values.append(math.log(p_ij / (p_i * p_j)) / -math.log(p_ij))
        found.append(sum(values) / len(values))
    return np.array(found)


def naive_umass(topic_word, counts, n_top):
    found = []
    for row in topic_word:
        words, total = top_words(row, n_top), 0.0
        for m in range(1, n_top):
            for earlier in range(m):
                d = sum(1 for document in counts if document[words[earlier]] > 0)
                both = sum(1 for document in counts if document[words[earlier]] > 0 and document[words[m]] > 0)
                total += math.log((both + 1) / d) if d else -math.log(len(counts))
        found.append(total)
    return np.array(found)


NAIVE = [(npmi_coherence, naive_npmi), (umass_coherence, naive_umass)]


@pytest.mark.parametrize("coherence, naive", NAIVE)
@pytest.mark.parametrize("rate", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("n_top", [2, 5, 12])
def test_coherence_is_brute_force(coherence, naive, rate, n_top):
    counts, topic_word = corpus(rate=rate), topics_of()
    counts[:, 3] = 0  # a word in no document
    counts[:, 5] += 1  # one in every document
    counts[7] = 0 if rate < 1 else counts[7]  # an empty document
    found = coherence(topic_word, counts, n_top=n_top)
    assert found.shape == (4,)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, naive(topic_word, counts, n_top), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("coherence, naive", NAIVE)
def test_equal_words_stand_in_the_order_of_their_numbers(coherence, naive):
    topic_word = np.round(topics_of(n_words=40) * 8) + 1
    counts = corpus(n_words=40)
    np.testing.assert_allclose(coherence(topic_word, counts), naive(topic_word, counts, 10), rtol=1e-12)
    # the tie decides: words 1 and 2 are equal, and only 1 belongs to the top two
    counts = np.array([[1, 1, 0], [0, 0, 1], [1, 1, 0]])
    found = coherence([[5, 1, 1]], counts, n_top=2)
    assert found == pytest.approx(naive([[5, 1, 1]], counts, 2), rel=1e-12)
    assert found != pytest.approx(coherence([[5, 1, 2]], counts, n_top=2), rel=0.1)


def test_the_default_is_ten_words():
    topic_word, counts = topics_of(), corpus()
    for coherence in COHERENCES:
        np.testing.assert_array_equal(coherence(topic_word, counts), coherence(topic_word, counts, n_top=10))
        assert not np.allclose(coherence(topic_word, counts), coherence(topic_word, counts, n_top=9))


def test_npmi_conventions():
    # 0 and 1 only together, 2 and 3 never together, 4 nowhere, 5 and 6 everywhere, 7 and 8 independent
    counts = np.zeros((8, 9), int)
    counts[:4, :2] = counts[:4, 2] = counts[4:, 3] = counts[:, 5:7] = counts[:4, 7] = counts[::2, 8] = 1

    def pair(i, j):
        return npmi_coherence(np.eye(9)[i] * 2 + np.eye(9)[[j]], counts, n_top=2)[0]

    assert pair(0, 1) == pytest.approx(1, abs=1e-15)
    assert pair(2, 3) == -1
    assert pair(4, 0) == pair(0, 4) == pair(4, 5) == -1
    assert pair(5, 6) == 0
    assert pair(7, 8) == pytest.approx(0, abs=1e-15)
    assert pair(5, 0) == pytest.approx(0, abs=1e-15)


def test_umass_is_ordered_and_minds_words_in_no_document():
    counts = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0]])
    assert umass_coherence([[3, 2, 1]], counts, n_top=2)[0] == pytest.approx(math.log(3 / 4), rel=1e-15)
    assert umass_coherence([[2, 3, 1]], counts, n_top=2)[0] == pytest.approx(math.log(3 / 2), rel=1e-15)
    assert umass_coherence([[2, 1, 3]], counts, n_top=2)[0] == pytest.approx(math.log(1 / 4), rel=1e-15)
    assert umass_coherence([[3, 1, 2]], counts, n_top=2)[0] == pytest.approx(math.log(1 / 4), rel=1e-15)


@pytest.mark.parametrize("coherence", COHERENCES)
def test_coherence_asks_only_who_stands_where(coherence):
    counts, topic_word = corpus(1), topics_of(1)
    found = coherence(topic_word, counts, n_top=6)
    assert len(np.unique(found)) == 4
    order = np.random.default_rng(0).permutation(len(counts))
    np.testing.assert_array_equal(coherence(topic_word, counts[order], n_top=6), found)
    np.testing.assert_array_equal(coherence(topic_word, counts * 7, n_top=6), found)
    np.testing.assert_array_equal(coherence(topic_word, counts > 0, n_top=6), found)
    np.testing.assert_array_equal(coherence(topic_word * [[3], [0.1], [50], [1e-9]], counts, n_top=6), found)
    np.testing.assert_array_equal(coherence(topic_word[::-1], counts, n_top=6), found[::-1])
    words = np.random.default_rng(1).permutation(12)
    permuted = coherence(topic_word[:, words], counts[:, words], n_top=6)
    np.testing.assert_allclose(permuted, found, rtol=1e-12)


@pytest.mark.parametrize("coherence", COHERENCES)
@pytest.mark.parametrize("blocks", [(2**21, 2**20), (1, 1), (60, 7)])
def test_coherence_takes_every_kind_of_corpus(coherence, blocks, monkeypatch):
    counts, topic_word = corpus(2), topics_of(2)
    counts[[0, 11, 12, 29]] = 0
    documents = documents_of(counts)
    expected = coherence(topic_word, counts, n_top=6)
    monkeypatch.setattr(quality, "_INDICATORS", blocks[0])
    monkeypatch.setattr(quality, "_TOKENS", blocks[1])
    parts = [stream_of(part, 12) for part in (documents[:12], [], documents[12:13], documents[13:])]
    twice = sp.csr_matrix(  # entries that add up, and a stored zero
        (np.r_[np.ones(counts.sum(), int), 0], (np.r_[np.repeat(np.arange(30), counts.sum(1)), 0],
        np.r_[np.concatenate(documents).astype(int), 4])), shape=counts.shape,
    )  # fmt: skip
    for X in (
        counts,
        counts.tolist(),
        np.asfortranarray(counts.astype(np.float32)),
        sp.csr_matrix(counts),
        sp.coo_array(counts),
        sp.csc_matrix(counts > 0),
        twice,
        stream_of(documents, 12),
        stream_of(documents, 12, np.uint32),
        [stream_of(documents, 12)],
        parts,
        tuple(parts),
    ):
        np.testing.assert_array_equal(coherence(topic_word, X, n_top=6), expected)


def test_coherence_never_holds_a_corpus_dense():
    """Two million documents of a hundred thousand words each: as a dense array 200 GB."""
    n_docs, n_words = 2_000_000, 100_000
    rows, columns = np.repeat(np.arange(0, n_docs, 1000), 3), np.tile([5, 77_777, 99_999], 2000)
    X = sp.csr_matrix((np.ones(6000, np.uint8), (rows, columns)), shape=(n_docs, n_words))
    topic_word = np.ones((1, n_words))
    topic_word[0, [5, 77_777, 99_999]] = 9
    assert npmi_coherence(topic_word, X, n_top=3)[0] == pytest.approx(1, abs=1e-12)
    assert umass_coherence(topic_word, X, n_top=3)[0] == pytest.approx(3 * math.log(2001 / 2000), rel=1e-9)


@pytest.mark.parametrize("coherence", COHERENCES)
def test_planted_topics_are_more_coherent_than_random_ones(coherence):
    rng = np.random.default_rng(3)
    phi = rng.dirichlet(np.full(100, 0.05), 5)
    words, _ = draw(phi, np.full(5, 0.1), 300, 20, rng)
    stream = TokenStream(words.ravel(), np.arange(301) * 20, 100)
    shuffled = rng.permuted(phi, axis=1)
    assert coherence(phi, stream).min() > coherence(shuffled, stream).max()


def test_independent_words_have_no_coherence():
    counts = np.random.default_rng(4).random((20_000, 12)) < 0.3
    assert np.abs(npmi_coherence(topics_of(), counts)).max() < 0.01


def test_diversity():
    apart, alike = np.kron(np.eye(4), np.full(25, 0.04)), np.full((4, 100), 0.01)
    assert topic_diversity(apart) == 1
    assert topic_diversity(alike) == 1 / 4
    assert topic_diversity(apart, n_top=26) == (100 / 104)  # the 26th word is one of another's
    assert topic_diversity([[1, 2, 3]], n_top=1) == 1
    assert topic_diversity([[3, 2, 1], [3, 1, 2]], n_top=2) == 3 / 4
    random = topics_of(n_topics=6, n_words=60)
    expected = len({w for row in random for w in top_words(row, 25)}) / 150
    assert topic_diversity(random) == topic_diversity(random * 17) == expected < 1


# errors

OK = np.full((2, 30), 1 / 30)
NAN, NEGATIVE, INFINITE, EMPTY = OK.copy(), OK.copy(), OK.copy(), OK.copy()
NAN[1, 2], NEGATIVE[0, 4], INFINITE[0, 0], EMPTY[1] = np.nan, -0.1, np.inf, 0
FUNCTIONS = [
    lambda topic_word: npmi_coherence(topic_word, np.ones((3, 30), int)),
    lambda topic_word: umass_coherence(topic_word, np.ones((3, 30), int)),
    topic_diversity,
    lambda topic_word: left_to_right(np.ones((3, 30), int), topic_word, 0.1),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=["npmi", "umass", "diversity", "left_to_right"])
def test_unusable_topics(function):
    function(OK)
    for topic_word, message in (
        (NAN, r"finite and not negative, got nan at \[1, 2\]"),
        (NEGATIVE, r"finite and not negative, got -0.1 at \[0, 4\]"),
        (INFINITE, r"finite and not negative, got inf at \[0, 0\]"),
        (EMPTY, "topic 1 no word"),
        (OK[0], r"shape \(n_topics, n_words\), got shape \(30,\)"),
        (OK[:0], r"got shape \(0, 30\)"),
    ):
        with pytest.raises(UsageError, match=message):
            function(topic_word)


@pytest.mark.parametrize(
    "function", [npmi_coherence, umass_coherence, lambda topic_word, X: left_to_right(X, topic_word, 0.1)]
)
def test_unusable_corpora(function):
    stream = stream_of([[1, 2]], 30)
    for X in (np.ones((3, 29), int), sp.csr_matrix(np.ones((3, 31))), stream_of([[1]], 29), [stream, stream_of([], 9)]):
        with pytest.raises(UsageError, match="but topic_word has 30"):
            function(OK, X)
    for X in (np.ones((0, 30)), sp.csr_matrix((0, 30)), stream_of([], 30), [stream_of([], 30)], []):
        with pytest.raises(UsageError, match="no documents"):
            function(OK, X)
    with pytest.raises(UsageError, match="list of TokenStream, got ndarray"):
        function(OK, [stream, np.ones((1, 30))])
    with pytest.raises(ValueError, match="counts must not be negative, got -1"):
        function(OK, -np.ones((3, 30)))
    with pytest.raises(UsageError, match="counts must not be negative, got -2"):
        function(OK, sp.csr_matrix(np.eye(3, 30) * -2))
    with pytest.raises(ValueError, match="NaN"):
        function(OK, np.full((3, 30), np.nan))


def test_unusable_numbers():
    X = np.ones((3, 30), int)
    for coherence in COHERENCES:
        for n_top in (1, 0, 31, 2.0, "ten", None):
            with pytest.raises(ValueError, match="n_top must be a whole number from 2 to 30"):
                coherence(OK, X, n_top=n_top)
    for n_top in (0, 31, 1.5):
        with pytest.raises(ValueError, match="n_top must be a whole number from 1 to 30"):
            topic_diversity(OK, n_top=n_top)
