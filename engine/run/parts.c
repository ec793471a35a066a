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
    DEPTH_MAX = 5,     /* ckpts/hunyuan-video-t2v-720p/transformers/FILE, and two to spare */
    ENTRIES_MAX = 4096 /* files and folders looked at; more are no model */
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

/* "folder/name" if such a file is there, else NULL; false: no memory. */
static bool join_file(char **path, const char *folder, const char *name)
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
    hyv_string others; /* files that look like weights and are none of ours, and why */
} search;

static void note_other(search *s, const char *path, const char *what)
{
    if (s->others.length < 2000)
        hyv_string_append(&s->others, "; %s: %s", path, what);
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
    if (part->path)
        return hyv_log_error(s->log, -EINVAL,
                             "option model: %s holds more than one %s: %s and %s; choose one with "
                             "%s=FILE",
                             s->model, name, part->path, path, name);
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
        if (looks_like_weights(path))
            note_other(s, path,
                       strncmp(quiet.error, path, strlen(path)) == 0
                           ? quiet.error + strlen(path) + 2
                           : quiet.error);
        return 0;
    }
    hyv_names_identify(&found, c);
    if (found.foreign && !found.components)
        note_other(s, path, found.foreign);
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
                    join_file(&twin, folder, "model.safetensors") && twin;
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
            if (++s->entries > ENTRIES_MAX)
                err = hyv_log_error(s->log, -EINVAL,
                                    "option model: %s holds more than %d files: name a model's "
                                    "own folder",
                                    s->model, ENTRIES_MAX);
            else
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
        if (!s->choice || !s->choice->wanted)
            return hyv_log_error(s->log, -ENOENT,
                                 "option model: there is no folder %s; set %s=", part->path,
                                 hyv_component_name((enum hyv_component)i));
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
        if (!is_there(path))
            return hyv_log_error(s->log, -ENOENT, "option %s: there is no folder or file \"%s\"",
                                 name, path);
        s->parts->part[i].path = hyv_strdup(path);
        if (!s->parts->part[i].path)
            return no_memory(s->log);
    }
    return 0;
}

static int report_missing(search *s)
{
    hyv_string missing = {0};
    bool found = false;
    for (int i = 0; i < HYV_COMPONENTS; i++)
        if (s->parts->part[i].path)
            found = true;
        else if (is_looked_for(s, (enum hyv_component)i))
            hyv_string_append(&missing, "%s%s", missing.length ? ", " : "",
                              hyv_component_name((enum hyv_component)i));
    int err = 0;
    if (missing.length && !(found && s->choice && s->choice->wanted))
        err = hyv_log_error(s->log, -ENOENT,
                            "option model: %s%sno %s; set the option%s of the same name to a file "
                            "or folder%s",
                            s->model[0] ? s->model : "no model is set, and there is",
                            s->model[0] ? " holds " : " ", hyv_string_text(&missing),
                            strchr(missing.text, ',') ? "s" : "", hyv_string_text(&s->others));
    hyv_string_free(&missing);
    return err;
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
    bool memory = place && join_file(&part->config, place, "config.json");
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
    const bool memory = scheduler && join_file(&s->parts->index, s->model, "model_index.json") &&
                        join_file(&s->parts->scheduler, scheduler, "scheduler_config.json");
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

int hyv_parts_find(hyv_parts *parts, const char *model, const hyv_choice *choice, hyv_log *log)
{
    search s = {.parts = parts, .choice = choice, .log = log, .model = model};
    *parts = (hyv_parts){0};
    int err = find_parts(&s);
    if (err >= 0)
        err = report_missing(&s);
    for (int i = 0; err >= 0 && i < HYV_COMPONENTS; i++)
        err = !parts->part[i].path ? 0 : find_config(&parts->part[i], (enum hyv_component)i, log);
    hyv_string_free(&s.others);
    if (err < 0)
        hyv_parts_free(parts);
    return err;
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

/* ---- tokenizers ------------------------------------------------------------------------------ */

enum { TOKENIZER_BYTES_MAX = 64 << 20 };

typedef struct finder {
    char *path; /* found */
    hyv_string *looked;
    enum hyv_tokenizer which;
    bool short_of_memory;
} finder;

/* Each family has a token that the other has not. */
static bool is_wanted(finder *f, const char *path)
{
    static const char *const own[HYV_TOKENIZERS] = {"<|start_header_id|>", "<|startoftext|>"};
    char *text;
    size_t size;
    const int err = hyv_file_read(&text, &size, path, TOKENIZER_BYTES_MAX);
    f->short_of_memory |= err == -ENOMEM;
    const bool is = err >= 0 && strstr(text, own[f->which]) != NULL;
    if (err >= 0)
        hyv_free_host(text);
    return is;
}

/* A folder's files of the right kind. */
static void try_folder(finder *f, const char *folder)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json"};
    if (!folder)
        f->short_of_memory = true;
    if (f->path || !folder || !hyv_path_is_folder(folder))
        return;
    if (!strstr(hyv_string_text(f->looked), folder))
        hyv_string_append(f->looked, "%s%s", f->looked->length ? ", " : "", folder);
    for (int i = 0; i < 2 && !f->path; i++) {
        f->short_of_memory |= !join_file(&f->path, folder, names[i]);
        if (f->path && !is_wanted(f, f->path)) {
            hyv_free_host(f->path);
            f->path = NULL;
        }
    }
}

static void try_inside(finder *f, const char *folder)
{
    static const char *const names[HYV_TOKENIZERS] = {"tokenizer", "tokenizer_2"};
    char *path = folder ? hyv_path_join(folder, names[f->which]) : NULL;
    try_folder(f, path);
    hyv_free_host(path);
}

/* What was named must be right, so that a mistake is not passed over. */
static int take_named(finder *f, const char *path, hyv_log *log)
{
    const char *option = f->which == HYV_TOKENIZER_LLAMA ? "tokenizer" : "tokenizer_2";
    if (!is_there(path))
        return hyv_log_error(log, -ENOENT, "option %s: there is no folder or file \"%s\"", option,
                             path);
    if (hyv_path_is_folder(path))
        try_folder(f, path);
    else if (is_wanted(f, path))
        f->short_of_memory |= !(f->path = hyv_strdup(path));
    if (!f->path && f->short_of_memory)
        return no_memory(log);
    if (!f->path)
        return hyv_log_error(log, -EBADMSG, "option %s: %s is no tokenizer of %s", option, path,
                             f->which == HYV_TOKENIZER_LLAMA
                                 ? "the language model (tokenizer.json of Llama 3)"
                                 : "CLIP (tokenizer.json, or vocab.json and merges.txt)");
    return 1;
}

static void look_around(finder *f, const hyv_parts *parts, const char *model,
                        const hyv_choice *choice)
{
    static const enum hyv_component encoders[HYV_TOKENIZERS] = {HYV_TEXT_ENCODER,
                                                                HYV_TEXT_ENCODER_2};
    const char *encoder = parts->part[encoders[f->which]].path;
    if (*model && hyv_path_is_folder(model))
        try_inside(f, model);
    char *folder = hyv_path_is_folder(encoder) ? hyv_strdup(encoder) : hyv_path_folder(encoder);
    char *above = folder ? hyv_path_folder(folder) : NULL;
    try_folder(f, folder);
    try_inside(f, folder);
    try_inside(f, above);
    for (int i = 0; i < parts->tokenizer_count && !f->path; i++)
        if (is_wanted(f, parts->tokenizers[i]))
            f->short_of_memory |= !(f->path = hyv_strdup(parts->tokenizers[i]));
    if (*model && hyv_path_is_folder(model))
        try_folder(f, model);
    for (char **at = choice ? choice->folders : NULL; at && *at; at++)
        try_inside(f, *at);
    hyv_free_host(folder);
    hyv_free_host(above);
}

int hyv_parts_tokenizer(char **path, hyv_string *looked, const hyv_parts *parts,
                        enum hyv_tokenizer which, const char *model, const hyv_choice *choice,
                        hyv_log *log)
{
    finder f = {.looked = looked, .which = which};
    int err = 0;
    *path = NULL;
    if (choice && choice->tokenizer[which])
        err = take_named(&f, choice->tokenizer[which], log);
    else
        look_around(&f, parts, model, choice);
    if (f.short_of_memory) {
        hyv_free_host(f.path);
        return err < 0 ? err : no_memory(log);
    }
    *path = f.path;
    return err < 0 ? err : f.path != NULL;
}
