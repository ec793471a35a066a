/* Tiled decoding: the published tile grids, the published blend values with a decoder that returns
 * the number of its call, the reference's tiled results, streaming against the same algorithm with
 * everything in memory, when frames leave, what memory is taken, and how it fails.
 */
#include <errno.h>

#include "../../engine/run/vae_tiles.h"
#include "../model/vae_fixture.h"

/* ---- cutting --------------------------------------------------------------------------------- */

static void check_faults(void)
{
    static const hyv_tiling good[] = {{0, 0, 0, 0},  {256, 192, 64, 48}, {256, 192, 16, 12},
                                      {16, 8, 8, 4}, {24, 16, 0, 0},     {0, 0, 8, 8},
                                      {32, 32, 4, 4}};
    static const hyv_tiling bad[] = {{-8, 8, 0, 0},          {256, 0, 0, 0},
                                     {256, 120, 0, 0},       {256, 264, 0, 0},
                                     {250, 192, 0, 0},       {256, 190, 0, 0},
                                     {0, 0, 64, 0},          {0, 0, 64, 68},
                                     {0, 0, 64, 28},         {0, 0, 66, 48},
                                     {0, 0, 64, 50},         {0, 0, -4, -4},
                                     {256, INT64_MIN, 0, 0}, {INT64_MAX - 7, INT64_MAX - 7, 0, 0}};
    const hyv_grid grid = {9, 20, 20};
    hyv_tile_plan plan;
    for (int i = 0; i < (int)(sizeof(good) / sizeof(*good)); i++)
        CHECK_MSG(!hyv_tiling_fault(&good[i], &RELEASED), "tiling %d is refused", i);
    for (int i = 0; i < (int)(sizeof(bad) / sizeof(*bad)); i++) {
        CHECK_MSG(hyv_tiling_fault(&bad[i], &RELEASED), "bad tiling %d is accepted", i);
        CHECK(hyv_vae_tiles_plan(&plan, &RELEASED, grid, &bad[i]) == -EINVAL);
    }
    static const hyv_grid empty[] = {{0, 1, 1}, {1, 0, 1}, {1, 1, -1}, {INT64_MAX, 1, 1}};
    for (int i = 0; i < (int)(sizeof(empty) / sizeof(*empty)); i++)
        CHECK(hyv_vae_tiles_plan(&plan, &RELEASED, empty[i], &HYV_TILING_OFF) == -EINVAL);
    const hyv_grid huge = {1 << 20, 1 << 20, 1 << 20};
    CHECK(hyv_vae_tiles_plan(&plan, &RELEASED, huge, &HYV_TILING_OFF) == -ENOMEM);
    static hyv_vae vae;
    hyv_vae_tiles *tiles = NULL;
    vae.config = RELEASED;
    CHECK(hyv_vae_tiles_open(&tiles, NULL, &vae, NULL, grid, &bad[0], NULL) == -EINVAL && !tiles);
    CHECK(hyv_vae_tiles_open(&tiles, NULL, &vae, NULL, huge, &good[0], NULL) == -ENOMEM && !tiles);
    hyv_vae_tiles_close(&tiles);
}

static void check_plan(hyv_grid grid, const hyv_tiling *tiling, int64_t windows, int64_t tiles,
                       int shapes)
{
    hyv_tile_plan plan;
    CHECK(hyv_vae_tiles_plan(&plan, &RELEASED, grid, tiling) == 0);
    CHECK_MSG(plan.windows == windows && plan.tiles == tiles && plan.shapes == shapes,
              "%lld windows, %lld tiles, %d shapes; expected %lld, %lld, %d",
              (long long)plan.windows, (long long)plan.tiles, plan.shapes, (long long)windows,
              (long long)tiles, shapes);
}

/* The published grids of tiles. */
static void check_plans(void)
{
    static const hyv_grid p720 = {33, 90, 160}, p544 = {33, 68, 120}, small = {5, 32, 32};
    check_plan(p720, &HYV_TILING_OFFICIAL, 3, 84, 2 * 2 * 2);
    check_plan(p544, &HYV_TILING_OFFICIAL, 3, 45, 2 * 2 * 2);
    check_plan(small, &HYV_TILING_OFFICIAL, 1, 1, 1);
    check_plan((hyv_grid){16, 32, 32}, &HYV_TILING_OFFICIAL, 1, 1, 1);
    check_plan((hyv_grid){17, 32, 32}, &HYV_TILING_OFFICIAL, 2, 2, 2);
    check_plan((hyv_grid){13, 32, 33}, &HYV_TILING_OFFICIAL, 1, 4, 4);
    check_plan(p720, &HYV_TILING_DIFFUSERS, 11, 308, 2 * 2 * 2);
    check_plan(p544, &HYV_TILING_DIFFUSERS, 11, 165, 2 * 2 * 2);
    check_plan(small, &HYV_TILING_DIFFUSERS, 2, 2, 2);
    check_plan(p720, &HYV_TILING_OFF, 1, 1, 1);
    /* Length costs no memory once it takes more than one window. */
    hyv_tile_plan one, two, hour;
    CHECK(!hyv_vae_tiles_plan(&one, &RELEASED, (hyv_grid){16, 90, 160}, &HYV_TILING_OFFICIAL));
    CHECK(!hyv_vae_tiles_plan(&two, &RELEASED, (hyv_grid){17, 90, 160}, &HYV_TILING_OFFICIAL));
    CHECK(!hyv_vae_tiles_plan(&hour, &RELEASED, (hyv_grid){21601, 90, 160}, &HYV_TILING_OFFICIAL));
    CHECK(one.host_bytes < two.host_bytes && two.host_bytes == hour.host_bytes);
    /* 65 frames of canvas, a tile, its latents, a strip a column and one at the side */
    const size_t floats = 3 * 65 * ((size_t)720 * 1280 + 256 * 256 + 7 * 64 * 256 + 64 * 256) +
                          (size_t)17 * 32 * 32 * 16;
    CHECK(hour.host_bytes >= 4 * floats && hour.host_bytes <= 4 * floats + 1024);
}

/* ---- decoders that are not a VAE ------------------------------------------------------------- */

typedef struct oracle {
    const hyv_vae_config *config;
    int64_t calls, fail_at;
    hyv_tile_plan plan; /* counts go down with every call */
    int64_t progress, tiles;
    bool varied;
} oracle;

static float noise_of(const float *z, int64_t call, int64_t i)
{
    uint32_t x = (uint32_t)call * 0x85ebca6bu + (uint32_t)i * 0x9e3779b1u + (uint32_t)z[0];
    x ^= x >> 15;
    x *= 0x846ca68bu;
    x ^= x >> 16;
    return (float)x / 4294967296.0f - 0.5f;
}

/* Fills the tile with the number of the call, or with noise that depends on call and place. */
static int oracle_decode(void *opaque, const float *z, hyv_grid grid, float *pixels)
{
    oracle *o = opaque;
    o->calls++;
    if (o->calls == o->fail_at)
        return -EIO;
    for (int i = 0; i < o->plan.shapes; i++)
        if (memcmp(&o->plan.shape[i].grid, &grid, sizeof(grid)) == 0)
            o->plan.shape[i].count--;
    const int64_t n = 3 * hyv_grid_rows(hyv_vae_pictures(o->config, grid));
    for (int64_t i = 0; i < n; i++)
        pixels[i] = o->varied ? noise_of(z, o->calls, i) : (float)o->calls;
    return 0;
}

static void oracle_progress(void *opaque, int64_t done, int64_t tiles)
{
    oracle *o = opaque;
    CHECK(done == o->progress + 1 && done <= tiles);
    o->progress = done;
    o->tiles = tiles;
}

/* The published values: (t, y, x), value. */
static void check_oracle(void)
{
    static const struct {
        int t, y, x;
        double value;
    } points[] = {{0, 0, 0, 1},           {0, 0, 191, 1},          {0, 0, 192, 1},
                  {0, 0, 208, 1.25},      {0, 0, 255, 1.984375},   {0, 0, 256, 2},
                  {0, 192, 0, 1},         {0, 200, 200, 1.904297}, {0, 719, 1279, 28},
                  {48, 0, 0, 1},          {49, 0, 0, 1},           {50, 0, 0, 2.75},
                  {56, 0, 0, 13.25},      {64, 0, 0, 27.25},       {65, 0, 0, 29},
                  {97, 0, 0, 29},         {98, 0, 0, 30.75},       {100, 223, 415, 38.996220},
                  {104, 300, 700, 51.25}, {112, 719, 1279, 82.25}, {113, 719, 1279, 84},
                  {128, 719, 1279, 84}};
    static hyv_vae vae;
    const hyv_grid grid = {33, 90, 160};
    static oracle o;
    o = (oracle){.config = &RELEASED};
    const hyv_tile_hooks hooks = {&o, oracle_decode, oracle_progress, NULL};
    float *z = calloc((size_t)hyv_grid_rows(grid) * 16, sizeof(*z));
    const float *frame = NULL;
    hyv_vae_tiles *tiles = NULL;
    vae.config = RELEASED;
    int t = 0, seen = 0;
    CHECK(hyv_vae_tiles_open(&tiles, NULL, &vae, z, grid, &HYV_TILING_OFFICIAL, &hooks) == 0);
    for (; tiles && hyv_vae_tiles_next(tiles, &frame) == 1; t++) {
        /* Frames leave as soon as they are final. */
        CHECK_MSG(o.calls == (t < 49   ? 28
                              : t < 97 ? 56
                                       : 84),
                  "frame %d after %lld tiles", t, (long long)o.calls);
        for (int i = 0; i < (int)(sizeof(points) / sizeof(*points)); i++)
            if (points[i].t == t) {
                const float *p = frame + 3 * (points[i].y * 1280 + points[i].x);
                CHECK_MSG(fabs((double)p[0] - points[i].value) <= 5e-6 && p[0] == p[1] &&
                              p[1] == p[2],
                          "frame %d, y %d, x %d: %.7g, not %.7g", t, points[i].y, points[i].x,
                          (double)p[0], points[i].value);
                seen++;
            }
    }
    CHECK(t == 129 && seen == (int)(sizeof(points) / sizeof(*points)));
    CHECK(o.progress == 84 && o.tiles == 84 && frame == NULL);
    CHECK(tiles && hyv_vae_tiles_next(tiles, &frame) == 0 && o.calls == 84);
    hyv_vae_tiles_close(&tiles);
    free(z);
}

/* ---- the algorithm with everything in memory ------------------------------------------------- */

/* A stack of pictures [t, h, w, 3]. */
typedef struct film {
    float *data;
    int64_t size[3]; /* t, h, w */
} film;

static film film_new(int64_t t, int64_t h, int64_t w)
{
    return (film){calloc((size_t)(t * h * w * 3) + 1, sizeof(float)), {t, h, w}};
}

static float *film_at(const film *f, const int64_t at[3])
{
    return f->data + 3 * ((at[0] * f->size[1] + at[1]) * f->size[2] + at[2]);
}

/* b[x] = a[len(a) - E + x] (1 - x / E) + b[x] x / E along `axis`, for x < E. */
static void film_blend(const film *a, film *b, int axis, int64_t extent)
{
    if (a->size[axis] < extent)
        extent = a->size[axis];
    if (b->size[axis] < extent)
        extent = b->size[axis];
    for (int64_t i = 0; i < b->size[0] * b->size[1] * b->size[2]; i++) {
        const int64_t at[3] = {i / b->size[2] / b->size[1], i / b->size[2] % b->size[1],
                               i % b->size[2]};
        int64_t from[3] = {at[0], at[1], at[2]};
        if (at[axis] >= extent)
            continue;
        from[axis] = a->size[axis] - extent + at[axis];
        const double x = (double)at[axis] / (double)extent;
        for (int c = 0; c < 3; c++)
            film_at(b, at)[c] =
                film_at(a, from)[c] * (float)(1.0 - x) + film_at(b, at)[c] * (float)x;
    }
}

/* Copies the part of `from` that begins at `skip` and is at most `size` large to `place`. */
static void film_paste(film *to, const int64_t place[3], const film *from, const int64_t skip[3],
                       const int64_t size[3])
{
    int64_t n[3];
    for (int k = 0; k < 3; k++)
        n[k] = from->size[k] - skip[k] < size[k] ? from->size[k] - skip[k] : size[k];
    for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
        const int64_t at[3] = {i / n[2] / n[1], i / n[2] % n[1], i % n[2]};
        const int64_t source[3] = {at[0] + skip[0], at[1] + skip[1], at[2] + skip[2]};
        const int64_t target[3] = {at[0] + place[0], at[1] + place[1], at[2] + place[2]};
        memcpy(film_at(to, target), film_at(from, source), 3 * sizeof(float));
    }
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Decodes all tiles of frames [t, t + n), then blends and joins them in raster order. */
static film whole_window(oracle *o, const float *z, hyv_grid all, int64_t t, int64_t n,
                         const hyv_tiling *tiling)
{
    const int64_t unit = o->config->spatial_compression, channels = o->config->latent_channels;
    const bool cut = tiling->size && (unit * all.h > tiling->size || unit * all.w > tiling->size);
    const int64_t size = cut ? tiling->size / unit : all.h + all.w;
    const int64_t stride = cut ? tiling->stride / unit : size;
    const int64_t rows = (all.h + stride - 1) / stride, columns = (all.w + stride - 1) / stride;
    film *tile = calloc((size_t)(rows * columns), sizeof(*tile));
    const hyv_grid p = hyv_vae_pictures(o->config, (hyv_grid){n, all.h, all.w});
    film out = film_new(p.t, p.h, p.w);
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t y = i / columns * stride, x = i % columns * stride;
        const hyv_grid g = {n, smaller(size, all.h - y), smaller(size, all.w - x)};
        const hyv_grid q = hyv_vae_pictures(o->config, g);
        tile[i] = film_new(q.t, q.h, q.w);
        oracle_decode(o, z + ((t * all.h + y) * all.w + x) * channels, g, tile[i].data);
    }
    for (int64_t i = 0; i < rows * columns; i++) {
        const int64_t r = i / columns, c = i % columns;
        if (r > 0)
            film_blend(&tile[i - columns], &tile[i], 1, unit * (size - stride));
        if (c > 0)
            film_blend(&tile[i - 1], &tile[i], 2, unit * (size - stride));
        film_paste(&out, (int64_t[]){0, r * unit * stride, c * unit * stride}, &tile[i],
                   (int64_t[]){0, 0, 0}, (int64_t[]){p.t, unit * stride, unit * stride});
    }
    for (int64_t i = 0; i < rows * columns; i++)
        free(tile[i].data);
    free(tile);
    return out;
}

static film whole_video(oracle *o, const float *z, hyv_grid all, const hyv_tiling *tiling)
{
    const int64_t unit = o->config->temporal_compression;
    const int64_t threshold = tiling->frames / unit, stride = tiling->frame_stride / unit;
    const hyv_grid p = hyv_vae_pictures(o->config, all);
    if (!threshold || all.t <= threshold)
        return whole_window(o, z, all, 0, all.t, tiling);
    film out = film_new(p.t, p.h, p.w), before = {0};
    for (int64_t s = 0; s < all.t; s += stride) {
        const int64_t n = smaller(threshold + 1, all.t - s), skip = s > 0;
        if (skip && n == 1)
            break;
        film window = whole_window(o, z, all, s, n, tiling);
        film now = film_new(window.size[0] - skip, p.h, p.w);
        film_paste(&now, (int64_t[]){0, 0, 0}, &window, (int64_t[]){skip, 0, 0}, window.size);
        if (skip)
            film_blend(&before, &now, 0, tiling->frames - tiling->frame_stride);
        film_paste(&out, (int64_t[]){skip ? unit * s + 1 : 0, 0, 0}, &now, (int64_t[]){0, 0, 0},
                   (int64_t[]){unit * stride + !skip, p.h, p.w});
        free(window.data);
        free(before.data);
        before = now;
    }
    free(before.data);
    return out;
}

/* One geometry: the same bytes as all at once, every tile of the plan decoded exactly once. */
static void check_stream(const hyv_vae_config *config, hyv_grid grid, const hyv_tiling *tiling)
{
    static hyv_vae vae;
    static oracle o, reference;
    o = (oracle){.config = config, .varied = true};
    reference = o;
    vae.config = *config;
    CHECK(hyv_vae_tiles_plan(&o.plan, config, grid, tiling) == 0);
    float *z = calloc((size_t)(hyv_grid_rows(grid) * config->latent_channels), sizeof(*z));
    for (int64_t i = 0; i < hyv_grid_rows(grid); i++)
        z[i * config->latent_channels] = (float)i;
    film wanted = whole_video(&reference, z, grid, tiling);
    const hyv_tile_hooks hooks = {&o, oracle_decode, NULL, NULL};
    hyv_vae_tiles *tiles = NULL;
    CHECK(hyv_vae_tiles_open(&tiles, NULL, &vae, z, grid, tiling, &hooks) == 0);
    const float *frame;
    const size_t size = (size_t)(3 * wanted.size[1] * wanted.size[2]);
    int64_t t = 0, wrong = 0;
    for (; tiles && t <= wanted.size[0] && hyv_vae_tiles_next(tiles, &frame) == 1; t++)
        wrong += t >= wanted.size[0] ||
                 memcmp(frame, wanted.data + (size_t)t * size, size * sizeof(float)) != 0;
    CHECK_MSG(t == wanted.size[0] && wrong == 0,
              "latents %lldx%lldx%lld, tiling %lld/%lld, %lld/%lld: %lld of %lld frames differ",
              (long long)grid.t, (long long)grid.h, (long long)grid.w, (long long)tiling->size,
              (long long)tiling->stride, (long long)tiling->frames, (long long)tiling->frame_stride,
              (long long)wrong, (long long)wanted.size[0]);
    for (int i = 0; i < o.plan.shapes; i++)
        CHECK_MSG(o.plan.shape[i].count == 0, "shape %d is off by %lld tiles", i,
                  (long long)o.plan.shape[i].count);
    CHECK(o.calls == o.plan.tiles && o.calls == reference.calls);
    hyv_vae_tiles_close(&tiles);
    free(wanted.data);
    free(z);
}

static void check_streams(void)
{
    static const hyv_vae_config half = {.blocks = 2,
                                        .block_out_channels = {4, 4},
                                        .layers_per_block = 1,
                                        .norm_num_groups = 1,
                                        .latent_channels = 2,
                                        .out_channels = 3,
                                        .spatial_compression = 2,
                                        .temporal_compression = 2};
    check_random random = {77};
    CHECK(hyv_vae_config_fault(&half) == NULL);
    for (int i = 0; i < 200; i++) {
        const hyv_vae_config *c = i % 10 ? &half : &RELEASED;
        const int64_t su = c->spatial_compression, tu = c->temporal_compression;
        const int64_t size = check_random_int(&random, i % 3 ? 1 : 0, 6);
        const int64_t frames = check_random_int(&random, i % 4 ? 1 : 0, 5);
        const hyv_tiling tiling = {su * size, su * check_random_int(&random, (size + 1) / 2, size),
                                   tu * frames,
                                   tu * check_random_int(&random, (frames + 1) / 2, frames)};
        const hyv_grid grid = {check_random_int(&random, 1, 14), check_random_int(&random, 1, 9),
                               check_random_int(&random, 1, 9)};
        if (CHECK(hyv_tiling_fault(&tiling, c) == NULL))
            check_stream(c, grid, &tiling);
    }
}

/* ---- the tiny VAE ---------------------------------------------------------------------------- */

static int64_t tiles_member(const hyv_json *doc, const char *name, const char *key, int index)
{
    int64_t values[3] = {0};
    int count = 3;
    hyv_json_ints(doc, json_object_get(doc->root, name), key, 0, 4096, values, &count);
    return values[index];
}

/* The whole result as [frames * rows, 3], freed with free(); NULL after an error. */
static float *stream(vae_fixture *f, const float *z, hyv_grid grid, const hyv_tiling *tiling)
{
    const hyv_grid p = hyv_vae_pictures(&f->vae.config, grid);
    const size_t size = (size_t)(3 * p.h * p.w);
    float *all = calloc((size_t)p.t * size, sizeof(*all));
    const float *frame;
    hyv_vae_tiles *tiles = NULL;
    CHECK(hyv_vae_tiles_open(&tiles, f->be, &f->vae, z, grid, tiling, NULL) == 0);
    for (int64_t t = 0; t < p.t; t++)
        if (CHECK(hyv_vae_tiles_next(tiles, &frame) == 1))
            memcpy(all + (size_t)t * size, frame, size * sizeof(*all));
    CHECK(hyv_vae_tiles_next(tiles, &frame) == 0);
    hyv_vae_tiles_close(&tiles);
    return all;
}

/* `first_run` 1 leaves plain C out, which is slow. */
static void check_golden(const char *name, int first_run)
{
    static const struct {
        const char *isa;
        int threads;
    } runs[] = {{"c", 1}, {"auto", 2}, {"avx2", 7}};
    hyv_string path = {0};
    hyv_string_append(&path, "tests/golden/vae/%s.safetensors", name);
    hyv_log log = {0};
    hyv_json doc;
    hyv_checkpoint *golden = NULL;
    hyv_grid grid = {0};
    CHECK(hyv_checkpoint_open(&golden, hyv_string_text(&path), &log) == 0);
    CHECK(hyv_json_load(&doc, "tests/golden/vae/tiles.json", 1 << 16, &log) == 0);
    const hyv_tiling tiling = {
        tiles_member(&doc, name, "size", 0), tiles_member(&doc, name, "size", 1),
        tiles_member(&doc, name, "frames", 0), tiles_member(&doc, name, "frames", 1)};
    float *z = fixture_rows(golden, "z", &grid), *wanted = fixture_rows(golden, "decoded", NULL);
    const int64_t n = 3 * hyv_grid_rows(hyv_vae_pictures(&RELEASED, grid));
    float *first = NULL;
    for (int i = first_run; i < (int)(sizeof(runs) / sizeof(*runs)); i++) {
        static vae_fixture f;
        if (!fixture_golden(&f, runs[i].isa, runs[i].threads)) {
            check_skip(runs[i].isa);
            fixture_close(&f);
            continue;
        }
        float *got = stream(&f, z, grid, &tiling);
        const double d = largest_difference(got, wanted, n);
        CHECK_MSG(d <= 1e-4, "%s differs by %g", name, d);
        if (first)
            CHECK_MSG(memcmp(first, got, (size_t)n * sizeof(float)) == 0, "%s: isa %s", name,
                      runs[i].isa);
        free(first);
        first = got;
        fixture_close(&f);
    }
    free(first);
    free(z);
    free(wanted);
    hyv_json_close(&doc);
    hyv_checkpoint_close(&golden);
    hyv_string_free(&path);
}

/* Decodes the first two tiles, which is all that the values below come from. */
static int two_tiles(void *opaque, const float *z, hyv_grid grid, float *pixels)
{
    vae_fixture *f = opaque;
    const int64_t n = 3 * hyv_grid_rows(hyv_vae_pictures(&REDUCED, grid));
    if (f->calls++ < 2)
        return hyv_vae_tile_decode(f->be, &f->vae, z, grid, pixels, NULL);
    memset(pixels, 0, (size_t)n * sizeof(float));
    return 0;
}

/* Published values of the reduced network, cut in space and time, in the first window; the object
 * is closed half-way. */
static void check_vectors(void)
{
    static const struct {
        int c, t, y, x;
        double value;
    } points[] = {{0, 0, 0, 0, 1.3002060}, {1, 12, 23, 31, 0.2534322}, {2, 12, 8, 3, 0.5128764}};
    static vae_fixture f;
    const hyv_tiling tiling = {32, 24, 16, 12};
    const hyv_grid grid = {9, 10, 7};
    const float *frame;
    hyv_vae_tiles *tiles = NULL;
    int seen = 0;
    CHECK(fixture_backend(&f, "cpu", "auto", 2));
    fixture_formula(&f, &REDUCED);
    float *z = formula_latents("golden.zt", grid, 16);
    const hyv_tile_hooks hooks = {&f, two_tiles, NULL, NULL};
    CHECK(hyv_vae_tiles_open(&tiles, f.be, &f.vae, z, grid, &tiling, &hooks) == 0);
    for (int t = 0; t < 13 && CHECK(hyv_vae_tiles_next(tiles, &frame) == 1); t++)
        for (int i = 0; i < (int)(sizeof(points) / sizeof(*points)); i++)
            if (points[i].t == t) {
                const float got = frame[3 * (points[i].y * 56 + points[i].x) + points[i].c];
                CHECK_MSG(fabs((double)got - points[i].value) <= 1e-4, "point %d: %.7f, not %.7f",
                          i, (double)got, points[i].value);
                seen++;
            }
    CHECK(seen == (int)(sizeof(points) / sizeof(*points)));
    hyv_vae_tiles_close(&tiles);
    free(z);
    fixture_close(&f);
}

/* ---- failure --------------------------------------------------------------------------------- */

/* A decoder that fails in the second window: the first window's frames leave, then the error. */
static void check_failure(void)
{
    static hyv_vae vae;
    static oracle o;
    const hyv_grid grid = {9, 3, 3};
    const hyv_tiling tiling = {16, 16, 16, 12};
    static float z[9 * 3 * 3 * 16];
    const float *frame;
    hyv_vae_tiles *tiles = NULL;
    o = (oracle){.config = &RELEASED, .fail_at = 6};
    const hyv_tile_hooks hooks = {&o, oracle_decode, NULL, NULL};
    vae.config = RELEASED;
    CHECK(hyv_vae_tiles_open(&tiles, NULL, &vae, z, grid, &tiling, &hooks) == 0);
    int frames = 0;
    while (hyv_vae_tiles_next(tiles, &frame) == 1)
        frames++;
    CHECK(frames == 13 && o.calls == 6);
    CHECK(hyv_vae_tiles_next(tiles, &frame) == -EIO && !frame && o.calls == 6);
    hyv_vae_tiles_close(&tiles);
    CHECK(tiles == NULL);
    hyv_vae_tiles_close(&tiles);
}

static void stop_backend(void *opaque, int64_t done, int64_t tiles)
{
    hyv_backend *be = opaque;
    (void)tiles;
    if (done == 1)
        hyv_backend_stop(be);
}

static void check_cancel(void)
{
    static vae_fixture f;
    const hyv_grid grid = {5, 2, 2};
    const hyv_tiling tiling = {0, 0, 8, 4};
    const float *frame;
    hyv_vae_tiles *tiles = NULL;
    if (!CHECK(fixture_golden(&f, "auto", 1)))
        return;
    float *z = formula_latents("z", grid, f.vae.config.latent_channels);
    const hyv_tile_hooks hooks = {f.be, NULL, stop_backend, NULL};
    CHECK(hyv_vae_tiles_open(&tiles, f.be, &f.vae, z, grid, &tiling, &hooks) == 0);
    for (int i = 0; i < 5; i++)
        CHECK(hyv_vae_tiles_next(tiles, &frame) == 1);
    CHECK(hyv_vae_tiles_next(tiles, &frame) == -ECANCELED);
    CHECK(hyv_vae_tiles_next(tiles, &frame) == -ECANCELED);
    hyv_vae_tiles_close(&tiles);
    free(z);
    fixture_close(&f);
}

int main(void)
{
    check_faults();
    check_plans();
    check_oracle();
    check_streams();
    check_golden("decode_temporal", 0);
    check_golden("decode_spatial", 1);
    check_golden("decode_both", 1);
    check_vectors();
    check_failure();
    check_cancel();
    return check_done();
}
