/* The forward pass of HunyuanVideo's transformer (Kong et al. 2024, section 4.2; diffusers
 * `HunyuanVideoTransformer3DModel`).
 *
 * Image tokens come first, then text, as rows of one matrix x. Double blocks have weights for each
 * of the two streams, single blocks share them; both attend over all rows. Row-wise work goes in
 * chunks. Knows no files, no schedule, no device.
 */
#include "dit.h"

#define EPS 1e-6f

/* ---- tensors --------------------------------------------------------------------------------- */

static void bind_stream(hyv_stream *s, const hyv_dit_config *c, const hyv_binder *b, int i,
                        const char *const names[8])
{
    const int64_t w = c->width;
#define NAME(k) "transformer_blocks.%d.%s", i, names[k]
    hyv_bind_large(b, &s->q, w, w, NAME(0));
    hyv_bind_large(b, &s->k, w, w, NAME(1));
    hyv_bind_large(b, &s->v, w, w, NAME(2));
    hyv_bind_large(b, &s->out, w, w, NAME(3));
    hyv_bind_large(b, &s->fc1, c->mlp_width, w, NAME(4));
    hyv_bind_large(b, &s->fc2, w, c->mlp_width, NAME(5));
    hyv_bind_vector(b, &s->q_norm, c->head_dim, NAME(6));
    hyv_bind_vector(b, &s->k_norm, c->head_dim, NAME(7));
#undef NAME
}

static void bind_double(hyv_double_block *l, const hyv_dit_config *c, const hyv_binder *b, int i)
{
    static const char *const img[8] = {"attn.to_q",          "attn.to_k",         "attn.to_v",
                                       "attn.to_out.0",      "ff.net.0.proj",     "ff.net.2",
                                       "attn.norm_q.weight", "attn.norm_k.weight"};
    static const char *const txt[8] = {"attn.add_q_proj",          "attn.add_k_proj",
                                       "attn.add_v_proj",          "attn.to_add_out",
                                       "ff_context.net.0.proj",    "ff_context.net.2",
                                       "attn.norm_added_q.weight", "attn.norm_added_k.weight"};
    hyv_bind_block(b, &l->block, false);
    bind_stream(&l->img, c, b, i, img);
    bind_stream(&l->txt, c, b, i, txt);
}

static void bind_single(hyv_single_block *l, const hyv_dit_config *c, const hyv_binder *b, int i)
{
    const int64_t w = c->width;
    hyv_bind_block(b, &l->block, false);
#define NAME(part) "single_transformer_blocks.%d." part, i
    hyv_bind_large(b, &l->q, w, w, NAME("attn.to_q"));
    hyv_bind_large(b, &l->k, w, w, NAME("attn.to_k"));
    hyv_bind_large(b, &l->v, w, w, NAME("attn.to_v"));
    hyv_bind_large(b, &l->mlp, c->mlp_width, w, NAME("proj_mlp"));
    hyv_bind_large(b, &l->out, w, w + c->mlp_width, NAME("proj_out"));
    hyv_bind_vector(b, &l->q_norm, c->head_dim, NAME("attn.norm_q.weight"));
    hyv_bind_vector(b, &l->k_norm, c->head_dim, NAME("attn.norm_k.weight"));
#undef NAME
}

/* The vectors' embedders and every modulation: what hyv_dit_modulate reads, in its order. */
static void bind_modulations(hyv_dit *m, const hyv_binder *b)
{
    const hyv_dit_config *c = &m->config;
    const int64_t w = c->width;
    hyv_bind_block(b, &m->vectors, true);
    hyv_embedder_bind(&m->time_in, w, HYV_SINUSOID_DIM, b, "time_text_embed.timestep_embedder");
    if (c->guidance)
        hyv_embedder_bind(&m->guidance_in, w, HYV_SINUSOID_DIM, b,
                          "time_text_embed.guidance_embedder");
    hyv_embedder_bind(&m->vector_in, w, c->pooled_width, b, "time_text_embed.text_embedder");
    for (int i = 0; i < (int)c->double_blocks; i++) {
        hyv_double_block *l = &m->double_block[i];
        hyv_bind_block(b, &l->modulations, true);
        hyv_bind_linear(b, &l->img.modulation, 6 * w, w, true, "transformer_blocks.%d.norm1.linear",
                        i);
        hyv_bind_linear(b, &l->txt.modulation, 6 * w, w, true,
                        "transformer_blocks.%d.norm1_context.linear", i);
    }
    for (int i = 0; i < (int)c->single_blocks; i++) {
        hyv_bind_block(b, &m->single_block[i].modulations, true);
        hyv_bind_linear(b, &m->single_block[i].modulation, 3 * w, w, true,
                        "single_transformer_blocks.%d.norm.linear", i);
    }
    /* The diffusers layout stores the final scale above the shift, all others the shift first. */
    const hyv_matrix_spec scale = {.rows = w, .cols = w, .parts = 2, .part = 0, .bias = true};
    const hyv_matrix_spec shift = {.rows = w, .cols = w, .parts = 2, .part = 1, .bias = true};
    hyv_bind_block(b, &m->final_modulations, true);
    hyv_bind_matrix(b, &m->final_scale, &scale, "norm_out.linear");
    hyv_bind_matrix(b, &m->final_shift, &shift, "norm_out.linear");
}

void hyv_dit_bind(hyv_dit *m, const hyv_dit_config *config, const hyv_binder *b)
{
    const hyv_dit_config c = m->config = *config;
    const int64_t taps = c.patch * c.patch, w = c.width;
    const hyv_matrix_spec img_in = {.rows = w,
                                    .cols = taps * c.in_channels,
                                    .bias = true,
                                    .layout = HYV_LAYOUT_TAPS,
                                    .detail = taps};
    bind_modulations(m, b);
    hyv_bind_block(b, &m->embedders, false);
    hyv_bind_matrix(b, &m->img_in, &img_in, "x_embedder.proj");
    hyv_refiner_bind(&m->refiner, &c, b);
    for (int i = 0; i < (int)c.double_blocks; i++)
        bind_double(&m->double_block[i], &c, b, i);
    for (int i = 0; i < (int)c.single_blocks; i++)
        bind_single(&m->single_block[i], &c, b, i);
    const hyv_matrix_spec out = {.rows = taps * c.out_channels,
                                 .cols = w,
                                 .bias = true,
                                 .layout = HYV_LAYOUT_DEPTH_LAST,
                                 .detail = taps};
    hyv_bind_block(b, &m->final, false);
    hyv_bind_matrix(b, &m->proj_out, &out, "proj_out");
}

/* ---- modulations -----------------------------------------------------------------------------
 */

/* Columns: shift, scale, gate, shift, scale, gate of each double block's image and then its text;
 * shift, scale, gate of each single block; shift and scale of the final layer. */
enum { DOUBLE_VECTORS = 12, STREAM_VECTORS = 6, SINGLE_VECTORS = 3, FINAL_VECTORS = 2 };

static hyv_mat double_modulation(const hyv_dit_config *c, hyv_mat modulations, int i, int stream)
{
    const int64_t w = c->width;
    return hyv_cols(modulations, (i * DOUBLE_VECTORS + stream * STREAM_VECTORS) * w,
                    STREAM_VECTORS * w);
}

static hyv_mat single_modulation(const hyv_dit_config *c, hyv_mat modulations, int i)
{
    const int64_t first = c->double_blocks * DOUBLE_VECTORS + i * SINGLE_VECTORS;
    return hyv_cols(modulations, first * c->width, SINGLE_VECTORS * c->width);
}

static hyv_mat final_modulation(const hyv_dit_config *c, hyv_mat modulations)
{
    const int64_t first = c->double_blocks * DOUBLE_VECTORS + c->single_blocks * SINGLE_VECTORS;
    return hyv_cols(modulations, first * c->width, FINAL_VECTORS * c->width);
}

/* The n-th vector of a modulation. */
static hyv_mat nth(hyv_mat modulation, int n, int64_t width)
{
    return hyv_cols(modulation, n * width, width);
}

int64_t hyv_dit_modulation_cols(const hyv_dit_config *c)
{
    return (c->double_blocks * DOUBLE_VECTORS + c->single_blocks * SINGLE_VECTORS + FINAL_VECTORS) *
           c->width;
}

/* vec = time + guidance + pooled text; cond = SiLU(vec), the only form in which it is used. */
static void embed_vectors(hyv_backend *be, const hyv_dit *m, hyv_mat cond,
                          const hyv_dit_vectors *in, const hyv_watch *watch)
{
    const size_t mark = hyv_mark(be);
    const hyv_mat guidance = hyv_new(be, 1, m->config.width);
    const hyv_mat pooled = hyv_new(be, in->pooled.rows, m->config.width);
    const int64_t steps = in->time.rows;
    hyv_enter(be, &m->vectors);
    hyv_embedder_forward(be, &m->time_in, hyv_rows(cond, 0, steps), in->time);
    for (int64_t row = steps; row < cond.rows; row += steps)
        hyv_copy(be, hyv_rows(cond, row, steps), hyv_rows(cond, 0, steps));
    if (m->config.guidance)
        hyv_embedder_forward(be, &m->guidance_in, guidance, in->guidance);
    hyv_embedder_forward(be, &m->vector_in, pooled, in->pooled);
    for (int64_t row = 0; row < cond.rows; row++) {
        if (m->config.guidance)
            hyv_add(be, hyv_rows(cond, row, 1), guidance, HYV_NO_MAT);
        hyv_add(be, hyv_rows(cond, row, 1), hyv_rows(pooled, row / steps, 1), HYV_NO_MAT);
    }
    hyv_see(watch, "time_text_embed", -1, cond);
    hyv_act(be, cond, cond, HYV_NO_MAT, HYV_SILU);
    hyv_release(be, mark);
}

void hyv_dit_modulate(hyv_backend *be, const hyv_dit *m, hyv_mat modulations,
                      const hyv_dit_vectors *in, const hyv_watch *watch)
{
    const size_t mark = hyv_mark(be);
    const hyv_dit_config *c = &m->config;
    const hyv_mat cond = hyv_new(be, in->pooled.rows * in->time.rows, c->width);
    embed_vectors(be, m, cond, in, watch);
    for (int i = 0; i < (int)c->double_blocks; i++) {
        const hyv_double_block *l = &m->double_block[i];
        hyv_enter(be, &l->modulations);
        hyv_linear(be, double_modulation(c, modulations, i, 0), cond, &l->img.modulation);
        hyv_linear(be, double_modulation(c, modulations, i, 1), cond, &l->txt.modulation);
    }
    for (int i = 0; i < (int)c->single_blocks; i++) {
        hyv_enter(be, &m->single_block[i].modulations);
        hyv_linear(be, single_modulation(c, modulations, i), cond, &m->single_block[i].modulation);
    }
    const hyv_mat last = final_modulation(c, modulations);
    hyv_enter(be, &m->final_modulations);
    hyv_linear(be, nth(last, 0, c->width), cond, &m->final_shift);
    hyv_linear(be, nth(last, 1, c->width), cond, &m->final_scale);
    hyv_release(be, mark);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Rows that share weights and conditioning. */
typedef struct segment {
    int64_t first, rows;
    const hyv_stream *stream;
} segment;

/* What every block needs. */
typedef struct forward {
    hyv_backend *be;
    const hyv_dit *m;
    hyv_mat x;           /* [tokens + n, width] */
    hyv_mat modulations; /* [1, ...]: of this step */
    hyv_rope_table rope; /* rows of the image */
    int64_t image_rows;
} forward;

/* AdaLN: y = (1 + scale) * LN(x) + shift */
static void ada_norm(hyv_backend *be, hyv_mat y, hyv_mat x, hyv_mat shift, hyv_mat scale)
{
    hyv_layer_norm(be, y, x, NULL, EPS);
    hyv_modulate(be, y, scale, shift);
}

/* Normalises q and k per head and rotates those rows of them that belong to the image; they are
 * rows first, first + 1, ... of x. */
static void norm_rope(const forward *f, hyv_mat q, hyv_mat k, const float *q_norm,
                      const float *k_norm, int64_t first)
{
    const int64_t d = f->m->config.head_dim;
    const int64_t left = f->image_rows - first, rows = left < q.rows ? left : q.rows;
    hyv_rms_norm(f->be, q, q, q_norm, d, EPS);
    hyv_rms_norm(f->be, k, k, k_norm, d, EPS);
    if (rows <= 0)
        return;
    const hyv_rope_table table = {hyv_rows(f->rope.cos, first, rows),
                                  hyv_rows(f->rope.sin, first, rows)};
    hyv_rope(f->be, hyv_rows(q, 0, rows), table);
    hyv_rope(f->be, hyv_rows(k, 0, rows), table);
}

static int64_t chunk_rows(int64_t rows, int64_t done)
{
    return rows - done < HYV_DIT_CHUNK_ROWS ? rows - done : HYV_DIT_CHUNK_ROWS;
}

/* First half of a double block for one stream: q, k and v of its rows. */
static void stream_qkv(const forward *f, const segment *s, hyv_mat qkv, hyv_mat mod)
{
    const int64_t w = f->m->config.width;
    for (int64_t done = 0; done < s->rows; done += HYV_DIT_CHUNK_ROWS) {
        const size_t mark = hyv_mark(f->be);
        const int64_t first = s->first + done, rows = chunk_rows(s->rows, done);
        hyv_mat h = hyv_new(f->be, rows, w);
        hyv_mat chunk = hyv_rows(qkv, first, rows);
        hyv_mat q = hyv_cols(chunk, 0, w), k = hyv_cols(chunk, w, w), v = hyv_cols(chunk, 2 * w, w);
        ada_norm(f->be, h, hyv_rows(f->x, first, rows), nth(mod, 0, w), nth(mod, 1, w));
        hyv_linear(f->be, q, h, &s->stream->q);
        hyv_linear(f->be, k, h, &s->stream->k);
        hyv_linear(f->be, v, h, &s->stream->v);
        norm_rope(f, q, k, s->stream->q_norm, s->stream->k_norm, first);
        hyv_release(f->be, mark);
    }
}

/* Second half: projection of the attention's result, then the MLP, each added through its gate. */
static void stream_out(const forward *f, const segment *s, hyv_mat attention, hyv_mat mod)
{
    hyv_backend *be = f->be;
    const int64_t w = f->m->config.width;
    for (int64_t done = 0; done < s->rows; done += HYV_DIT_CHUNK_ROWS) {
        const size_t mark = hyv_mark(be);
        const int64_t first = s->first + done, rows = chunk_rows(s->rows, done);
        hyv_mat x = hyv_rows(f->x, first, rows);
        hyv_mat h = hyv_new(be, rows, w);
        hyv_mat mlp = hyv_new(be, rows, f->m->config.mlp_width);
        hyv_linear(be, h, hyv_rows(attention, first, rows), &s->stream->out);
        hyv_add(be, x, h, nth(mod, 2, w));
        ada_norm(be, h, x, nth(mod, 3, w), nth(mod, 4, w));
        hyv_linear(be, mlp, h, &s->stream->fc1);
        hyv_act(be, mlp, mlp, HYV_NO_MAT, HYV_GELU_TANH);
        hyv_linear(be, h, mlp, &s->stream->fc2);
        hyv_add(be, x, h, nth(mod, 5, w));
        hyv_release(be, mark);
    }
}

static void double_block(const forward *f, int index)
{
    hyv_backend *be = f->be;
    const hyv_double_block *l = &f->m->double_block[index];
    const size_t mark = hyv_mark(be);
    const int64_t w = f->m->config.width, n = f->x.rows;
    const segment segments[2] = {{0, f->image_rows, &l->img},
                                 {f->image_rows, n - f->image_rows, &l->txt}};
    const hyv_mat mod[2] = {double_modulation(&f->m->config, f->modulations, index, 0),
                            double_modulation(&f->m->config, f->modulations, index, 1)};
    hyv_mat qkv = hyv_new(be, n, 3 * w);
    hyv_mat attention = hyv_new(be, n, w);
    hyv_enter(be, &l->block);
    for (int i = 0; i < 2; i++)
        stream_qkv(f, &segments[i], qkv, mod[i]);
    hyv_attention(be, attention, hyv_cols(qkv, 0, w), hyv_cols(qkv, w, w), hyv_cols(qkv, 2 * w, w),
                  (int)f->m->config.heads, 0);
    for (int i = 0; i < 2; i++)
        stream_out(f, &segments[i], attention, mod[i]);
    hyv_release(be, mark);
}

/* Attention and MLP side by side, one projection for both. The norm is computed a second time for
 * the MLP, which is cheaper than holding the MLP of all rows across the attention. */
static void single_block(const forward *f, int index)
{
    hyv_backend *be = f->be;
    const hyv_single_block *l = &f->m->single_block[index];
    const size_t mark = hyv_mark(be);
    const int64_t w = f->m->config.width, n = f->x.rows;
    const hyv_mat mod = single_modulation(&f->m->config, f->modulations, index);
    hyv_mat qkv = hyv_new(be, n, 3 * w);
    hyv_mat attention = hyv_new(be, n, w);
    hyv_enter(be, &l->block);
    for (int64_t first = 0; first < n; first += HYV_DIT_CHUNK_ROWS) {
        const size_t chunk_mark = hyv_mark(be);
        const int64_t rows = chunk_rows(n, first);
        hyv_mat h = hyv_new(be, rows, w), chunk = hyv_rows(qkv, first, rows);
        hyv_mat q = hyv_cols(chunk, 0, w), k = hyv_cols(chunk, w, w), v = hyv_cols(chunk, 2 * w, w);
        ada_norm(be, h, hyv_rows(f->x, first, rows), nth(mod, 0, w), nth(mod, 1, w));
        hyv_linear(be, q, h, &l->q);
        hyv_linear(be, k, h, &l->k);
        hyv_linear(be, v, h, &l->v);
        norm_rope(f, q, k, l->q_norm, l->k_norm, first);
        hyv_release(be, chunk_mark);
    }
    hyv_attention(be, attention, hyv_cols(qkv, 0, w), hyv_cols(qkv, w, w), hyv_cols(qkv, 2 * w, w),
                  (int)f->m->config.heads, 0);
    for (int64_t first = 0; first < n; first += HYV_DIT_CHUNK_ROWS) {
        const size_t chunk_mark = hyv_mark(be);
        const int64_t rows = chunk_rows(n, first);
        hyv_mat x = hyv_rows(f->x, first, rows), h = hyv_new(be, rows, w);
        hyv_mat both = hyv_new(be, rows, w + f->m->config.mlp_width); /* [attention | mlp] */
        hyv_mat mlp = hyv_cols(both, w, f->m->config.mlp_width);
        ada_norm(be, h, x, nth(mod, 0, w), nth(mod, 1, w));
        hyv_linear(be, mlp, h, &l->mlp);
        hyv_act(be, mlp, mlp, HYV_NO_MAT, HYV_GELU_TANH);
        hyv_copy(be, hyv_cols(both, 0, w), hyv_rows(attention, first, rows));
        hyv_linear(be, h, both, &l->out);
        hyv_add(be, x, h, nth(mod, 2, w));
        hyv_release(be, chunk_mark);
    }
    hyv_release(be, mark);
}

/* 2x2 patches of the latents -> image tokens. */
static void embed_patches(const forward *f, const hyv_dit_input *in, hyv_grid factor)
{
    const size_t mark = hyv_mark(f->be);
    hyv_mat patches = hyv_new(f->be, f->image_rows, factor.h * factor.w * f->m->config.in_channels);
    hyv_shuffle(f->be, patches, in->latents, in->grid, factor, HYV_SPACE_TO_DEPTH);
    hyv_linear(f->be, hyv_rows(f->x, 0, f->image_rows), patches, &f->m->img_in);
    hyv_release(f->be, mark);
}

/* Final AdaLN and projection of the image tokens, back to the grid of the latents. */
static void final_layer(const forward *f, hyv_mat velocity, const hyv_dit_input *in,
                        hyv_grid factor, const hyv_watch *watch)
{
    hyv_backend *be = f->be;
    const size_t mark = hyv_mark(be);
    const int64_t w = f->m->config.width;
    const hyv_mat mod = final_modulation(&f->m->config, f->modulations);
    hyv_mat patches = hyv_new(be, f->image_rows, factor.h * factor.w * f->m->config.out_channels);
    hyv_enter(be, &f->m->final);
    for (int64_t first = 0; first < f->image_rows; first += HYV_DIT_CHUNK_ROWS) {
        const size_t chunk_mark = hyv_mark(be);
        const int64_t rows = chunk_rows(f->image_rows, first);
        hyv_mat h = hyv_new(be, rows, w);
        ada_norm(be, h, hyv_rows(f->x, first, rows), nth(mod, 0, w), nth(mod, 1, w));
        hyv_see(watch, "norm_out", -1, h);
        hyv_linear(be, hyv_rows(patches, first, rows), h, &f->m->proj_out);
        hyv_release(be, chunk_mark);
    }
    hyv_shuffle(be, velocity, patches, in->grid, factor, HYV_DEPTH_TO_SPACE);
    hyv_release(be, mark);
}

void hyv_dit_forward(hyv_backend *be, const hyv_dit *m, hyv_mat velocity, const hyv_dit_input *in,
                     const hyv_watch *watch)
{
    const size_t mark = hyv_mark(be);
    const hyv_dit_config *c = &m->config;
    const hyv_grid factor = {1, c->patch, c->patch};
    const int64_t image_rows = hyv_grid_rows(in->grid) / (c->patch * c->patch);
    const forward f = {.be = be,
                       .m = m,
                       .x = hyv_new(be, image_rows + in->text.rows, c->width),
                       .modulations = in->modulations,
                       .rope = in->rope,
                       .image_rows = image_rows};
    hyv_mat img = hyv_rows(f.x, 0, image_rows);
    hyv_mat txt = hyv_rows(f.x, image_rows, in->text.rows);

    hyv_enter(be, &m->embedders);
    embed_patches(&f, in, factor);
    hyv_see(watch, "x_embedder", -1, img);
    hyv_refiner_forward(be, &m->refiner, c, txt, in);
    hyv_see(watch, "context_embedder", -1, txt);
    for (int i = 0; i < (int)c->double_blocks; i++) {
        double_block(&f, i);
        hyv_see(watch, "transformer_blocks", i, f.x);
    }
    for (int i = 0; i < (int)c->single_blocks; i++) {
        single_block(&f, i);
        hyv_see(watch, "single_transformer_blocks", i, f.x);
    }
    final_layer(&f, velocity, in, factor, watch);
    hyv_release(be, mark);
}
