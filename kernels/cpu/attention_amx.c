/* attention in bf16 for processors with AMX: what attention.c does, row by row.
 *
 * Tiles multiply rows by columns, so scores are q k^T as they are written: a row a query. That row
 * is the left operand of the next product as soon as its weights are rounded, q needs no
 * transposition and v none but side by side pairs of keys. Queries come in tasks of QUERIES, keys
 * in blocks of KEYS, of which a panel of 32 is multiplied by all of a task's queries before the
 * next. Scores, softmax and sums are f32. A query's largest score may stay somewhat behind, since
 * weights of up to 2^8 are rounded just as well: so earlier results are rarely rescaled, and rows
 * rarely searched for their largest score.
 */
#include "attention_amx.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "pairs_avx512.h"

enum { SIDE = 16, PANEL = 32, GRAIN = 32, LANES = 16 }; /* GRAIN: k of a tile */
enum { QUERIES = 128, KEYS = 256, STOP_BLOCKS = 2 };    /* the last: until a task looks up */
enum { ROW_BYTES = 64, PANEL_BYTES = 2 * ROW_BYTES };   /* of a row of tiles, of right panels */

typedef struct attention {
    hyv_backend *be;
    hyv_cpu *cpu;
    const hyv_gemm_functions *f;
    hyv_mat y, q, k, v;
    int64_t d, pairs, wide; /* of a head; pairs of d and d itself, filled up to whole tiles */
    int64_t group, causal;  /* query heads a key head */
    int64_t head, heads;    /* of keys and values: the first of those at once, how many */
    int64_t blocks;         /* of keys */
    float *packed;          /* blocks of keys, values */
    float scale;            /* of scores whose weights are powers of 2 */
} attention;

/* What a thread works in. */
typedef struct space {
    float *q;       /* [QUERIES / PANEL, pairs / SIDE, PANEL, SIDE]: left panels */
    float *scores;  /* [QUERIES / PANEL, KEYS / PANEL, PANEL, PANEL] */
    float *weights; /* [QUERIES / PANEL, KEYS / GRAIN, PANEL, SIDE]: left panels */
    float *y;       /* [wide / PANEL, QUERIES, PANEL] */
    float *sums;    /* [QUERIES, LANES] */
    float *top;     /* [QUERIES] */
    float *buffer;  /* the packer's */
} space;

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t whole(int64_t n, int64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static size_t space_floats(int64_t d)
{
    const int64_t pairs = whole(d, GRAIN) / 2, wide = whole(d, PANEL);
    return (size_t)(QUERIES * (pairs + KEYS + KEYS / 2 + wide + LANES + 1)) + HYV_GEMM_BUFFERS;
}

static space lay_out(const attention *a, int thread)
{
    space s = {.q = (float *)(void *)a->cpu->scratch[thread].data};
    s.scores = s.q + QUERIES * a->pairs;
    s.weights = s.scores + QUERIES * KEYS;
    s.y = s.weights + QUERIES * KEYS / 2;
    s.sums = s.y + QUERIES * a->wide;
    s.top = s.sums + QUERIES * LANES;
    s.buffer = s.top + QUERIES;
    return s;
}

/* ---- operands ---------------------------------------------------------------------------------
 */

/* Floats of a packed block of keys, [KEYS / PANEL, pairs, PANEL], and of values, [wide / PANEL,
 * KEYS / 2, PANEL]. */
static int64_t keys_floats(const attention *a)
{
    return KEYS * a->pairs;
}

/* Where query `row` of a task stands in the scores, and in y. */
static float *scores_of(const space *s, int64_t row)
{
    return s->scores + row / PANEL * (PANEL * KEYS) + row % PANEL * PANEL;
}

static float *result_of(const space *s, int64_t row)
{
    return s->y + row * PANEL;
}

static float *packed_block(const attention *a, int64_t index)
{
    return a->packed + index * (keys_floats(a) + KEYS / 2 * a->wide);
}

/* pair_up for up to 16 values of rows, the second of which may not be there. */
static inline __m512i pair_up_some(const float *even, const float *odd, __mmask16 there)
{
    const __m512 low = _mm512_maskz_loadu_ps(there, even);
    return pair_up(low, odd ? _mm512_maskz_loadu_ps(there, odd) : _mm512_setzero_ps());
}

/* Columns of v, 16 at a time, with keys filled up to a whole number of tiles. */
static void pack_values(const attention *a, float *out, hyv_mat v)
{
    const int64_t used = whole(v.rows, GRAIN) / 2;
    for (int64_t j = 0; j < used; j++)
        for (int64_t c = 0; c < a->wide; c += LANES) {
            const int64_t left = a->d - c;
            const __mmask16 there = left >= LANES ? 0xffff
                                    : left > 0    ? (__mmask16)((1u << left) - 1)
                                                  : 0;
            float *to = out + c / PANEL * (KEYS / 2 * PANEL) + j * PANEL + c % PANEL;
            const float *even = 2 * j < v.rows ? hyv_row(v, 2 * j) + c : NULL;
            const float *odd = 2 * j + 1 < v.rows ? hyv_row(v, 2 * j + 1) + c : NULL;
            _mm512_storeu_si512(to, even ? pair_up_some(even, odd, there) : _mm512_setzero_si512());
        }
}

static void pack_block(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int64_t head = index % a->heads, block = index / a->heads;
    const int64_t first = block * KEYS, keys = least(KEYS, a->k.rows - first);
    const hyv_mat k = hyv_cols(hyv_rows(a->k, first, keys), (a->head + head) * a->d, a->d);
    const hyv_mat v = hyv_cols(hyv_rows(a->v, first, keys), (a->head + head) * a->d, a->d);
    float *to = packed_block(a, head * a->blocks + block), *buffer = lay_out(a, thread).buffer;
    for (int64_t i = 0; i < keys; i += PANEL)
        hyv_gemm_pack(a->f, hyv_pack_mat, 0, &k, to + i * a->pairs, PANEL, i,
                      (int)least(PANEL, keys - i), 0, a->d, buffer);
    pack_values(a, to + keys_floats(a), v);
}

/* ---- products ---------------------------------------------------------------------------------
 */

/* c[PANEL, PANEL] = a * b, or += without `fresh`; a [pairs / SIDE, PANEL, SIDE], b [pairs, PANEL].
 * Results lie close together, as rows far apart push each other out of the first cache. */
static inline __attribute__((always_inline)) void multiply(const bool fresh, int64_t pairs,
                                                           const float *a, const float *b, float *c)
{
    float *low = c + SIDE * PANEL;
    if (fresh) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    } else {
        _tile_loadd(0, c, PANEL_BYTES);
        _tile_loadd(1, c + SIDE, PANEL_BYTES);
        _tile_loadd(2, low, PANEL_BYTES);
        _tile_loadd(3, low + SIDE, PANEL_BYTES);
    }
#pragma GCC unroll 1
    for (int64_t k = 0; k < pairs; k += SIDE, a += SIDE * PANEL, b += SIDE * PANEL) {
        _tile_loadd(6, b, PANEL_BYTES);
        _tile_loadd(4, a, ROW_BYTES);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, b + SIDE, PANEL_BYTES);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, a + SIDE * SIDE, ROW_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, c, PANEL_BYTES);
    _tile_stored(1, c + SIDE, PANEL_BYTES);
    _tile_stored(2, low, PANEL_BYTES);
    _tile_stored(3, low + SIDE, PANEL_BYTES);
}

static void score(const attention *a, const space *s, int64_t rows, const float *k, int64_t keys)
{
    for (int64_t j = 0; j < keys; j += PANEL)
        for (int64_t i = 0; i < rows; i += PANEL)
            multiply(true, a->pairs, s->q + i * a->pairs, k + j * a->pairs,
                     scores_of(s, i) + j * PANEL);
}

static void add_values(const attention *a, const space *s, int64_t rows, const float *v,
                       int64_t keys, bool fresh)
{
    const int64_t pairs = whole(keys, GRAIN) / 2;
    for (int64_t c = 0; c < a->wide; c += PANEL, v += KEYS / 2 * PANEL)
        for (int64_t i = 0; i < rows; i += PANEL) {
            float *y = result_of(s, i) + c * QUERIES;
            if (fresh)
                multiply(true, pairs, s->weights + i * (KEYS / 2), v, y);
            else
                multiply(false, pairs, s->weights + i * (KEYS / 2), v, y);
        }
}

/* ---- softmax ----------------------------------------------------------------------------------
 */

/* Keys that query row i may see. */
static int64_t visible(const attention *a, int64_t i)
{
    if (a->causal == 0)
        return a->k.rows;
    const int64_t at = least(i, a->q.rows - 1) + a->k.rows - a->q.rows;
    return least((at / a->causal + 1) * a->causal, a->k.rows);
}

/* A row's new top, if its scores have grown too far beyond the old one; earlier results, if there
 * are any, go by it. */
static float raise_top(const attention *a, const space *s, int64_t row, __m512 scores, bool fresh)
{
    const float before = s->top[row], now = _mm512_reduce_max_ps(scores);
    const __m512 factor = exp2_roughly(_mm512_set1_ps((before - now) * a->scale));
    float *y = result_of(s, row), *sum = s->sums + row * LANES;
    for (int64_t c = 0; c < a->wide && !fresh; c += PANEL, y += QUERIES * PANEL) {
        _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_loadu_ps(y), factor));
        _mm512_storeu_ps(y + LANES, _mm512_mul_ps(_mm512_loadu_ps(y + LANES), factor));
    }
    if (!fresh)
        _mm512_storeu_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(sum), factor));
    return now;
}

/* Scores [keys] of a row become its weights, rounded, 32 to a row of each tile; keys is a multiple
 * of 32. */
static void softmax_row(const attention *a, const space *s, int64_t row, int64_t keys, bool fresh)
{
    const float *scores = scores_of(s, row);
    float *out = s->weights + row / PANEL * (PANEL * KEYS / 2) + row % PANEL * SIDE;
    __m512 high[2] = {_mm512_set1_ps(-INFINITY), _mm512_set1_ps(-INFINITY)};
    for (int64_t j = 0; j < keys; j += PANEL) {
        high[0] = most(high[0], _mm512_loadu_ps(scores + j * PANEL));
        high[1] = most(high[1], _mm512_loadu_ps(scores + j * PANEL + LANES));
    }
    high[0] = most(high[0], high[1]);
    const __m512 limit = _mm512_set1_ps(s->top[row] + 8.0f / a->scale);
    if (fresh || _mm512_cmp_ps_mask(high[0], limit, _CMP_GT_OQ))
        s->top[row] = raise_top(a, s, row, high[0], fresh);
    const __m512 top = _mm512_set1_ps(s->top[row]), scale = _mm512_set1_ps(a->scale);
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    if (!fresh)
        sum[0] = _mm512_loadu_ps(s->sums + row * LANES);
    for (int64_t j = 0; j < keys; j += PANEL, out += PANEL * SIDE) {
        const __m512 x = _mm512_sub_ps(_mm512_loadu_ps(scores + j * PANEL), top);
        const __m512 z = _mm512_sub_ps(_mm512_loadu_ps(scores + j * PANEL + LANES), top);
        const __m512 low = exp2_roughly(_mm512_mul_ps(x, scale));
        const __m512 next = exp2_roughly(_mm512_mul_ps(z, scale));
        sum[0] = _mm512_add_ps(sum[0], low);
        sum[1] = _mm512_add_ps(sum[1], next);
        _mm512_storeu_si512(out, (__m512i)_mm512_cvtne2ps_pbh(next, low));
    }
    _mm512_storeu_ps(s->sums + row * LANES, _mm512_add_ps(sum[0], sum[1]));
}

/* Scores of keys that a query must not see, or that are not there, become minus infinity. */
static void mask(const attention *a, const space *s, int64_t query, int64_t row, int64_t first,
                 int64_t keys)
{
    float *scores = scores_of(s, row);
    const int64_t seen = visible(a, query) - first;
    for (int64_t j = seen > 0 ? seen : 0; j < keys; j++)
        scores[j / PANEL * (PANEL * PANEL) + j % PANEL] = -INFINITY;
}

/* ---- tasks ------------------------------------------------------------------------------------
 */

/* `rows` queries, the first of which is `query`, against block `index` of keys of a head. */
static void key_block(const attention *a, const space *s, int64_t head, int64_t query, int64_t rows,
                      int64_t index)
{
    const int64_t first = index * KEYS, keys = least(KEYS, a->k.rows - first);
    const int64_t filled = whole(keys, PANEL);
    const float *k = packed_block(a, head * a->blocks + index), *v = k + keys_floats(a);
    score(a, s, rows, k, keys);
    for (int64_t i = 0; i < rows; i++) {
        mask(a, s, query + i, i, first, filled);
        softmax_row(a, s, i, filled, index == 0);
    }
    add_values(a, s, rows, v, keys, index == 0);
}

static void write_row(const attention *a, const space *s, int64_t row, float *y)
{
    const __m512 factor =
        _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(_mm512_loadu_ps(s->sums + row * LANES)));
    for (int64_t c = 0; c < a->d; c += LANES) {
        const float *from = result_of(s, row) + c / PANEL * (QUERIES * PANEL) + c % PANEL;
        const int64_t left = a->d - c;
        const __mmask16 there = left >= LANES ? 0xffff : (__mmask16)((1u << left) - 1);
        _mm512_mask_storeu_ps(y + c, there, _mm512_mul_ps(_mm512_loadu_ps(from), factor));
    }
}

/* Task: some queries of one head against all keys they see. */
static void query_rows(void *arg, int64_t index, int thread)
{
    const attention *a = arg;
    const int64_t blocks = (a->q.rows + QUERIES - 1) / QUERIES;
    const int64_t head = index / blocks, first = index % blocks * QUERIES;
    const int64_t at = (a->head * a->group + head) * a->d;
    const int64_t rows = least(QUERIES, a->q.rows - first), filled = whole(rows, PANEL);
    const int64_t seen = visible(a, first + rows - 1);
    const hyv_mat q = hyv_cols(hyv_rows(a->q, first, rows), at, a->d);
    const hyv_mat y = hyv_cols(hyv_rows(a->y, first, rows), at, a->d);
    const space s = lay_out(a, thread);
    for (int i = 0; i < QUERIES; i++)
        s.top[i] = -INFINITY;
    for (int64_t i = 0; i < rows; i += PANEL)
        hyv_gemm_pack(hyv_gemm_left(a->f), hyv_pack_mat, 0, &q, s.q + i * a->pairs, PANEL, i,
                      (int)least(PANEL, rows - i), 0, a->d, s.buffer);
    bool stopped = false;
    hyv_gemm_begin(a->f);
    for (int64_t b = 0; b * KEYS < seen && !stopped; b++) {
        key_block(a, &s, head / a->group, first, filled, b);
        stopped = b % STOP_BLOCKS == STOP_BLOCKS - 1 && hyv_pool_stopped(a->be, thread);
    }
    hyv_gemm_end(a->f);
    for (int64_t i = 0; i < rows && !stopped; i++)
        write_row(a, &s, i, hyv_row(y, i));
}

/* ---- the operator -----------------------------------------------------------------------------
 */

/* Of one head. */
static int64_t packed_floats(int64_t k_rows, int64_t d)
{
    return whole(k_rows, KEYS) * (whole(d, GRAIN) + whole(d, PANEL)) / 2;
}

size_t hyv_attention_amx_scratch(int64_t k_rows, int64_t head_dim, int key_heads, int threads)
{
    const int64_t packed = packed_floats(k_rows, head_dim);
    return (size_t)(hyv_attention_heads(packed, key_heads) * packed) * sizeof(float) +
           (size_t)threads * space_floats(head_dim) * sizeof(float);
}

void hyv_attention_amx(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v, int heads,
                       int64_t causal)
{
    hyv_cpu *cpu = hyv_cpu_of(be);
    attention a = {
        .be = be, .cpu = cpu, .f = cpu->gemm, .y = y, .q = q, .k = k, .v = v, .causal = causal};
    a.d = q.cols / heads;
    a.pairs = whole(a.d, GRAIN) / 2;
    a.wide = whole(a.d, PANEL);
    a.scale = 1.44269504f / sqrtf((float)a.d);
    a.blocks = (k.rows + KEYS - 1) / KEYS;
    const int64_t key_heads = k.cols / a.d, packed = packed_floats(k.rows, a.d);
    const int64_t most = hyv_attention_heads(packed, key_heads);
    a.packed = hyv_cpu_shared(be, (size_t)(most * packed) * sizeof(float));
    if (!a.packed || !hyv_cpu_scratch_all(be, space_floats(a.d) * sizeof(float)))
        return;
    a.group = heads / key_heads;
    const int64_t tasks = a.group * ((q.rows + QUERIES - 1) / QUERIES);
    for (a.head = 0; a.head < key_heads && !be->err; a.head += most) {
        a.heads = least(most, key_heads - a.head);
        hyv_pool_run(be, a.heads * a.blocks, pack_block, &a);
        hyv_pool_run(be, a.heads * tasks, query_rows, &a);
    }
}

#else
typedef int hyv_attention_amx_is_for_x86_64;
#endif
