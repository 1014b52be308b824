/* The samplers, compiled for every instruction set of this CPU family that is worth it; the CPU decides when they run. */
#include "sampler.h"

#include <string.h>

#if !defined(__GNUC__)
#error "the samplers are written in the vector extensions of GCC and Clang: build with one of them (Windows: clang-cl)"
#endif

#define INLINE static inline __attribute__((always_inline))
typedef float f4 __attribute__((vector_size(16)));

void put_back(sampler_t *s) {
    for (int32_t d = 0; d < s->active; d++) {
        const lane_t *l = &s->lanes[d];
        if (s->waiting >> d & 1) continue;
        const int32_t k = s->topic_bytes == 1 ? ((const uint8_t *)l->z)[l->at] : ((const uint16_t *)l->z)[l->at];
        s->nzw[(int64_t)l->word * s->n_vectors * LANES + k] += l->count;
        s->nz[k] += l->count;
    }
    s->active = 0;
    s->waiting = s->shared = 0;
}

#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")))
#define NAME(x) x##_avx512
#define WIDTH 16
#include "sampler_kernels.h"
#undef TARGET
#undef NAME
#undef WIDTH
#define TARGET __attribute__((target("avx2,bmi2,popcnt")))
#define NAME(x) x##_avx2
#define WIDTH 8
#include "sampler_kernels.h"
#undef TARGET
#undef NAME
#undef WIDTH
#endif

#define TARGET
#define NAME(x) x##_baseline
#define WIDTH 4
#include "sampler_kernels.h"

sample_t sample_for(const char *instructions, int exact) {
    const char *best = best_instructions();
#if defined(__x86_64__)
    if (!strcmp(instructions, "avx512") && !strcmp(best, "avx512")) return exact ? sample_exact_avx512 : sample_lockstep_avx512;
    if (!strcmp(instructions, "avx2") && strcmp(best, "baseline")) return exact ? sample_exact_avx2 : sample_lockstep_avx2;
#endif
    if (!strcmp(instructions, "baseline")) return exact ? sample_exact_baseline : sample_lockstep_baseline;
    return 0;
}
