/* Opens the files of a checkpoint and looks tensors up by name: see checkpoint.h.
 *
 * Containers are told by their first bytes, never by their names; those that are known but not read
 * are refused by name. Executes nothing, allocates from no declared size. Does not know what a
 * tensor is for.
 */
#include "checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "folder.h"

struct shard {
    char *path;
    hyv_map map;
};

struct entry {
    hyv_tensor tensor;
    char *name; /* as in the file; tensor.name points into it */
    int shard;  /* its file */
};

struct hyv_checkpoint {
    char *path;
    struct shard *shards;
    int shard_count;
    struct entry *entries;
    int64_t count, capacity;
    int32_t *slots;    /* hash table of entries + 1; 0 is free */
    size_t slot_count; /* a power of two, at least twice the entries */
    size_t bytes;
    const char *suffix; /* of the names of tensors that are added; NULL: none */
    hyv_metadata metadata;
};

static const hyv_reader *const readers[] = {&hyv_reader_safetensors, &hyv_reader_gguf,
                                            &hyv_reader_torchpt};

/* Look-up: open addressing, FNV-1a. It begins with an address, which no file can foresee, so none
 * can make all its names collide. */

static size_t name_slot(const hyv_checkpoint *c, const char *name)
{
    uint64_t h = 0xcbf29ce484222325u ^ (uintptr_t)c;
    for (const char *p = name; *p; p++)
        h = (h ^ (unsigned char)*p) * 0x100000001b3u;
    size_t slot = (size_t)(h ^ h >> 32) & (c->slot_count - 1);
    while (c->slots[slot] && strcmp(c->entries[c->slots[slot] - 1].tensor.name, name) != 0)
        slot = (slot + 1) & (c->slot_count - 1);
    return slot;
}

static bool rebuild_table(hyv_checkpoint *c, size_t slot_count)
{
    int32_t *slots = hyv_calloc(slot_count, sizeof(*slots));
    if (!slots)
        return false;
    hyv_free_host(c->slots);
    c->slots = slots;
    c->slot_count = slot_count;
    for (int64_t i = 0; i < c->count; i++)
        c->slots[name_slot(c, c->entries[i].tensor.name)] = (int32_t)i + 1;
    return true;
}

hyv_tensor *hyv_checkpoint_find(hyv_checkpoint *c, const char *name)
{
    const int32_t found = c->slot_count ? c->slots[name_slot(c, name)] : 0;
    return found ? &c->entries[found - 1].tensor : NULL;
}

int64_t hyv_checkpoint_count(const hyv_checkpoint *c)
{
    return c->count;
}

hyv_tensor *hyv_checkpoint_at(hyv_checkpoint *c, int64_t index)
{
    return index >= 0 && index < c->count ? &c->entries[index].tensor : NULL;
}

size_t hyv_checkpoint_bytes(const hyv_checkpoint *c)
{
    return c->bytes;
}

hyv_metadata *hyv_checkpoint_metadata(hyv_checkpoint *c)
{
    return &c->metadata;
}

const char *hyv_checkpoint_path(const hyv_checkpoint *c)
{
    return c->path;
}

int64_t hyv_checkpoint_strip(hyv_checkpoint *c, const char *prefix)
{
    const size_t n = strlen(prefix);
    int64_t having = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const char *name = c->entries[i].tensor.name;
        having += strncmp(name, prefix, n) == 0 && name[n];
    }
    if (n == 0 || having <= c->count / 2)
        return 0;
    /* A name must stay unique: a tensor whose short name is taken keeps the long one. */
    int64_t renamed = 0;
    for (int64_t i = 0; i < c->count; i++) {
        hyv_tensor *t = &c->entries[i].tensor;
        if (strncmp(t->name, prefix, n) == 0 && t->name[n] &&
            !hyv_checkpoint_find(c, t->name + n)) {
            t->name += n;
            renamed++;
        }
    }
    memset(c->slots, 0, c->slot_count * sizeof(*c->slots));
    for (int64_t i = 0; i < c->count; i++)
        c->slots[name_slot(c, c->entries[i].tensor.name)] = (int32_t)i + 1;
    return renamed;
}

void hyv_checkpoint_expect(const void *data, size_t bytes)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    if (bytes)
        madvise((void *)(at / page * page), at % page + bytes, MADV_WILLNEED);
}

void hyv_checkpoint_drop(hyv_checkpoint *c)
{
    for (int i = 0; i < c->shard_count; i++)
        if (c->shards[i].map.size)
            madvise((void *)(uintptr_t)c->shards[i].map.data, c->shards[i].map.size, MADV_DONTNEED);
}

/* The file is opened anew, for its pages can only be given back by descriptor; whatever stands
 * under the path by now, this is a hint. */
static void release_cache(const struct shard *s, size_t offset, size_t bytes)
{
    const int file = open(s->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return;
    posix_fadvise(file, (off_t)offset, (off_t)bytes, POSIX_FADV_DONTNEED);
    close(file);
}

void hyv_checkpoint_release(hyv_checkpoint *c, const void *data, size_t bytes, bool cache)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), at = (uintptr_t)data;
    for (int i = 0; i < c->shard_count; i++) {
        const hyv_map *map = &c->shards[i].map;
        const uintptr_t first = (uintptr_t)map->data;
        if (at < first || at - first >= map->size)
            continue;
        const size_t offset = (at - first) / page * page;
        const size_t end = at - first + bytes;
        madvise((void *)(first + offset), end - offset, MADV_DONTNEED);
        if (cache)
            release_cache(&c->shards[i], offset, end - offset);
    }
}

/* Adding tensors. */

int hyv_checkpoint_file_of(const hyv_tensor *tensor)
{
    return ((const struct entry *)(const void *)tensor)->shard;
}

const char *hyv_checkpoint_tensor_path(const hyv_checkpoint *c, const hyv_tensor *tensor)
{
    return c->shards[hyv_checkpoint_file_of(tensor)].path;
}

int hyv_checkpoint_file(const hyv_checkpoint *c, const char *name)
{
    for (int i = 0; i < c->shard_count; i++) {
        const char *slash = strrchr(c->shards[i].path, '/');
        if (strcmp(slash ? slash + 1 : c->shards[i].path, name) == 0)
            return i;
    }
    return -1;
}

int hyv_checkpoint_no_memory(hyv_log *log)
{
    return hyv_log_error(log, -ENOMEM, "not enough memory to open a checkpoint");
}

static bool grow_entries(hyv_checkpoint *c)
{
    if (c->count < c->capacity)
        return true;
    const int64_t capacity = c->capacity ? c->capacity * 2 : 256;
    struct entry *entries = hyv_realloc(c->entries, (size_t)capacity, sizeof(*entries));
    if (!entries)
        return false;
    c->entries = entries;
    c->capacity = capacity;
    return rebuild_table(c, (size_t)capacity * 2);
}

static int check_tensor(const hyv_checkpoint *c, const hyv_tensor *t, const char *path,
                        hyv_log *log)
{
    const size_t length = strlen(t->name);
    if (length < 1 || length > HYV_TENSOR_NAME_MAX)
        return hyv_log_error(log, -EBADMSG, "%s: a tensor's name has %zu bytes, not 1 to %d", path,
                             length, HYV_TENSOR_NAME_MAX);
    if (hyv_utf8_check(t->name, length) != length)
        return hyv_log_error(log, -EBADMSG, "%s: a tensor's name is not UTF-8", path);
    if (t->rank < 0 || t->rank > HYV_TENSOR_RANK_MAX)
        return hyv_log_error(log, -EBADMSG, "%s: tensor '%s' has rank %d, not 0 to %d", path,
                             t->name, t->rank, HYV_TENSOR_RANK_MAX);
    size_t count = 1;
    bool empty = false; /* then the other sizes must still make a count */
    for (int i = 0; i < t->rank; i++) {
        empty |= t->shape[i] == 0;
        if (t->shape[i] < 0 ||
            !hyv_mul_size(count, t->shape[i] ? (size_t)t->shape[i] : 1, &count) ||
            count > INT64_MAX)
            return hyv_log_error(log, -EBADMSG, "%s: tensor '%s' has an impossible shape", path,
                                 t->name);
    }
    if (empty)
        count = 0;
    const size_t bytes = hyv_type_size(t->type, (int64_t)count);
    if (t->count != (int64_t)count || t->size_bytes != bytes || (count && !bytes))
        return hyv_log_error(log, -EBADMSG,
                             "%s: tensor '%s' holds %zu bytes, its shape asks for %zu", path,
                             t->name, t->size_bytes, bytes);
    const hyv_map *map = &c->shards[c->shard_count - 1].map;
    const uintptr_t first = (uintptr_t)map->data, at = (uintptr_t)t->data;
    if (at < first || at - first > map->size || t->size_bytes > map->size - (at - first))
        return hyv_log_error(log, -EBADMSG, "%s: tensor '%s' lies outside the file", path, t->name);
    return 0;
}

void hyv_checkpoint_suffix(hyv_checkpoint *c, const char *suffix)
{
    c->suffix = suffix;
}

static int add(hyv_checkpoint *c, const hyv_tensor *tensor, const char *path, hyv_log *log)
{
    const int err = check_tensor(c, tensor, path, log);
    if (err)
        return err;
    if (c->count >= HYV_TENSORS_MAX)
        return hyv_log_error(log, -EBADMSG, "%s: more than %d tensors", path, HYV_TENSORS_MAX);
    const hyv_tensor *twin = hyv_checkpoint_find(c, tensor->name);
    if (twin) {
        return hyv_log_error(log, -EBADMSG, "tensor '%s' stands twice: in %s and in %s",
                             tensor->name, c->shards[hyv_checkpoint_file_of(twin)].path, path);
    }
    char *name = hyv_strdup(tensor->name);
    if (!name || !grow_entries(c) || !c->entries) {
        hyv_free_host(name);
        return hyv_log_error(log, -ENOMEM, "%s: not enough memory for its list of tensors", path);
    }
    struct entry *e = &c->entries[c->count++];
    *e = (struct entry){*tensor, name, c->shard_count - 1};
    e->tensor.name = name;
    e->tensor.used = 0;
    c->bytes += tensor->size_bytes; /* cannot wrap: the ranges lie in mapped files */
    c->slots[name_slot(c, name)] = (int32_t)c->count;
    return 0;
}

int hyv_checkpoint_add(hyv_checkpoint *c, const hyv_tensor *tensor, const char *path, hyv_log *log)
{
    if (!c->suffix)
        return add(c, tensor, path, log);
    hyv_string name = {0};
    hyv_tensor t = *tensor;
    hyv_string_append(&name, "%s%s", tensor->name, c->suffix);
    t.name = hyv_string_text(&name);
    const int err = name.failed ? hyv_checkpoint_no_memory(log) : add(c, &t, path, log);
    hyv_string_free(&name);
    return err;
}

/* Telling files apart. */

struct container {
    size_t offset;
    const char *magic;
    size_t magic_size;
    int err;
    const char *message;
};

#define MAGIC(s) s, sizeof(s) - 1

static const char pickle[] =
    "a bare Python pickle, which is never read here: convert it to safetensors";

static const struct container foreign[] = {
    {0, MAGIC("version https://git-lfs"), -EBADMSG,
     "a Git LFS pointer, not the weights themselves: fetch them with 'git lfs pull'"},
    {0, MAGIC("FUGG"), -ENOTSUP, "a big-endian GGUF file: convert it to little-endian"},
    {0, MAGIC("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"), -ENOTSUP,
     "a legacy (before 1.6) PyTorch file: save it again with a current PyTorch, or convert it to "
     "safetensors"},
    {0, MAGIC("\x80\2"), -ENOTSUP, pickle},
    {0, MAGIC("\x80\3"), -ENOTSUP, pickle},
    {0, MAGIC("\x80\4"), -ENOTSUP, pickle},
    {0, MAGIC("\x80\5"), -ENOTSUP, pickle},
    {257, MAGIC("ustar"), -ENOTSUP,
     "a tar archive (legacy PyTorch or a packed folder): unpack it, or convert it to safetensors"},
    {0, MAGIC("\x89HDF\r\n"), -ENOTSUP, "an HDF5 file: convert it to safetensors"},
    {0, MAGIC("<"), -EBADMSG,
     "an HTML or XML page saved in place of the weights (a failed download?): fetch it again"},
    {0, MAGIC("{"), -EBADMSG, "a text (JSON) file, not weights"},
};

static int refuse_foreign(const hyv_map *map, const char *path, hyv_log *log)
{
    for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++) {
        const struct container *f = &foreign[i];
        if (map->size >= f->offset + f->magic_size &&
            memcmp(map->data + f->offset, f->magic, f->magic_size) == 0)
            return hyv_log_error(log, f->err, "%s: this is %s", path, f->message);
    }
    return hyv_log_error(
        log, -EBADMSG,
        "%s: not a safetensors file, nor GGUF or PyTorch: after the first 8 bytes, the "
        "length of the header, '{' must follow (found %s)",
        path, map->size < 9 ? "the end of the file" : "something else");
}

int hyv_checkpoint_add_file(hyv_checkpoint *c, char *path, hyv_log *log)
{
    struct shard *shards =
        path ? hyv_realloc(c->shards, (size_t)c->shard_count + 1, sizeof(*shards)) : NULL;
    if (!shards) {
        hyv_free_host(path);
        return hyv_checkpoint_no_memory(log);
    }
    c->shards = shards;
    struct shard *s = &c->shards[c->shard_count++];
    *s = (struct shard){.path = path};
    const int err = hyv_map_open(&s->map, path);
    if (err == -EISDIR || err == -EINVAL)
        return hyv_log_error(log, err, "%s: not a regular file", path);
    if (err)
        return hyv_log_error(log, err, "%s: cannot be opened: %s", path, strerror(-err));
    if (s->map.size == 0)
        return hyv_log_error(log, -EBADMSG, "%s: the file is empty", path);
    for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++)
        if (readers[i]->probe(&s->map))
            return readers[i]->open(c, &s->map, path, log);
    return refuse_foreign(&s->map, path, log);
}

int hyv_checkpoint_open(hyv_checkpoint **out, const char *path, hyv_log *log)
{
    *out = NULL;
    hyv_checkpoint *c = hyv_calloc(1, sizeof(*c));
    char *copy = hyv_strdup(path);
    int err;
    if (!c || !copy || !rebuild_table(c, 2))
        err = hyv_checkpoint_no_memory(log);
    else
        err = hyv_folder_open(c, path, log);
    if (c)
        c->path = copy;
    else
        hyv_free_host(copy);
    if (err)
        hyv_checkpoint_close(&c);
    *out = c;
    return err;
}

void hyv_checkpoint_close(hyv_checkpoint **checkpoint)
{
    hyv_checkpoint *c = *checkpoint;
    *checkpoint = NULL;
    if (!c)
        return;
    for (int64_t i = 0; i < c->count; i++)
        hyv_free_host(c->entries[i].name);
    for (int i = 0; i < c->shard_count; i++) {
        hyv_map_close(&c->shards[i].map);
        hyv_free_host(c->shards[i].path);
    }
    hyv_metadata_free(&c->metadata);
    hyv_free_host(c->entries);
    hyv_free_host(c->shards);
    hyv_free_host(c->slots);
    hyv_free_host(c->path);
    hyv_free_host(c);
}
