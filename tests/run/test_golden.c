/* The product's promise, through the public header alone: every text-to-video case's frames are the
 * reference's within 1 of 255, and the same bytes come out for every number of threads and every
 * instruction set, and again after a cancellation.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/hunyuanvideo.h"
#include "../check.h"
#include "../golden.h"

static void log_line(void *opaque, enum hyv_log_level level, const char *message)
{
    (void)opaque;
    if (level == HYV_LOG_ERROR)
        printf("%s\n", message);
}

typedef struct setting {
    const char *isa, *threads;
} setting;

static const setting settings[] = {{"auto", "0"},       {"c", "1"},      {"c", "2"},
                                   {"avx2", "1"},       {"avx2", "2"},   {"avx2", "7"},
                                   {"avx512", "1"},     {"avx512", "2"}, {"avx512", "7"},
                                   {"avx512bf16", "2"}, {"amx", "2"}};
enum { SETTINGS = sizeof(settings) / sizeof(settings[0]) };

static void set_number(hyv_options *o, const char *name, double value)
{
    char text[64];
    snprintf(text, sizeof(text), "%.10g", value);
    CHECK_MSG(hyv_options_set(o, name, text) == 0, "%s=%s: %s", name, text,
              hyv_options_get(o, "error"));
}

static hyv_options *options_of(const golden_case *c, const setting *s)
{
    hyv_options *o = hyv_options_new();
    char folder[128];
    snprintf(folder, sizeof(folder), GOLDEN_FOLDER "/%s", c->model);
    CHECK(hyv_options_set(o, "model", folder) == 0);
    CHECK(hyv_options_set(o, "prompt", c->prompt) == 0);
    CHECK(hyv_options_set(o, "negative", c->negative) == 0);
    CHECK(hyv_options_set(o, "isa", s->isa) == 0);
    CHECK(hyv_options_set(o, "threads", s->threads) == 0);
    CHECK(hyv_options_set(o, "template", c->image_template ? "image" : "video") == 0);
    CHECK(hyv_options_set(o, "tiling", "off") == 0);
    set_number(o, "width", c->width);
    set_number(o, "height", c->height);
    set_number(o, "frames", c->frames);
    set_number(o, "steps", c->steps);
    set_number(o, "guidance", c->guidance);
    set_number(o, "shift", c->shift);
    set_number(o, "cfg", c->cfg);
    set_number(o, "seed", (double)c->seed);
    return o;
}

/* Up to `most` frames as rgb24, dense; *count gets how many. What the last read returned. */
static int read_frames(hyv_context *context, const golden_case *c, uint8_t *frames, int most,
                       int *count)
{
    hyv_image image = HYV_INIT(hyv_image);
    int err = 1;
    image.format = HYV_FORMAT_RGB24;
    image.width = c->width;
    image.height = c->height;
    image.stride[0] = (ptrdiff_t)c->width * 3;
    for (*count = 0; err > 0 && *count<most; *count += err> 0) {
        const size_t at = (size_t)(*count < c->frames ? *count : 0);
        image.data[0] = frames + at * (size_t)c->height * (size_t)image.stride[0];
        err = hyv_read(context, &image);
    }
    return err;
}

/* All frames; NULL if memory is short. */
static uint8_t *generate(const golden_case *c, const setting *s, size_t *size)
{
    const hyv_callbacks callbacks = {.size = sizeof(callbacks), .log = log_line};
    hyv_options *o = options_of(c, s);
    hyv_context *context = NULL;
    hyv_video video = HYV_INIT(hyv_video);
    const size_t frame_bytes = (size_t)c->width * (size_t)c->height * 3;
    uint8_t *frames = calloc((size_t)c->frames, frame_bytes);
    int err = hyv_open(&context, o, &callbacks), count = 0;
    *size = frame_bytes * (size_t)c->frames;
    if (err >= 0)
        err = hyv_start(context, o, &video);
    CHECK_MSG(err >= 0, "%s, isa %s: %s", c->name, s->isa, context ? hyv_error(context) : "");
    if (err >= 0)
        err = read_frames(context, c, frames, c->frames + 1, &count);
    CHECK_MSG(err == 0 && count == c->frames, "%s: %d frames, status %d", c->name, count, err);
    hyv_close(&context);
    hyv_options_free(&o);
    return frames;
}

static void compare(const golden_case *c, const uint8_t *frames, size_t size)
{
    char path[128];
    int64_t count = 0, different = 0, worst = 0;
    snprintf(path, sizeof(path), "cases/%s.safetensors", c->name);
    hyv_checkpoint *g = golden_file(path);
    const uint8_t *want = golden_bytes(g, "frames", &count);
    CHECK_MSG(count == (int64_t)size, "%s: size", c->name);
    for (int64_t i = 0; want && i < count; i++) {
        const int64_t d = llabs((long long)frames[i] - want[i]);
        different += d != 0;
        worst = d > worst ? d : worst;
    }
    printf("%s: %lld of %lld values differ (%.3f %%), by %lld at most\n", c->name,
           (long long)different, (long long)count, 100.0 * (double)different / (double)count,
           (long long)worst);
    CHECK_MSG(worst <= 1, "%s: a value differs by %lld", c->name, (long long)worst);
    hyv_checkpoint_close(&g);
}

/* A cancellation between two frames counts at once, also where the following ones are decoded
 * already; the next video of the same context is whole. */
static void check_cancelled(const golden_case *c, const uint8_t *want, size_t size)
{
    hyv_options *o = options_of(c, &settings[0]);
    hyv_context *context = NULL;
    uint8_t *frames = calloc(1, size);
    int count;
    CHECK(hyv_open(&context, o, NULL) == 0 && hyv_start(context, o, NULL) == 0);
    CHECK(read_frames(context, c, frames, 2, &count) == 1 && count == 2);
    hyv_cancel(context);
    CHECK(read_frames(context, c, frames, 1, &count) == -ECANCELED && count == 0);
    CHECK(hyv_start(context, o, NULL) == 0);
    CHECK(read_frames(context, c, frames, c->frames + 1, &count) == 0 && count == c->frames);
    CHECK(memcmp(frames, want, size) == 0);
    hyv_close(&context);
    hyv_options_free(&o);
    free(frames);
}

/* The hashes of the weights are taken when a frame goes out, or at once for who keeps the run; they
 * are the same. */
static void check_hashes(const golden_case *c)
{
    hyv_options *o = options_of(c, &settings[0]);
    hyv_context *context = NULL;
    hyv_video video = HYV_INIT(hyv_video);
    char late[1024] = "";
    uint8_t *frame = malloc((size_t)c->width * (size_t)c->height * 3 * (size_t)c->frames);
    int count;
    CHECK(hyv_open(&context, o, NULL) == 0 && hyv_start(context, o, &video) == 0);
    CHECK(strcmp(video.weights, "") == 0 && !strstr(video.recipe, "text_encoder_2"));
    CHECK(read_frames(context, c, frame, 1, &count) == 1 && count == 1);
    snprintf(late, sizeof(late), "%s", video.weights);
    CHECK(strstr(late, "text_encoder ") == late && strstr(late, "\nvae "));
    hyv_close(&context);
    CHECK(hyv_options_set(o, "recipe", "never-written.yaml") == 0);
    CHECK(hyv_open(&context, o, NULL) == 0 && hyv_start(context, o, &video) == 0);
    CHECK(strcmp(video.weights, late) == 0 && strstr(video.recipe, "# text_encoder_2 "));
    hyv_close(&context);
    hyv_options_free(&o);
    free(frame);
}

/* Whether this processor has an instruction set is what opening asks anyway. */
static bool available(const char *isa)
{
    hyv_options *o = hyv_options_new();
    hyv_context *context = NULL;
    CHECK(hyv_options_set(o, "model", GOLDEN_FOLDER "/t2v") == 0);
    CHECK(hyv_options_set(o, "isa", isa) == 0);
    const int err = hyv_open(&context, o, NULL);
    CHECK(err == 0 || err == -ENOTSUP);
    hyv_close(&context);
    hyv_options_free(&o);
    return err == 0;
}

/* Guidance as the official bf16 code feeds it; the case with 6000 is what plain fp32 makes of 6. */
static bool wanted(const golden_case *c)
{
    return strcmp(c->model, "t2v") == 0 && strcmp(c->name, "t2v_en_g6000") != 0;
}

int main(void)
{
    golden_cases all;
    golden_case c;
    if (!golden_open(&all))
        return check_done();
    while (golden_next(&all, &c)) {
        size_t size = 0;
        if (!wanted(&c))
            continue;
        uint8_t *first = generate(&c, &settings[0], &size);
        compare(&c, first, size);
        if (c.frames > 2)
            check_cancelled(&c, first, size);
        if (strcmp(c.name, "t2v_image") == 0)
            check_hashes(&c);
        for (int i = 1; i < SETTINGS; i++) {
            if (!available(settings[i].isa)) {
                check_skip(settings[i].isa);
                continue;
            }
            if (getenv("QUICK") && i <= 2 && strcmp(c.name, "t2v_image") != 0)
                continue;
            uint8_t *other = generate(&c, &settings[i], &size);
            CHECK_MSG(memcmp(first, other, size) == 0, "%s: isa %s, %s threads: other bytes",
                      c.name, settings[i].isa, settings[i].threads);
            free(other);
        }
        free(first);
    }
    golden_close(&all);
    return check_done();
}
