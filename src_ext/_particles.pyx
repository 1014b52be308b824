"""The particle filter of left-to-right estimates, one document at a time; see `particles.h`.

Names are those of `_gibbs.pyx`. Callers allocate and validate; only what would be written out of bounds is checked here.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef extern from "particles.h":
    ctypedef struct particles_t:
        const uint32_t *words
        const double *phi
        const double *alpha
        int64_t n_tokens, n_words, n_topics, n_particles
        uint64_t key
        int32_t resample
        int64_t n, group, i
        int32_t *z
        double *ndz
        double *totals
        double *sums
        double *weights
        int64_t *chosen
    ctypedef void (*advance_t)(particles_t *, int64_t) noexcept nogil
    advance_t advance_for(const char *)
    enum: GROUP
    enum: MOST_GROUPS

PARTICLES = GROUP  # in a group
SCRATCH = MOST_GROUPS * GROUP  # particles that advance together


cdef class Particles:
    """One document's particles, kept between calls.

    Arrays belong to the caller and must stay alive and in place. Those of GROUP columns begin at multiples of 64 bytes,
    and so does the scratch.
    """

    cdef particles_t s
    cdef advance_t run
    cdef object kept

    def __init__(
        self,
        const uint32_t[::1] words,  # IN (n_tokens,) in the order they are taken in
        const double[:, ::1] phi,   # IN (V, K) p(word | topic) as a share of the word's greatest
        const double[::1] alpha,    # IN (K,)
        int64_t n_particles,        # IN
        bint resample,              # IN
        uint64_t key,               # IN of the document's random numbers
        int32_t[:, :, ::1] z,       # OUT (n_groups, n_tokens, GROUP)
        double[:, :, ::1] ndz,      # INOUT (n_groups, K, GROUP) zeros
        double[::1] totals,         # OUT (n_tokens,) sum over particles of (n + sum alpha) p(word | words before)
        double[:, ::1] sums,        # OUT (K, SCRATCH)
        double[:, ::1] weights,     # OUT (n_groups, GROUP)
        int64_t[:, ::1] chosen,     # OUT (n_groups, GROUP)
        bytes instructions,         # IN
    ):
        cdef int64_t n_groups = (n_particles + GROUP - 1) // GROUP, n = words.shape[0], K = alpha.shape[0]
        self.run = advance_for(instructions)
        if self.run is NULL:
            raise ValueError(f"this machine, or this build, has no {instructions.decode()} kernel")
        for address in (<size_t>&ndz[0, 0, 0], <size_t>&sums[0, 0], <size_t>&weights[0, 0]):
            if address % 64:
                raise ValueError("the arrays of particles begin at multiples of 64 bytes")
        for shape, wanted in (
            ((z.shape[0], z.shape[1], z.shape[2]), (n_groups, n, GROUP)),
            ((ndz.shape[0], ndz.shape[1], ndz.shape[2]), (n_groups, K, GROUP)),
            ((totals.shape[0], phi.shape[1]), (n, K)),
            ((sums.shape[0], sums.shape[1]), (K, MOST_GROUPS * GROUP)),
            ((weights.shape[0], weights.shape[1]), (n_groups, GROUP)),
            ((chosen.shape[0], chosen.shape[1]), (n_groups, GROUP)),
        ):
            if shape != wanted:
                raise ValueError("the arrays of particles do not fit together")
        self.kept = (words, phi, alpha, z, ndz, totals, sums, weights, chosen)
        self.s.words, self.s.phi, self.s.alpha = &words[0], &phi[0, 0], &alpha[0]
        self.s.n_tokens, self.s.n_words, self.s.n_topics, self.s.n_particles = n, phi.shape[0], K, n_particles
        self.s.key, self.s.resample = key, resample
        self.s.n, self.s.group, self.s.i = 0, 0, 0
        self.s.z, self.s.ndz, self.s.totals, self.s.sums = &z[0, 0, 0], &ndz[0, 0, 0], &totals[0], &sums[0, 0]
        self.s.weights, self.s.chosen = &weights[0, 0], &chosen[0, 0]

    def advance(self, int64_t budget):
        """Go on, for about `budget` probabilities of a topic; whether there is more to do."""
        with nogil:
            self.run(&self.s, budget)
        return self.s.n < self.s.n_tokens
