/* What the operator checks share: guarded matrices, drawn values, and one comparison of all
 * backends.
 *
 * rig_compare runs an operator with plain C on one thread, holds its result against a reference in
 * double precision, and then demands the same bytes of every instruction set at 1, 2 and 7 threads
 * (kernels/cpu/cpu.h: canonical arithmetic). With products in bf16 those that multiply pairs are
 * held against the reference too, and each against itself. Whatever surrounds the output must stay
 * as it was; guards are all ones, which is NaN, so that reading them shows as well.
 */
#ifndef HYV_TESTS_KERNELS_RIG_H
#define HYV_TESTS_KERNELS_RIG_H

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../kernels/half.h"
#include "../../kernels/ops.h"
#include "../check.h"

#define RIG_UNIT                                                                    \
    0x1p-24 /* half a unit in the last place of 1.0f: one rounding's relative error \
             */

enum { RIG_GUARD_ROWS = 2, RIG_GUARD_COLS = 19, RIG_BACKENDS = 15, RIG_ROUGH = 4 };

/* ---- backends ---- */

typedef struct rig {
    hyv_backend *be[RIG_BACKENDS];
    char name[RIG_BACKENDS][32];
    int count;               /* be[0] is plain C on one thread */
    int model[RIG_BACKENDS]; /* which must have given the same bytes; its own index: none */
    hyv_precision precision;
} rig;

static inline void rig_open(rig *r, hyv_precision precision)
{
    static const char *const isas[] = {"c", "avx2", "avx512", "avx512bf16", "amx"};
    enum { PAIRS = 3 }; /* from here on bf16 is added in another way on each */
    static const int threads[] = {1, 2, 7};
    memset(r, 0, sizeof(*r));
    r->precision = precision;
    for (int i = 0, first = 0; i < 5; i++, first = r->count)
        for (int t = 0; t < 3; t++) {
            const hyv_backend_config config = {
                .threads = threads[t], .isa = isas[i], .precision = precision};
            char name[32];
            snprintf(name, sizeof(name), "%s, %d threads", isas[i], threads[t]);
            const int err = hyv_backend_open(&r->be[r->count], "cpu", &config);
            if (err == -ENOTSUP) {
                check_skip(name);
                continue;
            }
            r->model[r->count] = i >= PAIRS && precision == HYV_PRODUCTS_BF16 ? first : 0;
            if (CHECK_MSG(err == 0, "cannot open %s: %d", name, err))
                memcpy(r->name[r->count++], name, sizeof(name));
        }
}

/* Those from instruction set `isa` on that multiply bf16 as such, not emulated; none in fp32. */
static inline rig rig_multiplying(const rig *r, const char *isa)
{
    rig some = {.precision = r->precision};
    bool reached = false;
    for (int i = 1; i < r->count; i++) {
        reached |= strncmp(r->name[i], isa, strlen(isa)) == 0;
        if (reached && r->model[i] > 0) {
            const int skipped = i - some.count;
            some.be[some.count] = r->be[i];
            some.model[some.count] = r->model[i] - skipped;
            memcpy(some.name[some.count++], r->name[i], sizeof(r->name[i]));
        }
    }
    return some;
}

/* What a product makes of an operand. */
static inline double rig_operand(hyv_precision precision, float f)
{
    return (double)(precision == HYV_PRODUCTS_BF16 ? hyv_bf16_to_f32(hyv_f32_to_bf16(f)) : f);
}

/* Pairs are added with subnormals as zeros. */
static inline double rig_smallest(hyv_precision precision)
{
    return precision == HYV_PRODUCTS_BF16 ? 0x1p-126 : 0x1p-149;
}

static inline void rig_close(rig *r)
{
    for (int i = 0; i < r->count; i++)
        hyv_backend_close(&r->be[i]);
}

/* ---- guarded matrices ---- */

typedef struct rig_mat {
    hyv_mat m;   /* the view; strided, in the middle of the block */
    char *block; /* [RIG_GUARD_ROWS + rows + RIG_GUARD_ROWS, ld] */
    size_t bytes;
} rig_mat;

/* Dense ones have guards before and after, strided ones in every row as well. */
static inline rig_mat rig_new(int64_t rows, int64_t cols, bool strided, hyv_type type)
{
    rig_mat r = {.m = {.rows = rows, .cols = cols, .ld = cols, .type = type}};
    if (strided)
        r.m.ld += RIG_GUARD_COLS;
    const size_t size = hyv_type_bytes(type);
    r.bytes = (size_t)((rows + 2 * RIG_GUARD_ROWS) * r.m.ld) * size;
    r.block = malloc(r.bytes);
    if (!r.block)
        exit(2);
    memset(r.block, 0xff, r.bytes);
    r.m.data = r.block + (size_t)(RIG_GUARD_ROWS * r.m.ld + (strided ? 7 : 0)) * size;
    return r;
}

static inline void rig_free(rig_mat *r)
{
    free(r->block);
    r->block = NULL;
}

static inline rig_mat rig_copy(const rig_mat *from)
{
    rig_mat r = *from;
    r.block = malloc(from->bytes);
    if (!r.block)
        exit(2);
    memcpy(r.block, from->block, from->bytes);
    r.m.data = r.block + ((char *)from->m.data - from->block);
    return r;
}

static inline float *rig_at(hyv_mat m, int64_t row, int64_t col)
{
    return (float *)m.data + row * m.ld + col;
}

/* Everything outside of the view still is all ones. */
static inline bool rig_guards_stand(const rig_mat *r)
{
    const int64_t size = (int64_t)hyv_type_bytes(r->m.type), row_bytes = r->m.ld * size;
    const int64_t begin = (char *)r->m.data - r->block, width = r->m.cols * size;
    for (int64_t i = 0; i < (int64_t)r->bytes; i++) {
        const int64_t at = i - begin;
        const bool inside = at >= 0 && at / row_bytes < r->m.rows && at % row_bytes < width;
        if (!inside && (unsigned char)r->block[i] != 0xff)
            return false;
    }
    return true;
}

/* ---- values ---- */

typedef enum rig_values {
    RIG_NORMAL,
    RIG_HUGE,  /* about 1e15, both signs */
    RIG_TINY,  /* about 1e-30: squares vanish */
    RIG_EQUAL, /* each row one number */
    RIG_ZEROS,
    RIG_MIXED, /* ten decades in a row */
    RIG_VALUES
} rig_values;

static inline void rig_fill(hyv_mat m, rig_values kind, check_random *random)
{
    for (int64_t i = 0; i < m.rows; i++) {
        const float row = check_random_normal(random);
        for (int64_t k = 0; k < m.cols; k++) {
            const float v = check_random_normal(random);
            *rig_at(m, i, k) = kind == RIG_HUGE    ? v * 1e15f
                               : kind == RIG_TINY  ? v * 1e-30f
                               : kind == RIG_EQUAL ? row
                               : kind == RIG_ZEROS ? 0.0f
                               : kind == RIG_MIXED ? v * powf(10.0f, (float)(k * 7 % 11) - 5.0f)
                                                   : v;
        }
    }
}

/* ---- comparing ---- */

/* Runs the operator on y, whose contents the call may use (in place, accumulation). */
typedef void rig_op(hyv_backend *be, hyv_mat y, void *arg);

static inline bool rig_close_enough(float got, double want, double error)
{
    if (isnan(want))
        return isnan(got);
    if (isinf((float)want))
        return (double)got == want || (isinf(want) == 0 && isinf(got));
    return fabs((double)got - want) <= RIG_ROUGH * error + RIG_UNIT * fabs(want) + 0x1p-149;
}

/* Result of plain C within RIG_ROUGH times the expected error [rows, cols] of want [rows, cols]. */
static inline void rig_check_values(const char *what, hyv_mat y, const double *want,
                                    const double *error)
{
    int64_t bad = 0, at = 0;
    for (int64_t i = 0; i < y.rows * y.cols; i++)
        if (!rig_close_enough(*rig_at(y, i / y.cols, i % y.cols), want[i], error[i]) && bad++ == 0)
            at = i;
    CHECK_MSG(bad == 0, "%s [%lld,%lld]: %lld wrong, first at %lld: %.9g, not %.9g +- %.3g", what,
              (long long)y.rows, (long long)y.cols, (long long)bad, (long long)at,
              (double)*rig_at(y, at / y.cols, at % y.cols), want[at], RIG_ROUGH * error[at]);
}

static inline void rig_compare(const rig *r, const char *what, const rig_mat *y, rig_op *op,
                               void *arg, const double *want, const double *error)
{
    rig_mat first = rig_copy(y);
    for (int i = 0; i < r->count; i++) {
        const bool defines = i == r->model[i];
        rig_mat copy = rig_copy(y);
        if (defines)
            memcpy(first.block, y->block, y->bytes);
        rig_mat *out = defines ? &first : &copy;
        op(r->be[i], out->m, arg);
        CHECK_MSG(hyv_backend_error(r->be[i]) == 0, "%s, %s: error %d", what, r->name[i],
                  hyv_backend_error(r->be[i]));
        CHECK_MSG(rig_guards_stand(out), "%s [%lld,%lld] ld %lld, %s: wrote outside", what,
                  (long long)y->m.rows, (long long)y->m.cols, (long long)y->m.ld, r->name[i]);
        if (defines && want)
            rig_check_values(what, first.m, want, error);
        CHECK_MSG(memcmp(first.block, out->block, first.bytes) == 0,
                  "%s [%lld,%lld]: %s gives other bytes than %s", what, (long long)y->m.rows,
                  (long long)y->m.cols, r->name[i], r->name[r->model[i]]);
        rig_free(&copy);
    }
    rig_free(&first);
}

/* A copy in bf16. */
static inline rig_mat rig_narrowed(const rig_mat *x)
{
    rig_mat half = rig_new(x->m.rows, x->m.cols, x->m.ld > x->m.cols, HYV_BF16);
    for (int64_t i = 0; i < x->m.rows; i++)
        for (int64_t j = 0; j < x->m.cols; j++)
            ((uint16_t *)half.m.data)[i * half.m.ld + j] = hyv_f32_to_bf16(*rig_at(x->m, i, j));
    return half;
}

/* With products in bf16 an operand that is stored so gives the same bytes as the same values in
 * f32: *operand, which `arg` holds, is x, whose rounded values are taken. */
static inline void rig_compare_narrowed(const rig *r, const char *what, const rig_mat *y,
                                        rig_op *op, void *arg, hyv_mat *operand, const rig_mat *x)
{
    if (r->precision != HYV_PRODUCTS_BF16)
        return;
    rig_mat half = rig_narrowed(x), rounded = rig_copy(x);
    for (int64_t i = 0; i < x->m.rows; i++)
        for (int64_t j = 0; j < x->m.cols; j++)
            *rig_at(rounded.m, i, j) =
                hyv_bf16_to_f32(((uint16_t *)half.m.data)[i * half.m.ld + j]);
    for (int i = 0; i < r->count; i++) {
        rig_mat wide = rig_copy(y), narrow = rig_copy(y);
        *operand = rounded.m;
        op(r->be[i], wide.m, arg);
        *operand = half.m;
        op(r->be[i], narrow.m, arg);
        CHECK_MSG(hyv_backend_error(r->be[i]) == 0, "%s of bf16, %s: error %d", what, r->name[i],
                  hyv_backend_error(r->be[i]));
        CHECK_MSG(memcmp(wide.block, narrow.block, wide.bytes) == 0,
                  "%s, %s: other bytes of an operand in bf16", what, r->name[i]);
        rig_free(&wide);
        rig_free(&narrow);
    }
    *operand = x->m;
    rig_free(&half);
    rig_free(&rounded);
}

static inline double *rig_doubles(int64_t count)
{
    double *d = calloc((size_t)count + 1, sizeof(*d));
    if (!d)
        exit(2);
    return d;
}

#endif
