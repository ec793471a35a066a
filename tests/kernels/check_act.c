/* act: the four activations against the C library in double precision, with and without a factor.
 *
 * Absolute error: where an activation vanishes for large negative x it is the difference of numbers
 * near 1, so the result is good to a few roundings of x, not of itself.
 */
#include "rig.h"

typedef struct call {
    hyv_mat x, mul;
    hyv_activation f;
    bool in_place, over_mul;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_act(be, y, c->in_place ? y : c->x, c->over_mul ? y : c->mul, c->f);
}

static double exact(hyv_activation f, double x)
{
    switch (f) {
    case HYV_SILU:
        return x / (1.0 + exp(-x));
    case HYV_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case HYV_GELU_ERF:
        return 0.5 * x * (1.0 + erf(x / sqrt(2.0)));
    default:
        return x / (1.0 + exp(-1.702 * x));
    }
}

/* Expected error: SiLU kinds have exp of a rounded argument (its relative error grows with x) and
 * three more roundings; where exp overflows, 1 / FLT_MAX is taken for 0. GELU kinds: a sum near 1
 * with the error of tanh or erf. */
static double error_of(hyv_activation f, double x, double y)
{
    if (f == HYV_SILU || f == HYV_QUICK_GELU)
        return RIG_UNIT * fabs(y) * (4.0 + fmin(1.702 * fabs(x), 104.0)) + 0x1p-128 * fabs(x);
    return RIG_UNIT * 3.0 * fabs(x);
}

static void one(const rig *r, int64_t rows, int64_t cols, rig_values kind, hyv_activation f,
                int variant, check_random *random)
{
    rig_mat x = rig_new(rows, cols, variant & 1, HYV_F32), y = rig_new(rows, cols, true, HYV_F32);
    rig_mat mul = rig_new(rows, cols, !(variant & 1), HYV_F32);
    rig_fill(x.m, kind, random);
    rig_fill(mul.m, RIG_NORMAL, random);
    if (kind == RIG_NORMAL) /* through both tails, in steps */
        for (int64_t i = 0; i < rows * cols; i++)
            *rig_at(x.m, i / cols, i % cols) *= (float)(i % 61);
    call c = {x.m, variant & 2 ? mul.m : HYV_NO_MAT, f, false, false};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    for (int64_t i = 0; i < rows * cols; i++) {
        const double v = (double)*rig_at(x.m, i / cols, i % cols), g = exact(f, v);
        const double m = variant & 2 ? (double)*rig_at(mul.m, i / cols, i % cols) : 1.0;
        want[i] = g * m;
        error[i] = error_of(f, v, g) * fabs(m) + RIG_UNIT * fabs(want[i]);
    }
    rig_compare(r, "act", &y, run, &c, want, error);
    c.in_place = true;
    rig_compare(r, "act in place", &x, run, &c, want, error);
    c = (call){x.m, HYV_NO_MAT, f, false, true};
    if (variant & 2)
        rig_compare(r, "act over the factor", &mul, run, &c, want, error);
    free(want);
    free(error);
    rig_free(&x);
    rig_free(&y);
    rig_free(&mul);
}

/* The same bytes for a sample of all floats, both signs. */
static void all_floats(const rig *r, hyv_activation f)
{
    const int64_t n = 1 << 16;
    rig_mat x = rig_new(1, 2 * n, false, HYV_F32), y = rig_new(1, 2 * n, false, HYV_F32);
    for (int64_t i = 0; i < 2 * n; i++) {
        const float v = hyv_bits_to_f32((uint32_t)(i / 2 * (0x7f800000 / n)) + (uint32_t)(i & 62));
        *rig_at(x.m, 0, i) = i & 1 ? -v : v;
    }
    call c = {x.m, HYV_NO_MAT, f, false, false};
    rig_compare(r, "act on all magnitudes", &y, run, &c, NULL, NULL);
    rig_free(&x);
    rig_free(&y);
}

int main(void)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 7}, {5, 16}, {9, 33}, {300, 67}, {2, 4099}};
    check_random random = {10};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            for (int f = HYV_SILU; f <= HYV_QUICK_GELU; f++)
                one(&r, sizes[s][0], sizes[s][1], (rig_values)kind, (hyv_activation)f,
                    (int)check_random_int(&random, 0, 3), &random);
    for (int f = HYV_SILU; f <= HYV_QUICK_GELU; f++)
        all_floats(&r, (hyv_activation)f);
    rig_close(&r);
    return check_done();
}
