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
    ctypedef struct sampler_t:
        int32_t *nzw
        int64_t *nz
        const float *alpha
        const int32_t *counts
        float eta, v_eta
        int32_t n_topics, n_vectors, n_words, most_units, word_bytes, topic_bytes, far
        uint64_t seed, sweep
        float *ndz
        float *share
        float *settled
        float *reciprocal
        float *cumulated
        float *again
        uint32_t *stamps
        void *random
        int32_t width, active, rounds
        uint32_t serial, shared, waiting
        float epsilon
    ctypedef struct feed_t:
        const void *words
        const int64_t *offsets
        void *z
        int64_t next, end
        uint64_t first_document
    ctypedef int64_t (*sample_t)(sampler_t *, feed_t *, int, int64_t) noexcept nogil
    sample_t sample_for(const char *, int)
    const char *best_instructions()
    void put_back(sampler_t *) noexcept nogil
    enum: LANES
    enum: MOST
    enum: REFRESH
    enum: CHECKED
    const uint64_t GAMMA
    uint64_t mix64(uint64_t) noexcept nogil
    uint64_t document_key(uint64_t, uint64_t, uint64_t) noexcept nogil

DEBUG = bool(CHECKED)  # built with FASTVBOW_DEBUG=1
VECTOR_TOPICS = LANES  # rows of topics are padded to a multiple of it
MOST_DOCUMENTS = MOST  # that a sampler can advance together
cdef int64_t CACHE = 1 << 21  # bytes; prefetching costs a tenth where the counts fit, and gains half where they do not


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


cdef class Sampler:
    """One chain's walk through documents, kept between calls: documents are in flight from one call to the next.

    Arrays belong to the caller and must stay alive and in place. Those of K columns are padded with zeros to a multiple
    of LANES and begin at multiples of 64 bytes.
    """

    cdef sampler_t s
    cdef sample_t sample
    cdef object kept

    def __init__(
        self,
        int32_t[:, ::1] nzw,        # INOUT (V, padded) counts in units
        int64_t[::1] nz,            # INOUT (padded,)
        const float[::1] alpha,     # IN (padded,) in units
        const int32_t[::1] counts,  # IN (V,) units that one token of each word counts for
        double eta,                 # IN in units
        int n_topics,               # IN
        int word_bytes,             # IN 2 or 4
        int topic_bytes,            # IN 1 or 2
        float[:, ::1] scratch,      # OUT (3 * width + 2, padded)
        float[:, ::1] cumulated,    # OUT (width, padded)
        uint32_t[::1] stamps,       # OUT (V,) zeros
        uint32_t[:, ::1] random,    # OUT (2, MOST)
        bint exact,                 # IN
        bytes instructions,         # IN
    ):
        cdef int width = cumulated.shape[0], i
        self.sample = sample_for(instructions, exact)
        if self.sample is NULL:
            raise ValueError(f"this machine, or this build, has no {instructions.decode()} sampler")
        for address in (<size_t>&nzw[0, 0], <size_t>&alpha[0], <size_t>&scratch[0, 0], <size_t>&cumulated[0, 0],
                        <size_t>&random[0, 0]):
            if address % 64:
                raise ValueError("the arrays of a sampler begin at multiples of 64 bytes")
        if not 1 <= width <= MOST or scratch.shape[0] < 3 * width + 2 or nz.shape[0] % LANES or n_topics > nz.shape[0]:
            raise ValueError("the arrays of a sampler do not fit together")
        self.kept = (nzw, nz, alpha, counts, scratch, cumulated, stamps, random)
        self.s.nzw, self.s.nz, self.s.alpha, self.s.counts = &nzw[0, 0], &nz[0], &alpha[0], &counts[0]
        self.s.eta, self.s.v_eta = eta, eta * nzw.shape[0]
        self.s.n_topics, self.s.n_vectors, self.s.width = n_topics, nz.shape[0] // LANES, width
        self.s.n_words, self.s.most_units = nzw.shape[0], 0
        for i in range(counts.shape[0]):
            self.s.most_units = max(self.s.most_units, counts[i])
        self.s.word_bytes, self.s.topic_bytes = word_bytes, topic_bytes
        self.s.far = 4 * nzw.shape[0] * nzw.shape[1] > CACHE
        self.s.ndz, self.s.share = &scratch[0, 0], &scratch[width, 0]
        self.s.settled = &scratch[2 * width, 0]
        self.s.reciprocal, self.s.again = &scratch[3 * width, 0], &scratch[3 * width + 1, 0]
        self.s.cumulated, self.s.stamps, self.s.random = &cumulated[0, 0], &stamps[0], &random[0, 0]
        self.s.serial = 1

    def begin(self, uint64_t seed, uint64_t sweep):
        """Start a sweep; none is under way."""
        self.s.seed, self.s.sweep, self.s.rounds = seed, sweep, REFRESH

    def feed(
        self,
        const word_t[::1] words,     # IN (n_tokens,)
        const int64_t[::1] offsets,  # IN (n_docs + 1,)
        topic_t[::1] z,              # INOUT (n_tokens,)
        int64_t begin,               # IN documents begin..end
        int64_t end,                 # IN
        uint64_t first_document,     # IN number of the partition's first document in the whole corpus
        int64_t budget,              # IN tokens to sample, about
    ):
        """Sample documents, and return the first that was not begun; those in flight go on with the next call."""
        cdef feed_t f
        if sizeof(word_t) != self.s.word_bytes or sizeof(topic_t) != self.s.topic_bytes:
            raise ValueError("tokens of another dtype than the sampler's")
        if words.shape[0] == 0:
            return end
        f.words, f.offsets, f.z = &words[0], &offsets[0], &z[0]
        f.next, f.end, f.first_document = begin, end, first_document
        with nogil:
            self.sample(&self.s, &f, 0, budget)
        return f.next

    def drain(self, int64_t budget):
        """Go on with the documents in flight; return how many still are."""
        cdef feed_t f
        f.next, f.end, f.offsets = 0, 0, NULL
        with nogil:
            self.sample(&self.s, &f, 1, budget)
        return self.s.active

    def abandon(self):
        """Put the tokens that are being drawn back where they were: counts and topics agree again."""
        put_back(&self.s)


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
    cdef Py_ssize_t K = alpha.shape[0], d, i, j, k, w, n, low, high, sweep, n_kept = n_sweeps - n_sweeps // 2
    cdef double a = 0.0, c, total, left
    cdef uint64_t text, key
    cdef double* ndz = &scratch[0, 0]
    cdef double* cumulated = &scratch[1, 0]
    with nogil:
        for k in range(K):
            a += alpha[k]
        for d in range(begin, end):
            # the bag, in word order, is all that theta depends on: the random numbers too
            low = tally.shape[0]
            high = 0
            for i in range(offsets[d], offsets[d + 1]):
                w = words[i]
                tally[w] += 1
                low = min(low, w)
                high = max(high, w + 1)
            n = 0
            text = 0
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
