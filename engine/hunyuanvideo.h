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

/* The phases of a video, then what hyv_convert reports. */
enum hyv_phase {
    HYV_PHASE_TEXT,
    HYV_PHASE_DENOISE,
    HYV_PHASE_DECODE,
    HYV_PHASES,
    HYV_PHASE_CONVERT = HYV_PHASES
};

/* What is going on; given after every transformer block, tile and encoder layer, so often. */
typedef struct hyv_progress {
    size_t size;
    enum hyv_phase phase;
    int step, steps; /* finished and all: encoder layers, denoising steps, tiles, frames, tensors */
    double fraction; /* of the phase, 0 to 1, finer than step / steps */
    double elapsed;  /* seconds since the phase began */
    double remaining;    /* estimated seconds to the end of the phase; negative while unknown */
    double step_seconds; /* what a step took, of those finished by this process; 0: none is */
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
    const char *weights;      /* lines "component hash" of the weights in use; owned by the context.
                                 Taking them reads pages of all files, so the text is "" until the
                                 first frame has been read, unless the option checkpoint or recipe
                                 is set */
    const char *recipe;       /* all options in force as a preset that makes the same bytes again,
                                 under comments with what `weights` is now; owned by the context,
                                 until the next start */
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
    const char *file; /* that holds it; "" if missing */
    int examined;     /* non-zero: every value was read, and what follows is set */
    int64_t nan, inf; /* how many values are */
    double min, max;  /* of the others; 0 and 0 if there are none. A scale beside is not applied. */
} hyv_tensor_info;

/* One file or folder of the model; members that do not apply are "" or 0. */
typedef struct hyv_component_info {
    size_t size;
    const char *component; /* as in hyv_tensor_info, or "tokenizer", "tokenizer_2" */
    const char *file;      /* or folder */
    const char *config;    /* its config.json */
    const char *family;    /* "HunyuanVideo", "Llama", "CLIP" */
    const char *variant;   /* "text to video, guidance embedded" */
    const char *naming;    /* whose tensor names: "diffusers", "official", "ComfyUI", "GGUF" */
    const char *types;     /* how many tensors of each type: "BF16 100, F32 20" */
    int64_t tensors, values;
    uint64_t bytes;
    const char *summary; /* all of this in one line, for people */
} hyv_component_info;

/* WARNING: a video can be made all the same. */
enum hyv_severity { HYV_SEVERITY_WARNING, HYV_SEVERITY_ERROR };

/* Something that is wrong with a model. Strings are "" where they do not apply, never NULL. */
typedef struct hyv_finding {
    size_t size;
    enum hyv_severity severity;
    const char *kind;      /* a word for programs, e.g. "truncated"; hyv(1) lists them */
    const char *component; /* as in hyv_component_info */
    const char *file;      /* or folder */
    const char *tensor;    /* as in the file */
    const char *found;     /* sentences for people: what is the matter, */
    const char *valid;     /* what would be right, */
    const char *advice;    /* and what to do */
} hyv_finding;

/* Who receives what, in the order of the components; any member may be NULL. The functions get the
 * opaque pointer of hyv_callbacks; a non-zero return stops. What they get lives as long as the
 * call. */
typedef struct hyv_inspection {
    size_t size;
    int values; /* non-zero: reads every value of every tensor, at the speed of the disk, through
                   the mapped files in little memory */
    int (*component)(void *opaque, const hyv_component_info *info);
    int (*tensor)(void *opaque, const hyv_tensor_info *info);
    int (*finding)(void *opaque, const hyv_finding *finding);   /* NULL: they are logged */
    int (*progress)(void *opaque, uint64_t bytes, uint64_t of); /* values read so far */
} hyv_inspection;

/* Looks into what the model options name and goes on after a fault, so that all of them are told in
 * one run. Each component's summary is logged, too (HYV_LOG_INFO). Returns the number of findings
 * of severity ERROR; a negative errno if the options name no model (-ENOENT), memory is short or
 * it was stopped. `inspection` may be NULL. */
HYV_API int hyv_inspect(const hyv_options *options, const hyv_callbacks *callbacks,
                        const hyv_inspection *inspection);

/* ---- converting a model */

/* Writes what the model options name (a model; with `component`, one part of it; without a model,
 * the components that options name) in another type and container. The names of tensors become
 * those of published files.
 *
 * out: a name that ends in .safetensors or .gguf is one file of one component; any other is a new
 * folder in the diffusers layout, with configurations and tokenizers. A file replaces an old one
 * when it is whole; until then, as the folder, it has six more characters, and it is removed if
 * something fails.
 *
 * type: "f32", "f16", "bf16" for all tensors; "f8" (e4m3, with a scale for each matrix;
 * safetensors) or "Q8_0", "Q6_K", "Q4_K" (GGUF) for the matrices in the blocks of transformer and
 * language model, while norms, biases, embeddings, what leads in and out, CLIP and the VAE keep 16
 * or 32 bits; "same", "" or NULL for what each has, if the container holds it. Rows that are no
 * whole blocks become Q8_0, or keep 16 bits. Tensors that need no change are copied.
 *
 * component: "transformer", "vae", "text_encoder", "text_encoder_2"; "" or NULL: all there are.
 *
 * A tensor is never in memory as a whole; some 100 MB do for any size. The option threads counts.
 * The same bytes for any number of threads. -EINVAL for what does not go together, -EBADMSG for NaN
 * and Inf, -ERANGE for values that the type cannot hold, -EEXIST for a folder that is there. */
HYV_API int hyv_convert(const hyv_options *options, const char *out, const char *type,
                        const char *component, const hyv_callbacks *callbacks);

#ifdef __cplusplus
}
#endif
#endif
