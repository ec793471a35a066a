/* The one definition of the functions of gemm_int8.h's rows; included by gemm_int8.c,
 * gemm_int8_avx2.c and gemm_int8_avx512vnni.c, which choose the flags. Loops are plain and
 * independent an element, so that compilers vectorise them.
 *
 * Quantised values go to integers of INT8_STORED: bytes, or words where products are of words;
 * without it the includer has a function of its own for them.
 */
#include <math.h>
#include <string.h>

#include "gemm.h"

/* As the bits of floats are ordered: infinite and not-a-number are the largest. */
static float largest(const float *in, int64_t n)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, in + i, sizeof(bits));
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    float f;
    memcpy(&f, &most, sizeof(f));
    return f;
}

/* The same of bf16, at any address. */
static float largest_bf16(const void *in, int64_t n)
{
    uint32_t most = 0;
    for (int64_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, (const char *)in + 2 * i, sizeof(half));
        const uint32_t bits = half & 0x7fff;
        most = bits > most ? bits : most;
    }
    most <<= 16;
    float f;
    memcpy(&f, &most, sizeof(f));
    return f;
}

#ifdef INT8_STORED
/* Adding 1.5 * 2^23 leaves no bits for a fraction: rounds to nearest, half to even. A NaN becomes
 * -127; the scale of its row is NaN too. */
static int32_t quantise(void *out, const float *in, int64_t n, float factor, int offset)
{
    INT8_STORED *to = out;
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const float v = in[i] * factor, above = v > -127.0f ? v : -127.0f;
        const float within = above < 127.0f ? above : 127.0f;
        const int32_t whole = (int32_t)((within + 0x1.8p23f) - 0x1.8p23f);
        to[i] = (INT8_STORED)(whole + offset);
        sum += whole;
    }
    return sum;
}
#endif

static void scale_sums(float *y, int64_t n, float row, const float *scale, const int32_t *less,
                       const float *bias)
{
    for (int64_t j = 0; j < n; j++) {
        int32_t sum;
        memcpy(&sum, y + j, sizeof(sum));
        const int32_t exact =
            (int32_t)((uint32_t)sum - (uint32_t)less[j]); /* both may have wrapped */
        y[j] = fmaf((float)exact, row * scale[j], bias ? bias[j] : 0.0f);
    }
}
