/* rms_norm against its formula in double precision, over whole rows and over heads. */
#include "rig.h"

typedef struct call {
    hyv_mat x;
    const float *weight;
    int64_t width;
    float eps;
    bool in_place;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_rms_norm(be, y, c->in_place ? y : c->x, c->weight, c->width, c->eps);
}

static void reference(const call *c, double *want, double *error)
{
    const int64_t cols = c->x.cols;
    const double n = (double)c->width, steps = sqrt(n / 16.0 + 5.0);
    for (int64_t i = 0; i < c->x.rows; i++)
        for (int64_t first = 0; first < cols; first += c->width) {
            double square = 0.0;
            for (int64_t k = first; k < first + c->width; k++)
                square += pow((double)*rig_at(c->x, i, k), 2.0) / n;
            const double factor = 1.0 / sqrt(square + (double)c->eps);
            for (int64_t k = first; k < first + c->width; k++) {
                const double w = c->weight ? (double)c->weight[k - first] : 1.0;
                want[i * cols + k] = (double)*rig_at(c->x, i, k) * factor * w;
                error[i * cols + k] = fabs(want[i * cols + k]) * RIG_UNIT * (steps + 5.0);
            }
        }
}

static void one(const rig *r, int64_t rows, int64_t heads, int64_t width, rig_values kind,
                int variant, check_random *random)
{
    const int64_t cols = heads * width;
    rig_mat x = rig_new(rows, cols, variant & 1, HYV_F32), y = rig_new(rows, cols, true, HYV_F32);
    rig_mat weight = rig_new(1, width, false, HYV_F32);
    rig_fill(x.m, kind, random);
    rig_fill(weight.m, RIG_NORMAL, random);
    call c = {x.m, variant & 2 ? weight.m.data : NULL, width, variant & 4 ? 1e-6f : 1e-5f, false};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    reference(&c, want, error);
    rig_compare(r, "rms_norm", &y, run, &c, want, error);
    c.in_place = true;
    rig_compare(r, "rms_norm in place", &x, run, &c, want, error);
    free(want);
    free(error);
    rig_free(&x);
    rig_free(&y);
    rig_free(&weight);
}

int main(void)
{
    static const int64_t sizes[][3] = {{1, 1, 1},  {3, 5, 2},    {4, 1, 15},   {4, 3, 16},
                                       {7, 2, 17}, {257, 3, 23}, {5, 24, 128}, {3, 1, 4099}};
    check_random random = {5};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            one(&r, sizes[s][0], sizes[s][1], sizes[s][2], (rig_values)kind,
                (int)check_random_int(&random, 0, 7), &random);
    for (int variant = 0; variant < 8; variant++)
        one(&r, 11, 3, 19, RIG_NORMAL, variant, &random);
    rig_close(&r);
    return check_done();
}
