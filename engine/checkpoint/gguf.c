/* Reads the GGUF container, versions 2 and 3.
 *
 * Layout follows ggml's gguf.md: a header, keys with values, tensor descriptions, then data at
 * aligned offsets. Sizes of a tensor come fastest first and are turned round; blocks of quantised
 * types lie along the fastest one. Everything is checked before a tensor is listed. Knows of models
 * only two conventions of converters: `orig_shape` keys, and the order of a Llama's q and k rows.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "writer.h"

enum {
    VERSION_MIN = 2,
    VERSION_MAX = 3,
    COUNT_MAX = 65536, /* of keys, of tensors */
    VALUE_BYTES_MIN = 13,
    TENSOR_BYTES_MIN = 24,
    KEY_BYTES_MAX = 65535,
    STRING_BYTES_MAX = 16 << 20,
    ELEMENTS_MAX = 1 << 24, /* of an array */
    RANK_MAX = 5,
    ALIGNMENT_DEFAULT = 32,
    ALIGNMENT_MIN = 8
};

/* Element types by their numbers. HYV_TYPES: known to the format, not to this engine. */
static const struct kind {
    const char *name; /* NULL: no such number, or one that was withdrawn */
    hyv_type type;
} kinds[] = {
    [0] = {"F32", HYV_F32},        [1] = {"F16", HYV_F16},        [2] = {"Q4_0", HYV_Q4_0},
    [3] = {"Q4_1", HYV_Q4_1},      [6] = {"Q5_0", HYV_Q5_0},      [7] = {"Q5_1", HYV_Q5_1},
    [8] = {"Q8_0", HYV_Q8_0},      [9] = {"Q8_1", HYV_TYPES},     [10] = {"Q2_K", HYV_Q2_K},
    [11] = {"Q3_K", HYV_Q3_K},     [12] = {"Q4_K", HYV_Q4_K},     [13] = {"Q5_K", HYV_Q5_K},
    [14] = {"Q6_K", HYV_Q6_K},     [15] = {"Q8_K", HYV_TYPES},    [16] = {"IQ2_XXS", HYV_TYPES},
    [17] = {"IQ2_XS", HYV_TYPES},  [18] = {"IQ3_XXS", HYV_TYPES}, [19] = {"IQ1_S", HYV_TYPES},
    [20] = {"IQ4_NL", HYV_IQ4_NL}, [21] = {"IQ3_S", HYV_TYPES},   [22] = {"IQ2_S", HYV_TYPES},
    [23] = {"IQ4_XS", HYV_IQ4_XS}, [24] = {"I8", HYV_I8},         [25] = {"I16", HYV_I16},
    [26] = {"I32", HYV_I32},       [27] = {"I64", HYV_I64},       [28] = {"F64", HYV_F64},
    [29] = {"IQ1_M", HYV_TYPES},   [30] = {"BF16", HYV_BF16},     [34] = {"TQ1_0", HYV_TYPES},
    [35] = {"TQ2_0", HYV_TYPES},   [39] = {"MXFP4", HYV_TYPES},   [40] = {"NVFP4", HYV_TYPES},
    [41] = {"Q1_0", HYV_TYPES},    [42] = {"Q2_0", HYV_TYPES},
};

int hyv_gguf_number(hyv_type type)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (kinds[i].name && kinds[i].type == type && type != HYV_TYPES)
            return (int)i;
    return -1;
}

/* Where reading stands. The first failure is logged and stays in err. */
typedef struct cursor {
    const uint8_t *data;
    uint64_t size, at;
    const char *path;
    hyv_log *log;
    int err;
} cursor;

/* A tensor's description; its name lies in the map. */
typedef struct item {
    const char *name;
    int name_bytes;
    uint32_t kind;
    int rank;
    int64_t shape[RANK_MAX]; /* slowest first */
    uint64_t offset, bytes;
} item;

/* True if n more bytes are there. */
static bool there(cursor *c, uint64_t n, const char *what)
{
    if (c->err)
        return false;
    if (n <= c->size - c->at)
        return true;
    c->err = hyv_log_error(c->log, -EBADMSG,
                           "%s: truncated: %s at byte %llu takes %llu bytes, %llu are there",
                           c->path, what, (unsigned long long)c->at, (unsigned long long)n,
                           (unsigned long long)(c->size - c->at));
    return false;
}

static uint64_t read_number(cursor *c, size_t bytes, const char *what)
{
    uint64_t v = 0;
    if (!there(c, bytes, what))
        return 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint64_t)c->data[c->at + i] << 8 * i;
    c->at += bytes;
    return v;
}

/* A string of `least` to `most` bytes; points into the map. */
static const char *read_string(cursor *c, uint64_t least, uint64_t most, const char *what,
                               size_t *length)
{
    const uint64_t n = read_number(c, 8, what);
    *length = 0;
    if (c->err)
        return "";
    if (n < least || n > most) {
        c->err =
            hyv_log_error(c->log, -EBADMSG, "%s: %s at byte %llu has %llu bytes, not %llu to %llu",
                          c->path, what, (unsigned long long)(c->at - 8), (unsigned long long)n,
                          (unsigned long long)least, (unsigned long long)most);
        return "";
    }
    if (!there(c, n, what))
        return "";
    const char *text = (const char *)c->data + c->at;
    c->at += n;
    *length = (size_t)n;
    return text;
}

/* The same for names: UTF-8 without NUL. */
static const char *read_name(cursor *c, uint64_t most, const char *what, size_t *length)
{
    const char *text = read_string(c, 1, most, what, length);
    if (!c->err && (memchr(text, 0, *length) || hyv_utf8_check(text, *length) != *length))
        c->err = hyv_log_error(c->log, -EBADMSG, "%s: %s before byte %llu is not UTF-8 text",
                               c->path, what, (unsigned long long)c->at);
    return text;
}

/* ---- keys and values ---- */

static void refuse_value(cursor *c, const char *key, int key_bytes, const char *why,
                         uint64_t number)
{
    c->err = hyv_log_error(c->log, -EBADMSG, "%s: key '%.*s': %s %llu", c->path, key_bytes, key,
                           why, (unsigned long long)number);
}

/* Passes over the elements of a value, checking them. */
static void read_elements(cursor *c, const hyv_value *v, const char *key, int key_bytes)
{
    const size_t bytes = hyv_value_bytes(v->type);
    size_t length;
    for (int64_t i = 0; i < v->count && v->type == HYV_VALUE_STRING && !c->err; i++)
        read_string(c, 0, STRING_BYTES_MAX, "a string", &length);
    if (bytes && there(c, (uint64_t)v->count * bytes, "a value")) {
        for (int64_t i = 0; i < v->count && v->type == HYV_VALUE_BOOL && !c->err; i++)
            if (c->data[c->at + (uint64_t)i] > 1)
                refuse_value(c, key, key_bytes, "a boolean is neither 0 nor 1 but",
                             c->data[c->at + (uint64_t)i]);
        c->at += (uint64_t)v->count * bytes;
    }
}

static void read_value(cursor *c, hyv_metadata *m)
{
    size_t length;
    const char *key = read_name(c, KEY_BYTES_MAX, "a key", &length);
    const int shown = length < 100 ? (int)length : 100; /* of the key, in messages */
    uint64_t type = read_number(c, 4, "a value's type");
    hyv_value v = {.array = type == HYV_VALUE_ARRAY, .count = 1};
    if (v.array && !c->err) {
        type = read_number(c, 4, "an array's type");
        const uint64_t count = read_number(c, 8, "an array's length");
        const size_t least = type == HYV_VALUE_STRING ? 8 : hyv_value_bytes((uint32_t)type);
        if (!c->err && count > ELEMENTS_MAX)
            refuse_value(c, key, shown, "an array of more than 16777216 elements:", count);
        else if (least)
            there(c, count * least, "an array");
        v.count = (int64_t)count;
    }
    if (!c->err && type != HYV_VALUE_STRING && !hyv_value_bytes((uint32_t)type))
        refuse_value(c, key, shown,
                     v.array ? "an array of values of type" : "a value of the unknown type", type);
    if (c->err)
        return;
    v.type = (enum hyv_value_type)type;
    v.data = c->data + c->at;
    read_elements(c, &v, key, shown);
    if (!c->err && hyv_metadata_add(m, &v, key, length) < 0)
        c->err = hyv_log_error(c->log, -ENOMEM, "%s: not enough memory for its keys", c->path);
}

static void read_values(cursor *c, hyv_metadata *m, uint64_t count)
{
    for (uint64_t i = 0; i < count && !c->err; i++)
        read_value(c, m);
    const char *twice = c->err ? NULL : hyv_metadata_sort(m);
    if (twice)
        c->err = hyv_log_error(c->log, -EBADMSG, "%s: key '%.100s' stands twice", c->path, twice);
}

/* Of the data section and every offset in it. */
static uint64_t find_alignment(cursor *c, const hyv_metadata *m)
{
    const hyv_value *v = hyv_metadata_find(m, "general.alignment");
    int64_t n = ALIGNMENT_DEFAULT;
    if (!c->err && v &&
        (v->array || v->type != HYV_VALUE_U32 || !hyv_metadata_int(m, v->key, &n) ||
         n < ALIGNMENT_MIN || (n & (n - 1)) != 0))
        c->err = hyv_log_error(c->log, -EBADMSG,
                               "%s: 'general.alignment' is not a 32-bit power of two from %d on",
                               c->path, ALIGNMENT_MIN);
    return (uint64_t)n;
}

/* ---- tensors ---- */

static void refuse_tensor(cursor *c, const item *t, int err, const char *why)
{
    if (!c->err)
        c->err = hyv_log_error(c->log, err, "%s: tensor '%.*s' %s", c->path, t->name_bytes, t->name,
                               why);
}

static void refuse_kind(cursor *c, const item *t)
{
    const char *name = t->kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[t->kind].name : NULL;
    c->err = hyv_log_error(c->log, -ENOTSUP,
                           "%s: tensor '%.*s' has type %lu (%s); F32, F16, BF16, Q4_0, Q4_1, Q5_0, "
                           "Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS are read",
                           c->path, t->name_bytes, t->name, (unsigned long)t->kind,
                           name ? name : "unknown");
}

/* Elements of the shape, 0 if they are none or too many. */
static int64_t count_elements(const int64_t *shape, int rank)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 1 || n > INT64_MAX / shape[i])
            return 0;
        n *= shape[i];
    }
    return n;
}

static void read_tensor(cursor *c, item *t, uint64_t alignment)
{
    size_t length;
    t->name = read_name(c, HYV_TENSOR_NAME_MAX, "a tensor's name", &length);
    t->name_bytes = (int)length;
    const uint64_t rank = read_number(c, 4, "a tensor's rank");
    if (!c->err && rank > RANK_MAX)
        refuse_tensor(c, t, -EBADMSG, "has more than 5 dimensions");
    t->rank = c->err ? 0 : (int)rank;
    for (int i = t->rank - 1; i >= 0; i--) {
        const uint64_t size = read_number(c, 8, "a tensor's size");
        t->shape[i] = size <= INT64_MAX ? (int64_t)size : 0;
    }
    t->kind = (uint32_t)read_number(c, 4, "a tensor's type");
    t->offset = read_number(c, 8, "a tensor's offset");
    const int64_t count = count_elements(t->shape, t->rank);
    if (c->err)
        return;
    if (t->kind >= sizeof(kinds) / sizeof(kinds[0]) || !kinds[t->kind].name ||
        kinds[t->kind].type == HYV_TYPES) {
        refuse_kind(c, t);
        return;
    }
    const hyv_type type = kinds[t->kind].type;
    if (count < 1)
        refuse_tensor(c, t, -EBADMSG, "has an impossible shape");
    else if ((t->rank ? t->shape[t->rank - 1] : 1) % hyv_type_block(type) != 0)
        refuse_tensor(c, t, -EBADMSG, "has rows that are no whole blocks of its type");
    else if ((t->bytes = hyv_type_size(type, count)) == 0)
        refuse_tensor(c, t, -EBADMSG, "is too large");
    else if (t->offset % alignment != 0)
        refuse_tensor(c, t, -EBADMSG, "begins at an unaligned offset");
}

static int by_offset(const void *a, const void *b)
{
    const item *x = a, *y = b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Tensors lie inside the file and apart; the list is sorted by offset. */
static void check_ranges(cursor *c, item *items, uint64_t count, uint64_t start)
{
    const uint64_t room = start <= c->size ? c->size - start : 0;
    qsort(items, (size_t)count, sizeof(*items), by_offset);
    for (uint64_t i = 0; i < count && !c->err; i++) {
        const item *t = &items[i];
        if (i && t->offset - items[i - 1].offset < items[i - 1].bytes)
            c->err =
                hyv_log_error(c->log, -EBADMSG, "%s: tensors '%.*s' and '%.*s' overlap", c->path,
                              items[i - 1].name_bytes, items[i - 1].name, t->name_bytes, t->name);
        else if (t->offset > room || t->bytes > room - t->offset)
            c->err = hyv_log_error(c->log, -EBADMSG,
                                   "%s: truncated: tensor '%.*s' takes %llu bytes at %llu of the "
                                   "data, which have %llu",
                                   c->path, t->name_bytes, t->name, (unsigned long long)t->bytes,
                                   (unsigned long long)t->offset, (unsigned long long)room);
    }
}

/* `comfy.gguf.orig_shape.NAME`: the shape that a tensor had before it was written with another. */
static void restore_shape(cursor *c, const item *t, const hyv_metadata *m, hyv_tensor *tensor)
{
    static const char prefix[] = "comfy.gguf.orig_shape.";
    char key[sizeof(prefix) + HYV_TENSOR_NAME_MAX];
    memcpy(key, prefix, sizeof(prefix));
    memcpy(key + sizeof(prefix) - 1, t->name, (size_t)t->name_bytes);
    key[sizeof(prefix) - 1 + (size_t)t->name_bytes] = 0;
    const hyv_value *v = hyv_metadata_find(m, key);
    if (!v)
        return;
    hyv_walk w = hyv_value_walk(v);
    int64_t shape[HYV_TENSOR_RANK_MAX];
    int rank = 0;
    while (rank < HYV_TENSOR_RANK_MAX && hyv_walk_int(&w, &shape[rank]))
        rank++;
    if (w.left || count_elements(shape, rank) != tensor->count) {
        refuse_tensor(c, t, -EBADMSG, "has an 'orig_shape' of another size");
        return;
    }
    tensor->rank = rank;
    memcpy(tensor->shape, shape, sizeof(shape[0]) * (size_t)rank);
}

/* The converter for Llamas writes the rows of q and k as rotary pairs. */
static bool has_pairs(const char *name, bool llama)
{
    const size_t n = strlen(name);
    static const char *const tails[] = {".attn_q.weight", ".attn_k.weight", ".attn_q.bias",
                                        ".attn_k.bias"};
    for (size_t i = 0; llama && i < sizeof(tails) / sizeof(tails[0]); i++)
        if (n > strlen(tails[i]) && strcmp(name + n - strlen(tails[i]), tails[i]) == 0)
            return true;
    return false;
}

static void add_tensor(cursor *c, hyv_checkpoint *checkpoint, const item *t, uint64_t start)
{
    const hyv_metadata *m = hyv_checkpoint_metadata(checkpoint);
    char name[HYV_TENSOR_NAME_MAX + 1];
    memcpy(name, t->name, (size_t)t->name_bytes);
    name[t->name_bytes] = 0;
    hyv_tensor tensor = {.name = name,
                         .type = kinds[t->kind].type,
                         .rank = t->rank,
                         .count = count_elements(t->shape, t->rank),
                         .data = c->data + start + t->offset,
                         .size_bytes = (size_t)t->bytes};
    memcpy(tensor.shape, t->shape, sizeof(t->shape));
    tensor.pairs = has_pairs(name, hyv_metadata_equals(m, "general.architecture", "llama"));
    restore_shape(c, t, m, &tensor);
    if (!c->err)
        c->err = hyv_checkpoint_add(checkpoint, &tensor, c->path, c->log);
}

static void read_tensors(cursor *c, hyv_checkpoint *checkpoint, uint64_t count, uint64_t alignment)
{
    if (c->err)
        return;
    item *items = hyv_calloc((size_t)count, sizeof(*items));
    if (!items) {
        c->err = hyv_log_error(c->log, -ENOMEM, "%s: not enough memory for its list of tensors",
                               c->path);
        return;
    }
    for (uint64_t i = 0; i < count && !c->err; i++)
        read_tensor(c, &items[i], alignment);
    const uint64_t start = (c->at + alignment - 1) / alignment * alignment;
    if (!c->err)
        check_ranges(c, items, count, start);
    for (uint64_t i = 0; i < count && !c->err; i++)
        add_tensor(c, checkpoint, &items[i], start);
    hyv_free_host(items);
}

/* ---- the file ---- */

static int probe(const hyv_map *map)
{
    return map->size >= 4 && memcmp(map->data, "GGUF", 4) == 0;
}

static void check_version(cursor *c, uint64_t version)
{
    if (c->err || (version >= VERSION_MIN && version <= VERSION_MAX))
        return;
    if ((version & 0xffff) == 0)
        c->err = hyv_log_error(c->log, -ENOTSUP,
                               "%s: a big-endian GGUF file: convert it to little-endian", c->path);
    else
        c->err =
            hyv_log_error(c->log, -ENOTSUP, "%s: GGUF version %llu; versions %d and %d are read",
                          c->path, (unsigned long long)version, VERSION_MIN, VERSION_MAX);
}

/* No more things than the limit and than fit into the file. */
static void check_count(cursor *c, uint64_t count, uint64_t bytes_min, const char *what)
{
    if (!c->err && (count > COUNT_MAX || count > (c->size - c->at) / bytes_min))
        c->err = hyv_log_error(c->log, -EBADMSG,
                               "%s: says that it has %llu %s, more than %d or than its size allows",
                               c->path, (unsigned long long)count, what, COUNT_MAX);
}

static void check_split(cursor *c, const hyv_metadata *m)
{
    int64_t parts = 1;
    if (!c->err && hyv_metadata_int(m, "split.count", &parts) && parts > 1)
        c->err = hyv_log_error(c->log, -ENOTSUP,
                               "%s: one of %lld parts of a split GGUF file: merge them first",
                               c->path, (long long)parts);
}

static int open_gguf(hyv_checkpoint *checkpoint, const hyv_map *map, const char *path, hyv_log *log)
{
    cursor c = {map->data, map->size, 4, path, log, 0};
    hyv_metadata *m = hyv_checkpoint_metadata(checkpoint);
    check_version(&c, read_number(&c, 4, "the version"));
    const uint64_t tensors = read_number(&c, 8, "the number of tensors");
    const uint64_t values = read_number(&c, 8, "the number of keys");
    check_count(&c, values, VALUE_BYTES_MIN, "keys");
    check_count(&c, tensors, TENSOR_BYTES_MIN, "tensors");
    read_values(&c, m, values);
    const uint64_t alignment = find_alignment(&c, m);
    check_split(&c, m);
    read_tensors(&c, checkpoint, tensors, alignment);
    return c.err;
}

const hyv_reader hyv_reader_gguf = {"GGUF", probe, open_gguf};
