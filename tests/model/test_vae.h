/* What the tests of the VAE's two halves have in common: comparing a module's output with reference
 * data and with published numbers, and blocks of a network in which no two matrices share memory.
 */
#ifndef HYV_TESTS_MODEL_TEST_VAE_H
#define HYV_TESTS_MODEL_TEST_VAE_H

#include "vae_fixture.h"

/* ---- stages ---------------------------------------------------------------------------------- */

/* What is published of a module's output. */
typedef struct vector {
    const char *module;
    double mean, rms, first, middle, last;
} vector;

typedef struct stages {
    vae_fixture *f;
    hyv_checkpoint *golden; /* for compare_stage */
    const vector *vectors;  /* for compare_vector */
    int count, compared;
} stages;

static inline void module_name(char name[128], const char *module, int index)
{
    if (index < 0)
        snprintf(name, 128, "%s", module);
    else
        snprintf(name, 128, "%s.%d", module, index);
}

static inline float *downloaded(hyv_backend *be, hyv_mat m)
{
    float *host = malloc((size_t)(m.rows * m.cols) * sizeof(float));
    hyv_download(be, host, m);
    return host;
}

static inline void compare_stage(void *opaque, const char *module, int index, hyv_mat value)
{
    stages *s = opaque;
    char name[128];
    module_name(name, module, index);
    float *wanted = fixture_rows(s->golden, name, NULL);
    if (!wanted)
        return;
    float *got = downloaded(s->f->be, value);
    const hyv_tensor *t = hyv_checkpoint_find(s->golden, name);
    const bool size = CHECK_MSG(t->count == value.rows * value.cols, "%s has another size", name);
    const double d = size ? largest_difference(got, wanted, t->count) : 0.0;
    CHECK_MSG(d <= 5e-4, "%s differs by %g", name, d);
    s->compared++;
    free(got);
    free(wanted);
}

/* The vectors number elements channel by channel, but for attention token by token. */
static inline double element(const float *rows, int64_t n, int64_t channels, int64_t i,
                             bool by_token)
{
    return (double)(by_token ? rows[i] : rows[i % n * channels + i / n]);
}

static inline void check_vector(const vector *v, const float *rows, int64_t n, int64_t channels)
{
    const int64_t all = n * channels;
    const bool by_token = strstr(v->module, "attentions") != NULL;
    double sum = 0.0, squares = 0.0;
    for (int64_t i = 0; i < all; i++) {
        sum += (double)rows[i];
        squares += (double)rows[i] * (double)rows[i];
    }
    const double got[] = {sum / (double)all, sqrt(squares / (double)all),
                          element(rows, n, channels, 0, by_token),
                          element(rows, n, channels, all / 2, by_token),
                          element(rows, n, channels, all - 1, by_token)};
    const double wanted[] = {v->mean, v->rms, v->first, v->middle, v->last};
    for (int i = 0; i < 5; i++)
        CHECK_MSG(fabs(got[i] - wanted[i]) <= 1e-4, "%s: number %d is %.7f, not %.7f", v->module, i,
                  got[i], wanted[i]);
}

static inline void compare_vector(void *opaque, const char *module, int index, hyv_mat value)
{
    stages *s = opaque;
    char name[128];
    module_name(name, module, index);
    for (int i = 0; i < s->count; i++)
        if (strcmp(name, s->vectors[i].module) == 0) {
            float *rows = downloaded(s->f->be, value);
            check_vector(&s->vectors[i], rows, value.rows, value.cols);
            free(rows);
            s->compared++;
        }
}

/* ---- the same blocks without reuse of memory ------------------------------------------------- */

typedef struct plain {
    hyv_backend *be;
    int groups;
    hyv_grid grid;
} plain;

/* With a stride the grid becomes that of the result. */
static inline hyv_mat plain_strided(plain *p, hyv_mat x, const hyv_weight *w, hyv_grid stride)
{
    const hyv_grid grid = p->grid;
    p->grid = (hyv_grid){(grid.t - 1) / stride.t + 1, (grid.h - 1) / stride.h + 1,
                         (grid.w - 1) / stride.w + 1};
    const hyv_mat y = hyv_new(p->be, hyv_grid_rows(p->grid), w->w.rows);
    hyv_conv3d(p->be, y, x, w, grid, (hyv_grid){3, 3, 3}, stride);
    return y;
}

static inline hyv_mat plain_conv(plain *p, hyv_mat x, const hyv_weight *w)
{
    return plain_strided(p, x, w, (hyv_grid){1, 1, 1});
}

static inline hyv_mat plain_linear(const plain *p, hyv_mat x, const hyv_weight *w)
{
    const hyv_mat y = hyv_new(p->be, x.rows, w->w.rows);
    hyv_linear(p->be, y, x, w);
    return y;
}

static inline hyv_mat plain_norm(const plain *p, hyv_mat x, const hyv_affine *affine, bool silu)
{
    const hyv_mat n = hyv_new(p->be, x.rows, x.cols), y = hyv_new(p->be, x.rows, x.cols);
    hyv_group_norm(p->be, n, x, p->groups, affine, 1e-6f);
    hyv_act(p->be, y, n, HYV_NO_MAT, HYV_SILU);
    return silu ? y : n;
}

static inline hyv_mat plain_resnet(plain *p, hyv_mat x, const hyv_vae_resnet *r)
{
    hyv_mat h = plain_conv(p, plain_norm(p, x, &r->norm1, true), &r->conv1);
    h = plain_conv(p, plain_norm(p, h, &r->norm2, true), &r->conv2);
    hyv_add(p->be, h, r->in == r->out ? x : plain_linear(p, x, &r->shortcut), HYV_NO_MAT);
    return h;
}

static inline hyv_mat plain_attention(const plain *p, hyv_mat x, const hyv_vae_attention *a)
{
    const hyv_mat n = plain_norm(p, x, &a->norm, false), y = hyv_new(p->be, x.rows, x.cols);
    const hyv_mat q = plain_linear(p, n, &a->q), k = plain_linear(p, n, &a->k);
    hyv_attention(p->be, y, q, k, plain_linear(p, n, &a->v), 1, p->grid.h * p->grid.w);
    const hyv_mat out = plain_linear(p, y, &a->out);
    hyv_add(p->be, out, x, HYV_NO_MAT);
    return out;
}

static inline hyv_mat plain_mid(plain *p, hyv_mat x, const hyv_vae_mid *mid, bool attention)
{
    x = plain_resnet(p, x, &mid->resnet[0]);
    if (attention)
        x = plain_attention(p, x, &mid->attention);
    return plain_resnet(p, x, &mid->resnet[1]);
}

#endif
