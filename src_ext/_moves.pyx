"""Kernels of the split-merge moves: the tokens of some topics, and a chain of two topics on those of one.

Names are those of `_gibbs.pyx`. Counts are in tokens by weight, float64: weights are multiples of 1/64, so sums are
exact. Callers allocate and validate; nothing is checked here.
"""

from libc.math cimport lgamma
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

ctypedef fused topic_t:
    uint8_t
    uint16_t

cdef extern from "split.h":
    ctypedef struct split_t:
        const uint32_t *words
        const int64_t *edges
        const int64_t *numbers
        const double *weights
        int64_t n_docs, n_words
        double alpha, eta
        uint64_t seed
        uint8_t *z
        double *nzw
        double *ndz
        double *share
    void split_topic(const split_t *, int64_t) noexcept nogil


def group_tokens(
    const topic_t[::1] z,        # IN (n_tokens,)
    Py_ssize_t first,            # IN topics first..first + len(at)
    int64_t[::1] at,             # INOUT where the next token of each topic goes
    uint32_t[::1] positions,     # OUT of the topics' tokens in z, ascending
):
    cdef Py_ssize_t i, t, n = at.shape[0]
    with nogil:
        for i in range(z.shape[0]):
            t = <Py_ssize_t>z[i] - first
            if 0 <= t < n:
                positions[at[t]] = <uint32_t>i
                at[t] += 1


def split(
    const uint32_t[::1] words,   # IN (n,) of a topic's tokens, document by document
    const int64_t[::1] edges,    # IN (n_docs + 1,) where the documents begin
    const int64_t[::1] numbers,  # IN (n_docs,) of the documents in the corpus
    const double[::1] weights,   # IN (V,)
    double alpha,                # IN of either half
    double eta,                  # IN
    uint64_t seed,               # IN
    int64_t n_sweeps,            # IN
    uint8_t[::1] z,              # OUT (n,) halves, 0 or 1
    double[:, ::1] nzw,          # INOUT (V, 2) zeros, then counts
    double[:, ::1] ndz,          # OUT (n_docs, 2)
    double[::1] share,           # OUT (n,) p(first half) of a token given all others
):
    """Collapsed Gibbs sampling of two topics, from a random start; see `split.c`."""
    cdef split_t s
    if words.shape[0] == 0:
        return
    s.words, s.edges, s.numbers, s.weights = &words[0], &edges[0], &numbers[0], &weights[0]
    s.n_docs, s.n_words, s.alpha, s.eta, s.seed = numbers.shape[0], nzw.shape[0], alpha, eta, seed
    s.z, s.nzw, s.ndz, s.share = &z[0], &nzw[0, 0], &ndz[0, 0], &share[0]
    with nogil:
        split_topic(&s, n_sweeps)


def pair_gains(
    const double[:, ::1] counts,  # IN (K, n) whole numbers of units
    double unit,                  # IN
    double prior,                 # IN
    const double[::1] rises,      # IN log Gamma(i * unit + prior) - log Gamma(prior) for i = 0, 1, ...
    double scale,                 # IN
    double[:, ::1] gains,         # INOUT (K, K) above its diagonal
):
    """Add scale times what the sums of two rows bring over them both; only columns that hold both contribute."""
    cdef Py_ssize_t K = counts.shape[0], n = counts.shape[1], k, i, j, first, last, a, b
    cdef int64_t known = rises.shape[0], both
    cdef double one = lgamma(prior), together
    cdef int64_t[:, ::1] units = np.empty((8, K), np.int64), topics = np.empty((8, K), np.int64)
    cdef double[:, ::1] alone = np.empty((8, K))
    cdef int64_t[::1] filled = np.empty(8, np.int64)
    with nogil:
        for first in range(0, n, 8):  # columns that share cache lines
            last = min(first + 8, n)
            filled[:] = 0
            for k in range(K):
                for i in range(first, last):
                    if counts[k, i] > 0:
                        j = filled[i - first]
                        both = <int64_t>(counts[k, i] / unit + 0.5)
                        topics[i - first, j] = k
                        units[i - first, j] = both
                        alone[i - first, j] = rises[both] if both < known else lgamma(counts[k, i] + prior) - one
                        filled[i - first] = j + 1
            for i in range(last - first):
                for a in range(filled[i]):
                    for b in range(a + 1, filled[i]):
                        both = units[i, a] + units[i, b]
                        together = rises[both] if both < known else lgamma(both * unit + prior) - one
                        gains[topics[i, a], topics[i, b]] += scale * (together - alone[i, a] - alone[i, b])
