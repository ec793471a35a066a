/* The packed product itself: micro-kernels, transposition and decoding of each instruction set
 * against plain C, and large products against their definition, element by element.
 */
#include "../../kernels/cpu/gemm.h"
#include "../../kernels/half.h"
#include "rig.h"

enum { DEPTH = 37, LDC = HYV_GEMM_NR_MAX + 5 };

static float *randoms(int64_t count, check_random *random)
{
    float *v = malloc((size_t)count * sizeof(*v));
    if (!v)
        exit(2);
    for (int64_t i = 0; i < count; i++)
        v[i] = check_random_normal(random);
    return v;
}

/* Every height of a tile, sums from c or from start; nothing beyond the tile is touched. */
static void test_kernel(const hyv_gemm_functions *f, const char *name, check_random *random)
{
    float *a = randoms((int64_t)DEPTH * f->mr, random),
          *b = randoms((int64_t)DEPTH * f->nr, random);
    float *start = randoms(f->nr, random), *before = randoms((int64_t)f->mr * LDC, random);
    float c[HYV_GEMM_MR_MAX * LDC];
    for (int rows = 1; rows <= f->mr; rows++)
        for (int from = 0; from < 2; from++) {
            int bad = 0;
            memcpy(c, before, (size_t)(f->mr * LDC) * sizeof(float));
            f->kernel(rows, DEPTH, a, b, c, LDC, from ? start : NULL);
            for (int i = 0; i < f->mr; i++)
                for (int j = 0; j < LDC; j++) {
                    const bool inside = i < rows && j < f->nr;
                    float want = inside && from ? start[j] : before[i * LDC + j];
                    for (int k = 0; k < DEPTH && inside; k++)
                        want = fmaf(a[k * f->mr + i], b[k * f->nr + j], want);
                    bad += memcmp(&want, &c[i * LDC + j], sizeof(want)) != 0;
                }
            CHECK_MSG(bad == 0, "%s: %d rows, start %d: %d wrong", name, rows, from, bad);
        }
    free(a);
    free(b);
    free(start);
    free(before);
}

/* Every number of rows and every rest of k, for left and right panels. */
static void test_transpose(const hyv_gemm_functions *f, const char *name, check_random *random)
{
    const int widths[2] = {f->mr, f->nr};
    for (int w = 0; w < 2; w++)
        for (int n = 1; n <= widths[w]; n++)
            for (int depth = 1; depth <= DEPTH; depth++) {
                const int width = widths[w];
                const float *rows[HYV_GEMM_NR_MAX];
                float *in = randoms((int64_t)n * depth, random);
                float *out = malloc((size_t)(width * depth + 1) * sizeof(*out));
                if (!out)
                    exit(2);
                for (int i = 0; i < n; i++)
                    rows[i] = in + i * depth;
                out[width * depth] = 7.0f;
                f->transpose(out, width, rows, n, depth);
                int bad = out[width * depth] != 7.0f;
                for (int k = 0; k < depth; k++)
                    for (int i = 0; i < width; i++)
                        bad += out[k * width + i] != (i < n ? rows[i][k] : 0.0f);
                CHECK_MSG(bad == 0, "%s: width %d, %d rows, depth %d: %d wrong", name, width, n,
                          depth, bad);
                free(in);
                free(out);
            }
}

/* Rows of bf16 that begin between floats, spread to f32. */
static void test_spread(const hyv_gemm_functions *f, const char *name, check_random *random)
{
    const int width = f->nr;
    for (int n = 1; n <= width; n++)
        for (int pairs = 1; pairs <= DEPTH; pairs++) {
            const float *rows[HYV_GEMM_NR_MAX];
            const int64_t ld = 2 * pairs + 1;
            uint16_t *in = malloc((size_t)(n * ld) * sizeof(*in));
            float *out = malloc((size_t)(2 * width * pairs + 1) * sizeof(*out));
            if (!in || !out)
                exit(2);
            for (int64_t i = 0; i < n * ld; i++)
                in[i] = hyv_f32_to_bf16(check_random_normal(random));
            for (int i = 0; i < n; i++)
                rows[i] = (const float *)(const void *)(in + i * ld);
            out[2 * width * pairs] = 7.0f;
            f->spread(out, width, rows, n, pairs);
            int bad = out[2 * width * pairs] != 7.0f;
            for (int k = 0; k < 2 * pairs; k++)
                for (int i = 0; i < width; i++)
                    bad += out[k * width + i] != (i < n ? hyv_bf16_to_f32(in[i * ld + k]) : 0.0f);
            CHECK_MSG(bad == 0, "%s: %d rows, %d pairs: %d wrong", name, n, pairs, bad);
            free(in);
            free(out);
        }
}

/* All patterns of a type, from an odd address, whole vectors and rests. */
static void test_decode(const hyv_gemm_functions *f, const char *name, check_random *random)
{
    static const hyv_type types[] = {HYV_F32, HYV_F16, HYV_BF16, HYV_F8_E4M3, HYV_F8_E5M2};
    enum { PATTERNS = 65536, COUNT = PATTERNS + 3 };
    unsigned char *in = malloc(COUNT * sizeof(float) + 1);
    float *got = malloc(COUNT * sizeof(float)), *want = malloc(COUNT * sizeof(float));
    if (!in || !got || !want)
        exit(2);
    for (size_t t = 0; t < sizeof(types) / sizeof(types[0]); t++) {
        const size_t size = hyv_type_bytes(types[t]);
        for (size_t i = 0; i < COUNT; i++) {
            const uint32_t bits = size == 4 ? (uint32_t)check_random_bits(random) : (uint32_t)i;
            memcpy(in + 1 + i * size, &bits, size);
        }
        f->decode(got, in + 1, types[t], COUNT);
        hyv_gemm_decode_c(want, in + 1, types[t], COUNT);
        int bad = 0;
        for (int i = 0; i < COUNT; i++)
            bad += isnan(want[i]) ? !isnan(got[i]) : memcmp(got + i, want + i, sizeof(float)) != 0;
        CHECK_MSG(bad == 0, "%s: %s: %d wrong", name, hyv_type_name(types[t]), bad);
    }
    free(in);
    free(got);
    free(want);
}

static void round_all(float *v, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        v[i] = hyv_round_to_bf16(v[i]);
}

/* Several passes over columns and k, more tasks than threads: samples are the sums in order, or of
 * pairs nearly those. */
static void test_large(const rig *r, int64_t rows, int64_t cols, int64_t depth,
                       check_random *random)
{
    enum { SAMPLES = 300 };
    float *x = randoms(rows * depth, random), *w = randoms(cols * depth, random);
    if (r->precision == HYV_PRODUCTS_BF16) {
        round_all(x, rows * depth);
        round_all(w, cols * depth);
    }
    float *bias = randoms(cols, random), *y = malloc((size_t)(rows * cols) * sizeof(*y));
    if (!y)
        exit(2);
    const hyv_weight W = {.w = {w, cols, depth, depth, HYV_F32}, .bias = bias};
    for (int b = 0; b < r->count; b++) {
        if (r->name[b][0] == 'c')
            continue; /* takes long, and is held against the same definition elsewhere */
        memset(y, 0xff, (size_t)(rows * cols) * sizeof(*y));
        hyv_linear(r->be[b], (hyv_mat){y, rows, cols, cols, HYV_F32},
                   (hyv_mat){x, rows, depth, depth, HYV_F32}, &W);
        int bad = 0;
        for (int s = 0; s < SAMPLES; s++) {
            /* corners and edges first */
            const int64_t i =
                s < 4 ? (s & 1 ? rows - 1 : 0) : check_random_int(random, 0, rows - 1);
            const int64_t j =
                s < 4 ? (s & 2 ? cols - 1 : 0) : check_random_int(random, 0, cols - 1);
            float want = bias[j];
            for (int64_t k = 0; k < depth; k++)
                want = fmaf(x[i * depth + k], w[j * depth + k], want);
            /* products are about 1 in size */
            const float near = r->model[b] ? 8.0f * (float)RIG_UNIT * (float)depth : 0.0f;
            bad += near > 0.0f ? !(fabsf(want - y[i * cols + j]) <= near)
                               : memcmp(&want, y + i * cols + j, sizeof(want)) != 0;
        }
        for (int64_t i = 0; i < rows * cols; i++)
            bad += isnan(y[i]) != 0;
        CHECK_MSG(bad == 0, "%s: %lld x %lld x %lld: %d wrong", r->name[b], (long long)rows,
                  (long long)cols, (long long)depth, bad);
    }
    free(x);
    free(w);
    free(bias);
    free(y);
}

enum { FEW_ROWS = 40, FEW_COLS = 70, FEW_DEPTH = 50 };

typedef struct counted {
    hyv_mat m;
    int64_t packed[FEW_COLS]; /* elements of each row */
} counted;

static void count_and_pack(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                           int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    counted *c = (counted *)(uintptr_t)operand;
    for (int i = 0; i < n; i++)
        c->packed[first + i] += depth;
    hyv_pack_mat(&c->m, f, out, width, first, n, k0, depth, buffer);
}

/* A packer that keeps count sees every element once, also where threads have more tasks than there
 * are panels of columns. */
static void test_once(const rig *r, check_random *random)
{
    float *x = randoms(FEW_ROWS * FEW_DEPTH, random), *w = randoms(FEW_COLS * FEW_DEPTH, random);
    float *y = randoms(FEW_ROWS * FEW_COLS, random);
    const hyv_mat left = {x, FEW_ROWS, FEW_DEPTH, FEW_DEPTH, HYV_F32};
    for (int b = 0; b < r->count; b++) {
        counted right = {.m = {w, FEW_COLS, FEW_DEPTH, FEW_DEPTH, HYV_F32}};
        const hyv_gemm_call call = {.rows = FEW_ROWS,
                                    .cols = FEW_COLS,
                                    .depth = FEW_DEPTH,
                                    .left = &left,
                                    .pack_left = hyv_pack_mat,
                                    .right = &right,
                                    .pack_right = count_and_pack,
                                    .once = true,
                                    .y = {y, FEW_ROWS, FEW_COLS, FEW_COLS, HYV_F32}};
        hyv_gemm(r->be[b], &call);
        int bad = 0;
        for (int j = 0; j < FEW_COLS; j++)
            bad += right.packed[j] != FEW_DEPTH;
        CHECK_MSG(bad == 0, "%s: %d rows were not packed once", r->name[b], bad);
    }
    free(x);
    free(w);
    free(y);
}

int main(void)
{
    check_random random = {61};
    const bool quick = getenv("QUICK") != NULL;
    rig r;
    rig_open(&r, HYV_PRODUCTS_FP32);
    for (int i = 0; i < r.count; i++) {
        const hyv_gemm_functions *f = ((const hyv_cpu *)r.be[i]->impl)->gemm;
        if (i > 0 && f->kernel == ((const hyv_cpu *)r.be[i - 1]->impl)->gemm->kernel)
            continue; /* the same with more threads */
        test_kernel(f, r.name[i], &random);
        test_transpose(f, r.name[i], &random);
        test_spread(f, r.name[i], &random);
        test_decode(f, r.name[i], &random);
    }
    test_once(&r, &random);
    test_large(&r, 58, 700, 4700, &random);
    test_large(&r, 150, 1030, 900, &random);
    test_large(&r, 190, 1025, 15300, &random); /* few enough rows: their panels are the larger */
    if (!quick)
        test_large(&r, 700, 1100, 3100, &random);
    rig_close(&r);
    rig_open(&r, HYV_PRODUCTS_BF16);
    test_large(&r, 330, 1300, quick ? 1700 : 9500, &random); /* the left packed beside the right */
    rig_close(&r);
    return check_done();
}
