import copy
import itertools
import threading
from types import SimpleNamespace

import naive
import numpy as np
import pytest
from scipy.special import gammaln
from sklearn.base import clone
from topics.planted import corpus, draw, stream_of

from fastvbow import executors
from fastvbow.topics import GibbsLDA, TokenStream, _gibbs, inference
from fastvbow.topics.inference import BLOCK, TOLERANCE, infer_theta, likeliest_topics

K, V, SEED = 6, 80, 0xFEEDFACE12345678


@pytest.fixture(scope="module")
def model():
    weights, stream = np.where(np.arange(V) < 40, 0.5, 2.0), corpus(K, V, 200, 60, 0.2)[2]
    return GibbsLDA(K, max_iter=20, word_weights=weights, random_state=0).fit(stream)


@pytest.fixture(scope="module")
def documents():
    rng = np.random.default_rng(1)
    return [list(rng.integers(0, V, n)) for n in [40, 0, 1, 7, 300, 0, 33, 90]]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("max_iter", [1, 7, 100])
def test_kernel_equals_its_twin(model, documents, dtype, max_iter):
    phi, alpha, weights = np.ascontiguousarray(model.topic_word_.T), model.doc_topic_prior_, model.word_weights_
    theta = infer_theta([stream_of(documents, V, dtype)], phi, alpha, weights, max_iter, 1)
    for d, words in enumerate(documents):
        expected = naive.infer(np.array(words, int), weights, alpha, phi, max_iter, TOLERANCE)
        np.testing.assert_allclose(theta[d], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
@pytest.mark.parametrize("n_sweeps", [1, 2, 9])
def test_folding_in_equals_its_twin(model, documents, dtype, n_sweeps):
    phi, alpha, weights = np.ascontiguousarray(model.topic_word_.T), model.doc_topic_prior_, model.word_weights_
    theta = infer_theta([stream_of(documents, V, dtype)], phi, alpha, weights, n_sweeps, 1, SEED)
    for d, words in enumerate(documents):
        expected = naive.fold_in(words, weights, alpha, phi, n_sweeps, SEED)
        np.testing.assert_allclose(theta[d], expected, rtol=1e-12)


def test_folding_in_finds_the_posterior_mean():
    """Against the mean over all assignments of a few tokens."""
    phi = np.array([[0.6, 0.1], [0.3, 0.2], [0.1, 0.7]])
    alpha, words = np.array([0.3, 0.8]), [0, 2, 1, 2]
    states = np.array(list(itertools.product((0, 1), repeat=4)))
    n = np.stack([(states == k).sum(axis=1) for k in (0, 1)], axis=1)
    p = np.exp(gammaln(n + alpha).sum(axis=1)) * phi[words, states].prod(axis=1)
    mean = p @ ((n + alpha) / (4 + alpha.sum())) / p.sum()
    theta = infer_theta([stream_of([words], 3)], phi, alpha, np.ones(3), 200_000, 1, SEED)[0]
    np.testing.assert_allclose(theta, mean, atol=0.004)
    fixed_point = infer_theta([stream_of([words], 3)], phi, alpha, np.ones(3), 100, 1)[0]
    assert np.abs(fixed_point - mean).max() > 0.01, "both would do: a weak test"


def test_folding_in_foretells_as_well(model, documents):
    stream = stream_of(documents, V)
    gibbs = clone(model).set_params(transform_method="gibbs", transform_iter=400).fit(stream)
    cvb0 = clone(model).fit(stream)
    assert gibbs.perplexity(stream) == pytest.approx(cvb0.perplexity(stream), rel=0.01)
    assert not np.array_equal(gibbs.transform(stream), cvb0.transform(stream))


def test_an_unknown_method_is_refused(model, documents):
    with pytest.raises(ValueError, match="transform_method must be cvb0 or gibbs, got 'vb'"):
        clone(model).set_params(transform_method="vb").fit(stream_of(documents, V)).transform(stream_of(documents, V))


def test_rows_sum_to_one_and_empty_documents_get_the_prior(documents):
    alpha = np.array([1.0, 2, 3, 4, 5, 6])
    model = GibbsLDA(K, doc_topic_prior=alpha, max_iter=4, random_state=0).fit(stream_of(documents, V))
    theta = model.transform(stream_of(documents, V))
    np.testing.assert_allclose(theta.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(theta[[1, 5]], [alpha / 21] * 2, rtol=1e-12)
    assert theta.dtype == np.float64


@pytest.fixture(params=["cvb0", "gibbs"])
def either(request, model):
    other = copy.copy(model)
    return other.set_params(transform_method=request.param, transform_iter=20)


def test_theta_depends_on_nothing_but_the_document_s_words(either, documents):
    model = either
    whole = model.transform(stream_of(documents, V))
    assert len(np.unique(whole, axis=0)) == len(documents) - 1  # the two empty ones are alike
    order = np.random.default_rng(2).permutation(len(documents))
    np.testing.assert_array_equal(model.transform(stream_of([documents[d] for d in order], V)), whole[order])
    np.testing.assert_array_equal(model.transform(stream_of([words[::-1] for words in documents], V)), whole)
    for d, words in enumerate(documents):
        np.testing.assert_array_equal(model.transform(stream_of([words], V))[0], whole[d])
    counts = np.array([np.bincount(np.array(words, int), minlength=V) for words in documents])
    np.testing.assert_array_equal(model.transform(counts), whole)


@pytest.mark.parametrize("n_jobs", [2, 5, -1])
def test_threads_change_no_byte(either, documents, n_jobs, monkeypatch):
    model = either
    monkeypatch.setattr("fastvbow.topics.inference.BLOCK", 50)
    stream = stream_of(documents * 20, V)
    alone = model.transform(stream)
    model.set_params(n_jobs=n_jobs)
    np.testing.assert_array_equal(model.transform(stream), alone)
    model.set_params(n_jobs=None)


def test_a_small_corpus_keeps_several_threads_busy(model, monkeypatch):
    words = np.random.default_rng(3).integers(0, V, (600, 100), np.uint16)
    stream = TokenStream(words.ravel(), np.arange(601) * 100, V)
    alone = model.transform(stream)
    both = threading.Barrier(2, timeout=20)  # breaks unless two tasks are there together
    first = iter([True, True])

    def infer(*args):
        if next(first, False):
            both.wait()
        return _gibbs.infer(*args)

    monkeypatch.setattr("fastvbow.topics.inference._gibbs", SimpleNamespace(infer=infer))
    model.set_params(n_jobs=2)
    try:
        np.testing.assert_array_equal(model.transform(stream), alone)
    finally:
        model.set_params(n_jobs=None)
    assert next(first, None) is None


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_shards_in_one_call(model, documents, n_jobs, monkeypatch):
    """A list of streams gives the rows of all of them, and one set of threads works through the whole list."""
    whole = model.transform(stream_of(documents * 5, V))
    shards = [stream_of(documents[:3], V), stream_of([], V), *[stream_of(documents[3:] + documents[:3], V)] * 4]
    shards.append(stream_of(documents[3:], V))
    made = []
    monkeypatch.setattr(
        "fastvbow.topics.inference.make_executor", lambda jobs: made.append(jobs) or executors.make_executor(jobs)
    )
    model.set_params(n_jobs=n_jobs)
    try:
        np.testing.assert_array_equal(model.transform(shards), whole)
    finally:
        model.set_params(n_jobs=None)
    assert made == [n_jobs]


def test_blocks_change_no_byte(model, documents, monkeypatch):
    stream = stream_of(documents * 300, V)
    assert stream.n_tokens > 5 * BLOCK
    found = model.transform(stream)
    for block in (1, 100_000, 10**9):
        monkeypatch.setattr("fastvbow.topics.inference.BLOCK", block)
        np.testing.assert_array_equal(model.transform(stream), found)


def test_theta_is_near_the_posterior_mean():
    rng = np.random.default_rng(4)
    phi = rng.dirichlet(np.full(V, 0.1), K)
    words, _ = draw(phi, np.full(K, 0.2), 8, 60, rng)
    alpha = np.full(K, 0.2)
    theta = infer_theta([TokenStream(words.ravel(), np.arange(9) * 60, V)], phi.T.copy(), alpha, np.ones(V), 100, 1)
    for d in range(8):
        # fold-in Gibbs, 800 sweeps
        p = phi[:, words[d]].T
        z = p.argmax(axis=1)
        ndz, mean = np.bincount(z, minlength=K).astype(float), np.zeros(K)
        u = rng.random((800, 60))
        for s in range(800):
            for i in range(60):
                ndz[z[i]] -= 1
                c = np.cumsum((ndz + alpha) * p[i])
                z[i] = np.searchsorted(c, u[s, i] * c[-1])
                ndz[z[i]] += 1
            mean += (ndz + alpha) / (60 + alpha.sum()) / 800
        assert np.abs(theta[d] - mean).sum() < 0.1


def test_fit_transform_is_fit_then_transform(documents):
    X, groups = stream_of(documents, V), np.arange(8) % K
    model = GibbsLDA(K, max_iter=5, random_state=0)
    theta = model.fit_transform(X, doc_groups=groups)
    np.testing.assert_array_equal(theta, model.fit(X, doc_groups=groups).transform(X))


def test_perplexity_of_a_uniform_model_is_the_vocabulary(model, documents):
    uniform = GibbsLDA(K, max_iter=2).fit(stream_of(documents, V))
    uniform.topic_word_ = np.full((K, V), 1 / V)
    assert uniform.perplexity(stream_of(documents, V)) == pytest.approx(V, rel=1e-12)
    assert model.perplexity(stream_of(documents, V)) != pytest.approx(V, rel=1e-3)


def test_perplexity_by_hand(model, documents, monkeypatch):
    logs = []
    for words in documents:
        theta = model.transform(stream_of([words[0::2]], V))[0]
        logs += [np.log(theta @ model.topic_word_[:, w]) for w in words[1::2]]
    assert model.score(stream_of(documents, V)) == pytest.approx(np.mean(logs), rel=1e-12)
    assert model.perplexity(stream_of(documents, V)) == pytest.approx(np.exp(-np.mean(logs)), rel=1e-12)
    monkeypatch.setattr("fastvbow.topics.inference.HELD_OUT", 60)
    assert model.score(stream_of(documents, V)) == pytest.approx(np.mean(logs), rel=1e-12)


def test_perplexity_needs_two_tokens(model):
    with pytest.raises(ValueError, match="at least two tokens"):
        model.perplexity(stream_of([[3], [], [5]], V))


def test_tiny_priors_stay_finite(documents):
    model = GibbsLDA(K, doc_topic_prior=1e-300, topic_word_prior=1e-300, max_iter=3, random_state=0)
    theta = model.fit_transform(stream_of(documents, V))
    np.testing.assert_allclose(theta.sum(axis=1), 1)


@pytest.mark.parametrize("n_topics", [1, 5, 256, 257])
def test_likeliest_topics(n_topics, monkeypatch):
    monkeypatch.setattr(inference, "TOGETHER", 7 * n_topics)  # several blocks, which cut documents
    rng = np.random.default_rng(n_topics)
    documents = [rng.integers(0, 9, n) for n in (0, 13, 1, 0, 20, 0)]
    theta, phi = rng.dirichlet(np.ones(n_topics), 6), rng.dirichlet(np.ones(9), n_topics).T.copy()
    z = likeliest_topics(stream_of(documents, 9), theta, phi)
    assert z.dtype == (np.uint8 if n_topics <= 256 else np.uint16)
    wanted = [(theta[d] * phi[w]).argmax() for d, words in enumerate(documents) for w in words]
    np.testing.assert_array_equal(z, wanted)
