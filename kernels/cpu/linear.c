/* linear: y = x . w^T + bias through the packed product.
 *
 * Weights of any storage type are decoded while they are packed, a few rows at a time; with a scale
 * the effective weight is decode(w) * scale, rounded once.
 */
#include "gemm.h"

/* Decodes `n` rows of the weight into the buffer, then packs them. */
void hyv_pack_weight(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                     int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const hyv_weight *W = operand;
    const size_t size = hyv_type_bytes(W->w.type);
    for (int i = 0; i < n; i++) {
        const char *row = (const char *)W->w.data + (size_t)((first + i) * W->w.ld + k0) * size;
        float *decoded = buffer + i * depth;
        f->decode(decoded, row, W->w.type, depth);
        if (W->scales == 0)
            continue;
        const float scale = W->scale[W->scales == 1 ? 0 : first + i];
        for (int64_t k = 0; k < depth; k++)
            decoded[k] *= scale;
    }
    f->transpose(out, width, buffer, depth, n, depth);
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

size_t hyv_cpu_linear_scratch(int64_t rows, int64_t cols, int64_t depth, int threads)
{
    return hyv_gemm_scratch(rows, cols, depth, threads);
}
