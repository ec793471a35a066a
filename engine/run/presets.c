/* Presets: YAML mappings of option names to scalars, read with libyaml's events.
 *
 * Only the plainest YAML is taken: one mapping of scalars to scalars. Anchors, aliases, tags,
 * nesting, duplicate keys and further documents are refused with the line. `include: NAME` as the
 * first entry reads another preset first. Must not know any preset's name.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "../base/util.h"
#include "options.h"

enum { SHOWN_BYTES = 60, LISTED_MAX = 64 };

/* Its address tells where this library (or the program it is linked into) was loaded from. */
static const char marker = 0;

typedef struct preset_file {
    const char *path;
    hyv_options *errors; /* takes the message */
    hyv_options *search; /* whose folders are searched */
    hyv_options *values; /* of this file */
    hyv_options *result; /* of this file and what it includes */
    int depth;
    yaml_parser_t parser;
} preset_file;

static int load_path(preset_file *parent, const char *path);

/* A relative path for where it cannot be told; NULL only if memory is short. */
static char *library_folder(void)
{
    Dl_info info;
    if (!dladdr(&marker, &info) || !info.dli_fname)
        return hyv_strdup(".");
    /* A program that was found through PATH is reported without its folder. */
    char *real = realpath(strchr(info.dli_fname, '/') ? info.dli_fname : "/proc/self/exe", NULL);
    char *slash = real ? strrchr(real, '/') : NULL;
    char *folder = slash ? hyv_strndup(real, (size_t)(slash - real)) : hyv_strdup(".");
    free(real);
    return folder;
}

int hyv_options_folder(const hyv_options *options, int i, char **folder)
{
    /* Of build/lib/libhunyuanvideo.so, of build/hyv, of PREFIX/lib or PREFIX/bin. */
    static const char *const beside[] = {"../../presets", "../presets",
                                         "../share/hunyuanvideo/presets"};
    const int besides = sizeof(beside) / sizeof(beside[0]);
    const char *p = hyv_options_value(options, NULL, "presets");
    *folder = NULL;
    for (size_t n; *p; p += n + (p[n] == ':')) {
        n = strcspn(p, ":");
        if (n && i-- == 0) {
            *folder = hyv_strndup(p, n);
            return *folder ? 1 : -ENOMEM;
        }
    }
    if (i > besides)
        return 0;
    if (i < besides) {
        char *library = library_folder();
        *folder = library ? hyv_path_join(library, beside[i]) : NULL;
        hyv_free_host(library);
    } else {
        *folder = hyv_strdup(HYV_DATADIR "/presets");
    }
    return *folder ? 1 : -ENOMEM;
}

static int fail_at(preset_file *f, const yaml_mark_t *mark, const char *what)
{
    return hyv_options_fail(f->errors, -EINVAL, "preset %s, line %zu: %s", f->path, mark->line + 1,
                            what);
}

/* The next event, which must be freed unless this fails. */
static int next_event(preset_file *f, yaml_event_t *event)
{
    if (yaml_parser_parse(&f->parser, event))
        return 0;
    if (f->parser.error == YAML_MEMORY_ERROR)
        return hyv_options_fail(f->errors, -ENOMEM, "preset %s: not enough memory", f->path);
    return fail_at(f, &f->parser.problem_mark,
                   f->parser.problem ? f->parser.problem : "not valid YAML");
}

/* Skips one event of the given type. */
static int expect(preset_file *f, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t event;
    int err = next_event(f, &event);
    if (err < 0)
        return err;
    const bool mapping = event.type == YAML_MAPPING_START_EVENT;
    if (event.type != type ||
        (mapping && (event.data.mapping_start.anchor || event.data.mapping_start.tag)))
        err = fail_at(f, &event.start_mark, otherwise);
    yaml_event_delete(&event);
    return err;
}

/* A new string, its line, or NULL at the end of the mapping. */
static int read_scalar(preset_file *f, char **text, yaml_mark_t *mark)
{
    yaml_event_t event;
    *text = NULL;
    int err = next_event(f, &event);
    if (err < 0)
        return err;
    *mark = event.start_mark;
    if (event.type == YAML_SCALAR_EVENT) {
        const char *value = (const char *)event.data.scalar.value;
        if (event.data.scalar.anchor || event.data.scalar.tag)
            err = fail_at(f, mark, "anchors and tags are not allowed");
        else if (strlen(value) != event.data.scalar.length)
            err = fail_at(f, mark, "a value holds a NUL");
        else if (!(*text = hyv_strdup(value)))
            err = hyv_options_fail(f->errors, -ENOMEM, "preset %s: not enough memory", f->path);
    } else if (event.type == YAML_ALIAS_EVENT) {
        err = fail_at(f, mark, "aliases are not allowed");
    } else if (event.type != YAML_MAPPING_END_EVENT) {
        err = fail_at(f, mark, "a preset maps option names to single values");
    }
    yaml_event_delete(&event);
    return err;
}

static bool is_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/');
}

/* 1 and FOLDER/NAME.yaml if there is such a file, else 0, or -ENOMEM. */
static int preset_in(const char *folder, const char *name, char **path)
{
    hyv_string text = {0};
    hyv_string_append(&text, "%s/%s.yaml", folder, name);
    const bool there = !text.failed && hyv_path_is_file(text.text);
    *path = there ? hyv_strdup(text.text) : NULL;
    const bool failed = text.failed || (there && !*path);
    hyv_string_free(&text);
    return failed ? -ENOMEM : there;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Adds the presets of a folder to names[0 .. count); the new count. */
static int list_folder(const char *folder, char **names, int count)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && count < LISTED_MAX && (entry = readdir(dir))) {
        const size_t n = strlen(entry->d_name);
        if (n <= 5 || strcmp(entry->d_name + n - 5, ".yaml") || entry->d_name[0] == '.')
            continue;
        if ((names[count] = hyv_strndup(entry->d_name, n - 5)))
            count++;
    }
    if (dir)
        closedir(dir);
    return count;
}

static int fail_missing(hyv_options *errors, const hyv_options *search, const char *name)
{
    char *names[LISTED_MAX] = {NULL}, *folder;
    int count = 0;
    for (int i = 0; hyv_options_folder(search, i, &folder) > 0; i++) {
        count = list_folder(folder, names, count);
        hyv_free_host(folder);
    }
    qsort(names, (size_t)count, sizeof(names[0]), compare_names);
    hyv_string list = {0};
    for (int i = 0; i < count; i++)
        if (i == 0 || strcmp(names[i], names[i - 1]))
            hyv_string_append(&list, "%s%s", i ? ", " : "", names[i]);
    for (int i = 0; i < count; i++)
        hyv_free_host(names[i]);
    hyv_options_fail(errors, -ENOENT, "there is no preset \"%.*s\"; there are: %s", SHOWN_BYTES,
                     name, list.length ? list.text : "none");
    hyv_string_free(&list);
    return -ENOENT;
}

/* Finds NAME beside `near` (a path, or NULL) or in the folders; a path is taken as it is. */
static int find_preset(preset_file *f, const char *near, const char *name, char **path)
{
    const char *slash = near ? strrchr(near, '/') : NULL;
    char *folder = NULL;
    int found = 0;
    *path = NULL;
    if (strchr(name, '/')) {
        *path = hyv_strdup(name);
        found = *path ? 1 : -ENOMEM;
    } else if (slash && is_name(name)) {
        folder = hyv_strndup(near, (size_t)(slash - near));
        found = folder ? preset_in(folder, name, path) : -ENOMEM;
        hyv_free_host(folder);
    }
    for (int i = 0; found == 0 && is_name(name); i++) {
        found = hyv_options_folder(f->search, i, &folder);
        if (found <= 0)
            break;
        found = preset_in(folder, name, path);
        hyv_free_host(folder);
    }
    if (found < 0)
        return hyv_options_fail(f->errors, found, "preset %.*s: not enough memory", SHOWN_BYTES,
                                name);
    return found ? 0 : fail_missing(f->errors, f->search, name);
}

static int read_entry(preset_file *f, const char *key, const char *value, const yaml_mark_t *mark,
                      bool first)
{
    if (!value || !*value)
        return fail_at(f, mark, "an option has no value");
    if (!strcmp(key, "include")) {
        if (!first)
            return fail_at(f, mark, "include must be the first entry");
        char *path;
        int err = find_preset(f, f->path, value, &path);
        if (err >= 0)
            err = load_path(f, path);
        hyv_free_host(path);
        return err;
    }
    if (hyv_options_is_set(f->values, key))
        return fail_at(f, mark, "an option is given twice");
    const int err = hyv_options_set(f->values, key, value);
    if (err < 0)
        fail_at(f, mark, hyv_options_get(f->values, "error"));
    return err;
}

static int read_mapping(preset_file *f)
{
    int err = expect(f, YAML_STREAM_START_EVENT, "not valid YAML");
    if (err >= 0)
        err = expect(f, YAML_DOCUMENT_START_EVENT, "holds no options");
    if (err >= 0)
        err = expect(f, YAML_MAPPING_START_EVENT, "not a plain mapping of option names to values");
    for (bool first = true; err >= 0; first = false) {
        char *key, *value = NULL;
        yaml_mark_t mark, value_mark;
        err = read_scalar(f, &key, &mark);
        if (err < 0 || !key)
            break;
        err = read_scalar(f, &value, &value_mark);
        if (err >= 0)
            err = read_entry(f, key, value, &mark, first);
        hyv_free_host(key);
        hyv_free_host(value);
    }
    if (err >= 0)
        err = expect(f, YAML_DOCUMENT_END_EVENT, "not valid YAML");
    return err < 0 ? err : expect(f, YAML_STREAM_END_EVENT, "only one document is allowed");
}

static int load_path(preset_file *parent, const char *path)
{
    preset_file f = {.path = path,
                     .errors = parent->errors,
                     .search = parent->search,
                     .result = parent->result,
                     .depth = parent->depth + 1};
    if (f.depth > HYV_PRESET_DEPTH_MAX)
        return hyv_options_fail(f.errors, -EINVAL, "preset %s: included more than %d deep", path,
                                HYV_PRESET_DEPTH_MAX);
    char *text = NULL;
    size_t size = 0;
    int err = hyv_file_read(&text, &size, path, HYV_PRESET_BYTES_MAX);
    if (err == -EFBIG)
        return hyv_options_fail(f.errors, -EINVAL, "preset %s: larger than %d bytes", path,
                                HYV_PRESET_BYTES_MAX);
    if (err < 0)
        return hyv_options_fail(f.errors, err, "preset %s: cannot be read: %s", path,
                                strerror(-err));
    f.values = hyv_options_new();
    if (f.values && yaml_parser_initialize(&f.parser)) {
        yaml_parser_set_input_string(&f.parser, (const unsigned char *)text, size);
        err = read_mapping(&f);
        yaml_parser_delete(&f.parser);
    } else {
        err = hyv_options_fail(f.errors, -ENOMEM, "preset %s: not enough memory", path);
    }
    if (err >= 0)
        hyv_options_take(f.result, f.values);
    hyv_options_free(&f.values);
    hyv_free_host(text);
    return err;
}

/* All or nothing: values are gathered aside first. "auto" stands for no preset. */
static int load(hyv_options *options, const char *name_or_path)
{
    hyv_options_fail(options, 0, "%s", "");
    if (!strcmp(name_or_path, "auto"))
        return 0;
    preset_file root = {.errors = options, .search = options, .result = hyv_options_new()};
    if (!root.result)
        return hyv_options_fail(options, -ENOMEM, "preset: not enough memory");
    char *path = NULL;
    int err = find_preset(&root, NULL, name_or_path, &path);
    if (err >= 0)
        err = load_path(&root, path);
    if (err >= 0)
        hyv_options_take(options, root.result);
    hyv_options_free(&root.result);
    hyv_free_host(path);
    return err;
}

int hyv_options_load(hyv_options *options, const char *preset)
{
    if (!options || !preset)
        return -EINVAL;
    return load(options, preset);
}

int hyv_options_load_model(hyv_options *options, const char *folder)
{
    char *path = hyv_path_join(folder, "hunyuanvideo.yaml");
    if (!path)
        return hyv_options_fail(options, -ENOMEM, "preset: not enough memory");
    const int err = hyv_path_is_file(path) ? load(options, path) : 0;
    hyv_free_host(path);
    return err;
}
