/*
 * libhunyuanvideo: text to video with HunyuanVideo, as a C library.
 *
 * This header is the whole interface and its manual. It is C99 and C++ clean.
 *
 *     hyv_options *o = hyv_options_new();
 *     hyv_options_set(o, "model", "/models/hunyuanvideo");
 *     hyv_options_set(o, "prompt", "a cat walks on the grass, realistic style");
 *     hyv_context *c = NULL;
 *     hyv_video video = HYV_INIT(hyv_video);
 *     int err = hyv_open(&c, o, &callbacks);   // checkpoint headers only: milliseconds
 *     if (err >= 0)
 *         err = hyv_start(c, o, &video);       // size, frames, memory plan: no heavy work yet
 *     while (err >= 0 && (err = hyv_read(c, &image)) > 0)
 *         ...                                  // the first call encodes the text and denoises
 *     if (err < 0)
 *         puts(hyv_error(c));
 *     hyv_close(&c);
 *     hyv_options_free(&o);
 *
 * Conventions
 *
 * - Functions that can fail return 0 or a positive number for success and a negative errno for
 *   failure, which is FFmpeg's AVERROR on POSIX systems. In use: EINVAL (option), ENOENT and other
 *   file errors, EBADMSG (malformed or damaged file), ENOTSUP (a model or tensor type this library
 *   does not run), ENOSYS (the model or device lacks the feature), ENODEV, ENOMEM, EIO, ECANCELED.
 * - The reason is given once to the log callback at level HYV_LOG_ERROR and stays readable through
 *   hyv_error. Being cancelled is no error and is not logged.
 * - The library never prints, never exits, installs no signal handler, reads no environment
 *   variable, and keeps no global state; only Linux is asked, with precision=bf16 or int8, to let
 *   the process use the processor's AMX tiles where it has them. Contexts are independent; one
 *   context is used by one thread at a time, but hyv_cancel may be called from any.
 * - Structs that cross the border begin with their size; set it with HYV_INIT. Members are only
 *   ever appended, and a shorter struct of an older caller is accepted.
 * - Same seed, same video: on the CPU in fp32 the same bytes for any number of threads and any
 *   x86-64 processor with FMA. With precision=bf16 or int8, for any number of threads and one
 *   instruction set.
 */
#ifndef HUNYUANVIDEO_H
#define HUNYUANVIDEO_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HYV_VERSION_MAJOR 0
#define HYV_VERSION_MINOR 1
#define HYV_VERSION_MICRO 0
#define HYV_VERSION_INT   ((HYV_VERSION_MAJOR << 16) | (HYV_VERSION_MINOR << 8) | HYV_VERSION_MICRO)

#if defined(__GNUC__)
#define HYV_API __attribute__((visibility("default")))
#else
#define HYV_API
#endif

/* Initialises a struct of this header: hyv_video v = HYV_INIT(hyv_video); */
#ifdef __cplusplus
extern "C++" {
template <typename type> inline type hyv_init()
{
    type value = type();
    value.size = sizeof(type);
    return value;
}
}
#define HYV_INIT(type) hyv_init<type>()
#else
#define HYV_INIT(type)       \
    {                        \
        .size = sizeof(type) \
    }
#endif

typedef struct hyv_options hyv_options; /* opaque: option names and values */
typedef struct hyv_context hyv_context; /* opaque: an opened model */

/* Version of the library that runs, as HYV_VERSION_INT; a program compares it with the one it was
 * compiled with. */
HYV_API unsigned hyv_version(void);

/* ---- options
 *
 * Everything that can be chosen is a named option with a string value; hyv_options_next lists them
 * with type, range and default. An option belongs to the model (read by hyv_open) or to the video
 * (read by hyv_start). */

enum hyv_option_type {
    HYV_OPTION_STRING,
    HYV_OPTION_INT,   /* decimal */
    HYV_OPTION_FLOAT, /* decimal, '.' whatever the locale */
    HYV_OPTION_ENUM   /* one of `values` */
};

enum hyv_option_scope { HYV_OPTION_MODEL, HYV_OPTION_VIDEO };

typedef struct hyv_option_info {
    size_t size;
    const char *name;
    const char *help; /* imperative, lower case, no full stop */
    enum hyv_option_type type;
    enum hyv_option_scope scope;
    const char *default_value; /* as a string; "" for none */
    double min, max;           /* of INT and FLOAT */
    const char *values;        /* of ENUM: "auto|c|avx2|avx512"; otherwise NULL */
    double step;               /* of INT: values are min + k * step; 0: all from min to max */
} hyv_option_info;

/* An empty set, in which every option has its default; NULL if memory is short. */
HYV_API hyv_options *hyv_options_new(void);

/* Frees *options and sets it to NULL; accepts NULL inside. */
HYV_API void hyv_options_free(hyv_options **options);

/* Sets one option, checking name, syntax and range. The value is copied. -EINVAL: no such option,
 * or not a valid value (nothing is changed); the reason is then what hyv_options_get(options,
 * "error") returns. An empty string unsets the option. */
HYV_API int hyv_options_set(hyv_options *options, const char *name, const char *value);

/* Loads a preset, a YAML mapping of option names to scalars: a path if the string has a slash, else
 * NAME.yaml in a folder of the option "presets" (colon-separated), in ../../presets, ../presets or
 * ../share/hunyuanvideo/presets seen from where this library lies, or in the installation's
 * PREFIX/share/hunyuanvideo/presets. "auto" is no preset and loads nothing. Options that
 * hyv_options_set gave stay, whatever the order of the calls; a later preset wins over an earlier.
 * -ENOENT: no such preset ("error" then lists the ones there are); -EINVAL: malformed ("error"
 * names the line). On failure nothing is changed.
 *
 * A model folder may hold a preset of its own, hunyuanvideo.yaml; its values are the defaults for
 * that model. */
HYV_API int hyv_options_load(hyv_options *options, const char *preset);

/* The value in force (set, from a preset, or the default), owned by `options` until the option is
 * set again; NULL if there is no such option. "error": why the last call that changes options
 * failed, "" if it did not. */
HYV_API const char *hyv_options_get(const hyv_options *options, const char *name);

/* Walks the option table: NULL gives the first row, the last row gives NULL. */
HYV_API const hyv_option_info *hyv_options_next(const hyv_option_info *previous);

/* ---- callbacks */

enum hyv_log_level { HYV_LOG_ERROR, HYV_LOG_WARNING, HYV_LOG_INFO, HYV_LOG_VERBOSE, HYV_LOG_DEBUG };

enum hyv_phase { HYV_PHASE_TEXT, HYV_PHASE_DENOISE, HYV_PHASE_DECODE, HYV_PHASES };

/* What is going on; given after every transformer block, tile and encoder layer, so often. */
typedef struct hyv_progress {
    size_t size;
    enum hyv_phase phase;
    int step, steps;  /* finished and all: encoder layers, denoising steps, tiles or frames */
    double fraction;  /* of the phase, 0 to 1, finer than step / steps */
    double elapsed;   /* seconds since the phase began */
    double remaining; /* estimated seconds to the end of the phase; negative while unknown */
} hyv_progress;

/* Any member may be NULL. Calls come on the thread that called into the library, except that
 * interrupt may come on any. */
typedef struct hyv_callbacks {
    size_t size;
    void *opaque;
    /* One line, no newline at its end. */
    void (*log)(void *opaque, enum hyv_log_level level, const char *message);
    /* Non-zero cancels. */
    int (*progress)(void *opaque, const hyv_progress *progress);
    /* Asked at least every 100 ms while the library works, from any of its threads; non-zero
     * cancels. */
    int (*interrupt)(void *opaque);
} hyv_callbacks;

/* ---- a video */

/* What hyv_start resolved and planned. Bytes and operations come from a dry run of the very
 * operators that will run. */
typedef struct hyv_video {
    size_t size;
    int width, height, frames; /* of the pictures that hyv_read delivers */
    int fps_num, fps_den;      /* rate of the time stamps */
    int64_t seed;              /* the one in use: 0 to 4294967295 */
    int steps;
    double guidance; /* embedded guidance, 0 if the model has none */
    double shift;
    double cfg;         /* 1: off */
    const char *model;  /* what was opened, for people; owned by the context */
    const char *device; /* e.g. "cpu (avx512, 2 threads)"; owned by the context */
    int text_tokens;    /* of the prompt, as the transformer sees them */
    int64_t video_tokens;
    struct {
        double flops;   /* multiply and add count as two */
        uint64_t bytes; /* peak resident memory in this phase, mapped weights included */
        double seconds; /* estimate, from a measurement of this machine; 0 if none was made */
    } phase[HYV_PHASES];
    uint64_t bytes;           /* peak resident memory of the whole process */
    uint64_t weight_bytes;    /* of the model's files that will be read */
    uint64_t memory;          /* budget in force: the option memory, or what is free */
    uint64_t memory_least;    /* the smallest budget that can hold the video */
    uint64_t step_disk_bytes; /* read again in each denoising step, of weights that do not fit */
    double step_seconds;      /* estimate of a denoising step; 0 if there is none */
    const char *weights;      /* lines "component hash" of the weights in use; owned by the context */
    const char *recipe;       /* all options in force as a preset that makes the same bytes again;
                                 owned by the context, until the next start */
} hyv_video;

/* Pixel formats, named and laid out as FFmpeg's. Ten bits: little-endian 16-bit words. */
enum hyv_format {
    HYV_FORMAT_YUV420P,
    HYV_FORMAT_YUV422P,
    HYV_FORMAT_YUV444P,
    HYV_FORMAT_YUV420P10,
    HYV_FORMAT_YUV444P10,
    HYV_FORMAT_GBRP,
    HYV_FORMAT_RGB24,
    HYV_FORMAT_GBRP10,
    HYV_FORMAT_GBRPF32
};

/* Matrix coefficients of the YUV formats, ignored for the others. */
enum hyv_matrix {
    HYV_MATRIX_BT709,
    HYV_MATRIX_SMPTE170M,
    HYV_MATRIX_BT470BG,
    HYV_MATRIX_BT2020_NCL
};
enum hyv_range { HYV_RANGE_LIMITED, HYV_RANGE_FULL };

/* A picture in the caller's planes. Strides are in bytes and may be negative. RGB formats are full
 * range. 4:2:0 and 4:2:2 chroma is left-sited. Values are clamped to [0, 1], scaled, and rounded to
 * nearest, half to even; gbrpf32 is clamped only. */
typedef struct hyv_image {
    size_t size;
    enum hyv_format format;
    int width, height;
    enum hyv_matrix matrix;
    enum hyv_range range;
    uint8_t *data[4];
    ptrdiff_t stride[4];
} hyv_image;

/* Opens the model that the options name: reads headers, finds out what it is, checks that every
 * tensor is there with the right shape. No weight is converted. On failure *context is still set if
 * memory allowed (for hyv_error) and must be closed. */
HYV_API int hyv_open(hyv_context **context, const hyv_options *options,
                     const hyv_callbacks *callbacks);

/* Resolves and plans the next video; no heavy work. A later call begins another video with the same
 * model. *video may be NULL. -ENOMEM: more memory is needed than the option memory or the system
 * allows; *video then holds the plan all the same. */
HYV_API int hyv_start(hyv_context *context, const hyv_options *options, hyv_video *video);

/* The next frame into out's planes: 1 a frame, 0 the end, negative an error. width and height must
 * be the video's. The first call runs text encoding and all of the denoising. After an error or the
 * end, further calls return the same. */
HYV_API int hyv_read(hyv_context *context, const hyv_image *out);

/* Makes the running or the next hyv_start or hyv_read fail with -ECANCELED soon. Any thread;
 * async-signal-safe. */
HYV_API void hyv_cancel(hyv_context *context);

/* Why the last call failed; "" if it did not. Valid until the next call. Never NULL. */
HYV_API const char *hyv_error(const hyv_context *context);

/* Frees everything and sets *context to NULL; accepts NULL inside. */
HYV_API void hyv_close(hyv_context **context);

/* ---- looking into a model */

enum hyv_tensor_state {
    HYV_TENSOR_USED,
    HYV_TENSOR_UNUSED,
    HYV_TENSOR_FOREIGN,
    HYV_TENSOR_MISSING,
    HYV_TENSOR_MISSHAPEN
};

typedef struct hyv_tensor_info {
    size_t size;
    const char *component; /* "transformer", "vae", "text_encoder", "text_encoder_2" */
    const char *name;      /* as in the file; missing ones: as in the layout of the file */
    const char *type;      /* "BF16"; "" if missing */
    int rank;
    int64_t shape[8];
    enum hyv_tensor_state
        state; /* UNUSED: belongs to the model, not needed for text to video; FOREIGN: unknown */
    const char *note; /* what was expected, if something is wrong; else "" */
} hyv_tensor_info;

/* Reports what the option "model" names, tensor by tensor, with a log line (HYV_LOG_INFO) for each
 * component that says what it is. Returns the number of missing and misshapen tensors, or a
 * negative errno if it is no model at all. `tensor` gets the opaque pointer of `callbacks`; its
 * non-zero return stops. */
HYV_API int hyv_inspect(const hyv_options *options, const hyv_callbacks *callbacks,
                        int (*tensor)(void *opaque, const hyv_tensor_info *info));

#ifdef __cplusplus
}
#endif
#endif
