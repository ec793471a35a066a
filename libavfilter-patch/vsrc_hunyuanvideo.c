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
 * Source of video that HunyuanVideo generates from a text. The generator
 * is libhunyuanvideo, this is glue.
 */


#include "libavutil/attributes.h"
#include "libavutil/error.h"
#include "libavutil/internal.h"
#include "libavutil/opt.h"

#include "avfilter.h"
#include "filters.h"
#include "hunyuanvideo_common.h"
#include "hunyuanvideo_compat.h"
#include "video.h"

#define OFFSET HYV_OFFSET
#define FLAGS  HYV_FLAGS

/* Values without a name go to options in this order: text first, then the
 * size, whose parser has the clearest complaint about the rest of a prompt
 * with an unescaped colon. */
static const AVOption hunyuanvideo_options[] = {
    { "prompt",   "set the text that describes the video",         OFFSET(prompt),   AV_OPT_TYPE_STRING,     { .str = NULL }, 0, 0, FLAGS },
    { "size",     "set the video size (unset: from the preset)",   OFFSET(w),        AV_OPT_TYPE_IMAGE_SIZE, { .str = NULL }, 0, 0, FLAGS },
    { "s",        "set the video size (unset: from the preset)",   OFFSET(w),        AV_OPT_TYPE_IMAGE_SIZE, { .str = NULL }, 0, 0, FLAGS },
    { "rate",     "set the rate of the time stamps",               OFFSET(rate),     AV_OPT_TYPE_VIDEO_RATE, { .str = "24" }, 0, INT_MAX, FLAGS },
    { "r",        "set the rate of the time stamps",               OFFSET(rate),     AV_OPT_TYPE_VIDEO_RATE, { .str = "24" }, 0, INT_MAX, FLAGS },
    { "duration", "set the duration (-1: that of the preset)",     OFFSET(duration), AV_OPT_TYPE_DURATION,   { .i64 = -1 }, -1, INT64_MAX, FLAGS },
    { "d",        "set the duration (-1: that of the preset)",     OFFSET(duration), AV_OPT_TYPE_DURATION,   { .i64 = -1 }, -1, INT64_MAX, FLAGS },
    { "sar",      "set the sample aspect ratio",                   OFFSET(sar),      AV_OPT_TYPE_RATIONAL,   { .dbl = 1 }, 0, INT_MAX, FLAGS },
    { "frames",   "set the number of frames, 4k+1 (-1: from the preset)", OFFSET(frames), AV_OPT_TYPE_INT,  { .i64 = -1 }, -1, INT_MAX, FLAGS },
    { "preset",   "set size, length and steps by name",            OFFSET(preset),   AV_OPT_TYPE_STRING,     { .str = "auto" }, 0, 0, FLAGS },
    { "aspect",   "set the shape that picks a size of the preset", OFFSET(aspect),   AV_OPT_TYPE_RATIONAL,   { .dbl = 16.0 / 9 }, 0, INT_MAX, FLAGS },
    HYV_MODEL_OPTIONS,
    { NULL }
};

AVFILTER_DEFINE_CLASS(hunyuanvideo);

static int query_formats(HYV_QUERY_PARAMS)
{
    int ret = hyv_set_formats(ff_hunyuanvideo_pix_fmts);

    if (ret < 0)
        return ret;
    ret = hyv_set_color_spaces(ff_hunyuanvideo_color_spaces);
    if (ret < 0)
        return ret;
    return hyv_set_color_ranges(ff_hunyuanvideo_color_ranges);
}

/* A failure in here makes ffmpeg fail in every mode and release; a later
 * one does not. So all that can be found out before the work is. */
static int config_props(AVFilterLink *outlink)
{
    AVFilterContext     *ctx = outlink->src;
    HunyuanVideoContext *s   = ctx->priv;
    int ret = ff_hunyuanvideo_plan(ctx);

    if (ret < 0)
        return ret;
    outlink->w                   = s->video.width;
    outlink->h                   = s->video.height;
    outlink->sample_aspect_ratio = s->sar;
    hyv_link_rate(outlink)       = av_make_q(s->video.fps_num, s->video.fps_den);
    outlink->time_base           = av_inv_q(hyv_link_rate(outlink));
    return 0;
}

static int fail(AVFilterLink *outlink, int err, int64_t pts)
{
    ff_hunyuanvideo_close(outlink->src);
    /* without a status, callers on lavfi input ask again for ever */
    ff_outlink_set_status(outlink, err, pts);
    return err;
}

/* Blocks. "Not now" is no answer here: ffmpeg 7.1 and later stop on an
 * assertion in graphs of sources alone, ffprobe takes it for the end. */
static int activate(AVFilterContext *ctx)
{
    AVFilterLink        *outlink = ctx->outputs[0];
    HunyuanVideoContext *s       = ctx->priv;
    AVFrame *frame;
    int ret;

    if (ff_outlink_get_status(outlink)) {
        ff_hunyuanvideo_close(ctx);
        return 0;
    }
    if (!ff_outlink_frame_wanted(outlink) || !s->engine)
        return FFERROR_NOT_READY;

    frame = ff_get_video_buffer(outlink, outlink->w, outlink->h);
    if (!frame)
        return fail(outlink, AVERROR(ENOMEM), s->nb_sent);
    ret = ff_hunyuanvideo_read(ctx, frame);
    if (ret <= 0) {
        av_frame_free(&frame);
        if (ret < 0)
            return fail(outlink, ret, s->nb_sent);
        ff_hunyuanvideo_close(ctx);
        ff_outlink_set_status(outlink, AVERROR_EOF, s->nb_sent);
        return 0;
    }
    frame->pts                 = s->nb_sent++;
    frame->sample_aspect_ratio = s->sar;
    hyv_frame_set_duration(frame, 1);
    return ff_filter_frame(outlink, frame);
}

static av_cold void uninit(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;

    ff_hunyuanvideo_close(ctx);
    hyv_options_free(&s->options);
}

static const AVFilterPad hunyuanvideo_outputs[] = {
    {
        .name         = "default",
        .type         = AVMEDIA_TYPE_VIDEO,
        .config_props = config_props,
    },
};

const HYV_FILTER ff_vsrc_hunyuanvideo = {
    HYV_PUBLIC.name        = "hunyuanvideo",
    HYV_PUBLIC.description = NULL_IF_CONFIG_SMALL("Generate video from text with HunyuanVideo."),
    HYV_PUBLIC.priv_class  = &hunyuanvideo_class,
    HYV_PUBLIC.inputs      = NULL,
    .priv_size             = sizeof(HunyuanVideoContext),
    .init                  = ff_hunyuanvideo_init,
    .uninit                = uninit,
    .activate              = activate,
    FILTER_OUTPUTS(hunyuanvideo_outputs),
    HYV_QUERY_FUNC(query_formats),
};
