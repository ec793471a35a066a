/* GGUF's block types: values of blocks that ggml decodes, blocks of the golden data, the decoders
 * of every instruction set, ranges that cut blocks.
 */
#include "../../kernels/quant.h"

#include <math.h>
#include <stdlib.h>

#include "../../kernels/cpu/gemm.h"
#include "../golden.h"
#include "blocks.h"
#include "rig.h"

/* ---- the vectors ---- */

/* First bytes of a block made from its type's name, and of its values y: y0, y1, the one in the
 * middle, the last, the sum, and the sum of (i + 1) * y[i]. */
static const struct {
    const char *name;
    hyv_type type;
    uint8_t bytes[8];
    double y0, y1, middle, last, sum, weighted;
} vectors[] = {{"Q4_0",
                HYV_Q4_0,
                {0x00, 0x2C, 0x77, 0x57, 0x7D, 0xF4, 0x05, 0x0F},
                -0.0625,
                -0.0625,
                -0.0625,
                0.0625,
                -2.3125,
                -38.4375},
               {"Q4_1",
                HYV_Q4_1,
                {0x00, 0x2C, 0x00, 0x28, 0xD0, 0xDD, 0x3A, 0xAE},
                0.03125,
                0.84375,
                0.84375,
                0.78125,
                15.0625,
                243.8125},
               {"Q5_0",
                HYV_Q5_0,
                {0x00, 0x2C, 0x1C, 0x25, 0x99, 0x8B, 0x13, 0x6A},
                -0.8125,
                -0.375,
                0.0625,
                0.5,
                -7,
                -115.625},
               {"Q5_1",
                HYV_Q5_1,
                {0x00, 0x2C, 0x00, 0x28, 0x8A, 0x36, 0xD7, 0x84},
                0.65625,
                1.15625,
                1.40625,
                1.59375,
                28.0625,
                446.25},
               {"Q8_0",
                HYV_Q8_0,
                {0x00, 0x2C, 0xD9, 0x92, 0xFD, 0x74, 0xD1, 0xF0},
                -2.4375,
                -6.875,
                -4.9375,
                3.625,
                -35.4375,
                -285.875},
               {"Q2_K",
                HYV_Q2_K,
                {0xB3, 0x84, 0x11, 0xDF, 0xF2, 0x86, 0xE2, 0x45},
                -0.34375,
                0.03125,
                -0.375,
                0.375,
                87.3125,
                14029.4375},
               {"Q3_K",
                HYV_Q3_K,
                {0xF9, 0xE0, 0xCD, 0xFF, 0xB7, 0xDC, 0xC2, 0xF8},
                -3.375,
                3.375,
                -1.625,
                2.375,
                69.8125,
                6458.0625},
               {"Q4_K",
                HYV_Q4_K,
                {0x00, 0x2C, 0x00, 0x28, 0x38, 0xD1, 0xE8, 0x6B},
                29.9375,
                47.4375,
                3.71875,
                -0.375,
                4077,
                525573.25},
               {"Q5_K",
                HYV_Q5_K,
                {0x00, 0x2C, 0x00, 0x28, 0x7E, 0xAA, 0x00, 0x89},
                33.625,
                29.75,
                12.75,
                72.3125,
                6096.0625,
                660399.625},
               {"Q6_K",
                HYV_Q6_K,
                {0x62, 0x2E, 0x60, 0x8C, 0x41, 0x61, 0x1F, 0x40},
                155.625,
                -155.625,
                -31.5,
                46.6875,
                2281.4375,
                299237.5625},
               {"IQ4_NL",
                HYV_IQ4_NL,
                {0x00, 0x2C, 0x9D, 0x70, 0xFB, 0xFE, 0x2F, 0xC1},
                4.3125,
                -7.9375,
                0.8125,
                7.0625,
                28.875,
                421.25},
               {"IQ4_XS",
                HYV_IQ4_XS,
                {0x00, 0x2C, 0xC0, 0x13, 0xFA, 0xFA, 0xDD, 0xFF},
                30.25,
                89.375,
                -63.4375,
                -1.0625,
                2240.0625,
                198375.75}};

/* Byte i: the upper eight bits of a hash of i, seeded with the name. */
static void name_block(uint8_t *block, size_t bytes, const char *name)
{
    uint32_t seed = 2166136261u;
    for (const char *p = name; *p; p++)
        seed = (seed ^ (unsigned char)*p) * 16777619u;
    for (uint32_t i = 0; i < bytes; i++) {
        uint32_t x = seed + i * 0x9E3779B1u;
        x = (x ^ x >> 16) * 0x7FEB352Du;
        x = (x ^ x >> 15) * 0x846CA68Bu;
        block[i] = (uint8_t)((x ^ x >> 16) >> 24);
    }
}

static void test_vectors(void)
{
    for (size_t v = 0; v < sizeof(vectors) / sizeof(vectors[0]); v++) {
        const hyv_type type = vectors[v].type;
        const int64_t n = hyv_type_block(type);
        uint8_t block[210];
        float y[HYV_BLOCK_MAX];
        double sum = 0.0, weighted = 0.0;
        name_block(block, hyv_type_bytes(type), vectors[v].name);
        for (int i = 0; i < BLOCK_TYPES; i++)
            if (blocks[i].type == type) {
                block_put_half(block, blocks[i].scale, 0.0625f);
                block_put_half(block, blocks[i].minimum, 0.03125f);
            }
        CHECK_MSG(memcmp(block, vectors[v].bytes, 8) == 0, "%s: not that block", vectors[v].name);
        hyv_quant_decode(y, block, type, n);
        for (int64_t i = 0; i < n; i++) {
            sum += (double)y[i];
            weighted += (double)(i + 1) * (double)y[i];
        }
        CHECK_MSG((double)y[0] == vectors[v].y0 && (double)y[1] == vectors[v].y1 &&
                      (double)y[n / 2] == vectors[v].middle && (double)y[n - 1] == vectors[v].last,
                  "%s: %g %g %g %g", vectors[v].name, (double)y[0], (double)y[1], (double)y[n / 2],
                  (double)y[n - 1]);
        CHECK_MSG(sum == vectors[v].sum && weighted == vectors[v].weighted, "%s: sums %.9g, %.9g",
                  vectors[v].name, sum, weighted);
    }
}

/* Six blocks of each type, with zero, negative and tiny scales. */
static void test_golden(void)
{
    hyv_checkpoint *g = golden_file("names/gguf_blocks.safetensors");
    int found = 0;
    for (int t = 0; g && t < BLOCK_TYPES; t++) {
        const char *type = hyv_type_name(blocks[t].type);
        char name[32];
        int64_t bytes = 0, count = 0;
        snprintf(name, sizeof(name), "%s.bytes", type);
        if (!hyv_checkpoint_find(g, name))
            continue;
        const uint8_t *in = golden_bytes(g, name, &bytes);
        snprintf(name, sizeof(name), "%s.values", type);
        const float *want = golden_floats(g, name, &count);
        float *got = malloc((size_t)count * sizeof(*got) + 1);
        CHECK_MSG(hyv_type_size(blocks[t].type, count) == (size_t)bytes, "%s: size", type);
        hyv_quant_decode(got, in, blocks[t].type, count);
        int bad = 0;
        for (int64_t i = 0; want && i < count; i++)
            bad += got[i] != want[i];
        CHECK_MSG(bad == 0, "%s: %d of %lld values differ", type, bad, (long long)count);
        free(got);
        found++;
    }
    CHECK_MSG(found >= 10, "only %d types in the golden data", found);
    hyv_checkpoint_close(&g);
}

/* ---- instruction sets, ranges ---- */

/* Whole bytes of every kind from an odd address, also scales that are infinite or no number. */
static void test_sets(const rig *r, check_random *random)
{
    enum { BLOCKS = 40 };
    float *want = malloc(BLOCKS * HYV_BLOCK_MAX * sizeof(float));
    float *got = malloc(BLOCKS * HYV_BLOCK_MAX * sizeof(float));
    for (int t = 0; t < BLOCK_TYPES; t++) {
        const hyv_type type = blocks[t].type;
        const size_t bytes = hyv_type_bytes(type);
        const int64_t n = BLOCKS * hyv_type_block(type);
        uint8_t *in = malloc(BLOCKS * bytes + 1);
        blocks_fill(in + 1, t, BLOCKS, random);
        block_put_half(in + 1 + 3 * bytes, blocks[t].scale, INFINITY);
        block_put_half(in + 1 + 5 * bytes, blocks[t].scale, NAN);
        block_put_half(in + 1 + 7 * bytes, blocks[t].scale, 1e-7f);
        block_put_half(in + 1 + 9 * bytes, blocks[t].scale, 65504.0f);
        block_put_half(in + 1 + 9 * bytes, blocks[t].minimum, -65504.0f);
        hyv_quant_decode(want, in + 1, type, n);
        for (int b = 0; b < r->count; b++) {
            int bad = 0;
            memset(got, 0xff, (size_t)n * sizeof(*got));
            ((const hyv_cpu *)r->be[b]->impl)->gemm->decode(got, in + 1, type, n);
            for (int64_t i = 0; i < n; i++)
                bad += isnan(want[i]) ? !isnan(got[i]) : memcmp(got + i, want + i, 4) != 0;
            CHECK_MSG(bad == 0, "%s, %s: %d of %d differ", hyv_type_name(type), r->name[b], bad,
                      (int)n);
        }
        free(in);
    }
    free(want);
    free(got);
}

static void test_ranges(check_random *random)
{
    enum { BLOCKS = 4 };
    static float want[BLOCKS * HYV_BLOCK_MAX], got[BLOCKS * HYV_BLOCK_MAX + 1];
    for (int t = 0; t < BLOCK_TYPES; t++) {
        const hyv_type type = blocks[t].type;
        const int64_t n = BLOCKS * hyv_type_block(type);
        uint8_t in[BLOCKS * 210];
        int bad = 0;
        blocks_fill(in, t, BLOCKS, random);
        hyv_quant_decode(want, in, type, n);
        for (int i = 0; i < 200; i++) {
            const int64_t first = check_random_int(random, 0, n);
            const int64_t count = check_random_int(random, 0, n - first);
            got[count] = 7.0f;
            hyv_decode(got, in, type, first, count);
            bad += memcmp(got, want + first, (size_t)count * 4) != 0 || got[count] != 7.0f;
        }
        CHECK_MSG(bad == 0, "%s: %d of 200 ranges differ", hyv_type_name(type), bad);
    }
    const uint8_t bf16[8] = {0, 0, 0x80, 0x3f, 0, 0x40, 0x40, 0xc0};
    hyv_decode(got, bf16, HYV_BF16, 1, 3);
    CHECK(got[0] == 1.0f && got[1] == 2.0f && got[2] == -3.0f);
}

int main(void)
{
    check_random random = {83};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    test_vectors();
    test_golden();
    test_sets(&r, &random);
    test_ranges(&random);
    rig_close(&r);
    return check_done();
}
