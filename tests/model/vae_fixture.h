/* VAEs for tests: the tiny one of the reference data, and ones whose weights come from a formula,
 * as in the published conformance vectors.
 *
 * Formula: h = FNV-1a of the tensor's full name; element i is a mixed 32-bit hash of h and i scaled
 * to [-1, 1), then by sqrt(3 / fan_in) for matrices, 0.1 for vectors, with 1 added for norm
 * weights.
 */
#ifndef HYV_TESTS_MODEL_VAE_FIXTURE_H
#define HYV_TESTS_MODEL_VAE_FIXTURE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../../engine/base/json.h"
#include "../../engine/checkpoint/checkpoint.h"
#include "../../engine/model/vae.h"
#include "../../engine/run/weights.h"
#include "../check.h"
#include "../published.h"

enum { FIXTURE_TENSORS_MAX = 512 };

typedef struct vae_fixture {
    hyv_backend *be;
    hyv_vae vae;
    hyv_log log;
    hyv_checkpoint *checkpoint; /* of the tiny one */
    hyv_weights *weights;
    float *owned[FIXTURE_TENSORS_MAX]; /* of a formula's */
    int count;
    int64_t parameters;
    int calls; /* free for the test */
} vae_fixture;

/* The released model's numbers, and a quarter of its widths. */
static const hyv_vae_config RELEASED = PUBLISHED_VAE;
static const hyv_vae_config REDUCED = {.blocks = 4,
                                       .block_out_channels = {32, 64, 128, 128},
                                       .layers_per_block = 2,
                                       .norm_num_groups = 32,
                                       .latent_channels = 16,
                                       .out_channels = 3,
                                       .spatial_compression = 8,
                                       .temporal_compression = 4,
                                       .mid_block_attention = true};

static inline bool fixture_products(vae_fixture *f, const char *name, const char *isa, int threads,
                                    hyv_precision precision)
{
    *f = (vae_fixture){0};
    const hyv_backend_config config = {.threads = threads, .isa = isa, .precision = precision};
    const size_t arena_bytes = (size_t)160 << 20; /* more than any test's network takes */
    return hyv_backend_open(&f->be, name, &config) == 0 &&
           (f->be->ops->dry || hyv_arena_resize(f->be, arena_bytes) == 0);
}

static inline bool fixture_backend(vae_fixture *f, const char *name, const char *isa, int threads)
{
    return fixture_products(f, name, isa, threads, HYV_PRODUCTS_FP32);
}

static inline void fixture_close(vae_fixture *f)
{
    for (int i = 0; i < f->count; i++)
        free(f->owned[i]);
    hyv_weights_free(&f->weights);
    hyv_checkpoint_close(&f->checkpoint);
    hyv_backend_close(&f->be);
}

static inline bool fixture_config(hyv_vae_config *c, hyv_log *log)
{
    hyv_json doc;
    int64_t entries = HYV_VAE_BLOCKS_MAX;
    if (hyv_json_load(&doc, "tests/golden/t2v/vae/config.json", 1 << 16, log) < 0)
        return false;
    *c = (hyv_vae_config){.mid_block_attention = true};
    int count = (int)entries;
    hyv_json_ints(&doc, NULL, "block_out_channels", 1, 65536, c->block_out_channels, &count);
    c->blocks = count;
    hyv_json_int(&doc, NULL, "layers_per_block", 1, 64, &c->layers_per_block);
    hyv_json_int(&doc, NULL, "norm_num_groups", 1, 65536, &c->norm_num_groups);
    hyv_json_int(&doc, NULL, "latent_channels", 1, 65536, &c->latent_channels);
    hyv_json_int(&doc, NULL, "out_channels", 1, 64, &c->out_channels);
    hyv_json_int(&doc, NULL, "spatial_compression_ratio", 1, 64, &c->spatial_compression);
    hyv_json_int(&doc, NULL, "temporal_compression_ratio", 1, 64, &c->temporal_compression);
    hyv_json_close(&doc);
    return hyv_vae_config_fault(c) == NULL;
}

/* The reference data's VAE on the CPU backend; false if this machine lacks the instruction set. */
static inline bool fixture_golden(vae_fixture *f, const char *isa, int threads)
{
    hyv_vae_config config;
    if (!fixture_backend(f, "cpu", isa, threads))
        return false;
    bool ok =
        fixture_config(&config, &f->log) &&
        hyv_checkpoint_open(&f->checkpoint, "tests/golden/t2v/vae", &f->log) == 0 &&
        hyv_weights_new(&f->weights, f->be, f->checkpoint, &(hyv_names){0}, "vae", &f->log) == 0;
    if (ok) {
        const hyv_binder binder = hyv_weights_binder(f->weights);
        hyv_vae_bind(&f->vae, &config, &binder);
        ok = hyv_weights_status(f->weights) == 0;
    }
    CHECK_MSG(ok, "the tiny VAE cannot be loaded: %s", f->log.error);
    return ok;
}

/* ---- weights by formula ---------------------------------------------------------------------- */

static inline uint32_t formula_seed(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h;
}

static inline double formula(uint32_t seed, int64_t i)
{
    uint32_t x = seed + (uint32_t)i * 0x9e3779b1u;
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return x / 2147483648.0 - 1.0;
}

/* Memory for a tensor, counted as parameters; on a dry backend only the count. */
static inline float *formula_new(vae_fixture *f, int64_t n)
{
    static float dry[1];
    f->parameters += n;
    CHECK(f->count < FIXTURE_TENSORS_MAX);
    const bool real = f->be && !f->be->ops->dry;
    float *p = real ? malloc((size_t)n * sizeof(float)) : NULL;
    f->owned[f->count++] = p;
    return real ? p : dry;
}

static inline void formula_vector(void *opaque, const float **out, const char *name, int64_t n)
{
    vae_fixture *f = opaque;
    float *p = formula_new(f, n);
    const size_t length = strlen(name);
    const double base = length > 7 && strcmp(name + length - 7, ".weight") == 0 ? 1.0 : 0.0;
    for (int64_t i = 0; f->be && !f->be->ops->dry && i < n; i++)
        p[i] = (float)(base + 0.1 * formula(formula_seed(name), i));
    *out = p;
}

static inline void formula_matrix(void *opaque, hyv_weight *out, const char *module,
                                  const hyv_matrix_spec *s)
{
    vae_fixture *f = opaque;
    char name[256];
    const int64_t taps = s->layout == HYV_LAYOUT_TAPS ? s->detail : 1, in = s->cols / taps;
    const double scale = sqrt(3.0 / (double)s->cols);
    float *p = formula_new(f, s->rows * s->cols);
    snprintf(name, sizeof(name), "%s.weight", module);
    const uint32_t seed = formula_seed(name);
    for (int64_t i = 0; f->be && !f->be->ops->dry && i < s->rows * s->cols; i++) {
        const int64_t row = i / s->cols, channel = i % s->cols / taps, tap = i % taps;
        p[row * s->cols + tap * in + channel] = (float)(scale * formula(seed, i));
    }
    *out = (hyv_weight){.w = {p, s->rows, s->cols, s->cols, HYV_F32}};
    snprintf(name, sizeof(name), "%s.bias", module);
    if (s->bias)
        formula_vector(f, &out->bias, name, s->rows);
}

static inline void fixture_formula(vae_fixture *f, const hyv_vae_config *config)
{
    const hyv_binder binder = {.opaque = f, .matrix = formula_matrix, .vector = formula_vector};
    hyv_vae_bind(&f->vae, config, &binder);
}

/* ---- files ----------------------------------------------------------------------------------- */

/* A tensor [C, T, h, w] of a file as dense rows [T*h*w, C], or a matrix [rows, C] as it is; NULL if
 * it is not there. `grid` may be NULL. Freed with free(). */
static inline float *fixture_rows(hyv_checkpoint *c, const char *name, hyv_grid *grid)
{
    const hyv_tensor *t = hyv_checkpoint_find(c, name);
    if (!t || t->type != HYV_F32 || (t->rank != 4 && t->rank != 2))
        return NULL;
    const int64_t channels = t->rank == 4 ? t->shape[0] : 1, n = t->count / channels;
    float *rows = malloc(t->size_bytes);
    for (int64_t i = 0; rows && i < t->count; i++)
        memcpy(&rows[i % n * channels + i / n], (const float *)t->data + i, sizeof(float));
    if (grid)
        *grid = (hyv_grid){t->shape[1], t->shape[2], t->shape[3]};
    return rows;
}

/* Latents by the formula, [1, channels, t, h, w] as rows. */
static inline float *formula_latents(const char *name, hyv_grid g, int64_t channels)
{
    const int64_t n = hyv_grid_rows(g);
    float *z = malloc((size_t)(n * channels) * sizeof(float));
    for (int64_t i = 0; i < n * channels; i++)
        z[i % n * channels + i / n] = (float)formula(formula_seed(name), i);
    return z;
}

static inline double largest_difference(const float *a, const float *b, int64_t n)
{
    double largest = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= largest))
            largest = d;
    }
    return largest;
}

#endif
