/* The decoder-only language model whose hidden states condition the transformer (Llama 3).
 *
 * Only the layers that lead to the state the pipeline uses are listed and run: the published
 * pipelines take hidden_states[-3], the output of layer L-2 of L, without the final norm. Embedding
 * look-up is the caller's. Knows no tokens and no files.
 */
#ifndef HYV_MODEL_LLAMA_H
#define HYV_MODEL_LLAMA_H

#include "bind.h"
#include "watch.h"

enum { HYV_LLAMA_LAYERS_MAX = 256 };

typedef struct hyv_llama_config {
    int64_t width, layers, heads, kv_heads, head_dim, mlp_width, vocabulary;
    int64_t layers_used; /* layers that are run: layers - 2 */
    double eps, theta;
} hyv_llama_config;

typedef struct hyv_llama_layer {
    hyv_block block;
    const float *input_norm, *post_norm;   /* [width] */
    hyv_weight q, k, v, o, gate, up, down; /* q and k with rotary pairs adjacent */
} hyv_llama_layer;

typedef struct hyv_llama {
    hyv_llama_config config;
    hyv_mat embedding; /* [vocabulary, width], host */
    hyv_llama_layer layer[HYV_LLAMA_LAYERS_MAX];
} hyv_llama;

void hyv_llama_bind(hyv_llama *m, const hyv_llama_config *config, const hyv_binder *binder);

/* x [n, width]: embeddings in, hidden states out. rope: [n, head_dim], theta of the config. */
void hyv_llama_forward(hyv_backend *be, const hyv_llama *m, hyv_mat x, hyv_rope_table rope,
                       const hyv_watch *watch);

#endif
