/* hyv: the library as a program, through its public header alone.
 *
 * generate writes a video, plan says what it would take, info and doctor look into a model (see
 * cli_inspect.c), options lists the option table. Files appear whole or not at all: frames go to a
 * temporary name that is renamed at the end and removed on failure or signal. Exit status: 0 done,
 * 1 failed, 2 wrong command line, 128 + signal if stopped (130, 143). Must not know what any engine
 * option means, but for prompts and sizes, which have a notation of their own here.
 */
#include "cli.h"

#include "cli_inspect.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    TEXT_BYTES_MAX = 65536, /* of a prompt */
    ROWS_MAX = 96,          /* of the option table and ours */
    BAR = 30,               /* columns */
    LINE_SECONDS = 5,       /* between progress lines, */
    BARS_A_SECOND = 10,     /* or pictures of the bar on a terminal */
    OPTION_BASE = 256       /* getopt values of the table's rows */
};

enum {
    LONG_PRESET = 128,
    LONG_PROMPTFILE,
    LONG_NEGATIVEFILE,
    LONG_TABLE,
    LONG_JSON,
    LONG_TYPE,
    LONG_COMPONENT
};

typedef struct writer {
    FILE *file;
    const char *name; /* for messages */
    const char *path; /* NULL: not renamed */
} writer;

/* Read by the signal handler. */
static hyv_context *volatile running;
static volatile sig_atomic_t stopped_by;
static char partial[4096]; /* the temporary file, "" for none */

static bool bar_shown;
static double line_written = -LINE_SECONDS;

static void clear_bar(void)
{
    if (bar_shown)
        fputs("\r\033[K", stderr);
    bar_shown = false;
}

int report(int status, const char *format, ...)
{
    va_list args;
    clear_bar();
    fputs("hyv: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return status;
}

/* The first signal asks politely, the second does not wait. */
static void on_signal(int number)
{
    if (stopped_by) {
        if (partial[0])
            unlink(partial);
        _exit(128 + number);
    }
    stopped_by = number;
    hyv_cancel(running);
}

int on_interrupt(void *opaque)
{
    (void)opaque;
    return stopped_by != 0;
}

void on_log(void *opaque, enum hyv_log_level level, const char *message)
{
    const job *j = opaque;
    if (j->late && level == HYV_LOG_ERROR)
        return;
    if (level > HYV_LOG_INFO ? !j->verbose : level == HYV_LOG_INFO && j->quiet)
        return;
    clear_bar();
    fprintf(stderr, "hyv: %s%s\n", level == HYV_LOG_WARNING ? "warning: " : "", message);
}

static void print_time(FILE *to, double seconds)
{
    const long long s = (long long)(seconds + 0.5);
    if (s < 10)
        fprintf(to, "%.2g s", seconds);
    else if (s >= 3600)
        fprintf(to, "%lld h %02lld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        fprintf(to, "%lld min %02lld s", s / 60, s % 60);
    else
        fprintf(to, "%lld s", s);
}

int on_progress(void *opaque, const hyv_progress *p)
{
    static const char *const names[] = {"text", "denoise", "decode", "convert"};
    const job *j = opaque;
    const bool terminal = isatty(STDERR_FILENO), last = p->step == p->steps;
    const double interval = terminal ? 1.0 / BARS_A_SECOND : LINE_SECONDS;
    const bool early = p->elapsed >= line_written && p->elapsed < line_written + interval;
    if (j->quiet || (early && !last))
        return 0;
    line_written = last ? -LINE_SECONDS : p->elapsed;
    if (terminal) {
        char bar[BAR + 1];
        for (int i = 0; i < BAR; i++)
            bar[i] = i < (int)(p->fraction * BAR) ? '#' : '-';
        bar[BAR] = '\0';
        fprintf(stderr, "\r\033[K%-7s [%s] ", names[p->phase], bar);
    } else {
        fprintf(stderr, "hyv: %s ", names[p->phase]);
    }
    fprintf(stderr, "%d/%d, %.0f %%", p->step, p->steps, p->fraction * 100);
    if (p->step_seconds > 0 && p->elapsed >= 0.1) {
        fputs(", ", stderr);
        print_time(stderr, p->step_seconds);
        fputs(" each", stderr);
    }
    if (p->remaining >= 0 && p->elapsed >= 0.1 && !last) {
        fputs(", about ", stderr);
        print_time(stderr, p->remaining);
        fputs(" left", stderr);
    }
    bar_shown = terminal && !(last && p->phase >= HYV_PHASE_DECODE);
    if (!bar_shown)
        fputc('\n', stderr);
    fflush(stderr);
    return 0;
}

/* A prompt from a file or pipe: no byte order mark, no line ends behind it. */
static char *read_text(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = malloc(TEXT_BYTES_MAX + 8);
    const char *wrong = NULL;
    size_t n = 0;
    if (!file || !text) {
        wrong = strerror(errno);
    } else {
        n = fread(text, 1, TEXT_BYTES_MAX + 8, file);
        const size_t mark = n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3) ? 3 : 0;
        memmove(text, text + mark, n -= mark);
        while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
            n--;
        if (ferror(file))
            wrong = strerror(errno);
        else if (n > TEXT_BYTES_MAX || !feof(file))
            wrong = "longer than 65536 bytes";
        else if (memchr(text, '\0', n))
            wrong = "holds a NUL, so it is not text";
        else if (n == 0)
            wrong = "is empty";
    }
    if (file)
        fclose(file);
    if (wrong || !text) {
        report(0, "prompt file %s: %s", path, wrong);
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

int set_option(job *j, const char *name, const char *value)
{
    if (hyv_options_set(j->options, name, value) < 0)
        return report(EXIT_USAGE, "%s", hyv_options_get(j->options, "error"));
    return 0;
}

/* "@FILE" is the text of a file, "@@..." a text that begins with an @. */
static int set_text(job *j, const char *name, const char *value, bool is_file)
{
    if (!is_file && value[0] == '@' && value[1] != '@')
        return set_text(j, name, value + 1, true);
    if (!is_file)
        return *value ? set_option(j, name, value + (*value == '@'))
                      : report(EXIT_USAGE, "option %s: the text is empty", name);
    char *text = read_text(value);
    const int status = text ? set_option(j, name, text) : 1;
    free(text);
    return status;
}

static int set_size(job *j, const char *value)
{
    char width[16], height[16], rest;
    if (sscanf(value, "%15[0-9]x%15[0-9]%c", width, height, &rest) != 2)
        return report(EXIT_USAGE, "option size: \"%s\" is not like 1280x720", value);
    const int status = set_option(j, "width", width);
    return status ? status : set_option(j, "height", height);
}

static int load_preset(job *j, const char *name)
{
    if (hyv_options_load(j->options, name) < 0)
        return report(EXIT_USAGE, "%s", hyv_options_get(j->options, "error"));
    return 0;
}

static int take_option(job *j, int value, const char *name, const char *argument)
{
    switch (value) {
    case 'o':
        j->output = argument;
        return 0;
    case 'f':
        j->format = argument;
        return 0;
    case 'm':
        return set_option(j, "model", argument);
    case 's':
        return set_size(j, argument);
    case 'q':
        j->quiet = true;
        return 0;
    case 'v':
        j->verbose = true;
        return 0;
    case 'h':
        j->help = true;
        return 0;
    case LONG_TABLE:
        j->table = true;
        return 0;
    case LONG_JSON:
        j->json = true;
        return 0;
    case LONG_TYPE:
        j->type = argument;
        return 0;
    case LONG_COMPONENT:
        j->component = argument;
        return 0;
    case LONG_PRESET:
        return load_preset(j, argument);
    case LONG_PROMPTFILE:
        j->promptfile = true;
        return set_text(j, "prompt", argument, true);
    case LONG_NEGATIVEFILE:
        j->negativefile = true;
        return set_text(j, "negative", argument, true);
    case '?':
    case ':':
        fputs("Try 'hyv help'.\n", stderr);
        return EXIT_USAGE;
    }
    if (value == 'p' || !strcmp(name, "prompt")) {
        j->prompt = true;
        return set_text(j, "prompt", argument, false);
    }
    if (value == 'n' || !strcmp(name, "negative")) {
        j->negative = true;
        return set_text(j, "negative", argument, false);
    }
    return set_option(j, name, argument);
}

static const struct option own_options[] = {
    {"output", required_argument, NULL, 'o'},
    {"format", required_argument, NULL, 'f'},
    {"size", required_argument, NULL, 's'},
    {"preset", required_argument, NULL, LONG_PRESET},
    {"promptfile", required_argument, NULL, LONG_PROMPTFILE},
    {"negativefile", required_argument, NULL, LONG_NEGATIVEFILE},
    {"table", no_argument, NULL, LONG_TABLE},
    {"json", no_argument, NULL, LONG_JSON},
    {"type", required_argument, NULL, LONG_TYPE},
    {"component", required_argument, NULL, LONG_COMPONENT},
    {"help", no_argument, NULL, 'h'},
    {"quiet", no_argument, NULL, 'q'},
    {"verbose", no_argument, NULL, 'v'},
};

/* The command's options: ours and one for each row of the library's table. */
static int parse(job *j, int argc, char **argv)
{
    struct option longs[ROWS_MAX] = {{0}};
    int count = (int)(sizeof(own_options) / sizeof(own_options[0]));
    memcpy(longs, own_options, sizeof(own_options));
    for (const hyv_option_info *row = NULL; (row = hyv_options_next(row)) && count < ROWS_MAX - 1;
         count++)
        longs[count] = (struct option){row->name, required_argument, NULL, OPTION_BASE + count};
    optind = 1;
    int value, index = 0;
    while ((value = getopt_long(argc, argv, "o:f:m:s:p:n:hqv", longs, &index)) != -1) {
        const char *name = value >= OPTION_BASE ? longs[value - OPTION_BASE].name : "";
        const int status = take_option(j, value, name, optarg);
        if (status)
            return status;
    }
    if (optind < argc)
        j->argument = argv[optind++];
    if (optind < argc)
        return report(EXIT_USAGE, "\"%s\" is one argument too many", argv[optind]);
    if ((j->prompt && j->promptfile) || (j->negative && j->negativefile))
        return report(EXIT_USAGE, "a text and a file with the text exclude each other");
    return 0;
}

static int open_output(writer *w, const char *path)
{
    struct stat there;
    w->name = path;
    if (!strcmp(path, "-")) {
        w->name = "standard output";
        w->file = stdout;
        if (isatty(STDOUT_FILENO))
            return report(EXIT_USAGE, "a video is not written to a terminal; name a file with -o");
        return 0;
    }
    if (stat(path, &there) == 0 && !S_ISREG(there.st_mode)) {
        w->file = fopen(path, "wb");
        return w->file ? 0 : report(1, "cannot write %s: %s", path, strerror(errno));
    }
    if (snprintf(partial, sizeof(partial), "%s.XXXXXX", path) >= (int)sizeof(partial)) {
        partial[0] = '\0';
        return report(1, "cannot write %s: the name is too long", path);
    }
    const int file = mkstemp(partial);
    if (file < 0) {
        partial[0] = '\0';
        return report(1, "cannot write %s: %s", path, strerror(errno));
    }
    const mode_t mask = umask(0);
    umask(mask);
    fchmod(file, 0666 & ~mask);
    w->path = path;
    w->file = fdopen(file, "wb");
    return w->file ? 0 : report(1, "cannot write %s: %s", path, strerror(errno));
}

/* Makes the file appear under its name, or nothing stay. */
static int close_output(writer *w, int status)
{
    if (w->file && (w->file == stdout ? fflush(stdout) : fclose(w->file)) != 0 && status == 0)
        status = report(1, "cannot write %s: %s", w->name, strerror(errno));
    if (status == 0 && w->path && rename(partial, w->path) != 0)
        status = report(1, "cannot write %s: %s", w->name, strerror(errno));
    if (status != 0 && partial[0])
        unlink(partial);
    partial[0] = '\0';
    return status;
}

/* Planes of the picture one behind the other, as y4m wants them; bytes in all, or 0. */
static size_t lay_out(hyv_image *image, const hyv_video *video, const char *format)
{
    const size_t width = (size_t)video->width, pixels = width * (size_t)video->height;
    image->width = video->width;
    image->height = video->height;
    image->stride[0] = image->stride[1] = image->stride[2] = (ptrdiff_t)width;
    image->format = HYV_FORMAT_YUV444P;
    size_t bytes = pixels * 3, chroma = pixels;
    if (!strcmp(format, "rgb24")) {
        image->format = HYV_FORMAT_RGB24;
        image->stride[0] *= 3;
    } else if (!strcmp(format, "yuv420p")) {
        image->format = HYV_FORMAT_YUV420P;
        image->stride[1] = image->stride[2] = (video->width + 1) / 2;
        chroma = (size_t)image->stride[1] * (size_t)((video->height + 1) / 2);
        bytes = pixels + 2 * chroma;
    }
    image->data[0] = malloc(bytes);
    if (!image->data[0])
        return 0;
    image->data[1] = image->data[0] + pixels;
    image->data[2] = image->data[1] + chroma;
    return bytes;
}

static bool write_header(FILE *file, const hyv_image *image, const hyv_video *v)
{
    if (image->format == HYV_FORMAT_RGB24)
        return true;
    const char *chroma = image->format == HYV_FORMAT_YUV420P ? "420mpeg2" : "444";
    return fprintf(file, "YUV4MPEG2 W%d H%d F%d:%d Ip A1:1 C%s XCOLORRANGE=LIMITED\n", v->width,
                   v->height, v->fps_num, v->fps_den, chroma) > 0;
}

static int write_frames(job *j, hyv_context *context, const hyv_video *video, writer *w)
{
    hyv_image image = HYV_INIT(hyv_image);
    const size_t bytes = lay_out(&image, video, j->format);
    if (!image.data[0])
        return report(1, "not enough memory for a picture");
    int status = 0, got = 0;
    bool good = write_header(w->file, &image, video);
    while (good && (got = hyv_read(context, &image)) > 0) {
        if (image.format != HYV_FORMAT_RGB24)
            good = fputs("FRAME\n", w->file) >= 0;
        good = good && fwrite(image.data[0], 1, bytes, w->file) == bytes;
    }
    if (!good)
        status = report(1, "cannot write %s: %s", w->name, strerror(errno));
    else if (got < 0)
        status = 1; /* the library has said why */
    free(image.data[0]);
    return status;
}

static int open_model(job *j, hyv_context **context, hyv_video *video)
{
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    callbacks.opaque = j;
    callbacks.log = on_log;
    callbacks.progress = on_progress;
    callbacks.interrupt = on_interrupt;
    hyv_context *opened = NULL;
    int err = hyv_open(&opened, j->options, &callbacks);
    *context = running = opened;
    if (err >= 0)
        err = hyv_start(opened, j->options, video);
    if (err < 0 && !opened)
        return report(1, "not enough memory");
    return err == -EINVAL ? EXIT_USAGE : err < 0;
}

static int generate(job *j)
{
    if (j->argument)
        return report(EXIT_USAGE, "\"%s\": the prompt goes behind -p, the file behind -o",
                      j->argument);
    if (!*hyv_options_get(j->options, "prompt"))
        return report(EXIT_USAGE,
                      "no prompt: give one with -p TEXT, -p @FILE or --promptfile FILE");
    if (!j->output || !*j->output)
        return report(EXIT_USAGE, "no output: name a file with -o, - for standard output");
    if (strcmp(j->format, "yuv420p") && strcmp(j->format, "yuv444p") && strcmp(j->format, "rgb24"))
        return report(EXIT_USAGE,
                      "option format: \"%s\" is unknown; valid: yuv420p, yuv444p, rgb24",
                      j->format);
    hyv_context *context;
    hyv_video video = HYV_INIT(hyv_video);
    writer w = {0};
    int status = open_model(j, &context, &video);
    if (status == 0)
        status = open_output(&w, j->output);
    if (status == 0) {
        if (!j->quiet && video.step_seconds >= 1)
            report(0,
                   "about %.0f s a step, %.0f s in all; %.1f GiB of memory, %.1f GiB read again in "
                   "each step",
                   video.step_seconds,
                   video.phase[0].seconds + video.phase[1].seconds + video.phase[2].seconds,
                   (double)video.bytes / (1 << 30), (double)video.step_disk_bytes / (1 << 30));
        if (!j->quiet)
            report(0, "model %s on %s: %dx%d, %d frames, %d steps, seed %lld", video.model,
                   video.device, video.width, video.height, video.frames, video.steps,
                   (long long)video.seed);
        status = write_frames(j, context, &video, &w);
    }
    status = close_output(&w, status);
    running = NULL;
    hyv_close(&context);
    return status;
}

static void print_bytes(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double amount = (double)bytes / 1024;
    int unit = 0;
    for (; amount >= 1024 && unit < 3; unit++)
        amount /= 1024;
    printf("%.4g %s", amount, units[unit]);
}

static void print_cost(uint64_t bytes, double seconds)
{
    print_bytes(bytes);
    printf(seconds > 0 ? ", " : ", time unknown");
    if (seconds > 0)
        print_time(stdout, seconds);
    printf("\n");
}

/* What the denoising steps ask of time and disk. */
static void print_steps(const hyv_video *v)
{
    printf("steps     ");
    if (v->step_seconds > 0)
        print_time(stdout, v->step_seconds);
    else
        printf("unknown");
    printf(" each, ");
    print_bytes(v->step_disk_bytes);
    printf(" read again in each\n");
}

static int plan(job *j)
{
    static const char *const names[HYV_PHASES] = {"text", "denoise", "decode"};
    if (j->argument)
        return report(EXIT_USAGE, "\"%s\" is one argument too many", j->argument);
    hyv_context *context;
    hyv_video v = HYV_INIT(hyv_video);
    j->late = true; /* a video that does not fit into memory has a plan, too */
    const int status = open_model(j, &context, &v);
    if (status == 0 || v.bytes > 0) {
        double seconds = 0;
        printf("model     %s\ndevice    %s\n", v.model, v.device);
        printf("size      %dx%d, %d frames at %d/%d per second\n", v.width, v.height, v.frames,
               v.fps_num, v.fps_den);
        printf("tokens    %lld video, %d text\n", (long long)v.video_tokens, v.text_tokens);
        printf("sampling  %d steps, guidance %g, shift %g, cfg %g\n", v.steps, v.guidance, v.shift,
               v.cfg);
        for (int i = 0; i < HYV_PHASES; i++) {
            printf("%-9s %.4g TFLOP, ", names[i], v.phase[i].flops / 1e12);
            print_cost(v.phase[i].bytes, v.phase[i].seconds);
            seconds += v.phase[i].seconds;
        }
        printf("peak      ");
        print_cost(v.bytes, seconds);
        printf("weights   ");
        print_bytes(v.weight_bytes);
        printf(" in files\n");
        print_steps(&v);
        printf("memory    ");
        if (v.memory < UINT64_MAX >> 1)
            print_bytes(v.memory);
        else
            printf("unknown");
        printf(" may be used; the smallest that can do is ");
        print_bytes(v.memory_least);
        printf("\n");
        fflush(stdout);
    }
    if (status != 0 && context)
        report(0, "%s", hyv_error(context));
    running = NULL;
    hyv_close(&context);
    return status;
}

/* info and doctor. */
static int inspect(job *j)
{
    if (j->argument) {
        const int status = set_option(j, "model", j->argument);
        if (status)
            return status;
    }
    return hyv_cli_inspect(&(hyv_cli_request){.options = j->options,
                                              .command = j->command,
                                              .json = j->json,
                                              .quiet = j->quiet,
                                              .verbose = j->verbose,
                                              .interrupt = on_interrupt});
}

static void print_row(const hyv_option_info *o, bool table)
{
    static const char *const types[] = {"string", "int", "float", "enum"};
    const bool number = o->type == HYV_OPTION_INT || o->type == HYV_OPTION_FLOAT;
    if (table) {
        printf("%s\t%s\t%s\t%s\t%.10g\t%.10g\t%.10g\t%s\t%s\n", o->name, types[o->type],
               o->scope == HYV_OPTION_MODEL ? "model" : "video", o->default_value, o->min, o->max,
               o->step, o->values ? o->values : "", o->help);
        return;
    }
    printf("  --%s %s\n      %s (", o->name, types[o->type], o->help);
    if (number)
        printf("%.10g to %.10g, ", o->min, o->max);
    if (o->values)
        printf("%s, ", o->values);
    printf("default %s)\n", *o->default_value ? o->default_value : "none");
}

static int options(job *j)
{
    for (const hyv_option_info *row = NULL; (row = hyv_options_next(row));)
        print_row(row, j->table);
    return 0;
}

static int help(job *j)
{
    (void)j;
    puts(
        "hyv generate -p TEXT|@FILE -o FILE|- [options]   make a video\n"
        "hyv plan [options]                               say what that takes\n"
        "hyv info MODEL [--quiet] [--json]                look into a model; --quiet: faults only\n"
        "hyv doctor MODEL [--quiet] [--json]              the same, and look at every value\n"
        "hyv convert MODEL -o OUT [--type TYPE]           write it in another type and container\n"
        "hyv options [--table]                            list the options; --table: with tabs\n"
        "hyv help, hyv --version\n"
        "\n"
        "  -p, --prompt TEXT      what the video shows; @FILE reads it, @@ begins with an @\n"
        "      --promptfile FILE  the same from a file or pipe\n"
        "  -n, --negative TEXT, --negativefile FILE\n"
        "  -o, --output FILE      y4m, or raw pictures with -f rgb24; - is standard output\n"
        "  -f, --format FORMAT    yuv420p (default), yuv444p or rgb24\n"
        "  -m, --model MODEL      default: the variable HUNYUANVIDEO_MODEL\n"
        "  -s, --size WxH         width and height\n"
        "      --type TYPE        of convert: same (default), f32, f16, bf16, f8, Q8_0, Q6_K or "
        "Q4_K\n"
        "      --component NAME   of convert: transformer, vae, text_encoder or text_encoder_2\n"
        "      --preset NAME      a preset, or the path of one; several add up\n"
        "  -q, --quiet            errors and warnings only\n"
        "  -v, --verbose          more messages\n"
        "  -h, --help             this text\n"
        "\n"
        "Exit status: 0 done, 1 failed, 2 wrong command line, 130 or 143 stopped by a signal.\n"
        "\n"
        "Options of the library:");
    return options(&(job){0});
}

static int version(job *j)
{
    (void)j;
    const unsigned v = hyv_version();
    printf("hyv %d.%d.%d, libhunyuanvideo %u.%u.%u\n", HYV_VERSION_MAJOR, HYV_VERSION_MINOR,
           HYV_VERSION_MICRO, v >> 16, v >> 8 & 255, v & 255);
    return 0;
}

static const struct {
    const char *name;
    int (*run)(job *);
} commands[] = {
    {"generate", generate}, {"plan", plan},         {"info", inspect}, {"doctor", inspect},
    {"convert", convert},   {"options", options},   {"help", help},    {"-h", help},
    {"--help", help},       {"--version", version},
};

static int run(job *j, int argc, char **argv)
{
    const char *model = getenv("HUNYUANVIDEO_MODEL");
    j->options = hyv_options_new();
    if (!j->options)
        return report(1, "not enough memory");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strcmp(j->command, commands[i].name))
            continue;
        int status = model ? set_option(j, "model", model) : 0;
        if (status == 0)
            status = parse(j, argc, argv);
        return status ? status : j->help ? help(j) : commands[i].run(j);
    }
    return report(
        EXIT_USAGE,
        "\"%s\" is no command; there are: generate, plan, info, doctor, convert, options, "
        "help",
        j->command);
}

int main(int argc, char **argv)
{
    const struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    /* Both become errors of the write, which removes what is partial. */
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
    if (argc < 2)
        return report(EXIT_USAGE,
                      "a command is missing: generate, plan, info, doctor, convert, options or "
                      "help");
    static char name[] = "hyv"; /* what getopt puts before its messages */
    job j = {.command = argv[1], .format = "yuv420p"};
    argv[1] = name;
    int status = run(&j, argc - 1, argv + 1);
    hyv_options_free(&j.options);
    if (fflush(stdout) != 0 && status == 0)
        status = report(1, "cannot write standard output: %s", strerror(errno));
    if (stopped_by && status != 0) {
        report(0, "stopped");
        return 128 + stopped_by;
    }
    return status;
}
