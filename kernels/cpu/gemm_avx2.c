/* The micro-kernel, the transposition and the decoders for AVX2.
 *
 * 6 rows by 16 columns: 12 sums of 8 lanes, two vectors of the right panel and a broadcast fill the
 * registers. The order of the sum is that of the plain C kernel: one fused multiply-add a k.
 */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 6, NR = 16, LANES = 8 };

/* With `rows` a constant everything stays in registers. */
static inline __attribute__((always_inline)) void tile(const int rows, int64_t depth,
                                                       const float *a, const float *b, float *c,
                                                       int64_t ldc, const float *start)
{
    __m256 sum[MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const float *from = start ? start : c + i * ldc;
        sum[i][0] = _mm256_loadu_ps(from);
        sum[i][1] = _mm256_loadu_ps(from + LANES);
    }
    for (int64_t k = 0; k < depth; k++) {
        const __m256 b0 = _mm256_loadu_ps(b + k * NR), b1 = _mm256_loadu_ps(b + k * NR + LANES);
#pragma GCC unroll 16
        for (int i = 0; i < rows; i++) {
            const __m256 x = _mm256_set1_ps(a[k * MR + i]);
            sum[i][0] = _mm256_fmadd_ps(x, b0, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(x, b1, sum[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        _mm256_storeu_ps(c + i * ldc, sum[i][0]);
        _mm256_storeu_ps(c + i * ldc + LANES, sum[i][1]);
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
    default:
        tile(MR, depth, a, b, c, ldc, start);
        break;
    }
}

/* An 8 x 8 block: rows of `in` become columns of `out`. */
static inline void transpose_8(float *out, int width, const float *in, int64_t ld)
{
    __m256 r[8], t[8];
    for (int i = 0; i < 8; i++)
        r[i] = _mm256_loadu_ps(in + i * ld);
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[4 * i] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0x44);
        r[4 * i + 1] = _mm256_shuffle_ps(t[4 * i], t[4 * i + 2], 0xee);
        r[4 * i + 2] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0x44);
        r[4 * i + 3] = _mm256_shuffle_ps(t[4 * i + 1], t[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out + i * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
        _mm256_storeu_ps(out + (i + 4) * width, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
    }
}

/* Whole blocks by transpose_8, what is left one by one. */
static void transpose(float *out, int width, const float *in, int64_t ld, int n, int64_t depth)
{
    const int whole = n / LANES * LANES;
    int64_t k = 0;
    for (; k + LANES <= depth; k += LANES)
        for (int i = 0; i < whole; i += LANES)
            transpose_8(out + k * width + i, width, in + i * ld + k, ld);
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
            _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + i))));
    else if (type == HYV_BF16)
        for (; i + LANES <= count; i += LANES) {
            const __m128i half = _mm_loadu_si128((const __m128i *)(p + i));
            const __m256i bits = _mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16);
            _mm256_storeu_ps(out + i, _mm256_castsi256_ps(bits));
        }
    if (i < count)
        hyv_gemm_decode_c(out + i, (const char *)in + (size_t)i * hyv_type_bytes(type), type,
                          count - i);
}

const hyv_gemm_functions hyv_gemm_avx2 = {
    .mr = MR, .nr = NR, .kernel = kernel, .transpose = transpose, .decode = decode};

#endif
