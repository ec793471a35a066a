/* Products in 8-bit integers for AVX-VNNI: an instruction adds four products of an unsigned and a
 * signed byte.
 */
#include "gemm_int8.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 6, NR = 16, LANES = 8 };
enum { AHEAD = 16, STEPS = 1 }; /* elements: fetched early; multiplied a turn */

typedef __m256i vector;

static inline vector load(const void *from)
{
    return _mm256_loadu_si256(from);
}

static inline void put(float *to, vector v)
{
    _mm256_storeu_si256((void *)to, v);
}

static inline vector broadcast(float bytes)
{
    return _mm256_castps_si256(_mm256_set1_ps(bytes));
}

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm256_dpbusd_avx_epi32(sum, x, y);
}

static inline __attribute__((always_inline)) void fetch_early(const float *a, const float *b)
{
    _mm_prefetch(a + 2 * AHEAD * MR, _MM_HINT_T0);
    (void)b;
}

#define SIMD_HEIGHTS 6
#define SIMD_PAIRS
#include "gemm_simd.h"

#define INT8_STORED uint8_t
#include "int8_kernels.h"

static const hyv_int8_functions bytes = {.offset = 128,
                                         .largest = largest,
                                         .largest_bf16 = largest_bf16,
                                         .quantise = quantise,
                                         .scale_sums = scale_sums};

void hyv_gemm_use_int8_avxvnni(hyv_gemm_functions *f)
{
    f->fold = 4;
    f->kernel = kernel;
    f->bytes = &bytes;
}

#else
typedef int hyv_gemm_int8_avxvnni_is_for_x86_64;
#endif
