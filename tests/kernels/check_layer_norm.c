/* layer_norm against its formula in double precision, and every backend against plain C. */
#include "rig.h"

typedef struct call {
    hyv_mat x;
    const hyv_affine *affine;
    float eps;
    bool in_place;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_layer_norm(be, y, c->in_place ? y : c->x, c->affine, c->eps);
}

/* A sum of 16 partial sums has n / 16 + 4 roundings one after the other; independent ones grow
 * with their square root. */
static void reference(const call *c, double *want, double *error)
{
    const int64_t n = c->x.cols;
    const double steps = sqrt((double)(n / 16 + 5));
    for (int64_t i = 0; i < c->x.rows; i++) {
        double mean = 0.0, size = 0.0, variance = 0.0;
        for (int64_t k = 0; k < n; k++) {
            mean += (double)*rig_at(c->x, i, k) / (double)n;
            size += fabs((double)*rig_at(c->x, i, k)) / (double)n;
        }
        for (int64_t k = 0; k < n; k++)
            variance += pow((double)*rig_at(c->x, i, k) - mean, 2.0) / (double)n;
        const double mean_error = RIG_UNIT * (steps * size + fabs(mean));
        const double factor = 1.0 / sqrt(variance + (double)c->eps);
        const double factor_error = /* relative */
            RIG_UNIT * (steps + 4.0) + mean_error * mean_error * factor * factor;
        for (int64_t k = 0; k < n; k++) {
            const double w = c->affine && c->affine->weight ? (double)c->affine->weight[k] : 1.0;
            const double b = c->affine && c->affine->bias ? (double)c->affine->bias[k] : 0.0;
            const double norm = ((double)*rig_at(c->x, i, k) - mean) * factor;
            want[i * n + k] = norm * w + b;
            error[i * n + k] = fabs(w) * (mean_error * factor + fabs(norm) * factor_error) +
                               RIG_UNIT * (fabs(want[i * n + k]) + fabs(norm * w));
        }
    }
}

static void one(const rig *r, int64_t rows, int64_t cols, rig_values kind, int variant,
                check_random *random)
{
    rig_mat x = rig_new(rows, cols, variant & 1, HYV_F32), y = rig_new(rows, cols, true, HYV_F32);
    rig_mat vectors = rig_new(2, cols, false, HYV_F32);
    rig_fill(x.m, kind, random);
    rig_fill(vectors.m, RIG_NORMAL, random);
    const hyv_affine affine = {variant & 2 ? rig_at(vectors.m, 0, 0) : NULL,
                               variant & 4 ? rig_at(vectors.m, 1, 0) : NULL};
    call c = {x.m, variant & 6 ? &affine : NULL, variant & 8 ? 1e-6f : 1e-5f, false};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    reference(&c, want, error);
    rig_compare(r, "layer_norm", &y, run, &c, want, error);
    c.in_place = true;
    rig_compare(r, "layer_norm in place", &x, run, &c, want, error);
    free(want);
    free(error);
    rig_free(&x);
    rig_free(&y);
    rig_free(&vectors);
}

int main(void)
{
    static const int64_t sizes[][2] = {{1, 1},   {3, 2},    {5, 15},   {4, 16},  {7, 17},
                                       {33, 48}, {257, 67}, {2, 3072}, {9, 4099}};
    check_random random = {4};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            one(&r, sizes[s][0], sizes[s][1], (rig_values)kind,
                (int)check_random_int(&random, 0, 15), &random);
    for (int variant = 0; variant < 16; variant++)
        one(&r, 11, 37, RIG_NORMAL, variant, &random);
    rig_close(&r);
    return check_done();
}
