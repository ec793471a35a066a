/* The decoders of block types for AVX-512; quant_decode.h has the layouts. */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

static inline __m512 sixteen(const int8_t *q)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)q)));
}

static inline void scale(float *restrict y, const int8_t *restrict q, int n, float d)
{
    for (int j = 0; j < n; j += 16)
        _mm512_storeu_ps(y + j, _mm512_mul_ps(_mm512_set1_ps(d), sixteen(q + j)));
}

/* Fused, as the product is exact; see quant.h. */
static inline void scale_add(float *restrict y, const int8_t *restrict q, int n, float d, float m)
{
    for (int j = 0; j < n; j += 16)
        _mm512_storeu_ps(y + j,
                         _mm512_fmadd_ps(_mm512_set1_ps(d), sixteen(q + j), _mm512_set1_ps(m)));
}

#include "quant_simd.h"

void hyv_quant_decode_avx512(float *out, const void *in, hyv_type type, int64_t count)
{
    decode_blocks(out, in, type, count);
}

#endif
