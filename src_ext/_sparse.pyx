"""The sparse sampler of `sparse.c`, with the calls of `_gibbs.Sampler`. Names and units are those of `_gibbs.pyx`."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

from fastvbow.memory import aligned

ctypedef fused word_t:
    uint16_t
    uint32_t

ctypedef fused topic_t:
    uint8_t
    uint16_t

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
    ctypedef struct feed_t:
        const void *words
        const int64_t *offsets
        void *z
        int64_t next, end
        uint64_t first_document
    ctypedef void (*sample_sparse_t)(sparse_t *, feed_t *, int64_t) noexcept nogil
    sample_sparse_t sample_sparse_for(const char *)
    void make_lists(sparse_t *, const int32_t *) noexcept nogil
    void write_counts(const sparse_t *, int32_t *) noexcept nogil
    void order_lists(sparse_t *) noexcept nogil
    enum: LANES


cdef class SparseSampler:
    """One chain's walk through documents, with the topics of every word in a list.

    Arrays belong to the caller and must stay alive and in place. Those of K numbers are padded with zeros to a multiple
    of LANES and begin at multiples of 64 bytes.
    """

    cdef sparse_t s
    cdef sample_sparse_t sample
    cdef object kept

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
        if self.sample is NULL:
            raise ValueError(f"this machine, or this build, has no {instructions.decode()} sampler")
        for address in (<size_t>&alpha[0], <size_t>&scratch[0, 0], <size_t>&cumulated[0]):
            if address % 64:
                raise ValueError("the arrays of a sampler begin at multiples of 64 bytes")
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
        """Sample documents, and return the first that was not begun."""
        cdef feed_t f
        if sizeof(word_t) != self.s.word_bytes or sizeof(topic_t) != self.s.topic_bytes:
            raise ValueError("tokens of another dtype than the sampler's")
        if words.shape[0] == 0:
            return end
        f.words, f.offsets, f.z = &words[0], &offsets[0], &z[0]
        f.next, f.end, f.first_document = begin, end, first_document
        with nogil:
            self.sample(&self.s, &f, budget)
        return f.next

    def drain(self, int64_t budget):
        """No document is ever in flight between two calls."""
        return 0

    def abandon(self):
        """Counts and topics always agree."""
