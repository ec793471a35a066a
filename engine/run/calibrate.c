/* How long the planned operators will take: an example of each kind, the largest call that there
 * is, runs on the backend itself, cut to a size that takes a few hundredths of a second.
 *
 * Speed depends on the element type, on how many rows share a weight and on the depth of a product;
 * those are kept, the rest is cut. What has no kind goes by the number of operations of a
 * normalisation, and every call takes what a tiny one takes. Knows no pixels.
 */
#include <math.h>
#include <string.h>

#include "../base/util.h"
#include "plan.h"

enum {
    ROWS_MAX = 1024,
    DEPTH_MAX = 3072 /* whole blocks of any type */,
    KEYS_MAX = 8192,
    PICTURE_MAX = 64,
    FRAMES_MAX = 3,
    REPEATS_MAX = 2000
};

static const double PRODUCT_FLOPS = 4e9, EXAMPLE_FLOPS = 1.5e9, EXAMPLE_BYTES = 32 << 20,
                    EXAMPLE_SECONDS = 0.02;

/* Memory that examples share; grown by what comes. */
typedef struct bench {
    hyv_backend *be;
    double per_call; /* seconds */
} bench;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* As many of `n` as stay under `most`: whole groups of 64 where it is cut. */
static int64_t cut(int64_t n, double most)
{
    return (double)n <= most ? n : most < 64.0 ? 1 : (int64_t)(most / 64.0) * 64;
}

static hyv_mat new_mat(bench *b, hyv_mat like, int64_t rows, int64_t cols)
{
    const size_t bytes = hyv_type_size(like.type, rows * cols);
    hyv_mat m = {hyv_alloc(b->be, bytes, "calibration"), rows, cols, cols, like.type};
    if (m.data && b->be->ops->host_memory)
        memset(m.data, 0, bytes); /* touched, so that no page is met for the first time */
    return m;
}

static void free_mat(bench *b, hyv_mat m)
{
    hyv_free(b->be, m.data);
}

/* An example's operands; grid and kernel as in hyv_calls. */
typedef struct example {
    hyv_kind kind;
    hyv_calls call;
    hyv_mat y, x, k;
    hyv_weight weight;
} example;

static void run(bench *b, const example *e)
{
    const hyv_calls *c = &e->call;
    const hyv_grid one = {1, 1, 1};
    switch (e->kind) {
    case HYV_KIND_CONV:
        hyv_conv3d(b->be, e->y, e->x, &e->weight, c->grid, c->kernel, one);
        break;
    case HYV_KIND_UPSAMPLE_CONV:
        hyv_upsample_conv3d(b->be, e->y, e->x, &e->weight, c->grid, c->time);
        break;
    case HYV_KIND_ATTENTION:
        hyv_attention(b->be, e->y, e->x, e->k, e->k, c->heads, 0);
        break;
    default:
        hyv_linear(b->be, e->y, e->x, &e->weight);
        break;
    }
}

/* Operands of a product: columns are cut last, for they share what packing the rows costs. */
static void cut_linear(bench *b, example *e)
{
    const hyv_calls *c = &e->call;
    const int64_t rows = least(c->x.rows, ROWS_MAX), depth = least(c->x.cols, DEPTH_MAX);
    const double weight_row = (double)hyv_type_size(c->weight.w.type, depth);
    const double most =
        fmin(PRODUCT_FLOPS / (2.0 * (double)rows * (double)depth), EXAMPLE_BYTES / weight_row);
    const int64_t cols = cut(c->y.cols, most);
    e->x = new_mat(b, c->x, rows, depth);
    e->y = new_mat(b, c->y, rows, cols);
    e->weight = (hyv_weight){.w = new_mat(b, c->weight.w, cols, depth), .int8 = c->weight.int8};
}

/* Operands of a convolution: a part of the picture. */
static void cut_conv(bench *b, example *e)
{
    hyv_calls *c = &e->call;
    const bool up = e->kind == HYV_KIND_UPSAMPLE_CONV;
    const double ratio = (double)c->y.rows / (double)hyv_grid_rows(c->grid);
    const double voxel = c->example_flops / (double)hyv_grid_rows(c->grid);
    const double bytes = (double)(c->x.cols + (int64_t)ratio * c->y.cols) * sizeof(float);
    hyv_grid *g = &c->grid;
    *g = (hyv_grid){least(g->t, FRAMES_MAX), least(g->h, PICTURE_MAX), least(g->w, PICTURE_MAX)};
    while (g->h > 4 && ((double)hyv_grid_rows(*g) * voxel > EXAMPLE_FLOPS ||
                        (double)hyv_grid_rows(*g) * bytes > EXAMPLE_BYTES))
        g->h--;
    const int64_t rows = hyv_grid_rows(*g);
    const int64_t frames = up && c->time ? 2 * g->t - 1 : g->t;
    e->x = new_mat(b, c->x, rows, c->x.cols);
    e->y = new_mat(b, c->y, frames * g->h * g->w * (up ? 4 : 1), c->y.cols);
    e->weight = (hyv_weight){.w = new_mat(b, c->weight.w, c->weight.w.rows, c->weight.w.cols)};
}

static void cut_attention(bench *b, example *e)
{
    const hyv_calls *c = &e->call;
    const int64_t keys = least(c->k.rows, KEYS_MAX);
    const double most = EXAMPLE_FLOPS / (4.0 * (double)c->x.cols * (double)keys);
    const int64_t rows = least(cut(c->x.rows, most < 64.0 ? 64.0 : most), keys);
    e->x = new_mat(b, c->x, rows, c->x.cols);
    e->y = new_mat(b, c->y, rows, c->y.cols);
    e->k = new_mat(b, c->k, keys, c->k.cols);
}

/* Seconds for an operation of this kind; infinite rates of kinds that there are none of are 0. */
static double time_kind(bench *b, hyv_kind kind, const hyv_calls *call)
{
    example e = {.kind = kind, .call = *call};
    if (call->flops <= 0.0)
        return 0.0;
    if (kind == HYV_KIND_ATTENTION)
        cut_attention(b, &e);
    else if (kind == HYV_KIND_CONV || kind == HYV_KIND_UPSAMPLE_CONV)
        cut_conv(b, &e);
    else
        cut_linear(b, &e);
    run(b, &e); /* wakes threads and buffers */
    const double flops = b->be->stats.flops, begin = hyv_seconds();
    double end = begin;
    for (int i = 0; i < REPEATS_MAX && end - begin < EXAMPLE_SECONDS; i++) {
        run(b, &e);
        end = hyv_seconds();
    }
    free_mat(b, e.x);
    free_mat(b, e.y);
    free_mat(b, e.k);
    free_mat(b, e.weight.w);
    const double done = b->be->stats.flops - flops;
    return done > 0.0 ? (end - begin) / done : 0.0;
}

/* Seconds for an operation outside of the kinds, and for a call of no size. */
static double time_others(bench *b)
{
    enum { ROWS = 64, COLS = 1024, TINY = 16, TIMES = 64 };
    const hyv_mat like = {.type = b->be->ops->activation};
    const hyv_mat x = new_mat(b, like, ROWS, COLS), y = new_mat(b, like, ROWS, COLS);
    const hyv_mat a = hyv_cols(hyv_rows(x, 0, 1), 0, TINY),
                  c = hyv_cols(hyv_rows(y, 0, 1), 0, TINY);
    hyv_layer_norm(b->be, y, x, NULL, 1e-6f);
    double begin = hyv_seconds();
    for (int i = 0; i < TIMES; i++)
        hyv_add(b->be, a, c, HYV_NO_MAT);
    b->per_call = (hyv_seconds() - begin) / TIMES;
    const double flops = b->be->stats.flops;
    begin = hyv_seconds();
    for (int i = 0; i < TIMES; i++) {
        hyv_layer_norm(b->be, y, x, NULL, 1e-6f);
        hyv_act(b->be, y, y, HYV_NO_MAT, HYV_GELU_TANH);
        hyv_add(b->be, y, x, HYV_NO_MAT);
    }
    const double seconds = (hyv_seconds() - begin) / (b->be->stats.flops - flops);
    free_mat(b, x);
    free_mat(b, y);
    return seconds;
}

/* Seconds of all operators of `work`, by what an operation of each kind takes. */
static double add_up(const bench *b, const hyv_work *work, const double each[HYV_KINDS + 1])
{
    double left = work->flops, seconds = (double)work->calls * b->per_call;
    for (int k = 0; k < HYV_KINDS; k++) {
        seconds += work->kind[k].flops * each[k];
        left -= work->kind[k].flops;
    }
    return seconds + fmax(left, 0.0) * each[HYV_KINDS];
}

int hyv_plan_seconds(const hyv_plan *plan, hyv_backend *be, hyv_plan_times *times)
{
    bench b = {.be = be};
    double each[HYV_KINDS + 1];
    *times = (hyv_plan_times){0};
    each[HYV_KINDS] = time_others(&b);
    for (int c = 0; c < HYV_COMPONENTS && !hyv_backend_error(be); c++) {
        const hyv_cost *cost = &plan->network[c];
        for (int k = 0; k < HYV_KINDS; k++)
            each[k] = time_kind(&b, (hyv_kind)k, &cost->work.kind[k]);
        times->network[c] = add_up(&b, &cost->work, each);
        if (c == HYV_TRANSFORMER)
            times->step = add_up(&b, &cost->step, each);
    }
    return hyv_backend_error(be);
}
