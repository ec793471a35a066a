/* Sinusoids (diffusers `get_timestep_embedding`) and rotary tables (`get_1d_rotary_pos_embed`).
 *
 * Transcendental functions are evaluated in double and rounded once to f32, so that the result does
 * not depend on the processor; products of positions and frequencies are f32, as in the reference.
 * Knows no backend.
 */
#include "embed.h"

#include <math.h>

void hyv_sinusoid(float *out, int64_t dim, float value)
{
    const int64_t half = dim / 2;
    const float scale = (float)-log(10000.0);
    for (int64_t k = 0; k < half; k++) {
        const float exponent = scale * (float)k / (float)half;
        const float angle = value * (float)exp((double)exponent);
        out[k] = (float)cos((double)angle);
        out[half + k] = (float)sin((double)angle);
    }
}

static float rope_angle(int64_t position, int64_t pair, int64_t d, double theta)
{
    const float exponent = (float)(2 * pair) / (float)d;
    const float frequency = 1.0f / (float)pow(theta, (double)exponent);
    return (float)position * frequency;
}

void hyv_rope_line(float *cosine, float *sine, int64_t n, int64_t d, double theta)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t c = 0; c < d; c++) {
            const double angle = (double)rope_angle(i, c / 2, d, theta);
            cosine[i * d + c] = (float)cos(angle);
            sine[i * d + c] = (float)sin(angle);
        }
}

void hyv_rope_grid(float *cosine, float *sine, hyv_grid grid, const int64_t dims[3], double theta)
{
    const int64_t width = dims[0] + dims[1] + dims[2];
    const int64_t sizes[3] = {grid.t, grid.h, grid.w}, rows = hyv_grid_rows(grid);
    int64_t stride = rows, first = 0;
    for (int axis = 0; axis < 3; axis++) {
        const int64_t d = dims[axis];
        stride /= sizes[axis];
        for (int64_t position = 0; position < sizes[axis]; position++)
            for (int64_t c = 0; c < d; c++) {
                const double angle = (double)rope_angle(position, c / 2, d, theta);
                const float cos_value = (float)cos(angle), sin_value = (float)sin(angle);
                /* Every row whose coordinate on this axis is `position`. */
                for (int64_t outer = position * stride; outer < rows; outer += stride * sizes[axis])
                    for (int64_t row = outer; row < outer + stride; row++) {
                        cosine[row * width + first + c] = cos_value;
                        sine[row * width + first + c] = sin_value;
                    }
            }
        first += d;
    }
}
