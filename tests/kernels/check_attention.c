/* attention: head sizes of all sorts, grouped heads, causal blocks, around the ends of key blocks.
 *
 * The reference is a plain softmax over all visible keys in double precision. The expected error is
 * that of a score (it becomes relative in the exponential), of the exponential, and of two sums
 * over the keys. In bf16 the reference takes rounded q, k and v; the weights' own rounding, up to
 * half of the last of 8 bits each, adds up like noise, and exp is as exact as rows.h wants it.
 */
#include "rig.h"

static const double EXP_ERROR = 4e-6;

typedef struct call {
    hyv_mat q, k, v;
    int heads;
    int64_t causal;
    hyv_precision precision;
} call;

static void run(hyv_backend *be, hyv_mat y, void *arg)
{
    const call *c = arg;
    hyv_attention(be, y, c->q, c->k, c->v, c->heads, c->causal);
}

static int64_t visible(const call *c, int64_t row)
{
    if (c->causal == 0)
        return c->k.rows;
    const int64_t end = ((row + c->k.rows - c->q.rows) / c->causal + 1) * c->causal;
    return end < c->k.rows ? end : c->k.rows;
}

/* Scores of one row and head; returns the largest error of one. */
static double scores(const call *c, int64_t row, int head, int64_t d, double *s)
{
    const int64_t key_head = head / (c->heads / (c->k.cols / d));
    double worst = 0.0;
    for (int64_t j = 0; j < visible(c, row); j++) {
        double sum = 0.0, size = 0.0;
        for (int64_t i = 0; i < d; i++) {
            const double product = rig_operand(c->precision, *rig_at(c->q, row, head * d + i)) *
                                   rig_operand(c->precision, *rig_at(c->k, j, key_head * d + i));
            sum += product;
            size += fabs(product);
        }
        s[j] = sum / sqrt((double)d);
        const double error =
            RIG_UNIT * (sqrt((double)d) * size / sqrt((double)d) + 3.0 * fabs(s[j]));
        worst = error > worst ? error : worst;
    }
    return worst;
}

/* Of one result, beside its sum's: what rounding the weights adds. */
static double weight_error(hyv_precision precision, double squares, double size)
{
    return precision == HYV_PRODUCTS_BF16 ? 0x1p-9 * sqrt(squares) + EXP_ERROR * size : 0.0;
}

static void reference(const call *c, double *want, double *error)
{
    const int64_t d = c->q.cols / c->heads, cols = c->q.cols;
    double *s = rig_doubles(c->k.rows);
    for (int64_t row = 0; row < c->q.rows; row++)
        for (int head = 0; head < c->heads; head++) {
            const int64_t keys = visible(c, row), group = c->heads / (c->k.cols / d);
            const double score_error = scores(c, row, head, d, s);
            double top = s[0], sum = 0.0;
            for (int64_t j = 1; j < keys; j++)
                top = s[j] > top ? s[j] : top;
            for (int64_t j = 0; j < keys; j++)
                sum += s[j] = exp(s[j] - top);
            for (int64_t i = 0; i < d; i++) {
                double y = 0.0, size = 0.0, squares = 0.0;
                for (int64_t j = 0; j < keys; j++) {
                    const double v =
                        rig_operand(c->precision, *rig_at(c->v, j, head / group * d + i));
                    y += s[j] * v;
                    size += s[j] * fabs(v);
                    squares += s[j] * v * s[j] * v;
                }
                want[row * cols + head * d + i] = y / sum;
                error[row * cols + head * d + i] =
                    size / sum * (2.0 * score_error + RIG_UNIT * (6.0 + sqrt((double)keys))) +
                    weight_error(c->precision, squares, size) / sum + 0x1p-140;
            }
        }
    free(s);
}

static void compare(const rig *r, const char *what, call c, rig_mat *y)
{
    const int64_t results = c.q.rows * c.q.cols;
    double *want = rig_doubles(results), *error = rig_doubles(results);
    reference(&c, want, error);
    rig_compare(r, what, y, run, &c, want, error);
    free(want);
    free(error);
}

typedef struct shape {
    int64_t q_rows, k_rows, d;
    int heads, key_heads;
    int64_t causal;
} shape;

static void one(const rig *r, shape s, rig_values kind, bool strided, check_random *random)
{
    char what[96];
    rig_mat q = rig_new(s.q_rows, s.heads * s.d, strided, HYV_F32);
    rig_mat k = rig_new(s.k_rows, s.key_heads * s.d, strided, HYV_F32);
    rig_mat v = rig_new(s.k_rows, s.key_heads * s.d, !strided, HYV_F32);
    rig_mat y = rig_new(s.q_rows, s.heads * s.d, true, HYV_F32);
    rig_fill(q.m, kind, random);
    rig_fill(k.m, kind, random);
    rig_fill(v.m, RIG_NORMAL, random);
    snprintf(what, sizeof(what), "attention q %d k %d d %d heads %d/%d causal %d", (int)s.q_rows,
             (int)s.k_rows, (int)s.d, s.heads, s.key_heads, (int)s.causal);
    compare(r, what, (call){q.m, k.m, v.m, s.heads, s.causal, r->precision}, &y);
    rig_free(&q);
    rig_free(&k);
    rig_free(&v);
    rig_free(&y);
}

/* What a row must not see may be anything, NaN too, in blocks that no row of the call sees. */
static void unseen_blocks(const rig *r, check_random *random)
{
    const int64_t rows = 200, d = 16, frame = 20;
    rig_mat qkv = rig_new(rows, 3 * d, true, HYV_F32), y = rig_new(frame, d, true, HYV_F32);
    rig_fill(qkv.m, RIG_NORMAL, random);
    call c = {hyv_rows(hyv_cols(qkv.m, 0, d), 0, frame),
              hyv_rows(hyv_cols(qkv.m, d, d), 0, frame),
              hyv_rows(hyv_cols(qkv.m, 2 * d, d), 0, frame),
              1,
              frame,
              r->precision};
    compare(r, "attention, one frame", c, &y);
    /* The same frame among others: its rows come out byte for byte. */
    rig_mat all = rig_new(rows, d, false, HYV_F32), alone = rig_new(frame, d, false, HYV_F32);
    for (int i = 0; i < r->count; i++) {
        hyv_attention(r->be[i], alone.m, c.q, c.k, c.v, 1, frame);
        hyv_attention(r->be[i], all.m, hyv_cols(qkv.m, 0, d), hyv_cols(qkv.m, d, d),
                      hyv_cols(qkv.m, 2 * d, d), 1, frame);
        CHECK_MSG(memcmp(alone.m.data, all.m.data, (size_t)(frame * d) * sizeof(float)) == 0,
                  "%s: the first frame depends on later ones", r->name[i]);
    }
    rig_free(&qkv);
    rig_free(&y);
    rig_free(&all);
    rig_free(&alone);
}

/* Every other key scores a third of a power of two more than the one before, and its values are
 * smaller by as much: all have the same part in the result, whatever is subtracted from scores
 * meanwhile. */
static void growing(const rig *r, check_random *random)
{
    enum { QUERIES = 40, KEYS = 290, SIZE = 16 };
    rig_mat q = rig_new(QUERIES, SIZE, true, HYV_F32), y = rig_new(QUERIES, SIZE, true, HYV_F32);
    rig_mat k = rig_new(KEYS, SIZE, true, HYV_F32), v = rig_new(KEYS, SIZE, true, HYV_F32);
    rig_fill(q.m, RIG_ZEROS, random);
    rig_fill(k.m, RIG_NORMAL, random);
    rig_fill(v.m, RIG_NORMAL, random);
    for (int64_t i = 0; i < QUERIES; i++)
        *rig_at(q.m, i, 0) = i % 4 ? 1.0f : -1.0f; /* the latter's shrink */
    for (int64_t j = 0; j < KEYS; j++) {
        *rig_at(k.m, j, 0) = (float)(j / 2); /* a number of bf16 */
        for (int64_t i = 0; i < SIZE; i++)
            *rig_at(v.m, j, i) *= exp2f(-0.36f * (float)(j / 2));
    }
    compare(r, "attention, growing scores", (call){q.m, k.m, v.m, 1, 0, r->precision}, &y);
    rig_free(&q);
    rig_free(&k);
    rig_free(&v);
    rig_free(&y);
}

static void every_shape(hyv_precision precision)
{
    static const int64_t sizes[] = {1, 5, 8, 12, 16, 24, 32, 33, 64, 128, 512};
    static const int64_t rows[][2] = {{1, 1},    {1, 127},  {3, 192},  {14, 193},
                                      {55, 400}, {57, 256}, {97, 257}, {130, 130}};
    static const int heads[][2] = {{1, 1}, {2, 2}, {3, 1}, {4, 2}};
    static const int64_t causal[] = {0, 1, 5, 40, 128, 500};
    const bool quick = getenv("QUICK") != NULL;
    check_random random = {53};
    rig r;
    rig_open(&r, precision);
    for (size_t d = 0; d < sizeof(sizes) / sizeof(sizes[0]); d++)
        for (int i = 0; i < 8; i += quick ? 4 : 1) {
            const int h = (int)check_random_int(&random, 0, sizes[d] > 64 ? 1 : 3);
            const shape s = {.q_rows = rows[i][0],
                             .k_rows = rows[i][1],
                             .d = sizes[d],
                             .heads = heads[h][0],
                             .key_heads = heads[h][1],
                             .causal = causal[check_random_int(&random, 0, 5)]};
            one(&r, s, RIG_NORMAL, check_random_int(&random, 0, 1) != 0, &random);
        }
    for (int kind = 0; kind < RIG_VALUES; kind++)
        for (int c = 0; c < 6; c++)
            one(&r, (shape){70, 260, 12, 2, 1, causal[c]}, (rig_values)kind, true, &random);
    unseen_blocks(&r, &random);
    growing(&r, &random);
    rig_close(&r);
}

int main(void)
{
    every_shape(HYV_PRODUCTS_FP32);
    every_shape(HYV_PRODUCTS_BF16);
    return check_done();
}
