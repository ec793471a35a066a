/* Float pictures to pixel formats, straight into the caller's planes.
 *
 * In comes what the VAE makes: [height * width, 3] RGB, about -1 to 1, not clamped. A value x is
 * v = clamp(x / 2 + 0.5, 0, 1); NaN counts as 0. RGB formats hold v * (2^bits - 1). YUV formats
 * follow ITU-R BT.709, BT.601 and BT.2020 (non-constant luminance), H.273's quantisation. All is
 * rounded once, to nearest, half to even. Chroma is left-sited: a sample stands on the column of an
 * even pixel and midway between two rows. Its filter is (1 2 1) / 4 across and (1 1) / 2 down over
 * the pixels' colours, edges repeated. Knows no models.
 */
#ifndef HYV_RUN_FRAMES_H
#define HYV_RUN_FRAMES_H

#include "../base/log.h"
#include "../hunyuanvideo.h"

/* 0 if `image` is complete, of this size, and its strides hold its rows; else -EINVAL with a
 * message. */
int hyv_frames_check(const hyv_image *image, int width, int height, hyv_log *log);

/* Writes a picture; `image` has passed hyv_frames_check. */
void hyv_frames_write(const hyv_image *image, const float *rgb);

#endif
