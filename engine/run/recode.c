/* Source rows -> bytes of another type: see recode.h.
 *
 * A tensor is cut into chunks, these into runs, which threads take as they come; each run's bytes
 * have their place, and sums over runs are added in order. A run is decoded as hyv_decode defines
 * values, scaled as the kernels scale fp8, checked, and encoded by half.h and quant.h.
 */
#include "recode.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "../../kernels/half.h"
#include "../../kernels/quant.h"

enum {
    RUN = 32768, /* elements: whole blocks of every type, and about what a second cache holds */
    RUNS = 32,   /* of a chunk: 4 MiB of f32 */
    THREADS_MAX = RUNS,
    CHUNKS_KEPT = 32 /* after which all pages that were read are given back */
};

#define F8_MOST    448.0f
#define F16_MOST   0x1.ffdffep15f  /* the last that is rounded down to the largest f16, */
#define BF16_MOST  0x1.fefffep127f /* and bf16 */
#define BLOCK_MOST 1e6f            /* see hyv_quant_encode */

/* What a run found. */
typedef struct finding {
    bool bad;
    float value;         /* the first that is NaN, infinite or too large */
    float most;          /* largest magnitude */
    double lost, square; /* sums of squares: of what rounding lost, of the values */
} finding;

/* Elements [first, first + count) of a piece. */
typedef struct chunk {
    const hyv_item *item;
    const hyv_piece *piece;
    int64_t cols, first, count;
    bool measure; /* look only */
    float scale;  /* of F8 */
} chunk;

struct hyv_recoder {
    const hyv_run *run;
    int threads;
    float *values;  /* [threads][2][RUN] */
    uint8_t *bytes; /* of a chunk */
    float *scales;  /* chosen, by item */
    finding found[RUNS];
    chunk now;
    atomic_int next, next_thread;
    hyv_checkpoint *source;
    hyv_output out;
    double lost, square; /* of the file */
    uint64_t work, work_done;
    int64_t items, items_done;
    int chunks; /* since the beginning */
};

/* ---- a run ----------------------------------------------------------------------------------- */

/* Which row of the piece in the source becomes row `row`. */
static int64_t source_row(const hyv_piece *p, int64_t row)
{
    if (p->order == HYV_ORDER_SAME)
        return row;
    const int64_t half = p->head / 2, k = row % p->head;
    return row - k + (p->order == HYV_ORDER_PAIRS ? k % 2 * half + k / 2 : k % half * 2 + k / half);
}

/* The same bytes as in the source. */
static bool is_copy(const hyv_item *item, const hyv_piece *p)
{
    return item->tensor.type == p->from->type && !item->scaled;
}

/* As the kernels multiply fp8 with its scale. */
static void apply_scale(float *values, int64_t n, const hyv_piece *p, int64_t row)
{
    float scale;
    hyv_decode(&scale, p->scale->data, p->scale->type, p->scale->count > 1 ? row : 0, 1);
    if (p->rounded)
        scale = hyv_round_to_bf16(scale);
    for (int64_t i = 0; i < n; i++) {
        values[i] *= scale;
        if (p->rounded)
            values[i] = hyv_round_to_bf16(values[i]);
    }
}

/* The source's values of n elements from `first` of the chunk's piece on; for a copy also its
 * bytes, and then without the scale, which is copied too. */
static void read_run(const chunk *c, int64_t first, int64_t n, float *values, uint8_t *bytes)
{
    const hyv_piece *p = c->piece;
    const hyv_tensor *t = p->from;
    const bool copy = is_copy(c->item, p);
    const bool by_row = p->order != HYV_ORDER_SAME || (!copy && p->scale && p->scale->count > 1);
    while (n > 0) {
        const int64_t column = first % c->cols, left = c->cols - column;
        const int64_t m = by_row && left < n ? left : n;
        const int64_t row = p->first + source_row(p, first / c->cols);
        const int64_t at = row * c->cols + column;
        hyv_decode(values, t->data, t->type, at, m);
        if (copy && bytes) {
            memcpy(bytes, (const uint8_t *)t->data + hyv_type_step(t->type, at),
                   hyv_type_size(t->type, m));
            bytes += hyv_type_size(t->type, m);
        } else if (!copy && p->scale) {
            apply_scale(values, m, p, row);
        }
        values += m, first += m, n -= m;
    }
}

static float most_of(hyv_type type)
{
    return hyv_type_block(type) > 1 ? BLOCK_MOST
           : type == HYV_F16        ? F16_MOST
           : type == HYV_BF16       ? BF16_MOST
                                    : HUGE_VALF;
}

static void inspect(finding *f, const float *values, int64_t n, float limit)
{
    for (int64_t i = 0; i < n; i++) {
        const float magnitude = fabsf(values[i]);
        if (!(magnitude <= limit) || isinf(magnitude)) {
            f->bad = true;
            f->value = values[i];
            return;
        }
        f->most = magnitude > f->most ? magnitude : f->most;
    }
}

static void encode(uint8_t *out, const float *values, int64_t n, hyv_type type, float scale)
{
    uint16_t half;
    switch (type) {
    case HYV_F32:
        memcpy(out, values, (size_t)n * sizeof(*values));
        break;
    case HYV_F16:
    case HYV_BF16:
        for (int64_t i = 0; i < n; i++) {
            half = type == HYV_F16 ? hyv_f32_to_f16(values[i]) : hyv_f32_to_bf16(values[i]);
            memcpy(out + 2 * i, &half, sizeof(half));
        }
        break;
    case HYV_F8_E4M3:
        for (int64_t i = 0; i < n; i++)
            out[i] = hyv_f32_to_f8_e4m3(values[i] / scale);
        break;
    default:
        hyv_quant_encode(out, values, type, n);
        break;
    }
}

static void compare(finding *f, const chunk *c, const float *values, const uint8_t *bytes,
                    float *again, int64_t n)
{
    hyv_decode(again, bytes, c->item->tensor.type, 0, n);
    for (int64_t i = 0; i < n; i++) {
        const double x = (double)values[i], e = x - (double)(again[i] * c->scale);
        f->lost += e * e;
        f->square += x * x;
    }
}

static void do_run(hyv_recoder *r, int index, float *values)
{
    const chunk *c = &r->now;
    const int64_t first = (int64_t)index * RUN;
    const int64_t n = c->count - first < RUN ? c->count - first : RUN;
    const hyv_tensor *t = &c->item->tensor;
    const bool copy = is_copy(c->item, c->piece);
    uint8_t *bytes = r->bytes + hyv_type_step(t->type, first);
    finding *f = &r->found[index];
    *f = (finding){0};
    read_run(c, c->first + first, n, values, c->measure ? NULL : bytes);
    inspect(f, values, n, copy ? HUGE_VALF : most_of(t->type));
    if (f->bad || c->measure || copy)
        return;
    encode(bytes, values, n, t->type, c->scale);
    if (t->rank >= 2 && t->type != HYV_F32)
        compare(f, c, values, bytes, values + RUN, n);
}

/* ---- a chunk --------------------------------------------------------------------------------- */

static void *work(void *opaque)
{
    hyv_recoder *r = opaque;
    float *values = r->values + (size_t)atomic_fetch_add(&r->next_thread, 1) * 2 * RUN;
    const int count = (int)((r->now.count + RUN - 1) / RUN);
    for (int i; (i = atomic_fetch_add(&r->next, 1)) < count;)
        do_run(r, i, values);
    return NULL;
}

static int complain(const hyv_recoder *r, float value)
{
    const char *path = hyv_checkpoint_path(r->source), *name = r->now.piece->from->name;
    if (!isfinite(value))
        return hyv_log_error(r->run->log, -EBADMSG, "%s: tensor %s holds %s", path, name,
                             isnan(value) ? "NaN" : "Inf");
    return hyv_log_error(r->run->log, -ERANGE,
                         "%s: tensor %s holds %g, which %s cannot hold; choose another type", path,
                         name, (double)value, hyv_type_name(r->now.item->tensor.type));
}

/* All runs of the chunk on all threads; then *most grows and the sums do. */
static int do_chunk(hyv_recoder *r, float *most)
{
    const int count = (int)((r->now.count + RUN - 1) / RUN);
    pthread_t thread[THREADS_MAX];
    int started = 0;
    atomic_store(&r->next, 0);
    atomic_store(&r->next_thread, 0);
    while (started + 1 < r->threads && started + 1 < count &&
           pthread_create(&thread[started], NULL, work, r) == 0)
        started++;
    work(r);
    for (int i = 0; i < started; i++)
        pthread_join(thread[i], NULL);
    for (int i = 0; i < count; i++) {
        const finding *f = &r->found[i];
        if (f->bad)
            return complain(r, f->value);
        *most = f->most > *most ? f->most : *most;
        r->lost += f->lost;
        r->square += f->square;
    }
    return 0;
}

static int advance(hyv_recoder *r, int64_t count)
{
    const hyv_run *run = r->run;
    r->work_done += (uint64_t)count;
    const double fraction = r->work ? (double)r->work_done / (double)r->work : 1.0;
    const bool stop =
        run->progress(run->opaque, HYV_PHASE_CONVERT, (int)r->items_done, (int)r->items, fraction);
    return stop ? -ECANCELED : 0;
}

static int fail_write(const hyv_recoder *r, int err)
{
    return hyv_log_error(r->run->log, err, "%s: cannot be written: %s", r->out.path,
                         strerror(-err));
}

static int do_piece(hyv_recoder *r, const hyv_item *item, const hyv_piece *p, bool measure,
                    float scale, float *most)
{
    const hyv_tensor *t = p->from;
    const int64_t cols = t->rank && t->shape[0] ? t->count / t->shape[0] : 1;
    const int64_t count = p->rows * cols;
    int err = 0;
    for (int64_t first = 0; first < count && !err; first += r->now.count) {
        const int64_t left = count - first, most_count = (int64_t)RUN * RUNS;
        r->now =
            (chunk){item, p, cols, first, left < most_count ? left : most_count, measure, scale};
        err = do_chunk(r, most);
        if (!err && !measure) {
            const int wrote =
                hyv_output_write(&r->out, r->bytes, hyv_type_size(item->tensor.type, r->now.count));
            err = wrote ? fail_write(r, wrote) : 0;
        }
        /* Not the chunk's own pages only: reading one page maps others around it. */
        if (++r->chunks % CHUNKS_KEPT == 0)
            hyv_checkpoint_drop(r->source);
        if (!err)
            err = advance(r, r->now.count);
    }
    return err;
}

/* ---- a file ---------------------------------------------------------------------------------- */

static int do_item(hyv_recoder *r, const hyv_blueprint *b, int64_t index)
{
    static const uint8_t zeros[64] = {0};
    const hyv_item *item = &b->list[index];
    const size_t unit = b->writer->alignment, rest = item->tensor.size_bytes % unit;
    float scale = 1.0f, most = 0.0f;
    int err = 0;
    for (int i = 0; item->scaled && i < item->pieces && !err; i++)
        err = do_piece(r, item, &item->piece[i], true, 1.0f, &most);
    if (item->scaled && most > 0.0f)
        scale = most / F8_MOST > 0.0f ? most / F8_MOST : most;
    r->scales[index] = scale;
    for (int i = 0; i < item->pieces && !err; i++)
        err = do_piece(r, item, &item->piece[i], false, scale, &most);
    int wrote = 0;
    if (!err && item->scale_of >= 0)
        wrote = hyv_output_write(&r->out, &r->scales[item->scale_of], sizeof(scale));
    if (!err && !wrote && rest)
        wrote = hyv_output_write(&r->out, zeros, unit - rest);
    r->items_done++;
    return wrote ? fail_write(r, wrote) : err;
}

int hyv_recode_write(hyv_recoder *r, const hyv_blueprint *b, hyv_checkpoint *source,
                     const char *path)
{
    hyv_log *log = r->run->log;
    r->source = source;
    r->lost = r->square = 0.0;
    hyv_free_host(r->scales);
    r->scales = hyv_malloc((size_t)b->count, sizeof(*r->scales));
    if (!r->scales)
        return hyv_log_error(log, -ENOMEM, "not enough memory for converting");
    int err = hyv_output_open(&r->out, path, b->size_bytes);
    if (err)
        return hyv_log_error(log, err, "%s: cannot be written: %s", path, strerror(-err));
    err = hyv_output_write(&r->out, b->header.text, b->header.length);
    if (err)
        err = fail_write(r, err);
    for (int64_t i = 0; i < b->count && !err; i++)
        err = do_item(r, b, i);
    const int closed = hyv_output_close(&r->out, err);
    if (!err && closed)
        return hyv_log_error(log, closed, "%s: cannot be written: %s", path, strerror(-closed));
    if (!err)
        advance(r, 0); /* it is there: too late to stop */
    return err;
}

uint64_t hyv_recode_work(const hyv_item *item)
{
    return item->scale_of < 0 ? (uint64_t)item->tensor.count * (item->scaled ? 2 : 1) : 0;
}

void hyv_recode_begin(hyv_recoder *r, uint64_t work_to_come, int64_t items)
{
    r->work = work_to_come;
    r->items = items;
    r->work_done = 0;
    r->items_done = 0;
}

double hyv_recode_loss(const hyv_recoder *r)
{
    return r->square > 0.0 ? sqrt(r->lost / r->square) : -1.0;
}

static int processors(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    const int count = sched_getaffinity(0, sizeof(set), &set) == 0
                          ? CPU_COUNT(&set)
                          : (int)sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count;
}

int hyv_recoder_new(hyv_recoder **out, int threads, const hyv_run *run)
{
    hyv_recoder *r = *out = hyv_calloc(1, sizeof(*r));
    if (r) {
        r->run = run;
        r->out.fd = -1;
        r->threads = threads > 0 ? threads : processors();
        r->threads = r->threads < THREADS_MAX ? r->threads : THREADS_MAX;
        r->values = hyv_malloc((size_t)r->threads * 2 * RUN, sizeof(*r->values));
        r->bytes = hyv_malloc((size_t)RUNS * RUN, sizeof(float));
        if (r->values && r->bytes)
            return 0;
    }
    hyv_recoder_free(out);
    return hyv_log_error(run->log, -ENOMEM, "not enough memory for converting");
}

void hyv_recoder_free(hyv_recoder **recoder)
{
    hyv_recoder *r = *recoder;
    if (!r)
        return;
    hyv_free_host(r->values);
    hyv_free_host(r->bytes);
    hyv_free_host(r->scales);
    hyv_free_host(r);
    *recoder = NULL;
}
