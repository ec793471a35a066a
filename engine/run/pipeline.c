/* The whole story: open, plan, encode the text, denoise, decode.
 *
 * The order is that of HunyuanVideo's sample_video.py. Each phase loads its networks, runs, and
 * gives them back before the next begins; frames leave while later ones are still being decoded.
 * Knows nothing of pixel formats, option strings and presets.
 */
#include "pipeline.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../text/vocabulary.h"
#include "doctor.h"
#include "keeper.h"
#include "memory.h"
#include "plan.h"
#include "sampler.h"
#include "watchdog.h"

enum phase { IDLE, ENCODE, DENOISE, DECODE, FINISHED };

enum { WEIGHTS_BYTES = HYV_COMPONENTS * 64 };

typedef struct pipeline {
    hyv_model model;
    const hyv_params *params;
    const hyv_run *run;
    hyv_log *log;
    hyv_backend *be;
    char device[64], name[256];
    hyv_hashes hashes;           /* of the weights; empty until somebody needs them, */
    char weights[WEIGHTS_BYTES]; /* and as lines for people */

    /* of one video */
    enum phase phase;
    hyv_plan plan;
    hyv_conditioning positive, negative;
    hyv_keeper keeper;
    hyv_denoiser *denoiser;
    hyv_network network; /* the one that is loaded */
    float *latents;      /* [t*h*w, channels], for the decoder */
    hyv_vae_tiles *tiles;
    hyv_tile_hooks hooks;
    hyv_watch watch;
    int64_t units, units_done; /* of the phase: layers or blocks, counted by the watch */
} pipeline;

/* ---- progress -------------------------------------------------------------------------------- */

static void report(pipeline *p, enum hyv_phase phase, int64_t step, int64_t steps, double fraction)
{
    if (p->run->progress &&
        p->run->progress(p->run->opaque, phase, (int)step, (int)steps, fraction))
        hyv_backend_stop(p->be);
}

/* Looks after the values; counts layers and blocks. */
static void see(void *opaque, const char *module, int index, hyv_mat value)
{
    pipeline *p = opaque;
    const hyv_watchdog dog = {.be = p->be,
                              .network = &p->network,
                              .step = p->denoiser ? hyv_denoiser_done(p->denoiser) + 1 : 0,
                              .steps = p->plan.denoise.steps};
    if (!hyv_watchdog_look(&dog, module, index, value) || index < 0 || p->phase == DECODE)
        return;
    p->units_done++;
    const double fraction = (double)p->units_done / (double)p->units;
    if (p->phase == ENCODE)
        report(p, HYV_PHASE_TEXT, p->units_done, p->units, fraction);
    else
        report(p, HYV_PHASE_DENOISE, hyv_denoiser_done(p->denoiser), p->plan.denoise.steps,
               fraction);
}

static void see_tile(void *opaque, int64_t done, int64_t tiles)
{
    pipeline *p = opaque;
    report(p, HYV_PHASE_DECODE, done, tiles, (double)done / (double)tiles);
}

/* Says how long a piece of work took; the next begins. */
static void took(pipeline *p, int err, const char *what, double *began)
{
    const double now = hyv_seconds();
    if (err >= 0)
        hyv_log_write(p->log, HYV_LEVEL_VERBOSE, "%s: %.2f s", what, now - *began);
    *began = now;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void trace(void *opaque, const char *line)
{
    const pipeline *p = opaque;
    hyv_log_write(p->log, HYV_LEVEL_DEBUG, "%s", line);
}

static void message(void *opaque, const char *line)
{
    const pipeline *p = opaque;
    hyv_log_error(p->log, -EIO, "%s", line);
}

static int interrupted(void *opaque)
{
    const pipeline *p = opaque;
    return p->run->interrupt ? p->run->interrupt(p->run->opaque) : 0;
}

static hyv_backend_config backend_config(pipeline *p, const hyv_params *params)
{
    return (hyv_backend_config){.threads = params->threads,
                                .isa = params->isa,
                                .precision = params->precision,
                                .opaque = p,
                                .interrupt = interrupted,
                                .trace = params->trace ? trace : NULL,
                                .message = message};
}

static int open_backend(pipeline *p, const hyv_params *params)
{
    const hyv_backend_config config = backend_config(p, params);
    const int err = hyv_backend_open(&p->be, "cpu", &config);
    if (err < 0)
        return p->log->error[0] ? err : hyv_log_error(p->log, err, "cannot use the processor");
    hyv_backend_describe(p->be, p->device, sizeof(p->device));
    return 0;
}

static void pipeline_stop(void *self);

static void pipeline_close(void **self)
{
    pipeline *p = *self;
    if (!p)
        return;
    pipeline_stop(p);
    hyv_backend_close(&p->be);
    hyv_model_close(&p->model);
    hyv_free_host(p);
    *self = NULL;
}

/* Looks at pages all over the files: seconds if none of them is in memory. */
static int take_fingerprints(pipeline *p)
{
    size_t length = 0;
    if (p->hashes[HYV_COMPONENTS - 1][0])
        return 0; /* taken before */
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        if (hyv_fingerprint(p->hashes[c], p->model.file[c]) < 0)
            return hyv_log_error(p->log, -ENOMEM, "out of memory");
        length += (size_t)snprintf(p->weights + length, sizeof(p->weights) - length, "%s%s %s",
                                   c ? "\n" : "", hyv_component_name((enum hyv_component)c),
                                   p->hashes[c]);
        hyv_checkpoint_drop(p->model.file[c]); /* the pages that were looked at */
    }
    return 0;
}

static int pipeline_open(void **self, const hyv_params *params, const hyv_run *run)
{
    pipeline *p = *self = hyv_calloc(1, sizeof(*p));
    if (!p)
        return hyv_log_error(run->log, -ENOMEM, "out of memory");
    p->run = run;
    p->log = run->log;
    p->watch = (hyv_watch){p, see};
    p->hooks = (hyv_tile_hooks){.opaque = p, .progress = see_tile, .watch = &p->watch};
    double began = hyv_seconds();
    int err = hyv_model_open(&p->model, params->model, &params->choice, p->log);
    if (err >= 0)
        err = open_backend(p, params);
    if (err < 0) {
        pipeline_close(self);
        return err;
    }
    took(p, 0, "opening the model", &began);
    const char *name = *params->model ? params->model : p->model.parts.part[HYV_TRANSFORMER].path;
    const char *slash = strrchr(name, '/');
    snprintf(p->name, sizeof(p->name), "%s", slash && slash[1] ? slash + 1 : name);
    return 0;
}

/* ---- planning -------------------------------------------------------------------------------- */

/* A model that lists the words it knows gets a warning about others, not a refusal. */
static int warn_unknown_words(pipeline *p, const hyv_params *params)
{
    hyv_vocabulary *known = NULL;
    hyv_string words = {0};
    char *path = hyv_path_join(params->model, "vocabulary.txt");
    int err = path ? hyv_vocabulary_open(&known, path, p->log) : -ENOMEM;
    if (err >= 0 && known)
        err = hyv_vocabulary_unknown(known, params->prompt, &words);
    if (err > 0)
        hyv_log_write(
            p->log, HYV_LEVEL_WARNING,
            "prompt: the small model %s does not know %s%s. %s For other pictures get the "
            "published weights and set model to their folder.",
            p->name, hyv_string_text(&words), err > HYV_VOCABULARY_NAMED_MAX ? " and more" : "",
            hyv_vocabulary_about(known));
    if (err == -ENOMEM)
        hyv_log_error(p->log, err, "prompt: not enough memory");
    hyv_vocabulary_close(&known);
    hyv_string_free(&words);
    hyv_free_host(path);
    return err < 0 ? err : 0;
}

static int plan_prompts(pipeline *p, const hyv_params *params)
{
    hyv_plan *plan = &p->plan;
    plan->guided = params->cfg > 1.0;
    if (params->negative[0] && !plan->guided)
        hyv_log_write(p->log, HYV_LEVEL_WARNING,
                      "negative: has no effect while cfg is 1; set cfg above 1 to use it");
    int err = hyv_prompt_encode(&plan->positive, p->model.llm_tokens, p->model.clip_tokens,
                                params->prompt, params->template, p->log);
    if (err >= 0)
        err = warn_unknown_words(p, params);
    if (err >= 0 && plan->positive.cut)
        hyv_log_write(p->log, HYV_LEVEL_WARNING,
                      "prompt: is longer than the text encoders take; its end is ignored");
    if (err >= 0 && plan->guided)
        err = hyv_prompt_encode(&plan->negative, p->model.llm_tokens, p->model.clip_tokens,
                                params->negative, params->template, p->log);
    return err;
}

static hyv_tiling tiling_of(const hyv_params *params)
{
    if (params->tiling == HYV_TILE_OFF)
        return HYV_TILING_OFF;
    return params->tiling == HYV_TILE_DIFFUSERS ? HYV_TILING_DIFFUSERS : HYV_TILING_OFFICIAL;
}

/* The grid of latents, if the model can make pictures of this size. */
static int plan_grid(pipeline *p, const hyv_params *params, hyv_grid *grid)
{
    const hyv_model_config *c = &p->model.config;
    const int64_t space = c->vae.spatial_compression * c->dit.patch;
    const int64_t time = c->vae.temporal_compression;
    if (params->width % space || params->height % space)
        return hyv_log_error(
            p->log, -EINVAL,
            "size %dx%d: width and height must be multiples of %lld for this model", params->width,
            params->height, (long long)space);
    if ((params->frames - 1) % time)
        return hyv_log_error(p->log, -EINVAL,
                             "frames %d: must be one more than a multiple of %lld for this model",
                             params->frames, (long long)time);
    *grid = (hyv_grid){(params->frames - 1) / time + 1, params->height / c->vae.spatial_compression,
                       params->width / c->vae.spatial_compression};
    return 0;
}

static void fill_video(pipeline *p, const hyv_params *params, hyv_video *video)
{
    const hyv_denoise_plan *d = &p->plan.denoise;
    const int64_t patch = p->model.config.dit.patch;
    const size_t size = video->size;
    *video = (hyv_video){.size = size,
                         .width = params->width,
                         .height = params->height,
                         .frames = params->frames,
                         .fps_num = params->rate_num,
                         .fps_den = params->rate_den,
                         .seed = d->seed,
                         .steps = d->steps,
                         .guidance = p->model.config.dit.guidance ? d->guidance : 0.0,
                         .shift = d->shift,
                         .cfg = d->cfg,
                         .model = p->name,
                         .device = p->device,
                         .weights = p->weights};
    video->text_tokens = (int)(p->plan.positive.llm_count - p->plan.positive.crop);
    video->video_tokens = hyv_grid_rows(d->grid) / (patch * patch);
}

/* Code, buffers of files and of the C library that will be touched and are not resident yet. */
enum { UNTOUCHED_BYTES = 1 << 20 };

/* What the process may hold: as the user says, or most of what is free. */
static void set_budget(pipeline *p)
{
    const uint64_t available = hyv_memory_available("");
    p->plan.held = hyv_memory_resident() + UNTOUCHED_BYTES;
    p->plan.budget = p->params->memory ? p->params->memory
                     : available       ? p->plan.held + available / 10 * 9
                                       : SIZE_MAX;
}

/* The component that takes most even where its weights stream, and how much. */
static uint64_t least_memory(const pipeline *p, enum hyv_component *largest)
{
    uint64_t least = 0;
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        const uint64_t bytes = p->plan.held + hyv_cost_bytes_least(&p->plan.network[c]);
        if (bytes <= least)
            continue;
        least = bytes;
        *largest = (enum hyv_component)c;
    }
    return least;
}

/* Bytes and seconds by phase, on top of what the process holds now. */
static int fill_costs(pipeline *p, hyv_video *video)
{
    hyv_plan_times times;
    const uint64_t resident = p->plan.held;
    enum hyv_component largest;
    const int err = hyv_plan_seconds(&p->plan, p->be, &times);
    for (int c = 0; c < HYV_COMPONENTS; c++) {
        const enum hyv_phase phase = hyv_component_phase((enum hyv_component)c);
        const hyv_cost *cost = &p->plan.network[c];
        const uint64_t bytes = resident + hyv_cost_bytes(cost);
        video->phase[phase].flops += cost->work.flops;
        video->phase[phase].seconds += times.network[c];
        if (bytes > video->phase[phase].bytes)
            video->phase[phase].bytes = bytes;
        if (bytes > video->bytes)
            video->bytes = bytes;
        video->weight_bytes += cost->weights + cost->files;
    }
    video->step_seconds = times.step;
    video->memory = p->plan.budget;
    video->memory_least = least_memory(p, &largest);
    video->step_disk_bytes = (uint64_t)p->plan.network[HYV_TRANSFORMER].step_disk;
    return err;
}

/* Refuses a video that the budget cannot hold: says what can, and what takes the memory. */
static int check_memory(pipeline *p, const hyv_params *params)
{
    static const char *const advice[HYV_COMPONENTS] = {
        "a shorter prompt shrinks it a little", "a shorter prompt shrinks it a little",
        "fewer frames, a smaller size or fewer steps shrink it",
        "tiling=official, fewer frames or a smaller size shrink it"};
    enum hyv_component c = HYV_TRANSFORMER;
    const uint64_t least = least_memory(p, &c), mib = 1 << 20;
    const hyv_cost *cost = &p->plan.network[c];
    const hyv_denoise_plan *d = &p->plan.denoise;
    char there[32], work[32], weights[32];
    if (least <= p->plan.budget)
        return 0;
    hyv_memory_text(there, sizeof(there), p->plan.budget);
    hyv_memory_text(work, sizeof(work), cost->arena + cost->scratch + cost->host);
    hyv_memory_text(weights, sizeof(weights), cost->weights + cost->mapped_least);
    return hyv_log_error(
        p->log, -ENOMEM,
        "%dx%d, %d frames, %d steps need more memory than the %s %s: the smallest that can do is "
        "memory=%lluM; the %s takes %s to work in and %s of weights at a time; %s",
        params->width, params->height, params->frames, d->steps, there,
        params->memory ? "that the option memory allows" : "that are free",
        (unsigned long long)(least / mib + 2), hyv_component_name(c), work, weights, advice[c]);
}

static int pipeline_start(void *self, const hyv_params *params, hyv_video *video)
{
    pipeline *p = self;
    const hyv_model_config *c = &p->model.config;
    const hyv_backend_config config = backend_config(p, params);
    p->params = params;
    hyv_backend_reset(p->be);
    p->plan = (hyv_plan){.tiling = tiling_of(params)};
    p->plan.denoise = (hyv_denoise_plan){.steps = params->steps,
                                         .guidance = params->guidance,
                                         .shift = params->shift > 0.0 ? params->shift : c->shift,
                                         .cfg = params->cfg > 1.0 ? params->cfg : 1.0,
                                         .seed = params->seed};
    set_budget(p);
    double began = hyv_seconds();
    int err = plan_grid(p, params, &p->plan.denoise.grid);
    if (err >= 0)
        err = plan_prompts(p, params);
    if (err >= 0 && (params->checkpoint[0] || params->recipe[0]))
        err = take_fingerprints(p);
    if (err >= 0)
        err = hyv_keeper_open(&p->keeper, params, &p->plan, p->hashes, c->dit.in_channels,
                              &p->plan.denoise.seed, p->log);
    if (err >= 0)
        err = hyv_plan_make(&p->plan, &p->model, &config);
    if (err < 0)
        return err;
    if (!params->size_trained)
        hyv_log_write(p->log, HYV_LEVEL_WARNING,
                      "size %dx%d: the model was not trained for it; pictures may suffer",
                      params->width, params->height);
    took(p, err, "planning", &began);
    fill_video(p, params, video);
    p->phase = p->keeper.found.step == params->steps ? DENOISE : ENCODE; /* latents are there */
    err = fill_costs(p, video);
    took(p, err, "estimating times", &began);
    return err < 0 ? err : check_memory(p, params);
}

/* ---- phases ---------------------------------------------------------------------------------- */

/* Loads a network and the memory that its run was planned to take. */
static int load(pipeline *p, enum hyv_component component)
{
    int err = hyv_network_load(&p->network, &p->model, component, p->be);
    if (err >= 0) {
        hyv_residency_fit(hyv_weights_residency(p->network.weights),
                          hyv_plan_room(&p->plan, component));
        hyv_checkpoint_drop(p->model.file[component]); /* what loading has read */
        err = hyv_arena_resize(p->be, p->plan.network[component].arena);
    }
    return err;
}

static void unload(pipeline *p)
{
    hyv_arena_resize(p->be, 0);
    hyv_network_unload(&p->network);
}

static int encode_with(pipeline *p, enum hyv_component component)
{
    const hyv_text texts[2] = {{&p->plan.positive, &p->positive},
                               {&p->plan.negative, &p->negative}};
    const int count = p->plan.guided ? 2 : 1;
    int err = 0;
    if (component == HYV_TEXT_ENCODER)
        return hyv_condition_llama(texts, count, p->be, p->network.net.llama, &p->watch, p->log);
    for (int i = 0; err >= 0 && i < count; i++)
        err = hyv_condition_clip(texts[i].out, p->be, p->network.net.clip, texts[i].tokens,
                                 &p->watch, p->log);
    return err;
}

static int new_conditioning(pipeline *p, hyv_conditioning *c, const hyv_prompt_tokens *t)
{
    const hyv_model_config *m = &p->model.config;
    const int err = hyv_conditioning_new(c, t->llm_count - t->crop, m->llama.width, m->clip.width);
    return err < 0 ? hyv_log_error(p->log, err, "out of memory for the text states") : 0;
}

static int encode(pipeline *p)
{
    const hyv_model_config *m = &p->model.config;
    p->units = m->llama.layers_used + m->clip.layers * (p->plan.guided ? 2 : 1);
    p->units_done = 0;
    double began = hyv_seconds();
    int err = new_conditioning(p, &p->positive, &p->plan.positive);
    if (err >= 0 && p->plan.guided)
        err = new_conditioning(p, &p->negative, &p->plan.negative);
    for (int c = HYV_TEXT_ENCODER; err >= 0 && c <= HYV_TEXT_ENCODER_2; c++) {
        err = load(p, (enum hyv_component)c);
        took(p, err, "loading", &began);
        if (err >= 0)
            err = encode_with(p, (enum hyv_component)c);
        unload(p);
        took(p, err, hyv_component_name((enum hyv_component)c), &began);
    }
    return err;
}

/* All steps, or those that a kept run has left, each of them kept. */
static int denoise(pipeline *p)
{
    const hyv_dit_config *c = &p->model.config.dit;
    const hyv_denoise_plan *plan = &p->plan.denoise;
    const int64_t a_step = (c->double_blocks + c->single_blocks) * (p->plan.guided ? 2 : 1);
    const int first = p->keeper.found.step;
    if (first == plan->steps)
        return 0;
    p->units = a_step * plan->steps;
    p->units_done = a_step * first;
    int err = load(p, HYV_TRANSFORMER);
    if (err >= 0)
        err = hyv_denoiser_new(&p->denoiser, p->be, p->network.net.dit, plan, &p->positive,
                               p->plan.guided ? &p->negative : NULL, &p->watch, p->log);
    if (err >= 0 && first > 0)
        hyv_denoiser_resume(p->denoiser, p->keeper.found.latents, first);
    double began = hyv_seconds();
    if (err >= 0)
        err = hyv_denoiser_prepare(p->denoiser);
    took(p, err, "modulations of all steps", &began);
    for (bool more = true; err >= 0 && more;) {
        err = hyv_denoiser_step(p->denoiser);
        more = err > 0;
        took(p, err, "step", &began);
        if (err >= 0)
            hyv_keeper_keep(&p->keeper, hyv_denoiser_done(p->denoiser),
                            hyv_denoiser_latents(p->denoiser), hyv_grid_rows(plan->grid),
                            c->in_channels);
    }
    if (err >= 0)
        report(p, HYV_PHASE_DENOISE, plan->steps, plan->steps, 1.0);
    return err;
}

/* Takes the latents over, at the VAE's own scale. */
static int take_latents(pipeline *p)
{
    const int64_t n = hyv_grid_rows(p->plan.denoise.grid) * p->model.config.vae.latent_channels;
    const float scale = (float)p->model.config.scaling_factor;
    const float *from = p->denoiser ? hyv_denoiser_latents(p->denoiser) : p->keeper.found.latents;
    p->latents = hyv_malloc((size_t)n, sizeof(float));
    if (!p->latents)
        return hyv_log_error(p->log, -ENOMEM, "out of memory for the latents");
    for (int64_t i = 0; i < n; i++)
        p->latents[i] = from[i] / scale;
    return 0;
}

static int begin_decoding(pipeline *p)
{
    int err = take_latents(p);
    unload(p);
    hyv_denoiser_free(&p->denoiser);
    if (err >= 0)
        err = take_fingerprints(p); /* whoever gets frames may want to tag them */
    if (err >= 0)
        err = load(p, HYV_VAE);
    if (err >= 0) {
        err = hyv_vae_tiles_open(&p->tiles, p->be, p->network.net.vae, p->latents,
                                 p->plan.denoise.grid, &p->plan.tiling, &p->hooks);
        if (err < 0)
            hyv_log_error(p->log, err, "out of memory for the decoded tiles");
    }
    return err;
}

/* A frame that holds NaN would come out black. */
static int check_frame(pipeline *p, const float *rgb)
{
    const int64_t n = (int64_t)p->params->width * p->params->height * HYV_VAE_PICTURE_CHANNELS;
    if (hyv_find_not_finite(rgb, n) < 0)
        return 1;
    return hyv_log_error(p->log, -EBADMSG,
                         "vae: its pictures hold NaN or Inf; its weights are damaged");
}

static int pipeline_read(void *self, const float **rgb)
{
    pipeline *p = self;
    int err = 0;
    while (err >= 0) {
        switch (p->phase) {
        case ENCODE:
            err = encode(p);
            p->phase = DENOISE;
            break;
        case DENOISE:
            err = denoise(p);
            if (err >= 0)
                err = begin_decoding(p);
            p->phase = DECODE;
            break;
        case DECODE:
            err = hyv_vae_tiles_next(p->tiles, rgb);
            if (err > 0)
                return check_frame(p, *rgb);
            if (err == 0)
                hyv_keeper_done(&p->keeper);
            p->phase = FINISHED;
            break;
        default:
            return 0;
        }
    }
    return err;
}

static void pipeline_stop(void *self)
{
    pipeline *p = self;
    hyv_vae_tiles_close(&p->tiles);
    hyv_denoiser_free(&p->denoiser);
    if (p->be)
        unload(p);
    hyv_conditioning_free(&p->positive);
    hyv_conditioning_free(&p->negative);
    hyv_keeper_clear(&p->keeper);
    hyv_free_host(p->latents);
    p->latents = NULL;
    p->phase = IDLE;
}

const hyv_source hyv_pipeline = {
    .open = pipeline_open,
    .start = pipeline_start,
    .read = pipeline_read,
    .stop = pipeline_stop,
    .close = pipeline_close,
    .inspect = hyv_doctor_examine,
};
