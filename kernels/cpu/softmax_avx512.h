/* softmax_columns (rows.h) for AVX-512, with the bytes of the definition in rows_kernels.h;
 * included by rows_avx512.c and rows_avx512bf16.c.
 *
 * What compilers make of that definition waits for each comparison before the next, and takes twice
 * as many instructions for exp: here arguments are never above 0, and an instruction multiplies by
 * a power of two, rounding once as the definition does.
 */
#include <immintrin.h>
#include <math.h>

#include "vmath.h"

enum { SOFTMAX_LANES = 16, SOFTMAX_CHAINS = 4 };

/* hyv_expf of x <= 0, or NaN of NaN. */
static inline __m512 exp_of_negative(__m512 x)
{
    const __m512 rounder = _mm512_set1_ps(HYV_ROUNDER);
    x = _mm512_max_ps(_mm512_set1_ps(-104.0f), x); /* with a NaN in either, x */
    const __m512 n =
        _mm512_sub_ps(_mm512_fmadd_ps(x, _mm512_set1_ps(1.44269504f), rounder), rounder);
    __m512 r = _mm512_fmadd_ps(n, _mm512_set1_ps(-0.693359375f), x);
    r = _mm512_fmadd_ps(n, _mm512_set1_ps(2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9918532e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3946204e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3332639e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.16662693e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.66666672e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
    p = _mm512_add_ps(_mm512_fmadd_ps(p, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

/* The largest of 16 columns; a NaN is not. */
static inline __m512 largest_of_columns(const float *s, int64_t keys, int width)
{
    __m512 high[SOFTMAX_CHAINS];
    for (int i = 0; i < SOFTMAX_CHAINS; i++)
        high[i] = _mm512_set1_ps(-INFINITY);
    int64_t j = 0;
    for (; j + SOFTMAX_CHAINS <= keys; j += SOFTMAX_CHAINS)
#pragma GCC unroll 4
        for (int i = 0; i < SOFTMAX_CHAINS; i++)
            high[i] = _mm512_max_ps(_mm512_loadu_ps(s + (j + i) * width), high[i]);
    for (; j < keys; j++)
        high[0] = _mm512_max_ps(_mm512_loadu_ps(s + j * width), high[0]);
    return _mm512_max_ps(_mm512_max_ps(high[0], high[1]), _mm512_max_ps(high[2], high[3]));
}

static inline void softmax_16_columns(float *s, int64_t keys, int width, float factor, float *top,
                                      float *total, float *rescale)
{
    const __m512 times = _mm512_set1_ps(factor), before = _mm512_loadu_ps(top);
    const __m512 high =
        _mm512_max_ps(_mm512_mul_ps(largest_of_columns(s, keys, width), times), before);
    __m512 part[SOFTMAX_LANES];
    for (int i = 0; i < SOFTMAX_LANES; i++)
        part[i] = _mm512_setzero_ps();
    for (int64_t j = 0; j < keys; j++) {
        float *score = s + j * width;
        const __m512 e =
            exp_of_negative(_mm512_sub_ps(_mm512_mul_ps(_mm512_loadu_ps(score), times), high));
        _mm512_storeu_ps(score, e);
        part[j % SOFTMAX_LANES] = _mm512_add_ps(part[j % SOFTMAX_LANES], e);
    }
    for (int half = SOFTMAX_LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            part[i] = _mm512_add_ps(part[i], part[i + half]);
    const __m512 again = exp_of_negative(_mm512_sub_ps(before, high));
    _mm512_storeu_ps(rescale, again);
    _mm512_storeu_ps(total, _mm512_fmadd_ps(_mm512_loadu_ps(total), again, part[0]));
    _mm512_storeu_ps(top, high);
}

static void softmax_columns(float *s, int64_t keys, int width, float factor, float *top,
                            float *total, float *rescale)
{
    for (int l = 0; l < width; l += SOFTMAX_LANES)
        softmax_16_columns(s + l, keys, width, factor, top + l, total + l, rescale + l);
}

#define ROWS_SOFTMAX_COLUMNS
