/* The decoder-only language model whose hidden states condition the transformer (Llama 3).
 *
 * Only the layers that lead to the state the pipeline uses are listed and run: the published
 * pipelines take hidden_states[-3], the output of layer L-2 of L, without the final norm. Embedding
 * look-up is the caller's. Two texts that begin alike run together: each layer is read once, and
 * what they share is computed once. Knows no tokens and no files.
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

/* The rows of one or two texts: what both begin with, then the rest of the one, then that of the
 * other, which is no longer, or 0. */
typedef struct hyv_llama_rows {
    int64_t shared, rest[2];
} hyv_llama_rows;

/* x [rows in all, width]: embeddings in, hidden states out. rope: [shared + rest[0], head_dim],
 * theta of the config. The states of a text are those that it has alone, bit for bit. */
void hyv_llama_forward(hyv_backend *be, const hyv_llama *m, hyv_mat x, const hyv_llama_rows *rows,
                       hyv_rope_table rope, const hyv_watch *watch);

#endif
