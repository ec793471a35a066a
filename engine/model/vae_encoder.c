/* The encoder of HunyuanVideo's causal 3-D VAE (Kong et al. 2024, section 4.1; diffusers
 * `AutoencoderKLHunyuanVideo`).
 *
 * As in the decoder one matrix x [voxels, channels] goes through the whole network at the start of
 * the same storage. Only convolutions know the grid; those with a stride are centred on every other
 * voxel in space and end at every other frame in time. Knows no tiles, no files, no pixel formats.
 */
#include "vae_blocks.h"

#include <stdio.h>

/* ---- tensors --------------------------------------------------------------------------------- */

/* Whether a convolution at the end of the block makes the grid smaller. */
static bool shrinks(const hyv_vae_down *down)
{
    return hyv_grid_rows(down->stride) > 1;
}

static void bind_down(hyv_vae_down *down, const hyv_vae_config *c, const hyv_binder *b, int i)
{
    const int64_t in = c->block_out_channels[i ? i - 1 : 0], out = c->block_out_channels[i];
    char name[64];
    snprintf(name, sizeof(name), "encoder.down_blocks.%d.resnets", i);
    for (int k = 0; k < (int)c->layers_per_block; k++)
        hyv_vae_bind_resnet(&down->resnet[k], k ? out : in, out, b, name, k);
    down->stride = hyv_vae_factor(c, i);
    snprintf(name, sizeof(name), "encoder.down_blocks.%d.downsamplers.0.conv", i);
    if (shrinks(down))
        hyv_vae_bind_conv(&down->downsample, out, out, b, name);
}

void hyv_vae_encoder_bind(hyv_vae_encoder *m, const hyv_vae_config *config, const hyv_binder *b)
{
    const hyv_vae_config c = m->config = *config;
    const int64_t width = c.block_out_channels[c.blocks - 1], moments = 2 * c.latent_channels;
    hyv_vae_bind_conv(&m->conv_in, c.block_out_channels[0], HYV_VAE_PICTURE_CHANNELS, b,
                      "encoder.conv_in");
    for (int i = 0; i < c.blocks; i++)
        bind_down(&m->down[i], &c, b, i);
    hyv_vae_bind_mid(&m->mid, &c, b, "encoder");
    hyv_bind_affine(b, &m->norm_out, width, "encoder.conv_norm_out");
    hyv_vae_bind_conv(&m->conv_out, moments, width, b, "encoder.conv_out");
    hyv_bind_linear(b, &m->quant, moments, moments, true, "quant_conv");
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The output is made beside x and then takes its place: a convolution needs all of its input. */
static void downsample(hyv_vae_forward *f, const hyv_vae_down *down)
{
    const size_t mark = hyv_mark(f->be);
    const hyv_grid grid = hyv_vae_reduced(f->grid, down->stride);
    const hyv_mat small = hyv_new(f->be, hyv_grid_rows(grid), f->x.cols);
    hyv_conv3d(f->be, small, f->x, &down->downsample, f->grid, HYV_VAE_KERNEL, down->stride);
    f->grid = grid;
    f->x = hyv_vae_reshape(f->store, small.rows, small.cols);
    hyv_copy(f->be, f->x, small);
    hyv_release(f->be, mark);
}

static void down_block(hyv_vae_forward *f, const hyv_vae_down *down, int index)
{
    char resnets[64];
    snprintf(resnets, sizeof(resnets), "encoder.down_blocks.%d.resnets", index);
    for (int k = 0; k < (int)f->config->layers_per_block; k++) {
        hyv_vae_resnet_forward(f, &down->resnet[k]);
        hyv_see(f->watch, resnets, k, f->x);
    }
    if (shrinks(down))
        downsample(f, down);
    hyv_see(f->watch, "encoder.down_blocks", index, f->x);
}

/* The largest matrix that x becomes on its way from `grid`: a block begins at one width and goes on
 * at another. */
static hyv_mat new_store(hyv_backend *be, const hyv_vae_encoder *m, hyv_grid grid)
{
    int64_t rows = 0, cols = 0;
    for (int i = 0; i < m->config.blocks; i++) {
        const hyv_vae_resnet *first = &m->down[i].resnet[0];
        const int64_t n = hyv_grid_rows(grid);
        const int64_t width = first->in > first->out ? first->in : first->out;
        if (n * width > rows * cols) {
            rows = n;
            cols = width;
        }
        grid = hyv_vae_reduced(grid, m->down[i].stride);
    }
    return hyv_new(be, rows, cols);
}

void hyv_vae_encode(hyv_backend *be, const hyv_vae_encoder *m, hyv_mat x, hyv_grid grid,
                    hyv_mat moments, const hyv_watch *watch)
{
    const size_t mark = hyv_mark(be);
    const int64_t n = hyv_grid_rows(grid), width = m->down[0].resnet[0].in;
    const hyv_mat store = new_store(be, m, grid);
    hyv_vae_forward f = {be,  &m->config, watch, "encoder", store, hyv_vae_reshape(store, n, width),
                         grid};

    hyv_vae_conv(&f, f.x, x, &m->conv_in);
    hyv_see(watch, "encoder.conv_in", -1, f.x);
    for (int i = 0; i < m->config.blocks; i++)
        down_block(&f, &m->down[i], i);
    hyv_vae_mid_forward(&f, &m->mid);

    hyv_group_norm(be, f.x, f.x, (int)m->config.norm_num_groups, &m->norm_out, HYV_VAE_EPS);
    hyv_see(watch, "encoder.conv_norm_out", -1, f.x);
    hyv_act(be, f.x, f.x, HYV_NO_MAT, HYV_SILU);
    const hyv_mat h = hyv_new(be, f.x.rows, moments.cols);
    hyv_vae_conv(&f, h, f.x, &m->conv_out);
    hyv_see(watch, "encoder", -1, h);
    hyv_linear(be, moments, h, &m->quant);
    hyv_release(be, mark);
}
