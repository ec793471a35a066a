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

enum { LANES = 16, ACT_BLOCK = 256 };

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
            const float e = hyv_expf(s[j * width + l] * factor - high[l]);
            s[j * width + l] = e;
            part[j % LANES][l] += e;
        }
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            for (int l = 0; l < LANES; l++)
                part[i][l] += part[i + half][l];
    for (int l = 0; l < LANES; l++) {
        rescale[l] = hyv_expf(top[l] - high[l]);
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

/* Row `row` of G g. */
static inline float filter_transform(int row, float g0, float g1, float g2)
{
    return row == 0 ? g0 : row == 1 ? (g0 + g1 + g2) * 0.5f : row == 2 ? (g0 - g1 + g2) * 0.5f : g2;
}

/* Position (down, across), which are constants, of all channels. */
static inline __attribute__((always_inline)) void filter_position(float *restrict out,
                                                                  const float *restrict g,
                                                                  int64_t n, int down, int across)
{
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const float *t = g + i;
        const float v0 = filter_transform(down, t[0], t[3 * n], t[6 * n]);
        const float v1 = filter_transform(down, t[n], t[4 * n], t[7 * n]);
        const float v2 = filter_transform(down, t[2 * n], t[5 * n], t[8 * n]);
        out[i] = filter_transform(across, v0, v1, v2);
    }
}

static void tile_filter(float *out, int64_t stride, const float *taps, int64_t n)
{
    for (int down = 0; down < 4; down++, out += 4 * stride) {
        filter_position(out, taps, n, down, 0);
        filter_position(out + stride, taps, n, down, 1);
        filter_position(out + 2 * stride, taps, n, down, 2);
        filter_position(out + 3 * stride, taps, n, down, 3);
    }
}

static inline float tile_value(const void *d, int64_t i, bool halves)
{
    return halves ? hyv_bf16_to_f32(((const uint16_t *)d)[i]) : ((const float *)d)[i];
}

/* All but out, d and n are constants. */
static inline __attribute__((always_inline)) void tile_combination(float *restrict out,
                                                                   const void *const d[4],
                                                                   int64_t n, const bool halves,
                                                                   const float down,
                                                                   const float across)
{
    const void *a = d[0], *b = d[1], *c = d[2], *e = d[3];
    INDEPENDENT
    for (int64_t i = 0; i < n; i++)
        out[i] = (tile_value(a, i, halves) + down * tile_value(b, i, halves)) +
                 across * (tile_value(c, i, halves) + down * tile_value(e, i, halves));
}

static inline __attribute__((always_inline)) void tile_any(float *out, const void *const d[4],
                                                           int64_t n, const bool halves,
                                                           bool minus_down, bool minus_across)
{
    if (minus_down && minus_across)
        tile_combination(out, d, n, halves, -1.0f, -1.0f);
    else if (minus_down)
        tile_combination(out, d, n, halves, -1.0f, 1.0f);
    else if (minus_across)
        tile_combination(out, d, n, halves, 1.0f, -1.0f);
    else
        tile_combination(out, d, n, halves, 1.0f, 1.0f);
}

static void tile_input(float *out, const void *const d[4], bool minus_down, bool minus_across,
                       int64_t n)
{
    tile_any(out, d, n, false, minus_down, minus_across);
}

static void tile_halves(float *out, const void *const d[4], bool minus_down, bool minus_across,
                        int64_t n)
{
    tile_any(out, d, n, true, minus_down, minus_across);
}

/* A^T m: one of its two results, from the three of m that it takes. */
static inline float output_transform(bool second, float m0, float m1, float m2)
{
    return second ? m0 - m1 - m2 : m0 + m1 + m2;
}

/* Output (lower, right), which are constants; it takes 3 x 3 of the positions. */
static inline __attribute__((always_inline)) void output_position(float *restrict y,
                                                                  const float *restrict m,
                                                                  int64_t stride, bool lower,
                                                                  bool right, int64_t n)
{
    const float *from = m + (4 * lower + right) * stride;
    INDEPENDENT
    for (int64_t i = 0; i < n; i++) {
        const float *t = from + i;
        const float v0 = output_transform(lower, t[0], t[4 * stride], t[8 * stride]);
        const float v1 = output_transform(lower, t[stride], t[5 * stride], t[9 * stride]);
        const float v2 = output_transform(lower, t[2 * stride], t[6 * stride], t[10 * stride]);
        y[i] = output_transform(right, v0, v1, v2);
    }
}

static void tile_output(float *y, const float *m, int64_t stride, bool lower, bool right, int64_t n)
{
    if (lower && right)
        output_position(y, m, stride, true, true, n);
    else if (lower)
        output_position(y, m, stride, true, false, n);
    else if (right)
        output_position(y, m, stride, false, true, n);
    else
        output_position(y, m, stride, false, false, n);
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
