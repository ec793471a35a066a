/* modulate: y (1 + scale) + shift. */
#include "rig.h"

typedef struct call {
    hyv_mat scale, shift;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_modulate(be, y, c->scale, c->shift);
}

static void one(const rig *r, int64_t rows, int64_t cols, rig_values kind, bool strided,
                check_random *random)
{
    rig_mat y = rig_new(rows, cols, strided, HYV_F32);
    rig_mat vectors = rig_new(2, cols, false, HYV_F32);
    rig_fill(y.m, kind, random);
    rig_fill(vectors.m, kind == RIG_HUGE ? RIG_MIXED : kind, random);
    call c = {hyv_rows(vectors.m, 0, 1), hyv_rows(vectors.m, 1, 1)};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    for (int64_t i = 0; i < rows * cols; i++) {
        const double v = (double)*rig_at(y.m, i / cols, i % cols);
        const double s = 1.0 + (double)*rig_at(vectors.m, 0, i % cols);
        want[i] = v * s + (double)*rig_at(vectors.m, 1, i % cols);
        error[i] = RIG_UNIT * (fabs(v * s) + fabs(want[i])); /* 1 + scale, and the result */
    }
    rig_compare(r, "modulate", &y, run, &c, want, error);
    free(want);
    free(error);
    rig_free(&y);
    rig_free(&vectors);
}

int main(void)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 7}, {5, 16}, {9, 33}, {300, 67}, {2, 4099}};
    check_random random = {7};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            one(&r, sizes[s][0], sizes[s][1], (rig_values)kind, kind & 1, &random);
    rig_close(&r);
    return check_done();
}
