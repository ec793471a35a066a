/* attention in bf16 for processors with AMX: what attention.c does, row by row.
 *
 * Tiles multiply rows by columns, so scores are q k^T as they are written: a row a query. That row
 * is the left operand of the next product as soon as its weights are rounded, q needs no
 * transposition and v none but side by side pairs of keys. Queries come in tasks of QUERIES, of
 * which a panel of 32 at a time meets a block of KEYS. Scores of a panel of 32 keys become weights
 * while the tiles multiply the next panel, and are never in any cache but the nearest; what streams
 * from the second one is keys and values. Scores, softmax and sums are f32.
 *
 * What is subtracted from a query's scores, its top, is seldom their largest: weights of up to
 * 2^GROWTH are rounded as well as those up to 1, so that a panel is seen to have outgrown its tops
 * when its weights are there, is given new ones and weighed again.
 */
#include "attention_amx.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "pairs_avx512.h"
#include "vmath.h"

/* Tops to begin with. Beside minus infinity, scores of minus infinity would be no numbers. */
#define LOWEST (-0x1p126f)

enum { SIDE = 16, PANEL = 32, GRAIN = 32, LANES = 16 }; /* GRAIN: k of a tile */
enum { QUERIES = 128, KEYS = 256, STOP_BLOCKS = 2 };    /* the last: until a task looks up */
enum { GROWTH = 24, AHEAD = 2048 }; /* the last: floats of a right panel that are fetched early */
enum { ROW_BYTES = 64, PANEL_BYTES = 2 * ROW_BYTES }; /* of a row of tiles, of right panels */

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
    float *scores;  /* [PANEL, PANEL] */
    float *weights; /* [KEYS / GRAIN, PANEL, SIDE]: a left panel */
    float *y;       /* [wide / PANEL, QUERIES, PANEL] */
    float *sums;    /* [QUERIES, LANES] */
    float *later;   /* [PANEL, LANES]: those of a panel with the weights just made */
    float *top;     /* [QUERIES] */
    float *buffer;  /* the packer's */
} space;

/* A panel of queries against one of keys. */
typedef struct panel {
    int64_t row;        /* the first query's in the task */
    float *weights;     /* [PANEL, SIDE]: of these keys */
    float *sum, *later; /* [PANEL, LANES]: without and with these weights */
} panel;

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
    return (size_t)(QUERIES * (pairs + wide + LANES + 1) + PANEL * (PANEL + KEYS / 2 + LANES)) +
           HYV_GEMM_BUFFERS;
}

static space lay_out(const attention *a, int thread)
{
    space s = {.q = (float *)(void *)a->cpu->scratch[thread].data};
    s.scores = s.q + QUERIES * a->pairs;
    s.weights = s.scores + PANEL * PANEL;
    s.y = s.weights + PANEL * KEYS / 2;
    s.sums = s.y + QUERIES * a->wide;
    s.later = s.sums + QUERIES * LANES;
    s.top = s.later + PANEL * LANES;
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

/* Where query `row` of a task stands in y. */
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

/* Nothing written before may be kept back by the compiler: tiles are loaded behind its back. */
static inline void settle(void)
{
    __asm__ volatile("" ::: "memory");
}

/* Tiles 0 to 3 are the quarters of a block [PANEL, PANEL]. */
static inline void clear_block(void)
{
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

static inline void load_block(const float *c)
{
    _tile_loadd(0, c, PANEL_BYTES);
    _tile_loadd(1, c + SIDE, PANEL_BYTES);
    _tile_loadd(2, c + SIDE * PANEL, PANEL_BYTES);
    _tile_loadd(3, c + SIDE * PANEL + SIDE, PANEL_BYTES);
}

static inline void store_block(float *c)
{
    _tile_stored(0, c, PANEL_BYTES);
    _tile_stored(1, c + SIDE, PANEL_BYTES);
    _tile_stored(2, c + SIDE * PANEL, PANEL_BYTES);
    _tile_stored(3, c + SIDE * PANEL + SIDE, PANEL_BYTES);
}

/* The block takes in SIDE pairs; a [PANEL, SIDE], b [SIDE, PANEL]. Right panels lie one behind the
 * other, so what is fetched early at the end of one is the next. */
static inline void multiply(const float *a, const float *b)
{
    _tile_loadd(6, b, PANEL_BYTES);
    _tile_loadd(4, a, ROW_BYTES);
    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(7, b + SIDE, PANEL_BYTES);
    _tile_dpbf16ps(1, 4, 7);
    _tile_loadd(5, a + SIDE * SIDE, ROW_BYTES);
    _tile_dpbf16ps(2, 5, 6);
#pragma GCC unroll 32
    for (int i = 0; i < SIDE * PANEL; i += LANES)
        _mm_prefetch(b + AHEAD + i, _MM_HINT_T0);
    _tile_dpbf16ps(3, 5, 7);
}

/* y of the panel from query `row` on takes in values [keys] times their weights. */
static void add_values(const attention *a, const space *s, int64_t row, const float *v,
                       int64_t keys)
{
    settle();
    for (int64_t c = 0; c < a->wide; c += PANEL, v += KEYS / 2 * PANEL) {
        float *y = result_of(s, row) + c * QUERIES;
        load_block(y);
        for (int64_t k = 0; k < keys / 2; k += SIDE)
            multiply(s->weights + k * PANEL, v + k * PANEL);
        store_block(y);
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

/* Scores of keys that a query must not see, or that are not there, become minus infinity; the
 * panel's first query is `query`, its first key `first`. */
static void mask(const attention *a, const space *s, int64_t query, int64_t first)
{
    for (int64_t i = 0; i < PANEL; i++) {
        const int64_t seen = visible(a, query + i) - first;
        for (int64_t j = seen > 0 ? seen : 0; j < PANEL; j++)
            s->scores[i * PANEL + j] = -INFINITY;
    }
}

/* Scores of rows [first, end) of a panel become weights, rounded and in pairs, and with them its
 * sum becomes `later`. `grown` takes in how far scores are beyond their tops. */
static inline __m512 weigh(const attention *a, const space *s, const panel *p, int64_t first,
                           int64_t end, __m512 grown)
{
    const __m512 scale = _mm512_set1_ps(a->scale);
    for (int64_t i = first; i < end; i++) {
        const float *scores = s->scores + i * PANEL;
        const __m512 top = _mm512_set1_ps(s->top[p->row + i]);
        const __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores), top), scale);
        const __m512 z = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(scores + LANES), top), scale);
        const __m512 low = exp2_roughly(x), high = exp2_roughly(z), both = _mm512_add_ps(low, high);
        const __m512 sum = _mm512_add_ps(_mm512_loadu_ps(p->sum + i * LANES), both);
        grown = most(grown, most(x, z));
        _mm512_storeu_ps(p->later + i * LANES, sum);
        _mm512_storeu_si512(p->weights + i * SIDE, (__m512i)_mm512_cvtne2ps_pbh(high, low));
    }
    return grown;
}

/* What row i of a panel has so far goes by a new top: its y, its sum, and its weights in the panels
 * of keys before. */
static void rescale(const attention *a, const space *s, const panel *p, int64_t i, float factor)
{
    const __m512 times = _mm512_set1_ps(factor);
    float *y = result_of(s, p->row + i), *sum = p->sum + i * LANES;
    _mm512_storeu_ps(sum, _mm512_mul_ps(_mm512_loadu_ps(sum), times));
    for (int64_t c = 0; c < a->wide; c += PANEL, y += QUERIES * PANEL) {
        _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_loadu_ps(y), times));
        _mm512_storeu_ps(y + LANES, _mm512_mul_ps(_mm512_loadu_ps(y + LANES), times));
    }
    for (float *w = s->weights + i * SIDE; w < p->weights; w += PANEL * SIDE) {
        const __m512i pairs = _mm512_loadu_si512(w);
        const __m512i odd = _mm512_and_si512(pairs, _mm512_set1_epi32((int)0xffff0000));
        const __m512 x = _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16));
        const __m512 z = _mm512_castsi512_ps(odd);
        _mm512_storeu_si512(w, pair_up(_mm512_mul_ps(x, times), _mm512_mul_ps(z, times)));
    }
}

/* New tops for rows whose scores have grown too far beyond the old ones. */
static void raise_tops(const attention *a, const space *s, const panel *p)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    for (int64_t i = 0; i < PANEL; i++) {
        const float *scores = s->scores + i * PANEL;
        const __m512 high = most(none, _mm512_loadu_ps(scores));
        const float now = _mm512_reduce_max_ps(most(high, _mm512_loadu_ps(scores + LANES)));
        const float growth = (now - s->top[p->row + i]) * a->scale;
        if (growth > GROWTH) {
            rescale(a, s, p, i, hyv_exp2f(-growth));
            s->top[p->row + i] = now;
        }
    }
}

/* All rows have been weighed; again, if some had outgrown their tops. */
static void end_panel(const attention *a, const space *s, panel *p, __m512 grown)
{
    float *sum = p->sum;
    if (_mm512_cmp_ps_mask(grown, _mm512_set1_ps(GROWTH), _CMP_GT_OQ)) {
        raise_tops(a, s, p);
        weigh(a, s, p, 0, PANEL, grown);
    }
    p->sum = p->later;
    p->later = sum;
}

/* ---- tasks ------------------------------------------------------------------------------------
 */

/* Scores of a panel of keys into the tiles, while those of the panel before, if there is one,
 * become weights; what `weigh` returns. */
static __m512 score(const attention *a, const space *s, const float *q, const float *k,
                    const panel *before)
{
    __m512 grown = _mm512_set1_ps(-INFINITY);
    int64_t done = 0;
    clear_block();
    for (int64_t i = 0; i < a->pairs; i += SIDE) {
        const int64_t end = before ? PANEL * (i + SIDE) / a->pairs : 0;
        multiply(q + i * PANEL, k + i * PANEL);
        grown = weigh(a, s, before, done, end, grown);
        done = end;
    }
    return grown;
}

/* A panel of queries, `row` and on of a task that begins with `query`, against block `index` of
 * keys of a head. */
static void key_block(const attention *a, const space *s, int64_t head, int64_t query, int64_t row,
                      int64_t index)
{
    const int64_t first = index * KEYS, keys = whole(least(KEYS, a->k.rows - first), PANEL);
    const float *k = packed_block(a, head * a->blocks + index), *v = k + keys_floats(a);
    float *sum = s->sums + row * LANES;
    panel p = {.row = row, .weights = s->weights, .sum = sum, .later = s->later};
    for (int64_t j = 0; j < keys; j += PANEL) {
        const __m512 grown =
            score(a, s, s->q + row * a->pairs, k + j * a->pairs, j > 0 ? &p : NULL);
        if (j > 0)
            end_panel(a, s, &p, grown);
        p.weights = s->weights + j * SIDE;
        store_block(s->scores);
        if (visible(a, query + row) < first + j + PANEL)
            mask(a, s, query + row, first + j);
        if (first + j == 0) /* there are no tops yet */
            raise_tops(a, s, &p);
    }
    end_panel(a, s, &p, weigh(a, s, &p, 0, PANEL, _mm512_set1_ps(-INFINITY)));
    if (p.sum != sum)
        memcpy(sum, p.sum, PANEL * LANES * sizeof(float));
    add_values(a, s, row, v, keys);
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
    memset(s.sums, 0, QUERIES * LANES * sizeof(float));
    memset(s.y, 0, (size_t)(QUERIES * a->wide) * sizeof(float));
    for (int i = 0; i < QUERIES; i++)
        s.top[i] = LOWEST;
    for (int64_t i = 0; i < rows; i += PANEL)
        hyv_gemm_pack(hyv_gemm_left(a->f), hyv_pack_mat, 0, &q, s.q + i * a->pairs, PANEL, i,
                      (int)least(PANEL, rows - i), 0, a->d, s.buffer);
    bool stopped = false;
    hyv_gemm_begin(a->f);
    for (int64_t b = 0; b * KEYS < seen && !stopped; b++) {
        for (int64_t i = 0; i < filled; i += PANEL)
            key_block(a, &s, head / a->group, first, i, b);
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
