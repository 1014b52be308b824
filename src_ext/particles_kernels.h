/* The particle filter, once for each instruction set: see `every_set.h`. WIDTH is the float64 numbers in a
 * register. A lane sums topic by topic, whatever WIDTH is, and products are not
 * contracted, so all instruction sets draw the same topics.
 */

#define WIDTH (BITS / 64)
enum { NAME(PARTS) = GROUP / WIDTH, NAME(TOGETHER) = WIDTH > 2 ? MOST_GROUPS : 2 }; /* sums stay in registers */
#define PARTS NAME(PARTS)
typedef double NAME(vd) __attribute__((vector_size(8 * WIDTH)));
typedef int64_t NAME(vl) __attribute__((vector_size(8 * WIDTH)));
typedef uint64_t NAME(vu) __attribute__((vector_size(8 * WIDTH)));
#define vd NAME(vd)
#define vl NAME(vl)
#define vu NAME(vu)

/* Words from..to of `m` groups; `s` is a copy, so that it can stay in registers. */
TARGET INLINE void NAME(rows)(
    const particles_t s, const int64_t group, const int64_t from, const int64_t to, const int m, const int mode) {
    const int64_t n_topics = s.n_topics, apart = n_topics * GROUP, z_apart = s.n_tokens * GROUP, first = group * GROUP;
    const int last = (int)(s.n_particles - first < m * GROUP ? s.n_particles - first - (m - 1) * GROUP : GROUP);
    const double *restrict alpha = s.alpha;
    double *restrict ndz = s.ndz + group * apart;
    double *restrict sums = s.sums;
    int64_t found[MOST_GROUPS * GROUP] __attribute__((aligned(64)));
    vu ramp;
    for (int lane = 0; lane < WIDTH; lane++) ramp[lane] = GAMMA * (uint64_t)lane;
    for (int64_t i = from; i < to; i++) {
        const double *restrict phi = s.phi + (int64_t)s.words[i] * n_topics;
        int32_t *restrict z = s.z + group * z_apart + i * GROUP;
        CHECK(s.words[i] < s.n_words);
        for (int g = 0; g < m && mode == AGAIN; g++) {
            for (int lane = 0; lane < (g < m - 1 ? GROUP : last); lane++) {
                const int64_t k = z[g * z_apart + lane];
                CHECK(k >= 0 && k < n_topics && ndz[g * apart + k * GROUP + lane] >= 1);
                ndz[g * apart + k * GROUP + lane] -= 1;
            }
        }
        vd sum[MOST_GROUPS * PARTS] = {{0}};
        for (int64_t k = 0; k < n_topics; k++) {
            const double prior = alpha[k], share = phi[k];
#pragma GCC unroll 16
            for (int v = 0; v < m * PARTS; v++) {
                const vd n = *(const vd *)(ndz + v / PARTS * apart + k * GROUP + v % PARTS * WIDTH);
                sum[v] += (n + prior) * share;
                if (mode != WEIGH) ((vd *)sums)[k * m * PARTS + v] = sum[v];
            }
        }
        if (mode == WEIGH) {
            for (int v = 0; v < m * PARTS; v++) ((vd *)(s.weights + first))[v] = sum[v];
            continue;
        }
        const uint64_t at = row_of(s.n, i) * (uint64_t)s.n_particles + (uint64_t)first + 1;
        vd left[MOST_GROUPS * PARTS];
        vl passed[MOST_GROUPS * PARTS] = {{0}};
#pragma GCC unroll 16
        for (int v = 0; v < m * PARTS; v++) {
            vu x = ramp + (s.key + GAMMA * (at + (uint64_t)(v * WIDTH))); /* mix64 of each lane's number */
            x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
            x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
            x ^= x >> 31;
            left[v] = ((vd)(x >> 12 | 0x3FF0000000000000ULL) - 1.0) * sum[v]; /* from [1, 2): not all convert 64 bits */
        }
        for (int64_t k = 0; k < n_topics - 1; k++) {
#pragma GCC unroll 16
            for (int v = 0; v < m * PARTS; v++) passed[v] -= ((const vd *)sums)[k * m * PARTS + v] <= left[v];
        }
        for (int v = 0; v < m * PARTS; v++) ((vl *)found)[v] = passed[v];
        for (int g = 0; g < m; g++) {
            for (int lane = 0; lane < (g < m - 1 ? GROUP : last); lane++) {
                const int64_t k = found[g * GROUP + lane];
                z[g * z_apart + lane] = (int32_t)k;
                ndz[g * apart + k * GROUP + lane] += 1;
            }
        }
    }
}

/* The same for the next groups, as many as go together; how many that were. */
TARGET INLINE int64_t NAME(some)(const particles_t *s, int64_t group, int64_t from, int64_t to, const int mode) {
    const int64_t n = (s->n_particles + GROUP - 1) / GROUP - group;
    switch (n < NAME(TOGETHER) ? n : NAME(TOGETHER)) {
    case 1: NAME(rows)(*s, group, from, to, 1, mode); return 1;
    case 2: NAME(rows)(*s, group, from, to, 2, mode); return 2;
#if WIDTH > 2
    case 3: NAME(rows)(*s, group, from, to, 3, mode); return 3;
    default: NAME(rows)(*s, group, from, to, 4, mode); return 4;
#else
    default: return 0;
#endif
    }
}

TARGET static void NAME(advance)(particles_t *s, int64_t budget) {
    const int64_t n_groups = (s->n_particles + GROUP - 1) / GROUP, cost = NAME(TOGETHER) * GROUP * s->n_topics;
    while (s->n < s->n_tokens && budget > 0) {
        while (s->group < n_groups && budget > 0) {
            const int64_t most = budget / cost + 1, to = s->n - s->i < most ? s->n : s->i + most;
            const int64_t together = NAME(some)(s, s->group, s->i, to, AGAIN);
            budget -= (to - s->i) * cost;
            s->i = to;
            if (to == s->n) s->group += together, s->i = 0;
        }
        if (s->group < n_groups) return;
        for (int64_t g = 0; g < n_groups;) g += NAME(some)(s, g, s->n, s->n + 1, WEIGH);
        weigh(s);
        for (int64_t g = 0; g < n_groups;) g += NAME(some)(s, g, s->n, s->n + 1, FIRST);
        budget -= 2 * n_groups * GROUP * s->n_topics;
        s->group = 0;
        s->n++;
    }
}

#undef PARTS
#undef vd
#undef vl
#undef vu
#undef WIDTH
