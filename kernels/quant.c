/* Block types in plain C: the definition of their values.
 *
 * Layouts follow ggml's published ones. Knows no backend and no file format.
 */
#include "quant.h"

#include "quant_decode.h"

void hyv_quant_decode(float *out, const void *in, hyv_type type, int64_t count)
{
    decode_blocks(out, in, type, count);
}

void hyv_decode(float *out, const void *data, hyv_type type, int64_t first, int64_t count)
{
    const int64_t block = hyv_type_block(type);
    const uint8_t *p = data;
    float values[HYV_BLOCK_MAX];
    if (hyv_type_is_float(type)) {
        for (int64_t i = 0; i < count; i++)
            out[i] = hyv_element(data, type, first + i);
        return;
    }
    while (count > 0) {
        const int64_t skip = first % block, left = block - skip, n = count < left ? count : left;
        const uint8_t *from = p + hyv_type_step(type, first - skip);
        if (n == block) {
            const int64_t whole = count - count % block;
            decode_blocks(out, from, type, whole);
            first += whole, out += whole, count -= whole;
            continue;
        }
        decode_blocks(values, from, type, block);
        memcpy(out, values + skip, (size_t)n * sizeof(float));
        first += n, out += n, count -= n;
    }
}
