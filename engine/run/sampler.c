/* Schedule and Euler steps of flow matching, in the order of f32 operations that the reference has.
 *
 * Compiled without contraction: products and sums round one by one. Knows no model.
 */
#include "sampler.h"

#include <math.h>

#include "../../kernels/half.h"

void hyv_sigmas(float *sigmas, int steps, double shift)
{
    const float s = (float)shift;
    for (int i = 0; i < steps; i++) {
        const float u = (float)(1.0 - (double)i / (double)steps);
        sigmas[i] = s * u / (1.0f + (float)(shift - 1.0) * u);
    }
    sigmas[steps] = 0.0f;
}

float hyv_model_time(float sigma)
{
    return sigma * 1000.0f;
}

float hyv_model_guidance(double scale)
{
    const float rounded = hyv_bf16_to_f32(hyv_f32_to_bf16((float)scale));
    return hyv_bf16_to_f32(hyv_f32_to_bf16(rounded * 1000.0f));
}

void hyv_guide(float *positive, const float *negative, int64_t n, float scale)
{
    for (int64_t i = 0; i < n; i++)
        positive[i] = negative[i] + scale * (positive[i] - negative[i]);
}

void hyv_euler(float *x, const float *v, int64_t n, float sigma, float next)
{
    const float dt = next - sigma;
    for (int64_t i = 0; i < n; i++)
        x[i] = x[i] + dt * v[i];
}

int64_t hyv_find_not_finite(const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return i;
    return -1;
}
