import itertools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import gammaln
from sklearn.base import clone
from topics.planted import corpus, draw, stream_of

from fastvbow.errors import ProjectError, StoreCorruptError, UsageError
from fastvbow.topics import GibbsLDA, TokenStream, measuring, walking
from fastvbow.topics import chain as chains
from fastvbow.topics.chain import Chain
from fastvbow.topics.fitting import algorithm_for
from fastvbow.topics.priors import LEAST, fit_alpha, fit_eta

K, V = 4, 30


@pytest.fixture(scope="module")
def planted():
    return corpus(K, V, 200, 50, 0.2)


# Priors


def log_dirichlet_multinomial(counts, prior):
    prior = np.broadcast_to(prior, counts.shape[1:])
    value = np.sum(gammaln(prior.sum()) - gammaln(counts.sum(axis=1) + prior.sum()))
    return value + np.sum(gammaln(counts + prior) - gammaln(prior))


def counts_of(alpha, n_docs, length, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([rng.multinomial(length, theta) for theta in rng.dirichlet(alpha, n_docs)], dtype=float)


def test_alpha_goes_to_the_likeliest():
    ndz = counts_of([0.1, 0.5, 2.0], 400, 60)
    alpha = np.full(3, 1.0)
    for _ in range(100):
        alpha = fit_alpha(lambda: (ndz[:150], ndz[150:]), alpha)
    best = minimize(lambda x: -log_dirichlet_multinomial(ndz, np.exp(x)), np.zeros(3)).x
    np.testing.assert_allclose(alpha, np.exp(best), rtol=1e-3)


def test_eta_goes_to_the_likeliest():
    nzw = counts_of(np.full(40, 0.3), 8, 500).T
    eta = 5.0
    for _ in range(60):
        eta = fit_eta(nzw, eta)
    grid = np.exp(np.linspace(-3, 2, 2001))
    best = grid[np.argmax([log_dirichlet_multinomial(nzw.T, np.full(40, g)) for g in grid])]
    assert eta == pytest.approx(best, rel=0.01)


def test_a_topic_that_nobody_has_keeps_a_prior():
    ndz = np.array([[3.0, 0], [5, 0]])
    assert fit_alpha(lambda: [ndz], np.array([0.5, 0.5]))[1] == LEAST
    assert fit_alpha(lambda: [np.zeros((2, 2))], np.array([0.5, 0.5])).tolist() == [0.5, 0.5]
    assert fit_eta(np.zeros((3, 2)), 0.2) == 0.2


def test_adapted_priors_find_the_sizes_of_the_topics():
    rng = np.random.default_rng(3)
    phi, sizes = rng.dirichlet(np.full(V, 0.05), 3), np.array([0.05, 0.2, 0.8])
    words, _ = draw(phi, sizes, 600, 60, rng)
    stream = TokenStream(words.ravel(), np.arange(601) * 60, V)
    model = GibbsLDA(3, max_iter=150, optimize_priors=5, random_state=0).fit(stream)
    match = [np.argmax(phi @ topic) for topic in model.topic_word_]
    assert sorted(match) == [0, 1, 2]
    np.testing.assert_allclose(model.doc_topic_prior_, sizes[match], rtol=0.25)
    assert 0.03 < model.topic_word_prior_ < 0.09
    fixed = GibbsLDA(3, max_iter=150, random_state=0).fit(stream)
    assert fixed.doc_topic_prior_.tolist() == [1 / 3] * 3 and fixed.topic_word_prior_ == 0.05
    assert model.log_likelihood_[-1] > fixed.log_likelihood_[-1]


# Starts, ends


def test_the_likeliest_start_goes_on(planted):
    seeds, stream = [], planted[2]
    model = GibbsLDA(K, max_iter=12, burn_in=6, thin=1, split_merge=0, random_state=1)
    ticks = []
    found = clone(model).set_params(n_init=4).fit(stream, callback=lambda *a: ticks.append(a))
    assert ticks == [(i, 12 + 3 * 6) for i in range(1, 31)]
    first = clone(model).fit(stream)
    assert found.log_likelihood_[5] > first.log_likelihood_[5], "the first start is the best: a weak test"
    assert len(found.log_likelihood_) == found.n_iter_ == 12
    assert found.seed_ not in seeds and found.seed_ != first.seed_


def test_burn_in_ends_when_nothing_is_gained(planted):
    model = GibbsLDA(K, max_iter=400, burn_in=300, thin=2, random_state=0)
    early = clone(model).set_params(tol=0.005).fit(planted[2])
    assert 100 < early.n_iter_ < 400
    assert early.n_iter_ >= max(early.log_likelihood_sweeps_) > early.n_iter_ - 2
    # rounds of split-merge are held first, after sweeps 30 and 60: both find nothing
    assert 60 < early.n_iter_ - 100 < 240
    free = clone(model).set_params(tol=0.005, split_merge=0).fit(planted[2])
    assert 100 < free.n_iter_ < 240
    whole = clone(model).fit(planted[2])
    assert whole.n_iter_ == 400
    assert early.perplexity(planted[2]) == pytest.approx(whole.perplexity(planted[2]), rel=0.01)


@pytest.mark.parametrize("when", [1, 30])
def test_an_interrupted_model_can_be_used(planted, when):
    stream = planted[2]

    def stop(sweep, total):
        if sweep == when:
            raise KeyboardInterrupt

    model = GibbsLDA(K, max_iter=40, thin=3, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        model.fit(stream, callback=stop)
    assert model.n_iter_ == when
    counts = np.zeros((K, V))
    np.add.at(counts, (model.assignments_, stream.words), 1)
    if when == 1:
        np.testing.assert_allclose(model.components_, counts + 0.05)
    np.testing.assert_allclose(model.components_.sum(), stream.n_tokens + K * V * 0.05)
    assert model.transform(stream).shape == (200, K)


@pytest.mark.parametrize("n_walks", [1, 3])
@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
def test_an_interruption_within_a_sweep_loses_no_token(planted, monkeypatch, algorithm, n_walks):
    stream = planted[2]
    chain = Chain.start([stream], np.full(K, 0.1), 0.1, np.ones(V), 5, None, 0.9, algorithm=algorithm, n_walks=n_walks)
    chain.sweep(1)
    monkeypatch.setattr(walking, "BLOCK", 500)

    class Interrupted:
        """Stops in the midst of a sweep: between two calls, with documents in flight."""

        def __init__(self, sampler):
            self.sampler, self.calls = sampler, 0

        def __getattr__(self, name):
            self.calls += name == "feed"
            if name == "feed" and self.calls == 3:
                raise KeyboardInterrupt
            return getattr(self.sampler, name)

    samplers = chain._samplers
    chain._samplers = [Interrupted(sampler) for sampler in samplers]
    before = chain.z[0].copy()
    with pytest.raises(KeyboardInterrupt):
        chain.sweep(2)
    assert np.sum(chain.z[0] != before) > 0
    for nzw, nz in ((chain.nzw.copy(), chain.nz.copy()),):
        chain.count()
        np.testing.assert_array_equal(nzw, chain.nzw)
        np.testing.assert_array_equal(nz, chain.nz)
    chain._samplers = samplers
    chain.sweep(2)
    nzw = chain.nzw.copy()
    chain.count()
    np.testing.assert_array_equal(nzw, chain.nzw)


# Walks


@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
def test_threads_change_no_byte_and_walks_do(planted, algorithm):
    model = GibbsLDA(K, max_iter=8, algorithm=algorithm, n_walks=3, random_state=0)
    one = clone(model).fit(planted[2])
    many = clone(model).set_params(n_jobs=3).fit([planted[2].part(0, 77), planted[2].part(77, 200)])
    np.testing.assert_array_equal(one.assignments_, np.concatenate(many.assignments_))
    np.testing.assert_array_equal(one.components_, many.components_)
    assert (one.assignments_ != clone(model).set_params(n_walks=1).fit(planted[2]).assignments_).any()


def test_walks_cover_every_document_once():
    rng = np.random.default_rng(0)
    for trial in range(60):
        streams = [stream_of([[0] * int(rng.integers(0, 9)) for _ in range(rng.integers(0, 12))], 1) for _ in range(4)]
        chain = Chain.start(
            streams, np.full(2, 0.1), 0.1, np.ones(1), trial, None, 0.9, n_walks=int(rng.integers(1, 9))
        )
        number = {id(stream): i for i, stream in enumerate(streams)}
        visited = [(number[id(p.stream)], d) for walk in chain._walks for p in walk for d in range(p.begin, p.end)]
        assert visited == [(i, d) for i, stream in enumerate(streams) for d in range(stream.n_docs)]


def test_walks_are_about_equal():
    stream = stream_of([[0] * n for n in np.random.default_rng(0).integers(1, 40, 1000)], 1)
    chain = Chain.start([stream], np.full(2, 0.1), 0.1, np.ones(1), 0, None, 0.9, n_walks=7)
    sizes = [stream.offsets[walk[-1].end] - stream.offsets[walk[0].begin] for walk in chain._walks]
    assert max(sizes) - min(sizes) <= 2 * 40


def test_partitions_of_two_dtypes_are_one_corpus(planted):
    stream = planted[2]
    parts = [stream.part(0, 90), stream.part(90, 200)]
    parts[1] = TokenStream(parts[1].words.astype(np.uint32), parts[1].offsets, V)
    model = GibbsLDA(K, max_iter=5, random_state=0)
    np.testing.assert_array_equal(clone(model).fit(parts).components_, clone(model).fit(stream).components_)


# Checkpoints


class Killed(Exception):  # noqa: N818
    pass


def killed_after(n):
    def callback(sweep, total):
        if sweep == n:
            raise Killed

    return callback


SPARSE = {"algorithm": "sparse", "optimize_priors": 3}


@pytest.mark.parametrize(
    "options",
    [{}, {"optimize_priors": 3}, {"n_init": 2}, {"tol": 0.05, "thin": 1, "split_merge": 0}, {"n_walks": 2}, SPARSE],
    ids=str,
)
def test_what_goes_on_from_a_checkpoint_ends_with_the_same_bytes(planted, tmp_path, options):
    model = GibbsLDA(K, **{"max_iter": 40, "thin": 2, "random_state": 0, **options})
    expected = clone(model).fit(planted[2])
    folder, seen = tmp_path / "state", []
    for n in (53, 57) if "n_init" in options else (11, 37):  # killed twice, with two starts after the choice
        with pytest.raises(Killed):
            clone(model).fit(planted[2], callback=killed_after(n), checkpoint=folder, checkpoint_every=4)
        assert folder.is_dir()
    found = clone(model).fit(planted[2], callback=lambda *a: seen.append(a[0]), checkpoint=folder, checkpoint_every=4)
    assert not folder.exists()
    assert seen[0] > 4 and len(seen) < 20, "it began anew"
    np.testing.assert_array_equal(found.components_, expected.components_)
    np.testing.assert_array_equal(found.assignments_, expected.assignments_)
    np.testing.assert_array_equal(found.log_likelihood_, expected.log_likelihood_)
    np.testing.assert_array_equal(found.doc_topic_prior_, expected.doc_topic_prior_)
    assert (found.seed_, found.n_iter_) == (expected.seed_, expected.n_iter_)


@pytest.fixture
def state(planted, tmp_path):
    model = GibbsLDA(K, max_iter=40, random_state=0)
    with pytest.raises(Killed):
        model.fit(planted[2], callback=killed_after(9), checkpoint=tmp_path / "state", checkpoint_every=4)
    return tmp_path / "state"


@pytest.mark.parametrize(
    ("parameters", "tokens"), [({"max_iter": 41}, 200), ({"random_state": 1}, 200), ({}, 199)], ids=str
)
def test_a_checkpoint_of_another_run_is_refused(planted, state, parameters, tokens):
    model = GibbsLDA(K, **{"max_iter": 40, "random_state": 0, **parameters})
    with pytest.raises(UsageError, match="other tokens or parameters"):
        model.fit(planted[2].part(0, tokens), checkpoint=state)
    assert state.is_dir(), "it was deleted"


def test_a_checkpoint_of_other_threads_is_the_same_run(planted, state):
    GibbsLDA(K, max_iter=40, random_state=0, n_jobs=2).fit(planted[2], checkpoint=state)
    assert not state.exists()


def test_what_is_no_checkpoint_is_refused_and_kept(planted, state, tmp_path):
    model = GibbsLDA(K, max_iter=40, random_state=0)
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "beach.jpg").write_bytes(b"x")
    with pytest.raises(ProjectError, match="not a checkpoint"):
        model.fit(planted[2], checkpoint=tmp_path / "holiday")
    assert (tmp_path / "holiday" / "beach.jpg").is_file()
    tensors = state / "model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x55")
    with pytest.raises(StoreCorruptError, match="SHA-256"):
        model.fit(planted[2], checkpoint=state)


# More documents


def test_more_documents_refine_the_topics(planted):
    stream = planted[2]
    model = GibbsLDA(K, max_iter=100, random_state=0).partial_fit(stream.part(0, 40))
    assert model.n_iter_ == 100
    held_out = stream.part(160, 200)
    before, mass = model.perplexity(held_out), model.components_.sum()
    for begin in (40, 80, 120):
        model.partial_fit(stream.part(begin, begin + 40))
        assert len(model.assignments_) == 40 * 50
    assert model.n_iter_ == 130
    assert model.components_.sum() == pytest.approx(mass + 120 * 50, rel=5e-3)  # means are rounded
    assert model.perplexity(held_out) < before
    whole = GibbsLDA(K, max_iter=100, random_state=0).fit(stream.part(0, 160))
    assert model.perplexity(held_out) < 1.03 * whole.perplexity(held_out)


def test_more_documents_leave_what_is_known(planted):
    model = GibbsLDA(K, max_iter=60, random_state=0).fit(planted[2])
    before = model.topic_word_.copy()
    model.partial_fit(planted[2].part(0, 5))
    assert np.abs(model.topic_word_ - before).max() < 0.01
    components = model.components_
    model.partial_fit(stream_of([[], []], V))
    assert model.components_ is components
    with pytest.raises(ValueError, match="7 words"):
        model.partial_fit(stream_of([[0]], 7))


# Limits


def test_a_word_beyond_32_bits_is_refused(monkeypatch):
    monkeypatch.setattr(measuring, "MOST_UNITS", 99)
    X = np.array([[60, 1], [40, 1]])
    with pytest.raises(UsageError, match="word 0 has a mass of 100 tokens"):
        GibbsLDA(2, max_iter=2).fit(X)
    GibbsLDA(2, max_iter=2).fit(X - [[1, 0], [0, 0]])
    with pytest.raises(UsageError, match=r"word 0 has a mass of 49\.5 tokens.* 49\.5 is the most|word 0"):
        GibbsLDA(2, max_iter=2, word_weights=[1.5, 1]).fit(X // 2 + [[4, 0], [0, 0]])


def test_a_document_beyond_float32_is_refused(monkeypatch):
    monkeypatch.setattr(measuring, "MOST_DOCUMENT", 50)
    with pytest.raises(UsageError, match="document 1 has a mass of 50 tokens"):
        GibbsLDA(2, max_iter=2).fit(np.array([[20, 20], [40, 10]]))
    GibbsLDA(2, max_iter=2, word_weights=[0.5, 1]).fit(np.array([[20, 14], [38, 5]]))


def test_weights_are_counted_in_units(planted):
    stream = planted[2]
    weights = np.where(np.arange(V) % 2, 3.0, 1.5)
    chain = Chain.start([stream], np.full(K, 0.1), 0.1, weights, 0, None, 0.9)
    assert chain.unit == 1.5 and set(chain._units.counts) == {1, 2}
    # twice the weights, twice the priors: the same chain
    model = GibbsLDA(K, doc_topic_prior=0.1, topic_word_prior=0.05, max_iter=10, random_state=0, split_merge=0)
    double = clone(model).set_params(doc_topic_prior=0.2, topic_word_prior=0.1, word_weights=np.full(V, 2.0))
    np.testing.assert_array_equal(model.fit(stream).assignments_, double.fit(stream).assignments_)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"algorithm": "alias"}, "algorithm must be one of auto, exact, lockstep, sparse, got 'alias'"),
        ({"n_walks": 0}, "n_walks must be"),
        ({"split_merge": -1}, "split_merge must be"),
        ({"n_init": 0}, "n_init must be"),
        ({"optimize_priors": -1}, "optimize_priors must be"),
        ({"tol": -1e-3}, "tol must be 0 or a positive number"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        GibbsLDA(2, max_iter=2, **parameters).fit(np.ones((3, 3), int))


@pytest.mark.parametrize("algorithm", chains.ALGORITHMS)
def test_cuts_through_documents_of_any_length_change_no_byte(algorithm):
    rng = np.random.default_rng(4)
    for trial in range(20):
        lengths = rng.integers(0, 12, 40) * rng.integers(0, 2, 40)
        words, offsets = rng.integers(0, 9, lengths.sum()).astype(np.uint16), np.concatenate([[0], np.cumsum(lengths)])
        whole = TokenStream(words, offsets, 9)
        edges = [0, *np.sort(rng.integers(0, 41, 6)), 40]
        found = []
        for streams in ([whole], [whole.part(a, b) for a, b in itertools.pairwise(edges)]):
            chain = Chain.start(streams, np.full(3, 0.2), 0.1, np.ones(9), trial, None, 0.9, algorithm=algorithm)
            for number in range(1, 5):
                chain.sweep(number)
            found.append(np.concatenate(chain.z))
        np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("n_topics", "n_words", "n_tokens", "expected"),
    [
        (20, 5000, 90_000, "exact"),
        (20, 5000, 110_000, "lockstep"),
        (255, 5000, 110_000, "lockstep"),
        (400, 5000, 90_000, "sparse"),  # 18 tokens a word
        (400, 300, 110_000, "lockstep"),  # 367
        (400, 1000, 90_000, "sparse"),  # 90
    ],
)
def test_the_sampler_fits_the_corpus(n_topics, n_words, n_tokens, expected):
    words = np.arange(n_tokens, dtype=np.uint16) % n_words
    halves = [words[: n_tokens // 2], words[n_tokens // 2 :]]
    streams = [TokenStream(part, np.array([0, len(part)]), n_words) for part in halves]
    assert algorithm_for("auto", streams, n_topics) == expected
    assert algorithm_for("exact", streams, n_topics) == "exact"
