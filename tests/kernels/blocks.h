/* Blocks of GGUF's types for the checks: random integers under sensible scales. */
#ifndef HYV_TESTS_KERNELS_BLOCKS_H
#define HYV_TESTS_KERNELS_BLOCKS_H

#include <string.h>

#include "../../kernels/half.h"
#include "../check.h"

/* Where a block has its f16 scale, and its f16 minimum (-1: none). */
static const struct {
    hyv_type type;
    int scale, minimum;
} blocks[] = {{HYV_Q4_0, 0, -1}, {HYV_Q4_1, 0, 2},    {HYV_Q5_0, 0, -1},   {HYV_Q5_1, 0, 2},
              {HYV_Q8_0, 0, -1}, {HYV_Q2_K, 80, 82},  {HYV_Q3_K, 108, -1}, {HYV_Q4_K, 0, 2},
              {HYV_Q5_K, 0, 2},  {HYV_Q6_K, 208, -1}, {HYV_IQ4_NL, 0, -1}, {HYV_IQ4_XS, 0, -1}};

enum { BLOCK_TYPES = sizeof(blocks) / sizeof(blocks[0]) };

static inline void block_put_half(void *block, int at, float value)
{
    const uint16_t half = hyv_f32_to_f16(value);
    if (at >= 0)
        memcpy((char *)block + at, &half, sizeof(half));
}

/* `count` blocks of blocks[kind]. */
static inline void blocks_fill(void *data, int kind, int64_t count, check_random *random)
{
    const size_t bytes = hyv_type_bytes(blocks[kind].type);
    for (int64_t i = 0; i < count; i++) {
        uint8_t *b = (uint8_t *)data + (size_t)i * bytes;
        for (size_t k = 0; k < bytes; k++)
            b[k] = (uint8_t)(check_random_bits(random) >> 40);
        block_put_half(b, blocks[kind].scale, 0.01f * check_random_normal(random));
        block_put_half(b, blocks[kind].minimum, 0.01f * check_random_normal(random));
    }
}

#endif
