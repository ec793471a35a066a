/* softmax_columns (rows.h) with the bytes of the definition in rows_kernels.h, for AVX2 and
 * AVX-512; included by softmax_avx2.h and softmax_avx512.h, each of which first names its vector
 * and the few instructions used here.
 *
 * What compilers make of that definition waits for each comparison before the next, and for each
 * step of an exponential: here a few stand side by side, as a processor looks ahead not nearly as
 * far as one of them is long. Arguments are never above 0, and 2^n is multiplied in one step,
 * rounding once as the definition does.
 */
#include <math.h>

#include "vmath.h"

enum { SOFTMAX_SUMS = 16, SOFTMAX_CHAINS = 8 };

/* Unrolled, so that chains are registers. */
#define EACH_CHAIN _Pragma("GCC unroll 8") for (int i = 0; i < SOFTMAX_CHAINS; i++)

/* hyv_expf of x[SOFTMAX_CHAINS] <= 0, or NaN of NaN. */
static inline __attribute__((always_inline)) void exp_of_negatives(vector *x)
{
    const vector rounder = broadcast(SOFTMAX_ROUNDER);
    vector t[SOFTMAX_CHAINS], r[SOFTMAX_CHAINS], p[SOFTMAX_CHAINS];
    EACH_CHAIN x[i] = larger(broadcast(-104.0f), x[i]); /* with a NaN in either, x */
    EACH_CHAIN t[i] = multiply_add(x[i], broadcast(1.44269504f), rounder);
    EACH_CHAIN r[i] = multiply_add(subtract(t[i], rounder), broadcast(-0.693359375f), x[i]);
    EACH_CHAIN r[i] = multiply_add(subtract(t[i], rounder), broadcast(2.12194440e-4f), r[i]);
    EACH_CHAIN p[i] = multiply_add(broadcast(1.9918532e-4f), r[i], broadcast(1.3946204e-3f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], broadcast(8.3332639e-3f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], broadcast(4.16662693e-2f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], broadcast(1.66666672e-1f));
    EACH_CHAIN p[i] = multiply_add(p[i], r[i], broadcast(0.5f));
    EACH_CHAIN p[i] = add_up(multiply_add(p[i], multiply(r[i], r[i]), r[i]), broadcast(1.0f));
    EACH_CHAIN x[i] = times_power(p[i], t[i], r[i]);
}

static inline vector exp_of_negative(vector x)
{
    vector chains[SOFTMAX_CHAINS] = {x}; /* nobody asks for the others */
    exp_of_negatives(chains);
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
        exp_of_negatives(e);
        EACH_CHAIN put(score + i * width, e[i]);
        EACH_CHAIN sum[i] = add_up(sum[i], e[i]);
    }
    for (; j < keys; j++) {
        const vector e = exp_of_negative(subtract(multiply(load(s + j * width), times), high));
        put(s + j * width, e);
        part[j % SOFTMAX_SUMS] = add_up(part[j % SOFTMAX_SUMS], e);
    }
    for (int half = SOFTMAX_SUMS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            part[i] = add_up(part[i], part[i + half]);
    const vector again = exp_of_negative(subtract(before, high));
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
