/* The samplers, compiled for every instruction set of this CPU family that is worth it; the CPU decides when they run. */
#include "sampler.h"

#include <string.h>

#if !defined(__GNUC__)
#error "the samplers are written in the vector extensions of GCC and Clang: build with one of them (Windows: clang-cl)"
#endif

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

#define KERNELS "sampler_kernels.h"
#include "every_set.h"

sample_t sample_for(const char *instructions, int exact) {
    static const sample_t EXACT[] = EVERY_SET(sample_exact), LOCKSTEP[] = EVERY_SET(sample_lockstep);
    const int set = instruction_set(instructions);
    return set < 0 ? 0 : exact ? EXACT[set] : LOCKSTEP[set];
}
