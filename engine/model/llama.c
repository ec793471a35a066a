/* Llama 3 (Touvron et al. 2023, Grattafiori et al. 2024): pre-norm layers of causal grouped-query
 * attention and SwiGLU.
 *
 * Follows transformers' LlamaModel, whose half-split rotation becomes the rotation of adjacent
 * pairs once the rows of q and k are reordered while loading (HYV_LAYOUT_HALVES). Knows no tokens
 * and no files.
 */
#include "llama.h"

void hyv_llama_bind(hyv_llama *m, const hyv_llama_config *config, const hyv_binder *b)
{
    const hyv_llama_config c = m->config = *config;
    const int64_t q_width = c.heads * c.head_dim, kv_width = c.kv_heads * c.head_dim;
    const hyv_matrix_spec q = {
        .rows = q_width, .cols = c.width, .layout = HYV_LAYOUT_HALVES, .detail = c.head_dim};
    const hyv_matrix_spec k = {
        .rows = kv_width, .cols = c.width, .layout = HYV_LAYOUT_HALVES, .detail = c.head_dim};
    b->table(b->opaque, &m->embedding, "embed_tokens.weight", c.vocabulary, c.width);
    for (int i = 0; i < (int)c.layers_used; i++) {
        hyv_llama_layer *l = &m->layer[i];
        hyv_bind_block(b, &l->block, false);
        hyv_bind_vector(b, &l->input_norm, c.width, "layers.%d.input_layernorm.weight", i);
        hyv_bind_matrix(b, &l->q, &q, "layers.%d.self_attn.q_proj", i);
        hyv_bind_matrix(b, &l->k, &k, "layers.%d.self_attn.k_proj", i);
        hyv_bind_linear(b, &l->v, kv_width, c.width, false, "layers.%d.self_attn.v_proj", i);
        hyv_bind_linear(b, &l->o, c.width, q_width, false, "layers.%d.self_attn.o_proj", i);
        hyv_bind_vector(b, &l->post_norm, c.width, "layers.%d.post_attention_layernorm.weight", i);
        hyv_bind_linear(b, &l->gate, c.mlp_width, c.width, false, "layers.%d.mlp.gate_proj", i);
        hyv_bind_linear(b, &l->up, c.mlp_width, c.width, false, "layers.%d.mlp.up_proj", i);
        hyv_bind_linear(b, &l->down, c.width, c.mlp_width, false, "layers.%d.mlp.down_proj", i);
    }
}

/* Positions of the second text's rows go on where the shared ones end. */
static void rotate(hyv_backend *be, hyv_mat x, const hyv_llama_rows *r, hyv_rope_table t)
{
    const int64_t first = r->shared + r->rest[0], second = r->rest[1];
    hyv_rope(be, hyv_rows(x, 0, first), t);
    if (second)
        hyv_rope(be, hyv_rows(x, first, second),
                 (hyv_rope_table){hyv_rows(t.cos, r->shared, second),
                                  hyv_rows(t.sin, r->shared, second)});
}

/* Each text sees the shared rows and its own. Once the first is done, the keys and values of the
 * second move up behind the shared ones. */
static void attend(hyv_backend *be, hyv_mat y, hyv_mat q, hyv_mat k, hyv_mat v,
                   const hyv_llama_rows *r, int heads)
{
    const int64_t first = r->shared + r->rest[0], second = r->rest[1];
    hyv_attention(be, hyv_rows(y, 0, first), hyv_rows(q, 0, first), hyv_rows(k, 0, first),
                  hyv_rows(v, 0, first), heads, 1);
    if (!second)
        return;
    hyv_copy(be, hyv_rows(k, r->shared, second), hyv_rows(k, first, second));
    hyv_copy(be, hyv_rows(v, r->shared, second), hyv_rows(v, first, second));
    hyv_attention(be, hyv_rows(y, first, second), hyv_rows(q, first, second),
                  hyv_rows(k, 0, r->shared + second), hyv_rows(v, 0, r->shared + second), heads, 1);
}

/* h += o(attention(rms(h))) */
static void attention(hyv_backend *be, const hyv_llama_config *c, const hyv_llama_layer *l,
                      hyv_mat x, const hyv_llama_rows *rows, hyv_rope_table rope)
{
    const size_t mark = hyv_mark(be);
    hyv_mat h = hyv_new(be, x.rows, c->width);
    hyv_mat q = hyv_new(be, x.rows, c->heads * c->head_dim);
    hyv_mat k = hyv_new(be, x.rows, c->kv_heads * c->head_dim);
    hyv_mat v = hyv_new(be, x.rows, c->kv_heads * c->head_dim);
    hyv_mat a = hyv_new(be, x.rows, c->heads * c->head_dim);
    hyv_rms_norm(be, h, x, l->input_norm, c->width, (float)c->eps);
    hyv_linear(be, q, h, &l->q);
    hyv_linear(be, k, h, &l->k);
    hyv_linear(be, v, h, &l->v);
    rotate(be, q, rows, rope);
    rotate(be, k, rows, rope);
    attend(be, a, q, k, v, rows, (int)c->heads);
    hyv_linear(be, h, a, &l->o);
    hyv_add(be, x, h, HYV_NO_MAT);
    hyv_release(be, mark);
}

/* h += down(silu(gate(rms(h))) * up(rms(h))) */
static void mlp(hyv_backend *be, const hyv_llama_config *c, const hyv_llama_layer *l, hyv_mat x)
{
    const size_t mark = hyv_mark(be);
    hyv_mat h = hyv_new(be, x.rows, c->width);
    hyv_mat gate = hyv_new(be, x.rows, c->mlp_width);
    hyv_mat up = hyv_new(be, x.rows, c->mlp_width);
    hyv_rms_norm(be, h, x, l->post_norm, c->width, (float)c->eps);
    hyv_linear(be, gate, h, &l->gate);
    hyv_linear(be, up, h, &l->up);
    hyv_act(be, gate, gate, up, HYV_SILU);
    hyv_linear(be, h, gate, &l->down);
    hyv_add(be, x, h, HYV_NO_MAT);
    hyv_release(be, mark);
}

void hyv_llama_forward(hyv_backend *be, const hyv_llama *m, hyv_mat x, const hyv_llama_rows *rows,
                       hyv_rope_table rope, const hyv_watch *watch)
{
    for (int i = 0; i < (int)m->config.layers_used; i++) {
        hyv_enter(be, &m->layer[i].block);
        attention(be, &m->config, &m->layer[i], x, rows, rope);
        mlp(be, &m->config, &m->layer[i], x);
        hyv_see(watch, "layers", i, x);
    }
}
