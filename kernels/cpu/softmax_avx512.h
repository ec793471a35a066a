/* The softmax of attention for AVX-512 (softmax_simd.h); included by rows_avx512.c and
 * rows_avx512bf16.c. */
#include <immintrin.h>

#include "vmath.h"

enum { SOFTMAX_LANES = 16 };

typedef __m512 vector;

static inline vector load(const float *from)
{
    return _mm512_loadu_ps(from);
}

static inline void put(float *to, vector v)
{
    _mm512_storeu_ps(to, v);
}

static inline vector broadcast(float f)
{
    return _mm512_set1_ps(f);
}

static inline vector multiply(vector x, vector y)
{
    return _mm512_mul_ps(x, y);
}

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm512_fmadd_ps(x, y, sum);
}

static inline vector add_up(vector x, vector y)
{
    return _mm512_add_ps(x, y);
}

static inline vector subtract(vector x, vector y)
{
    return _mm512_sub_ps(x, y);
}

/* The larger; with a NaN in either, y. */
static inline vector larger(vector x, vector y)
{
    return _mm512_max_ps(x, y);
}

/* 2^(e - 127), where the low bits of t are e. */
static inline vector with_exponent(vector t)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(t), 23));
}

#include "softmax_simd.h"
