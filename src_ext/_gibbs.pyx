"""Kernels of collapsed Gibbs sampling for latent Dirichlet allocation, and of inference under frozen topics.

Paper symbols (Griffiths & Steyvers 2004, eq. 5): nzw[w, k] tokens of word w in topic k, nz[k] = sum_w nzw[w, k],
ndz[k] tokens of the present document in topic k, z topics, K topics, V words. The tables are word-major, so that the
K numbers that one token needs lie side by side. The samplers themselves are in `sampler.c`; see `sampler.h` for units.

Callers allocate and validate; nothing is checked here. A `first`/`begin`/`end` is a range of documents.
"""

from libc.math cimport fabs
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

ctypedef fused word_t:
    uint16_t
    uint32_t

ctypedef fused topic_t:
    uint8_t
    uint16_t

cdef extern from "sampler.h":
    const char *best_instructions()
    enum: CHECKED
    const uint64_t GAMMA
    uint64_t mix64(uint64_t) noexcept nogil
    uint64_t document_key(uint64_t, uint64_t, uint64_t) noexcept nogil

DEBUG = bool(CHECKED)  # built with FASTVBOW_DEBUG=1


cdef inline double uniform(uint64_t key, uint64_t position) noexcept nogil:
    return <double>(mix64(key + GAMMA * (position + 1)) >> 11) * (1.0 / 9007199254740992.0)


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
    const int32_t[::1] counts,   # IN (V,) units that one token of each word counts for
    int32_t[:, ::1] nzw,         # INOUT (V, padded)
    int64_t[::1] nz,             # INOUT (padded,)
):
    cdef Py_ssize_t i
    cdef int32_t c
    with nogil:
        for i in range(words.shape[0]):
            c = counts[words[i]]
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


def instructions():
    """The best instruction set that the samplers were compiled for and this CPU has: avx512, avx2 or baseline."""
    return best_instructions().decode()


cdef Py_ssize_t tally_bag(
    const word_t[::1] words, Py_ssize_t begin, Py_ssize_t end, uint32_t[::1] tally, Py_ssize_t* low
) except -1 nogil:
    """Count a document's words: from the first, set in `low`, to before the last plus one, returned, they are in order.

    Equal bags give equal bytes however their tokens are ordered.
    """
    cdef Py_ssize_t i, w, high = 0
    low[0] = tally.shape[0]
    for i in range(begin, end):
        w = words[i]
        tally[w] += 1
        low[0] = min(low[0], w)
        high = max(high, w + 1)
    return high


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
    cdef Py_ssize_t K = alpha.shape[0], d, j, k, w, low, high, iteration
    cdef double a = 0.0, c, moved, share, total, x, mass
    cdef double* ndz = &scratch[0, 0]
    cdef double* before = &scratch[1, 0]
    cdef double* gamma
    with nogil:
        for k in range(K):
            a += alpha[k]
        for d in range(begin, end):
            high = tally_bag(words, offsets[d], offsets[d + 1], tally, &low)
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


def fold_in(
    const word_t[::1] words,     # IN (n_tokens,)
    const int64_t[::1] offsets,  # IN (n_docs + 1,)
    const double[::1] weights,   # IN (V,)
    const double[::1] alpha,     # IN (K,)
    const double[:, ::1] phi,    # IN (V, K) p(word | topic), word-major
    Py_ssize_t n_sweeps,         # IN the second half of them is averaged
    uint64_t seed,               # IN
    Py_ssize_t begin,            # IN
    Py_ssize_t end,              # IN
    uint32_t[::1] tally,         # INOUT (V,) zeros, and zeros again at the end
    double[:, ::1] scratch,      # OUT (2, K)
    uint32_t[::1] bag,           # OUT (tokens of the longest document,)
    uint16_t[::1] z,             # OUT (tokens of the longest document,)
    double[:, ::1] theta,        # OUT (n_docs, K)
):
    """Gibbs sampling of a document's topics under frozen phi; the first sweep adds its tokens one by one."""
    cdef Py_ssize_t K = alpha.shape[0], d, i, k, w, n, low, high, sweep, n_kept = n_sweeps - n_sweeps // 2
    cdef double a = 0.0, c, total, left
    cdef uint64_t text, key
    cdef double* ndz = &scratch[0, 0]
    cdef double* cumulated = &scratch[1, 0]
    with nogil:
        for k in range(K):
            a += alpha[k]
        for d in range(begin, end):
            high = tally_bag(words, offsets[d], offsets[d + 1], tally, &low)
            n = 0
            text = 0  # a hash of the bag: the random numbers depend on nothing else
            total = a
            for w in range(low, high):
                if tally[w]:
                    text = mix64(mix64(text + GAMMA * <uint64_t>(w + 1)) + tally[w])
                    total += tally[w] * weights[w]
                    for i in range(tally[w]):
                        bag[n] = <uint32_t>w
                        n += 1
                    tally[w] = 0
            for k in range(K):
                ndz[k] = 0.0
                theta[d, k] = alpha[k] / total if n else alpha[k] / a
            for sweep in range(n_sweeps if n else 0):
                key = document_key(seed, <uint64_t>sweep, text)
                for i in range(n):
                    w = bag[i]
                    c = weights[w]
                    if sweep:
                        ndz[z[i]] -= c
                    left = 0.0
                    for k in range(K):
                        left += (ndz[k] + alpha[k]) * phi[w, k]
                        cumulated[k] = left
                    if left > 0.0:
                        left *= uniform(key, <uint64_t>i)
                        k = 0
                        while k < K - 1 and cumulated[k] <= left:
                            k += 1
                    else:  # a word that no topic can hold (all underflown) tells nothing
                        k = min(<Py_ssize_t>(uniform(key, <uint64_t>i) * K), K - 1)
                    z[i] = <uint16_t>k
                    ndz[k] += c
                if sweep >= n_sweeps // 2:
                    for k in range(K):
                        theta[d, k] += ndz[k] / (n_kept * total)
