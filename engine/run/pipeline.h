/* The whole run of a HunyuanVideo model: text, denoising, decoding, in this order, as frames are
 * asked for.
 *
 * A hyv_source over a model folder. Phases take turns with memory: the encoders are given back
 * before the transformer runs, the transformer before the VAE. The plan is a dry run of the same
 * operators. Knows nothing of pixel formats, option strings and presets.
 */
#ifndef HYV_RUN_PIPELINE_H
#define HYV_RUN_PIPELINE_H

#include "source.h"

extern const hyv_source hyv_pipeline;

#endif
