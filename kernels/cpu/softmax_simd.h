/* softmax_columns (rows.h) with the bytes of the definition in rows_kernels.h, for AVX2 and
 * AVX-512; included by softmax_avx2.h and softmax_avx512.h, each of which first names its vector
 * and the few instructions used here.
 *
 * What compilers make of that definition waits for each comparison before the next, and for each
 * step of a power: here a few stand side by side, as a processor looks ahead not nearly as far as
 * one of them is long. Arguments are never above 0.
 */
#include <math.h>

#include "vmath.h"

enum { SOFTMAX_SUMS = 16, SOFTMAX_CHAINS = 8 };

#define DOWN 0x1p-64f

static inline vector down(float coefficient)
{
    return broadcast(coefficient * DOWN);
}

/* Unrolled, so that chains are registers. */
#define EACH_CHAIN _Pragma("GCC unroll 8") for (int i = 0; i < SOFTMAX_CHAINS; i++)

/* hyv_exp2f of x[SOFTMAX_CHAINS] <= 0, or NaN of NaN. Coefficients are multiplied by DOWN, so that
 * the one product with 2^n / DOWN, always a normal number, rounds as the definition's last one
 * does; the low bits of t are that number's exponent. */
static inline __attribute__((always_inline)) void exp2_of_negatives(vector *x)
{
    const vector rounder = broadcast(HYV_ROUNDER + (127 + 64));
    vector t[SOFTMAX_CHAINS], r[SOFTMAX_CHAINS], p[SOFTMAX_CHAINS];
    EACH_CHAIN x[i] = larger(broadcast(-150.0f), x[i]); /* with a NaN in either, x */
    EACH_CHAIN t[i] = add_up(x[i], rounder);
    EACH_CHAIN r[i] = subtract(x[i], subtract(t[i], rounder));
    EACH_CHAIN p[i] = multiply_add(down(1.532647e-4f), r[i], down(1.3390807e-3f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], down(9.618506e-3f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], down(5.55036e-2f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], down(0.24022648f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], down(0.6931472f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], down(1.0f));
    EACH_CHAIN x[i] = multiply(p[i], with_exponent(t[i]));
}

static inline vector exp2_of_negative(vector x)
{
    vector chains[SOFTMAX_CHAINS] = {x}; /* nobody asks for the others */
    exp2_of_negatives(chains);
    return chains[0];
}

/* The largest of some columns; a NaN is not. */
static inline vector largest_of_columns(const float *s, int64_t keys, int width)
{
    vector high[SOFTMAX_CHAINS];
    EACH_CHAIN high[i] = broadcast(-INFINITY);
    int64_t j = 0;
    for (; j + SOFTMAX_CHAINS <= keys; j += SOFTMAX_CHAINS)
        EACH_CHAIN high[i] = larger(load(s + (j + i) * width), high[i]);
    for (; j < keys; j++)
        high[0] = larger(load(s + j * width), high[0]);
    for (int i = 1; i < SOFTMAX_CHAINS; i++)
        high[0] = larger(high[i], high[0]);
    return high[0];
}

/* As many queries as a vector has lanes. */
static inline void softmax_vector(float *s, int64_t keys, int width, float factor, float *top,
                                  float *total, float *rescale)
{
    const vector times = broadcast(factor), before = load(top);
    const vector high = larger(multiply(largest_of_columns(s, keys, width), times), before);
    vector part[SOFTMAX_SUMS];
    for (int i = 0; i < SOFTMAX_SUMS; i++)
        part[i] = broadcast(0.0f);
    int64_t j = 0;
    for (; j + SOFTMAX_CHAINS <= keys; j += SOFTMAX_CHAINS) {
        float *score = s + j * width;
        vector *sum = part + j % SOFTMAX_SUMS, e[SOFTMAX_CHAINS];
        EACH_CHAIN e[i] = subtract(multiply(load(score + i * width), times), high);
        exp2_of_negatives(e);
        EACH_CHAIN put(score + i * width, e[i]);
        EACH_CHAIN sum[i] = add_up(sum[i], e[i]);
    }
    for (; j < keys; j++) {
        const vector e = exp2_of_negative(subtract(multiply(load(s + j * width), times), high));
        put(s + j * width, e);
        part[j % SOFTMAX_SUMS] = add_up(part[j % SOFTMAX_SUMS], e);
    }
    for (int half = SOFTMAX_SUMS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            part[i] = add_up(part[i], part[i + half]);
    const vector again = exp2_of_negative(subtract(before, high));
    put(rescale, again);
    put(total, multiply_add(load(total), again, part[0]));
    put(top, high);
}

static void softmax_columns(float *s, int64_t keys, int width, float factor, float *top,
                            float *total, float *rescale)
{
    for (int l = 0; l < width; l += SOFTMAX_LANES)
        softmax_vector(s + l, keys, width, factor, top + l, total + l, rescale + l);
}

#define ROWS_SOFTMAX_COLUMNS
