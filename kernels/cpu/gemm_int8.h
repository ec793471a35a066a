/* Products in 8-bit integers: what the packed product (gemm.h) is made of for them.
 *
 * An operand's row is divided by its scale, largest / 127, and rounded to nearest; sums of products
 * are int32 and exact, in the place of the f32 ones; at the end a sum is multiplied by both scales,
 * rounded, and the bias is added, fused. So the result is the same bytes whatever instructions
 * multiply. Elements of a panel are four neighbouring k in bytes, or two in words.
 */
#ifndef HYV_CPU_GEMM_INT8_H
#define HYV_CPU_GEMM_INT8_H

#include "gemm.h"

/* The instructions that multiply. Each has what stands before it, or need not care. */
typedef enum hyv_int8_kind {
    HYV_INT8_C,
    HYV_INT8_AVX2,       /* words: sums of two products do not overflow as those of bytes would */
    HYV_INT8_AVXVNNI,    /* the left operand is unsigned: 128 is added to it, */
    HYV_INT8_AVX512VNNI, /* and 128 * (sum of the right one) taken from the result */
    HYV_INT8_AMX,
    HYV_INT8_KINDS
} hyv_int8_kind;

enum { HYV_INT8_DEPTH_MAX = 131072 }; /* k whose sum cannot leave an int32 */

typedef struct hyv_int8_functions {
    int offset; /* that the left operand is to have */
    /* The largest magnitude; NaN if there is one. */
    float (*largest)(const float *in, int64_t n);
    float (*largest_bf16)(const void *in, int64_t n);
    /* out[i] = round(in[i] * factor) + offset, in as many bytes as an element has for a k: 4 /
     * fold. Returns the sum, without offsets. */
    int32_t (*quantise)(void *out, const float *in, int64_t n, float factor, int offset);
    /* Sums y, which are int32, become f32: (y - less) * (row * scale) + bias, the last two fused;
     * bias may be NULL. */
    void (*scale_sums)(float *y, int64_t n, float row, const float *scale, const int32_t *less,
                       const float *bias);
} hyv_int8_functions;

/* Whether this processor has it; cpu.c. */
bool hyv_cpu_has_int8(hyv_int8_kind kind, hyv_isa isa);

hyv_gemm_functions hyv_gemm_int8_for(hyv_int8_kind kind);

/* For the files of the instructions: they turn the functions of AVX2 or AVX-512 into their own. */
void hyv_gemm_use_int8_avx2(hyv_gemm_functions *f);
void hyv_gemm_use_int8_avxvnni(hyv_gemm_functions *f);
void hyv_gemm_use_int8_avx512vnni(hyv_gemm_functions *f);
void hyv_gemm_use_int8_amx(hyv_gemm_functions *f);

extern const hyv_int8_functions hyv_int8_bytes_avx512; /* without an offset */

/* linear_int8.c */
void hyv_cpu_linear_int8(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W);
size_t hyv_cpu_linear_int8_scratch(const hyv_gemm_functions *f, int64_t rows, int64_t cols,
                                   int64_t depth, int threads);

/* Whether a linear is multiplied so; f: the backend's. */
static inline bool hyv_gemm_is_int8(const hyv_gemm_functions *f, const hyv_weight *W)
{
    return f->int8 && W->int8 && W->w.cols <= HYV_INT8_DEPTH_MAX;
}

#endif
