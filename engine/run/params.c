/* Option strings put together to the values the engine works with.
 *
 * Sizes follow the published list of trained resolutions (HunyuanVideo's README): of the option
 * "sizes", the one whose shape is nearest to "aspect". Each string has passed the option table's
 * check, so parsing cannot fail here. Must not open a model.
 */
#include "params.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "../base/util.h"
#include "options.h"

typedef struct source_of_values {
    const hyv_options *options, *defaults;
} source_of_values;

static const char *text(source_of_values s, const char *name)
{
    return hyv_options_value(s.options, s.defaults, name);
}

/* `missing` if the option has no value. */
static int integer(source_of_values s, const char *name, int missing)
{
    int64_t value;
    return hyv_parse_int(text(s, name), &value) ? (int)value : missing;
}

static double number(source_of_values s, const char *name)
{
    double value;
    return hyv_parse_double(text(s, name), &value) ? value : 0;
}

static bool is(source_of_values s, const char *name, const char *value)
{
    return !strcmp(text(s, name), value);
}

static int64_t greatest_divisor(int64_t a, int64_t b)
{
    while (b) {
        const int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* A whole number or decimal fraction of at most nine digits as value / scale. */
static bool read_decimal(const char **text_at, int64_t *value, int64_t *scale)
{
    const char *p = *text_at;
    int digits = 0;
    bool point = false;
    *value = 0;
    *scale = 1;
    for (; (*p >= '0' && *p <= '9') || (*p == '.' && !point); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        if (++digits > 9)
            return false;
        *value = *value * 10 + (*p - '0');
        if (point)
            *scale *= 10;
    }
    *text_at = p;
    return digits > 0;
}

bool hyv_value_ratio(const char *value, int max, int *num, int *den)
{
    int64_t a, b = 1, a_scale, b_scale = 1;
    if (!read_decimal(&value, &a, &a_scale))
        return false;
    if ((*value == '/' || *value == ':') && (value++, !read_decimal(&value, &b, &b_scale)))
        return false;
    a *= b_scale;
    b *= a_scale;
    const int64_t divisor = greatest_divisor(a, b);
    if (*value || a <= 0 || b <= 0 || a / divisor > INT_MAX || b / divisor > INT_MAX)
        return false;
    a /= divisor;
    b /= divisor;
    *num = (int)a;
    *den = (int)b;
    return a <= b * max && b <= a * max;
}

static bool read_side(const char **at, int *side)
{
    int64_t value, scale;
    if (**at < '0' || **at > '9' || !read_decimal(at, &value, &scale))
        return false;
    *side = (int)value;
    return scale == 1 && value >= HYV_SIZE_STEP && value <= HYV_SIZE_MAX &&
           value % HYV_SIZE_STEP == 0;
}

bool hyv_value_size(const char **list, int *width, int *height)
{
    const char *p = *list + strspn(*list, " ");
    if (!read_side(&p, width) || *p++ != 'x' || !read_side(&p, height) || (*p && *p != ' '))
        return false;
    *list = p + strspn(p, " ");
    return true;
}

bool hyv_value_memory(const char *value, uint64_t *bytes)
{
    static const char units[] = "KMGT";
    int64_t number, scale;
    *bytes = 0;
    if (!strcmp(value, "auto"))
        return true;
    if (!read_decimal(&value, &number, &scale))
        return false;
    const char *unit = *value ? strchr(units, *value) : NULL;
    const double factor = unit ? (double)((uint64_t)1 << 10 * (unit - units + 1)) : 1.0;
    value += unit != NULL;
    value += *value == 'B' ? 1 : unit && value[0] == 'i' && value[1] == 'B' ? 2 : 0;
    const double amount = (double)number / (double)scale * factor;
    *bytes = amount < 1e18 ? (uint64_t)amount : 0;
    return !*value && *bytes >= (uint64_t)1 << 20;
}

bool hyv_value_failure(const char *value, int *frame)
{
    int64_t wanted;
    if (!strcmp(value, "none"))
        *frame = HYV_FAIL_NONE;
    else if (!strcmp(value, "plan"))
        *frame = HYV_FAIL_PLAN;
    else if (!strcmp(value, "first"))
        *frame = 0;
    else if (hyv_parse_int(value, &wanted) && wanted >= 0 && wanted < HYV_FRAMES_MAX)
        *frame = (int)wanted;
    else
        return false;
    return true;
}

static char *copy(source_of_values s, const char *name, int *err)
{
    char *string = hyv_strdup(text(s, name));
    if (!string)
        *err = -ENOMEM;
    return string;
}

/* A path as it is, else the name of a folder that stands next to the presets. */
static int find_model(char **found, const hyv_options *options, hyv_log *log)
{
    const char *name = hyv_options_value(options, NULL, "model");
    if (!strcmp(name, "test") || hyv_path_is_folder(name) || hyv_path_is_file(name)) {
        *found = hyv_strdup(name);
        return *found ? 0 : hyv_log_error(log, -ENOMEM, "option model: not enough memory");
    }
    if (strchr(name, '/'))
        return hyv_log_error(log, -ENOENT, "option model: there is no folder or file \"%s\"", name);
    hyv_string places = {0};
    char *folder;
    int err = 0;
    for (int i = 0; !*found && (err = hyv_options_folder(options, i, &folder)) > 0; i++) {
        hyv_string path = {0};
        hyv_string_append(&path, "%s/%s/model_index.json", folder, name);
        if (path.failed)
            err = -ENOMEM;
        else if (hyv_path_is_file(path.text))
            err = (*found = hyv_path_join(folder, name)) ? 0 : -ENOMEM;
        else if (hyv_path_is_folder(folder))
            hyv_string_append(&places, "%s%s", places.length ? ", " : "", folder);
        hyv_string_free(&path);
        hyv_free_host(folder);
        if (err < 0)
            break;
    }
    if (err < 0)
        hyv_log_error(log, err, "option model: not enough memory");
    else if (!*found)
        err = hyv_log_error(log, -ENOENT,
                            "option model: \"%s\" is neither a folder or file here nor a model in "
                            "%s; set model to a model's folder",
                            name, places.length ? places.text : "any folder of presets");
    hyv_string_free(&places);
    return err;
}

/* The value of an option that is a path; unset stays NULL. */
static char *copy_path(source_of_values s, const char *name, int *err)
{
    return *text(s, name) ? copy(s, name, err) : NULL;
}

/* The folders in which models by name, and tokenizers, are searched. */
static int list_folders(char ***list, const hyv_options *options)
{
    char *folder;
    int err;
    for (int i = 0; (err = hyv_options_folder(options, i, &folder)) > 0; i++) {
        char **grown = hyv_realloc(*list, (size_t)i + 2, sizeof(*grown));
        if (!grown) {
            hyv_free_host(folder);
            return -ENOMEM;
        }
        *list = grown;
        grown[i] = folder;
        grown[i + 1] = NULL;
    }
    return err;
}

static int choose_parts(hyv_choice *c, const hyv_options *options)
{
    static const char *const tokenizers[HYV_TOKENIZERS] = {"tokenizer", "tokenizer_2"};
    const source_of_values s = {options, NULL};
    int err = list_folders(&c->folders, options);
    for (int i = 0; i < HYV_COMPONENTS; i++)
        c->component[i] = copy_path(s, hyv_component_name((enum hyv_component)i), &err);
    for (int i = 0; i < HYV_TOKENIZERS; i++)
        c->tokenizer[i] = copy_path(s, tokenizers[i], &err);
    c->task = is(s, "task", "t2v")   ? HYV_TASK_T2V
              : is(s, "task", "i2v") ? HYV_TASK_I2V
                                     : HYV_TASK_AUTO;
    return err;
}

static bool is_model_chosen(const hyv_options *options)
{
    return hyv_options_is_set(options, "model") ||
           strcmp(hyv_options_value(options, NULL, "model"),
                  hyv_options_value(NULL, NULL, "model")) != 0;
}

int hyv_params_source(hyv_params *params, const hyv_options *options, hyv_log *log)
{
    bool named = is_model_chosen(options);
    hyv_params_clear(params);
    params->threads = integer((source_of_values){options, NULL}, "threads", 0);
    int err = choose_parts(&params->choice, options);
    if (err < 0)
        return hyv_log_error(log, err, "options: not enough memory");
    if (named)
        return find_model(&params->model, options, log);
    for (int i = 0; i < HYV_COMPONENTS; i++)
        named |= params->choice.component[i] != NULL;
    if (!named)
        return hyv_log_error(log, -EINVAL,
                             "option model: nothing is set; name a model, or a component");
    params->model = hyv_strdup("");
    return params->model ? 0 : hyv_log_error(log, -ENOMEM, "options: not enough memory");
}

/* A transformer of the user's own is not put into the default model, whose size it has not. */
static int choose_model(hyv_params *params, const hyv_options *options, hyv_log *log)
{
    int err = choose_parts(&params->choice, options);
    if (err < 0)
        return hyv_log_error(log, err, "options: not enough memory");
    if (!params->choice.component[HYV_TRANSFORMER] || is_model_chosen(options))
        return find_model(&params->model, options, log);
    params->model = hyv_strdup("");
    return params->model ? 0 : hyv_log_error(log, -ENOMEM, "options: not enough memory");
}

int hyv_params_model(hyv_params *params, const hyv_options *options, hyv_log *log)
{
    const source_of_values s = {options, NULL};
    hyv_params_clear(params);
    if (!strncmp(text(s, "device"), "cuda", 4))
        return hyv_log_error(log, -ENODEV,
                             "option device: %s is not part of this build; valid: "
                             "auto, cpu",
                             text(s, "device"));
    params->precision = is(s, "precision", "bf16")   ? HYV_PRODUCTS_BF16
                        : is(s, "precision", "int8") ? HYV_PRODUCTS_INT8
                                                     : HYV_PRODUCTS_FP32;
    if (params->precision == HYV_PRODUCTS_FP32 && !is(s, "precision", "auto") &&
        !is(s, "precision", "fp32"))
        return hyv_log_error(log, -ENOSYS,
                             "option precision: %s is not available on the cpu; "
                             "valid: auto, fp32, bf16, int8",
                             text(s, "precision"));
    hyv_value_memory(text(s, "memory"), &params->memory);
    params->threads = integer(s, "threads", 0);
    params->trace = is(s, "trace", "ops");
    int err = choose_model(params, options, log);
    if (err < 0)
        return err;
    params->isa = copy(s, "isa", &err);
    return err < 0 ? hyv_log_error(log, err, "options: not enough memory") : 0;
}

static int round_to_step(double side)
{
    const double steps = floor(side / HYV_SIZE_STEP + 0.5);
    return (int)fmin(fmax(steps, 1), (double)HYV_SIZE_MAX / HYV_SIZE_STEP) * HYV_SIZE_STEP;
}

static void choose_size(hyv_params *params, source_of_values s)
{
    int num = 1, den = 1, width, height;
    hyv_value_ratio(text(s, "aspect"), HYV_ASPECT_MAX, &num, &den);
    const double aspect = (double)num / den;
    params->width = integer(s, "width", 0);
    params->height = integer(s, "height", 0);
    const bool free_size = !params->width && !params->height;
    if (!params->width && params->height)
        params->width = round_to_step(params->height * aspect);
    if (!params->height && params->width)
        params->height = round_to_step(params->width / aspect);
    double nearest = INFINITY;
    params->size_trained = false;
    const char *sizes = text(s, "sizes");
    while (*sizes && hyv_value_size(&sizes, &width, &height)) {
        const double distance = fabs(log((double)width / height / aspect));
        if (free_size && distance < nearest) {
            nearest = distance;
            params->width = width;
            params->height = height;
        }
        params->size_trained |= params->width == width && params->height == height;
    }
}

static int64_t draw_seed(void)
{
    uint32_t seed;
    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != (ssize_t)sizeof(seed))
        seed = (uint32_t)time(NULL) ^ (uint32_t)(hyv_seconds() * 1e6);
    return seed;
}

int hyv_params_video(hyv_params *params, const hyv_options *options, const hyv_options *defaults,
                     hyv_log *log)
{
    const source_of_values s = {options, defaults};
    int err = 0;
    hyv_free_host(params->prompt);
    hyv_free_host(params->negative);
    hyv_free_host(params->checkpoint);
    hyv_free_host(params->recipe);
    params->prompt = copy(s, "prompt", &err);
    params->negative = copy(s, "negative", &err);
    params->checkpoint = copy(s, "checkpoint", &err);
    params->recipe = copy(s, "recipe", &err);
    choose_size(params, s);
    params->frames = integer(s, "frames", 1);
    hyv_value_ratio(text(s, "rate"), HYV_RATE_MAX, &params->rate_num, &params->rate_den);
    params->steps = integer(s, "steps", 1);
    params->guidance = number(s, "guidance");
    params->shift = number(s, "shift");
    params->cfg = number(s, "cfg");
    int64_t seed = -1;
    hyv_parse_int(text(s, "seed"), &seed);
    params->seed_drawn = seed < 0;
    params->seed = seed < 0 ? draw_seed() : seed;
    const bool image =
        is(s, "template", "image") || (is(s, "template", "auto") && params->frames == 1);
    params->template = image ? HYV_TEMPLATE_IMAGE : HYV_TEMPLATE_VIDEO;
    params->tiling = is(s, "tiling", "off")         ? HYV_TILE_OFF
                     : is(s, "tiling", "official")  ? HYV_TILE_OFFICIAL
                     : is(s, "tiling", "diffusers") ? HYV_TILE_DIFFUSERS
                                                    : HYV_TILE_AUTO;
    params->test_step_ms = integer(s, "test_step_ms", 0);
    params->test_frame_ms = integer(s, "test_frame_ms", 0);
    hyv_value_failure(text(s, "test_fail"), &params->test_fail);
    return err < 0 ? hyv_log_error(log, err, "options: not enough memory") : 0;
}

void hyv_params_clear(hyv_params *params)
{
    for (int i = 0; i < HYV_COMPONENTS; i++)
        hyv_free_host(params->choice.component[i]);
    for (int i = 0; i < HYV_TOKENIZERS; i++)
        hyv_free_host(params->choice.tokenizer[i]);
    for (char **folder = params->choice.folders; folder && *folder; folder++)
        hyv_free_host(*folder);
    hyv_free_host(params->choice.folders);
    hyv_free_host(params->model);
    hyv_free_host(params->isa);
    hyv_free_host(params->prompt);
    hyv_free_host(params->negative);
    hyv_free_host(params->checkpoint);
    hyv_free_host(params->recipe);
    *params = (hyv_params){0};
}
