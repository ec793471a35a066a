/* Options: the table of everything that can be chosen, and the values that a user or a preset gave.
 *
 * The public functions hyv_options_* are implemented in options.c and presets.c; this header is
 * what they share with the rest of the engine. Values stay strings here (params.h types them). No
 * model is opened and no preset's name is known.
 *
 * A value is looked for in this order: what hyv_options_set gave; what hyv_options_load read; the
 * model folder's own hunyuanvideo.yaml; the table's default.
 */
#ifndef HYV_RUN_OPTIONS_H
#define HYV_RUN_OPTIONS_H

#include <stdbool.h>

#include "../hunyuanvideo.h"

/* Limits of what comes from outside. */
enum {
    HYV_SIZE_MAX = 8192,    /* width and height: six times what was trained */
    HYV_SIZE_STEP = 16,     /* 8 of the VAE times 2 of the patches */
    HYV_FRAMES_MAX = 16385, /* eleven minutes: more latents than any memory holds */
    HYV_FRAMES_STEP = 4,    /* of the VAE, after the first frame */
    HYV_STEPS_MAX = 1000,   /* as many as there were in training */
    HYV_THREADS_MAX = 1024,
    HYV_DELAY_MS_MAX = 60000,
    HYV_OPTION_BYTES_MAX = 65536, /* of any value, a prompt being the longest */
    HYV_PRESET_BYTES_MAX = 65536,
    HYV_PRESET_DEPTH_MAX = 8 /* of `include`; also ends circles */
};

/* The value of an option of the table: of `options`, else of `defaults` (may be NULL), else its
 * default. Never NULL. */
const char *hyv_options_value(const hyv_options *options, const hyv_options *defaults,
                              const char *name);

/* Whether hyv_options_set gave a value to the option. */
bool hyv_options_is_set(const hyv_options *options, const char *name);

/* Moves the values of `from` to what `to` has from presets. */
void hyv_options_take(hyv_options *to, hyv_options *from);

/* Keeps a message for hyv_options_get(options, "error") and returns `err`. */
int hyv_options_fail(hyv_options *options, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Reads the model folder's own preset, if it has one, as hyv_options_load does. */
int hyv_options_load_model(hyv_options *options, const char *folder);

/* The i-th folder in which presets and models are searched by name: those of the option "presets",
 * those beside the library, the installation's. 1 and a new string, 0 after the last, or -ENOMEM.
 */
int hyv_options_folder(const hyv_options *options, int i, char **folder);

#endif
