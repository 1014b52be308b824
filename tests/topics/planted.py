"""Corpora whose topics are known."""

import numpy as np
from scipy.optimize import linear_sum_assignment

from fastvbow.topics import TokenStream


def stream_of(documents, n_words, dtype=np.uint16):
    words = np.array([w for document in documents for w in document], dtype=dtype)
    offsets = np.concatenate([[0], np.cumsum([len(document) for document in documents])]).astype(np.int64)
    return TokenStream(words, offsets, n_words)


def draw(phi, alpha, n_docs, length, rng):
    """Word ids (n_docs, length) and theta of documents drawn from a model."""
    theta = rng.dirichlet(alpha, n_docs)
    cumulated = np.cumsum(phi, axis=1)
    words = np.empty((n_docs, length), np.uint16)
    for d in range(n_docs):
        z = rng.choice(len(phi), length, p=theta[d])
        for k in np.unique(z):
            words[d, z == k] = np.minimum(np.searchsorted(cumulated[k], rng.random((z == k).sum())), phi.shape[1] - 1)
    return words, theta


def corpus(n_topics, n_words, n_docs, length, alpha, seed=0):
    """phi ~ Dirichlet(.1), theta and the documents drawn from them, as a stream."""
    rng = np.random.default_rng(seed)
    phi = rng.dirichlet(np.full(n_words, 0.1), n_topics)
    words, theta = draw(phi, np.full(n_topics, alpha), n_docs, length, rng)
    return phi, theta, TokenStream(words.ravel(), np.arange(n_docs + 1) * length, n_words)


def bars(side=5):
    """The 2 * side horizontal and vertical bars of Griffiths & Steyvers (2004)."""
    pictures = np.zeros((2 * side, side, side))
    for i in range(side):
        pictures[i, i, :] = 1 / side
        pictures[side + i, :, i] = 1 / side
    return pictures.reshape(2 * side, side * side)


def matched_correlation(found, truth):
    """Correlation of each true topic with the found one that matches it best, one to one."""
    k = len(truth)
    correlation = np.corrcoef(truth, found)[:k, k:]
    return correlation[linear_sum_assignment(-correlation)]
