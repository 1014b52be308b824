/* Collapsed Gibbs sampling over visual words: the state that kernels share, and the kernels' entry points.
 *
 * Paper symbols (Griffiths & Steyvers 2004, eq. 5): nzw[w, k] tokens of word w in topic k, nz[k] their sums, ndz[k]
 * tokens of a document in topic k. Counts are whole numbers of units: a unit is the largest power of two that divides
 * every token's weight, so sums are exact and adding and removing a token leaves no residue. alpha and eta are in units
 * too; the scale cancels out of the conditional.
 *
 * Rows of K numbers are padded with zeros to n_vectors * LANES, and begin at multiples of 64 bytes.
 */
#ifndef FASTVBOW_SAMPLER_H
#define FASTVBOW_SAMPLER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LANES = 16, MOST = 16, REFRESH = 32 }; /* topics in a vector; documents at a time; rounds */

#define GAMMA 0x9E3779B97F4A7C15ULL /* Weyl increment of SplitMix64 */

#ifdef FASTVBOW_DEBUG
enum { CHECKED = 1 };
#else
enum { CHECKED = 0 };
#endif

#define CHECK(what) \
    do { \
        if (CHECKED && !(what)) { \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #what); \
            abort(); \
        } \
    } while (0)

typedef struct {
    const void *words; /* uint16 or uint32 tokens of the document's partition */
    void *z;           /* uint8 or uint16 topics of the same tokens */
    int64_t at, end;
    int32_t word, count, topic; /* the token at `at`: its word, its weight in units, the topic it had */
} lane_t;

typedef struct {
    /* what is sampled from; owned by the caller */
    int32_t *nzw;          /* (V, n_vectors * LANES) */
    int64_t *nz;           /* (n_vectors * LANES,) */
    const float *alpha;    /* (n_vectors * LANES,), zeros behind K */
    const int32_t *counts; /* (V,) units that one token of each word counts for */
    float eta, v_eta;      /* eta, and V times it */
    int32_t n_topics, n_vectors, n_words, most_units; /* the last: the largest of `counts` */
    int32_t word_bytes, topic_bytes; /* 2 or 4; 1 or 2 */
    int32_t far;                     /* whether nzw is larger than a core's own cache, so that rows are worth asking for */
    uint64_t seed, sweep;
    /* scratch of the kernels; allocated by the caller */
    float *ndz;       /* (width, n_vectors * LANES), whole numbers */
    float *share;     /* (width, n_vectors * LANES): (ndz + alpha) / (nz + v_eta) */
    float *settled;   /* (width, n_vectors * LANES): ndz as it is counted in nz */
    float *reciprocal; /* (n_vectors * LANES,): 1 / (nz + v_eta) */
    float *cumulated; /* (width, n_vectors, LANES) */
    float *again;     /* (n_vectors, LANES) */
    uint32_t *stamps; /* (V,): the round that a word was last in, and the lane */
    uint32_t *random; /* (2, MOST): both halves of the documents' keys, the first moved on with every token */
    /* documents that are being sampled */
    int32_t width;  /* how many at a time, 1 to MOST */
    int32_t active; /* how many there are, with those that wait */
    uint32_t waiting; /* lanes that are done and wait for a document, a bit each */
    int32_t rounds; /* since `reciprocal` was made; the caller sets it to REFRESH before a sweep */
    uint32_t serial; /* of the round, modulo 2^28 */
    uint32_t shared; /* lanes whose word is that of another lane, a bit each */
    float epsilon;   /* how much the other tokens of a round may take off a probability, as a share of it */
    lane_t lanes[MOST];
    char apart[128]; /* from the sampler of another thread: no cache line is of both */
} sampler_t;

/* Documents begin..end of a partition, the first of which has the number `first_document` in the corpus. */
typedef struct {
    const void *words;
    const int64_t *offsets;
    void *z;
    int64_t next, end;
    uint64_t first_document;
} feed_t;

/* Sample documents of `feed` until there is none left to start, or with `drain` until all are done; stops early, between
 * two tokens, once about `budget` tokens are sampled. Returns the tokens sampled. */
typedef int64_t (*sample_t)(sampler_t *s, feed_t *feed, int drain, int64_t budget);

/* The kernel for an instruction set, "avx512", "avx2" or "baseline", or NULL where this machine, or this build, has it
 * not. */
sample_t sample_for(const char *instructions, int exact);
const char *best_instructions(void);

/* The number of an instruction set, 0 for the baseline, or -1 where this machine has it not. */
int instruction_set(const char *name);

/* Forget the documents in flight: their tokens go back to where they were. */
void put_back(sampler_t *s);

#define INLINE static inline __attribute__((always_inline))

/* A token's word and topic, of as many bytes as the tokens of the corpus have. */
INLINE int32_t word_at(const void *words, int32_t bytes, int64_t i) {
    return bytes == 2 ? ((const uint16_t *)words)[i] : (int32_t)((const uint32_t *)words)[i];
}

INLINE int32_t topic_at(const void *z, int32_t bytes, int64_t i) {
    return bytes == 1 ? ((const uint8_t *)z)[i] : ((const uint16_t *)z)[i];
}

INLINE void set_topic(void *z, int32_t bytes, int64_t i, int32_t k) {
    if (bytes == 1) ((uint8_t *)z)[i] = (uint8_t)k;
    else ((uint16_t *)z)[i] = (uint16_t)k;
}

/* Finaliser of SplitMix64 (Steele, Lea & Flood 2014). */
static inline uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

/* One stream of SplitMix64 per (seed, sweep, document): however the corpus is cut, a token draws the same number. */
static inline uint64_t document_key(uint64_t seed, uint64_t sweep, uint64_t document) {
    return mix64(mix64(mix64(seed + GAMMA) + GAMMA * (sweep + 1)) + GAMMA * (document + 1));
}

#endif
