/* The micro-kernel, the transposition and the decoders for AVX2.
 *
 * 6 rows by 16 columns: 12 sums of 8 lanes, two vectors of the right panel and a broadcast fill the
 * registers; gemm_simd.h has the loops.
 */
#include "gemm.h"

#if defined(__x86_64__)

#include <immintrin.h>

/* Right panels of this depth, 48 KiB, come from the second cache as fast as they are needed. */
enum { MR = 6, NR = 16, LANES = 8, DEPTH = 768 };
enum { AHEAD = 16, STEPS = 2 }; /* k: fetched early; multiplied a turn */

typedef __m256 vector;

static inline vector load(const void *from)
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

static inline vector multiply_add(vector x, vector y, vector sum)
{
    return _mm256_fmadd_ps(x, y, sum);
}

static inline __attribute__((always_inline)) void fetch_early(const float *a, const float *b)
{
    _mm_prefetch(a + 2 * AHEAD * MR, _MM_HINT_T0);
    (void)b;
}

/* An 8 x 8 block: r[i] holds half a row i and half a row i + 4, four k of each, r[i + 4] the other
 * halves. Halves that are loaded into their places cost no shuffles. */
static inline __attribute__((always_inline)) void load_block(__m256 r[LANES],
                                                             const float *const *in, int n,
                                                             int64_t k)
{
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++) {
        const int row = i % 4;
        const int64_t at = k + i / 4 * 4;
        r[i] = _mm256_setzero_ps();
        if (row < n)
            r[i] = _mm256_zextps128_ps256(_mm_loadu_ps(in[row] + at));
        if (row + 4 < n)
            r[i] = _mm256_insertf128_ps(r[i], _mm_loadu_ps(in[row + 4] + at), 1);
    }
}

/* The same where only some of 8 k are there. */
static inline __attribute__((always_inline)) void load_rest(__m256 r[LANES], const float *const *in,
                                                            int n, int64_t k, int64_t there)
{
    const __m256i order = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i loaded = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)there), order);
    __m256 t[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES; i++)
        t[i] = i < n ? _mm256_maskload_ps(in[i] + k, loaded) : _mm256_setzero_ps();
    for (int i = 0; i < 4; i++) {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}

/* Rows of the block become columns. */
static inline void flip(__m256 r[LANES])
{
    for (int i = 0; i < LANES; i += 4) {
        const __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        const __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]);
        const __m256 d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        r[i] = _mm256_shuffle_ps(a, c, 0x44);
        r[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        r[i + 2] = _mm256_shuffle_ps(b, d, 0x44);
        r[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
}

/* A column of 8 lanes, or of the MR of a left panel. Of those the next column overwrites what is
 * too much; the last one is stored in parts, as a masked store would be slow. */
static inline void store(float *out, __m256 v, bool exact)
{
    if (!exact) {
        _mm256_storeu_ps(out, v);
        return;
    }
    _mm_storeu_ps(out, _mm256_castps256_ps128(v));
    _mm_storel_pi((__m64 *)(void *)(out + 4), _mm256_extractf128_ps(v, 1));
}

/* A column, or the two that a column of pairs of bf16 is spread to. */
static inline __attribute__((always_inline)) void store_column(float *out, int width, __m256 v,
                                                               bool exact, const bool spread)
{
    const __m256i bits = _mm256_castps_si256(v);
    if (!spread) {
        store(out, v, exact);
        return;
    }
    store(out, _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)), false);
    store(out + width,
          _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32((int)0xffff0000))), exact);
}

/* Up to 8 rows, `whole` if they are 8 lanes of wider panels. */
static inline __attribute__((always_inline)) void transpose_rows(float *out, int width,
                                                                 const float *const *in, int n,
                                                                 bool whole, int64_t depth,
                                                                 const bool spread)
{
    const int step = spread ? 2 * width : width;
    __m256 r[LANES];
    for (int64_t k = 0; k < depth; k += LANES) {
        const int64_t there = depth - k;
        if (there >= LANES)
            load_block(r, in, n, k);
        else
            load_rest(r, in, n, k, there);
        flip(r);
#pragma GCC unroll 8
        for (int i = 0; i < LANES; i++)
            if (i < there)
                store_column(out + (k + i) * step, width, r[i], !whole && i + 1 == there, spread);
    }
}

/* Whole blocks have a constant number of rows, without which nothing is unrolled. */
static inline __attribute__((always_inline)) void transpose_any(float *out, int width,
                                                                const float *const *in, int n,
                                                                int64_t depth, const bool spread)
{
    if (width == MR && n == MR) {
        transpose_rows(out, MR, in, MR, false, depth, spread);
        return;
    }
    for (int i = 0; i < width; i += LANES)
        if (n - i >= LANES)
            transpose_rows(out + i, width, in + i, LANES, true, depth, spread);
        else
            transpose_rows(out + i, width, in + i, n - i, width - i >= LANES, depth, spread);
}

static void transpose(float *out, int width, const float *const *in, int n, int64_t depth)
{
    transpose_any(out, width, in, n, depth, false);
}

static void spread(float *out, int width, const float *const *in, int n, int64_t pairs)
{
    transpose_any(out, width, in, n, pairs, true);
}

/* e4m3 as f16 with an exponent smaller by 8: times 256 puts it right; 480 would be its NaN. */
static inline __m256 decode_e4m3(__m128i bytes)
{
    const __m128i wide = _mm_cvtepu8_epi16(bytes);
    const __m128i sign = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x80)), 8);
    const __m128i rest = _mm_slli_epi16(_mm_and_si128(wide, _mm_set1_epi16(0x7f)), 7);
    const __m128i nan = _mm_cmpeq_epi16(rest, _mm_set1_epi16(0x7f << 7));
    const __m128i half = _mm_blendv_epi8(rest, _mm_set1_epi16(0x7e00), nan);
    return _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(half, sign)), _mm256_set1_ps(256.0f));
}

static inline vector load_f16(const void *from)
{
    return _mm256_cvtph_ps(_mm_loadu_si128(from));
}

static inline vector load_bf16(const void *from)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16));
}

static inline vector load_e4m3(const void *from)
{
    return decode_e4m3(_mm_loadl_epi64(from));
}

/* The upper half of an f16. */
static inline vector load_e5m2(const void *from)
{
    return _mm256_cvtph_ps(_mm_slli_epi16(_mm_cvtepu8_epi16(_mm_loadl_epi64(from)), 8));
}

#define decode_quant hyv_quant_decode_avx2
#define SIMD_HEIGHTS 6
#include "gemm_simd.h"

const hyv_gemm_functions hyv_gemm_avx2 = {.mr = MR,
                                          .nr = NR,
                                          .depth = DEPTH,
                                          .fold = 1,
                                          .rows = HYV_GEMM_ROWS,
                                          .by_cols = true,
                                          .unit = 1,
                                          .grain = 1,
                                          .kernel = kernel,
                                          .transpose = transpose,
                                          .spread = spread,
                                          .narrow = round_values,
                                          .decode = decode};

#endif
