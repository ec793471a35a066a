/* Denoise phase: noise to latents, one transformer evaluation (two with classifier-free guidance) a
 * step.
 *
 * Latents are host floats [t*h*w, channels]; schedule, guidance and update are the host's
 * (sampler.h), so every backend shares them. Works on any backend; on the null backend it measures.
 * Knows no text and no pixels.
 */
#ifndef HYV_RUN_DENOISE_H
#define HYV_RUN_DENOISE_H

#include "../base/log.h"
#include "../model/dit.h"
#include "conditioning.h"

typedef struct hyv_denoise_plan {
    hyv_grid grid; /* of the latents */
    int steps;
    double guidance; /* embedded; ignored if the model takes none */
    double shift;
    double cfg; /* 1: one evaluation a step */
    int64_t seed;
} hyv_denoise_plan;

typedef struct hyv_denoiser hyv_denoiser;

/* negative may be NULL if cfg is 1. All arguments must outlive the denoiser. The latents begin as
 * noise: PyTorch's CPU generator in the order of a [channels, t, h, w] tensor. -ENOMEM. */
int hyv_denoiser_new(hyv_denoiser **d, hyv_backend *be, const hyv_dit *m,
                     const hyv_denoise_plan *plan, const hyv_conditioning *positive,
                     const hyv_conditioning *negative, const hyv_watch *watch, hyv_log *log);
void hyv_denoiser_free(hyv_denoiser **d);

/* Takes up the latents of a run that was stopped after `steps` steps. Before the first step. */
void hyv_denoiser_resume(hyv_denoiser *d, const float *latents, int steps);

/* What every step takes from its time, guidance and pooled text, computed once; the first step does
 * it if nobody has. 0 or the backend's error. */
int hyv_denoiser_prepare(hyv_denoiser *d);

/* One step; 1 if there are more, 0 after the last, negative on failure (not-finite predictions
 * included: -EBADMSG). */
int hyv_denoiser_step(hyv_denoiser *d);

/* The evaluation alone, for the plan: velocity [t*h*w, channels] of `latents` at a step, with the
 * positive or the negative text. After hyv_denoiser_prepare. */
void hyv_denoiser_evaluate(hyv_denoiser *d, float *velocity, const float *latents, int step,
                           bool negative);

int hyv_denoiser_done(const hyv_denoiser *d);            /* steps done */
float *hyv_denoiser_latents(hyv_denoiser *d);            /* [t*h*w, channels] */
const float *hyv_denoiser_sigmas(const hyv_denoiser *d); /* steps + 1 */

/* Host bytes that a denoiser of these sizes holds. */
size_t hyv_denoiser_bytes(const hyv_dit_config *config, const hyv_denoise_plan *plan);

#endif
