/* attention: softmax(q k^T / sqrt(d)) v without ever holding the scores of all keys.
 *
 * Online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): keys come in blocks of
 * HYV_KEY_BLOCK, a query keeps its largest score, its sum and its unnormalised result, rescaled
 * once a block. Everything of a tile of queries stands transposed, a column a query: so the scores
 * k q^T come out of one product as the right operand of the next, v^T p^T, and the softmax runs
 * over 16 queries at a time. In bf16 all four operands are narrowed (gemm.h), scores, softmax and
 * sums stay f32. Keys and values of a head are packed once, as left operands, for all
 * queries; where products are of tiles, attention_amx.c does it all. Each query's result depends on
 * its own row alone; threads share out the queries.
 */
#include <math.h>
#include <string.h>

#include "attention_amx.h"
#include "gemm.h"
#include "rows.h"

/* Queries a task. Whether a block of keys is skipped is decided for all of them, whatever the width
 * of a tile, and a multiple of every width. */
enum { QUERY_ROWS = 128, STOP_BLOCKS = 4 }; /* the latter: key blocks until a task looks up */
enum { ROWS_NEAR = 32 }; /* of values: those that the first cache holds, and their pages */

typedef struct attention {
    hyv_backend *be;
    hyv_cpu *cpu;
    const hyv_gemm_functions *f;
    hyv_mat y, q, k, v;
    int64_t d, group, causal; /* d: head size; group: query heads a key head */
    int64_t head, heads;      /* of keys and values: the first of those at once, how many */
    int64_t blocks;           /* of keys */
    float *packed;            /* blocks of keys, values */
    float factor;             /* of scores whose weights are powers of 2 */
} attention;

/* What a thread works in: matrices are tiles of nr queries, one after the other. */
typedef struct space {
    float *q;       /* [elements of d, QUERY_ROWS] */
    float *y;       /* [d, QUERY_ROWS] */
    float *scores;  /* [HYV_KEY_BLOCK, nr] */
    float *weights; /* 2 to their power as a panel, which in f32 is the same place */
    float *buffer;  /* the packer's */
    float *top, *sum, *rescale, *zeros; /* [QUERY_ROWS] */
} space;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

enum { TILE = HYV_KEY_BLOCK * HYV_GEMM_NR_MAX };

static size_t space_floats(const hyv_gemm_functions *f, int64_t d)
{
    const size_t narrowed = f->narrow ? TILE + HYV_GEMM_BUFFERS : 0;
    return (size_t)(QUERY_ROWS * (hyv_gemm_elements(f, d) + d) + TILE + 4 * QUERY_ROWS) + narrowed;
}

static space lay_out(const attention *a, int thread)
{
    float *base = (float *)(void *)a->cpu->scratch[thread].data;
    space s = {.q = base, .y = base + QUERY_ROWS * hyv_gemm_elements(a->f, a->d)};
    s.scores = s.y + QUERY_ROWS * a->d;
    s.top = s.scores + TILE;
    s.sum = s.top + QUERY_ROWS;
    s.rescale = s.sum + QUERY_ROWS;
    s.zeros = s.rescale + QUERY_ROWS;
    const bool narrowed = a->f->narrow != NULL;
    s.weights = narrowed ? s.zeros + QUERY_ROWS : s.scores;
    s.buffer = narrowed ? s.weights + TILE : NULL;
    return s;
}

/* Rows as panels of nearly equal heights: one of a row or two would take as long as one of many. */
typedef struct panels {
    int64_t count, full; /* how many; the first of them, which have */
    int tall;            /* so many rows; the others have one less */
} panels;

static panels divide(int64_t rows, int64_t mr)
{
    const int64_t count = (rows + mr - 1) / mr, tall = (rows + count - 1) / count;
    return (panels){.count = count, .full = rows - count * (tall - 1), .tall = (int)tall};
}

static int height(const panels *p, int64_t index)
{
    return index < p->full ? p->tall : p->tall - 1;
}

/* Floats of a packed block of keys or of values, whole panels of any height. */
static int64_t keys_floats(const hyv_gemm_functions *f, int64_t d)
{
    return (HYV_KEY_BLOCK + HYV_GEMM_MR_MAX) * hyv_gemm_elements(f, d);
}

static int64_t values_floats(const hyv_gemm_functions *f, int64_t d)
{
    return HYV_KEY_BLOCK / f->fold * (d + HYV_GEMM_MR_MAX);
}

static float *packed_block(const attention *a, int64_t index)
{
    return a->packed + index * (keys_floats(a->f, a->d) + values_floats(a->f, a->d));
}

/* Few floats, for which calling memcpy takes longer than copying. */
static inline void copy_few(float *to, const float *from, int n)
{
    enum { FOUR = 4 * sizeof(float), EIGHT = 8 * sizeof(float) };
    if (n > 16 || n < 4) {
        memcpy(to, from, (size_t)n * sizeof(float));
    } else if (n >= 8) {
        memcpy(to, from, EIGHT);
        memcpy(to + n - 8, from + n - 8, EIGHT);
    } else {
        memcpy(to, from, FOUR);
        memcpy(to + n - 4, from + n - 4, FOUR);
    }
}

/* Packs columns of v, transposed: their k are keys. */
static void pack_values(const void *operand, const hyv_gemm_functions *f, float *out, int width,
                        int64_t first, int n, int64_t k0, int64_t depth, float *buffer)
{
    const hyv_mat *v = operand;
    (void)f, (void)buffer;
    for (int64_t i = 0; i < depth; i++) {
        copy_few(out + i * width, hyv_row(*v, k0 + i) + first, n);
        for (int j = n; j < width; j++)
            out[i * width + j] = 0.0f;
    }
}

/* Asks for rows [first, end) of a matrix, as far as it has them: where a head's part of a row is
 * read, the processor foresees nothing. */
static void fetch_rows(hyv_mat m, int64_t first, int64_t end)
{
    enum { LINE = 16 }; /* floats */
    for (int64_t i = first; i < end && i < m.rows; i++)
        for (int64_t c = 0; c < m.cols; c += LINE)
            __builtin_prefetch(hyv_row(m, i) + c);
}

/* Keys as left operand of k q^T, values as left operand of v^T p^T. */
static void pack_block(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const hyv_gemm_functions *f = a->f;
    const int mr = f->mr;
    const int64_t head = index % a->heads, block = index / a->heads;
    const int64_t first = block * HYV_KEY_BLOCK, keys = least(HYV_KEY_BLOCK, a->k.rows - first);
    const int64_t d = hyv_gemm_elements(f, a->d), depth = hyv_gemm_elements(f, keys);
    const hyv_mat k = hyv_cols(hyv_rows(a->k, first, keys), (a->head + head) * a->d, a->d);
    const hyv_mat v = hyv_cols(hyv_rows(a->v, first, keys), (a->head + head) * a->d, a->d);
    float *to_k = packed_block(a, head * a->blocks + block), *to_v = to_k + keys_floats(f, a->d);
    float *buffer = lay_out(a, thread).buffer;
    const panels down = divide(keys, mr), across = divide(a->d, mr);
    for (int64_t i = 0, row = 0; i < down.count; i++, to_k += mr * d) {
        const int n = height(&down, i);
        fetch_rows(k, row + n, row + n + mr);
        fetch_rows(v, row, row + n);
        hyv_gemm_pack(f, hyv_pack_mat, 0, &k, to_k, mr, row, n, 0, a->d, buffer);
        row += n;
    }
    for (int64_t row = 0; row < keys; row += ROWS_NEAR) {
        const int64_t rows = least(ROWS_NEAR, keys - row);
        float *to = to_v + row / f->fold * mr;
        for (int64_t i = 0, col = 0; i < across.count; i++, to += mr * depth) {
            const int n = height(&across, i);
            hyv_gemm_pack(f, pack_values, 1, &v, to, mr, col, n, row, rows, buffer);
            col += n;
        }
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

/* Scores of a tile become weights for the values; `at` is its place among the task's queries. */
static void softmax(const attention *a, const space *s, int64_t at, int64_t keys)
{
    const hyv_row_functions *rows = a->cpu->rows;
    const int nr = a->f->nr;
    if (a->f->fold == 2) {
        rows->softmax_pairs(s->weights, s->scores, keys, nr, a->factor, s->top + at, s->sum + at,
                            s->rescale + at);
        return;
    }
    rows->softmax_columns(s->scores, keys, nr, a->factor, s->top + at, s->sum + at,
                          s->rescale + at);
    if (a->f->narrow)
        a->f->narrow(s->weights, s->scores, nr, keys);
}

/* One tile, whose first query is `row`, against block `index` of keys of a head; `at` as above. */
static void key_block(const attention *a, const space *s, int64_t head, int64_t row, int64_t at,
                      int64_t index)
{
    const hyv_gemm_functions *f = a->f;
    const int mr = f->mr, nr = f->nr;
    const int64_t first = index * HYV_KEY_BLOCK, keys = least(HYV_KEY_BLOCK, a->k.rows - first);
    const int64_t d = hyv_gemm_elements(f, a->d), depth = hyv_gemm_elements(f, keys);
    const panels down = divide(keys, mr), across = divide(a->d, mr);
    const float *k = packed_block(a, head * a->blocks + index), *v = k + keys_floats(f, a->d);
    float *y = s->y + at * a->d;
    float *scores = s->scores;
    for (int64_t i = 0; i < down.count; i++, k += mr * d) {
        f->kernel(height(&down, i), d, k, s->q + at * d, scores, nr, s->zeros);
        scores += height(&down, i) * nr;
    }
    mask(a, s->scores, row, first, keys);
    softmax(a, s, at, keys);
    bool moved = false;
    for (int i = 0; i < nr && index > 0; i++)
        moved = moved || s->rescale[at + i] != 1.0f;
    if (moved)
        a->cpu->rows->scale_columns(y, a->d, nr, s->rescale + at);
    for (int64_t i = 0; i < across.count; i++, v += mr * depth) {
        f->kernel(height(&across, i), depth, v, s->weights, y, nr, index == 0 ? s->zeros : NULL);
        y += height(&across, i) * nr;
    }
}

/* Divides by the sums and turns columns back into rows, some columns at a time: of f32, whatever
 * panels of operands are of. The scores are not needed any more. */
static void write_rows(const attention *a, const space *s, hyv_mat y, int64_t at)
{
    const hyv_gemm_functions *f = a->f->wide ? a->f->wide : a->f;
    const int nr = f->nr;
    const float *rows[HYV_GEMM_NR_MAX];
    for (int64_t c = 0; c < a->d; c += nr) {
        const int n = (int)least(nr, a->d - c);
        for (int i = 0; i < n; i++)
            rows[i] = s->y + at * a->d + (c + i) * nr;
        f->transpose(s->scores, nr, rows, n, nr);
        for (int64_t i = at; i < least(at + nr, y.rows); i++) {
            const float factor = 1.0f / s->sum[i], *from = s->scores + (i - at) * nr;
            float *to = hyv_row(y, i) + c;
            for (int j = 0; j < n; j++)
                to[j] = from[j] * factor;
        }
    }
}

/* Task: some queries of one head against all keys they see. */
static void query_rows(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int nr = a->f->nr;
    const int64_t blocks = (a->q.rows + QUERY_ROWS - 1) / QUERY_ROWS;
    const int64_t head = index / blocks, col = (a->head * a->group + head) * a->d;
    const int64_t first = index % blocks * QUERY_ROWS;
    const int64_t rows = least(QUERY_ROWS, a->q.rows - first);
    const int64_t seen = visible(a, first + rows - 1);
    const int64_t d = hyv_gemm_elements(a->f, a->d);
    const hyv_mat q = hyv_cols(hyv_rows(a->q, first, rows), col, a->d);
    const space s = lay_out(a, thread);
    for (int i = 0; i < QUERY_ROWS; i++) {
        s.top[i] = -INFINITY;
        s.sum[i] = s.zeros[i] = 0.0f;
    }
    fetch_rows(q, 0, rows);
    for (int64_t at = 0; at < rows; at += nr)
        hyv_gemm_pack(a->f, hyv_pack_mat, 0, &q, s.q + at * d, nr, at, (int)least(nr, rows - at), 0,
                      a->d, s.buffer);
    bool stopped = false;
    for (int64_t b = 0; b * HYV_KEY_BLOCK < seen; b++) {
        stopped = b % STOP_BLOCKS == STOP_BLOCKS - 1 && hyv_pool_stopped(a->be, thread);
        if (stopped)
            break;
        for (int64_t at = 0; at < rows; at += nr)
            key_block(a, &s, head / a->group, first + at, at, b);
    }
    if (stopped)
        return;
    const hyv_mat y = hyv_cols(hyv_rows(a->y, first, rows), col, a->d);
    for (int64_t at = 0; at < rows; at += nr)
        write_rows(a, &s, y, at);
}

/* ---- the operator
 * ------------------------------------------------------------------------------
 */

/* Of one head. */
static int64_t packed_floats(const hyv_gemm_functions *f, int64_t k_rows, int64_t d)
{
    const int64_t blocks = (k_rows + HYV_KEY_BLOCK - 1) / HYV_KEY_BLOCK;
    return blocks * (keys_floats(f, d) + values_floats(f, d));
}

size_t hyv_cpu_attention_scratch(const hyv_gemm_functions *gemm, int64_t k_rows, int64_t head_dim,
                                 int key_heads, int threads)
{
#if defined(__x86_64__)
    if (hyv_gemm_is_tiled(gemm))
        return hyv_attention_amx_scratch(k_rows, head_dim, key_heads, threads);
#endif
    const int64_t packed = packed_floats(gemm, k_rows, head_dim);
    return (size_t)(hyv_attention_heads(packed, key_heads) * packed) * sizeof(float) +
           (size_t)threads * space_floats(gemm, head_dim) * sizeof(float);
}

void hyv_cpu_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                       int64_t causal)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
#if defined(__x86_64__)
    if (hyv_gemm_is_tiled(cpu->gemm)) {
        hyv_attention_amx(be, y, q, k, v, heads, causal);
        return;
    }
#endif
    attention a = {
        .be = be, .cpu = cpu, .f = cpu->gemm, .y = y, .q = q, .k = k, .v = v, .causal = causal};
    a.d = q.cols / heads;
    a.factor = 1.44269504f / sqrtf((float)a.d);
    a.blocks = (k.rows + HYV_KEY_BLOCK - 1) / HYV_KEY_BLOCK;
    const int64_t key_heads = k.cols / a.d, packed = packed_floats(a.f, k.rows, a.d);
    const int64_t most = hyv_attention_heads(packed, key_heads);
    a.packed = hyv_cpu_shared(be, (size_t)(most * packed) * sizeof(float));
    if (!a.packed || !hyv_cpu_scratch_all(be, space_floats(a.f, a.d) * sizeof(float)))
        return;
    a.group = heads / key_heads;
    const int64_t tasks = a.group * ((q.rows + QUERY_ROWS - 1) / QUERY_ROWS);
    for (a.head = 0; a.head < key_heads && !be->err; a.head += most) {
        a.heads = least(most, key_heads - a.head);
        hyv_pool_run(be, a.heads * a.blocks, pack_block, &a);
        hyv_pool_run(be, a.heads * tasks, query_rows, &a);
    }
}
