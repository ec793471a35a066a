/* What the files for pairs of bf16 share: pairing up two rows, and the exponential of softmaxes
 * whose results are rounded to bf16 at once.
 */
#ifndef HYV_CPU_PAIRS_AVX512_H
#define HYV_CPU_PAIRS_AVX512_H

#include <immintrin.h>

/* Value i of both rows, rounded, become pair i; that of `even` is the lower half. */
static inline __m512i pair_up(__m512 even, __m512 odd)
{
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i order =
        _mm512_or_si512(lane, _mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(16)), 16));
    return _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(odd, even));
}

/* The larger; with a NaN in either, a. */
static inline __m512 most(__m512 a, __m512 b)
{
    return _mm512_max_ps(b, a);
}

/* 2^x; 0 for minus infinity. 2^floor times a polynomial of degree 4 (minimax on [0, 1), made for
 * this file, relative error 4e-6): the result is rounded to 8 bits next. */
static inline __m512 exp2_roughly(__m512 x)
{
    const __m512 r = _mm512_reduce_ps(x, 0x09); /* x - floor(x) */
    __m512 p = _mm512_set1_ps(1.35341706e-2f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.20114638e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.41442755e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.93003833e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.00000262f));
    return _mm512_scalef_ps(p, x);
}

#endif
