/* shuffle: both directions against the sentence that defines them, and there and back again. */
#include "rig.h"

typedef struct call {
    hyv_mat x;
    hyv_grid grid, factor;
    hyv_shuffle_dir dir;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_shuffle(be, y, c->x, c->grid, c->factor, c->dir);
}

static void one(const rig *r, hyv_grid deep, hyv_grid f, int64_t cols, bool strided,
                check_random *random)
{
    const hyv_grid g = {deep.t * f.t, deep.h * f.h, deep.w * f.w};
    const int64_t factor = hyv_grid_rows(f);
    rig_mat space = rig_new(hyv_grid_rows(g), cols, strided, HYV_F32);
    rig_mat depth = rig_new(hyv_grid_rows(deep), cols * factor, !strided, HYV_F32);
    rig_fill(space.m, RIG_NORMAL, random);
    double *want = rig_doubles(space.m.rows * cols), *error = rig_doubles(space.m.rows * cols);
    double *back = rig_doubles(space.m.rows * cols);
    int64_t at = 0;
    for (int64_t t = 0; t < deep.t; t++)
        for (int64_t h = 0; h < deep.h; h++)
            for (int64_t w = 0; w < deep.w; w++)
                for (int64_t a = 0; a < f.t; a++)
                    for (int64_t b = 0; b < f.h; b++)
                        for (int64_t c = 0; c < f.w; c++)
                            for (int64_t k = 0; k < cols; k++) {
                                const int64_t row =
                                    ((t * f.t + a) * g.h + h * f.h + b) * g.w + w * f.w + c;
                                want[at++] = (double)*rig_at(space.m, row, k);
                            }
    for (int64_t i = 0; i < space.m.rows * cols; i++)
        back[i] = (double)*rig_at(space.m, i / cols, i % cols);
    call c = {space.m, g, f, HYV_SPACE_TO_DEPTH};
    rig_compare(r, "space to depth", &depth, run, &c, want, error);
    hyv_shuffle(r->be[0], depth.m, space.m, g, f, HYV_SPACE_TO_DEPTH);
    rig_mat again = rig_new(space.m.rows, cols, strided, HYV_F32);
    c = (call){depth.m, g, f, HYV_DEPTH_TO_SPACE};
    rig_compare(r, "depth to space", &again, run, &c, back, error);
    free(want);
    free(error);
    free(back);
    rig_free(&space);
    rig_free(&depth);
    rig_free(&again);
}

int main(void)
{
    static const hyv_grid deep[] = {{1, 1, 1}, {1, 3, 5}, {3, 1, 2}, {3, 4, 5}};
    static const hyv_grid factor[] = {{1, 1, 1}, {1, 2, 2}, {2, 2, 2}, {2, 1, 3}};
    check_random random = {13};
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (size_t i = 0; i < sizeof(deep) / sizeof(deep[0]); i++)
        for (size_t j = 0; j < sizeof(factor) / sizeof(factor[0]); j++)
            one(&r, deep[i], factor[j], i == 1 ? 67 : 3, (i + j) & 1, &random);
    rig_close(&r);
    return check_done();
}
