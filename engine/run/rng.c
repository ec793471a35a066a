/* torch.randn on a CPU: MT19937, 24-bit uniforms, Box-Muller between elements j and j + 8 of each
 * block of 16, functions as in Cephes (Moshier, single precision) with fused multiply-add.
 *
 * A tensor of fewer than 16 elements takes PyTorch's other path: 53-bit uniforms and the textbook
 * form in double. Every rounding here is meant; nothing may be contracted or reordered.
 */
#include "rng.h"

#include <math.h>
#include <stdbool.h>

enum { STATE = 624, SHIFT = 397, BLOCK = 16, HALF = 8 };

#define PI 3.14159265358979323846

typedef struct generator {
    uint32_t state[STATE];
    int next;
} generator;

static void start(generator *g, uint64_t seed)
{
    g->state[0] = (uint32_t)seed;
    for (uint32_t i = 1; i < STATE; i++)
        g->state[i] = 1812433253u * (g->state[i - 1] ^ (g->state[i - 1] >> 30)) + i;
    g->next = STATE;
}

static void twist(generator *g)
{
    uint32_t *s = g->state;
    for (int i = 0; i < STATE; i++) {
        const uint32_t y = (s[i] & 0x80000000u) | (s[(i + 1) % STATE] & 0x7fffffffu);
        s[i] = s[(i + SHIFT) % STATE] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    g->next = 0;
}

static uint32_t draw(generator *g)
{
    if (g->next == STATE)
        twist(g);
    uint32_t y = g->state[g->next++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    return y ^ (y >> 18);
}

/* [0, 1) in steps of 2^-24 */
static float uniform(generator *g)
{
    return (float)(draw(g) & 0xffffffu) * 0x1p-24f;
}

/* [0, 1) in steps of 2^-53; the first draw holds the high bits. */
static double uniform_double(generator *g)
{
    const uint64_t high = draw(g);
    return (double)(((high << 32) | draw(g)) & 0x1fffffffffffffu) * 0x1p-53;
}

/* x in [2^-24, 1] */
static float natural_log(float x)
{
    static const float c[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                              -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                              2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
    int exponent;
    float m = frexpf(x, &exponent);
    if (m < 0.707106781186547524f) {
        exponent--;
        m = (m - 1.0f) + m;
    } else {
        m = m - 1.0f;
    }
    const float e = (float)exponent, z = m * m;
    float y = c[0];
    for (int i = 1; i < (int)(sizeof(c) / sizeof(c[0])); i++)
        y = fmaf(y, m, c[i]);
    y = y * m;
    y = fmaf(y, z, e * -2.12194440e-4f);
    y = fmaf(z, -0.5f, y);
    return fmaf(e, 0.693359375f, m + y);
}

/* phi >= 0 */
static void sine_cosine(float phi, float *sine, float *cosine)
{
    /* the octant, made even; pi/4 is taken off in three parts */
    const int j = ((int)(phi * 1.27323954473516f) + 1) & ~1;
    const float n = (float)j;
    float x = fmaf(n, -0.78515625f, phi);
    x = fmaf(n, -2.4187564849853515625e-4f, x);
    x = fmaf(n, -3.77489497744594108e-8f, x);
    const float z = x * x;
    float c = 2.443315711809948e-5f;
    c = fmaf(c, z, -1.388731625493765e-3f);
    c = fmaf(c, z, 4.166664568298827e-2f);
    c = c * z;
    c = fmaf(c, z, -(z * 0.5f)) + 1.0f;
    float s = -1.9515295891e-4f;
    s = fmaf(s, z, 8.3321608736e-3f);
    s = fmaf(s, z, -1.6666654611e-1f);
    s = s * z;
    s = fmaf(s, x, x);
    const bool swap = j & 2;
    *sine = swap ? c : s;
    *cosine = swap ? s : c;
    if (j & 4)
        *sine = -*sine;
    if (~(j - 2) & 4)
        *cosine = -*cosine;
}

/* u: uniforms in, normals out. */
static void transform(float u[BLOCK])
{
    for (int j = 0; j < HALF; j++) {
        float s, c;
        const float radius = sqrtf(-2.0f * natural_log(1.0f - u[j]));
        sine_cosine((float)(2.0 * PI) * u[j + HALF], &s, &c);
        u[j] = radius * c;
        u[j + HALF] = radius * s;
    }
}

typedef struct tensor {
    float *out;
    int64_t rows, cols;
} tensor;

/* Element i in the order of drawing. */
static void put(const tensor *t, int64_t i, float value)
{
    t->out[i % t->rows * t->cols + i / t->rows] = value;
}

static void fill_block(const tensor *t, int64_t first, generator *g)
{
    float u[BLOCK];
    for (int j = 0; j < BLOCK; j++)
        u[j] = uniform(g);
    transform(u);
    for (int j = 0; j < BLOCK; j++)
        put(t, first + j, u[j]);
}

static void fill_few(const tensor *t, int64_t n, generator *g)
{
    for (int64_t i = 0; i < n; i += 2) {
        const double angle = 2.0 * PI * uniform_double(g);
        const double radius = sqrt(-2.0 * log1p(-uniform_double(g)));
        put(t, i, (float)(radius * cos(angle)));
        if (i + 1 < n)
            put(t, i + 1, (float)(radius * sin(angle)));
    }
}

void hyv_rng_normal(float *out, int64_t rows, int64_t cols, uint64_t seed)
{
    const tensor t = {out, rows, cols};
    const int64_t n = rows * cols;
    generator g;
    start(&g, seed);
    if (n < BLOCK) {
        fill_few(&t, n, &g);
        return;
    }
    for (int64_t i = 0; i + BLOCK <= n; i += BLOCK)
        fill_block(&t, i, &g);
    if (n % BLOCK == 0)
        return;
    /* The uniforms of an incomplete block are drawn and lost; the last 16 elements are new. */
    for (int64_t i = 0; i < n % BLOCK; i++)
        draw(&g);
    fill_block(&t, n - BLOCK, &g);
}
