/* The micro-kernels and the left panels in bf16 and in 8-bit integers for processors with AMX.
 *
 * An instruction multiplies a tile of 16 rows by 16 pairs (gemm_avx512bf16.c) with one of 16 pairs
 * by 16 columns. Four tiles of sums, two of the left operand and two of the right fill the eight
 * registers. A right panel of pairs is made of tiles as it lies, a left one stands row by row. The
 * sums are f32, with subnormals as zeros; the order within 32 k is the processor's. Fours of bytes
 * go the same ways as pairs, and their sums are int32.
 */
#include "gemm_int8.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

enum { MR = 32, NR = 32, LANES = 16, DEPTH = 768 };
enum { SIDE = 16, ROW_BYTES = 64, TILE = SIDE * SIDE }; /* of a tile; the last in elements */
enum { GRAIN = 2 * SIDE };                              /* k of a tile */

/* ---- tiles ------------------------------------------------------------------------------------
 */

/* What the processor wants to know of its eight tiles; all have the same shape. */
typedef struct tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_shapes;

static const tile_shapes shapes = {.palette = 1,
                                   .row_bytes = {ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES,
                                                 ROW_BYTES, ROW_BYTES, ROW_BYTES, ROW_BYTES},
                                   .rows = {SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE, SIDE}};

static void begin(void)
{
    _tile_loadconfig(&shapes);
}

/* With nothing in the tiles a change of threads has nothing to save. */
static void end(void)
{
    _tile_release();
}

static inline __attribute__((always_inline)) void multiply_pairs(const bool upper)
{
    if (upper) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
    } else {
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

static inline __attribute__((always_inline)) void multiply_fours(const bool upper)
{
    if (upper) {
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
    } else {
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
    }
}

/* 16 or, if `both`, 32 rows: c += a * b, or start + a * b. Strides are bytes; with 0 all rows of a
 * tile are the same. The rows of c that mostly come next are fetched meanwhile,
 * and `pace` floats from `ahead` with every tile. */
static inline __attribute__((always_inline)) void multiply(const bool both, const bool fours,
                                                           int64_t depth, const float *a,
                                                           const float *b, float *c, int64_t ldc,
                                                           const float *start, const float *ahead,
                                                           int64_t pace)
{
    const int64_t stride = start ? 0 : ldc * (int64_t)sizeof(float), right = NR * sizeof(float);
    const float *low = start ? start : c + SIDE * ldc, *from = start ? start : c;
    _tile_loadd(0, from, stride);
    _tile_loadd(1, from + SIDE, stride);
    if (both) {
        _tile_loadd(2, low, stride);
        _tile_loadd(3, low + SIDE, stride);
    }
    const float *next = c + MR * ldc;
    for (int64_t k = 0; k < depth; k += SIDE, a += SIDE * MR, b += SIDE * NR) {
        if (k < MR * SIDE && ldc > NR) {
            __builtin_prefetch(next, 1);
            __builtin_prefetch(next + SIDE, 1);
            next += ldc;
        }
        for (int64_t i = 0; i < pace; i += SIDE)
            __builtin_prefetch(ahead + i, 0, 2);
        ahead += pace;
        _tile_loadd(4, a, ROW_BYTES);
        _tile_loadd(6, b, right);
        _tile_loadd(7, b + SIDE, right);
        fours ? multiply_fours(true) : multiply_pairs(true);
        if (both) {
            _tile_loadd(5, a + TILE, ROW_BYTES);
            fours ? multiply_fours(false) : multiply_pairs(false);
        }
    }
    const int64_t out = ldc * (int64_t)sizeof(float);
    _tile_stored(0, c, out);
    _tile_stored(1, c + SIDE, out);
    if (both) {
        _tile_stored(2, c + SIDE * ldc, out);
        _tile_stored(3, c + SIDE * ldc + SIDE, out);
    }
}

static inline __attribute__((always_inline)) void run(const bool fours, int rows, int64_t depth,
                                                      const float *a, const float *b, float *c,
                                                      int64_t ldc, const float *start,
                                                      const float *next, int64_t pace)
{
    if (rows == MR) {
        multiply(true, fours, depth, a, b, c, ldc, start, next, pace);
        return;
    }
    float whole[MR * NR]; /* rows that are not c's are multiplied too, but not stored */
    memset(whole, 0, sizeof(whole));
    for (int i = 0; i < rows && !start; i++)
        memcpy(whole + i * NR, c + i * ldc, NR * sizeof(float));
    if (rows > SIDE)
        multiply(true, fours, depth, a, b, whole, NR, start, next, pace);
    else
        multiply(false, fours, depth, a, b, whole, NR, start, next, pace);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * ldc, whole + i * NR, NR * sizeof(float));
}

static void kernel_pairs(int rows, int64_t depth, const float *a, const float *b, float *c,
                         int64_t ldc, const float *start)
{
    run(false, rows, depth, a, b, c, ldc, start, b, 0);
}

static void kernel_fours(int rows, int64_t depth, const float *a, const float *b, float *c,
                         int64_t ldc, const float *start)
{
    run(true, rows, depth, a, b, c, ldc, start, b, 0);
}

static void pairs_fetching(int rows, int64_t depth, const float *a, const float *b, float *c,
                           int64_t ldc, const float *start, const float *next, int64_t pace)
{
    run(false, rows, depth, a, b, c, ldc, start, next, pace);
}

static void fours_fetching(int rows, int64_t depth, const float *a, const float *b, float *c,
                           int64_t ldc, const float *start, const float *next, int64_t pace)
{
    run(true, rows, depth, a, b, c, ldc, start, next, pace);
}

/* ---- left panels ------------------------------------------------------------------------------
 */

/* Pairs of a row stand in it already. */
static void transpose_left(float *out, int width, const float *const *in, int n, int64_t depth)
{
    for (int64_t k = 0; k < depth; k += GRAIN, out += SIDE * width) {
        const uint32_t there = depth - k >= GRAIN ? ~0u : (1u << (depth - k)) - 1;
        for (int i = 0; i < n; i++) {
            const __m512 low = _mm512_maskz_loadu_ps((__mmask16)there, in[i] + k);
            const __m512 high =
                _mm512_maskz_loadu_ps((__mmask16)(there >> LANES), in[i] + k + LANES);
            _mm512_storeu_ps(out + i * SIDE, (__m512)_mm512_cvtne2ps_pbh(high, low));
        }
        memset(out + n * SIDE, 0, (size_t)((width - n) * SIDE) * sizeof(float));
    }
}

#define FLIP_ALONE
#include "gemm_flip_avx512.h"

/* Rows of pairs, as for a right panel, then tile by tile turned. */
static void narrow_left(float *out, const float *in, int width, int64_t depth)
{
    float pairs[SIDE * MR];
    for (int64_t k = 0; k < depth; k += GRAIN, in += GRAIN * width, out += SIDE * width) {
        const int64_t count = depth - k < GRAIN ? depth - k : GRAIN;
        memset(pairs, 0, sizeof(pairs));
        hyv_gemm_narrow_pairs(pairs, in, width, count);
        for (int i = 0; i < width; i += SIDE) {
            __m512 rows[LANES];
            for (int e = 0; e < SIDE; e++)
                rows[e] = _mm512_loadu_ps(pairs + e * width + i);
            flip(rows);
            for (int r = 0; r < SIDE; r++)
                _mm512_storeu_ps(out + (i + r) * SIDE, rows[r]);
        }
    }
}

/* Fours stand in their row already; depth counts them. */
static void copy_left(float *out, int width, const float *const *in, int n, int64_t depth)
{
    for (int64_t k = 0; k < depth; k += SIDE, out += SIDE * width) {
        const __mmask16 there = depth - k >= SIDE ? 0xffff : (__mmask16)((1u << (depth - k)) - 1);
        for (int i = 0; i < n; i++)
            _mm512_storeu_ps(out + i * SIDE, _mm512_maskz_loadu_ps(there, in[i] + k));
        memset(out + n * SIDE, 0, (size_t)((width - n) * SIDE) * sizeof(float));
    }
}

static const hyv_gemm_functions left_pairs = {.mr = MR,
                                              .nr = NR,
                                              .fold = 2,
                                              .unit = 1, /* fills up by itself */
                                              .grain = GRAIN,
                                              .transpose = transpose_left,
                                              .narrow = narrow_left,
                                              .wide = &hyv_gemm_avx512};
static const hyv_gemm_functions left_fours = {
    .mr = MR, .nr = NR, .fold = 4, .unit = 1, .transpose = copy_left};

static void use_tiles(hyv_gemm_functions *f)
{
    f->mr = MR;
    f->nr = NR;
    f->depth = DEPTH;
    f->rows = HYV_GEMM_ROWS_MAX;
    f->unit = SIDE;
    f->begin = begin;
    f->end = end;
}

void hyv_gemm_use_tiles(hyv_gemm_functions *f)
{
    use_tiles(f);
    f->kernel = kernel_pairs;
    f->kernel_fetching = pairs_fetching;
    f->left = &left_pairs;
}

void hyv_gemm_use_int8_amx(hyv_gemm_functions *f)
{
    use_tiles(f);
    f->fold = 4;
    f->kernel = kernel_fours;
    f->kernel_fetching = fours_fetching;
    f->left = &left_fours;
    f->bytes = &hyv_int8_bytes_avx512;
}

#else
typedef int hyv_gemm_amx_is_for_x86_64;
#endif
