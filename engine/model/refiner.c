/* The token refiner: two small transformer blocks that turn language-model states into the
 * transformer's text tokens.
 *
 * Follows HunyuanVideo `SingleTokenRefiner` (diffusers `HunyuanVideoTokenRefiner`): affine layer
 * norms, no QK norm, no rotation, SiLU everywhere, gates only, and an own time embedder. Knows no
 * files.
 */
#include "dit.h"

#define REFINER_EPS 1e-6f

void hyv_embedder_bind(hyv_embedder *e, int64_t width, int64_t in, const hyv_binder *b,
                       const char *name)
{
    hyv_bind_linear(b, &e->linear_1, width, in, true, "%s.linear_1", name);
    hyv_bind_linear(b, &e->linear_2, width, width, true, "%s.linear_2", name);
}

void hyv_embedder_forward(hyv_backend *be, const hyv_embedder *e, hyv_mat y, hyv_mat x)
{
    const size_t mark = hyv_mark(be);
    hyv_mat h = hyv_new(be, x.rows, y.cols);
    hyv_linear(be, h, x, &e->linear_1);
    hyv_act(be, h, h, HYV_NO_MAT, HYV_SILU);
    hyv_linear(be, y, h, &e->linear_2);
    hyv_release(be, mark);
}

void hyv_refiner_bind(hyv_refiner *r, const hyv_dit_config *c, const hyv_binder *b)
{
    const int64_t w = c->width;
    hyv_bind_linear(b, &r->proj_in, w, c->text_width, true, "context_embedder.proj_in");
    hyv_embedder_bind(&r->time, w, HYV_SINUSOID_DIM, b,
                      "context_embedder.time_text_embed.timestep_embedder");
    hyv_embedder_bind(&r->text, w, c->text_width, b,
                      "context_embedder.time_text_embed.text_embedder");
    for (int i = 0; i < (int)c->refiner_blocks; i++) {
        hyv_refiner_block *l = &r->block[i];
#define NAME(part) "context_embedder.token_refiner.refiner_blocks.%d." part, i
        hyv_bind_affine(b, &l->norm1, w, NAME("norm1"));
        hyv_bind_linear(b, &l->q, w, w, true, NAME("attn.to_q"));
        hyv_bind_linear(b, &l->k, w, w, true, NAME("attn.to_k"));
        hyv_bind_linear(b, &l->v, w, w, true, NAME("attn.to_v"));
        hyv_bind_linear(b, &l->out, w, w, true, NAME("attn.to_out.0"));
        hyv_bind_affine(b, &l->norm2, w, NAME("norm2"));
        hyv_bind_linear(b, &l->fc1, c->refiner_mlp_width, w, true, NAME("ff.net.0.proj"));
        hyv_bind_linear(b, &l->fc2, w, c->refiner_mlp_width, true, NAME("ff.net.2"));
        hyv_bind_linear(b, &l->gates, 2 * w, w, true, NAME("norm_out.linear"));
#undef NAME
    }
}

static void block(hyv_backend *be, const hyv_refiner_block *l, const hyv_dit_config *c, hyv_mat x,
                  hyv_mat cond)
{
    const size_t mark = hyv_mark(be);
    const int64_t w = c->width;
    hyv_mat gates = hyv_new(be, 1, 2 * w); /* attention, MLP */
    hyv_mat h = hyv_new(be, x.rows, w);
    hyv_mat qkv = hyv_new(be, x.rows, 3 * w);
    hyv_mat q = hyv_cols(qkv, 0, w), k = hyv_cols(qkv, w, w), v = hyv_cols(qkv, 2 * w, w);
    hyv_mat mlp = hyv_new(be, x.rows, c->refiner_mlp_width);
    hyv_linear(be, gates, cond, &l->gates);

    hyv_layer_norm(be, h, x, &l->norm1, REFINER_EPS);
    hyv_linear(be, q, h, &l->q);
    hyv_linear(be, k, h, &l->k);
    hyv_linear(be, v, h, &l->v);
    hyv_attention(be, h, q, k, v, (int)c->heads, 0);
    hyv_linear(be, q, h, &l->out); /* q is spent */
    hyv_add(be, x, q, hyv_cols(gates, 0, w));

    hyv_layer_norm(be, h, x, &l->norm2, REFINER_EPS);
    hyv_linear(be, mlp, h, &l->fc1);
    hyv_act(be, mlp, mlp, HYV_NO_MAT, HYV_SILU);
    hyv_linear(be, h, mlp, &l->fc2);
    hyv_add(be, x, h, hyv_cols(gates, w, w));
    hyv_release(be, mark);
}

void hyv_refiner_forward(hyv_backend *be, const hyv_refiner *r, const hyv_dit_config *c, hyv_mat y,
                         const hyv_dit_input *in)
{
    const size_t mark = hyv_mark(be);
    hyv_mat cond = hyv_new(be, 1, c->width);
    hyv_mat mean = hyv_new(be, 1, c->width);
    hyv_embedder_forward(be, &r->time, cond, in->time);
    hyv_embedder_forward(be, &r->text, mean, in->text_mean);
    hyv_add(be, cond, mean, HYV_NO_MAT);
    hyv_act(be, cond, cond, HYV_NO_MAT, HYV_SILU);
    hyv_linear(be, y, in->text, &r->proj_in);
    for (int i = 0; i < (int)c->refiner_blocks; i++)
        block(be, &r->block[i], c, y, cond);
    hyv_release(be, mark);
}
