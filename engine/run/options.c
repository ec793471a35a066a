/* The option table, and the strings a user or a preset gave for its rows.
 *
 * Everything that can be chosen is one row here: name, type, range, default, help. Published
 * defaults are those of HunyuanVideo's sample_video.py at 540p. Parsing, the help of `hyv`, the
 * manual's table and the preset reader all follow from the table. Must not know a preset by name.
 */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <utf8proc.h>

#include "../base/util.h"
#include "params.h"

enum { SHOWN_BYTES = 60 }; /* of a refused value, in messages */

typedef struct option_row {
    hyv_option_info info;
    bool (*valid)(const char *value); /* of STRING; NULL: anything */
    const char *form;                 /* what `valid` wants, in words */
} option_row;

static bool is_utf8(const char *value)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)value;
    for (utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(value), n; left > 0; left -= n, p += n) {
        utf8proc_int32_t code;
        if ((n = utf8proc_iterate(p, left, &code)) <= 0)
            return false;
    }
    return true;
}

static bool is_device(const char *value)
{
    int64_t number;
    return !strcmp(value, "auto") || !strcmp(value, "cpu") || !strcmp(value, "cuda") ||
           (!strncmp(value, "cuda:", 5) && hyv_parse_int(value + 5, &number) && number >= 0);
}

static bool is_rate(const char *value)
{
    int num, den;
    return hyv_value_ratio(value, HYV_RATE_MAX, &num, &den);
}

static bool is_aspect(const char *value)
{
    int num, den;
    return hyv_value_ratio(value, HYV_ASPECT_MAX, &num, &den);
}

static bool is_sizes(const char *value)
{
    int width, height, count = 0;
    while (*value && hyv_value_size(&value, &width, &height))
        count++;
    return count && !*value;
}

static bool is_memory(const char *value)
{
    uint64_t bytes;
    return hyv_value_memory(value, &bytes);
}

static bool is_failure(const char *value)
{
    int frame;
    return hyv_value_failure(value, &frame);
}

#define INFO  sizeof(hyv_option_info)
#define MODEL HYV_OPTION_MODEL
#define VIDEO HYV_OPTION_VIDEO

/* One row two or three lines: name and help; type, scope, default, range, values, step; check. */
/* clang-format off */
static const option_row rows[] = {
    {{INFO, "model", "set the model: a folder or file, the name of an installed model, or test",
      HYV_OPTION_STRING, MODEL, "nano", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "prompt", "set the text that describes the video",
      HYV_OPTION_STRING, VIDEO, "", 0, 0, NULL, 0}, is_utf8, "UTF-8"},
    {{INFO, "negative", "set the text that cfg leads away from",
      HYV_OPTION_STRING, VIDEO, "", 0, 0, NULL, 0}, is_utf8, "UTF-8"},
    {{INFO, "width", "set the width of the pictures; unset: from aspect and sizes",
      HYV_OPTION_INT, VIDEO, "", HYV_SIZE_STEP, HYV_SIZE_MAX, NULL, HYV_SIZE_STEP}, NULL, NULL},
    {{INFO, "height", "set the height of the pictures; unset: from aspect and sizes",
      HYV_OPTION_INT, VIDEO, "", HYV_SIZE_STEP, HYV_SIZE_MAX, NULL, HYV_SIZE_STEP}, NULL, NULL},
    {{INFO, "aspect", "set the aspect ratio that chooses among the sizes",
      HYV_OPTION_STRING, VIDEO, "16:9", 0, 0, NULL, 0}, is_aspect,
     "a ratio like 16:9, 9:16, 1 or 1.85, from 1:16 to 16:1"},
    {{INFO, "sizes", "list the sizes that the model was trained for",
      HYV_OPTION_STRING, VIDEO, "960x544 544x960 832x624 624x832 720x720", 0, 0, NULL, 0}, is_sizes,
     "sizes like \"1280x720 720x1280\", multiples of 16 from 16 to 8192"},
    {{INFO, "frames", "set the number of pictures, 4k+1",
      HYV_OPTION_INT, VIDEO, "129", 1, HYV_FRAMES_MAX, NULL, HYV_FRAMES_STEP}, NULL, NULL},
    {{INFO, "rate", "set the frame rate of the time stamps",
      HYV_OPTION_STRING, VIDEO, "24", 0, 0, NULL, 0}, is_rate,
     "frames per second like 24, 23.976 or 30000/1001, from 1/1000 to 1000"},
    {{INFO, "seed", "set the random seed; -1: draw one",
      HYV_OPTION_INT, VIDEO, "-1", -1, UINT32_MAX, NULL, 0}, NULL, NULL},
    {{INFO, "steps", "set the number of denoising steps",
      HYV_OPTION_INT, VIDEO, "50", 1, HYV_STEPS_MAX, NULL, 0}, NULL, NULL},
    {{INFO, "guidance", "set the embedded guidance scale",
      HYV_OPTION_FLOAT, VIDEO, "6", 0, 100, NULL, 0}, NULL, NULL},
    {{INFO, "shift", "set the shift of the schedule towards noise; unset: the model's own",
      HYV_OPTION_FLOAT, VIDEO, "", 0.01, 100, NULL, 0}, NULL, NULL},
    {{INFO, "cfg", "set the scale of classifier-free guidance; 1: off; above, a step runs twice",
      HYV_OPTION_FLOAT, VIDEO, "1", 1, 100, NULL, 0}, NULL, NULL},
    {{INFO, "template", "set the prompt template; auto: image for one frame, else video",
      HYV_OPTION_ENUM, VIDEO, "auto", 0, 0, "auto|video|image", 0}, NULL, NULL},
    {{INFO, "tiling", "set how decoding is cut into tiles; auto: official, where it is larger",
      HYV_OPTION_ENUM, VIDEO, "auto", 0, 0, "auto|off|official|diffusers", 0}, NULL, NULL},
    {{INFO, "checkpoint", "keep the run's state in this file, and go on with it; auto: in the folder",
      HYV_OPTION_STRING, VIDEO, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "recipe", "write all options in force to this file, a preset for the same video",
      HYV_OPTION_STRING, VIDEO, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "device", "set what computes",
      HYV_OPTION_STRING, MODEL, "auto", 0, 0, NULL, 0}, is_device,
     "auto, cpu, cuda or cuda:N"},
    {{INFO, "threads", "set the number of threads; 0: as many as the process may use",
      HYV_OPTION_INT, MODEL, "0", 0, HYV_THREADS_MAX, NULL, 0}, NULL, NULL},
    {{INFO, "isa", "force an instruction set of the processor",
      HYV_OPTION_ENUM, MODEL, "auto", 0, 0, "auto|c|avx2|avx512|avx512bf16|amx", 0}, NULL, NULL},
    {{INFO, "precision", "set the arithmetic; auto: fp32, the same bytes on every processor",
      HYV_OPTION_ENUM, MODEL, "auto", 0, 0, "auto|fp32|bf16|fp16|fp8|int8", 0}, NULL, NULL},
    {{INFO, "memory", "bound the memory of the process; auto: nine tenths of what is free",
      HYV_OPTION_STRING, MODEL, "auto", 0, 0, NULL, 0}, is_memory,
     "auto, or an amount like 12G, 1.5G or 900M, from 1M"},
    {{INFO, "offload", "set how hard to save device memory",
      HYV_OPTION_ENUM, MODEL, "auto", 0, 0, "auto|none", 0}, NULL, NULL},
    {{INFO, "transformer", "set the transformer's file or folder; unset: the model's",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "vae", "set the VAE's file or folder; unset: the model's",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "text_encoder", "set the language model's file or folder; unset: the model's",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "text_encoder_2", "set CLIP's file or folder; unset: the model's",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "tokenizer", "set the language model's tokenizer, a file or folder; unset: searched",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "tokenizer_2", "set CLIP's tokenizer, a file or folder; unset: searched",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "task", "set what a transformer is for whose file does not tell",
      HYV_OPTION_ENUM, MODEL, "auto", 0, 0, "auto|t2v|i2v", 0}, NULL, NULL},
    {{INFO, "presets", "search presets and models in these folders first, separated by colons",
      HYV_OPTION_STRING, MODEL, "", 0, 0, NULL, 0}, NULL, NULL},
    {{INFO, "trace", "log each operator with its shapes and time",
      HYV_OPTION_ENUM, MODEL, "none", 0, 0, "none|ops", 0}, NULL, NULL},
    {{INFO, "test_step_ms", "set how long a denoising step of model test takes",
      HYV_OPTION_INT, VIDEO, "0", 0, HYV_DELAY_MS_MAX, NULL, 0}, NULL, NULL},
    {{INFO, "test_frame_ms", "set how long a frame of model test takes",
      HYV_OPTION_INT, VIDEO, "0", 0, HYV_DELAY_MS_MAX, NULL, 0}, NULL, NULL},
    {{INFO, "test_fail", "set where model test fails",
      HYV_OPTION_STRING, VIDEO, "none", 0, 0, NULL, 0}, is_failure,
     "none, plan, first or the number of a frame, from 0"},
};
/* clang-format on */

enum { ROWS = sizeof(rows) / sizeof(rows[0]) };

struct hyv_options {
    char *set[ROWS];    /* by hyv_options_set; NULL: not set */
    char *preset[ROWS]; /* by hyv_options_load */
    char error[1024];
};

static int find_row(const char *name)
{
    for (int i = 0; name && i < ROWS; i++)
        if (!strcmp(rows[i].info.name, name))
            return i;
    return -1;
}

int hyv_options_fail(hyv_options *options, int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(options->error, sizeof(options->error), format, args);
    va_end(args);
    return err;
}

static int fail_unknown(hyv_options *options, const char *name)
{
    hyv_string names = {0};
    for (int i = 0; i < ROWS; i++)
        hyv_string_append(&names, "%s%s", i ? ", " : "", rows[i].info.name);
    hyv_options_fail(options, -EINVAL, "no option is named \"%.*s\"; there are: %s", SHOWN_BYTES,
                     name ? name : "", hyv_string_text(&names));
    hyv_string_free(&names);
    return -EINVAL;
}

/* Valid numbers of a row with a step are min + k * step; names the neighbours of a wrong one. */
static int check_int(hyv_options *options, const hyv_option_info *info, const char *value)
{
    int64_t number;
    if (!hyv_parse_int(value, &number))
        return hyv_options_fail(options, -EINVAL,
                                "option %s: \"%.*s\" is not a whole number; valid: %.0f to %.0f",
                                info->name, SHOWN_BYTES, value, info->min, info->max);
    if ((double)number < info->min || (double)number > info->max)
        return hyv_options_fail(options, -EINVAL,
                                "option %s: %lld is out of range; valid: %.0f to %.0f", info->name,
                                (long long)number, info->min, info->max);
    const int64_t min = (int64_t)info->min, step = (int64_t)info->step;
    if (step > 0 && (number - min) % step) {
        const int64_t below = number - (number - min) % step;
        const int64_t offset = min % step;
        return hyv_options_fail(
            options, -EINVAL,
            "option %s: %lld is not a multiple of %lld%s; nearest valid: %lld and %lld", info->name,
            (long long)number, (long long)step, offset ? " plus 1" : "", (long long)below,
            (long long)(below + step));
    }
    return 0;
}

static int check_float(hyv_options *options, const hyv_option_info *info, const char *value)
{
    double number;
    if (!hyv_parse_double(value, &number) || !(number >= info->min && number <= info->max))
        return hyv_options_fail(options, -EINVAL,
                                "option %s: \"%.*s\" is not a number in range; valid: %g to %g",
                                info->name, SHOWN_BYTES, value, info->min, info->max);
    return 0;
}

static int check_enum(hyv_options *options, const hyv_option_info *info, const char *value)
{
    const size_t n = strlen(value);
    for (const char *word = strchr(value, '|') ? NULL : info->values; word;
         word = strchr(word, '|')) {
        word += *word == '|';
        if (!strncmp(word, value, n) && (word[n] == '|' || !word[n]))
            return 0;
    }
    return hyv_options_fail(options, -EINVAL, "option %s: \"%.*s\" is unknown; valid: %s",
                            info->name, SHOWN_BYTES, value, info->values);
}

static int check_value(hyv_options *options, const option_row *row, const char *value)
{
    const hyv_option_info *info = &row->info;
    if (strnlen(value, HYV_OPTION_BYTES_MAX + 1) > HYV_OPTION_BYTES_MAX)
        return hyv_options_fail(options, -EINVAL, "option %s: longer than %d bytes", info->name,
                                HYV_OPTION_BYTES_MAX);
    switch (info->type) {
    case HYV_OPTION_INT:
        return check_int(options, info, value);
    case HYV_OPTION_FLOAT:
        return check_float(options, info, value);
    case HYV_OPTION_ENUM:
        return check_enum(options, info, value);
    case HYV_OPTION_STRING:
        break;
    }
    if (!row->valid || row->valid(value))
        return 0;
    if (row->valid == is_utf8)
        return hyv_options_fail(options, -EINVAL, "option %s: the text is not UTF-8", info->name);
    return hyv_options_fail(options, -EINVAL, "option %s: \"%.*s\" is not valid; valid: %s",
                            info->name, SHOWN_BYTES, value, row->form);
}

const char *hyv_options_value(const hyv_options *options, const hyv_options *defaults,
                              const char *name)
{
    const int i = find_row(name);
    if (i < 0)
        return "";
    if (options && options->set[i])
        return options->set[i];
    if (options && options->preset[i])
        return options->preset[i];
    if (defaults && defaults->preset[i])
        return defaults->preset[i];
    return rows[i].info.default_value;
}

bool hyv_options_is_set(const hyv_options *options, const char *name)
{
    const int i = find_row(name);
    return i >= 0 && options->set[i];
}

void hyv_options_take(hyv_options *to, hyv_options *from)
{
    for (int i = 0; i < ROWS; i++) {
        char **value = from->set[i] ? &from->set[i] : &from->preset[i];
        if (!*value)
            continue;
        hyv_free_host(to->preset[i]);
        to->preset[i] = *value;
        *value = NULL;
    }
}

hyv_options *hyv_options_new(void)
{
    return hyv_calloc(1, sizeof(hyv_options));
}

void hyv_options_free(hyv_options **options)
{
    if (!options || !*options)
        return;
    for (int i = 0; i < ROWS; i++) {
        hyv_free_host((*options)->set[i]);
        hyv_free_host((*options)->preset[i]);
    }
    hyv_free_host(*options);
    *options = NULL;
}

int hyv_options_set(hyv_options *options, const char *name, const char *value)
{
    if (!options)
        return -EINVAL;
    options->error[0] = '\0';
    const int i = find_row(name);
    if (i < 0)
        return fail_unknown(options, name);
    char *copy = NULL;
    if (value && *value) {
        const int err = check_value(options, &rows[i], value);
        if (err < 0)
            return err;
        if (!(copy = hyv_strdup(value)))
            return hyv_options_fail(options, -ENOMEM, "option %s: not enough memory", name);
    }
    hyv_free_host(options->set[i]);
    options->set[i] = copy;
    return 0;
}

const char *hyv_options_get(const hyv_options *options, const char *name)
{
    if (options && name && !strcmp(name, "error"))
        return options->error;
    return find_row(name) < 0 ? NULL : hyv_options_value(options, NULL, name);
}

const hyv_option_info *hyv_options_next(const hyv_option_info *previous)
{
    const int i = previous ? find_row(previous->name) + 1 : 0;
    return i < ROWS ? &rows[i].info : NULL;
}
