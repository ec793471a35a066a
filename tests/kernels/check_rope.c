/* rope: pairs of neighbouring channels turned by the table's angles, the same for every head. */
#include "rig.h"

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const hyv_rope_table *table = arg;
    hyv_rope(be, y, *table);
}

static void one(const rig *r, int64_t rows, int64_t heads, int64_t d, rig_values kind, bool strided,
                check_random *random)
{
    const int64_t cols = heads * d;
    rig_mat x = rig_new(rows, cols, strided, HYV_F32);
    rig_mat cosine = rig_new(rows, d, !strided, HYV_F32), sine = rig_new(rows, d, true, HYV_F32);
    rig_fill(x.m, kind, random);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < d; k++) {
            const float angle = k % 2 ? 0.0f : 3.2f * check_random_float(random);
            *rig_at(cosine.m, i, k) = k % 2 ? *rig_at(cosine.m, i, k - 1) : cosf(angle);
            *rig_at(sine.m, i, k) = k % 2 ? *rig_at(sine.m, i, k - 1) : sinf(angle);
        }
    hyv_rope_table table = {cosine.m, sine.m};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    for (int64_t i = 0; i < rows * cols; i += 2) {
        const int64_t row = i / cols, col = i % cols;
        const double a = (double)*rig_at(x.m, row, col), b = (double)*rig_at(x.m, row, col + 1);
        const double c = (double)*rig_at(cosine.m, row, col % d);
        const double s = (double)*rig_at(sine.m, row, col % d);
        want[i] = a * c - b * s;
        want[i + 1] = b * c + a * s;
        error[i] = RIG_UNIT * (fabs(b * s) + fabs(want[i])); /* one product, then the result */
        error[i + 1] = RIG_UNIT * (fabs(a * s) + fabs(want[i + 1]));
    }
    rig_compare(r, "rope", &x, run, &table, want, error);
    free(want);
    free(error);
    rig_free(&x);
    rig_free(&cosine);
    rig_free(&sine);
}

int main(void)
{
    static const int64_t sizes[][3] = {{1, 1, 2},  {3, 5, 6},   {4, 1, 14},
                                       {4, 3, 16}, {7, 2, 128}, {257, 3, 22}};
    check_random random = {8};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++)
        for (int kind = 0; kind < RIG_VALUES; kind++)
            one(&r, sizes[s][0], sizes[s][1], sizes[s][2], (rig_values)kind, kind & 1, &random);
    rig_close(&r);
    return check_done();
}
