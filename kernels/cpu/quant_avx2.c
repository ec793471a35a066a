/* The decoders of block types for AVX2; quant_decode.h has the layouts. */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

static inline __m256 eight(const int8_t *q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)q)));
}

static inline void scale(float *restrict y, const int8_t *restrict q, int n, float d)
{
    for (int j = 0; j < n; j += 8)
        _mm256_storeu_ps(y + j, _mm256_mul_ps(_mm256_set1_ps(d), eight(q + j)));
}

/* Fused, as the product is exact; see quant.h. */
static inline void scale_add(float *restrict y, const int8_t *restrict q, int n, float d, float m)
{
    for (int j = 0; j < n; j += 8)
        _mm256_storeu_ps(y + j,
                         _mm256_fmadd_ps(_mm256_set1_ps(d), eight(q + j), _mm256_set1_ps(m)));
}

#include "quant_simd.h"

void hyv_quant_decode_avx2(float *out, const void *in, hyv_type type, int64_t count)
{
    decode_blocks(out, in, type, count);
}

#endif
