/* The VAE decoder: limits of its configuration, the published list of tensors, every module of the
 * reference's tiny VAE on each instruction set and number of threads, the published conformance
 * vectors of a reduced network, one frame alone, and what the dry run says of memory and work.
 */
#include "test_vae.h"

/* ---- configuration and tensors --------------------------------------------------------------- */

static void check_config(void)
{
    static const hyv_vae_config more = {1, {8}, 1, 8, 4, 3, 1, 1, false};
    CHECK(hyv_vae_config_fault(&RELEASED) == NULL);
    CHECK(hyv_vae_config_fault(&more) == NULL);
    hyv_vae_config c;
#define REFUSED(member, value)         \
    (c = RELEASED, c.member = (value), \
     CHECK_MSG(hyv_vae_config_fault(&c) != NULL, #member " = " #value " is accepted"))
    REFUSED(blocks, 0);
    REFUSED(blocks, 9);
    REFUSED(blocks, 2); /* two blocks cannot double h and w three times */
    REFUSED(block_out_channels[1], 0);
    REFUSED(block_out_channels[1], -32);
    REFUSED(block_out_channels[3], 500);
    REFUSED(block_out_channels[0], INT64_C(1) << 40);
    REFUSED(layers_per_block, 0);
    REFUSED(layers_per_block, 17);
    REFUSED(norm_num_groups, 0);
    REFUSED(norm_num_groups, 48);
    REFUSED(latent_channels, 0);
    REFUSED(latent_channels, 5000);
    REFUSED(out_channels, 4);
    REFUSED(spatial_compression, 0);
    REFUSED(spatial_compression, 6);
    REFUSED(spatial_compression, 32);
    REFUSED(spatial_compression, 4); /* time would double where space does not */
    REFUSED(temporal_compression, -4);
    REFUSED(temporal_compression, 3);
    REFUSED(temporal_compression, 16);
#undef REFUSED
    const hyv_grid p = hyv_vae_pictures(&RELEASED, (hyv_grid){33, 90, 160});
    CHECK(p.t == 129 && p.h == 720 && p.w == 1280);
}

/* Counts as published: 138 tensors of the decoder and 2 in front of it. */
static void check_list(void)
{
    static vae_fixture f;
    f = (vae_fixture){0};
    fixture_formula(&f, &RELEASED);
    CHECK(f.count == 140);
    CHECK(f.parameters == 146136339);
    CHECK(f.vae.conv_in.w.rows == 512 && f.vae.conv_in.w.cols == 27 * 16);
    CHECK(f.vae.up[2].resnet[0].shortcut.w.rows == 256);
    CHECK(f.vae.up[2].resnet[1].shortcut.w.rows == 0);
    CHECK(f.vae.up[0].space && !f.vae.up[0].time && f.vae.up[1].time && f.vae.up[2].time);
    CHECK(!f.vae.up[3].space && !f.vae.up[3].time);
    fixture_close(&f);
}

/* ---- stages ---------------------------------------------------------------------------------- */

/* Decodes on the fixture's backend; freed with free(). */
static float *decode(vae_fixture *f, const float *z, hyv_grid grid, const hyv_watch *watch)
{
    const hyv_vae_config *c = &f->vae.config;
    const hyv_mat in = hyv_new(f->be, hyv_grid_rows(grid), c->latent_channels);
    const hyv_mat out = hyv_new(f->be, hyv_grid_rows(hyv_vae_pictures(c, grid)), 3);
    hyv_upload(f->be, in, z);
    const size_t mark = hyv_mark(f->be);
    hyv_vae_decode(f->be, &f->vae, in, grid, out, watch);
    CHECK(hyv_mark(f->be) == mark);
    float *pixels = downloaded(f->be, out);
    hyv_release(f->be, 0);
    CHECK(hyv_backend_error(f->be) == 0);
    return pixels;
}

/* Every stage on plain C with one thread; the same bytes at the end on all others. */
static void check_golden(void)
{
    static const struct {
        const char *isa;
        int threads;
    } runs[] = {{"c", 1},    {"c", 2},    {"c", 7},      {"avx2", 1},   {"avx2", 2},
                {"avx2", 7}, {"auto", 2}, {"avx512", 1}, {"avx512", 2}, {"avx512", 7}};
    hyv_log log = {0};
    hyv_checkpoint *golden = NULL;
    hyv_grid grid = {0};
    CHECK(hyv_checkpoint_open(&golden, "tests/golden/vae/decode_stages.safetensors", &log) == 0);
    float *z = fixture_rows(golden, "z", &grid), *wanted = fixture_rows(golden, "decoded", NULL);
    const int64_t n = 3 * hyv_grid_rows(hyv_vae_pictures(&RELEASED, grid));
    float *first = NULL;
    for (int i = 0; i < (int)(sizeof(runs) / sizeof(*runs)); i++) {
        static vae_fixture f;
        if (!fixture_golden(&f, runs[i].isa, runs[i].threads)) {
            check_skip(runs[i].isa);
            fixture_close(&f);
            continue;
        }
        stages s = {.f = &f, .golden = golden};
        const hyv_watch watch = {&s, compare_stage};
        float *got = decode(&f, z, grid, i ? NULL : &watch);
        if (!first) {
            CHECK(s.compared == 14);
            const double d = largest_difference(got, wanted, n);
            printf("decoded frames differ by %.2g at most\n", d);
            CHECK_MSG(d <= 1e-4, "decoded differs by %g", d);
            first = got;
        } else {
            CHECK_MSG(memcmp(got, first, (size_t)n * sizeof(float)) == 0,
                      "isa %s with %d threads gives other bytes", runs[i].isa, runs[i].threads);
            free(got);
        }
        fixture_close(&f);
    }
    free(first);
    free(z);
    free(wanted);
    hyv_checkpoint_close(&golden);
}

/* A single frame, from the last latents of a run: no doubling in time, one latent frame. */
static void check_one_frame(void)
{
    static vae_fixture f;
    hyv_log log = {0};
    hyv_checkpoint *golden = NULL;
    hyv_grid grid = {0};
    CHECK(fixture_golden(&f, "auto", 2));
    CHECK(hyv_checkpoint_open(&golden, "tests/golden/cases/t2v_image.safetensors", &log) == 0);
    char name[32] = "";
    for (int i = 0; i < 100; i++) {
        char next[32];
        snprintf(next, sizeof(next), "latents_%d", i);
        if (hyv_checkpoint_find(golden, next))
            memcpy(name, next, sizeof(name));
    }
    float *z = fixture_rows(golden, name, &grid), *wanted = fixture_rows(golden, "decoded", NULL);
    if (CHECK(z && wanted && grid.t == 1)) {
        for (int64_t i = 0; i < 16 * hyv_grid_rows(grid); i++)
            z[i] /= 0.476986f;
        float *got = decode(&f, z, grid, NULL);
        const double d = largest_difference(got, wanted, 3 * 64 * hyv_grid_rows(grid));
        CHECK_MSG(d <= 2e-4, "the frame differs by %g", d);
        free(got);
    }
    free(z);
    free(wanted);
    hyv_checkpoint_close(&golden);
    fixture_close(&f);
}

/* ---- conformance vectors --------------------------------------------------------------------- */

static const vector VECTORS[] = {
    {"post_quant_conv", 0.00319009467, 0.588902971, -0.0352840, -0.7675420, -0.7329241},
    {"decoder.conv_in", 0.0258788485, 0.565495401, -0.3544320, 0.0467640, -0.1455768},
    {"decoder.mid_block.resnets.0", 0.00846012314, 0.833390173, -0.9275223, -0.1560625, 0.3761093},
    {"decoder.mid_block.attentions.0", 0.0300918212, 0.943902264, -0.1027891, 0.5744012, 0.1273604},
    {"decoder.mid_block", 0.0504401908, 1.07675973, 0.2536137, 0.1920961, -0.3579760},
    {"decoder.up_blocks.0.resnets.0", 0.0639567117, 1.21418659, 0.5657538, 0.1997112, -0.3358651},
    {"decoder.up_blocks.0.resnets.1", 0.0587905301, 1.35620917, 0.0257589, 0.6954952, -0.7095483},
    {"decoder.up_blocks.0.resnets.2", 0.0265811115, 1.50548817, -0.2103863, 0.8720616, -0.7168409},
    {"decoder.up_blocks.0", -0.0109519624, 1.55487033, -1.0162420, 1.3090267, 3.2411882},
    {"decoder.up_blocks.1.resnets.0", 0.0303002568, 1.6807418, -0.0949865, 1.7227447, 2.2374194},
    {"decoder.up_blocks.1.resnets.1", 0.0488027461, 1.75315768, -0.3792176, 0.9449053, 1.8991459},
    {"decoder.up_blocks.1.resnets.2", 0.05003649, 1.85162198, -0.1014422, -0.2303416, 2.7104921},
    {"decoder.up_blocks.1", -0.11283166, 1.89333244, 0.7709142, 0.1994385, 1.3023318},
    {"decoder.up_blocks.2.resnets.0", 0.122384532, 2.00322167, 0.5274821, 3.0737671, 1.1184680},
    {"decoder.up_blocks.2.resnets.1", 0.14048957, 2.14210867, 0.3131861, 3.4251224, 1.2637572},
    {"decoder.up_blocks.2.resnets.2", 0.152718675, 2.22508591, 0.1741648, 3.3398829, 0.9998827},
    {"decoder.up_blocks.2", -0.00269008618, 2.15069529, 0.0891755, 3.1438234, 0.4604690},
    {"decoder.up_blocks.3.resnets.0", 0.00278828896, 2.46858311, 1.4053335, -0.6418171, 2.5057081},
    {"decoder.up_blocks.3.resnets.1", 0.0112786535, 2.51604914, 1.5259399, -0.8500915, 2.7162250},
    {"decoder.up_blocks.3.resnets.2", -0.00794554621, 2.59300802, 1.3578700, -0.2129056, 2.5710214},
    {"decoder.up_blocks.3", -0.00794554621, 2.59300802, 1.3578700, -0.2129056, 2.5710214},
    {"decoder.conv_norm_out", 0.000647465677, 1.00629634, 0.1456647, -0.1305196, -0.4939703}};
static const vector DECODED = {"decoded",  -0.0578723682, 0.620011257,
                               -0.8283371, -0.6560195,    -0.2763534};

static void check_vectors(void)
{
    static vae_fixture f;
    const hyv_grid grid = {3, 6, 4};
    CHECK(formula_seed("golden.z") == 46942508);
    CHECK(fixture_backend(&f, "cpu", "auto", 2));
    fixture_formula(&f, &REDUCED);
    float *z = formula_latents("golden.z", grid, 16);
    stages s = {.f = &f, .vectors = VECTORS, .count = sizeof(VECTORS) / sizeof(*VECTORS)};
    const hyv_watch watch = {&s, compare_vector};
    float *pixels = decode(&f, z, grid, &watch);
    CHECK(s.compared == s.count);
    check_vector(&DECODED, pixels, hyv_grid_rows(hyv_vae_pictures(&REDUCED, grid)), 3);
    free(pixels);
    free(z);
    fixture_close(&f);
}

/* ---- the dry run ----------------------------------------------------------------------------- */

/* Operations that the published network does and folding its doublings into the convolutions behind
 * them saves: 27 taps become 12, or 8 where time is doubled too. */
static double folded_tera(const hyv_vae *m, hyv_grid grid)
{
    double saved = 0.0;
    for (int i = 0; i < m->config.blocks; i++) {
        const hyv_vae_up *up = &m->up[i];
        const double width = (double)up->upsample.w.rows;
        if (!up->space)
            continue;
        grid = (hyv_grid){up->time ? 2 * grid.t - 1 : grid.t, 2 * grid.h, 2 * grid.w};
        saved += 2.0 * (double)hyv_grid_rows(grid) * width * width * (up->time ? 19.0 : 15.0);
    }
    return saved / 1e12;
}

/* Peak activations: the input of the widest resnet, 2 C columns, C the narrowest width, in whose
 * place the branch and the shortcut stand; beside it either what it is doubled from, or three
 * frames of it that are normalised at a time with one of results. And the published number of
 * operations of one tile. */
static void check_dry(hyv_grid grid, double tera, double attention_tera)
{
    static vae_fixture f;
    CHECK(fixture_backend(&f, "null", "auto", 1));
    fixture_formula(&f, &RELEASED);
    free(decode(&f, NULL, grid, NULL));
    const hyv_grid pictures = hyv_vae_pictures(&RELEASED, grid);
    const int64_t voxels = hyv_grid_rows(pictures), frame = pictures.h * pictures.w;
    const int64_t small = (pictures.t + 1) / 2 * frame / 4 * 256, some = frame * (3 * 256 + 128);
    const double least =
        (double)(voxels * (256 + 3) + (small > some ? small : some) + hyv_grid_rows(grid) * 16) *
        sizeof(float);
    const double got = (double)f.be->stats.arena_bytes_max;
    CHECK_MSG(got >= least && got <= 1.001 * least, "arena of %g bytes, %g expected", got, least);
    tera -= folded_tera(&f.vae, grid);
    CHECK_MSG(fabs(f.be->stats.flops / 1e12 - tera) <= 0.005 * tera + 0.05, "%g TFLOP, not %g",
              f.be->stats.flops / 1e12, tera);
    CHECK_MSG(fabs(f.be->stats.attention_flops / 1e12 - attention_tera) <= 0.06, "%g TFLOP, not %g",
              f.be->stats.attention_flops / 1e12, attention_tera);
    fixture_close(&f);
}

/* ---- the same network without reuse of memory ------------------------------------------------ */

static float *plain_decode(vae_fixture *f, const float *z, hyv_grid grid)
{
    const hyv_vae *m = &f->vae;
    plain p = {f->be, (int)m->config.norm_num_groups, grid};
    hyv_mat x = hyv_new(f->be, hyv_grid_rows(grid), m->config.latent_channels);
    hyv_upload(f->be, x, z);
    x = plain_conv(&p, plain_linear(&p, x, &m->post_quant), &m->conv_in);
    x = plain_mid(&p, x, &m->mid, m->config.mid_block_attention);
    for (int i = 0; i < m->config.blocks; i++) {
        const hyv_vae_up *up = &m->up[i];
        for (int k = 0; k <= m->config.layers_per_block; k++)
            x = plain_resnet(&p, x, &up->resnet[k]);
        if (!up->space)
            continue;
        const hyv_grid small = p.grid;
        p.grid = (hyv_grid){up->time ? 2 * small.t - 1 : small.t, 2 * small.h, 2 * small.w};
        const hyv_mat large = hyv_new(f->be, hyv_grid_rows(p.grid), x.cols);
        hyv_upsample_conv3d(f->be, large, x, &up->upsample, small, up->time);
        x = large;
    }
    x = plain_conv(&p, plain_norm(&p, x, &m->norm_out, true), &m->conv_out);
    float *pixels = downloaded(f->be, x);
    hyv_release(f->be, 0);
    return pixels;
}

/* Widths that grow towards the pixels, other depths and compressions, odd sizes: the result is that
 * of a network in which no two matrices share memory. */
static void check_shapes(void)
{
    static const hyv_vae_config configs[] = {
        {4, {24, 16, 8, 8}, 2, 4, 16, 3, 8, 4, true},
        {2, {8, 4}, 1, 4, 3, 3, 2, 2, true},
        {1, {6}, 3, 3, 5, 3, 1, 1, false},
        {3, {6, 12, 6}, 1, 6, 4, 3, 8, 4, true},
        {2, {4, 8}, 1, 4, 3, 3, 2, 2, false}, /* frames are normalised three at a time, */
        {2, {4, 8}, 1, 4, 3, 3, 2, 2, false}, /* and two */
    };
    static const hyv_grid grids[] = {{1, 3, 1}, {2, 3, 3},   {3, 3, 5},
                                     {4, 3, 7}, {5, 40, 42}, {4, 50, 51}};
    for (int i = 0; i < (int)(sizeof(configs) / sizeof(*configs)); i++) {
        static vae_fixture f;
        const hyv_grid grid = grids[i];
        CHECK(hyv_vae_config_fault(&configs[i]) == NULL);
        CHECK(fixture_backend(&f, "cpu", "auto", 2));
        fixture_formula(&f, &configs[i]);
        float *z = formula_latents("z", grid, configs[i].latent_channels);
        float *pixels = decode(&f, z, grid, NULL), *wanted = plain_decode(&f, z, grid);
        const int64_t n = 3 * hyv_grid_rows(hyv_vae_pictures(&configs[i], grid));
        CHECK_MSG(memcmp(pixels, wanted, (size_t)n * sizeof(float)) == 0, "network %d", i);
        free(pixels);
        free(wanted);
        free(z);
        fixture_close(&f);
    }
}

int main(void)
{
    check_config();
    check_list();
    check_golden();
    check_one_frame();
    check_vectors();
    check_shapes();
    check_dry((hyv_grid){17, 32, 32}, 72.8, 0.33);
    check_dry((hyv_grid){5, 32, 32}, 19.5, 0.03);
    return check_done();
}
