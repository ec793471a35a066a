/* Planning: each network runs once on the null backend, with the sizes of the video to come.
 *
 * Repetitions (steps, guidance, tiles) are multiplied, not run. Times stand in
 * calibrate.c. Knows no pixels.
 */
#include "plan.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"

enum hyv_phase hyv_component_phase(enum hyv_component component)
{
    static const enum hyv_phase phases[HYV_COMPONENTS] = {HYV_PHASE_TEXT, HYV_PHASE_TEXT,
                                                          HYV_PHASE_DENOISE, HYV_PHASE_DECODE};
    return phases[component];
}

static size_t unmapped(const hyv_cost *c)
{
    return c->arena + c->scratch + c->weights + c->host;
}

size_t hyv_cost_bytes(const hyv_cost *c)
{
    return unmapped(c) + c->mapped;
}

size_t hyv_cost_bytes_least(const hyv_cost *c)
{
    return unmapped(c) + c->mapped_least;
}

size_t hyv_plan_room(const hyv_plan *plan, enum hyv_component component)
{
    const size_t taken = plan->held + unmapped(&plan->network[component]);
    return plan->budget > taken ? plan->budget - taken : 0;
}

/* How often a network runs through all its blocks. */
static double passes(const hyv_plan *plan, enum hyv_component component)
{
    const bool twice = component == HYV_TEXT_ENCODER_2 || component == HYV_TRANSFORMER;
    return (plan->guided && twice ? 2.0 : 1.0) *
           (component == HYV_TRANSFORMER ? plan->denoise.steps : 1.0);
}

static void divide_memory(hyv_plan *plan, const hyv_network *n)
{
    hyv_cost *cost = &plan->network[n->component];
    hyv_residency *r = hyv_weights_residency(n->weights);
    const hyv_residency_plan fit = hyv_residency_fit(r, hyv_plan_room(plan, n->component));
    const double rounds = passes(plan, n->component);
    cost->files = hyv_weights_mapped_bytes(n->weights);
    cost->mapped = fit.peak;
    cost->mapped_least = fit.least;
    cost->disk = (double)fit.first + (rounds - 1.0) * (double)fit.again;
    cost->step_disk = (double)fit.again * (plan->guided ? 2.0 : 1.0);
}

static void add_work(hyv_work *work, const hyv_backend_stats *s, double times)
{
    work->flops += times * s->flops;
    for (int k = 0; k < HYV_KINDS; k++)
        for (int size = 0; size < HYV_SIZES; size++) {
            work->done[k][size].count += (uint64_t)(times * (double)s->done[k][size].count);
            work->done[k][size].work += times * s->done[k][size].work;
        }
}

/* The largest calls of all networks. */
static void keep_examples(hyv_plan *plan, const hyv_backend_stats *s)
{
    for (int k = 0; k < HYV_KINDS; k++)
        for (int size = 0; size < HYV_SIZES; size++)
            if (s->example[k][size].work > plan->example[k][size].work)
                plan->example[k][size] = s->example[k][size];
}

/* Adds the operations that the backend has counted `times` times, and keeps the largest bytes. */
static void collect(hyv_cost *cost, hyv_backend *be, double times)
{
    const hyv_backend_stats *s = &be->stats;
    const size_t scratch = be->ops->scratch ? be->ops->scratch(be) : 0;
    add_work(&cost->work, s, times);
    if (s->arena_bytes_enough > cost->arena)
        cost->arena = s->arena_bytes_enough;
    if (scratch > cost->scratch)
        cost->scratch = scratch;
    be->stats.flops = be->stats.attention_flops = 0.0;
    memset(be->stats.done, 0, sizeof(be->stats.done));
}

static int run_llama(hyv_cost *cost, hyv_backend *be, const hyv_network *n, const hyv_plan *plan)
{
    const hyv_llama_config *c = &n->model->config.llama;
    const hyv_prompt_tokens *tokens[2] = {&plan->positive, &plan->negative};
    const int count = plan->guided ? 2 : 1;
    hyv_conditioning none[2];
    hyv_text texts[2];
    for (int i = 0; i < 2; i++) {
        none[i] =
            (hyv_conditioning){.tokens = tokens[i]->llm_count - tokens[i]->crop, .width = c->width};
        texts[i] = (hyv_text){tokens[i], &none[i]};
    }
    const size_t rows = (size_t)hyv_condition_rows(texts, count);
    const int err = hyv_condition_llama(texts, count, be, n->net.llama, NULL, n->model->log);
    cost->host = rows * (size_t)(2 * c->width + 2 * c->head_dim) * sizeof(float);
    collect(cost, be, 1.0);
    return err;
}

static int run_clip(hyv_cost *cost, hyv_backend *be, const hyv_network *n,
                    const hyv_prompt_tokens *t)
{
    hyv_conditioning none = {0};
    const int err = hyv_condition_clip(&none, be, n->net.clip, t, NULL, n->model->log);
    cost->host = (size_t)((t->clip_count + 2) * n->model->config.clip.width) * sizeof(float);
    collect(cost, be, 1.0);
    return err;
}

static int run_transformer(hyv_cost *cost, hyv_backend *be, const hyv_network *n,
                           const hyv_plan *plan)
{
    const hyv_dit_config *c = &n->model->config.dit;
    const hyv_prompt_tokens *texts[2] = {&plan->positive, &plan->negative};
    hyv_conditioning none[2];
    for (int i = 0; i < 2; i++)
        none[i] = (hyv_conditioning){.tokens = texts[i]->llm_count - texts[i]->crop,
                                     .width = c->text_width,
                                     .pooled_width = c->pooled_width};
    hyv_denoiser *d = NULL;
    int err = hyv_denoiser_new(&d, be, n->net.dit, &plan->denoise, &none[0],
                               plan->guided ? &none[1] : NULL, NULL, n->model->log);
    if (err >= 0)
        err = hyv_denoiser_prepare(d);
    collect(cost, be, 1.0);
    for (int i = 0; err >= 0 && i < (plan->guided ? 2 : 1); i++) {
        hyv_denoiser_evaluate(d, NULL, NULL, 0, i == 1);
        add_work(&cost->step, &be->stats, 1.0);
        collect(cost, be, plan->denoise.steps);
        err = hyv_backend_error(be);
    }
    cost->host = hyv_denoiser_bytes(c, &plan->denoise);
    hyv_denoiser_free(&d);
    return err;
}

static int run_vae(hyv_cost *cost, hyv_backend *be, const hyv_network *n, const hyv_plan *plan)
{
    const hyv_model_config *c = &n->model->config;
    hyv_tile_plan tiles;
    const char *fault = hyv_tiling_fault(&plan->tiling, &c->vae);
    if (fault)
        return hyv_log_error(n->model->log, -EINVAL, "tiling: %s", fault);
    int err = hyv_vae_tiles_plan(&tiles, &c->vae, plan->denoise.grid, &plan->tiling);
    if (err < 0)
        return hyv_log_error(n->model->log, err, "the video is too large to decode");
    for (int i = 0; err >= 0 && i < tiles.shapes; i++) {
        err = hyv_vae_tile_decode(be, n->net.vae, NULL, tiles.shape[i].grid, NULL, NULL);
        collect(cost, be, (double)tiles.shape[i].count);
    }
    cost->host =
        tiles.host_bytes +
        (size_t)(hyv_grid_rows(plan->denoise.grid) * c->vae.latent_channels) * sizeof(float);
    return err;
}

static int run_network(hyv_cost *cost, hyv_backend *be, const hyv_network *n, const hyv_plan *plan)
{
    int err = 0;
    switch (n->component) {
    case HYV_TEXT_ENCODER:
        err = run_llama(cost, be, n, plan);
        break;
    case HYV_TEXT_ENCODER_2:
        err = run_clip(cost, be, n, &plan->positive);
        if (err >= 0 && plan->guided)
            err = run_clip(cost, be, n, &plan->negative);
        break;
    case HYV_TRANSFORMER:
        err = run_transformer(cost, be, n, plan);
        break;
    default:
        err = run_vae(cost, be, n, plan);
        break;
    }
    return err;
}

int hyv_plan_make(hyv_plan *plan, const hyv_model *m, const hyv_backend_config *config)
{
    int err = 0;
    memset(plan->example, 0, sizeof(plan->example));
    for (int c = 0; err >= 0 && c < HYV_COMPONENTS; c++) {
        hyv_cost *cost = &plan->network[c];
        hyv_backend *be = NULL;
        hyv_network n = {0};
        *cost = (hyv_cost){0};
        err = hyv_backend_open(&be, "null", config);
        if (err < 0)
            return hyv_log_error(m->log, err, "out of memory");
        err = hyv_network_load(&n, m, (enum hyv_component)c, be);
        if (err >= 0) {
            cost->weights = hyv_weights_owned_bytes(n.weights);
            err = run_network(cost, be, &n, plan);
            keep_examples(plan, &be->stats);
            divide_memory(plan, &n);
        }
        hyv_network_unload(&n);
        hyv_backend_close(&be);
    }
    return err;
}
