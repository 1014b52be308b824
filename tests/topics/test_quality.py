import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp
from topics.planted import draw, stream_of

from fastvbow.errors import UsageError
from fastvbow.topics import TokenStream, quality
from fastvbow.topics.quality import left_to_right, npmi_coherence, topic_diversity, umass_coherence

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


# left_to_right


def log_marginal(words, phi, alpha):
    """log sum_z p(w, z | phi, alpha), all z one by one: the Dirichlet-multinomial of z times phi."""
    K, total = len(alpha), 0.0
    for z in itertools.product(range(K), repeat=len(words)):
        log_p = math.lgamma(sum(alpha)) - math.lgamma(sum(alpha) + len(words))
        for k in range(K):
            log_p += math.lgamma(z.count(k) + alpha[k]) - math.lgamma(alpha[k])
        total += math.exp(log_p) * math.prod(phi[k][w] for k, w in zip(z, words, strict=True))
    return math.log(total)


def algorithm_3(words, phi, alpha):
    """What algorithm 3 tends to for ever more particles: the distribution of a particle, followed exactly."""
    K, log_p, particles = len(alpha), 0.0, {(): 1.0}
    for n, word in enumerate(words):
        for i in range(n):
            moved = {}
            for z, mass in particles.items():
                rest = z[:i] + z[i + 1 :]
                p = np.array([phi[k][words[i]] * (rest.count(k) + alpha[k]) for k in range(K)])
                for k in range(K):
                    new = (*z[:i], k, *z[i + 1 :])
                    moved[new] = moved.get(new, 0) + mass * p[k] / p.sum()
            particles = moved
        mean, grown = 0.0, {}
        for z, mass in particles.items():
            p = np.array([phi[k][word] * (z.count(k) + alpha[k]) for k in range(K)]) / (n + sum(alpha))
            mean += mass * p.sum()
            for k in range(K):
                grown[(*z, k)] = mass * p[k] / p.sum()
        log_p, particles = log_p + math.log(mean), grown
    return log_p


K, V = 3, 5
PHI = np.random.default_rng(0).dirichlet(np.full(V, 0.3), K)
ALPHA = np.array([0.1, 0.3, 0.05])
DOCUMENTS = [[0, 1, 2, 3, 4, 0, 2], [2], [1, 1, 1, 4], [], [4, 3, 2, 1, 0], [3, 3, 0, 0, 4, 4], [1, 0]]
EXACT = np.array([log_marginal(words, PHI, ALPHA) for words in DOCUMENTS])


def test_the_enumeration_is_a_probability():
    for n in (1, 3):
        every = [math.exp(log_marginal(words, PHI, ALPHA)) for words in itertools.product(range(V), repeat=n)]
        assert sum(every) == pytest.approx(1, rel=1e-12)


def test_many_particles_find_the_marginal():
    found = left_to_right(stream_of(DOCUMENTS, V), PHI, ALPHA, n_particles=100_000, random_state=0)
    assert found.shape == (7,)
    assert found.dtype == np.float64
    assert found[3] == 0
    np.testing.assert_allclose(found, EXACT, rtol=0, atol=0.02)  # standard deviations .005
    np.testing.assert_allclose(found[[2, 6]], EXACT[[2, 6]], rtol=0, atol=0.003)  # .0005
    assert found[1] == pytest.approx(EXACT[1], rel=1e-10)


@pytest.mark.parametrize("n_particles, resample", [(1, True), (1, False), (2, True), (5, True)])
def test_the_estimate_of_p_is_unbiased(n_particles, resample):
    n_runs = 1500
    stream = stream_of(DOCUMENTS, V)
    p = np.empty((n_runs, len(DOCUMENTS)))
    for seed in range(n_runs):
        p[seed] = np.exp(
            left_to_right(stream, PHI, ALPHA, n_particles=n_particles, resample=resample, random_state=seed) - EXACT
        )
    error = p.std(axis=0) / math.sqrt(n_runs)
    assert error[0] < 0.06
    assert (np.abs(p.mean(axis=0) - 1) < 3.5 * error + 1e-12).all()
    # a document of one word has nothing to draw
    np.testing.assert_allclose(p[:, 1], 1, rtol=1e-12)
    assert p[:, 0].std() > 0.01


def test_without_resampling_it_is_algorithm_3():
    off = []
    for words in (DOCUMENTS[0], DOCUMENTS[5], DOCUMENTS[0][:5]):
        stream = stream_of([words], V)
        order = quality._generator(_seed(0), np.sort(stream.words)).permutation(np.sort(stream.words))
        limit = algorithm_3([int(w) for w in order], PHI, ALPHA)
        found = left_to_right(stream, PHI, ALPHA, n_particles=100_000, resample=False, random_state=0)
        assert found[0] == pytest.approx(limit, abs=0.015)
        off.append(abs(limit - log_marginal(words, PHI, ALPHA)))
    assert max(off) > 0.05  # it tends to something else than log p(w)


def _seed(random_state):
    return int(np.random.RandomState(random_state).randint(0, 2**64, dtype=np.uint64))


def test_more_particles_are_nearer():
    stream = stream_of(DOCUMENTS[:1], V)
    spread = []
    for n_particles in (1, 10, 100):
        runs = [left_to_right(stream, PHI, ALPHA, n_particles=n_particles, random_state=s)[0] for s in range(60)]
        spread.append(np.sqrt(np.mean((np.array(runs) - EXACT[0]) ** 2)))
    assert spread[0] > 1.5 * spread[1] > 1.5 * 1.5 * spread[2]


@pytest.mark.parametrize("n_particles", [1, 20])
def test_a_uniform_model_and_a_single_topic_are_exact(n_particles):
    documents = [[0, 1, 2], [7] * 30, [], list(range(50))]
    uniform = left_to_right(stream_of(documents, 50), np.ones((4, 50)), 0.1, n_particles=n_particles)
    np.testing.assert_allclose(uniform, [-n * math.log(50) for n in (3, 30, 0, 50)], rtol=1e-12)
    phi = np.random.default_rng(1).dirichlet(np.ones(50))
    single = left_to_right(stream_of(documents, 50), phi[None], 0.1, n_particles=n_particles)
    np.testing.assert_allclose(single, [np.log(phi[words]).sum() for words in documents], rtol=1e-12)


def longer(seed=5, n_words=300, n_topics=6):
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_words, 0.1), n_topics)
    documents = [list(rng.integers(0, n_words, n)) for n in (20, 0, 1, 7, 33, 0, 20, 12, 40)]
    return phi, documents


def test_a_figure_depends_on_nothing_but_the_seed_and_the_document_s_words(monkeypatch):
    phi, documents = longer()
    how = {"n_particles": 4, "random_state": 7}
    stream = stream_of(documents, 300)
    whole = left_to_right(stream, phi, 0.2, **how)
    assert len(np.unique(whole)) == 8  # the two empty ones are alike
    order = np.random.default_rng(0).permutation(len(documents))
    permuted = stream_of([documents[d] for d in order], 300)
    np.testing.assert_array_equal(left_to_right(permuted, phi, 0.2, **how), whole[order])
    backwards = stream_of([words[::-1] for words in documents], 300, np.uint32)
    np.testing.assert_array_equal(left_to_right(backwards, phi, 0.2, **how), whole)
    np.testing.assert_array_equal(left_to_right(stream_of(documents * 3, 300), phi, 0.2, **how), np.tile(whole, 3))
    for d, words in enumerate(documents):
        assert left_to_right(stream_of([words], 300), phi, 0.2, **how)[0] == whole[d]
    parts = [stream_of(part, 300) for part in ([], documents[:2], documents[2:3], documents[3:])]
    np.testing.assert_array_equal(left_to_right(parts, phi, 0.2, **how), whole)
    counts = np.array([np.bincount(np.array(words, int), minlength=300) for words in documents])
    for X in (counts, sp.csr_matrix(counts), counts.tolist()):
        np.testing.assert_array_equal(left_to_right(X, phi, 0.2, **how), whole)
    for cells, history in ((1, 1), (60, 2**21), (2**15, 300), (2**30, 2**30)):
        monkeypatch.setattr(quality, "_CELLS", cells)
        monkeypatch.setattr(quality, "_HISTORY", history)
        np.testing.assert_array_equal(left_to_right(stream, phi, 0.2, **how), whole)


def test_seeds():
    phi, documents = longer()
    stream = stream_of(documents, 300)
    first, again, other = (left_to_right(stream, phi, 0.2, n_particles=4, random_state=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).sum() == 6  # not the empty ones, nor the one with a single word
    generators = [np.random.RandomState(1) for _ in range(2)]
    given = [left_to_right(stream, phi, 0.2, n_particles=4, random_state=g) for g in (*generators, generators[0])]
    np.testing.assert_array_equal(given[0], first)
    np.testing.assert_array_equal(given[1], first)
    assert (given[2] != first).any()


def test_topics_and_priors_in_other_forms():
    phi, documents = longer()
    stream, how = stream_of(documents, 300), {"n_particles": 4, "random_state": 7}
    whole = left_to_right(stream, phi, 1 / 6, **how)
    scaled = phi * np.array([2.0, 0.25, 1, 8, 64, 2**-20])[:, None]
    np.testing.assert_allclose(left_to_right(stream, scaled, 1 / 6, **how), whole, rtol=1e-9)
    for alpha in (None, np.full(6, 1 / 6), [1 / 6] * 6):
        np.testing.assert_array_equal(left_to_right(stream, phi, alpha, **how), whole)
    assert not np.allclose(left_to_right(stream, phi, [3, 0.1, 0.1, 0.1, 0.1, 0.1], **how), whole)


@pytest.mark.parametrize("n_topics", [255, 256, 257, 400])
def test_topics_beyond_a_byte(n_topics):
    """Each topic has a word of its own, so that the topics are known and p(w) is a product."""
    last = n_topics - 1
    documents = [[last, last, last, 5], [last - 256] * 3 if n_topics > 256 else [0] * 3, [254, 254, 1]]
    alpha = np.linspace(0.01, 0.02, n_topics)
    expected = []
    for words in documents:
        p = [(words[:n].count(w) + alpha[w]) / (n + alpha.sum()) for n, w in enumerate(words)]
        expected.append(np.log(p).sum())
    found = left_to_right(stream_of(documents, n_topics), np.eye(n_topics), alpha, n_particles=3, random_state=0)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_particles_are_chosen_in_proportion():
    weights = np.array([[0.1, 0.4, 0.0, 0.25, 0.25], [1, 1, 1, 1, 1.0], [0, 0, 0, 0, 3]])
    u = (np.arange(1000) + 0.5) / 1000
    chosen = np.array([quality._systematic(np.cumsum(weights, axis=1), np.full(3, at)) for at in u])
    counts = (chosen[..., None] == np.arange(5)).sum(axis=2)
    wanted = 5 * weights / weights.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(counts.mean(axis=0), wanted, atol=2e-3)
    assert (np.abs(counts - wanted) < 1 + 1e-9).all()
    assert (counts[:, 1] == 1).all()


def test_impossible_and_rare_words():
    phi = np.array([[0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]])
    found = left_to_right(stream_of([[0, 1], [3], [1, 3, 1], [0, 2], []], 4), phi, 1.0, random_state=0)
    np.testing.assert_array_equal(np.isneginf(found), [False, True, True, False, False])
    # p(0, 1) = 1/2 1/2 (2/6 1/2 + 4/6 1/2) + ...: z of word 0 is known
    assert found[0] == pytest.approx(math.log(0.5 * 0.5 * 0.5), rel=1e-12)
    assert found[3] == pytest.approx(math.log(0.5 * 0.5 * (1 / 3) * 0.5), rel=1e-12)
    tiny = np.array([[1, 1e-320], [1, 1e-320]])
    assert left_to_right(stream_of([[1] * 9], 2), tiny, 1e-300)[0] == pytest.approx(9 * math.log(1e-320), rel=1e-3)


def test_the_model_that_drew_the_documents_is_likelier_than_another():
    rng = np.random.default_rng(8)
    phi = rng.dirichlet(np.full(60, 0.1), 4)
    words, _ = draw(phi, np.full(4, 0.2), 30, 25, rng)
    stream = TokenStream(words.ravel(), np.arange(31) * 25, 60)
    smooth = 0.99 * phi + 0.01 / 60
    true = left_to_right(stream, smooth, 0.2, random_state=0)
    other = left_to_right(stream, 0.99 * rng.permuted(phi, axis=1) + 0.01 / 60, 0.2, random_state=0)
    assert (true > other).mean() > 0.9
    assert true.sum() > left_to_right(stream, smooth, 20.0, random_state=0).sum()


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
    for n_particles in (0, -1, 2.5):
        with pytest.raises(ValueError, match="n_particles must be a whole number at least 1"):
            left_to_right(X, OK, 0.1, n_particles=n_particles)
    for alpha in (0, -1.0, np.nan, np.inf, [0.1, 0.0], [0.1] * 3):
        with pytest.raises(ValueError, match="alpha must be"):
            left_to_right(X, OK, alpha)
    with pytest.raises(ValueError, match="counts must be whole numbers"):
        left_to_right(X / 2, OK, 0.1)
