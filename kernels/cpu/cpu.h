/* The CPU backend's own header: its state, its thread pool, and the operators its files provide.
 *
 * Canonical arithmetic. In f32 every result is a definition, the same for plain C, AVX2 and AVX-512
 * and for any number of threads:
 * - Products: an output element starts at its bias or 0 and takes fmaf(a[k], b[k], acc) for k = 0,
 * 1, ... in order. Blocking over k stores and reloads the f32 accumulator. Threads split rows and
 * columns, never k.
 * - conv3d with kernel 3x3x3 and stride 1: the products and sums of conv3d_winograd.c, where that
 * pays.
 * - upsample_conv3d: those of upsample_winograd.c from 16 channels and 16 filters on.
 * - Sums over a row: 16 partial sums, element i into partial i mod 16, added as a tree of 8, 4, 2,
 * 1 (rows.h, tree_sum).
 * - Statistics of a group norm: blocks of GROUP_BLOCK rows, summed in double in row order, the
 * blocks' sums added in order.
 * - Attention walks the keys in blocks of HYV_KEY_BLOCK; its online softmax rescales once a block.
 * - exp, exp2, tanh, erf, sigmoid: vmath.h. Division and square root as IEEE has them. No libm but
 * fmaf and sqrtf, which IEEE defines too. Fast versions vectorise over outputs, which changes none
 * of this.
 *
 * With products in bf16 the operands of linear, conv3d and attention are rounded while they are
 * packed; all else stands as above. Plain C, AVX2 and AVX-512 then multiply the rounded values in
 * f32, where convolutions are still filtered minimally, and agree with each other; avx512bf16 does
 * so in conv3d's filtering only, else it adds two products at once and differs by a rounding; amx
 * adds them in another order and differs by another; its attention has key blocks of its own. Knows
 * no model.
 */
#ifndef HYV_CPU_H
#define HYV_CPU_H

#include "../ops.h"

/* In order: each has what stands before it. The last two multiply pairs of bf16, AMX in tiles. */
typedef enum hyv_isa {
    HYV_ISA_C,
    HYV_ISA_AVX2,
    HYV_ISA_AVX512,
    HYV_ISA_AVX512BF16,
    HYV_ISA_AMX,
    HYV_ISAS
} hyv_isa;

enum {
    HYV_THREADS_MAX_CPU = 256,
    HYV_KEY_BLOCK = 192 /* keys a block of attention; part of the definition */
};

typedef struct hyv_pool hyv_pool;

/* Working memory, 64-byte aligned, that grows as operators need more. */
typedef struct hyv_scratch {
    char *data;
    size_t bytes;
} hyv_scratch;

struct hyv_row_functions;  /* rows.h */
struct hyv_gemm_functions; /* gemm.h */

typedef struct hyv_cpu {
    hyv_isa isa;
    int threads;
    size_t cache_bytes; /* of a second-level cache */
    hyv_pool *pool;
    hyv_scratch scratch[HYV_THREADS_MAX_CPU];
    hyv_scratch shared; /* of operators for which the arena had no room */
    const struct hyv_row_functions *rows;
    struct hyv_gemm_functions *gemm; /* owned: composed for isa and precision */
} hyv_cpu;

static inline hyv_cpu *hyv_cpu_of(hyv_backend *be)
{
    return be->impl;
}

/* ---- threads.c ----------------------------------------------------------------------------------
 */

/* 0, or -ENOMEM. Fewer threads than asked for is no error; *threads is how many there are, the
 * caller's own included. */
int hyv_pool_open(hyv_pool **pool, int *threads);
void hyv_pool_close(hyv_pool **pool);

/* Threads worth having: processors of the affinity mask, no more than the control group's quota. */
int hyv_pool_processors(void);

/* Runs task(arg, 0), ... task(arg, tasks - 1) on all threads, the caller's among them, in no fixed
 * order; `thread` says on which. Returns when all are done. Stops handing out once hyv_stopped(be);
 * what was not run is then garbage, which be->err tells. */
typedef void hyv_task(void *arg, int64_t index, int thread);
void hyv_pool_run(hyv_backend *be, int64_t tasks, hyv_task *task, void *arg);

/* For tasks that take long: true if the rest of the task is not wanted any more. */
bool hyv_pool_stopped(hyv_backend *be, int thread);

/* ---- cpu.c
 * ---------------------------------------------------------------------------------------- */

/* The functions that products are made of on this processor: 0, -EINVAL or -ENOTSUP after a
 * message, -ENOMEM. The caller frees *gemm. */
int hyv_cpu_products(const hyv_backend_config *config, hyv_isa *isa,
                     struct hyv_gemm_functions **gemm);

/* `bytes` of working memory until the operator that runs returns, of the arena where it has room;
 * once an operator. NULL after hyv_fail(-ENOMEM). Only outside of tasks, as the next. */
void *hyv_cpu_shared(hyv_backend *be, size_t bytes);
/* At least `bytes` in cpu->scratch of each thread; false after hyv_fail. */
bool hyv_cpu_scratch_all(hyv_backend *be, size_t bytes);

/* Calls body(arg, first row, rows, thread) for pieces of `rows` rows, each of about `grain`
 * elements. */
typedef void hyv_rows_task(void *arg, int64_t first, int64_t rows, int thread);
void hyv_cpu_rows(hyv_backend *be, int64_t rows, int64_t cols, hyv_rows_task *body, void *arg);

static inline float *hyv_row(hyv_mat m, int64_t row)
{
    return (float *)m.data + row * m.ld;
}

/* ---- operators
 * ------------------------------------------------------------------------------------ */

void hyv_cpu_linear(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W);
void hyv_cpu_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W, hyv_grid grid,
                    hyv_grid kernel, hyv_grid stride);
void hyv_cpu_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                       int64_t causal);
void hyv_cpu_layer_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_affine *affine, float eps);
void hyv_cpu_rms_norm(hyv_backend *be, hyv_mat y, hyv_mat x, const float *weight, int64_t width,
                      float eps);
void hyv_cpu_group_norm(hyv_backend *be, hyv_mat y, hyv_mat x, int groups, const hyv_affine *affine,
                        float eps);
void hyv_cpu_group_statistics(hyv_backend *be, hyv_mat statistics, hyv_mat x, int groups,
                              const hyv_affine *affine, float eps);
void hyv_cpu_normalise_silu(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat statistics);
void hyv_cpu_modulate(hyv_backend *be, hyv_mat y, hyv_mat scale, hyv_mat shift);
void hyv_cpu_rope(hyv_backend *be, hyv_mat x, hyv_rope_table table);
void hyv_cpu_act(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat mul, hyv_activation f);
void hyv_cpu_add(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat gate);
void hyv_cpu_copy(hyv_backend *be, hyv_mat y, hyv_mat x);
void hyv_cpu_upsample(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, bool time);
void hyv_cpu_upsample_conv3d(hyv_backend *be, hyv_mat y, hyv_mat x, const hyv_weight *W,
                             hyv_grid grid, bool time);
void hyv_cpu_shuffle(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_grid grid, hyv_grid factor,
                     hyv_shuffle_dir dir);

/* Working memory of a call, all threads together: what the null backend plans with. */
size_t hyv_cpu_linear_scratch(const struct hyv_gemm_functions *gemm, int64_t rows,
                              const hyv_weight *W, int threads);
size_t hyv_cpu_conv3d_scratch(const struct hyv_gemm_functions *gemm, int64_t rows, int64_t filters,
                              int64_t channels, hyv_grid grid, hyv_grid kernel, hyv_grid stride,
                              int threads);
size_t hyv_cpu_upsample_conv3d_scratch(const struct hyv_gemm_functions *gemm, int64_t cols,
                                       int64_t channels, hyv_grid grid, bool time, int threads);
size_t hyv_cpu_attention_scratch(const struct hyv_gemm_functions *gemm, int64_t k_rows,
                                 int64_t head_dim, int key_heads, int threads);
size_t hyv_cpu_group_norm_scratch(int64_t rows, int64_t cols, int groups, int threads);

#endif
