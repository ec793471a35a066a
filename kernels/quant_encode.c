/* Encoders for three block types, in plain C.
 *
 * Scales are chosen by least squares, as is common for such formats, and everything is rounded in
 * one order of operations with no library functions, so that results are the same everywhere. Knows
 * no backend and no file format.
 */
#include "quant.h"

#include "quant_decode.h"

enum {
    LEVELS_Q8 = 127,
    HALF_Q6 = 32,    /* -32 to 31 */
    LEVELS_Q4 = 15,  /* 0 to 15 */
    SCALES_Q4 = 63,  /* small scales and minima of Q4_K, */
    SCALES_Q6 = 127, /* and of Q6_K */
    PARTS_Q6 = 16,   /* of 16 elements */
    PARTS_Q4 = 8,    /* of 32 elements */
    STRETCHES = 8    /* scales that are tried around the first guess */
};

/* Rounded to the nearest integer, halves to even, and put into [low, high]: the sum's last bit is
 * worth 1. */
static inline int nearest(float x, int low, int high)
{
    const float inside = x < (float)low ? (float)low : x > (float)high ? (float)high : x;
    return (int)(hyv_f32_to_bits(inside + 0x1.8p23f) & 0x7fffffu) - 0x400000;
}

static void put_half_bits(uint8_t *p, uint16_t half)
{
    p[0] = (uint8_t)half;
    p[1] = (uint8_t)(half >> 8);
}

static void put_half(uint8_t *p, float f)
{
    put_half_bits(p, hyv_f32_to_f16(f));
}

static uint16_t half_bits(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static float inverse(float f)
{
    return f != 0.0f ? 1.0f / f : 0.0f;
}

static float magnitude(float f)
{
    return f < 0.0f ? -f : f;
}

static void encode_q8_0(uint8_t *b, const float *x)
{
    float most = 0.0f;
    for (int j = 0; j < 32; j++)
        most = magnitude(x[j]) > most ? magnitude(x[j]) : most;
    put_half(b, most / LEVELS_Q8);
    /* A scale so small that f16 has few bits of it is rounded up, not to where values are cut. */
    if (most > half_at(b) * (LEVELS_Q8 + 0.5f))
        put_half_bits(b, (uint16_t)(half_bits(b) + 1));
    const float id = inverse(half_at(b));
    for (int j = 0; j < 32; j++)
        b[2 + j] = (uint8_t)nearest(x[j] * id, -LEVELS_Q8, LEVELS_Q8);
}

/* The scale s for which s * q, q in [-32, 31], is nearest to 16 values: for each of a few guesses
 * the integers, for those the best scale. A scale is better if it leaves less, and what is left is
 * |x|^2 - (x.q)^2 / |q|^2. */
static float fit_scale(const float *x)
{
    float extreme = 0.0f, best = 0.0f, gain = 0.0f;
    for (int j = 0; j < 16; j++)
        extreme = magnitude(x[j]) > magnitude(extreme) ? x[j] : extreme;
    for (int k = -STRETCHES / 2; k <= STRETCHES / 2; k++) {
        const float guess = ((float)k * 0.2f - (float)HALF_Q6) * inverse(extreme);
        float xq = 0.0f, qq = 0.0f;
        for (int j = 0; j < 16; j++) {
            const float q = (float)nearest(x[j] * guess, -HALF_Q6, HALF_Q6 - 1);
            xq += x[j] * q;
            qq += q * q;
        }
        if (qq > 0.0f && xq * xq > gain * qq) {
            gain = xq * xq / qq;
            best = xq / qq;
        }
    }
    return best;
}

static void encode_q6_k(uint8_t *b, const float *x)
{
    float scales[PARTS_Q6], extreme = 0.0f;
    int8_t q[HYV_BLOCK_MAX];
    for (int part = 0; part < PARTS_Q6; part++) {
        scales[part] = fit_scale(x + 16 * part);
        extreme = magnitude(scales[part]) > magnitude(extreme) ? scales[part] : extreme;
    }
    put_half(b + 208, extreme / SCALES_Q6);
    const float d = half_at(b + 208), id = inverse(d);
    for (int part = 0; part < PARTS_Q6; part++) {
        const int scaled = nearest(scales[part] * id, -SCALES_Q6 - 1, SCALES_Q6);
        const float step = inverse(d * (float)scaled);
        b[192 + part] = (uint8_t)scaled;
        for (int j = 16 * part; j < 16 * part + 16; j++)
            q[j] = (int8_t)(nearest(x[j] * step, -HALF_Q6, HALF_Q6 - 1) + HALF_Q6);
    }
    for (int half = 0; half < 2; half++)
        for (int j = 0; j < 32; j++) {
            const int8_t *v = q + 128 * half + j; /* four elements, 32 apart, share a byte of qh */
            b[64 * half + j] = (uint8_t)((v[0] & 15) | (v[64] & 15) << 4);
            b[64 * half + 32 + j] = (uint8_t)((v[32] & 15) | (v[96] & 15) << 4);
            b[128 + 32 * half + j] =
                (uint8_t)(v[0] >> 4 | v[32] >> 4 << 2 | v[64] >> 4 << 4 | v[96] >> 4 << 6);
        }
}

typedef struct line {
    float scale, minimum; /* value = scale * q - minimum */
} line;

/* What is left of 32 values that are drawn to a line. */
static float left_over(const float *x, line l)
{
    const float id = inverse(l.scale);
    float sum = 0.0f;
    for (int j = 0; j < 32; j++) {
        const float q = (float)nearest((x[j] + l.minimum) * id, 0, LEVELS_Q4);
        const float e = x[j] - (l.scale * q - l.minimum);
        sum += e * e;
    }
    return sum;
}

/* Scale and minimum, both >= 0, for 32 values: for each of a few first lines the integers, for
 * those the line of least squares. */
static line fit_line(const float *x)
{
    float low = 0.0f, high = x[0];
    for (int j = 0; j < 32; j++) {
        low = x[j] < low ? x[j] : low;
        high = x[j] > high ? x[j] : high;
    }
    if (!(high > low))
        return (line){0.0f, -low};
    line best = {(high - low) / LEVELS_Q4, -low};
    float least = left_over(x, best);
    for (int k = 0; k <= STRETCHES; k++) {
        const float guess = ((float)LEVELS_Q4 - 1.0f + (float)k * 0.2f) / (high - low);
        float q1 = 0.0f, q2 = 0.0f, x1 = 0.0f, xq = 0.0f;
        for (int j = 0; j < 32; j++) {
            const float q = (float)nearest((x[j] - low) * guess, 0, LEVELS_Q4);
            q1 += q;
            q2 += q * q;
            x1 += x[j];
            xq += x[j] * q;
        }
        const float determinant = 32.0f * q2 - q1 * q1;
        if (!(determinant > 0.0f))
            continue;
        line l = {(32.0f * xq - q1 * x1) / determinant, (q1 * xq - q2 * x1) / determinant};
        if (l.minimum < 0.0f) /* cannot be stored: the best line through 0 */
            l = (line){xq * inverse(q2), 0.0f};
        const float left = left_over(x, l);
        if (l.scale > 0.0f && left < least) {
            least = left;
            best = l;
        }
    }
    return best;
}

/* Six bits each of eight scales and minima into twelve bytes. */
static void put_scales(uint8_t *s, const uint8_t *sc, const uint8_t *m)
{
    for (int i = 0; i < 4; i++) {
        s[i] = (uint8_t)(sc[i] | sc[i + 4] >> 4 << 6);
        s[i + 4] = (uint8_t)(m[i] | m[i + 4] >> 4 << 6);
        s[i + 8] = (uint8_t)((sc[i + 4] & 15) | (m[i + 4] & 15) << 4);
    }
}

/* The small scale and minimum that leave least, of the given ones, which are nearest to the line,
 * and those with one of the two a step away: they need not be nearest to the values. */
static void settle_line(const float *x, float d, float dmin, uint8_t *sc, uint8_t *m)
{
    const int sc0 = *sc, m0 = *m;
    float least = left_over(x, (line){d * (float)sc0, dmin * (float)m0});
    for (int s = sc0 - 1; s <= sc0 + 1; s++)
        for (int k = m0 - 1; k <= m0 + 1; k++) {
            if ((s != sc0) == (k != m0) || s < 0 || s > SCALES_Q4 || k < 0 || k > SCALES_Q4)
                continue;
            const line l = {d * (float)s, dmin * (float)k};
            const float left = left_over(x, l);
            if (left < least) {
                least = left;
                *sc = (uint8_t)s;
                *m = (uint8_t)k;
            }
        }
}

static void encode_q4_k(uint8_t *b, const float *x)
{
    line lines[PARTS_Q4];
    float scale_most = 0.0f, minimum_most = 0.0f;
    uint8_t sc[PARTS_Q4], m[PARTS_Q4], q[HYV_BLOCK_MAX] = {0};
    for (int i = 0; i < PARTS_Q4; i++) {
        lines[i] = fit_line(x + 32 * i);
        scale_most = lines[i].scale > scale_most ? lines[i].scale : scale_most;
        minimum_most = lines[i].minimum > minimum_most ? lines[i].minimum : minimum_most;
    }
    put_half(b, scale_most / SCALES_Q4);
    put_half(b + 2, minimum_most / SCALES_Q4);
    const float d = half_at(b), dmin = half_at(b + 2), id = inverse(d), imin = inverse(dmin);
    for (int i = 0; i < PARTS_Q4; i++) {
        sc[i] = (uint8_t)nearest(lines[i].scale * id, 0, SCALES_Q4);
        m[i] = (uint8_t)nearest(lines[i].minimum * imin, 0, SCALES_Q4);
        settle_line(x + 32 * i, d, dmin, &sc[i], &m[i]);
        const float step = inverse(d * (float)sc[i]), minimum = dmin * (float)m[i];
        for (int j = 32 * i; j < 32 * i + 32; j++)
            q[j] = (uint8_t)nearest((x[j] + minimum) * step, 0, LEVELS_Q4);
    }
    put_scales(b + 4, sc, m);
    for (int g = 0; g < 4; g++)
        for (int j = 0; j < 32; j++)
            b[16 + 32 * g + j] = (uint8_t)(q[64 * g + j] | q[64 * g + 32 + j] << 4);
}

bool hyv_quant_encodes(hyv_type type)
{
    return type == HYV_Q8_0 || type == HYV_Q4_K || type == HYV_Q6_K;
}

void hyv_quant_encode(void *out, const float *in, hyv_type type, int64_t count)
{
    uint8_t *b = out;
    for (int64_t i = 0; i < count; i += hyv_type_block(type)) {
        uint8_t *to = b + hyv_type_step(type, i);
        if (type == HYV_Q8_0)
            encode_q8_0(to, in + i);
        else if (type == HYV_Q4_K)
            encode_q4_k(to, in + i);
        else if (type == HYV_Q6_K)
            encode_q6_k(to, in + i);
    }
}
