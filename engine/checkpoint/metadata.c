/* Keys and values of a GGUF file: see metadata.h.
 *
 * Types and their sizes are those of ggml's gguf.md. All values are little-endian and unaligned.
 */
#include "metadata.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/util.h"

size_t hyv_value_bytes(uint32_t type)
{
    static const uint8_t bytes[HYV_VALUE_TYPES] = {
        [HYV_VALUE_U8] = 1,  [HYV_VALUE_I8] = 1,  [HYV_VALUE_U16] = 2, [HYV_VALUE_I16] = 2,
        [HYV_VALUE_U32] = 4, [HYV_VALUE_I32] = 4, [HYV_VALUE_F32] = 4, [HYV_VALUE_BOOL] = 1,
        [HYV_VALUE_U64] = 8, [HYV_VALUE_I64] = 8, [HYV_VALUE_F64] = 8};
    return type < HYV_VALUE_TYPES ? bytes[type] : 0;
}

static uint64_t read_bytes(const uint8_t *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return v;
}

static int compare_values(const void *a, const void *b)
{
    return strcmp(((const hyv_value *)a)->key, ((const hyv_value *)b)->key);
}

const hyv_value *hyv_metadata_find(const hyv_metadata *m, const char *key)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(key, m->list[middle].key);
        if (order == 0)
            return &m->list[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* ---- elements ---- */

static bool get_int(enum hyv_value_type type, const uint8_t *p, int64_t *out)
{
    const size_t bytes = hyv_value_bytes(type);
    const uint64_t v = read_bytes(p, bytes), sign = (uint64_t)1 << (8 * bytes - 1) % 64;
    switch (type) {
    case HYV_VALUE_I8:
    case HYV_VALUE_I16:
    case HYV_VALUE_I32:
    case HYV_VALUE_I64:
        *out = v & sign ? -(int64_t)(~v & (sign - 1)) - 1 : (int64_t)v;
        return true;
    case HYV_VALUE_U8:
    case HYV_VALUE_U16:
    case HYV_VALUE_U32:
    case HYV_VALUE_BOOL:
    case HYV_VALUE_U64:
        if (v > INT64_MAX)
            return false;
        *out = (int64_t)v;
        return true;
    default:
        return false;
    }
}

static bool get_float(enum hyv_value_type type, const uint8_t *p, double *out)
{
    const uint64_t v = read_bytes(p, hyv_value_bytes(type));
    const uint32_t narrow = (uint32_t)v;
    int64_t integer;
    float f;
    switch (type) {
    case HYV_VALUE_F32:
        memcpy(&f, &narrow, sizeof(f));
        *out = (double)f;
        return true;
    case HYV_VALUE_F64:
        memcpy(out, &v, sizeof(*out));
        return true;
    default:
        if (!get_int(type, p, &integer))
            return false;
        *out = (double)integer;
        return true;
    }
}

hyv_walk hyv_value_walk(const hyv_value *value)
{
    return (hyv_walk){value, value ? value->data : NULL, value ? value->count : 0};
}

/* On to the next element, `bytes` further. */
static bool step(hyv_walk *w, size_t bytes, bool ok)
{
    if (ok) {
        w->at += bytes;
        w->left--;
    }
    return ok;
}

bool hyv_walk_int(hyv_walk *w, int64_t *out)
{
    return w->left > 0 &&
           step(w, hyv_value_bytes(w->value->type), get_int(w->value->type, w->at, out));
}

bool hyv_walk_float(hyv_walk *w, double *out)
{
    return w->left > 0 &&
           step(w, hyv_value_bytes(w->value->type), get_float(w->value->type, w->at, out));
}

bool hyv_walk_string(hyv_walk *w, const char **text, size_t *length)
{
    if (w->left <= 0 || w->value->type != HYV_VALUE_STRING)
        return false;
    *length = (size_t)read_bytes(w->at, 8);
    *text = (const char *)w->at + 8;
    return step(w, 8 + *length, true);
}

/* ---- single values ---- */

static hyv_walk single(const hyv_metadata *m, const char *key)
{
    const hyv_value *v = hyv_metadata_find(m, key);
    return hyv_value_walk(v && !v->array ? v : NULL);
}

bool hyv_metadata_int(const hyv_metadata *m, const char *key, int64_t *out)
{
    hyv_walk w = single(m, key);
    return hyv_walk_int(&w, out);
}

bool hyv_metadata_float(const hyv_metadata *m, const char *key, double *out)
{
    hyv_walk w = single(m, key);
    return hyv_walk_float(&w, out);
}

bool hyv_metadata_string(const hyv_metadata *m, const char *key, const char **text, size_t *length)
{
    hyv_walk w = single(m, key);
    return hyv_walk_string(&w, text, length);
}

bool hyv_metadata_equals(const hyv_metadata *m, const char *key, const char *text)
{
    const char *found;
    size_t length;
    return hyv_metadata_string(m, key, &found, &length) && length == strlen(text) &&
           memcmp(found, text, length) == 0;
}

/* ---- filling ---- */

int hyv_metadata_add(hyv_metadata *m, const hyv_value *value, const char *key, size_t key_bytes)
{
    if (m->count == m->capacity) {
        const size_t capacity = m->capacity ? 2 * m->capacity : 64;
        hyv_value *list = hyv_realloc(m->list, capacity, sizeof(*list));
        if (!list)
            return -ENOMEM;
        m->list = list;
        m->capacity = capacity;
    }
    char *copy = hyv_strndup(key, key_bytes);
    if (!copy)
        return -ENOMEM;
    m->list[m->count] = *value;
    m->list[m->count++].key = copy;
    return 0;
}

const char *hyv_metadata_sort(hyv_metadata *m)
{
    if (m->count)
        qsort(m->list, m->count, sizeof(*m->list), compare_values);
    for (size_t i = 1; i < m->count; i++)
        if (strcmp(m->list[i - 1].key, m->list[i].key) == 0)
            return m->list[i].key;
    return NULL;
}

void hyv_metadata_free(hyv_metadata *m)
{
    for (size_t i = 0; i < m->count; i++)
        hyv_free_host(m->list[i].key);
    hyv_free_host(m->list);
    *m = (hyv_metadata){0};
}
