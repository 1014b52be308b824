/* Includes KERNELS, a header without a guard, once for every instruction set of this CPU family that is worth it, with
 *
 *   TARGET   the attribute of a function in it,
 *   NAME(x)  x with the set's name behind,
 *   BITS     the width of a register.
 *
 * EVERY_SET(function) is then the list of its functions, in the order of `instruction_set`.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,bmi2,popcnt")))
#define NAME(x) x##_avx512
#define BITS 512
#include KERNELS
#undef TARGET
#undef NAME
#undef BITS
#define TARGET __attribute__((target("avx2,bmi2,popcnt")))
#define NAME(x) x##_avx2
#define BITS 256
#include KERNELS
#undef TARGET
#undef NAME
#undef BITS
#define EVERY_SET(function) {function##_baseline, function##_avx2, function##_avx512}
#else
#define EVERY_SET(function) {function##_baseline}
#endif

#define TARGET
#define NAME(x) x##_baseline
#define BITS 128
#include KERNELS
