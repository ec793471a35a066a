#include "golden.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "check.h"

int golden_open(golden_cases *all)
{
    json_error_t error;
    all->root = json_load_file(GOLDEN_FOLDER "/cases/cases.json", 0, &error);
    all->at = all->root ? json_object_iter(all->root) : NULL;
    return CHECK_MSG(all->root != NULL, "%s: %s", error.source, error.text);
}

static const char *string_of(json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static double number_of(json_t *object, const char *key, double otherwise)
{
    json_t *value = json_object_get(object, key);
    return value ? json_number_value(value) : otherwise;
}

int golden_next(golden_cases *all, golden_case *c)
{
    if (!all->at)
        return 0;
    json_t *o = json_object_iter_value(all->at);
    *c = (golden_case){.name = json_object_iter_key(all->at),
                       .model = string_of(o, "model"),
                       .prompt = string_of(o, "prompt"),
                       .negative = string_of(o, "negative"),
                       .cfg = number_of(o, "cfg", 1.0),
                       .guidance = number_of(o, "guidance", 0.0),
                       .shift = number_of(o, "shift", 0.0),
                       .width = (int)number_of(o, "width", 0),
                       .height = (int)number_of(o, "height", 0),
                       .frames = (int)number_of(o, "frames", 0),
                       .steps = (int)number_of(o, "steps", 0),
                       .seed = (int64_t)number_of(o, "seed", 0),
                       .crop_start = (int64_t)number_of(o, "crop_start", 0),
                       .image_template = strcmp(string_of(o, "template"), "image") == 0};
    all->at = json_object_iter_next(all->root, all->at);
    return 1;
}

void golden_close(golden_cases *all)
{
    json_decref(all->root);
    all->root = NULL;
}

static void print_error(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level == HYV_LEVEL_ERROR)
        printf("%s\n", message);
}

hyv_checkpoint *golden_file(const char *path)
{
    hyv_log log = {.write = print_error};
    hyv_checkpoint *file = NULL;
    char full[512];
    snprintf(full, sizeof(full), GOLDEN_FOLDER "/%s", path);
    CHECK_MSG(hyv_checkpoint_open(&file, full, &log) >= 0, "cannot open %s", full);
    return file;
}

static const void *tensor_data(hyv_checkpoint *file, const char *name, hyv_type type,
                               int64_t *count)
{
    const hyv_tensor *t = file ? hyv_checkpoint_find(file, name) : NULL;
    if (!CHECK_MSG(t && t->type == type, "no tensor %s of type %s", name, hyv_type_name(type)))
        return NULL;
    if (count)
        *count = t->count;
    return t->data;
}

const float *golden_floats(hyv_checkpoint *file, const char *name, int64_t *count)
{
    return tensor_data(file, name, HYV_F32, count);
}

const int32_t *golden_ints(hyv_checkpoint *file, const char *name, int64_t *count)
{
    return tensor_data(file, name, HYV_I32, count);
}

const uint8_t *golden_bytes(hyv_checkpoint *file, const char *name, int64_t *count)
{
    return tensor_data(file, name, HYV_U8, count);
}

double golden_compare(const char *what, const float *got, const float *want, int64_t n,
                      double tolerance)
{
    double worst = 0.0;
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        const double difference = fabs((double)got[i] - (double)want[i]);
        if (!(difference <= worst)) {
            worst = difference;
            at = i;
        }
    }
    CHECK_MSG(worst <= tolerance, "%s: element %lld is %.9g, reference %.9g: %.3g > %.3g", what,
              (long long)at, (double)got[at], (double)want[at], worst, tolerance);
    return worst;
}

void golden_channels_last(float *out, const float *in, int64_t rows, int64_t channels)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < channels; c++)
            out[r * channels + c] = in[c * rows + r];
}
