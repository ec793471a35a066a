/* The micro-kernel, the transposition and the decoders for AVX512.
 *
 * 14 rows by 32 columns: 28 sums of 16 lanes, two vectors of the right panel and a broadcast fill
 * the registers. The order of the sum is that of the plain C kernel: one fused multiply-add a k.
 */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 14, NR = 32, LANES = 16 };

/* With `rows` a constant everything stays in registers. */
static inline __attribute__((always_inline)) void tile(const int rows, int64_t depth,
                                                       const float *a, const float *b, float *c,
                                                       int64_t ldc, const float *start)
{
    __m512 sum[MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const float *from = start ? start : c + i * ldc;
        sum[i][0] = _mm512_loadu_ps(from);
        sum[i][1] = _mm512_loadu_ps(from + LANES);
    }
    for (int64_t k = 0; k < depth; k++) {
        const __m512 b0 = _mm512_loadu_ps(b + k * NR), b1 = _mm512_loadu_ps(b + k * NR + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const __m512 x = _mm512_set1_ps(a[k * MR + i]);
            sum[i][0] = _mm512_fmadd_ps(x, b0, sum[i][0]);
            sum[i][1] = _mm512_fmadd_ps(x, b1, sum[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        _mm512_storeu_ps(c + i * ldc, sum[i][0]);
        _mm512_storeu_ps(c + i * ldc + LANES, sum[i][1]);
    }
}

static void kernel(int rows, int64_t depth, const float *a, const float *b, float *c, int64_t ldc,
                   const float *start)
{
    switch (rows) {
    case 1:
        tile(1, depth, a, b, c, ldc, start);
        break;
    case 2:
        tile(2, depth, a, b, c, ldc, start);
        break;
    case 3:
        tile(3, depth, a, b, c, ldc, start);
        break;
    case 4:
        tile(4, depth, a, b, c, ldc, start);
        break;
    case 5:
        tile(5, depth, a, b, c, ldc, start);
        break;
    case 6:
        tile(6, depth, a, b, c, ldc, start);
        break;
    case 7:
        tile(7, depth, a, b, c, ldc, start);
        break;
    case 8:
        tile(8, depth, a, b, c, ldc, start);
        break;
    case 9:
        tile(9, depth, a, b, c, ldc, start);
        break;
    case 10:
        tile(10, depth, a, b, c, ldc, start);
        break;
    case 11:
        tile(11, depth, a, b, c, ldc, start);
        break;
    case 12:
        tile(12, depth, a, b, c, ldc, start);
        break;
    case 13:
        tile(13, depth, a, b, c, ldc, start);
        break;
    default:
        tile(MR, depth, a, b, c, ldc, start);
        break;
    }
}

/* A 16 x 16 block: rows of `in` become columns of `out`. Pairs, fours, then quarters change places.
 */
static inline void transpose_16(float *out, int width, const float *in, int64_t ld)
{
    __m512 r[16], t[16];
    for (int i = 0; i < 16; i++)
        r[i] = _mm512_loadu_ps(in + i * ld);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        r[4 * i] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm512_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm512_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_f32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_f32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        _mm512_storeu_ps(out + i * width, _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88));
        _mm512_storeu_ps(out + (i + 8) * width, _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd));
        _mm512_storeu_ps(out + (i + 4) * width, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88));
        _mm512_storeu_ps(out + (i + 12) * width, _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd));
    }
}

/* Whole blocks by transpose_16, what is left one by one. */
static void transpose(float *out, int width, const float *in, int64_t ld, int n, int64_t depth)
{
    const int whole = n / LANES * LANES;
    int64_t k = 0;
    for (; k + LANES <= depth; k += LANES)
        for (int i = 0; i < whole; i += LANES)
            transpose_16(out + k * width + i, width, in + i * ld + k, ld);
    if (k < depth)
        hyv_gemm_c.transpose(out + k * width, width, in + k, ld, n, depth - k);
    for (int64_t j = 0; j < k; j++) {
        for (int i = whole; i < n; i++)
            out[j * width + i] = in[i * ld + j];
        for (int i = n; i < width; i++)
            out[j * width + i] = 0.0f;
    }
}

static void decode(float *out, const void *in, hyv_type type, int64_t count)
{
    const uint16_t *p = in;
    int64_t i = 0;
    if (type == HYV_F16)
        for (; i + LANES <= count; i += LANES)
            _mm512_storeu_ps(out + i,
                             _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(p + i))));
    else if (type == HYV_BF16)
        for (; i + LANES <= count; i += LANES) {
            const __m256i half = _mm256_loadu_si256((const __m256i *)(p + i));
            const __m512i bits = _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16);
            _mm512_storeu_ps(out + i, _mm512_castsi512_ps(bits));
        }
    if (i < count)
        hyv_gemm_decode_c(out + i, (const char *)in + (size_t)i * hyv_type_bytes(type), type,
                          count - i);
}

const hyv_gemm_functions hyv_gemm_avx512 = {
    .mr = MR, .nr = NR, .kernel = kernel, .transpose = transpose, .decode = decode};

#endif
