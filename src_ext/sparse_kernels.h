/* The sparse sampler, once for each instruction set: see `every_set.h`. WIDTH is the float32 numbers in a register.
 *
 * The conditional is (nwk + eta) * share[k], share[k] = (ndk + alpha) / (nk + v_eta): the words' part goes over the
 * topics in the word's list, LANES at a time; of the rest, eta * sum(share), only the total is needed, until a draw falls
 * into it (Yao, Mimno & McCallum 2009, whose three parts are these with the second one cut in two). Sums run lane by
 * lane, then over the lanes, whatever WIDTH is, so all instruction sets sample the same topics.
 */

#define WIDTH (BITS / 32)
enum { NAME(PARTS) = LANES / WIDTH };
#define PARTS NAME(PARTS)
typedef float NAME(vf) __attribute__((vector_size(4 * WIDTH)));
typedef int32_t NAME(vi) __attribute__((vector_size(4 * WIDTH)));
#define vf NAME(vf)
#define vi NAME(vi)

TARGET INLINE float NAME(total)(const float *restrict numbers, int64_t n) {
    vf sums[PARTS] = {{0}};
    for (int64_t i = 0; i < n; i += LANES)
        for (int h = 0; h < PARTS; h++) sums[h] += *(const vf *)(numbers + i + h * WIDTH);
    const float *lanes = (const float *)sums;
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += lanes[i];
    return sum;
}

/* Every number plus those before it. The order of the sums is that of four shifts, whatever WIDTH is. */
TARGET INLINE void NAME(prefix)(float *restrict lanes) {
#if WIDTH == 16
    const __m512i zero = _mm512_setzero_si512();
    __m512 x = _mm512_load_ps(lanes);
    x += (__m512)_mm512_alignr_epi32((__m512i)x, zero, 15);
    x += (__m512)_mm512_alignr_epi32((__m512i)x, zero, 14);
    x += (__m512)_mm512_alignr_epi32((__m512i)x, zero, 12);
    x += (__m512)_mm512_alignr_epi32((__m512i)x, zero, 8);
    _mm512_store_ps(lanes, x);
#else
    for (int shift = 1; shift < LANES; shift *= 2)
        for (int i = LANES - 1; i >= shift; i--) lanes[i] += lanes[i - shift];
#endif
}

/* Where a topic stands in a list, or the list's end. */
TARGET INLINE int64_t NAME(position)(const uint16_t *restrict topics, int64_t n, uint16_t k) {
    for (int64_t j = 0; j < n; j += LANES) {
        uint32_t here = 0;
        for (int i = 0; i < LANES; i++) here |= (uint32_t)(topics[j + i] == k) << i;
        if (n - j < LANES) here &= (1u << (n - j)) - 1;
        if (here) return j + __builtin_ctz(here);
    }
    return n;
}

/* Count `units` more of topic k, and bring what follows from it up to date; returns what the shares' sum gains. */
TARGET INLINE float NAME(shift)(sparse_t *s, int64_t k, int32_t units) {
    const float before = s->share[k];
    s->nz[k] += units;
    s->ndz[k] += (float)units;
    CHECK(s->nz[k] >= 0 && s->ndz[k] >= 0);
    s->reciprocal[k] = 1.0f / ((float)s->nz[k] + s->v_eta);
    s->share[k] = (s->ndz[k] + s->alpha[k]) * s->reciprocal[k];
    return s->share[k] - before;
}

/* The lane of LANES running sums, and the rest in it, where `left` falls. */
TARGET INLINE int64_t NAME(lane_of)(const float *restrict lanes, float left, float *rest) {
#if WIDTH == 16
    const int64_t lane = __builtin_popcount(_mm512_cmple_ps_mask(_mm512_load_ps(lanes), _mm512_set1_ps(left)) & 0x7fff);
#else
    int64_t lane = 0;
    for (int l = 0; l < LANES - 1; l++) lane += lanes[l] <= left;
#endif
    *rest = left - (lane ? lanes[lane - 1] : 0);
    return lane;
}

/* The topic at `left` in the shares: what the document and its prior say, whatever the word. */
TARGET static __attribute__((noinline)) int64_t NAME(from_document)(const sparse_t *s, float left) {
    float lanes[LANES] __attribute__((aligned(64))) = {0}, rest;
    vf *const sums = (vf *)lanes;
    for (int64_t j = 0; j < s->n_vectors; j++)
        for (int h = 0; h < PARTS; h++) {
            sums[h] += ((const vf *)(s->share + j * LANES))[h];
            ((vf *)(s->cumulated + j * LANES))[h] = sums[h];
        }
    NAME(prefix)(lanes);
    const int64_t lane = NAME(lane_of)(lanes, left, &rest);
    int64_t j = 0;
    while (j < s->n_vectors - 1 && s->cumulated[j * LANES + lane] <= rest) j++;
    const int64_t k = j * LANES + lane;
    return k < s->n_topics ? k : s->n_topics - 1; /* rounding may lead past the last one */
}

TARGET static void NAME(sample_sparse)(sparse_t *s, feed_t *feed, int64_t budget) {
    const int64_t padded = (int64_t)s->n_vectors * LANES;
    for (int64_t k = 0; k < padded; k++) {
        s->reciprocal[k] = 1.0f / ((float)s->nz[k] + s->v_eta);
        s->share[k] = s->alpha[k] * s->reciprocal[k];
    }
    for (; feed->next < feed->end && budget > 0; feed->next++) {
        const int64_t begin = feed->offsets[feed->next], end = feed->offsets[feed->next + 1];
        const uint64_t key = document_key(s->seed, s->sweep, feed->first_document + (uint64_t)feed->next);
        int64_t n_present = 0;
        budget -= end - begin;
        for (int64_t i = begin; i < end; i++) {
            const int32_t w = word_at(feed->words, s->word_bytes, i), k = topic_at(feed->z, s->topic_bytes, i);
            s->present[n_present] = (uint16_t)k;
            n_present += !s->noted[k];
            s->noted[k] = 1;
            s->ndz[k] += (float)s->counts[w];
        }
        for (int64_t i = 0; i < n_present; i++) {
            const int64_t k = s->present[i];
            s->share[k] = (s->ndz[k] + s->alpha[k]) * s->reciprocal[k];
        }
        float shares = NAME(total)(s->share, padded);
        for (int64_t i = begin; i < end; i++) {
            const int32_t w = word_at(feed->words, s->word_bytes, i), old = topic_at(feed->z, s->topic_bytes, i);
            const int32_t units = s->counts[w];
            uint16_t *const restrict topics = s->topics + s->first[w];
            int32_t *const restrict list = s->lists + s->first[w];
            float *const restrict cumulated = s->cumulated;
            int64_t n = s->fill[w];
            if (i + AHEAD < end) {
                const int32_t soon = word_at(feed->words, s->word_bytes, i + AHEAD);
                const int64_t its = s->first[soon];
                for (int64_t j = 0; j <= s->fill[soon]; j += 64 / 4) __builtin_prefetch(s->lists + its + j, 1);
                for (int64_t j = 0; j <= s->fill[soon]; j += 64 / 2) __builtin_prefetch(s->topics + its + j, 1);
            }
            shares += NAME(shift)(s, old, -units);
            const int64_t at = NAME(position)(topics, n, (uint16_t)old);
            CHECK(at < n && list[at] >= units);
            list[at] -= units;
            const int64_t gone = list[at] == 0, last = gone ? n - 1 : at;
            list[at] = list[last];
            topics[at] = topics[last];
            n -= gone;
            list[n] = 0; /* is so already unless an entry has gone */
            topics[n] = 0;
            float lanes[LANES] __attribute__((aligned(64))) = {0};
            vf *const sums = (vf *)lanes;
            for (int64_t j = 0; j < n; j += LANES) {
                float here[LANES] __attribute__((aligned(64))); /* quicker than gathering: loads see the last stores */
                for (int l = 0; l < LANES; l++) here[l] = s->share[topics[j + l]];
                for (int h = 0; h < PARTS; h++) {
                    sums[h] += ((const vf *)here)[h] * __builtin_convertvector(*(const vi *)(list + j + h * WIDTH), vf);
                    *(vf *)(cumulated + j + h * WIDTH) = sums[h];
                }
            }
            NAME(prefix)(lanes);
            const uint64_t bits = mix64(key + GAMMA * (uint64_t)(i - begin + 1));
            const float uniform = (float)(int32_t)(bits >> 40) * (1.0f / 16777216.0f), by_word = lanes[LANES - 1];
            const float left = uniform * (by_word + s->eta * shares);
            int64_t k, place;
            if (left < by_word) {
                float rest;
                const int64_t lane = NAME(lane_of)(lanes, left, &rest);
                int64_t j = 0;
                while (j + LANES < n && cumulated[j + lane] <= rest) j += LANES;
                place = j + lane < n ? j + lane : n - 1; /* rounding may lead past the last one */
                k = topics[place];
            } else {
                k = NAME(from_document)(s, (left - by_word) / s->eta);
                place = NAME(position)(topics, n, (uint16_t)k);
                topics[place] = (uint16_t)k;
                n += place == n;
            }
            list[place] += units;
            s->fill[w] = (int32_t)n;
            s->present[n_present] = (uint16_t)k;
            n_present += !s->noted[k];
            s->noted[k] = 1;
            shares += NAME(shift)(s, k, units);
            set_topic(feed->z, s->topic_bytes, i, (int32_t)k);
        }
        for (int64_t i = 0; i < n_present; i++) {
            const int64_t k = s->present[i];
            s->ndz[k] = 0;
            s->noted[k] = 0;
            s->share[k] = s->alpha[k] * s->reciprocal[k];
        }
    }
}

#undef PARTS
#undef vf
#undef vi
#undef WIDTH
