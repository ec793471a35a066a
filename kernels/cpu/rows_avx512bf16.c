/* The row functions, compiled for AVX512 with AVX512_BF16, and the softmax for products of pairs.
 *
 * Its results are rounded to 8 bits at once, so 2^x is a rough one (pairs_avx512.h). Sums are of
 * the values before that rounding, as in published GPU code.
 */
#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>

#include "pairs_avx512.h"
#include "rows.h"
#include "softmax_avx512.h"

enum { PAIR_LANES = 16, PAIR_PARTS = 4 }; /* chains side by side hide the latency */

/* Earlier results are rescaled only where a score is more than 2^8 times as heavy as the old top:
 * weights up to that are rounded just as well, and rescaling costs as much as some keys. */
static inline __m512 new_tops(__m512 before, __m512 most_now, __m512 scale)
{
    const __m512 growth = _mm512_mul_ps(_mm512_sub_ps(most_now, before), scale);
    const __mmask16 grown = _mm512_cmp_ps_mask(growth, _mm512_set1_ps(8.0f), _CMP_GT_OQ);
    return _mm512_mask_mov_ps(before, grown, most_now);
}

/* 2^(scale * (s - top)): 1 for a score at the top, however large it is. */
static inline __m512 weight(__m512 s, __m512 top, __m512 scale)
{
    return exp2_roughly(_mm512_mul_ps(_mm512_sub_ps(s, top), scale));
}

/* Two rows of keys, or one: weights into `out`, sums into part[0] and part[1]. */
static inline void weigh(float *out, const float *even, const float *odd, __m512 top, __m512 scale,
                         __m512 *part)
{
    const __m512 a = weight(_mm512_loadu_ps(even), top, scale);
    __m512 b = _mm512_setzero_ps();
    if (odd)
        b = weight(_mm512_loadu_ps(odd), top, scale);
    part[0] = _mm512_add_ps(part[0], a);
    part[1] = _mm512_add_ps(part[1], b);
    _mm512_storeu_si512(out, pair_up(a, b));
}

static inline void softmax_lanes_pairs(float *out, const float *s, int64_t keys, int width,
                                       float factor, float *top, float *total, float *rescale)
{
    const __m512 scale = _mm512_set1_ps(factor), before = _mm512_loadu_ps(top);
    const __m512 high = new_tops(before, most(before, largest_of_columns(s, keys, width)), scale);
    __m512 part[PAIR_PARTS];
    for (int i = 0; i < PAIR_PARTS; i++)
        part[i] = _mm512_setzero_ps();
    int64_t j = 0;
    for (; j + PAIR_PARTS <= keys; j += PAIR_PARTS, s += PAIR_PARTS * width, out += 2 * width) {
        weigh(out, s, s + width, high, scale, part);
        weigh(out + width, s + 2 * width, s + 3 * width, high, scale, part + 2);
    }
    for (; j < keys; j += 2, s += 2 * width, out += width)
        weigh(out, s, j + 1 < keys ? s + width : NULL, high, scale, part);
    const __m512 sum =
        _mm512_add_ps(_mm512_add_ps(part[0], part[1]), _mm512_add_ps(part[2], part[3]));
    const __mmask16 grown = _mm512_cmp_ps_mask(before, high, _CMP_NEQ_UQ);
    const __m512 again =
        _mm512_mask_mov_ps(_mm512_set1_ps(1.0f), grown, weight(before, high, scale));
    _mm512_storeu_ps(rescale, again);
    _mm512_storeu_ps(total, _mm512_fmadd_ps(_mm512_loadu_ps(total), again, sum));
    _mm512_storeu_ps(top, high);
}

static void softmax_pairs(float *out, const float *s, int64_t keys, int width, float factor,
                          float *top, float *sum, float *rescale)
{
    for (int l = 0; l < width; l += PAIR_LANES)
        softmax_lanes_pairs(out + l, s + l, keys, width, factor, top + l, sum + l, rescale + l);
}

#define ROWS_TABLE         hyv_rows_avx512bf16
#define ROWS_SOFTMAX_PAIRS softmax_pairs
#include "rows_kernels.h"

#else
typedef int hyv_rows_avx512bf16_is_for_x86_64;
#endif
