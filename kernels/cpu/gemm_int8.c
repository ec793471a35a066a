/* Products in 8-bit integers in plain C, and the choice among the versions. */
#include "gemm_int8.h"

#define INT8_STORED uint8_t
#include "int8_kernels.h"

enum { MR = 4, NR = 16, FOLD = 4 };

static void kernel(int rows, int64_t depth, const float *a, const float *b, float *c, int64_t ldc,
                   const float *start)
{
    for (int i = 0; i < rows; i++) {
        int32_t sum[NR];
        memcpy(sum, start ? start : c + i * ldc, sizeof(sum));
        for (int64_t k = 0; k < depth; k++)
            for (int j = 0; j < NR; j++) {
                int8_t x[FOLD], w[FOLD];
                memcpy(x, a + k * MR + i, FOLD);
                memcpy(w, b + k * NR + j, FOLD);
                sum[j] += x[0] * w[0] + x[1] * w[1] + x[2] * w[2] + x[3] * w[3];
            }
        memcpy(c + i * ldc, sum, sizeof(sum));
    }
}

/* Elements are bytes, not floats, and may not be loaded as such. */
static void transpose(float *out, int width, const float *const *in, int n, int64_t depth)
{
    for (int64_t k = 0; k < depth; k++) {
        for (int i = 0; i < n; i++)
            memcpy(out + k * width + i, in[i] + k, FOLD);
        memset(out + k * width + n, 0, (size_t)(width - n) * FOLD);
    }
}

static const hyv_int8_functions bytes_c = {.largest = largest,
                                           .largest_bf16 = largest_bf16,
                                           .quantise = quantise,
                                           .scale_sums = scale_sums};

hyv_gemm_functions hyv_gemm_int8_for(hyv_int8_kind kind)
{
    hyv_gemm_functions f = hyv_gemm_c;
    f.kernel = kernel;
    f.transpose = transpose;
    f.fold = FOLD;
    f.bytes = &bytes_c;
#if defined(__x86_64__)
    if (kind != HYV_INT8_C)
        f = kind >= HYV_INT8_AVX512VNNI ? hyv_gemm_avx512 : hyv_gemm_avx2;
    if (kind == HYV_INT8_AVX2)
        hyv_gemm_use_int8_avx2(&f);
    if (kind == HYV_INT8_AVXVNNI)
        hyv_gemm_use_int8_avxvnni(&f);
    if (kind == HYV_INT8_AVX512VNNI)
        hyv_gemm_use_int8_avx512vnni(&f);
    if (kind == HYV_INT8_AMX)
        hyv_gemm_use_int8_amx(&f);
#endif
    (void)kind;
    f.narrow = NULL;
    f.by_cols = false;
    f.chunk = HYV_GEMM_CHUNK;
    return f;
}
