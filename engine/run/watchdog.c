/* Looks for NaN, Inf and exploding values: see watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../base/util.h"

enum { CHUNK = 4096 }; /* floats between two looks at the result, so that a fault is found soon */

/* No branch inside, so that compilers vectorise it; a comparison with NaN is false. */
static bool all_tame(const float *v, int64_t n)
{
    int wild = 0;
    for (int64_t i = 0; i < n; i++)
        wild |= !(fabsf(v[i]) <= HYV_EXPLODING);
    return !wild;
}

/* First wild value of a row, or -1. */
static int64_t find_wild(const float *v, int64_t n)
{
    for (int64_t at = 0; at < n; at += CHUNK) {
        const int64_t count = n - at < CHUNK ? n - at : CHUNK;
        if (all_tame(v + at, count))
            continue;
        for (int64_t i = 0; i < count; i++)
            if (!(fabsf(v[at + i]) <= HYV_EXPLODING))
                return at + i;
    }
    return -1;
}

static const char *what_is(float value)
{
    return isnan(value) ? "NaN" : isinf(value) ? "Inf" : "exploding values";
}

/* Whether a tensor holds NaN or Inf. One that this engine cannot decode is passed over. */
static bool is_damaged(const hyv_tensor *t, float *row)
{
    const int64_t rows = t->rank > 1 ? t->shape[0] : 1, cols = rows > 0 ? t->count / rows : 0;
    const hyv_mat m = {(void *)(uintptr_t)t->data, rows, cols, cols, t->type};
    for (int64_t r = 0; r < rows; r++) {
        hyv_table_row(row, m, r);
        for (int64_t i = 0; i < cols; i++)
            if (!isfinite(row[i]))
                return true;
    }
    return false;
}

/* A tensor of block `index` (of any, if negative) with NaN or Inf in it; NULL if there is none. */
static const hyv_tensor *find_damaged(const hyv_network *network, int index)
{
    hyv_checkpoint *file = network->model->file[network->component];
    char number[32];
    snprintf(number, sizeof(number), ".%d.", index);
    for (int64_t i = 0; i < hyv_checkpoint_count(file); i++) {
        const hyv_tensor *t = hyv_checkpoint_at(file, i);
        if (!t->used || t->count < 1 || t->type >= HYV_F64 ||
            (index >= 0 && !strstr(t->name, number)))
            continue;
        const int64_t cols = t->rank > 1 ? t->count / t->shape[0] : t->count;
        float *row = hyv_malloc((size_t)cols, sizeof(float));
        const bool damaged = row && is_damaged(t, row);
        hyv_free_host(row);
        if (damaged)
            return t;
    }
    return NULL;
}

static void report(const hyv_watchdog *w, const char *module, int index, float value)
{
    hyv_log *log = w->network->model->log;
    const hyv_tensor *t = find_damaged(w->network, index);
    hyv_string text = {0};
    hyv_string_append(&text, "%s: %s in the output of %s",
                      hyv_component_name(w->network->component), what_is(value), module);
    if (index >= 0)
        hyv_string_append(&text, ".%d", index);
    if (w->step)
        hyv_string_append(&text, " at step %d of %d", w->step, w->steps);
    if (t)
        hyv_string_append(&text,
                          "; the weight %s holds NaN or Inf, so its file is damaged: get it "
                          "again",
                          t->name);
    else
        hyv_string_append(&text, "; its weights are finite: try precision=fp32, another seed, and "
                                 "guidance and cfg nearer to the defaults");
    hyv_log_error(log, -EBADMSG, "%s", hyv_string_text(&text));
    hyv_string_free(&text);
    hyv_fail(w->be, -EBADMSG, NULL);
}

bool hyv_watchdog_look(const hyv_watchdog *w, const char *module, int index, hyv_mat value)
{
    if (w->be->ops->dry || !w->be->ops->host_memory || w->be->err || value.type != HYV_F32)
        return true;
    for (int64_t r = 0; r < value.rows; r++) {
        const float *row = (const float *)value.data + r * value.ld;
        const int64_t at = find_wild(row, value.cols);
        if (at < 0)
            continue;
        report(w, module, index, row[at]);
        return false;
    }
    return true;
}
