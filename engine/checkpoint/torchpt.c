/* Reads PyTorch's zip files (.pt, .pth, .bin, .ckpt of torch.save since 1.6).
 *
 * Follows torch/serialization.py: an archive of one folder with `data.pkl`, a pickle that describes
 * the tensors, and `data/KEY`, their storages as they are in memory. The pickle is read as inert
 * data (pickle.h) and the symbols below stand for what they describe; nothing is called. Tensors
 * stay views into the mapped storages, which several may share. Knows nothing of names or models.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "checkpoint.h"
#include "pickle.h"
#include "zip.h"

enum { PICKLE_BYTES_MAX = 64 << 20, KEY_BYTES_MAX = 64, STATE_DEPTH_MAX = 4 };

/* Symbols that describe tensors; a storage's or element's type is HYV_TYPES if this engine has no
 * use for it, and HYV_U8 for bytes whose type the tensor tells. */
enum meaning { ORDERED_DICT, SIZE, TENSOR, TENSOR_TYPED, PARAMETER, STORAGE, BYTES, ELEMENT };

static const struct symbol {
    const char *name;
    enum meaning meaning;
    hyv_type type;
} symbols[] = {
    {"collections OrderedDict", ORDERED_DICT, HYV_TYPES},
    {"torch Size", SIZE, HYV_TYPES},
    {"torch._utils _rebuild_tensor", TENSOR, HYV_TYPES},
    {"torch._utils _rebuild_tensor_v2", TENSOR, HYV_TYPES},
    {"torch._utils _rebuild_tensor_v3", TENSOR_TYPED, HYV_TYPES},
    {"torch._utils _rebuild_parameter", PARAMETER, HYV_TYPES},
    {"torch FloatStorage", STORAGE, HYV_F32},
    {"torch DoubleStorage", STORAGE, HYV_F64},
    {"torch HalfStorage", STORAGE, HYV_F16},
    {"torch BFloat16Storage", STORAGE, HYV_BF16},
    {"torch LongStorage", STORAGE, HYV_I64},
    {"torch IntStorage", STORAGE, HYV_I32},
    {"torch ShortStorage", STORAGE, HYV_I16},
    {"torch CharStorage", STORAGE, HYV_I8},
    {"torch ByteStorage", STORAGE, HYV_U8},
    {"torch BoolStorage", STORAGE, HYV_BOOL},
    {"torch UntypedStorage", BYTES, HYV_U8},
    {"torch.storage UntypedStorage", BYTES, HYV_U8},
    {"torch float32", ELEMENT, HYV_F32},
    {"torch float64", ELEMENT, HYV_F64},
    {"torch float16", ELEMENT, HYV_F16},
    {"torch bfloat16", ELEMENT, HYV_BF16},
    {"torch int64", ELEMENT, HYV_I64},
    {"torch int32", ELEMENT, HYV_I32},
    {"torch int16", ELEMENT, HYV_I16},
    {"torch int8", ELEMENT, HYV_I8},
    {"torch uint8", ELEMENT, HYV_U8},
    {"torch bool", ELEMENT, HYV_BOOL},
    {"torch float8_e4m3fn", ELEMENT, HYV_F8_E4M3},
    {"torch float8_e5m2", ELEMENT, HYV_F8_E5M2},
    {"torch float8_e4m3fnuz", ELEMENT, HYV_TYPES},
    {"torch float8_e5m2fnuz", ELEMENT, HYV_TYPES},
    {"torch float8_e8m0fnu", ELEMENT, HYV_TYPES},
    {"torch uint16", ELEMENT, HYV_TYPES},
    {"torch uint32", ELEMENT, HYV_TYPES},
    {"torch uint64", ELEMENT, HYV_TYPES},
};

enum { SYMBOLS = sizeof(symbols) / sizeof(symbols[0]) };

typedef struct file {
    hyv_checkpoint *c;
    const char *path;
    hyv_log *log;
    hyv_zip zip;
    hyv_pickle pickle;
    char folder[HYV_ZIP_NAME_MAX + 1]; /* of every entry */
} file;

/* A tensor as the pickle describes it; everything still to be checked. */
typedef struct description {
    char name[HYV_TENSOR_NAME_MAX + 1];
    const hyv_pickle_value *storage, *offset, *sizes, *strides;
    hyv_type type; /* of the elements; HYV_TYPES: not read here */
} description;

static int bad(const file *f, const description *d, const char *what)
{
    return hyv_log_error(f->log, -EBADMSG, "%s: tensor '%s' %s", f->path, d->name, what);
}

/* ---- the archive ----------------------------------------------------------------------------- */

static const hyv_zip_entry *find_entry(const file *f, const char *name)
{
    char full[HYV_ZIP_NAME_MAX + KEY_BYTES_MAX + 16];
    snprintf(full, sizeof(full), "%s/%s", f->folder, name);
    return hyv_zip_find(&f->zip, full);
}

/* The folder of the only data.pkl; writers name it after the file, or "archive". */
static int find_folder(file *f)
{
    static const char tail[] = "/data.pkl";
    const size_t k = sizeof(tail) - 1;
    int found = 0;
    for (int64_t i = 0; i < f->zip.count; i++) {
        const hyv_zip_entry *e = &f->zip.entries[i];
        const size_t n = e->name_bytes > k ? e->name_bytes - k : 0;
        if (n == 0 || memcmp(e->name + n, tail, k) != 0 || memchr(e->name, '/', n))
            continue;
        memcpy(f->folder, e->name, n);
        f->folder[n] = '\0';
        found++;
    }
    if (found == 1)
        return 0;
    return hyv_log_error(f->log, found ? -EBADMSG : -ENOTSUP,
                         "%s: a zip archive with %s data.pkl: no file of PyTorch", f->path,
                         found ? "more than one" : "no");
}

static int check_archive(const file *f)
{
    const hyv_zip_entry *order = find_entry(f, "byteorder");
    bool script = find_entry(f, "constants.pkl") != NULL;
    char code[HYV_ZIP_NAME_MAX + 8];
    const int n = snprintf(code, sizeof(code), "%s/code/", f->folder);
    for (int64_t i = 0; i < f->zip.count && !script; i++)
        script = f->zip.entries[i].name_bytes >= (size_t)n &&
                 memcmp(f->zip.entries[i].name, code, (size_t)n) == 0;
    if (script)
        return hyv_log_error(f->log, -ENOTSUP,
                             "%s: a TorchScript archive, a program rather than weights: save the "
                             "model's state dict instead",
                             f->path);
    for (int64_t i = 0; i < f->zip.count; i++) {
        const hyv_zip_entry *e = &f->zip.entries[i];
        if (e->method)
            return hyv_log_error(f->log, -ENOTSUP,
                                 "%s: zip entry '%.*s' is compressed (method %u), as PyTorch never "
                                 "leaves tensors: unpack it, or save it again with torch.save",
                                 f->path, (int)e->name_bytes, e->name, e->method);
    }
    if (order && (order->size != 6 || memcmp(order->data, "little", 6) != 0))
        return hyv_log_error(f->log, -ENOTSUP,
                             "%s: written on a machine of another byte order ('%.*s'): save it "
                             "again on a little-endian one",
                             f->path, (int)(order->size < 16 ? order->size : 16),
                             (const char *)order->data);
    return 0;
}

static int read_pickle(file *f)
{
    const char *names[SYMBOLS + 1] = {NULL};
    const hyv_zip_entry *e = find_entry(f, "data.pkl");
    if (e->size > PICKLE_BYTES_MAX)
        return hyv_log_error(f->log, -EBADMSG, "%s: its pickle has %llu bytes, at most %d are read",
                             f->path, (unsigned long long)e->size, PICKLE_BYTES_MAX);
    for (int i = 0; i < SYMBOLS; i++)
        names[i] = symbols[i].name;
    return hyv_pickle_read(&f->pickle, e->data, (size_t)e->size, names, f->path, f->log);
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The symbol that v is, or that is called; NULL if it is something else. */
static const struct symbol *symbol_of(const hyv_pickle_value *v, hyv_pickle_kind kind)
{
    return v && v->kind == kind ? &symbols[v->number] : NULL;
}

static bool describes_tensor(const hyv_pickle_value *v)
{
    const struct symbol *s = symbol_of(v, HYV_PICKLE_CALL);
    return s && (s->meaning == TENSOR || s->meaning == TENSOR_TYPED || s->meaning == PARAMETER);
}

/* Takes the arguments of a tensor's call apart; a parameter is the tensor in its first argument. */
static int describe(const file *f, description *d, const hyv_pickle_value *v)
{
    enum { WRAPPERS_MAX = 4, ARGUMENTS = 7 };
    const hyv_pickle_value *a[ARGUMENTS];
    for (int i = 0; i < WRAPPERS_MAX && describes_tensor(v); i++) {
        const struct symbol *s = symbol_of(v, HYV_PICKLE_CALL);
        hyv_pickle_items(&f->pickle, v, a, ARGUMENTS);
        if (s->meaning == PARAMETER) {
            v = a[0];
            continue;
        }
        const struct symbol *type = symbol_of(a[6], HYV_PICKLE_SYMBOL);
        d->storage = a[0];
        d->offset = a[1];
        d->sizes = a[2];
        d->strides = a[3];
        d->type = HYV_U8;
        if (s->meaning == TENSOR)
            return 0;
        if (!type || type->meaning != ELEMENT)
            return bad(f, d, "has no element type");
        d->type = type->type;
        return 1;
    }
    return bad(f, d, "is described by no tensor");
}

/* The storage's bytes in the map; *type: its elements', unless the tensor tells (`typed`). */
static int find_storage(const file *f, const description *d, bool typed, hyv_type *type,
                        const hyv_zip_entry **out)
{
    const hyv_pickle_value *a[5];
    char name[KEY_BYTES_MAX + 8];
    if (!d->storage || d->storage->kind != HYV_PICKLE_PERSISTENT)
        return bad(f, d, "has no storage");
    hyv_pickle_items(&f->pickle, d->storage, a, 5);
    const struct symbol *s = symbol_of(a[1], HYV_PICKLE_SYMBOL);
    if (!a[4] || !hyv_pickle_is(a[0], "storage") || !s || a[2]->kind != HYV_PICKLE_TEXT ||
        a[4]->kind != HYV_PICKLE_INT || (s->meaning != STORAGE && s->meaning != BYTES))
        return bad(f, d, "has a storage that is described wrongly");
    if (typed != (s->meaning == BYTES))
        return bad(f, d, "and its storage do not agree on who tells the element type");
    if (a[2]->number < 1 || a[2]->number > KEY_BYTES_MAX ||
        memchr(a[2]->text, 0, (size_t)a[2]->number))
        return bad(f, d, "has a storage without a proper key");
    snprintf(name, sizeof(name), "data/%.*s", (int)a[2]->number, a[2]->text);
    *out = find_entry(f, name);
    if (!*out)
        return hyv_log_error(f->log, -EBADMSG, "%s: tensor '%s' lies in '%s', which is not there",
                             f->path, d->name, name);
    if (!typed)
        *type = s->type;
    const uint64_t element = hyv_type_bytes(s->type);
    if (a[4]->number < 0 || (uint64_t)a[4]->number > (*out)->size / element)
        return hyv_log_error(
            f->log, -EBADMSG, "%s: tensor '%s': '%s' should hold %lld elements and has %llu bytes",
            f->path, d->name, name, (long long)a[4]->number, (unsigned long long)(*out)->size);
    return 0;
}

/* A tuple (or Size) of at most HYV_TENSOR_RANK_MAX integers >= 0; how many. */
static int read_integers(const file *f, const description *d, const hyv_pickle_value *v,
                         int64_t *values)
{
    const struct symbol *size = symbol_of(v, HYV_PICKLE_CALL);
    const hyv_pickle_value *item, *inner;
    if (size && size->meaning == SIZE) {
        hyv_pickle_items(&f->pickle, v, &inner, 1);
        v = inner;
    }
    if (!v || v->kind != HYV_PICKLE_TUPLE)
        return bad(f, d, "has a shape or strides that are no tuple");
    if (v->count > HYV_TENSOR_RANK_MAX)
        return bad(f, d, "has more dimensions than 8");
    uint32_t cell = v->first;
    for (int i = 0; (item = hyv_pickle_next(&f->pickle, &cell)); i++) {
        if (item->kind != HYV_PICKLE_INT || item->number < 0)
            return bad(f, d, "has a size or stride that is no integer >= 0");
        values[i] = item->number;
    }
    return (int)v->count;
}

/* Shape and strides; the elements must lie one after the other, slowest dimension first. */
static int read_shape(const file *f, const description *d, hyv_tensor *t)
{
    int64_t strides[HYV_TENSOR_RANK_MAX] = {0};
    const int rank = read_integers(f, d, d->sizes, t->shape);
    const int n = rank < 0 ? rank : read_integers(f, d, d->strides, strides);
    size_t count = 1;
    if (n < 0)
        return n;
    if (n != rank)
        return bad(f, d, "has not as many strides as sizes");
    t->rank = rank;
    for (int i = 0; i < rank; i++)
        if (!hyv_mul_size(count, (size_t)t->shape[i], &count) || count > INT64_MAX)
            return bad(f, d, "has an impossible shape");
    t->count = (int64_t)count;
    int64_t dense = 1;
    for (int i = rank - 1; i >= 0 && count; i--) {
        if (t->shape[i] != 1 && strides[i] != dense)
            return hyv_log_error(f->log, -ENOTSUP,
                                 "%s: tensor '%s' is a transposed or strided view: save it again "
                                 "after contiguous(), or convert the file to safetensors",
                                 f->path, d->name);
        dense *= t->shape[i];
    }
    return 0;
}

static int add_tensor(const file *f, const hyv_pickle_value *key, const hyv_pickle_value *value)
{
    const hyv_zip_entry *e = NULL;
    description d = {.type = HYV_TYPES};
    const size_t n = (size_t)key->number;
    if (key->kind != HYV_PICKLE_TEXT || n > HYV_TENSOR_NAME_MAX || memchr(key->text, 0, n))
        return hyv_log_error(f->log, -EBADMSG, "%s: a tensor's name is no text of 1 to %d bytes",
                             f->path, HYV_TENSOR_NAME_MAX);
    memcpy(d.name, key->text, n);
    const int typed = describe(f, &d, value);
    int err = typed < 0 ? typed : find_storage(f, &d, typed, &d.type, &e);
    hyv_tensor t = {.name = d.name, .type = d.type};
    if (err >= 0)
        err = read_shape(f, &d, &t);
    if (err < 0)
        return err;
    if (t.type == HYV_TYPES) {
        hyv_log_write(f->log, HYV_LEVEL_WARNING,
                      "%s: tensor '%s' has a type that this build does not use: ignored", f->path,
                      d.name);
        return 0;
    }
    const uint64_t element = hyv_type_bytes(t.type), room = e->size / element;
    if (!d.offset || d.offset->kind != HYV_PICKLE_INT || d.offset->number < 0 ||
        (uint64_t)d.offset->number > room || (uint64_t)t.count > room - (uint64_t)d.offset->number)
        return bad(f, &d, "reaches beyond its storage");
    t.data = e->data + (uint64_t)d.offset->number * element;
    t.size_bytes = (size_t)((uint64_t)t.count * element);
    return hyv_checkpoint_add(f->c, &t, f->path, f->log);
}

/* ---- the state dict -------------------------------------------------------------------------- */

static const hyv_pickle_value *member(const file *f, const hyv_pickle_value *dict, const char *key)
{
    const hyv_pickle_value *k, *v;
    uint32_t cell = dict->first;
    while ((k = hyv_pickle_next(&f->pickle, &cell)) && (v = hyv_pickle_next(&f->pickle, &cell)))
        if (hyv_pickle_is(k, key))
            return v;
    return NULL;
}

/* Training keeps the weights among other things, under one of these. */
static const hyv_pickle_value *state_dict(const file *f)
{
    static const char *const keys[] = {"module", "model", "state_dict"};
    const hyv_pickle_value *dict = hyv_pickle_root(&f->pickle);
    for (int depth = 0; depth < STATE_DEPTH_MAX && dict->kind == HYV_PICKLE_DICT; depth++) {
        const hyv_pickle_value *inner = NULL;
        for (size_t i = 0; !inner && i < sizeof(keys) / sizeof(keys[0]); i++) {
            inner = member(f, dict, keys[i]);
            if (inner && inner->kind != HYV_PICKLE_DICT)
                inner = NULL;
        }
        if (!inner)
            return dict;
        dict = inner;
    }
    return dict;
}

static int add_tensors(const file *f)
{
    const hyv_pickle_value *dict = state_dict(f), *key, *value;
    int64_t tensors = 0;
    int others = 0, err = 0;
    if (dict->kind != HYV_PICKLE_DICT)
        return hyv_log_error(f->log, -ENOTSUP, "%s: holds no dict of tensors", f->path);
    uint32_t cell = dict->first;
    while (err >= 0 && (key = hyv_pickle_next(&f->pickle, &cell)) &&
           (value = hyv_pickle_next(&f->pickle, &cell))) {
        if (describes_tensor(value)) {
            err = add_tensor(f, key, value);
            tensors++;
        } else {
            others++;
        }
    }
    if (err >= 0 && tensors == 0)
        return hyv_log_error(f->log, -ENOTSUP,
                             "%s: holds no dict of tensors (looked at the top, and in 'module', "
                             "'model' and 'state_dict')",
                             f->path);
    if (err >= 0 && others)
        hyv_log_write(f->log, HYV_LEVEL_VERBOSE, "%s: %d entries that are no tensors are ignored",
                      f->path, others);
    return err;
}

static int open_torchpt(hyv_checkpoint *c, const hyv_map *map, const char *path, hyv_log *log)
{
    file f = {.c = c, .path = path, .log = log};
    int err = hyv_zip_open(&f.zip, map, path, log);
    if (err >= 0)
        err = find_folder(&f);
    if (err >= 0)
        err = check_archive(&f);
    if (err >= 0)
        err = read_pickle(&f);
    if (err >= 0)
        err = add_tensors(&f);
    hyv_pickle_close(&f.pickle);
    hyv_zip_close(&f.zip);
    return err < 0 ? err : 0;
}

static int probe(const hyv_map *map)
{
    return map->size >= 4 && memcmp(map->data, "PK\3\4", 4) == 0;
}

const hyv_reader hyv_reader_torchpt = {"PyTorch", probe, open_torchpt};
