/* Options: the table of everything that can be chosen, the values a user or a preset gave, and the
 * typed values that the engine works with.
 *
 * The public functions hyv_options_* are implemented here. Values are strings until hyv_params_*
 * turns them into numbers; both happen through the one table in options.c, from which help texts
 * and the manual come too. No model is opened here and no preset's name is known.
 *
 * A value is looked for in this order: what hyv_options_set gave; what hyv_options_load read; the
 * model folder's own hunyuanvideo.yaml; the table's default.
 */
#ifndef HYV_RUN_OPTIONS_H
#define HYV_RUN_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "../base/log.h"
#include "../base/util.h"
#include "../hunyuanvideo.h"
#include "../text/prompt.h"

/* Limits of what comes from outside; the table and the presets' reader use them. */
enum {
    HYV_SIZE_MAX = 8192,    /* width and height: four times what was trained */
    HYV_SIZE_STEP = 16,     /* 8 of the VAE times 2 of the patches */
    HYV_FRAMES_MAX = 16385, /* eleven minutes; more latents than any memory holds */
    HYV_FRAMES_STEP = 4,    /* of the VAE, after the first frame */
    HYV_STEPS_MAX = 1000,   /* as many as there were in training */
    HYV_THREADS_MAX = 1024,
    HYV_DELAY_MS_MAX = 60000,
    HYV_OPTION_BYTES_MAX = 65536, /* any value, a prompt being the longest */
    HYV_PRESET_BYTES_MAX = 65536,
    HYV_PRESET_DEPTH_MAX = 8, /* of `include`; also ends circles */
    HYV_OPTION_ROWS_MAX = 64
};

enum hyv_tiling {
    HYV_TILING_AUTO, /* as OFFICIAL, which cuts only what is larger than a tile */
    HYV_TILING_OFF,
    HYV_TILING_OFFICIAL, /* 17 latent frames by 32 x 32, stride 12 and 24 */
    HYV_TILING_DIFFUSERS /* 5 latent frames by 32 x 32, stride 3 and 24 */
};

/* Values of hyv_params.test_fail other than a frame number. */
enum { HYV_FAIL_NONE = -2, HYV_FAIL_PLAN = -1 };

/* Options as the engine uses them. Strings are owned. The first half is filled by hyv_params_model,
 * the second by hyv_params_video. */
typedef struct hyv_params {
    char *model; /* "test", or the path of a folder or file that exists */
    char *isa;   /* "auto", "c", "avx2", "avx512" */
    int threads; /* 0: as many as the process may use */
    bool trace;  /* a log line (HYV_LOG_DEBUG) for each operator */

    char *prompt;   /* UTF-8, may be "" */
    char *negative; /* UTF-8, may be "" */
    int width, height;
    bool size_trained; /* width x height is in the list of the option "sizes" */
    int frames;
    int rate_num, rate_den;
    int steps;
    double guidance, shift, cfg;
    int64_t seed;            /* drawn if the option was -1 */
    enum hyv_template templ; /* "auto" resolved: image for one frame, else video */
    enum hyv_tiling tiling;
    int test_step_ms, test_frame_ms;
    int test_fail; /* HYV_FAIL_..., or the number of a frame from 0 */
} hyv_params;

/* Model options of `options`. Finds the model's folder, refuses devices (-ENODEV) and precisions
 * (-ENOSYS) that this build lacks; -ENOENT lists where it looked. *params must be zero or
 * initialised. */
int hyv_params_model(hyv_params *params, const hyv_options *options, hyv_log *log);

/* Video options of `options`, those it does not give taken from `defaults` (may be NULL). Chooses
 * the size, draws the seed. */
int hyv_params_video(hyv_params *params, const hyv_options *options, const hyv_options *defaults,
                     hyv_log *log);

void hyv_params_clear(hyv_params *params);

/* The value of an option, its default if neither `options` nor `defaults` has one; never NULL for a
 * name of the table. */
const char *hyv_options_value(const hyv_options *options, const hyv_options *defaults,
                              const char *name);

/* Reads the model folder's own preset, if it has one, as if by hyv_options_load. */
int hyv_options_load_model(hyv_options *options, const char *folder);

#endif
