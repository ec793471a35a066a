/* linear in 8-bit integers: every instruction that multiplies them against the definition, which is
 * exact, so that all give the same bytes.
 */
#include "../../kernels/cpu/gemm_int8.h"
#include "../../kernels/quant.h"
#include "rig.h"

typedef struct call {
    hyv_mat x;
    hyv_weight W;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_linear(be, y, c->x, &c->W);
}

/* ---- the definition ---------------------------------------------------------------------------
 */

/* Quantises a row; returns its scale. */
static float quantised(int *out, const float *in, int64_t n)
{
    float most = 0.0f;
    for (int64_t k = 0; k < n; k++)
        most = fabsf(in[k]) > most || isnan(in[k]) ? fabsf(in[k]) : most;
    const float scale = most < 0x1p-100f ? 0.0f : most / 127.0f;
    const float factor = scale == 0.0f ? 0.0f : 1.0f / scale;
    for (int64_t k = 0; k < n; k++)
        out[k] = (int)fminf(fmaxf(nearbyintf(in[k] * factor), -127.0f), 127.0f);
    return scale;
}

static void reference(const call *c, const float *w, int64_t out, double *want)
{
    const int64_t depth = c->x.cols;
    int *x = malloc((size_t)(c->x.rows * depth) * sizeof(*x));
    int *v = malloc((size_t)depth * sizeof(*v));
    float *scale = malloc((size_t)c->x.rows * sizeof(*scale));
    if (!x || !v || !scale)
        exit(2);
    for (int64_t i = 0; i < c->x.rows; i++)
        scale[i] = quantised(x + i * depth, rig_at(c->x, i, 0), depth);
    for (int64_t j = 0; j < out; j++) {
        const float column = quantised(v, w + j * depth, depth);
        for (int64_t i = 0; i < c->x.rows; i++) {
            int64_t sum = 0;
            for (int64_t k = 0; k < depth; k++)
                sum += (int64_t)x[i * depth + k] * v[k];
            want[i * out + j] =
                (double)fmaf((float)sum, scale[i] * column, c->W.bias ? c->W.bias[j] : 0.0f);
        }
    }
    free(x);
    free(v);
    free(scale);
}

/* ---- cases ------------------------------------------------------------------------------------
 */

static const hyv_type types[] = {HYV_F32, HYV_BF16, HYV_F16, HYV_Q8_0, HYV_Q4_K};

/* variant: bit 0 strided x, 1 bias, 2 and 3 scale of the weight */
static void one(const rig *r, int64_t rows, int64_t out, int64_t depth, hyv_type type,
                rig_values kind, int variant, check_random *random)
{
    char what[96];
    const size_t bytes = hyv_type_size(type, out * depth);
    rig_mat x = rig_new(rows, depth, variant & 1, HYV_F32), y = rig_new(rows, out, true, HYV_F32);
    rig_mat w = rig_new(out, depth, false, HYV_F32), extra = rig_new(2, out, false, HYV_F32);
    void *stored = malloc(bytes);
    if (!stored)
        exit(2);
    rig_fill(x.m, kind, random);
    rig_fill(w.m, RIG_NORMAL, random);
    rig_fill(extra.m, RIG_NORMAL, random);
    if (type == HYV_F32)
        memcpy(stored, w.m.data, bytes);
    else
        for (size_t i = 0; i < bytes; i++) /* small exponents only */
            ((uint8_t *)stored)[i] = (uint8_t)(check_random_bits(random) >> 40) & 0xbf;
    call c = {.x = x.m, .W = {.w = {stored, out, depth, depth, type}, .int8 = true}};
    c.W.bias = variant & 2 ? rig_at(extra.m, 0, 0) : NULL;
    c.W.scales = variant & 4 ? (variant & 8 ? out : 1) : 0;
    c.W.scale = c.W.scales ? rig_at(extra.m, 1, 0) : NULL;
    for (int64_t j = 0; j < out; j++) {
        float *row = rig_at(w.m, j, 0);
        hyv_decode(row, stored, type, j * depth, depth);
        for (int64_t k = 0; k < depth && c.W.scales; k++)
            row[k] *= c.W.scale[c.W.scales == 1 ? 0 : j];
    }
    double *want = rig_doubles(rows * out), *error = rig_doubles(rows * out);
    reference(&c, w.m.data, out, want);
    snprintf(what, sizeof(what), "int8 linear %s depth %d values %d variant %d",
             hyv_type_name(type), (int)depth, (int)kind, variant);
    rig_compare(r, what, &y, run, &c, want, error);
    free(want);
    free(error);
    free(stored);
    rig_free(&x);
    rig_free(&y);
    rig_free(&w);
    rig_free(&extra);
}

/* Around the tiles (4 x 16, 6 x 16, 14 x 32, 32 x 32), few and many rows, several blocks of k. */
static void every_shape(const rig *r, check_random *random)
{
    static const int64_t shapes[][3] = {{1, 1, 1},    {1, 33, 40},  {3, 7, 5},     {4, 16, 64},
                                        {8, 31, 129}, {14, 32, 63}, {17, 65, 66},  {57, 40, 31},
                                        {85, 47, 33}, {33, 33, 70}, {60, 1031, 20}};
    static const int64_t deep[][3] = {{2, 35, 3203}, {61, 33, 3073}, {70, 34, 18500}};
    for (size_t s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        one(r, shapes[s][0], shapes[s][1], shapes[s][2], types[s % 3], RIG_NORMAL,
            (int)check_random_int(random, 0, 15), random);
    for (int kind = 0; kind < RIG_VALUES; kind++)
        one(r, 58, 35, 77, HYV_F32, (rig_values)kind, 3, random);
    for (int variant = 0; variant < 16; variant++)
        one(r, 5, 37, 512, types[variant % 5], RIG_NORMAL, variant, random);
    one(r, 60, 37, 7 * 256, HYV_Q8_0, RIG_NORMAL, 3, random);
    for (size_t s = 0; s < (getenv("QUICK") ? 1 : sizeof(deep) / sizeof(deep[0])); s++)
        one(r, deep[s][0], deep[s][1], deep[s][2], types[s], RIG_NORMAL, 2, random);
}

/* Where every product is the largest, sums must not be cut off anywhere. */
static void largest_products(const rig *r)
{
    enum { ROWS = 33, OUT = 34, DEPTH = 2048 };
    float *x = malloc(ROWS * DEPTH * sizeof(*x)), *w = malloc(OUT * DEPTH * sizeof(*w));
    double *want = rig_doubles(ROWS * OUT), *error = rig_doubles(ROWS * OUT);
    rig_mat y = rig_new(ROWS, OUT, true, HYV_F32);
    if (!x || !w)
        exit(2);
    for (int i = 0; i < ROWS * DEPTH; i++)
        x[i] = i / DEPTH % 2 ? -127.0f : 127.0f;
    for (int i = 0; i < OUT * DEPTH; i++)
        w[i] = i / DEPTH % 3 ? -127.0f : 127.0f;
    call c = {.x = {x, ROWS, DEPTH, DEPTH, HYV_F32},
              .W = {.w = {w, OUT, DEPTH, DEPTH, HYV_F32}, .int8 = true}};
    for (int i = 0; i < ROWS * OUT; i++)
        want[i] = (i / OUT % 2 ? -1.0 : 1.0) * (i % OUT % 3 ? -1.0 : 1.0) * 127 * 127 * DEPTH;
    rig_compare(r, "int8 linear of largest products", &y, run, &c, want, error);
    free(x);
    free(w);
    free(want);
    free(error);
    rig_free(&y);
}

/* A row with a NaN or an infinity gives no finite number, and the others are as ever. */
static void not_finite(const rig *r)
{
    enum { ROWS = 35, DEPTH = 40, BAD = 3 };
    for (int b = 0; b < r->count; b++)
        for (int infinite = 0; infinite < 2; infinite++) {
            float x[ROWS * DEPTH], y[ROWS], w[DEPTH];
            for (int i = 0; i < ROWS * DEPTH; i++)
                x[i] = 1.0f;
            for (int k = 0; k < DEPTH; k++)
                w[k] = 1.0f;
            x[BAD * DEPTH + 7] = infinite ? INFINITY : NAN;
            call c = {.x = {x, ROWS, DEPTH, DEPTH, HYV_F32},
                      .W = {.w = {w, 1, DEPTH, DEPTH, HYV_F32}, .int8 = true}};
            run(r->be[b], (hyv_mat){y, ROWS, 1, 1, HYV_F32}, &c);
            int bad = isfinite(y[BAD]) != 0;
            for (int i = 0; i < ROWS; i++)
                bad += i != BAD && fabsf(y[i] - DEPTH) > 1e-4f;
            CHECK_MSG(bad == 0, "%s: not a finite number, %d: %d wrong", r->name[b], infinite, bad);
        }
}

/* All backends that can multiply by this kind of instructions do. */
static void choose(rig *r, hyv_int8_kind kind)
{
    for (int i = 1; i < r->count; i++) {
        hyv_cpu *cpu = hyv_cpu_of(r->be[i]);
        if (hyv_cpu_has_int8(kind, cpu->isa))
            cpu->gemm[1] = hyv_gemm_int8_for(kind);
    }
}

int main(void)
{
    static const char *const names[] = {"plain C", "AVX2", "AVX-VNNI", "AVX512_VNNI", "AMX"};
    check_random random = {73};
    rig r;
    rig_open(&r, HYV_PRODUCTS_INT8);
    every_shape(&r, &random);
    largest_products(&r);
    not_finite(&r);
    const hyv_isa best = r.count ? hyv_cpu_of(r.be[r.count - 1])->isa : HYV_ISA_C;
    for (int kind = 0; kind < HYV_INT8_KINDS; kind++) {
        if (!hyv_cpu_has_int8((hyv_int8_kind)kind, best)) {
            check_skip(names[kind]);
            continue;
        }
        choose(&r, (hyv_int8_kind)kind);
        one(&r, 85, 47, 133, HYV_BF16, RIG_NORMAL, 3, &random);
        one(&r, 61, 33, 3203, HYV_F32, RIG_MIXED, 2, &random);
        largest_products(&r);
        not_finite(&r);
    }
    rig_close(&r);
    return check_done();
}
