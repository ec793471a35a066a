/* Nearest-neighbour doubling, and space to depth and back: rows are moved, nothing is computed. */
#include <string.h>

#include "cpu.h"

typedef struct move_call {
    hyv_mat y, x;
    hyv_grid grid, factor;
    bool time;
    hyv_shuffle_dir dir;
} move_call;

static void upsample_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const move_call *c = arg;
    const hyv_grid g = c->grid;
    (void)thread;
    for (int64_t r = first; r < first + rows; r++) {
        const int64_t w = r % (2 * g.w), h = r / (2 * g.w) % (2 * g.h), o = r / (4 * g.w * g.h);
        const int64_t t = c->time ? (o + 1) / 2 : o;
        memcpy(hyv_row(c->y, r), hyv_row(c->x, (t * g.h + h / 2) * g.w + w / 2),
               (size_t)c->x.cols * sizeof(float));
    }
}

void hyv_cpu_upsample(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, bool time)
{
    move_call c = {.y = y, .x = x, .grid = grid, .time = time};
    hyv_cpu_rows(be, y.rows, y.cols, upsample_rows, &c);
}

/* Rows are those of the spatial side. */
static void shuffle_rows(void *arg, int64_t first, int64_t rows, int thread)
{
    const move_call *c = arg;
    const hyv_grid g = c->grid, f = c->factor;
    const bool to_depth = c->dir == HYV_SPACE_TO_DEPTH;
    const hyv_mat space = to_depth ? c->x : c->y, depth = to_depth ? c->y : c->x;
    (void)thread;
    for (int64_t r = first; r < first + rows; r++) {
        const int64_t w = r % g.w, h = r / g.w % g.h, t = r / (g.w * g.h);
        const int64_t row = (t / f.t * (g.h / f.h) + h / f.h) * (g.w / f.w) + w / f.w;
        const int64_t part = (t % f.t * f.h + h % f.h) * f.w + w % f.w;
        float *a = hyv_row(space, r), *b = hyv_row(depth, row) + part * space.cols;
        memcpy(to_depth ? b : a, to_depth ? a : b, (size_t)space.cols * sizeof(float));
    }
}

void hyv_cpu_shuffle(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, hyv_grid factor,
                     hyv_shuffle_dir dir)
{
    move_call c = {.y = y, .x = x, .grid = grid, .factor = factor, .dir = dir};
    const hyv_mat space = dir == HYV_SPACE_TO_DEPTH ? x : y;
    hyv_cpu_rows(be, space.rows, space.cols, shuffle_rows, &c);
}
