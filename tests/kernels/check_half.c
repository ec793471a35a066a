/* Small floats: every code against its formula, and rounding against a search of the nearest code.
 *
 * The search knows nothing of bits: it walks the ordered values that the codes decode to, takes the
 * nearer neighbour and on a tie the even code, as IEEE 754 wants.
 */
#include "../../kernels/half.h"

#include <math.h>

#include "../check.h"

typedef struct format {
    const char *name;
    int mantissa, bias, codes; /* codes: finite, positive */
    bool saturates;            /* no infinity to round to */
    int infinity, sign;        /* codes; where saturating, the largest finite one */
} format;

static const format formats[] = {
    {"f16", 10, 15, 0x7c00, false, 0x7c00, 0x8000},
    {"bf16", 7, 127, 0x7f80, false, 0x7f80, 0x8000},
    {"f8_e4m3", 3, 7, 0x7f, true, 0x7e, 0x80},
    {"f8_e5m2", 2, 15, 0x7c, false, 0x7c, 0x80},
};

static float decode(int which, int code)
{
    return which == 0   ? hyv_f16_to_f32((uint16_t)code)
           : which == 1 ? hyv_bf16_to_f32((uint16_t)code)
           : which == 2 ? hyv_f8_e4m3_to_f32((uint8_t)code)
                        : hyv_f8_e5m2_to_f32((uint8_t)code);
}

static int encode(int which, float f)
{
    return which == 0   ? hyv_f32_to_f16(f)
           : which == 1 ? hyv_f32_to_bf16(f)
           : which == 2 ? hyv_f32_to_f8_e4m3(f)
                        : hyv_f32_to_f8_e5m2(f);
}

/* The value of a finite positive code, by the format's definition; one past the last as well. */
static double value(const format *f, int code)
{
    const int exponent = code >> f->mantissa, m = code & ((1 << f->mantissa) - 1);
    return exponent == 0 ? ldexp(m, 1 - f->bias - f->mantissa)
                         : ldexp(m + (1 << f->mantissa), exponent - f->bias - f->mantissa);
}

static void test_decode(int which)
{
    const format *f = &formats[which];
    int bad = 0;
    for (int code = 0; code < f->codes; code++) {
        bad += (double)decode(which, code) != value(f, code);
        bad += (double)decode(which, code | f->sign) != -value(f, code);
        bad += (signbit(decode(which, code | f->sign)) != 0) != 1;
        bad += encode(which, decode(which, code)) != code;
        bad += encode(which, decode(which, code | f->sign)) != (code | f->sign);
    }
    for (int code = f->codes + (f->saturates ? 0 : 1); code < f->sign; code++)
        bad += !isnan(decode(which, code)) || !isnan(decode(which, code | f->sign));
    CHECK_MSG(bad == 0, "%s: %d codes are wrong", f->name, bad);
    if (!f->saturates)
        CHECK(decode(which, f->infinity) == INFINITY &&
              decode(which, f->infinity | f->sign) == -INFINITY);
}

/* The code that a positive finite number rounds to. */
static int nearest(const format *f, double x)
{
    int low = 0, high = f->codes; /* value(low) <= x < value(high), if there is such a code */
    if (x >= value(f, f->codes))
        return f->infinity;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (value(f, middle) <= x)
            low = middle;
        else
            high = middle;
    }
    const double below = x - value(f, low), above = value(f, high) - x;
    const int code = below < above || (below == above && low % 2 == 0) ? low : high;
    return code >= f->codes ? f->infinity : code;
}

static void test_encode(int which)
{
    const format *f = &formats[which];
    int bad = 0;
    uint32_t at = 0;
    for (uint64_t bits = 0; bits < 0x7f800000u; bits += 1013) {
        const float x = hyv_bits_to_f32((uint32_t)bits);
        const int code = nearest(f, (double)x);
        if (encode(which, x) != code || encode(which, -x) != (code | f->sign)) {
            bad++;
            at = (uint32_t)bits;
        }
    }
    for (int code = 0; code < f->codes; code++) { /* ties, and the floats beside them */
        const float tie = (float)((value(f, code) + value(f, code + 1)) / 2);
        const float near[] = {tie, nextafterf(tie, 0.0f), nextafterf(tie, INFINITY)};
        for (int i = 0; i < 3; i++)
            if (isfinite(near[i]) && encode(which, near[i]) != nearest(f, (double)near[i])) {
                bad++;
                at = hyv_f32_to_bits(near[i]);
            }
    }
    CHECK_MSG(bad == 0, "%s: %d roundings are wrong, the last of %.9g", f->name, bad,
              (double)hyv_bits_to_f32(at));
    CHECK_MSG(encode(which, INFINITY) == f->infinity, "%s of infinity", f->name);
    CHECK_MSG(encode(which, -INFINITY) == (f->infinity | f->sign), "%s of -infinity", f->name);
    CHECK_MSG(isnan(decode(which, encode(which, NAN))), "%s of NaN", f->name);
    CHECK_MSG(isnan(decode(which, encode(which, hyv_bits_to_f32(0x7f800001)))),
              "%s of a NaN whose upper bits are those of infinity", f->name);
}

/* Values as the formats' own documents give them, apart from any formula. */
static void test_vectors(void)
{
    static const struct {
        int which, code;
        float value;
    } known[] = {{2, 0x01, 0.001953125f},
                 {2, 0x07, 0.013671875f},
                 {2, 0x08, 0.015625f},
                 {2, 0x38, 1.0f},
                 {2, 0x3c, 1.5f},
                 {2, 0x7e, 448.0f},
                 {2, 0xfe, -448.0f},
                 {3, 0x01, 1.52587890625e-05f},
                 {3, 0x03, 4.57763671875e-05f},
                 {3, 0x04, 6.103515625e-05f},
                 {3, 0x3c, 1.0f},
                 {3, 0x7b, 57344.0f},
                 {3, 0x7c, INFINITY},
                 {1, 0x3f80, 1.0f},
                 {0, 0x2c00, 0.0625f}};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        CHECK_MSG(decode(known[i].which, known[i].code) == known[i].value, "%s: code %x is %.9g",
                  formats[known[i].which].name, (unsigned)known[i].code,
                  (double)decode(known[i].which, known[i].code));
}

/* Rounding in place is encoding and decoding, NaN, infinities and subnormals included. */
static void test_round(void)
{
    int bad = 0;
    for (uint64_t bits = 0; bits <= UINT32_MAX; bits += 1013) {
        const float f = hyv_bits_to_f32((uint32_t)bits);
        const float want = hyv_bf16_to_f32(hyv_f32_to_bf16(f)), got = hyv_round_to_bf16(f);
        bad += hyv_f32_to_bits(got) != hyv_f32_to_bits(want);
    }
    CHECK_MSG(bad == 0, "%d floats are rounded otherwise than encoded", bad);
}

int main(void)
{
    test_vectors();
    test_round();
    for (int which = 0; which < 4; which++) {
        test_decode(which);
        test_encode(which);
    }
    return check_done();
}
