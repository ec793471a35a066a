/* The micro-kernel, the transposition and the decoders for AVX-512.
 *
 * 14 rows by 32 columns: 28 sums of 16 lanes, two vectors of the right panel and a broadcast fill
 * the registers. The order of the sum is that of the plain C kernel: one fused multiply-add a k.
 */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 14, NR = 32, LANES = 16, DEPTH = 768 };
enum { AHEAD = 16 }; /* k that are fetched early */

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
        _mm_prefetch(b + (k + AHEAD) * NR, _MM_HINT_T0);
        _mm_prefetch(b + (k + AHEAD) * NR + LANES, _MM_HINT_T0);
        _mm_prefetch(a + (k + 2 * AHEAD) * MR, _MM_HINT_T0);
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

/* Rows of a 16 x 16 block become columns: pairs, fours, then quarters change places. */
static inline void flip(__m512 r[LANES])
{
    __m512 t[LANES];
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
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_f32x4(t[i + 4], t[i + 12], 0xdd);
    }
}

/* Up to 16 rows; whole blocks of 16 k, then one that masks what is not there. */
static inline void transpose_rows(float *out, int width, const float *const *in, int n, int lanes,
                                  int64_t depth)
{
    const __mmask16 stored = (__mmask16)((1u << lanes) - 1);
    __m512 r[LANES];
    int64_t k = 0;
    for (; k + LANES <= depth; k += LANES) {
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            r[i] = i < n ? _mm512_loadu_ps(in[i] + k) : _mm512_setzero_ps();
        flip(r);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
            _mm512_mask_storeu_ps(out + (k + i) * width, stored, r[i]);
    }
    if (k == depth)
        return;
    const __mmask16 loaded = (__mmask16)((1u << (depth - k)) - 1);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        r[i] = i < n ? _mm512_maskz_loadu_ps(loaded, in[i] + k) : _mm512_setzero_ps();
    flip(r);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++)
        if (k + i < depth)
            _mm512_mask_storeu_ps(out + (k + i) * width, stored, r[i]);
}

static void transpose(float *out, int width, const float *const *in, int n, int64_t depth)
{
    for (int i = 0; i < width; i += LANES)
        transpose_rows(out + i, width, in + i, n - i, width - i < LANES ? width - i : LANES, depth);
}

/* e4m3 as f16 with an exponent smaller by 8: times 256 puts it right; 480 would be its NaN. */
static inline __m512 decode_e4m3(__m128i bytes)
{
    const __m256i wide = _mm256_cvtepu8_epi16(bytes);
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    const __m256i rest = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(rest, _mm256_set1_epi16(0x7f << 7));
    const __m256i half = _mm256_mask_mov_epi16(rest, nan, _mm256_set1_epi16(0x7e00));
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(half, sign)), _mm512_set1_ps(256.0f));
}

static void decode(float *out, const void *in, hyv_type type, int64_t count)
{
    const uint8_t *p = in;
    const int64_t size = (int64_t)hyv_type_bytes(type);
    int64_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const void *from = p + i * size;
        __m512 v;
        switch (type) {
        case HYV_F32:
            v = _mm512_loadu_ps(from);
            break;
        case HYV_F16:
            v = _mm512_cvtph_ps(_mm256_loadu_si256(from));
            break;
        case HYV_BF16:
            v = _mm512_castsi512_ps(
                _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from)), 16));
            break;
        case HYV_F8_E4M3:
            v = decode_e4m3(_mm_loadu_si128(from));
            break;
        default: /* e5m2: the upper half of an f16 */
            v = _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(from)), 8));
            break;
        }
        _mm512_storeu_ps(out + i, v);
    }
    if (i < count)
        hyv_gemm_decode_c(out + i, p + i * size, type, count - i);
}

const hyv_gemm_functions hyv_gemm_avx512 = {
    .mr = MR, .nr = NR, .depth = DEPTH, .kernel = kernel, .transpose = transpose, .decode = decode};

#endif
