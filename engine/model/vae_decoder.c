/* The decoder of HunyuanVideo's causal 3-D VAE (Kong et al. 2024, section 4.1; diffusers
 * `AutoencoderKLHunyuanVideo`).
 *
 * One matrix x [voxels, channels] goes through the whole network and always lies at the start of
 * the same storage, so that nothing but the branch at work is held beside it. Only convolutions and
 * doublings know the grid. Knows no tiles, no files, no pixel formats.
 */
#include "vae_blocks.h"

#include <stdio.h>

/* ---- tensors --------------------------------------------------------------------------------- */

static void bind_up(hyv_vae_up *up, const hyv_vae_config *c, const hyv_binder *b, int i)
{
    const int last = c->blocks - 1;
    const int64_t in = c->block_out_channels[i ? last - i + 1 : last];
    const int64_t out = c->block_out_channels[last - i];
    char name[64];
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets", i);
    for (int k = 0; k <= (int)c->layers_per_block; k++)
        hyv_vae_bind_resnet(&up->resnet[k], k ? out : in, out, b, name, k);
    up->space = hyv_vae_factor(c, i).h > 1;
    up->time = hyv_vae_factor(c, i).t > 1;
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.upsamplers.0.conv", i);
    if (up->space)
        hyv_vae_bind_conv(&up->upsample, out, out, b, name);
}

void hyv_vae_bind(hyv_vae *m, const hyv_vae_config *config, const hyv_binder *b)
{
    const hyv_vae_config c = m->config = *config;
    const int64_t z = c.latent_channels;
    hyv_bind_linear(b, &m->post_quant, z, z, true, "post_quant_conv");
    hyv_vae_bind_conv(&m->conv_in, c.block_out_channels[c.blocks - 1], z, b, "decoder.conv_in");
    hyv_vae_bind_mid(&m->mid, &c, b, "decoder");
    for (int i = 0; i < c.blocks; i++)
        bind_up(&m->up[i], &c, b, i);
    hyv_bind_affine(b, &m->norm_out, c.block_out_channels[0], "decoder.conv_norm_out");
    hyv_vae_bind_conv(&m->conv_out, c.out_channels, c.block_out_channels[0], b, "decoder.conv_out");
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The grid after up block `up`; the first frame has no predecessor and stays single. */
static hyv_grid doubled(const hyv_vae_up *up, hyv_grid g)
{
    return (hyv_grid){up->time ? 2 * g.t - 1 : g.t, up->space ? 2 * g.h : g.h,
                      up->space ? 2 * g.w : g.w};
}

/* Twice the size and a convolution, in one; the output takes the place of x. */
static void upsample(hyv_vae_forward *f, const hyv_vae_up *up)
{
    const size_t mark = hyv_mark(f->be);
    const hyv_grid grid = f->grid;
    const hyv_mat small = hyv_new_operand(f->be, f->x.rows, f->x.cols);
    hyv_copy(f->be, small, f->x);
    f->grid = doubled(up, grid);
    f->x = hyv_vae_reshape(f->store, hyv_grid_rows(f->grid), small.cols);
    hyv_upsample_conv3d(f->be, f->x, small, &up->upsample, grid, up->time);
    hyv_release(f->be, mark);
}

static void up_block(hyv_vae_forward *f, const hyv_vae_up *up, int index)
{
    char resnets[64];
    snprintf(resnets, sizeof(resnets), "decoder.up_blocks.%d.resnets", index);
    for (int k = 0; k <= (int)f->config->layers_per_block; k++) {
        hyv_vae_resnet_forward(f, &up->resnet[k]);
        hyv_see(f->watch, resnets, k, f->x);
    }
    if (up->space)
        upsample(f, up);
    hyv_see(f->watch, "decoder.up_blocks", index, f->x);
}

/* The largest matrix that x becomes on its way from `grid`. */
static hyv_mat new_store(hyv_backend *be, const hyv_vae *m, hyv_grid grid)
{
    int64_t rows = hyv_grid_rows(grid), cols = m->up[0].resnet[0].in;
    for (int i = 0; i < m->config.blocks; i++) {
        const hyv_vae_up *up = &m->up[i];
        const int64_t in = up->resnet[0].in, out = up->resnet[0].out;
        const hyv_grid next = doubled(up, grid);
        const int64_t sizes[2][2] = {{hyv_grid_rows(grid), in > out ? in : out},
                                     {hyv_grid_rows(next), out}};
        for (int k = 0; k < 2; k++)
            if (sizes[k][0] * sizes[k][1] > rows * cols) {
                rows = sizes[k][0];
                cols = sizes[k][1];
            }
        grid = next;
    }
    return hyv_new(be, rows, cols);
}

void hyv_vae_decode(hyv_backend *be, const hyv_vae *m, hyv_mat z, hyv_grid grid, hyv_mat out,
                    const hyv_watch *watch)
{
    const size_t mark = hyv_mark(be);
    const int64_t n = hyv_grid_rows(grid), width = m->up[0].resnet[0].in;
    const hyv_mat store = new_store(be, m, grid), x = hyv_vae_reshape(store, n, width);
    hyv_vae_forward f = {be, &m->config, watch, "decoder", store, x, grid};

    const size_t above = hyv_mark(be);
    const hyv_mat h = hyv_new(be, n, z.cols);
    hyv_linear(be, h, z, &m->post_quant);
    hyv_see(watch, "post_quant_conv", -1, h);
    hyv_vae_conv(&f, f.x, h, &m->conv_in);
    hyv_see(watch, "decoder.conv_in", -1, f.x);
    hyv_release(be, above);

    hyv_vae_mid_forward(&f, &m->mid);
    for (int i = 0; i < m->config.blocks; i++)
        up_block(&f, &m->up[i], i);

    hyv_group_norm(be, f.x, f.x, (int)m->config.norm_num_groups, &m->norm_out, HYV_VAE_EPS);
    hyv_see(watch, "decoder.conv_norm_out", -1, f.x);
    hyv_act(be, f.x, f.x, HYV_NO_MAT, HYV_SILU);
    hyv_vae_conv(&f, out, f.x, &m->conv_out);
    hyv_release(be, mark);
}
