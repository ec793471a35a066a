/* What hyv_start says that a video will take beside what it then takes, phase by phase.
 *
 * bench_plan NAME=VALUE ...
 * The options are the library's; preset=NAME loads a preset. Both columns are measured on this
 * machine at the time, so load from elsewhere shows in both, and its changes in their ratio.
 */
#include <stdlib.h>
#include <string.h>

#include "../../engine/base/util.h"
#include "../../engine/hunyuanvideo.h"
#include "../check.h"

typedef struct watcher {
    double phase[HYV_PHASES]; /* seconds */
    double now, first, last;  /* of the steps: when the first and the last one ended */
    enum hyv_phase current;
    int step;
} watcher;

static void turn(watcher *w, enum hyv_phase next)
{
    const double now = hyv_seconds();
    w->phase[w->current] += now - w->now;
    w->now = now;
    w->current = next;
}

static int on_progress(void *opaque, const hyv_progress *p)
{
    watcher *w = opaque;
    if (p->phase == HYV_PHASE_DENOISE && p->step != w->step) {
        w->step = p->step;
        w->last = hyv_seconds();
        w->first = w->first > 0.0 ? w->first : w->last;
    }
    /* A phase begins with loading, before its first report. */
    const bool over = p->fraction >= 1.0 && p->phase != HYV_PHASE_DECODE;
    turn(w, over ? (enum hyv_phase)(p->phase + 1) : p->phase);
    return 0;
}

static void on_log(void *opaque, enum hyv_log_level level, const char *message)
{
    (void)opaque;
    if (level <= HYV_LOG_WARNING)
        fprintf(stderr, "%s\n", message);
}

static void print_row(const char *name, double planned, double measured)
{
    printf("%-8s %12.4f %12.4f %8.2f\n", name, planned, measured, planned / measured);
}

static bool set(hyv_options *o, char *setting)
{
    char *value = strchr(setting, '=');
    if (!value)
        return CHECK_MSG(false, "%s: no value", setting);
    *value++ = 0;
    const int err = strcmp(setting, "preset") != 0 ? hyv_options_set(o, setting, value)
                                                   : hyv_options_load(o, value);
    return CHECK_MSG(err == 0, "%s: %s", setting, hyv_options_get(o, "error"));
}

int main(int argc, char **argv)
{
    static const char *const names[HYV_PHASES] = {"text", "denoise", "decode"};
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_options *o = hyv_options_new();
    hyv_context *c = NULL;
    hyv_video v = HYV_INIT(hyv_video);
    hyv_image image = HYV_INIT(hyv_image);
    watcher w = {0};
    callbacks.opaque = &w;
    callbacks.log = on_log;
    callbacks.progress = on_progress;
    bool good = argc > 1;
    for (int i = 1; i < argc && good; i++)
        good = set(o, argv[i]);
    good = good && hyv_open(&c, o, &callbacks) >= 0 && hyv_start(c, o, &v) >= 0;
    image.format = HYV_FORMAT_RGB24;
    image.width = v.width;
    image.height = v.height;
    image.stride[0] = (ptrdiff_t)v.width * 3;
    image.data[0] = calloc((size_t)v.width * 3, (size_t)v.height + 1);
    w.now = hyv_seconds();
    int err = -1;
    while (good && (err = hyv_read(c, &image)) > 0)
        turn(&w, HYV_PHASE_DECODE);
    CHECK_MSG(err == 0, "%s", c ? hyv_error(c) : "nothing to do");
    printf("%-8s %12s %12s %8s\n", "seconds", "planned", "measured", "ratio");
    for (int i = 0; i < HYV_PHASES; i++)
        print_row(names[i], v.phase[i].seconds, w.phase[i]);
    if (w.step > 1)
        print_row("step", v.step_seconds, (w.last - w.first) / (w.step - 1));
    hyv_close(&c);
    hyv_options_free(&o);
    free(image.data[0]);
    return check_done();
}
