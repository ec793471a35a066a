/* Every stage of the text-to-video runs against the reference, and the tight comparison of one
 * transformer call.
 *
 * Ids exact, text states, pooled vector, noise exact, schedule, and the latents after each step of
 * every case; for t2v_en also each module's output when the transformer is fed the recorded inputs,
 * so that only arithmetic differs.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/model/embed.h"
#include "../../engine/run/denoise.h"
#include "../../engine/run/model.h"
#include "../../engine/run/rng.h"
#include "../../engine/run/sampler.h"
#include "../check.h"
#include "../golden.h"

#define TEXT_TOLERANCE    2e-3
#define POOLED_TOLERANCE  3e-5
#define LATENTS_TOLERANCE 2e-2 /* end to end: with our own sinusoids */

static void print_error(void *opaque, int level, const char *message)
{
    (void)opaque;
    if (level <= HYV_LEVEL_WARNING)
        printf("%s\n", message);
}

static hyv_log test_log = {.write = print_error};

static float *channels_last(const float *in, int64_t rows, int64_t channels)
{
    float *out = malloc((size_t)(rows * channels) * sizeof(float));
    golden_channels_last(out, in, rows, channels);
    return out;
}

static void check_ids(const hyv_prompt_tokens *t, hyv_checkpoint *g, const golden_case *c)
{
    int64_t n = 0;
    const int32_t *ids = golden_ints(g, "llm_ids", &n);
    const int32_t *mask = golden_ints(g, "llm_mask", NULL);
    const int32_t *clip = golden_ints(g, "clip_ids", NULL);
    int64_t valid = 0;
    while (mask && valid < n && mask[valid])
        valid++;
    CHECK_MSG(t->llm_count == valid, "%s: %lld llm tokens, reference %lld", c->name,
              (long long)t->llm_count, (long long)valid);
    CHECK_MSG(t->crop == c->crop_start, "%s: crop %lld", c->name, (long long)t->crop);
    CHECK_MSG(ids && memcmp(t->llm, ids, (size_t)valid * sizeof(*ids)) == 0, "%s: llm ids",
              c->name);
    CHECK_MSG(clip && memcmp(t->clip, clip, (size_t)t->clip_count * sizeof(*clip)) == 0,
              "%s: clip ids", c->name);
}

/* Runs both encoders on `prompt`; compares with the tensors that `prefix` names. */
static void encode(hyv_conditioning *out, hyv_model *m, hyv_backend *be, const char *prompt,
                   const golden_case *c, hyv_checkpoint *g, const char *prefix)
{
    hyv_prompt_tokens t;
    hyv_network n = {0};
    char name[64];
    int64_t count = 0;
    const enum hyv_template which = c->image_template ? HYV_TEMPLATE_IMAGE : HYV_TEMPLATE_VIDEO;
    CHECK(hyv_prompt_encode(&t, m->llm_tokens, m->clip_tokens, prompt, which, &test_log) >= 0);
    if (!*prefix)
        check_ids(&t, g, c);
    CHECK(hyv_conditioning_new(out, t.llm_count - t.crop, m->config.llama.width,
                               m->config.clip.width) == 0);
    CHECK(hyv_network_load(&n, m, HYV_TEXT_ENCODER, be) >= 0);
    CHECK(hyv_condition_llama(&(hyv_text){&t, out}, 1, be, n.net.llama, NULL, &test_log) >= 0);
    hyv_network_unload(&n);
    CHECK(hyv_network_load(&n, m, HYV_TEXT_ENCODER_2, be) >= 0);
    CHECK(hyv_condition_clip(out, be, n.net.clip, &t, NULL, &test_log) >= 0);
    hyv_network_unload(&n);
    snprintf(name, sizeof(name), "%stext_states", prefix);
    const float *want = golden_floats(g, name, &count);
    CHECK_MSG(count == out->tokens * out->width, "%s: size of %s", c->name, name);
    if (want)
        golden_compare(name, out->states, want, count, TEXT_TOLERANCE);
    snprintf(name, sizeof(name), "%spooled", prefix);
    want = golden_floats(g, name, &count);
    if (want)
        golden_compare(name, out->pooled, want, count, POOLED_TOLERANCE);
}

/* Two texts in one run, whatever their lengths, have the states that each has alone. */
static void check_together(hyv_model *m, hyv_backend *be, const char *prompts[2],
                           enum hyv_template which)
{
    static hyv_prompt_tokens tokens[2];
    hyv_conditioning alone[2], together[2];
    hyv_text texts[2];
    hyv_network n = {0};
    const size_t width = (size_t)m->config.llama.width * sizeof(float);
    CHECK(hyv_network_load(&n, m, HYV_TEXT_ENCODER, be) >= 0);
    for (int i = 0; i < 2; i++) {
        hyv_prompt_tokens *t = &tokens[i];
        CHECK(hyv_prompt_encode(t, m->llm_tokens, m->clip_tokens, prompts[i], which, &test_log) >=
              0);
        for (int k = 0; k < 2; k++)
            CHECK(hyv_conditioning_new(k ? &together[i] : &alone[i], t->llm_count - t->crop,
                                       m->config.llama.width, m->config.clip.width) == 0);
        CHECK(hyv_condition_llama(&(hyv_text){t, &alone[i]}, 1, be, n.net.llama, NULL, &test_log) >=
              0);
        texts[i] = (hyv_text){t, &together[i]};
    }
    const double before = be->stats.flops;
    CHECK(hyv_condition_llama(texts, 2, be, n.net.llama, NULL, &test_log) >= 0);
    const double both = be->stats.flops - before;
    CHECK(hyv_condition_llama(texts, 1, be, n.net.llama, NULL, &test_log) >= 0);
    CHECK(hyv_condition_llama(texts + 1, 1, be, n.net.llama, NULL, &test_log) >= 0);
    /* Most of these short texts is their template. */
    CHECK(both < 0.7 * (be->stats.flops - before - both));
    for (int i = 0; i < 2; i++) {
        const hyv_conditioning *a = &alone[i], *b = &together[i];
        CHECK_MSG(memcmp(a->states, b->states, (size_t)a->tokens * width) == 0 &&
                      memcmp(a->mean, b->mean, width) == 0,
                  "\"%s\" has other states beside \"%s\"", prompts[i], prompts[!i]);
        hyv_conditioning_free(&alone[i]);
        hyv_conditioning_free(&together[i]);
    }
    hyv_network_unload(&n);
}

static void check_start(hyv_denoiser *d, hyv_checkpoint *g, int64_t rows, int64_t channels)
{
    int64_t n = 0;
    const float *noise = golden_floats(g, "noise", &n);
    float *want = noise ? channels_last(noise, rows, channels) : NULL;
    CHECK(want && n == rows * channels &&
          memcmp(want, hyv_denoiser_latents(d), (size_t)n * sizeof(float)) == 0);
    free(want);
    const float *sigmas = golden_floats(g, "sigmas", &n);
    if (sigmas)
        golden_compare("sigmas", hyv_denoiser_sigmas(d), sigmas, n, 1.2e-7);
}

/* Denoises one case and compares after every step. */
static void check_denoising(hyv_model *m, hyv_backend *be, const golden_case *c, hyv_checkpoint *g,
                            const hyv_conditioning *positive, const hyv_conditioning *negative)
{
    const hyv_denoise_plan plan = {.grid = {(c->frames - 1) / 4 + 1, c->height / 8, c->width / 8},
                                   .steps = c->steps,
                                   .guidance = c->guidance,
                                   .shift = c->shift,
                                   .cfg = c->cfg,
                                   .seed = c->seed};
    const int64_t rows = hyv_grid_rows(plan.grid), channels = m->config.dit.in_channels;
    hyv_network n = {0};
    hyv_denoiser *d = NULL;
    CHECK(hyv_network_load(&n, m, HYV_TRANSFORMER, be) >= 0);
    CHECK(hyv_denoiser_new(&d, be, n.net.dit, &plan, positive, negative, NULL, &test_log) >= 0);
    check_start(d, g, rows, channels);
    double worst = 0.0;
    for (int step = 0, more = 1; more > 0; step++) {
        char name[64];
        int64_t count = 0;
        more = hyv_denoiser_step(d);
        CHECK(more >= 0);
        snprintf(name, sizeof(name), "latents_%d", step);
        if (!hyv_checkpoint_find(g, name))
            continue;
        const float *latents = golden_floats(g, name, &count);
        float *want = channels_last(latents, rows, channels);
        const double e =
            golden_compare(name, hyv_denoiser_latents(d), want, count, LATENTS_TOLERANCE);
        worst = e > worst ? e : worst;
        free(want);
    }
    printf("%s: largest error of the latents %.2g\n", c->name, worst);
    hyv_denoiser_free(&d);
    hyv_network_unload(&n);
}

static void check_case(hyv_model *m, hyv_backend *be, const golden_case *c)
{
    char path[128];
    snprintf(path, sizeof(path), "cases/%s.safetensors", c->name);
    hyv_checkpoint *g = golden_file(path);
    hyv_conditioning positive = {0}, negative = {0};
    if (!g)
        return;
    encode(&positive, m, be, c->prompt, c, g, "");
    if (c->cfg > 1.0)
        encode(&negative, m, be, c->negative, c, g, "neg_");
    check_denoising(m, be, c, g, &positive, c->cfg > 1.0 ? &negative : NULL);
    hyv_conditioning_free(&positive);
    hyv_conditioning_free(&negative);
    hyv_checkpoint_close(&g);
}

/* ---- one call with recorded inputs ----------------------------------------------------------- */

typedef struct watcher {
    hyv_checkpoint *g;
    int64_t tokens;
    int seen;
} watcher;

static void compare_rows(watcher *w, const char *name, hyv_mat value, int64_t first, int64_t rows,
                         double tolerance)
{
    int64_t n = 0;
    const float *want = golden_floats(w->g, name, &n);
    CHECK_MSG(n == rows * value.cols, "size of %s", name);
    const float *got = (const float *)value.data + first * value.ld;
    if (want && value.ld == value.cols)
        golden_compare(name, got, want, n, tolerance);
    w->seen++;
}

static void see(void *opaque, const char *module, int index, hyv_mat value)
{
    watcher *w = opaque;
    const bool twice = strcmp(module, "transformer_blocks") == 0;
    char name[64];
    if (strcmp(module, "time_text_embed") == 0)
        compare_rows(w, "vec", value, 0, 1, 3e-5);
    else if (strcmp(module, "x_embedder") == 0)
        compare_rows(w, "img_in", value, 0, value.rows, 6e-5);
    else if (strcmp(module, "context_embedder") == 0)
        compare_rows(w, "refiner", value, 0, value.rows, 2e-3);
    else if (strcmp(module, "norm_out") == 0)
        compare_rows(w, "final_norm", value, 0, value.rows, 2e-4);
    if (!twice && strcmp(module, "single_transformer_blocks") != 0)
        return;
    snprintf(name, sizeof(name), "%s%d_img", twice ? "double" : "single", index);
    compare_rows(w, name, value, 0, w->tokens, 2e-3);
    snprintf(name, sizeof(name), "%s%d_txt", twice ? "double" : "single", index);
    compare_rows(w, name, value, w->tokens, value.rows - w->tokens, 2e-3);
}

static hyv_mat put(hyv_backend *be, const float *host, int64_t rows, int64_t cols)
{
    const hyv_mat m = hyv_new(be, rows, cols);
    hyv_upload(be, m, host);
    return m;
}

static void mean_of(float *mean, const float *rows, int64_t n, int64_t width)
{
    for (int64_t k = 0; k < width; k++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++)
            sum += (double)rows[i * width + k];
        mean[k] = (float)(sum / (double)n);
    }
}

static void check_one_call(hyv_model *m, hyv_backend *be)
{
    hyv_checkpoint *g = golden_file("cases/t2v_en.safetensors");
    const hyv_dit_config *c = &m->config.dit;
    const hyv_grid grid = {3, 8, 8};
    const int64_t rows = hyv_grid_rows(grid), tokens = rows / 4;
    hyv_network n = {0};
    int64_t count = 0;
    if (!g || !CHECK(hyv_network_load(&n, m, HYV_TRANSFORMER, be) >= 0))
        return;
    watcher w = {.g = g, .tokens = tokens};
    const hyv_watch watch = {&w, see};
    float *noise = channels_last(golden_floats(g, "noise", NULL), rows, c->in_channels);
    const float *text = golden_floats(g, "text_states", &count);
    const int64_t text_tokens = count / c->text_width;
    float *mean = malloc((size_t)c->text_width * sizeof(float));
    mean_of(mean, text, text_tokens, c->text_width);
    const size_t mark = hyv_mark(be);
    const hyv_dit_vectors vectors = {
        .time = put(be, golden_floats(g, "sinusoid_timesteps", NULL), 1, HYV_SINUSOID_DIM),
        .guidance = put(be, golden_floats(g, "sinusoid_guidance", NULL), 1, HYV_SINUSOID_DIM),
        .pooled = put(be, golden_floats(g, "pooled", NULL), 1, c->pooled_width)};
    const hyv_mat modulations = hyv_new(be, 1, hyv_dit_modulation_cols(c));
    hyv_dit_modulate(be, n.net.dit, modulations, &vectors, &watch);
    const hyv_dit_input in = {
        .latents = put(be, noise, rows, c->in_channels),
        .grid = grid,
        .text = put(be, text, text_tokens, c->text_width),
        .text_mean = put(be, mean, 1, c->text_width),
        .time = vectors.time,
        .modulations = modulations,
        .rope = {put(be, golden_floats(g, "rope_cos", NULL), tokens, c->head_dim),
                 put(be, golden_floats(g, "rope_sin", NULL), tokens, c->head_dim)}};
    const hyv_mat out = hyv_new(be, rows, c->out_channels);
    hyv_dit_forward(be, n.net.dit, out, &in, &watch);
    CHECK(hyv_backend_error(be) == 0);
    CHECK(w.seen == 4 + 2 * (int)(c->double_blocks + c->single_blocks));
    float *want = channels_last(golden_floats(g, "noise_pred_0", NULL), rows, c->out_channels);
    const double e = golden_compare("noise_pred_0", out.data, want, rows * c->out_channels, 5e-4);
    printf("one call, given sinusoids: largest error of the prediction %.2g\n", e);
    hyv_release(be, mark);
    free(want);
    free(mean);
    free(noise);
    hyv_network_unload(&n);
    hyv_checkpoint_close(&g);
}

static void check_tables(hyv_model *m)
{
    hyv_checkpoint *g = golden_file("cases/t2v_en.safetensors");
    const int64_t d = m->config.dit.head_dim;
    float cosine[48 * 16], sine[48 * 16], sinusoid[HYV_SINUSOID_DIM];
    if (!g || !CHECK(d == 16))
        return;
    hyv_rope_grid(cosine, sine, (hyv_grid){3, 4, 4}, m->config.dit.rope_dims,
                  m->config.dit.rope_theta);
    golden_compare("rope_cos", cosine, golden_floats(g, "rope_cos", NULL), 48 * d, 1e-6);
    golden_compare("rope_sin", sine, golden_floats(g, "rope_sin", NULL), 48 * d, 1e-6);
    /* One unit in the last place of a frequency is worth 2e-4 at 1000 and 4e-4 at 6016. */
    const float *want = golden_floats(g, "sinusoid_timesteps", NULL);
    hyv_sinusoid(sinusoid, HYV_SINUSOID_DIM, 1000.0f);
    golden_compare("sinusoid of 1000", sinusoid, want, HYV_SINUSOID_DIM, 2e-4);
    hyv_sinusoid(sinusoid, HYV_SINUSOID_DIM, 6016.0f);
    golden_compare("sinusoid of 6016", sinusoid, golden_floats(g, "sinusoid_guidance", NULL),
                   HYV_SINUSOID_DIM, 8e-4);
    hyv_checkpoint_close(&g);
    const double scales[] = {1.0, 3.5, 5.0, 6.0, 6.5, 7.0, 8.0, 10.0};
    const float fed[] = {1000, 3504, 4992, 6016, 6496, 7008, 8000, 9984};
    for (int i = 0; i < 8; i++)
        CHECK_MSG(hyv_model_guidance(scales[i]) == fed[i], "guidance %g gives %g", scales[i],
                  (double)hyv_model_guidance(scales[i]));
}

int main(int argc, char **argv)
{
    const hyv_backend_config config = {.isa = argc > 1 ? argv[1] : "auto"};
    hyv_backend *be = NULL;
    hyv_model m;
    golden_cases all;
    golden_case c;
    if (!CHECK(hyv_backend_open(&be, "cpu", &config) == 0) ||
        !CHECK(hyv_arena_resize(be, (size_t)64 << 20) == 0) ||
        !CHECK(hyv_model_open(&m, GOLDEN_FOLDER "/t2v", NULL, &test_log) >= 0) ||
        !golden_open(&all))
        return check_done();
    check_tables(&m);
    check_one_call(&m, be);
    static const char *texts[] = {"", "a", "blurry, low quality", "A cat walks on the grass.", ""};
    for (int i = 0; i < 4; i++)
        for (int which = HYV_TEMPLATE_VIDEO; which <= HYV_TEMPLATE_IMAGE; which++)
            check_together(&m, be, texts + i, (enum hyv_template)which);
    while (golden_next(&all, &c))
        if (strcmp(c.model, "t2v") == 0 && strcmp(c.name, "t2v_en_g6000") != 0)
            check_case(&m, be, &c);
    golden_close(&all);
    hyv_model_close(&m);
    hyv_backend_close(&be);
    return check_done();
}
