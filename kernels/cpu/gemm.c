/* The blocked driver of the packed product, its packers for plain matrices, and the micro-kernel in
 * plain C.
 *
 * Two orders of loops: many rows pack a block of the right operand once for all threads; few rows
 * (vectors, short texts) give each thread its own columns, so that weights are read once and
 * nothing waits. Knows no operator.
 */
#include "gemm.h"

#include <math.h>
#include <string.h>

#include "../half.h"

/* ---- plain C ----------------------------------------------------------------------------------
 */

enum { C_MR = 4, C_NR = 16 };

static void kernel_c(int rows, int64_t depth, const float *a, const float *b, float *c, int64_t ldc,
                     const float *start)
{
    for (int i = 0; i < rows; i++) {
        float sum[C_NR];
        for (int j = 0; j < C_NR; j++)
            sum[j] = start ? start[j] : c[i * ldc + j];
        for (int64_t k = 0; k < depth; k++)
            for (int j = 0; j < C_NR; j++)
                sum[j] = fmaf(a[k * C_MR + i], b[k * C_NR + j], sum[j]);
        for (int j = 0; j < C_NR; j++)
            c[i * ldc + j] = sum[j];
    }
}

static void transpose_c(float *out, int width, const float *in, int64_t ld, int n, int64_t depth)
{
    for (int64_t k = 0; k < depth; k++) {
        for (int i = 0; i < n; i++)
            out[k * width + i] = in[i * ld + k];
        for (int i = n; i < width; i++)
            out[k * width + i] = 0.0f;
    }
}

void hyv_gemm_decode_c(float *out, const void *in, hyv_type type, int64_t count)
{
    const uint8_t *p = in;
    uint16_t half;
    switch (type) {
    case HYV_F32:
        memcpy(out, p, (size_t)count * sizeof(float));
        break;
    case HYV_F16:
        for (int64_t i = 0; i < count; i++) {
            memcpy(&half, p + 2 * i, sizeof(half));
            out[i] = hyv_f16_to_f32(half);
        }
        break;
    case HYV_BF16:
        for (int64_t i = 0; i < count; i++) {
            memcpy(&half, p + 2 * i, sizeof(half));
            out[i] = hyv_bf16_to_f32(half);
        }
        break;
    case HYV_F8_E4M3:
        for (int64_t i = 0; i < count; i++)
            out[i] = hyv_f8_e4m3_to_f32(p[i]);
        break;
    default:
        for (int64_t i = 0; i < count; i++)
            out[i] = hyv_f8_e5m2_to_f32(p[i]);
        break;
    }
}

const hyv_gemm_functions hyv_gemm_c = {.mr = C_MR,
                                       .nr = C_NR,
                                       .kernel = kernel_c,
                                       .transpose = transpose_c,
                                       .decode = hyv_gemm_decode_c};

const hyv_gemm_functions *hyv_gemm_for(hyv_isa isa)
{
#if defined(__x86_64__)
    if (isa == HYV_ISA_AVX512)
        return &hyv_gemm_avx512;
    if (isa == HYV_ISA_AVX2)
        return &hyv_gemm_avx2;
#endif
    (void)isa;
    return &hyv_gemm_c;
}

/* ---- panels -----------------------------------------------------------------------------------
 */

void hyv_pack_mat(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                  int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const hyv_mat *m = operand;
    (void)buffer;
    f->transpose(out, width, hyv_row(*m, first) + k0, m->ld, n, depth);
}

void hyv_gemm_panels(const hyv_gemm_functions *f, int rows, int64_t cols, int64_t depth,
                     const float *a, const float *b, int64_t panel, float *c, int64_t ldc,
                     const float *start, float *edge)
{
    int64_t j = 0;
    for (; j + f->nr <= cols; j += f->nr, b += panel)
        f->kernel(rows, depth, a, b, c + j, ldc, start ? start + j : NULL);
    if (j == cols)
        return;
    const size_t bytes = (size_t)(cols - j) * sizeof(float);
    for (int i = 0; i < rows && !start; i++)
        memcpy(edge + i * f->nr, c + i * ldc + j, bytes);
    f->kernel(rows, depth, a, b, edge, f->nr, start ? start + j : NULL);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * ldc + j, edge + i * f->nr, bytes);
}

/* ---- blocking ---------------------------------------------------------------------------------
 */

typedef struct job {
    const hyv_gemm_call *call;
    const hyv_gemm_functions *f;
    hyv_cpu *cpu;
    float *right; /* packed right block (many rows) or packed left operand (few rows) */
    float *start; /* bias, padded to whole panels; of all columns */
    int64_t j0, cols, k0, depth;
} job;

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Where a thread packs its panel, what a packer works in, and the edge tile. */
static float *thread_panel(const job *g, int thread)
{
    return (float *)(void *)g->cpu->scratch[thread].data;
}

static size_t thread_floats(void)
{
    return (size_t)HYV_GEMM_ROWS * HYV_GEMM_DEPTH + (size_t)HYV_GEMM_NR_MAX * HYV_GEMM_DEPTH +
           (size_t)HYV_GEMM_MR_MAX * HYV_GEMM_NR_MAX;
}

static void pack_right_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const int nr = g->f->nr;
    const int64_t first = g->j0 + index * nr;
    g->call->pack_right(g->call->right, g->f, g->right + index * nr * g->depth, nr, first,
                        (int)least(nr, g->j0 + g->cols - first), g->k0, g->depth,
                        thread_panel(g, thread));
}

/* A block of rows times the packed right block. */
static void multiply_rows(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const hyv_gemm_call *c = g->call;
    const int mr = g->f->mr, nr = g->f->nr;
    float *a = thread_panel(g, thread);
    float *buffer = a + (size_t)HYV_GEMM_ROWS * HYV_GEMM_DEPTH;
    float *edge = buffer + (size_t)HYV_GEMM_NR_MAX * HYV_GEMM_DEPTH;
    const int64_t first = index * HYV_GEMM_ROWS, end = least(c->rows, first + HYV_GEMM_ROWS);
    for (int64_t i = first; i < end; i += mr)
        c->pack_left(c->left, g->f, a + (i - first) * g->depth, mr, i, (int)least(mr, end - i),
                     g->k0, g->depth, buffer);
    for (int64_t j = 0; j < g->cols; j += nr) {
        const float *start = g->k0 == 0 ? g->start + g->j0 + j : NULL;
        for (int64_t i = first; i < end; i += mr)
            hyv_gemm_panels(g->f, (int)least(mr, end - i), least(nr, g->cols - j), g->depth,
                            a + (i - first) * g->depth, g->right + j * g->depth, 0,
                            hyv_row(c->y, i) + g->j0 + j, c->y.ld, start, edge);
    }
}

static void many_rows(hyv_backend *be, job *g)
{
    const hyv_gemm_call *c = g->call;
    const int64_t blocks = (c->rows + HYV_GEMM_ROWS - 1) / HYV_GEMM_ROWS;
    for (g->j0 = 0; g->j0 < c->cols; g->j0 += HYV_GEMM_COLS) {
        g->cols = least(HYV_GEMM_COLS, c->cols - g->j0);
        for (g->k0 = 0; g->k0 < c->depth; g->k0 += HYV_GEMM_DEPTH) {
            g->depth = least(HYV_GEMM_DEPTH, c->depth - g->k0);
            hyv_pool_run(be, round_up(g->cols, g->f->nr) / g->f->nr, pack_right_panel, g);
            hyv_pool_run(be, blocks, multiply_rows, g);
            if (be->err)
                return;
        }
    }
}

/* One panel of columns for all (few) rows, whose operand is packed whole. */
static void multiply_panel(void *arg, int64_t index, int thread)
{
    const job *g = arg;
    const hyv_gemm_call *c = g->call;
    const int mr = g->f->mr, nr = g->f->nr;
    float *b = thread_panel(g, thread);
    float *buffer = b + (size_t)HYV_GEMM_NR_MAX * HYV_GEMM_DEPTH;
    float *edge = buffer + (size_t)HYV_GEMM_NR_MAX * HYV_GEMM_DEPTH;
    const int64_t j = index * nr, cols = least(nr, c->cols - j);
    for (int64_t k = 0; k < c->depth; k += HYV_GEMM_DEPTH) {
        const int64_t depth = least(HYV_GEMM_DEPTH, c->depth - k);
        c->pack_right(c->right, g->f, b, nr, j, (int)cols, k, depth, buffer);
        for (int64_t i = 0; i < c->rows; i += mr)
            hyv_gemm_panels(g->f, (int)least(mr, c->rows - i), cols, depth,
                            g->right + i * c->depth + k * mr, b, 0, hyv_row(c->y, i) + j, c->y.ld,
                            k == 0 ? g->start + j : NULL, edge);
    }
}

static void few_rows(hyv_backend *be, job *g)
{
    const hyv_gemm_call *c = g->call;
    const int mr = g->f->mr;
    for (int64_t i = 0; i < c->rows; i += mr)
        for (int64_t k = 0; k < c->depth; k += HYV_GEMM_DEPTH)
            c->pack_left(c->left, g->f, g->right + i * c->depth + k * mr, mr, i,
                         (int)least(mr, c->rows - i), k, least(HYV_GEMM_DEPTH, c->depth - k),
                         thread_panel(g, 0));
    hyv_pool_run(be, round_up(c->cols, g->f->nr) / g->f->nr, multiply_panel, g);
}

/* Floats of the shared block: bias and what `right` holds. */
static size_t shared_floats(int64_t rows, int64_t cols, int64_t depth)
{
    const int64_t bias = round_up(cols, HYV_GEMM_NR_MAX);
    const int64_t packed =
        rows <= HYV_GEMM_FEW_ROWS
            ? (rows + HYV_GEMM_MR_MAX) * depth /* whole panels of any mr */
            : round_up(least(cols, HYV_GEMM_COLS), HYV_GEMM_NR_MAX) * least(depth, HYV_GEMM_DEPTH);
    return (size_t)(bias + packed);
}

size_t hyv_gemm_scratch(int64_t rows, int64_t cols, int64_t depth, int threads)
{
    return (shared_floats(rows, cols, depth) + (size_t)threads * thread_floats()) * sizeof(float);
}

void hyv_gemm(hyv_backend *be, const hyv_gemm_call *call)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const size_t bytes = shared_floats(call->rows, call->cols, call->depth) * sizeof(float);
    float *shared = hyv_cpu_scratch(be, &cpu->shared, bytes);
    if (!shared || !hyv_cpu_scratch_all(be, thread_floats() * sizeof(float)))
        return;
    const int64_t padded = round_up(call->cols, HYV_GEMM_NR_MAX);
    job g = {.call = call, .f = cpu->gemm, .cpu = cpu, .right = shared + padded, .start = shared};
    memset(shared, 0, (size_t)padded * sizeof(float));
    if (call->bias)
        memcpy(shared, call->bias, (size_t)call->cols * sizeof(float));
    if (call->rows <= HYV_GEMM_FEW_ROWS)
        few_rows(be, &g);
    else
        many_rows(be, &g);
}
