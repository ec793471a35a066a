/* The contract between the model and the processors: one table of operators, one front door.
 *
 * Model code calls the functions of this header; kernels/ops.c checks every argument, stops when an
 * earlier operator failed or the run was cancelled, keeps the arena, traces, and calls the backend
 * through its table. A backend therefore checks nothing and a model handles no errors: it reads
 * be->err (hyv_backend_error) after a block, as one reads ferror on a stream.
 *
 * Everything is a matrix: a token sequence is [tokens, channels], a video [t*h*w, channels] with
 * channels last. There is no batch dimension, no padding and no mask. y is written, x is read.
 * Activations are f32 on the CPU; sums are in f32 and rounded once. On the CPU the f32 result is a
 * definition (see kernels/cpu/cpu.h, canonical arithmetic).
 */
#ifndef HYV_KERNELS_OPS_H
#define HYV_KERNELS_OPS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "types.h"

typedef struct hyv_backend hyv_backend;

/* ---- weights ---- */

/* The weight of a linear layer or a convolution. Storage is any float or block type; the effective
 * matrix is w * scale in f32. */
typedef struct hyv_weight {
    hyv_mat w;          /* [out, in]; convolutions: [out, kt*kh*kw*in], taps before channels */
    const float *bias;  /* [out], device address, or NULL */
    const float *scale; /* device address: [1] or [out], or NULL */
    int64_t scales;     /* 0, 1 or out */
    bool rounded;       /* the scale, then each w * scale, is rounded to bf16 */
    bool int8;          /* a linear that may be multiplied in 8-bit integers */
} hyv_weight;

/* The affine part of a normalisation; either may be NULL. Device addresses, [cols]. */
typedef struct hyv_affine {
    const float *weight;
    const float *bias;
} hyv_affine;

typedef enum hyv_activation {
    HYV_SILU,
    HYV_GELU_TANH,
    HYV_GELU_ERF,
    HYV_QUICK_GELU
} hyv_activation;

/* A rotary table on the device: [rows, d], for channel pair (2i, 2i+1) both entries hold the same
 * cosine (sine). */
typedef struct hyv_rope_table {
    hyv_mat cos;
    hyv_mat sin;
} hyv_rope_table;

/* A stretch of a model whose weights are used together and may have to come from a file first.
 * Whoever binds the weights fills it; all zero: its weights are always there. */
typedef struct hyv_block {
    void *opaque;
    void (*enter)(void *opaque, int index);
    int index;
} hyv_block;

/* From here to the model's next hyv_enter operators use this block's weights and no others. */
void hyv_enter(hyv_backend *be, const hyv_block *block);

/* ---- operators ----
 * Each is what the sentence above it says. In place only where it says so; otherwise y must not
 * overlap x. Vectors (scale, shift, gate) are [1, cols]. */

/* 1. y = x . w^T + bias.                     y [n, out], x [n, in], W.w [out, in] */
void hyv_linear(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W);

/* 2. Convolution, causal in time: tap (a, b, c) of output voxel (t, h, w) reads input voxel
 *    (t*st + a - (kt-1), h*sh + b - kh/2, w*sw + c - kw/2), each coordinate clamped into the grid
 * (replicated edges). x [grid rows, in], y [out grid rows, out]; out grid = floor((size - 1) /
 * stride) + 1 an axis. y may have the last frames of these only. x may be of hyv_new_operand. */
void hyv_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                hyv_grid kernel, hyv_grid stride);

/* 3. Per head softmax(q . k^T / sqrt(d)) . v, d = q.cols / heads. k, v may have fewer heads (k.cols
 * / d), each serving a group of neighbouring query heads. causal c > 0: row i sees row j iff
 * floor(j/c) <= floor(i/c), where query row i stands at key row i + (k.rows - q.rows); 0: sees all.
 */
void hyv_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                   int64_t causal);

/* 4. Per row (x - mean) / sqrt(var + eps), biased variance, then affine if any. In place allowed.
 */
void hyv_layer_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_affine *affine, float eps);

/* 5. x / sqrt(mean(x^2) + eps) * weight over each run of `width` columns (a head, or the whole
 * row). In place allowed. */
void hyv_rms_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const float *weight, int64_t width,
                  float eps);

/* 6. Statistics over all rows and cols/groups columns, then affine. In place allowed. */
void hyv_group_norm(hyv_backend *be, hyv_mat y, hyv_mat x, int groups, const hyv_affine *affine,
                    float eps);

/* 7. y = y * (1 + scale) + shift. */
void hyv_modulate(hyv_backend *be, hyv_mat y, hyv_mat scale, hyv_mat shift);

/* 8. In each run of table.cos.cols columns, pair (2i, 2i+1) of row r is rotated: (a cos - b sin, b
 * cos + a sin). In place. */
void hyv_rope(hyv_backend *be, hyv_mat x, hyv_rope_table table);

/* 9. y = f(x), times mul if mul.data is set. In place allowed. */
void hyv_act(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat mul, hyv_activation f);

/* 10. y += gate * x; gate [1, cols], or data NULL for 1. */
void hyv_add(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat gate);

/* 11. Strided copy; converts between types where they differ. Destination of any plain float type,
 * source of any that a weight may have. */
void hyv_copy(hyv_backend *be, hyv_mat y, hyv_mat x);

/* 12. Nearest neighbour, twice in h and w; with `time` also twice in t except for the first frame:
 * output frames are time ? 2t - 1 : t, output voxel (o, i, j) reads (time ? (o+1)/2 : o, i/2, j/2).
 */
void hyv_upsample(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, bool time);

/* 13. Space to depth (y [rows / f, f*cols]) or back: `grid` is the grid of the spatial side,
 * columns of the deep side are ordered (rt, rh, rw, channel). */
typedef enum hyv_shuffle_dir { HYV_SPACE_TO_DEPTH, HYV_DEPTH_TO_SPACE } hyv_shuffle_dir;
void hyv_shuffle(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, hyv_grid factor,
                 hyv_shuffle_dir dir);

/* 14. What conv3d with kernel 3x3x3 and stride 1 makes of upsample(x, grid, time), without the
 * doubled tensor: weights of taps that read the same voxel of x are added up first, so 27 products
 * become 8 (time) or 12, or fewer still. W and x as for conv3d; y [doubled grid rows, out]. */
void hyv_upsample_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                         bool time);

/* 15. What group_norm subtracts, multiplies by and adds, a row each: statistics [3, cols]. x may be
 * of hyv_new_operand. */
enum { HYV_STATISTICS = 3 };
void hyv_group_statistics(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                          const hyv_affine *affine, float eps);

/* 16. y = SiLU((x - mean) * factor + shift), which are the rows of statistics. In place allowed. y
 * and x may be of hyv_new_operand. */
void hyv_normalise_silu(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics);

static const hyv_mat HYV_NO_MAT = {0};

/* ---- memory ----
 * Three kinds of device memory: the arena (activations, stack order), fixed allocations with a tag,
 * and weights that live in a mapped file (CPU) or in slots. */

/* An activation matrix [rows, cols] from the arena, of the backend's activation type; not
 * initialised. On failure (or after an earlier one) be->err is set and the view has data NULL,
 * which later operators ignore because of be->err. */
hyv_mat hyv_new(hyv_backend *be, int64_t rows, int64_t cols);

/* The same for what only convolutions read, or the normalisation before one: half the size, bf16,
 * where products are not in fp32, as these would round it in any case. */
hyv_mat hyv_new_operand(hyv_backend *be, int64_t rows, int64_t cols);
size_t hyv_mark(const hyv_backend *be);
void hyv_release(hyv_backend *be, size_t mark);

/* For backends: `bytes` of working memory at the end of the arena, aligned to 64, until the
 * operator that runs returns. NULL where activations leave no such room. A dry run always has it.
 */
void *hyv_arena_lend(hyv_backend *be, size_t bytes);

/* Makes the arena at least `bytes` large; only while it is empty. 0 frees it. */
int hyv_arena_resize(hyv_backend *be, size_t bytes);

/* Fixed device memory; freed by hyv_free. NULL on failure with be->err = -ENOMEM. Aligned to 64
 * bytes. */
void *hyv_alloc(hyv_backend *be, size_t bytes, const char *tag);
void hyv_free(hyv_backend *be, void *address);

/* Host <-> device, ordered with operators. Host matrices are dense f32 [rows, cols]. */
void hyv_upload(hyv_backend *be, hyv_mat dst, const float *host);
void hyv_download(hyv_backend *be, float *host, hyv_mat src);

/* ---- the table a backend fills ---- */

/* How linear, conv3d and attention multiply. fp32 is the definition. bf16 rounds the operands of
 * each product to bf16, to nearest even, and sums in f32, as published GPU code does; what is
 * stored stays f32, but for hyv_new_operand. Its bytes are promised for one instruction set only,
 * any number of threads. int8 is bf16 but for linears whose weight says `int8`: there the rows of
 * both operands are scaled to 8-bit integers, the largest to 127, and sums are exact; so these have
 * the same bytes again on every instruction set. */
typedef enum hyv_precision {
    HYV_PRODUCTS_FP32,
    HYV_PRODUCTS_BF16,
    HYV_PRODUCTS_INT8,
    HYV_PRECISIONS
} hyv_precision;

typedef struct hyv_backend_config {
    int threads;     /* 0: as many as the process may use */
    const char *isa; /* "auto", "c", "avx2", "avx512", "avx512bf16", "amx"; CPU only */
    hyv_precision precision;
    void *opaque; /* for the two callbacks */
    int (*interrupt)(
        void *opaque); /* non-zero: stop; may be NULL; any of the backend's threads calls it */
    void (*trace)(void *opaque, const char *line); /* a line an operator, or NULL: no tracing */
    void (*message)(void *opaque,
                    const char *line); /* why an operator or an allocation failed; may be NULL */
} hyv_backend_config;

/* Entries mirror the operators above, arguments already checked. NULL: this backend cannot (front
 * door: -ENOSYS). */
typedef struct hyv_backend_ops {
    const char *name;
    hyv_type activation;
    bool host_memory; /* device addresses are host addresses: mapped weights are used where they lie
                       */
    bool dry;         /* computes nothing; addresses are not to be followed */

    int (*create)(hyv_backend *be, const hyv_backend_config *config); /* fills be->impl */
    void (*destroy)(hyv_backend *be);
    void *(*alloc)(hyv_backend *be, size_t bytes);
    size_t (*free)(hyv_backend *be, void *address); /* the bytes that alloc was asked for */
    void (*upload)(hyv_backend *be, hyv_mat dst, const float *host);
    void (*download)(hyv_backend *be, float *host, hyv_mat src);
    /* Page-ahead hint (CPU) or asynchronous copy (others): bytes at `host` will be read soon; dst
     * may be NULL. */
    void (*fetch)(hyv_backend *be, void *dst, const void *host, size_t bytes);

    void (*linear)(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W);
    void (*conv3d)(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                   hyv_grid kernel, hyv_grid stride);
    void (*attention)(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                      int64_t causal);
    void (*layer_norm)(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_affine *affine, float eps);
    void (*rms_norm)(hyv_backend *be, hyv_mat y, hyv_mat x, const float *weight, int64_t width,
                     float eps);
    void (*group_norm)(hyv_backend *be, hyv_mat y, hyv_mat x, int groups, const hyv_affine *affine,
                       float eps);
    void (*modulate)(hyv_backend *be, hyv_mat y, hyv_mat scale, hyv_mat shift);
    void (*rope)(hyv_backend *be, hyv_mat x, hyv_rope_table table);
    void (*act)(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat mul, hyv_activation f);
    void (*add)(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat gate);
    void (*copy)(hyv_backend *be, hyv_mat y, hyv_mat x);
    void (*upsample)(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, bool time);
    void (*shuffle)(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, hyv_grid factor,
                    hyv_shuffle_dir dir);
    void (*upsample_conv3d)(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                            hyv_grid grid, bool time);

    void (*group_statistics)(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                             const hyv_affine *affine, float eps);
    void (*normalise_silu)(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics);

    /* Bytes of working memory that the operators above take beside their arguments and the arena
     * (packing buffers, scores), for the plan: an upper bound over all calls made so far on this
     * (dry) backend is kept by null; others return what they hold now. */
    size_t (*scratch)(const hyv_backend *be);

    /* What runs, for people: "cpu (avx512, 2 threads)". */
    void (*describe)(const hyv_backend *be, char *text, size_t size);
} hyv_backend_ops;

/* Operators by what their speed depends on. */
typedef enum hyv_kind {
    HYV_KIND_LINEAR,
    HYV_KIND_LINEAR_FEW, /* so few rows that reading the weights takes the time */
    HYV_KIND_CONV,
    HYV_KIND_UPSAMPLE_CONV,
    HYV_KIND_ATTENTION,
    HYV_KIND_LAYER_NORM,
    HYV_KIND_RMS_NORM,
    HYV_KIND_GROUP_NORM,
    HYV_KIND_GROUP_STATISTICS,
    HYV_KIND_SILU, /* divides; */
    HYV_KIND_ACT,  /* the other activations */
    HYV_KIND_MOVE, /* additions, rotations, copies: memory takes the time */
    HYV_KINDS
} hyv_kind;

enum { HYV_KIND_ROWS_FEW = 64, HYV_KIND_COLS = 32, HYV_SIZES = 12 };

/* Calls of one kind and about one size: each size is four times the one before. */
typedef struct hyv_calls {
    uint64_t count;
    double work; /* of all: operations of products, whose columns come in groups of HYV_KIND_COLS;
                    elements of the results of others */
} hyv_calls;

/* The largest of such calls, by its shapes, to be timed. */
typedef struct hyv_example {
    double work;     /* 0: there is none */
    hyv_mat y, x, k; /* addresses mean nothing */
    hyv_weight weight;
    hyv_grid grid, kernel;
    int heads;
    int64_t width; /* of a run of columns or a group */
    hyv_activation f;
    bool time;
} hyv_example;

/* What a backend did so far: exact on the null backend, whose numbers are the plan. */
typedef struct hyv_backend_stats {
    uint64_t calls;
    double flops;              /* multiply and add count as two */
    double attention_flops;    /* the part of flops done in attention */
    size_t arena_bytes_max;    /* of activations, */
    size_t arena_bytes_enough; /* and with the working memory of the operators that found room */
    size_t fixed_bytes;
    size_t fixed_bytes_max;
    /* On the null backend only: */
    hyv_calls done[HYV_KINDS][HYV_SIZES];
    hyv_example example[HYV_KINDS][HYV_SIZES];
} hyv_backend_stats;

struct hyv_backend {
    const hyv_backend_ops *ops;
    void *impl;
    int err;         /* sticky: 0 or the first failure, negative errno */
    atomic_int stop; /* set by hyv_backend_stop from any thread */
    hyv_backend_config config;
    hyv_backend_stats stats;
    char *arena;
    size_t arena_bytes, arena_used;
};

/* name: "cpu" or "null". 0, -ENODEV if this build has no such backend, or what its create returned.
 * The null backend counts what the CPU backend would need. */
int hyv_backend_open(hyv_backend **be, const char *name, const hyv_backend_config *config);
void hyv_backend_close(hyv_backend **be);
int hyv_backend_error(const hyv_backend *be);
void hyv_backend_describe(const hyv_backend *be, char *text, size_t size);

/* Makes every later operator return at once with be->err = -ECANCELED, and the running one soon.
 * Any thread, any time. */
void hyv_backend_stop(hyv_backend *be);

/* Forgets the sticky error and the stop: the next run begins. */
void hyv_backend_reset(hyv_backend *be);

/* Sets the sticky error unless one stands already; message (may be NULL) goes to config.message. */
void hyv_fail(hyv_backend *be, int err, const char *message);

/* True once the run is cancelled; polls config.interrupt. Backends ask it between pieces of work,
 * at least every 100 ms. */
bool hyv_stopped(hyv_backend *be);

#endif
