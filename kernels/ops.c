/* The front door: validates, stops, traces, counts, then calls the backend through its table.
 *
 * Shapes have been checked against the model's numbers when weights were bound, so a refusal here
 * is a programmer's error; it becomes -EINVAL with the operator and the shapes in the message. No
 * backend checks anything.
 */
#include "ops.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ALIGNMENT = 64, LINE_BYTES = 512 };

/* ---- failing and stopping ---- */

void hyv_fail(hyv_backend *be, int err, const char *message)
{
    if (be->err)
        return;
    be->err = err;
    if (message && be->config.message)
        be->config.message(be->config.opaque, message);
}

int hyv_backend_error(const hyv_backend *be)
{
    return be->err;
}

void hyv_backend_stop(hyv_backend *be)
{
    atomic_store(&be->stop, 1);
}

void hyv_backend_reset(hyv_backend *be)
{
    be->err = 0;
    atomic_store(&be->stop, 0);
}

bool hyv_stopped(hyv_backend *be)
{
    if (!atomic_load_explicit(&be->stop, memory_order_relaxed) && be->config.interrupt &&
        be->config.interrupt(be->config.opaque))
        atomic_store(&be->stop, 1);
    return atomic_load_explicit(&be->stop, memory_order_relaxed) != 0;
}

void hyv_backend_describe(const hyv_backend *be, char *text, size_t size)
{
    be->ops->describe(be, text, size);
}

/* True if the operator may run; otherwise the sticky error stands. */
static bool ready(hyv_backend *be, const char *op, bool there)
{
    char line[LINE_BYTES];
    if (be->err)
        return false;
    if (hyv_stopped(be)) {
        hyv_fail(be, -ECANCELED, NULL);
        return false;
    }
    if (!there) {
        snprintf(line, sizeof(line), "%s: the %s backend has no such operator", op, be->ops->name);
        hyv_fail(be, -ENOSYS, line);
    }
    return there;
}

static bool sound(hyv_mat m)
{
    const int64_t block = hyv_type_block(m.type);
    return m.data && m.rows >= 0 && m.cols > 0 && m.ld >= m.cols && m.cols % block == 0 &&
           m.ld % block == 0 && hyv_type_bytes(m.type) > 0;
}

/* An activation: f32 on the CPU. */
static bool active(const hyv_backend *be, hyv_mat m)
{
    return sound(m) && m.type == be->ops->activation;
}

/* What convolutions round their operands to. */
static hyv_type operand_type(const hyv_backend *be)
{
    return be->config.precision == HYV_PRODUCTS_FP32 ? be->ops->activation : HYV_BF16;
}

static bool operand(const hyv_backend *be, hyv_mat m)
{
    return active(be, m) || (sound(m) && m.type == operand_type(be));
}

static bool vector(const hyv_backend *be, hyv_mat v, int64_t cols)
{
    return active(be, v) && v.rows == 1 && v.cols == cols;
}

static bool same(hyv_mat a, hyv_mat b)
{
    return a.rows == b.rows && a.cols == b.cols;
}

/* Bytes [first, last) that a matrix touches, seen as one stretch. */
static bool apart(hyv_mat a, hyv_mat b)
{
    const uintptr_t a0 = (uintptr_t)a.data, b0 = (uintptr_t)b.data;
    const uintptr_t row_a = (uintptr_t)hyv_type_step(a.type, a.ld);
    const uintptr_t row_b = (uintptr_t)hyv_type_step(b.type, b.ld);
    const uintptr_t cols_a = (uintptr_t)hyv_type_step(a.type, a.cols);
    const uintptr_t cols_b = (uintptr_t)hyv_type_step(b.type, b.cols);
    const uintptr_t a1 = a0 + (a.rows ? (uintptr_t)(a.rows - 1) * row_a + cols_a : 0);
    const uintptr_t b1 = b0 + (b.rows ? (uintptr_t)(b.rows - 1) * row_b + cols_b : 0);
    if (a1 <= b0 || b1 <= a0)
        return true;
    /* Columns of one matrix side by side: same stride, disjoint column ranges. */
    if (row_a != row_b || row_a == 0)
        return false;
    const uintptr_t distance = b0 >= a0 ? (b0 - a0) % row_a : (row_a - (a0 - b0) % row_a) % row_a;
    return distance >= cols_a && distance + cols_b <= row_a;
}

static bool same_or_apart(hyv_mat y, hyv_mat x)
{
    return (y.data == x.data && y.ld == x.ld) || apart(y, x);
}

/* Refuses: names the operator and up to three matrices. */
static bool refuse(hyv_backend *be, const char *op, hyv_mat y, hyv_mat x, hyv_mat z)
{
    char line[LINE_BYTES];
    snprintf(line, sizeof(line),
             "%s: shapes do not fit: y [%lld,%lld] %s, x [%lld,%lld] %s, third [%lld,%lld] %s", op,
             (long long)y.rows, (long long)y.cols, hyv_type_name(y.type), (long long)x.rows,
             (long long)x.cols, hyv_type_name(x.type), (long long)z.rows, (long long)z.cols,
             hyv_type_name(z.type));
    hyv_fail(be, -EINVAL, line);
    return false;
}

/* ---- tracing and counting ---- */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

/* Counts an operator; returns when it began if it is traced. */
static double begin(hyv_backend *be, double flops)
{
    be->stats.calls++;
    be->stats.flops += flops;
    return be->config.trace ? now_ms() : 0.0;
}

/* What the result looks like, as text; nothing where there are no f32 values to read. */
static void look(hyv_backend *be, hyv_mat y, char *text, size_t size)
{
    double low = INFINITY, high = -INFINITY, sum = 0.0;
    int64_t bad = 0;
    text[0] = 0;
    if (be->ops->dry || y.type != be->ops->activation)
        return;
    float *row = malloc((size_t)y.cols * sizeof(float));
    if (!row)
        return;
    for (int64_t i = 0; i < y.rows; i++) {
        be->ops->download(be, row, hyv_rows(y, i, 1));
        for (int64_t k = 0; k < y.cols; k++) {
            const double v = (double)row[k];
            bad += isnan(v) != 0;
            low = v < low ? v : low;
            high = v > high ? v : high;
            sum += isnan(v) ? 0.0 : v;
        }
    }
    free(row);
    const int64_t good = y.rows * y.cols - bad;
    snprintf(text, size, " min %g max %g mean %g nan %lld", low, high,
             good ? sum / (double)good : NAN, (long long)bad);
}

/* One line: operator, shapes, milliseconds, and what the result looks like. */
static void end(hyv_backend *be, double began, const char *op, hyv_mat y, hyv_mat x)
{
    char line[LINE_BYTES], values[LINE_BYTES / 2];
    if (!be->config.trace)
        return;
    const double ms = now_ms() - began;
    look(be, y, values, sizeof(values));
    snprintf(line, sizeof(line), "%-10s y [%lld,%lld] x [%lld,%lld] %.3f ms%s", op,
             (long long)y.rows, (long long)y.cols, (long long)x.rows, (long long)x.cols, ms,
             values);
    be->config.trace(be->config.opaque, line);
}

void hyv_enter(hyv_backend *be, const hyv_block *block)
{
    if (block->enter && ready(be, "enter", true))
        block->enter(block->opaque, block->index);
}

/* ---- operators ---- */

/* The life of every operator: may it run, do the shapes fit, count, call, trace. */
#define OPERATOR(name, flops, y, x, z, condition, ...) \
    do {                                               \
        if (!ready(be, #name, be->ops->name != NULL))  \
            return;                                    \
        if (!(condition)) {                            \
            refuse(be, #name, y, x, z);                \
            return;                                    \
        }                                              \
        if ((y).rows == 0)                             \
            return;                                    \
        const double began = begin(be, flops);         \
        be->ops->name(be, __VA_ARGS__);                \
        end(be, began, #name, y, x);                   \
    } while (0)

static double volume(hyv_mat m)
{
    return (double)m.rows * (double)m.cols;
}

static bool weight_fits(const hyv_weight *W, int64_t out, int64_t in)
{
    return sound(W->w) && hyv_type_is_weight(W->w.type) && W->w.rows == out && W->w.cols == in &&
           (W->scales == 0 || (W->scale && (W->scales == 1 || W->scales == out)));
}

void hyv_linear(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W)
{
    OPERATOR(linear, 2.0 * volume(y) * (double)x.cols, y, x, W->w,
             active(be, y) && active(be, x) && y.rows == x.rows && weight_fits(W, y.cols, x.cols) &&
                 apart(y, x),
             y, x, W);
}

static bool positive(hyv_grid g)
{
    return g.t > 0 && g.h > 0 && g.w > 0;
}

void hyv_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                hyv_grid kernel, hyv_grid stride)
{
    const int64_t taps = hyv_grid_rows(kernel);
    const bool grids = positive(grid) && positive(kernel) && positive(stride);
    const hyv_grid out = grids
                             ? (hyv_grid){(grid.t - 1) / stride.t + 1, (grid.h - 1) / stride.h + 1,
                                          (grid.w - 1) / stride.w + 1}
                             : grid;
    OPERATOR(conv3d, 2.0 * volume(y) * (double)(taps * x.cols), y, x, W->w,
             grids && active(be, y) && operand(be, x) && x.rows == hyv_grid_rows(grid) &&
                 y.rows <= hyv_grid_rows(out) && y.rows % (out.h * out.w) == 0 &&
                 weight_fits(W, y.cols, taps * x.cols) && apart(y, x),
             y, x, W, grid, kernel, stride);
}

/* Scores that attention computes: all, or with causal blocks those that are seen. */
static double seen(hyv_mat q, hyv_mat k, int64_t causal)
{
    if (causal == 0)
        return (double)q.rows * (double)k.rows;
    double sum = 0.0;
    for (int64_t i = 0; i < q.rows;) {
        const int64_t block = (i + k.rows - q.rows) / causal, last = (block + 1) * causal;
        const int64_t next = last - (k.rows - q.rows), end_row = next < q.rows ? next : q.rows;
        sum += (double)(end_row - i) * (double)(last < k.rows ? last : k.rows);
        i = end_row;
    }
    return sum;
}

void hyv_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                   int64_t causal)
{
    const bool split = heads > 0 && q.cols > 0 && q.cols % heads == 0;
    const int64_t d = split ? q.cols / heads : 1;
    const bool fits = split && active(be, y) && active(be, q) && active(be, k) && active(be, v) &&
                      same(y, q) && same(k, v) && k.cols % d == 0 && heads % (k.cols / d) == 0 &&
                      causal >= 0 && k.rows > 0 && (causal == 0 || k.rows >= q.rows) &&
                      apart(y, q) && apart(y, k) && apart(y, v);
    const double flops = fits ? 4.0 * (double)q.cols * seen(q, k, causal) : 0.0;
    if (!be->err && fits)
        be->stats.attention_flops += flops;
    OPERATOR(attention, flops, y, q, k, fits, y, q, k, v, heads, causal);
}

void hyv_layer_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_affine *affine, float eps)
{
    OPERATOR(layer_norm, 8.0 * volume(y), y, x, HYV_NO_MAT,
             active(be, y) && active(be, x) && same(y, x) && same_or_apart(y, x), y, x, affine,
             eps);
}

void hyv_rms_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const float *weight, int64_t width,
                  float eps)
{
    OPERATOR(rms_norm, 4.0 * volume(y), y, x, HYV_NO_MAT,
             active(be, y) && active(be, x) && same(y, x) && same_or_apart(y, x) && width > 0 &&
                 x.cols % width == 0,
             y, x, weight, width, eps);
}

void hyv_group_norm(hyv_backend *be, hyv_mat y, hyv_mat x, int groups, const hyv_affine *affine,
                    float eps)
{
    OPERATOR(group_norm, 8.0 * volume(y), y, x, HYV_NO_MAT,
             active(be, y) && active(be, x) && same(y, x) && same_or_apart(y, x) && groups > 0 &&
                 x.cols % groups == 0,
             y, x, groups, affine, eps);
}

void hyv_modulate(hyv_backend *be, hyv_mat y, hyv_mat scale, hyv_mat shift)
{
    OPERATOR(modulate, 3.0 * volume(y), y, scale, shift,
             active(be, y) && vector(be, scale, y.cols) && vector(be, shift, y.cols) &&
                 apart(y, scale) && apart(y, shift),
             y, scale, shift);
}

void hyv_rope(hyv_backend *be, hyv_mat x, hyv_rope_table table)
{
    OPERATOR(rope, 3.0 * volume(x), x, table.cos, table.sin,
             active(be, x) && active(be, table.cos) && active(be, table.sin) &&
                 same(table.cos, table.sin) && table.cos.rows == x.rows &&
                 table.cos.cols % 2 == 0 && x.cols % table.cos.cols == 0 && apart(x, table.cos) &&
                 apart(x, table.sin),
             x, table);
}

void hyv_act(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat mul, hyv_activation f)
{
    OPERATOR(act, 20.0 * volume(y), y, x, mul,
             active(be, y) && active(be, x) && same(y, x) && same_or_apart(y, x) &&
                 (!mul.data || (active(be, mul) && same(y, mul) && same_or_apart(y, mul))) &&
                 (unsigned)f <= HYV_QUICK_GELU,
             y, x, mul, f);
}

void hyv_add(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat gate)
{
    OPERATOR(add, 2.0 * volume(y), y, x, gate,
             active(be, y) && active(be, x) && same(y, x) && same_or_apart(y, x) &&
                 (!gate.data || (vector(be, gate, y.cols) && apart(y, gate))),
             y, x, gate);
}

void hyv_copy(hyv_backend *be, hyv_mat y, hyv_mat x)
{
    OPERATOR(copy, 0.0, y, x, HYV_NO_MAT,
             sound(y) && sound(x) && hyv_type_is_float(y.type) && hyv_type_is_weight(x.type) &&
                 same(y, x) && apart(y, x),
             y, x);
}

void hyv_upsample(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, bool time)
{
    const int64_t frames = time ? 2 * grid.t - 1 : grid.t;
    OPERATOR(upsample, 0.0, y, x, HYV_NO_MAT,
             positive(grid) && active(be, y) && active(be, x) && x.rows == hyv_grid_rows(grid) &&
                 y.rows == frames * grid.h * grid.w * 4 && y.cols == x.cols && apart(y, x),
             y, x, grid, time);
}

void hyv_shuffle(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, hyv_grid factor,
                 hyv_shuffle_dir dir)
{
    const hyv_mat space = dir == HYV_SPACE_TO_DEPTH ? x : y;
    const hyv_mat depth = dir == HYV_SPACE_TO_DEPTH ? y : x;
    const bool grids = positive(grid) && positive(factor) && grid.t % factor.t == 0 &&
                       grid.h % factor.h == 0 && grid.w % factor.w == 0;
    OPERATOR(shuffle, 0.0, y, x, HYV_NO_MAT,
             grids && active(be, y) && active(be, x) && space.rows == hyv_grid_rows(grid) &&
                 depth.rows * hyv_grid_rows(factor) == space.rows &&
                 depth.cols == space.cols * hyv_grid_rows(factor) && apart(y, x),
             y, x, grid, factor, dir);
}

void hyv_upsample_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                         bool time)
{
    const int64_t frames = time ? 2 * grid.t - 1 : grid.t, taps = time ? 8 : 12;
    OPERATOR(upsample_conv3d, 2.0 * volume(y) * (double)(taps * x.cols), y, x, W->w,
             positive(grid) && active(be, y) && operand(be, x) && x.rows == hyv_grid_rows(grid) &&
                 y.rows == frames * grid.h * grid.w * 4 && weight_fits(W, y.cols, 27 * x.cols) &&
                 apart(y, x),
             y, x, W, grid, time);
}

void hyv_group_statistics(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                          const hyv_affine *affine, float eps)
{
    OPERATOR(group_statistics, 4.0 * volume(x), statistics, x, HYV_NO_MAT,
             active(be, statistics) && operand(be, x) && statistics.rows == HYV_STATISTICS &&
                 statistics.cols == x.cols && apart(statistics, x) && groups > 0 &&
                 x.cols % groups == 0,
             statistics, x, groups, affine, eps);
}

void hyv_normalise_silu(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics)
{
    OPERATOR(normalise_silu, 24.0 * volume(y), y, x, statistics,
             operand(be, y) && operand(be, x) && active(be, statistics) && same(y, x) &&
                 (y.type == x.type ? same_or_apart(y, x) : apart(y, x)) &&
                 statistics.rows == HYV_STATISTICS && statistics.cols == x.cols &&
                 apart(y, statistics),
             y, x, statistics);
}

/* ---- memory ---- */

static bool fail_memory(hyv_backend *be, const char *what, size_t bytes)
{
    char line[LINE_BYTES];
    snprintf(line, sizeof(line),
             "out of memory: %zu bytes for %s; held are %zu bytes of activations and %zu others",
             bytes, what, be->arena_bytes, be->stats.fixed_bytes);
    hyv_fail(be, -ENOMEM, line);
    return false;
}

static void keep_enough(hyv_backend *be, size_t bytes)
{
    if (bytes > be->stats.arena_bytes_enough)
        be->stats.arena_bytes_enough = bytes;
}

static hyv_mat new_matrix(hyv_backend *be, int64_t rows, int64_t cols, hyv_type type)
{
    const size_t bytes =
        rows > 0 && cols > 0 && rows <= INT64_MAX / cols ? hyv_type_size(type, rows * cols) : 0;
    const size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const size_t room = be->ops->dry ? SIZE_MAX / 2 : be->arena_bytes;
    if (be->err)
        return (hyv_mat){NULL, rows, cols, cols, type};
    if (bytes == 0) {
        refuse(be, "new", (hyv_mat){NULL, rows, cols, cols, type}, HYV_NO_MAT, HYV_NO_MAT);
        return (hyv_mat){NULL, rows, cols, cols, type};
    }
    if (padded < bytes || padded > room - be->arena_used) {
        fail_memory(be, "an activation", bytes);
        return (hyv_mat){NULL, rows, cols, cols, type};
    }
    char *base = be->ops->dry ? (char *)(uintptr_t)ALIGNMENT : be->arena;
    hyv_mat m = {base + be->arena_used, rows, cols, cols, type};
    be->arena_used += padded;
    if (be->arena_used > be->stats.arena_bytes_max)
        be->stats.arena_bytes_max = be->arena_used;
    keep_enough(be, be->arena_used);
    return m;
}

hyv_mat hyv_new(hyv_backend *be, int64_t rows, int64_t cols)
{
    return new_matrix(be, rows, cols, be->ops->activation);
}

hyv_mat hyv_new_operand(hyv_backend *be, int64_t rows, int64_t cols)
{
    return new_matrix(be, rows, cols, operand_type(be));
}

size_t hyv_mark(const hyv_backend *be)
{
    return be->arena_used;
}

void hyv_release(hyv_backend *be, size_t mark)
{
    be->arena_used = mark;
}

/* From the end on, so that one operator's working memory is still in a cache for the next. */
void *hyv_arena_lend(hyv_backend *be, size_t bytes)
{
    const size_t padded = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    const size_t room = be->ops->dry ? SIZE_MAX / 2 : be->arena_bytes / ALIGNMENT * ALIGNMENT;
    if (padded < bytes || be->arena_used > room || padded > room - be->arena_used)
        return NULL;
    keep_enough(be, be->arena_used + padded);
    return be->ops->dry ? (char *)(uintptr_t)ALIGNMENT : be->arena + room - padded;
}

int hyv_arena_resize(hyv_backend *be, size_t bytes)
{
    if (be->arena_used && bytes)
        return -EBUSY;
    if (be->arena)
        be->ops->free(be, be->arena);
    be->arena = NULL;
    be->arena_bytes = be->arena_used = 0;
    if (bytes == 0 || be->ops->dry)
        return 0;
    be->arena = be->ops->alloc(be, bytes);
    if (!be->arena) {
        fail_memory(be, "activations", bytes);
        return -ENOMEM;
    }
    be->arena_bytes = bytes;
    return 0;
}

void *hyv_alloc(hyv_backend *be, size_t bytes, const char *tag)
{
    if (be->err)
        return NULL;
    char *p = bytes <= SIZE_MAX - ALIGNMENT ? be->ops->alloc(be, bytes) : NULL;
    if (!p) {
        fail_memory(be, tag, bytes);
        return NULL;
    }
    be->stats.fixed_bytes += bytes;
    if (be->stats.fixed_bytes > be->stats.fixed_bytes_max)
        be->stats.fixed_bytes_max = be->stats.fixed_bytes;
    return p;
}

void hyv_free(hyv_backend *be, void *address)
{
    if (address)
        be->stats.fixed_bytes -= be->ops->free(be, address);
}

void hyv_upload(hyv_backend *be, hyv_mat dst, const float *host)
{
    if (ready(be, "upload", true) && (active(be, dst) || refuse(be, "upload", dst, dst, dst)))
        be->ops->upload(be, dst, host);
}

void hyv_download(hyv_backend *be, float *host, hyv_mat src)
{
    if (ready(be, "download", true) && (active(be, src) || refuse(be, "download", src, src, src)))
        be->ops->download(be, host, src);
}
