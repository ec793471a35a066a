/* The decoders of block types, compiled for AVX-512. */
#include "gemm.h"

#if defined(__x86_64__)

#include "../quant_decode.h"

void hyv_quant_decode_avx512(float *out, const void *in, hyv_type type, int64_t count)
{
    decode_blocks(out, in, type, count);
}

#endif
