/* Who a run is, where its state lies, and when it is written: see keeper.h. */
#include "keeper.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../base/util.h"

enum { VALUE_BYTES = 64 };

static bool add(json_t *identity, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static bool add(json_t *identity, const char *name, const char *format, ...)
{
    char value[VALUE_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof(value), format, args);
    va_end(args);
    return json_object_set_new(identity, name, json_string(value)) == 0;
}

/* Prompts are compared as the encoders get them. */
static bool add_tokens(json_t *identity, const char *name, const hyv_prompt_tokens *t)
{
    char llm[HYV_FINGERPRINT_BYTES], clip[HYV_FINGERPRINT_BYTES];
    hyv_fingerprint_bytes(llm, t->llm, (size_t)t->llm_count * sizeof(*t->llm));
    hyv_fingerprint_bytes(clip, t->clip, (size_t)t->clip_count * sizeof(*t->clip));
    return add(identity, name, "%.16s%.16s", llm, clip);
}

static bool add_hashes(json_t *identity, hyv_hashes hashes)
{
    bool good = true;
    for (int c = 0; c < HYV_COMPONENTS; c++)
        if (c != HYV_VAE) /* latents may be decoded by another one */
            good &= add(identity, hyv_component_name((enum hyv_component)c), "%s", hashes[c]);
    return good;
}

/* Everything that decides the latents; names are those of the options. NULL if memory is short. */
static json_t *identify(const hyv_params *params, const hyv_plan *plan, hyv_hashes hashes)
{
    static const char *const precisions[] = {
        [HYV_PRODUCTS_FP32] = "fp32", [HYV_PRODUCTS_BF16] = "bf16", [HYV_PRODUCTS_INT8] = "int8"};
    const hyv_denoise_plan *d = &plan->denoise;
    json_t *i = json_object();
    bool good = i && json_object_set_new(i, "prompt", json_string(params->prompt)) == 0;
    good = good &&
           add(i, "version", "%d.%d.%d", HYV_VERSION_MAJOR, HYV_VERSION_MINOR, HYV_VERSION_MICRO);
    good =
        good && add(i, "width", "%d", params->width) && add(i, "height", "%d", params->height) &&
        add(i, "frames", "%d", params->frames) && add(i, "steps", "%d", d->steps) &&
        add(i, "guidance", "%.17g", d->guidance) && add(i, "shift", "%.17g", d->shift) &&
        add(i, "cfg", "%.17g", d->cfg) &&
        add(i, "precision", "%s", precisions[params->precision]) &&
        (!plan->guided || json_object_set_new(i, "negative", json_string(params->negative)) == 0) &&
        add_tokens(i, "tokens of the prompt", &plan->positive) &&
        (!plan->guided || add_tokens(i, "tokens of the negative prompt", &plan->negative)) &&
        add_hashes(i, hashes);
    if (good)
        return i;
    json_decref(i);
    return NULL;
}

/* "auto": a name of the run's own, in the current folder. A drawn seed is not part of it, or the
 * same command line would never find its file. */
static char *find_path(const hyv_keeper *k, const hyv_params *params)
{
    char hash[HYV_FINGERPRINT_BYTES];
    hyv_string path = {0};
    if (!k->automatic)
        return hyv_strdup(params->checkpoint);
    char *text = json_dumps(k->identity, JSON_SORT_KEYS | JSON_COMPACT);
    if (!text)
        return NULL;
    hyv_fingerprint_bytes(hash, text, strlen(text));
    free(text);
    hyv_string_append(&path, "hunyuanvideo-%.16s", hash);
    if (!params->seed_drawn)
        hyv_string_append(&path, "-%lld", (long long)params->seed);
    hyv_string_append(&path, ".safetensors");
    char *copy = path.failed ? NULL : hyv_strdup(path.text);
    hyv_string_free(&path);
    return copy;
}

/* A drawn seed gives way to that of the file. */
static int settle_seed(hyv_keeper *k, const hyv_params *params, int64_t *seed)
{
    const char *there = json_string_value(json_object_get(k->found.identity, "seed"));
    int64_t found;
    if (params->seed_drawn && there && hyv_parse_int(there, &found) && found >= 0)
        *seed = found;
    return add(k->identity, "seed", "%lld", (long long)*seed) ? 0 : -ENOMEM;
}

static int open_found(hyv_keeper *k, const hyv_params *params, const hyv_plan *plan,
                      int64_t channels, int64_t *seed)
{
    int err = hyv_state_load(&k->found, k->path, k->log);
    if (err < 0)
        return err;
    const int loaded = err;
    err = settle_seed(k, params, seed);
    if (err < 0)
        return hyv_log_error(k->log, err, "checkpoint: not enough memory");
    if (!loaded)
        return 0;
    err = hyv_state_check(&k->found, k->identity, k->path, k->log);
    if (err >= 0 &&
        (k->found.step > plan->denoise.steps ||
         k->found.rows != hyv_grid_rows(plan->denoise.grid) || k->found.channels != channels))
        err = hyv_log_error(k->log, -EBADMSG, "checkpoint %s: does not fit its own description",
                            k->path);
    if (err >= 0)
        hyv_log_write(k->log, HYV_LEVEL_INFO, "checkpoint %s: goes on after step %d of %d", k->path,
                      k->found.step, plan->denoise.steps);
    return err;
}

int hyv_keeper_open(hyv_keeper *k, const hyv_params *params, const hyv_plan *plan,
                    hyv_hashes hashes, int64_t channels, int64_t *seed, hyv_log *log)
{
    *k = (hyv_keeper){.log = log, .automatic = !strcmp(params->checkpoint, "auto")};
    if (!params->checkpoint[0])
        return 0;
    k->identity = identify(params, plan, hashes);
    k->path = k->identity ? find_path(k, params) : NULL;
    if (!k->path)
        return hyv_log_error(log, -ENOMEM, "checkpoint: not enough memory");
    return open_found(k, params, plan, channels, seed);
}

void hyv_keeper_clear(hyv_keeper *k)
{
    hyv_free_host(k->path);
    json_decref(k->identity);
    hyv_state_clear(&k->found);
    *k = (hyv_keeper){0};
}

void hyv_keeper_keep(hyv_keeper *k, int step, const float *latents, int64_t rows, int64_t channels)
{
    if (!k->path)
        return;
    const int err = hyv_state_save(k->path, k->identity, step, latents, rows, channels);
    if (err < 0 && !k->warned)
        hyv_log_write(k->log, HYV_LEVEL_WARNING,
                      "checkpoint %s: cannot be written: %s; the run goes on without", k->path,
                      strerror(-err));
    k->warned = err < 0;
}

void hyv_keeper_done(hyv_keeper *k)
{
    if (k->path && k->automatic)
        unlink(k->path);
}
