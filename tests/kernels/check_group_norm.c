/* group_norm against its formula in double precision, also for more rows than one block sums; and
 * statistics with normalise_silu against group_norm and SiLU one after the other, byte for byte. */
#include "rig.h"

typedef struct call {
    hyv_mat x;
    int groups;
    const hyv_affine *affine;
    float eps;
    bool in_place;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_group_norm(be, y, c->in_place ? y : c->x, c->groups, c->affine, c->eps);
}

/* Sums are in double, so mean and factor carry one rounding to f32 each. What double itself loses
 * in E[x^2] - mean^2 matters only where the mean is far larger than the spread. */
static void reference(const call *c, double *want, double *error)
{
    const int64_t cols = c->x.cols, width = cols / c->groups;
    const double n = (double)c->x.rows * (double)width;
    for (int g = 0; g < c->groups; g++) {
        long double sum = 0.0L, square = 0.0L;
        for (int64_t i = 0; i < c->x.rows; i++)
            for (int64_t k = g * width; k < (g + 1) * width; k++)
                sum += (long double)*rig_at(c->x, i, k);
        const double mean = (double)(sum / (long double)n);
        for (int64_t i = 0; i < c->x.rows; i++)
            for (int64_t k = g * width; k < (g + 1) * width; k++)
                square += powl((long double)*rig_at(c->x, i, k) - (long double)mean, 2.0L);
        const double variance = (double)(square / (long double)n) + (double)c->eps;
        const double lost = sqrt(n) * 0x1p-53 * (mean * mean + variance);
        const double factor = 1.0 / sqrt(variance);
        for (int64_t i = 0; i < c->x.rows; i++)
            for (int64_t k = g * width; k < (g + 1) * width; k++) {
                const double w =
                    c->affine && c->affine->weight ? (double)c->affine->weight[k] : 1.0;
                const double b = c->affine && c->affine->bias ? (double)c->affine->bias[k] : 0.0;
                const double norm = ((double)*rig_at(c->x, i, k) - mean) * factor;
                want[i * cols + k] = norm * w + b;
                error[i * cols + k] = fabs(w) * (RIG_UNIT * fabs(mean) * factor +
                                                 fabs(norm) * (4.0 * RIG_UNIT + lost / variance)) +
                                      RIG_UNIT * fabs(want[i * cols + k]);
            }
    }
}

static void run_parts(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    rig_mat statistics = rig_new(HYV_STATISTICS, y.cols, true, HYV_F32);
    const hyv_mat x = c->in_place ? y : c->x;
    hyv_group_statistics(be, statistics.m, x, c->groups, c->affine, c->eps);
    hyv_normalise_silu(be, y, x, statistics.m);
    CHECK(rig_guards_stand(&statistics));
    rig_free(&statistics);
}

/* What the parts make is what the whole and an activation make. */
static void check_parts(const rig *r, const rig_mat *y, call *c)
{
    rig_mat want = rig_copy(y);
    run(r->be[0], want.m, c);
    hyv_act(r->be[0], want.m, want.m, HYV_NO_MAT, HYV_SILU);
    for (int i = 0; i < r->count; i++) {
        rig_mat got = rig_copy(y);
        run_parts(r->be[i], got.m, c);
        CHECK_MSG(memcmp(got.block, want.block, got.bytes) == 0 && hyv_backend_error(r->be[i]) == 0,
                  "normalise_silu [%lld,%lld]%s, %s: other bytes than group_norm and silu",
                  (long long)y->m.rows, (long long)y->m.cols, c->in_place ? " in place" : "",
                  r->name[i]);
        rig_free(&got);
    }
    rig_free(&want);
}

/* Where products are in bf16 the result may be, and is the other one's rounded. */
static void check_narrow(const rig *narrow, const rig_mat *y, call *c)
{
    for (int i = 0; i < narrow->count; i++) {
        rig_mat wide = rig_copy(y), got = rig_new(y->m.rows, y->m.cols, true, HYV_BF16);
        run_parts(narrow->be[i], wide.m, c);
        run_parts(narrow->be[i], got.m, c);
        rig_mat want = rig_narrowed(&wide);
        CHECK(hyv_backend_error(narrow->be[i]) == 0 && rig_guards_stand(&got));
        for (int64_t row = 0; row < y->m.rows; row++)
            CHECK_MSG(memcmp((const uint16_t *)got.m.data + row * got.m.ld,
                             (const uint16_t *)want.m.data + row * want.m.ld,
                             (size_t)y->m.cols * sizeof(uint16_t)) == 0,
                      "normalise_silu to bf16, %s, row %lld: not the rounded one", narrow->name[i],
                      (long long)row);
        rig_free(&wide);
        rig_free(&got);
        rig_free(&want);
    }
}

static void one(const rig *r, int64_t rows, int groups, int64_t width, rig_values kind, float shift,
                int variant, check_random *random)
{
    const int64_t cols = groups * width;
    rig_mat x = rig_new(rows, cols, variant & 1, HYV_F32), y = rig_new(rows, cols, true, HYV_F32);
    rig_mat vectors = rig_new(2, cols, false, HYV_F32);
    rig_fill(x.m, kind, random);
    rig_fill(vectors.m, RIG_NORMAL, random);
    for (int64_t i = 0; i < rows * cols; i++)
        *rig_at(x.m, i / cols, i % cols) += shift;
    const hyv_affine affine = {variant & 2 ? rig_at(vectors.m, 0, 0) : NULL,
                               variant & 4 ? rig_at(vectors.m, 1, 0) : NULL};
    call c = {x.m, groups, variant & 6 ? &affine : NULL, 1e-6f, false};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    reference(&c, want, error);
    rig_compare(r, "group_norm", &y, run, &c, want, error);
    check_parts(r, &y, &c);
    c.in_place = true;
    rig_compare(r, "group_norm in place", &x, run, &c, want, error);
    check_parts(r, &x, &c);
    free(want);
    free(error);
    rig_free(&x);
    rig_free(&y);
    rig_free(&vectors);
}

static void check_every_narrow(check_random *random)
{
    static const int64_t sizes[][3] = {{1, 1, 1}, {3, 2, 130}, {40, 32, 4}, {9, 3, 171}};
    rig r;
    rig_open(&r, HYV_PRODUCTS_BF16);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++) {
            const int64_t cols = sizes[s][1] * sizes[s][2];
            rig_mat x = rig_new(sizes[s][0], cols, true, HYV_F32);
            rig_mat y = rig_new(sizes[s][0], cols, true, HYV_F32);
            rig_fill(x.m, (rig_values)kind, random);
            call c = {x.m, (int)sizes[s][1], NULL, 1e-6f, false};
            check_narrow(&r, &y, &c);
            rig_mat half = rig_new(sizes[s][0], cols, true, HYV_BF16);
            rig_compare_narrowed(&r, "normalise_silu", &y, run_parts, &c, &c.x, &x);
            rig_compare_narrowed(&r, "normalise_silu to bf16", &half, run_parts, &c, &c.x, &x);
            rig_free(&x);
            rig_free(&y);
            rig_free(&half);
        }
    rig_close(&r);
}

int main(void)
{
    static const int64_t sizes[][3] = {{1, 1, 1},  {3, 2, 2},    {5, 3, 5},    {40, 32, 4},
                                       {9, 1, 67}, {1023, 2, 3}, {1025, 3, 1}, {5000, 2, 5}};
    check_random random = {6};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            one(&r, sizes[s][0], (int)sizes[s][1], sizes[s][2], (rig_values)kind, 0.0f,
                (int)check_random_int(&random, 0, 7), &random);
    for (int variant = 0; variant < 8; variant++)
        one(&r, 2500, 2, 3, RIG_NORMAL, 1000.0f, variant, &random);
    rig_close(&r);
    check_every_narrow(&random);
    return check_done();
}
