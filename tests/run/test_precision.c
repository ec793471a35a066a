/* Products in bf16 and int8: how far the golden cases may be from fp32, and what stays the same.
 *
 * An operand keeps 8 bits: its error is at most 2^-9, 2^-10 on average, and a product's as much
 * again, as errors add up like noise. Some fifty products stand in a row between noise and
 * prediction, so a relative error of sqrt(50) 2^-9 = 1.4 % is to be expected and 2 % allowed: a
 * cosine of 1 - 0.02^2 / 2. The values of a frame spread by some 55 of 255, and 2 % of that is
 * 47 dB; classifier-free guidance enlarges differences, hence 45.
 *
 * A row in 8 bits whose largest value is some four times its usual one is wrong by 4 / 127 /
 * sqrt(12) = 0.9 %, a product of two such by 1.3 %. Four blocks have some ten such products in a
 * row: sqrt(10) 1.3 % = 4 %, so 6 dB less.
 */
#include <stdlib.h>
#include <string.h>

#include "../check.h"
#include "../deviation.h"

typedef struct bounds {
    const char *precision;
    double cosine_least, psnr_least;
} bounds;

static const bounds bf16 = {"bf16", 0.9998, 45.0}, int8 = {"int8", 0.9992, 39.0};

static void check_bounds(hyv_options *o, const bounds *b, const char *name, const char *isa)
{
    deviation d;
    if (!deviation_measure(&d, o, b->precision, isa))
        return;
    printf("%s in %s on %s: cosine %.7f, %.2f dB, %d of 255 at most\n", name, b->precision, isa,
           d.cosine, d.psnr_db, d.worst);
    CHECK_MSG(d.cosine >= b->cosine_least, "%s on %s: cosine %.7f", name, isa, d.cosine);
    CHECK_MSG(d.cosine < 1.0 && d.worst > 0, "%s on %s: nothing was rounded", name, isa);
    CHECK_MSG(d.psnr_db >= b->psnr_least, "%s on %s: %.2f dB", name, isa, d.psnr_db);
}

static bool available(hyv_options *o, const char *isa)
{
    hyv_context *context = NULL;
    CHECK(hyv_options_set(o, "isa", isa) == 0);
    const int err = hyv_open(&context, o, NULL);
    hyv_close(&context);
    if (err < 0)
        check_skip(isa);
    return err >= 0;
}

/* Whatever runs gives the bytes of `isas[0]` on one thread. */
static void check_same(hyv_options *o, const char *precision, const char *const *isas, int count)
{
    static const int threads[] = {1, 2, 7};
    size_t size = 0;
    uint8_t *first = NULL;
    for (int i = 0; i < count; i++)
        for (int t = 0; t < 3 && available(o, isas[i]); t++) {
            uint8_t *frames = deviation_frames(o, precision, isas[i], threads[t], &size);
            if (!first)
                first = frames;
            CHECK_MSG(frames && memcmp(first, frames, size) == 0, "isa %s, %d threads: other bytes",
                      isas[i], threads[t]);
            if (frames != first)
                free(frames);
        }
    free(first);
}

int main(void)
{
    static const char *const emulating[] = {"c", "avx2", "avx512"}, *const pairs[] = {"avx512bf16"};
    static const char *const tiles[] = {"amx"};
    golden_cases all;
    golden_case c;
    if (!golden_open(&all))
        return check_done();
    while (golden_next(&all, &c)) {
        if (strcmp(c.model, "t2v") != 0 || (getenv("QUICK") && strcmp(c.name, "t2v_en") != 0))
            continue;
        hyv_options *o = deviation_options(&c);
        check_bounds(o, &bf16, c.name, "auto");
        check_bounds(o, &int8, c.name, "auto");
        if (strcmp(c.name, "t2v_en") == 0) {
            check_bounds(o, &bf16, c.name, "c");
            check_bounds(o, &int8, c.name, "c");
            check_same(o, "bf16", emulating, 3);
            check_same(o, "bf16", pairs, 1);
            check_same(o, "bf16", tiles, 1);
            check_same(o, "int8", emulating, 3);
            check_same(o, "int8", tiles, 1);
        }
        hyv_options_free(&o);
    }
    golden_close(&all);
    return check_done();
}
