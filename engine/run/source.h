/* Where frames come from: the interface of the real model (pipeline.c) and of the built-in test
 * model (testmodel.c).
 *
 * api.c chooses one by the option "model" and knows no other difference. A source hands out float
 * pictures; pixel formats are frames.c's business, remaining times are api.c's. Functions return 0
 * or a positive number, or a negative errno after one message in run->log; only -ECANCELED needs no
 * message, since stopping is no error.
 */
#ifndef HYV_RUN_SOURCE_H
#define HYV_RUN_SOURCE_H

#include "../base/log.h"
#include "../base/util.h"
#include "../hunyuanvideo.h"
#include "params.h"

/* What a source reports and asks while it works. Outlives the source. */
typedef struct hyv_run {
    hyv_log *log;
    void *opaque; /* for the two functions */
    /* `step` of `steps` are finished; `fraction` of the phase, 0 to 1, may be finer. On the calling
     * thread only; after every block, tile and layer. Non-zero: stop with -ECANCELED. */
    int (*progress)(void *opaque, enum hyv_phase phase, int step, int steps, double fraction);
    /* Non-zero: stop with -ECANCELED. Any thread; at least every 100 ms. Fits
     * hyv_backend_config.interrupt. */
    int (*interrupt)(void *opaque);
} hyv_run;

typedef struct hyv_source {
    /* Opens the model of `params` (its video half is not set): headers, shapes, no weights.
     * `params` outlives the source. On failure nothing is left behind and *self stays NULL. */
    int (*open)(void **self, const hyv_params *params, const hyv_run *run);

    /* Plans a video, after an implied stop: fills all of *video but `size`. The strings of *video
     * live until close. `params` outlives the video: it is valid until the next start or close. */
    int (*start)(void *self, const hyv_params *params, hyv_video *video);

    /* The next frame: 1 with *rgb pointing to [height * width, 3] dense floats, channels last,
     * about -1 to 1 and not clamped, valid until the next call; 0 at the end. Not called again
     * after 0 or an error. The first call does the text encoding and the denoising. */
    int (*read)(void *self, const float **rgb);

    /* Frees what belongs to the video; the model stays open. Any number of times. */
    void (*stop)(void *self);

    /* Frees everything and sets *self to NULL; accepts NULL inside. */
    void (*close)(void **self);

    /* Looks into what `params` names, see hyv_inspect of the public header; `opaque` goes to the
     * functions of `to`. */
    int (*inspect)(const hyv_params *params, const hyv_run *run, const hyv_inspection *to,
                   void *opaque);
} hyv_source;

#endif
