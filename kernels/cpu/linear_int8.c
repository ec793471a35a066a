/* linear in 8-bit integers (gemm_int8.h): every row of x and of the weight has a scale of its own.
 *
 * x is quantised once, before the product, into shared memory behind the product's own; weights
 * while they are packed, a row's scale first. A row is read twice for that, the second time from
 * the cache.
 */
#include <string.h>

#include "gemm_int8.h"

enum { PIECE = HYV_BLOCK_MAX, ALIGNMENT = 64 }; /* k of a weight that are quantised at once */

typedef struct product {
    const hyv_gemm_functions *f;
    hyv_mat x;
    const hyv_weight *W;
    int64_t row_bytes; /* of `left`: whole elements of panels */
    uint8_t *left;     /* [x.rows, row_bytes] */
    float *row_scale;  /* [x.rows] */
    float *scale;      /* [W.rows] */
    int32_t *less;     /* [W.rows]: what the left operand's offset adds to each sum */
} product;

/* A row whose values are that small is nothing but zeros, so that the factor is finite. */
static float scale_of(float most)
{
    return most < 0x1p-100f ? 0.0f : most / 127.0f;
}

static float factor_of(float scale)
{
    return scale == 0.0f ? 0.0f : 1.0f / scale;
}

static int64_t k_bytes(const hyv_gemm_functions *f)
{
    return 4 / f->fold;
}

static void quantise_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const product *p = arg;
    const hyv_int8_functions *bytes = p->f->bytes;
    (void)thread;
    for (int64_t i = first; i < first + rows; i++) {
        const float *x = hyv_row(p->x, i);
        uint8_t *out = p->left + i * p->row_bytes;
        const int64_t used = p->x.cols * k_bytes(p->f);
        p->row_scale[i] = scale_of(bytes->largest(x, p->x.cols));
        bytes->quantise(out, x, p->x.cols, factor_of(p->row_scale[i]), bytes->offset);
        memset(out + used, 0, (size_t)(p->row_bytes - used));
    }
}

static void pack_left(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                      int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const product *p = operand;
    const float *rows[HYV_GEMM_MR_MAX]; /* bytes; only moved */
    (void)buffer;
    for (int i = 0; i < n; i++)
        rows[i] = (const float *)(const void *)(p->left + (first + i) * p->row_bytes +
                                                k0 * k_bytes(p->f));
    f->transpose(out, width, rows, n, (depth + f->fold - 1) / f->fold);
}

static void measure_row(const product *p, int64_t row, float *buffer)
{
    const hyv_mat w = p->W->w;
    const bool bf16 = w.type == HYV_BF16 && p->W->scales == 0; /* need not be decoded for that */
    float most[2] = {0.0f, 0.0f};
    if (bf16)
        most[0] = p->f->bytes->largest_bf16((const char *)w.data + 2 * row * w.ld, w.cols);
    for (int64_t k = 0; k < w.cols && !bf16; k += PIECE) {
        const int64_t left = w.cols - k, count = left < PIECE ? left : PIECE;
        hyv_decode_weight(p->f, buffer, p->W, row, k, count);
        most[1] = p->f->bytes->largest(buffer, count);
        most[0] = p->f->bytes->largest(most, 2); /* so that NaN stays */
    }
    p->scale[row] = scale_of(most[0]);
    p->less[row] = 0;
}

/* The first piece of a panel that is packed measures its rows. */
static void pack_right(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                       int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const product *p = operand;
    const float *rows[HYV_GEMM_NR_MAX];
    float *words = buffer + PIECE;
    for (int i = 0; i < n && k0 == 0; i++)
        measure_row(p, first + i, buffer);
    for (int64_t k = 0; k < depth; k += PIECE) {
        const int64_t count = depth - k < PIECE ? depth - k : PIECE;
        for (int i = 0; i < n; i++) {
            float *to = words + i * (PIECE / 2);
            hyv_decode_weight(f, buffer, p->W, first + i, k0 + k, count);
            for (int64_t rest = count; rest % f->fold; rest++)
                buffer[rest] = 0.0f;
            const int32_t sum =
                p->f->bytes->quantise(to, buffer, (count + f->fold - 1) / f->fold * f->fold,
                                      factor_of(p->scale[first + i]), 0);
            p->less[first + i] += p->f->bytes->offset * sum;
            rows[i] = to;
        }
        f->transpose(out + k / f->fold * width, width, rows, n, (count + f->fold - 1) / f->fold);
    }
}

static void finish(const void *left, float *y, int64_t row, int64_t col, int64_t cols)
{
    const product *p = left;
    p->f->bytes->scale_sums(y, cols, p->row_scale[row], p->scale + col, p->less + col,
                            p->W->bias ? p->W->bias + col : NULL);
}

static int64_t row_bytes(const hyv_gemm_functions *f, int64_t depth)
{
    return hyv_gemm_elements(f, depth) * (int64_t)sizeof(float);
}

static size_t padded(int64_t bytes)
{
    return (size_t)((bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
}

/* Of what stands behind the product's shared memory. */
static size_t operands_bytes(const hyv_gemm_functions *f, int64_t rows, int64_t cols, int64_t depth)
{
    return padded(rows * row_bytes(f, depth)) + padded(rows * (int64_t)sizeof(float)) +
           2 * padded(cols * (int64_t)sizeof(float));
}

void hyv_cpu_linear_int8(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    const hyv_gemm_functions *f = cpu->gemm->int8;
    const size_t front = padded((int64_t)hyv_gemm_scratch(f, y.rows, y.cols, x.cols, 0));
    char *memory = hyv_cpu_shared(be, front + operands_bytes(f, y.rows, y.cols, x.cols));
    char *at = memory;
    if (!at)
        return;
    product p = {.f = f, .x = x, .W = W, .row_bytes = row_bytes(f, x.cols)};
    p.left = (uint8_t *)(at += front);
    p.row_scale = (float *)(void *)(at += padded(x.rows * p.row_bytes));
    p.scale = (float *)(void *)(at += padded(x.rows * (int64_t)sizeof(float)));
    p.less = (int32_t *)(void *)(at + padded(y.cols * (int64_t)sizeof(float)));
    hyv_cpu_rows(be, x.rows, x.cols, quantise_rows, &p);
    const hyv_gemm_call call = {.functions = f,
                                .memory = memory,
                                .rows = y.rows,
                                .cols = y.cols,
                                .depth = x.cols,
                                .left = &p,
                                .pack_left = pack_left,
                                .right = &p,
                                .pack_right = pack_right,
                                .once = true,
                                .y = y,
                                .finish = finish};
    hyv_gemm(be, &call);
}

size_t hyv_cpu_linear_int8_scratch(const hyv_gemm_functions *f, int64_t rows, int64_t cols,
                                   int64_t depth, int threads)
{
    const size_t shared = hyv_gemm_scratch(f, rows, cols, depth, 0);
    return hyv_gemm_scratch(f, rows, cols, depth, threads) - shared + padded((int64_t)shared) +
           operands_bytes(f, rows, cols, depth);
}
