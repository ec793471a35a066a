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
    const hyv_grid grid = {x.rows / (f->grid.h * f->grid.w), f->grid.h, f->grid.w};
    hyv_conv3d(f->be, y, x, w, grid, HYV_VAE_KERNEL, (hyv_grid){1, 1, 1});
}

/* The frames of SiLU(GroupNorm(x)) that a convolution reads for the outputs at hand: those of the
 * same number and as many before them as a kernel reaches back, so that the normalised tensor is
 * never held whole. */
typedef struct window {
    hyv_mat store; /* room for REACH frames and those at hand */
    int64_t rows;  /* voxels that are in it */
} window;

enum {
    REACH = 2,         /* frames */
    CHUNK_ROWS = 16384 /* voxels at hand at least, so that a convolution has enough for all threads,
                          in whole frames */
};

static int64_t chunk_rows(const hyv_vae_forward *f)
{
    const int64_t frame = f->grid.h * f->grid.w;
    return (CHUNK_ROWS + frame - 1) / frame * frame;
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static bool in_one(const hyv_vae_forward *f)
{
    return f->x.rows <= chunk_rows(f);
}

static window new_window(const hyv_vae_forward *f, int64_t cols)
{
    const int64_t frame = f->grid.h * f->grid.w, most = chunk_rows(f) + REACH * frame;
    return (window){.store = hyv_new_operand(f->be, least(most, f->x.rows), cols)};
}

/* Drops what is no more reached, frame by frame as old and new place may overlap, and adds SiLU of
 * the normalised rows of x: all that is in the window now. */
static hyv_mat slide(const hyv_vae_forward *f, window *w, hyv_mat x, hyv_mat statistics)
{
    const int64_t frame = f->grid.h * f->grid.w;
    const int64_t kept = least(w->rows, REACH * frame), drop = w->rows - kept;
    const hyv_mat old = hyv_vae_reshape(w->store, w->rows, x.cols);
    const hyv_mat all = hyv_vae_reshape(w->store, kept + x.rows, x.cols);
    for (int64_t at = 0; drop > 0 && at < kept; at += frame)
        hyv_copy(f->be, hyv_rows(all, at, frame), hyv_rows(old, drop + at, frame));
    hyv_normalise_silu(f->be, hyv_rows(all, kept, x.rows), x, statistics);
    w->rows = kept + x.rows;
    return all;
}

static hyv_mat statistics_of(const hyv_vae_forward *f, hyv_mat x, const hyv_affine *affine)
{
    const hyv_mat statistics = hyv_new(f->be, HYV_STATISTICS, x.cols);
    hyv_group_statistics(f->be, statistics, x, (int)f->config->norm_num_groups, affine,
                         HYV_VAE_EPS);
    return statistics;
}

/* Where a resnet's branch and its shortcut are. Both may stand in x's place side by side, if x is
 * wide enough. A branch that has no room beside x is rounded to the type of operands, as it is once
 * more when it has been normalised. In both cases results go through `some`, which holds the rows
 * at hand. */
typedef struct places {
    hyv_mat h, side,
        some; /* side.data NULL: the shortcut is x itself; some.data NULL: not needed */
} places;

/* A matrix behind the first `taken` values of the store; data NULL where there is no room. */
static hyv_mat beside(const hyv_vae_forward *f, int64_t taken, int64_t rows, int64_t cols)
{
    const int64_t all = f->store.rows * f->store.cols / cols, first = (taken + cols - 1) / cols;
    if (first + rows > all)
        return HYV_NO_MAT;
    return hyv_rows(hyv_vae_reshape(f->store, all, cols), first, rows);
}

static places new_places(const hyv_vae_forward *f, const hyv_vae_resnet *r)
{
    const int64_t n = f->x.rows;
    if (r->in >= 2 * r->out && !in_one(f))
        return (places){hyv_cols(f->x, r->out, r->out), hyv_cols(f->x, 0, r->out),
                        hyv_new(f->be, chunk_rows(f), r->out)};
    places p = {.h = beside(f, n * (r->in > r->out ? r->in : r->out), n, r->out)};
    if (!p.h.data)
        p.h = in_one(f) ? hyv_new(f->be, n, r->out) : hyv_new_operand(f->be, n, r->out);
    if (r->in != r->out)
        p.side = hyv_new(f->be, n, r->out);
    if (p.h.type != f->x.type)
        p.some = hyv_new(f->be, chunk_rows(f), r->out);
    return p;
}

/* h = conv1(silu(norm1(x))) and, where the width changes, side = shortcut(x). x is not needed any
 * more where there is a side, so what is done in one piece is normalised in place. */
static void first_half(const hyv_vae_forward *f, const hyv_vae_resnet *r, const places *p)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t n = f->x.rows, step = chunk_rows(f);
    const hyv_mat statistics = statistics_of(f, f->x, &r->norm1);
    const bool in_place = p->side.data && in_one(f);
    window w = {.store = f->x};
    if (!in_place)
        w = new_window(f, r->in);
    for (int64_t first = 0; first < n; first += step) {
        const int64_t rows = least(step, n - first);
        const hyv_mat x = hyv_rows(f->x, first, rows);
        const hyv_mat side = p->side.data ? hyv_rows(p->side, first, rows) : HYV_NO_MAT;
        const hyv_mat some = p->some.data ? hyv_rows(p->some, 0, rows) : HYV_NO_MAT;
        const hyv_mat h = hyv_rows(p->h, first, rows);
        if (side.data)
            hyv_linear(be, some.data ? some : side, x, &r->shortcut);
        const hyv_mat branch = slide(f, &w, x, statistics);
        if (side.data && some.data)
            hyv_copy(be, side, some);
        const bool rounded = h.type != x.type;
        hyv_vae_conv(f, rounded ? some : h, branch, &r->conv1);
        if (rounded)
            hyv_copy(be, h, some);
    }
    hyv_release(be, mark);
}

/* x = side + conv2(silu(norm2(h))), or x += where there is no side. The convolution's result takes
 * the place of h's rows, which are in the window already. */
static void second_half(hyv_vae_forward *f, const hyv_vae_resnet *r, const places *p)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t n = f->x.rows, step = chunk_rows(f);
    const hyv_mat statistics = statistics_of(f, p->h, &r->norm2);
    window w = new_window(f, r->out);
    f->x = hyv_vae_reshape(f->store, n, r->out);
    for (int64_t first = 0; first < n; first += step) {
        const int64_t rows = least(step, n - first);
        const hyv_mat h = hyv_rows(p->h, first, rows), x = hyv_rows(f->x, first, rows);
        const hyv_mat y = p->some.data ? hyv_rows(p->some, 0, rows) : h;
        hyv_vae_conv(f, y, slide(f, &w, h, statistics), &r->conv2);
        if (p->side.data) {
            hyv_add(be, y, hyv_rows(p->side, first, rows), HYV_NO_MAT);
            hyv_copy(be, x, y);
        } else {
            hyv_add(be, x, y, HYV_NO_MAT);
        }
    }
    hyv_release(be, mark);
}

/* x + conv2(silu(norm2(conv1(silu(norm1(x)))))), x through a shortcut where the width changes. */
void hyv_vae_resnet_forward(hyv_vae_forward *f, const hyv_vae_resnet *r)
{
    const size_t mark = hyv_mark(f->be);
    const places p = new_places(f, r);
    first_half(f, r, &p);
    second_half(f, r, &p);
    hyv_release(f->be, mark);
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
