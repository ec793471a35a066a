/* attention: softmax(q k^T / sqrt(d)) v without ever holding the scores of all keys.
 *
 * Online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): keys come in blocks of
 * HYV_KEY_BLOCK, a query keeps its largest score, its sum and its unnormalised result, rescaled
 * once a block. Everything of a tile of queries stands transposed, a column a query: so the scores
 * k q^T come out of one product as the right operand of the next, v^T p^T, and the softmax runs
 * over 16 queries at a time. Keys and values of a head are packed once, as left operands, for all
 * queries. Each query's result depends on its own row alone; threads share out the queries.
 */
#include <math.h>
#include <string.h>

#include "gemm.h"
#include "rows.h"

/* Queries a task. Whether a block of keys is skipped is decided for all of them, whatever the width
 * of a tile, and a multiple of every width. */
enum { QUERY_ROWS = 64, STOP_BLOCKS = 8 }; /* the latter: key blocks until a task looks up */

typedef struct attention {
    hyv_backend *be;
    hyv_cpu *cpu;
    const hyv_gemm_functions *f;
    hyv_mat y, q, k, v;
    int64_t d, group, causal; /* d: head size; group: query heads a key head */
    int64_t head;             /* of keys and values */
    float *packed;            /* blocks of keys, values */
    float factor;
} attention;

/* What a thread works in: matrices are tiles of nr queries, one after the other. */
typedef struct space {
    float *q;                           /* [d, QUERY_ROWS] */
    float *y;                           /* [d, QUERY_ROWS] */
    float *scores;                      /* [HYV_KEY_BLOCK, nr] */
    float *top, *sum, *rescale, *zeros; /* [QUERY_ROWS] */
} space;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static size_t space_floats(int64_t d)
{
    return (size_t)(2 * QUERY_ROWS * d + HYV_KEY_BLOCK * HYV_GEMM_NR_MAX + 4 * QUERY_ROWS);
}

static space lay_out(float *base, int64_t d)
{
    space s = {.q = base, .y = base + QUERY_ROWS * d};
    s.scores = s.y + QUERY_ROWS * d;
    s.top = s.scores + HYV_KEY_BLOCK * HYV_GEMM_NR_MAX;
    s.sum = s.top + QUERY_ROWS;
    s.rescale = s.sum + QUERY_ROWS;
    s.zeros = s.rescale + QUERY_ROWS;
    return s;
}

/* Floats of a packed block of keys or of values, whole panels of any height. */
static int64_t keys_floats(int64_t d)
{
    return (HYV_KEY_BLOCK + HYV_GEMM_MR_MAX) * d;
}

static int64_t values_floats(int64_t d)
{
    return HYV_KEY_BLOCK * (d + HYV_GEMM_MR_MAX);
}

static float *packed_block(const attention *a, int64_t index)
{
    return a->packed + index * (keys_floats(a->d) + values_floats(a->d));
}

/* Keys as left operand of k q^T, values as left operand of v^T p^T. */
static void pack_block(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int mr = a->f->mr;
    const int64_t first = index * HYV_KEY_BLOCK, keys = least(HYV_KEY_BLOCK, a->k.rows - first);
    float *k = packed_block(a, index), *v = k + keys_floats(a->d);
    (void)thread;
    for (int64_t i = 0; i < keys; i += mr)
        hyv_pack_mat(&a->k, a->f, k + i * a->d, mr, first + i, (int)least(mr, keys - i),
                     a->head * a->d, a->d, NULL);
    for (int64_t c = 0; c < a->d; c += mr) {
        const size_t bytes = (size_t)least(mr, a->d - c) * sizeof(float);
        for (int64_t i = 0; i < keys; i++)
            memcpy(v + c * keys + i * mr, hyv_row(a->v, first + i) + a->head * a->d + c, bytes);
    }
}

/* Keys that query row i may see. */
static int64_t visible(const attention *a, int64_t i)
{
    if (a->causal == 0)
        return a->k.rows;
    const int64_t at = i + a->k.rows - a->q.rows;
    return least((at / a->causal + 1) * a->causal, a->k.rows);
}

/* Scores of keys that a query of the tile must not see become minus infinity.
 */
static void mask(const attention *a, float *scores, int64_t row, int64_t first, int64_t keys)
{
    const int nr = a->f->nr;
    for (int i = 0; i < nr && row + i < a->q.rows && a->causal; i++)
        for (int64_t j = visible(a, row + i) - first; j < keys; j++)
            if (j >= 0)
                scores[j * nr + i] = -INFINITY;
}

/* One tile, whose first query is `row`, against block `index` of keys; `at` is its place among the
 * task's queries. */
static void key_block(const attention *a, const space *s, int64_t row, int64_t at, int64_t index)
{
    const hyv_gemm_functions *f = a->f;
    const int mr = f->mr, nr = f->nr;
    const int64_t first = index * HYV_KEY_BLOCK, keys = least(HYV_KEY_BLOCK, a->k.rows - first);
    const float *k = packed_block(a, index), *v = k + keys_floats(a->d);
    float *y = s->y + at * a->d;
    for (int64_t i = 0; i < keys; i += mr)
        f->kernel((int)least(mr, keys - i), a->d, k + i * a->d, s->q + at * a->d,
                  s->scores + i * nr, nr, s->zeros);
    mask(a, s->scores, row, first, keys);
    a->cpu->rows->softmax_columns(s->scores, keys, nr, a->factor, s->top + at, s->sum + at,
                                  s->rescale + at);
    bool moved = false;
    for (int i = 0; i < nr && index > 0; i++)
        moved = moved || s->rescale[at + i] != 1.0f;
    if (moved)
        a->cpu->rows->scale_columns(y, a->d, nr, s->rescale + at);
    for (int64_t c = 0; c < a->d; c += mr)
        f->kernel((int)least(mr, a->d - c), keys, v + c * keys, s->scores, y + c * nr, nr,
                  index == 0 ? s->zeros : NULL);
}

/* Divides by the sums and turns columns back into rows. */
static void write_rows(const attention *a, const space *s, hyv_mat y, int64_t at)
{
    const int nr = a->f->nr;
    for (int64_t i = at; i < least(at + nr, y.rows); i++) {
        const float factor = 1.0f / s->sum[i], *column = s->y + at * a->d + (i - at);
        float *row = hyv_row(y, i);
        for (int64_t c = 0; c < a->d; c++)
            row[c] = column[c * nr] * factor;
    }
}

/* Task: some queries of one head against all keys they see. */
static void query_rows(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int nr = a->f->nr;
    const int64_t blocks = (a->q.rows + QUERY_ROWS - 1) / QUERY_ROWS;
    const int64_t head = a->head * a->group + index / blocks;
    const int64_t first = index % blocks * QUERY_ROWS;
    const int64_t rows = least(QUERY_ROWS, a->q.rows - first);
    const int64_t seen = visible(a, first + rows - 1);
    const space s = lay_out((float *)(void *)a->cpu->scratch[thread].data, a->d);
    for (int i = 0; i < QUERY_ROWS; i++) {
        s.top[i] = -INFINITY;
        s.sum[i] = s.zeros[i] = 0.0f;
    }
    for (int64_t at = 0; at < rows; at += nr)
        hyv_pack_mat(&a->q, a->f, s.q + at * a->d, nr, first + at, (int)least(nr, rows - at),
                     head * a->d, a->d, NULL);
    for (int64_t b = 0; b * HYV_KEY_BLOCK < seen; b++) {
        if (b % STOP_BLOCKS == STOP_BLOCKS - 1 && hyv_pool_stopped(a->be, thread))
            return;
        for (int64_t at = 0; at < rows; at += nr)
            key_block(a, &s, first + at, at, b);
    }
    const hyv_mat y = hyv_cols(hyv_rows(a->y, first, rows), head * a->d, a->d);
    for (int64_t at = 0; at < rows; at += nr)
        write_rows(a, &s, y, at);
}

/* ---- the operator
 * ------------------------------------------------------------------------------
 */

static size_t packed_floats(int64_t k_rows, int64_t d)
{
    const int64_t blocks = (k_rows + HYV_KEY_BLOCK - 1) / HYV_KEY_BLOCK;
    return (size_t)(blocks * (keys_floats(d) + values_floats(d)));
}

size_t hyv_cpu_attention_scratch(int64_t k_rows, int64_t head_dim, int threads)
{
    return (packed_floats(k_rows, head_dim) + (size_t)threads * space_floats(head_dim)) *
           sizeof(float);
}

void hyv_cpu_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                       int64_t causal)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    attention a = {
        .be = be, .cpu = cpu, .f = cpu->gemm, .y = y, .q = q, .k = k, .v = v, .causal = causal};
    a.d = q.cols / heads;
    a.factor = 1.0f / sqrtf((float)a.d);
    a.packed = hyv_cpu_scratch(be, &cpu->shared, packed_floats(k.rows, a.d) * sizeof(float));
    if (!a.packed || !hyv_cpu_scratch_all(be, space_floats(a.d) * sizeof(float)))
        return;
    const int64_t key_heads = k.cols / a.d;
    a.group = heads / key_heads;
    for (a.head = 0; a.head < key_heads && !be->err; a.head++) {
        hyv_pool_run(be, (k.rows + HYV_KEY_BLOCK - 1) / HYV_KEY_BLOCK, pack_block, &a);
        hyv_pool_run(be, a.group * ((q.rows + QUERY_ROWS - 1) / QUERY_ROWS), query_rows, &a);
    }
}
