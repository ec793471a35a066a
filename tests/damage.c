/* Making and damaging a model folder: see damage.h. */
#define _XOPEN_SOURCE 700 /* mkdtemp, nftw, realpath */
#include "damage.h"

#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static const char golden[] = "tests/golden/t2v";

static const char *const files[] = {"model_index.json",
                                    "scheduler/scheduler_config.json",
                                    "text_encoder/config.json",
                                    "text_encoder/model.safetensors",
                                    "text_encoder_2/config.json",
                                    DAMAGE_CLIP,
                                    "tokenizer/tokenizer.json",
                                    "tokenizer/tokenizer_config.json",
                                    "tokenizer_2/merges.txt",
                                    "tokenizer_2/tokenizer_config.json",
                                    "tokenizer_2/vocab.json",
                                    "transformer/config.json",
                                    DAMAGE_TRANSFORMER,
                                    "vae/config.json",
                                    DAMAGE_VAE};

char *damage_path(const damaged *d, const char *name)
{
    char *path = hyv_path_join(d->folder, name);
    if (!path)
        abort();
    return path;
}

static void make_folder_of(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof(folder), "%s", path);
    *strrchr(folder, '/') = '\0';
    mkdir(folder, 0777); /* there already, most times */
}

bool damage_begin(damaged *d)
{
    char root[PATH_MAX];
    const char *place = getenv("TMPDIR");
    snprintf(d->folder, sizeof(d->folder), "%.64s/hyv-damage-XXXXXX", place ? place : "/tmp");
    if (!CHECK(mkdtemp(d->folder) != NULL) || !CHECK(realpath(golden, root) != NULL))
        return false;
    bool good = true;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        char *path = damage_path(d, files[i]), *source = hyv_path_join(root, files[i]);
        make_folder_of(path);
        good &= source && symlink(source, path) == 0;
        free(source);
        free(path);
    }
    return CHECK(good);
}

static int remove_one(const char *path, const struct stat *info, int flag, struct FTW *walk)
{
    (void)info, (void)flag, (void)walk;
    return remove(path);
}

static void remove_tree(const char *path)
{
    CHECK_MSG(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0, "%s stays", path);
}

void damage_end(const damaged *d)
{
    remove_tree(d->folder);
}

void damage_remove(const damaged *d, const char *name)
{
    char *path = damage_path(d, name);
    remove_tree(path);
    free(path);
}

void damage_write(const damaged *d, const char *name, const void *bytes, size_t size)
{
    char *path = damage_path(d, name);
    make_folder_of(path);
    unlink(path); /* the link, not what it leads to */
    FILE *f = fopen(path, "wb");
    CHECK_MSG(f && fwrite(bytes, 1, size, f) == size && fclose(f) == 0, "cannot write %s", path);
    free(path);
}

static char *read_file(const char *path, size_t *size)
{
    char *text = NULL;
    *size = 0;
    CHECK_MSG(hyv_file_read(&text, size, path, 1 << 26) == 0, "cannot read %s", path);
    return text;
}

void damage_copy(const damaged *d, const char *name, const char *source)
{
    size_t size;
    char *text = read_file(source, &size);
    damage_write(d, name, text ? text : "", size);
    hyv_free_host(text);
}

void damage_cut(const damaged *d, const char *name, long n)
{
    size_t size;
    char *path = damage_path(d, name), *text = read_file(path, &size);
    if (CHECK(text && (size_t)labs(n) < size))
        damage_write(d, name, text, n < 0 ? size - (size_t)-n : (size_t)n);
    hyv_free_host(text);
    free(path);
}

void damage_edit(const damaged *d, const char *name, const char *from, const char *to)
{
    size_t size;
    char *path = damage_path(d, name), *text = read_file(path, &size);
    char *at = text ? memmem(text, size, from, strlen(from)) : NULL;
    if (CHECK_MSG(at != NULL, "no \"%s\" in %s", from, path)) {
        hyv_string s = {0};
        hyv_string_append_bytes(&s, text, (size_t)(at - text));
        hyv_string_append(&s, "%s", to);
        hyv_string_append_bytes(&s, at + strlen(from), size - (size_t)(at - text) - strlen(from));
        damage_write(d, name, s.text, s.length);
        hyv_string_free(&s);
    }
    hyv_free_host(text);
    free(path);
}

/* ---- tensors --------------------------------------------------------------------------------- */

static damage_tensor *append(damage_list *list, size_t bytes)
{
    damage_tensor *grown = realloc(list->tensors, (size_t)(list->count + 1) * sizeof(*grown));
    uint8_t *data = malloc(bytes);
    if (!grown || !data)
        abort();
    list->tensors = grown;
    grown[list->count] = (damage_tensor){.data = data, .bytes = bytes};
    return &grown[list->count++];
}

bool damage_load(damage_list *list, const char *path)
{
    hyv_log log = {0};
    hyv_checkpoint *c;
    *list = (damage_list){0};
    if (!CHECK_MSG(hyv_checkpoint_open(&c, path, &log) == 0, "%s", log.error))
        return false;
    for (int64_t i = 0; i < hyv_checkpoint_count(c); i++) {
        const hyv_tensor *from = hyv_checkpoint_at(c, i);
        damage_tensor *t = append(list, from->size_bytes);
        snprintf(t->name, sizeof(t->name), "%s", from->name);
        snprintf(t->dtype, sizeof(t->dtype), "%s", hyv_type_name(from->type));
        t->rank = from->rank;
        memcpy(t->shape, from->shape, sizeof(t->shape));
        memcpy(t->data, from->data, from->size_bytes);
    }
    hyv_checkpoint_close(&c);
    return true;
}

damage_tensor *damage_find(const damage_list *list, const char *name)
{
    for (int i = 0; i < list->count; i++)
        if (!strcmp(list->tensors[i].name, name))
            return &list->tensors[i];
    CHECK_MSG(false, "no tensor %s", name);
    return list->tensors;
}

void damage_drop(damage_list *list, const char *name)
{
    damage_tensor *t = damage_find(list, name);
    free(t->data);
    *t = list->tensors[--list->count];
}

void damage_add(damage_list *list, const char *name, int64_t rows, int64_t cols)
{
    damage_tensor *t = append(list, (size_t)(rows * cols) * sizeof(float));
    snprintf(t->name, sizeof(t->name), "%s", name);
    snprintf(t->dtype, sizeof(t->dtype), "F32");
    t->rank = 2;
    t->shape[0] = rows;
    t->shape[1] = cols;
    for (int64_t i = 0; i < rows * cols; i++)
        memcpy(t->data + i * 4, &(float){0.5F}, sizeof(float));
}

void damage_store(const damaged *d, const char *name, const damage_list *list, int first, int step)
{
    json_t *header = json_object();
    hyv_string file = {0}, data = {0};
    for (int i = first; i < list->count; i += step) {
        const damage_tensor *t = &list->tensors[i];
        json_t *shape = json_array();
        for (int k = 0; k < t->rank; k++)
            json_array_append_new(shape, json_integer(t->shape[k]));
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", t->dtype, "shape", shape,
                                      "data_offsets", (json_int_t)data.length,
                                      (json_int_t)(data.length + t->bytes)));
        hyv_string_append_bytes(&data, (const char *)t->data, t->bytes);
    }
    char *text = json_dumps(header, JSON_COMPACT);
    const uint64_t length = text ? strlen(text) : 0; /* little-endian, as x86-64 */
    hyv_string_append_bytes(&file, (const char *)&length, 8);
    hyv_string_append(&file, "%s", text ? text : "");
    hyv_string_append_bytes(&file, hyv_string_text(&data), data.length);
    CHECK(text && !file.failed && !data.failed);
    damage_write(d, name, hyv_string_text(&file), file.length);
    free(text);
    json_decref(header);
    hyv_string_free(&file);
    hyv_string_free(&data);
}

void damage_free(damage_list *list)
{
    for (int i = 0; i < list->count; i++)
        free(list->tensors[i].data);
    free(list->tensors);
    *list = (damage_list){0};
}
