"""The samplers of `sampler.c` and `sparse.c`, each as a walk through documents that is kept between calls.

Names and units are those of `_gibbs.pyx` and `sampler.h`. Callers allocate and validate. Arrays belong to the caller
and must stay alive and in place; those of K numbers are padded with zeros to a multiple of LANES and begin at multiples
of 64 bytes.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

from fastvbow.memory import aligned

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
    void put_back(sampler_t *) noexcept nogil
    enum: LANES
    enum: MOST
    enum: REFRESH

cdef extern from "sparse.h":
    ctypedef struct sparse_t:
        const int64_t *first
        int32_t *fill
        uint16_t *topics
        int32_t *lists
        int64_t *nz
        const float *alpha
        const int32_t *counts
        float eta, v_eta
        int32_t n_topics, n_vectors, n_words, word_bytes, topic_bytes
        uint64_t seed, sweep
        float *ndz
        float *reciprocal
        float *share
        float *cumulated
        uint16_t *present
        uint8_t *noted
        uint64_t *bits
    ctypedef void (*sample_sparse_t)(sparse_t *, feed_t *, int64_t) noexcept nogil
    sample_sparse_t sample_sparse_for(const char *)
    void make_lists(sparse_t *, const int32_t *) noexcept nogil
    void write_counts(const sparse_t *, int32_t *) noexcept nogil
    void order_lists(sparse_t *) noexcept nogil

VECTOR_TOPICS = LANES  # rows of topics are padded to a multiple of it
MOST_DOCUMENTS = MOST  # that a sampler can advance together
cdef int64_t CACHE = 1 << 21  # bytes; prefetching costs a tenth where the counts fit, and gains half where they do not


cdef class Walk:
    """What both kinds of sampler do alike."""

    cdef int word_bytes, topic_bytes
    cdef object kept

    cdef take(self, bint there, bytes instructions, int word_bytes, int topic_bytes, tuple addresses):
        """Check what both kinds ask for: a kernel, and arrays that begin where vectors want them."""
        if not there:
            raise ValueError(f"this machine, or this build, has no {instructions.decode()} sampler")
        for address in addresses:
            if address % 64:
                raise ValueError("the arrays of a sampler begin at multiples of 64 bytes")
        self.word_bytes, self.topic_bytes = word_bytes, topic_bytes

    cdef void run(self, feed_t *feed, int64_t budget) noexcept nogil:
        pass

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
        """Sample documents, and return the first that was not begun; those in flight, if any, go on with the next call."""
        cdef feed_t f
        if sizeof(word_t) != self.word_bytes or sizeof(topic_t) != self.topic_bytes:
            raise ValueError("tokens of another dtype than the sampler's")
        if words.shape[0] == 0:
            return end
        f.words, f.offsets, f.z = &words[0], &offsets[0], &z[0]
        f.next, f.end, f.first_document = begin, end, first_document
        with nogil:
            self.run(&f, budget)
        return f.next


cdef class Sampler(Walk):
    """The dense samplers: documents are in flight from one call to the next."""

    cdef sampler_t s
    cdef sample_t sample

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
        self.take(
            self.sample is not NULL, instructions, word_bytes, topic_bytes,
            (<size_t>&nzw[0, 0], <size_t>&alpha[0], <size_t>&scratch[0, 0], <size_t>&cumulated[0, 0],
             <size_t>&random[0, 0]),
        )
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

    cdef void run(self, feed_t *feed, int64_t budget) noexcept nogil:
        self.sample(&self.s, feed, 0, budget)

    def begin(self, uint64_t seed, uint64_t sweep):
        """Start a sweep; none is under way."""
        self.s.seed, self.s.sweep, self.s.rounds = seed, sweep, REFRESH

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


cdef class SparseSampler(Walk):
    """The sampler that has the topics of every word in a list."""

    cdef sparse_t s
    cdef sample_sparse_t sample

    def __init__(
        self,
        const int64_t[::1] room,    # IN (V,) topics that a word can have tokens in at once
        int64_t[::1] nz,            # INOUT (padded,) units
        const float[::1] alpha,     # IN (padded,) in units
        const int32_t[::1] counts,  # IN (V,) units that one token of each word counts for
        double eta,                 # IN in units
        int n_topics,               # IN
        int word_bytes,             # IN 2 or 4
        int topic_bytes,            # IN 1 or 2
        float[:, ::1] scratch,      # OUT (3, padded) zeros
        float[::1] cumulated,       # OUT (padded and the largest room + 1, both rounded up to LANES)
        bytes instructions,         # IN
    ):
        cdef int64_t[::1] first = np.concatenate([[0], np.cumsum((np.asarray(room) + LANES) // LANES * LANES)])
        cdef int32_t[::1] fill = np.zeros(room.shape[0], np.int32), lists = aligned(first[room.shape[0]], np.int32)
        cdef uint16_t[::1] topics = aligned(first[room.shape[0]], np.uint16), present = np.zeros(n_topics + 1, np.uint16)
        cdef uint8_t[::1] noted = np.zeros(n_topics, np.uint8)
        cdef uint64_t[::1] bits = np.zeros(1 + n_topics // 64, np.uint64)
        self.sample = sample_sparse_for(instructions)
        self.take(
            self.sample is not NULL, instructions, word_bytes, topic_bytes,
            (<size_t>&alpha[0], <size_t>&scratch[0, 0], <size_t>&cumulated[0]),
        )
        if scratch.shape[0] < 3 or nz.shape[0] % LANES or n_topics > nz.shape[0] or cumulated.shape[0] < nz.shape[0]:
            raise ValueError("the arrays of a sampler do not fit together")
        if cumulated.shape[0] < np.diff(first).max(initial=0):
            raise ValueError("the sums of the longest list have no room")
        self.kept = (first, fill, topics, lists, nz, alpha, counts, scratch, cumulated, present, noted, bits)
        self.s.first, self.s.fill, self.s.topics, self.s.lists = &first[0], &fill[0], &topics[0], &lists[0]
        self.s.nz, self.s.alpha, self.s.counts = &nz[0], &alpha[0], &counts[0]
        self.s.eta, self.s.v_eta = eta, eta * room.shape[0]
        self.s.n_topics, self.s.n_vectors, self.s.n_words = n_topics, nz.shape[0] // LANES, room.shape[0]
        self.s.word_bytes, self.s.topic_bytes = word_bytes, topic_bytes
        self.s.ndz, self.s.share, self.s.reciprocal = &scratch[0, 0], &scratch[1, 0], &scratch[2, 0]
        self.s.cumulated, self.s.present, self.s.noted, self.s.bits = &cumulated[0], &present[0], &noted[0], &bits[0]

    cdef void run(self, feed_t *feed, int64_t budget) noexcept nogil:
        self.sample(&self.s, feed, budget)

    def load(self, const int32_t[:, ::1] nzw):  # IN (V, padded)
        """Make the lists from counts."""
        with nogil:
            make_lists(&self.s, &nzw[0, 0])

    def store(self, int32_t[:, ::1] nzw):  # OUT (V, padded)
        """Write the counts that the lists hold."""
        with nogil:
            write_counts(&self.s, &nzw[0, 0])

    def begin(self, uint64_t seed, uint64_t sweep):
        """Start a sweep; none is under way."""
        self.s.seed, self.s.sweep = seed, sweep
        with nogil:
            order_lists(&self.s)

    def drain(self, int64_t budget):
        """No document is ever in flight between two calls."""
        return 0

    def abandon(self):
        """Counts and topics always agree."""
