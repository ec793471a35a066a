/* Tiled decoding as the published code and diffusers do it (`tiled_decode`, `blend_v`, `blend_h`,
 * `blend_t`), streamed.
 *
 * Each tile is blended with the tile above, then with the tile to its left, both of them blended
 * already; only the strips that overlap are kept. A finished window is blended into the frames that
 * the window before left on the canvas, a ring of frames. Knows no network: a tile is a function.
 */
#include "vae_tiles.h"

#include <errno.h>
#include <string.h>

#include "../base/util.h"

enum { CHANNELS = HYV_VAE_PICTURE_CHANNELS, LATENTS_MAX = 1 << 20 };

/* How one direction is cut, in latents. */
typedef struct axis {
    int64_t extent, tile, stride, count;
} axis;

/* How the video is cut, and where in one piece of memory what lies, in floats. */
typedef struct cutting {
    axis t, h, w;
    hyv_grid pictures;
    int64_t tiles;
    int64_t slots;        /* frames of the first window, the longest */
    int64_t down, right;  /* overlap in pixels */
    size_t latents;       /* of one tile */
    size_t tile;          /* its pixels */
    size_t canvas;        /* a ring of `slots` frames, unless the only tile is the video */
    size_t below, column; /* for each column, the last rows of the tile above; size of one */
    size_t beside;        /* the last columns of the tile to the left */
    size_t end;
} cutting;

/* A part of a stack of pictures, with its steps from frame to frame and row to row in floats. */
typedef struct box {
    float *data;
    int64_t t, h, w;
    int64_t frame, row;
} box;

struct hyv_vae_tiles {
    hyv_backend *be;
    const hyv_vae *vae;
    const hyv_tile_hooks *hooks;
    const float *z;
    cutting cut;
    float *memory;
    int64_t window;       /* the next to decode */
    int64_t final, given; /* frames */
    int64_t done;         /* tiles */
    int err;
};

/* ---- geometry -------------------------------------------------------------------------------- */

static bool valid(int64_t size, int64_t stride, int64_t unit)
{
    return size == 0 || (size > 0 && size <= LATENTS_MAX && size % unit == 0 && stride > 0 &&
                         stride <= size && 2 * stride >= size && stride % unit == 0);
}

const char *hyv_tiling_fault(const hyv_tiling *g, const hyv_vae_config *config)
{
    if (!valid(g->size, g->stride, config->spatial_compression))
        return "a tile's size and stride must be multiples of the VAE's spatial compression, the "
               "stride half of the size to all of it";
    if (!valid(g->frames, g->frame_stride, config->temporal_compression))
        return "a window's frames and stride must be multiples of the VAE's temporal compression, "
               "the stride half of the frames to all of them";
    return NULL;
}

static int64_t min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static axis cut_axis(int64_t extent, int64_t tile, int64_t stride)
{
    return (axis){extent, tile, stride, (extent + stride - 1) / stride};
}

/* Of tile i; the first is the longest. */
static int64_t length(axis a, int64_t i)
{
    return min(a.tile, a.extent - i * a.stride);
}

/* Takes a * b * c * d floats at the end of the memory; false if their bytes do not fit. */
static bool reserve(cutting *cut, size_t *place, int64_t a, int64_t b, int64_t c, int64_t d)
{
    size_t n, bytes;
    *place = cut->end;
    return hyv_mul_size((size_t)a, (size_t)b, &n) && hyv_mul_size(n, (size_t)c, &n) &&
           hyv_mul_size(n, (size_t)d, &n) && hyv_add_size(cut->end, n, &cut->end) &&
           hyv_mul_size(cut->end, sizeof(float), &bytes);
}

static bool reserve_all(cutting *cut, const hyv_vae_config *c)
{
    const hyv_grid tile = {length(cut->t, 0), length(cut->h, 0), length(cut->w, 0)};
    const hyv_grid p = hyv_vae_pictures(c, tile), all = cut->pictures;
    const bool one = cut->tiles == 1, row = cut->w.count == 1, column = cut->h.count == 1;
    cut->slots = p.t;
    if (!reserve(cut, &cut->latents, tile.t, tile.h, tile.w, c->latent_channels) ||
        !reserve(cut, &cut->tile, p.t, p.h, p.w, CHANNELS) ||
        !reserve(cut, &cut->canvas, one ? 0 : p.t, all.h, all.w, CHANNELS) ||
        !reserve(cut, &cut->beside, row ? 0 : p.t, p.h, cut->right, CHANNELS) ||
        !reserve(cut, &cut->below, column ? 0 : p.t, cut->down, p.w * CHANNELS, cut->w.count))
        return false;
    cut->column = (cut->end - cut->below) / (size_t)cut->w.count;
    return true;
}

static int cut_video(cutting *cut, const hyv_vae_config *c, hyv_grid g, const hyv_tiling *tiling)
{
    if (g.t < 1 || g.h < 1 || g.w < 1 || g.t > LATENTS_MAX || g.h > LATENTS_MAX ||
        g.w > LATENTS_MAX || hyv_tiling_fault(tiling, c))
        return -EINVAL;
    const int64_t size = tiling->size / c->spatial_compression;
    const int64_t stride = tiling->stride / c->spatial_compression;
    const int64_t frames = tiling->frames / c->temporal_compression;
    *cut = (cutting){.t = cut_axis(g.t, g.t, g.t),
                     .h = cut_axis(g.h, g.h, g.h),
                     .w = cut_axis(g.w, g.w, g.w),
                     .pictures = hyv_vae_pictures(c, g)};
    if (size && (g.h > size || g.w > size)) {
        cut->h = cut_axis(g.h, size, stride);
        cut->w = cut_axis(g.w, size, stride);
    }
    if (frames && g.t > frames) {
        cut->t = cut_axis(g.t, frames + 1, tiling->frame_stride / c->temporal_compression);
        /* A later window loses its first frame; one that has no other gives nothing. */
        if (cut->t.count > 1 && length(cut->t, cut->t.count - 1) == 1)
            cut->t.count--;
    }
    cut->down = c->spatial_compression * (cut->h.tile - cut->h.stride);
    cut->right = c->spatial_compression * (cut->w.tile - cut->w.stride);
    cut->tiles = cut->t.count * cut->h.count * cut->w.count;
    return reserve_all(cut, c) ? 0 : -ENOMEM;
}

typedef struct run {
    int64_t length, count;
} run;

/* Neighbours of the same length. Strides are half a tile or more, so at most two tiles reach over
 * the end and are cut short. */
static int find_runs(axis a, run runs[HYV_TILE_RUNS_MAX])
{
    int n = 0;
    const int64_t whole = a.extent < a.tile ? 0 : (a.extent - a.tile) / a.stride + 1;
    if (whole)
        runs[n++] = (run){a.tile, min(whole, a.count)};
    for (int64_t i = whole; i < a.count && n < HYV_TILE_RUNS_MAX; i++)
        runs[n++] = (run){length(a, i), 1};
    return n;
}

int hyv_vae_tiles_plan(hyv_tile_plan *plan, const hyv_vae_config *config, hyv_grid latents,
                       const hyv_tiling *tiling)
{
    cutting cut;
    run t[HYV_TILE_RUNS_MAX], h[HYV_TILE_RUNS_MAX], w[HYV_TILE_RUNS_MAX];
    *plan = (hyv_tile_plan){0};
    const int err = cut_video(&cut, config, latents, tiling);
    if (err)
        return err;
    const int nt = find_runs(cut.t, t), nh = find_runs(cut.h, h), nw = find_runs(cut.w, w);
    for (int i = 0; i < nt * nh * nw; i++) {
        const run rt = t[i / (nh * nw)], rh = h[i / nw % nh], rw = w[i % nw];
        plan->shape[i].grid = (hyv_grid){rt.length, rh.length, rw.length};
        plan->shape[i].count = rt.count * rh.count * rw.count;
    }
    plan->shapes = nt * nh * nw;
    plan->tiles = cut.tiles;
    plan->windows = cut.t.count;
    plan->host_bytes = sizeof(hyv_vae_tiles) + cut.end * sizeof(float);
    return 0;
}

/* ---- pictures -------------------------------------------------------------------------------- */

static box new_box(float *data, int64_t t, int64_t h, int64_t w)
{
    return (box){data, t, h, w, h * w * CHANNELS, w * CHANNELS};
}

static box frame_of(box b, int64_t t)
{
    return (box){b.data + t * b.frame, 1, b.h, b.w, b.frame, b.row};
}

static box part_of(box b, int64_t y, int64_t h, int64_t x, int64_t w)
{
    return (box){b.data + y * b.row + x * CHANNELS, b.t, h, w, b.frame, b.row};
}

static void copy(box to, box from)
{
    for (int64_t t = 0; t < from.t; t++)
        for (int64_t y = 0; y < from.h; y++)
            memcpy(to.data + t * to.frame + y * to.row, from.data + t * from.frame + y * from.row,
                   (size_t)(from.w * CHANNELS) * sizeof(float));
}

/* b = a * (1 - x / extent) + b * (x / extent), the weights and each product rounded to f32. */
static void mix(box b, box a, int64_t x, int64_t extent)
{
    const double at = (double)x / (double)extent;
    const float of_a = (float)(1.0 - at), of_b = (float)at;
    for (int64_t t = 0; t < b.t; t++)
        for (int64_t y = 0; y < b.h; y++) {
            float *pb = b.data + t * b.frame + y * b.row;
            const float *pa = a.data + t * a.frame + y * a.row;
            for (int64_t i = 0; i < b.w * CHANNELS; i++)
                pb[i] = pa[i] * of_a + pb[i] * of_b;
        }
}

/* Blends the first rows of b with the strip that the tile above left. */
static void mix_down(box b, box strip)
{
    const int64_t extent = min(strip.h, b.h), skip = strip.h - extent;
    for (int64_t y = 0; y < extent; y++)
        mix(part_of(b, y, 1, 0, b.w), part_of(strip, skip + y, 1, 0, b.w), y, extent);
}

static void mix_right(box b, box strip)
{
    const int64_t extent = min(strip.w, b.w), skip = strip.w - extent;
    for (int64_t x = 0; x < extent; x++)
        mix(part_of(b, 0, b.h, x, 1), part_of(strip, 0, b.h, skip + x, 1), x, extent);
}

/* ---- decoding -------------------------------------------------------------------------------- */

int hyv_vae_tile_decode(hyv_backend *be, const hyv_vae *vae, const float *z, hyv_grid grid,
                        float *pixels, const hyv_watch *watch)
{
    const size_t mark = hyv_mark(be);
    const hyv_grid pictures = hyv_vae_pictures(&vae->config, grid);
    const hyv_mat in = hyv_new(be, hyv_grid_rows(grid), vae->config.latent_channels);
    const hyv_mat out = hyv_new(be, hyv_grid_rows(pictures), CHANNELS);
    hyv_upload(be, in, z);
    hyv_vae_decode(be, vae, in, grid, out, watch);
    hyv_download(be, pixels, out);
    hyv_release(be, mark);
    return hyv_backend_error(be);
}

static int decode_tile(hyv_vae_tiles *t, hyv_grid at, hyv_grid grid)
{
    const int64_t channels = t->vae->config.latent_channels;
    const size_t row = (size_t)(grid.w * channels);
    float *z = t->memory + t->cut.latents, *pixels = t->memory + t->cut.tile;
    for (int64_t i = 0; i < grid.t * grid.h; i++) {
        const int64_t f = at.t + i / grid.h, y = at.h + i % grid.h;
        const int64_t from = (f * t->cut.h.extent + y) * t->cut.w.extent + at.w;
        memcpy(z + (size_t)i * row, t->z + from * channels, row * sizeof(float));
    }
    const hyv_tile_hooks *hooks = t->hooks;
    if (hooks && hooks->decode)
        return hooks->decode(hooks->opaque, z, grid, pixels);
    return hyv_vae_tile_decode(t->be, t->vae, z, grid, pixels, hooks ? hooks->watch : NULL);
}

/* Blends the part of a window's tile that is final in space into the canvas, at y, x. Frames that
 * two windows share lie in the same place of the ring. */
static void paste(hyv_vae_tiles *t, box b, int64_t y, int64_t x)
{
    const cutting *cut = &t->cut;
    const int64_t unit = t->vae->config.temporal_compression;
    const int64_t first = unit * cut->t.stride * t->window;
    const int64_t skip = t->window > 0; /* a later window's first frame has no past: dropped */
    const int64_t extent = min(unit * (cut->t.tile - 1 - cut->t.stride), b.t - skip);
    const box canvas =
        part_of(new_box(t->memory + cut->canvas, cut->slots, cut->pictures.h, cut->pictures.w), y,
                b.h, x, b.w);
    for (int64_t i = skip; i < b.t; i++) {
        const box to = frame_of(canvas, (first + i) % cut->slots), from = frame_of(b, i);
        if (skip && i - skip < extent)
            mix(from, to, i - skip, extent);
        copy(to, from);
    }
}

/* Decodes, blends and keeps the tile in row r, column c of the current window. */
static int add_tile(hyv_vae_tiles *t, int64_t r, int64_t c)
{
    const cutting *cut = &t->cut;
    const int64_t unit = t->vae->config.spatial_compression;
    const hyv_grid at = {t->window * cut->t.stride, r * cut->h.stride, c * cut->w.stride};
    const hyv_grid grid = {length(cut->t, t->window), length(cut->h, r), length(cut->w, c)};
    const int err = decode_tile(t, at, grid);
    if (err || cut->tiles == 1)
        return err;
    const hyv_grid p = hyv_vae_pictures(&t->vae->config, grid);
    const box b = new_box(t->memory + cut->tile, p.t, p.h, p.w);
    const box below =
        new_box(t->memory + cut->below + (size_t)c * cut->column, p.t, cut->down, p.w);
    const box beside = new_box(t->memory + cut->beside, p.t, p.h, cut->right);
    if (r > 0)
        mix_down(b, below);
    if (c > 0)
        mix_right(b, beside);
    if (r + 1 < cut->h.count)
        copy(below, part_of(b, p.h - cut->down, cut->down, 0, p.w));
    if (c + 1 < cut->w.count)
        copy(beside, part_of(b, 0, p.h, p.w - cut->right, cut->right));
    const int64_t rows = unit * min(grid.h, cut->h.stride);
    const int64_t columns = unit * min(grid.w, cut->w.stride);
    paste(t, part_of(b, 0, rows, 0, columns), unit * at.h, unit * at.w);
    return 0;
}

static int decode_window(hyv_vae_tiles *t)
{
    const cutting *cut = &t->cut;
    for (int64_t i = 0; i < cut->h.count * cut->w.count; i++) {
        const int err = add_tile(t, i / cut->w.count, i % cut->w.count);
        if (err)
            return err;
        t->done++;
        if (t->hooks && t->hooks->progress)
            t->hooks->progress(t->hooks->opaque, t->done, cut->tiles);
    }
    t->window++;
    /* Final are all frames of the last window; of others, those that the next does not touch. */
    t->final = t->window == cut->t.count
                   ? cut->pictures.t
                   : t->vae->config.temporal_compression * cut->t.stride * t->window + 1;
    return 0;
}

/* ---- the object ------------------------------------------------------------------------------ */

int hyv_vae_tiles_open(hyv_vae_tiles **tiles, hyv_backend *be, const hyv_vae *vae, const float *z,
                       hyv_grid latents, const hyv_tiling *tiling, const hyv_tile_hooks *hooks)
{
    cutting cut;
    *tiles = NULL;
    const int err = cut_video(&cut, &vae->config, latents, tiling);
    if (err)
        return err;
    hyv_vae_tiles *t = hyv_malloc(1, sizeof(*t));
    float *memory = hyv_malloc(cut.end, sizeof(*memory));
    if (!t || !memory) {
        hyv_free_host(t);
        hyv_free_host(memory);
        return -ENOMEM;
    }
    *t =
        (hyv_vae_tiles){.be = be, .vae = vae, .hooks = hooks, .z = z, .cut = cut, .memory = memory};
    *tiles = t;
    return 0;
}

void hyv_vae_tiles_close(hyv_vae_tiles **tiles)
{
    if (!*tiles)
        return;
    hyv_free_host((*tiles)->memory);
    hyv_free_host(*tiles);
    *tiles = NULL;
}

int hyv_vae_tiles_next(hyv_vae_tiles *t, const float **frame)
{
    const cutting *cut = &t->cut;
    *frame = NULL;
    if (!t->err && t->given == t->final && t->given < cut->pictures.t)
        t->err = decode_window(t);
    if (t->err)
        return t->err;
    if (t->given == cut->pictures.t)
        return 0;
    const size_t size = (size_t)(cut->pictures.h * cut->pictures.w * CHANNELS);
    *frame = t->memory + (cut->tiles == 1 ? cut->tile : cut->canvas) +
             (size_t)(t->given % cut->slots) * size;
    t->given++;
    return 1;
}
