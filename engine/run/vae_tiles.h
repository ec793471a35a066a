/* Decoding a video in tiles: cuts latents, blends decoded tiles, hands frames out as they become
 * final.
 *
 * One algorithm with the parameters of the published code. Tiles overlap in h and w, windows in t;
 * the VAE normalises over what it is given, so another tiling is another picture: to match a
 * reference is to cut as it does. Frames are pulled, and a window is decoded only when a frame of
 * it is wanted; host memory is that of one window whatever the length of the video. Cutting and
 * blending happen on the host in f32. Knows no files, options or pixel formats.
 */
#ifndef HYV_RUN_VAE_TILES_H
#define HYV_RUN_VAE_TILES_H

#include <stddef.h>

#include "../model/vae.h"

/* In pixels and frames of the result, multiples of the compression; a stride is at least half of
 * what it steps over. A video larger than `size` in height or width is cut in both, at every
 * `stride`; one of more than 1 + frames - compression frames is cut into windows of 1 + frames.
 * 0: never cut. */
typedef struct hyv_tiling {
    int64_t size, stride;
    int64_t frames, frame_stride;
} hyv_tiling;

static const hyv_tiling HYV_TILING_OFF = {0, 0, 0, 0};
/* The published code, which turns both on. */
static const hyv_tiling HYV_TILING_OFFICIAL = {256, 192, 64, 48};
/* diffusers after enable_tiling(); without it `size` is 0. */
static const hyv_tiling HYV_TILING_DIFFUSERS = {256, 192, 16, 12};

/* NULL, or what is wrong with it for this VAE. The functions below answer -EINVAL then. */
const char *hyv_tiling_fault(const hyv_tiling *tiling, const hyv_vae_config *config);

/* What decoding will take, from numbers alone. `shape` lists each distinct tile once, the largest
 * first, with how often it occurs. */
enum { HYV_TILE_RUNS_MAX = 3, HYV_TILE_SHAPES_MAX = 27 };

typedef struct hyv_tile_plan {
    int64_t tiles, windows;
    size_t host_bytes; /* of an open hyv_vae_tiles, without the latents it was given */
    int shapes;
    struct {
        hyv_grid grid; /* of latents */
        int64_t count;
    } shape[HYV_TILE_SHAPES_MAX];
} hyv_tile_plan;

/* -EINVAL, or -ENOMEM for a size that no machine has. */
int hyv_vae_tiles_plan(hyv_tile_plan *plan, const hyv_vae_config *config, hyv_grid latents,
                       const hyv_tiling *tiling);

/* One tile on a backend: pixels [rows of hyv_vae_pictures(grid), 3] from z [t*h*w, channels], both
 * on the host. A dry backend follows neither address. The backend's error. */
int hyv_vae_tile_decode(hyv_backend *be, const hyv_vae *vae, const float *z, hyv_grid grid,
                        float *pixels, const hyv_watch *watch);

/* Any member may be NULL. */
typedef struct hyv_tile_hooks {
    void *opaque;
    /* Takes the place of hyv_vae_tile_decode. */
    int (*decode)(void *opaque, const float *z, hyv_grid grid, float *pixels);
    /* After each tile. */
    void (*progress)(void *opaque, int64_t done, int64_t tiles);
    const hyv_watch *watch; /* given to the decoder */
} hyv_tile_hooks;

typedef struct hyv_vae_tiles hyv_vae_tiles;

/* z [t*h*w, channels], latents divided by the scaling factor; z, backend, vae and hooks must
 * outlive the object. be may be NULL with a decode hook, hooks may be NULL. -EINVAL, -ENOMEM. */
int hyv_vae_tiles_open(hyv_vae_tiles **tiles, hyv_backend *be, const hyv_vae *vae, const float *z,
                       hyv_grid latents, const hyv_tiling *tiling, const hyv_tile_hooks *hooks);
void hyv_vae_tiles_close(hyv_vae_tiles **tiles);

/* The next frame: 1 and its pixels [height*width, 3], good until the next call; 0 after the last
 * one; the decoder's error, then and ever after. */
int hyv_vae_tiles_next(hyv_vae_tiles *tiles, const float **frame);

#endif
