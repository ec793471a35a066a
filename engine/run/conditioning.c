/* Text phase: embedding look-up on the host, the two encoders on the backend, results back on the
 * host.
 *
 * Only real tokens are run: attention is causal, so the padding of the published pipelines cannot
 * reach them. Knows no schedule.
 */
#include "conditioning.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"
#include "../model/embed.h"
#include "sampler.h"
#include "weights.h"

int hyv_conditioning_new(hyv_conditioning *c, int64_t tokens, int64_t width, int64_t pooled_width)
{
    *c = (hyv_conditioning){.tokens = tokens, .width = width, .pooled_width = pooled_width};
    c->states = hyv_calloc((size_t)(tokens * width), sizeof(float));
    c->mean = hyv_calloc((size_t)width, sizeof(float));
    c->pooled = hyv_calloc((size_t)pooled_width, sizeof(float));
    if (c->states && c->mean && c->pooled)
        return 0;
    hyv_conditioning_free(c);
    return -ENOMEM;
}

void hyv_conditioning_free(hyv_conditioning *c)
{
    hyv_free_host(c->states);
    hyv_free_host(c->mean);
    hyv_free_host(c->pooled);
    *c = (hyv_conditioning){0};
}

static int check_ids(const int32_t *ids, int64_t n, int64_t vocabulary, const char *what,
                     hyv_log *log)
{
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocabulary)
            return hyv_log_error(log, -EBADMSG,
                                 "%s: the tokenizer gives id %d, but the model's vocabulary has "
                                 "%lld rows; they do not belong together",
                                 what, (int)ids[i], (long long)vocabulary);
    return 0;
}

/* rows[n, width] of the table, plus the position's row if there are positions. */
static void look_up(float *rows, hyv_mat table, hyv_mat positions, const int32_t *ids, int64_t n,
                    float *scratch)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = rows + i * table.cols;
        hyv_table_row(row, table, ids[i]);
        if (!positions.data)
            continue;
        hyv_table_row(scratch, positions, i);
        for (int64_t k = 0; k < table.cols; k++)
            row[k] += scratch[k];
    }
}

static int check_finite(const float *v, int64_t n, const char *what, hyv_log *log)
{
    if (hyv_find_not_finite(v, n) < 0)
        return 0;
    return hyv_log_error(log, -EBADMSG, "%s: its result holds NaN or Inf; its weights are damaged",
                         what);
}

/* Mean over the tokens, summed in double and rounded once. */
static void mean_rows(float *mean, const float *rows, int64_t n, int64_t width)
{
    for (int64_t k = 0; k < width; k++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)rows[i * width + k];
        mean[k] = (float)(sum / (double)n);
    }
}

/* How texts lie in the rows of one run: the longer one first. */
typedef struct batch {
    hyv_text text[2];
    hyv_llama_rows rows;
    int64_t first, all; /* rows of the first text, and all of them */
} batch;

static batch lay_out(const hyv_text *texts, int count)
{
    batch b = {.text = {texts[0]}};
    const hyv_prompt_tokens *t = texts[0].tokens, *other = count > 1 ? texts[1].tokens : NULL;
    if (other) {
        const bool swap = other->llm_count - other->crop > t->llm_count - t->crop;
        const bool alike = t->crop == other->crop &&
                           memcmp(t->llm, other->llm, (size_t)t->crop * sizeof(*t->llm)) == 0;
        b.text[0] = texts[swap];
        b.text[1] = texts[!swap];
        b.rows.shared = alike ? t->crop : 0;
        b.rows.rest[1] = b.text[1].tokens->llm_count - b.rows.shared;
    }
    b.first = b.text[0].tokens->llm_count;
    b.rows.rest[0] = b.first - b.rows.shared;
    b.all = b.first + b.rows.rest[1];
    return b;
}

int64_t hyv_condition_rows(const hyv_text *texts, int count)
{
    return lay_out(texts, count).all;
}

/* Embeddings and rotary tables on the host, in one allocation. */
typedef struct llama_host {
    float *rows, *cosine, *sine;
} llama_host;

static int llama_host_new(llama_host *h, const hyv_llama *m, const batch *b)
{
    const int64_t width = m->config.width, d = m->config.head_dim;
    h->rows = hyv_malloc((size_t)(b->all * width + b->first * 2 * d), sizeof(float));
    if (!h->rows)
        return -ENOMEM;
    h->cosine = h->rows + b->all * width;
    h->sine = h->cosine + b->first * d;
    look_up(h->rows, m->embedding, HYV_NO_MAT, b->text[0].tokens->llm, b->first, NULL);
    if (b->rows.rest[1])
        look_up(h->rows + b->first * width, m->embedding, HYV_NO_MAT,
                b->text[1].tokens->llm + b->rows.shared, b->rows.rest[1], NULL);
    hyv_rope_line(h->cosine, h->sine, b->first, d, m->config.theta);
    return 0;
}

/* The states of text `i`, without the template's. */
static void take_states(hyv_backend *be, const batch *b, int i, hyv_mat x)
{
    const hyv_text *t = &b->text[i];
    const int64_t n = t->tokens->llm_count - t->tokens->crop;
    const int64_t end = i ? b->all : b->first;
    hyv_download(be, t->out->states, hyv_rows(x, end - n, n));
}

static int run_llama(const batch *b, hyv_backend *be, const hyv_llama *m, const hyv_watch *watch,
                     hyv_log *log)
{
    const int64_t d = m->config.head_dim;
    llama_host host = {0};
    if (!be->ops->dry && llama_host_new(&host, m, b) < 0)
        return hyv_log_error(log, -ENOMEM, "out of memory for %lld token embeddings",
                             (long long)b->all);
    const size_t mark = hyv_mark(be);
    hyv_mat x = hyv_new(be, b->all, m->config.width);
    const hyv_rope_table rope = {hyv_new(be, b->first, d), hyv_new(be, b->first, d)};
    hyv_upload(be, x, host.rows);
    hyv_upload(be, rope.cos, host.cosine);
    hyv_upload(be, rope.sin, host.sine);
    hyv_llama_forward(be, m, x, &b->rows, rope, watch);
    take_states(be, b, 0, x);
    if (b->text[1].out)
        take_states(be, b, 1, x);
    hyv_release(be, mark);
    hyv_free_host(host.rows);
    return hyv_backend_error(be);
}

int hyv_condition_llama(const hyv_text *texts, int count, hyv_backend *be, const hyv_llama *m,
                        const hyv_watch *watch, hyv_log *log)
{
    const batch b = lay_out(texts, count);
    int err = 0;
    for (int i = 0; err >= 0 && i < count; i++)
        err = check_ids(texts[i].tokens->llm, texts[i].tokens->llm_count, m->config.vocabulary,
                        "text_encoder", log);
    if (err >= 0)
        err = run_llama(&b, be, m, watch, log);
    for (int i = 0; err >= 0 && !be->ops->dry && i < count; i++) {
        hyv_conditioning *c = texts[i].out;
        mean_rows(c->mean, c->states, c->tokens, c->width);
        err = check_finite(c->states, c->tokens * c->width, "text_encoder", log);
    }
    return err;
}

int hyv_condition_clip(hyv_conditioning *c, hyv_backend *be, const hyv_clip *m,
                       const hyv_prompt_tokens *t, const hyv_watch *watch, hyv_log *log)
{
    const int64_t n = t->clip_count, width = m->config.width;
    const bool dry = be->ops->dry;
    float *rows = NULL;
    int err = check_ids(t->clip, n, m->config.vocabulary, "text_encoder_2", log);
    if (err >= 0 && n > m->config.positions)
        err = hyv_log_error(log, -EBADMSG, "text_encoder_2: %lld tokens, but %lld positions",
                            (long long)n, (long long)m->config.positions);
    if (err < 0)
        return err;
    if (!dry) {
        rows = hyv_malloc((size_t)((n + 1) * width), sizeof(float));
        if (!rows)
            return hyv_log_error(log, -ENOMEM, "out of memory for %lld token embeddings",
                                 (long long)n);
        look_up(rows, m->tokens, m->positions, t->clip, n, rows + n * width);
    }
    const size_t mark = hyv_mark(be);
    hyv_mat x = hyv_new(be, n, width), pooled = hyv_new(be, 1, width);
    hyv_upload(be, x, rows);
    hyv_clip_forward(be, m, pooled, x, watch);
    hyv_download(be, c->pooled, pooled);
    hyv_release(be, mark);
    hyv_free_host(rows);
    err = hyv_backend_error(be);
    return err < 0 || dry ? err : check_finite(c->pooled, width, "text_encoder_2", log);
}
