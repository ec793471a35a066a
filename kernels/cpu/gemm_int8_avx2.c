/* Products in 8-bit integers for AVX2: an element is two words, whose products an instruction adds.
 * Its like for bytes would cut sums of two products off at 32767.
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

static inline vector broadcast(float words)
{
    return _mm256_castps_si256(_mm256_set1_ps(words));
}

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm256_add_epi32(sum, _mm256_madd_epi16(x, y));
}

static inline __attribute__((always_inline)) void fetch_early(const float *a, const float *b)
{
    _mm_prefetch(a + 2 * AHEAD * MR, _MM_HINT_T0);
    (void)b;
}

#define SIMD_HEIGHTS 6
#define SIMD_PAIRS
#include "gemm_simd.h"

#define INT8_STORED int16_t
#include "int8_kernels.h"

static const hyv_int8_functions words = {.largest = largest,
                                         .largest_bf16 = largest_bf16,
                                         .quantise = quantise,
                                         .scale_sums = scale_sums};

void hyv_gemm_use_int8_avx2(hyv_gemm_functions *f)
{
    f->fold = 2;
    f->kernel = kernel;
    f->bytes = &words;
}

#else
typedef int hyv_gemm_int8_avx2_is_for_x86_64;
#endif
