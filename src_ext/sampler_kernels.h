/* Both samplers, once for each instruction set: see `every_set.h`. WIDTH is the float32 numbers in a
 * register.
 *
 * The unnormalised probabilities of a token lie in vectors of LANES topics, topic LANES * j + lane. They are summed lane
 * by lane, then over the lanes: within quads of lanes, then over quads. The draw finds the lane first, then the topic in
 * the lane's partial sums. Neither the order of these sums nor the rounding of a product depends on WIDTH (products are
 * not contracted), so all instruction sets sample the same topics.
 */

#include "sampler_vectors.h"

/* What the loop over tokens reads and never writes, so that it can stay in registers. */
typedef struct {
    int32_t *restrict nzw;
    int64_t *restrict nz;
    const float *restrict alpha;
    const int32_t *restrict counts;
    float *restrict ndz;
    float *restrict share;
    float *restrict settled;
    float *restrict reciprocal;
    uint32_t *restrict stamps;
    int64_t padded, n_words;
    int64_t n_vectors;
    int32_t word_bytes, topic_bytes, direct, ones;
} NAME(view_t);
#define view_t NAME(view_t)

TARGET INLINE void NAME(share_row)(const view_t v, int64_t d) {
    const vf *alpha = (const vf *)v.alpha, *reciprocal = (const vf *)v.reciprocal;
    const vf *ndz = (const vf *)(v.ndz + d * v.padded);
    vf *share = (vf *)(v.share + d * v.padded);
    for (int64_t j = 0; j < v.n_vectors * PARTS; j++) share[j] = (ndz[j] + alpha[j]) * reciprocal[j];
}

TARGET INLINE void NAME(reciprocals)(const view_t v, float v_eta) {
    for (int64_t k = 0; k < v.padded; k++) v.reciprocal[k] = 1.0f / ((float)v.nz[k] + v_eta);
}

/* Give lane d the next document that has tokens; 0 if there is none. */
TARGET static int NAME(start)(sampler_t *s, feed_t *feed, int64_t d) {
    lane_t *l = &s->lanes[d];
    while (feed->next < feed->end && feed->offsets[feed->next] == feed->offsets[feed->next + 1]) feed->next++;
    if (feed->next == feed->end) return 0;
    l->words = feed->words;
    l->z = feed->z;
    l->at = feed->offsets[feed->next];
    l->end = feed->offsets[feed->next + 1];
    const uint64_t key = document_key(s->seed, s->sweep, feed->first_document + (uint64_t)feed->next);
    s->random[d] = (uint32_t)key;
    s->random[MOST + d] = (uint32_t)(key >> 32);
    feed->next++;
    const int64_t padded = (int64_t)s->n_vectors * LANES;
    float *restrict ndz = s->ndz + d * padded;
    const int32_t *restrict counts = s->counts;
    memset(ndz, 0, sizeof(float) * (size_t)padded);
    const void *words = l->words, *z = l->z;
    const int32_t word_bytes = s->word_bytes, topic_bytes = s->topic_bytes;
    for (int64_t i = l->at, end = l->end; i < end; i++)
        ndz[topic_at(z, topic_bytes, i)] += (float)counts[word_at(words, word_bytes, i)];
    return 1;
}

/* `width` documents advance together, a token each a round; all their tokens are out of the counts while they are drawn.
 *
 * Lockstep: a round samples its tokens side by side from what the rest of the corpus says; a token does not see the up to
 * width - 1 others. The totals of the topics, 1 / (nz + v_eta), are REFRESH rounds old at most.
 *
 * Exact: the sequential chain that visits documents in turn, a token each. What the round draws from differs from what
 * that chain sees by the other tokens of the round: in nz, by (width - 1) tokens at most, which scales each probability
 * by 1 - epsilon to 1; in the row of the word only where two tokens of the round are of one word. A draw that no such
 * change can move to another topic is the chain's; the others (some per cent) are drawn again from the chain's counts.
 */
TARGET INLINE void NAME(count)(const view_t v, int64_t d, int64_t word, int64_t k, int32_t units, const int exact) {
    const int64_t at = d * v.padded + k;
    CHECK(word >= 0 && word < v.n_words && k >= 0 && k < v.padded);
    v.nzw[word * v.padded + k] += units;
    CHECK(v.nzw[word * v.padded + k] >= 0);
    if (exact) v.nz[k] += units;
    const float n = v.ndz[at] + (float)units;
    CHECK(n >= 0);
    v.ndz[at] = n;
    if (!v.direct) v.share[at] = (n + v.alpha[k]) * v.reciprocal[k];
}

/* Take a token out of the counts; with `exact` note if another one of the round is of the same word. */
TARGET INLINE void NAME(take)(const view_t v, sampler_t *s, int64_t d, int32_t word, int32_t k, const int exact) {
    lane_t *const l = &s->lanes[d];
    const int32_t units = v.ones ? 1 : v.counts[word];
    l->word = word;
    l->count = units;
    if (exact) {
        const uint32_t stamp = v.stamps[word];
        l->topic = k;
        if (stamp >> 4 == s->serial) s->shared |= 1u << d | 1u << (stamp & 15);
        v.stamps[word] = s->serial << 4 | (uint32_t)d;
    }
    NAME(count)(v, d, word, k, -units, exact);
    if (v.n_vectors > 4 && s->far)
        for (int64_t j = 0; j < v.n_vectors; j++) __builtin_prefetch(v.nzw + word * v.padded + j * LANES, 1);
}

/* Bring the topics' totals up to date with what lane d has changed since it was last asked: lockstep counts them so. */
TARGET INLINE void NAME(settle)(const view_t v, int64_t d) {
    for (int64_t k = d * v.padded, i = 0; i < v.padded; k++, i++) {
        v.nz[i] += (int64_t)(v.ndz[k] - v.settled[k]);
        v.settled[k] = v.ndz[k];
    }
}

/* Begin the document that lane d has got: its first token goes out of the counts. */
TARGET INLINE void NAME(begin)(const view_t v, sampler_t *s, int64_t d, const int exact) {
    const lane_t *const l = &s->lanes[d];
    if (!exact) memcpy(v.settled + d * v.padded, v.ndz + d * v.padded, sizeof(float) * (size_t)v.padded);
    const int32_t word = word_at(l->words, v.word_bytes, l->at);
    NAME(take)(v, s, d, word, topic_at(l->z, v.topic_bytes, l->at), exact);
    if (!v.direct) NAME(share_row)(v, d);
}

/* Put the tokens that are out for lanes other than d back to where they were, or take them out again. */
TARGET INLINE void NAME(others)(const view_t v, const sampler_t *s, int64_t d, int32_t sign) {
    for (int64_t e = 0; e < s->active; e++) {
        const lane_t *l = &s->lanes[e];
        if (e == d || s->waiting >> e & 1) continue;
        v.nzw[l->word * v.padded + l->topic] += sign * l->count;
        v.nz[l->topic] += sign * l->count;
    }
}

/* The topic that the sequential chain draws for the token of lane d. */
TARGET static __attribute__((noinline)) int32_t NAME(again)(
    const view_t v, const sampler_t *s, int64_t d, float uniform) {
    const lane_t *l = &s->lanes[d];
    NAME(others)(v, s, d, 1); /* lanes before d have drawn, and have their next token out */
    const int32_t *n = v.nzw + l->word * v.padded;
    const float *ndz = v.ndz + d * v.padded;
    float lanes[LANES] = {0}, total = 0;
    for (int64_t j = 0; j < v.n_vectors; j++) {
        for (int i = 0; i < LANES; i++) {
            const int64_t k = j * LANES + i;
            lanes[i] += ((float)n[k] + s->eta) * ((ndz[k] + v.alpha[k]) * (1.0f / ((float)v.nz[k] + s->v_eta)));
            s->again[k] = lanes[i];
        }
    }
    NAME(others)(v, s, d, -1);
    for (int i = 0; i < LANES; i++) total += lanes[i];
    float left = uniform * total;
    int i = 0;
    while (i < LANES - 1 && lanes[i] <= left) left -= lanes[i++];
    int32_t j = 0;
    while (j < v.n_vectors - 1 && s->again[j * LANES + i] <= left) j++;
    return j * LANES + i;
}

/* No document is left for the lanes that wait: the last document moves into the place of each. */
TARGET INLINE void NAME(close_up)(const view_t v, sampler_t *s) {
    for (int64_t d = s->active - 1; s->waiting; d--) {
        if (!(s->waiting >> d & 1)) continue;
        s->waiting ^= 1u << d;
        const int32_t last = --s->active;
        if (d == last) continue;
        s->lanes[d] = s->lanes[last];
        s->shared = (s->shared & ~(1u << d)) | (s->shared >> last & 1) << d;
        s->random[d] = s->random[last];
        s->random[MOST + d] = s->random[MOST + last];
        float *const rows[] = {v.ndz, v.share, v.settled};
        for (int i = 0; i < 3; i++)
            memcpy(rows[i] + d * v.padded, rows[i] + last * v.padded, sizeof(float) * (size_t)v.padded);
    }
}

TARGET INLINE int64_t NAME(rounds)(
    sampler_t *s, feed_t *feed, int drain, int64_t budget, const int exact, const int64_t n_vectors,
    const int32_t word_bytes, const int32_t topic_bytes, const int32_t ones) {
    const int64_t padded = (int64_t)n_vectors * LANES;
    /* With few topics the shares are cheaper made anew than kept up to date. */
    const int32_t direct = exact || n_vectors <= 4;
    const view_t v = {s->nzw, s->nz, s->alpha, s->counts, s->ndz, s->share, s->settled, s->reciprocal, s->stamps,
                      padded, s->n_words, n_vectors, word_bytes, topic_bytes, direct, ones};
    const float eta = s->eta;
    const int32_t last_topic = s->n_topics - 1;
    lane_t *const lanes = s->lanes;
    const vf *const alpha = (const vf *)v.alpha, *const reciprocal = (const vf *)v.reciprocal;
    vf rows[LANES][PARTS] __attribute__((aligned(64)));
    memset(rows, 0, sizeof rows);
    float *const sums = s->cumulated;
    int64_t sampled = 0;
    while (sampled < budget) {
        for (int64_t d = 0; d < s->active && s->waiting; d++) {
            if (!(s->waiting >> d & 1)) continue;
            if (!NAME(start)(s, feed, d)) break;
            NAME(begin)(v, s, d, exact);
            s->waiting ^= 1u << d;
        }
        while (!s->waiting && s->active < s->width && NAME(start)(s, feed, s->active)) {
            NAME(begin)(v, s, s->active, exact);
            s->active++;
        }
        if ((s->waiting || s->active < s->width) && !drain) break;
        NAME(close_up)(v, s);
        const int32_t active = s->active;
        if (active == 0) break;
        if (!exact && s->rounds == REFRESH)
            for (int64_t d = 0; d < active; d++) NAME(settle)(v, d);
        if (exact || s->rounds == REFRESH) NAME(reciprocals)(v, s->v_eta);
        if (s->rounds == REFRESH) {
            if (!direct)
                for (int64_t d = 0; d < active; d++) NAME(share_row)(v, d);
            int64_t least = v.nz[0];
            for (int64_t k = 1; k <= last_topic; k++) least = v.nz[k] < least ? v.nz[k] : least;
            least -= (int64_t)REFRESH * s->width * s->most_units; /* until the next time it is looked at */
            const float others = (float)((s->width - 1) * s->most_units), all = (float)least + s->v_eta;
            s->epsilon = all > others ? others / all + 2e-6f : 1.0f; /* and some rounding */
            s->rounds = 0;
        }
        s->rounds++;
        const uint32_t shared = s->shared;
        s->shared = 0;
        s->serial = (s->serial + 1) & 0xfffffffU;
        vf prior[4 * PARTS] = {{0}}, totals[4 * PARTS] = {{0}}; /* in registers, where they are few */
        for (int64_t i = 0; i < n_vectors * PARTS && n_vectors <= 4; i++) {
            prior[i] = alpha[i];
            totals[i] = reciprocal[i];
        }
        for (int64_t d = 0; d < active; d++) {
            const vi *n = (const vi *)(v.nzw + lanes[d].word * padded);
            const vf *document = (const vf *)((direct ? v.ndz : v.share) + d * padded);
            vf *cumulated = (vf *)(sums + d * padded), sum[PARTS] = {{0}};
            for (int64_t j = 0; j < n_vectors; j++) {
                for (int h = 0; h < PARTS; h++) {
                    const int64_t i = j * PARTS + h;
                    const vf share = n_vectors <= 4 ? (document[i] + prior[i]) * totals[i]
                                     : direct       ? (document[i] + alpha[i]) * reciprocal[i]
                                                    : document[i];
                    const vf p = (__builtin_convertvector(n[i], vf) + eta) * share;
                    sum[h] = j ? sum[h] + p : p;
                    if (exact || n_vectors > 4 || j < n_vectors - 1) cumulated[i] = sum[h];
                }
            }
            for (int h = 0; h < PARTS; h++) rows[d][h] = sum[h];
        }
        NAME(transpose)(rows);
        int32_t found[LANES] __attribute__((aligned(64)));
        float rest[LANES] __attribute__((aligned(64))), base[LANES] __attribute__((aligned(64)));
        float uniform[LANES] __attribute__((aligned(64)));
        for (int h = 0; h < PARTS; h++) {
            vf before = {0};
            for (int q = 0; q < 4; q++) {
                vf *t[4] = {&rows[4 * q][h], &rows[4 * q + 1][h], &rows[4 * q + 2][h], &rows[4 * q + 3][h]};
                for (int i = 1; i < 4; i++) *t[i] += *t[i - 1];
                for (int i = 0; i < 4 && q; i++) *t[i] += before;
                before = *t[3];
            }
            vu bits = ((vu *)s->random)[h];
            ((vu *)s->random)[h] += 0x9E3779B9U;
            SCRAMBLE(bits);
            bits ^= ((const vu *)(s->random + MOST))[h];
            SCRAMBLE(bits);
            const vf draw = __builtin_convertvector((vi)(bits >> 8), vf) * (1.0f / 16777216.0f);
            const vf left = draw * before;
            vf below = {0};
            vi lane = {0};
            for (int i = 0; i < LANES - 1; i++) {
                const vi passed = rows[i][h] <= left;
                lane -= passed;
                below = (vf)(((vi)rows[i][h] & passed) | ((vi)below & ~passed));
            }
            ((vi *)found)[h] = lane;
            ((vf *)rest)[h] = left - below;
            if (exact) {
                ((vf *)base)[h] = below;
                ((vf *)uniform)[h] = draw;
            }
        }
        sampled += active;
        for (int64_t d = 0; d < active; d++) {
            lane_t *const l = &lanes[d];
            const float *cumulated = sums + d * padded + found[d];
            int64_t j = 0; /* partial sums that the draw passes */
            if (n_vectors <= 4) {
                for (int64_t i = 0; i < n_vectors - 1; i++) j += cumulated[i * LANES] <= rest[d];
            } else {
                for (int64_t size = n_vectors - 1; size > 0;) {
                    const int64_t half = (size + 1) >> 1;
                    j += cumulated[(j + half - 1) * LANES] <= rest[d] ? half : 0;
                    size -= half;
                }
            }
            int64_t k = j * LANES + found[d];
            if (exact) {
                const float left = base[d] + rest[d], slack = s->epsilon * left;
                const float lower = base[d] + (j ? cumulated[(j - 1) * LANES] : 0.0f), upper = base[d] + cumulated[j * LANES];
                /* upper (1 - epsilon) > left, for it would be divided else */
                if (!(lower <= left - slack && upper - s->epsilon * upper > left) || shared >> d & 1)
                    k = NAME(again)(v, s, d, uniform[d]);
            }
            k = k < last_topic ? k : last_topic; /* rounding may lead past the last one */
            NAME(count)(v, d, l->word, k, ones ? 1 : l->count, exact);
            /* To the compiler a store of a byte may change anything: what is needed is read before it. */
            const void *const words = l->words;
            void *const z = l->z;
            const int64_t at = l->at + 1;
            if (at < l->end) {
                const int32_t word = word_at(words, word_bytes, at), old = topic_at(z, topic_bytes, at);
                l->at = at;
                NAME(take)(v, s, d, word, old, exact);
                set_topic(z, topic_bytes, at - 1, k);
                continue;
            }
            set_topic(z, topic_bytes, at - 1, k);
            if (!exact) NAME(settle)(v, d);
            if (NAME(start)(s, feed, d)) NAME(begin)(v, s, d, exact);
            else s->waiting |= 1u << d;
        }
    }
    for (int64_t d = 0; d < s->active && !exact; d++)
        if (!(s->waiting >> d & 1)) NAME(settle)(v, d);
    return sampled;
}

/* What is usual has code of its own: 16 bits for a word and 8 for a topic, up to 128 topics, tokens that count for one
 * each. */
#define ROUNDS(exact, n_vectors) \
    (s->most_units == 1 ? NAME(rounds)(s, feed, drain, budget, exact, n_vectors, 2, 1, 1) \
                        : NAME(rounds)(s, feed, drain, budget, exact, n_vectors, 2, 1, 0))

TARGET static int64_t NAME(sample_lockstep)(sampler_t *s, feed_t *feed, int drain, int64_t budget) {
    if (s->word_bytes == 2 && s->topic_bytes == 1) {
        switch (s->n_vectors) {
        case 1: return ROUNDS(0, 1);
        case 2: return ROUNDS(0, 2);
        case 3: return ROUNDS(0, 3);
        case 4: return ROUNDS(0, 4);
        case 5: return ROUNDS(0, 5);
        case 6: return ROUNDS(0, 6);
        case 7: return ROUNDS(0, 7);
        case 8: return ROUNDS(0, 8);
        default: return ROUNDS(0, s->n_vectors);
        }
    }
    return NAME(rounds)(s, feed, drain, budget, 0, s->n_vectors, s->word_bytes, s->topic_bytes, 0);
}

TARGET static int64_t NAME(sample_exact)(sampler_t *s, feed_t *feed, int drain, int64_t budget) {
    if (s->word_bytes == 2 && s->topic_bytes == 1) {
        if (s->n_vectors == 1) return ROUNDS(1, 1);
        if (s->n_vectors == 2) return ROUNDS(1, 2);
    }
    return NAME(rounds)(s, feed, drain, budget, 1, s->n_vectors, s->word_bytes, s->topic_bytes, 0);
}

#undef ROUNDS
#undef PARTS
#undef vf
#undef vi
#undef vu
#undef view_t
#undef SCRAMBLE
#undef WIDTH
