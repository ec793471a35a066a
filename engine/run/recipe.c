/* Writes the recipe with libyaml's emitter: see recipe.h. */
#include "recipe.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "../base/util.h"
#include "../base/write.h"

/* They change no byte of the pictures, or are another run's business. */
static const char *const left_out[] = {
    "presets", "trace",  "threads",    "isa",    "device",       "offload",       "sizes",
    "aspect",  "memory", "checkpoint", "recipe", "test_step_ms", "test_frame_ms", "test_fail"};

static int append(void *opaque, unsigned char *bytes, size_t n)
{
    hyv_string *s = opaque;
    hyv_string_append_bytes(s, (const char *)bytes, n);
    return !s->failed;
}

static bool emit(yaml_emitter_t *emitter, int made, yaml_event_t *event)
{
    return made && yaml_emitter_emit(emitter, event);
}

static bool emit_scalar(yaml_emitter_t *emitter, const char *text)
{
    yaml_event_t event;
    return emit(emitter,
                yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text,
                                             (int)strlen(text), 1, 1, YAML_ANY_SCALAR_STYLE),
                &event);
}

static bool emit_option(yaml_emitter_t *emitter, const char *name, const char *value)
{
    return emit_scalar(emitter, name) && emit_scalar(emitter, value);
}

static bool is_left_out(const char *name)
{
    for (size_t i = 0; i < sizeof(left_out) / sizeof(*left_out); i++)
        if (!strcmp(name, left_out[i]))
            return true;
    return false;
}

/* Options that name files. */
static bool is_path(const char *name)
{
    static const char *const paths[] = {"model",        "transformer",    "vae",
                                        "text_encoder", "text_encoder_2", "tokenizer",
                                        "tokenizer_2"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
        if (!strcmp(name, paths[i]))
            return true;
    return false;
}

/* What was resolved instead of what was asked for: a seed may have been drawn, a folder found from
 * here. */
static const char *resolved(const char *name, const char *value, const hyv_params *params,
                            const hyv_video *video, char *text, size_t size)
{
    if (!strcmp(name, "seed"))
        snprintf(text, size, "%lld", (long long)video->seed);
    else if (!strcmp(name, "width"))
        snprintf(text, size, "%d", params->width);
    else if (!strcmp(name, "height"))
        snprintf(text, size, "%d", params->height);
    else if (is_path(name) && strcmp(value, "test") && realpath(value, text))
        return text;
    else
        return value;
    return text;
}

static bool emit_options(yaml_emitter_t *emitter, const hyv_options *options,
                         const hyv_options *defaults, const hyv_params *params,
                         const hyv_video *video)
{
    char text[PATH_MAX];
    bool good = true;
    for (const hyv_option_info *o = NULL; good && (o = hyv_options_next(o));) {
        const char *value = hyv_options_value(options, defaults, o->name);
        value = resolved(o->name, value, params, video, text, sizeof(text));
        if (*value && !is_left_out(o->name))
            good = emit_option(emitter, o->name, value);
    }
    return good;
}

static bool emit_document(yaml_emitter_t *emitter, const hyv_options *options,
                          const hyv_options *defaults, const hyv_params *params,
                          const hyv_video *video)
{
    yaml_event_t e;
    return emit(emitter, yaml_stream_start_event_initialize(&e, YAML_UTF8_ENCODING), &e) &&
           emit(emitter, yaml_document_start_event_initialize(&e, NULL, NULL, NULL, 1), &e) &&
           emit(emitter,
                yaml_mapping_start_event_initialize(&e, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE),
                &e) &&
           emit_options(emitter, options, defaults, params, video) &&
           emit(emitter, yaml_mapping_end_event_initialize(&e), &e) &&
           emit(emitter, yaml_document_end_event_initialize(&e, 1), &e) &&
           emit(emitter, yaml_stream_end_event_initialize(&e), &e);
}

char *hyv_recipe_new(const hyv_options *options, const hyv_options *defaults,
                     const hyv_params *params, const hyv_video *video, const char *weights)
{
    hyv_string s = {0};
    yaml_emitter_t emitter;
    hyv_string_append(&s, "# libhunyuanvideo %d.%d.%d\n", HYV_VERSION_MAJOR, HYV_VERSION_MINOR,
                      HYV_VERSION_MICRO);
    for (const char *line = weights; *line; line += strcspn(line, "\n"), line += *line == '\n')
        hyv_string_append(&s, "# %.*s\n", (int)strcspn(line, "\n"), line);
    bool good = !s.failed && yaml_emitter_initialize(&emitter);
    if (good) {
        yaml_emitter_set_output(&emitter, append, &s);
        yaml_emitter_set_unicode(&emitter, 1);
        yaml_emitter_set_width(&emitter, -1);
        good = emit_document(&emitter, options, defaults, params, video);
        yaml_emitter_delete(&emitter);
    }
    char *text = good && !s.failed ? hyv_strdup(hyv_string_text(&s)) : NULL;
    hyv_string_free(&s);
    return text;
}

void hyv_recipe_write(const char *path, const char *recipe, hyv_log *log)
{
    const hyv_chunk part = {recipe, strlen(recipe)};
    const int err = hyv_file_write(path, &part, 1);
    if (err < 0)
        hyv_log_write(log, HYV_LEVEL_WARNING, "recipe %s: cannot be written: %s", path,
                      strerror(-err));
}
