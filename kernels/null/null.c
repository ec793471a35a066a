/* The backend that computes nothing: it counts what the CPU backend would hold.
 *
 * Shapes, operations and the arena are counted by the front door; here is the working memory of the
 * operators: of threads the largest there was, the rest at the end of the arena. Addresses it hands
 * out are never followed, so the published 13B model runs through in milliseconds on any machine.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "../cpu/cpu.h"

enum { ALIGNMENT = 64 };

/* The CPU backend's working memory of a thread only grows. */
typedef struct null_state {
    int threads;
    size_t thread;                   /* largest so far */
    struct hyv_gemm_functions *gemm; /* those that the CPU backend would take */
} null_state;

static int null_create(hyv_backend *be, const hyv_backend_config *config)
{
    null_state *s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->threads = config->threads > 0 ? config->threads : hyv_pool_processors();
    if (s->threads > HYV_THREADS_MAX_CPU)
        s->threads = HYV_THREADS_MAX_CPU;
    hyv_isa isa = HYV_ISA_C;
    const int err = hyv_cpu_products(config, &isa, &s->gemm);
    if (err < 0) {
        free(s);
        return err;
    }
    be->impl = s;
    return 0;
}

static void null_destroy(hyv_backend *be)
{
    null_state *s = be->impl;
    free(s->gemm);
    free(s);
}

/* Remembers only the size; what is asked for is not there. */
static void *null_alloc(hyv_backend *be, size_t bytes)
{
    (void)be;
    size_t *record = aligned_alloc(ALIGNMENT, ALIGNMENT);
    if (record)
        *record = bytes;
    return record;
}

static size_t null_free(hyv_backend *be, void *address)
{
    (void)be;
    const size_t bytes = *(const size_t *)address;
    free(address);
    return bytes;
}

static void null_upload(hyv_backend *be, hyv_mat dst, const float *host)
{
    (void)be, (void)dst, (void)host;
}

static void null_download(hyv_backend *be, float *host, hyv_mat src)
{
    (void)be, (void)host, (void)src;
}

static void null_fetch(hyv_backend *be, void *dst, const void *host, size_t bytes)
{
    (void)be, (void)dst, (void)host, (void)bytes;
}

/* What an operator takes without any thread, which the arena has room for, and with one. */
static void count(hyv_backend *be, size_t shared, size_t with_one)
{
    null_state *s = be->impl;
    hyv_arena_lend(be, shared);
    if (with_one - shared > s->thread)
        s->thread = with_one - shared;
}

static double volume(hyv_mat m)
{
    return (double)m.rows * (double)m.cols;
}

/* Elements of a product's result as they are computed. */
static double whole(hyv_mat y)
{
    const int64_t cols = (y.cols + HYV_KIND_COLS - 1) / HYV_KIND_COLS * HYV_KIND_COLS;
    return (double)y.rows * (double)cols;
}

/* Sizes: below 4^6, below 4^7, ... */
static int size_of(double work)
{
    int size = 0;
    for (double most = 4096.0; work >= most && size < HYV_SIZES - 1; most *= 4.0)
        size++;
    return size;
}

/* Counts a call, which becomes an example if it is the largest. */
static void note(hyv_backend *be, hyv_kind kind, hyv_example call)
{
    const int size = size_of(call.work);
    hyv_calls *done = &be->stats.done[kind][size];
    hyv_example *example = &be->stats.example[kind][size];
    done->count++;
    done->work += call.work;
    if (call.work > example->work)
        *example = call;
}

static void null_linear(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W)
{
    const struct hyv_gemm_functions *gemm = ((const null_state *)be->impl)->gemm;
    note(be, y.rows <= HYV_KIND_ROWS_FEW ? HYV_KIND_LINEAR_FEW : HYV_KIND_LINEAR,
         (hyv_example){.work = 2.0 * whole(y) * (double)x.cols, .y = y, .x = x, .weight = *W});
    count(be, hyv_cpu_linear_scratch(gemm, y.rows, W, 0),
          hyv_cpu_linear_scratch(gemm, y.rows, W, 1));
}

static void null_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                        hyv_grid kernel, hyv_grid stride)
{
    const struct hyv_gemm_functions *gemm = ((const null_state *)be->impl)->gemm;
    note(be, HYV_KIND_CONV,
         (hyv_example){.work = 2.0 * whole(y) * (double)W->w.cols,
                       .y = y,
                       .x = x,
                       .weight = *W,
                       .grid = grid,
                       .kernel = kernel});
    count(be, hyv_cpu_conv3d_scratch(gemm, y.rows, y.cols, x.cols, grid, kernel, stride, 0),
          hyv_cpu_conv3d_scratch(gemm, y.rows, y.cols, x.cols, grid, kernel, stride, 1));
}

static void null_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                           int64_t causal)
{
    const struct hyv_gemm_functions *gemm = ((const null_state *)be->impl)->gemm;
    (void)v;
    note(be, HYV_KIND_ATTENTION,
         (hyv_example){.work = 4.0 * volume(q) * (double)k.rows * (causal ? 0.5 : 1.0),
                       .y = y,
                       .x = q,
                       .k = k,
                       .heads = heads});
    const int64_t d = q.cols / heads;
    count(be, hyv_cpu_attention_scratch(gemm, k.rows, d, (int)(k.cols / d), 0),
          hyv_cpu_attention_scratch(gemm, k.rows, d, (int)(k.cols / d), 1));
}

static void null_layer_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_affine *affine,
                            float eps)
{
    (void)affine, (void)eps;
    note(be, HYV_KIND_LAYER_NORM, (hyv_example){.work = volume(y), .y = y, .x = x});
}

static void null_rms_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const float *weight, int64_t width,
                          float eps)
{
    (void)weight, (void)eps;
    note(be, HYV_KIND_RMS_NORM, (hyv_example){.work = volume(y), .y = y, .x = x, .width = width});
}

static void null_group_norm(hyv_backend *be, hyv_mat y, hyv_mat x, int groups,
                            const hyv_affine *affine, float eps)
{
    (void)affine, (void)eps;
    note(be, HYV_KIND_GROUP_NORM,
         (hyv_example){.work = volume(y), .y = y, .x = x, .width = x.cols / groups});
    count(be, hyv_cpu_group_norm_scratch(x.rows, x.cols, groups, 0),
          hyv_cpu_group_norm_scratch(x.rows, x.cols, groups, 1));
}

static void null_group_statistics(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                                  const hyv_affine *affine, float eps)
{
    (void)affine, (void)eps;
    note(be, HYV_KIND_GROUP_STATISTICS,
         (hyv_example){.work = volume(x), .y = statistics, .x = x, .width = x.cols / groups});
    count(be, hyv_cpu_group_norm_scratch(x.rows, x.cols, groups, 0),
          hyv_cpu_group_norm_scratch(x.rows, x.cols, groups, 1));
}

static void null_normalise_silu(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics)
{
    (void)x, (void)statistics;
    note(be, HYV_KIND_SILU, (hyv_example){.work = volume(y), .y = y, .x = y, .f = HYV_SILU});
}

static void move(hyv_backend *be, hyv_mat y)
{
    note(be, HYV_KIND_MOVE, (hyv_example){.work = volume(y), .y = y, .x = y});
}

static void null_modulate(hyv_backend *be, hyv_mat y, hyv_mat scale, hyv_mat shift)
{
    (void)scale, (void)shift;
    move(be, y);
}

static void null_rope(hyv_backend *be, hyv_mat x, hyv_rope_table table)
{
    (void)table;
    move(be, x);
}

static void null_act(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat mul, hyv_activation f)
{
    (void)mul;
    note(be, f == HYV_SILU ? HYV_KIND_SILU : HYV_KIND_ACT,
         (hyv_example){.work = volume(y), .y = y, .x = x, .f = f});
}

static void null_add(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat gate)
{
    (void)x, (void)gate;
    move(be, y);
}

static void null_copy(hyv_backend *be, hyv_mat y, hyv_mat x)
{
    (void)x;
    move(be, y);
}

static void null_upsample(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, bool time)
{
    (void)x, (void)grid, (void)time;
    move(be, y);
}

static void null_shuffle(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, hyv_grid factor,
                         hyv_shuffle_dir dir)
{
    (void)x, (void)grid, (void)factor, (void)dir;
    move(be, y);
}

static void null_upsample_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                                 hyv_grid grid, bool time)
{
    const struct hyv_gemm_functions *gemm = ((const null_state *)be->impl)->gemm;
    note(be, HYV_KIND_UPSAMPLE_CONV,
         (hyv_example){.work = 2.0 * whole(y) * (double)((time ? 8 : 12) * x.cols),
                       .y = y,
                       .x = x,
                       .weight = *W,
                       .grid = grid,
                       .time = time});
    count(be, hyv_cpu_upsample_conv3d_scratch(gemm, y.cols, x.cols, grid, time, 0),
          hyv_cpu_upsample_conv3d_scratch(gemm, y.cols, x.cols, grid, time, 1));
}

static size_t null_scratch(const hyv_backend *be)
{
    const null_state *s = be->impl;
    return (size_t)s->threads * s->thread;
}

static void null_describe(const hyv_backend *be, char *text, size_t size)
{
    (void)be;
    snprintf(text, size, "null (computes nothing)");
}

const hyv_backend_ops hyv_null_backend = {
    .name = "null",
    .activation = HYV_F32,
    .host_memory = true,
    .dry = true,
    .create = null_create,
    .destroy = null_destroy,
    .alloc = null_alloc,
    .free = null_free,
    .upload = null_upload,
    .download = null_download,
    .fetch = null_fetch,
    .linear = null_linear,
    .conv3d = null_conv3d,
    .attention = null_attention,
    .layer_norm = null_layer_norm,
    .rms_norm = null_rms_norm,
    .group_norm = null_group_norm,
    .modulate = null_modulate,
    .rope = null_rope,
    .act = null_act,
    .add = null_add,
    .copy = null_copy,
    .upsample = null_upsample,
    .shuffle = null_shuffle,
    .upsample_conv3d = null_upsample_conv3d,
    .group_statistics = null_group_statistics,
    .normalise_silu = null_normalise_silu,
    .scratch = null_scratch,
    .describe = null_describe,
};
