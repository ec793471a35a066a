/* Whole runs in which the n-th allocation fails, for n = 0, 1, 2, ... until none fails.
 *
 * Linked with --wrap for malloc, calloc and realloc, so every allocation of the library's own code
 * counts. A run must end well or with -ENOMEM, one message, and (under a leak checker) nothing
 * left. Runs in the project's root. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../engine/hunyuanvideo.h"
#include "../check.h"
#include "../damage.h"

enum { SIDE = 32 };

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);

static atomic_long until_failure = -1; /* negative: no failure to come */

static bool fails_now(void)
{
    return atomic_load(&until_failure) >= 0 && atomic_fetch_sub(&until_failure, 1) == 0;
}

void *__wrap_malloc(size_t size)
{
    return fails_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails_now() ? NULL : __real_realloc(p, size);
}

static void count_errors(void *opaque, enum hyv_log_level level, const char *message)
{
    (void)message;
    *(int *)opaque += level == HYV_LOG_ERROR;
}

/* Options by hand and by preset; the message is kept where there is one to keep. */
static int set_options(hyv_options *o, const char *model)
{
    static const char *const pairs[][2] = {
        {"presets", "presets"}, {"width", "32"},         {"height", "32"},
        {"frames", "5"},        {"steps", "1"},          {"threads", "1"},
        {"prompt", "a fox"},    {"negative", "blurred"}, {"cfg", "2"}};
    int err = hyv_options_set(o, "model", model);
    for (size_t i = 0; err >= 0 && i < sizeof(pairs) / sizeof(pairs[0]); i++)
        err = hyv_options_set(o, pairs[i][0], pairs[i][1]);
    if (err >= 0)
        err = hyv_options_load(o, "lowmem");
    CHECK_MSG((err < 0) == (*hyv_options_get(o, "error") != 0), "options give %d", err);
    return err;
}

static int make_video(hyv_context *c, const hyv_options *o)
{
    static uint8_t memory[SIDE * SIDE * 3];
    hyv_image image = HYV_INIT(hyv_image);
    image.format = HYV_FORMAT_RGB24;
    image.width = image.height = SIDE;
    image.data[0] = memory;
    image.stride[0] = SIDE * 3;
    int err = hyv_start(c, o, NULL);
    while (err >= 0 && (err = hyv_read(c, &image)) > 0)
        continue;
    return err;
}

static int run(const char *model)
{
    int errors = 0;
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    callbacks.opaque = &errors;
    callbacks.log = count_errors;
    hyv_options *o = hyv_options_new();
    if (!o)
        return -ENOMEM;
    int err = set_options(o, model);
    hyv_context *c = NULL;
    if (err >= 0) {
        err = hyv_open(&c, o, &callbacks);
        if (err >= 0)
            err = make_video(c, o);
        if (err < 0 && c)
            CHECK_MSG(errors == 1 && *hyv_error(c), "%s: %d errors, \"%s\"", model, errors,
                      hyv_error(c));
    }
    hyv_close(&c);
    hyv_options_free(&o);
    return err;
}

static int log_finding(void *opaque, const hyv_finding *finding)
{
    (void)opaque;
    return CHECK(*finding->kind && *finding->found) ? 0 : 1;
}

/* Faults that are found are no errors here; what is told must not depend on memory. */
static int inspect(const char *model)
{
    hyv_options *o = hyv_options_new();
    if (!o)
        return -ENOMEM;
    hyv_inspection to = HYV_INIT(hyv_inspection);
    to.values = 1;
    to.finding = log_finding;
    int err = hyv_options_set(o, "model", model);
    if (err < 0) /* hyv_options_set has no other reason for this one */
        err = -ENOMEM;
    else
        err = hyv_inspect(o, NULL, &to);
    hyv_options_free(&o);
    return err;
}

/* Converts the language model into a file or folder of that name; a failure leaves nothing. */
static int convert(const char *out)
{
    int errors = 0;
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    callbacks.opaque = &errors;
    callbacks.log = count_errors;
    hyv_options *o = hyv_options_new();
    if (!o)
        return -ENOMEM;
    int err = hyv_options_set(o, "model", "tests/golden/t2v");
    if (err >= 0)
        err = hyv_options_set(o, "threads", "1");
    if (err >= 0) {
        err = hyv_convert(o, out, "Q8_0", "text_encoder", &callbacks);
        CHECK_MSG(err == 0 || errors <= 1, "%s: %d errors", out, errors);
        CHECK_MSG((access(out, F_OK) == 0) == (err == 0), "%s: %d", out, err);
    }
    if (err == 0) { /* some memory is wanted for what need not succeed */
        char command[80];
        snprintf(command, sizeof(command), "rm -r %s", out);
        CHECK(system(command) == 0);
    }
    hyv_options_free(&o);
    return err;
}

static void fail_each(int (*work)(const char *), const char *model, int wanted)
{
    long n = 0, left = -1;
    int err = -1;
    for (; left < 0; n++) {
        atomic_store(&until_failure, n);
        err = work(model);
        left = atomic_exchange(&until_failure, -1);
        CHECK_MSG(err == wanted || err == -ENOMEM, "%s: allocation %ld failing gives %d", model, n,
                  err);
    }
    CHECK_MSG(err == wanted, "%s: gives %d with all its memory", model, err);
    CHECK_MSG(n > 50, "%s: only %ld allocations", model, n);
}

static void fail_convert(void)
{
    static const char *const names[] = {"out.gguf", "out"};
    char folder[] = "/tmp/hyv-faults-XXXXXX", out[64], command[64];
    CHECK(mkdtemp(folder) != NULL);
    for (int i = 0; i < 2; i++) {
        snprintf(out, sizeof(out), "%s/%s", folder, names[i]);
        fail_each(convert, out, 0);
    }
    snprintf(command, sizeof(command), "rmdir %s", folder);
    CHECK(system(command) == 0);
}

/* The same model in a layout of no one's, whose files must be looked for. */
static void fail_search(void)
{
    static const char *const parts[] = {"text_encoder", "text_encoder_2", "transformer",
                                        "vae",          "tokenizer",      "tokenizer_2"};
    char folder[] = "/tmp/hyv-faults-XXXXXX", from[64], to[64];
    CHECK(mkdtemp(folder) != NULL);
    for (int i = 0; i < 6; i++) {
        snprintf(from, sizeof(from), "tests/golden/t2v/%s", parts[i]);
        snprintf(to, sizeof(to), "%s/part%d", folder, i);
        char *target = realpath(from, NULL);
        CHECK(target && symlink(target, to) == 0);
        free(target);
    }
    fail_each(run, folder, 0);
    fail_each(inspect, folder, 0);
    for (int i = 0; i < 6; i++) {
        snprintf(to, sizeof(to), "%s/part%d", folder, i);
        unlink(to);
    }
    CHECK(rmdir(folder) == 0);
}

/* Each of the faults is still told, whichever allocation fails, or it is -ENOMEM. */
static void fail_doctor(void)
{
    damaged d;
    if (!damage_begin(&d))
        return;
    damage_cut(&d, DAMAGE_VAE, -1);
    damage_cut(&d, "tokenizer_2/vocab.json", 500);
    damage_edit(&d, "text_encoder_2/config.json", "_layers\": 2", "_layers\": 3");
    damage_edit(&d, "transformer/config.json", "HunyuanVideoTransformer3DModel", "Other");
    fail_each(inspect, d.folder, 20);
    damage_end(&d);
}

int main(void)
{
    fail_each(run, "test", 0);
    fail_each(run, "tests/golden/t2v", 0);
    fail_each(inspect, "tests/golden/t2v", 0);
    fail_doctor();
    fail_search();
    fail_convert();
    return check_done();
}
