import itertools

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.base import clone
from topics.planted import bars, corpus, draw, matched_correlation, stream_of

from fastvbow.topics import GibbsLDA, TokenStream

K, V = 5, 60


@pytest.fixture(scope="module")
def planted():
    return corpus(K, V, 400, 100, 0.1)


def cut(stream, edges):
    edges = [0, *edges, stream.n_docs]
    return [stream.part(a, b) for a, b in itertools.pairwise(edges)]


def test_given_groups_recover_planted_topics(planted):
    phi, theta, stream = planted
    model = GibbsLDA(K, max_iter=60, random_state=0).fit(stream, doc_groups=theta.argmax(axis=1))
    # started from the right groups, topics keep their numbers
    assert all(np.corrcoef(a, b)[0, 1] >= 0.99 for a, b in zip(phi, model.topic_word_, strict=True))
    assert np.mean(model.transform(stream).argmax(axis=1) == theta.argmax(axis=1)) > 0.97


def test_bars_are_recovered_from_a_random_start():
    words, _ = draw(bars(), np.full(10, 0.2), 500, 100, np.random.default_rng(1))
    stream = TokenStream(words.ravel(), np.arange(501) * 100, 25)
    model = GibbsLDA(10, doc_topic_prior=0.2, max_iter=150, random_state=0).fit(stream)
    assert matched_correlation(model.topic_word_, bars()).min() >= 0.99


def test_random_start_comes_near_the_truth(planted):
    phi, _, stream = planted
    best = min(GibbsLDA(K, max_iter=60, random_state=s).fit(stream).perplexity(stream) for s in range(3))
    true = GibbsLDA(K, max_iter=1).fit(stream)
    true.topic_word_ = phi + 1e-12
    assert best < 1.03 * true.perplexity(stream)


def test_likelihood_rises(planted):
    model = GibbsLDA(K, max_iter=41, thin=4, random_state=0).fit(planted[2])
    np.testing.assert_array_equal(model.log_likelihood_sweeps_, np.arange(1, 42, 4))
    assert model.log_likelihood_[0] < model.log_likelihood_[2] < model.log_likelihood_[-1]
    assert model.log_likelihood_[-1] > model.log_likelihood_[0] + 0.2


def test_shapes_sums_and_types(planted):
    stream = planted[2]
    model = GibbsLDA(K, max_iter=10, topic_word_prior=0.25, random_state=0).fit(stream)
    assert model.components_.shape == model.topic_word_.shape == (K, V)
    np.testing.assert_allclose(model.components_.sum(), stream.n_tokens + 0.25 * K * V, rtol=1e-12)
    np.testing.assert_allclose(model.topic_word_.sum(axis=1), 1, rtol=1e-12)
    assert model.assignments_.shape == (stream.n_tokens,)
    assert model.assignments_.dtype == np.uint8
    assert model.n_features_in_ == V
    assert model.n_iter_ == 10
    np.testing.assert_array_equal(model.doc_topic_prior_, np.full(K, 1 / K))
    assert list(model.get_feature_names_out()) == [f"gibbslda{k}" for k in range(K)]


def test_components_are_the_mean_of_the_samples(planted):
    stream = planted[2]
    kept = []
    # a model of max_iter=n is the chain stopped after n sweeps: its last sample is its only one
    for n in (8, 10):
        kept.append(GibbsLDA(K, max_iter=n, burn_in=n - 1, split_merge=0, random_state=3).fit(stream).components_)
    model = GibbsLDA(K, max_iter=10, burn_in=6, thin=2, split_merge=0, random_state=3).fit(stream)
    np.testing.assert_allclose(model.components_, np.mean(kept, axis=0), rtol=1e-12)


@pytest.mark.parametrize("edges", [[1], [100, 100, 250], list(range(10, 400, 30))])
def test_partitions_change_no_byte(planted, edges):
    stream, groups = planted[2], planted[1].argmax(axis=1)
    model = GibbsLDA(K, max_iter=8, thin=2, random_state=1, init_fraction=0.5)
    whole = clone(model).fit(stream, doc_groups=groups)
    parts = clone(model).fit(cut(stream, edges), doc_groups=groups)
    assert isinstance(parts.assignments_, list)
    assert [len(z) for z in parts.assignments_] == [part.n_tokens for part in cut(stream, edges)]
    np.testing.assert_array_equal(np.concatenate(parts.assignments_), whole.assignments_)
    np.testing.assert_array_equal(parts.components_, whole.components_)
    np.testing.assert_array_equal(parts.log_likelihood_, whole.log_likelihood_)
    np.testing.assert_array_equal(parts.transform(cut(stream, edges)), whole.transform(stream))
    np.testing.assert_allclose(parts.perplexity(cut(stream, edges)), whole.perplexity(stream), rtol=1e-12)


def test_small_kernel_calls_change_no_byte(planted, monkeypatch):
    model = GibbsLDA(K, max_iter=4, random_state=1)
    whole = clone(model).fit(planted[2]).assignments_
    monkeypatch.setattr("fastvbow.topics.walking.BLOCK", 777)
    np.testing.assert_array_equal(clone(model).fit(planted[2]).assignments_, whole)


def test_counts_equal_their_stream():
    X = np.random.default_rng(2).integers(0, 4, (30, 12))
    model = GibbsLDA(3, max_iter=6, random_state=0)
    expected = clone(model).fit(TokenStream.from_counts(X))
    for form in (X, X.astype(float), sp.csr_matrix(X), sp.csc_array(X)):
        np.testing.assert_array_equal(clone(model).fit(form).components_, expected.components_)


def test_seed_decides():
    X = np.random.default_rng(2).integers(0, 4, (30, 12))
    z = [GibbsLDA(3, max_iter=3, random_state=s).fit(X).assignments_ for s in (0, 0, 1)]
    np.testing.assert_array_equal(z[0], z[1])
    assert (z[0] != z[2]).any()


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.9, 1.0])
def test_doc_groups_start(fraction):
    from fastvbow.topics.chain import Chain

    stream = TokenStream(np.zeros(60_000, np.uint16), np.array([0, 20_000, 40_000, 60_000]), 1)
    groups = np.array([2, -1, 0])
    z = Chain.start([stream], np.full(4, 0.1), 0.1, np.ones(1), 9, groups, fraction).z[0].reshape(3, -1)
    shares = [np.bincount(row, minlength=4) / 20_000 for row in z]
    uniform = np.full(4, (1 - fraction) / 4)
    np.testing.assert_allclose(shares[0], uniform + fraction * np.eye(4)[2], atol=0.015)
    np.testing.assert_allclose(shares[1], np.full(4, 0.25), atol=0.015)
    np.testing.assert_allclose(shares[2], uniform + fraction * np.eye(4)[0], atol=0.015)
    if fraction == 1.0:
        assert (z[0] == 2).all()


def test_weights_balance_and_are_rounded():
    X = np.random.default_rng(2).integers(0, 4, (30, 12))
    weights = np.linspace(0.3, 3, 12)
    model = GibbsLDA(3, max_iter=4, word_weights=weights, topic_word_prior=0.5, random_state=0).fit(X)
    np.testing.assert_array_equal(model.word_weights_ * 64, np.round(weights * 64))
    np.testing.assert_allclose(model.components_.sum(axis=0) - 3 * 0.5, X.sum(axis=0) * model.word_weights_, rtol=1e-12)
    ones = GibbsLDA(3, max_iter=4, word_weights=np.ones(12), random_state=0).fit(X)
    np.testing.assert_array_equal(ones.components_, GibbsLDA(3, max_iter=4, random_state=0).fit(X).components_)


def test_words_that_never_occur_empty_documents_and_more_topics_than_tokens():
    X = np.zeros((4, 6), int)
    X[1, 2] = 2
    model = GibbsLDA(50, max_iter=5, random_state=0).fit(X)
    np.testing.assert_allclose(model.components_.sum(), 2 + 0.05 * 50 * 6)
    np.testing.assert_allclose(model.transform(X)[[0, 2, 3]], 1 / 50)
    assert np.isfinite(model.perplexity(X))


def test_callback_and_interruption():
    X = np.ones((5, 4), int)
    seen = []
    GibbsLDA(2, max_iter=3).fit(X, callback=lambda *a: seen.append(a))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(sweep, max_iter):
        if sweep == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GibbsLDA(2, max_iter=10**9).fit(X, callback=stop)


GOOD = np.ones((4, 3), int)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_components": 0}, "n_components must be a whole number from 1 to 65535, got 0"),
        ({"n_components": 65536}, "n_components must be"),
        ({"n_components": 2.5}, "n_components must be"),
        ({"doc_topic_prior": 0.0}, "doc_topic_prior must be positive"),
        ({"doc_topic_prior": np.nan}, "doc_topic_prior must be positive"),
        ({"doc_topic_prior": [0.1, 0.2, 0.3]}, r"of shape \(2,\), got shape \(3,\)"),
        ({"doc_topic_prior": [0.1, -0.2]}, "got -0.2"),
        ({"topic_word_prior": 0}, "topic_word_prior must be a positive number, got 0"),
        ({"topic_word_prior": np.inf}, "topic_word_prior must be"),
        ({"word_weights": [1, 1]}, r"word_weights must be .* shape \(3,\)"),
        ({"word_weights": 2.0}, "got a single number"),
        ({"word_weights": [1, 0, 1]}, "word_weights must be positive"),
        ({"word_weights": [1, np.nan, 1]}, "word_weights must be positive"),
        ({"word_weights": [1, 1e-3, 1]}, "from 1/64"),
        ({"max_iter": 0}, "max_iter must be"),
        ({"max_iter": 5, "burn_in": 5}, "burn_in must be a whole number from 0 to 4, got 5"),
        ({"thin": 0}, "thin must be"),
        ({"init_fraction": 1.1}, "init_fraction must be from 0 to 1, got 1.1"),
        ({"init_fraction": np.nan}, "init_fraction"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        GibbsLDA(**{"n_components": 2, "max_iter": 2, **parameters}).fit(GOOD)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([[1, -1]], "Negative values"),
        ([[0.5, 1]], "whole numbers"),
        ([[np.nan, 1]], "NaN"),
        ([[np.inf, 1]], "infinity"),
        (np.zeros((3, 4)), "no tokens"),
        (np.zeros((0, 4)), "0 sample"),
        ([], "Expected 2D array|minimum of 1|0 sample"),
        (stream_of([], 3), "no tokens"),
        ([stream_of([[0]], 3), stream_of([[0]], 4)], r"different sizes: \[3, 4\]"),
    ],
)
def test_bad_corpora_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        GibbsLDA(2, max_iter=2).fit(X)


@pytest.mark.parametrize(
    "groups", [[0, 0, 0], [0, 0, 0, 2], [0, 0, 0, -2], [0.0, 0.0, 0.0, 0.0], [[0], [0], [0], [0]], [0, 0, 0, None]]
)
def test_bad_doc_groups_are_refused(groups):
    with pytest.raises(ValueError, match="doc_groups must be"):
        GibbsLDA(2, max_iter=2).fit(GOOD, doc_groups=groups)


@pytest.mark.parametrize("n_jobs", [0, 1.5])
def test_bad_number_of_jobs_is_refused(n_jobs):
    with pytest.raises(ValueError, match=f"not {n_jobs} .*n_jobs"):
        GibbsLDA(2, max_iter=2, n_jobs=n_jobs).fit(GOOD).transform(GOOD)


def test_another_vocabulary_is_refused():
    model = GibbsLDA(2, max_iter=2).fit(GOOD)
    with pytest.raises(ValueError, match="4 features, but GibbsLDA is expecting 3"):
        model.transform(np.ones((2, 4)))
    with pytest.raises(ValueError, match="X has 4 words, but the model was trained with 3"):
        model.transform(stream_of([[0]], 4))
