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
 * What the hunyuanvideo filters share: options to libhunyuanvideo, its
 * messages, progress and errors back, prompt files.
 */

#include "config.h"

#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if HAVE_GETRUSAGE
#include <sys/resource.h>
#endif

#include "libavutil/attributes.h"
#include "libavutil/avstring.h"
#include "libavutil/cpu.h"
#include "libavutil/dict.h"
#include "libavutil/error.h"
#include "libavutil/mathematics.h"
#include "libavutil/mem.h"
#include "libavutil/pixfmt.h"
#include "libavutil/time.h"

#include "avfilter.h"
#include "hunyuanvideo_common.h"
#include "hunyuanvideo_compat.h"
#include "hunyuanvideo_interrupt.h"

#define PROMPT_FILE_MAX   65536          ///< bytes
#define PROGRESS_INTERVAL (5 * 1000000)  ///< microseconds between two lines

static const char *const stage_names[] = { "text", "denoise", "decode" };
static const char *const precision_names[] = {
    "auto", "fp32", "bf16", "fp16", "fp8", "int8",
};
static const char *const offload_names[] = { "auto", "none" };

const int ff_hunyuanvideo_pix_fmts[] = {
    AV_PIX_FMT_YUV420P, AV_PIX_FMT_YUV422P, AV_PIX_FMT_YUV444P,
    AV_PIX_FMT_YUV420P10LE, AV_PIX_FMT_YUV444P10LE,
    AV_PIX_FMT_GBRP, AV_PIX_FMT_RGB24, AV_PIX_FMT_GBRP10LE, AV_PIX_FMT_GBRPF32,
    AV_PIX_FMT_NONE
};

const int ff_hunyuanvideo_color_spaces[] = {
    AVCOL_SPC_BT709, AVCOL_SPC_SMPTE170M, AVCOL_SPC_BT470BG, AVCOL_SPC_BT2020_NCL, -1
};

const int ff_hunyuanvideo_color_ranges[] = {
    AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG, -1
};

static int interrupt_callback(void *opaque)
{
    return ff_hunyuanvideo_interrupted();
}

static void log_callback(void *opaque, enum hyv_log_level level, const char *message)
{
    static const int levels[] = {
        AV_LOG_ERROR, AV_LOG_WARNING, AV_LOG_INFO, AV_LOG_VERBOSE, AV_LOG_DEBUG
    };
    AVFilterContext     *ctx = opaque;
    HunyuanVideoContext *s   = ctx->priv;
    int av_level = AV_LOG_DEBUG;

    if (level >= 0 && level < FF_ARRAY_ELEMS(levels) && !s->quiet)
        av_level = levels[level];
    av_log(ctx, av_level, "%s\n", message);
}

static void end_stage(AVFilterContext *ctx, int64_t now)
{
    HunyuanVideoContext *s = ctx->priv;

    if (s->stage >= 0 && s->stage < FF_ARRAY_ELEMS(stage_names))
        av_log(ctx, AV_LOG_VERBOSE, "%s took %.1f s\n",
               stage_names[s->stage], (now - s->stage_began) / 1e6);
}

/* One line a step for the patient; the others get one every five seconds
 * and one at the end of a stage. */
static int progress_callback(void *opaque, const hyv_progress *p)
{
    AVFilterContext     *ctx = opaque;
    HunyuanVideoContext *s   = ctx->priv;
    int64_t now = av_gettime_relative();
    int new_step, level = AV_LOG_DEBUG;
    char left[48] = "", speed[48] = "";
    double each = p->step_seconds;

    if ((int)p->phase != s->stage) {
        end_stage(ctx, now);
        s->stage       = p->phase;
        s->stage_began = now;
        s->step        = 0;
    }
    new_step = p->step != s->step;
    s->step  = p->step;
    if (new_step)
        level = AV_LOG_VERBOSE;
    if (now - s->reported >= PROGRESS_INTERVAL || (new_step && p->step == p->steps)) {
        level       = AV_LOG_INFO;
        s->reported = now;
    }
    if (level == AV_LOG_DEBUG || (unsigned)s->stage >= FF_ARRAY_ELEMS(stage_names))
        return 0;

    if (each > 0)
        snprintf(speed, sizeof(speed), ", %.*f s/step", each < 10 ? 2 : 0, each);
    else
        snprintf(speed, sizeof(speed), ", %.1f%%", 100 * p->fraction);
    if (p->step < p->steps && p->remaining >= 0)
        snprintf(left, sizeof(left), ", about %.0f s left", p->remaining);
    av_log(ctx, level, "%s %d/%d%s%s\n", stage_names[s->stage], p->step, p->steps, speed, left);
    return 0;
}

/* The library has logged the reason; this is only the code. */
static int averror(int err)
{
    switch (-err) {
    case EBADMSG:
    case ENOTSUP:
        return AVERROR_INVALIDDATA;
    case ECANCELED:
        return AVERROR_EXIT;
    case EINVAL: case ENOENT: case EACCES: case EPERM:  case ENOTDIR: case EISDIR:
    case ENOSYS: case ENODEV: case ENOMEM: case EIO:    case ELOOP:   case ENAMETOOLONG:
    case EMFILE: case ENFILE: case ENXIO:
        return AVERROR(-err);
    }
    return AVERROR_EXTERNAL;
}

/* Set an option of the library; the text of a failure is with the options. */
static int set(AVFilterContext *ctx, const char *name, const char *value)
{
    HunyuanVideoContext *s = ctx->priv;
    int ret = hyv_options_set(s->options, name, value);

    if (ret < 0) {
        av_log(ctx, AV_LOG_ERROR, "%s\n", hyv_options_get(s->options, "error"));
        return averror(ret);
    }
    return 0;
}

static int set_printf(AVFilterContext *ctx, const char *name, const char *format, ...)
    av_printf_format(3, 4);

static int set_printf(AVFilterContext *ctx, const char *name, const char *format, ...)
{
    char value[64], *p;
    va_list ap;

    va_start(ap, format);
    vsnprintf(value, sizeof(value), format, ap);
    va_end(ap);
    for (p = value; *p; p++)
        if (*p == ',') /* the decimal point of a program with a locale */
            *p = '.';
    return set(ctx, name, value);
}

/* key=value|key=value */
static int set_opts(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    AVDictionary            *dict  = NULL;
    const AVDictionaryEntry *entry = NULL;
    int ret = av_dict_parse_string(&dict, s->opts, "=", "|", 0);

    if (ret < 0)
        av_log(ctx, AV_LOG_ERROR, "Option opts: \"%s\" is not of the form key=value|key=value\n",
               s->opts);
    while (ret >= 0 && (entry = av_dict_get(dict, "", entry, AV_DICT_IGNORE_SUFFIX)))
        ret = set(ctx, entry->key, entry->value);
    av_dict_free(&dict);
    return ret;
}

/* How many threads the user asked for, 0 for none in particular: the number
 * a graph finds by itself is made for slices of frames. */
static int asked_threads(AVFilterContext *ctx)
{
    int nb = ff_filter_get_nb_threads(ctx);

    return ctx->nb_threads > 0 || nb < FFMIN(av_cpu_count(), 16) ? nb : 0;
}

static int set_numbers(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    int ret = 0;

    if (s->w > 0 &&
        ((ret = set_printf(ctx, "width",  "%d", s->w)) < 0 ||
         (ret = set_printf(ctx, "height", "%d", s->h)) < 0))
        return ret;
    if (s->rate.num > 0 && av_cmp_q(s->rate, av_make_q(24, 1)) &&
        (ret = set_printf(ctx, "rate", "%d/%d", s->rate.num, s->rate.den)) < 0)
        return ret;
    if (s->frames >= 0 && (ret = set_printf(ctx, "frames", "%d", s->frames)) < 0)
        return ret;
    if (av_cmp_q(s->aspect, av_make_q(16, 9)) &&
        (ret = set_printf(ctx, "aspect", "%d:%d", s->aspect.num, s->aspect.den)) < 0)
        return ret;
    if (s->steps >= 0 && (ret = set_printf(ctx, "steps", "%d", s->steps)) < 0)
        return ret;
    if (s->guidance != -1 && (ret = set_printf(ctx, "guidance", "%.15g", s->guidance)) < 0)
        return ret;
    if (s->shift != -1 && (ret = set_printf(ctx, "shift", "%.15g", s->shift)) < 0)
        return ret;
    if (s->cfg != -1 && (ret = set_printf(ctx, "cfg", "%.15g", s->cfg)) < 0)
        return ret;
    return set_printf(ctx, "threads", "%d", asked_threads(ctx));
}

/* Files that stand elsewhere than the rest of the model. */
static int set_parts(AVFilterContext *ctx)
{
    const HunyuanVideoContext *s = ctx->priv;
    const struct { const char *name, *value; } parts[] = {
        { "transformer",    s->transformer    },
        { "vae",            s->vae            },
        { "text_encoder",   s->text_encoder   },
        { "text_encoder_2", s->text_encoder_2 },
        { "tokenizer",      s->tokenizer      },
        { "tokenizer_2",    s->tokenizer_2    },
    };
    int i, ret;

    for (i = 0; i < FF_ARRAY_ELEMS(parts); i++)
        if (parts[i].value && (ret = set(ctx, parts[i].name, parts[i].value)) < 0)
            return ret;
    return 0;
}

static int set_strings(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    const char *model = s->model;
    int ret;

    if (!model || !*model)
        model = getenv("HUNYUANVIDEO_MODEL");
    if (model && *model && (ret = set(ctx, "model", model)) < 0)
        return ret;
    if (s->device && (ret = set(ctx, "device", s->device)) < 0)
        return ret;
    if ((ret = set_parts(ctx)) < 0)
        return ret;
    /* what is left at auto may come from a preset */
    if ((s->precision != HYV_PRECISION_AUTO &&
         (ret = set(ctx, "precision", precision_names[s->precision])) < 0) ||
        (s->offload != HYV_OFFLOAD_AUTO &&
         (ret = set(ctx, "offload", offload_names[s->offload])) < 0))
        return ret;
    if ((s->checkpoint && (ret = set(ctx, "checkpoint", s->checkpoint)) < 0) ||
        (s->recipe && (ret = set(ctx, "recipe", s->recipe)) < 0))
        return ret;
    if (s->prompt && (ret = set(ctx, "prompt", s->prompt)) < 0)
        return ret;
    return s->negative ? set(ctx, "negative", s->negative) : 0;
}

static int check_contradictions(AVFilterContext *ctx)
{
    const HunyuanVideoContext *s = ctx->priv;
    const char *message = NULL;

    if (s->prompt && s->promptfile)
        message = "Give one of prompt and promptfile, not both";
    else if (!s->promptfile && !s->prompt && (!s->preset || !*s->preset))
        message = "A prompt is missing: give prompt=TEXT or promptfile=FILE";
    else if (s->prompt && !s->prompt[strspn(s->prompt, " \t\r\n")])
        message = "The prompt is empty";
    else if (s->negative && s->negativefile)
        message = "Give one of negative and negativefile, not both";
    else if (s->frames >= 0 && s->duration >= 0)
        message = "Give one of frames and duration, not both";
    else if (!s->duration)
        message = "A duration of 0 has no frames";
    else if (!s->aspect.num)
        message = "The aspect ratio must be above 0";
    if (!message)
        return 0;
    av_log(ctx, AV_LOG_ERROR, "%s\n", message);
    return AVERROR(EINVAL);
}

av_cold int ff_hunyuanvideo_init(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    unsigned version = hyv_version();
    int ret;

    s->stage = -1;
    if (version < HYV_VERSION_INT) {
        av_log(ctx, AV_LOG_ERROR, "libhunyuanvideo is version %u.%u.%u, too old for this filter, "
               "which was built with %d.%d.%d\n", version >> 16, version >> 8 & 0xff,
               version & 0xff, HYV_VERSION_MAJOR, HYV_VERSION_MINOR, HYV_VERSION_MICRO);
        return AVERROR_EXTERNAL;
    }
    ret = check_contradictions(ctx);
    if (ret < 0)
        return ret;
    s->options = hyv_options_new();
    if (!s->options)
        return AVERROR(ENOMEM);
    ret = set_strings(ctx);
    if (ret >= 0)
        ret = set_numbers(ctx);
    if (ret >= 0 && s->opts)
        ret = set_opts(ctx);
    return ret;
}

/* Take off a byte order mark, and the line ends at the end. */
static char *trim(char *text, size_t size)
{
    if (size >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
        text += 3;
        size -= 3;
    }
    while (size && (text[size - 1] == '\n' || text[size - 1] == '\r'))
        size--;
    text[size] = 0;
    return text;
}

/* Read a whole file or pipe, and give its text to the library. */
static int set_file(AVFilterContext *ctx, const char *option, const char *filename)
{
    char *buffer, *text;
    size_t size = 0;
    int ret = 0;
    FILE *file = avpriv_fopen_utf8(filename, "rb");

    if (!file) {
        ret = AVERROR(errno);
        av_log(ctx, AV_LOG_ERROR, "Cannot open %s file %s: %s\n", option, filename, av_err2str(ret));
        return ret;
    }
    buffer = av_malloc(PROMPT_FILE_MAX + 2);
    if (!buffer) {
        fclose(file);
        return AVERROR(ENOMEM);
    }
    errno = 0;
    size  = fread(buffer, 1, PROMPT_FILE_MAX + 1, file);
    if (ferror(file)) {
        ret = errno ? AVERROR(errno) : AVERROR(EIO);
        av_log(ctx, AV_LOG_ERROR, "Cannot read %s file %s: %s\n", option, filename, av_err2str(ret));
    } else if (size > PROMPT_FILE_MAX) {
        ret = AVERROR(EINVAL);
        av_log(ctx, AV_LOG_ERROR, "%s file %s is longer than %d bytes\n",
               option, filename, PROMPT_FILE_MAX);
    } else if (memchr(buffer, 0, size)) {
        ret = AVERROR_INVALIDDATA;
        av_log(ctx, AV_LOG_ERROR, "%s file %s holds a zero byte, so it is not text\n",
               option, filename);
    }
    fclose(file);
    if (ret >= 0) {
        text = trim(buffer, size);
        if (!text[strspn(text, " \t\r\n")] && !strcmp(option, "prompt")) {
            ret = AVERROR(EINVAL);
            av_log(ctx, AV_LOG_ERROR, "%s file %s is empty\n", option, filename);
        } else {
            ret = set(ctx, option, text);
        }
    }
    av_free(buffer);
    return ret;
}

/* The clip's length in frames from a duration: as many as begin before its
 * end. The rate may be the model's, so a first plan finds it out. */
static int set_duration(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    AVRational rate = s->rate;
    int64_t inside;
    int ret;

    s->quiet = 1;
    ret = hyv_start(s->engine, s->options, &s->video);
    s->quiet = 0;
    if (ret >= 0)
        rate = av_make_q(s->video.fps_num, s->video.fps_den);
    s->nb_frames = av_rescale_rnd(s->duration, rate.num, rate.den * INT64_C(1000000), AV_ROUND_UP);
    if (s->nb_frames > INT_MAX - 4) {
        av_log(ctx, AV_LOG_ERROR, "The duration is too long\n");
        return AVERROR(EINVAL);
    }
    inside = (s->nb_frames + 2) / 4 * 4 + 1;
    return set_printf(ctx, "frames", "%"PRId64, inside);
}

static void log_plan(AVFilterContext *ctx)
{
    const HunyuanVideoContext *s = ctx->priv;
    const hyv_video *v = &s->video;
    int i;

    av_log(ctx, AV_LOG_INFO, "model %s, %dx%d, %"PRId64" frames, %d steps, seed %"PRId64", %s\n",
           v->model, v->width, v->height, s->nb_frames, v->steps, v->seed, v->device);
    av_log(ctx, AV_LOG_INFO, "about %.3g s, %.3g s a step; %.1f MiB of memory, %.1f MiB read again "
           "in each step\n", v->phase[0].seconds + v->phase[1].seconds + v->phase[2].seconds,
           v->step_seconds, v->bytes / 1048576.0, v->step_disk_bytes / 1048576.0);
    av_log(ctx, AV_LOG_VERBOSE,
           "guidance %g, shift %g, cfg %g, %d text tokens, %"PRId64" video tokens, "
           "%.1f MiB of memory\n", v->guidance, v->shift, v->cfg, v->text_tokens,
           v->video_tokens, v->bytes / 1048576.0);
    for (i = 0; i < FF_ARRAY_ELEMS(stage_names); i++)
        av_log(ctx, AV_LOG_VERBOSE, "plan of %s: %.3g GFLOP, %.1f MiB, %.3g s\n", stage_names[i],
               v->phase[i].flops / 1e9, v->phase[i].bytes / 1048576.0, v->phase[i].seconds);
    if ((s->negative || s->negativefile) && v->cfg <= 1)
        av_log(ctx, AV_LOG_WARNING, "The negative prompt is ignored: it needs cfg above 1\n");
}

static int open_engine(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    const hyv_callbacks callbacks = {
        .size      = sizeof(callbacks),
        .opaque    = ctx,
        .log       = log_callback,
        .progress  = progress_callback,
        .interrupt = interrupt_callback,
    };
    int ret = hyv_open(&s->engine, s->options, &callbacks);

    if (ret < 0)
        return averror(ret);
    s->nb_frames = 0;
    if (s->duration >= 0 && (ret = set_duration(ctx)) < 0)
        return ret;
    s->video.size = sizeof(s->video);
    ret = hyv_start(s->engine, s->options, &s->video);
    if (ret < 0)
        return averror(ret);
    if (!s->nb_frames || s->nb_frames > s->video.frames)
        s->nb_frames = s->video.frames;
    return 0;
}

int ff_hunyuanvideo_plan(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    int64_t seed = s->seed;
    int ret;

    ff_hunyuanvideo_close(ctx);
    s->video = (hyv_video){ .size = sizeof(s->video) };
    if (s->preset && *s->preset && strcmp(s->preset, "auto")) {
        ret = hyv_options_load(s->options, s->preset);
        if (ret < 0) {
            av_log(ctx, AV_LOG_ERROR, "%s\n", hyv_options_get(s->options, "error"));
            return averror(ret);
        }
    }
    if (s->promptfile && (ret = set_file(ctx, "prompt", s->promptfile)) < 0)
        return ret;
    if (s->negativefile && (ret = set_file(ctx, "negative", s->negativefile)) < 0)
        return ret;
    if (!*hyv_options_get(s->options, "prompt")) {
        av_log(ctx, AV_LOG_ERROR, "A prompt is missing: give prompt=TEXT or promptfile=FILE\n");
        return AVERROR(EINVAL);
    }
    if (seed >= 0 && (ret = set_printf(ctx, "seed", "%"PRId64, seed)) < 0)
        return ret;
    ret = open_engine(ctx);
    if (ret >= 0 || (ret == AVERROR(ENOMEM) && s->video.bytes)) /* what does not fit has a plan, too */
        log_plan(ctx);
    if (ret < 0)
        ff_hunyuanvideo_close(ctx);
    return ret;
}

/* Describe the frame's planes to the library. Returns whether they are RGB. */
static int describe(const AVFrame *frame, hyv_image *image)
{
    static const enum hyv_format formats[] = { /* in the order of ff_hunyuanvideo_pix_fmts */
        HYV_FORMAT_YUV420P, HYV_FORMAT_YUV422P, HYV_FORMAT_YUV444P,
        HYV_FORMAT_YUV420P10, HYV_FORMAT_YUV444P10,
        HYV_FORMAT_GBRP, HYV_FORMAT_RGB24, HYV_FORMAT_GBRP10, HYV_FORMAT_GBRPF32,
    };
    int i = 0, plane;

    while (ff_hunyuanvideo_pix_fmts[i] != frame->format)
        i++;
    image->size   = sizeof(*image);
    image->format = formats[i];
    image->width  = frame->width;
    image->height = frame->height;
    image->range  = frame->color_range == AVCOL_RANGE_JPEG ? HYV_RANGE_FULL : HYV_RANGE_LIMITED;
    image->matrix = frame->colorspace == AVCOL_SPC_SMPTE170M  ? HYV_MATRIX_SMPTE170M :
                    frame->colorspace == AVCOL_SPC_BT470BG    ? HYV_MATRIX_BT470BG :
                    frame->colorspace == AVCOL_SPC_BT2020_NCL ? HYV_MATRIX_BT2020_NCL :
                                                                HYV_MATRIX_BT709;
    for (plane = 0; plane < 4; plane++) {
        image->data[plane]   = frame->data[plane];
        image->stride[plane] = frame->linesize[plane];
    }
    return image->format >= HYV_FORMAT_GBRP;
}

/* Colour: what the link agreed on, where links know (the buffer has it
 * then); BT.709 in limited range where not. */
static void tag_color(AVFrame *frame)
{
    hyv_image image = { 0 };

    frame->color_primaries = AVCOL_PRI_BT709;
    frame->color_trc       = AVCOL_TRC_BT709;
    if (describe(frame, &image)) {
        frame->colorspace  = AVCOL_SPC_RGB;
        frame->color_range = AVCOL_RANGE_JPEG;
        return;
    }
    if (!HYV_LINK_HAS_COLOR || frame->colorspace == AVCOL_SPC_UNSPECIFIED)
        frame->colorspace = AVCOL_SPC_BT709;
    if (!HYV_LINK_HAS_COLOR || frame->color_range == AVCOL_RANGE_UNSPECIFIED)
        frame->color_range = AVCOL_RANGE_MPEG;
    if (image.format != HYV_FORMAT_YUV444P && image.format != HYV_FORMAT_YUV444P10)
        frame->chroma_location = AVCHROMA_LOC_LEFT;
}

/* Lines of component and hash. Values stay short: the metadata filter of
 * some releases prints long ones wrongly. */
static int tag_weights(AVFrame *frame, const char *line)
{
    char key[96], component[32], hash[48];
    int ret = 0;

    while (ret >= 0 && line && sscanf(line, "%31s %47s", component, hash) == 2) {
        snprintf(key, sizeof(key), "lavfi.hunyuanvideo.weights.%s", component);
        ret  = av_dict_set(&frame->metadata, key, hash, 0);
        line = strchr(line, '\n');
        line = line ? line + 1 : NULL;
    }
    return ret;
}

static int tag_metadata(AVFilterContext *ctx, AVFrame *frame)
{
    HunyuanVideoContext *s = ctx->priv;
    int ret;

    if ((ret = av_dict_set_int(&frame->metadata, "lavfi.hunyuanvideo.seed", s->video.seed, 0)) < 0 ||
        (ret = av_dict_set_int(&frame->metadata, "lavfi.hunyuanvideo.frame", s->nb_sent, 0)) < 0)
        return ret;
    if (s->nb_sent)
        return 0;
    if ((ret = av_dict_set(&frame->metadata, "lavfi.hunyuanvideo.prompt",
                           hyv_options_get(s->options, "prompt"), 0)) < 0 ||
        (ret = av_dict_set(&frame->metadata, "lavfi.hunyuanvideo.model", s->video.model, 0)) < 0 ||
        (ret = tag_weights(frame, s->video.weights)) < 0)
        return ret;
    return av_dict_set_int(&frame->metadata, "lavfi.hunyuanvideo.steps", s->video.steps, 0);
}

static void log_end(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;
    int64_t now = av_gettime_relative();
    char memory[48] = "";
#if HAVE_GETRUSAGE
    struct rusage usage;

    if (!getrusage(RUSAGE_SELF, &usage))
        snprintf(memory, sizeof(memory), ", peak memory %.1f MiB", usage.ru_maxrss / 1024.0);
#endif
    end_stage(ctx, now);
    av_log(ctx, AV_LOG_INFO, "%"PRId64" frames in %.1f s%s\n",
           s->nb_sent, s->began ? (now - s->began) / 1e6 : 0.0, memory);
}

int ff_hunyuanvideo_read(AVFilterContext *ctx, AVFrame *frame)
{
    HunyuanVideoContext *s = ctx->priv;
    hyv_image image = { 0 };
    int ret = 0;

    if (!s->began)
        s->began = s->reported = av_gettime_relative();
    tag_color(frame);
    describe(frame, &image);
    if (ff_hunyuanvideo_interrupted())
        ret = -ECANCELED;
    else if (s->nb_sent < s->nb_frames)
        ret = hyv_read(s->engine, &image);
    if (ret == -ECANCELED) {
        av_log(ctx, AV_LOG_WARNING, "Stopped after %"PRId64" of %"PRId64" frames\n",
               s->nb_sent, s->nb_frames);
        return 0;
    }
    if (ret < 0)
        return averror(ret);
    if (!ret) {
        log_end(ctx);
        return 0;
    }
    hyv_frame_set_key(frame);
    frame->pict_type = AV_PICTURE_TYPE_I;
    ret = tag_metadata(ctx, frame);
    return ret < 0 ? ret : 1;
}

void ff_hunyuanvideo_close(AVFilterContext *ctx)
{
    HunyuanVideoContext *s = ctx->priv;

    hyv_close(&s->engine);
}
