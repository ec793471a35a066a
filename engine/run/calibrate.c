/* How long the planned operators will take: for each kind and size that
 * matters, the largest call that there is runs on the backend itself, cut to a
 * size that takes a few milliseconds.
 *
 * What speed depends on is kept: the element type, enough rows to share a
 * weight and columns to share what packing the rows costs, keys of an
 * attention. Cheap kinds and sizes that make up hardly anything of a network
 * are not timed, they go by their neighbours. Knows no pixels.
 */
#include <math.h>
#include <string.h>

#include "../base/util.h"
#include "plan.h"

enum {
    ROWS_MAX = 512,
    COLS_MAX = 1024,
    DEPTH_MAX = 3072,   /* where rows are few */
    STEP = 256,         /* whole blocks of any type, */
    CHANNELS_STEP = 32, /* and of convolutions, whose weights are read by taps */
    CHANNELS_MAX = 128,
    FILTERS_MAX = 128,
    KEYS_MAX = 2048,
    PICTURE_MAX = 32,
    FRAMES_MAX = 2,
    REPEATS_MAX = 200,
    EXAMPLES = 20, /* some models' number of kinds and sizes that matter */
    FILL = 0x3c    /* a byte that makes small numbers of every float type, and small scales */
};

static const double EXAMPLE_FLOPS = 5e8, CONV_FLOPS = 2e9, /* of which fewer may be done */
    EXAMPLE_BYTES = 32 << 20, EXAMPLE_ELEMENTS = 2 << 20, EXAMPLE_SECONDS = 0.006, SHARE_MIN = 0.02,
                    CALIBRATION_SECONDS = 0.3, /* on a busy machine; else half of it will do */
    CALIBRATION_SHARE = 0.01,                  /* of what is to be estimated, at most, */
    CALIBRATION_LEAST = 0.01;                  /* but so many seconds */

/* What a call takes: seconds, and seconds for an operation or an element. */
typedef struct rate {
    double call, work;
    bool known;
} rate;

typedef struct bench {
    hyv_backend *be;
    double call;         /* seconds for a call of no size */
    double limit;        /* seconds that calibrating may take */
    double all, fastest; /* seconds of all timed runs, and had each been its
                            kind's fastest */
    rate rate[HYV_KINDS][HYV_SIZES];
} bench;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* As many of `n` as stay under `most`: whole steps where it is cut, one at
 * least. */
static int64_t cut(int64_t n, double most, int64_t step)
{
    if ((double)n <= most || n <= step)
        return n;
    return most < (double)step ? step : (int64_t)(most / (double)step) * step;
}

static bool is_product(hyv_kind kind)
{
    return kind < HYV_KIND_LAYER_NORM;
}

/* ---- operands
 * --------------------------------------------------------------------------------
 */

/* An example with memory of its own. */
typedef struct trial {
    hyv_kind kind;
    hyv_example call;
    hyv_mat y, x, k;
    hyv_weight weight;
} trial;

static hyv_mat new_mat(bench *b, hyv_mat like, int64_t rows, int64_t cols)
{
    const size_t bytes = hyv_type_size(like.type, rows * cols);
    hyv_mat m = {hyv_alloc(b->be, bytes, "calibration"), rows, cols, cols, like.type};
    if (m.data && b->be->ops->host_memory)
        memset(m.data, FILL, bytes); /* no page is met for the first time, no product is of zeros */
    return m;
}

static void free_mat(bench *b, hyv_mat m)
{
    hyv_free(b->be, m.data);
}

static void cut_linear(bench *b, trial *t)
{
    const hyv_example *c = &t->call;
    const int64_t rows = least(c->x.rows, ROWS_MAX);
    int64_t cols = least(c->y.cols, COLS_MAX), depth;
    if (t->kind == HYV_KIND_LINEAR_FEW) {
        depth = least(c->x.cols, DEPTH_MAX);
        const double row_bytes = (double)hyv_type_size(c->weight.w.type, depth);
        const double most =
            fmin(EXAMPLE_FLOPS / (2.0 * (double)(rows * depth)), EXAMPLE_BYTES / row_bytes);
        cols = cut(c->y.cols, most, STEP);
    } else {
        depth = cut(c->x.cols, EXAMPLE_FLOPS / (2.0 * (double)(rows * cols)), STEP);
    }
    t->x = new_mat(b, c->x, rows, depth);
    t->y = new_mat(b, c->y, rows, cols);
    t->weight = (hyv_weight){.w = new_mat(b, c->weight.w, cols, depth), .int8 = c->weight.int8};
}

/* Fewer channels and filters, then a part of the picture. */
static void cut_conv(bench *b, trial *t)
{
    hyv_example *c = &t->call;
    const bool up = t->kind == HYV_KIND_UPSAMPLE_CONV;
    const int64_t taps = c->weight.w.cols / c->x.cols;
    const int64_t channels = cut(c->x.cols, CHANNELS_MAX, CHANNELS_STEP);
    const int64_t filters = cut(c->y.cols, FILTERS_MAX, CHANNELS_STEP);
    const int64_t groups = (filters + HYV_KIND_COLS - 1) / HYV_KIND_COLS;
    const double flops = 2.0 * (double)(taps * channels * groups * HYV_KIND_COLS * (up ? 4 : 1));
    hyv_grid *g = &c->grid;
    *g = (hyv_grid){least(g->t, FRAMES_MAX), least(g->h, PICTURE_MAX), least(g->w, PICTURE_MAX)};
    while ((double)hyv_grid_rows(*g) * flops > CONV_FLOPS && (g->h > 4 || g->w > 4)) {
        g->h = g->h > 4 ? g->h / 2 : g->h;
        g->w = g->h > 4 ? g->w : g->w / 2;
    }
    const int64_t frames = up && c->time ? 2 * g->t - 1 : g->t;
    t->x = new_mat(b, c->x, hyv_grid_rows(*g), channels);
    t->y = new_mat(b, c->y, frames * g->h * g->w * (up ? 4 : 1), filters);
    t->weight = (hyv_weight){.w = new_mat(b, c->weight.w, filters, taps * channels)};
}

/* Fewer heads, then fewer keys and queries. */
static void cut_attention(bench *b, trial *t)
{
    hyv_example *c = &t->call;
    const int64_t d = c->x.cols / c->heads, group = c->x.cols / c->k.cols;
    const int64_t keys = least(c->k.rows, KEYS_MAX);
    const double a_head = 4.0 * (double)(group * d * keys);
    const int64_t rows = cut(least(c->x.rows, keys), EXAMPLE_FLOPS / a_head, STEP);
    const int64_t heads =
        cut(c->k.cols / d, EXAMPLE_FLOPS / (a_head * (double)rows), 1); /* of keys */
    c->heads = (int)(heads * group);
    t->x = new_mat(b, c->x, rows, c->heads * d);
    t->y = new_mat(b, c->y, rows, c->heads * d);
    t->k = new_mat(b, c->k, keys, heads * d);
}

static void cut_rows(bench *b, trial *t)
{
    const hyv_example *c = &t->call;
    const bool sums = t->kind == HYV_KIND_GROUP_STATISTICS;
    const int64_t rows = cut(c->x.rows, EXAMPLE_ELEMENTS / (double)c->x.cols, 1);
    t->x = new_mat(b, c->x, rows, c->x.cols);
    t->y = new_mat(b, c->y, sums ? HYV_STATISTICS : rows, c->y.cols);
}

/* ---- timing
 * ----------------------------------------------------------------------------------
 */

static void run(bench *b, const trial *t)
{
    const hyv_example *c = &t->call;
    const hyv_grid one = {1, 1, 1};
    switch (t->kind) {
    case HYV_KIND_CONV:
        hyv_conv3d(b->be, t->y, t->x, &t->weight, c->grid, c->kernel, one);
        break;
    case HYV_KIND_UPSAMPLE_CONV:
        hyv_upsample_conv3d(b->be, t->y, t->x, &t->weight, c->grid, c->time);
        break;
    case HYV_KIND_ATTENTION:
        hyv_attention(b->be, t->y, t->x, t->k, t->k, c->heads, 0);
        break;
    case HYV_KIND_LAYER_NORM:
        hyv_layer_norm(b->be, t->y, t->x, NULL, 1e-6f);
        break;
    case HYV_KIND_RMS_NORM:
        hyv_rms_norm(b->be, t->y, t->x, NULL, c->width, 1e-6f);
        break;
    case HYV_KIND_GROUP_NORM:
        hyv_group_norm(b->be, t->y, t->x, (int)(t->x.cols / c->width), NULL, 1e-6f);
        break;
    case HYV_KIND_GROUP_STATISTICS:
        hyv_group_statistics(b->be, t->y, t->x, (int)(t->x.cols / c->width), NULL, 1e-6f);
        break;
    case HYV_KIND_SILU:
    case HYV_KIND_ACT:
        hyv_act(b->be, t->y, t->x, HYV_NO_MAT, c->f);
        break;
    case HYV_KIND_MOVE:
        hyv_add(b->be, t->y, t->x, HYV_NO_MAT);
        break;
    default:
        hyv_linear(b->be, t->y, t->x, &t->weight);
        break;
    }
}

/* In the plan's measure. */
static double work_of(const trial *t, double flops)
{
    const double groups = ceil((double)t->y.cols / HYV_KIND_COLS);
    if (!is_product(t->kind))
        return (double)(t->x.rows * t->x.cols);
    return t->kind == HYV_KIND_ATTENTION ? flops
                                         : flops * groups * HYV_KIND_COLS / (double)t->y.cols;
}

/* The fastest of a few runs, so that what else the machine does disturbs no
 * single rate; it is made up for by how long they took in all. */
static rate time_example(bench *b, hyv_kind kind, const hyv_example *call)
{
    trial t = {.kind = kind, .call = *call};
    if (kind == HYV_KIND_LINEAR || kind == HYV_KIND_LINEAR_FEW)
        cut_linear(b, &t);
    else if (kind == HYV_KIND_ATTENTION)
        cut_attention(b, &t);
    else if (is_product(kind))
        cut_conv(b, &t);
    else
        cut_rows(b, &t);
    const double before = b->be->stats.flops;
    run(b, &t); /* wakes threads and buffers */
    const double flops = b->be->stats.flops - before;
    double all = 0.0, fastest = INFINITY;
    int times = 0;
    const double enough = fmin(EXAMPLE_SECONDS, b->limit / EXAMPLES);
    for (; times < REPEATS_MAX && all < enough; times++) {
        const double begin = hyv_seconds();
        run(b, &t);
        const double seconds = hyv_seconds() - begin;
        all += seconds;
        fastest = fmin(fastest, seconds);
    }
    b->all += all;
    b->fastest += fastest * times;
    free_mat(b, t.x);
    free_mat(b, t.y);
    free_mat(b, t.k);
    free_mat(b, t.weight.w);
    return (rate){fmin(b->call, fastest), fmax(fastest - b->call, 0.0) / work_of(&t, flops), true};
}

/* Seconds for a call of no size. */
static double time_call(bench *b)
{
    enum { TINY = 16, TIMES = 64 };
    const hyv_mat like = {.type = b->be->ops->activation};
    const hyv_mat x = new_mat(b, like, 1, TINY), y = new_mat(b, like, 1, TINY);
    hyv_add(b->be, y, x, HYV_NO_MAT);
    const double begin = hyv_seconds();
    for (int i = 0; i < TIMES; i++)
        hyv_add(b->be, y, x, HYV_NO_MAT);
    const double seconds = (hyv_seconds() - begin) / TIMES;
    free_mat(b, x);
    free_mat(b, y);
    return seconds;
}

/* ---- adding up
 * -------------------------------------------------------------------------------
 */

/* What some processor takes, to see what matters. */
static rate guess(hyv_kind kind)
{
    return (rate){2e-6, is_product(kind) ? 2e-11 : 5e-10, false};
}

static double price(const rate *r, const hyv_calls *calls)
{
    return (double)calls->count * r->call + calls->work * r->work;
}

/* Adds the calls that make up some of what is done, and returns what some processor takes for it
 * all. */
static double choose(bool wanted[HYV_KINDS][HYV_SIZES], const hyv_work *work)
{
    double all = 0.0;
    for (int pass = 0; pass < 2; pass++)
        for (int k = 0; k < HYV_KINDS; k++)
            for (int size = 0; size < HYV_SIZES; size++) {
                const rate r = guess((hyv_kind)k);
                const double seconds = price(&r, &work->done[k][size]);
                if (pass == 0)
                    all += seconds;
                else
                    wanted[k][size] |= seconds > SHARE_MIN * all;
            }
    return all;
}

/* What was not timed goes by the nearest size that was. */
static rate nearest(const bench *b, hyv_kind kind, int size)
{
    for (int away = 0; away < HYV_SIZES; away++) {
        if (size + away < HYV_SIZES && b->rate[kind][size + away].known)
            return b->rate[kind][size + away];
        if (size - away >= 0 && b->rate[kind][size - away].known)
            return b->rate[kind][size - away];
    }
    return guess(kind);
}

static double add_up(const bench *b, const hyv_work *work)
{
    const double load = b->fastest > 0.0 ? b->all / b->fastest : 1.0;
    double seconds = 0.0;
    for (int k = 0; k < HYV_KINDS; k++)
        for (int size = 0; size < HYV_SIZES; size++) {
            const rate r = nearest(b, (hyv_kind)k, size);
            seconds += price(&r, &work->done[k][size]);
        }
    return load * seconds;
}

int hyv_plan_seconds(const hyv_plan *plan, hyv_backend *be, hyv_plan_times *times)
{
    bench b = {.be = be};
    bool wanted[HYV_KINDS][HYV_SIZES] = {{false}};
    *times = (hyv_plan_times){0};
    double guessed = choose(wanted, &plan->network[HYV_TRANSFORMER].step);
    for (int c = 0; c < HYV_COMPONENTS; c++)
        guessed += choose(wanted, &plan->network[c].work);
    b.limit = fmin(CALIBRATION_SECONDS, fmax(CALIBRATION_LEAST, CALIBRATION_SHARE * guessed));
    const double begin = hyv_seconds();
    b.call = time_call(&b);
    for (int size = HYV_SIZES; size-- > 0;) /* the large ones matter most */
        for (int k = 0; k < HYV_KINDS && !hyv_backend_error(be); k++)
            if (wanted[k][size] && hyv_seconds() - begin < b.limit)
                b.rate[k][size] = time_example(&b, (hyv_kind)k, &plan->example[k][size]);
    for (int c = 0; c < HYV_COMPONENTS; c++)
        times->network[c] = add_up(&b, &plan->network[c].work);
    times->step = add_up(&b, &plan->network[HYV_TRANSFORMER].step);
    return hyv_backend_error(be);
}
