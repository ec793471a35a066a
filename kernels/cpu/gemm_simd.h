/* What the micro-kernels of AVX2 and AVX-512 have in common; included by gemm_avx2.c and
 * gemm_avx512.c, each of which first names its vector, its sizes and the few instructions used
 * here. Its fetch_early is always inlined, as GCC takes a function that only prefetches for one
 * without effect and drops the call.
 *
 * The order of the sum is that of the plain C kernel: one fused multiply-add a k. Also included by
 * gemm_avx512bf16.c, where an element of a panel is a pair and multiply_add adds both products.
 */
#include "../half.h"

/* One k more. */
static inline __attribute__((always_inline)) void step(const int rows, const float *a,
                                                       const float *b, vector sum[MR][2])
{
    const vector b0 = load(b), b1 = load(b + LANES);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const vector x = broadcast(a[i]);
        sum[i][0] = multiply_add(x, b0, sum[i][0]);
        sum[i][1] = multiply_add(x, b1, sum[i][1]);
    }
}

/* With `rows` a constant everything stays in registers. STEPS k a turn: on AVX2 a turn of one k has
 * too many other instructions for its 12 multiply-adds where another thread shares the core; more
 * than two, and compilers run out of registers. */
static inline __attribute__((always_inline)) void tile(const int rows, int64_t depth,
                                                       const float *a, const float *b, float *c,
                                                       int64_t ldc, const float *start)
{
    vector sum[MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        const float *from = start ? start : c + i * ldc;
        sum[i][0] = load(from);
        sum[i][1] = load(from + LANES);
    }
    int64_t k = 0;
    for (; k + STEPS <= depth; k += STEPS) {
        fetch_early(a + k * MR, b + k * NR);
#pragma GCC unroll 4
        for (int i = 0; i < STEPS; i++)
            step(rows, a + (k + i) * MR, b + (k + i) * NR, sum);
    }
    for (; k < depth; k++)
        step(rows, a + k * MR, b + k * NR, sum);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
        put(c + i * ldc, sum[i][0]);
        put(c + i * ldc + LANES, sum[i][1]);
    }
}

/* Heights beyond MR do not occur; their cases are the whole tile. */
#define HEIGHT(n)                                              \
    case n:                                                    \
        tile((n) < MR ? (n) : MR, depth, a, b, c, ldc, start); \
        break

static void kernel(int rows, int64_t depth, const float *a, const float *b, float *c, int64_t ldc,
                   const float *start)
{
    switch (rows) {
        HEIGHT(1);
        HEIGHT(2);
        HEIGHT(3);
        HEIGHT(4);
        HEIGHT(5);
#if SIMD_HEIGHTS > 6
        HEIGHT(6);
        HEIGHT(7);
        HEIGHT(8);
        HEIGHT(9);
        HEIGHT(10);
        HEIGHT(11);
        HEIGHT(12);
        HEIGHT(13);
#endif
    default:
        tile(MR, depth, a, b, c, ldc, start);
        break;
    }
}

#undef HEIGHT

#ifndef SIMD_PAIRS
/* For the emulation of bf16: rounds the values, which stay f32. */
static void round_values(float *out, const float *in, int width, int64_t depth)
{
    for (int64_t i = 0; i < depth * width; i++)
        out[i] = hyv_round_to_bf16(in[i]);
}

static void decode(float *out, const void *in, hyv_type type, int64_t count)
{
    const uint8_t *p = in;
    const int64_t size = (int64_t)hyv_type_bytes(type);
    int64_t i = 0;
    if (!hyv_type_is_float(type)) {
        decode_quant(out, in, type, count);
        return;
    }
    for (; i + LANES <= count; i += LANES) {
        const void *from = p + i * size;
        vector v;
        switch (type) {
        case HYV_F32:
            v = load(from);
            break;
        case HYV_F16:
            v = load_f16(from);
            break;
        case HYV_BF16:
            v = load_bf16(from);
            break;
        case HYV_F8_E4M3:
            v = load_e4m3(from);
            break;
        default:
            v = load_e5m2(from);
            break;
        }
        put(out + i, v);
    }
    if (i < count)
        hyv_gemm_decode_c(out + i, p + i * size, type, count - i);
}
#endif
