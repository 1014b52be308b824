import itertools

import fastvbow.topics._moves as _moves
import naive
import numpy as np
import pytest
from topics.planted import corpus, draw, matched_correlation

from fastvbow.topics import GibbsLDA, TokenStream
from fastvbow.topics import split_merge as moves
from fastvbow.topics.chain import Chain
from fastvbow.topics.training import Plan, Training

K, V = 6, 40


@pytest.fixture(scope="module")
def planted():
    phi, theta, stream = corpus(K, V, 300, 80, 0.1)
    return phi, theta, stream.words, stream.offsets


def chain_of(planted, weights=None, **options):
    stream = TokenStream(planted[2], planted[3], V)
    weights = np.ones(V) if weights is None else weights
    return Chain.start([stream], np.full(K, 0.2), 0.1, weights, 3, None, 0.9, **options)


def joint(chain):
    """log p(w, z), not per token."""
    return chain.log_likelihood() * chain.nz.sum() * chain.unit


def sample_of(chain):
    sample = moves._Sample(chain)
    for tokens in moves._topics(chain):
        sample.add(tokens)
    return sample


def split_of(chain, t, seed):
    return moves._split(chain, t, list(moves._topics(chain))[t], seed)


def put(chain, z):
    chain.z[0][:] = z
    chain.count()


@pytest.fixture(params=["ones", "weights"])
def mixed(request, planted):
    """A chain after a few sweeps."""
    weights = None if request.param == "ones" else np.arange(1, V + 1) / 16
    chain = chain_of(planted, weights)
    for number in range(1, 4):
        chain.sweep(number)
    return chain


@pytest.mark.parametrize("looked_up", [100_000, 7])
def test_gains_of_merging_are_those_of_the_likelihood(mixed, looked_up, monkeypatch):
    monkeypatch.setattr(moves, "RISES", looked_up)
    gains, before, z = moves._merge_gains(sample_of(mixed)), joint(mixed), mixed.z[0].copy()
    for a, b in ((0, 1), (0, 4), (2, 5), (3, 4)):
        put(mixed, np.where(z == b, a, z))
        assert gains[a, b] == pytest.approx(joint(mixed) - before, rel=1e-9)
    put(mixed, z)


@pytest.mark.parametrize("t", [0, 4])
def test_gain_of_splitting_is_that_of_the_likelihood_and_an_entropy(mixed, t):
    # the other half goes to a topic that is empty
    z = mixed.z[0].copy()
    put(mixed, np.where(z == 5, 3, z))
    here, before = np.flatnonzero(mixed.z[0] == t), joint(mixed)
    split = split_of(mixed, t, 7)
    assert 0 < split.halves.sum() < len(split.halves) == len(here)
    mixed.z[0][here[split.halves == 1]] = 5
    mixed.count()
    entropy = sample_of(mixed).entropy(t, 5)
    assert entropy > 0
    assert split.gain == pytest.approx(joint(mixed) - before + entropy, rel=1e-9)


@pytest.mark.parametrize("sizes", [[1], [3], [5, 1, 9, 2, 2], [30] * 7 + [1, 1, 50, 4]])
@pytest.mark.parametrize("weights", [np.ones(12), np.arange(1, 13) / 64])
def test_the_chain_of_two_topics_is_its_slow_twin(sizes, weights):
    rng = np.random.default_rng(len(sizes))
    n, numbers = sum(sizes), np.cumsum(rng.integers(1, 9, len(sizes)))
    words, edges = rng.integers(0, 12, n).astype(np.uint32), np.concatenate([[0], np.cumsum(sizes)])
    z, nzw, ndz, share = np.empty(n, np.uint8), np.zeros((12, 2)), np.empty((len(sizes), 2)), np.empty(n)
    _moves.split(words, edges, numbers, weights, 0.3, 0.05, 11, 4, z, nzw, ndz, share)
    expected = naive.split_topic(words, edges, numbers, weights, 0.3, 0.05, 11, 4)
    np.testing.assert_array_equal(z, expected[0])
    np.testing.assert_allclose(share, expected[1], rtol=1e-12)
    documents = np.repeat(np.arange(len(sizes)), sizes)
    np.testing.assert_array_equal(nzw, [[weights[w] * np.sum(z[words == w] == k) for k in (0, 1)] for w in range(12)])
    np.testing.assert_array_equal(
        ndz, [[weights[words[(documents == d) & (z == k)]].sum() for k in (0, 1)] for d in range(len(sizes))]
    )


def test_tokens_are_grouped_whatever_is_held_at_once(mixed, monkeypatch):
    z, words = mixed.z[0], mixed.streams[0].words
    for batch in (1, 7000, 10**6):
        monkeypatch.setattr(moves, "BATCH", batch)
        for t, tokens in enumerate(moves._topics(mixed)):
            here = np.flatnonzero(z == t)
            np.testing.assert_array_equal(tokens.words, words[here])
            np.testing.assert_array_equal(np.repeat(tokens.numbers, np.diff(tokens.edges)), here // 80)
        assert t == K - 1


def test_entropy_of_a_choice(mixed):
    """Token by token: out of the counts, both probabilities, back."""
    z, words, alpha, eta, weights = mixed.z[0], mixed.streams[0].words, 0.2, 0.1, mixed.weights
    nzw, ndz = naive.count(np.split(words, 300), np.split(z, 300), weights, V, K)
    for a, b in ((0, 1), (5, 2)):
        entropy = 0.0
        for i in np.flatnonzero((z == a) | (z == b)):
            d, w, c = i // 80, words[i], weights[words[i]]
            nzw[w, z[i]] -= c
            ndz[d, z[i]] -= c
            p = [(ndz[d, k] + alpha) * (nzw[w, k] + eta) / (nzw[:, k].sum() + V * eta) for k in (a, b)]
            p = np.array(p) / sum(p)
            entropy -= np.sum(p * np.log(p))
            nzw[w, z[i]] += c
            ndz[d, z[i]] += c
        assert sample_of(mixed).entropy(a, b) == pytest.approx(entropy, rel=1e-9)


def test_the_best_move_is_that_of_all_entropies(mixed):
    """Though most of them are not looked at."""
    sample, rng = sample_of(mixed), np.random.default_rng(0)
    pairs = list(itertools.combinations(range(K), 2))
    gains = moves._merge_gains(sample)
    for a, b in pairs:
        gains[a, b] -= sample.entropy(a, b)
    spread = np.ptp([gains[p] for p in pairs])
    found = 0
    for _ in range(60):
        merges, gone = moves._Merges(sample), rng.permutation(K)[: rng.integers(0, 4)]
        splits = rng.uniform(0.2, 1.5) * -gains[pairs[0]] + spread * rng.normal(size=K)
        merges.remove(gone)
        splits[gone] = -np.inf
        every = {(*p, t): gains[p] + splits[t] for p in pairs for t in range(K) if t not in p and not {*p, t} & {*gone}}
        best = max(every, key=every.get, default=None)
        move = moves._best_move(merges, splits)
        assert move == (best if best and every[best] > 0 else None)
        found += move is not None
    assert 10 < found < 60


def test_entropies_that_could_not_matter_are_not_looked_at(mixed):
    merges = moves._Merges(sample_of(mixed))
    assert merges.best(merges.gains.max())[0] == merges.best_without(0, merges.gains.max())[0] == -np.inf
    assert not merges._known.any()


def test_topics_that_overlap_are_not_merged_to_no_good():
    """Documents of words from broad topics: the likelihood of one assignment gains by merging, the topics do not."""
    rng = np.random.default_rng(2)
    phi = rng.dirichlet(np.full(60, 1.0), 8)
    words, _ = draw(phi, np.full(8, 0.5), 500, 60, rng)
    stream = TokenStream(words.ravel(), np.arange(501) * 60, 60)
    chain = Chain.start([stream], np.full(8, 0.5), 0.1, np.ones(60), 3, None, 0.9)
    for number in range(1, 60):
        chain.sweep(number)
    merges = moves._merge_gains(sample_of(chain))
    merges[np.tril_indices(8)] = -np.inf
    splits = [split_of(chain, t, t) for t in range(8)]
    assert merges.max() + max(split.gain for split in splits) > 0, "nothing would be merged even so: a weak test"
    assert moves.exchange_topics(chain, 60) == 0


def test_few_documents_estimate_the_gains_of_merging(planted, monkeypatch):
    chain = chain_of(planted)
    chain.sweep(1)
    exact = moves._merge_gains(sample_of(chain))
    monkeypatch.setattr(moves, "DOCUMENTS", 75)
    pairs = np.triu_indices(K, 1)
    assert not np.array_equal(moves._merge_gains(sample_of(chain))[pairs], exact[pairs])
    np.testing.assert_allclose(moves._merge_gains(sample_of(chain))[pairs], exact[pairs], rtol=0.1)


def test_a_merged_pair_and_a_split_topic_are_mended(planted):
    phi, theta, words, _ = planted
    chain = chain_of(planted)
    rng = np.random.default_rng(1)
    p = theta.repeat(80, axis=0) * phi[:, words].T
    true = (p.cumsum(axis=1) > rng.random((len(words), 1)) * p.sum(axis=1, keepdims=True)).argmax(axis=1)
    wrong = np.where(true == 1, 0, true)  # 0 and 1 are one,
    wrong[(true == 2) & (rng.random(len(words)) < 0.5)] = 1  # and 2 is two
    put(chain, wrong)
    before = joint(chain)
    assert moves.exchange_topics(chain, 1) == 1
    assert joint(chain) > before
    share = np.array([[np.mean(chain.z[0][true == t] == k) for k in range(K)] for t in range(K)])
    assert (share.max(axis=1) > 0.9).all() and len(set(share.argmax(axis=1))) == K
    nzw = chain.word_topics()
    chain.count()
    np.testing.assert_array_equal(chain.word_topics(), nzw)


def test_what_is_right_stays(planted):
    chain = chain_of(planted)
    put(chain, np.repeat(planted[1].argmax(axis=1), 80))
    for number in range(1, 30):
        chain.sweep(number)
    z = chain.z[0].copy()
    assert moves.exchange_topics(chain, 30) == 0
    np.testing.assert_array_equal(chain.z[0], z)


def test_neither_cuts_nor_threads_change_a_round(planted):
    found = []
    for edges, n_threads in (([0, 300], 1), ([0, 1, 120, 300], 1), ([0, 300], 3)):
        whole = TokenStream(planted[2], planted[3], V)
        streams = [whole.part(a, b) for a, b in itertools.pairwise(edges)]
        chain = Chain.start(streams, np.full(K, 0.2), 0.1, np.ones(V), 11, None, 0.9, n_threads=n_threads)
        n_done = 0
        for number in range(1, 4):
            chain.sweep(number)
            n_done += moves.exchange_topics(chain, number)
        assert n_done > 0, "nothing is exchanged here: a weak test"
        found.append(np.concatenate(chain.z))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("burn_in", "n_rounds", "sweeps"),
    [(100, 4, [10, 20, 40, 80]), (100, 2, [40, 80]), (20, 4, [8, 16]), (6, 4, []), (100, 0, [])],
)
def test_rounds_are_held_ever_more_rarely(burn_in, n_rounds, sweeps):
    assert moves.rounds_before(burn_in, n_rounds) == sweeps


def test_rounds_end_when_two_have_found_nothing(monkeypatch):
    found = {5: 1, 10: 0, 20: 3, 40: 0, 80: 1}
    held = []

    def exchange(chain, number):
        held.append(number)
        return found[number]

    monkeypatch.setattr("fastvbow.topics.training.exchange_topics", exchange)
    stream = TokenStream(np.zeros(4, np.uint16), np.array([0, 4]), 2)
    chain = Chain.start([stream], np.full(3, 0.2), 0.1, np.ones(2), 0, None, 0.9)
    training = Training(chain, Plan(200, 100, 5, sorted(found)))
    assert training.settled == 80
    training.run(200)
    assert held == [5, 10, 20, 40]
    assert (training.settled, training.empty_rounds) == (40, 2)


def test_no_luck_of_the_seed():
    """Of ten seeds at least nine end within 1 % of the truth; of a random start alone, few do."""
    rng = np.random.default_rng(5)
    n_topics, n_words = 12, 120
    phi = rng.dirichlet(np.full(n_words, 0.05), n_topics)
    words, _ = draw(phi, np.full(n_topics, 0.1), 900, 100, rng)
    train, held_out = (
        TokenStream(part.ravel(), np.arange(len(part) + 1) * 100, n_words) for part in (words[:700], words[700:])
    )
    true = GibbsLDA(n_topics, doc_topic_prior=0.1, max_iter=1, split_merge=0).fit(train)
    true.topic_word_ = (phi + 1e-9) / (phi + 1e-9).sum(axis=1, keepdims=True)
    limit = 1.01 * true.perplexity(held_out)

    def near(split_merge):
        models = [
            GibbsLDA(n_topics, doc_topic_prior=0.1, max_iter=60, split_merge=split_merge, random_state=s).fit(train)
            for s in range(10)
        ]
        return sum(model.perplexity(held_out) <= limit for model in models)

    assert near(None) >= 9
    assert near(0) <= 7


def test_none_with_given_groups_or_priors_of_their_own(monkeypatch):
    held = []
    monkeypatch.setattr("fastvbow.topics.training.exchange_topics", lambda chain, number: held.append(number) or 1)
    X = np.random.default_rng(0).integers(0, 4, (30, 12))
    model = GibbsLDA(3, max_iter=40, random_state=0)
    model.fit(X)
    assert held == [8, 16]
    held.clear()
    model.fit(X, doc_groups=np.zeros(30, int))
    model.set_params(doc_topic_prior=[0.1, 0.2, 0.3]).fit(X)
    model.set_params(doc_topic_prior=None, split_merge=0).fit(X)
    assert held == []
    model.set_params(split_merge=1).fit(X, doc_groups=np.zeros(30, int))
    assert held == [16]


def test_topics_are_recovered_by_every_algorithm(planted):
    phi, _, words, offsets = planted
    for options in ({"algorithm": "exact"}, {"algorithm": "lockstep"}, {"n_walks": 3}):
        model = GibbsLDA(K, doc_topic_prior=0.1, max_iter=100, random_state=1, **options)
        model.fit(TokenStream(words, offsets, V))
        assert matched_correlation(model.topic_word_, phi).min() >= 0.99
