/* The one definition of the functions of rows.h; included by rows_c.c, rows_avx2.c and
 * rows_avx512.c, which name the table.
 *
 * Loops are plain and independent an element, so that compilers vectorise them; sums go to 16
 * partial sums. See cpu.h, canonical arithmetic.
 */
#include <stddef.h>

#include "../half.h"
#include "rows.h"
#include "vmath.h"

enum { LANES = 16, ACT_BLOCK = 256, TILE_BLOCK = 64 };

/* Before a loop that writes where it does not read: gcc forgets `restrict` when it inlines, and
 * would look for overlaps each time. */
#if defined(__GNUC__) && !defined(__clang__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

/* 8, 4, 2, 1 */
static inline float tree_sum(float s[LANES])
{
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++)
            s[j] += s[j + width];
    return s[0];
}

static float sum(const float *x, int64_t n)
{
    float s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++)
            s[j] += x[i + j];
    for (int j = 0; i + j < n; j++)
        s[j] += x[i + j];
    return tree_sum(s);
}

static float sum_squares(const float *x, int64_t n, float mean)
{
    float s[LANES] = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            const float d = x[i + j] - mean;
            s[j] = fmaf(d, d, s[j]);
        }
    for (int j = 0; i + j < n; j++) {
        const float d = x[i + j] - mean;
        s[j] = fmaf(d, d, s[j]);
    }
    return tree_sum(s);
}

static void layer_norm(float *y, const float *x, int64_t n, const float *weight, const float *bias,
                       float eps)
{
    const float mean = sum(x, n) / (float)n;
    const float factor = 1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps);
    if (weight && bias)
        for (int64_t i = 0; i < n; i++)
            y[i] = fmaf((x[i] - mean) * factor, weight[i], bias[i]);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = (x[i] - mean) * factor;
    if (weight && !bias)
        for (int64_t i = 0; i < n; i++)
            y[i] *= weight[i];
    if (bias && !weight)
        for (int64_t i = 0; i < n; i++)
            y[i] += bias[i];
}

static void rms_norm(float *y, const float *x, int64_t n, const float *weight, float eps)
{
    const float factor = 1.0f / sqrtf(sum_squares(x, n, 0.0f) / (float)n + eps);
    if (weight)
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * factor * weight[i];
    else
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] * factor;
}

static void moments(double *restrict sums, double *restrict squares, const float *restrict x,
                    int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const double v = (double)x[i];
        sums[i] += v;
        squares[i] += v * v;
    }
}

static void normalise(float *y, const float *x, int64_t n, const float *mean, const float *factor,
                      const float *shift)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = fmaf(x[i] - mean[i], factor[i], shift[i]);
}

static void modulate(float *restrict y, int64_t n, const float *restrict factor,
                     const float *restrict shift)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = fmaf(y[i], 1.0f + factor[i], shift[i]);
}

static void rope(float *restrict x, int64_t n, const float *restrict cosine,
                 const float *restrict sine)
{
    for (int64_t i = 0; i < n; i += 2) {
        const float a = x[i], b = x[i + 1];
        x[i] = fmaf(a, cosine[i], -(b * sine[i]));
        x[i + 1] = fmaf(b, cosine[i + 1], a * sine[i + 1]);
    }
}

static void activate(float *restrict y, const float *restrict x, int64_t n, hyv_activation f)
{
    switch (f) {
    case HYV_SILU:
        for (int64_t i = 0; i < n; i++)
            y[i] = hyv_swishf(x[i], 1.0f);
        break;
    case HYV_GELU_TANH:
        for (int64_t i = 0; i < n; i++)
            y[i] = hyv_gelu_tanhf(x[i]);
        break;
    case HYV_GELU_ERF:
        for (int64_t i = 0; i < n; i++)
            y[i] = hyv_gelu_erff(x[i]);
        break;
    default:
        for (int64_t i = 0; i < n; i++)
            y[i] = hyv_swishf(x[i], 1.702f);
        break;
    }
}

/* Through a buffer, because y may be x, mul or both. */
static void act(float *y, const float *x, const float *mul, int64_t n, hyv_activation f)
{
    float value[ACT_BLOCK];
    for (int64_t first = 0; first < n; first += ACT_BLOCK) {
        const int64_t left = n - first, count = left < ACT_BLOCK ? left : ACT_BLOCK;
        activate(value, x + first, count, f);
        for (int64_t i = 0; i < count; i++)
            y[first + i] = mul ? value[i] * mul[first + i] : value[i];
    }
}

static void add(float *y, const float *x, const float *gate, int64_t n)
{
    if (gate)
        for (int64_t i = 0; i < n; i++)
            y[i] = fmaf(gate[i], x[i], y[i]);
    else
        for (int64_t i = 0; i < n; i++)
            y[i] += x[i];
}

#ifndef ROWS_SOFTMAX_COLUMNS
/* 16 queries side by side; a query's sum is that of `sum`: 16 partial sums and the tree. */
static inline void softmax_lanes(float *restrict s, int64_t keys, int width, float factor,
                                 float *restrict top, float *restrict total,
                                 float *restrict rescale)
{
    float high[LANES], part[LANES][LANES] = {{0}};
    for (int l = 0; l < LANES; l++)
        high[l] = -INFINITY;
    for (int64_t j = 0; j < keys; j++)
#pragma GCC unroll 1 /* a vector, not 16 scalars */
        for (int l = 0; l < LANES; l++)
            high[l] = s[j * width + l] > high[l] ? s[j * width + l] : high[l];
    for (int l = 0; l < LANES; l++) /* the largest score is that of the largest product */
        high[l] = high[l] * factor > top[l] ? high[l] * factor : top[l];
    for (int64_t j = 0; j < keys; j++)
#pragma GCC unroll 1
        for (int l = 0; l < LANES; l++) {
            const float e = hyv_exp2f(s[j * width + l] * factor - high[l]);
            s[j * width + l] = e;
            part[j % LANES][l] += e;
        }
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            for (int l = 0; l < LANES; l++)
                part[i][l] += part[i + half][l];
    for (int l = 0; l < LANES; l++) {
        rescale[l] = hyv_exp2f(top[l] - high[l]);
        total[l] = fmaf(total[l], rescale[l], part[0][l]);
        top[l] = high[l];
    }
}

static void softmax_columns(float *s, int64_t keys, int width, float factor, float *top,
                            float *total, float *rescale)
{
    for (int l = 0; l < width; l += LANES)
        softmax_lanes(s + l, keys, width, factor, top + l, total + l, rescale + l);
}
#endif

static void scale_columns(float *restrict x, int64_t rows, int width, const float *restrict factor)
{
    for (int64_t i = 0; i < rows; i++)
        for (int l = 0; l < width; l++)
            x[i * width + l] *= factor[l];
}

/* ---- minimal filtering F(4, 3) ----------------------------------------------------------------
 *
 * By the points p = 0, 1, -1, 2, -1/2, to which infinity comes as the last one. Row i of B^T has
 * the coefficients of the product of all x - q but that with q = p, row i of G is (1, p, p^2)
 * divided by that product at p, column i of A^T (1, p, p^2, p^3).
 */

/* Row `row`, which is a constant, of G g. */
static inline float filter_transform(int row, float g0, float g1, float g2)
{
    switch (row) {
    case 0:
        return g0;
    case 1:
        return ((g0 + g2) + g1) * (-1.0f / 3.0f);
    case 2:
        return ((g0 + g2) - g1) * (1.0f / 3.0f);
    case 3:
        return fmaf(4.0f, g2, fmaf(2.0f, g1, g0)) * (1.0f / 15.0f);
    case 4:
        return fmaf(0.25f, g2, fmaf(-0.5f, g1, g0)) * (-16.0f / 15.0f);
    default:
        return g2;
    }
}

/* The same of B^T d. */
static inline float input_transform(int row, float d0, float d1, float d2, float d3, float d4,
                                    float d5)
{
    switch (row) {
    case 0:
        return fmaf(1.5f, d1 - d3, fmaf(-2.0f, d2, d0 + d4));
    case 1:
        return fmaf(-2.5f, d2, fmaf(-0.5f, d3, d4 - d1));
    case 2:
        return fmaf(-2.5f, d3, fmaf(0.5f, d2, d4 + d1));
    case 3:
        return fmaf(0.5f, d3 - d1, d4 - d2);
    case 4:
        return fmaf(2.0f, d1 - d3, d4 - d2);
    default:
        return fmaf(1.5f, d2 - d4, fmaf(-2.0f, d3, d1 + d5));
    }
}

/* And of A^T m. */
static inline float output_transform(int row, float m0, float m1, float m2, float m3, float m4,
                                     float m5)
{
    switch (row) {
    case 0:
        return ((m1 + m2) + m0) + (m3 + m4);
    case 1:
        return fmaf(-0.5f, m4, fmaf(2.0f, m3, m1 - m2));
    case 2:
        return fmaf(0.25f, m4, fmaf(4.0f, m3, m1 + m2));
    default:
        return fmaf(-0.125f, m4, fmaf(8.0f, m3, m1 - m2)) + m5;
    }
}

/* All positions of row `down`, which is a constant. */
static inline __attribute__((always_inline)) void filter_row(float *restrict out, int64_t stride,
                                                             const int down,
                                                             const float *restrict g, int64_t apart,
                                                             int64_t n)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const float *t = g + i;
        const float v0 = filter_transform(down, t[0], t[3 * apart], t[6 * apart]);
        const float v1 = filter_transform(down, t[apart], t[4 * apart], t[7 * apart]);
        const float v2 = filter_transform(down, t[2 * apart], t[5 * apart], t[8 * apart]);
        out[i] = v0;
        out[stride + i] = filter_transform(1, v0, v1, v2);
        out[2 * stride + i] = filter_transform(2, v0, v1, v2);
        out[3 * stride + i] = filter_transform(3, v0, v1, v2);
        out[4 * stride + i] = filter_transform(4, v0, v1, v2);
        out[5 * stride + i] = v2;
    }
}

/* A switch to a case a row with constants, so that each is a loop of its own. */
#define FOR_TILE_ROW(row, CALL) \
    switch (row) {              \
    case 0:                     \
        CALL(0);                \
        break;                  \
    case 1:                     \
        CALL(1);                \
        break;                  \
    case 2:                     \
        CALL(2);                \
        break;                  \
    case 3:                     \
        CALL(3);                \
        break;                  \
    case 4:                     \
        CALL(4);                \
        break;                  \
    default:                    \
        CALL(5);                \
    }

static void tile_filter(float *out, int64_t stride, int row, const float *taps, int64_t apart,
                        int64_t n)
{
#define CALL(constant) filter_row(out, stride, constant, taps, apart, n)
    FOR_TILE_ROW(row, CALL)
#undef CALL
}

static inline float tile_value(const void *d, int64_t i, bool halves)
{
    return halves ? hyv_bf16_to_f32(((const uint16_t *)d)[i]) : ((const float *)d)[i];
}

/* All but out, d and n are constants. */
static inline __attribute__((always_inline)) void tile_row(float *restrict out,
                                                           const void *const d[HYV_TILE_SIDE],
                                                           const int row, int64_t n,
                                                           const bool halves)
{
    const void *a = d[0], *b = d[1], *c = d[2], *e = d[3], *f = d[4], *g = d[5];
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        out[i] = input_transform(row, tile_value(a, i, halves), tile_value(b, i, halves),
                                 tile_value(c, i, halves), tile_value(e, i, halves),
                                 tile_value(f, i, halves), tile_value(g, i, halves));
}

static inline __attribute__((always_inline)) void tile_any(float *out,
                                                           const void *const d[HYV_TILE_SIDE],
                                                           int row, int64_t n, const bool halves)
{
#define CALL(constant) tile_row(out, d, constant, n, halves)
    FOR_TILE_ROW(row, CALL)
#undef CALL
}

static void tile_input(float *out, const void *const d[HYV_TILE_SIDE], int row, int64_t n)
{
    tile_any(out, d, row, n, false);
}

static void tile_halves(float *out, const void *const d[HYV_TILE_SIDE], int row, int64_t n)
{
    tile_any(out, d, row, n, true);
}

/* The four results of A^T from six rows at distance `stride`, to rows of their own. */
static inline __attribute__((always_inline)) void output_column(float *y0, float *y1, float *y2,
                                                                float *y3, const float *m,
                                                                int64_t stride, int64_t n)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const float m0 = m[i], m1 = m[stride + i], m2 = m[2 * stride + i];
        const float m3 = m[3 * stride + i], m4 = m[4 * stride + i], m5 = m[5 * stride + i];
        y0[i] = output_transform(0, m0, m1, m2, m3, m4, m5);
        y1[i] = output_transform(1, m0, m1, m2, m3, m4, m5);
        y2[i] = output_transform(2, m0, m1, m2, m3, m4, m5);
        y3[i] = output_transform(3, m0, m1, m2, m3, m4, m5);
    }
}

static void tile_output(float *const y[HYV_TILE_OUT * HYV_TILE_OUT], const float *m, int64_t stride,
                        int64_t n)
{
    float part[HYV_TILE_OUT][HYV_TILE_SIDE][TILE_BLOCK]; /* A^T m */
    for (int64_t first = 0; first < n; first += TILE_BLOCK) {
        const int64_t count = n - first < TILE_BLOCK ? n - first : TILE_BLOCK;
        for (int across = 0; across < HYV_TILE_SIDE; across++)
            output_column(part[0][across], part[1][across], part[2][across], part[3][across],
                          m + across * stride + first, HYV_TILE_SIDE * stride, count);
        for (int down = 0; down < HYV_TILE_OUT; down++) {
            float *const *to = y + down * HYV_TILE_OUT;
            output_column(to[0] + first, to[1] + first, to[2] + first, to[3] + first, part[down][0],
                          TILE_BLOCK, count);
        }
    }
}

static inline float difference4(float a, float b, float c, float d)
{
    return (a - b) - (c - d);
}

static void difference(float *restrict out, const float *const *v, int count, int64_t n)
{
    const float *a = v[0], *b = v[1];
    if (count == 2) {
        for (int64_t i = 0; i < n; i++)
            out[i] = a[i] - b[i];
        return;
    }
    const float *c = v[2], *d = v[3];
    if (count == 4) {
        for (int64_t i = 0; i < n; i++)
            out[i] = difference4(a[i], b[i], c[i], d[i]);
        return;
    }
    const float *e = v[4], *f = v[5], *g = v[6], *h = v[7];
    for (int64_t i = 0; i < n; i++)
        out[i] = difference4(a[i], b[i], c[i], d[i]) - difference4(e[i], f[i], g[i], h[i]);
}

static void sum_rows(float *restrict y, const float *const *m, int count, int64_t n)
{
    const float *a = m[0], *b = m[1], *c = m[2], *d = m[3];
    if (count == 4) {
        for (int64_t i = 0; i < n; i++)
            y[i] = (a[i] + b[i]) + (c[i] + d[i]);
        return;
    }
    const float *e = m[4], *f = m[5], *g = m[6], *h = m[7];
    for (int64_t i = 0; i < n; i++)
        y[i] = ((a[i] + b[i]) + (c[i] + d[i])) + ((e[i] + f[i]) + (g[i] + h[i]));
}

static void to_bf16(uint16_t *restrict y, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (uint16_t)(hyv_f32_to_bits(hyv_round_to_bf16(x[i])) >> 16);
}

const hyv_row_functions ROWS_TABLE = {
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .moments = moments,
    .normalise = normalise,
    .to_bf16 = to_bf16,
    .modulate = modulate,
    .rope = rope,
    .act = act,
    .add = add,
    .softmax_columns = softmax_columns,
    .scale_columns = scale_columns,
    .tile_filter = tile_filter,
    .tile_input = tile_input,
    .tile_halves = tile_halves,
    .tile_output = tile_output,
    .difference = difference,
    .sum_rows = sum_rows,
#ifdef ROWS_SOFTMAX_PAIRS
    .softmax_pairs = ROWS_SOFTMAX_PAIRS,
#endif
};
