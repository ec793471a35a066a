/* What the two halves of HunyuanVideo's causal 3-D VAE have in common (Kong et al. 2024, section
 * 4.1; diffusers `AutoencoderKLHunyuanVideo`): the configuration, residual and middle blocks.
 * Knows no tiles, no files, no pixel formats.
 */
#include "vae_blocks.h"

#include <stdio.h>

/* ---- configuration --------------------------------------------------------------------------- */

/* log2 of a power of two, -1 of anything else. */
static int doublings(int64_t ratio)
{
    int n = 0;
    while (ratio > 1 && ratio % 2 == 0) {
        ratio /= 2;
        n++;
    }
    return ratio == 1 ? n : -1;
}

static bool within(int64_t value, int64_t max)
{
    return value >= 1 && value <= max;
}

const char *hyv_vae_config_fault(const hyv_vae_config *c)
{
    if (!within(c->blocks, HYV_VAE_BLOCKS_MAX))
        return "block_out_channels must have 1 to 8 entries";
    if (!within(c->norm_num_groups, HYV_VAE_CHANNELS_MAX))
        return "norm_num_groups must be 1 to 16384";
    for (int i = 0; i < c->blocks; i++)
        if (!within(c->block_out_channels[i], HYV_VAE_CHANNELS_MAX) ||
            c->block_out_channels[i] % c->norm_num_groups)
            return "block_out_channels must be 1 to 16384 and multiples of norm_num_groups";
    if (!within(c->layers_per_block, HYV_VAE_LAYERS_MAX))
        return "layers_per_block must be 1 to 16";
    if (!within(c->latent_channels, HYV_VAE_LATENT_CHANNELS_MAX))
        return "latent_channels must be 1 to 1024";
    if (c->out_channels != HYV_VAE_PICTURE_CHANNELS)
        return "out_channels must be 3";
    const int space = doublings(c->spatial_compression), time = doublings(c->temporal_compression);
    if (space < 0 || space > c->blocks)
        return "spatial_compression_ratio must be a power of two, with a block for each doubling";
    if (time < 0 || time > c->blocks - 1)
        return "temporal_compression_ratio must be a power of two, with a block but the last for "
               "each doubling";
    if (time && space < c->blocks - 1)
        return "temporal_compression_ratio must be 1 if a block but the last does not double the "
               "picture";
    return NULL;
}

hyv_grid hyv_vae_pictures(const hyv_vae_config *c, hyv_grid g)
{
    return (hyv_grid){c->temporal_compression * (g.t - 1) + 1, c->spatial_compression * g.h,
                      c->spatial_compression * g.w};
}

hyv_grid hyv_vae_latents(const hyv_vae_config *c, hyv_grid g)
{
    return hyv_vae_reduced(
        g, (hyv_grid){c->temporal_compression, c->spatial_compression, c->spatial_compression});
}

hyv_grid hyv_vae_factor(const hyv_vae_config *c, int i)
{
    const int last = c->blocks - 1;
    const bool space = i < doublings(c->spatial_compression);
    const bool time = i < last && i >= last - doublings(c->temporal_compression);
    return (hyv_grid){time ? 2 : 1, space ? 2 : 1, space ? 2 : 1};
}

/* ---- tensors --------------------------------------------------------------------------------- */

void hyv_vae_bind_conv(hyv_weight *out, int64_t rows, int64_t channels, const hyv_binder *b,
                       const char *module)
{
    const int64_t taps = hyv_grid_rows(HYV_VAE_KERNEL);
    const hyv_matrix_spec spec = {.rows = rows,
                                  .cols = taps * channels,
                                  .bias = true,
                                  .layout = HYV_LAYOUT_TAPS,
                                  .detail = taps};
    hyv_bind_matrix(b, out, &spec, "%s.conv", module);
}

void hyv_vae_bind_resnet(hyv_vae_resnet *r, int64_t in, int64_t out, const hyv_binder *b,
                         const char *module, int index)
{
    char name[128];
#define NAME(part) (snprintf(name, sizeof(name), "%s.%d." part, module, index), name)
    r->in = in;
    r->out = out;
    hyv_bind_affine(b, &r->norm1, in, "%s", NAME("norm1"));
    hyv_vae_bind_conv(&r->conv1, out, in, b, NAME("conv1"));
    hyv_bind_affine(b, &r->norm2, out, "%s", NAME("norm2"));
    hyv_vae_bind_conv(&r->conv2, out, out, b, NAME("conv2"));
    if (in != out)
        hyv_bind_linear(b, &r->shortcut, out, in, true, "%s", NAME("conv_shortcut.conv"));
#undef NAME
}

void hyv_vae_bind_mid(hyv_vae_mid *mid, const hyv_vae_config *c, const hyv_binder *b,
                      const char *part)
{
    const int64_t w = c->block_out_channels[c->blocks - 1];
    char resnets[64];
    snprintf(resnets, sizeof(resnets), "%s.mid_block.resnets", part);
    hyv_vae_bind_resnet(&mid->resnet[0], w, w, b, resnets, 0);
    hyv_vae_bind_resnet(&mid->resnet[1], w, w, b, resnets, 1);
    if (!c->mid_block_attention)
        return;
    hyv_vae_attention *a = &mid->attention;
    hyv_bind_affine(b, &a->norm, w, "%s.mid_block.attentions.0.group_norm", part);
    hyv_bind_linear(b, &a->q, w, w, true, "%s.mid_block.attentions.0.to_q", part);
    hyv_bind_linear(b, &a->k, w, w, true, "%s.mid_block.attentions.0.to_k", part);
    hyv_bind_linear(b, &a->v, w, w, true, "%s.mid_block.attentions.0.to_v", part);
    hyv_bind_linear(b, &a->out, w, w, true, "%s.mid_block.attentions.0.to_out.0", part);
}

/* ---- forward --------------------------------------------------------------------------------- */

void hyv_vae_conv(const hyv_vae_forward *f, hyv_mat y, hyv_mat x, const hyv_weight *w)
{
    hyv_conv3d(f->be, y, x, w, f->grid, HYV_VAE_KERNEL, (hyv_grid){1, 1, 1});
}

/* y = SiLU(GroupNorm(x)) */
static void norm_silu(const hyv_vae_forward *f, hyv_mat y, hyv_mat x, const hyv_affine *affine)
{
    hyv_group_norm(f->be, y, x, (int)f->config->norm_num_groups, affine, HYV_VAE_EPS);
    hyv_act(f->be, y, y, HYV_NO_MAT, HYV_SILU);
}

/* x + conv2(silu(norm2(conv1(silu(norm1(x)))))). Where the width changes, the shortcut is taken
 * first, so that the first norm can use x's place; x in, at most twice the output beside it. */
void hyv_vae_resnet_forward(hyv_vae_forward *f, const hyv_vae_resnet *r)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t n = f->x.rows;
    const bool shortcut = r->in != r->out;
    const hyv_mat side = hyv_new(be, n, r->out); /* the shortcut, or else the branch */
    const hyv_mat h = hyv_new(be, n, r->out);
    const hyv_mat branch = shortcut ? f->x : side;
    const hyv_mat x = hyv_vae_reshape(f->store, n, r->out);
    if (shortcut)
        hyv_linear(be, side, f->x, &r->shortcut);
    norm_silu(f, branch, f->x, &r->norm1);
    hyv_vae_conv(f, h, branch, &r->conv1);
    norm_silu(f, h, h, &r->norm2);
    hyv_vae_conv(f, shortcut ? x : branch, h, &r->conv2);
    hyv_add(be, x, side, HYV_NO_MAT);
    f->x = x;
    hyv_release(be, mark);
}

/* A voxel sees all voxels of its frame and of earlier ones. */
static void attention(hyv_vae_forward *f, const hyv_vae_attention *a)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t n = f->x.rows, w = f->x.cols;
    const hyv_mat h = hyv_new(be, n, w), q = hyv_new(be, n, w);
    const hyv_mat k = hyv_new(be, n, w), v = hyv_new(be, n, w);
    hyv_group_norm(be, h, f->x, (int)f->config->norm_num_groups, &a->norm, HYV_VAE_EPS);
    hyv_linear(be, q, h, &a->q);
    hyv_linear(be, k, h, &a->k);
    hyv_linear(be, v, h, &a->v);
    hyv_attention(be, h, q, k, v, 1, f->grid.h * f->grid.w);
    hyv_linear(be, q, h, &a->out);
    hyv_add(be, f->x, q, HYV_NO_MAT);
    hyv_release(be, mark);
}

void hyv_vae_mid_forward(hyv_vae_forward *f, const hyv_vae_mid *mid)
{
    char resnets[64], attentions[64], name[64];
    snprintf(resnets, sizeof(resnets), "%s.mid_block.resnets", f->part);
    snprintf(attentions, sizeof(attentions), "%s.mid_block.attentions", f->part);
    snprintf(name, sizeof(name), "%s.mid_block", f->part);
    hyv_vae_resnet_forward(f, &mid->resnet[0]);
    hyv_see(f->watch, resnets, 0, f->x);
    if (f->config->mid_block_attention) {
        attention(f, &mid->attention);
        hyv_see(f->watch, attentions, 0, f->x);
    }
    hyv_vae_resnet_forward(f, &mid->resnet[1]);
    hyv_see(f->watch, name, -1, f->x);
}
