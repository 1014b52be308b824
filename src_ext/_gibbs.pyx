# cython: boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""Kernels of collapsed Gibbs sampling for latent Dirichlet allocation, and of inference under frozen topics.

Paper symbols (Griffiths & Steyvers 2004, eq. 5): nzw[w, k] tokens of word w in topic k, nz[k] = sum_w nzw[w, k],
ndz[k] tokens of the present document in topic k, z topics, K topics, V words. The tables are word-major, so that the
K numbers that one token needs lie side by side. Every count is a float64 sum of token weights that are multiples of
1/64, hence exact: adding and removing a token leaves no residue.

Callers allocate and validate; nothing is checked here. A `first`/`begin`/`end` is a range of documents.
"""

from libc.math cimport fabs
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef fused word_t:
    uint16_t
    uint32_t

ctypedef fused topic_t:
    uint8_t
    uint16_t

# Weyl increment and finaliser of SplitMix64 (Steele, Lea & Flood 2014)
cdef uint64_t GAMMA = 0x9E3779B97F4A7C15ULL


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9ULL
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EBULL
    return x ^ (x >> 31)


cdef inline uint64_t document_key(uint64_t seed, uint64_t sweep, uint64_t document) noexcept nogil:
    # one SplitMix64 stream per (seed, sweep, document): however the corpus is cut, a token draws the same number
    return mix(mix(mix(seed + GAMMA) + GAMMA * (sweep + 1)) + GAMMA * (document + 1))


cdef inline double uniform(uint64_t key, uint64_t position) noexcept nogil:
    return <double>(mix(key + GAMMA * (position + 1)) >> 11) * (1.0 / 9007199254740992.0)


cdef inline Py_ssize_t first_above(const double* cumulated, Py_ssize_t K, double u) noexcept nogil:
    # smallest k with u < cumulated[k]; K - 1 where rounding leaves none
    cdef const double* base = cumulated
    cdef Py_ssize_t n = K, half, k = 0
    if K <= 64:
        # a branch that predicts well enough lets the next token begin before this one is known
        while k < K - 1 and cumulated[k] <= u:
            k += 1
        return k
    while n > 1:
        half = n >> 1
        base += half * (base[half - 1] <= u)
        n -= half
    return base - cumulated


def initialise(
    const int64_t[::1] offsets,  # IN (n_docs + 1,)
    const int64_t[::1] groups,   # IN (n_docs,) topic to start from, -1 = unknown
    double fraction,             # IN chance that a token of a known document takes its group
    Py_ssize_t K,                # IN
    uint64_t seed,               # IN
    uint64_t first_document,     # IN number of this partition's first document in the whole corpus
    topic_t[::1] z,              # OUT (n_tokens,)
):
    cdef Py_ssize_t d, i, k
    cdef uint64_t key
    cdef double u
    with nogil:
        for d in range(groups.shape[0]):
            key = document_key(seed, 0, first_document + <uint64_t>d)
            for i in range(offsets[d], offsets[d + 1]):
                u = uniform(key, <uint64_t>(i - offsets[d]))
                if groups[d] >= 0 and u < fraction:
                    k = groups[d]
                else:
                    if groups[d] >= 0:
                        u = (u - fraction) / (1.0 - fraction)
                    k = min(<Py_ssize_t>(u * K), K - 1)
                z[i] = <topic_t>k


def count_words(
    const word_t[::1] words,     # IN (n_tokens,)
    const topic_t[::1] z,        # IN (n_tokens,)
    const double[::1] weights,   # IN (V,) tokens that one token of each word counts for
    double[:, ::1] nzw,          # INOUT (V, K)
    double[::1] nz,              # INOUT (K,)
):
    cdef Py_ssize_t i
    cdef double c
    with nogil:
        for i in range(words.shape[0]):
            c = weights[words[i]]
            nzw[words[i], z[i]] += c
            nz[z[i]] += c


def count_documents(
    const word_t[::1] words,     # IN (n_tokens,)
    const int64_t[::1] offsets,  # IN (n_docs + 1,)
    const topic_t[::1] z,        # IN (n_tokens,)
    const double[::1] weights,   # IN (V,)
    Py_ssize_t begin,            # IN
    Py_ssize_t end,              # IN
    double[:, ::1] ndz,          # OUT (end - begin, K)
):
    cdef Py_ssize_t d, i
    with nogil:
        ndz[:, :] = 0.0
        for d in range(begin, end):
            for i in range(offsets[d], offsets[d + 1]):
                ndz[d - begin, z[i]] += weights[words[i]]


def sweep(
    const word_t[::1] words,     # IN (n_tokens,)
    const int64_t[::1] offsets,  # IN (n_docs + 1,)
    const double[::1] weights,   # IN (V,)
    const double[::1] alpha,     # IN (K,)
    double eta,                  # IN
    uint64_t seed,               # IN
    uint64_t number,             # IN sweep number; 0 is the initialisation
    uint64_t first_document,     # IN number of this partition's first document in the whole corpus
    Py_ssize_t begin,            # IN
    Py_ssize_t end,              # IN
    topic_t[::1] z,              # INOUT (n_tokens,)
    double[:, ::1] nzw,          # INOUT (V, K)
    double[::1] nz,              # INOUT (K,)
    double[:, ::1] scratch,      # OUT (3, K) this document's ndz, 1 / (nz + V eta), cumulated probabilities
):
    """Sample every token of documents begin..end once, in order (the exact sequential chain)."""
    cdef Py_ssize_t K = nz.shape[0], d, i, k, position
    cdef double v_eta = eta * <double>nzw.shape[0], c, total
    cdef uint64_t key
    cdef double* ndz = &scratch[0, 0]
    cdef double* reciprocal = &scratch[1, 0]
    cdef double* p = &scratch[2, 0]
    cdef double* n_word
    with nogil:
        for k in range(K):
            reciprocal[k] = 1.0 / (nz[k] + v_eta)
        for d in range(begin, end):
            key = document_key(seed, number, first_document + <uint64_t>d)
            for k in range(K):
                ndz[k] = 0.0
            for i in range(offsets[d], offsets[d + 1]):
                ndz[z[i]] += weights[words[i]]
            for i in range(offsets[d], offsets[d + 1]):
                c = weights[words[i]]
                n_word = &nzw[words[i], 0]
                k = z[i]
                ndz[k] -= c
                n_word[k] -= c
                nz[k] -= c
                reciprocal[k] = 1.0 / (nz[k] + v_eta)
                # p(z_i = k | rest) ~ (ndz + alpha_k) (nzw + eta) / (nz + V eta)
                total = 0.0
                for k in range(K):
                    total += (ndz[k] + alpha[k]) * (n_word[k] + eta) * reciprocal[k]
                    p[k] = total
                k = first_above(p, K, uniform(key, <uint64_t>(i - offsets[d])) * total)
                ndz[k] += c
                n_word[k] += c
                nz[k] += c
                reciprocal[k] = 1.0 / (nz[k] + v_eta)
                z[i] = <topic_t>k


def infer(
    const word_t[::1] words,     # IN (n_tokens,)
    const int64_t[::1] offsets,  # IN (n_docs + 1,)
    const double[::1] weights,   # IN (V,)
    const double[::1] alpha,     # IN (K,)
    const double[:, ::1] phi,    # IN (V, K) p(word | topic), word-major
    Py_ssize_t max_iter,         # IN
    double tol,                  # IN stop where the topic counts move by less than this share of the document
    Py_ssize_t begin,            # IN
    Py_ssize_t end,              # IN
    uint32_t[::1] tally,         # INOUT (V,) zeros, and zeros again at the end
    double[:, ::1] scratch,      # OUT (2 + distinct words of the richest document, K)
    double[:, ::1] theta,        # OUT (n_docs, K)
):
    """CVB0 fixed point under frozen phi (Asuncion et al. 2009, eq. 20), one document at a time."""
    cdef Py_ssize_t K = alpha.shape[0], d, i, j, k, w, low, high, iteration
    cdef double a = 0.0, c, moved, share, total, x, mass
    cdef double* ndz = &scratch[0, 0]
    cdef double* before = &scratch[1, 0]
    cdef double* gamma
    with nogil:
        for k in range(K):
            a += alpha[k]
        for d in range(begin, end):
            # the bag, in word order: equal bags give equal bytes however their tokens are ordered
            low = tally.shape[0]
            high = 0
            for i in range(offsets[d], offsets[d + 1]):
                w = words[i]
                tally[w] += 1
                low = min(low, w)
                high = max(high, w + 1)
            mass = 0.0
            for k in range(K):
                ndz[k] = 0.0
            j = 2
            for w in range(low, high):
                if tally[w]:
                    c = tally[w] * weights[w]
                    mass += c
                    gamma = &scratch[j, 0]
                    total = 0.0
                    for k in range(K):
                        gamma[k] = alpha[k] / a * phi[w, k]
                        total += gamma[k]
                    for k in range(K):
                        # a word that no topic can hold (all underflown) tells nothing: the prior
                        gamma[k] = gamma[k] / total if total > 0.0 else alpha[k] / a
                        ndz[k] += c * gamma[k]
                    j += 1
            for iteration in range(max_iter):
                for k in range(K):
                    before[k] = ndz[k]
                j = 2
                for w in range(low, high):
                    if tally[w]:
                        gamma = &scratch[j, 0]
                        total = 0.0
                        for k in range(K):
                            # gamma_wk ~ (ndz without this token + alpha_k) phi_kw
                            x = ndz[k] - weights[w] * gamma[k]
                            total += ((x if x > 0.0 else 0.0) + alpha[k]) * phi[w, k]
                        if total > 0.0:
                            share = 1.0 / total
                            c = tally[w] * weights[w]
                            for k in range(K):
                                x = ndz[k] - weights[w] * gamma[k]
                                x = ((x if x > 0.0 else 0.0) + alpha[k]) * phi[w, k] * share
                                ndz[k] += c * (x - gamma[k])
                                gamma[k] = x
                        j += 1
                moved = 0.0
                for k in range(K):
                    moved += fabs(ndz[k] - before[k])
                if moved <= tol * mass:
                    break
            total = 0.0
            for k in range(K):
                theta[d, k] = (ndz[k] if ndz[k] > 0.0 else 0.0) + alpha[k]
                total += theta[d, k]
            for k in range(K):
                theta[d, k] /= total
            for w in range(low, high):
                tally[w] = 0
