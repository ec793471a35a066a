/* Sinusoids and rotary tables, computed once on the host in f32 as the published code does.
 *
 * Angles reach 6016 rad, so one unit in the last place of a frequency moves a sine by 2e-4: the
 * order of operations is part of the definition. Knows no backend.
 */
#ifndef HYV_MODEL_EMBED_H
#define HYV_MODEL_EMBED_H

#include "../../kernels/types.h"

/* out[dim]: cos(value * f_k) for k < dim/2, then the sines; f_k = exp(-ln(10000) k / (dim/2)).
 * Diffusers calls this `Timesteps` with flip_sin_to_cos and downscale_freq_shift 0. */
void hyv_sinusoid(float *out, int64_t dim, float value);

/* Positions 0 .. n-1 of one axis of d channels: cos and sin [n, d], each angle twice (interleaved
 * pairs). Angle = position * theta^(-2k/d). */
void hyv_rope_line(float *cosine, float *sine, int64_t n, int64_t d, double theta);

/* The video's table: cos and sin [t*h*w, d0+d1+d2]; axes in the order t, h, w, positions from 0. */
void hyv_rope_grid(float *cosine, float *sine, hyv_grid grid, const int64_t dims[3], double theta);

#endif
