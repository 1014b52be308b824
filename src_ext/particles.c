/* The particle filter, compiled as the samplers in sampler.c. */
#include "particles.h"

#include "sampler.h"

enum { AGAIN, WEIGH, FIRST }; /* draw a word's topic once more; only sum its probabilities; draw it for the first time */

/* Rows of uniform numbers before those of word n: each earlier one has one a draw and one to choose particles by. */
INLINE uint64_t row_of(int64_t n, int64_t i) {
    return (uint64_t)n * (uint64_t)(n + 3) / 2 + (uint64_t)i;
}

INLINE void copy_particle(const particles_t *s, int64_t to, int64_t from) {
    const int64_t a = to / GROUP, b = from / GROUP;
    int32_t *const z = s->z + a * s->n_tokens * GROUP + to % GROUP;
    double *const ndz = s->ndz + a * s->n_topics * GROUP + to % GROUP;
    const int32_t *const old_z = s->z + b * s->n_tokens * GROUP + from % GROUP;
    const double *const old_ndz = s->ndz + b * s->n_topics * GROUP + from % GROUP;
    for (int64_t i = 0; i < s->n; i++) z[i * GROUP] = old_z[i * GROUP];
    for (int64_t k = 0; k < s->n_topics; k++) ndz[k * GROUP] = old_ndz[k * GROUP];
}

/* Sum the particles' weights; if wanted, choose as many anew in proportion to them, by one uniform number. */
static void weigh(particles_t *s) {
    const int64_t n = s->n_particles;
    double total = 0;
    for (int64_t r = 0; r < n; r++) s->weights[r] = total += s->weights[r];
    s->totals[s->n] = total;
    if (!s->resample || n == 1) return;
    const uint64_t bits = mix64(s->key + GAMMA * (row_of(s->n, s->n + 1) * (uint64_t)n + 1));
    const double u = (double)(int64_t)(bits >> 12) * (1.0 / 4503599627370496.0);
    for (int64_t r = 0, from = 0; r < n; r++) {
        const double point = (u + (double)r) / (double)n * total;
        while (from < n - 1 && s->weights[from] <= point) from++;
        s->chosen[r] = from;
    }
    /* chosen never falls: in this order no particle is written over before it has been copied */
    for (int64_t r = n - 1; r >= 0; r--)
        if (s->chosen[r] < r) copy_particle(s, r, s->chosen[r]);
    for (int64_t r = 0; r < n; r++)
        if (s->chosen[r] > r) copy_particle(s, r, s->chosen[r]);
}

#define KERNELS "particles_kernels.h"
#include "every_set.h"

advance_t advance_for(const char *instructions) {
    static const advance_t ADVANCE[] = EVERY_SET(advance);
    const int set = instruction_set(instructions);
    return set < 0 ? 0 : ADVANCE[set];
}
