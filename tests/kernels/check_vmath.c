/* exp, tanh and erf against the C library in double precision.
 *
 * Every 2039th float of either sign, all the special ones, and a dense walk where the functions
 * bend. Errors are in units of the last place of the exact result. What is built from the
 * three is looked at by check_act.c.
 */
#include "../../kernels/cpu/vmath.h"

#include "../check.h"

typedef struct function {
    const char *name;
    float (*f)(float);
    double (*exact)(double);
    double limit; /* units in the last place */
} function;

static double units(float got, double want)
{
    if (isnan(want))
        return isnan(got) ? 0.0 : INFINITY;
    if (isinf((float)want) || isinf(got))
        return (float)want == got ? 0.0 : INFINITY;
    int exponent;
    frexp(want, &exponent);
    const double unit = ldexp(1.0, exponent - 24 < -149 ? -149 : exponent - 24);
    return fabs((double)got - want) / unit;
}

static void test_function(const function *f)
{
    double worst = 0.0;
    float at = 0.0f;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 2039) {
        const float x = hyv_bits_to_f32((uint32_t)bits);
        const double u = units(f->f(x), f->exact((double)x));
        if (!(u <= worst)) {
            worst = u;
            at = x;
        }
    }
    for (int i = -200000; i <= 200000; i++) {
        const float x = (float)i * 0x1p-14f;
        const double u = units(f->f(x), f->exact((double)x));
        if (!(u <= worst)) {
            worst = u;
            at = x;
        }
    }
    CHECK_MSG(worst <= f->limit, "%s: %.3g units off at %.9g (%.9g, not %.9g)", f->name, worst,
              (double)at, (double)f->f(at), f->exact((double)at));
}

static void test_specials(const function *f)
{
    static const float specials[] = {
        0.0f,    -0.0f,    0x1p-149f, -0x1p-149f, 0x1p-126f, 1.0f,    -1.0f,           88.7228f,
        88.723f, -87.336f, -87.34f,   -103.97f,   -103.98f,  -104.5f, 0x1.fffffep127f, 0x1p-24f};
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
        const float x = specials[i];
        const double u = units(f->f(x), f->exact((double)x));
        CHECK_MSG(u <= f->limit, "%s(%.9g): %.3g units off", f->name, (double)x, u);
    }
    CHECK_MSG(isnan(f->f(NAN)) && isnan(f->f(-NAN)), "%s of NaN", f->name);
    CHECK_MSG((double)f->f(INFINITY) == f->exact((double)INFINITY), "%s of infinity", f->name);
    CHECK_MSG((double)f->f(-INFINITY) == f->exact((double)-INFINITY), "%s of -infinity", f->name);
}

/* Odd functions keep the sign of zero and are odd bit by bit. */
static void test_odd(float (*f)(float), const char *name)
{
    int bad = 0;
    for (uint32_t bits = 0; bits < 0x7f800000u; bits += 1021) {
        const float x = hyv_bits_to_f32(bits);
        bad += hyv_f32_to_bits(f(-x)) != (hyv_f32_to_bits(f(x)) ^ 0x80000000u);
    }
    CHECK_MSG(bad == 0, "%s is not odd at %d of the points", name, bad);
}

int main(void)
{
    static const function functions[] = {
        {"exp", hyv_expf, exp, 1.0},
        {"exp2", hyv_exp2f, exp2, 1.0},
        {"tanh", hyv_tanhf, tanh, 2.0},
        {"erf", hyv_erff, erf, 3.0},
    };
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        test_function(&functions[i]);
        test_specials(&functions[i]);
    }
    test_odd(hyv_tanhf, "tanh");
    test_odd(hyv_erff, "erf");
    CHECK(hyv_f32_to_bits(hyv_tanhf(-0.0f)) == 0x80000000u);
    CHECK(hyv_f32_to_bits(hyv_erff(-0.0f)) == 0x80000000u);
    CHECK(hyv_expf(0.0f) == 1.0f);
    CHECK(hyv_exp2f(0.0f) == 1.0f);
    return check_done();
}
