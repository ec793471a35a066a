/* The micro-kernel, the transposition and the decoders in plain C: the definition of what the
 * others do; and the choice among the versions.
 */
#include <math.h>
#include <string.h>

#include "../half.h"
#include "../quant.h"
#include "gemm.h"

enum { C_MR = 4, C_NR = 16, C_DEPTH = 256 };

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

static void transpose_c(float *out, int width, const float *const *in, int n, int64_t depth)
{
    for (int64_t k = 0; k < depth; k++) {
        for (int i = 0; i < n; i++)
            out[k * width + i] = in[i][k];
        for (int i = n; i < width; i++)
            out[k * width + i] = 0.0f;
    }
}

/* Rows may begin at any address. */
static void spread_c(float *out, int width, const float *const *in, int n, int64_t pairs)
{
    for (int64_t k = 0; k < 2 * pairs; k++)
        for (int i = 0; i < width; i++) {
            uint16_t half = 0;
            if (i < n)
                memcpy(&half, (const char *)in[i] + 2 * k, sizeof(half));
            out[k * width + i] = hyv_bf16_to_f32(half);
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
    case HYV_F8_E5M2:
        for (int64_t i = 0; i < count; i++)
            out[i] = hyv_f8_e5m2_to_f32(p[i]);
        break;
    default:
        hyv_quant_decode(out, in, type, count);
        break;
    }
}

static void round_values(float *out, const float *in, int width, int64_t depth)
{
    for (int64_t i = 0; i < depth * width; i++)
        out[i] = hyv_round_to_bf16(in[i]);
}

const hyv_gemm_functions hyv_gemm_c = {.mr = C_MR,
                                       .nr = C_NR,
                                       .fold = 1,
                                       .rows = HYV_GEMM_ROWS,
                                       .unit = 1,
                                       .grain = 1,
                                       .depth = C_DEPTH,
                                       .kernel = kernel_c,
                                       .transpose = transpose_c,
                                       .spread = spread_c,
                                       .narrow = round_values,
                                       .decode = hyv_gemm_decode_c};

hyv_gemm_functions hyv_gemm_for(hyv_isa isa, hyv_precision precision)
{
    hyv_gemm_functions f = hyv_gemm_c;
#if defined(__x86_64__)
    if (isa >= HYV_ISA_AVX2)
        f = isa >= HYV_ISA_AVX512 ? hyv_gemm_avx512 : hyv_gemm_avx2;
    if (isa >= HYV_ISA_AVX512BF16 && precision != HYV_PRODUCTS_FP32)
        hyv_gemm_use_pairs(&f);
    if (isa == HYV_ISA_AMX && precision != HYV_PRODUCTS_FP32)
        hyv_gemm_use_tiles(&f);
#endif
    (void)isa;
    f.chunk = HYV_GEMM_CHUNK;
    if (precision == HYV_PRODUCTS_FP32)
        f.narrow = NULL;
    else if (f.fold > 1)
        f.by_cols = false; /* pairs are multiplied too fast for it */
    return f;
}
