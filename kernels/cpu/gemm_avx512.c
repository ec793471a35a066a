/* The micro-kernel, the transposition and the decoders for AVX-512.
 *
 * 14 rows by 32 columns: 28 sums of 16 lanes, two vectors of the right panel and a broadcast fill
 * the registers; gemm_simd.h has the loops.
 */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { MR = 14, NR = 32, LANES = 16, DEPTH = 768 };
enum { AHEAD = 128, STEPS = 2 }; /* k: fetched early; multiplied a turn */

typedef __m512 vector;

static inline vector load(const void *from)
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

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm512_fmadd_ps(x, y, sum);
}

/* The left panel comes from the third cache, the right one from the second. */
static inline __attribute__((always_inline)) void fetch_early(const float *a, const float *b)
{
    _mm_prefetch(a + AHEAD * MR, _MM_HINT_T0);
    _mm_prefetch(a + (AHEAD + 1) * MR, _MM_HINT_T0);
    (void)b;
}

enum { STRETCH = LANES }; /* k that fill a vector */

static inline vector gather(const float *row, int64_t depth)
{
    return depth >= LANES ? load(row) : _mm512_maskz_loadu_ps((__mmask16)((1u << depth) - 1), row);
}

#include "gemm_flip_avx512.h"

static void spread(float *out, int width, const float *const *in, int n, int64_t pairs)
{
    for (int i = 0; i < width; i += LANES)
        transpose_rows(out + i, width, in + i, n - i, width - i < LANES ? width - i : LANES, pairs,
                       true);
}

/* e4m3 as f16 with an exponent smaller by 8: times 256 puts it right; 480 would be its NaN. */
static inline __m512 decode_e4m3(__m128i bytes)
{
    const __m256i wide = _mm256_cvtepu8_epi16(bytes);
    const __m256i sign = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x80)), 8);
    const __m256i rest = _mm256_slli_epi16(_mm256_and_si256(wide, _mm256_set1_epi16(0x7f)), 7);
    const __mmask16 nan = _mm256_cmpeq_epi16_mask(rest, _mm256_set1_epi16(0x7f << 7));
    const __m256i half = _mm256_mask_mov_epi16(rest, nan, _mm256_set1_epi16(0x7e00));
    return _mm512_mul_ps(_mm512_cvtph_ps(_mm256_or_si256(half, sign)), _mm512_set1_ps(256.0f));
}

static inline vector load_f16(const void *from)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(from));
}

static inline vector load_bf16(const void *from)
{
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from)), 16));
}

static inline vector load_e4m3(const void *from)
{
    return decode_e4m3(_mm_loadu_si128(from));
}

/* The upper half of an f16. */
static inline vector load_e5m2(const void *from)
{
    return _mm512_cvtph_ps(_mm256_slli_epi16(_mm256_cvtepu8_epi16(_mm_loadu_si128(from)), 8));
}

#define decode_quant hyv_quant_decode_avx512
#define SIMD_HEIGHTS 14
#include "gemm_simd.h"

const hyv_gemm_functions hyv_gemm_avx512 = {.mr = MR,
                                            .nr = NR,
                                            .depth = DEPTH,
                                            .fold = 1,
                                            .rows = HYV_GEMM_ROWS_MAX,
                                            .by_cols = true,
                                            .unit = 1,
                                            .grain = 1,
                                            .kernel = kernel,
                                            .transpose = transpose,
                                            .spread = spread,
                                            .narrow = round_values,
                                            .decode = decode};

#endif
