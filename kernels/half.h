/* 16 and 8 bit floats to and from f32, one at a time, exact; back by rounding to nearest even.
 *
 * bf16 is the upper half of an f32; f16 is IEEE binary16; f8 e4m3 is the "fn" kind (no infinities,
 * NaN = 0x7f and 0xff), e5m2 the upper half of an f16. Plain integer arithmetic: the same on every
 * processor.
 */
#ifndef HYV_KERNELS_HALF_H
#define HYV_KERNELS_HALF_H

#include <stdint.h>
#include <string.h>

#include "types.h"

static inline float hyv_bits_to_f32(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t hyv_f32_to_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float hyv_bf16_to_f32(uint16_t h)
{
    return hyv_bits_to_f32((uint32_t)h << 16);
}

static inline uint16_t hyv_f32_to_bf16(float f)
{
    const uint32_t bits = hyv_f32_to_bits(f);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40); /* a quiet NaN stays one */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* The bf16 nearest to f, as f32; without branches, so that compilers vectorise loops over it. */
static inline float hyv_round_to_bf16(float f)
{
    const uint32_t bits = hyv_f32_to_bits(f);
    const uint32_t nan = 0u - (uint32_t)((bits & 0x7fffffffu) > 0x7f800000u);
    const uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1)) & 0xffff0000u;
    return hyv_bits_to_f32((rounded & ~nan) | (((bits & 0xffff0000u) | 0x400000u) & nan));
}

static inline float hyv_f16_to_f32(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16;
    const uint32_t exponent = h >> 10 & 31u, mantissa = h & 1023u;
    if (exponent == 31)
        return hyv_bits_to_f32(sign | 0x7f800000u | mantissa << 13);
    if (exponent == 0) { /* subnormal: mantissa times 2^-24, exact in f32 */
        const float f = (float)mantissa * 0x1p-24f;
        return sign ? -f : f;
    }
    return hyv_bits_to_f32(sign | (exponent + 112) << 23 | mantissa << 13);
}

static inline uint16_t hyv_f32_to_f16(float f)
{
    const uint32_t bits = hyv_f32_to_bits(f), sign = bits >> 16 & 0x8000u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) /* 65520 and above rounds to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) { /* below 2^-14: the sum's last bit is worth 2^-24 */
        const float sum = hyv_bits_to_f32(magnitude) + 0.5f;
        return (uint16_t)(sign | (hyv_f32_to_bits(sum) - 0x3f000000u));
    }
    return (uint16_t)(sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1) - 0x38000000u) >> 13));
}

static inline float hyv_f8_e4m3_to_f32(uint8_t b)
{
    const uint32_t sign = (uint32_t)(b & 0x80u) << 24, exponent = b >> 3 & 15u, mantissa = b & 7u;
    if ((b & 0x7fu) == 0x7fu)
        return hyv_bits_to_f32(sign | 0x7fc00000u);
    if (exponent == 0) {
        const float f = (float)mantissa * 0x1p-9f;
        return sign ? -f : f;
    }
    return hyv_bits_to_f32(sign | (exponent + 120) << 23 | mantissa << 20);
}

static inline float hyv_f8_e5m2_to_f32(uint8_t b)
{
    return hyv_f16_to_f32((uint16_t)(b << 8));
}

/* Saturates: beyond 448 there is only NaN. */
static inline uint8_t hyv_f32_to_f8_e4m3(float f)
{
    const uint32_t bits = hyv_f32_to_bits(f), sign = bits >> 24 & 0x80u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= 0x43e80000u) /* 464 and above would round past 448 */
        return (uint8_t)(sign | 0x7eu);
    if (magnitude < 0x3c800000u) { /* below 2^-6: steps of 2^-9 */
        const float sum = hyv_bits_to_f32(magnitude) + 0x1p14f;
        return (uint8_t)(sign | (hyv_f32_to_bits(sum) - 0x46800000u));
    }
    return (uint8_t)(sign | ((magnitude + 0x7ffffu + (magnitude >> 20 & 1) - 0x3c000000u) >> 20));
}

static inline uint8_t hyv_f32_to_f8_e5m2(float f)
{
    const uint32_t bits = hyv_f32_to_bits(f), sign = bits >> 24 & 0x80u;
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint8_t)(sign | 0x7fu);
    if (magnitude >= 0x47700000u) /* 61440 and above rounds to infinity */
        return (uint8_t)(sign | 0x7cu);
    if (magnitude < 0x38800000u) { /* below 2^-14: steps of 2^-16 */
        const float sum = hyv_bits_to_f32(magnitude) + 0x1p7f;
        return (uint8_t)(sign | (hyv_f32_to_bits(sum) - 0x43000000u));
    }
    return (uint8_t)(sign | ((magnitude + 0xfffffu + (magnitude >> 21 & 1) - 0x38000000u) >> 21));
}

/* Element i of a stretch of any float type; `data` may be unaligned. */
static inline float hyv_element(const void *data, hyv_type type, int64_t i)
{
    const uint8_t *p = data;
    uint16_t half;
    float f;
    switch (type) {
    case HYV_F32:
        memcpy(&f, p + 4 * i, sizeof(f));
        return f;
    case HYV_F16:
        memcpy(&half, p + 2 * i, sizeof(half));
        return hyv_f16_to_f32(half);
    case HYV_BF16:
        memcpy(&half, p + 2 * i, sizeof(half));
        return hyv_bf16_to_f32(half);
    case HYV_F8_E4M3:
        return hyv_f8_e4m3_to_f32(p[i]);
    default:
        return hyv_f8_e5m2_to_f32(p[i]);
    }
}

#endif
