/* Flow matching: the schedule, the guidance value, and the update. Host floats only, so that every
 * backend shares them bit for bit.
 *
 * Follows HunyuanVideo's `FlowMatchDiscreteScheduler` with the reversed flow (diffusers
 * `FlowMatchEulerDiscreteScheduler` with the sigmas that its HunyuanVideo pipelines pass): sigma
 * runs from 1 (noise) to 0. Knows no model.
 */
#ifndef HYV_RUN_SAMPLER_H
#define HYV_RUN_SAMPLER_H

#include <stdint.h>

/* sigmas[steps + 1]: u_i = 1 - i/steps, sigma = shift u / (1 + (shift - 1) u); the last is 0. */
void hyv_sigmas(float *sigmas, int steps, double shift);

/* What the model's sinusoid gets for sigma: 1000 sigma. */
float hyv_model_time(float sigma);

/* What it gets for an embedded guidance scale: 1000 scale as bf16 arithmetic has it (6 gives 6016).
 */
float hyv_model_guidance(double scale);

/* v = negative + scale * (positive - negative), into positive. */
void hyv_guide(float *positive, const float *negative, int64_t n, float scale);

/* x += v * (next - sigma) */
void hyv_euler(float *x, const float *v, int64_t n, float sigma, float next);

/* The first index at which v is not finite, or -1. */
int64_t hyv_find_not_finite(const float *v, int64_t n);

#endif
