/* A chain of two topics on the tokens of one: what a split-merge move proposes. */
#ifndef FASTVBOW_SPLIT_H
#define FASTVBOW_SPLIT_H

#include <stdint.h>

typedef struct {
    const uint32_t *words;  /* (n,) document by document */
    const int64_t *edges;   /* (n_docs + 1,) where the documents begin */
    const int64_t *numbers; /* (n_docs,) of the documents in the corpus */
    const double *weights;  /* (V,) tokens that one token of each word counts for */
    int64_t n_docs, n_words;
    double alpha, eta; /* of either half */
    uint64_t seed;
    uint8_t *z;    /* (n,) halves, 0 or 1 */
    double *nzw;   /* (V, 2) */
    double *ndz;   /* (n_docs, 2) */
    double *share; /* (n,) p(first half) of a token given all others */
} split_t;

/* Start at random (nzw is all zeros), sweep `n_sweeps` times, and look. */
void split_topic(const split_t *s, int64_t n_sweeps);

#endif
