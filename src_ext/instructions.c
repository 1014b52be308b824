/* What this CPU can do. */
#include <string.h>

#include "sampler.h"

static const char *const SETS[] = {"baseline", "avx2", "avx512"}; /* each has all that those before it have */

static int best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")) return 1;
#endif
    return 0;
}

const char *best_instructions(void) {
    return SETS[best()];
}

int instruction_set(const char *name) {
    for (int i = 0; i <= best(); i++)
        if (!strcmp(name, SETS[i])) return i;
    return -1;
}
