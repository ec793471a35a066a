/* The built-in test model through the public interface, and with it the public interface itself:
 * life cycle, progress, cancelling, failures, old structs. The checksum is part of the promise that
 * these pictures are the same everywhere. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../engine/hunyuanvideo.h"
#include "../check.h"

enum { WIDTH = 80, HEIGHT = 48, FRAMES = 9, STEPS = 4 };

typedef struct watcher {
    int errors, calls, phase_calls[HYV_PHASES];
    char message[256];
    int last_phase, last_step;
    double last_fraction;
    bool ordered;
    int cancel_at_call; /* progress returns non-zero from this call on; 0: never */
    int interrupt_after_ms;
    struct timespec began;
} watcher;

static double passed_ms(const struct timespec *since)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - since->tv_sec) * 1e3 +
           (double)(now.tv_nsec - since->tv_nsec) / 1e6;
}

static void on_log(void *opaque, enum hyv_log_level level, const char *message)
{
    watcher *w = opaque;
    w->errors += level == HYV_LOG_ERROR;
    snprintf(w->message, sizeof(w->message), "%s", message);
    CHECK(!strchr(message, '\n'));
}

static int on_progress(void *opaque, const hyv_progress *p)
{
    watcher *w = opaque;
    const bool forward = (int)p->phase > w->last_phase ||
                         ((int)p->phase == w->last_phase && p->step >= w->last_step &&
                          p->fraction >= w->last_fraction);
    w->ordered &= forward && p->step >= 0 && p->step <= p->steps && p->elapsed >= 0 &&
                  p->fraction >= 0 && p->fraction <= 1 && p->size == sizeof(*p) &&
                  (p->fraction > 0) == (p->remaining >= 0);
    w->last_phase = (int)p->phase;
    w->last_step = p->step;
    w->last_fraction = p->fraction;
    w->phase_calls[p->phase]++;
    return ++w->calls == w->cancel_at_call;
}

static int on_interrupt(void *opaque)
{
    const watcher *w = opaque;
    return w->interrupt_after_ms && passed_ms(&w->began) > w->interrupt_after_ms;
}

static hyv_callbacks watch(watcher *w)
{
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    *w = (watcher){.ordered = true, .last_phase = -1};
    clock_gettime(CLOCK_MONOTONIC, &w->began);
    callbacks.opaque = w;
    callbacks.log = on_log;
    callbacks.progress = on_progress;
    callbacks.interrupt = on_interrupt;
    return callbacks;
}

/* Small and quick, with one more option. */
static hyv_options *small_options(const char *name, const char *value)
{
    hyv_options *o = hyv_options_new();
    CHECK(hyv_options_set(o, "model", "test") == 0 && hyv_options_set(o, "width", "80") == 0 &&
          hyv_options_set(o, "height", "48") == 0 && hyv_options_set(o, "frames", "9") == 0 &&
          hyv_options_set(o, "steps", "4") == 0 && hyv_options_set(o, "seed", "42") == 0 &&
          hyv_options_set(o, "prompt", "a red fox") == 0);
    if (name)
        CHECK_MSG(hyv_options_set(o, name, value) == 0, "%s", hyv_options_get(o, "error"));
    return o;
}

static hyv_image small_image(uint8_t *memory)
{
    hyv_image image = HYV_INIT(hyv_image);
    image.format = HYV_FORMAT_RGB24;
    image.width = WIDTH;
    image.height = HEIGHT;
    image.data[0] = memory;
    image.stride[0] = WIDTH * 3;
    return image;
}

/* FNV-1a over all frames; *last gets what the last read returned. */
static uint64_t checksum(hyv_context *c, int *frames, int *last)
{
    static uint8_t memory[WIDTH * HEIGHT * 3];
    hyv_image image = small_image(memory);
    uint64_t hash = 14695981039346656037u;
    for (*frames = 0; (*last = hyv_read(c, &image)) > 0; ++*frames)
        for (size_t i = 0; i < sizeof(memory); i++)
            hash = (hash ^ memory[i]) * 1099511628211u;
    return hash;
}

static uint64_t whole_video(const char *name, const char *value)
{
    watcher w;
    const hyv_callbacks callbacks = watch(&w);
    hyv_options *o = small_options(name, value);
    hyv_context *c = NULL;
    int frames = 0, last = -1;
    uint64_t hash = 0;
    if (CHECK(hyv_open(&c, o, &callbacks) == 0 && hyv_start(c, o, NULL) == 0))
        hash = checksum(c, &frames, &last);
    CHECK(frames == FRAMES && last == 0 && w.errors == 0 && w.ordered && !*hyv_error(c));
    CHECK(w.phase_calls[HYV_PHASE_DENOISE] == STEPS + 1);
    CHECK(w.phase_calls[HYV_PHASE_DECODE] == FRAMES + 1);
    CHECK(w.last_phase == HYV_PHASE_DECODE && w.last_step == FRAMES && w.last_fraction == 1);
    hyv_close(&c);
    CHECK(c == NULL);
    hyv_options_free(&o);
    return hash;
}

static void test_pictures(void)
{
    const uint64_t base = whole_video(NULL, NULL);
    CHECK_MSG(base == 0x0ba35edc6671f333u, "the pictures' checksum is now %#llx",
              (unsigned long long)base);
    CHECK(whole_video(NULL, NULL) == base);
    CHECK(whole_video("prompt", "a red fix") != base);
    CHECK(whole_video("prompt", "") != base);
    CHECK(whole_video("seed", "43") != base);
    CHECK(whole_video("threads", "3") == base);
}

static void test_plan(void)
{
    watcher w;
    const hyv_callbacks callbacks = watch(&w);
    hyv_options *o = small_options("rate", "30000/1001");
    hyv_context *c = NULL;
    hyv_video v = HYV_INIT(hyv_video);
    hyv_options_set(o, "test_step_ms", "500");
    CHECK(hyv_open(&c, o, &callbacks) == 0 && hyv_start(c, o, &v) == 0);
    CHECK(v.size == sizeof(v) && v.width == WIDTH && v.height == HEIGHT && v.frames == FRAMES);
    CHECK(v.fps_num == 30000 && v.fps_den == 1001 && v.seed == 42 && v.steps == STEPS);
    CHECK(v.guidance == 6 && v.shift == 7 && v.cfg == 1 && !strcmp(v.model, "test"));
    CHECK(strstr(v.device, "cpu") && v.text_tokens == 3 && v.video_tokens == 3 * 5 * 3);
    CHECK(v.phase[HYV_PHASE_DENOISE].seconds == 2 && v.bytes >= WIDTH * HEIGHT * 12);

    /* The struct of an older caller is filled no further than it reaches. */
    hyv_video old;
    memset(&old, 0x5a, sizeof(old));
    old.size = offsetof(hyv_video, steps);
    CHECK(hyv_start(c, o, &old) == 0 && old.seed == 42 && old.steps == 0x5a5a5a5a);
    CHECK(old.size == offsetof(hyv_video, steps));
    hyv_options_set(o, "seed", "-1");
    CHECK(hyv_start(c, o, &v) == 0 && v.seed >= 0 && v.seed <= UINT32_MAX);
    hyv_close(&c);
    hyv_options_free(&o);
}

static void test_again(void)
{
    watcher w;
    const hyv_callbacks callbacks = watch(&w);
    hyv_options *o = small_options(NULL, NULL);
    hyv_context *c = NULL;
    int frames, last;
    CHECK(hyv_open(&c, o, &callbacks) == 0 && hyv_start(c, o, NULL) == 0);
    const uint64_t first = checksum(c, &frames, &last);
    CHECK(checksum(c, &frames, &last) && frames == 0 && last == 0);
    w.last_phase = -1;
    CHECK(hyv_start(c, o, NULL) == 0 && checksum(c, &frames, &last) == first && frames == FRAMES);
    hyv_options_free(&o); /* a started video needs the options no more */
    o = small_options("frames", "5");
    CHECK(hyv_start(c, o, NULL) == 0);
    hyv_options_free(&o);
    checksum(c, &frames, &last);
    CHECK(frames == 5 && last == 0);
    hyv_close(&c);
}

/* What a run with one more option returns from start or from its last read. */
static int failing_run(const char *name, const char *value, watcher *w, int *frames)
{
    const hyv_callbacks callbacks = watch(w);
    hyv_options *o = small_options(name, value);
    hyv_context *c = NULL;
    int last;
    *frames = 0;
    CHECK(hyv_open(&c, o, &callbacks) == 0);
    last = hyv_start(c, o, NULL);
    if (last >= 0) {
        checksum(c, frames, &last);
        int more, again;
        checksum(c, &more, &again);
        CHECK(more == 0 && again == last);
    }
    CHECK(w->errors == 1 && !strcmp(w->message, hyv_error(c)) && strstr(w->message, "test_fail"));
    hyv_close(&c);
    hyv_options_free(&o);
    return last;
}

static void test_failures(void)
{
    watcher w;
    int frames;
    CHECK(failing_run("test_fail", "plan", &w, &frames) == -ENOENT && frames == 0 && w.calls == 0);
    CHECK(failing_run("test_fail", "first", &w, &frames) == -ENOMEM && frames == 0 && w.calls > 0);
    CHECK(failing_run("test_fail", "5", &w, &frames) == -ENOMEM && frames == 5);
}

/* A run that is stopped by `w`: -ECANCELED, no error logged, a new start works. */
static void check_stopped(watcher *w, const hyv_callbacks *callbacks, const char *option,
                          int frames_min, int frames_max)
{
    hyv_options *o = small_options(option, "100");
    hyv_context *c = NULL;
    int frames, last;
    CHECK(hyv_open(&c, o, callbacks) == 0 && hyv_start(c, o, NULL) == 0);
    checksum(c, &frames, &last);
    CHECK_MSG(last == -ECANCELED && frames >= frames_min && frames <= frames_max,
              "%s: %d after %d frames", option, last, frames);
    CHECK(w->errors == 0 && *hyv_error(c));
    checksum(c, &frames, &last);
    CHECK(last == -ECANCELED && frames == 0);
    w->interrupt_after_ms = 0;
    hyv_options_set(o, option, "0");
    CHECK(hyv_start(c, o, NULL) == 0);
    checksum(c, &frames, &last);
    CHECK(last == 0 && frames == FRAMES);
    hyv_close(&c);
    hyv_options_free(&o);
}

static void *cancel_later(void *context)
{
    nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
    hyv_cancel(context);
    return NULL;
}

static void test_cancel(void)
{
    watcher w;
    hyv_callbacks callbacks = watch(&w);
    w.cancel_at_call = 4;
    check_stopped(&w, &callbacks, "test_step_ms", 0, 0);
    callbacks = watch(&w);
    w.interrupt_after_ms = 150;
    check_stopped(&w, &callbacks, "test_step_ms", 0, 0);
    callbacks = watch(&w);
    w.interrupt_after_ms = 250;
    check_stopped(&w, &callbacks, "test_frame_ms", 1, 4);

    hyv_options *o = small_options("test_step_ms", "2000");
    hyv_context *c = NULL;
    int frames, last;
    pthread_t thread;
    callbacks = watch(&w);
    CHECK(hyv_open(&c, o, &callbacks) == 0 && hyv_start(c, o, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, cancel_later, c) == 0);
    checksum(c, &frames, &last);
    CHECK(last == -ECANCELED && passed_ms(&w.began) < 1000);
    pthread_join(thread, NULL);
    hyv_close(&c);
    hyv_options_free(&o);
}

static int take_tensor(void *opaque, const hyv_tensor_info *info)
{
    (void)opaque, (void)info;
    return CHECK(!"the test model has no tensors");
}

static void test_misuse(void)
{
    watcher w;
    const hyv_callbacks callbacks = watch(&w);
    hyv_options *o = small_options(NULL, NULL), *none = small_options("model", "/no/such/model");
    static uint8_t memory[WIDTH * HEIGHT * 3];
    hyv_image image = small_image(memory), narrow = small_image(memory);
    hyv_inspection inspection = HYV_INIT(hyv_inspection);
    hyv_context *c = NULL;
    inspection.tensor = take_tensor;
    narrow.width = WIDTH - 16;
    CHECK(hyv_open(NULL, o, &callbacks) == -EINVAL && hyv_start(NULL, o, NULL) == -EINVAL);
    CHECK(hyv_read(NULL, &image) == -EINVAL && *hyv_error(NULL));
    hyv_cancel(NULL);
    hyv_close(&c);
    hyv_close(NULL);

    CHECK(hyv_open(&c, none, &callbacks) == -ENOENT && c && strstr(hyv_error(c), "/no/such"));
    CHECK(w.errors == 1);
    CHECK(hyv_start(c, none, NULL) == -EINVAL && hyv_read(c, &image) == -EINVAL);
    hyv_close(&c);
    CHECK(hyv_inspect(none, &callbacks, &inspection) == -ENOENT);
    CHECK(hyv_inspect(o, &callbacks, &inspection) == 0 && strstr(w.message, "test"));
    CHECK(hyv_inspect(o, NULL, NULL) == 0);

    CHECK(hyv_open(&c, o, NULL) == 0 && hyv_read(c, &image) == -EINVAL);
    CHECK(hyv_start(c, o, NULL) == 0);
    CHECK(hyv_read(c, &narrow) == -EINVAL && strstr(hyv_error(c), "64x48"));
    CHECK(hyv_read(c, NULL) == -EINVAL);
    CHECK(hyv_read(c, &image) == 1 && !*hyv_error(c)); /* a wrong image costs no frame */
    hyv_close(&c);
    CHECK(hyv_version() == HYV_VERSION_INT);
    hyv_options_free(&none);
    hyv_options_free(&o);
}

int main(void)
{
    test_pictures();
    test_plan();
    test_again();
    test_failures();
    test_cancel();
    test_misuse();
    return check_done();
}
