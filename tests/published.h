/* The numbers of the published 13B model, as initialisers: tencent/HunyuanVideo's config files and
 * those of hunyuanvideo-community/HunyuanVideo on the Hugging Face hub.
 *
 * One place for all tests and benchmarks at true size. Whoever includes this has the configuration
 * types of engine/model/.
 */
#ifndef HYV_TESTS_PUBLISHED_H
#define HYV_TESTS_PUBLISHED_H

#define PUBLISHED_DIT                                                                       \
    {                                                                                       \
        .in_channels = 16, .out_channels = 16, .heads = 24, .head_dim = 128, .width = 3072, \
        .mlp_width = 12288, .double_blocks = 20, .single_blocks = 40, .refiner_blocks = 2,  \
        .text_width = 4096, .pooled_width = 768, .refiner_mlp_width = 12288, .patch = 2,    \
        .rope_dims = {16, 56, 56}, .rope_theta = 256.0, .guidance = true                    \
    }

/* used: 30 by the pipelines, 32 in the file */
#define PUBLISHED_LLAMA(used)                                                       \
    {                                                                               \
        .width = 4096, .layers = 32, .heads = 32, .kv_heads = 8, .head_dim = 128,   \
        .mlp_width = 14336, .vocabulary = 128320, .layers_used = used, .eps = 1e-5, \
        .theta = 500000.0                                                           \
    }

#define PUBLISHED_CLIP                                                                   \
    {                                                                                    \
        .width = 768, .layers = 12, .heads = 12, .mlp_width = 3072, .vocabulary = 49408, \
        .positions = 77, .eps = 1e-5, .activation = HYV_QUICK_GELU                       \
    }

#define PUBLISHED_VAE                                                                              \
    {                                                                                              \
        .blocks = 4, .block_out_channels = {128, 256, 512, 512}, .layers_per_block = 2,            \
        .norm_num_groups = 32, .latent_channels = 16, .out_channels = 3, .spatial_compression = 8, \
        .temporal_compression = 4, .mid_block_attention = true                                     \
    }

/* A hyv_model_config. */
#define PUBLISHED_MODEL(used)                                                         \
    {                                                                                 \
        .dit = PUBLISHED_DIT, .llama = PUBLISHED_LLAMA(used), .clip = PUBLISHED_CLIP, \
        .vae = PUBLISHED_VAE, .scaling_factor = 0.476986, .shift = 7.0                \
    }

#endif
