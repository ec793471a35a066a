/* The softmax of attention for AVX2 (softmax_simd.h); included by rows_avx2.c. */
#include <immintrin.h>

#include "vmath.h"

enum { SOFTMAX_LANES = 8 };

typedef __m256 vector;

static inline vector load(const float *from)
{
    return _mm256_loadu_ps(from);
}

static inline void put(float *to, vector v)
{
    _mm256_storeu_ps(to, v);
}

static inline vector broadcast(float f)
{
    return _mm256_set1_ps(f);
}

static inline vector multiply(vector x, vector y)
{
    return _mm256_mul_ps(x, y);
}

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm256_fmadd_ps(x, y, sum);
}

static inline vector add_up(vector x, vector y)
{
    return _mm256_add_ps(x, y);
}

static inline vector subtract(vector x, vector y)
{
    return _mm256_sub_ps(x, y);
}

/* The larger; with a NaN in either, y. */
static inline vector larger(vector x, vector y)
{
    return _mm256_max_ps(x, y);
}

/* 2^(e - 127), where the low bits of t are e. */
static inline vector with_exponent(vector t)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(t), 23));
}

#include "softmax_simd.h"
