/* Encoders of block types: what they lose, values that a type holds, and references in double that
 * are naive or try everything.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/half.h"
#include "../../kernels/quant.h"
#include "../check.h"

typedef enum source {
    NORMAL,
    SHIFTED,
    POSITIVE,
    SPARSE,
    OUTLIER,
    TINY,
    EQUAL,
    ZERO,
    SOURCES
} source;

static void draw(float *x, int n, source s, check_random *random)
{
    for (int i = 0; i < n; i++) {
        const float v = check_random_normal(random);
        x[i] = s == NORMAL     ? 0.02f * v
               : s == SHIFTED  ? 0.02f * v + 0.05f
               : s == POSITIVE ? fabsf(v)
               : s == SPARSE   ? (i % 7 ? 0.0f : v)
               : s == OUTLIER  ? (i == 40 ? 50.0f : v)
               : s == TINY     ? 1e-12f * v
               : s == EQUAL    ? -0.75f
                               : 0.0f;
    }
}

/* Root of the mean square of x and of what is lost. */
static double loss(const float *x, const float *y, int n, double *size)
{
    double lost = 0.0, all = 0.0;
    for (int i = 0; i < n; i++) {
        const double e = (double)x[i] - (double)y[i];
        lost += e * e;
        all += (double)x[i] * (double)x[i];
    }
    *size = sqrt(all / n);
    return sqrt(lost / n);
}

/* A step of d loses d / sqrt(12) on average. Normal values reach about 2.1 sigma in 32, 1.8 in 16:
 * 127, 32 and 7.5 steps a side, and a little for the rounding of the small scales. */
static void test_encoders(check_random *random)
{
    enum { N = 64 * HYV_BLOCK_MAX };
    static const struct {
        hyv_type type;
        double normal, worst; /* bounds of the relative loss: for normal values, for any source */
    } kinds[] = {
        {HYV_Q8_0, 0.0060, 0.0080}, {HYV_Q6_K, 0.0200, 0.0250}, {HYV_Q4_K, 0.0800, 0.0900}};
    static float x[N], y[N];
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        const size_t bytes = hyv_type_size(kinds[k].type, N);
        uint8_t *b = malloc(bytes), *again = malloc(bytes);
        CHECK(hyv_quant_encodes(kinds[k].type));
        for (int s = 0; s < SOURCES; s++) {
            double size;
            draw(x, N, (source)s, random);
            memset(b, 0xff, bytes);
            memset(again, 0, bytes);
            hyv_quant_encode(b, x, kinds[k].type, N);
            hyv_quant_encode(again, x, kinds[k].type, N);
            CHECK(memcmp(b, again, bytes) == 0);
            hyv_quant_decode(y, b, kinds[k].type, N);
            const double lost = loss(x, y, N, &size);
            const double bound = s == NORMAL ? kinds[k].normal : s == TINY ? 1.0 : kinds[k].worst;
            if (s == NORMAL)
                printf("%s: rounding error %.2g %% of normal values\n",
                       hyv_type_name(kinds[k].type), 100 * lost / size);
            CHECK_MSG(lost <= bound * size, "%s, source %d: %.5f of %.3g lost",
                      hyv_type_name(kinds[k].type), s, lost / size, size);
        }
        free(b);
        free(again);
    }
    CHECK(!hyv_quant_encodes(HYV_F32) && !hyv_quant_encodes(HYV_Q4_0));
    CHECK(!hyv_quant_encodes(HYV_TYPES));
}

/* Values that a type can hold come back. */
static void test_exact(void)
{
    float x[HYV_BLOCK_MAX], y[HYV_BLOCK_MAX];
    uint8_t b[210];
    for (int i = 0; i < HYV_BLOCK_MAX; i++)
        x[i] = 0.25f * (float)(i % 32 == 5 ? -127 : (i * 37) % 255 - 127);
    for (int i = 0; i < HYV_BLOCK_MAX; i += 32) {
        hyv_quant_encode(b, x + i, HYV_Q8_0, 32);
        hyv_quant_decode(y + i, b, HYV_Q8_0, 32);
    }
    CHECK(memcmp(x, y, sizeof(x)) == 0);
    /* 16 levels from a minimum, the first part with the largest scale and minimum */
    for (int i = 0; i < HYV_BLOCK_MAX; i++)
        x[i] = (float)(i % 16) * (i < 32 ? 63.0f : 9.0f) * 0.5f - (i < 32 ? 63.0f : 7.0f) * 2.0f;
    hyv_quant_encode(b, x, HYV_Q4_K, HYV_BLOCK_MAX);
    hyv_quant_decode(y, b, HYV_Q4_K, HYV_BLOCK_MAX);
    CHECK(memcmp(x, y, sizeof(x)) == 0);
    /* 64 levels are there in every part of 16, the first with the largest scale */
    for (int i = 0; i < HYV_BLOCK_MAX; i++)
        x[i] = (float)(i % 16 == 0 ? -32 : i * 29 % 64 - 32) * (i < 16 ? 127.0f : 5.0f) * 0.25f;
    hyv_quant_encode(b, x, HYV_Q6_K, HYV_BLOCK_MAX);
    hyv_quant_decode(y, b, HYV_Q6_K, HYV_BLOCK_MAX);
    CHECK(memcmp(x, y, sizeof(x)) == 0);
}

/* ---- against references ---------------------------------------------------------------------- */

/* Every value of Q8_0 is within half a step, however small or large the values are. */
static void test_half_step(check_random *random)
{
    float x[32], y[32];
    uint8_t b[34];
    for (int exponent = -44; exponent <= 19; exponent++)
        for (int round = 0; round < 50; round++) {
            for (int i = 0; i < 32; i++)
                x[i] = ldexpf(check_random_float(random), exponent);
            hyv_quant_encode(b, x, HYV_Q8_0, 32);
            hyv_quant_decode(y, b, HYV_Q8_0, 32);
            const double step = (double)hyv_f16_to_f32((uint16_t)(b[0] | b[1] << 8));
            double most = 0.0, worst = 0.0;
            for (int i = 0; i < 32; i++) {
                most = fmax(most, fabs((double)x[i]));
                worst = fmax(worst, fabs((double)x[i] - (double)y[i]));
            }
            CHECK_MSG(worst <= 0.5 * step * (1 + 1e-6), "2^%d: off by %g of a step %g", exponent,
                      worst, step);
            /* and the step no larger than f16 makes it: 2^-24 apart, or 2^-10 of itself */
            CHECK_MSG(step <= most / 127 * (1 + 0x1p-10) + 0x1p-24, "2^%d: a step of %g for %g",
                      exponent, step, most);
        }
}

/* What is left of n values of a part when each takes the nearest of the levels scale * q - minimum,
 * q from low to high; in double. */
static double left_of(const float *x, int n, double scale, double minimum, int low, int high)
{
    double sum = 0.0;
    for (int i = 0; i < n; i++) {
        double q = scale != 0.0 ? nearbyint(((double)x[i] + minimum) / scale) : 0.0;
        q = q < low ? low : q > high ? high : q;
        const double e = (double)x[i] - (scale * q - minimum);
        sum += e * e;
    }
    return sum;
}

/* The naive encoder of Q4_K: each part from its least to its largest value in 15 steps. */
static double naive_q4_k(const float *x)
{
    double scale[8], minimum[8], scales = 0.0, minima = 0.0, sum = 0.0;
    for (int part = 0; part < 8; part++) {
        double low = 0.0, high = 0.0;
        for (int i = 0; i < 32; i++) {
            low = fmin(low, (double)x[32 * part + i]);
            high = fmax(high, (double)x[32 * part + i]);
        }
        scale[part] = (high - low) / 15;
        minimum[part] = -low;
        scales = fmax(scales, scale[part]);
        minima = fmax(minima, minimum[part]);
    }
    const double d = (double)hyv_f16_to_f32(hyv_f32_to_f16((float)(scales / 63)));
    const double m = (double)hyv_f16_to_f32(hyv_f32_to_f16((float)(minima / 63)));
    for (int part = 0; part < 8; part++)
        sum += left_of(x + 32 * part, 32, d * fmin(63, nearbyint(d > 0 ? scale[part] / d : 0)),
                       m * fmin(63, nearbyint(m > 0 ? minimum[part] / m : 0)), 0, 15);
    return sum;
}

/* The best that each part can have with the block's two scales: every small scale and minimum. */
static double best_q4_k(const float *x, const uint8_t *b)
{
    const double d = (double)hyv_f16_to_f32((uint16_t)(b[0] | b[1] << 8));
    const double m = (double)hyv_f16_to_f32((uint16_t)(b[2] | b[3] << 8));
    double sum = 0.0;
    for (int part = 0; part < 8; part++) {
        double best = INFINITY;
        for (int s = 0; s < 64; s++)
            for (int k = 0; k < 64; k++)
                best = fmin(best, left_of(x + 32 * part, 32, d * s, m * k, 0, 15));
        sum += best;
    }
    return sum;
}

static double naive_q6_k(const float *x)
{
    double extreme = 0.0, scale[16], sum = 0.0;
    for (int part = 0; part < 16; part++) {
        scale[part] = 0.0;
        for (int i = 0; i < 16; i++)
            scale[part] = fmax(scale[part], fabs((double)x[16 * part + i]) / 31);
        extreme = fmax(extreme, scale[part]);
    }
    const double d = (double)hyv_f16_to_f32(hyv_f32_to_f16((float)(extreme / 127)));
    for (int part = 0; part < 16; part++)
        sum += left_of(x + 16 * part, 16, d * fmin(127, nearbyint(d > 0 ? scale[part] / d : 0)), 0,
                       -32, 31);
    return sum;
}

static double best_q6_k(const float *x, const uint8_t *b)
{
    const double d = (double)hyv_f16_to_f32((uint16_t)(b[208] | b[209] << 8));
    double sum = 0.0;
    for (int part = 0; part < 16; part++) {
        double best = INFINITY;
        for (int s = -128; s < 128; s++)
            best = fmin(best, left_of(x + 16 * part, 16, d * s, 0, -32, 31));
        sum += best;
    }
    return sum;
}

/* Over many blocks of each source: never worse than the naive encoder, and hardly worse than every
 * possible small scale tried in double. (Of parts with few values, some are lucky scales.) */
static void test_search(check_random *random)
{
    enum { BLOCKS = 24 };
    float x[HYV_BLOCK_MAX], y[HYV_BLOCK_MAX];
    uint8_t b[210];
    for (int six = 0; six < 2; six++)
        for (int s = 0; s < ZERO; s++) {
            double got = 0.0, naive = 0.0, best = 0.0, size;
            if (s == TINY || s == EQUAL)
                continue; /* f16 decides there */
            for (int i = 0; i < BLOCKS; i++) {
                draw(x, HYV_BLOCK_MAX, (source)s, random);
                hyv_quant_encode(b, x, six ? HYV_Q6_K : HYV_Q4_K, HYV_BLOCK_MAX);
                hyv_quant_decode(y, b, six ? HYV_Q6_K : HYV_Q4_K, HYV_BLOCK_MAX);
                const double lost = loss(x, y, HYV_BLOCK_MAX, &size);
                got += lost * lost * HYV_BLOCK_MAX;
                naive += six ? naive_q6_k(x) : naive_q4_k(x);
                best += six ? best_q6_k(x, b) : best_q4_k(x, b);
            }
            printf("%s, source %d: error %.4f of the naive one, %.4f of the best\n",
                   six ? "Q6_K" : "Q4_K", s, sqrt(got / naive), sqrt(got / best));
            CHECK_MSG(got <= naive, "%s, source %d: worse than the naive encoder",
                      six ? "Q6_K" : "Q4_K", s);
            const double bound = s == SPARSE || s == OUTLIER ? 1.5 : 1.06;
            CHECK_MSG(sqrt(got / best) <= bound, "%s, source %d: %.3f of the best",
                      six ? "Q6_K" : "Q4_K", s, sqrt(got / best));
        }
}

int main(void)
{
    check_random random = {89};
    test_encoders(&random);
    test_exact();
    test_half_step(&random);
    test_search(&random);
    return check_done();
}
