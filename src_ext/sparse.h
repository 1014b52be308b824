/* Collapsed Gibbs sampling with a list of topics for every word: for many topics, of which a word has few.
 *
 * Symbols and units as in sampler.h. A word's list holds the topics that it has tokens in, in no order, with their
 * counts; its place is as large as it can grow, in blocks of LANES. Entries behind the last are zeros.
 */
#ifndef FASTVBOW_SPARSE_H
#define FASTVBOW_SPARSE_H

#include "sampler.h"

typedef struct {
    const int64_t *first; /* (V + 1,) where a word's list begins: multiples of LANES, with room for one entry too many */
    int32_t *fill;        /* (V,) entries of each list */
    uint16_t *topics;     /* (first[V],) */
    int32_t *lists;       /* (first[V],) tokens of the word in the topic, in units; begins at a multiple of 64 bytes */
    int64_t *nz;          /* (n_vectors * LANES,) */
    const float *alpha;   /* (n_vectors * LANES,), zeros behind K */
    const int32_t *counts; /* (V,) units that one token of each word counts for */
    float eta, v_eta;
    int32_t n_topics, n_vectors, n_words;
    int32_t word_bytes, topic_bytes;
    uint64_t seed, sweep;
    /* scratch of the kernels; allocated by the caller */
    float *ndz;        /* (n_vectors * LANES,) zeros between documents */
    float *reciprocal; /* (n_vectors * LANES,): 1 / (nz + v_eta) */
    float *share;      /* (n_vectors * LANES,): (ndz + alpha) * reciprocal */
    float *cumulated;  /* (the longest list, and n_vectors * LANES at least) */
    uint16_t *present; /* (n_topics + 1,) topics of the document */
    uint8_t *noted;    /* (n_topics,) whether a topic is among them; zeros between documents */
    uint64_t *bits;    /* (1 + n_topics / 64,) zeros */
    char apart[128];   /* from the sampler of another thread: no cache line is of both */
} sparse_t;

/* Sample documents of `feed` one after another, in about `budget` tokens' time. */
typedef void (*sample_sparse_t)(sparse_t *s, feed_t *feed, int64_t budget);

/* The kernel for an instruction set, as `sample_for`. */
sample_sparse_t sample_sparse_for(const char *instructions);

/* Lists from counts, nzw of (V, n_vectors * LANES), and counts from lists. */
void make_lists(sparse_t *s, const int32_t *nzw);
void write_counts(const sparse_t *s, int32_t *nzw);

/* Order every list by topic: what the next sweep draws does not depend on how the lists came about. */
void order_lists(sparse_t *s);

#endif
