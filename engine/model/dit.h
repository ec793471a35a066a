/* The diffusion transformer of HunyuanVideo: latents, text and time in, flow velocity out.
 *
 * Sequences are cut to their real length, so there is no mask; image and text tokens are
 * neighbouring rows of one matrix; q, k and v are columns of one. All numbers come from the
 * configuration. The sampler, the schedule and the guidance stand in run/. Knows no files.
 */
#ifndef HYV_MODEL_DIT_H
#define HYV_MODEL_DIT_H

#include "bind.h"
#include "watch.h"

enum {
    HYV_DIT_BLOCKS_MAX = 256, /* of each kind */
    HYV_REFINER_BLOCKS_MAX = 16,
    HYV_SINUSOID_DIM = 256,
    HYV_DIT_CHUNK_ROWS =
        8192 /* row-wise parts run in chunks, so that no MLP exists for a whole video */
};

typedef struct hyv_dit_config {
    int64_t in_channels, out_channels;
    int64_t heads, head_dim, width, mlp_width; /* width = heads * head_dim */
    int64_t double_blocks, single_blocks, refiner_blocks;
    int64_t text_width, pooled_width;
    int64_t refiner_mlp_width; /* diffusers fixes it at 4 * width whatever the blocks' is */
    int64_t patch;             /* in h and w; 1 in t */
    int64_t rope_dims[3];
    double rope_theta;
    bool guidance; /* takes an embedded guidance scale */
} hyv_dit_config;

/* Linear, SiLU, linear: embeds a sinusoid or a vector. */
typedef struct hyv_embedder {
    hyv_weight linear_1, linear_2;
} hyv_embedder;

typedef struct hyv_refiner_block {
    hyv_affine norm1, norm2;
    hyv_weight q, k, v, out, fc1, fc2, gates;
} hyv_refiner_block;

typedef struct hyv_refiner {
    hyv_weight proj_in;
    hyv_embedder time, text;
    hyv_refiner_block block[HYV_REFINER_BLOCKS_MAX];
} hyv_refiner;

/* What a double block holds once for the image and once for the text. */
typedef struct hyv_stream {
    hyv_weight modulation; /* [6 width, width]: shift, scale, gate of attention, then of the MLP */
    hyv_weight q, k, v, out, fc1, fc2;
    const float *q_norm, *k_norm; /* [head_dim] */
} hyv_stream;

typedef struct hyv_double_block {
    hyv_block block, modulations; /* all but the modulations, and these */
    hyv_stream img, txt;
} hyv_double_block;

typedef struct hyv_single_block {
    hyv_block block, modulations;
    hyv_weight modulation; /* [3 width, width]: shift, scale, gate */
    hyv_weight q, k, v, mlp, out;
    const float *q_norm, *k_norm;
} hyv_single_block;

typedef struct hyv_dit {
    hyv_dit_config config;
    hyv_block vectors, embedders, final_modulations, final;
    hyv_weight img_in;
    hyv_embedder time_in, guidance_in, vector_in;
    hyv_refiner refiner;
    hyv_double_block double_block[HYV_DIT_BLOCKS_MAX];
    hyv_single_block single_block[HYV_DIT_BLOCKS_MAX];
    hyv_weight final_shift, final_scale, proj_out;
} hyv_dit;

/* What the modulations of some steps depend on; everything on the device. */
typedef struct hyv_dit_vectors {
    hyv_mat time;     /* [steps, 256]: sinusoids of 1000 sigma */
    hyv_mat guidance; /* [1, 256]; HYV_NO_MAT if the model takes none */
    hyv_mat pooled;   /* [texts, pooled_width] */
} hyv_dit_vectors;

/* One evaluation; everything on the device. */
typedef struct hyv_dit_input {
    hyv_mat latents;     /* [t*h*w, in_channels] */
    hyv_grid grid;       /* of the latents; h and w multiples of the patch */
    hyv_mat text;        /* [n, text_width], real tokens only */
    hyv_mat text_mean;   /* [1, text_width] */
    hyv_mat time;        /* [1, 256]: sinusoid of 1000 sigma */
    hyv_mat modulations; /* [1, hyv_dit_modulation_cols]: this step's row of hyv_dit_modulate */
    hyv_rope_table rope; /* [tokens, head_dim] */
} hyv_dit_input;

void hyv_dit_bind(hyv_dit *m, const hyv_dit_config *config, const hyv_binder *binder);

/* All shifts, scales and gates of the blocks: modulations [texts * steps, hyv_dit_modulation_cols],
 * the steps of the first text first. They are a quarter of the published model's weights and need
 * neither latents nor text, so a run computes them once and reads those weights no more. */
int64_t hyv_dit_modulation_cols(const hyv_dit_config *config);
void hyv_dit_modulate(hyv_backend *be, const hyv_dit *m, hyv_mat modulations,
                      const hyv_dit_vectors *in, const hyv_watch *watch);

/* velocity [t*h*w, out_channels] = noise minus data, at the scale of the latents. */
void hyv_dit_forward(hyv_backend *be, const hyv_dit *m, hyv_mat velocity, const hyv_dit_input *in,
                     const hyv_watch *watch);

/* Parts of the above, shared by dit.c and refiner.c. */
void hyv_embedder_bind(hyv_embedder *e, int64_t width, int64_t in, const hyv_binder *b,
                       const char *name);
/* y [n, width] from x [n, in]. */
void hyv_embedder_forward(hyv_backend *be, const hyv_embedder *e, hyv_mat y, hyv_mat x);
void hyv_refiner_bind(hyv_refiner *r, const hyv_dit_config *config, const hyv_binder *b);
/* y [n, width] from the text states; time as in hyv_dit_input. */
void hyv_refiner_forward(hyv_backend *be, const hyv_refiner *r, const hyv_dit_config *config,
                         hyv_mat y, const hyv_dit_input *in);

#endif
