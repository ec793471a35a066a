/* Products in 8-bit integers for AVX512_VNNI: an instruction adds four products of an unsigned and
 * a signed byte.
 */
#include "gemm_int8.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 14, NR = 32, LANES = 16 };
enum { AHEAD = 16, STEPS = 1 }; /* elements: fetched early; multiplied a turn */

typedef __m512i vector;

static inline vector load(const void *from)
{
    return _mm512_loadu_si512(from);
}

static inline void put(float *to, vector v)
{
    _mm512_storeu_si512(to, v);
}

static inline vector broadcast(float bytes)
{
    return _mm512_castps_si512(_mm512_set1_ps(bytes));
}

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm512_dpbusd_epi32(sum, x, y);
}

static inline __attribute__((always_inline)) void fetch_early(const float *a, const float *b)
{
    _mm_prefetch(b + AHEAD * NR, _MM_HINT_T0);
    _mm_prefetch(b + AHEAD * NR + LANES, _MM_HINT_T0);
    _mm_prefetch(a + 2 * AHEAD * MR, _MM_HINT_T0);
}

#define SIMD_HEIGHTS 14
#define SIMD_PAIRS
#include "gemm_simd.h"

#include "int8_kernels.h"

/* What int8_kernels.h says in loops; a maximum with a NaN is the second operand. */
static int32_t quantise(void *out, const float *in, int64_t n, float factor, int offset)
{
    const __m512 times = _mm512_set1_ps(factor), limit = _mm512_set1_ps(127.0f);
    const __m512 least = _mm512_set1_ps(-127.0f);
    const __m512i shift = _mm512_set1_epi32(offset);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < n; i += LANES) {
        const __mmask16 there = n - i >= LANES ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
        const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(there, in + i), times);
        const __m512 within = _mm512_min_ps(_mm512_max_ps(v, least), limit);
        const __m512i whole = _mm512_maskz_cvtps_epi32(there, within);
        sum = _mm512_add_epi32(sum, whole);
        _mm512_mask_cvtepi32_storeu_epi8((uint8_t *)out + i, there, _mm512_add_epi32(whole, shift));
    }
    return _mm512_reduce_add_epi32(sum);
}

const hyv_int8_functions hyv_int8_bytes_avx512 = {.largest = largest,
                                                  .largest_bf16 = largest_bf16,
                                                  .quantise = quantise,
                                                  .scale_sums = scale_sums};

static const hyv_int8_functions with_offset = {.offset = 128,
                                               .largest = largest,
                                               .largest_bf16 = largest_bf16,
                                               .quantise = quantise,
                                               .scale_sums = scale_sums};

void hyv_gemm_use_int8_avx512vnni(hyv_gemm_functions *f)
{
    f->fold = 4;
    f->kernel = kernel;
    f->bytes = &with_offset;
}

#else
typedef int hyv_gemm_int8_avx512vnni_is_for_x86_64;
#endif
