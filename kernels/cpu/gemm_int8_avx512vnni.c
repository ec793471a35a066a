/* Products in 8-bit integers for AVX512_VNNI: an instruction adds four products of an unsigned and
 * a signed byte.
 */
#include "gemm_int8.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 14, NR = 32, LANES = 16 };
enum { AHEAD = 16 }; /* elements that are fetched early */

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

static inline void fetch_early(const float *a, const float *b, int64_t k)
{
    _mm_prefetch(b + (k + AHEAD) * NR, _MM_HINT_T0);
    _mm_prefetch(b + (k + AHEAD) * NR + LANES, _MM_HINT_T0);
    _mm_prefetch(a + (k + 2 * AHEAD) * MR, _MM_HINT_T0);
}

#define SIMD_HEIGHTS 14
#define SIMD_PAIRS
#include "gemm_simd.h"

#define INT8_STORED uint8_t
#include "int8_kernels.h"

const hyv_int8_functions hyv_int8_bytes_avx512 = {
    .largest = largest, .quantise = quantise, .scale_sums = scale_sums};

static const hyv_int8_functions with_offset = {
    .offset = 128, .largest = largest, .quantise = quantise, .scale_sums = scale_sums};

void hyv_gemm_use_int8_avx512vnni(hyv_gemm_functions *f)
{
    f->fold = 4;
    f->kernel = kernel;
    f->bytes = &with_offset;
}

#else
typedef int hyv_gemm_int8_avx512vnni_is_for_x86_64;
#endif
