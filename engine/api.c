/* The public functions: contexts, and the border to the caller.
 *
 * A context owns the parameters of its model and its video, a source of frames, and the last error.
 * Here arguments are checked, structs of older callers are cut to their size, and progress gets its
 * times. What a model is, and how options are read, is not known here.
 */
#include "hunyuanvideo.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "run/convert.h"
#include "run/frames.h"
#include "run/options.h"
#include "run/params.h"
#include "run/pipeline.h"
#include "run/recipe.h"
#include "run/testmodel.h"

struct hyv_context {
    hyv_log log;
    hyv_callbacks callbacks;
    hyv_run run;
    atomic_int cancelled;
    hyv_options *defaults; /* of the model's folder */
    hyv_params params;
    const hyv_source *source;
    void *self; /* of the source; NULL: not open */
    hyv_video video;
    char *recipe; /* of the video */
    bool started;
    bool recipe_due; /* to be written with the first frame */
    int ended;       /* what hyv_read returns from now on, if it is not 1 */
    enum hyv_phase phase;
    double phase_began;
    int first_step, last_step; /* of the phase, in this process */
    double step_seconds;
};

static void context_log(void *opaque, int level, const char *message)
{
    const hyv_context *c = opaque;
    if (c->callbacks.log)
        c->callbacks.log(c->callbacks.opaque, (enum hyv_log_level)level, message);
}

static int context_interrupt(void *opaque)
{
    hyv_context *c = opaque;
    return atomic_load(&c->cancelled) ||
           (c->callbacks.interrupt && c->callbacks.interrupt(c->callbacks.opaque));
}

static int context_progress(void *opaque, enum hyv_phase phase, int step, int steps,
                            double fraction)
{
    hyv_context *c = opaque;
    const double now = hyv_seconds();
    if (phase != c->phase || c->phase_began < 0) {
        c->phase = phase;
        c->phase_began = now;
        c->first_step = c->last_step =
            phase == HYV_PHASE_DENOISE ? step : 0; /* it may go on in the middle */
        c->step_seconds = 0;
    }
    if (step != c->last_step && step > c->first_step)
        c->step_seconds = (now - c->phase_began) / (step - c->first_step);
    c->last_step = step;
    const double before = steps > 0 ? (double)c->first_step / steps : 0, done = fraction - before;
    hyv_progress p = HYV_INIT(hyv_progress);
    p.phase = phase;
    p.step = step;
    p.steps = steps;
    p.fraction = fraction;
    p.elapsed = now - c->phase_began;
    p.step_seconds = c->step_seconds;
    p.remaining = done > 0 ? p.elapsed * (1 - fraction) / done : -1;
    const bool stop = c->callbacks.progress && c->callbacks.progress(c->callbacks.opaque, &p);
    return stop || context_interrupt(c);
}

/* Completes a failure: every one has a text, and a cancellation is used up by being returned. */
static int finish(hyv_context *c, int err)
{
    if (err == -ECANCELED) {
        atomic_store(&c->cancelled, 0);
        if (!c->log.error[0])
            snprintf(c->log.error, sizeof(c->log.error), "cancelled");
    } else if (err < 0 && !c->log.error[0]) {
        hyv_log_error(&c->log, err, "%s", strerror(-err));
    }
    return err;
}

/* Makes a context without a model. */
static int context_new(hyv_context **context, const hyv_callbacks *callbacks)
{
    hyv_context *c = *context = hyv_calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    if (callbacks)
        memcpy(&c->callbacks, callbacks,
               callbacks->size < sizeof(*callbacks) ? callbacks->size : sizeof(*callbacks));
    c->log = (hyv_log){.opaque = c, .write = context_log};
    c->run = (hyv_run){&c->log, c, context_progress, context_interrupt};
    atomic_init(&c->cancelled, 0);
    c->defaults = hyv_options_new();
    return c->defaults ? 0 : finish(c, -ENOMEM);
}

/* Finds the model and what it says about itself. */
static int choose_model(hyv_context *c, const hyv_options *options)
{
    int err = hyv_params_model(&c->params, options, &c->log);
    if (err < 0)
        return err;
    const bool test = !strcmp(c->params.model, "test");
    c->source = test ? &hyv_testmodel : &hyv_pipeline;
    err = hyv_options_set(c->defaults, "presets", hyv_options_value(options, NULL, "presets"));
    if (err >= 0 && !test && *c->params.model)
        err = hyv_options_load_model(c->defaults, c->params.model);
    return err < 0 ? hyv_log_error(&c->log, err, "%s", hyv_options_get(c->defaults, "error")) : 0;
}

unsigned hyv_version(void)
{
    return HYV_VERSION_INT;
}

int hyv_open(hyv_context **context, const hyv_options *options, const hyv_callbacks *callbacks)
{
    if (!context)
        return -EINVAL;
    int err = context_new(context, callbacks);
    if (err < 0)
        return err;
    hyv_context *c = *context;
    err = choose_model(c, options);
    if (err >= 0)
        err = c->source->open(&c->self, &c->params, &c->run);
    return finish(c, err);
}

static int make_recipe(hyv_context *c, const hyv_options *options)
{
    hyv_free_host(c->recipe);
    c->recipe = hyv_recipe_new(options, c->defaults, &c->params, &c->video, c->video.weights);
    c->video.recipe = c->recipe;
    return c->recipe ? 0 : hyv_log_error(&c->log, -ENOMEM, "recipe: not enough memory");
}

/* With the first frame, for a plan alone leaves no traces. Not worth losing a run for. */
static void write_recipe(hyv_context *c)
{
    if (c->recipe_due && c->params.recipe[0])
        hyv_recipe_write(c->params.recipe, c->recipe, &c->log);
    c->recipe_due = false;
}

int hyv_start(hyv_context *context, const hyv_options *options, hyv_video *video)
{
    hyv_context *c = context;
    if (!c)
        return -EINVAL;
    hyv_log_clear(&c->log);
    if (!c->self)
        return finish(c, hyv_log_error(&c->log, -EINVAL, "no model is open"));
    c->started = false;
    c->source->stop(c->self);
    int err = hyv_params_video(&c->params, options, c->defaults, &c->log);
    c->video = (hyv_video){0};
    if (err >= 0)
        err = c->source->start(c->self, &c->params, &c->video);
    if (err >= 0)
        err = make_recipe(c, options);
    const bool planned = err >= 0 || c->video.bytes > 0; /* and refused, for want of memory */
    if (planned && video && video->size >= sizeof(video->size)) {
        c->video.size = video->size < sizeof(*video) ? video->size : sizeof(*video);
        memcpy(video, &c->video, c->video.size);
    }
    if (err < 0)
        return finish(c, err);
    c->started = c->recipe_due = true;
    c->ended = 1;
    c->phase_began = -1;
    return 0;
}

int hyv_read(hyv_context *context, const hyv_image *out)
{
    hyv_context *c = context;
    if (!c)
        return -EINVAL;
    if (c->started && c->ended <= 0)
        return c->ended;
    hyv_log_clear(&c->log);
    if (!c->started)
        return finish(c, hyv_log_error(&c->log, -EINVAL, "no video was started"));
    int err = hyv_frames_check(out, c->params.width, c->params.height, &c->log);
    if (err < 0)
        return finish(c, err);
    const float *rgb;
    write_recipe(c);
    /* Also before a frame that was decoded long ago, for which the source asks nobody. */
    c->ended = err = context_interrupt(c) ? -ECANCELED : c->source->read(c->self, &rgb);
    if (err > 0)
        hyv_frames_write(out, rgb);
    else
        c->source->stop(c->self);
    return finish(c, err);
}

void hyv_cancel(hyv_context *context)
{
    if (context)
        atomic_store(&context->cancelled, 1);
}

const char *hyv_error(const hyv_context *context)
{
    return context ? context->log.error : "not enough memory";
}

void hyv_close(hyv_context **context)
{
    if (!context || !*context)
        return;
    hyv_context *c = *context;
    if (c->self)
        c->source->close(&c->self);
    hyv_options_free(&c->defaults);
    hyv_params_clear(&c->params);
    hyv_free_host(c->recipe);
    hyv_free_host(c);
    *context = NULL;
}

int hyv_inspect(const hyv_options *options, const hyv_callbacks *callbacks,
                const hyv_inspection *inspection)
{
    hyv_context *c;
    hyv_inspection to = {0};
    if (inspection)
        memcpy(&to, inspection, inspection->size < sizeof(to) ? inspection->size : sizeof(to));
    int err = context_new(&c, callbacks);
    if (err >= 0)
        err = choose_model(c, options);
    if (err >= 0)
        err = c->source->inspect(&c->params, &c->run, &to, c->callbacks.opaque);
    if (c)
        finish(c, err);
    hyv_close(&c);
    return err;
}

int hyv_convert(const hyv_options *options, const char *out, const char *type,
                const char *component, const hyv_callbacks *callbacks)
{
    const hyv_conversion conversion = {out, type, component};
    hyv_context *c;
    int err = context_new(&c, callbacks);
    if (err >= 0) {
        c->phase_began = -1;
        err = hyv_convert_model(options, &conversion, &c->run);
    }
    if (c)
        finish(c, err);
    hyv_close(&c);
    return err;
}
