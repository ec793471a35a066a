/* The VAE's encoder: the published list of tensors, every module of the reference's tiny VAE on
 * each instruction set and number of threads, the published conformance vectors of a reduced
 * network, a picture alone, a network without reuse of memory, and what the dry run says of memory
 * and work.
 */
#include "test_vae.h"

static void formula_encoder(vae_fixture *f, hyv_vae_encoder *m, const hyv_vae_config *config)
{
    const hyv_binder binder = {.opaque = f, .matrix = formula_matrix, .vector = formula_vector};
    hyv_vae_encoder_bind(m, config, &binder);
}

/* Counts as published: 106 tensors of the encoder and 2 behind it. */
static void check_list(void)
{
    static vae_fixture f;
    static hyv_vae_encoder m;
    f = (vae_fixture){0};
    formula_encoder(&f, &m, &RELEASED);
    CHECK(f.count == 108);
    CHECK(f.parameters == 100341408 + 1056);
    CHECK(m.conv_in.w.rows == 128 && m.conv_in.w.cols == 27 * 3);
    CHECK(m.conv_out.w.rows == 32 && m.conv_out.w.cols == 27 * 512);
    CHECK(m.down[1].resnet[0].shortcut.w.cols == 128);
    CHECK(m.down[1].resnet[1].shortcut.w.rows == 0);
    static const hyv_grid strides[] = {{1, 2, 2}, {2, 2, 2}, {2, 2, 2}, {1, 1, 1}};
    for (int i = 0; i < 4; i++)
        CHECK(memcmp(&m.down[i].stride, &strides[i], sizeof(hyv_grid)) == 0);
    CHECK(m.down[2].downsample.w.rows == 512 && m.down[3].downsample.w.rows == 0);
    fixture_close(&f);
}

static void check_grids(void)
{
    static const hyv_grid pairs[][2] = {{{129, 720, 1280}, {33, 90, 160}},
                                        {{1, 8, 8}, {1, 1, 1}},
                                        {{4, 16, 16}, {1, 2, 2}},
                                        {{5, 17, 15}, {2, 3, 2}}};
    for (int i = 0; i < 4; i++) {
        const hyv_grid latents = hyv_vae_latents(&RELEASED, pairs[i][0]);
        CHECK(memcmp(&latents, &pairs[i][1], sizeof(latents)) == 0);
    }
}

/* ---- stages ---------------------------------------------------------------------------------- */

/* Encodes on the fixture's backend; freed with free(). */
static float *encode(vae_fixture *f, const hyv_vae_encoder *m, const float *x, hyv_grid grid,
                     const hyv_watch *watch)
{
    const int64_t n = hyv_grid_rows(hyv_vae_latents(&m->config, grid));
    const hyv_mat in = hyv_new(f->be, hyv_grid_rows(grid), 3);
    const hyv_mat out = hyv_new(f->be, n, 2 * m->config.latent_channels);
    hyv_upload(f->be, in, x);
    const size_t mark = hyv_mark(f->be);
    hyv_vae_encode(f->be, m, in, grid, out, watch);
    CHECK(hyv_mark(f->be) == mark);
    float *moments = downloaded(f->be, out);
    hyv_release(f->be, 0);
    CHECK(hyv_backend_error(f->be) == 0);
    return moments;
}

/* The encoder of the tiny VAE; false if this machine lacks the instruction set. */
static bool golden_encoder(vae_fixture *f, hyv_vae_encoder *m, const char *isa, int threads)
{
    if (!fixture_golden(f, isa, threads))
        return false;
    const hyv_binder binder = hyv_weights_binder(f->weights);
    hyv_vae_encoder_bind(m, &f->vae.config, &binder);
    return CHECK_MSG(hyv_weights_status(f->weights) == 0, "the tiny encoder cannot be loaded: %s",
                     f->log.error);
}

/* Every stage on plain C with one thread; the same bytes at the end on all others. */
static void check_golden(void)
{
    static const struct {
        const char *isa;
        int threads;
    } runs[] = {{"c", 1}, {"c", 7}, {"avx2", 1}, {"avx2", 7}, {"auto", 2}, {"avx512", 2}};
    hyv_log log = {0};
    hyv_checkpoint *golden = NULL;
    hyv_grid grid = {0};
    CHECK(hyv_checkpoint_open(&golden, "tests/golden/vae/encode_stages.safetensors", &log) == 0);
    float *x = fixture_rows(golden, "x", &grid), *wanted = fixture_rows(golden, "moments", NULL);
    const int64_t n = 32 * hyv_grid_rows(hyv_vae_latents(&RELEASED, grid));
    float *first = NULL;
    for (int i = 0; i < (int)(sizeof(runs) / sizeof(*runs)); i++) {
        static vae_fixture f;
        static hyv_vae_encoder m;
        if (!golden_encoder(&f, &m, runs[i].isa, runs[i].threads)) {
            check_skip(runs[i].isa);
            fixture_close(&f);
            continue;
        }
        stages s = {.f = &f, .golden = golden};
        const hyv_watch watch = {&s, compare_stage};
        float *got = encode(&f, &m, x, grid, i ? NULL : &watch);
        if (!first) {
            CHECK(s.compared == 13);
            const double d = largest_difference(got, wanted, n);
            printf("moments differ by %.2g at most\n", d);
            CHECK_MSG(d <= 1e-4, "moments differ by %g", d);
            first = got;
        } else {
            CHECK_MSG(memcmp(got, first, (size_t)n * sizeof(float)) == 0,
                      "isa %s with %d threads gives other bytes", runs[i].isa, runs[i].threads);
            free(got);
        }
        fixture_close(&f);
    }
    free(first);
    free(x);
    free(wanted);
    hyv_checkpoint_close(&golden);
}

/* One picture, as image-to-video encodes it, by the VAE of another tiny pipeline. */
static void check_picture(void)
{
    static const hyv_vae_config config = {4, {4, 8, 8, 8}, 1, 2, 16, 3, 8, 4, true};
    static vae_fixture f;
    static hyv_vae_encoder m;
    hyv_checkpoint *golden = NULL;
    hyv_grid grid = {0};
    CHECK(fixture_backend(&f, "cpu", "auto", 2));
    CHECK(hyv_checkpoint_open(&f.checkpoint, "tests/golden/i2v/vae", &f.log) == 0);
    CHECK(hyv_weights_new(&f.weights, f.be, f.checkpoint, &(hyv_names){0}, "vae", &f.log) == 0);
    const hyv_binder binder = hyv_weights_binder(f.weights);
    hyv_vae_encoder_bind(&m, &config, &binder);
    CHECK_MSG(hyv_weights_status(f.weights) == 0, "%s", f.log.error);
    CHECK(hyv_checkpoint_open(&golden, "tests/golden/cases/i2v_zh.safetensors", &f.log) == 0);
    float *x = fixture_rows(golden, "vae_pixels_in", &grid);
    float *wanted = fixture_rows(golden, "moments", NULL);
    if (CHECK(x && wanted && grid.t == 1)) {
        float *got = encode(&f, &m, x, grid, NULL);
        const double d =
            largest_difference(got, wanted, 32 * hyv_grid_rows(hyv_vae_latents(&config, grid)));
        CHECK_MSG(d <= 1e-4, "the picture's moments differ by %g", d);
        free(got);
    }
    free(x);
    free(wanted);
    hyv_checkpoint_close(&golden);
    fixture_close(&f);
}

/* ---- conformance vectors --------------------------------------------------------------------- */

static const vector VECTORS[] = {
    {"encoder.conv_in", -0.0159961654, 0.592283708, -0.7587239, 0.0577586, 0.4055057},
    {"encoder.down_blocks.0", 0.0496158841, 1.01791771, 0.2762336, -0.0384940, 1.1013504},
    {"encoder.down_blocks.1", 0.049185414, 1.30247394, 1.0477624, 2.1554150, -0.2525763},
    {"encoder.down_blocks.2", 0.0718827733, 1.60957567, -3.1031582, -0.4968532, -0.0324105},
    {"encoder.down_blocks.3", 0.00811064718, 1.82478187, -4.0718885, 0.7093859, 0.5056838},
    {"encoder.mid_block", -0.0166768911, 2.06338757, -4.2400179, 0.1411601, 0.2296894},
    {"encoder", 0.0555424495, 0.604731026, 0.3986730, 0.6569901, -0.6363998}};
static const vector MOMENTS = {"moments",  -0.131018614, 0.609907276,
                               -0.5348402, -0.3627579,   -0.2871707};

static void check_vectors(void)
{
    static vae_fixture f;
    static hyv_vae_encoder m;
    const hyv_grid grid = {9, 32, 48};
    CHECK(fixture_backend(&f, "cpu", "auto", 2));
    formula_encoder(&f, &m, &REDUCED);
    float *x = formula_latents("golden.x", grid, 3);
    stages s = {.f = &f, .vectors = VECTORS, .count = sizeof(VECTORS) / sizeof(*VECTORS)};
    const hyv_watch watch = {&s, compare_vector};
    float *moments = encode(&f, &m, x, grid, &watch);
    CHECK(s.compared == s.count);
    check_vector(&MOMENTS, moments, hyv_grid_rows(hyv_vae_latents(&REDUCED, grid)), 32);
    free(moments);
    free(x);
    fixture_close(&f);
}

/* ---- the dry run ----------------------------------------------------------------------------- */

static size_t dry_arena(const hyv_vae_config *config, hyv_grid grid)
{
    static vae_fixture f;
    static hyv_vae_encoder m;
    CHECK(fixture_backend(&f, "null", "auto", 1));
    formula_encoder(&f, &m, config);
    free(encode(&f, &m, NULL, grid, NULL));
    const size_t bytes = f.be->stats.arena_bytes_max;
    fixture_close(&f);
    return bytes;
}

/* Peak activations as derived from the first resnets: input and branch of C columns, C the
 * narrowest width, and the frames of one of them that are normalised at a time, three at most. And
 * the published number of operations. */
static void check_dry(hyv_grid grid, double tera, double attention_tera)
{
    static vae_fixture f;
    static hyv_vae_encoder m;
    CHECK(fixture_backend(&f, "null", "auto", 1));
    formula_encoder(&f, &m, &RELEASED);
    free(encode(&f, &m, NULL, grid, NULL));
    const int64_t latents = hyv_grid_rows(hyv_vae_latents(&RELEASED, grid));
    const int64_t voxels = hyv_grid_rows(grid), frames = grid.t < 3 ? grid.t : 3;
    const int64_t columns = voxels * (2 * 128 + 3) + frames * grid.h * grid.w * 128;
    const double least = (double)(columns + latents * 32) * sizeof(float);
    const double got = (double)f.be->stats.arena_bytes_max;
    CHECK_MSG(got >= least && got <= 1.001 * least, "arena of %g bytes, %g expected", got, least);
    CHECK_MSG(fabs(f.be->stats.flops / 1e12 - tera) <= 0.005 * tera + 0.05, "%g TFLOP, not %g",
              f.be->stats.flops / 1e12, tera);
    CHECK_MSG(fabs(f.be->stats.attention_flops / 1e12 - attention_tera) <= 0.06, "%g TFLOP, not %g",
              f.be->stats.attention_flops / 1e12, attention_tera);
    fixture_close(&f);
}

/* ---- the same network without reuse of memory ------------------------------------------------ */

static float *plain_encode(vae_fixture *f, const hyv_vae_encoder *m, const float *x_host,
                           hyv_grid grid)
{
    plain p = {f->be, (int)m->config.norm_num_groups, grid};
    hyv_mat x = hyv_new(f->be, hyv_grid_rows(grid), 3);
    hyv_upload(f->be, x, x_host);
    x = plain_conv(&p, x, &m->conv_in);
    for (int i = 0; i < m->config.blocks; i++) {
        const hyv_vae_down *down = &m->down[i];
        for (int k = 0; k < m->config.layers_per_block; k++)
            x = plain_resnet(&p, x, &down->resnet[k]);
        if (hyv_grid_rows(down->stride) > 1)
            x = plain_strided(&p, x, &down->downsample, down->stride);
    }
    x = plain_mid(&p, x, &m->mid, m->config.mid_block_attention);
    x = plain_conv(&p, plain_norm(&p, x, &m->norm_out, true), &m->conv_out);
    float *moments = downloaded(f->be, plain_linear(&p, x, &m->quant));
    hyv_release(f->be, 0);
    return moments;
}

/* Widths that shrink towards the latents, other depths and compressions, sizes that leave a rest:
 * the result is that of a network in which no two matrices share memory, and the peak that of a dry
 * run. */
static void check_shapes(void)
{
    static const hyv_vae_config configs[] = {
        {4, {24, 16, 8, 8}, 2, 4, 16, 3, 8, 4, true},
        {2, {8, 4}, 1, 4, 3, 3, 2, 2, true},
        {1, {6}, 3, 3, 5, 3, 1, 1, false},
        {3, {6, 12, 6}, 1, 6, 4, 3, 8, 4, true},
        {2, {4, 16}, 1, 4, 2, 3, 1, 1, true},
        {2, {4, 8}, 1, 4, 3, 3, 2, 2, false}, /* frames are normalised three at a time, */
        {2, {8, 4}, 1, 4, 2, 3, 1, 1, false}, /* and two */
    };
    static const hyv_grid grids[] = {{1, 11, 6},  {3, 11, 11}, {5, 11, 16},  {7, 11, 21},
                                     {9, 11, 26}, {8, 75, 80}, {7, 100, 104}};
    for (int i = 0; i < (int)(sizeof(configs) / sizeof(*configs)); i++) {
        static vae_fixture f;
        static hyv_vae_encoder m;
        const hyv_grid grid = grids[i];
        CHECK(hyv_vae_config_fault(&configs[i]) == NULL);
        CHECK(fixture_backend(&f, "cpu", "auto", 2));
        formula_encoder(&f, &m, &configs[i]);
        float *x = formula_latents("x", grid, 3);
        float *moments = encode(&f, &m, x, grid, NULL);
        const size_t peak = f.be->stats.arena_bytes_max, dry = dry_arena(&configs[i], grid);
        float *wanted = plain_encode(&f, &m, x, grid);
        const hyv_grid latents = hyv_vae_latents(&configs[i], grid);
        const int64_t n = 2 * configs[i].latent_channels * hyv_grid_rows(latents);
        CHECK_MSG(memcmp(moments, wanted, (size_t)n * sizeof(float)) == 0, "network %d", i);
        CHECK_MSG(peak == dry, "network %d: %zu bytes, dry %zu", i, peak, dry);
        free(moments);
        free(wanted);
        free(x);
        fixture_close(&f);
    }
}

/* ---- bf16 ------------------------------------------------------------------------------------
 */

/* With products in bf16 a branch that has no room beside its input is kept in bf16: half of fp32's
 * memory for it. How far the moments are from fp32's, root mean square over theirs, and the bytes
 * that activations took. */
static double deviation_in_bf16(hyv_grid grid, size_t arena[2])
{
    float *moments[2];
    int64_t n = 0;
    for (int i = 0; i < 2; i++) {
        static vae_fixture f;
        static hyv_vae_encoder m;
        CHECK(fixture_products(&f, "cpu", "auto", 2, i ? HYV_PRODUCTS_BF16 : HYV_PRODUCTS_FP32));
        formula_encoder(&f, &m, &REDUCED);
        float *x = formula_latents("x", grid, 3);
        moments[i] = encode(&f, &m, x, grid, NULL);
        arena[i] = f.be->stats.arena_bytes_max;
        n = hyv_grid_rows(hyv_vae_latents(&REDUCED, grid)) * 2 * REDUCED.latent_channels;
        free(x);
        fixture_close(&f);
    }
    double error = 0.0, power = 0.0;
    for (int64_t i = 0; i < n; i++) {
        error += pow((double)moments[1][i] - (double)moments[0][i], 2.0);
        power += pow((double)moments[0][i], 2.0);
    }
    free(moments[0]);
    free(moments[1]);
    return sqrt(error / power);
}

static void check_bf16(void)
{
    const hyv_grid small = {5, 40, 40}, large = {5, 96, 104};
    size_t arena[2];
    const double few = deviation_in_bf16(small, arena);
    CHECK_MSG(few > 0.0 && few < 0.02, "deviation of %g", few);
    const double many = deviation_in_bf16(large, arena);
    CHECK_MSG(many > 0.0 && many < 0.02, "deviation of %g", many);
    const size_t x = (size_t)(hyv_grid_rows(large) * 32) * sizeof(float);
    CHECK_MSG(arena[0] - arena[1] >= x / 2, "%zu and %zu bytes of activations", arena[0], arena[1]);
    printf("bf16: %.5f of the moments in one piece, %.5f by frames\n", few, many);
}

int main(void)
{
    check_list();
    check_grids();
    check_golden();
    check_picture();
    check_vectors();
    check_shapes();
    check_bf16();
    check_dry((hyv_grid){17, 256, 256}, 10.3, 0.03);
    check_dry((hyv_grid){1, 720, 1280}, 11.7, 0.42);
    return check_done();
}
