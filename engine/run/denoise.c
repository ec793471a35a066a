/* Denoise phase: the loop of HunyuanVideo's pipeline (`pipeline_hunyuan_video.py`, official and
 * diffusers).
 *
 * Modulations are computed for all steps at once; everything else that a step needs on the device
 * is put there anew each step: it is small beside the work and leaves one arena in stack order.
 * Knows no text and no pixels.
 */
#include "denoise.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"
#include "../model/embed.h"
#include "rng.h"
#include "sampler.h"

struct hyv_denoiser {
    hyv_backend *be;
    const hyv_dit *m;
    hyv_denoise_plan plan;
    const hyv_conditioning *positive, *negative;
    const hyv_watch *watch;
    hyv_log *log;
    int done;
    int64_t rows, channels, tokens;
    float *sigmas;             /* [steps + 1] */
    float *cosine, *sine;      /* [tokens, head_dim] */
    float *latents, *velocity; /* [rows, channels] */
    float *unguided;           /* [rows, channels]: of the negative prompt; NULL without guidance */
    hyv_mat modulations;       /* [steps, ...] of the positive text, then of the negative one */
};

static int64_t token_count(const hyv_dit_config *c, hyv_grid grid)
{
    return hyv_grid_rows(grid) / (c->patch * c->patch);
}

size_t hyv_denoiser_bytes(const hyv_dit_config *c, const hyv_denoise_plan *plan)
{
    const int64_t buffers = plan->cfg > 1.0 ? 3 : 2;
    const int64_t latents = hyv_grid_rows(plan->grid) * c->in_channels;
    const int64_t rope = 2 * token_count(c, plan->grid) * c->head_dim;
    const int64_t modulations = plan->steps * hyv_dit_modulation_cols(c) * (buffers - 1);
    return (size_t)(buffers * latents + rope + modulations + plan->steps + 1) * sizeof(float);
}

static bool allocate(hyv_denoiser *d)
{
    const hyv_dit_config *c = &d->m->config;
    const size_t latents = (size_t)(d->rows * d->channels);
    const size_t rope = (size_t)(d->tokens * c->head_dim);
    d->sigmas = hyv_malloc((size_t)d->plan.steps + 1, sizeof(float));
    d->cosine = hyv_malloc(rope, sizeof(float));
    d->sine = hyv_malloc(rope, sizeof(float));
    d->latents = hyv_malloc(latents, sizeof(float));
    d->velocity = hyv_malloc(latents, sizeof(float));
    if (d->plan.cfg > 1.0)
        d->unguided = hyv_malloc(latents, sizeof(float));
    return d->sigmas && d->cosine && d->sine && d->latents && d->velocity &&
           (d->unguided || d->plan.cfg <= 1.0);
}

int hyv_denoiser_new(hyv_denoiser **out, hyv_backend *be, const hyv_dit *m,
                     const hyv_denoise_plan *plan, const hyv_conditioning *positive,
                     const hyv_conditioning *negative, const hyv_watch *watch, hyv_log *log)
{
    hyv_denoiser *d = *out = hyv_calloc(1, sizeof(*d));
    if (!d)
        return hyv_log_error(log, -ENOMEM, "out of memory");
    d->be = be;
    d->m = m;
    d->plan = *plan;
    d->positive = positive;
    d->negative = negative;
    d->watch = watch;
    d->log = log;
    d->rows = hyv_grid_rows(plan->grid);
    d->channels = m->config.in_channels;
    d->tokens = token_count(&m->config, plan->grid);
    if (be->ops->dry)
        return 0;
    if (!allocate(d)) {
        hyv_denoiser_free(out);
        return hyv_log_error(log, -ENOMEM, "out of memory for the latents (%zu bytes)",
                             hyv_denoiser_bytes(&m->config, plan));
    }
    hyv_rng_normal(d->latents, d->rows, d->channels, (uint64_t)plan->seed);
    hyv_sigmas(d->sigmas, plan->steps, plan->shift);
    const hyv_grid tokens = {plan->grid.t, plan->grid.h / m->config.patch,
                             plan->grid.w / m->config.patch};
    hyv_rope_grid(d->cosine, d->sine, tokens, m->config.rope_dims, m->config.rope_theta);
    return 0;
}

void hyv_denoiser_free(hyv_denoiser **out)
{
    hyv_denoiser *d = *out;
    if (!d)
        return;
    hyv_free_host(d->sigmas);
    hyv_free_host(d->cosine);
    hyv_free_host(d->sine);
    hyv_free_host(d->latents);
    hyv_free_host(d->velocity);
    hyv_free_host(d->unguided);
    hyv_free(d->be, d->modulations.data);
    hyv_free_host(d);
    *out = NULL;
}

static hyv_mat put(hyv_backend *be, const float *host, int64_t rows, int64_t cols)
{
    const hyv_mat m = hyv_new(be, rows, cols);
    hyv_upload(be, m, host);
    return m;
}

/* Sinusoids of the model times of steps first, first + 1, ... */
static hyv_mat put_times(const hyv_denoiser *d, int first, int count)
{
    const hyv_mat m = hyv_new(d->be, count, HYV_SINUSOID_DIM);
    for (int i = 0; i < count && d->sigmas; i++) {
        float sinusoid[HYV_SINUSOID_DIM];
        hyv_sinusoid(sinusoid, HYV_SINUSOID_DIM, hyv_model_time(d->sigmas[first + i]));
        hyv_upload(d->be, hyv_rows(m, i, 1), sinusoid);
    }
    return m;
}

static hyv_mat put_guidance(const hyv_denoiser *d)
{
    float sinusoid[HYV_SINUSOID_DIM];
    if (!d->m->config.guidance)
        return HYV_NO_MAT;
    hyv_sinusoid(sinusoid, HYV_SINUSOID_DIM, hyv_model_guidance(d->plan.guidance));
    return put(d->be, sinusoid, 1, HYV_SINUSOID_DIM);
}

/* The pooled vectors of both texts. */
static hyv_mat put_pooled(const hyv_denoiser *d, int texts)
{
    const int64_t width = d->positive->pooled_width;
    const hyv_mat m = hyv_new(d->be, texts, width);
    hyv_upload(d->be, hyv_rows(m, 0, 1), d->positive->pooled);
    if (texts > 1)
        hyv_upload(d->be, hyv_rows(m, 1, 1), d->negative->pooled);
    return m;
}

int hyv_denoiser_prepare(hyv_denoiser *d)
{
    hyv_backend *be = d->be;
    const int texts = d->plan.cfg > 1.0 ? 2 : 1;
    const int64_t rows = texts * d->plan.steps, cols = hyv_dit_modulation_cols(&d->m->config);
    if (d->modulations.data)
        return hyv_backend_error(be);
    const size_t mark = hyv_mark(be);
    const hyv_dit_vectors in = {.time = put_times(d, 0, d->plan.steps),
                                .guidance = put_guidance(d),
                                .pooled = put_pooled(d, texts)};
    void *data = hyv_alloc(be, (size_t)(rows * cols) * sizeof(float), "modulations");
    d->modulations = (hyv_mat){data, rows, cols, cols, be->ops->activation};
    hyv_dit_modulate(be, d->m, d->modulations, &in, d->watch);
    hyv_release(be, mark);
    return hyv_backend_error(be);
}

void hyv_denoiser_evaluate(hyv_denoiser *d, float *velocity, const float *latents, int step,
                           bool negative)
{
    hyv_backend *be = d->be;
    const hyv_dit_config *config = &d->m->config;
    const hyv_conditioning *c = negative ? d->negative : d->positive;
    const size_t mark = hyv_mark(be);
    const hyv_dit_input in = {.latents = put(be, latents, d->rows, d->channels),
                              .grid = d->plan.grid,
                              .text = put(be, c->states, c->tokens, c->width),
                              .text_mean = put(be, c->mean, 1, c->width),
                              .time = put_times(d, step, 1),
                              .modulations =
                                  hyv_rows(d->modulations, negative * d->plan.steps + step, 1),
                              .rope = {put(be, d->cosine, d->tokens, config->head_dim),
                                       put(be, d->sine, d->tokens, config->head_dim)}};
    const hyv_mat out = hyv_new(be, d->rows, config->out_channels);
    hyv_dit_forward(be, d->m, out, &in, d->watch);
    hyv_download(be, velocity, out);
    hyv_release(be, mark);
}

void hyv_denoiser_resume(hyv_denoiser *d, const float *latents, int steps)
{
    memcpy(d->latents, latents, (size_t)(d->rows * d->channels) * sizeof(float));
    d->done = steps;
}

int hyv_denoiser_step(hyv_denoiser *d)
{
    const int64_t n = d->rows * d->channels;
    const float sigma = d->sigmas[d->done];
    const int prepared = hyv_denoiser_prepare(d);
    if (prepared < 0)
        return prepared;
    hyv_denoiser_evaluate(d, d->velocity, d->latents, d->done, false);
    if (d->plan.cfg > 1.0) {
        hyv_denoiser_evaluate(d, d->unguided, d->latents, d->done, true);
        hyv_guide(d->velocity, d->unguided, n, (float)d->plan.cfg);
    }
    const int err = hyv_backend_error(d->be);
    if (err < 0)
        return err;
    if (hyv_find_not_finite(d->velocity, n) >= 0)
        return hyv_log_error(d->log, -EBADMSG,
                             "transformer: its prediction holds NaN or Inf at step %d of %d; its "
                             "weights are damaged",
                             d->done + 1, d->plan.steps);
    hyv_euler(d->latents, d->velocity, n, sigma, d->sigmas[d->done + 1]);
    return ++d->done < d->plan.steps;
}

int hyv_denoiser_done(const hyv_denoiser *d)
{
    return d->done;
}

float *hyv_denoiser_latents(hyv_denoiser *d)
{
    return d->latents;
}

const float *hyv_denoiser_sigmas(const hyv_denoiser *d)
{
    return d->sigmas;
}
