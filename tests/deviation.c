/* Runs a model twice and compares. Frames come through the public header; the prediction is taken
 * where the pipeline takes it, from the denoiser.
 */
#include "deviation.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../engine/run/denoise.h"
#include "../engine/run/model.h"
#include "../engine/run/params.h"
#include "check.h"

enum { ARENA_MIB = 2048 }; /* untouched pages cost nothing */

static void set(hyv_options *o, const char *name, const char *value)
{
    CHECK_MSG(hyv_options_set(o, name, value) == 0, "%s", hyv_options_get(o, "error"));
}

static void set_number(hyv_options *o, const char *name, double value)
{
    char text[64];
    snprintf(text, sizeof(text), "%.10g", value);
    set(o, name, text);
}

hyv_options *deviation_options(const golden_case *c)
{
    hyv_options *o = hyv_options_new();
    char folder[128];
    snprintf(folder, sizeof(folder), GOLDEN_FOLDER "/%s", c->model);
    set(o, "model", folder);
    set(o, "prompt", c->prompt);
    set(o, "negative", c->negative);
    set(o, "template", c->image_template ? "image" : "video");
    set(o, "tiling", "off");
    set_number(o, "width", c->width);
    set_number(o, "height", c->height);
    set_number(o, "frames", c->frames);
    set_number(o, "steps", c->steps);
    set_number(o, "guidance", c->guidance);
    set_number(o, "shift", c->shift);
    set_number(o, "cfg", c->cfg);
    set_number(o, "seed", (double)c->seed);
    return o;
}

/* ---- frames -----------------------------------------------------------------------------------
 */

static int read_all(hyv_context *context, const hyv_video *video, uint8_t *frames)
{
    hyv_image image = HYV_INIT(hyv_image);
    const size_t frame_bytes = (size_t)video->width * (size_t)video->height * 3;
    int err = 1;
    image.format = HYV_FORMAT_RGB24;
    image.width = video->width;
    image.height = video->height;
    image.stride[0] = (ptrdiff_t)video->width * 3;
    for (int i = 0; err > 0 && i < video->frames; i++) {
        image.data[0] = frames + (size_t)i * frame_bytes;
        err = hyv_read(context, &image);
    }
    return err;
}

uint8_t *deviation_frames(hyv_options *o, const char *precision, const char *isa, int threads,
                          size_t *size)
{
    hyv_context *context = NULL;
    hyv_video video = HYV_INIT(hyv_video);
    uint8_t *frames = NULL;
    set(o, "precision", precision);
    set(o, "isa", isa);
    set_number(o, "threads", threads);
    int err = hyv_open(&context, o, NULL);
    if (err >= 0)
        err = hyv_start(context, o, &video);
    if (err >= 0) {
        *size = (size_t)video.frames * (size_t)video.width * (size_t)video.height * 3;
        frames = malloc(*size);
        err = frames ? read_all(context, &video, frames) : -1;
    }
    CHECK_MSG(err > 0, "%s on %s: %s", precision, isa, context ? hyv_error(context) : "no context");
    hyv_close(&context);
    return frames;
}

/* ---- the prediction ---------------------------------------------------------------------------
 */

static int encode(hyv_conditioning *c, const hyv_model *m, hyv_backend *be, const hyv_params *p,
                  hyv_log *log)
{
    hyv_prompt_tokens t;
    hyv_network n = {0};
    int err = hyv_prompt_encode(&t, m->llm_tokens, m->clip_tokens, p->prompt, p->template, log);
    if (err >= 0)
        err = hyv_conditioning_new(c, t.llm_count - t.crop, m->config.llama.width,
                                   m->config.clip.width);
    if (err >= 0 && (err = hyv_network_load(&n, m, HYV_TEXT_ENCODER, be)) >= 0) {
        err = hyv_condition_llama(&(hyv_text){&t, c}, 1, be, n.net.llama, NULL, log);
        hyv_network_unload(&n);
    }
    if (err >= 0 && (err = hyv_network_load(&n, m, HYV_TEXT_ENCODER_2, be)) >= 0) {
        err = hyv_condition_clip(c, be, n.net.clip, &t, NULL, log);
        hyv_network_unload(&n);
    }
    return err;
}

static int predict(float **out, size_t *count, const hyv_model *m, hyv_backend *be,
                   const hyv_params *p, hyv_log *log)
{
    const hyv_denoise_plan plan = {.grid = {(p->frames - 1) / 4 + 1, p->height / 8, p->width / 8},
                                   .steps = p->steps,
                                   .guidance = p->guidance,
                                   .shift = p->shift > 0.0 ? p->shift : m->config.shift,
                                   .cfg = 1.0,
                                   .seed = p->seed};
    hyv_conditioning text = {0};
    hyv_network n = {0};
    hyv_denoiser *d = NULL;
    *count = (size_t)(hyv_grid_rows(plan.grid) * m->config.dit.out_channels);
    *out = malloc(*count * sizeof(float));
    int err = encode(&text, m, be, p, log);
    if (err >= 0)
        err = hyv_network_load(&n, m, HYV_TRANSFORMER, be);
    if (err >= 0 && *out)
        err = hyv_denoiser_new(&d, be, n.net.dit, &plan, &text, NULL, NULL, log);
    if (err >= 0 && d)
        err = hyv_denoiser_prepare(d);
    if (err >= 0 && d)
        hyv_denoiser_evaluate(d, *out, hyv_denoiser_latents(d), 0, false);
    hyv_denoiser_free(&d);
    hyv_network_unload(&n);
    hyv_conditioning_free(&text);
    return err < 0 ? err : hyv_backend_error(be);
}

float *deviation_prediction(hyv_options *o, const char *precision, const char *isa, size_t *count)
{
    hyv_log log = {0};
    hyv_params p = {0};
    hyv_model m = {0};
    hyv_backend *be = NULL;
    float *prediction = NULL;
    set(o, "precision", precision);
    set(o, "isa", isa);
    int err = hyv_params_model(&p, o, &log);
    if (err >= 0)
        err = hyv_params_video(&p, o, NULL, &log);
    if (err >= 0)
        err = hyv_model_open(&m, p.model, &p.choice, &log);
    if (err >= 0) {
        const hyv_backend_config config = {
            .isa = p.isa, .precision = p.precision, .threads = p.threads};
        err = hyv_backend_open(&be, "cpu", &config);
        if (err >= 0)
            err = hyv_arena_resize(be, (size_t)ARENA_MIB << 20);
        if (err >= 0)
            err = predict(&prediction, count, &m, be, &p, &log);
        hyv_model_close(&m);
    }
    CHECK_MSG(err >= 0, "%s on %s: %s", precision, isa, log.error);
    hyv_backend_close(&be);
    hyv_params_clear(&p);
    return prediction;
}

/* ---- comparing --------------------------------------------------------------------------------
 */

static double cosine(const float *a, const float *b, size_t n)
{
    double ab = 0.0, aa = 0.0, bb = 0.0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

static void compare_frames(deviation *d, const uint8_t *a, const uint8_t *b, size_t n)
{
    double squares = 0.0;
    d->worst = 0;
    for (size_t i = 0; i < n; i++) {
        const int difference = abs(a[i] - b[i]);
        squares += difference * difference;
        d->worst = difference > d->worst ? difference : d->worst;
    }
    d->psnr_db = 10.0 * log10(255.0 * 255.0 * (double)n / squares);
}

int deviation_measure(deviation *d, hyv_options *o, const char *precision, const char *isa)
{
    size_t n[2] = {0}, size[2] = {0};
    float *prediction[2] = {deviation_prediction(o, "fp32", isa, &n[0]),
                            deviation_prediction(o, precision, isa, &n[1])};
    uint8_t *frames[2] = {deviation_frames(o, "fp32", isa, 0, &size[0]),
                          deviation_frames(o, precision, isa, 0, &size[1])};
    const int there = prediction[0] && prediction[1] && frames[0] && frames[1];
    if (there) {
        d->cosine = cosine(prediction[0], prediction[1], n[0]);
        compare_frames(d, frames[0], frames[1], size[0]);
    }
    for (int i = 0; i < 2; i++) {
        free(prediction[i]);
        free(frames[i]);
    }
    return there;
}
