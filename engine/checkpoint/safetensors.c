/* Reads the safetensors container.
 *
 * Layout and rules follow the format's published description (huggingface/safetensors README): 8
 * bytes of header length, a JSON header, one dense buffer that the tensors cover exactly, without
 * holes or overlap. Everything is checked before a tensor is listed; values are not looked at.
 * Knows nothing of names or models.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../base/json.h"
#include "checkpoint.h"

enum {
    LENGTH_BYTES = 8,
    HEADER_BYTES_MAX = 100000000,
    HEADER_DEPTH_MAX = 4,
    QUANTISATION_DEPTH_MAX = 8
};

/* Element types by their tags. HYV_TYPES: known to the format, not to this engine. */
static const struct dtype {
    const char *tag;
    size_t bits;
    hyv_type type;
} dtypes[] = {
    {"F32", 32, HYV_F32},
    {"F16", 16, HYV_F16},
    {"BF16", 16, HYV_BF16},
    {"F8_E4M3", 8, HYV_F8_E4M3},
    {"F8_E5M2", 8, HYV_F8_E5M2},
    {"F64", 64, HYV_F64},
    {"I8", 8, HYV_I8},
    {"U8", 8, HYV_U8},
    {"I16", 16, HYV_I16},
    {"I32", 32, HYV_I32},
    {"I64", 64, HYV_I64},
    {"BOOL", 8, HYV_BOOL},
    {"U16", 16, HYV_TYPES},
    {"U32", 32, HYV_TYPES},
    {"U64", 64, HYV_TYPES},
    {"C64", 64, HYV_TYPES},
    {"F8_E8M0", 8, HYV_TYPES},
    {"F8_E4M3FNUZ", 8, HYV_TYPES},
    {"F8_E5M2FNUZ", 8, HYV_TYPES},
    {"F6_E2M3", 6, HYV_TYPES},
    {"F6_E3M2", 6, HYV_TYPES},
    {"F4", 4, HYV_TYPES},
};

/* One tensor of the header. */
struct item {
    const char *name; /* in the JSON document */
    const struct dtype *dtype;
    int rank;
    int64_t shape[HYV_TENSOR_RANK_MAX];
    uint64_t begin, end;
};

struct header {
    const char *path;
    hyv_log *log;
    struct item *items;
    size_t count;
};

static uint64_t header_length(const hyv_map *map)
{
    uint64_t n = 0;
    for (int i = 0; i < LENGTH_BYTES; i++)
        n |= (uint64_t)map->data[i] << 8 * i;
    return n;
}

/* A JSON text could have its brace there, too: then it begins with another, a length beyond any. */
static int probe(const hyv_map *map)
{
    return map->size > LENGTH_BYTES && map->data[LENGTH_BYTES] == '{' &&
           (map->data[0] != '{' || header_length(map) <= HEADER_BYTES_MAX);
}

/* A member that must be an array of integers >= 0, at most `max` of them. */
static int read_integers(const struct header *h, const char *name, const char *key,
                         const json_t *array, size_t max, int64_t *values)
{
    const size_t n = json_array_size(array);
    if (!json_is_array(array) || n > max)
        return hyv_log_error(h->log, -EBADMSG,
                             "%s: tensor '%s': '%s' is not an array of at most %zu integers",
                             h->path, name, key, max);
    for (size_t i = 0; i < n; i++) {
        const json_t *value = json_array_get(array, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return hyv_log_error(h->log, -EBADMSG,
                                 "%s: tensor '%s': '%s' holds something else than integers >= 0",
                                 h->path, name, key);
        values[i] = json_integer_value(value);
    }
    return (int)n;
}

/* Bytes of a tensor of this shape; false if that overflows or is no whole number. */
static bool shape_bytes(const struct item *item, uint64_t *bytes)
{
    size_t bits = item->dtype->bits;
    bool empty = false;
    for (int i = 0; i < item->rank; i++)
        empty |= item->shape[i] == 0;
    for (int i = 0; i < item->rank && !empty; i++)
        if (!hyv_mul_size(bits, (size_t)item->shape[i], &bits))
            return false;
    *bytes = empty ? 0 : bits / 8;
    return empty || bits % 8 == 0;
}

static const struct dtype *find_dtype(const char *tag)
{
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (strcmp(dtypes[i].tag, tag) == 0)
            return &dtypes[i];
    return NULL;
}

static int read_item(const struct header *h, struct item *item, const char *name, json_t *entry)
{
    const char *tag = json_string_value(json_object_get(entry, "dtype"));
    const json_t *shape = json_object_get(entry, "shape");
    const json_t *offsets = json_object_get(entry, "data_offsets");
    if (!tag || !shape || !offsets || json_object_size(entry) != 3)
        return hyv_log_error(h->log, -EBADMSG,
                             "%s: tensor '%s' must have dtype, shape, data_offsets, and no more",
                             h->path, name);
    *item = (struct item){.name = name, .dtype = find_dtype(tag)};
    if (!item->dtype)
        return hyv_log_error(h->log, -EBADMSG, "%s: tensor '%s' has the unknown type '%s'", h->path,
                             name, tag);
    item->rank = read_integers(h, name, "shape", shape, HYV_TENSOR_RANK_MAX, item->shape);
    if (item->rank < 0)
        return item->rank;
    int64_t range[2] = {0, 0};
    const int n = read_integers(h, name, "data_offsets", offsets, 2, range);
    if (n < 0)
        return n;
    if (n != 2 || range[0] > range[1])
        return hyv_log_error(h->log, -EBADMSG, "%s: tensor '%s': data_offsets are not a range",
                             h->path, name);
    item->begin = (uint64_t)range[0];
    item->end = (uint64_t)range[1];
    uint64_t bytes;
    if (!shape_bytes(item, &bytes))
        return hyv_log_error(h->log, -EBADMSG, "%s: tensor '%s' has an impossible shape", h->path,
                             name);
    if (bytes != item->end - item->begin)
        return hyv_log_error(
            h->log, -EBADMSG,
            "%s: tensor '%s': its shape in %s takes %llu bytes, its range has %llu", h->path, name,
            tag, (unsigned long long)bytes, (unsigned long long)(item->end - item->begin));
    return 0;
}

/* ComfyUI's account of how layers are quantised, itself JSON in a string; of the kinds it knows
 * only fp8 is read here. */
static int check_quantisation(const struct header *h, const char *text)
{
    hyv_json doc;
    const char *layer, *format = "";
    json_t *entry;
    int err = hyv_json_parse(&doc, text, strlen(text), QUANTISATION_DEPTH_MAX, h->path, h->log);
    if (err)
        return err;
    json_object_foreach(json_object_get(doc.root, "layers"), layer, entry)
    {
        err = hyv_json_string(&doc, entry, "format", &format);
        if (err > 0 && strcmp(format, "float8_e4m3fn") != 0 && strcmp(format, "float8_e5m2") != 0)
            err = hyv_log_error(h->log, -ENOTSUP,
                                "%s: layer '%s' is quantised as '%s', which is not read here",
                                h->path, layer, format);
        if (err < 0)
            break;
    }
    hyv_json_close(&doc);
    return err < 0 ? err : 0;
}

static int check_metadata(const struct header *h, json_t *metadata)
{
    const char *key;
    json_t *value;
    json_object_foreach(metadata, key, value)
    {
        if (!json_is_string(value))
            break;
    }
    if (!json_is_object(metadata) || key)
        return hyv_log_error(h->log, -EBADMSG, "%s: '__metadata__' is not an object of strings",
                             h->path);
    const char *layers = json_string_value(json_object_get(metadata, "_quantization_metadata"));
    return layers ? check_quantisation(h, layers) : 0;
}

static int read_items(struct header *h, json_t *root)
{
    const char *name;
    json_t *entry;
    json_object_foreach(root, name, entry)
    {
        int err;
        if (strcmp(name, "__metadata__") == 0)
            err = check_metadata(h, entry);
        else
            err = read_item(h, &h->items[h->count++], name, entry);
        if (err)
            return err;
    }
    return 0;
}

static int by_range(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end == y->end ? 0 : x->end < y->end ? -1 : 1;
}

/* The tensors, sorted, must cover the data section from its first to its last byte. */
static int check_cover(const struct header *h, uint64_t data_bytes)
{
    uint64_t at = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct item *item = &h->items[i];
        if (item->begin != at)
            return hyv_log_error(h->log, -EBADMSG,
                                 "%s: tensor '%s' begins at byte %llu of the data, not at %llu: %s",
                                 h->path, item->name, (unsigned long long)item->begin,
                                 (unsigned long long)at,
                                 item->begin > at ? "a hole" : "an overlap");
        at = item->end;
    }
    if (at > data_bytes)
        return hyv_log_error(h->log, -EBADMSG,
                             "%s: truncated: its tensors take %llu bytes, %llu are there", h->path,
                             (unsigned long long)at, (unsigned long long)data_bytes);
    if (at < data_bytes)
        return hyv_log_error(h->log, -EBADMSG,
                             "%s: %llu bytes after the last tensor belong to none", h->path,
                             (unsigned long long)(data_bytes - at));
    return 0;
}

static int add_items(const struct header *h, hyv_checkpoint *c, const uint8_t *data)
{
    enum { NAMED = 3 };
    int unknown = 0;
    for (size_t i = 0; i < h->count; i++) {
        const struct item *item = &h->items[i];
        if (item->dtype->type == HYV_TYPES) {
            if (unknown++ < NAMED)
                hyv_log_write(h->log, HYV_LEVEL_WARNING,
                              "%s: tensor '%s' has type %s, which this build does not use: ignored",
                              h->path, item->name, item->dtype->tag);
            continue;
        }
        hyv_tensor t = {.name = item->name,
                        .type = item->dtype->type,
                        .rank = item->rank,
                        .data = data + item->begin,
                        .size_bytes = (size_t)(item->end - item->begin)};
        memcpy(t.shape, item->shape, sizeof(t.shape));
        t.count = (int64_t)(t.size_bytes / (item->dtype->bits / 8));
        const int err = hyv_checkpoint_add(c, &t, h->path, h->log);
        if (err)
            return err;
    }
    if (unknown > NAMED)
        hyv_log_write(h->log, HYV_LEVEL_WARNING, "%s: %d more tensors were ignored for their types",
                      h->path, unknown - NAMED);
    return 0;
}

static int read_header(hyv_checkpoint *c, const hyv_map *map, struct header *h, json_t *root,
                       uint64_t length)
{
    const size_t count = json_object_size(root);
    if (count > (size_t)HYV_TENSORS_MAX + 1) /* one may be the metadata */
        return hyv_log_error(h->log, -EBADMSG, "%s: more than %d tensors", h->path,
                             HYV_TENSORS_MAX);
    h->items = hyv_malloc(count, sizeof(*h->items));
    if (!h->items)
        return hyv_log_error(h->log, -ENOMEM, "%s: not enough memory for its list of tensors",
                             h->path);
    int err = read_items(h, root);
    if (err)
        return err;
    qsort(h->items, h->count, sizeof(*h->items), by_range);
    err = check_cover(h, map->size - LENGTH_BYTES - length);
    return err ? err : add_items(h, c, map->data + LENGTH_BYTES + length);
}

static int open_safetensors(hyv_checkpoint *c, const hyv_map *map, const char *path, hyv_log *log)
{
    const uint64_t length = header_length(map); /* probe() has seen 9 bytes */
    if (length < 2 || length > HEADER_BYTES_MAX)
        return hyv_log_error(log, -EBADMSG, "%s: a header of %llu bytes, not 2 to %d", path,
                             (unsigned long long)length, HEADER_BYTES_MAX);
    if (length > map->size - LENGTH_BYTES)
        return hyv_log_error(log, -EBADMSG,
                             "%s: truncated: its header takes %llu bytes, %zu are there", path,
                             (unsigned long long)length, map->size - LENGTH_BYTES);
    hyv_json doc;
    struct header h = {.path = path, .log = log};
    int err = hyv_json_parse(&doc, (const char *)map->data + LENGTH_BYTES, (size_t)length,
                             HEADER_DEPTH_MAX, path, log);
    if (err)
        return err;
    err = read_header(c, map, &h, doc.root, length);
    hyv_free_host(h.items);
    hyv_json_close(&doc);
    return err;
}

const hyv_reader hyv_reader_safetensors = {"safetensors", probe, open_safetensors};
