/* Options over arbitrary bytes: lines NAME=VALUE, then a video of the test model planned with them,
 * if it is a small one. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/hunyuanvideo.h"
#include "fuzz.h"

/* What would touch files, or take long, stays as it is. */
static bool is_harmless(const char *name)
{
    static const char *const others[] = {
        "model",       "transformer", "vae",        "text_encoder", "text_encoder_2", "tokenizer",
        "tokenizer_2", "presets",     "checkpoint", "recipe",       "delay",          "threads"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (strcmp(name, others[i]) == 0)
            return false;
    return true;
}

static void set_lines(hyv_options *o, char *text)
{
    char *next;
    for (char *line = text; line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        char *value = strchr(line, '=');
        if (!value)
            continue;
        *value++ = '\0';
        const int err = hyv_options_set(o, line, is_harmless(line) ? value : "");
        if ((err < 0) != (hyv_options_get(o, "error")[0] != 0))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hyv_options *o = hyv_options_new();
    hyv_context *c = NULL;
    char *text = malloc(size + 1);
    if (!o || !text)
        abort();
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    set_lines(o, text);
    hyv_options_set(o, "model", "test");
    hyv_callbacks callbacks = HYV_INIT(hyv_callbacks);
    hyv_video video = HYV_INIT(hyv_video);
    if (hyv_open(&c, o, &callbacks) == 0)
        hyv_start(c, o, &video);
    hyv_close(&c);
    hyv_options_free(&o);
    free(text);
    return 0;
}
