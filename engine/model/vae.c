/* The decoder of HunyuanVideo's causal 3-D VAE (Kong et al. 2024, section 4.1; diffusers
 * `AutoencoderKLHunyuanVideo`).
 *
 * One matrix x [voxels, channels] goes through the whole network and always lies at the start of
 * the same storage, so that nothing but the branch at work is held beside it. Only convolutions and
 * doublings know the grid. Knows no tiles, no files, no pixel formats.
 */
#include "vae.h"

#include <stdio.h>

#define EPS 1e-6f

static const hyv_grid ONE = {1, 1, 1}, THREE = {3, 3, 3};

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

/* ---- tensors --------------------------------------------------------------------------------- */

static void bind_conv(hyv_weight *out, int64_t rows, int64_t channels, const hyv_binder *b,
                      const char *module)
{
    const int64_t taps = hyv_grid_rows(THREE);
    const hyv_matrix_spec spec = {.rows = rows,
                                  .cols = taps * channels,
                                  .bias = true,
                                  .layout = HYV_LAYOUT_TAPS,
                                  .detail = taps};
    hyv_bind_matrix(b, out, &spec, "%s.conv", module);
}

static void bind_resnet(hyv_vae_resnet *r, int64_t in, int64_t out, const hyv_binder *b,
                        const char *module, int index)
{
    char name[128];
#define NAME(part) (snprintf(name, sizeof(name), "%s.%d." part, module, index), name)
    r->in = in;
    r->out = out;
    hyv_bind_affine(b, &r->norm1, in, "%s", NAME("norm1"));
    bind_conv(&r->conv1, out, in, b, NAME("conv1"));
    hyv_bind_affine(b, &r->norm2, out, "%s", NAME("norm2"));
    bind_conv(&r->conv2, out, out, b, NAME("conv2"));
    if (in != out)
        hyv_bind_linear(b, &r->shortcut, out, in, true, "%s", NAME("conv_shortcut.conv"));
#undef NAME
}

static void bind_mid(hyv_vae_mid *mid, const hyv_vae_config *c, const hyv_binder *b,
                     const char *part)
{
    const int64_t w = c->block_out_channels[c->blocks - 1];
    char resnets[64];
    snprintf(resnets, sizeof(resnets), "%s.mid_block.resnets", part);
    bind_resnet(&mid->resnet[0], w, w, b, resnets, 0);
    bind_resnet(&mid->resnet[1], w, w, b, resnets, 1);
    if (!c->mid_block_attention)
        return;
    hyv_vae_attention *a = &mid->attention;
    hyv_bind_affine(b, &a->norm, w, "%s.mid_block.attentions.0.group_norm", part);
    hyv_bind_linear(b, &a->q, w, w, true, "%s.mid_block.attentions.0.to_q", part);
    hyv_bind_linear(b, &a->k, w, w, true, "%s.mid_block.attentions.0.to_k", part);
    hyv_bind_linear(b, &a->v, w, w, true, "%s.mid_block.attentions.0.to_v", part);
    hyv_bind_linear(b, &a->out, w, w, true, "%s.mid_block.attentions.0.to_out.0", part);
}

/* Block i doubles the picture while doublings are left; those in time come as late as they can, but
 * never in the last block. */
static void bind_up(hyv_vae_up *up, const hyv_vae_config *c, const hyv_binder *b, int i)
{
    const int last = c->blocks - 1;
    const int64_t in = c->block_out_channels[i ? last - i + 1 : last];
    const int64_t out = c->block_out_channels[last - i];
    char name[64];
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets", i);
    for (int k = 0; k <= (int)c->layers_per_block; k++)
        bind_resnet(&up->resnet[k], k ? out : in, out, b, name, k);
    up->space = i < doublings(c->spatial_compression);
    up->time = i < last && i >= last - doublings(c->temporal_compression);
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.upsamplers.0.conv", i);
    if (up->space)
        bind_conv(&up->upsample, out, out, b, name);
}

void hyv_vae_bind(hyv_vae *m, const hyv_vae_config *config, const hyv_binder *b)
{
    const hyv_vae_config c = m->config = *config;
    const int64_t z = c.latent_channels;
    hyv_bind_linear(b, &m->post_quant, z, z, true, "post_quant_conv");
    bind_conv(&m->conv_in, c.block_out_channels[c.blocks - 1], z, b, "decoder.conv_in");
    bind_mid(&m->mid, &c, b, "decoder");
    for (int i = 0; i < c.blocks; i++)
        bind_up(&m->up[i], &c, b, i);
    hyv_bind_affine(b, &m->norm_out, c.block_out_channels[0], "decoder.conv_norm_out");
    bind_conv(&m->conv_out, c.out_channels, c.block_out_channels[0], b, "decoder.conv_out");
}

/* ---- forward --------------------------------------------------------------------------------- */

typedef struct forward {
    hyv_backend *be;
    const hyv_vae_config *config;
    const hyv_watch *watch;
    hyv_mat store; /* large enough for x at every place of the network */
    hyv_mat x;     /* [voxels of grid, channels], dense, at the start of the store */
    hyv_grid grid;
} forward;

/* The start of `store` as a dense matrix of another shape. */
static hyv_mat reshape(hyv_mat store, int64_t rows, int64_t cols)
{
    return (hyv_mat){store.data, rows, cols, cols, store.type};
}

static void conv(const forward *f, hyv_mat y, hyv_mat x, const hyv_weight *w)
{
    hyv_conv3d(f->be, y, x, w, f->grid, THREE, ONE);
}

/* y = SiLU(GroupNorm(x)) */
static void norm_silu(const forward *f, hyv_mat y, hyv_mat x, const hyv_affine *affine)
{
    hyv_group_norm(f->be, y, x, (int)f->config->norm_num_groups, affine, EPS);
    hyv_act(f->be, y, y, HYV_NO_MAT, HYV_SILU);
}

/* x + conv2(silu(norm2(conv1(silu(norm1(x)))))). Where the width changes, the shortcut is taken
 * first, so that the first norm can use x's place; x in, at most twice the output beside it. */
static void resnet(forward *f, const hyv_vae_resnet *r)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t n = f->x.rows;
    const bool shortcut = r->in != r->out;
    const hyv_mat side = hyv_new(be, n, r->out); /* the shortcut, or else the branch */
    const hyv_mat h = hyv_new(be, n, r->out);
    const hyv_mat branch = shortcut ? f->x : side;
    const hyv_mat x = reshape(f->store, n, r->out);
    if (shortcut)
        hyv_linear(be, side, f->x, &r->shortcut);
    norm_silu(f, branch, f->x, &r->norm1);
    conv(f, h, branch, &r->conv1);
    norm_silu(f, h, h, &r->norm2);
    conv(f, shortcut ? x : branch, h, &r->conv2);
    hyv_add(be, x, side, HYV_NO_MAT);
    f->x = x;
    hyv_release(be, mark);
}

/* A voxel sees all voxels of its frame and of earlier ones. */
static void attention(forward *f, const hyv_vae_attention *a)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t n = f->x.rows, w = f->x.cols;
    const hyv_mat h = hyv_new(be, n, w), q = hyv_new(be, n, w);
    const hyv_mat k = hyv_new(be, n, w), v = hyv_new(be, n, w);
    hyv_group_norm(be, h, f->x, (int)f->config->norm_num_groups, &a->norm, EPS);
    hyv_linear(be, q, h, &a->q);
    hyv_linear(be, k, h, &a->k);
    hyv_linear(be, v, h, &a->v);
    hyv_attention(be, h, q, k, v, 1, f->grid.h * f->grid.w);
    hyv_linear(be, q, h, &a->out);
    hyv_add(be, f->x, q, HYV_NO_MAT);
    hyv_release(be, mark);
}

static void mid_block(forward *f, const hyv_vae_mid *mid)
{
    resnet(f, &mid->resnet[0]);
    hyv_see(f->watch, "decoder.mid_block.resnets", 0, f->x);
    if (f->config->mid_block_attention) {
        attention(f, &mid->attention);
        hyv_see(f->watch, "decoder.mid_block.attentions", 0, f->x);
    }
    resnet(f, &mid->resnet[1]);
    hyv_see(f->watch, "decoder.mid_block", -1, f->x);
}

/* The grid after up block `up`; the first frame has no predecessor and stays single. */
static hyv_grid doubled(const hyv_vae_up *up, hyv_grid g)
{
    return (hyv_grid){up->time ? 2 * g.t - 1 : g.t, up->space ? 2 * g.h : g.h,
                      up->space ? 2 * g.w : g.w};
}

/* Twice the size and a convolution, in one; the output takes the place of x. */
static void upsample(forward *f, const hyv_vae_up *up)
{
    const size_t mark = hyv_mark(f->be);
    const hyv_grid grid = f->grid;
    const hyv_mat small = hyv_new(f->be, f->x.rows, f->x.cols);
    hyv_copy(f->be, small, f->x);
    f->grid = doubled(up, grid);
    f->x = reshape(f->store, hyv_grid_rows(f->grid), small.cols);
    hyv_upsample_conv3d(f->be, f->x, small, &up->upsample, grid, up->time);
    hyv_release(f->be, mark);
}

static void up_block(forward *f, const hyv_vae_up *up, int index)
{
    char resnets[64];
    snprintf(resnets, sizeof(resnets), "decoder.up_blocks.%d.resnets", index);
    for (int k = 0; k <= (int)f->config->layers_per_block; k++) {
        resnet(f, &up->resnet[k]);
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
    const hyv_mat store = new_store(be, m, grid);
    forward f = {be, &m->config, watch, store, reshape(store, n, width), grid};

    const size_t above = hyv_mark(be);
    const hyv_mat h = hyv_new(be, n, z.cols);
    hyv_linear(be, h, z, &m->post_quant);
    hyv_see(watch, "post_quant_conv", -1, h);
    conv(&f, f.x, h, &m->conv_in);
    hyv_see(watch, "decoder.conv_in", -1, f.x);
    hyv_release(be, above);

    mid_block(&f, &m->mid);
    for (int i = 0; i < m->config.blocks; i++)
        up_block(&f, &m->up[i], i);

    hyv_group_norm(be, f.x, f.x, (int)m->config.norm_num_groups, &m->norm_out, EPS);
    hyv_see(watch, "decoder.conv_norm_out", -1, f.x);
    hyv_act(be, f.x, f.x, HYV_NO_MAT, HYV_SILU);
    conv(&f, out, f.x, &m->conv_out);
    hyv_release(be, mark);
}
