/* Left-to-right estimates (Wallach et al. 2009, algorithm 3): the particles of one document, side by side in the lanes.
 *
 * Particle GROUP * group + lane is the lane of a group; the lanes behind the last particle hold zeros, and nobody asks
 * what they draw. */
#ifndef FASTVBOW_PARTICLES_H
#define FASTVBOW_PARTICLES_H

#include <stdint.h>

enum { GROUP = 8, MOST_GROUPS = 4 }; /* particles; groups that advance together */

typedef struct {
    const uint32_t *words; /* (n_tokens,) in the order they are taken in */
    const double *phi;     /* (V, n_topics) p(word | topic) as a share of the word's greatest */
    const double *alpha;   /* (n_topics,) */
    int64_t n_tokens, n_words, n_topics, n_particles;
    uint64_t key;   /* of the document's random numbers */
    int32_t resample;
    int64_t n, group, i; /* the present word; the particles and the word before it that are next */
    int32_t *z;       /* (n_groups, n_tokens, GROUP) topics of the words before */
    double *ndz;      /* (n_groups, n_topics, GROUP) how many of them each topic has */
    double *totals;   /* (n_tokens,) sum over particles of (n + sum alpha) p(word | words before), phi as above */
    double *sums;     /* (n_topics, MOST_GROUPS * GROUP) scratch */
    double *weights;  /* (n_groups * GROUP,) scratch */
    int64_t *chosen;  /* (n_groups * GROUP,) scratch */
} particles_t;

/* Go on, for about `budget` probabilities of a topic: `n` is `n_tokens` when all is done. */
typedef void (*advance_t)(particles_t *s, int64_t budget);

/* The kernel for an instruction set, as `sample_for`. All of them give the same bytes. */
advance_t advance_for(const char *instructions);
const char *best_instructions(void);

#endif
