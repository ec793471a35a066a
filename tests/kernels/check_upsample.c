/* upsample: every output voxel against the sentence that defines it. */
#include "rig.h"

typedef struct call {
    hyv_mat x;
    hyv_grid grid;
    bool time;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_upsample(be, y, c->x, c->grid, c->time);
}

static void one(const rig *r, hyv_grid g, int64_t cols, bool time, bool strided,
                check_random *random)
{
    const int64_t frames = time ? 2 * g.t - 1 : g.t, rows = frames * g.h * g.w * 4;
    rig_mat x = rig_new(hyv_grid_rows(g), cols, strided, HYV_F32);
    rig_mat y = rig_new(rows, cols, !strided, HYV_F32);
    rig_fill(x.m, RIG_NORMAL, random);
    call c = {x.m, g, time};
    double *want = rig_doubles(rows * cols), *error = rig_doubles(rows * cols);
    int64_t at = 0;
    for (int64_t t = 0; t < frames; t++)
        for (int64_t h = 0; h < 2 * g.h; h++)
            for (int64_t w = 0; w < 2 * g.w; w++)
                for (int64_t k = 0; k < cols; k++) {
                    /* the first frame stands alone, each later one is there twice */
                    const int64_t from = !time ? t : t == 0 ? 0 : 1 + (t - 1) / 2;
                    want[at++] = (double)*rig_at(x.m, (from * g.h + h / 2) * g.w + w / 2, k);
                }
    rig_compare(r, "upsample", &y, run, &c, want, error);
    free(want);
    free(error);
    rig_free(&x);
    rig_free(&y);
}

int main(void)
{
    static const hyv_grid grids[] = {{1, 1, 1}, {1, 3, 5}, {2, 1, 1}, {5, 3, 2}, {4, 7, 9}};
    check_random random = {12};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t i = 0; i < sizeof(grids) / sizeof(grids[0]); i++)
        for (int variant = 0; variant < 4; variant++)
            one(&r, grids[i], i == 4 ? 129 : 3, variant & 1, variant & 2, &random);
    rig_close(&r);
    return check_done();
}
