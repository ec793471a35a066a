/* attention: softmax(q k^T / sqrt(d)) v without ever holding the scores of all keys.
 *
 * Online softmax (Milakov and Gimelshein 2018; Dao et al. 2022): keys come in blocks of
 * HYV_KEY_BLOCK, a query row keeps its largest score, its sum and its unnormalised result, rescaled
 * once a block. Both products run on the packed micro-kernels; the keys and values of a head are
 * packed once for all queries. A row's result depends on that row alone, so neither threads nor the
 * number of rows a task matter.
 */
#include <math.h>
#include <string.h>

#include "gemm.h"
#include "rows.h"
#include "vmath.h"

enum { QUERY_ROWS = 56 }; /* rows a task: whole left panels of every micro-kernel but AVX2's last */

typedef struct attention {
    hyv_cpu *cpu;
    const hyv_gemm_functions *f;
    hyv_mat y, q, k, v;
    int64_t d, group, causal;           /* d: head size; group: query heads a key head */
    int64_t head;                       /* of keys and values */
    int64_t keys_floats, values_floats; /* of a packed block */
    float *packed;                      /* blocks of keys, values */
    float factor;
} attention;

/* What a thread works in. */
typedef struct space {
    float *q;      /* [QUERY_ROWS, d], packed */
    float *scores; /* [QUERY_ROWS, HYV_KEY_BLOCK] */
    float *p;      /* the same, packed as a left operand */
    float *edge;
    float *zeros;     /* [max(d, HYV_KEY_BLOCK) + panel] */
    float *top, *sum; /* [QUERY_ROWS] */
} space;

static int64_t round_up(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Places the parts in `base`; returns how many floats there are. */
static size_t lay_out(space *s, float *base, int64_t d)
{
    const int64_t rows = QUERY_ROWS + HYV_GEMM_MR_MAX;
    const int64_t zeros = round_up(d > HYV_KEY_BLOCK ? d : HYV_KEY_BLOCK, HYV_GEMM_NR_MAX);
    const int64_t sizes[7] = {rows * d,
                              (int64_t)QUERY_ROWS * HYV_KEY_BLOCK,
                              rows * HYV_KEY_BLOCK,
                              (int64_t)HYV_GEMM_MR_MAX * HYV_GEMM_NR_MAX,
                              zeros,
                              QUERY_ROWS,
                              QUERY_ROWS};
    float **const parts[7] = {&s->q, &s->scores, &s->p, &s->edge, &s->zeros, &s->top, &s->sum};
    size_t used = 0;
    for (int i = 0; i < 7; i++) {
        if (base)
            *parts[i] = base + used;
        used += (size_t)sizes[i];
    }
    return used;
}

/* ---- packing -----------------------------------------------------------------------------------
 */

/* Keys as right operand of q k^T, values as right operand of p v. */
static void pack_block(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int nr = a->f->nr;
    const int64_t first = index * HYV_KEY_BLOCK, keys = least(HYV_KEY_BLOCK, a->k.rows - first);
    float *k = a->packed + index * (a->keys_floats + a->values_floats), *v = k + a->keys_floats;
    (void)thread;
    for (int64_t i = 0; i < keys; i += nr)
        hyv_pack_mat(&a->k, a->f, k + i * a->d, nr, first + i, (int)least(nr, keys - i),
                     a->head * a->d, a->d, NULL);
    for (int64_t j = 0; j < a->d; j += nr) {
        const int64_t width = least(nr, a->d - j);
        for (int64_t i = 0; i < keys; i++) {
            float *out = v + j * keys + i * nr;
            memcpy(out, hyv_row(a->v, first + i) + a->head * a->d + j,
                   (size_t)width * sizeof(float));
            memset(out + width, 0, (size_t)(nr - width) * sizeof(float));
        }
    }
}

/* ---- one block of keys -------------------------------------------------------------------------
 */

/* Keys that query row i may see. */
static int64_t visible(const attention *a, int64_t i)
{
    if (a->causal == 0)
        return a->k.rows;
    const int64_t at = i + a->k.rows - a->q.rows;
    return least((at / a->causal + 1) * a->causal, a->k.rows);
}

/* Scores of a row -> probabilities against the largest score so far; rescales what the row has. */
static void softmax_row(const attention *a, const space *s, int64_t row, int64_t i, float *out,
                        int64_t first, int64_t keys)
{
    const hyv_row_functions *f = a->cpu->rows;
    float *scores = s->scores + i * HYV_KEY_BLOCK;
    f->scale(scores, keys, a->factor);
    for (int64_t j = visible(a, row) - first; j < keys; j++)
        if (j >= 0)
            scores[j] = -INFINITY;
    const float top = f->max(scores, keys, s->top[i]);
    const float rescale = hyv_expf(s->top[i] - top);
    const float sum = f->exp_sum(scores, keys, top);
    s->sum[i] = fmaf(s->sum[i], rescale, sum);
    s->top[i] = top;
    if (first > 0 && rescale != 1.0f)
        f->scale(out, a->d, rescale);
}

/* Rows [first_row, + rows) of one query head against block `index` of keys. */
static void key_block(const attention *a, const space *s, hyv_mat y, int64_t first_row,
                      int64_t rows, int64_t index)
{
    const hyv_gemm_functions *f = a->f;
    const int mr = f->mr, nr = f->nr;
    const int64_t first = index * HYV_KEY_BLOCK, keys = least(HYV_KEY_BLOCK, a->k.rows - first);
    const float *k = a->packed + index * (a->keys_floats + a->values_floats);
    const float *v = k + a->keys_floats;
    const hyv_mat scores = {s->scores, rows, keys, HYV_KEY_BLOCK, HYV_F32};
    for (int64_t i = 0; i < rows; i += mr)
        hyv_gemm_panels(f, (int)least(mr, rows - i), keys, a->d, s->q + i * a->d, k, nr * a->d,
                        s->scores + i * HYV_KEY_BLOCK, HYV_KEY_BLOCK, s->zeros, s->edge);
    for (int64_t i = 0; i < rows; i++)
        softmax_row(a, s, first_row + i, i, hyv_row(y, i), first, keys);
    for (int64_t i = 0; i < rows; i += mr) {
        const int n = (int)least(mr, rows - i);
        hyv_pack_mat(&scores, f, s->p, mr, i, n, 0, keys, NULL);
        hyv_gemm_panels(f, n, a->d, keys, s->p, v, nr * keys, hyv_row(y, i), y.ld,
                        first == 0 ? s->zeros : NULL, s->edge);
    }
}

/* Task: some rows of one query head against all keys they see. */
static void query_rows(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int64_t blocks = (a->q.rows + QUERY_ROWS - 1) / QUERY_ROWS;
    const int64_t head = a->head * a->group + index / blocks;
    const int64_t first = index % blocks * QUERY_ROWS;
    const int64_t rows = least(QUERY_ROWS, a->q.rows - first);
    const hyv_mat q = hyv_cols(hyv_rows(a->q, first, rows), head * a->d, a->d);
    const hyv_mat y = hyv_cols(hyv_rows(a->y, first, rows), head * a->d, a->d);
    const int64_t seen = visible(a, first + rows - 1);
    space s;
    const size_t floats = lay_out(&s, (float *)(void *)a->cpu->scratch[thread].data, a->d);
    (void)floats;
    memset(s.zeros, 0, (size_t)(s.top - s.zeros) * sizeof(float));
    for (int64_t i = 0; i < rows; i += a->f->mr)
        hyv_pack_mat(&q, a->f, s.q + i * a->d, a->f->mr, i, (int)least(a->f->mr, rows - i), 0, a->d,
                     NULL);
    for (int64_t i = 0; i < rows; i++) {
        s.top[i] = -INFINITY;
        s.sum[i] = 0.0f;
    }
    for (int64_t b = 0; b * HYV_KEY_BLOCK < seen; b++)
        key_block(a, &s, y, first, rows, b);
    for (int64_t i = 0; i < rows; i++)
        a->cpu->rows->scale(hyv_row(y, i), a->d, 1.0f / s.sum[i]);
}

/* ---- the operator ------------------------------------------------------------------------------
 */

static size_t packed_floats(int64_t k_rows, int64_t d)
{
    const int64_t blocks = (k_rows + HYV_KEY_BLOCK - 1) / HYV_KEY_BLOCK;
    return (size_t)(blocks * (HYV_KEY_BLOCK * d + HYV_KEY_BLOCK * round_up(d, HYV_GEMM_NR_MAX)));
}

size_t hyv_cpu_attention_scratch(int64_t k_rows, int64_t head_dim, int threads)
{
    space s;
    return (packed_floats(k_rows, head_dim) + (size_t)threads * lay_out(&s, NULL, head_dim)) *
           sizeof(float);
}

void hyv_cpu_attention(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                       int64_t causal)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    space s;
    attention a = {.cpu = cpu, .f = cpu->gemm, .y = y, .q = q, .k = k, .v = v, .causal = causal};
    a.d = q.cols / heads;
    a.factor = 1.0f / sqrtf((float)a.d);
    a.keys_floats = HYV_KEY_BLOCK * a.d;
    a.values_floats = HYV_KEY_BLOCK * round_up(a.d, HYV_GEMM_NR_MAX);
    a.packed = hyv_cpu_scratch(be, &cpu->shared, packed_floats(k.rows, a.d) * sizeof(float));
    if (!a.packed || !hyv_cpu_scratch_all(be, lay_out(&s, NULL, a.d) * sizeof(float)))
        return;
    const int64_t key_heads = k.cols / a.d;
    a.group = heads / key_heads;
    for (a.head = 0; a.head < key_heads && !be->err; a.head++) {
        hyv_pool_run(be, (k.rows + HYV_KEY_BLOCK - 1) / HYV_KEY_BLOCK, pack_block, &a);
        hyv_pool_run(be, a.group * ((q.rows + QUERY_ROWS - 1) / QUERY_ROWS), query_rows, &a);
    }
}
