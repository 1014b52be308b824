"""Collapsed Gibbs LDA against its peers: tokens a second, and held-out perplexity by one function for all.

    pytest benchmarks/bench_lda.py --benchmark-enable

The corpus is planted (random phi, K = 20, V = 300, 300 tokens a document). Peers that are not installed are skipped:
tomotopy (one worker), lda. ``extra_info`` holds the perplexity of document completion of each model, and the truth's.
"""

from __future__ import annotations

import numpy as np
import pytest

from fastvbow import GibbsLDA
from fastvbow.topics.stream import TokenStream

K, V, N_DOCS, LENGTH, SWEEPS = 20, 300, 3000, 300, 50


@pytest.fixture(scope="module")
def corpus():
    """Planted documents: (train words (n, LENGTH), held-out words, phi)."""
    rng = np.random.default_rng(0)
    phi = rng.dirichlet(np.full(V, 0.05), K)
    theta = rng.dirichlet(np.full(K, 0.1), N_DOCS + 500)
    words = np.array([rng.choice(V, LENGTH, p=mixture @ phi) for mixture in theta], dtype=np.uint16)
    return words[:N_DOCS], words[N_DOCS:], phi


def stream(words):
    """The documents as tokens."""
    return TokenStream(words.ravel().copy(), np.arange(len(words) + 1, dtype=np.int64) * words.shape[1], V)


def perplexity(phi, held_out):
    """Document completion under any model's phi: theta by EM on the first half, exp of the mean -log p on the
    second."""
    half = held_out.shape[1] // 2
    total = 0.0
    for words in held_out:
        seen = phi[:, words[:half]]
        theta = np.full(len(phi), 1 / len(phi))
        for _ in range(100):
            share = theta[:, None] * seen
            theta = (share / share.sum(axis=0)).sum(axis=1) + 0.1
            theta /= theta.sum()
        total += np.log(theta @ phi[:, words[half:]]).sum()
    return float(np.exp(-total / (len(held_out) * half)))


def record(benchmark, phi, corpus):
    """Note quality and speed beside the time."""
    _, held_out, truth = corpus
    benchmark.extra_info["perplexity"] = round(perplexity(phi, held_out), 3)
    benchmark.extra_info["perplexity of the truth"] = round(perplexity(truth, held_out), 3)
    if benchmark.stats is not None:
        rate = N_DOCS * LENGTH * SWEEPS / benchmark.stats.stats.median
        benchmark.extra_info["million tokens a second"] = round(rate / 1e6, 2)


@pytest.mark.benchmark(group="lda-train")
def test_fastvbow(benchmark, corpus):
    tokens = stream(corpus[0])
    fit = GibbsLDA(K, doc_topic_prior=0.1, topic_word_prior=0.05, max_iter=SWEEPS, thin=SWEEPS // 2, random_state=0).fit
    model = benchmark.pedantic(fit, (tokens,), rounds=3, warmup_rounds=1)
    record(benchmark, model.topic_word_, corpus)


@pytest.mark.benchmark(group="lda-train")
def test_tomotopy(benchmark, corpus):
    tomotopy = pytest.importorskip("tomotopy")

    def build():
        model = tomotopy.LDAModel(k=K, alpha=0.1, eta=0.05, seed=0)
        model.optim_interval = 0
        for words in corpus[0]:
            model.add_doc([str(w) for w in words])
        model.train(0)
        return (model,), {}

    def train(model):
        model.train(SWEEPS, workers=1)
        return model

    model = benchmark.pedantic(train, setup=build, rounds=3)
    order = [int(word) for word in model.used_vocabs]
    phi = np.full((K, V), 1e-12)
    phi[:, order] = [model.get_topic_word_dist(k) for k in range(K)]
    record(benchmark, phi / phi.sum(axis=1, keepdims=True), corpus)


@pytest.mark.benchmark(group="lda-train")
def test_lda(benchmark, corpus):
    lda = pytest.importorskip("lda")
    counts = np.array([np.bincount(words, minlength=V) for words in corpus[0]])

    def train():
        return lda.LDA(K, n_iter=SWEEPS, alpha=0.1, eta=0.05, random_state=0, refresh=SWEEPS).fit(counts)

    model = benchmark.pedantic(train, rounds=1)
    record(benchmark, model.topic_word_, corpus)
