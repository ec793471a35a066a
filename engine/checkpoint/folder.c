/* Which files of a folder hold a component's weights: see folder.h.
 *
 * Follows diffusers and transformers: one safetensors file, or shards with an index (`weight_map`:
 * tensor -> file), under the names these two write. An index is not trusted: it can name plain
 * files of its own folder only. Does not look into the files.
 */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "../base/json.h"

enum { INDEX_BYTES_MAX = 16 << 20 };

/* Sharded sets. */

/* A shard must be a plain file name, and, links resolved, lie in the index's folder. The hub's
 * download cache is the one exception: there `X/snapshots/REVISION/...` links into `X/blobs/`. */
static int check_shard(const char *folder, const char *path, const char *name, const char *index,
                       hyv_log *log)
{
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strpbrk(name, "/\\"))
        return hyv_log_error(log, -EBADMSG, "%s: '%s' is not a plain file name", index, name);
    char root[PATH_MAX], real[PATH_MAX];
    if (!realpath(folder, root) || !realpath(path, real)) {
        const int err = -errno;
        return hyv_log_error(log, err, "%s: shard '%s' cannot be opened: %s", index, name,
                             strerror(-err));
    }
    const size_t n = strlen(root);
    if (strncmp(real, root, n) == 0 && (real[n] == '/' || n == 1))
        return 0;
    const char *cache = strstr(root, "/snapshots/");
    const size_t m = cache ? (size_t)(cache - root) : 0;
    if (cache && strncmp(real, root, m) == 0 && strncmp(real + m, "/blobs/", 7) == 0)
        return 0;
    return hyv_log_error(log, -EBADMSG, "%s: shard '%s' is a link that leads out of the folder",
                         index, name);
}

static int open_shards(hyv_checkpoint *c, const char *folder, const char *index, json_t *map,
                       hyv_log *log)
{
    int files = 0;
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        if (!name)
            return hyv_log_error(log, -EBADMSG, "%s: the file of tensor '%s' is not a string",
                                 index, tensor);
        if (hyv_checkpoint_file(c, name) >= 0)
            continue;
        if (++files > HYV_SHARDS_MAX)
            return hyv_log_error(log, -EBADMSG, "%s: more than %d files", index, HYV_SHARDS_MAX);
        char *path = hyv_path_join(folder, name);
        int err =
            path ? check_shard(folder, path, name, index, log) : hyv_checkpoint_no_memory(log);
        if (err)
            hyv_free_host(path);
        else
            err = hyv_checkpoint_add_file(c, path, log);
        if (err)
            return err;
    }
    json_object_foreach(map, tensor, value)
    {
        const char *name = json_string_value(value);
        const hyv_tensor *t = hyv_checkpoint_find(c, tensor);
        if (!t || hyv_checkpoint_file_of(t) != hyv_checkpoint_file(c, name))
            return hyv_log_error(log, -EBADMSG,
                                 "%s: tensor '%s' is not in '%s', where it should be", index,
                                 tensor, name);
    }
    return 0;
}

static int open_index(hyv_checkpoint *c, const char *folder, const char *index, hyv_log *log)
{
    hyv_json doc;
    int err = hyv_json_load(&doc, index, INDEX_BYTES_MAX, log);
    if (err)
        return err;
    json_t *map = json_object_get(doc.root, "weight_map");
    if (!json_is_object(map) || json_object_size(map) == 0)
        err = hyv_log_error(log, -EBADMSG, "%s: has no 'weight_map'", index);
    else if (json_object_size(map) > HYV_TENSORS_MAX)
        err = hyv_log_error(log, -EBADMSG, "%s: more than %d tensors", index, HYV_TENSORS_MAX);
    else
        err = open_shards(c, folder, index, map, log);
    hyv_json_close(&doc);
    return err;
}

/* Folders. */

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

/* How many files of the folder have names that end so, and the path of the first. Negative errno if
 * the folder cannot be read. */
static int list_files(const char *folder, const char *tail, char **first)
{
    int count = 0;
    *first = NULL;
    DIR *dir = opendir(folder);
    if (!dir)
        return -errno;
    for (const struct dirent *d = readdir(dir); d && count >= 0; d = readdir(dir)) {
        if (d->d_name[0] == '.' || !ends_with(d->d_name, tail) || ends_with(d->d_name, "_map.pt") ||
            count++ > 0)
            continue;
        *first = hyv_path_join(folder, d->d_name);
        if (!*first)
            count = -ENOMEM;
    }
    closedir(dir);
    return count;
}

static int refuse_folder(const char *folder, hyv_log *log)
{
    return hyv_log_error(log, -ENOENT,
                         "%s: holds no weights (diffusion_pytorch_model.safetensors, "
                         "model.safetensors, shards with their .safetensors.index.json, or a "
                         ".gguf, .pt, .pth, .bin or .ckpt file)",
                         folder);
}

/* fp8 matrices whose scales the file does not hold. */
static bool wants_scales(hyv_checkpoint *c)
{
    const int64_t count = hyv_checkpoint_count(c);
    bool wants = false;
    for (int64_t i = 0; i < count; i++) {
        const hyv_tensor *t = hyv_checkpoint_at(c, i);
        if (ends_with(t->name, ".scale_weight") || ends_with(t->name, ".weight_scale") ||
            ends_with(t->name, ".fp8_scale"))
            return false;
        wants |= t->type == HYV_F8_E4M3 && t->rank == 2;
    }
    return wants;
}

/* Tencent keeps the scales of an fp8 file NAME.pt in NAME_map.pt, by the modules' names; without
 * them the values mean nothing. Copies of such a map exist as safetensors. */
static int add_scales(hyv_checkpoint *c, const char *path, hyv_log *log)
{
    static const char *const tails[] = {"_map.pt", "_map.safetensors"};
    const int stem = (int)(strlen(path) - strlen(".pt"));
    if (!ends_with(path, ".pt") || !wants_scales(c))
        return 0;
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++) {
        hyv_string map = {0};
        hyv_string_append(&map, "%.*s%s", stem, path, tails[i]);
        if (map.failed)
            return hyv_checkpoint_no_memory(log);
        if (hyv_path_is_file(map.text)) {
            hyv_checkpoint_suffix(c, ".fp8_scale");
            const int err = hyv_checkpoint_add_file(c, map.text, log);
            hyv_checkpoint_suffix(c, NULL);
            return err;
        }
        hyv_string_free(&map);
    }
    return hyv_log_error(log, -ENOENT,
                         "%s: its fp8 matrices need the scales of %.*s_map.pt, which must lie "
                         "beside it",
                         path, stem, path);
}

/* One file with all that belongs to it; takes `path` over. */
static int add_single(hyv_checkpoint *c, char *path, hyv_log *log)
{
    char *copy = path ? hyv_strdup(path) : NULL;
    int err = hyv_checkpoint_add_file(c, path, log);
    if (!err)
        err = copy ? add_scales(c, copy, log) : hyv_checkpoint_no_memory(log);
    hyv_free_host(copy);
    return err;
}

/* The folder's only file with this ending, an index or the weights: 1 if there is none. */
static int open_only(hyv_checkpoint *c, const char *folder, const char *tail, bool index,
                     hyv_log *log)
{
    char *path;
    const int count = list_files(folder, tail, &path);
    int err = 1;
    if (count < 0)
        err = hyv_log_error(log, count, "%s: cannot be listed: %s", folder, strerror(-count));
    else if (count > 1)
        err =
            hyv_log_error(log, -EINVAL, "%s: holds %d files that end in '%s': name the one to use",
                          folder, count, tail);
    else if (count == 1 && !index)
        return add_single(c, path, log);
    else if (count == 1)
        err = open_index(c, folder, path, log);
    hyv_free_host(path);
    return err;
}

/* A whole file before an index (as transformers does), usual names before unusual ones. */
static int open_folder(hyv_checkpoint *c, const char *folder, hyv_log *log)
{
    static const char *const names[] = {"diffusion_pytorch_model.safetensors", "model.safetensors"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char *path = hyv_path_join(folder, names[i]);
        if (!path)
            return hyv_checkpoint_no_memory(log);
        if (hyv_path_is_file(path))
            return hyv_checkpoint_add_file(c, path, log);
        hyv_free_host(path);
    }
    int err = open_only(c, folder, ".safetensors.index.json", true, log);
    if (err > 0)
        err = open_only(c, folder, ".safetensors", false, log);
    static const char *const tails[] = {".gguf", ".pt", ".pth", ".bin", ".ckpt"};
    for (size_t i = 0; err > 0 && i < sizeof(tails) / sizeof(tails[0]); i++)
        err = open_only(c, folder, tails[i], false, log);
    return err > 0 ? refuse_folder(folder, log) : err;
}

static int open_index_file(hyv_checkpoint *c, const char *path, hyv_log *log)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? hyv_strndup(path, (size_t)(slash - path) + 1) : hyv_strdup(".");
    if (!folder)
        return hyv_checkpoint_no_memory(log);
    const int err = open_index(c, folder, path, log);
    hyv_free_host(folder);
    return err;
}

int hyv_folder_open(hyv_checkpoint *c, const char *path, hyv_log *log)
{
    if (hyv_path_is_folder(path))
        return open_folder(c, path, log);
    if (ends_with(path, ".index.json"))
        return open_index_file(c, path, log);
    return add_single(c, hyv_strdup(path), log);
}
