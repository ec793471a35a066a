/* Functions over one row: the element-wise operators and the norms, in one version for each
 * instruction set.
 *
 * The versions are one source, rows_kernels.h, compiled with different flags: rows_c.c is the
 * definition, rows_avx2.c and rows_avx512.c give the compiler wider vectors. As nothing is
 * reordered or contracted, all three give the same bytes.
 */
#ifndef HYV_CPU_ROWS_H
#define HYV_CPU_ROWS_H

#include "cpu.h"

enum { HYV_TILE_OUT = 4, HYV_TILE_SIDE = 6 }; /* outputs and inputs of a tile, down and across */

typedef struct hyv_row_functions {
    /* y = (x - mean) / sqrt(variance + eps), times weight plus bias where they are not NULL. */
    void (*layer_norm)(float *y, const float *x, int64_t n, const float *weight, const float *bias,
                       float eps);
    /* y = x / sqrt(mean square + eps) * weight; weight may be NULL. */
    void (*rms_norm)(float *y, const float *x, int64_t n, const float *weight, float eps);
    /* sum[i] += x[i]; square[i] += x[i]^2 */
    void (*moments)(double *sum, double *square, const float *x, int64_t n);
    /* y = (x - mean) * scale + shift, each an array of n. */
    void (*normalise)(float *y, const float *x, int64_t n, const float *mean, const float *scale,
                      const float *shift);
    /* y = x rounded to bf16. */
    void (*to_bf16)(uint16_t *y, const float *x, int64_t n);
    void (*modulate)(float *y, int64_t n, const float *scale, const float *shift);
    void (*rope)(float *x, int64_t n, const float *cosine, const float *sine);
    void (*act)(float *y, const float *x, const float *mul, int64_t n, hyv_activation f);
    void (*add)(float *y, const float *x, const float *gate, int64_t n);
    /* For attention: s [keys, width], a column for each query; width is a multiple of 16. Scores
     * times factor become 2^(score - top), after top has taken in the largest of them; sum takes
     * in their sum, and rescale is what the query's earlier results are to be multiplied by. */
    void (*softmax_columns)(float *s, int64_t keys, int width, float factor, float *top, float *sum,
                            float *rescale);
    /* The same with results rounded to bf16, as pairs of keys: the panel of the next product. 2^x
     * need only be good enough for that, and top is of scores without the factor and may stay
     * somewhat behind. NULL where no product takes pairs. */
    void (*softmax_pairs)(float *out, const float *s, int64_t keys, int width, float factor,
                          float *top, float *sum, float *rescale);
    /* The transformations of conv3d_winograd.c for n channels, whose matrices stand in
     * rows_kernels.h. G g G^T: a row of positions, out [6] at distance `stride`, from taps [9] at
     * distance `apart`. */
    void (*tile_filter)(float *out, int64_t stride, int row, const float *taps, int64_t apart,
                        int64_t n);
    /* A row of B^T times d: tile_input of f32, tile_halves of bf16. */
    void (*tile_input)(float *out, const void *const d[HYV_TILE_SIDE], int row, int64_t n);
    void (*tile_halves)(float *out, const void *const d[HYV_TILE_SIDE], int row, int64_t n);
    /* A^T m A from m [36] at distance `stride`. */
    void (*tile_output)(float *const y[HYV_TILE_OUT * HYV_TILE_OUT], const float *m, int64_t stride,
                        int64_t n);
    /* Those of upsample_winograd.c: out = v[0] - v[1] where count is 2; the difference of two such,
     * of v[0] to v[3], where it is 4; and that of two of those where it is 8. */
    void (*difference)(float *out, const float *const *v, int count, int64_t n);
    /* y = the sum of 4 or 8 rows. */
    void (*sum_rows)(float *y, const float *const *m, int count, int64_t n);
    /* x[i, j] *= factor[j]; x [rows, width] */
    void (*scale_columns)(float *x, int64_t rows, int width, const float *factor);
} hyv_row_functions;

extern const hyv_row_functions hyv_rows_c, hyv_rows_avx2, hyv_rows_avx512, hyv_rows_avx512bf16;

const hyv_row_functions *hyv_rows_for(hyv_isa isa);

#endif
