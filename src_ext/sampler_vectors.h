/* Vectors of an instruction set, and what is done with them that is no arithmetic of the samplers: included with
 * `sampler_kernels.h`; see `every_set.h`.
 */
#define WIDTH (BITS / 32)

enum { NAME(PARTS) = LANES / WIDTH };
#define PARTS NAME(PARTS)
typedef float NAME(vf) __attribute__((vector_size(4 * WIDTH)));
typedef int32_t NAME(vi) __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t NAME(vu) __attribute__((vector_size(4 * WIDTH)));
#define vf NAME(vf)
#define vi NAME(vi)
#define vu NAME(vu)

/* A round of Wellons' 32-bit finaliser lowbias32. */
#define SCRAMBLE(x) \
    do { \
        x ^= x >> 16; \
        x *= 0x7feb352dU; \
        x ^= x >> 15; \
        x *= 0x846ca68bU; \
        x ^= x >> 16; \
    } while (0)

/* The columns of four rows. */
TARGET INLINE void NAME(transpose4)(f4 *restrict r) {
    const f4 a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5), b = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    const f4 c = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5), d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

/* rows[i][j] <-> rows[j][i] */
TARGET INLINE void NAME(transpose)(vf rows[LANES][PARTS]) {
#if WIDTH == 16
    __m512 a[16], b[16];
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps((__m512)rows[i][0], (__m512)rows[i + 1][0]);
        a[i + 1] = _mm512_unpackhi_ps((__m512)rows[i][0], (__m512)rows[i + 1][0]);
    }
    for (int i = 0; i < 16; i += 4) {
        for (int h = 0; h < 2; h++) {
            const __m512d x = _mm512_castps_pd(a[i + h]), y = _mm512_castps_pd(a[i + 2 + h]);
            b[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
            b[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
        }
    }
    for (int c = 0; c < 4; c++) { /* b[4 * q + c] holds columns c, 4 + c, 8 + c, 12 + c of rows 4 * q to 4 * q + 3 */
        const __m512 even = _mm512_shuffle_f32x4(b[c], b[4 + c], 0x88), odd = _mm512_shuffle_f32x4(b[c], b[4 + c], 0xdd);
        const __m512 even2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0x88);
        const __m512 odd2 = _mm512_shuffle_f32x4(b[8 + c], b[12 + c], 0xdd);
        rows[c][0] = (vf)_mm512_shuffle_f32x4(even, even2, 0x88);
        rows[4 + c][0] = (vf)_mm512_shuffle_f32x4(odd, odd2, 0x88);
        rows[8 + c][0] = (vf)_mm512_shuffle_f32x4(even, even2, 0xdd);
        rows[12 + c][0] = (vf)_mm512_shuffle_f32x4(odd, odd2, 0xdd);
    }
#else
    f4 *quads = (f4 *)rows; /* quads[4 * row + q] */
    for (int i = 0; i < 4; i++) {
        for (int j = i; j < 4; j++) {
            f4 x[4], y[4];
            for (int t = 0; t < 4; t++) {
                x[t] = quads[4 * (4 * i + t) + j];
                y[t] = quads[4 * (4 * j + t) + i];
            }
            NAME(transpose4)(x);
            NAME(transpose4)(y);
            for (int t = 0; t < 4; t++) {
                quads[4 * (4 * j + t) + i] = x[t];
                quads[4 * (4 * i + t) + j] = y[t];
            }
        }
    }
#endif
}
