/* exp, exp2, tanh, erf and sigmoid: one definition in fmaf, division and square root.
 *
 * Plain C without branches, so that a compiler vectorises loops over it; an element's value is the
 * same whatever the vector width. exp reduces x = n ln 2 + r (Cody and Waite 1980); all polynomials
 * are minimax fits made for this file (relative error of the fits below 5e-9). NaN stays NaN,
 * infinities give their limits.
 */
#ifndef HYV_CPU_VMATH_H
#define HYV_CPU_VMATH_H

#include <math.h>

#include "../half.h"

/* 1.5 * 2^23: adding it rounds to the nearest integer, which then stands in the low bits. */
#define HYV_ROUNDER      12582912.0f
#define HYV_ROUNDER_BITS 0x4b400000

/* p 2^k, where t is k plus the rounder: by two factors, so that neither overflows and a subnormal
 * result is rounded once. */
static inline float hyv_times_power(float p, float t)
{
    const int32_t k = (int32_t)hyv_f32_to_bits(t) - HYV_ROUNDER_BITS, half = k >> 1;
    const float a = hyv_bits_to_f32((uint32_t)(half + 127) << 23);
    const float b = hyv_bits_to_f32((uint32_t)(k - half + 127) << 23);
    return p * a * b;
}

/* Within a unit in the last place; 0 below -103.97, infinity above 88.72. */
static inline float hyv_expf(float x)
{
    x = -104.0f > x ? -104.0f : x; /* in this order: NaN passes */
    x = 89.0f < x ? 89.0f : x;
    const float t = fmaf(x, 1.44269504f, HYV_ROUNDER);
    const float n = t - HYV_ROUNDER;
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9918532e-4f;
    p = fmaf(p, r, 1.3946204e-3f);
    p = fmaf(p, r, 8.3332639e-3f);
    p = fmaf(p, r, 4.16662693e-2f);
    p = fmaf(p, r, 1.66666672e-1f);
    p = fmaf(p, r, 0.5f);
    p = fmaf(p, r * r, r) + 1.0f;
    return hyv_times_power(p, t);
}

/* 2^x within a unit in the last place; 0 from -150 down, infinity from 128 up. */
static inline float hyv_exp2f(float x)
{
    x = -150.0f > x ? -150.0f : x; /* in this order: NaN passes */
    x = 129.0f < x ? 129.0f : x;
    const float t = x + HYV_ROUNDER, r = x - (t - HYV_ROUNDER);
    float p = 1.532647e-4f;
    p = fmaf(p, r, 1.3390807e-3f);
    p = fmaf(p, r, 9.618506e-3f);
    p = fmaf(p, r, 5.55036e-2f);
    p = fmaf(p, r, 0.24022648f);
    p = fmaf(p, r, 0.6931472f);
    p = fmaf(p, r, 1.0f);
    return hyv_times_power(p, t);
}

static inline float hyv_with_sign(float magnitude, float sign)
{
    return hyv_bits_to_f32((hyv_f32_to_bits(magnitude) & 0x7fffffffu) |
                           (hyv_f32_to_bits(sign) & 0x80000000u));
}

/* By bits, so that compilers compute both sides and vectorise instead of branching. */
static inline float hyv_select(int first, float a, float b)
{
    const uint32_t mask = 0u - (uint32_t)(first != 0);
    return hyv_bits_to_f32((hyv_f32_to_bits(a) & mask) | (hyv_f32_to_bits(b) & ~mask));
}

static inline float hyv_tanhf(float x)
{
    const float a = fabsf(x), u = a * a;
    float p = -5.90586569e-3f;
    p = fmaf(p, u, 2.08053831e-2f);
    p = fmaf(p, u, -5.37866838e-2f);
    p = fmaf(p, u, 1.33319587e-1f);
    p = fmaf(p, u, -3.33332986e-1f);
    const float small = fmaf(a * u, p, a);
    const float large = 1.0f - 2.0f / (hyv_expf(2.0f * a) + 1.0f);
    return hyv_with_sign(hyv_select(a < 0.6f, small, large), x);
}

static inline float hyv_erff(float x)
{
    const float a = fabsf(x), u = a * a;
    float p = 7.85386001e-5f;
    p = fmaf(p, u, -8.01019312e-4f);
    p = fmaf(p, u, 5.18832775e-3f);
    p = fmaf(p, u, -2.6853811e-2f);
    p = fmaf(p, u, 1.12835854e-1f);
    p = fmaf(p, u, -3.7612626e-1f);
    p = fmaf(p, u, 1.12837911f);
    /* erfc(c) exp(c^2) in t = 1 / (1 + c/2); beyond 4 erf rounds to 1. */
    const float c = hyv_select(4.0f < a, 4.0f, a), t = 1.0f / fmaf(0.5f, c, 1.0f);
    float q = 1.71166379e-2f;
    q = fmaf(q, t, 5.1884871e-2f);
    q = fmaf(q, t, -3.55903894e-1f);
    q = fmaf(q, t, 4.51688647e-1f);
    q = fmaf(q, t, -3.6732953e-2f);
    q = fmaf(q, t, 3.22379589e-1f);
    q = fmaf(q, t, 2.65673906e-1f);
    q = fmaf(q, t, 2.84114152e-1f);
    q = fmaf(q, t, -1.0799952e-4f);
    const float large = fmaf(-hyv_expf(-c * c), q, 1.0f);
    return hyv_with_sign(hyv_select(a < 1.0f, a * p, large), x);
}

/* x / (1 + exp(-scale x)): SiLU for scale 1, quick GELU for 1.702. */
static inline float hyv_swishf(float x, float scale)
{
    return x / (1.0f + hyv_expf(-(scale * x)));
}

/* 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static inline float hyv_gelu_tanhf(float x)
{
    const float inner = 0.797884583f * fmaf(0.044715f * x * x, x, x);
    return 0.5f * x * (1.0f + hyv_tanhf(inner));
}

/* 0.5 x (1 + erf(x / sqrt(2))) */
static inline float hyv_gelu_erff(float x)
{
    return 0.5f * x * (1.0f + hyv_erff(0.707106769f * x));
}

#endif
