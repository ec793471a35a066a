/* add: y + gate x, with and without a gate, also of a matrix to itself. */
#include "rig.h"

typedef struct call {
    hyv_mat x, gate;
    bool itself;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_add(be, y, c->itself ? y : c->x, c->gate);
}

static void one(const rig *r, int64_t rows, int64_t cols, rig_values kind, int variant,
                check_random *random)
{
    rig_mat y = rig_new(rows, cols, variant & 1, HYV_F32);
    rig_mat x = rig_new(rows, cols, !(variant & 1), HYV_F32);
    rig_mat gate = rig_new(1, cols, false, HYV_F32);
    rig_fill(y.m, kind, random);
    rig_fill(x.m, kind, random);
    rig_fill(gate.m, RIG_NORMAL, random);
    call c = {x.m, variant & 2 ? gate.m : HYV_NO_MAT, variant & 4};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    for (int64_t i = 0; i < rows * cols; i++) {
        const double g = c.gate.data ? (double)*rig_at(gate.m, 0, i % cols) : 1.0;
        const double v = (double)*rig_at(c.itself ? y.m : x.m, i / cols, i % cols);
        want[i] = (double)*rig_at(y.m, i / cols, i % cols) + g * v; /* one rounding: exact check */
    }
    rig_compare(r, "add", &y, run, &c, want, error);
    free(want);
    free(error);
    rig_free(&y);
    rig_free(&x);
    rig_free(&gate);
}

int main(void)
{
    static const int64_t sizes[][2] = {{1, 1}, {3, 7}, {5, 16}, {9, 33}, {300, 67}, {2, 4099}};
    check_random random = {9};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            for (int variant = 0; variant < 8; variant++)
                one(&r, sizes[s][0], sizes[s][1], (rig_values)kind, variant, &random);
    rig_close(&r);
    return check_done();
}
