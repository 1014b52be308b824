"""The collapsed joint likelihood log p(w, z) (Griffiths & Steyvers 2004, eq. 2 and 3), in sums made anywhere.

Each document's term is rounded to a multiple of 2^-32 nats and summed as a whole number: such sums are exact, so they
do not depend on where a corpus is cut or who adds them up, and no document's term has to be kept. A document has
hundreds of nats. Earlier versions summed the terms as they are, so their figures differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

import fastvbow.topics._gibbs as _gibbs
from fastvbow.topics.stream import TokenStream

__all__ = ["STEPS", "count_topics", "document_terms", "joint_likelihood"]

STEPS = 2**32
"""Steps of a nat."""
NDZ_CELLS = 4_000_000  # document-topic counts held at once


def count_topics(
    stream: TokenStream, z: NDArray[Any], weights: NDArray[np.float64], n_topics: int
) -> Iterator[tuple[int, int, NDArray[np.float64]]]:
    """Tokens of documents in every topic, by weight.

    Parameters
    ----------
    stream : TokenStream
    z : ndarray of shape (n_tokens,), uint8 or uint16
    weights : ndarray of shape (V,), float64
    n_topics : int

    Yields
    ------
    begin, end : int
        Which documents.
    ndz : ndarray of shape (end - begin, K), float64
    """
    step = max(1, NDZ_CELLS // n_topics)
    for begin in range(0, stream.n_docs, step):
        end = min(begin + step, stream.n_docs)
        ndz = np.empty((end - begin, n_topics))
        _gibbs.count_documents(stream.words, stream.offsets, z, weights, begin, end, ndz)
        yield begin, end, ndz


def document_terms(ndz: NDArray[np.float64], alpha: NDArray[np.float64]) -> int:
    """log p(z) of some documents, in steps.

    Parameters
    ----------
    ndz : ndarray of shape (n_docs, K), float64
        Tokens of each in every topic.
    alpha : ndarray of shape (K,), float64
    """
    terms = np.zeros_like(ndz)
    d, k = np.nonzero(ndz)  # cells that count nothing contribute exactly nothing
    terms[d, k] = gammaln(ndz[d, k] + alpha[k]) - gammaln(alpha[k])
    lengths = gammaln(alpha.sum()) - gammaln(ndz.sum(axis=1) + alpha.sum())
    steps = np.rint((terms.sum(axis=1) + lengths) * STEPS).astype(np.int64)
    # in two halves, as many documents together have more than 64 bits
    return int((steps >> 32).sum()) * 2**32 + int((steps & (2**32 - 1)).sum())


def joint_likelihood(nzw: NDArray[np.float64], nz: NDArray[Any], eta: float, documents: int) -> float:
    """log p(w, z) per token, tokens counted by weight.

    Parameters
    ----------
    nzw : ndarray of shape (V, K), float64
        Tokens of every word in every topic.
    nz : ndarray of shape (K,), float64
        Tokens of every topic.
    eta : float
    documents : int
        The sum of `document_terms` over all documents.
    """
    n_words = len(nzw)
    log_w = np.sum(gammaln(nzw[nzw > 0] + eta) - gammaln(eta))
    log_w += np.sum(gammaln(n_words * eta) - gammaln(nz + n_words * eta))
    return float((log_w + documents / STEPS) / nz.sum())
