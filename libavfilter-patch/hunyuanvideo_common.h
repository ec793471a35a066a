/*
 * This file is part of FFmpeg.
 *
 * FFmpeg is free software; you can redistribute it and/or
 * modify it under the terms of the GNU Lesser General Public
 * License as published by the Free Software Foundation; either
 * version 2.1 of the License, or (at your option) any later version.
 *
 * FFmpeg is distributed in the hope that it will be useful,
 * but WITHOUT ANY WARRANTY; without even the implied warranty of
 * MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the GNU
 * Lesser General Public License for more details.
 *
 * You should have received a copy of the GNU Lesser General Public
 * License along with FFmpeg; if not, write to the Free Software
 * Foundation, Inc., 51 Franklin Street, Fifth Floor, Boston, MA 02110-1301 USA
 */

/**
 * @file
 * What the hunyuanvideo filters share: options, the way to
 * libhunyuanvideo and back, logging, errors.
 */

#ifndef AVFILTER_HUNYUANVIDEO_COMMON_H
#define AVFILTER_HUNYUANVIDEO_COMMON_H

#include <float.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>

#include <hunyuanvideo.h>

#include "libavutil/frame.h"
#include "libavutil/opt.h"
#include "libavutil/rational.h"

#include "avfilter.h"

/**
 * Options and state of every filter. It stands first in their private
 * data, or is all of it.
 */
typedef struct HunyuanVideoContext {
    const AVClass *class;

    /* options; negative numbers and NULL: not given */
    char      *prompt, *promptfile;
    char      *negative, *negativefile;
    int        w, h;
    AVRational rate;
    int64_t    duration;
    AVRational sar;
    int        frames;
    char      *preset;
    AVRational aspect;
    char      *model;
    int64_t    seed;
    int        steps;
    double     guidance, shift, cfg;
    char      *device;
    int        precision;
    int        offload;
    char      *transformer, *vae, *text_encoder, *text_encoder_2;
    char      *tokenizer, *tokenizer_2;
    char      *checkpoint, *recipe;
    char      *opts;

    /* state */
    hyv_options *options;
    hyv_context *engine;
    hyv_video    video;        ///< as planned
    int64_t      nb_frames;    ///< to deliver
    int64_t      nb_sent;      ///< delivered, and the next pts
    int          quiet;        ///< log nothing above DEBUG
    int64_t      began;        ///< microseconds; 0: no frame was asked for
    int64_t      stage_began;  ///< microseconds
    int64_t      reported;     ///< time of the last progress line
    int          stage;        ///< an enum hyv_phase, -1 before the first
    int          step;         ///< of the stage, last one seen
} HunyuanVideoContext;

#define HYV_OFFSET(x) offsetof(HunyuanVideoContext, x)
#define HYV_FLAGS AV_OPT_FLAG_VIDEO_PARAM | AV_OPT_FLAG_FILTERING_PARAM

/* The tail of the option tables: everything about the model and its run. */
#define HYV_MODEL_OPTIONS \
    { "promptfile",   "read the prompt from a file",                HYV_OFFSET(promptfile),   AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "negative",     "set the text to lead away from (needs cfg above 1)", HYV_OFFSET(negative), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "negativefile", "read the negative prompt from a file",       HYV_OFFSET(negativefile), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "model",        "set the model file, folder or name",         HYV_OFFSET(model),        AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "m",            "set the model file, folder or name",         HYV_OFFSET(model),        AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "seed",         "set the random seed (-1: draw one)",         HYV_OFFSET(seed),         AV_OPT_TYPE_INT64,  { .i64 = -1 }, -1, UINT32_MAX, HYV_FLAGS }, \
    { "steps",        "set the number of denoising steps (-1: from the model)", HYV_OFFSET(steps), AV_OPT_TYPE_INT, { .i64 = -1 }, -1, INT_MAX, HYV_FLAGS }, \
    { "guidance",     "set the embedded guidance (-1: from the model)", HYV_OFFSET(guidance), AV_OPT_TYPE_DOUBLE, { .dbl = -1 }, -1, FLT_MAX, HYV_FLAGS }, \
    { "shift",        "set the flow shift (-1: from the model)",    HYV_OFFSET(shift),        AV_OPT_TYPE_DOUBLE, { .dbl = -1 }, -1, FLT_MAX, HYV_FLAGS }, \
    { "cfg",          "set the classifier-free guidance scale (1: off, -1: from the model)", HYV_OFFSET(cfg), AV_OPT_TYPE_DOUBLE, { .dbl = -1 }, -1, FLT_MAX, HYV_FLAGS }, \
    { "device",       "set what computes: auto, cpu, cuda, cuda:N", HYV_OFFSET(device),       AV_OPT_TYPE_STRING, { .str = "auto" }, 0, 0, HYV_FLAGS }, \
    { "precision",    "set the arithmetic",                         HYV_OFFSET(precision),    AV_OPT_TYPE_INT, { .i64 = HYV_PRECISION_AUTO }, 0, HYV_PRECISION_NB - 1, HYV_FLAGS, .unit = "precision" }, \
        { "auto",     "let the library choose",                     0, AV_OPT_TYPE_CONST, { .i64 = HYV_PRECISION_AUTO }, 0, 0, HYV_FLAGS, .unit = "precision" }, \
        { "fp32",     "32-bit floating point",                      0, AV_OPT_TYPE_CONST, { .i64 = HYV_PRECISION_FP32 }, 0, 0, HYV_FLAGS, .unit = "precision" }, \
        { "bf16",     "bfloat16",                                   0, AV_OPT_TYPE_CONST, { .i64 = HYV_PRECISION_BF16 }, 0, 0, HYV_FLAGS, .unit = "precision" }, \
        { "fp16",     "16-bit floating point",                      0, AV_OPT_TYPE_CONST, { .i64 = HYV_PRECISION_FP16 }, 0, 0, HYV_FLAGS, .unit = "precision" }, \
        { "fp8",      "8-bit floating point",                       0, AV_OPT_TYPE_CONST, { .i64 = HYV_PRECISION_FP8  }, 0, 0, HYV_FLAGS, .unit = "precision" }, \
        { "int8",     "8-bit integers",                             0, AV_OPT_TYPE_CONST, { .i64 = HYV_PRECISION_INT8 }, 0, 0, HYV_FLAGS, .unit = "precision" }, \
    { "offload",      "set how hard to save device memory",         HYV_OFFSET(offload),      AV_OPT_TYPE_INT, { .i64 = HYV_OFFLOAD_AUTO }, 0, HYV_OFFLOAD_NB - 1, HYV_FLAGS, .unit = "offload" }, \
        { "auto",     "keep on the device what fits",               0, AV_OPT_TYPE_CONST, { .i64 = HYV_OFFLOAD_AUTO }, 0, 0, HYV_FLAGS, .unit = "offload" }, \
        { "none",     "keep everything on the device",              0, AV_OPT_TYPE_CONST, { .i64 = HYV_OFFLOAD_NONE }, 0, 0, HYV_FLAGS, .unit = "offload" }, \
    { "transformer",  "set the transformer's file or folder",       HYV_OFFSET(transformer),  AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "vae",          "set the VAE's file or folder",               HYV_OFFSET(vae),          AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "text_encoder", "set the language model's file or folder",    HYV_OFFSET(text_encoder), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "text_encoder_2", "set CLIP's file or folder",                  HYV_OFFSET(text_encoder_2),AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "tokenizer",    "set the language model's tokenizer",         HYV_OFFSET(tokenizer),    AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "tokenizer_2",  "set CLIP's tokenizer",                       HYV_OFFSET(tokenizer_2),  AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "checkpoint",   "keep the run's state in a file and go on with it (auto: in the current folder)", HYV_OFFSET(checkpoint), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "recipe",       "write all options in force to a file, a preset for the same video", HYV_OFFSET(recipe), AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }, \
    { "opts",         "set options of the library as key=value|key=value", HYV_OFFSET(opts),  AV_OPT_TYPE_STRING, { .str = NULL }, 0, 0, HYV_FLAGS }

enum HunyuanVideoPrecision {
    HYV_PRECISION_AUTO,
    HYV_PRECISION_FP32,
    HYV_PRECISION_BF16,
    HYV_PRECISION_FP16,
    HYV_PRECISION_FP8,
    HYV_PRECISION_INT8,
    HYV_PRECISION_NB
};

enum HunyuanVideoOffload {
    HYV_OFFLOAD_AUTO,
    HYV_OFFLOAD_NONE,
    HYV_OFFLOAD_NB
};

/** Pixel formats that the library writes, best first. */
extern const int ff_hunyuanvideo_pix_fmts[];
/** Colour spaces and ranges of the YUV ones, best first. */
extern const int ff_hunyuanvideo_color_spaces[];
extern const int ff_hunyuanvideo_color_ranges[];

/**
 * Check the options, without touching files or devices.
 */
int ff_hunyuanvideo_init(AVFilterContext *ctx);

/**
 * Read prompt files, open the model and plan the clip: everything that
 * can fail before the first kernel runs. Fills s->video and s->nb_frames.
 */
int ff_hunyuanvideo_plan(AVFilterContext *ctx);

/**
 * Block until the next frame is in frame's planes, and tag it.
 *
 * @return 1 a frame, 0 the end (also: stopped by the user), negative an
 *         AVERROR that has been logged
 */
int ff_hunyuanvideo_read(AVFilterContext *ctx, AVFrame *frame);

/**
 * Close the library, at any point of life and any number of times.
 */
void ff_hunyuanvideo_close(AVFilterContext *ctx);

#endif /* AVFILTER_HUNYUANVIDEO_COMMON_H */
