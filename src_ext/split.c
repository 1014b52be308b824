/* Collapsed Gibbs sampling of two topics, on the tokens of one. Some documents advance together, so that the sums of one
 * need not wait for those of another; the totals of both halves move on with every document that is done. */
#include "split.h"

#include "sampler.h"

enum { TOGETHER = 4 };

typedef double both_t __attribute__((vector_size(16), aligned(8))); /* of the first half, and of the second */
typedef int64_t mask_t __attribute__((vector_size(16)));

static const both_t HALF[2] = {{1, 0}, {0, 1}};

typedef struct {
    int64_t at, end, document;
    uint64_t key;
    both_t n;      /* of the document's tokens */
    double before; /* those of the second half when it was begun */
} visit_t;

/* Begin the next document; 0 if there is none. */
static int visit(visit_t *v, const split_t *s, uint64_t sweep, int64_t *next) {
    if (*next == s->n_docs) return 0;
    const int64_t d = (*next)++;
    both_t n = {0, 0};
    for (int64_t i = s->edges[d]; i < s->edges[d + 1]; i++) n += s->weights[s->words[i]] * HALF[s->z[i]];
    *v = (visit_t){s->edges[d], s->edges[d + 1], d, document_key(s->seed, sweep, (uint64_t)s->numbers[d]), n, n[1]};
    return 1;
}

static inline __attribute__((always_inline)) void token(
    const split_t s, visit_t *v, const both_t other_total, const int looks) {
    const int64_t i = v->at;
    both_t *const w = (both_t *)s.nzw + s.words[i];
    const double c = s.weights[s.words[i]];
    const int z = s.z[i];
    const both_t own = c * HALF[z], document = v->n - own, word = *w - own;
    CHECK(s.words[i] < s.n_words && document[0] >= 0 && document[1] >= 0 && word[0] >= 0 && word[1] >= 0);
    /* p(half) by both totals: a product is quicker than a quotient */
    const both_t p = (document + s.alpha) * ((word + s.eta) * (other_total - c * HALF[1 - z]));
    const double sum = p[0] + p[1];
    v->at = i + 1;
    if (looks) {
        s.share[i] = p[0] / sum;
        return;
    }
    const uint64_t random = mix64(v->key + GAMMA * (uint64_t)i);
    const double drawn = (double)(int64_t)(random >> 11) * (1.0 / 9007199254740992.0) * sum;
    const mask_t second = (both_t){drawn, drawn} >= (both_t){p[0], p[0]}; /* all bits, or none: there is no branch */
    const both_t chosen = (both_t)((mask_t)(both_t){c, c} & (second ^ (mask_t){-1, 0}));
    v->n = document + chosen;
    *w = word + chosen;
    s.z[i] = (uint8_t)-second[0];
}

static inline __attribute__((always_inline)) void sweep_over(
    const split_t s, uint64_t number, double *totals, const int looks) {
    const double v_eta = s.eta * (double)s.n_words;
    visit_t visits[TOGETHER];
    int64_t next = 0;
    int active = 0;
    while (active < TOGETHER && visit(&visits[active], &s, number, &next)) active++;
    while (active) {
        const both_t other_total = {totals[1] + v_eta, totals[0] + v_eta};
        int64_t rounds = visits[0].end - visits[0].at;
        for (int v = 1; v < active; v++) {
            const int64_t left = visits[v].end - visits[v].at;
            rounds = left < rounds ? left : rounds;
        }
        if (active == TOGETHER) {
            visit_t a = visits[0], b = visits[1], c = visits[2], d = visits[3];
            for (int64_t r = 0; r < rounds; r++) {
                token(s, &a, other_total, looks);
                token(s, &b, other_total, looks);
                token(s, &c, other_total, looks);
                token(s, &d, other_total, looks);
            }
            visits[0] = a, visits[1] = b, visits[2] = c, visits[3] = d;
        } else {
            for (int64_t r = 0; r < rounds; r++)
                for (int v = 0; v < active; v++) token(s, &visits[v], other_total, looks);
        }
        for (int v = 0; v < active; v++) {
            visit_t *const done = &visits[v];
            if (done->at < done->end) continue;
            totals[0] -= done->n[1] - done->before;
            totals[1] += done->n[1] - done->before;
            ((both_t *)s.ndz)[done->document] = done->n;
            if (!visit(done, &s, number, &next)) visits[v--] = visits[--active];
        }
    }
}

void split_topic(const split_t *s, int64_t n_sweeps) {
    double totals[2] = {0, 0};
    for (int64_t d = 0; d < s->n_docs; d++) {
        const uint64_t key = document_key(s->seed, 0, (uint64_t)s->numbers[d]);
        for (int64_t i = s->edges[d]; i < s->edges[d + 1]; i++) {
            s->z[i] = (uint8_t)(mix64(key + GAMMA * (uint64_t)i) >> 63);
            s->nzw[2 * (int64_t)s->words[i] + s->z[i]] += s->weights[s->words[i]];
            totals[s->z[i]] += s->weights[s->words[i]];
        }
    }
    for (int64_t i = 1; i <= n_sweeps; i++) sweep_over(*s, (uint64_t)i, totals, 0);
    sweep_over(*s, 0, totals, 1);
}
