/* The causal 3-D VAE of HunyuanVideo: latents [t*h*w, latent_channels] to pixels in about -1 to 1,
 * and pixels to the distribution of their latents.
 *
 * A latent of t frames gives temporal_compression * (t - 1) + 1 pictures, spatial_compression times
 * as large. Normalisation takes its statistics over the whole grid it is given, so a decoder or an
 * encoder run over a part of a video (a tile) gives another result by design; cutting and blending
 * stand in run/vae_tiles.h. The two halves share a configuration and no weights. All numbers come
 * from the configuration. Knows no files and no pixel formats.
 */
#ifndef HYV_MODEL_VAE_H
#define HYV_MODEL_VAE_H

#include "bind.h"
#include "watch.h"

enum {
    HYV_VAE_BLOCKS_MAX = 8,
    HYV_VAE_LAYERS_MAX = 16, /* resnets of an encoder block; a decoder block has one more */
    HYV_VAE_CHANNELS_MAX = 16384,
    HYV_VAE_LATENT_CHANNELS_MAX = 1024,
    HYV_VAE_COMPRESSION_MAX = 128, /* 2 to the power of HYV_VAE_BLOCKS_MAX - 1 */
    HYV_VAE_PICTURE_CHANNELS = 3   /* the pictures of this project are RGB */
};

/* config.json of the component; names as there. */
typedef struct hyv_vae_config {
    int blocks;                                     /* entries of block_out_channels */
    int64_t block_out_channels[HYV_VAE_BLOCKS_MAX]; /* from the pixels to the latents */
    int64_t layers_per_block;
    int64_t norm_num_groups;
    int64_t latent_channels;
    int64_t out_channels;
    int64_t spatial_compression;  /* powers of two, however the block types are called */
    int64_t temporal_compression; /* ... the last temporal doublings fall on the spatial ones */
    bool mid_block_attention;
} hyv_vae_config;

/* Normalise, SiLU, convolve, twice; added to its input, through `shortcut` if the width changes. */
typedef struct hyv_vae_resnet {
    int64_t in, out;
    hyv_affine norm1, norm2;
    hyv_weight conv1, conv2, shortcut;
} hyv_vae_resnet;

/* One head over all voxels of a frame and of the frames before it. */
typedef struct hyv_vae_attention {
    hyv_affine norm;
    hyv_weight q, k, v, out;
} hyv_vae_attention;

typedef struct hyv_vae_mid {
    hyv_vae_resnet resnet[2];
    hyv_vae_attention attention;
} hyv_vae_mid;

typedef struct hyv_vae_up {
    hyv_vae_resnet resnet[HYV_VAE_LAYERS_MAX + 1];
    bool space, time;    /* doubles the grid in h and w; in t too */
    hyv_weight upsample; /* the convolution behind the doubling */
} hyv_vae_up;

typedef struct hyv_vae {
    hyv_vae_config config;
    hyv_weight post_quant;
    hyv_weight conv_in;
    hyv_vae_mid mid;
    hyv_vae_up up[HYV_VAE_BLOCKS_MAX];
    hyv_affine norm_out;
    hyv_weight conv_out;
} hyv_vae;

typedef struct hyv_vae_down {
    hyv_vae_resnet resnet[HYV_VAE_LAYERS_MAX];
    hyv_grid stride;       /* 2 where the grid is halved, 1 where it stays */
    hyv_weight downsample; /* the convolution with that stride, if any is 2 */
} hyv_vae_down;

typedef struct hyv_vae_encoder {
    hyv_vae_config config;
    hyv_weight conv_in;
    hyv_vae_down down[HYV_VAE_BLOCKS_MAX];
    hyv_vae_mid mid;
    hyv_affine norm_out;
    hyv_weight conv_out;
    hyv_weight quant;
} hyv_vae_encoder;

/* NULL, or what is wrong with these numbers, as a phrase that names the member and what is valid.
 * The functions below want a configuration that passed. */
const char *hyv_vae_config_fault(const hyv_vae_config *config);

/* The grid of the pictures that a grid of latents decodes to. */
hyv_grid hyv_vae_pictures(const hyv_vae_config *config, hyv_grid latents);

/* The grid of the latents that a grid of pictures encodes to. The first picture alone makes the
 * first latent frame, so that pictures behind the last whole step in time have no latents. */
hyv_grid hyv_vae_latents(const hyv_vae_config *config, hyv_grid pictures);

/* Lists each tensor of the decoder, or of the encoder, once. */
void hyv_vae_bind(hyv_vae *m, const hyv_vae_config *config, const hyv_binder *binder);
void hyv_vae_encoder_bind(hyv_vae_encoder *m, const hyv_vae_config *config,
                          const hyv_binder *binder);

/* out [rows of hyv_vae_pictures(grid), out_channels] from z [t*h*w, latent_channels], which is
 * already divided by the scaling factor. Beside z and out the arena's peak is that of the largest
 * resnet: its input and twice its output. */
void hyv_vae_decode(hyv_backend *be, const hyv_vae *m, hyv_mat z, hyv_grid grid, hyv_mat out,
                    const hyv_watch *watch);

/* moments [rows of hyv_vae_latents(grid), 2 * latent_channels], the mean and then the logarithm of
 * the variance of each channel, from pictures x [t*h*w, 3] in -1 to 1. Nothing is clamped, drawn or
 * scaled: the mean times the scaling factor is what the transformer takes for a picture. Beside x
 * and moments the arena's peak is that of the largest resnet, as in decoding. */
void hyv_vae_encode(hyv_backend *be, const hyv_vae_encoder *m, hyv_mat x, hyv_grid grid,
                    hyv_mat moments, const hyv_watch *watch);

#endif
