/* From what the user names to the files of a model: see parts.h.
 *
 * Follows the published distributions: diffusers (sub-folders by component), Tencent's ckpts tree,
 * ComfyUI's split_files, and folders of single downloads. But for the diffusers layout no file name
 * counts, only what the files hold. Does not know what the numbers of a model are.
 */
#include "parts.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "config.h"

enum {
    DEPTH_MAX = 5,      /* ckpts/hunyuan-video-t2v-720p/transformers/FILE, and two to spare */
    ENTRIES_MAX = 4096, /* files and folders looked at; more are no model */
    OTHERS_MAX = 64     /* files that are told about */
};

static int no_memory(hyv_log *log)
{
    return hyv_log_error(log, -ENOMEM, "option model: not enough memory");
}

static bool ends_with(const char *s, const char *tail)
{
    const size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

char *hyv_path_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash)
        return hyv_strdup(".");
    return hyv_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static bool is_there(const char *path)
{
    return hyv_path_is_file(path) || hyv_path_is_folder(path);
}

bool hyv_parts_join(char **path, const char *folder, const char *name)
{
    *path = hyv_path_join(folder, name);
    if (!*path)
        return false;
    if (!hyv_path_is_file(*path)) {
        hyv_free_host(*path);
        *path = NULL;
    }
    return true;
}

/* ---- looking through a folder ---------------------------------------------------------------- */

typedef struct search {
    hyv_parts *parts;
    const hyv_choice *choice;
    hyv_log *log;
    const char *model;
    int entries;
    struct other {
        char *path, *why;
    } others[OTHERS_MAX]; /* files that look like weights and are none of ours */
    int other_count;
    void *opaque;
    hyv_parts_fault *fault; /* NULL: the first fault ends the search */
    bool told[HYV_COMPONENTS];
} search;

/* What follows an error in s->log: it ends the search, or is told and forgotten. */
static int fail(search *s, int err, enum hyv_component c, const char *path)
{
    if (!s->fault || err == -ENOMEM)
        return err;
    s->fault(s->opaque, c, path, s->log->error, false);
    if (c < HYV_COMPONENTS)
        s->told[c] = true;
    hyv_log_clear(s->log);
    return 0;
}

static int note_other(search *s, const char *path, const char *why)
{
    struct other *o = &s->others[s->other_count];
    if (s->other_count == OTHERS_MAX)
        return 0;
    s->other_count++;
    *o = (struct other){hyv_strdup(path), hyv_strdup(why)};
    return o->path && o->why ? 0 : no_memory(s->log);
}

static bool looks_like_weights(const char *path)
{
    static const char *const tails[] = {".safetensors", ".gguf", ".pt", ".pth", ".bin", ".ckpt"};
    for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
        if (ends_with(path, tails[i]))
            return true;
    return false;
}

static bool is_looked_for(const search *s, enum hyv_component c)
{
    return !s->choice || !s->choice->wanted || (s->choice->wanted >> c & 1);
}

static int take(search *s, enum hyv_component c, const char *path)
{
    hyv_part *part = &s->parts->part[c];
    const char *name = hyv_component_name(c);
    if ((s->choice && s->choice->component[c]) || !is_looked_for(s, c))
        return 0;
    if (part->path) {
        const int err = hyv_log_error(s->log, -EINVAL,
                                      "option model: %s holds more than one %s: %s and %s; choose "
                                      "one with %s=FILE",
                                      s->model, name, part->path, path, name);
        return fail(s, err, c, path);
    }
    part->path = hyv_strdup(path);
    return part->path ? 0 : no_memory(s->log);
}

/* Opens a file, which need not be weights, and takes what it holds. */
static int look_into(search *s, const char *path)
{
    hyv_log quiet = {0};
    hyv_checkpoint *c;
    hyv_identity found;
    int err = hyv_checkpoint_open(&c, path, &quiet);
    if (err == -ENOMEM)
        return no_memory(s->log);
    if (err < 0) {
        const bool named = strncmp(quiet.error, path, strlen(path)) == 0;
        return looks_like_weights(path) || strcmp(path, s->model) == 0
                   ? note_other(s, path, quiet.error + (named ? strlen(path) + 2 : 0))
                   : 0;
    }
    hyv_names_identify(&found, c);
    if (found.foreign && !found.components)
        err = note_other(s, path, found.foreign);
    for (int i = 0; err >= 0 && i < HYV_COMPONENTS; i++)
        if (found.names[i].naming)
            err = take(s, (enum hyv_component)i, path);
    hyv_checkpoint_close(&c);
    return err;
}

static int take_tokenizer(search *s, const char *path)
{
    hyv_parts *p = s->parts;
    char **list = hyv_realloc(p->tokenizers, (size_t)p->tokenizer_count + 1, sizeof(*list));
    if (!list)
        return no_memory(s->log);
    p->tokenizers = list;
    list[p->tokenizer_count] = hyv_strdup(path);
    return list[p->tokenizer_count++] ? 0 : no_memory(s->log);
}

/* transformers writes the same weights twice in one folder for old readers. */
static bool is_twin(const char *folder, const char *name)
{
    char *twin = NULL;
    const bool is = strcmp(name, "pytorch_model.bin") == 0 &&
                    hyv_parts_join(&twin, folder, "model.safetensors") && twin;
    hyv_free_host(twin);
    return is;
}

static int look_through(search *s, const char *folder, int depth);

static int look_at(search *s, const char *folder, const char *name, bool sharded, int depth)
{
    char *path = hyv_path_join(folder, name);
    int err = 0;
    if (!path)
        return no_memory(s->log);
    if (hyv_path_is_folder(path))
        err = depth < DEPTH_MAX ? look_through(s, path, depth + 1) : 0;
    else if (strcmp(name, "tokenizer.json") == 0 || strcmp(name, "vocab.json") == 0)
        err = take_tokenizer(s, path);
    else if (ends_with(name, ".safetensors.index.json") ||
             (!ends_with(name, ".json") && !is_twin(folder, name) && hyv_path_is_file(path) &&
              !(sharded && strstr(name, "-of-"))))
        err = look_into(s, path);
    hyv_free_host(path);
    return err;
}

static int look_through(search *s, const char *folder, int depth)
{
    struct dirent **list;
    const int count = scandir(folder, &list, NULL, alphasort);
    int err = 0;
    if (count < 0)
        return errno == ENOMEM ? no_memory(s->log) : 0; /* not ours to read */
    bool sharded = false;
    for (int i = 0; i < count; i++)
        sharded |= ends_with(list[i]->d_name, ".safetensors.index.json");
    for (int i = 0; i < count; i++) {
        if (err >= 0 && list[i]->d_name[0] != '.') {
            if (++s->entries == ENTRIES_MAX + 1)
                err = fail(s,
                           hyv_log_error(s->log, -EINVAL,
                                         "option model: %s holds more than %d files: name a "
                                         "model's own folder",
                                         s->model, ENTRIES_MAX),
                           HYV_COMPONENTS, s->model);
            else if (s->entries <= ENTRIES_MAX)
                err = look_at(s, folder, list[i]->d_name, sharded, depth);
        }
        free(list[i]);
    }
    free(list);
    return err;
}

/* ---- layouts --------------------------------------------------------------------------------- */

static bool is_diffusers(const char *folder, bool *memory)
{
    char *index = hyv_path_join(folder, "model_index.json");
    char *transformer = hyv_path_join(folder, "transformer");
    *memory = index && transformer;
    const bool is = *memory && (hyv_path_is_file(index) || hyv_path_is_folder(transformer));
    hyv_free_host(index);
    hyv_free_host(transformer);
    return is;
}

static int take_folders(search *s)
{
    for (int i = 0; i < HYV_COMPONENTS; i++) {
        hyv_part *part = &s->parts->part[i];
        if (part->path || !is_looked_for(s, (enum hyv_component)i))
            continue;
        part->path = hyv_path_join(s->model, hyv_component_name((enum hyv_component)i));
        if (!part->path)
            return no_memory(s->log);
        if (hyv_path_is_folder(part->path))
            continue;
        if (!s->choice || !s->choice->wanted) {
            int err = hyv_log_error(s->log, -ENOENT,
                                    "option model: there is no folder %s; set %s=", part->path,
                                    hyv_component_name((enum hyv_component)i));
            err = fail(s, err, (enum hyv_component)i, part->path);
            if (err < 0)
                return err;
        }
        hyv_free_host(part->path);
        part->path = NULL;
    }
    return 0;
}

static int take_chosen(search *s)
{
    for (int i = 0; s->choice && i < HYV_COMPONENTS; i++) {
        const char *path = s->choice->component[i], *name;
        name = hyv_component_name((enum hyv_component)i);
        if (!path || !is_looked_for(s, (enum hyv_component)i))
            continue;
        if (!is_there(path)) {
            int err = hyv_log_error(s->log, -ENOENT, "option %s: there is no folder or file \"%s\"",
                                    name, path);
            err = fail(s, err, (enum hyv_component)i, path);
            if (err < 0)
                return err;
            continue;
        }
        s->parts->part[i].path = hyv_strdup(path);
        if (!s->parts->part[i].path)
            return no_memory(s->log);
    }
    return 0;
}

static int report_missing(search *s)
{
    hyv_string missing = {0}, others = {0};
    bool found = false;
    for (int i = 0; i < HYV_COMPONENTS; i++)
        if (s->parts->part[i].path)
            found = true;
        else if (is_looked_for(s, (enum hyv_component)i))
            hyv_string_append(&missing, "%s%s", missing.length ? ", " : "",
                              hyv_component_name((enum hyv_component)i));
    for (int i = 0; i < s->other_count && others.length < 2000; i++)
        hyv_string_append(&others, "; %s: %s", s->others[i].path, s->others[i].why);
    int err = 0;
    if (missing.length && !(found && s->choice && s->choice->wanted))
        err = hyv_log_error(s->log, -ENOENT,
                            "option model: %s%sno %s; set the option%s of the same name to a file "
                            "or folder%s",
                            s->model[0] ? s->model : "no model is set, and there is",
                            s->model[0] ? " holds " : " ", hyv_string_text(&missing),
                            strchr(missing.text, ',') ? "s" : "", hyv_string_text(&others));
    hyv_string_free(&missing);
    hyv_string_free(&others);
    return err;
}

static void tell_missing(search *s)
{
    bool whole = true;
    for (int i = 0; i < HYV_COMPONENTS; i++) {
        const enum hyv_component c = (enum hyv_component)i;
        const char *name = hyv_component_name(c);
        if (s->parts->part[i].path)
            continue;
        whole = false;
        if (s->told[i])
            continue;
        hyv_log_error(s->log, -ENOENT, "there is no %s; set the option %s to a file or folder",
                      name, name);
        fail(s, -ENOENT, c, s->model);
    }
    for (int i = 0; i < s->other_count; i++)
        s->fault(s->opaque, HYV_COMPONENTS, s->others[i].path, s->others[i].why, whole);
}

static void search_free(search *s)
{
    for (int i = 0; i < s->other_count; i++) {
        hyv_free_host(s->others[i].path);
        hyv_free_host(s->others[i].why);
    }
}

/* "DIR/NAME.json" for "DIR/NAME.safetensors". */
static char *own_config(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    hyv_string s = {0};
    hyv_string_append(&s, "%.*s.json", (int)(dot ? (size_t)(dot - path) : strlen(path)), path);
    return s.text;
}

/* Forgets a candidate that is not the component's; false: no memory. */
static bool keep_own(char **config, enum hyv_component c)
{
    const int is = *config ? hyv_config_is_for(c, *config) : 0;
    if (is <= 0) {
        hyv_free_host(*config);
        *config = NULL;
    }
    return is >= 0;
}

/* The config.json in the component's folder. A folder of files may hold several components, so that
 * beside a file only the component's own counts, or a .json of the file's name. */
static int find_config(hyv_part *part, enum hyv_component c, hyv_log *log)
{
    const bool folder = hyv_path_is_folder(part->path);
    char *place = folder ? hyv_strdup(part->path) : hyv_path_folder(part->path);
    bool memory = place && hyv_parts_join(&part->config, place, "config.json");
    hyv_free_host(place);
    if (memory && !folder)
        memory = keep_own(&part->config, c);
    if (memory && !folder && !part->config)
        memory = (part->config = own_config(part->path)) && keep_own(&part->config, c);
    return memory ? 0 : no_memory(log);
}

/* The model's own files that belong to no component. */
static int find_files(search *s)
{
    char *scheduler = hyv_path_join(s->model, "scheduler");
    const bool memory = scheduler &&
                        hyv_parts_join(&s->parts->index, s->model, "model_index.json") &&
                        hyv_parts_join(&s->parts->scheduler, scheduler, "scheduler_config.json");
    hyv_free_host(scheduler);
    return memory ? 0 : no_memory(s->log);
}

static int find_parts(search *s)
{
    bool memory = true;
    int err = take_chosen(s);
    if (err < 0 || !s->model[0])
        return err;
    if (hyv_path_is_file(s->model))
        return look_into(s, s->model);
    if (is_diffusers(s->model, &memory))
        err = take_folders(s);
    else
        err = memory ? look_through(s, s->model, 0) : no_memory(s->log);
    return err < 0 ? err : find_files(s);
}

static int find_configs(search *s)
{
    int err = 0;
    for (int i = 0; err >= 0 && i < HYV_COMPONENTS; i++)
        if (s->parts->part[i].path)
            err = find_config(&s->parts->part[i], (enum hyv_component)i, s->log);
    return err;
}

int hyv_parts_find(hyv_parts *parts, const char *model, const hyv_choice *choice, hyv_log *log)
{
    search s = {.parts = parts, .choice = choice, .log = log, .model = model};
    *parts = (hyv_parts){0};
    int err = find_parts(&s);
    if (err >= 0)
        err = report_missing(&s);
    if (err >= 0)
        err = find_configs(&s);
    search_free(&s);
    if (err < 0)
        hyv_parts_free(parts);
    return err;
}

int hyv_parts_survey(hyv_parts *parts, const char *model, const hyv_choice *choice, hyv_log *log,
                     void *opaque, hyv_parts_fault *fault)
{
    hyv_log quiet = {0};
    search s = {.parts = parts,
                .choice = choice,
                .log = &quiet,
                .model = model,
                .opaque = opaque,
                .fault = fault};
    *parts = (hyv_parts){0};
    int err = find_parts(&s);
    if (err >= 0) {
        tell_missing(&s);
        err = find_configs(&s);
    }
    search_free(&s);
    if (err < 0) {
        hyv_parts_free(parts);
        return hyv_log_error(log, err, "%s", quiet.error);
    }
    return 0;
}

void hyv_parts_free(hyv_parts *parts)
{
    for (int i = 0; i < HYV_COMPONENTS; i++) {
        hyv_free_host(parts->part[i].path);
        hyv_free_host(parts->part[i].config);
    }
    for (int i = 0; i < parts->tokenizer_count; i++)
        hyv_free_host(parts->tokenizers[i]);
    hyv_free_host(parts->tokenizers);
    hyv_free_host(parts->index);
    hyv_free_host(parts->scheduler);
    *parts = (hyv_parts){0};
}

/* ---- the task -------------------------------------------------------------------------------- */

static bool name_has(const hyv_parts *parts, const char *const *words)
{
    const char *path = parts->part[HYV_TRANSFORMER].path;
    bool has = false;
    for (; *words; words++)
        has |= path && strcasestr(path, *words) != NULL;
    return has;
}

enum hyv_task hyv_parts_task(const hyv_parts *parts)
{
    static const char *const i2v[] = {"i2v", "image_to_video", "image-to-video", NULL};
    static const char *const t2v[] = {"t2v", "text_to_video", "text-to-video", NULL};
    return name_has(parts, i2v)   ? HYV_TASK_I2V
           : name_has(parts, t2v) ? HYV_TASK_T2V
                                  : HYV_TASK_AUTO;
}

bool hyv_parts_fast(const hyv_parts *parts)
{
    static const char *const fast[] = {"fasthunyuan", "fastvideo", "fast-hunyuan", NULL};
    return name_has(parts, fast);
}
