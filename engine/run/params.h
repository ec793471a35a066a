/* The typed values that the engine works with, made from option strings.
 *
 * Options are checked one by one when they are set; here they are put together: a size from the
 * trained ones, a seed drawn, a model's folder found. What only the model can know (is it there,
 * does it take guidance) is left to whoever opens it.
 */
#ifndef HYV_RUN_PARAMS_H
#define HYV_RUN_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "../../kernels/ops.h"
#include "../base/log.h"
#include "../hunyuanvideo.h"
#include "../text/prompt.h"
#include "parts.h"

enum hyv_tiling_choice {
    HYV_TILE_AUTO, /* as OFFICIAL, which cuts only what is larger than a tile */
    HYV_TILE_OFF,
    HYV_TILE_OFFICIAL, /* 17 latent frames by 32 x 32, stride 12 and 24 */
    HYV_TILE_DIFFUSERS /* 5 latent frames by 32 x 32, stride 3 and 24 */
};

/* Values of hyv_params.test_fail other than a frame number. */
enum { HYV_FAIL_NONE = -2, HYV_FAIL_PLAN = -1 };

/* Strings are owned. The first half is filled by hyv_params_model, the second by hyv_params_video.
 */
typedef struct hyv_params {
    char *model; /* "test", the path of a folder or file that exists, or "": only components */
    hyv_choice choice; /* components and tokenizers that stand elsewhere */
    char *isa;         /* "auto", "c", "avx2", "avx512", "avx512bf16", "amx" */
    uint64_t memory;   /* bytes that the process may hold; 0: what is free */
    int threads;       /* 0: as many as the process may use */
    hyv_precision precision;
    bool trace; /* a log line (HYV_LOG_DEBUG) for each operator */

    char *prompt;   /* UTF-8, may be "" */
    char *negative; /* UTF-8, may be "" */
    int width, height;
    bool size_trained; /* width x height is in the list of the option "sizes" */
    int frames;
    int rate_num, rate_den;
    int steps;
    double guidance, cfg;
    double shift;               /* 0: the model's own */
    int64_t seed;               /* drawn if the option was -1, */
    bool seed_drawn;            /* in which case a checkpoint's is taken */
    char *checkpoint;           /* path, "auto", or "" for none */
    char *recipe;               /* path, or "" for none */
    enum hyv_template template; /* "auto" resolved: image for one frame, else video */
    enum hyv_tiling_choice tiling;
    int test_step_ms, test_frame_ms;
    int test_fail; /* HYV_FAIL_..., or the number of a frame from 0 */
} hyv_params;

/* Model options of `options`. Finds the model's folder, refuses devices (-ENODEV) and precisions
 * (-ENOSYS) that this build lacks; -ENOENT lists where it looked. *params must be zero, or is
 * cleared first. */
int hyv_params_model(hyv_params *params, const hyv_options *options, hyv_log *log);

/* The same for what is only read: components, tokenizers, threads. If no model was chosen, but
 * components were, *params has these and "" as the model, not the default one; -EINVAL if nothing
 * was chosen. */
int hyv_params_source(hyv_params *params, const hyv_options *options, hyv_log *log);

/* Video options of `options`, those it does not give taken from `defaults` (may be NULL). Replaces
 * what an earlier call filled in. */
int hyv_params_video(hyv_params *params, const hyv_options *options, const hyv_options *defaults,
                     hyv_log *log);

void hyv_params_clear(hyv_params *params);

/* ---- notations of single values, for the option table; false if `text` is not in that form */

enum { HYV_RATE_MAX = 1000, HYV_ASPECT_MAX = 16 };

/* "16:9", "30000/1001", "23.976" or "24" as a reduced fraction, from 1/max to max. */
bool hyv_value_ratio(const char *text, int max, int *num, int *den);

/* The next "1280x720" of a list with blanks between, behind which *text is left. */
bool hyv_value_size(const char **text, int *width, int *height);

/* "auto" (0), or an amount: a number with K, M, G or T (of 1024), or none of them for bytes. */
bool hyv_value_memory(const char *text, uint64_t *bytes);

/* "none", "plan", "first" or a frame number. */
bool hyv_value_failure(const char *text, int *frame);

#endif
