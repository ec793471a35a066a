/* CLIP's text transformer (Radford et al. 2021), as transformers' CLIPTextModel runs it: pre-norm
 * layers, causal attention with biases, quick GELU.
 *
 * Names are without the leading "text_model.", which older files have and newer ones have not.
 * Knows no tokens and no files.
 */
#include "clip.h"

void hyv_clip_bind(hyv_clip *m, const hyv_clip_config *config, const hyv_binder *b)
{
    const hyv_clip_config c = m->config = *config;
    const int64_t w = c.width;
    b->table(b->opaque, &m->tokens, "embeddings.token_embedding.weight", c.vocabulary, w);
    b->table(b->opaque, &m->positions, "embeddings.position_embedding.weight", c.positions, w);
    for (int i = 0; i < (int)c.layers; i++) {
        hyv_clip_layer *l = &m->layer[i];
        hyv_bind_affine(b, &l->norm1, w, "encoder.layers.%d.layer_norm1", i);
        hyv_bind_linear(b, &l->q, w, w, true, "encoder.layers.%d.self_attn.q_proj", i);
        hyv_bind_linear(b, &l->k, w, w, true, "encoder.layers.%d.self_attn.k_proj", i);
        hyv_bind_linear(b, &l->v, w, w, true, "encoder.layers.%d.self_attn.v_proj", i);
        hyv_bind_linear(b, &l->out, w, w, true, "encoder.layers.%d.self_attn.out_proj", i);
        hyv_bind_affine(b, &l->norm2, w, "encoder.layers.%d.layer_norm2", i);
        hyv_bind_linear(b, &l->fc1, c.mlp_width, w, true, "encoder.layers.%d.mlp.fc1", i);
        hyv_bind_linear(b, &l->fc2, w, c.mlp_width, true, "encoder.layers.%d.mlp.fc2", i);
    }
    hyv_bind_affine(b, &m->final_norm, w, "final_layer_norm");
}

static void layer(hyv_backend *be, const hyv_clip_config *c, const hyv_clip_layer *l, hyv_mat x)
{
    const size_t mark = hyv_mark(be);
    hyv_mat h = hyv_new(be, x.rows, c->width);
    hyv_mat qkv = hyv_new(be, x.rows, 3 * c->width);
    hyv_mat q = hyv_cols(qkv, 0, c->width);
    hyv_mat k = hyv_cols(qkv, c->width, c->width);
    hyv_mat v = hyv_cols(qkv, 2 * c->width, c->width);
    hyv_mat a = hyv_new(be, x.rows, c->width);
    hyv_mat mlp = hyv_new(be, x.rows, c->mlp_width);
    hyv_layer_norm(be, h, x, &l->norm1, (float)c->eps);
    hyv_linear(be, q, h, &l->q);
    hyv_linear(be, k, h, &l->k);
    hyv_linear(be, v, h, &l->v);
    hyv_attention(be, a, q, k, v, (int)c->heads, 1);
    hyv_linear(be, h, a, &l->out);
    hyv_add(be, x, h, HYV_NO_MAT);

    hyv_layer_norm(be, h, x, &l->norm2, (float)c->eps);
    hyv_linear(be, mlp, h, &l->fc1);
    hyv_act(be, mlp, mlp, HYV_NO_MAT, c->activation);
    hyv_linear(be, h, mlp, &l->fc2);
    hyv_add(be, x, h, HYV_NO_MAT);
    hyv_release(be, mark);
}

void hyv_clip_forward(hyv_backend *be, const hyv_clip *m, hyv_mat pooled, hyv_mat x,
                      const hyv_watch *watch)
{
    for (int i = 0; i < (int)m->config.layers; i++) {
        layer(be, &m->config, &m->layer[i], x);
        hyv_see(watch, "encoder.layers", i, x);
    }
    hyv_layer_norm(be, pooled, hyv_rows(x, x.rows - 1, 1), &m->final_norm, (float)m->config.eps);
}
