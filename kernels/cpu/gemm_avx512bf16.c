/* The micro-kernel and the packing in bf16 for processors with AVX512_BF16.
 *
 * An element of a panel is a pair of bf16, neighbours along k, in the place of an f32: so sizes,
 * registers and loops are those of AVX-512 in f32 (gemm_avx512.c), and each multiplication does
 * two. The instruction adds both products to the f32 sum, with subnormals as zeros.
 */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "pairs_avx512.h"

enum { MR = 14, NR = 32, LANES = 16 };
enum { AHEAD = 16, STEPS = 1 }; /* elements: fetched early; multiplied a turn */

typedef __m512 vector;

static inline vector load(const void *from)
{
    return _mm512_loadu_ps(from);
}

static inline void put(float *to, vector v)
{
    _mm512_storeu_ps(to, v);
}

static inline vector broadcast(float pair)
{
    return _mm512_set1_ps(pair);
}

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y);
}

static inline __attribute__((always_inline)) void fetch_early(const float *a, const float *b)
{
    _mm_prefetch(b + AHEAD * NR, _MM_HINT_T0);
    _mm_prefetch(b + AHEAD * NR + LANES, _MM_HINT_T0);
    _mm_prefetch(a + 2 * AHEAD * MR, _MM_HINT_T0);
    (void)a, (void)b;
}

#define SIMD_HEIGHTS 14
#define SIMD_PAIRS
#include "gemm_simd.h"

enum { STRETCH = 2 * LANES }; /* k that fill a vector */

/* Lower half first: neighbours stay neighbours. */
static inline vector gather(const float *row, int64_t depth)
{
    const uint32_t there = depth >= STRETCH ? ~0u : (1u << depth) - 1;
    const __m512 low = _mm512_maskz_loadu_ps((__mmask16)there, row);
    const __m512 high = _mm512_maskz_loadu_ps((__mmask16)(there >> LANES), row + LANES);
    return (vector)_mm512_cvtne2ps_pbh(high, low);
}

#include "gemm_flip_avx512.h"

/* Two rows become one of pairs; widths are 14 and 32. */
void hyv_gemm_narrow_pairs(float *out, const float *in, int width, int64_t depth)
{
    for (int64_t k = 0; k < depth; k += 2, in += 2 * width, out += width)
        for (int i = 0; i < width; i += LANES) {
            const int left = width - i < LANES ? width - i : LANES;
            const __mmask16 mask = (__mmask16)((1u << left) - 1);
            const __mmask16 second = k + 1 < depth ? mask : 0;
            const __m512 even = _mm512_maskz_loadu_ps(mask, in + i);
            const __m512 odd = _mm512_maskz_loadu_ps(second, in + width + i);
            _mm512_mask_storeu_epi32(out + i, mask, pair_up(even, odd));
        }
}

void hyv_gemm_use_pairs(hyv_gemm_functions *f)
{
    f->fold = f->grain = 2;
    f->kernel = kernel;
    f->transpose = transpose;
    f->narrow = hyv_gemm_narrow_pairs;
    f->wide = &hyv_gemm_avx512;
}

#else
typedef int hyv_gemm_avx512bf16_is_for_x86_64;
#endif
