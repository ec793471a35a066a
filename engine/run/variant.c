/* Tensor shapes -> numbers: see variant.h.
 *
 * Published numbers are those of HunyuanVideo (hyvideo/modules/models.py, vae/), of Llama 3 8B and
 * of CLIP-L; see also their config.json in the diffusers distribution. Trusts no shape: a number
 * beyond the limits counts as not told, and binding checks every tensor against the numbers later.
 */
#include "variant.h"

#include <stdio.h>

typedef struct shapes {
    hyv_checkpoint *c;
    const hyv_names *names;
} shapes;

/* Size of the tensor's dimension, 0 if it is not there or beyond `max`. */
static int64_t size_of(shapes s, const char *name, int dimension, int64_t max)
{
    const hyv_tensor *t = hyv_names_find(s.names, s.c, name);
    if (!t || dimension >= t->rank || t->shape[dimension] > max)
        return 0;
    return t->shape[dimension];
}

static bool there(shapes s, const char *name)
{
    return hyv_names_find(s.names, s.c, name) != NULL;
}

static int64_t blocks_of(shapes s, const char *module, int64_t max)
{
    const int64_t n = hyv_names_blocks(s.names, s.c, module);
    return n <= max ? n : 0;
}

static int64_t ratio(int64_t a, int64_t b)
{
    return b > 0 && a % b == 0 ? a / b : 0;
}

/* ---- the transformer ------------------------------------------------------------------------- */

/* Rows of the MLP: of a double block's own matrix, or what a single block's output has beside the
 * attention. */
static int64_t mlp_width(shapes s, int64_t width)
{
    const int64_t own =
        size_of(s, "transformer_blocks.0.ff.net.0.proj.weight", 0, 16 * HYV_WIDTH_MAX);
    const int64_t both =
        size_of(s, "single_transformer_blocks.0.proj_out.weight", 1, 17 * HYV_WIDTH_MAX);
    return own ? own : both > width ? both - width : 0;
}

/* [width, channels, 1, patch, patch], or its last dimensions flattened, which is then 2 x 2. */
static void read_patch(hyv_dit_config *c, shapes s)
{
    const hyv_tensor *t = hyv_names_find(s.names, s.c, "x_embedder.proj.weight");
    c->patch = t && t->rank >= 4 ? t->shape[t->rank - 1] : 2;
    if (!t || c->patch < 1 || c->patch > 16)
        return;
    const int64_t columns = ratio(t->count, c->width);
    c->in_channels = ratio(columns, c->patch * c->patch);
    c->in_channels = c->in_channels <= 1024 ? c->in_channels : 0;
}

static void read_transformer(hyv_dit_config *c, shapes s)
{
    static const char *const head[] = {"transformer_blocks.0.attn.norm_q.weight",
                                       "single_transformer_blocks.0.attn.norm_q.weight"};
    c->width = size_of(s, "x_embedder.proj.weight", 0, HYV_WIDTH_MAX);
    for (int i = 0; i < 2 && !c->head_dim; i++)
        c->head_dim = size_of(s, head[i], 0, HYV_HEAD_DIM_MAX);
    c->heads = ratio(c->width, c->head_dim);
    read_patch(c, s);
    c->out_channels = ratio(size_of(s, "proj_out.weight", 0, 1024 * 256), c->patch * c->patch);
    c->double_blocks = blocks_of(s, "transformer_blocks.0.norm1.linear", HYV_DIT_BLOCKS_MAX);
    c->single_blocks = blocks_of(s, "single_transformer_blocks.0.norm.linear", HYV_DIT_BLOCKS_MAX);
    c->refiner_blocks = blocks_of(s, "context_embedder.token_refiner.refiner_blocks.0.norm1",
                                  HYV_REFINER_BLOCKS_MAX);
    c->mlp_width = mlp_width(s, c->width);
    c->refiner_mlp_width =
        size_of(s, "context_embedder.token_refiner.refiner_blocks.0.ff.net.0.proj.weight", 0,
                16 * HYV_WIDTH_MAX);
    if (!c->refiner_mlp_width)
        c->refiner_mlp_width = 4 * c->width;
    c->text_width = size_of(s, "context_embedder.proj_in.weight", 1, HYV_WIDTH_MAX);
    c->pooled_width = size_of(s, "time_text_embed.text_embedder.linear_1.weight", 1, HYV_WIDTH_MAX);
    c->guidance = there(s, "time_text_embed.guidance_embedder.linear_1.weight");
    c->rope_theta = 256.0;
    if (c->head_dim == 128) { /* the only published head */
        c->rope_dims[0] = 16;
        c->rope_dims[1] = c->rope_dims[2] = 56;
    }
}

/* ---- the text encoders ----------------------------------------------------------------------- */

static int64_t told(const hyv_metadata *m, const char *key, int64_t max, int64_t otherwise)
{
    int64_t value;
    return hyv_metadata_int(m, key, &value) && value > 0 && value <= max ? value : otherwise;
}

/* A GGUF file says more than its shapes do. */
static void read_llama_keys(hyv_llama_config *c, const hyv_metadata *m)
{
    double value;
    c->heads = told(m, "llama.attention.head_count", HYV_HEADS_MAX, c->heads);
    c->kv_heads = told(m, "llama.attention.head_count_kv", HYV_HEADS_MAX, c->kv_heads);
    c->head_dim = told(m, "llama.rope.dimension_count", HYV_HEAD_DIM_MAX, c->head_dim);
    if (!c->head_dim)
        c->head_dim = ratio(c->width, c->heads);
    if (hyv_metadata_float(m, "llama.attention.layer_norm_rms_epsilon", &value) && value >= 0 &&
        value <= 1)
        c->eps = value;
    if (hyv_metadata_float(m, "llama.rope.freq_base", &value) && value >= 1 && value <= 1e12)
        c->theta = value;
}

static void read_llama(hyv_llama_config *c, shapes s)
{
    c->width = size_of(s, "embed_tokens.weight", 1, HYV_WIDTH_MAX);
    c->vocabulary = size_of(s, "embed_tokens.weight", 0, HYV_VOCABULARY_MAX);
    c->layers = blocks_of(s, "layers.0.mlp.gate_proj", HYV_LLAMA_LAYERS_MAX);
    c->mlp_width = size_of(s, "layers.0.mlp.gate_proj.weight", 0, 16 * HYV_WIDTH_MAX);
    c->eps = HYV_LLAMA_EPS;
    c->theta = HYV_LLAMA_THETA;
    if (c->width == HYV_LLAMA_WIDTH) { /* the heads of others cannot be known */
        c->head_dim = HYV_LLAMA_HEAD_DIM;
        c->heads = ratio(size_of(s, "layers.0.self_attn.q_proj.weight", 0, HYV_WIDTH_MAX),
                         HYV_LLAMA_HEAD_DIM);
        c->kv_heads = ratio(size_of(s, "layers.0.self_attn.k_proj.weight", 0, HYV_WIDTH_MAX),
                            HYV_LLAMA_HEAD_DIM);
    }
    read_llama_keys(c, hyv_checkpoint_metadata(s.c));
}

static void read_clip(hyv_clip_config *c, shapes s)
{
    c->width = size_of(s, "embeddings.token_embedding.weight", 1, HYV_WIDTH_MAX);
    c->vocabulary = size_of(s, "embeddings.token_embedding.weight", 0, HYV_VOCABULARY_MAX);
    c->positions = size_of(s, "embeddings.position_embedding.weight", 0, 65536);
    c->layers = blocks_of(s, "encoder.layers.0.layer_norm1", HYV_CLIP_LAYERS_MAX);
    c->mlp_width = size_of(s, "encoder.layers.0.mlp.fc1.weight", 0, 16 * HYV_WIDTH_MAX);
    c->eps = 1e-5;
    c->activation = HYV_QUICK_GELU;
    c->heads = c->width == 768 ? 12 : 0; /* CLIP-L */
}

/* ---- the VAE --------------------------------------------------------------------------------- */

/* A size of a tensor of resnet `resnet` in block `block`. */
static int64_t resnet_size(shapes s, int block, int resnet, const char *tensor)
{
    char name[96];
    snprintf(name, sizeof(name), "decoder.up_blocks.%d.resnets.%d.%s", block, resnet, tensor);
    return size_of(s, name, 0, HYV_VAE_CHANNELS_MAX);
}

/* A block that doubles has an upsampler; doublings in time, which no shape tells, are two. */
static void read_vae(hyv_model_config *config, shapes s)
{
    hyv_vae_config *c = &config->vae;
    const int blocks = hyv_names_blocks(s.names, s.c, "decoder.up_blocks.0.resnets.0.norm1");
    c->blocks = blocks <= HYV_VAE_BLOCKS_MAX ? blocks : 0;
    c->spatial_compression = 1;
    for (int i = 0; i < c->blocks; i++) {
        char name[96];
        snprintf(name, sizeof(name), "decoder.up_blocks.%d.upsamplers.0.conv.conv.weight", i);
        c->block_out_channels[c->blocks - 1 - i] = resnet_size(s, i, 0, "conv1.conv.weight");
        c->spatial_compression <<= there(s, name);
    }
    int resnets = 0;
    while (resnets <= HYV_VAE_LAYERS_MAX && resnet_size(s, 0, resnets, "norm1.weight"))
        resnets++;
    c->layers_per_block = resnets > 0 ? resnets - 1 : 0; /* a decoder block has one more */
    c->latent_channels = size_of(s, "decoder.conv_in.conv.weight", 1, HYV_VAE_LATENT_CHANNELS_MAX);
    c->out_channels = size_of(s, "decoder.conv_out.conv.weight", 0, 16);
    c->temporal_compression = 4;
    c->mid_block_attention = there(s, "decoder.mid_block.attentions.0.to_q.weight");
    c->norm_num_groups = c->block_out_channels[0] == 128 ? 32 : 0;
    config->scaling_factor = 0.476986;
}

void hyv_variant_read(hyv_model_config *config, enum hyv_component component, hyv_checkpoint *c,
                      const hyv_names *names)
{
    const shapes s = {c, names};
    switch (component) {
    case HYV_TRANSFORMER:
        read_transformer(&config->dit, s);
        break;
    case HYV_TEXT_ENCODER:
        read_llama(&config->llama, s);
        break;
    case HYV_TEXT_ENCODER_2:
        read_clip(&config->clip, s);
        break;
    default:
        read_vae(config, s);
        break;
    }
}
