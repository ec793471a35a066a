/* GGUF's block types: from blocks to f32 and, for three of them, back.
 *
 * The layouts are ggml's published ones (ggml-common.h, ggml-quants.c): a block holds small
 * integers, one or two f16 scales, and in the 256-element kinds small integer scales for parts of
 * the block. Every product of scale, small scale and integer is exact in f32, so a value has at
 * most one rounding and fused arithmetic gives the same bits. Knows no backend and no file format.
 */
#ifndef HYV_KERNELS_QUANT_H
#define HYV_KERNELS_QUANT_H

#include "types.h"

/* `count` elements, whole blocks, of a block type as f32; `in` may be unaligned. The definition:
 * decoders of the backends give the same bits. */
void hyv_quant_decode(float *out, const void *in, hyv_type type, int64_t count);

/* Elements [first, first + count) of a stretch of any type that a weight may have; they need not
 * begin or end with a block. */
void hyv_decode(float *out, const void *data, hyv_type type, int64_t first, int64_t count);

/* Types that hyv_quant_encode makes: Q8_0, Q4_K, Q6_K. */
bool hyv_quant_encodes(hyv_type type);

/* Blocks of `count` elements, whole blocks of finite values below 1e6, by least squares. The same
 * input gives the same bytes on every machine. */
void hyv_quant_encode(void *out, const float *in, hyv_type type, int64_t count);

#endif
