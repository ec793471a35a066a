/* The CLIP text encoder, of which the pooled vector is used.
 *
 * Pooled is the final-normed state of the first end token, without projection; as attention is
 * causal, nothing behind that token matters and it is the last row given here. Embedding look-up is
 * the caller's. Knows no tokens and no files.
 */
#ifndef HYV_MODEL_CLIP_H
#define HYV_MODEL_CLIP_H

#include "bind.h"
#include "watch.h"

enum { HYV_CLIP_LAYERS_MAX = 128 };

typedef struct hyv_clip_config {
    int64_t width, layers, heads, mlp_width, vocabulary, positions;
    double eps;
    hyv_activation activation; /* quick GELU in CLIP-L */
} hyv_clip_config;

typedef struct hyv_clip_layer {
    hyv_affine norm1, norm2;
    hyv_weight q, k, v, out, fc1, fc2;
} hyv_clip_layer;

typedef struct hyv_clip {
    hyv_clip_config config;
    hyv_mat tokens, positions; /* [vocabulary, width], [positions, width]; host */
    hyv_affine final_norm;
    hyv_clip_layer layer[HYV_CLIP_LAYERS_MAX];
} hyv_clip;

void hyv_clip_bind(hyv_clip *m, const hyv_clip_config *config, const hyv_binder *binder);

/* x [n, width]: token plus position embeddings up to the first end token; pooled [1, width]. x is
 * overwritten. */
void hyv_clip_forward(hyv_backend *be, const hyv_clip *m, hyv_mat pooled, hyv_mat x,
                      const hyv_watch *watch);

#endif
