/* The decoders of GGUF's block types, compiled once for each instruction set: included by quant.c
 * and by kernels/cpu/quant_*.c, which then offer decode_blocks under a name of their own.
 *
 * A function a layout (ggml's; see quant.h): first the small integers of a part as bytes, then
 * scales. Inner loops are 16 or 32 equal steps, which compilers turn into vectors. `b` is the
 * block's first byte, y is where its elements go.
 */
#include "half.h"

/* ---- steps: an instruction set may define QUANT_STEPS and bring its own ---- */

#ifndef QUANT_STEPS

static inline float half_at(const uint8_t *p)
{
    return hyv_f16_to_f32((uint16_t)(p[0] | p[1] << 8));
}

static inline void scale(float *restrict y, const int8_t *restrict q, int n, float d)
{
    for (int j = 0; j < n; j++)
        y[j] = d * (float)q[j];
}

static inline void scale_add(float *restrict y, const int8_t *restrict q, int n, float d, float m)
{
    for (int j = 0; j < n; j++)
        y[j] = d * (float)q[j] + m;
}

/* The lower halves of n bytes, 16 or more, then the upper ones. */
static inline void nibbles(int8_t *restrict q, const uint8_t *restrict b, int n)
{
    for (int j = 0; j < n; j++) {
        q[j] = (int8_t)(b[j] & 15);
        q[j + n] = (int8_t)(b[j] >> 4);
    }
}

/* The bits of `mask`, at `from` in 32 bytes, to `to` in 32 integers, where zeros are. */
static inline void or_bits(int8_t *restrict q, const uint8_t *restrict b, int from, int mask,
                           int to)
{
    for (int j = 0; j < 32; j++)
        q[j] = (int8_t)(q[j] | (b[j] >> from & mask) << to);
}

/* A fifth bit for 32 integers from the bits of four bytes. */
static inline void fifth_bits(int8_t *restrict q, const uint8_t *restrict h)
{
    const uint32_t bits = h[0] | (uint32_t)h[1] << 8 | (uint32_t)h[2] << 16 | (uint32_t)h[3] << 24;
    for (int j = 0; j < 32; j++)
        q[j] = (int8_t)(q[j] | (bits >> j & 1) << 4);
}

/* values[] of the lower halves of 16 bytes, then of the upper ones. */
static inline void look_up(int8_t *restrict q, const uint8_t *restrict b, const int8_t values[16])
{
    for (int j = 0; j < 16; j++) {
        q[j] = values[b[j] & 15];
        q[j + 16] = values[b[j] >> 4];
    }
}

#endif

static inline void subtract(int8_t *q, int n, int offset)
{
    for (int j = 0; j < n; j++)
        q[j] = (int8_t)(q[j] - offset);
}

/* ---- blocks of 32 ---- */

static inline void decode_q4_0(float *restrict y, const uint8_t *restrict b)
{
    int8_t q[32];
    nibbles(q, b + 2, 16);
    subtract(q, 32, 8);
    scale(y, q, 32, half_at(b));
}

static inline void decode_q4_1(float *restrict y, const uint8_t *restrict b)
{
    int8_t q[32];
    nibbles(q, b + 4, 16);
    scale_add(y, q, 32, half_at(b), half_at(b + 2));
}

static inline void decode_q5_0(float *restrict y, const uint8_t *restrict b)
{
    int8_t q[32];
    nibbles(q, b + 6, 16);
    fifth_bits(q, b + 2);
    subtract(q, 32, 16);
    scale(y, q, 32, half_at(b));
}

static inline void decode_q5_1(float *restrict y, const uint8_t *restrict b)
{
    int8_t q[32];
    nibbles(q, b + 8, 16);
    fifth_bits(q, b + 4);
    scale_add(y, q, 32, half_at(b), half_at(b + 2));
}

static inline void decode_q8_0(float *restrict y, const uint8_t *restrict b)
{
    int8_t q[32];
    memcpy(q, b + 2, sizeof(q));
    scale(y, q, 32, half_at(b));
}

/* Four bits choose among 16 values that are denser around zero. */
static inline void uneven(int8_t *restrict q, const uint8_t *restrict b)
{
    static const int8_t values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};
    look_up(q, b, values);
}

static inline void decode_iq4_nl(float *restrict y, const uint8_t *restrict b)
{
    int8_t q[32];
    uneven(q, b + 2);
    scale(y, q, 32, half_at(b));
}

/* ---- blocks of 256 ---- */

/* Row `row` of 8: 32 integers of two bits, at the same place in each of 32 bytes. */
static inline void two_bits(int8_t *restrict q, const uint8_t *restrict b, int row)
{
    memset(q, 0, 32);
    or_bits(q, b + row / 4 * 32, row % 4 * 2, 3, 0);
}

/* Scales of four bits, minima of four, for 16 parts; the integers have two bits. */
static inline void decode_q2_k(float *restrict y, const uint8_t *restrict b)
{
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int row = 0; row < 8; row++) {
        int8_t q[32];
        two_bits(q, b + 16, row);
        for (int part = 2 * row; part < 2 * row + 2; part++)
            scale_add(y + 16 * part, q + part % 2 * 16, 16, d * (float)(b[part] & 15),
                      -(dmin * (float)(b[part] >> 4)));
    }
}

/* Scales of six bits for 16 parts; the integers have two bits here and a third in the mask, which
 * is set where 4 is not to be subtracted. */
static inline void decode_q3_k(float *restrict y, const uint8_t *restrict b)
{
    const uint8_t *scales = b + 96;
    const float d = half_at(b + 108);
    for (int row = 0; row < 8; row++) {
        int8_t q[32];
        two_bits(q, b + 32, row);
        or_bits(q, b, row, 1, 2);
        subtract(q, 32, 4);
        for (int part = 2 * row; part < 2 * row + 2; part++) {
            const int low = part < 8 ? scales[part] & 15 : scales[part - 8] >> 4;
            const int high = scales[8 + part % 4] >> part / 4 * 2 & 3;
            scale(y + 16 * part, q + part % 2 * 16, 16, d * (float)((low | high << 4) - 32));
        }
    }
}

/* The six bits of scale i and of minimum i, of eight each in twelve bytes. */
static inline void scale_and_minimum(const uint8_t *s, int i, int *sc, int *m)
{
    *sc = i < 4 ? s[i] & 63 : (s[i + 4] & 15) | s[i - 4] >> 6 << 4;
    *m = i < 4 ? s[i + 4] & 63 : s[i + 4] >> 4 | s[i] >> 6 << 4;
}

/* Eight parts with scale and minimum: part i of q to its place. */
static inline void scale_part(float *restrict y, const int8_t *restrict q, const uint8_t *b, int i)
{
    int sc, m;
    scale_and_minimum(b + 4, i, &sc, &m);
    scale_add(y + 32 * i, q, 32, half_at(b) * (float)sc, -(half_at(b + 2) * (float)m));
}

static inline void decode_q4_k(float *restrict y, const uint8_t *restrict b)
{
    for (int g = 0; g < 4; g++) {
        int8_t q[64];
        nibbles(q, b + 16 + 32 * g, 32);
        scale_part(y, q, b, 2 * g);
        scale_part(y, q + 32, b, 2 * g + 1);
    }
}

static inline void decode_q5_k(float *restrict y, const uint8_t *restrict b)
{
    for (int g = 0; g < 4; g++) {
        int8_t q[64];
        nibbles(q, b + 48 + 32 * g, 32);
        or_bits(q, b + 16, 2 * g, 1, 4);
        or_bits(q + 32, b + 16, 2 * g + 1, 1, 4);
        scale_part(y, q, b, 2 * g);
        scale_part(y, q + 32, b, 2 * g + 1);
    }
}

/* 16 parts of 16 with signed scales; four bits of an integer at ql, two at qh. */
static inline void decode_q6_k(float *restrict y, const uint8_t *restrict b)
{
    const float d = half_at(b + 208);
    for (int half = 0; half < 2; half++, y += 128) {
        int8_t q[128];
        nibbles(q, b + 64 * half, 64);
        for (int row = 0; row < 4; row++)
            or_bits(q + 32 * row, b + 128 + 32 * half, 2 * row, 3, 4);
        subtract(q, 128, 32);
        for (int part = 0; part < 8; part++)
            scale(y + 16 * part, q + 16 * part, 16, d * (float)(int8_t)b[192 + 8 * half + part]);
    }
}

static inline void decode_iq4_xs(float *restrict y, const uint8_t *restrict b)
{
    const float d = half_at(b);
    const int high = b[2] | b[3] << 8;
    for (int part = 0; part < 8; part++) {
        const int low = b[4 + part / 2] >> part % 2 * 4 & 15;
        int8_t q[32];
        uneven(q, b + 8 + 16 * part);
        scale(y + 32 * part, q, 32, d * (float)((low | (high >> 2 * part & 3) << 4) - 32));
    }
}

#define BLOCKS(type, decoder)                                     \
    case type:                                                    \
        for (int64_t i = 0; i < count; i += hyv_type_block(type)) \
            decoder(out + i, in + hyv_type_step(type, i));        \
        break

static inline void decode_blocks(float *restrict out, const uint8_t *restrict in, hyv_type type,
                                 int64_t count)
{
    switch (type) {
        BLOCKS(HYV_Q4_0, decode_q4_0);
        BLOCKS(HYV_Q4_1, decode_q4_1);
        BLOCKS(HYV_Q5_0, decode_q5_0);
        BLOCKS(HYV_Q5_1, decode_q5_1);
        BLOCKS(HYV_Q8_0, decode_q8_0);
        BLOCKS(HYV_IQ4_NL, decode_iq4_nl);
        BLOCKS(HYV_Q2_K, decode_q2_k);
        BLOCKS(HYV_Q3_K, decode_q3_k);
        BLOCKS(HYV_Q4_K, decode_q4_k);
        BLOCKS(HYV_Q5_K, decode_q5_k);
        BLOCKS(HYV_Q6_K, decode_q6_k);
        BLOCKS(HYV_IQ4_XS, decode_iq4_xs);
    default:
        break;
    }
}

#undef BLOCKS
