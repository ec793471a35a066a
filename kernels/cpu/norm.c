/* Layer norm, RMS norm and group norm over matrices, in row pieces on all threads.
 *
 * Group norm takes its statistics over all rows: each block of rows is summed on its own, in
 * double, and the blocks' sums are added in order, so neither threads nor their number matter.
 */
#include <math.h>
#include <string.h>

#include "gemm.h"
#include "rows.h"

enum { GROUP_BLOCK = 1024, STRETCH = 256 /* values of bf16 widened at once */ };

typedef struct norm_call {
    const hyv_row_functions *f;
    hyv_mat y, x;
    const float *weight, *bias;
    int64_t width;
    float eps;
} norm_call;

static void layer_norm_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const norm_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        c->f->layer_norm(hyv_row(c->y, i), hyv_row(c->x, i), c->x.cols, c->weight, c->bias, c->eps);
}

void hyv_cpu_layer_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_affine *affine, float eps)
{
    norm_call c = {.f = hyv_cpu_of(be)->rows, .y = y, .x = x, .eps = eps};
    if (affine) {
        c.weight = affine->weight;
        c.bias = affine->bias;
    }
    hyv_cpu_rows(be, y.rows, y.cols, layer_norm_rows, &c);
}

static void rms_norm_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const norm_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        for (int64_t k = 0; k < c->x.cols; k += c->width)
            c->f->rms_norm(hyv_row(c->y, i) + k, hyv_row(c->x, i) + k, c->width, c->weight, c->eps);
}

void hyv_cpu_rms_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const float *weight, int64_t width,
                      float eps)
{
    norm_call c = {
        .f = hyv_cpu_of(be)->rows, .y = y, .x = x, .weight = weight, .width = width, .eps = eps};
    hyv_cpu_rows(be, y.rows, y.cols, rms_norm_rows, &c);
}

/* ---- group norm ---- */

typedef struct group_call {
    hyv_backend *be;
    const hyv_row_functions *f;
    const hyv_gemm_functions *gemm; /* which widen */
    hyv_mat y, x;
    int groups;
    double *block;                      /* [blocks, groups, 2]: sum, sum of squares */
    const float *mean, *factor, *shift; /* [cols] */
} group_call;

static int64_t block_count(int64_t rows)
{
    return (rows + GROUP_BLOCK - 1) / GROUP_BLOCK;
}

/* Values of a row at a time: all, unless they have to be widened. */
static int64_t stretch_of(hyv_mat x)
{
    return x.type == HYV_F32 ? x.cols : STRETCH;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Sums one block of rows by channel, then its channels by group. */
static void group_block(void *arg, int64_t index, int thread)
{
    const group_call *c = arg;
    const int64_t cols = c->x.cols, width = cols / c->groups, stretch = stretch_of(c->x);
    float wide[STRETCH];
    double *sum = (double *)(void *)hyv_cpu_of(c->be)->scratch[thread].data, *square = sum + cols;
    double *out = c->block + index * c->groups * 2;
    const int64_t first = index * GROUP_BLOCK;
    const int64_t end = first + GROUP_BLOCK < c->x.rows ? first + GROUP_BLOCK : c->x.rows;
    memset(sum, 0, 2 * (size_t)cols * sizeof(*sum));
    for (int64_t i = first; i < end; i++)
        for (int64_t k = 0, n; k < cols; k += n) {
            n = least(cols - k, stretch);
            c->f->moments(sum + k, square + k, hyv_gemm_wide(c->gemm, wide, c->x, i, k, n), n);
        }
    for (int g = 0; g < c->groups; g++) {
        out[2 * g] = out[2 * g + 1] = 0.0;
        for (int64_t k = g * width; k < (g + 1) * width; k++) {
            out[2 * g] += sum[k];
            out[2 * g + 1] += square[k];
        }
    }
}

/* Mean, factor and shift of each channel from its group's sums: rows of statistics [3, cols]. */
static void add_blocks(const group_call *c, hyv_mat statistics, const hyv_affine *affine, float eps)
{
    const int64_t blocks = block_count(c->x.rows), width = c->x.cols / c->groups;
    const double n = (double)c->x.rows * (double)width;
    float *means = hyv_row(statistics, 0), *factors = hyv_row(statistics, 1);
    float *shifts = hyv_row(statistics, 2);
    for (int g = 0; g < c->groups; g++) {
        double sum = 0.0, square = 0.0;
        for (int64_t b = 0; b < blocks; b++) {
            sum += c->block[(b * c->groups + g) * 2];
            square += c->block[(b * c->groups + g) * 2 + 1];
        }
        const double mean = sum / n, variance = square / n - mean * mean;
        const float factor = (float)(1.0 / sqrt((variance > 0.0 ? variance : 0.0) + (double)eps));
        for (int64_t k = g * width; k < (g + 1) * width; k++) {
            means[k] = (float)mean;
            factors[k] = affine && affine->weight ? factor * affine->weight[k] : factor;
            shifts[k] = affine && affine->bias ? affine->bias[k] : 0.0f;
        }
    }
}

static size_t sums_bytes(int64_t rows, int groups)
{
    return (size_t)(block_count(rows) * groups * 2) * sizeof(double);
}

static size_t vectors_bytes(int64_t cols)
{
    return (size_t)cols * HYV_STATISTICS * sizeof(float);
}

size_t hyv_cpu_group_norm_scratch(int64_t rows, int64_t cols, int groups, int threads)
{
    return sums_bytes(rows, groups) + vectors_bytes(cols) +
           (size_t)threads * (size_t)cols * 2 * sizeof(double);
}

/* Statistics of x; at `statistics`, or else behind the sums in the shared memory. */
static hyv_mat statistics_of(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                             const hyv_affine *affine, float eps)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const size_t sums = sums_bytes(x.rows, groups);
    char *shared = hyv_cpu_shared(be, sums + vectors_bytes(x.cols));
    if (!shared || !hyv_cpu_scratch_all(be, (size_t)x.cols * 2 * sizeof(double)))
        return HYV_NO_MAT;
    group_call c = {.be = be,
                    .f = cpu->rows,
                    .gemm = cpu->gemm,
                    .x = x,
                    .groups = groups,
                    .block = (double *)(void *)shared};
    if (!statistics.data)
        statistics = (hyv_mat){shared + sums, HYV_STATISTICS, x.cols, x.cols, HYV_F32};
    hyv_pool_run(be, block_count(x.rows), group_block, &c);
    add_blocks(&c, statistics, affine, eps);
    return statistics;
}

void hyv_cpu_group_statistics(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                              const hyv_affine *affine, float eps)
{
    statistics_of(be, statistics, x, groups, affine, eps);
}

static void group_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const group_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        c->f->normalise(hyv_row(c->y, i), hyv_row(c->x, i), c->x.cols, c->mean, c->factor,
                        c->shift);
}

/* Either side may be bf16. */
static void silu_row(const group_call *c, int64_t row)
{
    const bool narrow = c->y.type == HYV_BF16;
    const int64_t cols = c->x.cols, stretch = narrow ? STRETCH : stretch_of(c->x);
    float wide[STRETCH];
    for (int64_t k = 0, n; k < cols; k += n) {
        n = least(cols - k, stretch);
        const float *x = hyv_gemm_wide(c->gemm, wide, c->x, row, k, n);
        float *y = narrow ? wide : hyv_row(c->y, row) + k;
        c->f->normalise(y, x, n, c->mean + k, c->factor + k, c->shift + k);
        c->f->act(y, y, NULL, n, HYV_SILU);
        if (narrow)
            c->f->to_bf16((uint16_t *)c->y.data + row * c->y.ld + k, y, n);
    }
}

static void silu_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const group_call *c = arg;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++)
        silu_row(c, i);
}

static void apply(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics, hyv_rows_task *rows)
{
    group_call c = {.f = hyv_cpu_of(be)->rows,
                    .gemm = hyv_cpu_of(be)->gemm,
                    .y = y,
                    .x = x,
                    .mean = hyv_row(statistics, 0),
                    .factor = hyv_row(statistics, 1),
                    .shift = hyv_row(statistics, 2)};
    hyv_cpu_rows(be, y.rows, y.cols, rows, &c);
}

void hyv_cpu_normalise_silu(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics)
{
    apply(be, y, x, statistics, silu_rows);
}

void hyv_cpu_group_norm(hyv_backend *be, hyv_mat y, hyv_mat x, int groups, const hyv_affine *affine,
                        float eps)
{
    const hyv_mat statistics = statistics_of(be, HYV_NO_MAT, x, groups, affine, eps);
    if (statistics.data)
        apply(be, y, x, statistics, group_rows);
}
