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
 * What differs between the FFmpeg releases that the hunyuanvideo filters
 * are built for (5.1, 7.1, 8.1, 9.0), and nothing else. No other file of
 * theirs tests a version.
 */

#ifndef AVFILTER_HUNYUANVIDEO_COMPAT_H
#define AVFILTER_HUNYUANVIDEO_COMPAT_H

#include "libavutil/frame.h"
#include "libavutil/version.h"
#include "libavfilter/version.h"

#include "avfilter.h"
#include "filters.h"
#include "formats.h"

#if LIBAVUTIL_VERSION_MAJOR >= 58
#include "libavutil/file_open.h"
#else
#include "libavutil/internal.h"
#endif

/* FilterLink, the second kind of format callback, colour on the link */
#if LIBAVFILTER_VERSION_INT >= AV_VERSION_INT(10, 4, 100)
#define HYV_LINK_HAS_COLOR 1
#define HYV_QUERY_PARAMS                                        \
    const AVFilterContext *ctx, AVFilterFormatsConfig **cfg_in, \
    AVFilterFormatsConfig **cfg_out
#define HYV_QUERY_FUNC(func) FILTER_QUERY_FUNC2(func)
#define hyv_set_formats(list) \
    ff_set_common_formats_from_list2(ctx, cfg_in, cfg_out, list)
#define hyv_set_color_spaces(list) \
    ff_set_common_color_spaces_from_list2(ctx, cfg_in, cfg_out, list)
#define hyv_set_color_ranges(list) \
    ff_set_common_color_ranges_from_list2(ctx, cfg_in, cfg_out, list)
#define hyv_link_rate(link) (ff_filter_link(link)->frame_rate)
#else
#include "internal.h"
#define HYV_LINK_HAS_COLOR 0
#define HYV_QUERY_PARAMS     AVFilterContext *ctx
#define HYV_QUERY_FUNC(func) FILTER_QUERY_FUNC(func)
#define hyv_set_formats(list) ff_set_common_formats_from_list(ctx, list)
#define hyv_set_color_spaces(list) (0)
#define hyv_set_color_ranges(list) (0)
#define hyv_link_rate(link) ((link)->frame_rate)
#endif

/* type of a filter's definition, and where its public members are */
#if LIBAVFILTER_VERSION_MAJOR >= 11
#define HYV_FILTER FFFilter
#define HYV_PUBLIC .p
#else
#define HYV_FILTER AVFilter
#define HYV_PUBLIC
#endif

static inline void hyv_frame_set_duration(AVFrame *frame, int64_t duration)
{
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(57, 30, 100)
    frame->duration = duration;
#else
    frame->pkt_duration = duration;
#endif
}

static inline void hyv_frame_set_key(AVFrame *frame)
{
#ifdef AV_FRAME_FLAG_KEY
    frame->flags |= AV_FRAME_FLAG_KEY;
#else
    frame->key_frame = 1;
#endif
}

#endif /* AVFILTER_HUNYUANVIDEO_COMPAT_H */
