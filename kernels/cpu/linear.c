/* linear: y = x . w^T + bias through the packed product.
 *
 * Weights of any storage type are decoded while they are packed, a few elements at a time; with a
 * scale the effective weight is decode(w) * scale, rounded once.
 */
#include "gemm.h"

enum { CACHE_LINE = 64 };

/* f32 as it lies, unless the file has put it at an odd address. */
static bool in_place(const hyv_weight *W)
{
    return W->w.type == HYV_F32 && W->scales == 0 && (uintptr_t)W->w.data % sizeof(float) == 0;
}

void hyv_decode_weight(const hyv_gemm_functions *f, float *out, const hyv_weight *W, int64_t row,
                       int64_t k0, int64_t count)
{
    const char *from =
        (const char *)W->w.data + (size_t)(row * W->w.ld + k0) * hyv_type_bytes(W->w.type);
    f->decode(out, from, W->w.type, count);
    if (W->scales == 0)
        return;
    const float scale = W->scale[W->scales == 1 ? 0 : row];
    for (int64_t k = 0; k < count; k++)
        out[k] *= scale;
}

/* Decodes a few elements of each row into the buffer, then packs them. So many short stretches are
 * more than a processor foresees: the next ones are fetched meanwhile. */
void hyv_pack_weight(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                     int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const hyv_weight *W = operand;
    const float *rows[HYV_GEMM_NR_MAX];
    const size_t size = hyv_type_bytes(W->w.type);
    const int64_t piece = in_place(W) ? depth : HYV_GEMM_BUFFER / HYV_GEMM_NR_MAX;
    for (int64_t k = 0; k < depth; k += piece) {
        const int64_t count = depth - k < piece ? depth - k : piece;
        for (int i = 0; i < n; i++) {
            const int64_t at = (first + i) * W->w.ld + k0 + k;
            if (in_place(W)) {
                rows[i] = (const float *)W->w.data + at;
                continue;
            }
            const char *from = (const char *)W->w.data + (size_t)at * size;
            float *decoded = buffer + i * piece;
            for (int64_t next = piece; next < 2 * piece; next += CACHE_LINE / (int64_t)size)
                __builtin_prefetch(from + (size_t)next * size);
            hyv_decode_weight(f, decoded, W, first + i, k0 + k, count);
            rows[i] = decoded;
        }
        f->transpose(out + k * width, width, rows, n, count);
    }
}

void hyv_cpu_linear(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W)
{
    const hyv_gemm_call call = {.rows = y.rows,
                                .cols = y.cols,
                                .depth = x.cols,
                                .left = &x,
                                .pack_left = hyv_pack_mat,
                                .right = W,
                                .pack_right = hyv_pack_weight,
                                .bias = W->bias,
                                .y = y};
    hyv_gemm(be, &call);
}

size_t hyv_cpu_linear_scratch(const hyv_gemm_functions *gemm, int64_t rows, int64_t cols,
                              int64_t depth, int threads)
{
    return hyv_gemm_scratch(gemm, rows, cols, depth, threads);
}
