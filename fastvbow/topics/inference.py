"""Topics of documents under frozen phi, and how well they foretell held-out words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastvbow.topics._gibbs as _gibbs
from fastvbow.executors import make_executor, run_tasks
from fastvbow.topics.stream import TokenStream

__all__ = ["complete_documents", "infer_theta", "likeliest_topics"]

TOLERANCE = 1e-3  # a document is done when an iteration moves less than this share of its tokens
BLOCK = 20_000  # tokens a task takes: some milliseconds' work, so that a few hundred images keep several threads busy
HELD_OUT = 200_000  # tokens of the perplexity looked at together
TOGETHER = 2**22  # numbers of `likeliest_topics` that are in memory at once, about


def infer_theta(
    streams: Sequence[TokenStream],
    phi: NDArray[np.float64],
    alpha: NDArray[np.float64],
    weights: NDArray[np.float64],
    max_iter: int,
    n_threads: int,
    seed: int | None = None,
) -> NDArray[np.float64]:
    """Theta of every document, each by itself: neither its neighbours nor the number of threads change a byte.

    Parameters
    ----------
    streams : sequence of TokenStream
    phi : ndarray of shape (V, K), float64
        p(word | topic), word-major.
    alpha : ndarray of shape (K,), float64
    weights : ndarray of shape (V,), float64
    max_iter : int
        Iterations at most for a document, or sweeps.
    n_threads : int
    seed : int, default=None
        Of fold-in Gibbs sampling; None is the fixed point of CVB0.

    Returns
    -------
    theta : ndarray of shape (n_docs, K), float64
        Rows sum to 1; a document without words gets ``alpha / alpha.sum()``.
    """
    theta = np.empty((sum(stream.n_docs for stream in streams), len(alpha)))

    def run(task: tuple[TokenStream, int, int, NDArray[np.float64]]) -> None:
        stream, begin, end, out = task
        longest = int(np.diff(stream.offsets[begin : end + 1]).max())
        tally = np.zeros(stream.n_words, np.uint32)
        fixed = (stream.words, stream.offsets, weights, alpha, phi, max_iter)
        if seed is None:
            scratch = np.empty((2 + min(longest, stream.n_words), len(alpha)))
            _gibbs.infer(*fixed, TOLERANCE, begin, end, tally, scratch, out)
        else:
            bag, z = np.empty(longest, np.uint32), np.empty(longest, np.uint16)
            _gibbs.fold_in(*fixed, seed, begin, end, tally, np.empty((2, len(alpha))), bag, z, out)

    def tasks() -> Iterator[tuple[TokenStream, int, int, NDArray[np.float64]]]:
        first = 0
        for stream in streams:
            out = theta[first : first + stream.n_docs]
            yield from ((stream, begin, end, out) for begin, end in stream.blocks(BLOCK))
            first += stream.n_docs

    with make_executor(n_threads) as executor:
        for _ in run_tasks(executor, run, tasks(), ahead=2 * n_threads):
            pass
    return theta


def likeliest_topics(stream: TokenStream, theta: NDArray[np.float64], phi: NDArray[np.float64]) -> NDArray[Any]:
    """The most probable topic of every token given its document's mixture: argmax_k theta_dk phi_kw.

    Parameters
    ----------
    stream : TokenStream
    theta : ndarray of shape (n_docs, K), float64
    phi : ndarray of shape (V, K), float64
        p(word | topic), word-major.

    Returns
    -------
    ndarray of shape (n_tokens,), uint8 (K <= 256) or uint16
        The first of equals.
    """
    n_topics = phi.shape[1]
    z = np.empty(stream.n_tokens, np.uint8 if n_topics <= 256 else np.uint16)
    document = np.repeat(np.arange(stream.n_docs), np.diff(stream.offsets))
    step = max(1, TOGETHER // n_topics)
    for i in range(0, len(z), step):
        p = phi[stream.words[i : i + step]]
        p *= theta[document[i : i + step]]
        z[i : i + step] = p.argmax(axis=1)
    return z


def complete_documents(streams: Sequence[TokenStream], phi: NDArray[np.float64], *how: Any) -> tuple[float, int]:
    """Document completion (Wallach et al. 2009, section 5): theta from every second token, then the others' log p.

    Parameters
    ----------
    streams : sequence of TokenStream
    phi : ndarray of shape (V, K), float64
    how
        The other arguments of `infer_theta`.

    Returns
    -------
    log_likelihood : float
        Sum over the held-out tokens of log sum_k theta_dk phi_kw.
    n_tokens : int
        How many were held out.
    """
    total, n_tokens = 0.0, 0
    for stream in streams:
        for begin, end in stream.blocks(HELD_OUT):
            observed, words, documents = stream.part(begin, end).halves()
            theta = infer_theta([observed], phi, *how)
            for i in range(0, len(words), 50_000):
                p = np.einsum("ik,ik->i", theta[documents[i : i + 50_000]], phi[words[i : i + 50_000]])
                total += float(np.log(p).sum())
            n_tokens += len(words)
    return total, n_tokens
