/* Speed of the three operators that matter, at the widths of the published 13B model, beside sgemm.
 *
 * Each case runs our operator and OpenBLAS in turn and prints the medians, the ratio, the share of
 * the fused multiply-add peak measured right before and after (clocks go up and down), and how much
 * of the processors we really got (cpu: processor time / (wall time * threads); below 0.9 something
 * else was running). The best peaks of the run stand at the end.
 * Rows named "products in bf16" or "in int8" ran with that precision, beside the peak of the same
 * instructions, which is the fused multiply-add's where the processor has none.
 * Convolution and attention stand beside the matrix products of their size. OpenBLAS is looked for
 * when the program runs; without it its columns are empty.
 *
 * bench_ops [-t threads] [-r repetitions] [-i isa] [-c] [part of a name ...]
 * -c counts processor time instead of time, for one thread on a busy machine.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "../../kernels/cpu/gemm_int8.h"
#include "../../kernels/half.h"
#include "../check.h"

enum { REPS_MAX = 99, HEADS = 24, HEAD_SIZE = 128, SGEMM_ROWS_MAX = 8192, LARGE_PAGE = 2 << 20 };

typedef enum kind { LINEAR, CONV3D, ATTENTION } kind;

typedef struct bench_case {
    const char *name;
    kind kind;
    hyv_type type; /* of the weights */
    hyv_precision precision;
    int64_t rows, cols, depth; /* linear: a product; conv3d: depth is the channels */
    hyv_grid grid;             /* conv3d */
} bench_case;

static const bench_case cases[] = {
    {"linear 1536x3072x3072", LINEAR, HYV_F32, HYV_PRODUCTS_FP32, 1536, 3072, 3072, {0, 0, 0}},
    {"linear 1536x12288x3072", LINEAR, HYV_F32, HYV_PRODUCTS_FP32, 1536, 12288, 3072, {0, 0, 0}},
    {"linear 1536x3072x12288", LINEAR, HYV_F32, HYV_PRODUCTS_FP32, 1536, 3072, 12288, {0, 0, 0}},
    {"linear 256x3072x3072", LINEAR, HYV_F32, HYV_PRODUCTS_FP32, 256, 3072, 3072, {0, 0, 0}},
    {"linear 1x12288x3072", LINEAR, HYV_F32, HYV_PRODUCTS_FP32, 1, 12288, 3072, {0, 0, 0}},
    {"linear bf16 1536x3072x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_FP32,
     1536,
     3072,
     3072,
     {0, 0, 0}},
    {"linear bf16 256x3072x3072", LINEAR, HYV_BF16, HYV_PRODUCTS_FP32, 256, 3072, 3072, {0, 0, 0}},
    {"linear bf16 1x12288x3072", LINEAR, HYV_BF16, HYV_PRODUCTS_FP32, 1, 12288, 3072, {0, 0, 0}},
    {"linear f8 1x12288x3072", LINEAR, HYV_F8_E4M3, HYV_PRODUCTS_FP32, 1, 12288, 3072, {0, 0, 0}},
    {"conv3d 512 ch 5x32x32",
     CONV3D,
     HYV_F32,
     HYV_PRODUCTS_FP32,
     5 * 32 * 32,
     512,
     512,
     {5, 32, 32}},
    {"conv3d 256 ch 9x64x64",
     CONV3D,
     HYV_F32,
     HYV_PRODUCTS_FP32,
     9 * 64 * 64,
     256,
     256,
     {9, 64, 64}},
    {"conv3d 128 ch 9x128x128",
     CONV3D,
     HYV_F32,
     HYV_PRODUCTS_FP32,
     9 * 128 * 128,
     128,
     128,
     {9, 128, 128}},
    {"attention 24x128, 1536", ATTENTION, HYV_F32, HYV_PRODUCTS_FP32, 1536, 0, 0, {0, 0, 0}},
    {"attention 24x128, 4352", ATTENTION, HYV_F32, HYV_PRODUCTS_FP32, 4352, 0, 0, {0, 0, 0}},
    {"products in bf16: linear 1536x3072x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_BF16,
     1536,
     3072,
     3072,
     {0, 0, 0}},
    {"products in bf16: linear 1536x12288x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_BF16,
     1536,
     12288,
     3072,
     {0, 0, 0}},
    {"products in bf16: linear 1536x3072x12288",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_BF16,
     1536,
     3072,
     12288,
     {0, 0, 0}},
    {"products in bf16: linear 256x3072x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_BF16,
     256,
     3072,
     3072,
     {0, 0, 0}},
    {"products in bf16: linear 1x12288x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_BF16,
     1,
     12288,
     3072,
     {0, 0, 0}},
    {"products in bf16: linear of f32 weights",
     LINEAR,
     HYV_F32,
     HYV_PRODUCTS_BF16,
     1536,
     3072,
     3072,
     {0, 0, 0}},
    {"products in bf16: conv3d 512 ch 5x32x32",
     CONV3D,
     HYV_F32,
     HYV_PRODUCTS_BF16,
     5 * 32 * 32,
     512,
     512,
     {5, 32, 32}},
    {"products in bf16: conv3d 256 ch 9x64x64",
     CONV3D,
     HYV_F32,
     HYV_PRODUCTS_BF16,
     9 * 64 * 64,
     256,
     256,
     {9, 64, 64}},
    {"products in bf16: conv3d 128 ch 9x128x128",
     CONV3D,
     HYV_F32,
     HYV_PRODUCTS_BF16,
     9 * 128 * 128,
     128,
     128,
     {9, 128, 128}},
    {"products in bf16: attention 24x128, 1536",
     ATTENTION,
     HYV_F32,
     HYV_PRODUCTS_BF16,
     1536,
     0,
     0,
     {0, 0, 0}},
    {"products in bf16: attention 24x128, 4352",
     ATTENTION,
     HYV_F32,
     HYV_PRODUCTS_BF16,
     4352,
     0,
     0,
     {0, 0, 0}},
    {"products in int8: linear 1536x3072x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_INT8,
     1536,
     3072,
     3072,
     {0, 0, 0}},
    {"products in int8: linear 1536x12288x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_INT8,
     1536,
     12288,
     3072,
     {0, 0, 0}},
    {"products in int8: linear 1536x3072x12288",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_INT8,
     1536,
     3072,
     12288,
     {0, 0, 0}},
    {"products in int8: linear 256x3072x3072",
     LINEAR,
     HYV_BF16,
     HYV_PRODUCTS_INT8,
     256,
     3072,
     3072,
     {0, 0, 0}},
    {"products in int8: linear of f32 weights",
     LINEAR,
     HYV_F32,
     HYV_PRODUCTS_INT8,
     1536,
     3072,
     3072,
     {0, 0, 0}},
};

/* ---- OpenBLAS ---------------------------------------------------------------------------------
 */

typedef void sgemm_function(int order, int trans_a, int trans_b, int m, int n, int k, float alpha,
                            const float *a, int lda, const float *b, int ldb, float beta, float *c,
                            int ldc);

enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };

/* Older versions take Intel's newer processors for a Prescott. */
static bool is_intel_avx512(void)
{
#if defined(__x86_64__)
    return __builtin_cpu_is("intel") && __builtin_cpu_supports("avx512f");
#else
    return false;
#endif
}

/* NULL if there is none. dlsym's pointer becomes a function's by way of memory, as POSIX says. */
static sgemm_function *load_sgemm(int threads)
{
    sgemm_function *sgemm = NULL;
    void (*set_threads)(int) = NULL;
    unsetenv("OPENBLAS_CORETYPE"); /* let it choose its best kernel: */
    if (is_intel_avx512())
        setenv("OPENBLAS_CORETYPE", "SkylakeX", 1);
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return NULL;
    void *symbol = dlsym(library, "cblas_sgemm");
    memcpy(&sgemm, &symbol, sizeof(sgemm));
    symbol = dlsym(library, "openblas_set_num_threads");
    memcpy(&set_threads, &symbol, sizeof(set_threads));
    if (set_threads)
        set_threads(threads);
    return sgemm;
}

/* ---- the peak ---------------------------------------------------------------------------------
 */

enum { PEAK_LOOPS = 2000000, PEAK_CHAINS = 12, PEAK_FLOATS = 16 };

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static float peak_avx512(void)
{
    __m512 sum[PEAK_CHAINS], x = _mm512_set1_ps(0.999f);
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int n = 0; n < PEAK_LOOPS; n++)
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_CHAINS; i++)
            sum[i] = _mm512_fmadd_ps(sum[i], x, x);
    for (int i = 1; i < PEAK_CHAINS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_cvtss_f32(sum[0]);
}

/* An instruction makes two multiply-adds of each lane. */
__attribute__((target("avx512f,avx512bf16"))) static float peak_pairs(void)
{
    __m512 sum[PEAK_CHAINS];
    const __m512i x = _mm512_set1_epi32(0x3f003f00); /* two halves */
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum[i] = _mm512_set1_ps((float)i);
    for (int n = 0; n < PEAK_LOOPS / 2; n++)
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_CHAINS; i++)
            sum[i] = _mm512_dpbf16_ps(sum[i], (__m512bh)x, (__m512bh)x);
    for (int i = 1; i < PEAK_CHAINS; i++)
        sum[0] = _mm512_add_ps(sum[0], sum[i]);
    return _mm512_cvtss_f32(sum[0]);
}

/* An instruction makes four multiply-adds of each lane. */
__attribute__((target("avx512f,avx512vnni"))) static float peak_fours(void)
{
    __m512i sum[PEAK_CHAINS];
    const __m512i x = _mm512_set1_epi8(1);
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum[i] = _mm512_set1_epi32(i);
    for (int n = 0; n < PEAK_LOOPS / 4; n++)
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_CHAINS; i++)
            sum[i] = _mm512_dpbusd_epi32(sum[i], x, x);
    for (int i = 1; i < PEAK_CHAINS; i++)
        sum[0] = _mm512_add_epi32(sum[0], sum[i]);
    return (float)_mm512_reduce_add_epi32(sum[0]);
}

/* An instruction makes 16 x 16 x 32 multiply-adds of bf16, or twice as many of bytes; the tiles
 * hold zeros. */
__attribute__((target("amx-tile,amx-bf16,amx-int8"))) static float peak_tiles(bool bytes)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1,
                .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    const int loops = (int)((int64_t)PEAK_LOOPS * PEAK_CHAINS * PEAK_FLOATS / (4 * 16 * 16 * 32));
    _tile_loadconfig(&shapes);
    for (int n = 0; n < (bytes ? loops / 2 : loops); n++)
        if (bytes) {
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
        } else {
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    _tile_release();
    return 0.0f;
}

/* Half as many lanes, so twice as many loops. */
__attribute__((target("avx2,fma"))) static float peak_avx2(void)
{
    __m256 sum[PEAK_CHAINS], x = _mm256_set1_ps(0.999f);
    for (int i = 0; i < PEAK_CHAINS; i++)
        sum[i] = _mm256_set1_ps((float)i);
    for (int n = 0; n < 2 * PEAK_LOOPS; n++)
#pragma GCC unroll 12
        for (int i = 0; i < PEAK_CHAINS; i++)
            sum[i] = _mm256_fmadd_ps(sum[i], x, x);
    for (int i = 1; i < PEAK_CHAINS; i++)
        sum[0] = _mm256_add_ps(sum[0], sum[i]);
    return _mm256_cvtss_f32(sum[0]);
}
#endif

typedef struct peak_job {
    hyv_isa isa;
    hyv_precision precision;
    bool vnni;
    _Atomic int sink; /* uses the result, so that the loop stays */
} peak_job;

static void peak_task(void *arg, int64_t index, int thread)
{
    peak_job *job = arg;
    (void)index, (void)thread;
#if defined(__x86_64__)
    const bool narrow = job->precision != HYV_PRODUCTS_FP32;
    const bool bytes = job->precision == HYV_PRODUCTS_INT8;
    job->sink += (int)(narrow && job->isa == HYV_ISA_AMX          ? peak_tiles(bytes)
                       : bytes && job->vnni                       ? peak_fours()
                       : narrow && job->isa == HYV_ISA_AVX512BF16 ? peak_pairs()
                       : job->isa >= HYV_ISA_AVX512               ? peak_avx512()
                                                                  : peak_avx2());
#else
    job->sink++;
#endif
}

/* ---- one case ---------------------------------------------------------------------------------
 */

typedef struct bench {
    hyv_backend *in[HYV_PRECISIONS], *be; /* by precision; the case's */
    sgemm_function *sgemm;
    clockid_t clock;
    int threads, reps;
    double peak[HYV_PRECISIONS]; /* GFLOP/s by precision, the best seen so far */
} bench;

typedef struct operands {
    float *x, *y, *bias;
    char *w;
    float *c; /* sgemm's result */
} operands;

static double clock_s(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *v, int n)
{
    qsort(v, (size_t)n, sizeof(*v), compare);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

static double measure_peak(bench *b, hyv_precision precision)
{
    const hyv_isa isa = hyv_cpu_of(b->be)->isa;
    peak_job job = {
        .isa = isa, .precision = precision, .vnni = hyv_cpu_has_int8(HYV_INT8_AVX512VNNI, isa)};
    const double start = clock_s(b->clock);
    hyv_pool_run(b->be, 4 * b->threads, peak_task, &job);
    const double flops = 4.0 * b->threads * 2.0 * PEAK_LOOPS * PEAK_CHAINS * PEAK_FLOATS;
    const double rate = flops / (clock_s(b->clock) - start) * 1e-9;
    b->peak[precision] = rate > b->peak[precision] ? rate : b->peak[precision];
    return rate;
}

/* In small pages, as weights lie in a mapped file, or in large ones, as the backend keeps
 * activations. */
static float *random_floats(size_t count, bool large)
{
    check_random r = {count};
    void *v = NULL;
    if (posix_memalign(&v, large ? LARGE_PAGE : 64, count * sizeof(float)) != 0)
        return NULL;
    if (large)
        madvise(v, count * sizeof(float), MADV_HUGEPAGE);
    for (size_t i = 0; i < count; i++)
        ((float *)v)[i] = check_random_float(&r);
    return v;
}

static char *random_weight(hyv_type type, size_t count)
{
    float *v = random_floats(count, false);
    if (type == HYV_F32 || !v)
        return (char *)v;
    char *w = malloc(count * hyv_type_bytes(type));
    for (size_t i = 0; w && i < count; i++)
        if (type == HYV_BF16) {
            const uint16_t half = hyv_f32_to_bf16(v[i]);
            memcpy(w + 2 * i, &half, sizeof(half));
        } else {
            w[i] = (char)hyv_f32_to_f8_e4m3(v[i]);
        }
    free(v);
    return w;
}

static int64_t depth_of(const bench_case *c)
{
    return c->kind == CONV3D ? 27 * c->depth : c->depth;
}

/* sgemm's operands are ours where they are as large; a convolution's taps stand for more rows. */
static bool make_operands(operands *o, const bench_case *c, bool sgemm)
{
    const size_t rows = (size_t)c->rows, width = (size_t)HEADS * HEAD_SIZE;
    memset(o, 0, sizeof(*o));
    if (c->kind == ATTENTION) {
        o->x = random_floats(3 * rows * width, true);
        o->y = random_floats(rows * width, true);
        o->c = random_floats(rows * rows, true);
        return o->x && o->y && o->c;
    }
    const size_t gemm_rows = rows < SGEMM_ROWS_MAX ? rows : SGEMM_ROWS_MAX;
    const size_t gemm_x = gemm_rows * (size_t)depth_of(c), x = rows * (size_t)c->depth;
    o->x = random_floats(sgemm && gemm_x > x ? gemm_x : x, true);
    o->y = random_floats(rows * (size_t)c->cols, true);
    o->c = random_floats(gemm_rows * (size_t)c->cols, true);
    o->bias = random_floats((size_t)c->cols, true);
    o->w = random_weight(c->type, (size_t)(c->cols * depth_of(c)));
    return o->x && o->y && o->c && o->bias && o->w;
}

static void free_operands(operands *o)
{
    free(o->x);
    free(o->y);
    free(o->c);
    free(o->bias);
    free(o->w);
}

static hyv_mat matrix(void *data, int64_t rows, int64_t cols, hyv_type type)
{
    return (hyv_mat){data, rows, cols, cols, type};
}

static void run_ours(const bench *b, const bench_case *c, const operands *o)
{
    if (c->kind == ATTENTION) {
        const int64_t width = (int64_t)HEADS * HEAD_SIZE;
        const hyv_mat qkv = matrix(o->x, c->rows, 3 * width, HYV_F32);
        hyv_attention(b->be, matrix(o->y, c->rows, width, HYV_F32), hyv_cols(qkv, 0, width),
                      hyv_cols(qkv, width, width), hyv_cols(qkv, 2 * width, width), HEADS, 0);
        return;
    }
    const hyv_weight W = {
        .w = matrix(o->w, c->cols, depth_of(c), c->type), .bias = o->bias, .int8 = true};
    const hyv_mat y = matrix(o->y, c->rows, c->cols, HYV_F32);
    const hyv_mat x = matrix(o->x, c->rows, c->depth, HYV_F32);
    if (c->kind == LINEAR)
        hyv_linear(b->be, y, x, &W);
    else
        hyv_conv3d(b->be, y, x, &W, c->grid, (hyv_grid){3, 3, 3}, (hyv_grid){1, 1, 1});
}

/* The same work, or a part of it; returns its share. */
static double run_sgemm(const bench *b, const bench_case *c, const operands *o)
{
    if (c->kind == ATTENTION) {
        const int n = (int)c->rows, ld = 3 * HEADS * HEAD_SIZE;
        b->sgemm(ROW_MAJOR, NO_TRANS, TRANS, n, n, HEAD_SIZE, 1.0f, o->x, ld, o->x + ld / 3, ld,
                 0.0f, o->c, n);
        b->sgemm(ROW_MAJOR, NO_TRANS, NO_TRANS, n, HEAD_SIZE, n, 1.0f, o->c, n, o->x + 2 * ld / 3,
                 ld, 0.0f, o->y, ld / 3);
        return 1.0 / HEADS;
    }
    const int64_t rows = c->rows < SGEMM_ROWS_MAX ? c->rows : SGEMM_ROWS_MAX;
    const int m = (int)rows, n = (int)c->cols, k = (int)depth_of(c);
    const float *w = c->type == HYV_F32 ? (const float *)(const void *)o->w : NULL;
    b->sgemm(ROW_MAJOR, NO_TRANS, TRANS, m, n, k, 1.0f, o->x, k, w, k, 0.0f, o->c, n);
    return (double)rows / (double)c->rows;
}

/* OpenBLAS's threads go on looking for work for some 30 ms; whoever runs then shares his cores. */
static void let_sleep(void)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    nanosleep(&pause, NULL);
}

static double gflop(const bench_case *c)
{
    if (c->kind == ATTENTION)
        return 4.0 * (double)c->rows * (double)c->rows * HEADS * HEAD_SIZE * 1e-9;
    return 2.0 * (double)c->rows * (double)c->cols * (double)depth_of(c) * 1e-9;
}

static void run_case(bench *b, const bench_case *c)
{
    operands o;
    const bool sgemm = b->sgemm && c->type == HYV_F32 && c->precision == HYV_PRODUCTS_FP32;
    double ours[REPS_MAX], theirs[REPS_MAX], ratio[REPS_MAX], of_peak[REPS_MAX];
    double share = 0.0, wall = 0.0;
    b->be = b->in[c->precision];
    if (!make_operands(&o, c, sgemm)) {
        printf("%-42s no memory\n", c->name);
        free_operands(&o);
        return;
    }
    run_ours(b, c, &o); /* warm: working memory, pages */
    for (int i = 0; i < b->reps; i++) {
        const double before = measure_peak(b, c->precision);
        const double cpu0 = clock_s(CLOCK_PROCESS_CPUTIME_ID), wall0 = clock_s(CLOCK_MONOTONIC);
        const double t0 = clock_s(b->clock);
        run_ours(b, c, &o);
        ours[i] = gflop(c) / (clock_s(b->clock) - t0);
        share += clock_s(CLOCK_PROCESS_CPUTIME_ID) - cpu0;
        wall += clock_s(CLOCK_MONOTONIC) - wall0;
        of_peak[i] = ours[i] / (0.5 * (before + measure_peak(b, c->precision)));
        if (!sgemm)
            continue;
        const double t1 = clock_s(b->clock), part = run_sgemm(b, c, &o);
        theirs[i] = gflop(c) * part / (clock_s(b->clock) - t1);
        ratio[i] = ours[i] / theirs[i];
        let_sleep();
    }
    printf("%-42s %8.1f %6.1f %6.2f", c->name, median(ours, b->reps),
           100.0 * median(of_peak, b->reps), share / (wall * b->threads));
    if (sgemm)
        printf(" %9.1f %7.3f", median(theirs, b->reps), median(ratio, b->reps));
    if (b->be->err)
        printf(" failed: %s", strerror(-b->be->err));
    printf("\n");
    fflush(stdout);
    free_operands(&o);
}

static bool wanted(const char *name, char **parts, int count)
{
    for (int i = 0; i < count; i++)
        if (strstr(name, parts[i]))
            return true;
    return count == 0;
}

int main(int argc, char **argv)
{
    hyv_backend_config config = {0};
    bench b = {.reps = 5, .clock = CLOCK_MONOTONIC};
    char text[128];
    for (int option; (option = getopt(argc, argv, "t:r:i:c")) != -1;) {
        if (option == 't')
            config.threads = atoi(optarg);
        else if (option == 'r')
            b.reps = atoi(optarg);
        else if (option == 'i')
            config.isa = optarg;
        else if (option == 'c')
            b.clock = CLOCK_PROCESS_CPUTIME_ID;
        else
            return 2;
    }
    b.reps = b.reps < 1 ? 1 : b.reps > REPS_MAX ? REPS_MAX : b.reps;
    for (int i = 0; i < HYV_PRECISIONS; i++) {
        config.precision = (hyv_precision)i;
        if (hyv_backend_open(&b.in[i], "cpu", &config) < 0) {
            fprintf(stderr, "bench_ops: no such backend or instruction set\n");
            return 1;
        }
    }
    b.be = b.in[0];
    b.threads = hyv_cpu_of(b.be)->threads;
    b.sgemm = load_sgemm(b.threads);
    hyv_backend_describe(b.be, text, sizeof(text));
    printf("%s, medians of %d%s\n", text, b.reps, b.sgemm ? "" : "; no libopenblas.so.0 here");
    printf("%-42s %8s %6s %6s %9s %7s\n", "", "GFLOP/s", "% peak", "cpu", "OpenBLAS", "ratio");
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        if (wanted(cases[i].name, argv + optind, argc - optind))
            run_case(&b, &cases[i]);
    printf("measured peaks: %.1f GFLOP/s, in bf16 %.1f, in int8 %.1f\n", b.peak[0], b.peak[1],
           b.peak[2]);
    int status = 0;
    for (int i = 0; i < HYV_PRECISIONS; i++) {
        status |= b.in[i]->err != 0;
        hyv_backend_close(&b.in[i]);
    }
    return status;
}
