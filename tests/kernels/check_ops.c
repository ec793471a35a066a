/* The front door: every refusal, the sticky error, cancelling, the arena, fixed memory, the trace.
 *
 * What operators compute is looked at by their own checks. Refusals run on the null backend as
 * well: it gets the same door.
 */
#include "../../kernels/cpu/cpu.h"
#include "rig.h"

typedef struct heard {
    char message[512], trace[512];
    int messages, traces, polls, stop_at; /* polls until the interrupt says stop; 0: never */
} heard;

static void on_message(void *opaque, const char *line)
{
    heard *h = opaque;
    h->messages++;
    snprintf(h->message, sizeof(h->message), "%s", line);
}

static void on_trace(void *opaque, const char *line)
{
    heard *h = opaque;
    h->traces++;
    snprintf(h->trace, sizeof(h->trace), "%s", line);
}

static int on_poll(void *opaque)
{
    heard *h = opaque;
    return ++h->polls == h->stop_at || (h->stop_at && h->polls > h->stop_at);
}

static hyv_backend *open_with(heard *h, const char *name, bool trace)
{
    const hyv_backend_config config = {.threads = 1,
                                       .isa = "c",
                                       .opaque = h,
                                       .interrupt = on_poll,
                                       .trace = trace ? on_trace : NULL,
                                       .message = on_message};
    hyv_backend *be = NULL;
    memset(h, 0, sizeof(*h));
    CHECK(hyv_backend_open(&be, name, &config) == 0);
    return be;
}

/* ---- refusals ---- */

enum { ROWS = 6, COLS = 8 };

typedef struct door {
    hyv_backend *be;
    heard h;
    float a[ROWS * 4 * COLS], b[ROWS * 4 * COLS], c[ROWS * 4 * COLS], d[ROWS * 4 * COLS];
    hyv_mat y, x, z, v; /* [ROWS, COLS], dense, f32, apart */
    hyv_mat row;        /* [1, COLS] of z */
} door;

static void door_init(door *o, const char *name)
{
    o->be = open_with(&o->h, name, false);
    memset(o->a, 0, sizeof(o->a));
    memset(o->b, 0, sizeof(o->b));
    memset(o->c, 0, sizeof(o->c));
    memset(o->d, 0, sizeof(o->d));
    o->y = (hyv_mat){o->a, ROWS, COLS, COLS, HYV_F32};
    o->x = (hyv_mat){o->b, ROWS, COLS, COLS, HYV_F32};
    o->z = (hyv_mat){o->c, ROWS, COLS, COLS, HYV_F32};
    o->v = (hyv_mat){o->d, ROWS, COLS, COLS, HYV_F32};
    o->row = hyv_rows(o->z, 0, 1);
}

/* After a call that must be refused: the error, one message that begins with the name. */
static void refused(door *o, const char *name, int line)
{
    const char *text = o->h.message;
    CHECK_MSG(hyv_backend_error(o->be) == -EINVAL, "line %d: %s was not refused", line, name);
    CHECK_MSG(o->h.messages == 1 && strncmp(text, name, strlen(name)) == 0 &&
                  text[strlen(name)] == ':' && strchr(text, '['),
              "line %d: %s said %d times \"%s\"", line, name, o->h.messages, text);
    hyv_backend_reset(o->be);
    o->h.messages = 0;
    o->h.message[0] = 0;
}

static void accepted(door *o, const char *name, int line)
{
    CHECK_MSG(hyv_backend_error(o->be) == 0, "line %d: %s was refused: %s", line, name,
              o->h.message);
    hyv_backend_reset(o->be);
    o->h.messages = 0;
}

#define REFUSED(name, ...)              \
    do {                                \
        hyv_##name(o->be, __VA_ARGS__); \
        refused(o, #name, __LINE__);    \
    } while (0)
#define ACCEPTED(name, ...)             \
    do {                                \
        hyv_##name(o->be, __VA_ARGS__); \
        accepted(o, #name, __LINE__);   \
    } while (0)

static hyv_mat shaped(hyv_mat m, int64_t rows, int64_t cols)
{
    return (hyv_mat){m.data, rows, cols, cols, m.type};
}

static hyv_mat typed(hyv_mat m, hyv_type type)
{
    m.type = type;
    return m;
}

static hyv_mat strided(hyv_mat m, int64_t ld)
{
    m.ld = ld;
    return m;
}

static void refuse_linear(door *o)
{
    const float scale[COLS] = {1.0f};
    hyv_weight w = {.w = shaped(o->z, COLS, COLS)}, bad = w;
    ACCEPTED(linear, o->y, o->x, &w);
    ACCEPTED(linear, shaped(o->y, 0, COLS), shaped(o->x, 0, COLS), &w);
    REFUSED(linear, hyv_rows(o->y, 0, 3), o->x, &w);
    REFUSED(linear, hyv_cols(o->y, 0, 3), o->x, &w);
    REFUSED(linear, o->y, hyv_cols(o->x, 0, 3), &w);
    REFUSED(linear, o->y, o->y, &w);
    REFUSED(linear, typed(o->y, HYV_BF16), o->x, &w);
    REFUSED(linear, o->y, typed(o->x, HYV_F16), &w);
    REFUSED(linear, strided(o->y, COLS - 1), o->x, &w);
    REFUSED(linear, HYV_NO_MAT, o->x, &w);
    REFUSED(linear, o->y, HYV_NO_MAT, &w);
    bad.w = HYV_NO_MAT;
    REFUSED(linear, o->y, o->x, &bad);
    bad.w = shaped(o->z, COLS, COLS - 1);
    REFUSED(linear, o->y, o->x, &bad);
    bad.w = typed(w.w, HYV_I32);
    REFUSED(linear, o->y, o->x, &bad);
    bad.w = typed(w.w, HYV_Q8_0); /* no whole block a row */
    REFUSED(linear, o->y, o->x, &bad);
    bad.w = typed(w.w, HYV_TYPES);
    REFUSED(linear, o->y, o->x, &bad);
    bad = (hyv_weight){.w = w.w, .scale = scale, .scales = 2};
    REFUSED(linear, o->y, o->x, &bad);
    bad.scales = COLS;
    ACCEPTED(linear, o->y, o->x, &bad);
    bad = (hyv_weight){.w = w.w, .scales = 1};
    REFUSED(linear, o->y, o->x, &bad);
}

/* Rows and steps from row to row are whole blocks; activations never are. */
static void refuse_blocks(door *o)
{
    uint8_t block[2 * 3 * 34] = {0};
    float x[2 * 32] = {0}, y[2 * 64] = {0};
    const hyv_mat X = {x, 2, 32, 32, HYV_F32}, Y = {y, 2, 2, 2, HYV_F32};
    hyv_weight w = {.w = {block, 2, 32, 64, HYV_Q8_0}};
    ACCEPTED(linear, Y, X, &w);
    REFUSED(linear, X, (typed(X, HYV_Q8_0)), &w);
    w.w.ld = 48;
    REFUSED(linear, Y, X, &w);
    w.w.ld = 64;
    w.w.cols = 16;
    REFUSED(linear, Y, hyv_cols(X, 0, 16), &w);
    const hyv_mat from = {block, 2, 32, 96, HYV_Q8_0};
    ACCEPTED(copy, X, from);
    REFUSED(copy, from, X);
    REFUSED(copy, X, strided(from, 80));
    REFUSED(copy, X, shaped(from, 2, 64));
    REFUSED(copy, ((hyv_mat){block + 30, 2, 32, 32, HYV_BF16}), from);
}

static void refuse_conv3d(door *o)
{
    const hyv_grid grid = {1, 2, 3}, one = {1, 1, 1}, kernel = {1, 1, 3}, none = {0, 1, 1};
    const hyv_weight w = {.w = shaped(o->z, 2, 3 * COLS)};
    const hyv_mat y = hyv_cols(o->y, 0, 2);
    ACCEPTED(conv3d, y, o->x, &w, grid, kernel, one);
    ACCEPTED(conv3d, hyv_rows(y, 0, 2), o->x, &w, grid, kernel, ((hyv_grid){2, 2, 2}));
    ACCEPTED(conv3d, hyv_rows(y, 0, 3), o->x, &w, ((hyv_grid){2, 1, 3}), kernel, one);
    REFUSED(conv3d, hyv_rows(y, 0, 2), o->x, &w, ((hyv_grid){2, 1, 3}), kernel, one);
    REFUSED(conv3d, y, o->x, &w, ((hyv_grid){1, 2, 2}), kernel, one);
    REFUSED(conv3d, hyv_rows(y, 0, 3), o->x, &w, grid, kernel, one);
    REFUSED(conv3d, y, o->x, &w, grid, one, one);
    REFUSED(conv3d, y, o->x, &w, none, kernel, one);
    REFUSED(conv3d, y, o->x, &w, grid, none, one);
    REFUSED(conv3d, y, o->x, &w, grid, kernel, none);
    REFUSED(conv3d, y, o->x, &w, ((hyv_grid){-1, -2, 3}), kernel, one);
    REFUSED(conv3d, hyv_cols(o->x, 0, 2), o->x, &w, grid, kernel, one);
    REFUSED(conv3d, y, hyv_cols(o->x, 0, 4), &w, grid, kernel, one);
    hyv_mat half = o->x;
    half.type = HYV_BF16; /* only where products are in bf16 */
    REFUSED(conv3d, y, half, &w, grid, kernel, one);
}

static void refuse_attention(door *o)
{
    const hyv_mat k2 = hyv_cols(o->z, 0, 4), v2 = hyv_cols(o->v, 0, 4);
    ACCEPTED(attention, o->y, o->x, o->z, o->v, 2, 0);
    ACCEPTED(attention, o->y, o->x, k2, v2, 4, 1);
    ACCEPTED(attention, hyv_rows(o->y, 0, 2), hyv_rows(o->x, 0, 2), o->z, o->v, 2, 3);
    REFUSED(attention, o->y, o->x, o->z, o->v, 3, 0);
    REFUSED(attention, o->y, o->x, o->z, o->v, 0, 0);
    REFUSED(attention, o->y, o->x, o->z, o->v, -2, 0);
    REFUSED(attention, o->y, o->x, k2, o->v, 2, 0);
    REFUSED(attention, o->y, o->x, k2, hyv_rows(v2, 0, 2), 2, 0);
    REFUSED(attention, o->y, o->x, hyv_cols(o->z, 0, 3), hyv_cols(o->v, 0, 3), 2, 0);
    REFUSED(attention, o->y, o->x, hyv_cols(o->z, 0, 6), hyv_cols(o->v, 0, 6), 4, 0);
    REFUSED(attention, o->y, o->x, o->z, o->v, 2, -1);
    REFUSED(attention, o->y, o->x, hyv_rows(o->z, 0, 2), hyv_rows(o->v, 0, 2), 2, 1);
    REFUSED(attention, o->y, o->x, hyv_rows(o->z, 0, 0), hyv_rows(o->v, 0, 0), 2, 0);
    REFUSED(attention, hyv_rows(o->y, 0, 2), o->x, o->z, o->v, 2, 0);
    REFUSED(attention, o->x, o->x, o->z, o->v, 2, 0);
    REFUSED(attention, o->z, o->x, o->z, o->v, 2, 0);
    REFUSED(attention, o->v, o->x, o->z, o->v, 2, 0);
}

static void refuse_norms(door *o)
{
    ACCEPTED(layer_norm, o->y, o->y, NULL, 1e-6f);
    REFUSED(layer_norm, o->y, hyv_rows(o->x, 0, 2), NULL, 1e-6f);
    REFUSED(layer_norm, hyv_rows(o->x, 0, 3), hyv_rows(o->x, 1, 3), NULL, 1e-6f);
    REFUSED(layer_norm, o->y, typed(o->x, HYV_BF16), NULL, 1e-6f);
    ACCEPTED(rms_norm, o->y, o->y, NULL, 4, 1e-6f);
    REFUSED(rms_norm, o->y, o->x, NULL, 3, 1e-6f);
    REFUSED(rms_norm, o->y, o->x, NULL, 0, 1e-6f);
    REFUSED(rms_norm, o->y, o->x, NULL, -4, 1e-6f);
    REFUSED(rms_norm, o->y, hyv_cols(o->x, 0, 4), NULL, 4, 1e-6f);
    ACCEPTED(group_norm, o->y, o->y, 4, NULL, 1e-6f);
    REFUSED(group_norm, o->y, o->x, 3, NULL, 1e-6f);
    REFUSED(group_norm, o->y, o->x, 0, NULL, 1e-6f);
    REFUSED(group_norm, hyv_cols(o->y, 0, 4), o->x, 2, NULL, 1e-6f);
    const hyv_mat statistics = hyv_rows(o->z, 0, HYV_STATISTICS);
    ACCEPTED(group_statistics, statistics, o->x, 4, NULL, 1e-6f);
    REFUSED(group_statistics, statistics, o->x, 3, NULL, 1e-6f);
    REFUSED(group_statistics, statistics, o->x, 0, NULL, 1e-6f);
    REFUSED(group_statistics, hyv_rows(o->z, 0, 2), o->x, 4, NULL, 1e-6f);
    REFUSED(group_statistics, hyv_cols(statistics, 0, 4), o->x, 4, NULL, 1e-6f);
    REFUSED(group_statistics, hyv_rows(o->x, 0, HYV_STATISTICS), o->x, 4, NULL, 1e-6f);
    ACCEPTED(normalise_silu, o->y, o->y, statistics);
    REFUSED(normalise_silu, o->y, hyv_rows(o->x, 0, 3), statistics);
    REFUSED(normalise_silu, o->y, o->x, o->z);
    REFUSED(normalise_silu, o->y, o->x, hyv_cols(statistics, 0, 4));
    REFUSED(normalise_silu, o->y, o->x, hyv_rows(o->y, 0, HYV_STATISTICS));
}

static void refuse_pointwise(door *o)
{
    const hyv_mat half = hyv_cols(o->z, 0, 4), other = hyv_cols(o->v, 0, 4);
    ACCEPTED(modulate, o->y, o->row, o->row);
    REFUSED(modulate, o->y, o->z, o->row);
    REFUSED(modulate, o->y, o->row, hyv_cols(o->row, 0, 4));
    REFUSED(modulate, o->y, hyv_rows(o->y, 0, 1), o->row);
    ACCEPTED(rope, o->x, ((hyv_rope_table){half, other}));
    REFUSED(rope, hyv_rows(o->x, 0, 2), ((hyv_rope_table){half, other}));
    REFUSED(rope, o->x, ((hyv_rope_table){half, o->v}));
    REFUSED(rope, o->x, ((hyv_rope_table){hyv_cols(o->z, 0, 1), hyv_cols(o->v, 0, 1)}));
    REFUSED(rope, o->x, ((hyv_rope_table){hyv_cols(o->z, 0, 6), hyv_cols(o->v, 0, 6)}));
    REFUSED(rope, o->x, ((hyv_rope_table){o->x, o->v}));
    REFUSED(rope, o->x, ((hyv_rope_table){HYV_NO_MAT, HYV_NO_MAT}));
    ACCEPTED(act, o->y, o->y, o->y, HYV_SILU);
    REFUSED(act, o->y, o->x, o->row, HYV_SILU);
    REFUSED(act, o->y, hyv_rows(o->x, 0, 2), HYV_NO_MAT, HYV_SILU);
    REFUSED(act, o->y, o->x, HYV_NO_MAT, (hyv_activation)99);
    ACCEPTED(add, o->y, o->y, o->row);
    REFUSED(add, o->y, hyv_cols(o->x, 0, 4), HYV_NO_MAT);
    REFUSED(add, o->y, o->x, o->z);
    REFUSED(add, o->y, o->x, hyv_rows(o->y, 0, 1));
    ACCEPTED(copy, typed(o->y, HYV_F8_E4M3), o->x);
    ACCEPTED(copy, hyv_cols(o->x, 0, 4), hyv_cols(o->x, 4, 4));
    REFUSED(copy, hyv_cols(o->x, 0, 5), hyv_cols(o->x, 3, 5));
    REFUSED(copy, o->y, hyv_rows(o->x, 0, 2));
    REFUSED(copy, o->y, typed(o->x, HYV_F64));
    REFUSED(copy, typed(o->y, HYV_U8), o->x);
}

static void refuse_resampling(door *o)
{
    const hyv_grid grid = {1, 2, 3}, twice = {1, 2, 1};
    const hyv_mat big = shaped(o->y, 4 * ROWS, COLS), deep = shaped(o->y, 3, 2 * COLS);
    ACCEPTED(upsample, big, o->x, grid, false);
    ACCEPTED(upsample, big, o->x, grid, true);
    ACCEPTED(upsample, shaped(o->y, 12, COLS), hyv_rows(o->x, 0, 2), ((hyv_grid){2, 1, 1}), true);
    REFUSED(upsample, shaped(o->y, 8, COLS), hyv_rows(o->x, 0, 2), ((hyv_grid){2, 1, 1}), true);
    REFUSED(upsample, o->y, o->x, grid, false);
    REFUSED(upsample, big, o->x, ((hyv_grid){2, 2, 3}), false);
    REFUSED(upsample, big, o->x, ((hyv_grid){-1, -2, 3}), false);
    REFUSED(upsample, shaped(o->y, 4 * ROWS, 4), o->x, grid, false);
    ACCEPTED(shuffle, deep, o->x, grid, twice, HYV_SPACE_TO_DEPTH);
    ACCEPTED(shuffle, o->x, deep, grid, twice, HYV_DEPTH_TO_SPACE);
    REFUSED(shuffle, deep, o->x, grid, twice, HYV_DEPTH_TO_SPACE);
    REFUSED(shuffle, deep, o->x, grid, ((hyv_grid){1, 1, 2}), HYV_SPACE_TO_DEPTH);
    REFUSED(shuffle, deep, o->x, grid, ((hyv_grid){0, 2, 1}), HYV_SPACE_TO_DEPTH);
    REFUSED(shuffle, deep, o->x, ((hyv_grid){1, 3, 2}), twice, HYV_SPACE_TO_DEPTH);
    REFUSED(shuffle, shaped(o->y, 3, COLS), o->x, grid, twice, HYV_SPACE_TO_DEPTH);
}

static void refuse_upsample_conv3d(door *o)
{
    const hyv_grid grid = {1, 2, 3}, two = {2, 1, 1};
    const hyv_weight w = {.w = shaped(o->z, 2, 27 * COLS)}, few = {.w = shaped(o->z, 2, 9 * COLS)};
    const hyv_mat y = shaped(o->y, 4 * ROWS, 2), x = o->x;
    ACCEPTED(upsample_conv3d, y, x, &w, grid, false);
    ACCEPTED(upsample_conv3d, y, x, &w, grid, true);
    ACCEPTED(upsample_conv3d, shaped(o->y, 12, 2), hyv_rows(x, 0, 2), &w, two, true);
    REFUSED(upsample_conv3d, shaped(o->y, 8, 2), hyv_rows(x, 0, 2), &w, two, true);
    REFUSED(upsample_conv3d, y, x, &few, grid, false);
    REFUSED(upsample_conv3d, shaped(o->y, 4 * ROWS, 1), x, &w, grid, false);
    REFUSED(upsample_conv3d, y, hyv_cols(x, 0, 4), &w, grid, false);
    REFUSED(upsample_conv3d, y, x, &w, ((hyv_grid){-1, -2, 3}), false);
    REFUSED(upsample_conv3d, y, shaped(o->y, ROWS, COLS), &w, grid, false);
}

static void refuse_host(door *o)
{
    float host[ROWS * COLS] = {0};
    ACCEPTED(upload, o->y, host);
    REFUSED(upload, typed(o->y, HYV_BF16), host);
    ACCEPTED(download, host, o->y);
    REFUSED(download, host, strided(o->y, 1));
}

static void test_refusals(const char *name)
{
    door *o = calloc(1, sizeof(*o));
    if (!o)
        exit(2);
    door_init(o, name);
    refuse_linear(o);
    refuse_blocks(o);
    refuse_conv3d(o);
    refuse_attention(o);
    refuse_norms(o);
    refuse_pointwise(o);
    refuse_resampling(o);
    refuse_upsample_conv3d(o);
    refuse_host(o);
    hyv_backend_close(&o->be);
    free(o);
}

/* ---- errors and stopping ---- */

static void test_sticky(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false);
    float y[4] = {1, 2, 3, 4}, x[4] = {1, 1, 1, 1};
    const hyv_mat Y = {y, 2, 2, 2, HYV_F32}, X = {x, 2, 2, 2, HYV_F32};
    hyv_add(be, Y, X, HYV_NO_MAT);
    CHECK(y[3] == 5.0f && be->stats.calls == 1);
    hyv_fail(be, -EIO, "first");
    hyv_fail(be, -EINVAL, "second");
    CHECK(hyv_backend_error(be) == -EIO && h.messages == 1 && strcmp(h.message, "first") == 0);
    hyv_add(be, Y, X, HYV_NO_MAT);
    hyv_add(be, Y, hyv_rows(X, 0, 1), HYV_NO_MAT);
    CHECK(y[3] == 5.0f && be->stats.calls == 1 && h.messages == 1);
    CHECK(hyv_new(be, 1, 1).data == NULL && hyv_alloc(be, 64, "x") == NULL);
    hyv_backend_reset(be);
    hyv_add(be, Y, X, HYV_NO_MAT);
    CHECK(y[3] == 6.0f && hyv_backend_error(be) == 0);
    hyv_backend_stop(be);
    hyv_add(be, Y, X, HYV_NO_MAT);
    CHECK(y[3] == 6.0f && hyv_backend_error(be) == -ECANCELED && h.messages == 1);
    hyv_backend_close(&be);
    CHECK(be == NULL);
    hyv_backend_close(&be);
}

/* The caller's interrupt stops an operator in its middle. */
static void test_interrupt(void)
{
    enum { N = 4000, WIDTH = 512 };
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false);
    float *data = malloc((size_t)N * WIDTH * sizeof(float));
    if (!data)
        exit(2);
    for (int i = 0; i < N * WIDTH; i++)
        data[i] = 1.0f;
    const hyv_mat m = {data, N, WIDTH, WIDTH, HYV_F32};
    h.stop_at = 3;
    hyv_add(be, m, m, HYV_NO_MAT);
    int64_t done = 0;
    for (int i = 0; i < N * WIDTH; i++)
        done += data[i] == 2.0f;
    CHECK(hyv_backend_error(be) == -ECANCELED && h.messages == 0);
    CHECK_MSG(done < N * WIDTH, "the operator ran to its end");
    CHECK(done % WIDTH == 0);
    free(data);
    hyv_backend_close(&be);
}

static hyv_mat filled(int64_t rows, int64_t cols, float value)
{
    const hyv_mat m = {malloc((size_t)(rows * cols) * sizeof(float)), rows, cols, cols, HYV_F32};
    if (!m.data)
        exit(2);
    for (int64_t i = 0; i < rows * cols; i++)
        *rig_at(m, i / cols, i % cols) = value;
    return m;
}

/* A single task that takes long looks up as well: all queries of this call are one task, and the
 * interrupt says stop after the last poll that is due to packing keys. */
static void test_interrupt_in_task(void)
{
    enum {
        QUERIES = 64,
        BLOCKS = 20,
        KEYS = BLOCKS * HYV_KEY_BLOCK,
        SIZE = 8,
        PACKING = BLOCKS + 4
    };
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false);
    const hyv_mat q = filled(QUERIES, SIZE, 1.0f), y = filled(QUERIES, SIZE, -7.0f);
    const hyv_mat k = filled(KEYS, SIZE, 1.0f), v = filled(KEYS, SIZE, 1.0f);
    h.stop_at = PACKING;
    hyv_attention(be, y, q, k, v, 1, 0);
    CHECK_MSG(hyv_backend_error(be) == -ECANCELED, "attention polled %d times", h.polls);
    CHECK(*rig_at(y, 0, 0) == -7.0f);
    h.stop_at = 0;
    hyv_backend_reset(be);
    hyv_attention(be, y, q, k, v, 1, 0);
    CHECK(hyv_backend_error(be) == 0 && *rig_at(y, QUERIES - 1, SIZE - 1) == 1.0f);
    free(q.data);
    free(y.data);
    free(k.data);
    free(v.data);
    hyv_backend_close(&be);
}

/* The same for products: a task is left after one of its many blocks of k, without results. Poll 20
 * is behind those of packing and before the last of the first tasks. */
static void test_interrupt_in_product(void)
{
    enum { ROWS_MANY = 60, OUT = 16, DEPTH = 20000, POLL = 20 };
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false);
    const hyv_mat x = filled(ROWS_MANY, DEPTH, 1.0f), w = filled(OUT, DEPTH, 1.0f);
    const hyv_mat y = filled(ROWS_MANY, OUT, -7.0f);
    const hyv_weight W = {.w = w};
    h.stop_at = POLL;
    hyv_linear(be, y, x, &W);
    CHECK(hyv_backend_error(be) == -ECANCELED);
    CHECK_MSG(*rig_at(y, 0, 0) < (float)DEPTH, "finished before poll %d", h.polls);
    CHECK(*rig_at(y, ROWS_MANY - 1, OUT - 1) == -7.0f);
    h.stop_at = 0;
    hyv_backend_reset(be);
    hyv_linear(be, y, x, &W);
    CHECK(hyv_backend_error(be) == 0 && *rig_at(y, ROWS_MANY - 1, OUT - 1) == (float)DEPTH);
    free(x.data);
    free(w.data);
    free(y.data);
    hyv_backend_close(&be);
}

static void test_missing_operator(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "null", false);
    hyv_backend_ops without = *be->ops;
    const hyv_backend_ops *with = be->ops;
    without.add = NULL;
    be->ops = &without;
    float y[1] = {0}, x[1] = {0};
    hyv_add(be, (hyv_mat){y, 1, 1, 1, HYV_F32}, (hyv_mat){x, 1, 1, 1, HYV_F32}, HYV_NO_MAT);
    CHECK(hyv_backend_error(be) == -ENOSYS && strstr(h.message, "add") && h.messages == 1);
    be->ops = with;
    hyv_backend_close(&be);
}

static void test_opening(void)
{
    heard h = {0};
    hyv_backend_config config = {.isa = "mmx", .opaque = &h, .message = on_message};
    hyv_backend *be = NULL;
    CHECK(hyv_backend_open(&be, "abacus", &config) == -ENODEV && be == NULL);
    CHECK(hyv_backend_open(&be, "cpu", &config) == -EINVAL && be == NULL);
    CHECK(h.messages == 1 && strstr(h.message, "mmx") && strstr(h.message, "avx512"));
    config.isa = "auto";
    config.threads = 1;
    CHECK(hyv_backend_open(&be, "cpu", &config) == 0);
    char text[64];
    hyv_backend_describe(be, text, sizeof(text));
    CHECK(strncmp(text, "cpu (", 5) == 0 && strstr(text, "1 thread)"));
    hyv_backend_close(&be);
}

/* ---- memory ---- */

static void test_arena(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false);
    CHECK(hyv_arena_resize(be, 1024) == 0);
    const hyv_mat a = hyv_new(be, 3, 5); /* 60 bytes */
    const size_t mark = hyv_mark(be);
    CHECK(a.data && a.rows == 3 && a.cols == 5 && a.ld == 5 && a.type == HYV_F32);
    CHECK((uintptr_t)a.data % 64 == 0 && mark == 64);
    const hyv_mat b = hyv_new(be, 1, 17);
    CHECK((char *)b.data == (char *)a.data + 64 && hyv_mark(be) == 192);
    memset(b.data, 1, 17 * sizeof(float));
    CHECK(hyv_arena_resize(be, 4096) == -EBUSY);
    hyv_release(be, mark);
    CHECK(hyv_new(be, 1, 240).data == b.data && hyv_mark(be) == 1024);
    CHECK(be->stats.arena_bytes_max == 1024 && hyv_backend_error(be) == 0);
    CHECK(hyv_new(be, 1, 1).data == NULL && hyv_backend_error(be) == -ENOMEM);
    CHECK(h.messages == 1 && strstr(h.message, "4 bytes") && strstr(h.message, "1024"));
    hyv_backend_reset(be);
    hyv_release(be, 0);
    CHECK(hyv_new(be, INT64_MAX / 2, 3).data == NULL && hyv_backend_error(be) == -EINVAL);
    hyv_backend_reset(be);
    CHECK(hyv_new(be, INT64_MAX / 4, 1).data == NULL && hyv_backend_error(be) == -ENOMEM);
    hyv_backend_reset(be);
    CHECK(hyv_new(be, -1, 3).data == NULL && hyv_backend_error(be) == -EINVAL);
    hyv_backend_reset(be);
    CHECK(hyv_new(be, 3, 0).data == NULL && hyv_backend_error(be) == -EINVAL);
    hyv_backend_reset(be);
    CHECK(hyv_arena_resize(be, 64) == 0 && be->arena_bytes == 64);
    CHECK(hyv_arena_resize(be, SIZE_MAX - 64) == -ENOMEM && be->arena == NULL);
    CHECK(hyv_backend_error(be) == -ENOMEM);
    hyv_backend_close(&be);
}

/* Working memory is the end of the arena, whatever its size, as long as activations leave it. */
static void test_lent(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false), *dry = open_with(&h, "null", false);
    CHECK(hyv_arena_lend(be, 1) == NULL);
    CHECK(hyv_arena_resize(be, 1000) == 0);
    const hyv_mat a = hyv_new(be, 1, 33);
    char *lent = hyv_arena_lend(be, 700);
    CHECK(lent == (char *)a.data + 256 && be->stats.arena_bytes_enough == 192 + 704);
    CHECK(be->stats.arena_bytes_max == 192 && hyv_mark(be) == 192);
    CHECK(hyv_arena_lend(be, 64) == (char *)a.data + 896);
    CHECK(hyv_arena_lend(be, 769) == NULL && hyv_arena_lend(be, SIZE_MAX) == NULL);
    CHECK(be->stats.arena_bytes_enough == 192 + 704 && hyv_backend_error(be) == 0);
    CHECK(hyv_new(be, 1, 190).data && hyv_arena_lend(be, 1) == NULL);
    hyv_new(dry, 1, 33);
    CHECK(hyv_arena_lend(dry, (size_t)1 << 40) != NULL);
    CHECK(dry->stats.arena_bytes_enough == 192 + ((size_t)1 << 40));
    hyv_backend_close(&be);
    hyv_backend_close(&dry);
}

static void test_fixed(const char *name)
{
    heard h;
    hyv_backend *be = open_with(&h, name, false);
    void *a = hyv_alloc(be, 100, "a"), *b = hyv_alloc(be, 1000, "b");
    CHECK(a && b && (uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0);
    CHECK(be->stats.fixed_bytes == 1100);
    hyv_free(be, a);
    CHECK(be->stats.fixed_bytes == 1000 && be->stats.fixed_bytes_max == 1100);
    hyv_free(be, b);
    hyv_free(be, NULL);
    CHECK(be->stats.fixed_bytes == 0);
    if (!be->ops->dry) {
        CHECK(hyv_alloc(be, SIZE_MAX - 100, "the moon") == NULL);
        CHECK(hyv_backend_error(be) == -ENOMEM && strstr(h.message, "the moon"));
    }
    hyv_backend_close(&be);
}

static void test_transfer(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "cpu", false);
    float device[4 * 5], host[2 * 3] = {1, 2, 3, 4, 5, 6}, back[2 * 3] = {0};
    memset(device, 0, sizeof(device));
    const hyv_mat m = {device + 6, 2, 3, 5, HYV_F32};
    hyv_upload(be, m, host);
    CHECK(device[6] == 1 && device[8] == 3 && device[9] == 0 && device[11] == 4);
    hyv_download(be, back, m);
    CHECK(memcmp(host, back, sizeof(host)) == 0);
    hyv_backend_close(&be);
}

/* ---- trace and counts ---- */

static void test_trace(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "cpu", true);
    float y[6] = {0}, x[6] = {-1, 2, NAN, 4, 5, 6};
    const hyv_mat Y = {y, 2, 3, 3, HYV_F32}, X = {x, 2, 3, 3, HYV_F32};
    hyv_copy(be, Y, X);
    CHECK(h.traces == 1 && strncmp(h.trace, "copy ", 5) == 0);
    CHECK_MSG(strstr(h.trace, "y [2,3]") && strstr(h.trace, "x [2,3]") && strstr(h.trace, " ms ") &&
                  strstr(h.trace, "min -1 ") && strstr(h.trace, "max 6 ") &&
                  strstr(h.trace, "mean 3.2 ") && strstr(h.trace, "nan 1"),
              "%s", h.trace);
    hyv_copy(be, Y, hyv_rows(X, 0, 1));
    CHECK(h.traces == 1);
    hyv_backend_close(&be);
}

/* Values of other types than the activations' are not read as if they were. */
static void test_trace_of_half(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "cpu", true);
    uint16_t y[3] = {0};
    float x[3] = {1, 2, 3};
    hyv_copy(be, (hyv_mat){y, 1, 3, 3, HYV_BF16}, (hyv_mat){x, 1, 3, 3, HYV_F32});
    CHECK_MSG(strstr(h.trace, "y [1,3]") && !strstr(h.trace, "min"), "%s", h.trace);
    hyv_backend_close(&be);
}

static void test_counts(void)
{
    heard h;
    hyv_backend *be = open_with(&h, "null", false);
    const hyv_mat y = hyv_new(be, 10, 20), x = hyv_new(be, 10, 30);
    const hyv_weight w = {.w = {y.data, 20, 30, 30, HYV_BF16}};
    hyv_linear(be, y, x, &w);
    CHECK(be->stats.calls == 1 && be->stats.flops == 2.0 * 10 * 20 * 30);
    const hyv_mat a = hyv_new(be, 10, 30), k = hyv_new(be, 7, 30), v = hyv_new(be, 7, 30);
    hyv_attention(be, a, x, k, v, 3, 0);
    CHECK(be->stats.attention_flops == 4.0 * 10 * 7 * 30);
    const hyv_mat k2 = hyv_new(be, 10, 30), v2 = hyv_new(be, 10, 30);
    hyv_attention(be, a, x, k2, v2, 3, 4); /* rows see 4, 4, 4, 4, 8, 8, 8, 8, 10, 10 */
    CHECK(be->stats.attention_flops == 4.0 * 10 * 7 * 30 + 4.0 * 68 * 30);
    CHECK(be->stats.calls == 3 && hyv_backend_error(be) == 0);
    hyv_backend_close(&be);
}

/* Where products are in bf16 convolutions and the normalisation before them take what is stored so,
 * and nothing else does. */
static void test_half_operand(const char *name)
{
    const hyv_backend_config config = {.threads = 1, .isa = "c", .precision = HYV_PRODUCTS_BF16};
    const hyv_grid grid = {1, 2, 2}, unit = {1, 1, 1};
    hyv_backend *be = NULL;
    CHECK(hyv_backend_open(&be, name, &config) == 0);
    CHECK(hyv_arena_resize(be, 1 << 16) == 0);
    const hyv_mat half = hyv_new_operand(be, 4, 8), x = hyv_new(be, 4, 8), y = hyv_new(be, 16, 8);
    const hyv_mat weight = hyv_new(be, 8, 27 * 8), statistics = hyv_new(be, HYV_STATISTICS, 8);
    const hyv_weight W = {.w = weight}, w = {.w = hyv_cols(weight, 0, 8)};
    CHECK(half.type == HYV_BF16 && x.type == HYV_F32);
    if (strcmp(name, "cpu") == 0) {
        memset(x.data, 0, 4 * 8 * sizeof(float));
        memset(weight.data, 0, 8 * 27 * 8 * sizeof(float));
        memset(statistics.data, 0, HYV_STATISTICS * 8 * sizeof(float));
    }
    hyv_group_statistics(be, statistics, half, 4, NULL, 1e-6f);
    hyv_normalise_silu(be, half, half, statistics);
    hyv_normalise_silu(be, half, x, statistics);
    hyv_conv3d(be, hyv_rows(y, 0, 4), half, &w, grid, unit, unit);
    hyv_upsample_conv3d(be, y, half, &W, grid, false);
    CHECK(hyv_backend_error(be) == 0);
    hyv_upsample(be, y, half, grid, false);
    CHECK(hyv_backend_error(be) == -EINVAL);
    hyv_backend_reset(be);
    hyv_linear(be, hyv_rows(y, 0, 4), half, &w);
    CHECK(hyv_backend_error(be) == -EINVAL);
    hyv_backend_reset(be);
    hyv_group_norm(be, x, half, 4, NULL, 1e-6f);
    CHECK(hyv_backend_error(be) == -EINVAL);
    hyv_backend_close(&be);
}

int main(void)
{
    test_refusals("cpu");
    test_refusals("null");
    test_half_operand("cpu");
    test_half_operand("null");
    test_sticky();
    test_interrupt();
    test_interrupt_in_task();
    test_interrupt_in_product();
    test_missing_operator();
    test_opening();
    test_arena();
    test_lent();
    test_fixed("cpu");
    test_fixed("null");
    test_transfer();
    test_trace();
    test_trace_of_half();
    test_counts();
    return check_done();
}
