/* The sparse sampler, compiled as the others in sampler.c. */
#include "sparse.h"

#include <string.h>

enum { AHEAD = 6 }; /* tokens from the asking for a list to its use */

#define KERNELS "sparse_kernels.h"
#include "every_set.h"

sample_sparse_t sample_sparse_for(const char *instructions) {
    static const sample_sparse_t SAMPLE[] = EVERY_SET(sample_sparse);
    const int set = instruction_set(instructions);
    return set < 0 ? 0 : SAMPLE[set];
}

void make_lists(sparse_t *s, const int32_t *nzw) {
    const int64_t padded = (int64_t)s->n_vectors * LANES;
    for (int64_t w = 0; w < s->n_words; w++) {
        const int32_t *const row = nzw + w * padded;
        int64_t at = s->first[w];
        for (int64_t k = 0; k < s->n_topics; k++) {
            if (!row[k]) continue;
            CHECK(at < s->first[w + 1]);
            s->topics[at] = (uint16_t)k;
            s->lists[at++] = row[k];
        }
        s->fill[w] = (int32_t)(at - s->first[w]);
        for (; at < s->first[w + 1]; at++) s->topics[at] = 0, s->lists[at] = 0;
    }
}

void write_counts(const sparse_t *s, int32_t *nzw) {
    const int64_t padded = (int64_t)s->n_vectors * LANES;
    for (int64_t w = 0; w < s->n_words; w++) {
        int32_t *const row = nzw + w * padded;
        memset(row, 0, sizeof(int32_t) * (size_t)padded);
        for (int64_t i = s->first[w], end = i + s->fill[w]; i < end; i++) row[s->topics[i]] = s->lists[i];
    }
}

void order_lists(sparse_t *s) {
    int32_t *const counts = (int32_t *)s->cumulated; /* by topic */
    for (int64_t w = 0; w < s->n_words; w++) {
        uint16_t *const topics = s->topics + s->first[w];
        int32_t *const list = s->lists + s->first[w];
        const int64_t n = s->fill[w];
        int64_t i = 1;
        while (i < n && topics[i - 1] < topics[i]) i++;
        if (i >= n) continue;
        for (i = 0; i < n; i++) {
            s->bits[topics[i] / 64] |= 1ULL << topics[i] % 64;
            counts[topics[i]] = list[i];
        }
        i = 0;
        for (int64_t b = 0; i < n; b++) {
            for (uint64_t left = s->bits[b]; left; left &= left - 1, i++) {
                topics[i] = (uint16_t)(b * 64 + __builtin_ctzll(left));
                list[i] = counts[topics[i]];
            }
            s->bits[b] = 0;
        }
    }
}
