/* linear: y = x . w^T + bias through the packed product.
 *
 * Weights of any storage type are decoded while they are packed, a few elements or a block at a
 * time; with a scale the effective weight is decode(w) * scale, rounded once.
 */
#include "../half.h"
#include "../quant.h"
#include "gemm.h"
#include "gemm_int8.h"

enum { CACHE_LINE = 64 };

/* f32 as it lies, unless the file has put it at an odd address. */
static bool in_place(const hyv_weight *W)
{
    return W->w.type == HYV_F32 && W->scales == 0 && (uintptr_t)W->w.data % sizeof(float) == 0;
}

static void multiply_rounded(float *x, float factor, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        x[k] = hyv_round_to_bf16(x[k] * factor);
}

void hyv_decode_weight(const hyv_gemm_functions *f, float *out, const hyv_weight *W, int64_t row,
                       int64_t k0, int64_t count)
{
    const int64_t at = row * W->w.ld + k0, block = hyv_type_block(W->w.type);
    if (at % block || count % block)
        hyv_decode(out, W->w.data, W->w.type, at, count);
    else
        f->decode(out, (const char *)W->w.data + hyv_type_step(W->w.type, at), W->w.type, count);
    if (W->scales == 0)
        return;
    const float scale = W->scale[W->scales == 1 ? 0 : row];
    if (W->rounded)
        multiply_rounded(out, hyv_round_to_bf16(scale), count);
    else
        for (int64_t k = 0; k < count; k++)
            out[k] *= scale;
}

/* Whether the values are those of bf16 as they lie. */
static bool is_bf16(const hyv_weight *W)
{
    return W->w.type == HYV_BF16 && W->scales == 0;
}

/* bf16 in pairs: they lie in the weight as they are to lie in the panel, or are spread. */
static bool has_pairs(const hyv_weight *W, const hyv_gemm_functions *f, int64_t depth)
{
    return f->fold <= 2 && is_bf16(W) && depth % 2 == 0;
}

static void pack_pairs(const hyv_weight *W, const hyv_gemm_functions *f, float *out, int width,
                       int64_t first, int n, int64_t k0, int64_t depth)
{
    const float *rows[HYV_GEMM_NR_MAX]; /* anywhere: only loaded as vectors */
    for (int i = 0; i < n; i++)
        rows[i] = (const float *)(const void *)((const char *)W->w.data +
                                                2 * ((first + i) * W->w.ld + k0));
    if (f->fold == 2)
        f->wide->transpose(out, width, rows, n, depth / 2);
    else
        f->spread(out, width, rows, n, depth / 2);
}

/* Decodes a few elements of each row into the buffer, then packs them. So many short stretches are
 * more than a processor foresees: the next ones are fetched meanwhile. Blocks are decoded whole,
 * also those that begin before k0 or end after k0 + depth. */
void hyv_pack_weight(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                     int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const hyv_weight *W = operand;
    const float *rows[HYV_GEMM_NR_MAX];
    const bool direct = in_place(W);
    if (has_pairs(W, f, depth)) {
        pack_pairs(W, f, out, width, first, n, k0, depth);
        return;
    }
    const int64_t block = hyv_type_block(W->w.type);
    const int64_t piece = direct ? depth : block > HYV_GEMM_PIECE ? block : HYV_GEMM_PIECE;
    for (int64_t k = 0; k < depth;) {
        const int64_t skip = (k0 + k) % block, left = depth - k, most = piece - skip;
        const int64_t count = left < most ? left : most;
        const int64_t whole = (skip + count + block - 1) / block * block;
        for (int i = 0; i < n; i++) {
            if (direct) {
                rows[i] = (const float *)W->w.data + (first + i) * W->w.ld + k0 + k;
                continue;
            }
            const int64_t begin = k0 + k - skip, bytes = hyv_type_step(W->w.type, whole);
            const char *next = (const char *)W->w.data +
                               hyv_type_step(W->w.type, (first + i) * W->w.ld + begin) + bytes;
            for (int64_t ahead = 0; ahead < bytes; ahead += CACHE_LINE)
                __builtin_prefetch(next + ahead);
            hyv_decode_weight(f, buffer + i * piece, W, first + i, begin, whole);
            rows[i] = buffer + i * piece + skip;
        }
        f->transpose(out + k / f->fold * width, width, rows, n, count);
        k += count;
    }
}

void hyv_cpu_linear(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W)
{
    if (hyv_gemm_is_int8(hyv_cpu_of(be)->gemm, W)) {
        hyv_cpu_linear_int8(be, y, x, W);
        return;
    }
    const hyv_gemm_call call = {.rows = y.rows,
                                .cols = y.cols,
                                .depth = x.cols,
                                .left = &x,
                                .pack_left = hyv_pack_mat,
                                .right = W,
                                .pack_right = hyv_pack_weight,
                                .rounded = is_bf16(W),
                                .bias = W->bias,
                                .y = y};
    hyv_gemm(be, &call);
}

size_t hyv_cpu_linear_scratch(const hyv_gemm_functions *gemm, int64_t rows, const hyv_weight *W,
                              int threads)
{
    if (hyv_gemm_is_int8(gemm, W))
        return hyv_cpu_linear_int8_scratch(gemm->int8, rows, W->w.rows, W->w.cols, threads);
    return hyv_gemm_scratch(gemm, rows, W->w.rows, W->w.cols, threads);
}
