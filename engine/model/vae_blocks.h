/* The parts of which both halves of the VAE are built; for vae*.c alone.
 *
 * A half is one matrix x [voxels, channels] that goes from block to block and always lies at the
 * start of the same storage; each block leaves its result there, and what it needs beside x is
 * given back when it returns. Modules' names begin with "encoder" or "decoder", `part` below.
 */
#ifndef HYV_MODEL_VAE_BLOCKS_H
#define HYV_MODEL_VAE_BLOCKS_H

#include "vae.h"

#define HYV_VAE_EPS 1e-6f

static const hyv_grid HYV_VAE_KERNEL = {3, 3, 3};

typedef struct hyv_vae_forward {
    hyv_backend *be;
    const hyv_vae_config *config;
    const hyv_watch *watch;
    const char *part;
    hyv_mat store; /* large enough for x at every place of the network */
    hyv_mat x;     /* [voxels of grid, channels], dense, at the start of the store */
    hyv_grid grid;
} hyv_vae_forward;

/* The start of `store` as a dense matrix of another shape. */
static inline hyv_mat hyv_vae_reshape(hyv_mat store, int64_t rows, int64_t cols)
{
    return (hyv_mat){store.data, rows, cols, cols, store.type};
}

/* The grid that a causal convolution with this stride makes of `g`. */
static inline hyv_grid hyv_vae_reduced(hyv_grid g, hyv_grid stride)
{
    return (hyv_grid){(g.t - 1) / stride.t + 1, (g.h - 1) / stride.h + 1, (g.w - 1) / stride.w + 1};
}

/* By what block i of the decoder enlarges the grid, and block i of the encoder reduces it: the same
 * in both, though they run through it in opposite directions. The picture is doubled while
 * doublings are left; those in time come as late as they can, but never in the last block. */
hyv_grid hyv_vae_factor(const hyv_vae_config *config, int i);

/* `module` is without the index and what follows it, `part` without what follows it. */
void hyv_vae_bind_conv(hyv_weight *out, int64_t rows, int64_t channels, const hyv_binder *b,
                       const char *module);
void hyv_vae_bind_resnet(hyv_vae_resnet *r, int64_t in, int64_t out, const hyv_binder *b,
                         const char *module, int index);
void hyv_vae_bind_mid(hyv_vae_mid *mid, const hyv_vae_config *c, const hyv_binder *b,
                      const char *part);

/* y from x by a convolution that keeps the grid; x may be some frames of it, and y the last of
 * them. */
void hyv_vae_conv(const hyv_vae_forward *f, hyv_mat y, hyv_mat x, const hyv_weight *w);

/* The blocks, on f->x. The middle one shows its parts and its result to the watch, a resnet leaves
 * that to the block it stands in. */
void hyv_vae_resnet_forward(hyv_vae_forward *f, const hyv_vae_resnet *r);
void hyv_vae_mid_forward(hyv_vae_forward *f, const hyv_vae_mid *mid);

#endif
